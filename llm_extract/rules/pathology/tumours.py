"""The tumours of a pathology report from all its mentions: gross, microscopic, diagnosis and synoptic speak of one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from llm_extract.rules.locations import Location
from llm_extract.rules.pathology.absorbing import absorb, absorb_anywhere, follows
from llm_extract.rules.pathology.sightings import (
    GROSS,
    Sighting,
    Tumour,
    alike,
    closest,
    family,
    lengths,
    near,
    same_place,
    same_specimen,
    suits,
    with_rests,
)

_AT_SURFACE = re.compile(
    r"\b(?:seros\w+|surfaces?|studd\w+|implants?|plaques?|deposits?|excrescenc\w+)\b", re.IGNORECASE
)
_IN_WALL = re.compile(r"\b(?:whorl\w+|myometri\w+|intramural|fibroids?)\b", re.IGNORECASE)
"""What the gross description says of lesions in the muscle of the uterus."""
_SOLID_LINING = frozenset({"peritoneum", "soft_tissue", "pleura"})
_WHERE = re.compile(
    r"\b(?:sub-?(?:capsular|cortical|mucosal|serosal|pleural)|cortical|medullary|intramural|pedunculated|hilar|fundal"
    r"|(?:an|pos)terior|(?:super|infer)ior|(?:la|me)dial|lateral|upper|lower|left|right)\b"
)
"""Words that tell the lesions of one organ apart by their place."""
_SEEDED = re.compile(r"\binvolv(?:ed by|ement by|ing|es)\b", re.IGNORECASE)
_SURFACE = re.compile(r"\b(?:seros\w+|surface|peritone\w+|omentum|mesenter\w+)\b", re.IGNORECASE)
_NODULE = re.compile(r"\bnodul(?:es?|arity)\b", re.IGNORECASE)
_SATELLITES = re.compile(
    r"(?:^\W{0,4}|\b(?:multiple|several|numerous|many|few|some|scattered|additional|small|two|three|four|\d{1,2}"
    r"|are|with|and|includ\w+|contain\w*|shows?|reveals?)\s)(?:\w+\s)?satellite\s(?:\w+\s)?$",
    re.IGNORECASE,
)
"""Before the noun of lesions beside the tumour; a search for them states none."""
_SEPARATE = re.compile(
    r"\b(?:separate|second|another|additional|further|synchronous)\s(?:[\w-]+,?\s){0,4}$", re.IGNORECASE
)
"""Before the noun of a tumour beside the one that was named."""
_TYPE_KEY = re.compile(r"\bhistolog\w{1,4}\s(?:type|diagnosis)\b[^:]{0,30}:", re.IGNORECASE)


def gather(sightings: Sequence[Sighting], *, main: str | None) -> list[Tumour]:
    """One tumour from all that is said of it, different ones apart.

    Args:
        sightings: every mention.
        main: the organ that the report is mostly about.
    """
    _rehome(sightings)
    sightings = _without_nodules(_without_preamble(with_rests(sightings)))
    tumours: list[Tumour] = []
    decided = any(s.rank == 0 and s.is_specific for s in sightings)
    specific = sorted((s for s in sightings if s.is_specific), key=_order)
    for sighting in specific:
        target = _match_named(sighting, tumours)
        if target is not None:
            absorb(target, sighting)
        elif not decided or _is_new(sighting, tumours):
            tumours.append(Tumour(sighting, [sighting]))
        elif sighting.rank == 1 and sighting.mention.malignancy == "malignant":
            absorb_anywhere(tumours, sighting, main)
    sized = sorted((s for s in sightings if not s.is_specific and s.mention.sizes), key=_order)
    for sighting in sized:
        target = _match_sized(sighting, tumours)
        if target is not None and _is_any_of(target, sighting, sized) and not _has_cancer(tumours, target):
            target = None
        if target is not None:
            absorb(target, sighting)
        elif not (sighting.is_bound and sighting.rank and tumours) and not _is_known(sighting, tumours):
            tumours.append(Tumour(sighting, [sighting]))
    for sighting in sorted((s for s in sightings if not s.is_specific and not s.mention.sizes), key=_order):
        target = _match_unsized(sighting, tumours)
        if _is_satellites(sighting, tumours):
            tumours.append(Tumour(sighting, [sighting]))
        elif target is not None:
            absorb(target, sighting)
        elif not tumours or _is_seeded(sighting, tumours, main):
            tumours.append(Tumour(sighting, [sighting]))
    return _without_doubles(tumours)


def _is_any_of(target: Tumour, sighting: Sighting, sized: Sequence[Sighting]) -> bool:
    """True if a benign tumour without a size may be any of several gross lesions: words on the place decide."""
    held = target.mention
    if (
        sighting.rank < 3
        or held.malignancy != "benign"
        or held.sizes
        or held.is_group
        or held.kind == "polyp"
    ):
        return False
    rivals = [
        s
        for s in sized
        if s.rank == 3 and same_place(s, target) and same_specimen(s, target) and suits(s.mention, held)
    ]
    if len(rivals) < 2:
        return False
    named = set(_WHERE.findall(held.statement.text.lower()))
    fitting = [s for s in rivals if named & set(_WHERE.findall(s.mention.statement.text.lower()))]
    return fitting != [sighting]


def _has_cancer(tumours: Sequence[Tumour], target: Tumour) -> bool:
    """True if the organ holds a named cancer, which the largest of its gross lesions is."""
    organ = target.mention.organ
    return any(t.mention.organ == organ and t.mention.malignancy == "malignant" for t in tumours)


def _is_seeded(sighting: Sighting, tumours: Sequence[Tumour], main: str | None) -> bool:
    """True for "uterine serosa involved by tumor" where the ovary's cancer is stated: a deposit on another organ."""
    mention = sighting.mention
    away = main == "ovary" and mention.organ not in {None, "ovary", "lymph_node", "other"}
    text = mention.statement.text
    said = sighting.rank == 0 and _SEEDED.search(text) is not None and _SURFACE.search(text) is not None
    cancer = any(t.mention.organ == "ovary" and t.mention.malignancy == "malignant" for t in tumours)
    if not (away and said and cancer) or any(
        t.mention.organ == mention.organ and family(t.mention) == "tumour" for t in tumours
    ):
        return False
    mention.kind, mention.diagnosis, mention.malignancy = "metastasis", "metastasis", "malignant"
    mention.malignancy_basis = "pathology"
    mention.location = replace(mention.location, parts=(), relation="unknown")
    return True


