"""The tumours of a pathology report from all its mentions: gross, microscopic, diagnosis and synoptic speak of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from llm_extract.measurements import Measurement
from llm_extract.rules.locations import Location
from llm_extract.rules.mentions import Mention
from llm_extract.rules.pathology.specimens import Specimen

_RANK = {"diagnosis": 0, "preamble": 0, "synoptic": 1, "comment": 2, "microscopic": 2, "gross": 3}
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
    """

    mention: Mention
    specimen: Specimen | None
    section: str

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
    """One tumour and its sightings; the first decides what it is."""

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
        """True for a smaller member of a counted group: "two polyps", of 9 and 13 mm, is one group of 13 mm."""
        count, mine, theirs = self.mention.count, sighting.longest_mm, self.longest_mm
        measured = len({s.longest_mm for s in self.sightings if s.longest_mm is not None})
        if mine is None or theirs is None or mine >= theirs:
            return False
        later = sighting.rank > self.first.rank
        return later and count is not None and measured < count and sighting.mention.count == 1


def gather(sightings: Sequence[Sighting], *, main: str | None) -> list[Tumour]:
    """One tumour from all that is said of it, different ones apart.

    Args:
        sightings: every mention.
        main: the organ that the report is mostly about.
    """
    _rehome(sightings)
    tumours: list[Tumour] = []
    decided = any(s.rank == 0 and s.is_specific for s in sightings)
    specific = sorted((s for s in sightings if s.is_specific), key=_order)
    for sighting in specific:
        target = _match_named(sighting, tumours)
        if target is not None:
            _absorb(target, sighting)
        elif not decided or _is_new(sighting, tumours):
            tumours.append(Tumour(sighting, [sighting]))
        elif sighting.rank == 1 and sighting.mention.malignancy == "malignant":
            _absorb_anywhere(tumours, sighting, main)
    sized = sorted((s for s in sightings if not s.is_specific and s.mention.sizes), key=_order)
    for sighting in sized:
        target = _match_sized(sighting, tumours)
        if target is not None:
            _absorb(target, sighting)
        elif not (sighting.is_bound and sighting.rank and tumours) and not _is_known(sighting, tumours):
            tumours.append(Tumour(sighting, [sighting]))
    for sighting in sorted((s for s in sightings if not s.is_specific and not s.mention.sizes), key=_order):
        target = _match_unsized(sighting, tumours)
        if target is not None:
            _absorb(target, sighting)
        elif not tumours:
            tumours.append(Tumour(sighting, [sighting]))
    return _without_doubles(tumours)


def _rehome(sightings: Sequence[Sighting]) -> None:
    """A plain tumour of a specimen of several organs lies in the one whose cancer is named."""
    for plain in sightings:
        specimen = plain.specimen
        if plain.is_specific or specimen is None or len(specimen.organs) < 2:
            continue
        own = plain.mention.location.spans
        if plain.mention.organ != specimen.organ or (own and own != specimen.location.spans):
            continue
        named = {
            s.mention.organ
            for s in sightings
            if s.specimen is specimen and s.is_specific and s.mention.malignancy == "malignant"
        }
        if len(named) == 1 and specimen.organ not in named and named <= set(specimen.organs):
            plain.mention.organ = named.pop()
            plain.mention.location = Location(plain.mention.organ)


def _is_known(sighting: Sighting, tumours: Sequence[Tumour]) -> bool:
    """True for another length of "the lesion", whose size was stated before: its thickness, or one plane of it."""
    known = [t.longest_mm for t in tumours if t.longest_mm is not None and _same_place(sighting, t)]
    return sighting.mention.refers_back and any(length > (sighting.longest_mm or 0) for length in known)


def _without_doubles(tumours: Sequence[Tumour]) -> list[Tumour]:
    """A cyst that the gross description measures as large as a named tumour of its organ is that tumour."""
    kept = []
    for tumour in tumours:
        size = _lengths(tumour.mention)
        gross = tumour.first.rank == 3 and tumour.mention.kind == "cyst" and len(size) > 1
        same = [
            other
            for other in tumours
            if gross
            and other is not tumour
            and _lengths(other.mention) == size
            and _same_place(tumour.first, other)
        ]
        if same:
            _absorb(same[0], tumour.first)
        else:
            kept.append(tumour)
    return kept


def _lengths(mention: Mention) -> list[float]:
    return sorted(v for m in mention.sizes for v in m.values_mm)


def _is_new(sighting: Sighting, tumours: Sequence[Tumour]) -> bool:
    """True for what the diagnosis states, what the gross description measures, and nodes that nothing else gave."""
    if sighting.rank == 0 or (sighting.rank == 3 and sighting.mention.sizes):
        return True
    return sighting.mention.organ == "lymph_node" and all(t.mention.organ != "lymph_node" for t in tumours)


def _order(sighting: Sighting) -> tuple[int, bool, bool, float, int]:
    """Diagnosis first, the largest first: a tumour without a size takes the largest that the gross description has."""
    longest = sighting.longest_mm or 0.0
    return sighting.rank, not sighting.mention.sizes, sighting.is_bound, -longest, sighting.mention.span[0]


def _match_named(sighting: Sighting, tumours: Sequence[Tumour]) -> Tumour | None:
    fitting = [t for t in tumours if _same_place(sighting, t) and _alike(sighting, t)]
    if sighting.rank == 0:
        fitting = [t for t in fitting if _same_specimen(sighting, t)]
    return _closest(sighting, fitting) or next((t for t in fitting if t.has_room_for(sighting)), None)


