"""Drawn masks against reports: a mask without a voxel beside a stated lesion, or a drawn lesion that is denied."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from llm_extract.anatomy import Anatomy, load_anatomy
from llm_extract.records import ReportRecord
from rsuper.supervision.inputs import check_policy, check_records
from rsuper.supervision.policy import SupervisionPolicy, load_policy
from rsuper.supervision.regions import Masks
from rsuper.supervision.targets import organ_of_class
from rsuper.supervision.types import CaseTargets

MaskCode = Literal["mask_denies_report", "report_denies_mask"]


def mask_contradiction(
    record: ReportRecord, lesion_class: str, *, drawn: bool, anatomy: Anatomy, policy: SupervisionPolicy
) -> MaskCode | None:
    """How a report and a human mask of one lesion class contradict each other; None if they do not.

    Args:
        record: what the report says.
        lesion_class: the class that was drawn.
        drawn: True if its mask has a voxel.
        anatomy: the table of organs.
        policy: which reported lesions count as the class; only definite ones contradict an empty mask.

    Returns:
        ``mask_denies_report``: a lesion is stated and none is drawn; ``report_denies_mask``: one is drawn in an organ
        that is stated free of any focal lesion.
    """
    organ = organ_of_class(lesion_class, anatomy)
    if organ is None:
        return None
    stated = any(
        lesion.presence == "definite" and policy.lesion_class(lesion, anatomy) == lesion_class
        for lesion in record.lesions
    )
    if stated and not drawn:
        return "mask_denies_report"
    statement = record.organs.get(organ)
    free = (
        statement is not None
        and statement.status == "explicitly_lesion_free"
        and statement.scope == "any_focal_lesion"
        and not statement.limited
    )
    return "report_denies_mask" if free and drawn else None


def mask_codes(
    records: Sequence[ReportRecord],
    drawn: Mapping[str, bool],
    *,
    anatomy: Anatomy | None = None,
    policy: SupervisionPolicy | None = None,
) -> dict[str, tuple[MaskCode, ...]]:
    """The contradictions between all records of a case and its human masks, for the classes that have any.

    Args:
        records: all records of the case.
        drawn: lesion class -> True if its human mask has a voxel.
        anatomy: the table of organs; the built-in one by default.
        policy: which reported lesions count; the preset ``tumours`` by default.
    """
    check_records(records)
    table, rules = anatomy or load_anatomy(), policy or load_policy()
    check_policy(rules, table)
    found: dict[str, tuple[MaskCode, ...]] = {}
    for name, has_voxels in drawn.items():
        codes = [
            code
            for record in records
            if (code := mask_contradiction(record, name, drawn=has_voxels, anatomy=table, policy=rules))
        ]
        if codes:
            found[name] = tuple(dict.fromkeys(codes))
    return found


def with_mask_codes(
    targets: CaseTargets,
    records: Sequence[ReportRecord],
    masks: Masks,
    *,
    anatomy: Anatomy | None = None,
    policy: SupervisionPolicy | None = None,
) -> CaseTargets:
    """The same targets, with a code on every drawn class that the reports contradict; the mask still wins.

    Args:
        targets: from :func:`rsuper.supervision.build_case_targets`.
        records: all records of the case.
        masks: structure or class -> bool [D,H,W]; those of the classes whose state is ``voxels`` are looked at.
        anatomy: the table of organs; the built-in one by default.
        policy: which reported lesions count; the preset ``tumours`` by default.
    """
    drawn = {
        name: bool(np.any(masks[name]))
        for name, target in targets.classes.items()
        if target.state == "voxels" and name in masks
    }
    found = mask_codes(records, drawn, anatomy=anatomy, policy=policy)
    if not found:
        return targets
    classes = {
        name: replace(target, codes=tuple(dict.fromkeys((*target.codes, *found.get(name, ())))))
        for name, target in targets.classes.items()
    }
    return replace(targets, classes=classes)
