"""Attributes of a finding from the words of its stretch: density, enhancement, count, change, malignancy, score."""

from __future__ import annotations

import re
from collections.abc import Sequence

from llm_extract.cues import Cue
from llm_extract.lower_case import lowered
from llm_extract.records import Score
from llm_extract.references import Reference
from llm_extract.rules.lexicon import Mark
from llm_extract.rules.seeing import SEEN

_COUNTS = {
    "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10,
    "eleven": 11, "twelve": 12, "single": 1, "solitary": 1, "pair of": 2,
}  # fmt: skip
_NP_WORD = (
    r"(?:(?!(?:in|of|the|and|with|at|on|measuring|largest|segment|segments|series"
    r"|image)\b)[A-Za-z-]+,?\s){0,5}"
)
_COUNT = re.compile(
    r"(?P<at>at least\s|more than\s|over\s|approximately\s|about\s|around\s)?(?<![\w.-])(?P<n>one|two|three|four"
    r"|five|six|seven|eight|nine|ten|eleven|twelve|single|solitary|pair of"
    r"|\d{1,2}(?!\d|\s?(?:mm|cm|x|\.|,|/|:|-)|\s?to\s\d{1,2}\s?(?:mm|cm)))(?:\s?(?:-|to|or)\s?(?P<hi>\d{1,2}(?!\d?\s?(?:mm|cm))|two|three|four|five|six))?\s(?:(?:adjacent|neighbou?ring|nearby|small|further|additional|other)\s)?(?:\d[\d.,\s×x-]{0,14}(?:mm|cm)\s)?"
    + _NP_WORD
    + r"$",
    re.IGNORECASE,
)
_NUMBERED = re.compile(
    r"(?:\b(?:segments?|levels?|stations?|ribs?|image|series|grade|type|rads)\s|\b[ctls](?=\d))"
    r"(?:\d{1,2}[abrl]?(?:,?\s(?:and|or|to|through|&)\s|,\s|\s?[/&-]\s?))*$",
    re.IGNORECASE,
)
"""Before a number that is the name of a place: "segments 6 and 7 contain", "T5 and 7 show"."""
_ONE_OF = re.compile(r"\bone of\s(?:the|these|which)\b", re.IGNORECASE)
_INDEFINITE = re.compile(r"\b(?:an?|another|single|solitary|one)\s(?:[\w.×-]+,?\s){0,9}$", re.IGNORECASE)


def count_of(before: str, *, plural: bool, multiple: bool) -> tuple[int | None, str]:
    """Number of lesions that a noun stands for, from the words right before it.

    >>> count_of("Three enhancing liver ", plural=True, multiple=False)
    (3, 'exact')
    >>> count_of("Multiple small ", plural=True, multiple=True)
    (None, 'multiple_unknown')
    """
    match = _COUNT.search(before)
    if (
        match is not None
        and not _ONE_OF.search(before)
        and not (
            match["n"].isdigit()  # "in the superior segment two nodules" counts them
            and _NUMBERED.search(before[: match.start("n")])
        )
    ):
        number = _number(match["n"])
        prefix = (match["at"] or "").lower().strip()
        if number is not None and (plural or number == 1):
            if match["hi"]:
                return max(number, _number(match["hi"]) or number), "approximate"
            if prefix in {"more than", "over"} and number == 1:
                return None, "multiple_unknown"
            if prefix in {"at least", "more than", "over"}:
                return number + (prefix != "at least"), "at_least"
            return number, "approximate" if prefix else "exact"
    if plural or multiple:
        return None, "multiple_unknown"
    return 1, "exact"


def _number(word: str) -> int | None:
    value = int(word) if word.isdigit() else _COUNTS.get(word.lower())
    return value if value is not None and 1 <= value <= 1000 else None


def pick(marks: Sequence[Mark], category: str, *, anchor: int) -> Mark | None:
    """The mark of a category nearest to a position, or None."""
    found = [m for m in marks if m.category == category]
    return min(found, key=lambda m: abs(m.start - anchor)) if found else None


def density(marks: Sequence[Mark], category: str, *, anchor: int) -> tuple[str, Mark | None]:
    """Attenuation or enhancement of a finding; two different ones are ``mixed``."""
    found = [m for m in marks if m.category == category]
    if not found:
        return "unknown", None
    values = {m.value for m in found}
    nearest = min(found, key=lambda m: abs(m.start - anchor))
    if len(values) > 1 and "mixed" in values:
        return "mixed", nearest
    return nearest.value, nearest


