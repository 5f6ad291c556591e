"""Records + organ masks -> the targets of one case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from llm_extract.anatomy import Anatomy, load_anatomy
from llm_extract.records import Lesion, ReportRecord
from rsuper.morphology import Spacing
from rsuper.supervision.consistency import believed_longest_mm, is_exophytic, lesion_findings
from rsuper.supervision.groups import GroupShare, bound_remainder, group_share, pair_volume, without_claim
from rsuper.supervision.inputs import check_margins, check_policy, check_words, checked_spacing, common_shape
from rsuper.supervision.policy import SupervisionPolicy, load_policy
from rsuper.supervision.regions import Host, Mask, Masks, Region, RegionBuilder, as_bool, find_host
from rsuper.supervision.states import CountedLesion, OrganEvidence, organ_evidence, side_names
from rsuper.supervision.types import CaseTargets, ClassTarget, LesionTarget

FILLED_SHARE = 1.0
"""Gaps of an organ's masks smaller than this share of the lesion's least volume are not mentioned."""


@dataclass(frozen=True, kw_only=True)
class _Case:
    """What all classes of one case share."""

    records: Sequence[ReportRecord]
    masks: Masks
    case_id: str
    spacing_mm: Spacing
    anatomy: Anatomy
    policy: SupervisionPolicy
    margins_mm: Mapping[str, float]
    builder: RegionBuilder

    def margin_mm(self, organ: str, lesion_class: str) -> float:
        entry = self.anatomy.organs[organ]
        for name in (lesion_class, organ, entry.class_name):
            if name in self.margins_mm:
                return float(self.margins_mm[name])
        return entry.margin_mm


@dataclass(frozen=True, kw_only=True)
class _Placed:
    """One counted lesion with its region and its share of the pair."""

    item: CountedLesion
    region: Region
    share: GroupShare
    weight: float
    codes: tuple[str, ...]


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
    check_words(records, lesion_classes)
    organ_masks = as_bool(organ_masks)
    spacing = checked_spacing(spacing_mm, case_id)
    shape = common_shape(organ_masks, case_id)
    table = anatomy or load_anatomy()
    rules = policy or load_policy()
    check_margins(margins_mm or {}, lesion_classes, table)
    check_policy(rules, table)
    case = _Case(
        records=records,
        masks=organ_masks,
        case_id=case_id,
        spacing_mm=spacing,
        anatomy=table,
        policy=rules,
        margins_mm=margins_mm or {},
        builder=RegionBuilder(organ_masks, table, spacing_mm=spacing, rules=rules.region_rules),
    )
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
    organ = organ_of_class(lesion_class, case.anatomy)
    if organ is None:
        return ClassTarget(state="unknown", weight=0.0, codes=("class_without_organ",))
    evidence = organ_evidence(
        case.records, organ, lesion_class=lesion_class, anatomy=case.anatomy, policy=case.policy
    )
    if evidence.state == "absent":
        return ClassTarget(state="absent", volume_mm3=(0.0, 0.0), weight=1.0, codes=evidence.codes)
    margin_mm = case.margin_mm(organ, lesion_class)
    if evidence.state == "reported":
        return _reported(case, organ, evidence, margin_mm=margin_mm)
    return _unknown(case, organ, evidence, margin_mm=margin_mm)


def _unknown(case: _Case, organ: str, evidence: OrganEvidence, *, margin_mm: float) -> ClassTarget:
    """Organ + margin unknown on every side that is not stated free; everywhere if no mask tells where."""
    region, codes = _sides_region(case, organ, evidence.free_sides, margin_mm=margin_mm)
    return ClassTarget(
        state="unknown",
        region=region,
        weight=0.0,
        margin_mm=margin_mm,
        codes=tuple(dict.fromkeys((*evidence.codes, *codes))),
    )


def _sides_region(
    case: _Case, organ: str, skipped: frozenset[str], *, margin_mm: float
) -> tuple[Mask | None, tuple[str, ...]]:
    """Union of the sides' regions but for the skipped ones; None where a mask that is needed is missing."""
    sides = [side for side in side_names(organ, case.anatomy) if side not in skipped]
    hosts = [find_host(case.masks, case.anatomy, organ=organ, laterality=side) for side in sides]
    codes = tuple(code for host in hosts for code in host.codes)
    usable = [host for host in hosts if host.structures]
    empty_only = all("organ_mask_empty" in host.codes for host in hosts if not host.structures)
    if not usable or not empty_only or any(host.structures and not host.complete for host in hosts):
        return None, codes
    regions = [case.builder.region(host, margin_mm=margin_mm).region for host in usable]
    return np.logical_or.reduce(regions), codes


