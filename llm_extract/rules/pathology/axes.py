"""Lengths of a tumour that words stand between: its depth behind its width, its size behind what it looks like."""

from __future__ import annotations

import re

from llm_extract.measurements import Measurement
from llm_extract.rules.heads import Head
from llm_extract.rules.statements import Statement

_MOST = r"(?:maxim(?:al|um)\s|max\.?\s|greatest\s|total\s|overall\s)?"
_ABOUT = r"(?:up to\s|about\s|approximately\s|to\s)?"
_ACROSS = (
    r"(?:\s?(?:in (?:area|size|extent|surface|diameter|greatest dimensions?|maximum dimensions?)|across))?"
)
_AXIS_BEFORE = re.compile(
    rf"[.]?{_ACROSS}\s{{0,2}},?\s{{0,2}}(?:and\s|with\s|by\s|x\s)?(?:an?\s|to\san?\s|its\s|the\s)?{_MOST}"
    rf"(?:depth|thickness|height)(?:\sof|\sis|\s?:)?\s{_ABOUT}",
    re.IGNORECASE,
)
"""Between width and depth: "42 x 30 mm with a depth of 24 mm"."""
_AXIS_GAP = re.compile(rf"[.]?{_ACROSS}\s{{0,2}},?\s{{0,2}}(?:and\s|with\s|by\s|x\s)?{_ABOUT}", re.IGNORECASE)
_AXIS_AFTER = re.compile(
    rf"[.]?\s{{0,2}}(?:in\s)?{_MOST}(?:depth|thick(?:ness)?|deep|height|high)\b(?!\s(?:of|into|from|to|invasi\w+)\b)",
    re.IGNORECASE,
)
"""Behind the depth: "42 x 30 mm, 24 mm thick"."""
_BEHIND_FEATURE = re.compile(
    r"[^.;:\d]{0,80}?\b(?:with|contain(?:s|ing)|filled\s(?:with|by)|having|showing)\s(?:[\w-]+,?\s{1,2}){0,5}?"
    r"(?:scar(?:s|ring)?|fluid|contents?|walls?|capsule|calcifications?|septa\w*|bands?|h(?:a)?emorrhage|necrosis|cavit\w+"
    r"|material|borders?|edges?|cent(?:er|re)|surfaces?|lining)\b"
    r"\s{0,2}(?:,|\(|(?:and\s)?measur(?:es|ing))\s{0,2}(?:measuring\s)?(?:about\s|approximately\s|up to\s)?",
    re.IGNORECASE,
)
"""Between a tumour and its size: "with a central scar," and "filled with clear fluid,"."""


def depth_of(statement: Statement, whole: Measurement) -> Measurement | None:
    """The depth or thickness that completes two diameters: "42 x 30 mm with a depth of 24 mm".

    How deep the tumour grows into something else is no diameter.

    Args:
        statement: what is said of a tumour.
        whole: one of its lengths.
    """
    if len(whole.values_mm) != 2 or whole.qualifier == "range":
        return None
    depth = next((m for m in statement.measurements if m.start >= whole.end), None)
    if depth is None or len(depth.values_mm) != 1 or depth.qualifier in {"range", "lower_bound"}:
        return None
    gap = statement.text[whole.end - statement.start : depth.start - statement.start]
    after = statement.text[depth.end - statement.start :]
    found = _AXIS_BEFORE.fullmatch(gap) or (_AXIS_GAP.fullmatch(gap) and _AXIS_AFTER.match(after))
    return depth if found else None


def is_depth(statement: Statement, size: Measurement) -> bool:
    """True for the length that :func:`depth_of` finds behind another."""
    return any(depth_of(statement, m) is size for m in statement.measurements if m.end <= size.start)


def is_behind_feature(statement: Statement, size: Measurement, head: Head) -> bool:
    """True for "a mass with a central scar, 4 cm": what it looks like stands between the noun and its size."""
    between = statement.text[head.mark.end - statement.start : max(0, size.start - statement.start)]
    return size.tense == "current" and not size.worded and _BEHIND_FEATURE.fullmatch(between) is not None
