"""Places that a finding does not lie in: what it is next to, and what only says how high it lies."""

from __future__ import annotations

import re

from llm_extract.lower_case import lowered
from llm_extract.rules.lexicon import Mark
from llm_extract.rules.statements import Statement

RELATION = re.compile(
    r"\b(?:invad\w+|encas\w+|abut\w*|contact\w*|compress\w*|displac\w*|exten\w+(?: \w+)?(?: "
    r"in)?to(?:wards?)?|infiltrat\w+|adjacent(?: to)?|next to|near(?:by)?"
    r"|close to|(?:in|at) (?:the )?front of|anterior to|posterior to|superior to|inferior to"
    r"|medial to|lateral to|beneath|below the"
    r"|above the|behind|surround\w*|between(?:\s\w+){0,4}|caudal to|cranial to"
    r"|narrowing|obstruct\w*|occlud\w*|involv\w+|along|bordering|(?:on|at) the border of"
    r"|iso(?:dense|attenuating|intense)(?: \w+)? (?:with|to)|(?:similar|relative|equal) to"
    r"|touching|reaching|proximity (?:to|of"
    r"|with)|neighbou?rhood of|effacing|inseparable from|separate from|distinct from|unrelated to"
    r"|independent of|vicinity of"
    r"|bed of|intermediate level of|not the|rather than|instead of|at the level of|the level of|invasion (?:of|into)"
    r"|extension "
    r"(?:in)?to|protruding (?:in)?to|bulging (?:in)?to|contiguous with|distal to|proximal to)\s"
    r"(?:(?!(?:in|within|inside)\s)[\w/-]+[\s-]){0,4}$",
)
"""Given lower case; "beneath the pleura in the right lung" is next to the pleura alone."""
IN_FRONT_OF = re.compile(
    r"\b(?:anterior|posterior|lateral|medial|caudal|cranial|superior|inferior|antero\w+|postero\w+)(?:ly)?\sof\s(?:the\s)?$"
)
_TUBES = frozenset({"esophagus", "duodenum", "small_bowel", "colon", "bladder", "vessel", "other"})
"""Organs whose "posterior of" is a place behind them; in an organ of tissue it is one of its parts."""
_BED = re.compile(r"\s(?:bed|fossa)\b")


_INSIDE = re.compile(
    r"\b(?:falciform ligament|ligamentum (?:teres|venosum)|round ligament|fissures?|gallbladder (?:fossa|bed)|dome"
    r"|sinus)\s(?:of|in)\s(?:the\s)?(?:(?:left|right|same)\s)?$"
)
"""Reads "adjacent to the falciform ligament of the liver": what is beside something inside an organ lies in it."""
_LEVEL = re.compile(r"\blevel of\s(?:the\s)?(?:[\w-]+\s){0,2}$", re.IGNORECASE)
_PHRASE_END = re.compile(
    r"[,;:.()]|\b(?:in|of|and|or|with|is|are|was|were|at|on|to|from|by|for|which|that|there|shows?|has"
    r"|have|contains?"
    r"|demonstrates?|reveals?|an?|the)\b",
)


def is_landmark(text: str, start: int) -> bool:
    """True for a place that only says how high something lies, or what it is next to."""
    return RELATION.search(lowered(text[max(0, start - 40) : start])) is not None or (
        re.search(r"\b(?:level of|between|above|below|at)\s(?:the\s)?$", text[max(0, start - 24) : start])
        is not None
    )


def is_neighbour(text: str, mark: Mark, head: Mark | None) -> bool:
    """True for a place that is only a neighbour of the finding."""
    organ = mark.value.organ if mark.category == "place" else None
    if organ == "gallbladder" and _BED.match(text, mark.end):
        return True
    if organ is not None and _is_within(text, mark):
        return False
    if organ in _TUBES and IN_FRONT_OF.search(lowered(text[max(0, mark.start - 30) : mark.start])):
        return True
    if head is not None and mark.end <= head.start and same_phrase(text[mark.end : head.start]):
        return False
    if head is not None and mark.end <= head.start:
        window = lowered(text[max(0, mark.start - 60) : mark.start])
        cue = RELATION.search(window)
        return cue is not None
    return RELATION.search(lowered(text[max(0, mark.start - 60) : mark.start])) is not None


