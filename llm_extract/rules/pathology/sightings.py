"""Sightings of tumours in a report, and when two of them are of one tumour."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from llm_extract.measurements import Measurement
from llm_extract.rules.mentions import Mention
from llm_extract.rules.pathology.specimens import Specimen

_RANK = {"diagnosis": 0, "preamble": 0, "synoptic": 1, "comment": 2, "microscopic": 2, "gross": 3}
GROSS = 3
"""Rank of what the gross description says."""
_GENERIC = frozenset({"mass", "tumor", "lesion", "nodule", "other"})
_DOUBTFUL_RATIO = 1.7
"""Sizes of one tumour before and after fixation, or at different planes, differ by less than this."""
_AGREE_MM = 1.0
_AGREE_SHARE = 0.05


@dataclass(slots=True)
class Sighting:
    """A mention with where in the report it stands.

    Args:
        mention: what is said.
        specimen: what it was found in.
        section: part of the report.
        rest: the others of the group that it is the largest of, or None.
    """

    mention: Mention
    specimen: Specimen | None
    section: str
    rest: Sighting | None = None

    @property
    def rank(self) -> int:
        """0 for the diagnosis, which decides what there is."""
        return _RANK.get(self.section, 2)

    @property
    def label(self) -> str | None:
        """Letter of the specimen; what only speaks again of a tumour may speak of any."""
        return self.specimen.label if self.specimen is not None and not self.mention.refers_back else None

    @property
    def is_specific(self) -> bool:
        """True if the mention names a diagnosis."""
        m = self.mention
        named = m.head is not None and m.head.value.organ is not None and m.kind == "tumor"
        return (
            m.diagnosis is not None
            or named
            or m.kind in {"cyst", "polyp", "metastasis"}
            or m.malignancy == "benign"
        )

    @property
    def is_bound(self) -> bool:
        """True for a size that is only a bound."""
        return any(m.qualifier in {"upper_bound", "lower_bound"} for m in self.mention.sizes)

    @property
    def longest_mm(self) -> float | None:
        """Longest stated diameter."""
        return max((v for m in self.mention.sizes for v in m.values_mm), default=None)


@dataclass(slots=True)
class Tumour:
    """One tumour and its sightings; the first decides what it is.

    Args:
        first: what it was opened by.
        sightings: all that is said of it.
    """

    first: Sighting
    sightings: list[Sighting] = field(default_factory=list)

    @property
    def mention(self) -> Mention:
        """The mention that everything else is merged into."""
        return self.first.mention

    @property
    def longest_mm(self) -> float | None:
        """Longest diameter known so far."""
        return self.first.longest_mm

    def has_room_for(self, sighting: Sighting) -> bool:
        """True for a smaller member of a group: "two polyps", of 9 and 13 mm, is one group of 13 mm."""
        mine, theirs = sighting.longest_mm, self.longest_mm
        if mine is None or theirs is None or mine >= theirs:
            return False
        if sighting.rank < self.first.rank or (
            sighting.rank == self.first.rank and not self._is_pair(sighting)
        ):
            return False
        measured = {s.longest_mm for s in self.sightings if s.longest_mm is not None}
        known = self._number > 1 and mine in measured
        return sighting.mention.count == 1 and (known or len(measured) < self._number)

    def _is_pair(self, sighting: Sighting) -> bool:
        """True for the tumour of one side where those of both sides were named before."""
        both = self.mention.location.laterality == "bilateral" and not sighting.is_specific
        return both and sighting.mention.location.laterality in {"left", "right"}

    @property
    def rest(self) -> Mention | None:
        """The others of the group that it is the largest of."""
        return self.first.rest.mention if self.first.rest is not None else None

    @property
    def _number(self) -> float:
        """How many lesions it stands for, with the others of its group."""
        if self.rest is None:
            return self.mention.count or float("inf")
        return float("inf") if self.rest.count is None else self.rest.count + 1


def with_rests(sightings: Sequence[Sighting]) -> list[Sighting]:
    """The largest lesion of every group holds the others, which are no tumour of their own."""
    rests = {s.mention.group: s for s in sightings if s.mention.role == "remainder" and s.mention.group}
    held: set[str] = set()
    for sighting in sightings:
        group = sighting.mention.group
        if sighting.mention.role == "index" and group in rests and group not in held:
            sighting.rest = rests[group]
            held.add(group)
    return [s for s in sightings if s.mention.role != "remainder" or s.mention.group not in held]


def same_specimen(sighting: Sighting, tumour: Tumour) -> bool:
    """False for two letters, which hold two tumours; a statement without a letter may speak of any."""
    mine = sighting.label
    if mine is None:
        return not (sighting.rank == 0 and any(_is_apart(sighting, s) for s in tumour.sightings[:1]))
    labels = {s.label for s in tumour.sightings if s.label is not None}
    numbered = any(label.isdigit() != mine.isdigit() for label in labels)
    return not labels or mine in labels or (numbered and sighting.rank > 0)


def _is_apart(one: Sighting, other: Sighting) -> bool:
    """True for two headings without letters that name two places of one lining: "Omentum", "Peritoneal plaque"."""
    headed = one.specimen is not None and other.specimen is not None and one.specimen is not other.specimen
    spread = one.mention.organ in {"peritoneum", "soft_tissue"} and other.rank == 0
    return headed and spread and one.mention.location.parts != other.mention.location.parts


def same_place(sighting: Sighting, tumour: Tumour) -> bool:
    """True for one organ, no two sides, and no two parts where both are stated alike."""
    mine, theirs = sighting.mention, tumour.mention
    if mine.organ != theirs.organ:
        return False
    sides = {mine.location.laterality, theirs.location.laterality} & {"left", "right"}
    if len(sides) > 1:
        return False
    own, other = set(mine.location.parts), set(theirs.location.parts)
    if not own or not other or own & other:
        return True
    comparable = bool(mine.sizes) == bool(theirs.sizes) and sighting.rank == tumour.first.rank
    return not comparable


def alike(sighting: Sighting, tumour: Tumour) -> bool:
    """True for two names of one kind; a benign lesion may be named in the words that follow."""
    mine, theirs = sighting.mention, tumour.mention
    benign = mine.malignancy == theirs.malignancy == "benign" and {mine.kind, theirs.kind} <= _GENERIC
    unnamed = (
        benign and None in {mine.diagnosis, theirs.diagnosis} and sighting.specimen is tumour.first.specimen
    )
    return family(mine) == family(theirs) or unnamed


def family(mention: Mention) -> str:
    """Kind of tumour that only its like is merged with."""
    if mention.kind in {"cyst", "polyp", "lymph_node"}:
        return mention.kind
    if mention.kind == "metastasis" and mention.organ == "lymph_node":
        return "metastasis"
    if mention.malignancy == "benign":
        return f"benign {mention.diagnosis}"
    return "tumour"


def suits(generic: Mention, named: Mention) -> bool:
    """True if a plain mass may be the named tumour."""
    if generic.kind == "other":
        return True
    if generic.kind in {"cyst", "polyp"} or named.kind in {"cyst", "polyp"}:
        return generic.kind == named.kind or (
            generic.kind in _GENERIC and named.kind == "polyp" and not generic.sizes
        )
    return generic.kind in _GENERIC or generic.refers_back


def lengths(mention: Mention) -> list[float]:
    """All diameters of a mention in mm, the smallest first."""
    return sorted(v for m in mention.sizes for v in m.values_mm)


def near(held: Mention, new: Mention) -> bool:
    """True if the longest diameters agree as two readings of one length do."""
    mine = max(v for m in held.sizes for v in m.values_mm)
    theirs = max(v for m in new.sizes for v in m.values_mm)
    return abs(mine - theirs) <= max(_AGREE_MM, 2 * _AGREE_SHARE * max(mine, theirs))


def count(sizes: Sequence[Measurement]) -> int:
    """Number of diameters."""
    return sum(len(m.values_mm) for m in sizes)


def closest(sighting: Sighting, fitting: Sequence[Tumour]) -> Tumour | None:
    """The tumour of the same size, else one without a size, else the only one whose size is near."""
    mine = sighting.longest_mm
    if mine is None:
        return fitting[0] if fitting else None
    for tumour in fitting:
        theirs = tumour.longest_mm
        if theirs is not None and abs(mine - theirs) <= max(_AGREE_MM, _AGREE_SHARE * max(mine, theirs)):
            return tumour
    open_ones = [t for t in fitting if t.longest_mm is None]
    if open_ones:
        kind = sighting.mention.kind
        return next((t for t in open_ones if t.mention.kind == kind), open_ones[0])
    same_section = [
        t for t in fitting if any(s.section == sighting.section and s.mention.sizes for s in t.sightings)
    ]
    if len(fitting) == 1 and not same_section and not sighting.mention.is_group:
        theirs = fitting[0].longest_mm or mine
        if max(mine, theirs) / min(mine, theirs) <= _DOUBTFUL_RATIO:
            return fitting[0]
    return None
