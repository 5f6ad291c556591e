"""Parts of an organ from words and numbers: segments, vertebrae, shared nouns, names that stand for several."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from llm_extract.anatomy import Anatomy
from llm_extract.references import Reference
from llm_extract.rules.lexicon import Mark, Place

_ROMAN = {"i": 1, "ii": 2, "iii": 3, "iv": 4, "v": 5, "vi": 6, "vii": 7, "viii": 8}


_SEGMENT = re.compile(r"(?<![A-Za-z\d])(?P<n>[1-8]|VIII|VII|VI|IV|V|III|II|I)(?=\s?[abAB]\b|[^A-Za-z\d]|$)")


_LUNG_SEGMENT = re.compile(r"(?:lung|lobe|pulmonary|lingula|basal|apical)", re.IGNORECASE)


def liver_segments(
    text: str, references: Sequence[Reference], organ: str | None, places: Sequence[Mark]
) -> dict[str, tuple[int, int]]:
    """Liver segments with the words that name them."""
    if organ not in {None, "liver"}:
        return {}
    found: dict[str, tuple[int, int]] = {}
    for reference in references:
        listed = reference.get("segments")
        if reference.kind != "segment" or listed is None:
            continue
        if organ is None and _LUNG_SEGMENT.search(text[reference.end : reference.end + 40]):
            continue
        for number in segment_numbers(listed):
            found[f"liver_segment_{number}"] = (reference.start, reference.end)
    return found


def segment_numbers(listed: str) -> list[int]:
    """Numbers of a list of liver segments, Roman or Arabic, with ranges.

    >>> segment_numbers("IVb/V"), segment_numbers("VI–VIII"), segment_numbers("2, 4 and 7")
    ([4, 5], [6, 7, 8], [2, 4, 7])
    """
    numbers: list[int] = []
    last_end = 0
    for match in _SEGMENT.finditer(listed):
        token = match["n"]
        number = int(token) if token.isdigit() else _ROMAN[token.lower()]
        gap = listed[last_end : match.start()].lower()
        if (
            numbers
            and (re.search(r"[-–]", gap) or " to " in gap or "through" in gap)
            and number > numbers[-1]
        ):
            numbers.extend(range(numbers[-1] + 1, number))
        numbers.append(number)
        last_end = match.end()
    return list(dict.fromkeys(numbers))


def vertebra_levels(
    text: str, references: Sequence[Reference], organ: str | None
) -> dict[str, tuple[int, int]]:
    """Vertebrae with the words that name them."""
    if organ not in {None, "bone", "other"}:
        return {}
    found: dict[str, tuple[int, int]] = {}
    for reference in references:
        if reference.kind == "vertebra":
            for level in re.findall(r"(?:[CTLS]|Th|D)-?\d{1,2}", text[reference.start : reference.end]):
                letter = "T" if level[0] in "TD" else level[0]
                number = re.sub(r"\D", "", level)
                found[f"bone_vertebra_{letter.lower()}{number}"] = (reference.start, reference.end)
    return found


_ORDINALS = (
    "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth", "eleventh",
    "twelfth",
)  # fmt: skip
_ORDINAL = r"(?:\d{1,2}(?:st|nd|rd|th)|" + "|".join(_ORDINALS) + ")"
_ORDINAL_LIST = rf"{_ORDINAL}(?:(?:\s?,\s?|\s(?:and|or|to)\s|\s?[-–&]\s?)(?:the\s)?{_ORDINAL}){{0,4}}"
_SPINE = r"(?:cervical|thoracic|dorsal|lumbar)"
_COUNTED_LEVEL = re.compile(
    rf"\b(?:(?P<before>{_ORDINAL_LIST})\s(?P<region>{_SPINE})|(?P<named>{_SPINE})\s(?P<behind>{_ORDINAL_LIST}))"
    r"\s(?:vertebra|corp)",
    re.IGNORECASE,
)
_LEVELS_OF = {"c": ("c", 7), "t": ("t", 12), "d": ("t", 12), "l": ("l", 5)}


def counted_levels(text: str, places: Sequence[Mark]) -> dict[str, tuple[int, int]]:
    """Reads "the 9th thoracic vertebra", "the second and third lumbar vertebrae": their numbers."""
    found: dict[str, tuple[int, int]] = {}
    for mark in places:
        window = max(0, mark.start - 80), min(len(text), mark.end + 10)
        for match in _COUNTED_LEVEL.finditer(text, *window) if mark.value.part == "bone_spine" else ():
            letter, most = _LEVELS_OF[(match["region"] or match["named"])[0].lower()]
            listed = (match["before"] or match["behind"]).lower()
            numbers = [_ordinal(word) for word in re.findall(_ORDINAL, listed)]
            if len(numbers) == 2 and re.search(r"\sto\s|[-–]", listed):
                numbers = list(range(numbers[0], numbers[1] + 1))
            if match.end() > mark.start and numbers and max(numbers) <= most:
                found.update({f"bone_vertebra_{letter}{n}": (match.start(), mark.end) for n in numbers})
    return found


def _ordinal(word: str) -> int:
    return int(re.sub(r"\D", "", word)) if word[0].isdigit() else _ORDINALS.index(word) + 1


_HOLDS = {"lung_left_upper_lobe": "lung_lingula", "bone_spine": "bone_vertebra_"}
"""Parts that give way to what they hold: "the lingula of the left upper lobe", "the L2 vertebra"."""
_MIDDLE = frozenset({"thyroid_isthmus"})
"""Parts between the sides, which take the side of what they are named with."""
_LEVELS = {
    "lung": {"upper": "lung_upper_lobe", "middle": "lung_right_middle_lobe", "lower": "lung_lower_lobe"},
    "kidney": {"upper": "kidney_upper_pole", "mid": "kidney_interpolar", "lower": "kidney_lower_pole"},
    "prostate": {
        "peripheral": "prostate_peripheral_zone",
        "transition": "prostate_transition_zone",
        "transitional": "prostate_transition_zone",
    },
}


_LEVEL_LIST = re.compile(
    r"\b(?P<words>(?:upper|middle|mid|lower)(?:,\s(?:upper|middle|mid|lower))*|peripheral|transition(?:al)?)"
    r"(?:\s?,)?\s?(?:and|or|&|/|-)\s?(?:the\s)?$",
    re.IGNORECASE,
)


def level_parts(stretch: str, organ: str | None, side: str, *, anatomy: Anatomy) -> tuple[str, ...]:
    """The part in "a nodule in the left upper and one in the left lower lobe" that lacks its noun."""
    match = re.search(r"\b(upper|middle|mid|lower)\W*(?:and|or)?\W*$", stretch, re.IGNORECASE)
    levels = _LEVELS.get(organ or "", {})
    name = levels.get(match[1].lower()) or levels.get(match[1].lower()[:3]) if match is not None else None
    return expand_parts(anatomy, organ, [name], side)[0] if name is not None else ()


_OTHER_LOBE = {
    "liver_right_lobe": "liver_left_lobe",
    "liver_left_lobe": "liver_right_lobe",
    "thyroid_right_lobe": "thyroid_left_lobe",
    "thyroid_left_lobe": "thyroid_right_lobe",
}
_LOBE_AND = re.compile(r"\b(left|right)\s?(?:and|or|&|/)\s?(?:the\s)?$", re.IGNORECASE)


def shared_noun(
    text: str, marks: Sequence[Mark], organ: str | None, known: dict[str, tuple[int, int]]
) -> dict[str, tuple[int, int]]:
    """Reads "upper and lower lobes", "right and left hepatic lobes": a part whose noun comes later."""
    levels = _LEVELS.get(organ or "", {})
    found: dict[str, tuple[int, int]] = {}
    for mark in marks:
        other = _OTHER_LOBE.get(mark.value.part) if mark.category == "place" else None
        joined = _LOBE_AND.search(text[max(0, mark.start - 16) : mark.start]) if other is not None else None
        if other is not None and joined is not None and joined[1].lower() in other:
            found[other] = (mark.start - len(joined[0]), mark.end)
        match = _LEVEL_LIST.search(text[max(0, mark.start - 40) : mark.start]) if levels else None
        if match is None or (mark.start, mark.end) not in known.values():
            continue
        for word in re.findall(r"\w+", match["words"].lower()):
            name = levels.get(word) or levels.get(word[:3])
            if name is not None and name not in known:
                found[name] = (mark.start - len(match[0]), mark.end)
    return found


_BARE_LOBE = re.compile(
    r"\s(upper|middle|lower)(?=\s?\(|\s?,|\s(?:and|or|lung|nodul\w*|mass(?:es)?|lesions?|opacit\w+|\d)\b)",
    re.IGNORECASE,
)


def bare_lobes(text: str, marks: Sequence[Mark], organ: str | None) -> dict[str, tuple[int, int]]:
    """Reads "right upper and left lower nodules" of the lungs: lobes without their noun."""
    found: dict[str, tuple[int, int]] = {}
    for mark in marks if organ == "lung" else ():
        match = _BARE_LOBE.match(text, mark.end) if mark.category == "side" else None
        if (
            match is None
            or mark.value not in {"left", "right"}
            or (mark.value, match[1].lower()) == ("left", "middle")
        ):
            continue
        found[f"lung_{mark.value}_{match[1].lower()}_lobe"] = (mark.start, match.end())
    return found


def short_part(place: Place, organ: str) -> str | None:
    """The part that a short name means in an organ."""
    return next((part for owner, part in place.candidates if owner == organ), None)


def expand_parts(
    anatomy: Anatomy,
    organ: str | None,
    names: Sequence[str],
    side: str | None,
    *,
    joined: Collection[str] = (),
) -> tuple[tuple[str, ...], bool, str | None]:
    """Part names with the ones that stand for several replaced; whether any did; the side they imply.

    A lobe that is named without its side gives way to one with it, unless it is ``joined`` to it in a list.
    """
    if organ is None or organ not in anatomy.organs:
        return (), False, None
    table = anatomy.organs[organ].parts
    known = [name for name in names if name in table]
    single = [name for name in known if not table[name].one_of]
    if single and organ in {"liver", "lung"}:
        apart = set(joined) if organ == "lung" else set()
        known = [
            n for n in known if not table[n].one_of or (n in apart and not set(table[n].one_of) & set(single))
        ]
        held = {table[n].side for n in single} - {None}
        side = next(iter(held)) if side is None and apart and len(held) == 1 else side
    elif len(known) > 1 and organ == "liver":
        smallest = min(known, key=lambda name: len(table[name].one_of))
        known = [n for n in known if not set(table[smallest].one_of) <= set(table[n].one_of) or n == smallest]
    expanded: dict[str, None] = {}
    one_of = False
    for name in known:
        part = table[name]
        if not part.one_of:
            expanded[name] = None
            continue
        options = [p for p in part.one_of if side not in {"left", "right"} or table[p].side in {None, side}]
        one_of = one_of or (len(options) > 1 and side != "bilateral")
        expanded.update(dict.fromkeys(options))
    for whole, inside in _HOLDS.items():
        if any(name.startswith(inside) for name in expanded):
            expanded.pop(whole, None)
    implied = {table[name].side for name in expanded} - {None}
    has_all = all(table[name].side is not None or name in _MIDDLE for name in expanded)
    if has_all and not one_of and {"left", "right"} <= implied:
        return tuple(expanded), one_of, "bilateral"
    return tuple(expanded), one_of, (next(iter(implied)) if len(implied) == 1 and has_all else None)
