"""Where the largest lesion of a group lies, and where the whole group does."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

from llm_extract.measurements import Measurement
from llm_extract.references import Reference
from llm_extract.rules.heads import Head
from llm_extract.rules.lexicon import Mark
from llm_extract.rules.mentions import place_marks
from llm_extract.rules.neighbours import is_neighbour
from llm_extract.rules.pieces import Piece
from llm_extract.rules.statements import Statement

_ALL_ARE = re.compile(
    r",?\s(?:are|were|have been)\s(?:also\s)?(?:seen|observed|noted|present|detected|identified"
    r"|visuali[sz]ed|scattered)\b",
    re.IGNORECASE,
)
_IN_BOTH = re.compile(r"\s(?:in|at|of)\s(?:the\s)?(?:[\w-]+\s(?:of|in)\s(?:the\s)?)?both\b", re.IGNORECASE)
"""Reads "nodules, the largest of 9 mm on the right, in both lungs": both is where all of them are."""


def placed_index(
    statement: Statement,
    head: Head,
    sizes: Sequence[Measurement],
    marks: Sequence[Mark],
    references: Sequence[Reference],
) -> Mark | None:
    """Reads "nodules of 7 mm in both lungs, the largest in the left lower lobe": the size is the largest one's."""
    if not head.plural or len(sizes) != 1 or sizes[0].worded:
        return None
    index = next((m for m in marks if m.category == "index" and m.start > sizes[0].start), None)
    before = [m for m in marks if m.category in {"place", "short"} and m.start > head.start]
    if index is None or index.start < head.mark.end:
        return None
    segments = [r for r in references if r.kind == "segment" and r.start > index.start]
    placed = bool(segments) or any(m.start > index.start for m in before)
    stated = any(m.start < index.start for m in before) or _IN_BOTH.search(
        statement.text, index.end - statement.start, head.end - statement.start
    )
    return index if placed and stated else None


def marks_of_all(head: Head, marks: Sequence[Mark]) -> list[Mark]:
    """Marks of a group without the place of its largest lesion: "in both lungs, the largest in the right one"."""
    index = next((m.start for m in marks if m.category == "index" and m.start > head.mark.end), None)
    where = place_marks(marks)
    if index is None or not head.plural or not any(m.start < index and m.category != "side" for m in where):
        return list(marks)
    return [m for m in marks if m.start < index or m not in where]


def start_of_all(statement: Statement, sizes: Sequence[Measurement], index: Mark, head: Head) -> int | None:
    """Where in "nodules, the largest 5 mm, were observed in both lungs" the words on all of them begin."""
    first = next((m for m in sizes if m.start > index.start), None)
    low, high = (first or index).end - statement.start, head.end - statement.start
    found = _ALL_ARE.search(statement.text, low, high) if first is not None else None
    found = found or _IN_BOTH.search(statement.text, low, high)
    return None if found is None else statement.start + found.start()


def lies_on_both_sides(text: str, where: Sequence[Mark], organ: str, head: Mark) -> bool:
    """Reads "right lung lower lobe, left lung at the fissure: nodules": their group is not that of one side."""
    sides = set()
    for side, place in itertools.pairwise(where):
        near = side.category == "side" and place.category == "place" and place.start - side.end < 2
        if near and place.value.organ == organ and not is_neighbour(text, place, head):
            sides.add(side.value)
    return {"left", "right"} <= sides


_OF_ORGAN = re.compile(r"\s(?:lung|kidney|breast)\b[\s,:]", re.IGNORECASE)


def with_leading_side(statement: Statement, listed: Sequence[Piece], piece: Piece) -> list[Mark]:
    """Marks of a lesion of a list, with the one side that the list opens with where it names none.

    Reads "In the right lung, upper lobe 6 mm and lower lobe 5 mm nodules".
    """
    sides = [m for m in statement.of("side") if m.value != "midline"]
    one = len({m.value for m in sides}) == 1 and sides[0].value in {"left", "right"}
    own = any(m.category == "side" for m in piece.marks)
    if own or piece is listed[0] or not one or sides[0].start > listed[0].sizes[0].start:
        return list(piece.marks)
    opens = _OF_ORGAN.match(statement.text, sides[0].end - statement.start) is not None
    return [sides[0], *piece.marks] if opens else list(piece.marks)


def many_each(statement: Statement, head: Head, listed: Sequence[Piece]) -> bool:
    """Reads "multiple cysts of 5 cm on the right and 9 cm on the left": many on either side, not two lesions."""
    before = [m for m in statement.marks if m.end <= head.mark.start and head.mark.start - m.end < 24]
    if not head.plural or not any(m.category == "multiple" and m.value is True for m in before):
        return False
    sides = [{m.value for m in p.marks if m.category == "side"} & {"left", "right"} for p in listed]
    placed = any(
        m.category in {"place", "short"} and m.start > head.mark.end for p in listed for m in p.marks
    )
    return not placed and len(listed) == 2 and sides[0] | sides[1] == {"left", "right"} and all(sides)
