"""The lesions of one case, reported against found: optimal one-to-one matching and a verdict for each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from llm_extract.anatomy import Anatomy
from llm_extract.records import Lesion, OrganStatement, ReportRecord
from rsuper.agreement.table import AgreementRow, AgreementSettings, CaseAgreement, Verdict
from rsuper.prediction.findings import CaseFindings, Finding
from rsuper.supervision.groups import bound_remainder, count_interval, sides_of_members
from rsuper.supervision.policy import SupervisionPolicy
from rsuper.supervision.states import OrganEvidence, organ_evidence
from rsuper.supervision.targets import organ_of_class

UNMATCHED_COST = 3.0
SIDE_COST = 4.0
PART_COST = 2.0
MAX_SLOTS = 50


@dataclass(frozen=True, kw_only=True)
class _Slot:
    """One lesion that the report asks for (or allows, where it does not count them), and its side.

    Of lesions on both sides the first ones have a side of their own.
    """

    lesion: Lesion
    report_id: str
    weight: float
    needed: bool
    side: str


@dataclass(frozen=True, kw_only=True)
class _Context:
    """What every row of one class of one case shares."""

    case_id: str
    class_name: str
    organ: str
    spacing_mm: float
    anatomy: Anatomy
    settings: AgreementSettings


def compare_case(
    findings: CaseFindings,
    records: Sequence[ReportRecord],
    *,
    classes: Sequence[str],
    anatomy: Anatomy,
    policy: SupervisionPolicy,
    settings: AgreementSettings | None = None,
) -> CaseAgreement:
    """Compare the findings of one case with everything its records state.

    Lesions of a class are matched one to one at the smallest total cost of size (log2 of the ratio of longest
    diameters), part and side, where leaving both alone costs twice ``UNMATCHED_COST``. A group of unknown
    number takes as many findings as fit; lesions that the policy does not count (cysts, treated lesions)
    explain a finding but are never missed.

    Args:
        findings: predicted lesions of the case.
        records: all records of the case; failed ones say nothing.
        classes: lesion classes that were predicted.
        anatomy: table of organs.
        policy: which reported lesions count.
        settings: tolerances and priorities.
    """
    how = settings or AgreementSettings()
    usable = [record for record in records if record.status != "failed"]
    radiology = [record for record in usable if record.source == "radiology"]
    rows: list[AgreementRow] = []
    for class_name in classes:
        organ = organ_of_class(class_name, anatomy)
        own = [finding for finding in findings.lesions if finding.class_name == class_name]
        context = _Context(
            case_id=findings.case_id,
            class_name=class_name,
            organ=organ or "other",
            spacing_mm=max(findings.spacing_mm),
            anatomy=anatomy,
            settings=how,
        )
        if organ is None or not radiology:
            rows.append(_row(context, "not_comparable", _why_not(organ, records)))
            continue
        evidence = organ_evidence(usable, organ, lesion_class=class_name, anatomy=anatomy, policy=policy)
        rows.extend(_compare_class(context, own, radiology, evidence))
    return CaseAgreement.of(findings.case_id, tuple(rows))


def _why_not(organ: str | None, records: Sequence[ReportRecord]) -> str:
    if organ is None:
        return "the class belongs to no organ of the anatomy table"
    if not any(record.source == "radiology" for record in records):
        return "the case has no radiology report"
    return "its reports could not be read"


def _compare_class(
    context: _Context,
    findings: Sequence[Finding],
    records: Sequence[ReportRecord],
    evidence: OrganEvidence,
) -> list[AgreementRow]:
    """Rows of one class: needed lesions first, then those that only may be there, then what is left."""
    slots = _slots(evidence)
    rows: list[AgreementRow] = []
    left = list(findings)
    for wanted in ([s for s in slots if s.needed], [s for s in slots if not s.needed]):
        pairs, unmatched = _assign(context, wanted, left)
        rows.extend(_matched_row(context, slot, finding) for slot, finding in pairs)
        taken = {finding.lesion_id for _, finding in pairs}
        left = [finding for finding in left if finding.lesion_id not in taken]
        rows.extend(_missed_row(context, slot) for slot in unmatched if slot.needed)
    others = [
        _Slot(lesion=lesion, report_id="", weight=0.0, needed=False, side=lesion.laterality)
        for lesion in evidence.ignored
    ]
    pairs, _ = _assign(context, others, left)
    explained = {finding.lesion_id: slot.lesion for slot, finding in pairs}
    for finding in left:
        if finding.lesion_id in explained:
            rows.append(_other_row(context, finding, explained[finding.lesion_id]))
        else:
            rows.append(_extra_row(context, finding, records, evidence))
    if not rows:
        reason = {"absent": "the report calls the organ free"}.get(
            evidence.state, "the report states no lesion of this organ"
        )
        rows.append(_row(context, "both_negative", reason))
    return rows


def _slots(evidence: OrganEvidence) -> list[_Slot]:
    """One slot a lesion; groups without an upper bound get spare slots that nothing has to fill."""
    slots: list[_Slot] = []
    for item in evidence.counted:
        group = [
            other
            for other in item.record.lesions
            if item.lesion.group_id is not None and other.group_id == item.lesion.group_id
        ]
        lesion = bound_remainder(item.lesion, group)
        count = count_interval(lesion)
        needed = min(count.low, MAX_SLOTS)
        spare = MAX_SLOTS - needed if count.high is None else min(count.high, MAX_SLOTS) - needed
        sides = sides_of_members(lesion, group)
        slots += [
            _Slot(
                lesion=lesion,
                report_id=item.record.report_id,
                weight=item.weight,
                needed=number < needed,
                side=sides[number] if number < len(sides) else lesion.laterality,
            )
            for number in range(needed + spare)
        ]
    return slots


def _assign(
    context: _Context, slots: Sequence[_Slot], findings: Sequence[Finding]
) -> tuple[list[tuple[_Slot, Finding]], list[_Slot]]:
    """Pairs at the smallest total cost, and the slots without a partner."""
    if not slots or not findings:
        return [], list(slots)
    n, m = len(slots), len(findings)
    cost = np.full((n + m, n + m), UNMATCHED_COST)
    cost[n:, m:] = 0.0
    for i, slot in enumerate(slots):
        for j, finding in enumerate(findings):
            cost[i, j] = _pair_cost(context, slot, finding)
    rows, columns = linear_sum_assignment(cost)
    partner = {int(r): int(c) for r, c in zip(rows, columns, strict=True) if r < n and c < m}
    pairs = [(slots[i], findings[j]) for i, j in sorted(partner.items())]
    return pairs, [slot for i, slot in enumerate(slots) if i not in partner]


def _pair_cost(context: _Context, slot: _Slot, finding: Finding) -> float:
    size = _size_ratio(slot.lesion, finding)
    cost = 0.5 if size is None else min(3.0, abs(math.log2(size)))
    if _side_differs(slot, finding):
        cost += SIDE_COST
    if _part_differs(context.anatomy, slot.lesion, finding):
        cost += PART_COST
    # equal costs: prefer the finding the network is surer of
    return cost - 1e-3 * (finding.confidence or 0.0)


def _found_mm(lesion: Lesion, finding: Finding) -> float:
    """The found diameter that a report's longest one is compared with: axial, unless three are stated."""
    return max(finding.diameters_mm) if len(lesion.diameters_mm) == 3 else finding.diameters_mm[0]


