"""What a browser's parser makes of a page: elements, attributes and text, and whether every element is closed."""

from __future__ import annotations

from html.parser import HTMLParser

VOID = frozenset({"meta", "img", "br", "input", "link", "hr"})


class PageParser(HTMLParser):
    """Elements, attributes and text; elements left ``open`` and closing tags that ``crossed`` another element."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str | None]] = []
        self.text: list[str] = []
        self.open: list[str] = []
        self.crossed: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.crossed.append(tag)

    def handle_data(self, data):
        self.text.append(data)


def parsed(page: str) -> PageParser:
    """The page as it was read."""
    parser = PageParser()
    parser.feed(page)
    parser.close()
    return parser
