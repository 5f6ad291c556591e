"""From one finding and its stretch to the lesions it states: one, several with a size each, or a group."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from llm_extract.cues import Cue
from llm_extract.drafts import DraftSpan, LesionDraft
from llm_extract.measurements import Measurement
from llm_extract.records import Score
from llm_extract.references import Reference
from llm_extract.rules import attributes
from llm_extract.rules.heads import Head
from llm_extract.rules.lexicon import Mark
from llm_extract.rules.locations import Location, laterality_of
from llm_extract.rules.statements import Statement

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
                "organ": self.organ, "quote": text[start:end], "quote_start": start,
                "parts": () if one_in_both else self.location.parts,
                "part_relation": "unknown" if one_in_both else self.location.relation,
                "laterality": laterality_of(self.organ, self._side()),
                "location_text": text[where[0] : where[1]] if where else None, "kind": self.kind,
                "diagnosis": self.diagnosis, "diagnosis_text": self.diagnosis_text,
                "diagnosis_certainty": self.diagnosis_certainty, "measurement_ids": tuple(m.id for m in self.sizes),
                "prior_measurement_ids": tuple(m.id for m in self.priors), "count": self.count,
                "count_kind": self.count_kind, "group": self.group, "group_role": self.role,
                "attenuation": self.attenuation, "enhancement": self.enhancement, "hounsfield": self.hounsfield,
                "reported_volume_mm3": self.volume_mm3, "presence": self.presence, "malignancy": self.malignancy,
                "malignancy_basis": self.malignancy_basis,
                "change": "unknown" if self.priors and self.change == "new" else self.change, "series": self.series,
                "image": self.image, "score": self.score, "treated": self.treated, "refers_back": self.refers_back,
                "spans": tuple(spans),
            }
        )  # fmt: skip


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


def place_marks(marks: Sequence[Mark]) -> list[Mark]:
    """Marks that say where."""
    return [m for m in marks if m.category in _PLACES]


_OF_A_NOUN = re.compile(
    r"[\s-](?:sized?\b|(?:[\w-]+\s){0,2}(?:nodul|lesion|cyst|mass|node|ones?\b))", re.IGNORECASE
)
"""Reads "there are smaller sized nodules"."""


def _compares(mention: Mention, mark: Mark) -> bool:
    """True for "smaller lesions", "the larger one": compared with its neighbours, not with an earlier study."""
    statement = mention.statement
    word = statement.text[mark.start - statement.start : mark.end - statement.start].lower()
    before = statement.text[max(0, mark.start - statement.start - 24) : mark.start - statement.start]
    after = statement.text[mark.end - statement.start : mark.end - statement.start + 40]
    return word in {"smaller", "larger"} and (
        _OF_A_NOUN.match(after) is not None or not _BECAME.search(before)
    )


def _of_next(mention: Mention, density: Mark) -> bool:
    """Reads "a nodule and patchy high-density shadows": a density belongs to the noun behind it."""
    statement, head = mention.statement, mention.head
    if head is None or density.start < head.end:
        return False
    gap = statement.low[head.end - statement.start : density.start - statement.start]
    nouns = [m for m in statement.of("finding", "excluded") if m is not head]
    return " and " in gap and any(m.start <= density.end + 1 and m.end > density.end for m in nouns)


def _own_stretch(mention: Mention) -> tuple[int, int]:
    """Where the words of a mention begin and end in its sentence."""
    start = mention.statement.start
    return max(0, mention.span[0] - start), max(0, mention.span[1] - start)


def describe(
    mention: Mention, head: Head | None, marks: Sequence[Mark], references: Sequence[Reference]
) -> None:
    """Fill the attributes of a mention from the words of its stretch."""
    anchor = mention.head.start if mention.head is not None else mention.span[0]
    marks = [m for m in marks if m.category != "attenuation" or not _of_next(mention, m)]
    mention.attenuation, mark = attributes.density(marks, "attenuation", anchor=anchor)
    if mark is not None:
        mention.spans.append(("attenuation", mark.start, mark.end))
    else:
        names = head.names if head is not None else []
        own = [mention.head, *(m for m, link in names if not link or m.value.diagnosis)]
        dense = next((m for m in own if m is not None and m.value.attenuation), None)
        if dense is not None:
            mention.attenuation = dense.value.attenuation
            mention.spans.append(("attenuation", dense.start, dense.end))
    mention.enhancement, mark = attributes.density(marks, "enhancement", anchor=anchor)
    if mark is not None:
        mention.spans.append(("enhancement", mark.start, mark.end))
    change = attributes.pick([m for m in marks if not _compares(mention, m)], "change", anchor=anchor)
    if change is not None:
        mention.change = change.value
        mention.spans.append(("change", change.start, change.end))
    else:
        since = attributes.new_since(mention.statement.text, *_own_stretch(mention))
        if since is not None:
            mention.change = "new"
            mention.spans.append(
                ("change", mention.statement.start + since[0], mention.statement.start + since[1])
            )
    mention.treated = any(m.category == "treated" for m in marks)
    mention.score = attributes.scores_of(references)
    mention.hounsfield = attributes.hounsfield_of(references)
    low, high = _own_stretch(mention)
    if mention.attenuation == "unknown" and (
        (mention.hounsfield or 0) < 0 or _NEGATIVE_HU.search(mention.statement.low[low:high])
    ):
        mention.attenuation = "hypo"
    mention.volume_mm3 = attributes.volume_of(references)
    size_at = mention.sizes[0].start if mention.sizes else anchor
    mention.series, mention.image = attributes.image_of(references, anchor=size_at)
    named = [m for m, _ in head.names] if head is not None else []
    mention.malignancy, mention.malignancy_basis, span = attributes.malignancy_of(
        mention.head, named, marks, mention.organ
    )
    settled = attributes.score_malignancy(mention.score)
    if settled is not None and mention.malignancy_basis != "diagnosis":
        mention.malignancy, mention.malignancy_basis = settled, "score"
    if span is not None:
        mention.spans.append(("malignancy", *span))
