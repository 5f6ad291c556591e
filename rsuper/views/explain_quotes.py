"""What each quoted word of a lesion says: a size, the organ, its part, or organ and part in one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Literal

from llm_extract.anatomy import Anatomy
from llm_extract.records import Evidence, Lesion

PlaceField = Literal["organ", "parts", "organ and part"]
PLACE_FIELDS = ("organ", "parts")
QUOTE_NAMES: Mapping[str, str] = {
    "diameters_mm": "size → step 2",
    "organ": "organ → step 3",
    "parts": "part → step 3",
    "organ and part": "organ and part → step 3",
    "laterality": "side → step 3",
    "prior_diameters_mm": "size before → not used",
}


def quoted_fields(lesion: Lesion, anatomy: Anatomy) -> tuple[tuple[str, Evidence], ...]:
    """Every quote of a lesion with what it says; words of place by what they name, whatever their order.

    ``interpolar left kidney`` quotes two words of place: the first names the part, the second the organ.

    Args:
        lesion: the entry of the record.
        anatomy: the table of organs.
    """
    places = [quote for quote in lesion.evidence if quote.field in PLACE_FIELDS]
    return tuple(
        (_place_field(quote, lesion, anatomy, len(places)) if quote in places else quote.field, quote)
        for quote in lesion.evidence
        if quote.field != "lesion"
    )


def _place_field(quote: Evidence, lesion: Lesion, anatomy: Anatomy, places: int) -> PlaceField:
    """What one of so many words of place names; from the only one the organ follows as well."""
    entry = anatomy.organs.get(lesion.organ)
    organ = entry is not None and _names(quote.text, (*entry.synonyms, *entry.adjectives))
    if not lesion.parts or entry is None:
        return "organ"
    own = [entry.parts[name] for name in lesion.parts if name in entry.parts]
    part = any(_names(quote.text, (*item.synonyms, *item.short)) for item in own)
    if places == 1 or (organ and part):
        return "organ and part"
    if organ or part:
        return "organ" if organ else "parts"
    return "parts"  # a number, such as segment VI


def _names(text: str, phrases: Iterable[str]) -> bool:
    """True if one of the phrases stands in the text as words, a plural included."""
    return any(
        re.search(rf"(?<!\w){re.escape(phrase)}(?:e?s)?(?!\w)", text, re.IGNORECASE) for phrase in phrases
    )
