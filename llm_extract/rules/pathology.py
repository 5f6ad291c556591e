"""Pathology reports: the tumour of the specimen, once, with the tumour's size and never the specimen's.

A pathology report names its tumour dozens of times (gross, microscopic, synoptic, block keys). All mentions of the
specimen's tumour without a size are one lesion with the sized ones; sizes that differ are different tumours.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from llm_extract.measurements import Measurement
from llm_extract.rules.lesions import LesionReader
from llm_extract.rules.lexicon import Mark
from llm_extract.rules.locations import SIDELESS, WEAK, Location
from llm_extract.rules.mentions import Mention
from llm_extract.rules.statements import Reading, Statement

_TUMOUR_KINDS = frozenset({"mass", "tumor", "lesion", "nodule"})
_ASIDE = re.compile(
    r"tumou?r[ -]{1,3}(?:cells?|free|markers?|bank\w*|necrosis|infiltrat\w+|tissue|section|with|to\b"
    r"|and|x\s?\d)|free of|negative for|uninvolved|margins?\b|no residual|invades?\b|invasion"
    r"|involv\w+|confined|limited to|extends?\b|blocks?\b|cassettes?|^\W{0,3}[A-Z]{1,2}\d{1,2}\b"
    r"|x\s?\d\s{0,2}$|prior malignancy|malignancy hist|insufficient|mutation|gene|immuno\w+"
    r"|staining|panel|cannot be assessed|distant metast|regional lymph|primary tumou?r \(p|carcinoma "
    r"cells|summary|submitted|representative|section code|question",
    re.IGNORECASE,
)
_NO_STATEMENT = re.compile(
    r"cannot be assessed|distant metast|negative for|free of|malignancy hist|no evidence"
    r"|tumou?r\s?-\s?free|\bquestion\b|\?",
    re.IGNORECASE,
)
_TUMOUR_SIZE = re.compile(
    r"tumou?r\s(?:size|dimension|diameter)|size of (?:the )?(?:tumou?r|lesion|carcinoma|neoplasm"
    r"|invasive)|greatest (?:tumou?r )?(?:dimension|diameter)|maximum dimension|additional dimension",
    re.IGNORECASE,
)
_NOT_TUMOUR = re.compile(
    r"\b(?:margin|specimen|node|distance|depth|thickness|prostate (?:size|weight))\b", re.IGNORECASE
)
_REACH = 3


def settle(reader: LesionReader) -> None:
    """Reduce the mentions of a pathology report to its tumours; changes ``reader.mentions``."""
    organ, side = specimen(reader.reading)
    mentions = [_placed(m, organ, side) for m in reader.mentions]
    mentions = [m for m in mentions if m.sizes or not _beside(m)]
    named = _tumour_size(reader, mentions, organ)
    if named is not None:
        mentions.append(named)
    kept: list[Mention] = []
    for mention in sorted(mentions, key=lambda m: (not m.sizes, m.span[0])):
        target = _same(mention, kept)
        if target is None:
            kept.append(mention)
        else:
            _absorb(target, mention)
    held = {m.id for mention in kept for m in mention.sizes}
    for mention in mentions:
        for size in mention.sizes:
            if size.id not in held:
                reader.unused.setdefault(size.id, "other")
    reader.mentions = sorted(kept, key=lambda m: m.span[0])


def _beside(mention: Mention) -> bool:
    """True for a sentence about margins, blocks or cells, which states no tumour."""
    pattern = _ASIDE if mention.kind in _TUMOUR_KINDS else _NO_STATEMENT
    return pattern.search(mention.statement.text) is not None


def specimen(reading: Reading) -> tuple[str | None, str | None]:
    """Organ and side of the specimen: what the headings and the first lines name most often."""
    votes: Counter[str] = Counter()
    sides: Counter[str] = Counter()
    for index, statement in enumerate(reading.statements):
        headline = index < 8 or statement.sentence.section in {
            "specimen",
            "diagnosis",
            "synoptic",
            "preamble",
            "history",
        }
        weight = (3 if headline else 1) + (2 if index < 8 else 0)
        for mark in statement.marks:
            if mark.category in {"place", "operation"} and mark.value.organ not in {
                None,
                *WEAK,
                "lymph_node",
                "bone",
            }:
                votes[mark.value.organ] += weight
            elif mark.category == "finding" and mark.value.organ not in {None, "lymph_node"}:
                votes[mark.value.organ] += 1
        sides.update(m.value for m in statement.of("side") if m.value in {"left", "right"} and headline)
    if not votes:
        return None, None
    total = sum(sides.values())
    common = sides.most_common(1)
    side = common[0][0] if common and common[0][1] >= 0.8 * total else None
    return votes.most_common(1)[0][0], side


def _placed(mention: Mention, organ: str | None, side: str | None) -> Mention:
    """A tumour without a place of its own lies in the specimen."""
    vague = mention.organ in WEAK or (mention.organ == "bone" and not mention.location.certain)
    placed = mention.location.spans and mention.organ not in {"vessel", "other", "bone"}
    if organ is not None and vague and not placed and mention.kind in _TUMOUR_KINDS:
        mention.organ, mention.location = organ, Location(organ=organ)
    sided = mention.organ == organ and organ not in SIDELESS and mention.location.laterality is None
    if sided and side is not None:
        mention.location = replace(mention.location, laterality=side)
    return mention


def _tumour_size(reader: LesionReader, mentions: Sequence[Mention], organ: str | None) -> Mention | None:
    """Reads "TUMOR SIZE: 5.5 cm": a size under its own heading belongs to the specimen's tumour."""
    used = {m.id for mention in mentions for m in mention.sizes}
    statements = reader.reading.statements
    for index, statement in enumerate(statements):
        if not _TUMOUR_SIZE.search(statement.text):
            continue
        found = _sizes_after(statements[index : index + _REACH], used)
        if found and organ is not None:
            mark = Mark(statement.start, statement.start + len(statement.text), "finding", None)
            for size in found:
                reader.unused.pop(size.id, None)
            end = max(statement.start + len(statement.text), found[-1].end)
            return Mention(
                None, organ, Location(organ=organ), statement, (mark.start, end), found, kind="tumor"
            )
    return None


