"""Numbers that are no lengths: dates, series and image numbers, scores, HU, volumes, segments, vertebrae, stages."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from llm_extract.lower_case import lowered

Kind = Literal[
    "placeholder", "date", "series_image", "score", "hounsfield", "volume", "segment", "vertebra", "number"
]

_MONTH = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|sept|oct|nov|dec)[a-z]{0,6}\.?"
_ROMAN = r"(?:VIII|VII|VI|IV|V|III|II|I)"
_SEGMENT = rf"(?:[1-8](?![\d.,]\d)|{_ROMAN})\s?(?:[abAB]\b)?"
_PATTERNS: tuple[tuple[Kind, tuple[str, ...], str], ...] = (
    ("placeholder", ("[",), r"\[[^\[\]\n]{1,40}\]"),
    ("date", ("0/0", "0.0", "0-0"), r"\b\d{1,2}[./-]\d{1,2}[./-](?:19|20)?\d{2}\b(?!\s?(?:mm|cm))"),
    ("date", ("0000/", "0000.", "0000-"), r"\b(?:19|20)\d{2}[./-]\d{1,2}[./-]\d{1,2}\b"),
    ("date", ("0000",),
     rf"\b(?:\d{{1,2}}(?:st|nd|rd|th)?\s)?{_MONTH}\s(?:\d{{1,2}}(?:st|nd|rd|th)?,?\s)?(?:19|20)\d{{2}}\b"),
    ("date", (" 0000",), r"\b(?:in|since|of|from|dated)\s(?P<year>(?:19|20)\d{2})\b(?!\s?(?:mm|cm))"),
    ("date", ("0:00",), r"\b\d{1,2}:\d{2}(?::\d{2})?\s?(?:am|pm|hours|hrs|h)\b"),
    ("segment", ("s0",), r"\bS(?P<segments>[1-8])\b(?=\s?\)?\s?(?:[Ss]egment|of the liver))"),
    ("segment", ("s0",), r"(?:(?<=[Ll]iver\s)|(?<=[Hh]epatic\s))S(?P<segments>[1-8])\b"),
    ("segment", ("seg",),
     rf"\b(?:[Ss]eg[a-z]{{0,7}}|SEG(?:MENTS?)?)\.?[\s-]{{0,2}}S?(?P<segments>{_SEGMENT}(?!\s?(?:mm|cm|[x×]\s?\d))"
     rf"(?:\s?(?:,|/|-|–|&|and|or|to|through|AND|OR|TO)\s?(?:and\s|AND\s"
     rf"|or\s)?(?:[Ss]eg[a-z]{{0,7}}\s)?{_SEGMENT}(?!\s?(?:mm|cm|x|\.\d)))"
     rf"{{0,6}})(?![\w]|[.,]\d|[/:]\d{{2}})"),
    ("series_image", ("ser", "srs", "se.", "se ", "se#", "se0"),
     r"\b(?:series|ser|se|srs)\.?\s{0,2}#?(?P<s1>\d{1,4})\s{0,2}[,;:/]?\s{0,2}(?:and\s)?"
     r"(?:(?:images?|img|im|slices?|se)\.?\s{0,2}#?|/\s?)(?P<i1>\d{1,4})(?:\s?[-,/&]\s?\d{1,4}\b)?"),
    ("series_image", ("image", "img", "slice", "im.", "im ", "im#", "im0"),
     r"\b(?:images?|img|im|slice)\.?\s{0,2}#?(?P<i2>\d{1,4})(?:\s?[-/]\s?\d{1,4})?(?:,?\s(?:of|on|in)?\s?"
     r"(?:the\s)?(?:series|se|ser)\.?\s{0,2}#?(?P<s2>\d{1,4}))?\b(?!\s?(?:mm|cm))"),
    ("series_image", ("s0",), r"\bs(?P<s3>\d{1,3})[,;]?\s?(?:i|im)\.?\s?(?P<i3>\d{1,4})\b"),
    ("series_image", ("0/", "0 /", "0:0", "0;"),
     r"(?<=[(\[,;\s])(?P<s4>\d{1,3})(?:\s?/\s?|:|;\s?(?=\d{1,4}\s?\)))(?P<i4>\d{1,4})(?=[)\],;\s]|[.-](?!\d)|$)"
     r"(?!\s?(?:mm|cm|th|x\s?\d))"),
    ("series_image", ("series 0",), r"\bseries\s(?P<s5>\d{1,4})\b"),
    ("score", ("rads", "lr", "bosniak", "gleason", "fuhrman", "isup", "deauville", "child", "meld", "fleischner"),
     r"\b(?P<system>li-?rads|lr|lung-?rads|pi-?rads|ti-?rads|bi-?rads|o-?rads|c-?rads|rads|bosniak"
     r"|gleason|fuhrman"
     r"|isup|deauville|child-?pugh|meld|fleischner)(?:\s?\(?c(?:ategory|lass)\s?\)?|\s?score|\s?type"
     r"|\s?grade)?"
     r"\s?[-:]?\s?(?P<value>\d{1,2}\s?\+\s?\d(?:\s?=\s?\d{1,2})?|\d[a-z]{0,2}\b|iif|iv|i{1,3}|tiv|m\b"
     r"|tr\d|\d{1,2})"),
    ("hounsfield", ("0h", "0 h"),
     r"(?P<hu>[-–]?\s?\d{1,4}(?:[.,]\d)?)(?:\s?(?:-|–|to)\s?-?\d{1,4})?\s?(?:hu|hounsfield|h\.u\.)"),
    ("volume", ("0cc", "0 cc", "0ml", "0 ml", "cm0", "mm0", "cm³", "mm³", "0cubic", "0 cubic"),
     r"(?P<volume>\d{1,5}(?:[.,]\d{1,2})?)\s?(?P<vunit>cc|ml|cm3|cm³|cubic (?:cm|centimet(?:er|re)s?)"
     r"|mm3|mm³)\b"),
    ("volume", ("cm³", "mm³"), r"(?P<volume2>\d{1,5}(?:[.,]\d{1,2})?)\s?(?P<vunit2>cm³|mm³)"),
    ("vertebra", ("c0", "t0", "l0", "s0", "h0", "d0", "c-0", "t-0", "l-0", "s-0", "h-0", "d-0"),
     r"\b(?P<vertebra>(?:[CTLS]|Th|D)-?\d{1,2}(?:\s?(?:-|/|,|&|and|–)\s?(?:[CTLS]|Th"
     r"|D)?-?\d{1,2}\b(?!\.\d|[,–-]\d{1,2}\s?(?:mm|cm|x)|\s?(?:mm|cm|x)))"
     r"{0,4})\b(?!\s?(?:mm|cm))"),
    ("number", ("0%", "0 %"), r"\b\d{1,3}(?:[.,]\d)?\s?%"),
    ("number", ("0 y", "0-y", "0 mo", "0-mo", "0 w", "0-w", "0 d", "0-d", "0 h", "0-h", "0 mi", "0-mi"),
     r"\b\d{1,3}[- ](?:year|yr|month|week|day|hour|minute|y/o|yo)s?\b"),
    ("number",
     ("t0", "0mg", "0 mg", "0mc", "0 mc", "0ml", "0 ml", "0k", "0 k", "0ma", "0 ma", "0ms", "0 ms", "0l", "0 l", "0g",
      "0 g"),
     r"\b[pc]?t\d[a-d]?\s?n\d|\b\d{1,3}\s?(?:mg|mcg|ml/s|kvp?|mas?|msv|kg|lb|grams?|gm?)\b"),
    ("number", ("age", "grade", "stage", "zone", "level", "type", "phase", "no.", "number", "#", "suv"),
     r"\b(?:age|grade|stage|zone|level|type|phase|no\.|number|#|suv(?: ?max)?(?: "
     r"of)?)\s{0,2}\d{1,4}(?:[.,]\d{1,2})?\b(?!\s?(?:mm|cm|x))"),
    ("number", ("of 0",), r"\b\d{1,3}\s?(?:out\s)?of\s\d{1,3}\b(?!\s?(?:mm|cm))"),
    ("number", ("0st", "0nd", "0rd", "0th"), r"\b\d{1,2}(?:st|nd|rd|th)\b"),
)  # fmt: skip
"""Kind, what the outline of a text must hold one of for the pattern to be tried at all, and the pattern.

