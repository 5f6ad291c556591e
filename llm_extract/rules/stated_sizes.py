"""What the sizes of one finding are: its own, once more the same, or that of an earlier study."""

from __future__ import annotations

import re
from collections.abc import Sequence

from llm_extract.measurements import Measurement
from llm_extract.rules.heads import Head
from llm_extract.rules.lexicon import Mark
from llm_extract.rules.statements import Statement

_JOINS = re.compile(
    r"\b(?:and|another|other|respectively|others|within|contain\w*|including|component|cent(?:re|er|ral)"
    r"|core|necro\w+|cystic|solid|part|portion|cavit\w+|calcif\w+)\b|;"
)
_SEPARATES = frozenset({"place", "short", "side", "index", "finding"})


def of_earlier_study(
    statement: Statement, head: Head, marks: Sequence[Mark], sizes: Sequence[Measurement]
) -> Measurement | None:
    """Reads "a mass of 47 x 17 mm, oval, 50 x 23 mm in size, with an increase": the first is earlier."""
    changes = {m.value for m in marks if m.category == "change"}
    if head.plural or len(sizes) != 2 or len(changes & {"larger", "smaller"}) != 1:
        return None
    first, second = sizes
    if min(len(first.values_mm), len(second.values_mm)) < 2 or len(first.values_mm) != len(second.values_mm):
        return None
    gap = statement.low[first.end - statement.start : second.start - statement.start]
    if _JOINS.search(gap) or any(
        first.end <= m.start < second.start for m in marks if m.category in _SEPARATES
    ):
        return None
    grew = max(second.values_mm) > max(first.values_mm)
    return first if grew == ("larger" in changes) else second


def is_repeated(measurement: Measurement, before: Sequence[Measurement]) -> bool:
    """True for the same two or three diameters once more: "a mass of 27 x 28 mm, measuring 27 x 28 mm"."""
    return len(measurement.values_mm) > 1 and any(m.values_mm == measurement.values_mm for m in before)


def is_exact(measurement: Measurement) -> bool:
    """True for a size that is no bound."""
    return measurement.qualifier in {"exact", "approximate", "range"} and not measurement.worded
