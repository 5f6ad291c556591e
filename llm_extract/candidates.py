"""Mentions of lesions with what was merged into them, and how well two fit: number, side, part, kind and size."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from llm_extract.drafts import LesionDraft
from llm_extract.measurements import Measurement
from llm_extract.records import Change, Evidence, Laterality, Span

KINDS_APART = ({"cyst", "mass"}, {"cyst", "nodule"}, {"nodule", "mass"})
"""Kinds that in one section are two lesions: "a cyst, adjacent to the 3 cm mass"."""
_SPECIFIC = frozenset({"cyst", "metastasis", "lymph_node", "polyp", "wall_thickening"})
_STATION = re.compile(r"\d{1,2}(?:[RL]\b)?", re.IGNORECASE)
_STATIONS = re.compile(
    r"\b(?:stations?|levels?)\s(\d{1,2}[RL]?\b(?!\s?[cm]m\b)(?:(?:,|,?\sand|\s?&|/)\s?\d{1,2}[RL]?\b(?!\s?[cm]m\b|\.\d))*)"
    r"|\b(\d{1,2}[RL])\b",
    re.IGNORECASE,
)
"""Reads "stations 4R and 7" and "4R"."""


@dataclass(slots=True)
class Candidate:
    """A grounded mention, and what was merged into it.

    Args:
        draft: the mention.
        sizes, priors: the lengths its ids point at.
        section: section of its quote.
        order: position among the drafts.
        evidence, mentions: quotes so far.
        conflict: fields that mentions contradict each other on.
        laterality: overrides the draft's side.
        bound_mm: largest member of its group.
    """

    draft: LesionDraft
    sizes: list[Measurement]
    priors: list[Measurement]
    section: str
    order: int
    evidence: list[Evidence]
    mentions: list[Span]
    conflict: list[str] = field(default_factory=list)
    laterality: Laterality | None = None
    bound_mm: float | None = None

    @property
    def longest_mm(self) -> float | None:
        """Longest stated diameter, or None."""
        return max((v for m in self.sizes for v in m.values_mm), default=None)

    @property
    def side(self) -> str:
        """Side as it stands now."""
        return self.laterality or self.draft.laterality

    @property
    def is_group(self) -> bool:
        """True for more than one lesion."""
        return self.draft.count != 1

    def change(self, prior: Sequence[float], current: Sequence[float]) -> Change:
        """The stated change, else what the two sizes say."""
        if self.draft.change != "unknown" or not prior or not current:
            return self.draft.change
        before, now = max(prior), max(current)
        if abs(now - before) <= 0.5:
            return "stable"
        return "larger" if now > before else "smaller"


def fits(new: Candidate, old: Candidate) -> bool:
    """Organ, number, side, part and kind do not contradict."""
    if kind_gap(new, old) > 1:
        return False
    sides = {new.side, old.side} & {"left", "right", "bilateral"}
    apart = bool(new.draft.parts) and not _of_those(new, old)  # one lobe's group is not that of both sides
    if len(sides) > 1 and (apart or not (new.is_group and "bilateral" in sides)):
        return False
    if new.draft.parts and old.draft.parts and not set(new.draft.parts) & set(old.draft.parts):
        return bool(new.is_group and old.is_group) and new.draft.organ != "lymph_node"  # other stations
    if new.is_group and old.draft.group_role == "remainder":
        return (
            new.draft.count in {None, (old.draft.count or -1) + 1, old.draft.count} or old.draft.count is None
        )
    if new.is_group and not old.is_group:
        return old.draft.group_role == "index" and new.longest_mm is not None
    if old.is_group and not new.is_group:
        restated = not new.sizes and bool(new.draft.parts) and new.draft.parts == old.draft.parts
        return restated or (
            new.longest_mm is not None and old.longest_mm is not None and old.draft.group_role != "remainder"
        )
    return True


def of_other_stations(new: Candidate, old: Candidate) -> bool:
    """True for nodes whose words number other stations: "station 4R" and "station 7"."""
    if new.draft.kind != "lymph_node" or old.draft.kind != "lymph_node":
        return False
    here, there = (_stations(c.evidence[0].text) for c in (new, old))
    return bool(here and there) and not here & there


def _stations(quote: str) -> set[str]:
    """Numbered stations of nodes that a quote names."""
    listed = (match[1] or match[2] for match in _STATIONS.finditer(quote))
    return {number.upper() for names in listed for number in _STATION.findall(names)}


def _of_those(new: Candidate, old: Candidate) -> bool:
    """True if a mention looks back on a group that lies in several parts, and names one of them."""
    spans = old.is_group and old.draft.part_relation == "spanning"
    return spans and new.draft.refers_back and set(new.draft.parts) < set(old.draft.parts)


def is_guess(new: Candidate, old: Candidate) -> bool:
    """True if only the organ says that a mention without a size is a lesion that has neither side nor part."""
    placed = bool(new.draft.parts) and new.side in {"left", "right"}
    return placed and not new.sizes and not old.draft.parts and old.side == "unknown" and not old.is_group


def same_group(new: Candidate, old: Candidate) -> bool:
    """True if both speak of a group; the remainder of a group stands for it."""
    return new.is_group == old.is_group or (new.is_group and old.draft.group_role == "remainder")


def kind_gap(new: Candidate, old: Candidate) -> int:
    """0 for the same kind, 1 for kinds of one lesion, 2 for kinds that exclude each other."""
    a, b = new.draft, old.draft
    if a.kind == b.kind and (a.diagnosis == b.diagnosis or None in {a.diagnosis, b.diagnosis}):
        return 0
    if (
        a.diagnosis
        and b.diagnosis
        and a.diagnosis != b.diagnosis
        and "cyst" not in {a.diagnosis, b.diagnosis}
    ):
        return 1 if {a.malignancy, b.malignancy} != {"benign", "malignant"} else 2
    if a.kind in _SPECIFIC and b.kind in _SPECIFIC and a.kind != b.kind:
        return 2
    return 1


def overlap(new: Candidate, old: Candidate) -> int:
    """How well the places agree; the very same parts count most, then the very same size."""
    a, b = set(new.draft.parts), set(old.draft.parts)
    sized = new.longest_mm == old.longest_mm
    return 8 * (a == b) + 4 * sized + 2 * (new.side == old.side) + bool(a & b)


def sizes_agree(new: Candidate, old: Candidate) -> bool:
    """True if the largest diameters agree within max(1 mm, 5 %), fit a bound, or one of them is not stated."""
    a, b = new.longest_mm, old.longest_mm
    bound = min((m.values_mm[-1] for c in (new, old) for m in c.sizes if is_bound(m)), default=None)
    if bound is not None and a is not None and b is not None:
        return min(a, b) <= bound
    if a is None or b is None:
        if new.draft.parts and not old.draft.parts and b is None and a is not None:
            return True
        return a is None or same_group(new, old)
    tolerance = max(1.0, 0.05 * max(a, b), *(m.precision_mm for m in (*new.sizes, *old.sizes)))
    first = abs(new.sizes[0].values_mm[0] - old.sizes[0].values_mm[0])
    return abs(a - b) <= tolerance or (
        first <= tolerance and len(new.sizes[0].values_mm) != len(old.sizes[0].values_mm)
    )


def is_bound(measurement: Measurement) -> bool:
    """True for "millimetric" and "less than 5 mm", which any smaller size fits."""
    return measurement.worded or measurement.bound_is_strict
