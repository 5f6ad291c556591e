"""Records + organ masks -> the targets of one case."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from llm_extract.anatomy import Anatomy, load_anatomy
from llm_extract.records import ReportRecord
from rsuper.supervision.inputs import (
    as_bool,
    check_margins,
    check_policy,
    check_records,
    check_words,
    checked_spacing,
    common_shape,
)
from rsuper.supervision.placing import CaseScene, PlacedItem, place_class
from rsuper.supervision.policy import SupervisionPolicy, load_policy
from rsuper.supervision.regions import Mask, Masks, Region, find_host
from rsuper.supervision.states import OrganEvidence, organ_evidence, side_names
from rsuper.supervision.types import CaseTargets, ClassTarget, LesionTarget


@dataclass(frozen=True, kw_only=True)
class _Case:
    """What all classes of one case share."""

    records: Sequence[ReportRecord]
    scene: CaseScene


def build_case_targets(
    records: Sequence[ReportRecord],
    organ_masks: Masks,
    *,
    case_id: str,
    spacing_mm: Sequence[float],
    lesion_classes: Sequence[str],
    voxel_labelled: frozenset[str],
    anatomy: Anatomy | None = None,
    margins_mm: Mapping[str, float] | None = None,
    policy: SupervisionPolicy | None = None,
) -> CaseTargets:
    """Turn what the reports of a case say into targets on the grid of its organ masks.

    Args:
        records: all records of the case, radiology and pathology.
        organ_masks: structure stem such as ``pancreas_head`` -> bool [D,H,W], all on one grid.
        case_id: the case.
        spacing_mm: voxel size in array order.
        lesion_classes: classes that the data set supervises, such as ``pancreas_lesion``.
        voxel_labelled: classes that a human drew in this case; their state is ``voxels``.
        anatomy: the table of organs; the built-in one by default.
        margins_mm: organ or class name -> margin of its region; the table's margins by default.
        policy: which lesions count; the preset ``tumours`` by default.

    Returns:
        One target a class. A class whose organ has no mask is ``unknown`` with weight 0 and a code.

    Raises:
        DataError: ``no_organ_masks``, ``mask_grid_mismatch``, ``mask_not_finite`` or ``bad_spacing``.
        UsageError: ``bad_margin``, or ``unknown_organ`` in the policy.
        TypeError: records or classes are no sequences of what they should be, or the policy is none.
    """
    check_records(records)
    check_words(lesion_classes, voxel_labelled)
    organ_masks = as_bool(organ_masks)
    spacing = checked_spacing(spacing_mm, case_id)
    shape = common_shape(organ_masks, case_id)
    table = anatomy or load_anatomy()
    rules = policy or load_policy()
    check_policy(rules, table)
    check_margins(margins_mm or {}, lesion_classes, table)
    scene = CaseScene.of(
        organ_masks, spacing_mm=spacing, anatomy=table, policy=rules, margins_mm=margins_mm or {}
    )
    case = _Case(records=records, scene=scene)
    classes = {
        name: ClassTarget(state="voxels", weight=1.0) if name in voxel_labelled else _class_target(case, name)
        for name in lesion_classes
    }
    return CaseTargets(case_id=case_id, classes=classes, spacing_mm=spacing, shape=shape)


def organ_of_class(lesion_class: str, anatomy: Anatomy) -> str | None:
    """The organ of a lesion class, also of a class of its own such as ``kidney_cyst``; None if there is none.

    >>> organ_of_class("adrenal_lesion", load_anatomy())
    'adrenal_gland'
    """
    for organ in anatomy.organs.values():
        if organ.lesion_class == lesion_class:
            return organ.name
    fitting = [organ for organ in anatomy.organs.values() if lesion_class.startswith(f"{organ.class_name}_")]
    return max(fitting, key=lambda organ: len(organ.class_name)).name if fitting else None


def _class_target(case: _Case, lesion_class: str) -> ClassTarget:
    scene = case.scene
    organ = organ_of_class(lesion_class, scene.anatomy)
    if organ is None:
        return ClassTarget(state="unknown", weight=0.0, codes=("class_without_organ",))
    evidence = organ_evidence(
        case.records, organ, lesion_class=lesion_class, anatomy=scene.anatomy, policy=scene.policy
    )
    if evidence.state == "absent":
        return ClassTarget(state="absent", volume_mm3=(0.0, 0.0), weight=1.0, codes=evidence.codes)
    if evidence.state == "reported":
        return _reported(scene, organ, lesion_class, evidence)
    return _unknown(scene, organ, evidence, margin_mm=scene.margin_mm(organ, lesion_class))


def _unknown(scene: CaseScene, organ: str, evidence: OrganEvidence, *, margin_mm: float) -> ClassTarget:
    """Organ + margin unknown on every side that is not stated free; everywhere if no mask tells where."""
    region, codes = _sides_region(scene, organ, evidence.free_sides, margin_mm=margin_mm)
    return ClassTarget(
        state="unknown",
        region=region,
        weight=0.0,
        margin_mm=margin_mm,
        codes=tuple(dict.fromkeys((*evidence.codes, *codes))),
    )


def _sides_region(
    scene: CaseScene, organ: str, skipped: frozenset[str], *, margin_mm: float
) -> tuple[Mask | None, tuple[str, ...]]:
    """Union of the sides' regions but for the skipped ones; None where a mask that is needed is missing."""
    sides = [side for side in side_names(organ, scene.anatomy) if side not in skipped]
    hosts = [find_host(scene.masks, scene.anatomy, organ=organ, laterality=side) for side in sides]
    codes = tuple(code for host in hosts for code in host.codes)
    usable = [host for host in hosts if host.structures]
    empty_only = all("organ_mask_empty" in host.codes for host in hosts if not host.structures)
    if not usable or not empty_only or any(host.structures and not host.complete for host in hosts):
        return None, codes
    regions = [scene.builder.region(host, margin_mm=margin_mm).region for host in usable]
    return np.logical_or.reduce(regions), codes


