"""A checked answer -> drafts -> the record: places to parts, marks to sizes, the rest from the rules."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from llm_extract.assembly import assemble
from llm_extract.chat.answers import CheckedAnswer, GroundedFree, GroundedLesion
from llm_extract.chat.preparation import (
    Prepared,
    sign_drafts,
    surgery_drafts,
    technique_draft,
    unused_drafts,
)
from llm_extract.drafts import DraftSpan, LesionDraft, OrganDraft, RecordDraft
from llm_extract.measurements import Measurement
from llm_extract.records import (
    Issue,
    IssueCode,
    Malignancy,
    OrganScope,
    OrganStatement,
    Provenance,
    ReportRecord,
)
from llm_extract.references import scan_references
from llm_extract.rules import attributes
from llm_extract.rules.lexicon import Mark
from llm_extract.rules.locations import Location, laterality_of, resolve
from llm_extract.sections import section_at

_SCOPES: tuple[OrganScope, ...] = (
    "any_focal_lesion",
    "suspicious_only",
    "metastasis_only",
    "recurrence_only",
)


def record_of(prepared: Prepared, checked: CheckedAnswer, provenance: Provenance) -> ReportRecord:
    """The record of a checked answer."""
    draft = RecordDraft(
        lesions=tuple(d for lesion in checked.lesions for d in _lesion_drafts(lesion, prepared)),
        organs=tuple(d for entry in checked.free for d in _organ_drafts(entry, prepared)),
        signs=sign_drafts(prepared.rules),
        surgery=surgery_drafts(prepared.rules),
        technique=technique_draft(prepared.rules),
        unused=unused_drafts(prepared.rules),
    )
    record = assemble(
        prepared.report, draft, measurements=prepared.measurements, sections=prepared.reading.sections,
        source=prepared.rules.source, provenance=provenance, anatomy=prepared.anatomy,
    )  # fmt: skip
    return record.model_copy(update={"organs": _with_mentions(record, prepared.rules)})


def with_issues(record: ReportRecord, issues: Sequence[Issue], *, review: bool) -> ReportRecord:
    """The record with more issues, and marked for review where they call for it."""
    if not issues:
        return record
    status = "needs_review" if review else "ok_with_warnings" if record.status == "ok" else record.status
    return record.model_copy(update={"issues": (*record.issues, *issues), "status": status})


def fallback_record(prepared: Prepared, provenance: Provenance, code: IssueCode) -> ReportRecord:
    """The rules' record in place of a model's unusable answer, marked for review."""
    rules = prepared.rules
    marked = with_issues(rules, [Issue(code=code)], review=True)
    own = {
        "model": provenance.model,
        "revision": provenance.revision,
        "prompt_sha256": provenance.prompt_sha256,
    }
    return marked.model_copy(update={"provenance": rules.provenance.model_copy(update=own)})


def _lesion_drafts(lesion: GroundedLesion, prepared: Prepared) -> Iterator[LesionDraft]:
    """One draft a section that states the lesion, the one with the quote first; assembly merges them."""
    text, answer = prepared.report.text, lesion.answer
    sections = prepared.reading.sections
    by_section: dict[str, list[Measurement]] = {}
    for m in lesion.sizes:
        by_section.setdefault(section_at(sections, m.start), []).append(m)
    home = section_at(sections, lesion.start)
    fields = _fields(lesion, prepared)
    yield LesionDraft(
        **fields, quote=text[lesion.start : lesion.end], quote_start=lesion.start,
        measurement_ids=_one_lesion(by_section.pop(home, []) or _only(by_section)),
        prior_measurement_ids=tuple(m.id for m in lesion.priors),
    )  # fmt: skip
    repeated = {**fields, "spans": (), "refers_back": True, "group": None, "group_role": "individual"}
    if answer.role == "index":
        repeated.update(count=1, count_kind="exact")
    for sizes in by_section.values():
        start, end = sizes[0].start, sizes[-1].end
        yield LesionDraft(
            **repeated, quote=text[start:end], quote_start=start, measurement_ids=_one_lesion(sizes)
        )


def _only(by_section: dict[str, list[Measurement]]) -> list[Measurement]:
    """The sizes of the first section, where the quote's own has none."""
    return by_section.pop(next(iter(by_section))) if by_section else []


def _one_lesion(sizes: Sequence[Measurement]) -> tuple[str, ...]:
    """Ids of one statement of a size: further axes belong to it, a repeated value does not."""
    kept: list[Measurement] = []
    for m in sizes:
        values = {v for k in kept for v in k.values_mm}
        repeated = all(any(abs(v - w) <= max(1.0, 0.05 * w) for w in values) for v in m.values_mm)
        full = len([v for k in kept for v in k.values_mm]) + len(m.values_mm) > 3
        if not kept or not (repeated or full):
            kept.append(m)
    return tuple(m.id for m in kept)


