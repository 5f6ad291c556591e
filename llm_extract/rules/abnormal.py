"""Nodes and thickened walls count only where the text calls them abnormal, or they are large."""

from __future__ import annotations

import re

from llm_extract.measurements import Measurement
from llm_extract.rules.heads import Head
from llm_extract.rules.nouns import sizes_near
from llm_extract.rules.statements import Statement

_QUALIFIES = frozenset({"abnormal", "malignant"})


NODE_LIMIT_MM = 10.0
"""Short axis from which a node counts as enlarged where the text does not say (RECIST 1.1)."""


_WALL = re.compile(
    r"(?:concerning|suspicious|malignan|tumou?r|neoplas|mass|asymmetric|irregular|nodular|focal"
    r"|circumferential|space.occupying)",
    re.IGNORECASE,
)


_NOT_LOST = (
    r"\b(?!\s(?:of\s(?:which|it)\s)?(?:(?:is|are|was|were)\s)?(?:\w+ly\s)?(?:lost|effaced|obliterated|absent|not"
    r"|cannot|can not|could not|(?:has |have )?disappeared)\b)"
)
"""What does not follow on the hilum of a normal node."""


_NORMAL_NODE = re.compile(
    r"\b(?:normal|non-?pathological|non-?enlarged|not (?:pathologically )?enlarged|subcentimet\w+"
    r"|sub-centimet\w+|millimet\w+|small|reactive|benign|physiologic|non-?specific"
    r"|(?:not|none of (?:them|these|which|those)) (?:\w+ ){0,3}pathologic\w*"
    r"|insignificant|(?<!loss of )(?<!loss of the )(?<!lost )(?<!without )(?<!without a )(?<!no )(?<!effaced )"
    r"(?<!absent )(?<!absence of )(?<!absence of the )(?<!obliterated )fatty hil(?:um|us)"
    + _NOT_LOST
    + r"|visible|nonspecific)\b",
    re.IGNORECASE,
)


_CALCIFIED = re.compile(r"\bcalcifi(?:ed|c)\b", re.IGNORECASE)
_ENLARGEMENT_OF = re.compile(r"\benlargement of (?:the )?(?:[\w-]+\s){0,4}$", re.IGNORECASE)
_NORMAL_FORM = re.compile(
    r"\bnormal(?: in)?\s(?:\w+\s)?(?:morpholog\w+|architecture|shapes?|forms?|contours?)\b", re.IGNORECASE
)
"""Reads "enlargement of a node with normal morphology", which is large all the same."""


def _short_axis(statement: Statement, size: Measurement) -> bool:
    low, high = size.start - statement.start, size.end - statement.start
    around = statement.text[max(0, low - 25) : low] + " " + statement.text[high : high + 25]
    return re.search(r"\bshort\b", around, re.IGNORECASE) is not None


def is_enlarged(size: Measurement) -> bool:
    """True for a stated size of a node from which it counts as enlarged."""
    return min(size.values_mm[:2]) >= NODE_LIMIT_MM and not size.worded and not size.bound_is_strict


def _large(statement: Statement, head: Head) -> bool:
    """True if a node is as large as RECIST calls enlarged; its short axis decides where it is stated."""
    over = (m for m in statement.measurements if head.start <= m.start < head.end and m.tense == "current")
    if any(m.qualifier == "lower_bound" and min(m.values_mm) >= NODE_LIMIT_MM for m in over):
        return True  # "lymph nodes larger than 1 cm"
    near = sizes_near(statement, head.mark)
    short = [m for m in near if _short_axis(statement, m)]
    return any(
        min(m.values_mm[:2]) >= NODE_LIMIT_MM and not m.worded and not m.bound_is_strict
        for m in short or near
    )


def qualified(statement: Statement, head: Head) -> bool:
    """True if a node or a thickened wall is called abnormal in its stretch."""
    if head.mark.value.needs != "qualified":
        return True
    stretch = statement.text[max(0, head.start - statement.start) : head.end - statement.start]
    healed = _NORMAL_NODE.search(stretch) or _CALCIFIED.search(
        stretch
    )  # a calcified node is large for another reason
    if head.mark.value.kind == "lymph_node" and not healed and _large(statement, head):
        return True
    if head.mark.value.kind == "wall_thickening":
        named = any(name.value.diagnosis or name.value.kind == "tumor" for name, _ in head.names)
        return named or bool(_WALL.search(stretch))
    large = _ENLARGEMENT_OF.search(stretch[: head.mark.start - head.start])
    if head.mark.value.kind == "lymph_node" and large is not None:
        clause = max(stretch.rfind(stop, 0, large.start()) for stop in ".,;")
        return _NORMAL_NODE.search(_NORMAL_FORM.sub("", stretch[clause + 1 :])) is None
    if _NORMAL_NODE.search(stretch):
        return False
    return any(m.category in _QUALIFIES and head.start <= m.start < head.end for m in statement.marks) or any(
        name.value.malignancy == "malignant" or (name.value.kind == "lymph_node" and name.value.needs is None)
        for name, _ in head.names
    )
