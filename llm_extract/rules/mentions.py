"""From one finding and its stretch to the lesions it states: one, several with a size each, or a group."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from llm_extract.cues import Cue
from llm_extract.drafts import DraftSpan, LesionDraft
from llm_extract.measurements import Measurement
from llm_extract.records import Score
from llm_extract.references import Reference
from llm_extract.rules import attributes
from llm_extract.rules.heads import Head
from llm_extract.rules.lexicon import Mark
from llm_extract.rules.locations import Location, laterality_of
from llm_extract.rules.separators import joined_places
from llm_extract.rules.statements import Statement

_AXIS = re.compile(
    r"\b(?:ap|tr|cc|si|rl|craniocaudal|cranio-caudal|transverse|anteroposterior|antero-posterior"
    r"|longitudinal|axial|coronal|sagittal|height|length|width|long axis|short axis"
    r"|vertical|horizontal|perpendicular|third dimension|superior to inferior|in thickness)\b",
    re.IGNORECASE,
)
_NEXT_AXIS = re.compile(
    r"\b(?:its|the|with|and)\s(?:an?\s|the\s|its\s)?(?:cranio-?\s?caudal|longitudinal|vertical|antero-?posterior|transverse|ap|cc"
    r"|sagittal)\s(?:\w+\s){0,5}$"
    r"|\bits\s(?:[\w-]+\s){0,2}(?:dimension|length|height|diameter|extent|extension)\s(?:\w+\s){0,3}$",
    re.IGNORECASE,
)
_SEPARATOR = re.compile(r"[,;(]|\b(?:and|plus|while|with|another|others?)\b", re.IGNORECASE)
_BECAME = re.compile(
    r"\b(?:is|are|was|were|now|be|become|became|appears?|slightly|mildly|minimally|significantly|markedly|much"
    r"|somewhat|interval)\s$",
    re.IGNORECASE,
)
_NEGATIVE_HU = Cue(
    r"\(-\)\s?hu\b|\b(?:negative|minus)\s(?:hu|hounsfield|density values?)", "(-)", "negative", "minus"
)
_PLACES = frozenset({"place", "short", "side"})


@dataclass(slots=True)
class Mention:
    """A lesion in the making; the fields of :class:`LesionDraft` while they are collected."""

    head: Mark | None
    organ: str
    location: Location
    statement: Statement
    span: tuple[int, int]
    sizes: list[Measurement] = field(default_factory=list)
    priors: list[Measurement] = field(default_factory=list)
    count: int | None = 1
    count_kind: str = "exact"
    group: str | None = None
    role: str = "individual"
    refers_back: bool = False
    kind: str = "lesion"
    diagnosis: str | None = None
    diagnosis_text: str | None = None
    diagnosis_certainty: str | None = None
    attenuation: str = "unknown"
    enhancement: str = "unknown"
    presence: str = "definite"
    malignancy: str = "unknown"
    malignancy_basis: str | None = None
    change: str = "unknown"
    treated: bool = False
    hounsfield: float | None = None
    volume_mm3: float | None = None
    series: int | None = None
    image: int | None = None
    score: tuple[Score, ...] = ()
    spans: list[tuple[str, int, int]] = field(default_factory=list)
    tentative: bool = False

    @property
    def is_group(self) -> bool:
        """True if it stands for more than one lesion."""
        return self.count != 1 or self.count_kind == "multiple_unknown"

    def _side(self) -> str | None:
        """The stated side; a single lesion lies on one of them."""
        side = self.location.laterality
        return None if side == "bilateral" and not self.is_group else side

    def draft(self, text: str) -> LesionDraft:
        """The finished draft; its quote is the slice of its span."""
        start, end = _trim(text, *self.span)
        one_in_both = (
            not self.is_group and self.location.relation != "one_of" and _on_both_sides(self.location.parts)
        )
        places = self.location.spans
        where = _phrase(text, self.statement, places) if places else None
        if where is not None and places and not (start <= where[0] and where[1] <= end):
            where = places[0]
        spans = [DraftSpan.of_own(field=name, start=s, end=e) for name, s, e in self.spans if e > s]
        spans += [
            DraftSpan.of_own(field="organ" if i == 0 else "parts", start=s, end=e)
            for i, (s, e) in enumerate(places)
        ]
        spans += [DraftSpan.of_own(field="laterality", start=s, end=e) for s, e in self.location.side_spans]
        return LesionDraft.model_validate(
            {
                "organ": self.organ, "quote": text[start:end], "quote_start": start, "parts": () if one_in_both else self.location.parts,
                "part_relation": "unknown" if one_in_both else self.location.relation,
                "laterality": laterality_of(self.organ, self._side()),
                "location_text": text[where[0] : where[1]] if where else None, "kind": self.kind,
                "diagnosis": self.diagnosis, "diagnosis_text": self.diagnosis_text,
                "diagnosis_certainty": self.diagnosis_certainty, "measurement_ids": tuple(m.id for m in self.sizes),
                "prior_measurement_ids": tuple(m.id for m in self.priors), "count": self.count,
                "count_kind": self.count_kind, "group": self.group, "group_role": self.role,
                "attenuation": self.attenuation, "enhancement": self.enhancement, "hounsfield": self.hounsfield,
                "reported_volume_mm3": self.volume_mm3, "presence": self.presence, "malignancy": self.malignancy,
                "malignancy_basis": self.malignancy_basis, "change": self.change, "series": self.series,
                "image": self.image, "score": self.score, "treated": self.treated, "refers_back": self.refers_back,
                "spans": tuple(spans),
            }
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Piece:
    """The part of a finding's stretch that belongs to one of its sizes."""

    start: int
    end: int
    sizes: tuple[Measurement, ...]
    marks: tuple[Mark, ...]
    references: tuple[Reference, ...]


