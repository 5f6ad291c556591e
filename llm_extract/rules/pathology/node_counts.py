"""Numbers of lymph nodes, in figures and words, and how many of them hold tumour where no ratio says so."""

from __future__ import annotations

import re
from collections.abc import Iterator

_ONES = {
    "one": 1, "single": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9,
    "ten": 10, "eleven": 11, "twelve": 12, "thirteen": 13, "fourteen": 14, "fifteen": 15, "sixteen": 16,
    "seventeen": 17, "eighteen": 18, "nineteen": 19,
}  # fmt: skip
_TENS = {
    "twenty": 20, "thirty": 30, "forty": 40, "fourty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80,
    "ninety": 90,
}  # fmt: skip
_DIGIT = "one|two|three|four|five|six|seven|eight|nine"
NUMBER = rf"(?:\d{{1,3}}|(?:{'|'.join(_TENS)})(?:[-\s](?:{_DIGIT}))?|(?<!ty-)(?<!ty\s)(?:{'|'.join(_ONES)})|no|none)"
"""Pattern of a number: "31", "thirty-one", "none"."""

_NODES = rf"\b(?P<of>{NUMBER})\s(?:\(\d{{1,3}}\)\s)?(?:[\w-]+\s){{0,3}}?nodes?"
_SEEN = (
    r"(?:\s(?:were\s|are\s|have been\s)?(?:examined|identified|found|recovered|dissected|sampled|present|retrieved"
    r"|received|seen))?"
)
_HOLD = (
    r"(?:with|contain\w*|positive|shows?|showing|involved|having|has|have|harbou?r\w*|display\w*|bear\w*|hold\w*"
    r"|(?:is|are|was|were)\s(?:positive|involved|replaced|infiltrated)|(?:\w{0,5}-?)metasta\w+)"
)
_SOME = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"{_NODES}{_SEEN}\s?[,;:(]?\s{{0,2}}of\s(?:which|these|them)\s(?P<n>{NUMBER})\b",
        rf"{_NODES}{_SEEN}\s?[,;:(]\s{{0,2}}(?P<n>{NUMBER})\s(?:of\s(?:which|these|them)|{_HOLD})\b",
        rf"{_NODES}{_SEEN},?\swith\s(?:\w+\s){{0,3}}?\w{{0,5}}-?metasta\w+\s(?:of\s(?:\w+\s){{1,3}})?in\s(?P<n>{NUMBER})\b",
        rf"\bof\s(?:the\s)?{_NODES}{_SEEN},?\s(?P<n>{NUMBER})\b",
        rf"\bnodes?\b[^.;]{{0,20}}?\b(?P<of>{NUMBER})\s(?:examined|identified|found|recovered|dissected|sampled|retrieved)"
        rf"\s?[,;:(]\s{{0,2}}(?P<n>{NUMBER})\s{_HOLD}\b",
    )
)
"""All nodes and then those with tumour: "two nodes, of which one holds a metastasis", "12 nodes, 3 positive"."""


def some_of(text: str) -> Iterator[re.Match[str]]:
    """Where so many nodes are named and then how many of them hold tumour, as groups ``of`` and ``n``.

    >>> [(m["n"], m["of"]) for m in some_of("twenty-two nodes, of which three contain metastases")]
    [('three', 'twenty-two')]
    """
    for pattern in _SOME:
        yield from pattern.finditer(text)


def number_of(word: str | None) -> int | None:
    """Value of a number in figures or words.

    >>> number_of("thirty-one"), number_of("None"), number_of("12"), number_of("several")
    (31, 0, 12, None)
    """
    lowered = (word or "").lower()
    if lowered in {"no", "none"}:
        return 0
    if lowered.isdigit():
        return int(lowered)
    tens, _, ones = lowered.replace(" ", "-").partition("-")
    if tens in _TENS:
        return _TENS[tens] + _ONES.get(ones, 0)
    return _ONES.get(lowered)


def roman_of(word: str) -> int | None:
    """Value of a Roman number below 90, or None for letters that make none.

    >>> roman_of("XVII"), roman_of("IX"), roman_of("IIX")
    (17, 9, None)
    """
    if re.fullmatch(r"(?:L?X{0,3}|XL)(?:IX|IV|V?I{0,3})", word) is None:
        return None
    values = [{"I": 1, "V": 5, "X": 10, "L": 50}[letter] for letter in word]
    return sum(-v if v < max(values[i:]) else v for i, v in enumerate(values))