def _reported(case: _Case, organ: str, evidence: OrganEvidence, *, margin_mm: float) -> ClassTarget:
    items = evidence.counted
    if any(is_exophytic(item.lesion) for item in items):
        margin_mm *= case.policy.exophytic_factor
    hosts = [_host(case, item.lesion) for item in items]
    codes = [*evidence.codes, *(code for host in hosts for code in host.codes)]
    if any(not host.structures or not host.complete for host in hosts):
        return ClassTarget(
            state="unknown", weight=0.0, margin_mm=margin_mm, codes=tuple(dict.fromkeys(codes))
        )
    regions = _regions(case, items, hosts, margin_mm=margin_mm)
    placed = [_place(case, item, host, items, regions[host]) for item, host in zip(items, hosts, strict=True)]
    codes += [code for one in placed for code in one.codes]
    union = np.logical_or.reduce([one.region.region for one in placed])
    volume_mm3, median_mm3, sigma_log = pair_volume([one.share for one in placed])
    if volume_mm3[0] > float(union.sum()) * float(np.prod(case.spacing_mm)):
        codes.append("volume_above_region")
        placed = [replace(one, weight=0.0) for one in placed]
    weights = [one.weight for one in placed if one.item.certain]
    ignore, more = _ignored(case, organ, evidence, margin_mm=margin_mm)
    ignore = _with_open(ignore, [one.region for one in placed], union)
    return ClassTarget(
        state="reported",
        region=union,
        lesions=_lesion_targets(placed),
        volume_mm3=volume_mm3,
        median_mm3=median_mm3,
        sigma_log=sigma_log,
        weight=float(np.mean(weights)) if any(w > 0 for w in weights) else 0.0,
        margin_mm=margin_mm,
        codes=tuple(dict.fromkeys((*codes, *more))),
        ignore=ignore,
    )


def _host(case: _Case, lesion: Lesion) -> Host:
    return find_host(
        case.masks, case.anatomy, organ=lesion.organ, parts=lesion.parts, laterality=lesion.laterality
    )


def _regions(
    case: _Case, items: Sequence[CountedLesion], hosts: Sequence[Host], *, margin_mm: float
) -> dict[Host, Region]:
    """One region a host, with room for the longest lesion there that its masks may leave out."""
    longest_mm: dict[Host, float] = {}
    for item, host in zip(items, hosts, strict=True):
        own = believed_longest_mm(item.lesion, case.builder)
        longest_mm[host] = max(longest_mm.get(host, 0.0), own)
    return {
        host: case.builder.region(host, margin_mm=margin_mm, longest_mm=longest)
        for host, longest in longest_mm.items()
    }


def _place(
    case: _Case, item: CountedLesion, host: Host, items: Sequence[CountedLesion], region: Region
) -> _Placed:
    group = [
        other.lesion
        for other in items
        if item.lesion.group_id is not None
        and other.lesion.group_id == item.lesion.group_id
        and other.record.report_id == item.record.report_id
    ]
    lesion = bound_remainder(item.lesion, group)
    findings = lesion_findings(lesion, item.record.report_id, host=host, region=region, builder=case.builder)
    weight = item.weight
    if any(finding.excludes for finding in findings):
        weight *= case.policy.inconsistent_weight
    share = group_share(
        lesion,
        region_mm3=region.volume_mm3,
        weight=weight,
        certain=item.certain,
        max_searched=case.policy.max_searched,
        voxel_mm3=float(np.prod(case.spacing_mm)),
    )
    if weight == 0.0:
        share = GroupShare(
            targets=tuple(without_claim(target) for target in share.targets[:1]),
            volume_mm3=(0.0, float("inf")),
        )
    return _Placed(
        item=item,
        region=region,
        share=share,
        weight=weight,
        codes=(*(finding.code for finding in findings), *_filled_code(region, share)),
    )


def _filled_code(region: Region, share: GroupShare) -> tuple[str, ...]:
    """Says that gaps of the host's masks were filled, where they could hold a part of the lesion worth a word."""
    return ("host_filled",) if region.filled_mm3 >= max(FILLED_SHARE * share.volume_mm3[0], 1.0) else ()


def _lesion_targets(placed: Sequence[_Placed]) -> tuple[LesionTarget, ...]:
    """Targets with their own regions, searched ones first, from the largest to the smallest."""
    shared = len({id(one.region) for one in placed}) == 1
    targets: list[LesionTarget] = []
    for one in placed:
        region = None if shared else torch.from_numpy(one.region.region)
        centers = torch.from_numpy(one.region.centers)
        for target in one.share.targets:
            targets.append(  # noqa: PERF401 - two levels read better as a loop
                replace(
                    target,
                    region=region,
                    centers=None if target.remainder else centers,
                    malignant=one.item.malignant,
                )
            )
    return tuple(sorted(targets, key=lambda t: (t.remainder, -t.volume_mm3[0])))


def _ignored(
    case: _Case, organ: str, evidence: OrganEvidence, *, margin_mm: float
) -> tuple[Mask | None, tuple[str, ...]]:
    """Voxels that stay unknown besides the region: lesions that do not count, and sides nobody mentioned.

    Where such a place has no mask, all voxels stay unknown: a wrong negative is worse than an unknown.
    """
    hosts = [_host(case, lesion) for lesion in evidence.ignored]
    hosts += [
        find_host(case.masks, case.anatomy, organ=organ, laterality=side)
        for side in sorted(evidence.unmentioned_sides)
    ]
    if not hosts:
        return None, ()
    shape = next(iter(case.masks.values())).shape
    ignore = np.zeros(shape, dtype=bool)
    for host in hosts:
        if host.structures and host.complete:
            ignore |= case.builder.region(host, margin_mm=margin_mm).region
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