def _on_both_sides(parts: Sequence[str]) -> bool:
    """True for parts of both lungs, which no single nodule lies in."""
    sides = {
        "left" if name.startswith("lung_left") else "right"
        for name in parts
        if name.startswith(("lung_left", "lung_right"))
    }
    return len(sides) == 2


_NO_PLACE = re.compile(
    r"[;:]|\b(?:is|are|was|were|with|which|consider\w*|suggest\w*|compatible|consistent|indicat\w*|measur\w*|possib\w*"
    r"|probabl\w*|suspect\w*|likely|represent\w*|favou?r\w*)\b",
    re.IGNORECASE,
)


def _phrase(text: str, statement: Statement, places: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """The words around the first place, as far as nothing but places and what joins them is in between."""
    low, high = places[0]
    findings = [m.start for m in statement.of("finding", "excluded")]
    ordered = sorted(places)
    for start, end in [
        *(p for p in ordered if p > places[0]),
        *reversed([p for p in ordered if p < places[0]]),
    ]:
        left, right = (high, start) if start >= high else (end, low)
        if (
            right - left > 60
            or max(high, end) - min(low, start) > 120
            or _NO_PLACE.search(text, left, max(left, right))
        ):
            continue
        if not any(left <= at < right for at in findings):
            low, high = min(low, start), max(high, end)
    return low, high


def _trim(text: str, start: int, end: int) -> tuple[int, int]:
    while start < end and text[start] in ' \t\r\n,;:-–(•"':
        start += 1
    while end > start and text[end - 1] in ' \t\r\n,;:-–(•"':
        end -= 1
    return (start, min(end, start + 2000)) if end > start else (start, start + 1)


def pieces(statement: Statement, head: Head, sizes: Sequence[Measurement]) -> list[Piece]:
    """Cut a stretch with several sizes into one piece a lesion; sizes along the axes of one lesion stay together."""
    groups = axes(statement, sizes)
    cuts = [head.start]
    for left, right in itertools.pairwise(groups):
        low, high = left[-1].end, right[0].start
        gap = statement.text[low - statement.start : high - statement.start]
        hidden = [(a - low, b - low) for a, b in joined_places(statement)]
        found = [
            m.start() for m in _SEPARATOR.finditer(gap) if not any(a <= m.start() < b for a, b in hidden)
        ]
        first = max(cuts[-1], head.mark.end)
        stated = _placed(statement, first, left[0].start) and bool(found)
        leads = stated and not _placed(statement, low, low + found[0])
        cuts.append(low + _cut(gap, found[:1] if leads else found))
    cuts.append(head.end)
    made = []
    for index, group in enumerate(groups):
        start, end = cuts[index], cuts[index + 1]
        made.append(
            Piece(
                start,
                end,
                tuple(group),
                tuple(m for m in statement.marks if start <= m.start < end),
                tuple(r for r in statement.references if start <= r.start < end),
            )
        )
    return made


def _placed(statement: Statement, start: int, end: int) -> bool:
    """True if a place is named in a stretch."""
    return any(m.category in _PLACES and start <= m.start < end for m in statement.marks) or any(
        r.kind == "segment" and start <= r.start < end for r in statement.references
    )


def _cut(gap: str, separators: Sequence[int]) -> int:
    """Where in the words between two sizes the second lesion begins.

    "(1.1 cm), dome (7 mm)": behind the bracket that holds the first size; "3 cm in the dome, 7 mm": the last separator.
    """
    opened = re.search(r"\([^()]{0,24}$", gap)
    if opened is not None:
        closing = gap.find(")")
        behind = [at for at in separators if at > closing]
        inside = [at for at in behind if at < opened.start()]
        if inside:
            return inside[0] if closing >= 0 else inside[-1]
        return closing + 1 if 0 <= closing < opened.start() else opened.start()
    return separators[-1] if separators else 0


def axes(statement: Statement, sizes: Sequence[Measurement]) -> list[list[Measurement]]:
    """Sizes along the axes of one lesion together."""
    groups: list[list[Measurement]] = []
    for size in sizes:
        if groups:
            before = statement.text[groups[-1][-1].end - statement.start : size.start - statement.start]
            after = statement.text[size.end - statement.start : size.end - statement.start + 26]
            spoken = _NEXT_AXIS.search(before) is not None and len(before) < 100
            values = sum(len(m.values_mm) for m in groups[-1]) + len(size.values_mm)
            if (
                values <= 3
                and (len(before) < 40 or spoken)
                and (spoken or (_AXIS.search(before) and (_AXIS.search(after) or "(" not in before)))
                and not any(
                    m.category in {"place", "side"} and groups[-1][-1].end <= m.start < size.start
                    for m in statement.marks
                )
            ):
                groups[-1].append(size)
                continue
        groups.append([size])
    return groups


def respectively(statement: Statement, head: Head, sizes: Sequence[Measurement]) -> list[Piece] | None:
    """Reads "nodules of segments 3 and 8 measure 7 and 12 mm, respectively": one place and one size a lesion."""
    text = statement.text[head.start - statement.start : head.end - statement.start]
    number = len(sizes)
    if number < 2:
        return None
    explicit = re.search(r"\brespectively\b", text, re.IGNORECASE) is not None or _listed(statement, sizes)
    references = [r for r in statement.references if head.start <= r.start < head.end and r.kind == "segment"]
    marks = [m for m in statement.marks if head.start <= m.start < head.end]
    options: list[list[tuple[list[Mark], list[Reference]]]] = []
    for reference in references:
        listed = _split_segments(reference, number)
        if listed:
            options.append([([], [r]) for r in listed])
    if len(references) == number:
        options.append([([], [r]) for r in references])
    sides = [m for m in marks if m.category == "side" and m.value in {"left", "right"}]
    parts = [m for m in marks if (m.category == "place" and m.value.part) or m.category == "short"]
    options += [[([m], []) for m in group] for group in (parts, sides) if len(group) == number]
    if not explicit or not options:
        return None
    shared = [
        m
        for m in marks
        if m.category not in {"side", "short"} and not (m.category == "place" and m.value.part)
    ]
    return [
        Piece(
            head.start, head.end, (size,), tuple(sorted([*shared, *own], key=lambda m: m.start)), tuple(refs)
        )
        for size, (own, refs) in zip(sizes, options[0], strict=True)
    ]


def _listed(statement: Statement, sizes: Sequence[Measurement]) -> bool:
    """True for sizes in one enumeration behind the places: "6, 9 and 15 mm"."""
    gaps = [
        statement.text[a.end - statement.start : b.start - statement.start]
        for a, b in itertools.pairwise(sizes)
    ]
    return all(re.fullmatch(r"\s?(?:,|,?\s?and|&|/)\s?", gap, re.IGNORECASE) for gap in gaps)


def _split_segments(reference: Reference, number: int) -> list[Reference]:
    from llm_extract.rules.part_names import segment_numbers

    numbers = segment_numbers(reference.get("segments") or "")
    if len(numbers) != number:
        return []
    return [replace(reference, fields=(("segments", str(n)),)) for n in numbers]


def place_marks(marks: Sequence[Mark]) -> list[Mark]:
    """Marks that say where."""
    return [m for m in marks if m.category in _PLACES]


def _compares(mention: Mention, mark: Mark) -> bool:
    """True for "smaller lesions", "the larger one": compared with its neighbours, not with an earlier study."""
    statement = mention.statement
    word = statement.text[mark.start - statement.start : mark.end - statement.start].lower()
    before = statement.text[max(0, mark.start - statement.start - 24) : mark.start - statement.start]
    return word in {"smaller", "larger"} and not _BECAME.search(before)


def describe(
    mention: Mention, head: Head | None, marks: Sequence[Mark], references: Sequence[Reference]
) -> None:
    """Fill the attributes of a mention from the words of its stretch."""
    anchor = mention.head.start if mention.head is not None else mention.span[0]
    mention.attenuation, mark = attributes.density(marks, "attenuation", anchor=anchor)
    if mark is not None:
        mention.spans.append(("attenuation", mark.start, mark.end))
    elif mention.head is not None and mention.head.value.attenuation:
        mention.attenuation = mention.head.value.attenuation
        mention.spans.append(("attenuation", mention.head.start, mention.head.end))
    elif head is not None:
        shown = next((m for m, link in head.names if not link and m.value.attenuation), None)
        if shown is not None:
            mention.attenuation = shown.value.attenuation
            mention.spans.append(("attenuation", shown.start, shown.end))
    mention.enhancement, mark = attributes.density(marks, "enhancement", anchor=anchor)
    if mark is not None:
        mention.spans.append(("enhancement", mark.start, mark.end))
    change = attributes.pick([m for m in marks if not _compares(mention, m)], "change", anchor=anchor)
    if change is not None:
        mention.change = change.value
        mention.spans.append(("change", change.start, change.end))
    mention.treated = any(m.category == "treated" for m in marks)
    mention.score = attributes.scores_of(references)
    mention.hounsfield = attributes.hounsfield_of(references)
    low, high = mention.span[0] - mention.statement.start, mention.span[1] - mention.statement.start
    if mention.attenuation == "unknown" and (
        (mention.hounsfield or 0) < 0 or _NEGATIVE_HU.search(mention.statement.low[max(low, 0) : high])
    ):
        mention.attenuation = "hypo"
    mention.volume_mm3 = attributes.volume_of(references)
    size_at = mention.sizes[0].start if mention.sizes else anchor
    mention.series, mention.image = attributes.image_of(references, anchor=size_at)
    names = [m for m, _ in head.names] if head is not None else []
    mention.malignancy, mention.malignancy_basis, span = attributes.malignancy_of(
        mention.head, names, marks, mention.organ
    )
    settled = attributes.score_malignancy(mention.score)
    if settled is not None and mention.malignancy_basis != "diagnosis":
        mention.malignancy, mention.malignancy_basis = settled, "score"
    if span is not None:
        mention.spans.append(("malignancy", *span))
