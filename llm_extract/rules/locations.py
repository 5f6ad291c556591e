"""Where a finding lies: organ, parts and side, from the place words of its stretch of text."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass

from llm_extract.anatomy import Anatomy
from llm_extract.references import Reference
from llm_extract.rules.lexicon import Mark
from llm_extract.rules.neighbours import IN_FRONT_OF, is_asked, is_axis, is_landmark, is_level, is_neighbour
from llm_extract.rules.organ_choice import WEAK, choose_organ
from llm_extract.rules.part_names import (
    bare_lobes,
    counted_levels,
    expand_parts,
    liver_segments,
    shared_noun,
    short_part,
    vertebra_levels,
)
from llm_extract.rules.sides import both_sides, side_of, without_most

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
    r"(?:(?!(?:in|within|inside)\s)[\w/-]+[\s-]){0,4}$",
    re.IGNORECASE,
)
_TOUCHES = re.compile(
    r"\b(?:abut\w*|touch\w*|border\w*|contact with|indent\w*|displac\w*|compress\w*)\s(?:[\w/-]+\s){0,3}$",
    re.IGNORECASE,
)
_OF_KIDNEY = re.compile(r"(?:simple )?(?:renal|cortical|para-?pelvic|peri-?pelvic)", re.IGNORECASE)
_BETWEEN = re.compile(r"\b(?:between|intermediate level of)\s(?:\w+\s){0,6}$", re.IGNORECASE)
_OUTSIDE = dict.fromkeys(
    ("liver", "pancreas", "kidney", "spleen", "stomach", "adrenal_gland", "duodenum", "gallbladder"),
    "peritoneum",
) | {"colon": "peritoneum", "small_bowel": "peritoneum", "bladder": "peritoneum", "bone": "soft_tissue"}
"""What a finding lies in that is only beside or between such organs."""


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
    marks, references = without_most(text, [m for m in marks if not is_axis(text, m)], references)
    places = _without_texture(text, [m for m in marks if m.category == "place"], head, topic)
    free = [m for m in places if not is_neighbour(text, m, head)]
    organ = None if free else _organ_beside(text, places, head, topic)
    certain = organ is not None
    if organ is None:
        organ, certain = choose_organ(text, free or places, references, head, topic, inherited)
    numbered = organ == "liver" and any(r.kind == "segment" for r in references)
    if not free and places and organ in _OUTSIDE and not numbered and _outside(text, places, head, topic):
        organ, certain = _OUTSIDE[organ], False
    if organ is None or not certain:
        organ = _from_short(marks, organ, free, owners=_owners(head)) or organ
    segments = liver_segments(text, [r for r in references if not is_asked(text, r.end)], organ, places)
    if segments and organ is None:
        organ = "liver"
    levels = [
        r for r in references if not is_landmark(text, r.start) or (organ == "bone" and _is_at(text, r))
    ]
    vertebrae = vertebra_levels(text, levels, organ)
    if vertebrae and organ in {None, "other"}:
        organ = "bone"
    parts: dict[str, tuple[int, int]] = {**segments, **(vertebrae if organ == "bone" else {})}
    joined = len(segments) > 1
    usable = _own_parts(text, places, free, organ)
    parts |= {mark.value.part: (mark.start, mark.end) for mark in usable}
    parts |= counted_levels(text, usable) if organ == "bone" else {}
    parts |= _short_parts(text, marks, organ, head)
    parts = parts or bare_lobes(text, marks, organ)
    parts |= shared_noun(text, [*usable, *(m for m in marks if m.category == "short")], organ, parts)
    own = [m for m in places if m.value.organ == organ or not free]  # all it is beside lies on its side
    side, side_spans = side_of(text, marks, head, own, organ=organ)
    if side is None and head is not None and head.plural:
        side, side_spans = both_sides(places, organ, anatomy)
    names, one_of, implied = expand_parts(anatomy, organ, tuple(parts), side, joined=_joined(text, parts))
    side = implied or (None if side in {"left", "right"} and _crosses(text, organ, names, marks) else side)
    beside = bool(places) and not (free or numbered or _within_level(text, places, organ))
    relation = _relation(names, one_of=one_of, joined=joined, beside=beside)
    spans = tuple((m.start, m.end) for m in places if m.value.organ == organ) + tuple(parts.values())
    return Location(
        organ, names, relation, side, tuple(dict.fromkeys(spans)), side_spans, certain and bool(free)
    )


def _own_parts(text: str, places: Sequence[Mark], free: Sequence[Mark], organ: str | None) -> list[Mark]:
    """Names of parts of the organ that a finding lies in; all of them where it is only beside what is named."""
    inside = [m for m in places if m in free or (free and is_level(text, m))] or places
    return [m for m in inside if m.value.organ == organ and m.value.part and not is_asked(text, m.end)]


def _owners(head: Mark | None) -> tuple[str, ...]:
    """Organs that a finding is by its name."""
    node = head is not None and head.category == "finding" and head.value.kind == "lymph_node"
    return ("lymph_node",) if node else ()


_OWN_HILUM = re.compile(
    r"\b(?:fatt?y?|lucent|radiolucent|echogenic|preserved|its|their|visible)\s(?:central\s)?hil(?:us|um|i|a)\b"
    r"|\bhil(?:us|um|i|a)\s(?:is|are|was|were)?\s?(?:preserved|fat|fatty)\b",
    re.IGNORECASE,
)
"""Reads "enlarged nodes with a fatty hilum": that of the node, not of the lung."""


def _short_parts(
    text: str, marks: Sequence[Mark], organ: str | None, head: Mark | None
) -> dict[str, tuple[int, int]]:
    """Parts by names that several organs share, with the words that name them."""
    found = {}
    for mark in marks if organ is not None else ():
        if mark.category != "short" or organ is None or is_asked(text, mark.end):
            continue
        if not _is_elsewhere(text, mark, organ, head):
            name = short_part(mark.value, organ)
            if name is not None:
                found[name] = (mark.start, mark.end)
    return found


def _is_elsewhere(text: str, mark: Mark, organ: str, head: Mark | None) -> bool:
    """True for a part that a finding is only beside; nodes lie along what they are named by."""
    if organ == "lymph_node":
        return _OWN_HILUM.search(text, max(0, mark.start - 18), mark.end + 14) is not None
    return is_neighbour(text, mark, head)


_AT = re.compile(r"(?:\bat|\bat (?:the )?level of)\s(?:the\s)?$", re.IGNORECASE)


def _is_at(text: str, reference: Reference) -> bool:
    """Reads "a lytic lesion at L3": for a lesion of bone the level is the place."""
    return _AT.search(text[max(0, reference.start - 24) : reference.start]) is not None


_NEXT_WORD = re.compile(r"\s(?:(?!(?:is|are|was|were|in|at|of|on)\s)\w+\s)?")
_MIDLINE = (
    "lymph_node_mediastinal",
    "lymph_node_retroperitoneal",
    "lymph_node_mesenteric",
    "lymph_node_portal",
    "lymph_node_upper_abdominal",
    "bone_spine",
    "bone_vertebra",
    "bone_sternum",
    "bone_sacrum",
)
"""Starts of the names of parts that lie on neither side."""


_JOINED = re.compile(r"\s?(?:,|and|or|&|/|,\s?and)\s(?:also\s)?(?:in\s)?(?:the\s)?(?:\w+\s)?", re.IGNORECASE)


def _joined(text: str, parts: dict[str, tuple[int, int]]) -> frozenset[str]:
    """Parts in a list beside another: "the middle and lower lobes", "the right upper lobe and the lower lobe"."""
    ordered = sorted(parts.items(), key=lambda item: item[1])
    found: set[str] = set()
    for (left, (_, end)), (right, (start, _)) in itertools.pairwise(ordered):
        if start < end or _JOINED.fullmatch(text, end, start):
            found |= {left, right}
    return frozenset(found)


_PARENCHYMA = frozenset(
    {"liver", "kidney", "lung", "spleen", "pancreas", "thyroid", "prostate", "uterus", "breast"}
)


def _crosses(text: str, organ: str | None, names: Sequence[str], marks: Sequence[Mark]) -> bool:
    """Reads "right hilar and mediastinal nodes": the side of one place is not that of a place in the midline."""
    if organ not in {"lymph_node", "bone"} or len(names) < 2:
        return False
    middle = [name.startswith(_MIDLINE) for name in names]
    sides = [m for m in marks if m.category == "side"]
    placed = [m.start for m in marks if m.category in {"place", "short"}]
    close = len(sides) == 1 and any(_NEXT_WORD.fullmatch(text, sides[0].end, at) for at in placed)
    return any(middle) and not all(middle) and close


def _within_level(text: str, places: Sequence[Mark], organ: str | None) -> bool:
    """Reads "at the level of the liver dome": where nothing else is named, the level is the place."""
    return organ in _PARENCHYMA and all(m.value.organ == organ and is_level(text, m) for m in places)


_MADE_OF = re.compile(
    r"[\s-](?:nodul|lesion|densit|mass|structure|formation|component|tumou?r)", re.IGNORECASE
)


def _without_texture(text: str, places: list[Mark], head: Mark | None, topic: Sequence[str]) -> list[Mark]:
    """Reads "a soft tissue nodule in the mediastinum": what a finding is made of is no place of it."""
    if head is None:
        return places
    made_of = [
        m for m in places
        if m.value.organ == "soft_tissue" and m.end <= head.end
        and text[m.start : m.end].lower().startswith("soft tissue") and _MADE_OF.match(text, m.end)
    ]  # fmt: skip
    rest = [m for m in places if m not in made_of]
    return rest if rest or topic else places


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
    if any(_BETWEEN.search(text[max(0, m.start - 40) : m.start]) for m in places):
        return True
    if set(topic) - {"other"} or _fixed(head):
        return False
    return all(
        _BESIDE.search(text[max(0, m.start - 50) : m.start])
        or IN_FRONT_OF.search(text[max(0, m.start - 30) : m.start].lower())
        for m in places
    )


def _organ_beside(text: str, places: Sequence[Mark], head: Mark | None, topic: Sequence[str]) -> str | None:
    """Reads "a hepatic cyst beside the gallbladder", "Liver: a lesion beside it": the organ is in name or heading."""
    before = [text[max(0, m.start - 50) : m.start] for m in places]
    if head is None or not all(_BESIDE.search(words) or _TOUCHES.search(words) for words in before):
        return None
    plain = head.value.diagnosis == "simple_cyst" and not _OF_KIDNEY.match(text, head.start)
    if places and _fixed(head) and not plain:
        return str(head.value.organ)
    return topic[0] if places and len(topic) == 1 and topic[0] not in WEAK else None


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


__all__ = ["DIGESTIVE", "SIDELESS", "WEAK", "Location", "laterality_of", "resolve"]