def _match_sized(sighting: Sighting, tumours: Sequence[Tumour]) -> Tumour | None:
    fitting = [t for t in tumours if _same_place(sighting, t) and _suits(sighting.mention, t.mention)]
    labelled = [t for t in fitting if _same_specimen(sighting, t)]
    if sighting.mention.kind == "tumor" and any(_family(t.mention) == "tumour" for t in fitting):
        fitting = [t for t in fitting if _family(t.mention) == "tumour"]
        labelled = [t for t in labelled if t in fitting]
    bare = sighting.specimen is not None and sighting.specimen.bare
    chosen = _closest(sighting, labelled or (fitting if bare else []))
    return chosen or next((t for t in labelled if t.has_room_for(sighting)), None)


def _match_unsized(sighting: Sighting, tumours: Sequence[Tumour]) -> Tumour | None:
    fitting = [t for t in tumours if _same_place(sighting, t) and _suits(sighting.mention, t.mention)]
    return next((t for t in fitting if _same_specimen(sighting, t)), None)


def _closest(sighting: Sighting, fitting: Sequence[Tumour]) -> Tumour | None:
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


def _same_specimen(sighting: Sighting, tumour: Tumour) -> bool:
    """False for two letters, which hold two tumours; a statement without a letter may speak of any."""
    if sighting.label is None:
        return True
    labels = {s.label for s in tumour.sightings if s.label is not None}
    return not labels or sighting.label in labels


def _same_place(sighting: Sighting, tumour: Tumour) -> bool:
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


def _alike(sighting: Sighting, tumour: Tumour) -> bool:
    """True for two names of one kind; a benign lesion may be named in the words that follow."""
    mine, theirs = sighting.mention, tumour.mention
    benign = mine.malignancy == theirs.malignancy == "benign" and {mine.kind, theirs.kind} <= _GENERIC
    unnamed = (
        benign and None in {mine.diagnosis, theirs.diagnosis} and sighting.specimen is tumour.first.specimen
    )
    return _family(mine) == _family(theirs) or unnamed


def _family(mention: Mention) -> str:
    if mention.kind in {"cyst", "polyp", "lymph_node"}:
        return mention.kind
    if mention.kind == "metastasis" and mention.organ == "lymph_node":
        return "metastasis"
    if mention.malignancy == "benign":
        return f"benign {mention.diagnosis}"
    return "tumour"


def _suits(generic: Mention, named: Mention) -> bool:
    """True if a plain mass may be the named tumour."""
    if generic.kind == "other":
        return True
    if generic.kind in {"cyst", "polyp"} or named.kind in {"cyst", "polyp"}:
        return generic.kind == named.kind or (
            generic.kind in _GENERIC and named.kind == "polyp" and not generic.sizes
        )
    return generic.kind in _GENERIC or generic.refers_back


def _absorb(target: Tumour, sighting: Sighting) -> None:
    """Keep the fuller size, the specific diagnosis, and side and part where the first mention lacks them."""
    held, new = target.mention, sighting.mention
    if (
        held.count == 1
        and new.is_group
        and not held.sizes
        and (new.sizes or (sighting.rank == 0 and sighting.is_specific))
        and (new.kind != "metastasis" or held.kind == "metastasis")
    ):
        held.count, held.count_kind = new.count, new.count_kind
    if held.count is None and new.count is not None and new.count > 1:
        held.count, held.count_kind = new.count, new.count_kind
    if _count(new.sizes) > _count(held.sizes) and (not held.sizes or _near(held, new)):
        held.sizes = new.sizes
        held.spans += [("diameters_mm", m.start, m.end) for m in new.sizes]
    benign_polyp = held.kind == "polyp" and held.malignancy == "benign"
    if (
        (held.diagnosis is None or held.diagnosis == "carcinoma")
        and not benign_polyp
        and new.diagnosis
        not in {
            None,
            "carcinoma",
            "metastasis",
        }
    ):
        held.diagnosis, held.diagnosis_text = new.diagnosis, new.diagnosis_text
        held.diagnosis_certainty = new.diagnosis_certainty
    if held.malignancy in {"unknown", "indeterminate"} and new.malignancy != "unknown":
        held.malignancy, held.malignancy_basis = new.malignancy, new.malignancy_basis
    if held.kind in {"mass", "lesion", "nodule"} and new.kind in {"tumor", "polyp", "cyst"}:
        held.kind = new.kind
    telling = bool(new.sizes) or sighting.rank <= target.first.rank or sighting.rank == 1
    if not held.location.parts and new.location.parts and telling:
        held.location = replace(
            held.location, parts=new.location.parts, relation=new.location.relation,
            spans=(*held.location.spans, *new.location.spans),
        )  # fmt: skip
    if held.location.laterality is None and new.location.laterality is not None and telling:
        held.location = replace(
            held.location, laterality=new.location.laterality, side_spans=new.location.side_spans
        )
    held.spans += [("diagnosis", s, e) for name, s, e in new.spans if name in {"kind", "diagnosis"}][:1]
    target.sightings.append(sighting)


def _absorb_anywhere(tumours: Sequence[Tumour], sighting: Sighting, main: str | None) -> None:
    """A synoptic list names the type of the tumour that the diagnosis has stated."""
    for tumour in tumours:
        if tumour.mention.organ in {main, sighting.mention.organ} and _family(tumour.mention) == "tumour":
            _absorb(tumour, sighting)
            return


def _near(held: Mention, new: Mention) -> bool:
    mine = max(v for m in held.sizes for v in m.values_mm)
    theirs = max(v for m in new.sizes for v in m.values_mm)
    return abs(mine - theirs) <= max(_AGREE_MM, 2 * _AGREE_SHARE * max(mine, theirs))


def _count(sizes: Sequence[Measurement]) -> int:
    return sum(len(m.values_mm) for m in sizes)