def malignancy_of(
    own: Mark | None, names: Sequence[Mark], marks: Sequence[Mark], organ: str
) -> tuple[str, str | None, tuple[int, int] | None]:
    """Malignancy, its basis, and where the text says so.

    A list of possible diagnoses of both kinds, and a lesion called indeterminate, stay ``indeterminate``.
    """
    found = [m for m in (own, *names) if m is not None and m.value.malignancy]
    values = {m.value.malignancy for m in found}
    cues = {m.category: m for m in marks if m.category in {"malignant", "benign", "indeterminate"}}
    if len(values) > 1:
        return "indeterminate", "differential", (found[0].start, found[0].end)
    if values:
        mark = found[-1]
        if "indeterminate" in cues and len(names) > 1:
            return "indeterminate", "stated", (cues["indeterminate"].start, cues["indeterminate"].end)
        return mark.value.malignancy, "diagnosis", (mark.start, mark.end)
    for name in ("benign", "malignant", "indeterminate"):
        if name in cues:
            return name, "stated", (cues[name].start, cues[name].end)
    cyst = own is not None and own.value.kind == "cyst" and own.value.diagnosis == "cyst"
    if own is not None and cyst and organ in {"kidney", "liver"}:
        return "benign", "cyst", (own.start, own.end)
    return "unknown", None, None


def scores_of(references: Sequence[Reference]) -> tuple[Score, ...]:
    """Standard categories such as LI-RADS 4."""
    found = []
    for reference in references:
        system, value = reference.get("system"), reference.get("value")
        if reference.kind == "score" and system and value:
            name = (
                system.upper().replace("RADS", "-RADS").replace("--", "-")
                if "rads" in system.lower()
                else system
            )
            name = "LI-RADS" if name == "LR" else name
            found.append(Score(system=name, value=value.strip().upper() if len(value) < 4 else value.strip()))
    return tuple(found)


def score_malignancy(scores: Sequence[Score]) -> str | None:
    """What a standard category settles: LI-RADS 5 and M are malignant, Bosniak I and II benign, IIF open."""
    for score in scores:
        system, value = score.system.lower(), score.value.upper()
        if system == "li-rads":
            return {"5": "malignant", "M": "malignant", "TIV": "malignant", "1": "benign"}.get(
                value, "indeterminate"
            )
        if system == "bosniak":
            return {"I": "benign", "II": "benign", "1": "benign", "2": "benign"}.get(value, "indeterminate")
    return None


def image_of(references: Sequence[Reference], *, anchor: int) -> tuple[int | None, int | None]:
    """Series and image number nearest after a position."""
    found = [r for r in references if r.kind == "series_image"]
    if not found:
        return None, None
    nearest = min(found, key=lambda r: abs(r.start - anchor))
    series, image = nearest.get("series"), nearest.get("image")
    return (int(series) if series else None), (int(image) if image else None)


def hounsfield_of(references: Sequence[Reference]) -> float | None:
    """Stated HU, or None."""
    for reference in references:
        value = reference.get("hu")
        if reference.kind == "hounsfield" and value is not None:
            return float(value.replace("–", "-").replace(" ", "").replace(",", "."))
    return None


def volume_of(references: Sequence[Reference]) -> float | None:
    """Stated volume in mm³, or None."""
    for reference in references:
        value, unit = reference.get("volume"), reference.get("vunit")
        if reference.kind == "volume" and value is not None and unit is not None:
            number = float(value.replace(",", "."))
            volume = number if unit.lower().startswith("mm") else number * 1000.0
            return volume or None
    return None


def is_indefinite(before: str) -> bool:
    """True for "a mass", "another 2 cm cyst": a lesion of its own, never a look back."""
    return bool(_INDEFINITE.search(before))


_SEEN = rf"(?:{SEEN}|detected|noted|present|found|visible|evident|demonstrated|distinguish(?:ed|able))"
_NOT_BEFORE = Cue(
    r"\b(?:was|were|is|are|had|could)\s(?:not|never)\s(?:be\s|been\s)?(?:\w+ly\s)?"
    + _SEEN
    + r"\s(?:previously|before|earlier|(?:(?:in|on|at|during)\s)?(?:the|his|her|their|an?)\s(?:\w+\s)?"
    r"(?:previous|prior|earlier|old|last|comparison)\b)",
    "previous", "before", "earlier", "prior", "old", "last", "comparison",
)  # fmt: skip


def new_since(sentence: str, start: int, end: int) -> tuple[int, int] | None:
    """Where a stretch says that a lesion was not there earlier: "was not visible on the previous CT"."""
    found = _NOT_BEFORE.search(lowered(sentence[start:end]))
    return None if found is None else (start + found.start(), start + found.end())