def _is_within(text: str, mark: Mark) -> bool:
    """True for an organ that owns the landmark before it, and for a landmark that only one organ has."""
    if text[mark.start : mark.start + 9].lower() == "falciform":
        return True
    return _INSIDE.search(lowered(text[max(0, mark.start - 40) : mark.start])) is not None


def same_phrase(gap: str) -> bool:
    """True if a place and the finding behind it make one noun phrase: "adjacent to the right rib lesion"."""
    return len(gap) < 50 and _PHRASE_END.search(lowered(gap)) is None


def is_level(text: str, mark: Mark) -> bool:
    """True for "at the level of the lingula": within it for a finding of the same organ, beside it for others."""
    return _LEVEL.search(text[max(0, mark.start - 40) : mark.start]) is not None


_AXIS = re.compile(
    r"\s(?:planes?|dimensions?|diameters?|axis|sections?|direction|images?|extent|measure\w*|size|by|x)\b"
)
_SIZED = re.compile(r"\d\s?(?:mm|cm)\s?\(?$")


def is_axis(text: str, mark: Mark) -> bool:
    """True for "5 cm transverse", "the transverse plane": an axis, not a part of the colon."""
    if mark.category != "short" or text[mark.start : mark.end].lower() != "transverse":
        return False
    return _AXIS.match(text, mark.end) is not None or _SIZED.search(text[: mark.start][-8:]) is not None


def is_asked(text: str, end: int) -> bool:
    """True for "segment 7?": a part that the text is not sure of."""
    return text[end : end + 2].lstrip().startswith("?")


_QUESTION = re.compile(r"\([^()]{1,120}\?[^()]{0,60}\)")


def outside_questions(statement: Statement, where: list[Mark]) -> list[Mark]:
    """Places without those of a questioned name: "cystic lesion (oesophageal duplication cyst?)"."""
    if "?" not in statement.text or not where:
        return where
    asked = [m.span() for m in _QUESTION.finditer(statement.text)]
    named = [
        (a, b) for a, b in asked
        if any(m.category == "finding" and a <= m.start - statement.start < b for m in statement.marks)
    ]  # fmt: skip
    return [m for m in where if not any(a <= m.start - statement.start < b for a, b in named)]


_BESIDE = (
    r"\b(?:next to|adjacent to|close to|lateral to|medial to|superior to|inferior to|anterior to|posterior to|caudal to"
    r"|cranial to|proximal to|distal to|beside|near|around|behind|above|below|beneath|abutting|adjoining|neighbou?ring"
    r"|(?:neighbou?rhood|vicinity|proximity|periphery|surroundings) of)\s"
)
_BESIDE_THE_LESION = re.compile(
    _BESIDE
    + r"(?:the|this|that)\s(?:[\w-]+\s){0,2}(?:lesion|mass|nodule|cyst|tumou?r|metastasis|focus)\b(?!\slevel)"
    r"|\bsatellite\b"
)
_BESIDE_IT = re.compile(
    _BESIDE + r"it\b|\bits\s(?:[\w-]+\s){0,2}(?:neighbou?rhood|vicinity|proximity|periphery|surroundings)\b"
)


def is_beside_lesion(sentence: str) -> bool:
    """True for a finding that is placed by the lesion before it: "in its lateral vicinity", "next to this mass".

    >>> is_beside_lesion("a nodule of 8 mm lies next to this mass."), is_beside_lesion("a nodule next to this organ.")
    (True, False)
    """
    return _BESIDE_IT.search(sentence) is not None or names_lesion(sentence)


def names_lesion(sentence: str) -> bool:
    """True for "next to this mass" and "satellite", not for "next to it", which may be anything."""
    return _BESIDE_THE_LESION.search(sentence) is not None
