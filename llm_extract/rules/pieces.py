"""Cuts the stretch of one finding with several sizes into one piece a lesion."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from llm_extract.measurements import Measurement
from llm_extract.references import Reference
from llm_extract.rules.heads import Head
from llm_extract.rules.lexicon import Mark
from llm_extract.rules.part_names import segment_numbers
from llm_extract.rules.separators import joined_places
from llm_extract.rules.statements import Statement
from llm_extract.rules.stretches import is_spared, may_spare

_AXIS = re.compile(
    r"\b(?:ap|tr|cc|si|rl|craniocaudal|cranio-caudal|transverse|anteroposterior|antero-posterior"
    r"|longitudinal|axial|coronal|sagittal|height|length|width|long axis|short axis"
    r"|vertical|horizontal|perpendicular|third dimension|superior to inferior|in thickness)\b",
    re.IGNORECASE,
)
_NEXT_AXIS = re.compile(
    r"\b(?:its|the|with|and)\s(?:an?\s|the\s|its\s)?(?:cranio-?\s?caudal|longitudinal|vertical|antero-?posterior|transverse|ap|cc"
    r"|sagittal)\s(?:\w+\s){0,5}$"
    r"|\bits\s(?:[\w-]+\s){0,2}(?:dimension|length|height|diameter|extent|extension)\s(?:\w+\s){0,3}$",
    re.IGNORECASE,
)
_SEPARATOR = re.compile(r"[,;(]|\b(?:and|plus|while|with|another|others?)\b", re.IGNORECASE)
_PLACES = frozenset({"place", "short", "side"})


@dataclass(frozen=True, slots=True)
class Piece:
    """The part of a finding's stretch that belongs to one of its sizes."""

    start: int
    end: int
    sizes: tuple[Measurement, ...]
    marks: tuple[Mark, ...]
    references: tuple[Reference, ...]


def pieces(statement: Statement, head: Head, sizes: Sequence[Measurement]) -> list[Piece]:
    """Cut a stretch with several sizes into one piece a lesion; sizes along the axes of one lesion stay together."""
    groups = axes(statement, sizes)
    cuts = [head.start]
    for left, right in itertools.pairwise(groups):
        low, high = left[-1].end, right[0].start
        gap = statement.text[low - statement.start : high - statement.start]
        hidden = [(a - low, b - low) for a, b in joined_places(statement)]
        found = [
            m.start() for m in _SEPARATOR.finditer(gap) if not any(a <= m.start() < b for a, b in hidden)
        ]
        first = max(cuts[-1], head.mark.end)
        stated = _placed(statement, first, left[0].start) and bool(found)
        leads = stated and not _placed(statement, low, low + found[0])
        cuts.append(low + _cut(gap, found[:1] if leads else found))
    cuts.append(head.end)
    marks, references = _reached(statement)
    made = []
    for index, group in enumerate(groups):
        start, end = cuts[index], cuts[index + 1]
        made.append(
            Piece(
                start,
                end,
                tuple(group),
                tuple(m for m in marks if start <= m.start < end),
                tuple(r for r in references if start <= r.start < end),
            )
        )
    return made


def _placed(statement: Statement, start: int, end: int) -> bool:
    """True if a place is named in a stretch."""
    return any(m.category in _PLACES and start <= m.start < end for m in statement.marks) or any(
        r.kind == "segment" and start <= r.start < end for r in statement.references
    )


def _cut(gap: str, separators: Sequence[int]) -> int:
    """Where in the words between two sizes the second lesion begins.

    "(1.1 cm), dome (7 mm)": behind the bracket that holds the first size; "3 cm in the dome, 7 mm": the last separator.
    """
    opened = re.search(r"\([^()]{0,24}$", gap)
    if opened is not None:
        closing = gap.find(")")
        behind = [at for at in separators if at > closing]
        inside = [at for at in behind if at < opened.start()]
        if inside:
            return inside[0] if closing >= 0 else inside[-1]
        return closing + 1 if 0 <= closing < opened.start() else opened.start()
    return separators[-1] if separators else 0


def axes(statement: Statement, sizes: Sequence[Measurement]) -> list[list[Measurement]]:
    """Sizes along the axes of one lesion together."""
    groups: list[list[Measurement]] = []
    for size in sizes:
        if groups:
            before = statement.text[groups[-1][-1].end - statement.start : size.start - statement.start]
            after = statement.text[size.end - statement.start : size.end - statement.start + 26]
            next_axis = _NEXT_AXIS.search(before)
            own_axis = next_axis is not None and "its" in next_axis[0].lower()
            spoken = next_axis is not None and (len(before) < 100 or (own_axis and len(before) < 180))
            values = sum(len(m.values_mm) for m in groups[-1]) + len(size.values_mm)
            if (
                values <= 3
                and (len(before) < 40 or spoken)
                and (spoken or (_AXIS.search(before) and (_AXIS.search(after) or "(" not in before)))
                and not any(
                    m.category in {"place", "side"}
                    and not own_axis
                    and groups[-1][-1].end <= m.start < size.start
                    for m in statement.marks
                )
            ):
                groups[-1].append(size)
                continue
        groups.append([size])
    return groups


