"""Places that the findings joined in one sentence share, where only one of them states it."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import replace

from llm_extract.anatomy import Anatomy
from llm_extract.rules.heads import Head
from llm_extract.rules.lexicon import Mark
from llm_extract.rules.locations import WEAK, Location, resolve
from llm_extract.rules.mentions import Mention, place_marks
from llm_extract.rules.part_names import level_parts
from llm_extract.rules.statements import Statement, has_verb

_CLAUSE = re.compile(
    r"[;:]|\b(?:is|are|was|were|measur\w+|has|have|but|which|there|no|without)\b", re.IGNORECASE
)
_BOTH_ARE = re.compile(r"^[^;:]*\b(?:are|were)\s(?:\w+\s){1,4}$", re.IGNORECASE)
_JOINED = re.compile(r"\s?,?\s?(?:and|or|with|as well as|plus)\b")


def shared_place(
    text: str, statement: Statement, head: Head, last: Mention | None, *, anatomy: Anatomy
) -> Location | None:
    """Place of a finding that states none: that of the finding joined to it, before or behind; None for neither.

    Args:
        text: the whole report.
        statement: the sentence.
        head: the finding.
        last: the lesion that the same sentence has stated, if any.
        anatomy: table of organs.
    """
    if head.mark.value.organ not in {None, last.organ if last is not None else None}:
        return None
    if last is not None and last.head is not None and last.span[0] < head.mark.start:
        if last.organ == "lymph_node" or head.mark.value.kind == "lymph_node":
            return None
        if last.location.spans and all(end <= last.head.start for _, end in last.location.spans):
            return last.location
        side = last.location.laterality if last.location.laterality in {"left", "right"} else None
        return Location(last.organ, laterality=side, certain=False) if side else None
    if statement.topic:
        return None
    later = [m for m in place_marks(statement.marks) if m.start >= head.end]
    strong = next((m for m in later if m.category == "place"), None)
    if strong is None:
        return None
    gap = statement.text[head.mark.end - statement.start : head.end - statement.start]
    rest = statement.text[head.end - statement.start : strong.start - statement.start]
    if _CLAUSE.search(gap) or not _JOINED.match(rest):
        return None
    if _CLAUSE.search(rest) and not _BOTH_ARE.search(rest):
        return None
    return resolve(text, later, (), anatomy=anatomy, head=None)


_SAME_PART = re.compile(
    r"\b(?:in|at|of|within|inside|from)\s(?:the\s)?same\s(?:(?:lung|liver|kidney|anatomical)\s)?"
    r"(?P<what>lobe|segment|sector|pole|locali[sz]ation|location|site|place|area|region|level|zone|quadrant)\b"
)
_HAS_LOBES = frozenset({"lung", "thyroid"})


def same_part(stretch: str, organ: str, location: Location, last: Mention | None) -> Location:
    """Reads "In the same lobe a nodule of 5 mm": the part and the side of the lesion stated before.

    Args:
        stretch: words of the finding, in lower case.
        organ: its organ.
        location: what its own words say of its place.
        last: the lesion before it, if any.
    """
    same = _SAME_PART.search(stretch) if "same" in stretch and not location.parts else None
    if same is None or last is None or last.organ != organ:
        return location
    there = last.location
    whole = same["what"] == "lobe" and organ not in _HAS_LOBES and there.relation != "one_of"
    several = len(there.parts) > 1 and there.relation != "one_of"
    if whole or several or not there.parts or {location.laterality, there.laterality} == {"left", "right"}:
        return location
    side = location.laterality or there.laterality
    return replace(location, parts=there.parts, relation=there.relation, laterality=side)


_CONTRALATERAL = re.compile(r"\bcontralateral\b(?!.*(?:[.;,]|\band\b))", re.IGNORECASE)
_IN_CONTRALATERAL = re.compile(r"\b(?:in|of|at|on|within)\s(?:the\s)?contralateral\b", re.IGNORECASE)


def on_other_side(location: Location, side: str | None, *, before: str, after: str) -> Location:
    """Place of a "contralateral" finding: the side that was spoken of before is not its own.

    Args:
        location: what it took from the finding before; its own words name no side.
        side: side spoken of before.
        before: words of the finding before its noun: "contralateral nodule".
        after: words behind it: "nodule in the contralateral lung", not "mass and contralateral effusion".
    """
    if not (_CONTRALATERAL.search(before) or _IN_CONTRALATERAL.search(after)):
        return location
    named = location.laterality if location.laterality in {"left", "right"} else side
    other = {"left": "right", "right": "left"}.get(named or "")
    return replace(location, laterality=other, side_spans=(), parts=(), relation="unknown")


_EITHER = re.compile(
    r",?\s(?:or|versus|vs\.?)\s(?:(?:an?|the|from|in|of|exophytic|left|right|upper|lower|mid|pole|pancreatic|gastric)\s){0,8}"
)


def is_either(text: str, where: Sequence[Mark]) -> bool:
    """Reads "arising from the pancreatic tail or the stomach": the text leaves open which organ it is.

    Args:
        text: the whole report.
        where: place words of the finding.
    """
    nouns = [m for m in where if m.category == "place" and m.value.organ not in {*WEAK, None}]
    return any(
        left.value.organ != right.value.organ and _EITHER.fullmatch(text[left.end : right.start].lower())
        for left, right in itertools.pairwise(nouns)
    )


def place_in_sentence(
    text: str, statement: Statement, head: Head, location: Location, *, anatomy: Anatomy
) -> Location:
    """Place that the rest of a sentence gives to a finding whose own words name no organ.

    Args:
        text: the whole report.
        statement: the sentence.
        head: the finding.
        location: what its own words say of its place.
        anatomy: table of organs.
    """
    later = [m for m in place_marks(statement.marks) if m.start >= head.end]
    if later and not has_verb(statement.text) and statement.text[head.end - statement.start] == ",":
        return location  # items of a list without verbs: "hypodense lesion, right renal cyst"
    if not later:
        later = [m for m in place_marks(statement.marks) if m.end <= head.start]
    if not later:
        return location
    found = resolve(text, later, (), anatomy=anatomy, head=None, topic=statement.topic)
    own = location.laterality
    if own is None:
        return found
    stretch = statement.text[max(0, head.start - statement.start) : head.end - statement.start]
    parts = level_parts(stretch, found.organ, own, anatomy=anatomy)
    return replace(
        found,
        laterality=own,
        side_spans=location.side_spans,
        parts=parts,
        relation="within" if parts else "unknown",
    )
