"""What the words of a specimen's heading say: organs, whole or part, a region without an organ, a diagnosis."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Sequence

from llm_extract.rules.lexicon import Mark
from llm_extract.rules.locations import WEAK
from llm_extract.rules.pathology.layout import CURRENT
from llm_extract.rules.statements import Statement

IMPLANT = re.compile(r"\b(?:implants?|mesenter\w+|serosal nodule)\b", re.IGNORECASE)
PELVIC = re.compile(r"\b(?:pelvi[cs]|abdominal|abdomen|side\s?wall|presacral|cuff)\b", re.IGNORECASE)
BESIDE = re.compile(
    r"\b(?:(?:para|peri|infra|sub|supra)-?\s?(?:colic|splenic|hepatic|gastric|rectal|caecal|cecal|umbilical)"
    r"|cul[-\s]de[-\s]sac|gutter|(?:hemi-?)?diaphragm\w*|falciform|umbilic\w+|mesocolon|lesser sac|ligament)\b",
    re.IGNORECASE,
)
"""Places outside every organ whose tumours are deposits on the peritoneum."""
_TRUNK = frozenset({"lymph_node", "bone"})


def lies_on_lining(text: str, marks: Sequence[Mark]) -> bool:
    """True for "Peritoneum, splenic flexure": a piece of the lining, and the part of an organ that it lies on.

    Args:
        text: the report.
        marks: those of a heading.
    """
    places = [m for m in marks if m.category == "place" and m.value.organ]
    if len(places) < 2 or places[0].value.organ != "peritoneum" or places[0].value.part:
        return False
    gaps = [text[one.end : other.start] for one, other in itertools.pairwise(places)]
    return all(m.value.part or m.value.organ == "peritoneum" for m in places) and not any(
        re.search(r"\band\b|&|\+|/|\bwith\b", gap, re.IGNORECASE) for gap in gaps
    )


def names_whole(text: str, marks: Sequence[Mark]) -> bool:
    """True for "colon and rectum": the organ beside its part is the whole of it."""
    places = [m for m in marks if m.category == "place"]
    return any(
        bool(one.value.part) != bool(other.value.part)
        and re.fullmatch(r"\s{0,2}(?:&|/|and|or)\s(?:the\s)?", text[one.end : other.start], re.IGNORECASE)
        for one, other in itertools.pairwise(places)
    )


def excised_part(text: str, marks: Sequence[Mark], organ: str) -> tuple[str, ...]:
    """The part an operation is called by: "sigmoid resection"; a distal pancreatectomy takes more than a tail."""
    for mark in marks:
        if mark.category == "operation" and mark.value.organ == organ and len(mark.value.removed) == 1:
            words = mark.value.removed[0].split("_")[1:]
            if all(word in text[mark.start : mark.end].lower() for word in words):
                return (str(mark.value.removed[0]),)
    return ()


def vague_span(body: str, offset: int) -> tuple[tuple[int, int], ...]:
    """Where a heading names a region that is no organ: "right pelvic tumor"."""
    match = PELVIC.search(body) or BESIDE.search(body) or IMPLANT.search(body)
    return ((offset + match.start(), offset + match.end()),) if match is not None else ()


def organs_of(marks: Sequence[Mark]) -> tuple[str, ...]:
    """Organs that the marks of a heading name, the one the specimen was taken from first."""
    found: dict[str, None] = {}
    for mark in marks:
        if mark.category == "place" and mark.value.organ:
            found[mark.value.organ] = None
        elif mark.category == "finding" and mark.value.kind == "lymph_node":
            found["lymph_node"] = None
    if not found:
        found = {m.value.organ: None for m in marks if m.category == "operation"}
    if not found:
        found = {m.value.organ: None for m in marks if m.category == "finding" and m.value.organ}
    ordered = tuple(found)
    if "lymph_node" in found and ordered[0] != "lymph_node":
        solid = {*WEAK, "lymph_node"}
        first = next((m for m in marks if m.category == "place" and m.value.organ not in solid), None)
        node = next(m for m in marks if (m.category == "finding" and m.value.kind == "lymph_node")
                    or (m.category == "place" and m.value.organ == "lymph_node"))  # fmt: skip
        if first is None or (first.value.adjective and first.end <= node.start):
            return ("lymph_node", *(o for o in ordered if o != "lymph_node"))
    return ordered


def states(statement: Statement, start: int, end: int, *, sure: bool) -> bool:
    """True for a stretch that states a diagnosis or a size, which a heading does only in the name of an excision."""
    low, high = statement.start + start, statement.start + end
    if any(low <= m.start < high for m in statement.measurements):
        return True
    if sure:
        return False
    return any(
        m.category == "finding" and low <= m.start < high and m.value.diagnosis is not None
        and m.value.kind != "lymph_node" for m in statement.marks
    )  # fmt: skip


def says_where(statement: Statement, start: int, end: int) -> bool:
    """True for a stretch that names an organ or a segment."""
    low, high = statement.start + start, statement.start + end
    places = any(m.category == "place" and low <= m.start < high for m in statement.marks)
    return places or any(r.kind == "segment" and low <= r.start < high for r in statement.references)


def only_places(body: str) -> bool:
    """True for up to five words that make no sentence."""
    words = re.findall(r"[A-Za-z]+", body)
    return 0 < len(words) <= 5 and not re.search(r"\b(?:is|are|shows?|with|no|in|of)\b", body, re.IGNORECASE)


def vote(statements: Sequence[Statement]) -> tuple[str | None, str | None]:
    """Organ and side that headings and first lines name most often."""
    votes: Counter[str] = Counter()
    sides: Counter[str] = Counter()
    rest: Counter[str] = Counter()
    for index, statement in enumerate(statements):
        headline = statement.sentence.section in {
            "specimen",
            "diagnosis",
            "synoptic",
            "preamble",
            "history",
            "procedure",
        }
        weight = (3 if headline else 1) + (1 if index < 8 else 0)
        for mark in statement.marks:
            if (
                mark.category in {"place", "operation"} and mark.value.organ not in {None, *WEAK, *_TRUNK}
            ) or (mark.category == "finding" and mark.value.organ not in {None, "lymph_node"}):
                votes[mark.value.organ] += weight
        stated = [m.value for m in statement.of("side") if m.value in {"left", "right"}]
        (sides if headline else rest).update(
            stated if statement.sentence.section in CURRENT or headline else ()
        )
    sides = sides or rest
    common = sides.most_common(1)
    side = common[0][0] if common and common[0][1] >= 0.8 * sum(sides.values()) else None
    return (votes.most_common(1)[0][0] if votes else None), side
