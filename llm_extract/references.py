"""Numbers that are no lengths: dates, series and image numbers, scores, HU, volumes, segments, vertebrae, stages."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Kind = Literal[
    "placeholder", "date", "series_image", "score", "hounsfield", "volume", "segment", "vertebra", "number"
]

_MONTH = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|sept|oct|nov|dec)[a-z]{0,6}\.?"
_ROMAN = r"(?:VIII|VII|VI|IV|V|III|II|I)"
_SEGMENT = rf"(?:[1-8](?![\d.,]\d)|{_ROMAN})\s?(?:[abAB]\b)?"
_PATTERNS: tuple[tuple[Kind, str], ...] = (
    ("placeholder", r"\[[^\[\]\n]{1,40}\]"),
    ("date", r"\b\d{1,2}[./-]\d{1,2}[./-](?:19|20)?\d{2}\b(?!\s?(?:mm|cm))"),
    ("date", r"\b(?:19|20)\d{2}[./-]\d{1,2}[./-]\d{1,2}\b"),
    ("date", rf"\b(?:\d{{1,2}}(?:st|nd|rd|th)?\s)?{_MONTH}\s(?:\d{{1,2}}(?:st|nd|rd|th)?,?\s)?(?:19|20)\d{{2}}\b"),
    ("date", r"\b(?:in|since|of|from|dated)\s(?P<year>(?:19|20)\d{2})\b(?!\s?(?:mm|cm))"),
    ("date", r"\b\d{1,2}:\d{2}(?::\d{2})?\s?(?:am|pm|hours|hrs|h)\b"),
    ("segment", r"\bS(?P<segments>[1-8])\b(?=\s?\)?\s?(?:[Ss]egment|of the liver))"),
    ("segment",
     rf"\b[Ss]eg[a-z]{{0,7}}\.?[\s-]{{0,2}}(?P<segments>{_SEGMENT}"

        rf"(?:\s?(?:,|/|-|–|&|and|or|to|through)\s?(?:and\s"
        rf"|or\s)?(?:[Ss]eg[a-z]{{0,7}}\s)?{_SEGMENT}(?!\s?(?:mm|cm|x|\.\d)))"
     rf"{{0,6}})(?![\w]|[.,]\d|[/:]\d{{2}})"),
    ("series_image",
     r"\b(?:series|ser|se|srs)\.?\s{0,2}#?(?P<s1>\d{1,4})\s{0,2}[,;:/]?\s{0,2}(?:and\s)?"
     r"(?:(?:images?|img|im|slices?|se)\.?\s{0,2}#?|/\s?)(?P<i1>\d{1,4})(?:\s?[-,/&]\s?\d{1,4}\b)?"),
    ("series_image",
     r"\b(?:images?|img|im|slice)\.?\s{0,2}#?(?P<i2>\d{1,4})(?:\s?[-/]\s?\d{1,4})?(?:,?\s(?:of|on|in)?\s?"
     r"(?:the\s)?(?:series|se|ser)\.?\s{0,2}#?(?P<s2>\d{1,4}))?\b(?!\s?(?:mm|cm))"),
    ("series_image", r"\b[Ss](?P<s3>\d{1,3})[,;]?\s?(?:I|Im|i|im)\.?\s?(?P<i3>\d{1,4})\b"),
    ("series_image",
     r"(?<=[(\[,;\s])(?P<s4>\d{1,3})(?:\s?/\s?|:|;\s?(?=\d{1,4}\s?\)))(?P<i4>\d{1,4})(?=[)\],;\s]|[.-](?!\d)|$)"
     r"(?!\s?(?:mm|cm|th|x\s?\d))"),
    ("series_image", r"\bseries\s(?P<s5>\d{1,4})\b"),
    ("score",

        r"\b(?P<system>LI-?RADS|LR|Lung-?RADS|PI-?RADS|TI-?RADS|BI-?RADS|O-?RADS|C-?RADS|RADS|Bosniak"
        r"|Gleason|Fuhrman"

        r"|ISUP|Deauville|Child-?Pugh|MELD|Fleischner)(?:\s?\(?[Cc](?:ategory|lass)\s?\)?|\s?score|\s?type"
        r"|\s?grade)?"

        r"\s?[-:]?\s?(?P<value>\d{1,2}\s?\+\s?\d(?:\s?=\s?\d{1,2})?|\d[A-Za-z]{0,2}\b|IIF|IV|I{1,3}|TIV|M\b"
        r"|TR\d|\d{1,2})"),
    ("hounsfield", r"(?P<hu>[-–]?\s?\d{1,4}(?:[.,]\d)?)(?:\s?(?:-|–|to)\s?-?\d{1,4})?\s?(?:HU|Hounsfield|H\.U\.)"),
    ("volume",
        r"(?P<volume>\d{1,5}(?:[.,]\d{1,2})?)\s?(?P<vunit>cc|ml|cm3|cm³|cubic (?:cm|centimet(?:er|re)s?)"
        r"|mm3|mm³)\b"),
    ("volume", r"(?P<volume2>\d{1,5}(?:[.,]\d{1,2})?)\s?(?P<vunit2>cm³|mm³)"),
    ("vertebra",

        r"\b(?P<vertebra>(?:[CTLS]|Th|D)-?\d{1,2}(?:\s?(?:-|/|,|&|and|–)\s?(?:[CTLS]|Th"
        r"|D)?-?\d{1,2}\b(?!\s?(?:mm|cm|x)))"
     r"{0,4})\b(?!\s?(?:mm|cm))"),
    ("number", r"\b\d{1,3}(?:[.,]\d)?\s?%"),
    ("number", r"\b\d{1,3}[- ](?:year|yr|month|week|day|hour|minute|y/o|yo)s?\b"),
    ("number", r"\b[pc]?T\d[a-d]?\s?N\d|\b\d{1,3}\s?(?:mg|mcg|mL/s|kVp?|mAs?|mSv|kg|lb|grams?|gm?)\b"),
    ("number",
        r"\b(?:age|grade|stage|zone|level|type|phase|no\.|number|#|suv(?: ?max)?(?: "
        r"of)?)\s{0,2}\d{1,4}(?:[.,]\d{1,2})?\b(?!\s?(?:mm|cm|x))"),
    ("number", r"\b\d{1,3}\s?(?:out\s)?of\s\d{1,3}\b(?!\s?(?:mm|cm))"),
    ("number", r"\b\d{1,2}(?:st|nd|rd|th)\b"),
)  # fmt: skip
_COMPILED = tuple(
    (kind, re.compile(pattern, 0 if kind in {"segment", "vertebra"} else re.IGNORECASE))
    for kind, pattern in _PATTERNS
)


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
    for kind, pattern in _COMPILED:
        for match in (m for start, end in windows for m in pattern.finditer(text, start, end)):
            if taken.find(1, match.start(), match.end()) >= 0:
                continue
            fields = tuple(
                (name.rstrip("0123456789"), value)
                for name, value in match.groupdict().items()
                if value is not None
            )
            taken[match.start() : match.end()] = b"\1" * (match.end() - match.start())
            found.append(
                Reference(kind, match.start(), match.end(), tuple((_NAMES.get(k, k), v) for k, v in fields))
            )
    found.sort(key=lambda r: r.start)
    return tuple(found)


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


_TRIGGER = re.compile(r"\d[\d.,:/-]*|[Ss]eg|\[|RADS|osniak")
_REACH = 48
_NAMES = {"s": "series", "i": "image"}
