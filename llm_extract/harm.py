"""Targets that would mislead a network, among the lesions of a record that would supervise it.

A missed lesion leaves its organ unknown and does no harm; a lesion on the wrong side, in the wrong part or organ,
with a prior size or a size outside its interval, and an organ called free that holds a lesion, do.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from llm_extract.anatomy import Anatomy, load_anatomy
from llm_extract.certainty import lesion_certainty, would_supervise
from llm_extract.gold import Finding, GoldReport, organ_name
from llm_extract.gold_parts import expanded, gold_parts
from llm_extract.matching import (
    findings_and_lesions,
    is_ignored,
    match_findings,
    sizes_fit,
    spans_meet,
)
from llm_extract.records import Lesion, OrganStatement, ReportRecord

Harm = Literal["organ", "side", "part", "prior", "size", "false_negative", "unmatched"]
HARMS: tuple[Harm, ...] = ("organ", "side", "part", "prior", "size", "false_negative")
"""What counts as harmful; ``unmatched`` (no answer has this lesion) is told apart, answers being incomplete."""


@dataclass(frozen=True)
class Target:
    """One thing that a loss would learn from a record, held against the answer.

    Args:
        report_id: whose record.
        organ: organ of the lesion or of the false negative.
        certainty: of the record itself, see :func:`llm_extract.certainty.lesion_certainty`.
        harms: what is wrong with it; empty where it is right.
        lesion: the lesion; None for an organ called free.
        gold: what the answer says.
    """

    report_id: str
    organ: str
    certainty: float
    harms: tuple[Harm, ...] = ()
    lesion: Lesion | None = None
    gold: Finding | None = None

    @property
    def is_harmful(self) -> bool:
        """Whether it would mislead."""
        return any(harm in HARMS for harm in self.harms)


def judge_targets(
    gold: GoldReport, record: ReportRecord | None, *, anatomy: Anatomy | None = None
) -> list[Target]:
    """Hold every lesion that would supervise, and every full-strength negative, against the answer.

    Args:
        gold: the answer.
        record: the record of the same report; None says nothing.
        anatomy: table of organs; the built-in one by default.

    Returns:
        One target a lesion that would supervise, and one a false negative.
    """
    if record is None:
        return []
    table = anatomy or load_anatomy()
    both = findings_and_lesions(record, gold.layout)
    found = [finding for finding, _ in both]
    pairs = match_findings(gold.findings, found)
    answer = {column: gold.findings[row] for row, column in pairs}
    missed = [finding for row, finding in enumerate(gold.findings) if row not in {row for row, _ in pairs}]
    targets = []
    for index, (finding, lesion) in enumerate(both):
        if not would_supervise(lesion, record) or (index not in answer and is_ignored(finding, gold)):
            continue
        said = answer.get(index)
        if said is not None:
            harms = _harms(said, finding, lesion, forbidden_mm=gold.forbidden_mm, anatomy=table)
        else:
            said, harms = _misplaced(finding, missed)
            if any(size in gold.forbidden_mm for size in finding.sizes_mm):
                harms = ("prior",)
        targets.append(
            Target(
                report_id=gold.report_id,
                organ=finding.organ,
                certainty=lesion_certainty(lesion, record),
                harms=harms,
                lesion=lesion,
                gold=said,
            )
        )
    return targets + _false_negatives(gold, record)


def _harms(
    gold: Finding, found: Finding, lesion: Lesion, *, forbidden_mm: frozenset[float], anatomy: Anatomy
) -> tuple[Harm, ...]:
    """What is wrong with a lesion that the answer has."""
    harms: list[Harm] = []
    if gold.side is not None and found.side is not None and gold.side != found.side:
        harms.append("side")
    theirs = gold_parts(gold, anatomy)
    ours = expanded(lesion.organ, lesion.parts, anatomy)
    if theirs and ours and not theirs & ours and lesion.part_relation != "adjacent":
        harms.append("part")
    if any(size in forbidden_mm for size in found.sizes_mm):
        harms.append("prior")
    elif not size_holds(gold, lesion):
        harms.append("size")
    return tuple(harms)


def size_holds(gold: Finding, lesion: Lesion) -> bool:
    """Whether the largest stated diameter lies in what the record allows; a record without a size allows any.

    Args:
        gold: the answer; sizes in falling order, in mm.
        lesion: its diameters (within 1 mm or 5 %), else its bounds.

    Returns:
        False also for a size where the answer has none.
    """
    if not gold.sizes_mm:
        return not lesion.diameters_mm
    stated = gold.sizes_mm[0]
    if lesion.diameters_mm:
        return sizes_fit(stated, max(lesion.diameters_mm))
    low = lesion.size_min_mm or 0.0
    high = lesion.size_max_mm if lesion.size_max_mm is not None else math.inf
    return low <= stated <= high or sizes_fit(stated, low) or sizes_fit(stated, high)


def _misplaced(found: Finding, missed: list[Finding]) -> tuple[Finding | None, tuple[Harm, ...]]:
    """A lesion that no answer fits: the missed one of the same size or words is it, in a wrong place."""
    for finding in missed:
        same_size = bool(finding.sizes_mm) and finding.sizes_mm == found.sizes_mm
        same_words = spans_meet(finding.spans, found.spans) and (not finding.sizes_mm or not found.sizes_mm)
        if not (same_size or same_words):
            continue
        if finding.organ != found.organ:
            missed.remove(finding)
            return finding, ("organ",)
        if finding.side is not None and found.side is not None and finding.side != found.side:
            missed.remove(finding)
            return finding, ("side",)
    return None, ("unmatched",)


def _false_negatives(gold: GoldReport, record: ReportRecord) -> list[Target]:
    """Organs, or sides of one, that a full-strength negative calls free although the answer has a lesion there."""
    targets = []
    for organ, statement in record.organs.items():
        for finding in gold.findings:
            if finding.organ == organ_name(organ) and _denies(statement, finding):
                targets.append(
                    Target(gold.report_id, finding.organ, 1.0, harms=("false_negative",), gold=finding)
                )
                break
    return targets


def _denies(statement: OrganStatement, finding: Finding) -> bool:
    if statement.limited:
        return False
    if statement.status == "explicitly_lesion_free":
        return statement.scope == "any_focal_lesion"
    side = statement.sides.get(finding.side) if finding.side is not None else None
    return side is not None and (side.status, side.scope) == ("explicitly_lesion_free", "any_focal_lesion")


def risk_coverage(targets: Sequence[Target]) -> dict[str, Any]:
    """How often the lesions that the record is most certain of are harmful.

    Args:
        targets: false negatives have no certainty of a lesion and are left out.

    Returns:
        ``points``: one a distinct certainty, from the highest, with the share of lesions at least as certain
        (``coverage``) and the share of harmful ones among them (``risk``); ``area``: mean risk over coverage.
    """
    lesions = sorted(
        (target for target in targets if target.lesion is not None), key=lambda target: -target.certainty
    )
    points: list[dict[str, float]] = []
    harmful = area = covered = 0.0
    for number, target in enumerate(lesions, start=1):
        harmful += target.is_harmful
        if number < len(lesions) and lesions[number].certainty == target.certainty:
            continue
        coverage, risk = number / len(lesions), harmful / number
        area += (coverage - covered) * risk
        covered = coverage
        points.append({"certainty": round(target.certainty, 4), "coverage": coverage, "risk": risk})
    return {"points": points, "area": area if points else None, "lesions": len(lesions)}
