"""Sections of a report, and its sentences with the section, the topic and the list they stand in."""

from __future__ import annotations

import itertools
import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from operator import attrgetter

from llm_extract.lower_case import lowered
from llm_extract.records import Section
from llm_extract.section_titles import HEADINGS

CURRENT = frozenset(
    {
        "preamble",
        "findings",
        "impression",
        "addendum",
        "diagnosis",
        "gross",
        "microscopic",
        "synoptic",
        "measurements",
    }
)
"""Sections whose statements are about this examination."""

MAX_SENTENCE_CHARS = 800
"""Longer stretches without a full stop are cut."""

_TITLE_AT_START = re.compile(
    r"[*#_\s]{0,3}"
    r"(?=[A-Za-z'&()/ -]{3,60}+[*_]{0,2}\s{0,2}[:\n]|[A-Za-z'&()/\s]{0,60}+[*_]{0,2}\s{0,2}-)"  # a mark follows
    r"(?P<title>[A-Za-z][A-Za-z'&()/ -]{2,36}?)[*_]{0,2}\s{0,2}(?::|(?=\n)|(?=\s-\s))[*_]{0,2}",
)
_TITLE = re.compile(r"[\s.;:,*](?:(?<=[\n.;:,*])|(?<=[\s.;:,*]\s))" + _TITLE_AT_START.pattern)
"""Behind the end of a line or of a statement; begins with one character of a few, which is found quickly."""
_LONGEST_TAIL, _FEWEST_WORDS, _FEWEST_BARE = 600, 5, 3
_KEYWORD = re.compile(
    r"(?!(?:no|without|normal|there|mild|small|large|multiple|left|right|bilateral|stable|possible|probable|likely)\b)"
    r"[a-z][a-z-]{1,20}(?:\s(?!(?:is|are|of|in|with|and|the|at|on|to|normal)\b)[a-z-]{1,20}){0,3}"
)
_BARE_WORD = re.compile(
    r"(?:ct|mri|pet)(?:\s\w+)?|radiology|imaging|ultrasound|abdomen|abdominal|pelvi[cs]|chest|thorax|head|neck|brain|liver"
    r"|spleen|pancreas|kidneys?|bladder|lungs?|lymph nodes?|breasts?|prostate|uterus|ovary|colon|bones?|oncology|cancer"
)
"""A word for an organ or an examination with nothing said of it."""
_CLOSING = frozenset({"result", "results"})
"""Titles of the findings that close a report whose findings have a title of their own."""
_TAIL = re.compile(r"(?:(?<=[.;)?]\s)[\"“]|(?<=[.;)?])[\"“]|(?<=\s)[•·])\s{0,2}(?=[A-Z])")
_ABBREVIATION = re.compile(
    r"\b(?:dr|mr|mrs|ms|prof|e\.g|i\.e|approx|vs|no|cf|ca|fig|etc|st|seg|incl|resp|max|min|ser|prev|im"
    r"|img|se|post|ant|lat|inf|sup"
    r"|[ctls]\d{1,2}|[a-z]|[1-9]\d?)$"
)
"""Given lower case; none has more than six letters."""
_BREAK = re.compile(  # begins with one character of a few, which is found quickly; what it was is asked behind it
    r"[.!?;•●▪■►\n,](?:(?<=[.!?])[.!?]*[”'’)\]]{0,2}(?=\s|$|[A-Z])|(?<=[;•●▪■►\n])|(?<=,)(?=\d{1,2}\s?\.\s{0,2}[A-Z]))"
)
_BREAK_OR_QUOTE = re.compile(
    r"[.!?]+(?:[\"”'’)\]]{0,2})(?=\s|$|[A-Z\"])|;|[•●▪■►]|\n|\s\"\s?|\.\"|(?<=[\w.)?])\"\s"
    r"|,(?=\d{1,2}\s?\.\s{0,2}[A-Z])"
)
"""The same for a text with straight quotation marks, which may break it too."""
_SPLIT_DECIMAL = re.compile(r"\d\s?\.\s\d{1,2}\s?(?:x|cm|mm|em)", re.IGNORECASE)
_NUMBERED_PLACE = re.compile(
    r"\b(?:segments?|seg|level|zone|grade|stage|series|ser|images?|img?|se|slice|category|rads|rib|[ctls])\s?\d{1,3}$",
    re.IGNORECASE,
)
"""Numbers that name something; what follows their full stop is no decimal."""
_STATEMENT_END = re.compile(r"(?<=[\w)\"])[.!?]\s{1,4}(?=[A-Z])")
_SEEN_NOW = re.compile(
    r"\b(?:is|are)\s(?:\w+ly\s)?(?:observed|seen|noted|normal|natural|open|clear|unremarkable|present|identified|visuali[sz]ed"
    r"|detected|intact|patent|within)\b|\b[Nn]o (?:evidence|mass|lesion|nodule|focal|pathological|pleural)"
    r"|\bThere (?:is|are)\s(?!(?:an?\s)?(?:\w+\s)?(?:history|concern|suspicion|question|request|need))",
)
"""What is said of the images of the day, and hardly ever of what was before."""
_OF_ANOTHER_STUDY = re.compile(
    r"\b(?:ultrasound|sonogra\w+|us|mri?|pet|x-?ray|radiograph\w*|endoscop\w+|colonoscop\w+|gastroscop\w+|biops\w+|outside|prior"
    r"|previous\w*|earlier|history|known|clinical\w*|palpa\w+|physical\w*|laborator\w+)\b",
    re.IGNORECASE,
)
_LIST_ITEM = re.compile(r"\s{0,6}(?:[-*•–]|\(?\d{1,2}[.)]|\(?[a-hA-H][.)])\s{0,4}")
_INLINE_ITEM = re.compile(
    r"[(\d](?:(?<=[.:;,].)|(?<=[.:;,]\s.)|(?<=[.:;,]\s\s.))(?:(?<=\()\d{1,2}|(?<=\d)\d?)[.)]\s?(?=[A-Z])"
)
_CAPITAL_BEHIND_WORD = re.compile(r"[BCDHILMNPRSTU](?<=[a-z]{3}\s.)")
_RUN_ON = re.compile(
    r"(?<!\bthe\s)(?<!\bboth\s)(?<!\band\s)(?<!\bwith\s)(?<!\bfrom\s)(?<!\bare\s)(?<!\bfor\s)(?<!\binto\s)"
    r"(?:High|Low|Multiple|Several|Small|Large|Nodular|Nodules?|Cystic|Cysts?|Left|Right|Bilateral|Linear|Dense|Patchy|Diffuse"
    r"|Irregular|Scattered|Round|Localized|Increased|Decreased|Thickening|Calcified|Strip|Ring|Slight|Uneven|Millimetric)"
    r"(?=(?:[- ][a-z]{2,}){2})"
)
_WORD = re.compile(r"[A-Za-z]{2}")
_START = attrgetter("start")
_CAPITALISED = re.compile(r"(?:A|[A-Z][a-z]+)\s")
"""First word of a line that only a name or a new statement begins with; statements may lack their full stop."""
_OPEN_END = re.compile(
    r"(?:[,(/&-]|\b(?:an?|the|of|in|on|at|to|by|for|from|with|without|and|or|as|is|are|was|were|be|been|no|that|which"
    r"|this|these|left|right|upper|lower|segments?|series|image|measuring|approximately|about|per|than|dr|mr|mrs|ms))$",
    re.IGNORECASE,
)


