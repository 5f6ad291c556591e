"""Where a finding lies: organ, parts and side, from the place words of its stretch of text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from llm_extract.anatomy import Anatomy
from llm_extract.references import Reference
from llm_extract.rules.lexicon import Mark
from llm_extract.rules.neighbours import is_landmark, is_level, is_neighbour
from llm_extract.rules.part_names import (
    expand_parts,
    liver_segments,
    shared_noun,
    short_part,
    vertebra_levels,
)
from llm_extract.rules.sides import both_sides, side_of

WEAK = frozenset({"other", "vessel", "peritoneum", "soft_tissue", "pleura"})
"""Organs that give way to another organ named in the same breath ("mesenteric border of the colon")."""

SIDELESS = frozenset(
    {"liver", "pancreas", "spleen", "gallbladder", "bile_duct", "uterus", "esophagus", "stomach", "duodenum"}
    | {"small_bowel", "colon"}
)
"""Organs whose sides are parts; their laterality is never stated."""

DIGESTIVE = ("stomach", "colon")
"""What "the gastrointestinal tract" says something about."""

_BESIDE = re.compile(
    r"\b(?:adjacent(?: to)?|next to|near(?:by)?|close to|(?:in|at) (?:the )?front of|anterior to"
    r"|posterior to|superior to|inferior to"
    r"|medial to|lateral to"
    r"|behind|beneath|vicinity of|neighbou?rhood of|proximity (?:to|of)|separate from|distinct from"
    r"|unrelated to)\s"
    r"(?:[\w/-]+[\s-]){0,4}$",
    re.IGNORECASE,
)
_BETWEEN = re.compile(r"\bbetween\s(?:\w+\s){0,6}$", re.IGNORECASE)
_OUTSIDE = dict.fromkeys(
    ("liver", "pancreas", "kidney", "spleen", "stomach", "adrenal_gland", "duodenum", "gallbladder"),
    "peritoneum",
) | {"bone": "soft_tissue"}
"""What a finding lies in that is only beside or between such organs."""
_REGION = re.compile(
    r"(?:abdom(?:en|inal)|pelvi[cs]|thora(?:x|cic)|flank|(?:upper|lower) quadrant|epigastrium|hypochondrium)s?$",
    re.IGNORECASE,
)
"""Words for a whole region of the body, which any other place word outranks."""
_PREPOSITION = re.compile(
    r"\b(?:in|of|within|at|on|throughout|from|involving|affecting|inside|into)\s(?:\w+\s){0,4}$",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Location:
    """Where something lies.

    Args:
        organ: organ, or None where the words name none.
        parts: part ids, names that stand for several expanded.
        relation: the record's part_relation.
        laterality: left, right, bilateral, midline or None.
        spans: code points of the place words.
        side_spans: code points of the side words.
        certain: False for an organ known only from a weak or relational word.
    """

    organ: str | None = None
    parts: tuple[str, ...] = ()
    relation: str = "unknown"
    laterality: str | None = None
    spans: tuple[tuple[int, int], ...] = ()
    side_spans: tuple[tuple[int, int], ...] = ()
    certain: bool = True


def resolve(
    text: str,
    marks: Sequence[Mark],
    references: Sequence[Reference],
    *,
    anatomy: Anatomy,
    head: Mark | None,
    topic: Sequence[str] = (),
    inherited: str | None = None,
) -> Location:
    """Location of a finding from the place and side words of its stretch.

    Args:
        text: the whole report.
        marks: place, short and side marks of the stretch.
        references: segments and vertebrae of the stretch.
        anatomy: table of organs.
        head: the finding, whose word may imply an organ.
        topic: organs of the heading it stands under.
        inherited: organ of the statement before it.
    """
    places = [m for m in marks if m.category == "place"]
    free = [m for m in places if not is_neighbour(text, m, head)]
    organ, certain = _choose_organ(text, free or places, references, head, topic, inherited)
    if not free and places and organ in _OUTSIDE and _outside(text, places, head, topic):
        organ, certain = _OUTSIDE[organ], False
    if organ is None or not certain:
        node = head is not None and head.category == "finding" and head.value.kind == "lymph_node"
        organ = _from_short(marks, organ, free, owners=("lymph_node",) if node else ()) or organ
    segments = liver_segments(text, references, organ, places)
    if segments and organ is None:
        organ = "liver"
    vertebrae = vertebra_levels(text, [r for r in references if not is_landmark(text, r.start)], organ)
    if vertebrae and organ in {None, "other"}:
        organ = "bone"
    parts: dict[str, tuple[int, int]] = {**segments, **(vertebrae if organ == "bone" else {})}
    joined = len(segments) > 1
    inside = [m for m in places if m in free or (free and is_level(text, m))] or places
    usable = [m for m in inside if m.value.organ == organ and m.value.part]
    for mark in usable:
        parts[mark.value.part] = (mark.start, mark.end)
    for mark in marks:
        if mark.category == "short" and organ is not None and not is_neighbour(text, mark, head):
            name = short_part(mark.value, organ)
            if name is not None:
                parts[name] = (mark.start, mark.end)
    parts |= shared_noun(text, [*usable, *(m for m in marks if m.category == "short")], organ, parts)
    own = (
        [m for m in places if m.value.organ == organ] if free else places
    )  # all it is beside lies on its side
    side, side_spans = side_of(text, marks, head, own, organ=organ)
    if side is None and head is not None and head.plural:
        side, side_spans = both_sides(places, organ, anatomy)
    names, one_of, implied = expand_parts(anatomy, organ, tuple(parts), side)
    side = implied or side
    relation = _relation(names, one_of=one_of, joined=joined, beside=bool(places) and not free)
    spans = tuple((m.start, m.end) for m in places if m.value.organ == organ) + tuple(parts.values())
    return Location(
        organ, names, relation, side, tuple(dict.fromkeys(spans)), side_spans, certain and bool(free)
    )


def _relation(names: Sequence[str], *, one_of: bool, joined: bool, beside: bool) -> str:
    """The record's part_relation."""
    if beside:
        return "adjacent"
    if not names:
        return "unknown"
    return "one_of" if one_of else "spanning" if len(names) > 1 or joined else "within"


