"""How many lesions a finding stands for."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

from llm_extract.references import Reference
from llm_extract.rules import attributes
from llm_extract.rules.heads import Head
from llm_extract.rules.lexicon import Mark
from llm_extract.rules.statements import Statement

_LARGEST_OF = re.compile(
    r"\b(?:largest|larger|biggest|dominant)\s(?:one\s)?of\s(?:the|these|those)\s(?:\w+\s){0,2}$",
    re.IGNORECASE,
)
_MASS_NOUNS = (
    "adenopathy",
    "lap",
    "lymphadenomegaly",
    "carcinomatosis",
    "metastatic disease",
    "nodal disease",
)
_THERE_IS = re.compile(r"\b(?:there is|is (?:seen|observed|noted)|an?)\s(?:an?\s)?(?:[\w-]+\s){0,3}$")
_WALL_OF = re.compile(r"\b(?:thicken\w*|bulg\w*|narrow\w*|stenosis|swelling|enlarge\w*)\b")
_OF_MANY = re.compile(
    r"\b(?:multiple|numerous|several|many|extensive\w*|diffuse\w*|scattered|both|bilateral)\b"
)


def count_of_reading(statement: Statement, head: Head) -> tuple[int | None, str] | None:
    """Number of what a reading stands for, which its subject tells: "the wall is thickened, possibly tumors"."""
    before = statement.low[: head.mark.start - statement.start]
    own = before[max(0, len(before) - 24) :]
    if _OF_MANY.search(before):
        return None, "multiple_unknown"
    if head.plural and not _OF_MANY.search(own) and _WALL_OF.search(before):
        return 1, "exact"
    return None


def count_of(statement: Statement, head: Head) -> tuple[int | None, str]:
    """Number of lesions that a finding stands for, and how exact it is."""
    before = statement.text[max(0, head.start - statement.start) : head.mark.start - statement.start]
    plural = head.plural
    marks = [m for m in statement.marks if head.start <= m.start < head.mark.end]
    multiple = any(m.category == "multiple" for m in marks) and plural
    if head.mark.value.kind == "lymph_node" and re.search(
        r"conglomerate|matted|confluent",
        statement.text[head.start - statement.start : head.mark.end - statement.start],
        re.IGNORECASE,
    ):
        return None, "multiple_unknown"
    noun = statement.text[head.mark.start - statement.start : head.mark.end - statement.start].lower()
    if noun.endswith(_MASS_NOUNS):
        plural = not _measured_once(statement, head)
    if noun.endswith("destruction"):
        plural = multiple = any(m.category == "multiple" for m in marks)
    if len(statement.measurements) == 1 and _LARGEST_OF.search(before):
        return 1, "exact"
    return attributes.count_of(before, plural=plural or _in_many(statement, head), multiple=multiple)


def _measured_once(statement: Statement, head: Head) -> bool:
    """Reads "lymphadenopathy with a short axis of 11 mm in one station": a mass noun that stands for one."""
    marks = [m for m in statement.marks if head.start <= m.start < head.end]
    sizes = [m for m in statement.measurements if head.start <= m.start < head.end and m.tense == "current"]
    text = statement.text[head.start - statement.start : head.end - statement.start]
    stations = {m.start for m in marks if m.category in {"place", "short"} and m.end != head.mark.end}
    return (
        len(sizes) == 1
        and sizes[0].qualifier in {"exact", "approximate"}
        and not any(m.category in {"index", "multiple"} for m in marks)
        and (
            len(stations) <= 1
            or _THERE_IS.search(statement.low[: head.mark.start - statement.start]) is not None
        )
        and re.search(r"\b(?:are|were|up to|to \d|both|bilateral\w*)\b", text, re.IGNORECASE) is None
    )


def _in_many(statement: Statement, head: Head) -> bool:
    """Reads "metastasis in multiple ribs": a singular noun in several bones stands for several."""
    marks = [m for m in statement.marks if head.start <= m.start < head.end]
    return any(
        left.category == "multiple"
        and right.category == "place"
        and right.plural
        and right.value.organ == "bone"
        and right.start - left.end < 24
        for left, right in itertools.pairwise(marks)
    )


def listed_places(references: Sequence[Reference], parts: Sequence[str] = ()) -> int:
    """Number of segments or vertebrae listed one by one: "T5, T6, L2" are three, and so are "T5, T6 and sternum".

    Args:
        references: numbers of the stretch that are no lengths.
        parts: parts of bones that the lesions lie in.
    """
    listed = [
        r.get("segments") or r.get("vertebra") or "" for r in references if r.kind in {"segment", "vertebra"}
    ]
    names = [name for text in listed for name in re.split(r"\s?(?:,|and|&|;)\s?", text) if name]
    if any(re.search(r"[-–/]|\b(?:to|or|through)\b", text) for text in listed):
        return 0
    bones = [
        part for part in parts if part.startswith("bone_") and part not in {"bone_spine", "bone_vertebra"}
    ]
    return max(len(names), len(bones)) if len(names) > 1 else len(names)


def is_quantified(marks: Sequence[Mark]) -> bool:
    """True beside "multiple", "several" and the like."""
    return any(m.category == "multiple" for m in marks)