def _is_satellites(sighting: Sighting, tumours: Sequence[Tumour]) -> bool:
    """True for "several satellite nodules are present", lesions beside the tumour; the first that names them counts."""
    return (
        sighting.mention.is_group
        and follows(_SATELLITES, sighting.mention)
        and not any(follows(_SATELLITES, t.mention) for t in tumours)
    )


def _without_nodules(sightings: Sequence[Sighting]) -> Sequence[Sighting]:
    """Which nodule of a nodular prostate holds the cancer is not seen at the gross examination."""
    nodular = [
        s
        for s in sightings
        if s.mention.organ == "prostate" and s.rank == 3 and s.mention.kind == "nodule" and not s.is_specific
    ]
    texts = " ".join(dict.fromkeys(s.mention.statement.text for s in nodular))
    if len(_NODULE.findall(texts)) < 2:
        return sightings
    return [s for s in sightings if all(s is not one for one in nodular)]


def _without_preamble(sightings: Sequence[Sighting]) -> Sequence[Sighting]:
    """What stands before the title of the diagnosis, under no heading, is history where the diagnosis names it too."""
    decided = {
        s.mention.organ
        for s in sightings
        if s.section == "diagnosis" and s.is_specific and s.specimen is not None and not s.specimen.bare
    }
    return [
        s
        for s in sightings
        if not (s.section == "preamble" and s.specimen is None and s.mention.organ in decided)
    ]


def _rehome(sightings: Sequence[Sighting]) -> None:
    """A plain tumour of a specimen lies in the organ whose cancer is named there."""
    for plain in sightings:
        specimen = plain.specimen
        if plain.is_specific or specimen is None:
            continue
        own = plain.mention.location.spans
        if plain.mention.organ != specimen.organ or (own and own != specimen.location.spans):
            continue
        named = {
            s.mention.organ
            for s in sightings
            if (s.specimen is specimen or (specimen.label is not None and s.label == specimen.label))
            and s.is_specific
            and s.mention.malignancy == "malignant"
        }
        here = named <= set(specimen.organs) or named == {"bladder"}  # whose heading was not read
        if len(named) == 1 and specimen.organ not in named and here:
            plain.mention.organ = named.pop()
            plain.mention.location = Location(plain.mention.organ)


def _is_known(sighting: Sighting, tumours: Sequence[Tumour]) -> bool:
    """True for another length of "the lesion", whose size was stated before: its thickness, or one plane of it."""
    measured = [t for t in tumours if t.longest_mm is not None]
    known = [t for t in measured if same_place(sighting, t)] or measured
    return sighting.mention.refers_back and any(
        t.longest_mm is not None and t.longest_mm > (sighting.longest_mm or 0) for t in known
    )


def _without_doubles(tumours: Sequence[Tumour]) -> list[Tumour]:
    """A cyst that the gross description measures as large as a named tumour of its organ is that tumour."""
    kept = []
    for tumour in tumours:
        size = lengths(tumour.mention)
        gross = tumour.first.rank == 3 and tumour.mention.kind == "cyst" and len(size) > 1
        same = [
            other
            for other in tumours
            if gross
            and other is not tumour
            and _as_long(lengths(other.mention), size)
            and same_place(tumour.first, other)
        ]
        if same:
            absorb(same[0], tumour.first)
        else:
            kept.append(tumour)
    return kept