def _sizes_after(statements: Sequence[Statement], used: set[str]) -> list[Measurement]:
    found: list[Measurement] = []
    for position, statement in enumerate(statements):
        if position and not (found or _TUMOUR_SIZE.search(statement.text) or statement.measurements):
            continue
        if _NOT_TUMOUR.search(statement.text):
            break
        for size in statement.measurements:
            if size.id not in used and size.tense == "current" and sum(len(m.values_mm) for m in found) < 3:
                found.append(size)
        if found and position and not _TUMOUR_SIZE.search(statement.text):
            break
    return found[:3]


def _same(mention: Mention, kept: Sequence[Mention]) -> Mention | None:
    """The tumour that a mention speaks of, among those found before; sized mentions come first."""
    for other in kept:
        if other.organ != mention.organ or _family(other) != _family(mention):
            continue
        sides = {other.location.laterality, mention.location.laterality} & {"left", "right"}
        if len(sides) > 1:
            continue
        if not mention.sizes or not other.sizes:
            return other
        mine, theirs = max(mention.sizes[0].values_mm), max(other.sizes[0].values_mm)
        if abs(mine - theirs) <= max(1.0, 0.05 * max(mine, theirs)):
            return other
    return None


def _family(mention: Mention) -> str:
    if mention.kind in _TUMOUR_KINDS:
        return "benign" if mention.malignancy == "benign" else "tumour"
    return mention.kind


def _absorb(target: Mention, mention: Mention) -> None:
    """Keep the fuller size, the specific diagnosis and the parts that either mention states."""
    if mention.sizes and sum(len(m.values_mm) for m in mention.sizes) > sum(
        len(m.values_mm) for m in target.sizes
    ):
        target.sizes = mention.sizes
    open_name = target.diagnosis is None or (
        target.diagnosis == "carcinoma" and mention.diagnosis != "carcinoma"
    )
    if open_name and mention.diagnosis is not None:
        target.diagnosis, target.diagnosis_text = mention.diagnosis, mention.diagnosis_text
        target.diagnosis_certainty = mention.diagnosis_certainty
    if target.malignancy in {"unknown", "indeterminate"} and mention.malignancy != "unknown":
        target.malignancy, target.malignancy_basis = mention.malignancy, mention.malignancy_basis
    if not target.location.parts and mention.location.parts:
        target.location = replace(
            target.location, parts=mention.location.parts, relation=mention.location.relation,
            spans=(*target.location.spans, *mention.location.spans),
        )  # fmt: skip
    if target.location.laterality is None and mention.location.laterality is not None:
        target.location = replace(target.location, laterality=mention.location.laterality)
    target.spans += [("diagnosis", s, e) for name, s, e in mention.spans if name in {"kind", "diagnosis"}][:1]