def _reached(statement: Statement) -> tuple[list[Mark], list[Reference]]:
    """Marks and references of a sentence but for places that nothing reaches: "none in the left lung"."""
    marks, references = list(statement.marks), list(statement.references)
    if may_spare(statement):
        marks = [m for m in marks if m.category not in _PLACES or not is_spared(statement, m.start)]
        references = [r for r in references if not is_spared(statement, r.start)]
    return marks, references


def respectively(statement: Statement, head: Head, sizes: Sequence[Measurement]) -> list[Piece] | None:
    """Reads "nodules of segments 3 and 8 measure 7 and 12 mm, respectively": one place and one size a lesion."""
    text = statement.text[head.start - statement.start : head.end - statement.start]
    number = len(sizes)
    if number < 2:
        return None
    explicit = re.search(r"\brespectively\b", text, re.IGNORECASE) is not None or _listed(statement, sizes)
    marks, references = _reached(statement)
    references = [r for r in references if head.start <= r.start < head.end and r.kind == "segment"]
    marks = [m for m in marks if head.start <= m.start < head.end]
    options: list[list[tuple[list[Mark], list[Reference]]]] = []
    for reference in references:
        listed = _split_segments(reference, number)
        if listed:
            options.append([([], [r]) for r in listed])
    if len(references) == number:
        options.append([([], [r]) for r in references])
    sides = [m for m in marks if m.category == "side" and m.value in {"left", "right"}]
    parts = [m for m in marks if (m.category == "place" and m.value.part) or m.category == "short"]
    options += [[([m], []) for m in group] for group in (parts, sides) if len(group) == number]
    by_organ = _by_organ(marks) if explicit else []
    if len(by_organ) == number:
        other = [m for m in marks if m.category not in _PLACES]
        return [
            Piece(head.start, head.end, (size,), tuple(sorted([*other, *own], key=lambda m: m.start)), ())
            for size, own in zip(sizes, by_organ, strict=True)
        ]
    if not explicit or not options:
        return None
    shared = [
        m
        for m in marks
        if m.category not in {"side", "short"} and not (m.category == "place" and m.value.part)
    ]
    return [
        Piece(
            head.start, head.end, (size,), tuple(sorted([*shared, *own], key=lambda m: m.start)), tuple(refs)
        )
        for size, (own, refs) in zip(sizes, options[0], strict=True)
    ]


def _by_organ(marks: Sequence[Mark]) -> list[list[Mark]]:
    """Place words of each of several organs: "cysts of the right kidney and the spleen"."""
    nouns = [m for m in marks if m.category == "place" and m.value.organ]
    found: list[list[Mark]] = []
    start = 0
    for _, group in itertools.groupby(nouns, key=lambda m: m.value.organ):
        end = list(group)[-1].end
        found.append([m for m in marks if m.category in _PLACES and start <= m.start < end])
        start = end
    return found if len(found) > 1 and len({m.value.organ for m in nouns}) == len(found) else []


def _listed(statement: Statement, sizes: Sequence[Measurement]) -> bool:
    """True for sizes in one enumeration behind the places: "6, 9 and 15 mm"."""
    gaps = [
        statement.text[a.end - statement.start : b.start - statement.start]
        for a, b in itertools.pairwise(sizes)
    ]
    return all(re.fullmatch(r"\s?(?:,|,?\s?and|&|/)\s?", gap, re.IGNORECASE) for gap in gaps)


def _split_segments(reference: Reference, number: int) -> list[Reference]:
    numbers = segment_numbers(reference.get("segments") or "")
    if len(numbers) != number:
        return []
    return [replace(reference, fields=(("segments", str(n)),)) for n in numbers]


_AXIS_SENTENCE = re.compile(
    r"\W{0,3}(?:(?:the|its)\s)?(?:third\s|maximum\s|maximal\s)?(?:cranio-?\s?caudal(?:ly)?|longitudinal|vertical|height"
    r"|superoinferior|antero-?posterior|cc|ap)\b[^;,]{0,40}$"
)


def is_third_axis(statement: Statement, sizes: Sequence[Measurement], further: Sequence[Measurement]) -> bool:
    """Reads "The craniocaudal extent is 55 mm." behind a lesion with the two other diameters."""
    two = len(sizes) == 1 and len(sizes[0].values_mm) == 2
    if not two or len(further) != 1 or len(further[0].values_mm) != 1 or statement.of("place"):
        return False
    return _AXIS_SENTENCE.match(statement.low) is not None
