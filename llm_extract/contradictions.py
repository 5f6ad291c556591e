"""Lesions that one section of a report states and another denies: "No hepatic mass." and "IMPRESSION: liver mass"."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from llm_extract.drafts import OrganDraft
from llm_extract.lower_case import lowered
from llm_extract.records import Issue, Lesion, Section, Span
from llm_extract.sections import section_at

_SUMMARY = "impression"
_BODY = frozenset({"findings", "preamble"})
_SPREAD = frozenset({"lymph_node", "bone", "soft_tissue", "peritoneum", "vessel", "other"})
"""Organs that are many places: one free place says little of the next."""
_SOLID = frozenset({"mass", "tumor", "metastasis"})
_ANY_FOCAL = re.compile(
    r"\b(?:lesions?|nodul\w*|focal|foc(?:us|i)|cysts?|normal|unremarkable|natural|clear|abnormal\w*)\b"
)
"""Words of a denial that leave room for no lesion at all; "no mass" leaves room for a nodule."""


def contradicted(
    text: str, drafts: Sequence[OrganDraft], lesions: Sequence[Lesion], sections: tuple[Section, ...]
) -> Iterator[Issue]:
    """One issue a lesion that only the findings or only the impression states, and the other one denies.

    Args:
        text: the report.
        drafts: what it says of its organs.
        lesions: what it says of its lesions.
        sections: its sections.
    """
    free = [
        d for d in drafts
        if d.status == "explicitly_lesion_free" and not d.limited and d.quote_start is not None
        and d.organ not in _SPREAD
    ]  # fmt: skip
    if not free:
        return
    held = {
        (lesion.organ, section_at(sections, span.start)) for lesion in lesions for span in lesion.mentions
    }
    for lesion in lesions:
        if lesion.presence == "possible" or lesion.malignancy == "benign" or lesion.kind in {"cyst", "polyp"}:
            continue
        for denial in free:
            where = section_at(sections, denial.quote_start or 0)
            if denial.organ != lesion.organ or (lesion.organ, where) in held:
                continue  # beside lesions of the same section, "no mass" means no other one
            if _is_elsewhere(where, lesion, sections) and _speaks_of(denial, lesion):
                first = lesion.evidence[0]
                yield Issue(
                    code="conflicting_presence",
                    field=f"{lesion.lesion_id}.presence",
                    span=Span(start=first.start, end=first.end),
                )
                break


def _is_elsewhere(where: str, lesion: Lesion, sections: tuple[Section, ...]) -> bool:
    """True for a denial in the findings of a lesion that only the impression states, and the other way round."""
    stated = {section_at(sections, span.start) for span in lesion.mentions}
    return (where in _BODY and stated == {_SUMMARY}) or (where == _SUMMARY and stated <= _BODY)


def _speaks_of(denial: OrganDraft, lesion: Lesion) -> bool:
    """True if the side and the kind of a lesion are among what is denied."""
    if denial.laterality not in {"unknown", "n/a", "bilateral", lesion.laterality}:
        return False
    if denial.scope == "metastasis_only":
        return lesion.kind == "metastasis"
    if denial.scope != "any_focal_lesion":
        return denial.scope == "suspicious_only" and lesion.malignancy == "malignant"
    return lesion.kind in _SOLID or _ANY_FOCAL.search(lowered(denial.quote)) is not None