def _as_long(named: Sequence[float], gross: Sequence[float]) -> bool:
    """True for the same diameters, or for the longest of them alone, as a diagnosis gives it."""
    return list(named) == list(gross) or (len(named) == 1 and named[0] == gross[-1])


def _is_new(sighting: Sighting, tumours: Sequence[Tumour]) -> bool:
    """True for what the diagnosis states, what the gross description measures, and nodes that nothing else gave."""
    if sighting.rank == 0 or (sighting.rank == 3 and sighting.mention.sizes):
        return True
    organ, specimen = sighting.mention.organ, sighting.specimen
    typed = specimen is not None and specimen.organ == organ and sighting.mention.malignancy == "malignant"
    second = typed and organ != "lymph_node" and _TYPE_KEY.search(sighting.mention.statement.text) is not None
    return (second or organ == "lymph_node") and all(t.mention.organ != organ for t in tumours)


def _order(sighting: Sighting) -> tuple[int, bool, bool, float, int]:
    """Diagnosis first, the largest first: a tumour without a size takes the largest that the gross description has."""
    longest = sighting.longest_mm or 0.0
    return sighting.rank, not sighting.mention.sizes, sighting.is_bound, -longest, sighting.mention.span[0]


def _match_named(sighting: Sighting, tumours: Sequence[Tumour]) -> Tumour | None:
    fitting = [
        t for t in tumours if same_place(sighting, t) and alike(sighting, t) and not _listed_with(sighting, t)
    ]
    if sighting.rank == 0 or sighting.section == "gross":
        fitting = [t for t in fitting if same_specimen(sighting, t)]
    return closest(sighting, fitting) or next((t for t in fitting if t.has_room_for(sighting)), None)


def _listed_with(sighting: Sighting, tumour: Tumour) -> bool:
    """True for two groups of nodes that one statement counts apart."""
    own = sighting.mention
    return own.organ == "lymph_node" and own.statement is tumour.mention.statement


def _match_sized(sighting: Sighting, tumours: Sequence[Tumour]) -> Tumour | None:
    mine = lengths(sighting.mention)
    if (
        len(mine) > 1 and sighting.rank == 3
    ):  # what was measured to the same two or three diameters is the same
        same = next((t for t in tumours if lengths(t.mention) == mine), None)
        if same is not None and suits(sighting.mention, same.mention):
            return same
    fitting = [
        t
        for t in tumours
        if same_place(sighting, t) and suits(sighting.mention, t.mention) and _same_layer(sighting, t)
    ]
    labelled = [t for t in fitting if same_specimen(sighting, t)]
    equal = [t for t in labelled if t.mention.sizes and near(t.mention, sighting.mention)]
    if len(equal) == 1:
        return equal[0]
    if sighting.mention.kind == "tumor" and any(family(t.mention) == "tumour" for t in fitting):
        fitting = [t for t in fitting if family(t.mention) == "tumour"]
        labelled = [t for t in labelled if t in fitting]
    bare = sighting.specimen is not None and sighting.specimen.bare
    chosen = closest(sighting, labelled or (fitting if bare else []))
    room = next((t for t in labelled if t.has_room_for(sighting)), None)
    return chosen or room or _of_other_organ(sighting, tumours)


def _of_other_organ(sighting: Sighting, tumours: Sequence[Tumour]) -> Tumour | None:
    """The tumour of another organ of the specimen with the very size of what the gross description places nowhere."""
    specimen, mention = sighting.specimen, sighting.mention
    placed = specimen is None or (
        mention.location.spans and mention.location.spans != specimen.location.spans
    )
    if placed or specimen is None or sighting.rank < GROSS or len(specimen.organs) < 2:
        return None
    equal = [
        t
        for t in tumours
        if t.mention.organ in specimen.organs
        and t.first.rank == 0
        and t.longest_mm == sighting.longest_mm
        and suits(mention, t.mention)
        and (t.rest is not None or t.mention.is_group) == mention.is_group
    ]
    return equal[0] if len(equal) == 1 else None


def _same_layer(sighting: Sighting, tumour: Tumour) -> bool:
    """False for a nodule in the wall of an organ and the deposit on its surface, which the diagnosis names."""
    held, text = tumour.mention, sighting.mention.statement.text
    if sighting.rank < 3 or held.organ in _SOLID_LINING or held.malignancy == "benign":
        return True
    if held.kind == "metastasis" and _SURFACE.search(held.statement.text):
        return _AT_SURFACE.search(text) is not None
    return (
        held.organ != "uterus"
        or _IN_WALL.search(text) is None
        or _IN_WALL.search(held.statement.text) is not None
    )


def _match_unsized(sighting: Sighting, tumours: Sequence[Tumour]) -> Tumour | None:
    fitting = [t for t in tumours if same_place(sighting, t) and suits(sighting.mention, t.mention)]
    parts = set(sighting.mention.location.parts)
    if parts and follows(_SEPARATE, sighting.mention):
        fitting = [t for t in fitting if parts & set(t.mention.location.parts)]
    return next((t for t in fitting if same_specimen(sighting, t)), None)
