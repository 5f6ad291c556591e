"""Where a finding lies: organ, parts and side, from the place words of its stretch of text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from llm_extract.anatomy import Anatomy
from llm_extract.references import Reference
from llm_extract.rules.lexicon import Mark, Place

WEAK = frozenset({"other", "vessel", "peritoneum", "soft_tissue", "pleura"})
"""Organs that give way to another organ named in the same breath ("mesenteric border of the colon")."""

SIDELESS = frozenset(
    {"liver", "pancreas", "spleen", "gallbladder", "bile_duct", "uterus", "esophagus", "stomach", "duodenum"}
    | {"small_bowel", "colon"}
)
"""Organs whose sides are parts; their laterality is never stated."""

DIGESTIVE = ("stomach", "colon")
"""What "the gastrointestinal tract" says something about."""

_ROMAN = {"i": 1, "ii": 2, "iii": 3, "iv": 4, "v": 5, "vi": 6, "vii": 7, "viii": 8}
_SEGMENT = re.compile(r"(?<![A-Za-z\d])(?P<n>[1-8]|VIII|VII|VI|IV|V|III|II|I)(?=\s?[ab]\b|[^A-Za-z\d]|$)")
_RELATION = re.compile(
    r"\b(?:invad\w+|encas\w+|abut\w*|contact\w*|compress\w*|displac\w*|exten\w+(?: \w+)?(?: "
    r"in)?to(?:wards?)?|infiltrat\w+|adjacent(?: to)?|next to|near(?:by)?"
    r"|close to|anterior to|posterior to|superior to|inferior to|medial to|lateral to|beneath|below the"
    r"|above the|behind|surround\w*|between(?:\s\w+){0,4}|caudal to|cranial to"
    r"|narrowing|obstruct\w*|occlud\w*|involv\w+|along|border\w*|touching|reaching|proximity (?:to|of"
    r"|with)|neighbou?rhood of|effacing|inseparable from|separate from|distinct from|unrelated to"
    r"|independent of|vicinity of"
    r"|not the|rather than|instead of|at the level of|the level of|invasion (?:of|into)|extension "
    r"(?:in)?to|protruding (?:in)?to|bulging (?:in)?to|contiguous with|distal to|proximal to)\s"
    r"(?:[\w/-]+[\s-]){0,4}$",
    re.IGNORECASE,
)
_BESIDE = re.compile(
    r"\b(?:adjacent(?: to)?|next to|near(?:by)?|close to|anterior to|posterior to|superior to|inferior to"
    r"|medial to|lateral to"
    r"|behind|beneath|vicinity of|neighbou?rhood of|proximity (?:to|of)|separate from|distinct from"
    r"|unrelated to)\s"
    r"(?:[\w/-]+[\s-]){0,4}$",
    re.IGNORECASE,
)
_BETWEEN = re.compile(r"\bbetween\s(?:\w+\s){0,6}$", re.IGNORECASE)
_ABDOMINAL = frozenset(
    {"liver", "pancreas", "kidney", "spleen", "stomach", "adrenal_gland", "duodenum", "gallbladder"}
)
_NOT_SIDE = re.compile(r"\b(?:not|rather than|instead of)\s(?:in\s|on\s)?(?:the\s)?$", re.IGNORECASE)
_LEFT_OVER = re.compile(
    r"(?:ventricle|atrium|heart|main|coronary|portal|hepatic vein|renal vein|leg|arm)\b", re.IGNORECASE
)
_LUNG_SEGMENT = re.compile(r"(?:lung|lobe|pulmonary|lingula|basal|apical)", re.IGNORECASE)
_PHRASE_END = re.compile(
    r"[,;:.()]|\b(?:in|of|and|or|with|is|are|was|were|at|on|to|from|by|for|which|that|there|shows?|has"
    r"|have|contains?"
    r"|demonstrates?|reveals?|an?|the)\b",
    re.IGNORECASE,
)
_SIDE_BREAK = re.compile(r"[,;:(]|\b(?:and|while|with|but|which|there)\b", re.IGNORECASE)
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
    free = [m for m in places if not _related(text, m, head)]
    organ, certain = _choose_organ(text, free or places, references, head, topic, inherited)
    if not free and places and organ in _ABDOMINAL and _outside(text, places, head, topic):
        organ, certain = "peritoneum", False
    if organ is None or not certain:
        node = head is not None and head.category == "finding" and head.value.kind == "lymph_node"
        organ = _from_short(marks, organ, free, owners=("lymph_node",) if node else ()) or organ
    segments = _segments(text, references, organ, places)
    if segments and organ is None:
        organ = "liver"
    vertebrae = _vertebrae(text, [r for r in references if not _landmark(text, r.start)], organ)
    if vertebrae and organ in {None, "other"}:
        organ = "bone"
    parts: dict[str, tuple[int, int]] = {**segments, **(vertebrae if organ == "bone" else {})}
    joined = len(segments) > 1
    one_of = False
    usable = [m for m in (free or places) if m.value.organ == organ and m.value.part]
    for mark in usable:
        parts[mark.value.part] = (mark.start, mark.end)
    for mark in marks:
        if mark.category == "short" and organ is not None and not _related(text, mark, head):
            name = _short_part(mark.value, organ)
            if name is not None:
                parts[name] = (mark.start, mark.end)
    parts |= _shared_noun(text, [*usable, *(m for m in marks if m.category == "short")], organ, parts)
    side, side_spans = _side(text, marks, head, places)
    if side is None and head is not None and head.plural:
        side, side_spans = _both_sides(places, organ, anatomy)
    names, one_of, implied = _expand(anatomy, organ, tuple(parts), side)
    side = implied or side
    relation = "unknown"
    if names:
        relation = "one_of" if one_of else "spanning" if len(names) > 1 or joined else "within"
    if not free and places:
        relation = "adjacent"
    spans = tuple((m.start, m.end) for m in places if m.value.organ == organ) + tuple(parts.values())
    return Location(
        organ, names, relation, side, tuple(dict.fromkeys(spans)), side_spans, certain and bool(free)
    )


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
            if len(held) == 1 and mark.end - mark.start > 6:
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


def is_neighbour(text: str, mark: Mark, head: Mark | None) -> bool:
    """True for a place that a finding is only next to."""
    return _related(text, mark, head)


def _landmark(text: str, start: int) -> bool:
    """True for a place that only says how high something lies, or what it is next to."""
    return _RELATION.search(text[max(0, start - 40) : start]) is not None or (
        re.search(r"\b(?:level of|between|above|below|at)\s(?:the\s)?$", text[max(0, start - 24) : start])
        is not None
    )


def _both_sides(
    places: Sequence[Mark], organ: str | None, anatomy: Anatomy
) -> tuple[str | None, tuple[tuple[int, int], ...]]:
    """Reads "cysts in the kidneys": the plural of a paired organ."""
    if organ is None or not anatomy.organs[organ].paired:
        return None, ()
    both = next((m for m in usable_nouns(places, organ) if m.plural), None)
    return ("bilateral", ((both.start, both.end),)) if both is not None else (None, ())


def usable_nouns(places: Sequence[Mark], organ: str) -> list[Mark]:
    """Nouns, not adjectives, that name an organ as a whole."""
    return [m for m in places if m.value.organ == organ and not m.value.adjective and not m.value.part]


def laterality_of(organ: str, side: str | None) -> str:
    """The record's laterality for an organ and a stated side."""
    if organ in SIDELESS:
        return "n/a"
    return side or "unknown"


