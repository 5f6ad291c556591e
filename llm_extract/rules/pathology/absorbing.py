"""One tumour takes over what another mention of it says."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from llm_extract.rules.mentions import Mention
from llm_extract.rules.pathology.sightings import GROSS, Sighting, Tumour, count, family, near

_ALL_OF_THEM = re.compile(r"\b(?:the|these|those)\s(?:\w+\s)?$", re.IGNORECASE)
"""Before a plural that speaks of all that was described."""


def absorb(target: Tumour, sighting: Sighting) -> None:
    """Keep the fuller size, the specific diagnosis, and side and part where the first mention lacks them."""
    held, new = target.mention, sighting.mention
    _take_rest(target, sighting)
    if (
        held.count == 1
        and new.is_group
        and not held.sizes
        and (new.sizes or (sighting.rank == 0 and sighting.is_specific and not follows(_ALL_OF_THEM, new)))
        and (new.kind != "metastasis" or held.kind == "metastasis")
    ):
        held.count, held.count_kind = new.count, new.count_kind
    nodes = held.organ == "lymph_node" and sighting.rank <= target.first.rank
    if held.count is None and new.count is not None and (new.count > 1 or nodes):
        held.count, held.count_kind = new.count, new.count_kind
    fuller = count(new.sizes) > count(held.sizes) and all(m.qualifier != "range" for m in new.sizes)
    if new.sizes and (not held.sizes or (fuller and near(held, new))):
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
    member = held.count is not None and held.count > 1 and new.count == 1 and not _at_specimen(sighting)
    telling = (bool(new.sizes) and not member) or sighting.rank <= target.first.rank or sighting.rank == 1
    wide = held.location.relation == "one_of" and set(new.location.parts) < set(held.location.parts)
    if (wide or not held.location.parts) and new.location.parts and telling:
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


def _take_rest(target: Tumour, sighting: Sighting) -> None:
    """A cancer named in the diagnosis is the largest of the masses that the gross description groups."""
    held, rest = target.mention, sighting.rest
    if (
        rest is None
        or target.rest is not None
        or held.sizes
        or held.is_group
        or held.malignancy != "malignant"
    ):
        return
    if sighting.mention.kind == "nodule" and held.kind != "metastasis":  # a nodular organ has others
        return
    target.first.rest = rest
    held.role, held.group = "index", rest.mention.group
    rest.mention.kind, rest.mention.diagnosis, rest.mention.malignancy = (
        held.kind,
        held.diagnosis,
        held.malignancy,
    )
    rest.mention.diagnosis_text, rest.mention.malignancy_basis = held.diagnosis_text, held.malignancy_basis


def _at_specimen(sighting: Sighting) -> bool:
    """True if a mention lies where its whole specimen does; the place of one of several is not that of all."""
    return (
        sighting.specimen is not None and sighting.specimen.location.parts == sighting.mention.location.parts
    )


def absorb_anywhere(tumours: Sequence[Tumour], sighting: Sighting, main: str | None) -> None:
    """A synoptic list names the type of the tumour that the diagnosis has stated."""
    for tumour in tumours:
        if tumour.mention.organ in {main, sighting.mention.organ} and family(tumour.mention) == "tumour":
            absorb(tumour, sighting)
            return


def follows(words: re.Pattern[str], mention: Mention) -> bool:
    """True if the noun of a mention stands right behind such words."""
    head = mention.head
    before = "" if head is None else mention.statement.text[: max(0, head.start - mention.statement.start)]
    return words.search(before) is not None


def members_apart(tumour: Tumour) -> list[Mention]:
    """The lesions of a counted group, where each is measured and placed: in a part, or on its side."""
    held = tumour.mention
    sized = [
        s for s in tumour.sightings if s is not tumour.first and s.mention.sizes and s.mention.count == 1
    ]
    own = [s.mention for s in sized if s.rank == GROSS]
    parts = {m.location.parts for m in own}
    placed = held.count == len(own) and len(own) >= 2 and len(parts) == len(own) and () not in parts
    if not placed:
        if held.count != 2 or held.location.laterality != "bilateral":
            return [held]
        fullest = sorted((s.mention for s in sized), key=lambda m: count(m.sizes))
        sides = {m.location.laterality: m for m in fullest}
        if not {"left", "right"} <= set(sides):
            return [held]
        own = [sides["right"], sides["left"]]
    return [
        replace(
            held,
            statement=m.statement,
            span=m.span,
            sizes=m.sizes,
            location=m.location,
            count=1,
            spans=list(m.spans),
        )
        for m in own
    ]
