"""Places that the lesions of one list take from each other: "nodules: right upper pole 4 cm, left 2 cm"."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from llm_extract.rules.lexicon import Mark
from llm_extract.rules.locations import Location
from llm_extract.rules.mentions import Mention, place_marks
from llm_extract.rules.neighbours import is_neighbour
from llm_extract.rules.pieces import Piece
from llm_extract.rules.statements import Statement


def shared_places(own: Sequence[Mark], shared: Piece) -> list[Mark]:
    """Places that a lesion of a list takes from the one that states them, for what it does not say itself."""
    found = [m for m in shared.marks if m.category == "place"]
    if any(m.category in {"short", "side"} for m in own):
        found = [m for m in found if not m.value.part] or [_whole_organ(m) for m in found[:1]]
    for category in ("short", "side"):
        if not any(m.category == category for m in own):
            found += [m for m in shared.marks if m.category == category]
    if any(part.endswith("isthmus") for m in own if m.category == "short" for _, part in m.value.candidates):
        found = [m for m in found if m.category != "side"]
    if _is_of_other_side(own, shared):
        found = [m for m in found if m.category != "short"]
    return found


def _is_of_other_side(own: Sequence[Mark], shared: Piece) -> bool:
    """Reads "right upper pole 4 cm, left 2 cm"; not "upper poles, 4 cm on the right and 2 cm on the left"."""
    mine = {m.value for m in own if m.category == "side"}
    before = {m.value for m in shared.marks if m.category == "side" and m.start < shared.sizes[0].start}
    return bool(mine) and bool(before & {"left", "right"}) and not mine & before


_BARE_NUMBER = re.compile(r"(?:,|\band)\s(?:[1-8]|[IV]{1,4})[abAB]?\s?\(\s?$")
"""Reads "segments 7 (3 cm) and 4 (1 cm)": a segment that only its number names."""
_POSITION = re.compile(
    r"\b(?:(?:antero|postero)?(?:lateral|medial)|anterior|posterior|superior|inferior|ventral|dorsal)(?:ly)?\b(?!\sto\b)",
    re.IGNORECASE,
)
"""Reads "3 cm anterior fundal, 2 cm posterior"."""
_UNKNOWN_PLACE = re.compile(
    r"\b(?:in|at|of|on)\s(?:the\s)?(?:[\w-]+\s){1,3}(?:segments?|lobes?|regions?|areas?|zones?|parts?|portions?|sides?|aspects?)\b",
    re.IGNORECASE,
)


def names_unknown_place(statement: Statement, piece: Piece) -> bool:
    """True for a lesion of a list whose own place is none of the known words: it does not lie where the others do."""
    if any(m.category in {"place", "short", "side"} for m in piece.marks) or piece.references:
        return False
    text = statement.text[piece.start - statement.start : piece.end - statement.start]
    if _POSITION.search(text):
        return True
    before = statement.text[: piece.sizes[0].start - statement.start]
    return _UNKNOWN_PLACE.search(text) is not None or _BARE_NUMBER.search(before[-16:]) is not None


def comes_after_two(piece: Piece, placed: Sequence[Piece]) -> bool:
    """True for a lesion without a place behind lesions of two different places: it may lie in either."""
    if any(m.category in {"short", "side"} for m in piece.marks):
        return False
    before = [p for p in placed if p.end <= piece.start]
    return len({_place_of(p) for p in before}) > 1


def _place_of(piece: Piece) -> tuple[object, ...]:
    """What tells the place of one lesion of a list from that of another."""
    segments = (r.get("segments") for r in piece.references if r.kind == "segment")
    return (*((m.category, m.value) for m in place_marks(piece.marks)), *segments)


def shared_with(piece: Piece, placed: Sequence[Piece], text: str) -> Piece | None:
    """The lesion of a list whose organ one without takes: the first, or the one before it if only its side is told."""
    if any(m.category == "side" for m in piece.marks):
        before = [
            p for p in placed if p.end <= piece.start
            and any(m.category == "place" and not is_neighbour(text, m, None) for m in p.marks)
        ]  # fmt: skip
        if before:
            return before[-1]
    return placed[0] if placed else None


def organ_alone(made: Mention, before: Sequence[Mention]) -> tuple[str, Location]:
    """Organ of the lesions listed before; neither their part nor their side."""
    organ = before[-1].organ if before else made.organ
    return organ, Location(organ if organ != "other" else None, certain=False)


def _whole_organ(mark: Mark) -> Mark:
    """The organ of a place, without its part."""
    return replace(mark, value=replace(mark.value, part=None))
