"""Where the words of one finding end and those of the next begin, and what only joins two places."""

from __future__ import annotations

import itertools
import re

from llm_extract.rules.lexicon import Mark
from llm_extract.rules.statements import Statement

_SEPARATOR = re.compile(
    r"[,;(•]|\b(?:and|with|plus|as well as|in addition to|along with|including|while|but|whereas|also"
    r"|another|or|other than|which|there (?:is|are))\b|\s-\s|:",
    re.IGNORECASE,
)


# every word is read in one way only: repeated readings of one word would multiply
_MODIFIERS = re.compile(
    r"\s{0,2}(?:and\s|with\s)?(?>(?:an?|the|another|additional|one|two|three|up to|approximately|about"
    r"|small|large|new|stable|left|right)\b|an?(?=\d)|[\d.,]+|×|(?:x|mm|cm|by)(?![^\W\d])|\s|-"
    r"|\w+\b(?:(?<=\wed)|(?<=\wing)|(?<=\wal)|(?<=\wic)|(?<=\wous)|(?<=\war)|(?<=\wary)|(?<=\wense)|(?<=\wle)"
    r"|(?<=\wly)))*\s{0,2}",
    re.IGNORECASE,
)


_DENIED = re.compile(r"[,;(]?\s?(?:and\s)?(?:without|no)\b", re.IGNORECASE)
"""Reads "a mass, 6 cm, without nodules": what is denied has no size."""
_NO_STOP = re.compile(r"(?<=[)\w])\s(?=No\s[a-z])")
"""Reads "a node (5:12) No enlarged nodes": a sentence whose full stop is missing."""
_JOINING = re.compile(r"(?:\s?,)?\s?(?:and|or|/|&|,)\s?(?:the\s)?", re.IGNORECASE)


def cut_between(statement: Statement, left: int, right: int) -> int:
    """The last separator between two findings that is not inside the noun phrase of the second."""
    gap = statement.text[left - statement.start : right - statement.start]
    denial = _NO_STOP.search(gap)
    if denial is not None:
        return left + denial.start()
    masked = _mask(statement, left, right, gap)
    cuts = [m.start() for m in _SEPARATOR.finditer(masked)]
    if not cuts:
        return left
    chosen = len(cuts) - 1
    while chosen > 0 and not _DENIED.match(gap, cuts[-1]):
        piece = gap[cuts[chosen - 1] : cuts[chosen]].lstrip(",;:( ")
        piece = re.sub(r"^(?:and|with|plus|also)\s", "", piece, flags=re.IGNORECASE)
        if not piece or not _MODIFIERS.fullmatch(piece):
            break
        chosen -= 1
    return left + cuts[chosen]


def joined_places(
    statement: Statement, start: int | None = None, end: int | None = None
) -> list[tuple[int, int]]:
    """The words between two places of one organ, or two sides, that only join them; in a stretch if one is given."""
    low = statement.start if start is None else start
    high = statement.start + len(statement.text) if end is None else end
    places = [m for m in statement.marks if m.category in {"place", "short", "side"}]
    found = []
    for left, right in itertools.pairwise(places):
        if right.start <= low or left.end >= high:
            continue
        gap = statement.text[left.end - statement.start : right.start - statement.start]
        if _JOINING.fullmatch(gap) and _same_organ(left, right):
            found.append((left.end, right.start))
    return found


def _same_organ(left: Mark, right: Mark) -> bool:
    if left.category == "side" or right.category == "side":
        return left.category == right.category
    owners = [
        {o for o, _ in m.value.candidates} if m.category == "short" else {m.value.organ}
        for m in (left, right)
    ]
    return bool(owners[0] & owners[1])


def _mask(statement: Statement, left: int, right: int, gap: str) -> str:
    """Hide separators inside sizes, segment lists, image numbers and joined places ("body and tail")."""
    chars = list(gap)
    inside = [(m.start, m.end) for m in statement.measurements if m.start < right and m.end > left]
    inside += [(r.start, r.end) for r in statement.references if r.start < right and r.end > left]
    inside += joined_places(statement, left, right)
    for start, end in inside:
        for at in range(max(start, left), min(end, right)):
            chars[at - left] = "_"
    return "".join(chars)