@dataclass(slots=True, unsafe_hash=True)
class Sentence:
    """A stretch of the report that makes one statement; not frozen, as that takes three times as long to make.

    Args:
        start, end: code points, without surrounding white space.
        section: name of its section.
        line: number of the line it starts in, from 0.
        item: True if a list mark starts it.
    """

    start: int
    end: int
    section: str
    line: int
    item: bool


def split_sections(text: str) -> tuple[Section, ...]:
    r"""The named stretches of a report; text before the first heading is the ``preamble``.

    >>> [(s.name, s.start) for s in split_sections("HISTORY: pain\nFINDINGS: none")]
    [('history', 0), ('findings', 14)]
    """
    starts: list[tuple[int, str]] = []
    for match in _titles(text):
        title = " ".join(match["title"].lower().split()).strip(" -(")
        name = HEADINGS.get(title) or HEADINGS.get(title.partition("/")[0])
        if name is None:
            continue
        if not match[0].rstrip("*_ ").endswith(":") and not (match["title"].isupper() or _alone(text, match)):
            continue
        if title in _CLOSING and _has_findings(text, starts, match.start("title")):
            name = "impression"
        starts.append((match.start("title"), name))
    if not starts or text[: starts[0][0]].strip():
        starts.insert(0, (0, "preamble"))
    if all(name != "findings" for _, name in starts):
        starts = _reopen(text, starts)
    if starts[-1][1] in {"preamble", "findings"} and all(name != "impression" for _, name in starts):
        starts += _tail(text, starts[-1][0])
    words = _keywords_at_end(text)
    if words is not None and words > starts[-1][0]:
        starts.append((words, "note"))
    ends = [start for start, _ in starts[1:]] + [len(text)]
    return tuple(
        Section(start=start, end=end, name=name) for (start, name), end in zip(starts, ends, strict=True)
    )