def _size_ratio(lesion: Lesion, finding: Finding) -> float | None:
    """Found over reported longest diameter; 1 inside stated bounds; None where no size is stated."""
    found = _found_mm(lesion, finding)
    if lesion.diameters_mm:
        return found / max(lesion.diameters_mm)
    if lesion.size_max_mm is not None and found > lesion.size_max_mm:
        return found / lesion.size_max_mm
    if lesion.size_min_mm is not None and found < lesion.size_min_mm:
        return found / lesion.size_min_mm
    return None if lesion.size_max_mm is None and lesion.size_min_mm is None else 1.0


def _side_differs(slot: _Slot, finding: Finding) -> bool:
    return {slot.side, finding.side} == {"left", "right"}


def _part_differs(anatomy: Anatomy, lesion: Lesion, finding: Finding) -> bool:
    """True where both name a part that label files tell apart, and they share none."""
    if finding.part is None or not lesion.parts or lesion.part_relation == "adjacent":
        return False
    organ = anatomy.organs[lesion.organ]
    reported: set[str] = set()
    for name in anatomy.expand(lesion.organ, lesion.parts):
        part = organ.parts.get(name)
        if part is None or not part.structures:
            return False
        reported.update(part.structures)
    return not reported & set(organ.parts[finding.part].structures)


def _size_agrees(context: _Context, lesion: Lesion, finding: Finding, ratio: float) -> bool:
    slack = max(context.settings.size_slack_mm, 1.5 * context.spacing_mm) + lesion.size_precision_mm
    found = _found_mm(lesion, finding)
    within = max(ratio, 1 / ratio) <= context.settings.size_ratio
    return within or abs(found - found / ratio) <= slack