def _reported(scene: CaseScene, organ: str, lesion_class: str, evidence: OrganEvidence) -> ClassTarget:
    found = place_class(scene, organ, lesion_class, evidence)
    codes = [*evidence.codes, *found.host_codes]
    if found.region is None:
        return ClassTarget(
            state="unknown", weight=0.0, margin_mm=found.margin_mm, codes=tuple(dict.fromkeys(codes))
        )
    codes += [code for one in found.items for code in one.codes]
    codes += [finding.code for finding in found.findings]
    weights = [one.weight for one in found.items if one.item.certain]
    ignore, more = _ignored(scene, organ, evidence, margin_mm=found.margin_mm)
    ignore = _with_open(ignore, [one.region for one in found.items if one.region is not None], found.region)
    return ClassTarget(
        state="reported",
        region=found.region,
        lesions=_lesion_targets(found.items),
        volume_mm3=found.volume_mm3,
        median_mm3=found.median_mm3,
        sigma_log=found.sigma_log,
        weight=float(np.mean(weights)) if any(w > 0 for w in weights) else 0.0,
        margin_mm=found.margin_mm,
        codes=tuple(dict.fromkeys((*codes, *more))),
        ignore=ignore,
    )


def _lesion_targets(items: Sequence[PlacedItem]) -> tuple[LesionTarget, ...]:
    """Targets with their own regions, searched ones first, from the largest to the smallest."""
    placed = [(target, region, one.item.malignant) for one in items for target, region in _with_regions(one)]
    shared = len({id(region) for _, region, _ in placed}) == 1
    targets = [
        replace(
            target,
            region=None if shared else torch.from_numpy(region.region),
            centers=None if target.remainder else torch.from_numpy(region.centers),
            malignant=malignant,
        )
        for target, region, malignant in placed
    ]
    return tuple(sorted(targets, key=lambda t: (t.remainder, -t.volume_mm3[0])))


def _with_regions(one: PlacedItem) -> Iterator[tuple[LesionTarget, Region]]:
    """The targets of an entry: the first searched ones on the sides that each have one, the others anywhere."""
    if one.region is None:
        return
    sides = iter(one.sides)
    for target in one.share.targets:
        yield target, one.region if target.remainder else next(sides, one.region)


def _ignored(
    scene: CaseScene, organ: str, evidence: OrganEvidence, *, margin_mm: float
) -> tuple[Mask | None, tuple[str, ...]]:
    """Voxels that stay unknown besides the region: lesions that do not count, and sides nobody mentioned.

    Where such a place has no mask, all voxels stay unknown: a wrong negative is worse than an unknown.
    """
    hosts = [scene.host(lesion) for lesion in evidence.ignored]
    hosts += [
        find_host(scene.masks, scene.anatomy, organ=organ, laterality=side)
        for side in sorted(evidence.unmentioned_sides)
    ]
    if not hosts:
        return None, ()
    shape = next(iter(scene.masks.values())).shape
    ignore = np.zeros(shape, dtype=bool)
    for host in hosts:
        if host.structures and host.complete:
            ignore |= scene.builder.region(host, margin_mm=margin_mm).region
        elif "organ_mask_empty" not in host.codes:
            return np.ones(shape, dtype=bool), ("ignored_place_without_mask",)
    return ignore, ()


def _with_open(ignore: Mask | None, regions: Sequence[Region], union: Mask) -> Mask | None:
    """What stays unknown, with the room around the hosts that lesions left out of their masks could take."""
    rooms = [region.open for region in regions if region.open is not None]
    if not rooms:
        return ignore
    masks = rooms if ignore is None else [*rooms, ignore]
    return np.asarray(np.logical_or.reduce(masks) & ~union)
