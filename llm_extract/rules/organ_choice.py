"""Which of the organs named around a finding is its own."""

from __future__ import annotations

import re
from collections.abc import Sequence

from llm_extract.references import Reference
from llm_extract.rules.lexicon import Mark
from llm_extract.rules.neighbours import is_landmark

WEAK = frozenset({"other", "vessel", "peritoneum", "soft_tissue", "pleura"})
"""Organs that give way to another organ named in the same breath ("mesenteric border of the colon")."""

_REGION = re.compile(
    r"(?:abdom(?:en|inal)|pelvi[cs]|thora(?:x|cic)|flank|(?:upper|lower) quadrant|epigastrium|hypochondrium)s?$",
    re.IGNORECASE,
)
"""Words for a whole region of the body, which any other place word outranks."""
_PREPOSITION = re.compile(
    r"\b(?:in|of|within|at|on|throughout|from|involving|affecting|inside|into)\s(?:\w+\s){0,4}$",
    re.IGNORECASE,
)


def choose_organ(
    text: str,
    places: Sequence[Mark],
    references: Sequence[Reference],
    head: Mark | None,
    topic: Sequence[str],
    inherited: str | None,
) -> tuple[str | None, bool]:
    """The organ of a finding, and whether the words settle it."""
    fixed = head.value.organ if head is not None and head.category == "finding" else None
    by_noun = _told_by_noun(text, places, head)
    if by_noun is not None:
        return by_noun, True
    named = [p for p in places if p.value.organ and p.value.organ != "lymph_node"]
    named = [p for p in named if not _REGION.fullmatch(text[p.start : p.end])] or named
    strong = [p for p in named if p.value.organ not in WEAK]
    tissue = _named_tissue(text, named, strong) or _right_behind(text, named, strong, head)
    if tissue is not None:
        return tissue, True
    if strong:
        return _best(text, strong, head).value.organ, True
    has_segment = any(r.kind == "segment" for r in references)
    in_liver = has_segment and (not topic or "liver" in topic)
    known = topic[0] if len(topic) == 1 else inherited if not topic else None
    spoken_of = known if known in _CYSTIC and fixed is not None and not named else None
    found = "liver" if in_liver else spoken_of
    if found is not None and (fixed is None or _is_any_cyst(text, head)):
        return found, in_liver or bool(topic)
    if fixed is not None:
        return fixed, True
    if (
        any(r.kind == "vertebra" and not is_landmark(text, r.start) for r in references)
        and named
        and all(p.value.organ in WEAK for p in named)
        and not any(p.value.organ == "soft_tissue" or _BESIDE_SPINE.match(text, p.start) for p in named)
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
    if not named and any(p.value.organ == "lymph_node" for p in places):
        return "lymph_node", True  # "a lesion at the left paratracheal station (lymphadenopathy)"
    if len(topic) == 1:
        return topic[0], True
    return (inherited if not topic or inherited in topic else topic[0]), False


_KIDNEY = re.compile(r"kidney|renal|pelvic|cortical|exophytic", re.IGNORECASE)
_CYSTIC = frozenset({"liver", "spleen", "pancreas", "ovary", "kidney", "adrenal_gland", "breast"})
"""Where a simple cyst lies if the sentence names no organ; in the kidney where nothing was spoken of."""


_NAMED_ORGAN = re.compile(r"renal|kidney|hepatic|liver|ovarian|adnexal", re.IGNORECASE)


_JOINED = re.compile(r"\s?(?:/|&|and\b|or\b)\s?(?:(?:left|right|bilateral)\s)?", re.IGNORECASE)


def _told_by_noun(text: str, places: Sequence[Mark], head: Mark | None) -> str | None:
    """Organ of a finding by its own word: nodes, and "gallbladder stone, left renal cyst"."""
    if head is None:
        return None
    finding = head.category == "finding"
    if (finding and head.value.kind == "lymph_node") or any(
        p.value.organ == "lymph_node" and p.end <= head.start and head.start - p.end < 3 for p in places
    ):
        return "lymph_node"
    named = finding and head.value.kind == "cyst" and _NAMED_ORGAN.search(text, head.start, head.end)
    if named and not any(_JOINED.fullmatch(text, p.end, head.start) for p in places):
        organ: str | None = head.value.organ
        return organ
    return None


def _is_any_cyst(text: str, head: Mark | None) -> bool:
    """True for "simple cyst", which is renal only where nothing else is spoken of."""
    renal = head is not None and head.category == "finding" and head.value.organ == "kidney"
    return renal and head is not None and _KIDNEY.search(text, head.start, head.end) is None


_BESIDE_SPINE = re.compile(r"(?:para|pre)(?:vertebral|spinal)", re.IGNORECASE)
_TISSUE = re.compile(
    r"subcut|muscle|skin|fatty|glute|pectoral|psoas|iliacus|trapez|latissimus|serratus", re.IGNORECASE
)
_IN = re.compile(r"\b(?:in|within|inside)\s(?:the\s)?(?:(?:left|right|both|bilateral)\s)?$", re.IGNORECASE)
_OF_LUNG = re.compile(r"\s(?:in|of|on)\s(?:the\s)?(?:\w+\s){0,2}", re.IGNORECASE)


_SENTENCE = re.compile(r"[^.;\n]{0,200}")
_OF_BONE = re.compile(
    r"\b(?:lytic|osteolytic|sclerotic|blastic|osteoblastic|destr\w+|erosi\w+|eroding|cortical|cortex|border|surface"
    r"|margin)\b",
    re.IGNORECASE,
)


def _speaks_of_bone(text: str, place: Mark) -> bool:
    """True if the sentence around a tissue calls something lytic, or destroyed: a lesion of the bone after all."""
    begin = max(text.rfind(stop, 0, place.start) for stop in ".;\n") + 1
    rest = _SENTENCE.match(text, place.end)
    return _OF_BONE.search(text, begin, rest.end() if rest is not None else place.end) is not None


def _named_tissue(text: str, named: Sequence[Mark], strong: Sequence[Mark]) -> str | None:
    """A tissue that a finding plainly lies in, which the bone or the lung named behind it only places.

    Reads "in the subcutaneous tissue at the scapula", "in the pleura in the right lung".
    """
    organs = {p.value.organ for p in strong}
    for place in named:
        if not _IN.search(text[max(0, place.start - 24) : place.start]):
            continue
        if (
            place.value.organ == "soft_tissue"
            and organs == {"bone"}
            and _TISSUE.search(text, place.start, place.end)
            and not _speaks_of_bone(text, place)
        ):
            return "soft_tissue"
        if place.value.organ == "pleura" and organs == {"lung"} and strong[0].start > place.end:
            return "pleura" if _OF_LUNG.fullmatch(text, place.end, strong[0].start) else None
    return None


def _right_behind(text: str, named: Sequence[Mark], strong: Sequence[Mark], head: Mark | None) -> str | None:
    """Reads "thickening at the liver, a density lesion in the mesentery": the place right behind, though vague."""
    if (
        head is None
        or not strong
        or any(p.start >= head.start or "," not in text[p.end : head.start] for p in strong)
    ):
        return None
    opens = min(p.start for p in strong)
    later = [
        p for p in named if p.start >= head.end and p.value.organ in {"peritoneum", "soft_tissue", "other"}
    ]
    if not later or _OPENING.search(text[max(0, opens - 30) : opens]):
        return None
    near = _RIGHT_IN.fullmatch(text, head.end, later[0].start)
    return str(later[0].value.organ) if near is not None else None


_RIGHT_IN = re.compile(r"(?:\s?\([^()]{0,40}\))?\s(?:in|within|at)\s(?:the\s)?", re.IGNORECASE)
_OPENING = re.compile(
    r"(?:^|[.;:\n]\s{0,3})(?:in|within)\s(?:the\s|both\s|left\s|right\s){0,2}$", re.IGNORECASE
)
_OPENED = re.compile(r"[^,.;]{0,30}?,")


def _best(text: str, places: Sequence[Mark], head: Mark | None) -> Mark:
    """Parts beat organs; after the finding the first place behind a preposition, before it the nearest one."""
    if head is None:
        return places[0]
    first = places[0]
    if (
        first.end <= head.start
        and _OPENING.search(text[max(0, first.start - 30) : first.start])
        and _OPENED.match(text, first.end, head.start)
        and len({p.value.organ for p in places}) > 1
    ):
        return first  # "In the liver, there is a nodule beside the kidney"
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
