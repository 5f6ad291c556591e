"""Side of the body that a finding lies on, from the words of its stretch."""

from __future__ import annotations

import re
from collections.abc import Sequence

from llm_extract.anatomy import Anatomy
from llm_extract.lower_case import lowered
from llm_extract.references import Reference
from llm_extract.rules.lexicon import Mark
from llm_extract.rules.neighbours import RELATION, is_asked, is_level, same_phrase

_NOT_SIDE = re.compile(r"\b(?:not|rather than|instead of)\s(?:in\s|on\s)?(?:the\s)?$", re.IGNORECASE)


_LEFT_OVER = re.compile(
    r"(?:ventricle|atrium|heart|main(?!\s(?:stem\s)?bronch)|coronary|portal|hepatic vein|renal vein|leg|arm)\b",
    re.IGNORECASE,
)


_MOSTLY = re.compile(
    r"\b(?:mostly|mainly|predominantly|predominant|predominance|more|most|especially|particularly|prominent(?:ly)?|larger"
    r"|largest|dominant|large|marked(?:ly)?)\b(?:\s[\w-]+){0,7}\s$",
    re.IGNORECASE,
)
"""Reads "in both lungs, mostly on the right": where there are more of them is not the side of all."""
_MORE_IN = re.compile(
    r"\b(?:mostly|mainly|predominantly|especially|particularly|(?:most|majority) of (?:them|these|which|the lesions)"
    r"|more (?:prominent(?:ly)?|in|on|common|intense\w*))\b"
    r"(?:\s[\w-]+){0,7}\s$",
    re.IGNORECASE,
)
_THAN = re.compile(
    r"(?:left|right)(?:\s?-?\s?(?:side[d]?|kidney|lung|lobe))?\s(?:(?:is|are|much|slightly)\s){0,2}(?:larger|greater|more|bigger|worse|>)"
    r"(?:\s[\w-]+){0,3}?\s(?:than|left|right)\b"
)
_BEHIND_THAN = re.compile(r"(?:\bthan|>)\s(?:(?:on|in|the|those)\s){0,3}$")


def one_side(low: str, start: int) -> bool:
    """True unless a side is only where there are more or larger ones: "mostly on the right", "right larger than left".

    Args:
        low: the text, in lower case.
        start: where in it the word for the side begins.
    """
    if _THAN.match(low, start) or _BEHIND_THAN.search(low, max(0, start - 20), start):
        return False
    return _MORE_IN.search(low, max(0, start - 60), start) is None


def without_most(
    text: str, marks: Sequence[Mark], references: Sequence[Reference]
) -> tuple[Sequence[Mark], Sequence[Reference]]:
    """Places without those that only say where there are more: "in both lungs, mostly in the right lower lobe"."""
    both = next((m for m in marks if m.category == "side" and m.value == "bilateral"), None)
    if both is None:
        return marks, references

    def is_all(start: int) -> bool:
        return start <= both.start or not _MORE_IN.search(text[max(both.end, start - 60) : start])

    placing = {"place", "short", "side"}
    return [m for m in marks if m.category not in placing or is_all(m.start)], [
        r for r in references if is_all(r.start)
    ]


_SIDE_WORD = re.compile(r"(?:left|right)\b", re.IGNORECASE)
_SIDE_BREAK = re.compile(r"[,;:(]|\b(?:and|while|with|but|which|there)\b", re.IGNORECASE)


def both_sides(
    places: Sequence[Mark], organ: str | None, anatomy: Anatomy
) -> tuple[str | None, tuple[tuple[int, int], ...]]:
    """Reads "cysts in the kidneys": the plural of a paired organ."""
    if organ is None or not anatomy.organs[organ].paired:
        return None, ()
    both = next((m for m in usable_nouns(places, organ) if m.plural), None)
    return ("bilateral", ((both.start, both.end),)) if both is not None else (None, ())


def usable_nouns(places: Sequence[Mark], organ: str) -> list[Mark]:
    """Nouns, not adjectives, that name an organ as a whole."""
    return [m for m in places if m.value.organ == organ and not m.value.adjective and not m.value.part]


