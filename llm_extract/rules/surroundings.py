"""Operations, secondary signs and the technique of the examination."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from llm_extract.cues import Cue
from llm_extract.drafts import DraftSpan, SignDraft, SurgeryDraft, TechniqueDraft
from llm_extract.records import Laterality
from llm_extract.rules import context
from llm_extract.rules.absent_organs import is_operated, not_there
from llm_extract.rules.organ_choice import WEAK
from llm_extract.rules.statements import Reading, Statement

_PLANNED = re.compile(
    r"\b(?:plan\w*|candidate|schedul\w*|consider\w*(?![^.;]{0,40}\bpost-?\s?op)|recommend\w*"
    r"|for possible|would|prior to|before)\b",
    re.IGNORECASE,
)
_ADVISED = re.compile(
    r"\s(?:\w+\s){0,3}?(?:should be considered|is planned|was planned|planned|scheduled"
    r"|(?:is|was) recommended|advised)\b",
    re.IGNORECASE,
)
_CLIP = Cue(
    r"\b(?:clips?|surgical (?:material|sutures?))\b[^.;]{0,40}?"
    r"\bgall\s?bladder (?:fossa|bed|lodge|loge|area|region|site)\b",
    "gall",
)
_DILATED = re.compile(
    r"\b(?:dilat\w*|ectasia|ectatic|prominent|enlarge\w*|distend\w*|wide\w*)\b", re.IGNORECASE
)
_NOT_DILATED = re.compile(
    r"\b(?:no|without|non)\b[^.;]{0,40}\b(?:dilat\w*|enlarge\w*|prominent|distend\w*|ectasia)"
    r"|\bnot\b[^.;,]{0,40}\b(?:dilat\w*|enlarge\w*|prominent|distend\w*|ectasia)"
    r"|\bnormal\b|\bnon-?dilated\b",
    re.IGNORECASE,
)
_DUCT_LIMIT_MM = {"pancreas": 3.0, "bile_duct": 7.0}
_PHASES = (
    ("non_contrast",
        r"\b(?:non-?contrast\w*|unenhanced|(?<!with and )(?<!with or )without (?!and with|or with)(?:\w+ ){0,2}contrast"
        r"|no (?:iv |intravenous )?contrast|contrast material is not given|uncontrasted)\b", "contrast", "unenhanced"),
    ("portal_venous", r"\bportal(?: venous)?(?:\s|-)phase\b|\bportovenous\b|\bportal venous\b|\bvenous phase\b",
        "portal", "portovenous", "venous phase"),
    ("arterial", r"\barterial(?:\s|-)phase\b|\bct angiogra\w+\b", "arterial", "angiogra"),
    ("delayed", r"\bdelayed(?:\s|-)(?:phase|images)\b|\bexcretory phase\b", "delayed", "excretory"),
)  # fmt: skip
_PHASE = tuple((name, Cue(pattern, *needs)) for name, pattern, *needs in _PHASES)
"""Given lower case."""
_MODALITIES = (
    ("pet_ct", re.compile(r"\bPET[-/ ]?CT\b")),
    ("ct", re.compile(r"\b(?:CT|computed tomograph\w*|MDCT|CECT)\b")),
    ("mri", re.compile(r"\b(?:MRI|MRCP|magnetic resonance)\b")),
    ("ultrasound", re.compile(r"\b(?:ultrasound|sonograph\w*|US abdomen)\b", re.IGNORECASE)),
)
_REGIONS = tuple(
    (name, re.compile(pattern, re.IGNORECASE))
    for name, pattern in (
        ("chest", r"\b(?:chest|thora(?:x|cic)|lungs?)\b"),
        ("abdomen", r"\babdom(?:en|inal)\b"),
        ("pelvis", r"\bpelvi[sc]\b"),
        ("head", r"\b(?:head|brain)\b"),
        ("neck", r"\bneck\b"),
    )
)
_LIMITED_STUDY = Cue(
    r"\b(?:limited|suboptimal|motion artifact|degraded)\b", "limited", "suboptimal", "motion", "degraded"
)
_BOTH = re.compile(r"bso", re.IGNORECASE)


def surgery_drafts(reading: Reading) -> Iterator[SurgeryDraft]:
    """Operations that the report says were done."""
    if reading.pathology:
        return
    seen: set[tuple[str, str, str]] = set()
    for statement in reading.statements:
        for mark in statement.of("operation"):
            before = statement.text[: mark.start - statement.start]
            after = statement.text[mark.end - statement.start :]
            if (
                _PLANNED.search(before[-60:])
                or _ADVISED.match(after)
                or re.search(r"\b(?:no|without|not)\s(?:\w+\s)?(?:\w+\s)?$", before, re.IGNORECASE)
            ):
                continue
            value = mark.value
            organ = _operated_organ(statement, value.organ, value.procedure)
            side: Laterality | None = next(
                (
                    m.value
                    for m in reversed(statement.of("side"))
                    if m.end <= mark.start and mark.start - m.end < 20
                ),
                None,
            )
            side = side or _side_of_organ(statement, organ)
            if side is None and _BOTH.fullmatch(reading.text, mark.start, mark.end):
                side = "bilateral"
            key = (organ, value.procedure, side or "unknown")
            if key in seen:
                continue
            seen.add(key)
            sideless = bool(value.removed) or organ not in {
                "kidney",
                "adrenal_gland",
                "lung",
                "breast",
                "ovary",
            }
            yield SurgeryDraft(
                organ=organ, procedure=value.procedure, extent=value.extent, removed_parts=value.removed,
                laterality="n/a" if sideless else side or "unknown",
                quote=reading.text[mark.start : mark.end], quote_start=mark.start,
            )  # fmt: skip
        yield from _missing_parts(reading, statement)


def _operated_organ(statement: Statement, organ: str, procedure: str) -> str:
    """The organ of an operation that is done on several, from the place it stands with: a wedge of the liver."""
    places = statement.of("place")
    named: set[str] = {m.value.organ for m in places if m.value.organ} - {"lymph_node", *WEAK}
    if procedure in {"wedge_resection", "segmentectomy"} and organ not in named and len(named) == 1:
        return named.pop()
    return organ


def _missing_parts(reading: Reading, statement: Statement) -> Iterator[SurgeryDraft]:
    """Reads "The lower lobe of the right lung was not observed (operated)", "Clips in the gallbladder fossa"."""
    if is_operated(statement):
        for mark, organ in not_there(statement):
            if mark.value.part and organ in {"lung", "liver", "pancreas", "colon"}:
                yield SurgeryDraft(
                    organ=organ, procedure="resection", extent="partial", removed_parts=(mark.value.part,),
                    laterality="n/a", quote=reading.text[mark.start : mark.end], quote_start=mark.start,
                )  # fmt: skip
    clip = _CLIP.search(statement.low)
    if clip is not None and not statement.of("operation"):
        yield SurgeryDraft(
            organ="gallbladder", procedure="cholecystectomy", extent="total", laterality="n/a",
            quote=statement.text[clip.start() : clip.end()], quote_start=statement.start + clip.start(),
        )  # fmt: skip


def _side_of_organ(statement: Statement, organ: str) -> Laterality | None:
    """Reads "Right kidney not seen, status post nephrectomy": the one side that the sentence gives the organ."""
    places = [m for m in statement.of("place") if m.value.organ == organ]
    sides = {
        side.value
        for side in statement.of("side")
        if any(0 <= place.start - side.end < 12 for place in places)
    }
    if sides == {"left"}:
        return "left"
    return "right" if sides == {"right"} else None


def sign_drafts(reading: Reading) -> Iterator[SignDraft]:
    """Secondary signs that the report states, such as a dilated duct."""
    seen: set[tuple[str, str]] = set()
    for statement in reading.statements:
        if not statement.current:
            continue
        for mark in statement.of("sign"):
            organ, sign = mark.value
            held, ids = _holds(statement, mark.start, mark.end, organ, sign)
            if held and (organ, sign) not in seen:
                seen.add((organ, sign))
                yield SignDraft(
                    organ=organ,
                    sign=sign,
                    measurement_ids=ids,
                    quote=statement.text[:2000],
                    quote_start=statement.start,
                )


def _holds(statement: Statement, start: int, end: int, organ: str, sign: str) -> tuple[bool, tuple[str, ...]]:
    text = statement.text
    low, high = start - statement.start, end - statement.start
    if sign != "duct_dilatation":
        state = context.polarity(text, low, high, measured=False)
        return state == "affirmed", ()
    window = text[max(0, low - 40) : high + 60]
    sizes = [
        m for m in statement.measurements if m.start >= end and m.start - end < 60 and m.tense == "current"
    ]
    if sizes:
        between = [m for m in statement.of("sign") if end <= m.start < sizes[0].start]
        if not between:
            wide = max(sizes[0].values_mm) > _DUCT_LIMIT_MM.get(organ, 7.0)
            return wide and not _NOT_DILATED.search(window), (sizes[0].id,)
    return bool(_DILATED.search(window)) and not _NOT_DILATED.search(window), ()


def technique_draft(reading: Reading) -> TechniqueDraft:
    """Modality, contrast phase and regions, as far as the report says."""
    spans: list[DraftSpan] = []
    modality, phase = "unknown", "unknown"
    regions: dict[str, None] = {}
    limited = False
    for statement in _technical(reading.statements):
        for name, pattern in _MODALITIES:
            match = pattern.search(statement.text) if modality == "unknown" else None
            if match:
                modality = name
                spans.append(_span("modality", statement, match))
        for name, cue in _PHASE:
            match = cue.search(statement.low) if phase == "unknown" else None
            if match:
                phase = name
                spans.append(_span("phase", statement, match))
        if statement.sentence.section == "technique" or re.match(r"\W*(?:MD|CE)?CT\b", statement.text):
            regions.update(
                dict.fromkeys(name for name, pattern in _REGIONS if pattern.search(statement.text))
            )
        limited = limited or _LIMITED_STUDY.search(statement.low) is not None
    return TechniqueDraft.model_validate(
        {
            "modality": modality,
            "phase": phase,
            "body_regions": tuple(regions),
            "limited": limited,
            "spans": tuple(spans),
        }
    )


def _technical(statements: Sequence[Statement]) -> Iterator[Statement]:
    for index, statement in enumerate(statements):
        contrast = "contrast" in statement.low or "unenhanced" in statement.low
        if statement.sentence.section == "technique" or index < 2 or contrast:
            yield statement


def _span(field: str, statement: Statement, match: re.Match[str]) -> DraftSpan:
    return DraftSpan(field=field, start=statement.start + match.start(), end=statement.start + match.end())
