"""Drafts + measurements -> a record: sizes by id, quotes to offsets, mentions merged, conflicts marked, audit.

Pure functions of the text and the drafts, the same for every backend.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

from llm_extract.anatomy import Anatomy, load_anatomy
from llm_extract.candidates import Candidate
from llm_extract.contradictions import contradicted
from llm_extract.drafts import LesionDraft, OrganDraft, RecordDraft, SignDraft, SurgeryDraft, TechniqueDraft
from llm_extract.grounding import evidence_at, ground, locate
from llm_extract.measurements import Measurement
from llm_extract.merging import merge_mentions
from llm_extract.organ_status import organ_statements
from llm_extract.records import (
    Evidence,
    Issue,
    Lesion,
    Provenance,
    ReportRecord,
    Section,
    Sign,
    SizeKind,
    Source,
    Span,
    Surgery,
    Technique,
    UnusedMeasurement,
    UnusedReason,
)
from llm_extract.reports import Report

REVIEW_CODES = frozenset(
    {
        "conflicting_laterality",
        "conflicting_presence",
        "conflicting_size",
        "extraction_error",
        "implausible_size",
        "inferred_unit",
        "nothing_read",
        "ungrounded_quote",
    }
)
"""Issues that a person should look at before the record is relied on."""


def assemble(
    report: Report,
    draft: RecordDraft,
    *,
    measurements: Sequence[Measurement],
    sections: tuple[Section, ...],
    source: Source,
    provenance: Provenance,
    anatomy: Anatomy | None = None,
) -> ReportRecord:
    """The record of one report from what a backend drafted.

    Args:
        report: the report.
        draft: what the backend returned.
        measurements: the scan of the text that the draft's ids point into.
        sections: sections of the text.
        source: radiology or pathology.
        provenance: how the draft was made.
        anatomy: table of organs; the built-in one by default.
    """
    table = anatomy or load_anatomy()
    by_id = {m.id: m for m in measurements}
    issues: list[Issue] = [Issue(code=code) for code in report.issues]
    candidates = []
    for number, lesion in enumerate(draft.lesions):
        candidate = _candidate(report.text, lesion, by_id, sections, issues, number)
        if candidate is not None:
            candidates.append(candidate)
    merged = candidates if draft.merged else merge_mentions(candidates)
    lesions = tuple(
        _lesion(report.text, c, f"L{n + 1}", sections, table, issues) for n, c in enumerate(merged)
    )
    issues += contradicted(report.text, draft.organs, lesions, sections)
    used = {i for lesion in lesions for i in lesion.measurement_ids} | {
        i for c in candidates for i in (*c.draft.measurement_ids, *c.draft.prior_measurement_ids)
    }
    unused = _unused(measurements, used, {u.measurement_id: u.reason for u in draft.unused})
    explained = {u.measurement_id for u in draft.unused}
    issues += [
        Issue(code="unused_measurement", span=Span(start=u.start, end=u.end))
        for u in unused
        if u.measurement_id not in explained and u.reason == "other"
    ]
    surgery = tuple(s for s in (_surgery(report.text, d, sections) for d in draft.surgery) if s is not None)
    return ReportRecord(
        report_id=report.report_id,
        case_id=report.case_id,
        patient_id=report.patient_id,
        study_date=report.study_date,
        source=source,
        text_sha256=hashlib.sha256(report.text.encode("utf-8", "surrogatepass")).hexdigest(),
        text_chars=len(report.text),
        sections=sections,
        status=_status(issues),
        issues=tuple(issues),
        lesions=lesions,
        organs=organ_statements(
            report.text, draft.organs, lesions, surgery, sections=sections, anatomy=table
        ),
        technique=_technique(report.text, draft.technique, sections),
        signs=tuple(
            s for s in (_sign(report.text, d, by_id, sections) for d in draft.signs) if s is not None
        ),
        surgery=surgery,
        unused_measurements=unused,
        provenance=provenance,
    )


def failed_record(report: Report, code: str, *, source: Source, provenance: Provenance) -> ReportRecord:
    """The record of a report that could not be read; it names why and holds nothing else."""
    codes = dict.fromkeys((*report.issues, code))
    return ReportRecord(
        report_id=report.report_id,
        case_id=report.case_id,
        patient_id=report.patient_id,
        study_date=report.study_date,
        source=source,
        text_sha256=hashlib.sha256(report.text.encode("utf-8", "surrogatepass")).hexdigest(),
        text_chars=len(report.text),
        status="failed",
        issues=tuple(Issue.model_validate({"code": c}) for c in codes),
        provenance=provenance,
    )


def _status(issues: Sequence[Issue]) -> Literal["ok", "ok_with_warnings", "needs_review"]:
    codes = {issue.code for issue in issues}
    if codes & REVIEW_CODES:
        return "needs_review"
    return "ok_with_warnings" if codes else "ok"


def _candidate(
    text: str,
    draft: LesionDraft,
    by_id: Mapping[str, Measurement],
    sections: tuple[Section, ...],
    issues: list[Issue],
    number: int,
) -> Candidate | None:
    sizes = [by_id[i] for i in draft.measurement_ids if i in by_id]
    priors = [by_id[i] for i in draft.prior_measurement_ids if i in by_id]
    near = draft.quote_start if draft.quote_start is not None else sizes[0].start if sizes else None
    found = locate(text, draft.quote, near=near)
    if found is None:
        issues.append(Issue(code="ungrounded_quote", field=f"lesions[{number}]"))
        return None
    start, end, match = found
    evidence = [evidence_at(text, sections, "lesion", (start, end), match=match)]
    evidence += [evidence_at(text, sections, "diameters_mm", (m.start, m.end)) for m in sizes]
    evidence += [evidence_at(text, sections, "prior_diameters_mm", (m.start, m.end)) for m in priors]
    seen = {(e.field, e.start, e.end) for e in evidence}
    for span in draft.spans:
        if 0 <= span.start < span.end <= len(text) and (span.field, span.start, span.end) not in seen:
            seen.add((span.field, span.start, span.end))
            evidence.append(evidence_at(text, sections, span.field, (span.start, span.end)))
    section = evidence[0].section
    if any(m.unit_source == "inferred" for m in sizes):
        issues.append(
            Issue(
                code="inferred_unit", field="diameters_mm", span=Span(start=sizes[0].start, end=sizes[0].end)
            )
        )
    return Candidate(
        draft=draft, sizes=sizes, priors=priors, section=section, order=number,
        evidence=evidence, mentions=[Span(start=start, end=end)],
    )  # fmt: skip


def _lesion(
    text: str,
    c: Candidate,
    lesion_id: str,
    sections: tuple[Section, ...],
    anatomy: Anatomy,
    issues: list[Issue],
) -> Lesion:
    draft = c.draft
    size = size_fields(c.sizes, group=draft.count != 1, index=draft.group_role in {"index", "member"})
    if draft.group_role == "remainder" and c.bound_mm is not None and not size["diameters_mm"]:
        size = {**size, "size_max_mm": c.bound_mm, "size_kind": "upper_bound"}
    limit = anatomy.organs[draft.organ].max_diameter_mm if draft.organ in anatomy.organs else None
    span = Span(start=c.evidence[0].start, end=c.evidence[0].end)
    if limit is not None and any(d > limit for d in size["diameters_mm"]):
        issues.append(Issue(code="implausible_size", field=f"{lesion_id}.diameters_mm", span=span))
    if draft.organ == "other":
        issues.append(Issue(code="unmapped_anatomy", field=f"{lesion_id}.organ", span=span))
    for conflict in c.conflict:
        code = "conflicting_laterality" if conflict == "laterality" else "conflicting_size"
        issues.append(Issue.model_validate({"code": code, "field": f"{lesion_id}.{conflict}", "span": span}))
    prior = tuple(v for m in c.priors[:1] for v in m.values_mm)
    known = anatomy.organs[draft.organ].parts if draft.organ in anatomy.organs else {}
    laterality = c.laterality or draft.laterality
    parts = tuple(p for p in draft.parts if p in known)
    if laterality in {"left", "right"}:  # the side may have been stated elsewhere than the part
        parts = tuple(p for p in parts if known[p].side in {None, laterality}) or parts
    return Lesion(
        lesion_id=lesion_id, organ=draft.organ, parts=parts,
        part_relation="within" if draft.part_relation == "one_of" and len(parts) == 1 else draft.part_relation,
        laterality=laterality,
        location_text=draft.location_text, kind=draft.kind, diagnosis=draft.diagnosis,
        diagnosis_text=draft.diagnosis_text, diagnosis_certainty=draft.diagnosis_certainty, **size,
        measurement_ids=tuple(dict.fromkeys(m.id for m in c.sizes)), count=draft.count, count_kind=draft.count_kind,
        group_id=draft.group, group_role=draft.group_role, reported_volume_mm3=draft.reported_volume_mm3,
        attenuation=draft.attenuation, enhancement=draft.enhancement, hounsfield=draft.hounsfield,
        presence=draft.presence, malignancy=draft.malignancy, malignancy_basis=draft.malignancy_basis,
        change=c.change(prior, size["diameters_mm"]), prior_diameters_mm=prior, series=draft.series, image=draft.image,
        score=draft.score, treated=draft.treated, evidence=tuple(c.evidence), mentions=tuple(c.mentions),
        conflict=tuple(c.conflict),
    )  # fmt: skip


def size_fields(sizes: Sequence[Measurement], *, group: bool, index: bool) -> dict[str, Any]:
    """Diameters and bounds of a lesion from its measurements.

    A range, "up to" or "at least" about a group, and a lower bound about one lesion, give bounds and no diameters;
    "up to 15 mm" about one lesion is its size.
    """
    empty: dict[str, Any] = {
        "diameters_mm": (),
        "size_min_mm": None,
        "size_max_mm": None,
        "size_kind": "none",
        "size_precision_mm": 0.0,
    }
    if not sizes:
        return empty
    first = sizes[0]
    values = tuple(v for m in sizes for v in m.values_mm)[:3]
    many = group and not index
    kind: SizeKind = first.qualifier
    if kind == "range":
        if many:
            return {**empty, "size_min_mm": min(values), "size_max_mm": max(values), "size_kind": "range"}
        return {
            **empty,
            "diameters_mm": (max(values),),
            "size_min_mm": min(values),
            "size_max_mm": max(values),
            "size_kind": "range",
            "size_precision_mm": first.precision_mm,
        }
    if kind == "upper_bound" and (many or first.worded or first.bound_is_strict):
        return {**empty, "size_max_mm": max(values), "size_kind": "upper_bound"}
    if kind == "lower_bound":
        return {**empty, "size_min_mm": max(values), "size_kind": "lower_bound"}
    if kind == "upper_bound":
        kind = "exact"
    return {
        **empty,
        "diameters_mm": values,
        "size_kind": kind,
        "size_precision_mm": max(m.precision_mm for m in sizes),
    }


def _unused(
    measurements: Sequence[Measurement], used: set[str], reasons: Mapping[str, UnusedReason]
) -> tuple[UnusedMeasurement, ...]:
    found = []
    for m in measurements:
        if m.id in used:
            continue
        reason = reasons.get(m.id, "prior" if m.tense == "prior" else "other")
        found.append(UnusedMeasurement(measurement_id=m.id, start=m.start, end=m.end, reason=reason))
    return tuple(found)


def _technique(text: str, draft: TechniqueDraft, sections: tuple[Section, ...]) -> Technique:
    evidence = tuple(
        evidence_at(text, sections, s.field, (s.start, s.end))
        for s in draft.spans
        if s.start < s.end <= len(text)
    )
    return Technique.model_validate(
        {
            "modality": draft.modality,
            "phase": draft.phase,
            "body_regions": draft.body_regions,
            "limited": draft.limited,
            "evidence": evidence,
        }
    )


def _sign(
    text: str, draft: SignDraft, by_id: Mapping[str, Measurement], sections: tuple[Section, ...]
) -> Sign | None:
    evidence = ground(text, sections, "sign", draft.quote, near=draft.quote_start)
    if evidence is None:
        return None
    sizes = [by_id[i] for i in draft.measurement_ids if i in by_id]
    quotes: tuple[Evidence, ...] = (
        evidence,
        *(evidence_at(text, sections, "value_mm", (m.start, m.end)) for m in sizes),
    )
    value = max(sizes[0].values_mm) if sizes else None
    return Sign(
        organ=draft.organ,
        sign=draft.sign,
        value_mm=value,
        measurement_ids=tuple(m.id for m in sizes),
        evidence=quotes,
    )


def _surgery(text: str, draft: SurgeryDraft, sections: tuple[Section, ...]) -> Surgery | None:
    evidence = ground(text, sections, "procedure", draft.quote, near=draft.quote_start)
    if evidence is None:
        return None
    return Surgery(
        organ=draft.organ, laterality=draft.laterality, procedure=draft.procedure,
        extent=cast("Literal['total', 'partial', 'unknown']", draft.extent), removed_parts=draft.removed_parts,
        evidence=(evidence,),
    )  # fmt: skip


__all__ = ["OrganDraft", "assemble", "failed_record", "size_fields"]