def _matched_row(context: _Context, slot: _Slot, finding: Finding) -> AgreementRow:
    how, lesion = context.settings, slot.lesion
    ratio = _size_ratio(lesion, finding)
    confidence = 1.0 if finding.confidence is None else finding.confidence
    verdict: Verdict = "matched"
    reason = "same place; no size is stated"
    if ratio is not None:
        reason = "same place and size" if 0.95 < ratio < 1.05 else f"same place, {ratio:.2g} times as long"
    priority = how.doubt_weight * (1 - confidence)
    if _side_differs(slot, finding):
        verdict, priority = "side_disagreement", how.side_weight * slot.weight
        reason = f"the report says {slot.side}, it was found {finding.side}"
        if lesion.laterality == "bilateral":
            reason = f"the report says both sides, this one was found {finding.side} and none {slot.side}"
    elif ratio is not None and not _size_agrees(context, lesion, finding, ratio):
        verdict = "size_disagreement"
        priority = how.size_weight * min(2.0, abs(math.log2(ratio))) * slot.weight
        reason = f"found {ratio:.2g} times as long as reported"
    elif _part_differs(context.anatomy, lesion, finding):
        verdict, priority = "part_disagreement", how.part_weight * slot.weight
        reason = "found in another part of the organ than reported"
    elif not slot.needed:
        reason = "one of several that the report does not count"
    return _row(context, verdict, reason, slot=slot, finding=finding, priority=priority)


def _missed_row(context: _Context, slot: _Slot) -> AgreementRow:
    """Reported, not found: the priority is the certainty weight, a possible lesion counts less."""
    sure = "" if slot.lesion.presence == "definite" else f"; the report is not sure ({slot.lesion.presence})"
    reason = f"no finding of this class fits{sure}"
    return _row(context, "reported_not_found", reason, slot=slot, priority=slot.weight)


def _other_row(context: _Context, finding: Finding, lesion: Lesion) -> AgreementRow:
    reason = f"the report states a {lesion.kind.replace('_', ' ')} there that does not count for this class"
    return _row(context, "reported_as_other", reason, finding=finding)


def _extra_row(
    context: _Context, finding: Finding, records: Sequence[ReportRecord], evidence: OrganEvidence
) -> AgreementRow:
    how = context.settings
    statements = [r.organs.get(context.organ, OrganStatement()) for r in records]
    statuses = {statement.status for statement in statements}
    if "surgically_absent" in statuses:
        weight, reason = how.free_weight, "the report says that the organ was removed"
    elif finding.side in evidence.free_sides:
        weight, reason = how.free_weight, "the report calls the organ free of focal lesions"
    elif evidence.counted or evidence.ignored:
        weight, reason = how.fewer_weight, "the report states fewer lesions of this organ"
    elif statuses <= {"not_mentioned"}:
        weight, reason = how.unreported_weight, "the report does not mention the organ"
    else:
        weight, reason = how.unreported_weight, "the report states no lesion of this organ"
    confidence = 1.0 if finding.confidence is None else finding.confidence
    return _row(context, "found_not_reported", reason, finding=finding, priority=weight * confidence)


def _row(
    context: _Context,
    verdict: Verdict,
    reason: str,
    *,
    slot: _Slot | None = None,
    finding: Finding | None = None,
    priority: float = 0.0,
) -> AgreementRow:
    values: dict[str, object] = {}
    if slot is not None:
        lesion = slot.lesion
        values |= {
            "report_id": slot.report_id,
            "report_lesion_id": lesion.lesion_id,
            "reported_diameters_mm": lesion.diameters_mm,
            "reported_min_mm": lesion.size_min_mm,
            "reported_max_mm": lesion.size_max_mm,
            "reported_side": slot.side,
            "reported_parts": lesion.parts,
            "presence": lesion.presence,
        }
    if finding is not None:
        values |= {
            "finding_id": finding.lesion_id,
            "found_diameters_mm": finding.diameters_mm,
            "found_side": finding.side,
            "found_part": finding.part,
            "confidence": finding.confidence,
        }
    if slot is not None and finding is not None:
        ratio = _size_ratio(slot.lesion, finding)
        values["size_ratio"] = None if ratio is None else round(ratio, 4)
    shared: Mapping[str, object] = {
        "case_id": context.case_id,
        "class_name": context.class_name,
        "organ": context.organ,
        "verdict": verdict,
        "reason": reason,
        "priority": round(priority, 4),
    }
    return AgreementRow.model_validate({**values, **shared})
