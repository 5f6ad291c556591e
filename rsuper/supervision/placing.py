"""The lesions of a class in their places: hosts, regions, shares of the volume, and what does not fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from llm_extract.anatomy import Anatomy
from llm_extract.records import Lesion
from rsuper.morphology import Spacing, voxel_volume_mm3
from rsuper.supervision.findings import (
    ConsistencyFinding,
    believed_longest_mm,
    is_exophytic,
    lesion_findings,
)
from rsuper.supervision.groups import (
    GroupShare,
    bound_remainder,
    group_share,
    pair_volume,
    sides_of_members,
    without_claim,
)
from rsuper.supervision.policy import SupervisionPolicy
from rsuper.supervision.regions import Host, Mask, Masks, Region, RegionBuilder, find_host
from rsuper.supervision.states import CountedLesion, OrganEvidence

FILLED_SHARE = 1.0
"""Gaps of an organ's masks smaller than this share of the lesion's least volume are not mentioned."""


@dataclass(frozen=True, kw_only=True)
class CaseScene:
    """Where the lesions of one case are placed: its masks, and the rules by which regions are made of them.

    Args:
        masks: structure stem -> bool [D,H,W], all on one grid.
        spacing_mm: voxel size in array order.
        anatomy: the table of organs.
        policy: which lesions count, and how regions are made.
        margins_mm: organ or class name -> margin of its region; the table's where it is not named.
        builder: makes the regions.
    """

    masks: Masks
    spacing_mm: Spacing
    anatomy: Anatomy
    policy: SupervisionPolicy
    margins_mm: Mapping[str, float]
    builder: RegionBuilder

    @classmethod
    def of(
        cls,
        masks: Masks,
        *,
        spacing_mm: Spacing,
        anatomy: Anatomy,
        policy: SupervisionPolicy,
        margins_mm: Mapping[str, float],
    ) -> CaseScene:
        """The scene of bool masks."""
        builder = RegionBuilder(masks, anatomy, spacing_mm=spacing_mm, rules=policy.region_rules)
        return cls(
            masks=masks,
            spacing_mm=spacing_mm,
            anatomy=anatomy,
            policy=policy,
            margins_mm=margins_mm,
            builder=builder,
        )

    def margin_mm(self, organ: str, lesion_class: str) -> float:
        """How far a lesion of the class may stick out of its host."""
        entry = self.anatomy.organs[organ]
        for name in (lesion_class, organ, entry.class_name):
            if name in self.margins_mm:
                return float(self.margins_mm[name])
        return entry.margin_mm

    def host(self, lesion: Lesion, *, side: str | None = None) -> Host:
        """The files that host a lesion, on the stated side or on ``side``."""
        return find_host(
            self.masks,
            self.anatomy,
            organ=lesion.organ,
            parts=lesion.parts,
            laterality=side or lesion.laterality,
        )


@dataclass(frozen=True, kw_only=True)
class PlacedItem:
    """One counted record entry in its place.

    Args:
        item: the entry.
        region: where its lesions may lie; None if a mask that is needed is missing.
        sides: regions of its first lesions, where the report says that each of these sides has one.
        share: what it adds to the pair.
        weight: its certainty, 0 for what does not fit and stays out of the loss.
        findings: what does not fit.
        codes: those and what else a reader should know, such as ``host_filled``.
    """

    item: CountedLesion
    region: Region | None
    sides: tuple[Region, ...] = ()
    share: GroupShare
    weight: float
    findings: tuple[ConsistencyFinding, ...] = ()
    codes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class PlacedClass:
    """All counted entries of one class in their places.

    Args:
        items: one an entry.
        margin_mm: the Euclidean margin of all of them.
        region: bool [D,H,W], union of their regions; None if an entry has none.
        volume_mm3, median_mm3, sigma_log: of all lesions together, see :func:`rsuper.supervision.groups.pair_volume`.
        host_codes: what had to be worked around in the masks.
        findings: what does not fit, entry by entry, and all of them together.
    """

    items: tuple[PlacedItem, ...]
    margin_mm: float
    region: Mask | None
    volume_mm3: tuple[float, float]
    median_mm3: float | None
    sigma_log: float | None
    host_codes: tuple[str, ...]
    findings: tuple[ConsistencyFinding, ...]


@dataclass(frozen=True, kw_only=True)
class _Seat:
    """The hosts of one entry: all of it, and side by side where both have a lesion."""

    host: Host
    sides: tuple[Host, ...] = ()
    codes: tuple[str, ...] = ()

    @cached_property
    def usable(self) -> bool:
        return all(host.structures and host.complete for host in (self.host, *self.sides))


def place_class(scene: CaseScene, organ: str, lesion_class: str, evidence: OrganEvidence) -> PlacedClass:
    """Find the regions of all counted lesions of a class, and compare each with its own.

    Args:
        scene: the masks of the case and the rules.
        organ: organ of the class.
        lesion_class: the class.
        evidence: what the records say of it.
    """
    items = evidence.counted
    margin_mm = scene.margin_mm(organ, lesion_class)
    if any(is_exophytic(item.lesion) for item in items):
        margin_mm *= scene.policy.exophytic_factor
    seats = [_seat(scene, item, items) for item in items]
    regions = _regions(scene, items, seats, margin_mm=margin_mm)
    placed = tuple(_place(scene, item, seat, items, regions) for item, seat in zip(items, seats, strict=True))
    volume_mm3, median_mm3, sigma_log = pair_volume([one.share for one in placed])
    region = _union(placed)
    findings = [finding for one in placed for finding in one.findings]
    if region is not None and placed:
        room_mm3 = float(region.sum()) * voxel_volume_mm3(scene.spacing_mm)
        if volume_mm3[0] > room_mm3:
            findings.append(_too_much(placed, organ, volume_mm3[0], room_mm3))
            placed = tuple(replace(one, weight=0.0) for one in placed)
    return PlacedClass(
        items=placed,
        margin_mm=margin_mm,
        region=region,
        volume_mm3=volume_mm3,
        median_mm3=median_mm3,
        sigma_log=sigma_log,
        host_codes=tuple(code for seat in seats for code in seat.codes),
        findings=tuple(findings),
    )


def group_of(item: CountedLesion, items: Sequence[CountedLesion]) -> list[Lesion]:
    """The entries of the same group of the same report."""
    return [
        other.lesion
        for other in items
        if item.lesion.group_id is not None
        and other.lesion.group_id == item.lesion.group_id
        and other.record.report_id == item.record.report_id
    ]


def hosts_of_members(scene: CaseScene, lesion: Lesion, group: Sequence[Lesion]) -> tuple[Host, ...]:
    """Hosts of the first lesions of an entry, where each side has one; none where the masks do not tell sides apart."""
    hosts = tuple(scene.host(lesion, side=side) for side in sides_of_members(lesion, group))
    whole = scene.host(lesion)
    return () if any(host.structures == whole.structures for host in hosts) else hosts


def _seat(scene: CaseScene, item: CountedLesion, items: Sequence[CountedLesion]) -> _Seat:
    host = scene.host(item.lesion)
    group = group_of(item, items)
    sides = hosts_of_members(scene, item.lesion, group) if item.certain else ()
    codes = list(host.codes)
    paired = scene.anatomy.organs[item.lesion.organ].paired
    if paired and item.certain and sides_of_members(item.lesion, group) and not sides and host.complete:
        codes.append("side_mask_missing")
    for side in sides:
        codes += side.codes
        if not side.structures and host.structures:
            codes.append("side_without_organ")
    return _Seat(host=host, sides=sides, codes=tuple(dict.fromkeys(codes)))


def _regions(
    scene: CaseScene, items: Sequence[CountedLesion], seats: Sequence[_Seat], *, margin_mm: float
) -> dict[Host, Region]:
    """One region a host, with room for the longest lesion there that its masks may leave out."""
    longest_mm: dict[Host, float] = {}
    for item, seat in zip(items, seats, strict=True):
        own = believed_longest_mm(item.lesion, scene.builder)
        for host in (seat.host, *seat.sides):
            if host.structures:
                longest_mm[host] = max(longest_mm.get(host, 0.0), own)
    return {
        host: scene.builder.region(host, margin_mm=margin_mm, longest_mm=longest)
        for host, longest in longest_mm.items()
    }


def _place(
    scene: CaseScene,
    item: CountedLesion,
    seat: _Seat,
    items: Sequence[CountedLesion],
    regions: Mapping[Host, Region],
) -> PlacedItem:
    group = group_of(item, items)
    lesion = bound_remainder(item.lesion, group)
    region = regions.get(seat.host)
    findings = lesion_findings(
        lesion,
        item.record.report_id,
        host=replace(seat.host, codes=seat.codes),
        region=region,
        builder=scene.builder,
    )
    weight = item.weight
    if any(finding.excludes for finding in findings):
        weight *= scene.policy.inconsistent_weight
    share = group_share(
        lesion,
        region_mm3=0.0 if region is None else region.volume_mm3,
        weight=weight,
        certain=item.certain,
        max_searched=scene.policy.max_searched,
        voxel_mm3=voxel_volume_mm3(scene.spacing_mm),
        sides=len(seat.sides),
    )
    if weight == 0.0:
        share = GroupShare(
            targets=tuple(without_claim(target) for target in share.targets[:1]),
            volume_mm3=(0.0, float("inf")),
        )
    return PlacedItem(
        item=item,
        region=region if seat.usable else None,
        sides=tuple(regions[host] for host in seat.sides if host in regions),
        share=share,
        weight=weight,
        findings=tuple(findings),
        codes=(*(finding.code for finding in findings), *_filled_code(region, share)),
    )


def _union(placed: Sequence[PlacedItem]) -> Mask | None:
    masks = [one.region.region for one in placed if one.region is not None]
    return np.asarray(np.logical_or.reduce(masks)) if masks and len(masks) == len(placed) else None


def _too_much(
    placed: Sequence[PlacedItem], organ: str, stated_mm3: float, room_mm3: float
) -> ConsistencyFinding:
    """All lesions of a class together that do not fit into their region."""
    report_id = placed[0].item.record.report_id
    own = [one.item.lesion.lesion_id for one in placed if one.item.record.report_id == report_id]
    return ConsistencyFinding(
        code="volume_above_region",
        report_id=report_id,
        lesion_id=", ".join(own),
        organ=organ,
        stated=stated_mm3,
        limit=room_mm3,
    )


def _filled_code(region: Region | None, share: GroupShare) -> tuple[str, ...]:
    """Says that gaps of the host's masks were filled, where they could hold a part of the lesion worth a word."""
    filled = region is not None and region.filled_mm3 >= max(FILLED_SHARE * share.volume_mm3[0], 1.0)
    return ("host_filled",) if filled else ()
