"""Entries of a list of tumours, which open with a number or letter and the place: "Lesion 2: segment 7, a nodule"."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from llm_extract.anatomy import Anatomy
from llm_extract.rules.heads import Head
from llm_extract.rules.locations import Location, resolve
from llm_extract.rules.mentions import place_marks
from llm_extract.rules.statements import Statement

_LABEL = re.compile(
    r"\W{0,6}(?P<noun>(?:the\s)?(?:lesion|tumou?r|nodule|mass|focus|metastasis|cyst|polyp)\s{0,2}"
    r"(?:\#\s?|n[or]\.?\s?|number\s)?(?:\d{1,2}|[A-F])\b(?!\s?(?:cm|mm|em|x\s?\d|[.,]\d)))",
    re.IGNORECASE,
)
_NUMBER = re.compile(
    r"\W{0,6}(?:\#?\s?\d{1,2}\s?(?:[.):](?!\d)|-(?=\s)|(?<=\#\d)\s)|\(?[A-Ha-h]\s?[.)]|[-*]\s)"
)
_TO_PLACE = re.compile(
    r"[\s:;,.)(=-]{0,5}(?:(?:is|was|lies|located|present|found|in|at|from|the|within|of)\s){0,5}"
    r"(?:(?:liver|kidney|sub\w+|deep|central|peripheral|lateral|medial|superior|inferior|anterior|posterior),?\s){0,2}",
    re.IGNORECASE,
)
_ENDS = re.compile(r"[:;()]|\s-\s|,(?!\s?\d[ab]?\b(?!\.\d))")
_KEY_ENDS = re.compile(r"\s{0,2}(?:\([^()\n]{0,30}\)\s{0,2})?(?:[a-z]{3,14}\s){0,2}?(?::|-\s)")
"""Behind a place that opens an entry without a number or letter."""


def _label_end(statement: Statement) -> int:
    """Where the number or letter of an entry ends; 0 where the statement opens with none."""
    found = _LABEL.match(statement.text) or _NUMBER.match(statement.text)
    return found.end() if found is not None else 0


def without_labels(statement: Statement, heads: Sequence[Head]) -> list[Head]:
    """Heads without the noun that only numbers an entry: "Lesion 1: segment 8, a green nodule" states one.

    Args:
        statement: the statement.
        heads: its nouns in text order.
    """
    label = _LABEL.match(statement.text)
    if label is None or len(heads) < 2 or heads[0].mark.start >= statement.start + label.end():
        return list(heads)
    heads[1].start = heads[0].start
    return list(heads[1:])


def place_of_entry(statement: Statement, organ: str, text: str, *, anatomy: Anatomy) -> Location | None:
    """The parts that an entry opens with, or None; nothing that follows can outweigh them.

    Args:
        statement: the statement.
        organ: where the tumour lies.
        text: the report.
        anatomy: table of organs.
    """
    label = _label_end(statement)
    found = _TO_PLACE.match(statement.text, label)
    first = statement.start + (found.end() if found is not None else label)
    places = [m for m in place_marks(statement.marks) if m.start >= statement.start + label]
    segments = [r for r in statement.references if r.kind == "segment"]
    spans = [*((m.start, m.end) for m in places), *((r.start, r.end) for r in segments)]
    opening = [end for start, end in spans if start <= first < end]
    if not opening:
        return None
    stop = _ENDS.search(text, max(opening), statement.start + len(statement.text))
    sized = min(
        (m.start for m in statement.measurements), default=stop.start() if stop is not None else first
    )
    high = min(stop.start(), sized) if stop is not None else sized
    if not label and _KEY_ENDS.match(text, max(opening)) is None:
        return None
    own = resolve(
        text, [m for m in places if m.start < high], [r for r in segments if r.start < high],
        anatomy=anatomy, head=None, topic=(organ,), inherited=organ,
    )  # fmt: skip
    return own if own.organ == organ and own.parts else None


def at_entry(place: Location, statement: Statement, text: str, *, anatomy: Anatomy) -> Location:
    """A place with the parts of the entry that the statement is.

    Args:
        place: organ and side of a tumour.
        statement: what states it.
        text: the report.
        anatomy: table of organs.
    """
    own = place_of_entry(statement, place.organ, text, anatomy=anatomy) if place.organ is not None else None
    if own is None:
        return place
    return replace(place, parts=own.parts, relation=own.relation, spans=own.spans)