def _of_neighbour(text: str, side: Mark, head: Mark | None, own: Sequence[Mark]) -> bool:
    """True for the side of something that the finding is only next to; a level and the own organ are none."""
    if RELATION.search(lowered(text[max(0, side.start - 40) : side.start])) is None or is_level(text, side):
        return False
    if head is not None and side.end <= head.start and same_phrase(text[side.end : head.start]):
        return False
    return not any(0 < p.start - side.end < 3 for p in own)


def _side_words(text: str, marks: Sequence[Mark], organ: str | None) -> list[Mark]:
    """Reads "the right lateral wall of the trachea": the side in the name of a part that another organ has."""
    found = []
    for mark in marks:
        side = _SIDE_WORD.match(text, mark.start, mark.end) if mark.category == "short" else None
        if side is not None and all(owner != organ for owner, _ in mark.value.candidates):
            found.append(Mark(side.start(), side.end(), "side", side[0].lower()))
    return found


_AND_SIDE = re.compile(
    r"\s?(?:and|/|&|(?:(?:is|are)\s)?(?:larger|greater|more|>)(?:\sthan)?)\s?(?:the\s)?", re.IGNORECASE
)
"""Reads "left and right", "right greater than left"."""


def _of_noun_phrase(text: str, sides: list[Mark], head: Mark | None) -> list[Mark]:
    """Reads "left kidney mass 3 cm, right kidney 11 cm": the side in the name of a finding outranks one behind."""
    if head is None or len(sides) < 2:
        return sides
    own = [m for m in sides if m.end <= head.start and same_phrase(text[m.end : head.start])]
    if not own:
        return sides
    return [m for m in sides if m.start < head.start or not _SIDE_BREAK.search(text, head.end, m.start)]


def _compared(text: str, side: Mark) -> bool:
    """True for the sides of "right larger than left"."""
    behind = _THAN.match(lowered(text[side.start : side.start + 60]))
    return (
        behind is not None
        or _BEHIND_THAN.search(lowered(text[max(0, side.start - 20) : side.start])) is not None
    )


def side_of(
    text: str, marks: Sequence[Mark], head: Mark | None, own: Sequence[Mark], *, organ: str | None
) -> tuple[str | None, tuple[tuple[int, int], ...]]:
    """The side that counts, and its words: the nearest one that is not only a neighbour's.

    Args:
        text: the whole report.
        marks: place, short and side marks of the stretch.
        head: the finding.
        own: places whose side is that of the finding, also where it is only next to them.
        organ: organ of the finding.
    """
    sides = [
        m for m in sorted((*marks, *_side_words(text, marks, organ)), key=lambda m: m.start)
        if m.category == "side" and not _NOT_SIDE.search(text[max(0, m.start - 24) : m.start])
        and not _LEFT_OVER.match(text[m.end + 1 : m.end + 14]) and not is_asked(text, m.end)
        and not _of_neighbour(text, m, head, own)
    ]  # fmt: skip
    if not sides:
        return None, ()
    if any(m.value == "bilateral" for m in sides):
        most = [
            m for m in sides if _MOSTLY.search(text[max(0, m.start - 50) : m.start]) or _compared(text, m)
        ]
        sides = [m for m in sides if m not in most or m.value == "bilateral"]
    values = {m.value for m in sides}
    if {"left", "right"} <= values and len(sides) <= 3 and not {"bilateral", "midline"} & values:
        first, second = sides[0], sides[1]
        if _AND_SIDE.fullmatch(text, first.end, second.start):
            return "bilateral", tuple((m.start, m.end) for m in sides[:2])
    anchor = head.start if head is not None else sides[0].start
    sides = _of_noun_phrase(text, sides, head)
    best = min(
        sides,
        key=lambda m: (
            abs(m.start - anchor)
            + (60 if m.value == "bilateral" and len(values) > 1 else 0)
            + (
                120
                if m.end <= anchor and head is not None and _SIDE_BREAK.search(text[m.end : anchor])
                else 0
            )
        ),
    )
    return best.value, ((best.start, best.end),)