def _has_findings(text: str, starts: list[tuple[int, str]], end: int) -> bool:
    """True if findings are told before: under their heading, or by a report that begins with them."""
    if starts:
        return any(name == "findings" for _, name in starts)
    return _SEEN_NOW.search(text, 0, end) is not None


def _titles(text: str) -> Iterator[re.Match[str]]:
    """What may be headings; each match begins with the character before it, which may end the one before."""
    match = _TITLE_AT_START.match(text) or _TITLE.search(text)
    while match is not None:
        yield match
        match = _TITLE.search(text, match.end() - 1)


def _reopen(text: str, starts: list[tuple[int, str]]) -> list[tuple[int, str]]:
    """Without a heading of their own the findings start after the paragraph of the technique or the comparison."""
    opened: list[tuple[int, str]] = []
    for index, (start, name) in enumerate(starts):
        opened.append((start, name))
        end = starts[index + 1][0] if index + 1 < len(starts) else len(text)
        if name in CURRENT or name in {"recommendation", "note", "specimen", "intraoperative", "comment"}:
            continue
        inline = (
            text[start : text.find("\n", start) if "\n" in text[start:end] else end].partition(":")[2].strip()
        )
        gap = re.compile(r"\n" if inline else r"\n\s{0,4}\n").search(text, start, end)
        if gap is not None and text[gap.end() : end].strip():
            opened.append((gap.end(), "findings"))
        elif gap is None and (first := _first_seen(text, start, end)) is not None:
            opened.append((first, "findings"))
    return opened


def _first_seen(text: str, start: int, end: int) -> int | None:
    """Reads "Indication: cough. The liver is normal.": where a paragraph with a title goes on with what is seen."""
    ends = [match.end() for match in _STATEMENT_END.finditer(text, start, end)]
    for first, last in itertools.pairwise((*ends, end)):
        if _SEEN_NOW.search(text, first, last) and not _OF_ANOTHER_STUDY.search(text, first, last):
            return first
    return None


def _tail(text: str, start: int) -> list[tuple[int, str]]:
    """Quoted or bulleted lines that close a prose report are its impression."""
    opening = _TAIL.search(text, start + int(0.4 * (len(text) - start)))
    if opening is None or _TAIL.search(text, start, opening.start()) is not None:
        return []
    return [(opening.start(), "impression")]


def _keywords_at_end(text: str) -> int | None:
    """Where the bare words begin under which a text was filed: "ct abdomen, pelvis, kidney, renal mass, bladder,"."""
    tail = text[-_LONGEST_TAIL:].rstrip(" .,\n\t\r")
    opened = max(tail.rfind(mark) for mark in ".;:\n") + 1
    items = [item.strip() for item in tail[opened:].split(",")]
    bare = sum(_BARE_WORD.fullmatch(item) is not None for item in items)
    if opened == 0 or len(items) < _FEWEST_WORDS or bare < _FEWEST_BARE or tail[opened - 1] == ":":
        return None
    if not all(_KEYWORD.fullmatch(item) for item in items):
        return None
    return max(len(text) - _LONGEST_TAIL, 0) + opened


def _alone(text: str, match: re.Match[str]) -> bool:
    """True for a title that fills its line."""
    before = text[max(0, match.start("title") - 4) : match.start("title")]
    return ("\n" in before or match.start("title") < 4) and text[match.end() : match.end() + 1] in {"\n", ""}


def section_at(sections: tuple[Section, ...], position: int) -> str:
    """Name of the section that holds a position."""
    index = bisect_right(sections, position, key=_START) - 1
    return sections[max(index, 0)].name


