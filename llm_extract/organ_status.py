"""Per organ: what the report says about focal lesions in it, for every organ of the table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from llm_extract.anatomy import Anatomy
from llm_extract.drafts import OrganDraft
from llm_extract.grounding import ground
from llm_extract.records import (
    Evidence,
    Lesion,
    OrganScope,
    OrganStatement,
    OrganStatus,
    Section,
    SideStatement,
    Surgery,
)

_SCOPES: tuple[OrganScope, ...] = (
    "any_focal_lesion",
    "suspicious_only",
    "metastasis_only",
    "recurrence_only",
)
_MAX_EVIDENCE = 6
_NOT_MENTIONED = OrganStatement()


def organ_statements(
    text: str,
    drafts: Sequence[OrganDraft],
    lesions: Sequence[Lesion],
    surgery: Sequence[Surgery],
    *,
    sections: tuple[Section, ...],
    anatomy: Anatomy,
) -> dict[str, OrganStatement]:
    """One statement for every organ of the table; a stated lesion outranks a denial, a denial a mention."""
    by_organ: dict[str, list[OrganDraft]] = {}
    for draft in drafts:
        by_organ.setdefault(draft.organ, []).append(draft)
    held: dict[str, list[Lesion]] = {}
    for lesion in lesions:
        held.setdefault(lesion.organ, []).append(lesion)
    removed: dict[str, list[Surgery]] = {}
    for operation in surgery:
        removed.setdefault(operation.organ, []).append(operation)
    names = dict.fromkeys((*anatomy.organs, *held))
    statements = {}
    for name in names:
        paired = name in anatomy.organs and anatomy.organs[name].paired
        own = (by_organ.get(name, []), held.get(name, []), removed.get(name, []))
        statements[name] = (
            _statement(text, *own, sections=sections, paired=paired) if any(own) else _NOT_MENTIONED
        )
    return statements


def _statement(
    text: str,
    drafts: Sequence[OrganDraft],
    lesions: Sequence[Lesion],
    surgery: Sequence[Surgery],
    *,
    sections: tuple[Section, ...],
    paired: bool,
) -> OrganStatement:
    sides: dict[Literal["left", "right"], SideStatement] = {}
    if paired:
        for side in ("left", "right"):
            sides[side] = _side(side, drafts, lesions, surgery)
        if all(s.status == "not_mentioned" for s in sides.values()):
            sides = {}
    whole = [d for d in drafts if d.laterality in {"unknown", "n/a", "bilateral"}]
    free = [d for d in whole if d.status == "explicitly_lesion_free"]
    status, scope, limited, quoted = _decide(drafts, whole, free, lesions, surgery, sides)
    evidence = _quotes(text, quoted, lesions if status == "lesion_present" else (), sections)
    if status == "not_mentioned" and not sides:
        return _NOT_MENTIONED
    return OrganStatement(status=status, sides=sides, scope=scope, limited=limited, evidence=evidence)


def _decide(
    drafts: Sequence[OrganDraft],
    whole: Sequence[OrganDraft],
    free: Sequence[OrganDraft],
    lesions: Sequence[Lesion],
    surgery: Sequence[Surgery],
    sides: dict[Literal["left", "right"], SideStatement],
) -> tuple[OrganStatus, OrganScope, bool, Sequence[OrganDraft]]:
    states = {s.status for s in sides.values()}
    if lesions:
        certain = any(lesion.presence != "possible" for lesion in lesions)
        return ("lesion_present" if certain else "indeterminate"), "any_focal_lesion", False, ()
    absent = [d for d in drafts if d.status == "surgically_absent"]
    total = [s for s in surgery if s.extent == "total"]
    if (absent or total) and not sides:
        return "surgically_absent", "any_focal_lesion", False, absent
    if sides and states == {"surgically_absent"}:
        return "surgically_absent", "any_focal_lesion", False, absent
    if free:
        widest = min(free, key=lambda d: (_SCOPES.index(d.scope), d.limited))
        return "explicitly_lesion_free", widest.scope, widest.limited, [widest]
    if sides and states <= {"explicitly_lesion_free", "surgically_absent"}:
        spoken = [d for d in drafts if d.status == "explicitly_lesion_free"]
        scope: OrganScope = max((d.scope for d in spoken), key=_SCOPES.index, default="any_focal_lesion")
        return "explicitly_lesion_free", scope, any(d.limited for d in spoken), spoken[:2]
    if any(d.status == "indeterminate" for d in whole):
        return "indeterminate", "any_focal_lesion", False, [d for d in whole if d.status == "indeterminate"]
    if drafts or surgery:
        return "no_statement_on_lesions", "any_focal_lesion", any(d.limited for d in drafts), list(drafts[:1])
    return "not_mentioned", "any_focal_lesion", False, ()


def _side(
    side: str, drafts: Sequence[OrganDraft], lesions: Sequence[Lesion], surgery: Sequence[Surgery]
) -> SideStatement:
    here = [lesion for lesion in lesions if lesion.laterality in {side, "bilateral"}]
    if here:
        certain = any(lesion.presence != "possible" for lesion in here)
        return SideStatement(status="lesion_present" if certain else "indeterminate")
    reach = {side, "bilateral"}
    operated = any(s.laterality in reach and s.extent == "total" for s in surgery)
    if operated or any(d.status == "surgically_absent" and d.laterality in reach for d in drafts):
        return SideStatement(status="surgically_absent")
    unsided = any(lesion.laterality not in {"left", "right"} for lesion in lesions)
    free = [
        d
        for d in drafts
        if d.laterality in {side, "unknown", "bilateral"} and d.status == "explicitly_lesion_free"
    ]
    sided_free = [d for d in free if d.laterality == side]
    chosen = sided_free if lesions else free
    if chosen and not unsided:
        scope = min((d.scope for d in chosen), key=_SCOPES.index)
        return SideStatement(status="explicitly_lesion_free", scope=scope)
    if drafts:
        return SideStatement(status="no_statement_on_lesions")
    return SideStatement()


def _quotes(
    text: str, drafts: Iterable[OrganDraft], lesions: Sequence[Lesion], sections: tuple[Section, ...]
) -> tuple[Evidence, ...]:
    found: dict[tuple[int, int], Evidence] = {}
    for draft in drafts:
        evidence = ground(text, sections, "status", draft.quote, near=draft.quote_start)
        if evidence is not None:
            found.setdefault((evidence.start, evidence.end), evidence)
    for lesion in lesions:
        first = lesion.evidence[0]
        found.setdefault((first.start, first.end), first.model_copy(update={"field": "status"}))
    return tuple(found.values())[:_MAX_EVIDENCE]
