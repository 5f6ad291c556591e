"""All diameters of a tumour of which the diagnosis gives the largest only, where the gross description has them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from llm_extract.measurements import Measurement
from llm_extract.rules.pathology import measured
from llm_extract.rules.pathology.sightings import Tumour, count
from llm_extract.rules.pathology.specimens import Specimen
from llm_extract.rules.statements import Statement

_AREA = re.compile(
    r"\b(?:areas?|focus|region|zone|growth|thickening|plaque|ulcer\w*|indurat\w+|excrescences?|projections?|vegetations?"
    r"|swelling|lump)\b[^.;:\d]{0,60}$",
    re.IGNORECASE,
)
"""What a tumour is called before anyone knows that it is one."""
_CYSTIC = re.compile(
    r"\s{1,2}(?:[\w-]+,?\s{1,2}){0,3}?cystic\s(?:\w+\s)?(?:ovary|structure|gland)\b", re.IGNORECASE
)
"""Behind the size of an ovary that the tumour has replaced."""
_SAME_MM = 0.05


def take_full_sizes(
    tumours: Sequence[Tumour], statements: Sequence[Statement], assigned: Sequence[Specimen | None]
) -> dict[str, str]:
    """Give a tumour of one diameter the two or three of the only gross area that is as long and lies in its organ.

    Args:
        tumours: all of a report; their sizes are changed.
        statements: those of the report.
        assigned: the specimen of each.

    Returns:
        The measurements that were taken, by the one that each takes the place of.
    """
    used = {m.id for t in tumours for s in t.sightings for m in s.mention.sizes}
    free = [
        (m, statement, specimen)
        for statement, specimen in zip(statements, assigned, strict=True)
        if statement.sentence.section == "gross"
        for m in statement.measurements
        if len(m.values_mm) > 1 and m.id not in used and _is_area(statement, m)
    ]
    taken: dict[str, str] = {}
    for tumour in tumours:
        held = tumour.mention
        if count(held.sizes) != 1 or tumour.first.rank or held.is_group or tumour.first.is_bound:
            continue
        own = [
            m
            for m, statement, specimen in free
            if abs(max(m.values_mm) - held.sizes[0].values_mm[0]) < _SAME_MM
            and _lies_in(tumour, statement, specimen)
        ]
        if len(own) == 1:
            taken[held.sizes[0].id] = own[0].id
            held.sizes = own
            held.spans.append(("diameters_mm", own[0].start, own[0].end))
    return taken


def _is_area(statement: Statement, size: Measurement) -> bool:
    """True for a length of an area, and of nothing that was received or lies in between."""
    before = statement.text[: size.start - statement.start]
    after = statement.text[size.end - statement.start :]
    named = _AREA.search(before) is not None or _CYSTIC.match(after) is not None
    return named and not measured.is_distance(statement, size)


def _lies_in(tumour: Tumour, statement: Statement, specimen: Specimen | None) -> bool:
    """True if a gross statement names the organ and side of a tumour, or names none and is of its specimen."""
    held = tumour.mention
    organs = {m.value.organ for m in statement.of("place") if m.value.organ}
    sides = {m.value for m in statement.of("side")} & {"left", "right"}
    if sides and held.location.laterality in {"left", "right"} and sides != {held.location.laterality}:
        return False
    if organs:
        return held.organ in organs
    return specimen is not None and held.organ in specimen.organs