All but those of segments and vertebrae are read in lower case.
"""
_AS_WRITTEN = frozenset({"segment", "vertebra"})
_COMPILED = tuple((kind, needs, re.compile(pattern)) for kind, needs, pattern in _PATTERNS)
_OUTLINE = {
    code: "0" if chr(code).isdigit() else " "
    for code in range(128)
    if not chr(code).strip() or chr(code).isdigit()
}
_DIGIT = re.compile(r"\d")
_BLANK = re.compile(r"\s")


@dataclass(frozen=True, slots=True)
class Reference:
    """A number or a group of numbers that is no length.

    Args:
        kind: what it is.
        start, end: code points.
        fields: the parts that later steps read, such as ``series`` and ``image``.
    """

    kind: Kind
    start: int
    end: int
    fields: tuple[tuple[str, str], ...] = ()

    def get(self, name: str) -> str | None:
        """The field of that name, or None."""
        return next((value for key, value in self.fields if key == name), None)


def scan_references(text: str) -> tuple[Reference, ...]:
    """All of them, in text order and without overlaps; earlier patterns win.

    >>> [(r.kind, r.get("image")) for r in scan_references("a nodule (4/112), seen on 5/12/2020")]
    [('series_image', '112'), ('date', None)]
    """
    found: list[Reference] = []
    taken = bytearray(len(text))
    windows = _windows(text)
    if not windows:
        return ()
    low = lowered(text)
    outline = _outline("\n".join(low[start:end] for start, end in windows))
    for kind, needs, pattern in _COMPILED:
        for need in needs:
            if need in outline:
                break
        else:
            continue
        searched = text if kind in _AS_WRITTEN else low
        for match in (m for start, end in windows for m in pattern.finditer(searched, start, end)):
            if taken.find(1, match.start(), match.end()) >= 0:
                continue
            taken[match.start() : match.end()] = b"\1" * (match.end() - match.start())
            found.append(Reference(kind, match.start(), match.end(), _fields(text, match)))
    found.sort(key=lambda r: r.start)
    return tuple(found)


def _fields(text: str, match: re.Match[str]) -> tuple[tuple[str, str], ...]:
    """The named parts of a match as the text writes them; numbers at the end of a name only tell patterns apart."""
    fields = []
    for name in match.re.groupindex:
        start, end = match.span(name)
        if start >= 0:
            plain = name.rstrip("0123456789")
            fields.append((_NAMES.get(plain, plain), text[start:end]))
    return tuple(fields)


def _outline(low: str) -> str:
    """The text with every digit a 0 and every white space a blank."""
    return low.translate(_OUTLINE) if low.isascii() else _DIGIT.sub("0", _BLANK.sub(" ", low))


def _windows(text: str) -> list[tuple[int, int]]:
    """Stretches that can hold such a number at all: around digits, brackets, and words that take Roman numerals."""
    windows: list[tuple[int, int]] = []
    for match in _TRIGGER.finditer(text):
        start, end = max(0, match.start() - _REACH), min(len(text), match.end() + _REACH)
        covered = windows[-1][1] if windows else 0
        end = max(end, covered)  # what is covered is not walked through again
        while start > covered and not text[start - 1].isspace():
            start -= 1
        while end < len(text) and not text[end].isspace():
            end += 1
        if windows and start <= windows[-1][1]:
            windows[-1] = (windows[-1][0], end)
        else:
            windows.append((start, end))
    return windows


_TRIGGER = re.compile(r"[\d\[SsRo](?:(?<=\d)[\d.,:/-]*|(?<=\[)|(?<=[Ss])eg|(?<=S)EG|(?<=R)ADS|(?<=o)sniak)")
_REACH = 48
_NAMES = {"s": "series", "i": "image"}
