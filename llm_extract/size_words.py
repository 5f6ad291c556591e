"""Lengths in words: "two centimetres", and bounds such as "subcentimetre" and "too small to characterise"."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from llm_extract.cues import Cue

_WORDS = {
    "half a": 0.5, "one": 1, "a": 1, "one and a half": 1.5, "two": 2, "two and a half": 2.5, "three": 3,
    "three and a half": 3.5, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10,
    "eleven": 11, "twelve": 12,
}  # fmt: skip
_WORD_LENGTH = re.compile(
    r"\b(?P<word>" + "|".join(sorted(map(re.escape, _WORDS), key=len, reverse=True)) + r")[\s-]"
    r"(?P<unit>(?:milli?|centi)met(?:er|re)s?|mm|cm)\b",
)
_LETTER_BEFORE_UNIT = re.compile(r"[\s-](?<=[a-z][\s-])(?:milli?met|centimet|[mc]m)")
"""What every length in words holds, found quickly."""
_SIZE_WORD = Cue(
    r"\b(?P<word>sub-?\s?centimet(?:er|re|ric)s?|sub-?\s?cm|milli?met(?:ric(?:al)?|er-sized|re-sized)"
    r"|milli?met(?:er|re)s?\s(?:in\s)?(?:siz(?:ed?|es)|dimensions?|diameters?)|milli?met(?:er|re) order"
    r"|sub-?\s?milli?met(?:er|re|ric)s?)\b",
    "sub", "mill",
)  # fmt: skip
_TOO_SMALL = Cue(
    r"\b(?P<word>too[\s-]small[\s-](?:to|for)[\s-](?:be[\s-])?"
    r"(?:(?:\w+ly|further|ct|full|definitive|accurate|reliable|confident|proper|better)[\s-](?:and\s)?){0,3}"
    r"(?:characteri[sz](?:e|ed|ation)|classif(?:y|ied|ication)|measured?)|tstc)\b",
    "too", "tstc",
)  # fmt: skip
_OF_SOME = re.compile(
    r"\b(?:not|(?:some|most|many|several|few|one|two|three|majority|others?|rest|remaining|remainder|rem\w+ ones)"
    r"(?:\sof\s(?:which|these|them|those|the\s\w+))?(?:,?\s(?:which\s)?(?:is|are|were|being|remains?))?)"
    r"(?:\s\w+ly)?\s$"
)
"""Reads "some of which are", "the others": the bound of a few is not that of all."""


class WordLength(NamedTuple):
    """One length in words.

    Args:
        start, end: code points of the words.
        value_mm: the length, or its upper bound.
        precision_mm: half a unit; 0 for a bound.
        is_bound: True for "millimetric", "subcentimetre" and "too small to characterise", which is 10 mm at most.
    """

    start: int
    end: int
    value_mm: float
    precision_mm: float
    is_bound: bool


def lengths_in_words(low: str) -> Iterator[WordLength]:
    """All lengths in words, given lower case.

    >>> [(w.value_mm, w.is_bound) for w in lengths_in_words("two centimeters; a subcentimeter nodule")]
    [(20.0, False), (10.0, True)]
    """
    for match in _WORD_LENGTH.finditer(low) if _LETTER_BEFORE_UNIT.search(low) else ():
        factor = 10.0 if match["unit"].startswith("c") else 1.0
        if match["word"] in {"a", "one"} and factor == 1.0:
            continue
        yield WordLength(*match.span(), _WORDS[match["word"]] * factor, 0.5 * factor, is_bound=False)
    for match in _SIZE_WORD.finditer(low):
        word = match["word"].replace(" ", "").replace("-", "")
        yield WordLength(*match.span(), 1.0 if word.startswith("submil") else 10.0, 0.0, is_bound=True)
    for match in _TOO_SMALL.finditer(low):
        if not _OF_SOME.search(low, max(0, match.start() - 60), match.start()):
            yield WordLength(*match.span(), 10.0, 0.0, is_bound=True)