def split_sentences(text: str, sections: tuple[Section, ...] | None = None) -> tuple[Sentence, ...]:
    r"""Sentences in text order; breaks at full stops, semicolons, list marks and lines that end a statement.

    >>> [s.section for s in split_sentences("FINDINGS: A 3.2 cm cyst. No mass.\nIMPRESSION: Cyst.")]
    ['findings', 'findings', 'impression']
    """
    parts = split_sections(text) if sections is None else sections
    cuts = {0, len(text), *(section.start for section in parts)}
    low = lowered(text)
    for match in (_BREAK_OR_QUOTE if '"' in text else _BREAK).finditer(text):
        if _breaks(text, low, match):
            cuts.add(match.end())
    cuts.update(match.start() for match in _INLINE_ITEM.finditer(text))
    cuts.update(
        match.start() for match in _CAPITAL_BEHIND_WORD.finditer(text) if _RUN_ON.match(text, match.start())
    )
    sentences: list[Sentence] = []
    line, seen = 0, 0
    ordered = limit_cuts(text, sorted(cuts))
    section_starts = [section.start for section in parts]
    for start, end in itertools.pairwise(ordered):
        chunk = text[start:end]
        stripped = chunk.strip(' \t\r\n"•●▪■►')
        if not stripped or (not _WORD.search(stripped) and not any(c.isdigit() for c in stripped)):
            continue
        first = start + chunk.index(stripped)
        line += text.count("\n", seen, first)
        seen = first
        sentences.append(
            Sentence(
                first,
                first + len(stripped),
                parts[max(bisect_right(section_starts, first) - 1, 0)].name,
                line,
                _LIST_ITEM.match(stripped) is not None,
            )
        )
    return tuple(sentences)


def limit_cuts(text: str, cuts: list[int]) -> list[int]:
    """Cut overlong sentences at white space, so that what is done per finding stays bounded."""
    limited = cuts[:1]
    for cut in cuts[1:]:
        while cut - limited[-1] > MAX_SENTENCE_CHARS:
            at = limited[-1] + MAX_SENTENCE_CHARS
            space = text.rfind(" ", limited[-1] + MAX_SENTENCE_CHARS // 2, at)
            limited.append(space if space > 0 else at)
        limited.append(cut)
    return limited


def _breaks(text: str, low: str, match: re.Match[str]) -> bool:
    mark, at = match[0], match.start()
    if mark[0] == "?" and not re.match(r"\s*(?:[A-Z\"•]|$)", text[match.end() : match.end() + 4]):
        return False
    if (
        mark[0] == "."
        and _SPLIT_DECIMAL.search(text, max(0, at - 3), min(len(text), at + 8))
        and not _NUMBERED_PLACE.search(text, max(0, at - 20), at)
    ):
        return False
    if mark[0] == ";" and re.match(r"\s?\d{1,4}\s?[),;]", text[match.end() : match.end() + 8]):
        return False  # "(703; 261)"
    if mark[0] == ";" and _bracketed(text, at):
        return False
    if mark == "\n":
        return _line_ends(text, at)
    if (
        mark[0] == "."
        and (at < 7 or not text[at - 7 : at].isalnum())
        and _ABBREVIATION.search(low[max(0, at - 8) : at])
    ):
        following = text[match.end() : match.end() + 3].lstrip()
        before = text[max(0, at - 4) : at]
        if before[-1:].isdigit():  # "1. Liver" is a list mark, "segment 8. No" an end
            line = text[text.rfind("\n", 0, at) + 1 : at].strip()
            return (
                not (len(line) <= 2 and line.isdigit())
                and not text[max(0, at - 3) : at].strip(" .:,;").isdigit()
            ) or bool(re.search(r"[a-z]{3,}\.?\s{0,2}\d{1,2}$", text[max(0, at - 14) : at], re.IGNORECASE))
        return (
            following[:1].isupper()
            and len(before.strip()) > 1
            and before[-1:].isupper()
            and before[-2:].isupper()
        )
    return True


def _bracketed(text: str, at: int) -> bool:
    """True inside a bracket that opens and closes within a hundred characters on its line."""
    before, after = text[max(0, at - 100) : at], text[at : at + 100].partition("\n")[0]
    opened, closed = before.rfind("("), before.rfind(")")
    return opened > closed and "\n" not in before[opened:] and ")" in after.partition("(")[0]


def _line_ends(text: str, at: int) -> bool:
    """A line break ends a statement unless the next line plainly continues it."""
    rest = text[at + 1 : at + 80].lstrip(" \t\r")
    if not rest or rest[0] in "\n":
        return True
    if _LIST_ITEM.match(rest) or rest[0].isupper():
        previous = text[text.rfind("\n", 0, at) + 1 : at].rstrip()
        wrapped = (
            len(previous) > 68
            and previous[-1:] not in ".:;!?"
            and not _LIST_ITEM.match(rest)
            and (_CAPITALISED.match(rest) is None or _OPEN_END.search(previous) is not None)
        )
        return not wrapped
    before = text[max(0, at - 40) : at].rstrip() or text[:at].rstrip()
    return before[-1:] in {".", ":", ";"} or text[at + 1 : at + 2] == "\n"