def _from_short(
    marks: Sequence[Mark], organ: str | None, places: Sequence[Mark], *, owners: Sequence[str]
) -> str | None:
    """Organ of a part name that only one organ has, where no organ is named; stations are places of nodes alone."""
    if places:
        return None
    for mark in marks:
        if mark.category == "short":
            held: set[str] = {o for o, _ in mark.value.candidates if o != "lymph_node" or o in owners}
            if organ in held:
                return organ
            if len(held) == 1 and mark.end - mark.start > 6 and organ != "lung":  # it has segments as well
                return next(iter(held))
    return None


def _outside(text: str, places: Sequence[Mark], head: Mark | None, topic: Sequence[str]) -> bool:
    """True for a finding that lies only beside or between the organs it names."""
    if _BETWEEN.search(text[max(0, places[0].start - 40) : places[0].start]):
        return True
    if topic or _fixed(head):
        return False
    return all(_BESIDE.search(text[max(0, m.start - 50) : m.start]) for m in places)


def _fixed(head: Mark | None) -> bool:
    """True if the word for the finding names its organ."""
    return head is not None and head.category == "finding" and head.value.organ is not None


def laterality_of(organ: str, side: str | None) -> str:
    """The record's laterality for an organ and a stated side."""
    if organ == "uterus":
        return side or "n/a"
    if organ in SIDELESS:
        return "n/a"
    return side or "unknown"


def _choose_organ(
    text: str,
    places: Sequence[Mark],
    references: Sequence[Reference],
    head: Mark | None,
    topic: Sequence[str],
    inherited: str | None,
) -> tuple[str | None, bool]:
    fixed = head.value.organ if head is not None and head.category == "finding" else None
    if head is not None and head.category == "finding" and head.value.kind == "lymph_node":
        return "lymph_node", True
    if head is not None and any(
        p.value.organ == "lymph_node" and p.end <= head.start and head.start - p.end < 3 for p in places
    ):
        return "lymph_node", True
    named = [p for p in places if p.value.organ and p.value.organ != "lymph_node"]
    named = [p for p in named if not _REGION.fullmatch(text[p.start : p.end])] or named
    strong = [p for p in named if p.value.organ not in WEAK]
    if strong:
        return _best(text, strong, head).value.organ, True
    has_segment = any(r.kind == "segment" for r in references)
    if has_segment and fixed is None and (not topic or "liver" in topic):
        return "liver", True
    if fixed is not None:
        return fixed, True
    if (
        any(r.kind == "vertebra" and not is_landmark(text, r.start) for r in references)
        and named
        and all(p.value.organ in WEAK for p in named)
    ):
        return "bone", True
    if inherited is not None and named and all(p.value.organ == "vessel" for p in named):
        return inherited, False
    if named:
        if (
            len(topic) == 1
            and topic[0] not in WEAK
            and named[0].value.organ in {"other", "soft_tissue", "vessel"}
            and named[0].value.adjective
        ):
            return topic[0], True
        return _best(text, named, head).value.organ, False
    if any(r.kind == "vertebra" and re.match(r"[CTLD]", text[r.start]) for r in references):
        return "bone", True
    if len(topic) == 1:
        return topic[0], True
    return (inherited if not topic or inherited in topic else topic[0]), False


def _best(text: str, places: Sequence[Mark], head: Mark | None) -> Mark:
    """Parts beat organs; after the finding the first place behind a preposition, before it the nearest one."""
    if head is None:
        return places[0]
    before = [p for p in places if p.end <= head.start]
    after = [p for p in places if p.start >= head.end]
    if (
        before
        and head.start - before[-1].end < 30
        and not re.search(r"[,;]", text[before[-1].end : head.start])
    ):
        return before[-1]
    prepositional = [p for p in after if _PREPOSITION.search(text[max(0, p.start - 50) : p.start])]
    if prepositional:
        return prepositional[0]
    return after[0] if after and not before else (before or after)[-1 if before else 0]
