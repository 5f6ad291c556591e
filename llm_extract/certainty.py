"""How sure a record is of one of its lesions, from what the record itself says."""

from __future__ import annotations

from collections.abc import Mapping

from llm_extract.records import Issue, IssueCode, Lesion, Presence, ReportRecord, Status

PRESENCE: Mapping[Presence, float] = {"definite": 1.0, "probable": 0.7, "possible": 0.3}
STATUS: Mapping[Status, float] = {"ok": 1.0, "ok_with_warnings": 0.95, "needs_review": 0.5, "failed": 0.0}
NORMALISED = 0.9
CONFLICT = 0.6
VAGUE = 0.9
"""Factor of each of: a side or a number that is not stated, no size, a diagnosis that is hedged, one lesion in several
parts, an organ that no words of its own name."""
DEFAULTED = 0.7
"""Pathology: factor of an organ that no words of its own give: it is the one that the report is mostly about."""
UNNAMED = 0.8
"""Pathology: factor of a lesion without a diagnosis, which is what such a report is written for."""
CANDIDATES = 0.85
"""Pathology: factor of another lesion in the same organ, to which a size or a name may belong."""
OWN_ISSUE: Mapping[IssueCode, float] = {
    "ambiguous_laterality": 0.7,
    "conflicting_laterality": 0.6,
    "conflicting_presence": 0.6,
    "conflicting_size": 0.6,
    "extractors_disagree": 0.7,
    "implausible_size": 0.3,
    "inferred_unit": 0.8,
    "unmapped_anatomy": 0.6,
}
"""Factor of an issue that lies on the words of the lesion; one without a place counts for every lesion."""


def lesion_certainty(lesion: Lesion, record: ReportRecord) -> float:
    """Certainty of one lesion in [0, 1]: a product of what the record says about it; no gold answer is needed.

    Presence, status of the record, how the evidence was found, conflicts, vagueness, and issues on its own words;
    in pathology a missing size is no doubt, but an organ taken from the rest of the report, a missing name and other
    lesions of the organ are.
    It orders lesions, it is not a probability.

    Args:
        lesion: the lesion.
        record: the record that holds it.

    Returns:
        0 for a lesion without evidence, which never supervises.
    """
    if not lesion.evidence:
        return 0.0
    value = PRESENCE[lesion.presence] * STATUS[record.status]
    if all(quote.match != "exact" for quote in lesion.evidence):
        value *= NORMALISED
    if lesion.conflict:
        value *= CONFLICT
    pathology = record.source == "pathology"
    vague = (
        lesion.count is None,
        lesion.laterality == "unknown",
        not lesion.diameters_mm and not pathology,
        lesion.count == 1 and lesion.part_relation == "spanning",
        lesion.location_text is None and not pathology,
    )
    value *= VAGUE ** sum(vague)
    if pathology:
        value *= _pathology_factor(lesion, record)
    if lesion.diagnosis_certainty not in (None, "definite"):
        value *= VAGUE
    for issue in record.issues:
        factor = OWN_ISSUE.get(issue.code)
        if factor is not None and _concerns(issue, lesion):
            value *= factor
    return value


def _pathology_factor(lesion: Lesion, record: ReportRecord) -> float:
    """What makes a lesion of a pathology report doubtful, where a heading or another part says most of it."""
    value = DEFAULTED if lesion.location_text is None else 1.0
    if lesion.diagnosis is None:
        value *= UNNAMED
    if any(other.organ == lesion.organ and other.lesion_id != lesion.lesion_id for other in record.lesions):
        value *= CANDIDATES
    return value


def would_supervise(lesion: Lesion, record: ReportRecord) -> bool:
    """Whether a loss may learn from this lesion: current, focal, at least probable, grounded, of a usable record.

    A policy may use fewer (only tumours, for example), never more.
    """
    return (
        record.status != "failed"
        and bool(lesion.evidence)
        and lesion.presence != "possible"
        and lesion.change != "resolved"
        and lesion.kind not in ("wall_thickening", "other")
    )


def _concerns(issue: Issue, lesion: Lesion) -> bool:
    """By the lesion that it names, else by its place; an issue without either concerns every lesion."""
    named = (issue.field or "").partition(".")[0]
    if named == lesion.lesion_id:
        return True
    if issue.span is not None:
        return any(quote.start < issue.span.end and issue.span.start < quote.end for quote in lesion.evidence)
    return not named