def _fields(lesion: GroundedLesion, prepared: Prepared) -> dict[str, Any]:
    answer, text = lesion.answer, prepared.report.text
    start = min([lesion.start, *(m.start for m in lesion.sizes if abs(m.start - lesion.start) < 200)])
    end = max([lesion.end, *(m.end for m in lesion.sizes if abs(m.start - lesion.end) < 200)])
    statements = prepared.statements_in(start, end)
    marks = [m for s in statements for m in s.marks if start <= m.start < end]
    references = [r for s in statements for r in s.references if start <= r.start < end + 24]
    place = _find(answer.place, text, lesion.start)
    name = _find(answer.name, text, lesion.start)
    where = _location(answer.organ, answer.side, text[slice(*place)] if place else "", prepared)
    spans = [
        DraftSpan(field=f, start=s[0], end=s[1]) for f, s in (("parts", place), ("diagnosis", name)) if s
    ]
    spans += [
        DraftSpan(field=m.category, start=m.start, end=m.end)
        for m in marks
        if m.category in {"attenuation", "change"} and m.value in {answer.density, answer.change}
    ]
    named = _finding(text[slice(*name)], prepared) if name else None
    malignancy, basis = _malignancy(
        answer.malignancy, named, [*marks, *(m for s in statements for m in s.marks)]
    )
    enhancement, _ = attributes.density(marks, "enhancement", anchor=lesion.start)
    series, image = attributes.image_of(references, anchor=lesion.start)
    count, count_kind = (None, "multiple_unknown") if answer.count == "multiple" else (answer.count, "exact")
    return {
        "organ": answer.organ, "parts": where.parts, "part_relation": where.relation,
        "laterality": laterality_of(answer.organ, answer.side or where.laterality),
        "location_text": text[slice(*place)] if place else None, "kind": answer.kind,
        "diagnosis": named.value.diagnosis if named else None,
        "diagnosis_text": text[slice(*name)] if name else None,
        "diagnosis_certainty": answer.presence if name else None, "count": count, "count_kind": count_kind,
        "group": answer.group, "group_role": answer.role or "individual", "attenuation": answer.density,
        "enhancement": enhancement, "hounsfield": attributes.hounsfield_of(references),
        "reported_volume_mm3": attributes.volume_of(references), "presence": answer.presence,
        "malignancy": malignancy, "malignancy_basis": basis, "change": answer.change, "series": series,
        "image": image, "score": attributes.scores_of(references),
        "treated": any(m.category == "treated" for m in marks), "spans": tuple(spans),
    }  # fmt: skip


def _find(words: str | None, text: str, near: int) -> tuple[int, int] | None:
    """Place of some quoted words nearest to their lesion; words that the text does not hold count for nothing."""
    from llm_extract.chat.prompting import unmark
    from llm_extract.grounding import locate

    found = locate(text, unmark(words), near=near) if words else None
    return (found[0], found[1]) if found else None


def _location(organ: str, side: str | None, words: str, prepared: Prepared) -> Location:
    """Parts of an organ from the words that say where; the model names the organ, the table the parts."""
    marks = prepared.lexicon.find(words).items if words else []
    usable = [m for m in marks if m.category in {"place", "short", "side"}]
    where = resolve(
        words,
        usable,
        scan_references(words),
        anatomy=prepared.anatomy,
        head=None,
        topic=(organ,),
        inherited=organ,
    )
    if where.organ == organ or organ not in prepared.anatomy.organs:
        return where if where.organ == organ else Location(organ)
    own = [m for m in usable if m.category != "place" or m.value.organ == organ]
    again = resolve(words, own, (), anatomy=prepared.anatomy, head=None, topic=(organ,), inherited=organ)
    return again if again.organ == organ else Location(organ, laterality=side)


def _finding(words: str, prepared: Prepared) -> Mark | None:
    """The most specific known finding among the words of a diagnosis."""
    found = [m for m in prepared.lexicon.find(words).items if m.category == "finding"]
    return max(found, key=lambda m: (m.value.diagnosis is not None, m.end - m.start), default=None)


def _malignancy(
    stated: Malignancy, named: Mark | None, marks: Sequence[Mark]
) -> tuple[Malignancy, str | None]:
    """The model's malignancy where a word of the text carries it; else it stays unknown."""
    if stated == "unknown":
        return "unknown", None
    if named is not None and named.value.malignancy == stated:
        return stated, "diagnosis"
    for mark in marks:
        if mark.category == stated:
            return stated, "stated"
        if mark.category == "finding" and mark.value.malignancy == stated:
            return stated, "diagnosis"
    return "unknown", None


def _organ_drafts(entry: GroundedFree, prepared: Prepared) -> Iterator[OrganDraft]:
    """Statements that organs are free; what the rules know of limits and scope makes them weaker, never stronger."""
    text, answer = prepared.report.text, entry.answer
    for organ in answer.organs:
        rules = prepared.rules.organs.get(organ, OrganStatement())
        paired = organ in prepared.anatomy.organs and prepared.anatomy.organs[organ].paired
        scope = answer.scope
        if rules.status == "explicitly_lesion_free":
            scope = max(scope, rules.scope, key=_SCOPES.index)
        yield OrganDraft(
            organ=organ, status="explicitly_lesion_free", scope=scope, limited=rules.limited,
            laterality=(answer.side or "unknown") if paired else "unknown",
            quote=text[entry.start : entry.end], quote_start=entry.start,
        )  # fmt: skip


def _with_mentions(record: ReportRecord, rules: ReportRecord) -> dict[str, OrganStatement]:
    """Organs on which the model says nothing: mentioned, absent or open as the rules have them, never free."""
    organs = dict(record.organs)
    for name, known in rules.organs.items():
        if organs.get(name, OrganStatement()).status != "not_mentioned" or known.status == "not_mentioned":
            continue
        if known.status in {"no_statement_on_lesions", "indeterminate", "surgically_absent"}:
            organs[name] = known
        else:
            organs[name] = OrganStatement(status="no_statement_on_lesions", evidence=known.evidence)
    return organs