def _related(text: str, mark: Mark, head: Mark | None) -> bool:
    """True for a place that is only a neighbour of the finding."""
    if head is not None and mark.end <= head.start and _same_phrase(text[mark.end : head.start]):
        return False
    if head is not None and mark.end <= head.start:
        window = text[max(0, mark.start - 60) : mark.start]
        cue = _RELATION.search(window)
        return cue is not None
    return _RELATION.search(text[max(0, mark.start - 60) : mark.start]) is not None


def _same_phrase(gap: str) -> bool:
    """True if a place and the finding behind it make one noun phrase: "adjacent to the right rib lesion"."""
    return len(gap) < 50 and _PHRASE_END.search(gap) is None


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
    strong = [p for p in named if p.value.organ not in WEAK]
    if strong:
        return _best(text, strong, head).value.organ, True
    has_segment = any(r.kind == "segment" for r in references)
    if has_segment and fixed is None and (not topic or "liver" in topic):
        return "liver", True
    if fixed is not None:
        return fixed, True
    if (
        any(r.kind == "vertebra" and not _landmark(text, r.start) for r in references)
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


def _segments(
    text: str, references: Sequence[Reference], organ: str | None, places: Sequence[Mark]
) -> dict[str, tuple[int, int]]:
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


def _vertebrae(text: str, references: Sequence[Reference], organ: str | None) -> dict[str, tuple[int, int]]:
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


_LEVELS = {
    "lung": {"upper": "lung_upper_lobe", "middle": "lung_right_middle_lobe", "lower": "lung_lower_lobe"},
    "kidney": {"upper": "kidney_upper_pole", "mid": "kidney_interpolar", "lower": "kidney_lower_pole"},
}
_LEVEL_LIST = re.compile(
    r"\b(?P<words>(?:upper|middle|mid|lower)(?:,\s(?:upper|middle|mid|lower))*)(?:\s?,)?\s?(?:and|or|&|/"
    r"|-)\s?(?:the\s)?$",
    re.IGNORECASE,
)


def level_parts(stretch: str, organ: str | None, side: str, *, anatomy: Anatomy) -> tuple[str, ...]:
    """The part in "a nodule in the left upper and one in the left lower lobe" that lacks its noun."""
    match = re.search(r"\b(upper|middle|mid|lower)\W*(?:and|or)?\W*$", stretch, re.IGNORECASE)
    levels = _LEVELS.get(organ or "", {})
    name = levels.get(match[1].lower()) or levels.get(match[1].lower()[:3]) if match is not None else None
    return _expand(anatomy, organ, [name], side)[0] if name is not None else ()


def _shared_noun(
    text: str, marks: Sequence[Mark], organ: str | None, known: dict[str, tuple[int, int]]
) -> dict[str, tuple[int, int]]:
    """Reads "upper and lower lobes": the part named by an adjective whose noun comes later."""
    levels = _LEVELS.get(organ or "", {})
    found: dict[str, tuple[int, int]] = {}
    for mark in marks:
        match = _LEVEL_LIST.search(text[max(0, mark.start - 40) : mark.start]) if levels else None
        if match is None or (mark.start, mark.end) not in known.values():
            continue
        for word in re.findall(r"\w+", match["words"].lower()):
            name = levels.get(word) or levels.get(word[:3])
            if name is not None and name not in known:
                found[name] = (mark.start - len(match[0]), mark.end)
    return found


def _short_part(place: Place, organ: str) -> str | None:
    return next((part for owner, part in place.candidates if owner == organ), None)


def _side(
    text: str, marks: Sequence[Mark], head: Mark | None, places: Sequence[Mark]
) -> tuple[str | None, tuple[tuple[int, int], ...]]:
    sides = [
        m for m in marks
        if m.category == "side" and not _NOT_SIDE.search(text[max(0, m.start - 24) : m.start])
        and not _LEFT_OVER.match(text[m.end + 1 : m.end + 14])
        and not (
            _RELATION.search(text[max(0, m.start - 40) : m.start])
            and not (head is not None and m.end <= head.start and _same_phrase(text[m.end : head.start]))
        )
    ]  # fmt: skip
    if not sides:
        return None, ()
    values = {m.value for m in sides}
    if {"left", "right"} <= values and len(sides) <= 3 and not {"bilateral", "midline"} & values:
        first, second = sides[0], sides[1]
        if re.fullmatch(r"\s?(?:and|/|&)\s?(?:the\s)?", text[first.end : second.start], re.IGNORECASE):
            return "bilateral", tuple((m.start, m.end) for m in sides[:2])
    anchor = head.start if head is not None else sides[0].start
    best = min(
        sides,
        key=lambda m: (
            abs(m.start - anchor)
            + (60 if m.value == "bilateral" and len(values) > 1 else 0)
            + (
                120
                if m.end <= anchor and head is not None and _SIDE_BREAK.search(text[m.end : anchor])
                else 0
            )
        ),
    )
    return best.value, ((best.start, best.end),)


def _expand(
    anatomy: Anatomy, organ: str | None, names: Sequence[str], side: str | None
) -> tuple[tuple[str, ...], bool, str | None]:
    """Part names with the ones that stand for several replaced; whether any did; the side they imply."""
    if organ is None or organ not in anatomy.organs:
        return (), False, None
    table = anatomy.organs[organ].parts
    known = [name for name in names if name in table]
    single = [name for name in known if not table[name].one_of]
    if single and organ in {"liver", "lung"}:
        bare = organ == "lung" and set(single) <= {"lung_right_middle_lobe"}  # "upper and middle lobes"
        known = [n for n in known if not table[n].one_of or (bare and not set(table[n].one_of) & set(single))]
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
        options = [p for p in part.one_of if side is None or table[p].side in {None, side}]
        one_of = one_of or len(options) > 1
        expanded.update(dict.fromkeys(options))
    implied = {table[name].side for name in expanded} - {None}
    has_all = all(table[name].side is not None for name in expanded)
    return tuple(expanded), one_of, (next(iter(implied)) if len(implied) == 1 and has_all else None)
