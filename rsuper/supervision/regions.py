"""Host regions: the organ or part that a report names + a Euclidean margin, minus the inside of others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from llm_extract.anatomy import SIDES, Anatomy
from rsuper.morphology import (
    Box,
    Spacing,
    bounding_box,
    gaps,
    grow_box,
    reach_voxels,
    squared_distance_within,
    voxel_volume_mm3,
)
from rsuper.morphology.distance import SQUARED_SLACK, distance_mm

Mask = NDArray[np.bool_]
Masks = Mapping[str, Mask]

FAR_VOXELS = 45
"""From here on a distance transform of everything is quicker than one that looks only as far as it has to."""
CONTAINERS = frozenset(
    {"body", "body_trunc", "body_extremities", "skin", "subcutaneous_fat", "torso_fat", "skeletal_muscle"}
    | {"abdominal_cavity", "thoracic_cavity", "peritoneal_cavity", "mediastinum", "pericardium"}
)
"""Masks that hold other organs; they are never taken out of a region."""


@dataclass(frozen=True, kw_only=True)
class Host:
    """The label files that host a lesion.

    Args:
        organ: organ of the lesion.
        structures: stems of the files whose union is the host; empty if there is none.
        codes: what had to be worked around, such as ``part_mask_missing``.
        complete: False if a file that could hold the lesion is missing; then no negative follows.
    """

    organ: str
    structures: tuple[str, ...]
    codes: tuple[str, ...] = ()
    complete: bool = True


@dataclass(frozen=True, kw_only=True)
class Region:
    """Where a lesion may lie: bool masks of the whole grid.

    Args:
        region: host + margin, minus the inside of other organs.
        centers: the part of it within the centre margin of the host.
        volume_mm3: volume of ``region``.
        filled_mm3: how much of the host is gaps of its masks that were filled.
        open: voxels beyond the region that the lesion could reach: not searched, not negative; None is none.
    """

    region: Mask
    centers: Mask
    volume_mm3: float
    filled_mm3: float = 0.0
    open: Mask | None = None


@dataclass(frozen=True, kw_only=True)
class RegionRules:
    """How far from its host a lesion may lie, and how much of it the masks of the host may lack.

    Segmenters of organs often leave a tumour out: the mask has a hole or a bite where it lies, or ends there.

    Args:
        center_margin_mm: how far from its host the centre of a ball may lie.
        interior_mm: depth inside another organ from which a lesion cannot lie there.
        fill_diameters: gaps of the organ's masks are filled that a ball with a radius of this many largest stated
            diameters cannot enter from outside; 0 takes the masks as they are.
        open_diameters: voxels within this many largest stated diameters of the host stay unknown.
    """

    center_margin_mm: float = 5.0
    interior_mm: float = 2.0
    fill_diameters: float = 0.0
    open_diameters: float = 0.0


def find_host(
    masks: Masks, anatomy: Anatomy, *, organ: str, parts: Sequence[str] = (), laterality: str = "unknown"
) -> Host:
    """The label files whose union hosts a lesion of that organ, part and side.

    A part without a usable mask falls back to the whole organ (of that side), with a code.

    Args:
        masks: structure stem -> bool [D,H,W].
        anatomy: the table of organs.
        organ: organ of the lesion; must be in the table.
        parts: parts it may lie in; their union is taken.
        laterality: ``left`` or ``right`` keeps that side.
    """
    codes: list[str] = []
    if parts:
        stems = of_side(anatomy.structures_for(organ, parts, laterality), laterality)
        named = set(stems) != set(of_side(anatomy.organ_structures(organ, laterality), laterality))
        if named and all(stem in masks for stem in stems) and any(masks[stem].any() for stem in stems):
            return Host(organ=organ, structures=stems)
        empty = named and all(stem in masks for stem in stems)
        codes.append("part_mask_empty" if empty else "part_mask_missing")
    stems, complete = _organ_files(masks, anatomy, organ, laterality)
    if (
        laterality in SIDES
        and anatomy.organs[organ].paired
        and stems in ((organ,), (anatomy.organs[organ].class_name,))
    ):
        codes.append("side_mask_missing")
    if not stems:
        return Host(organ=organ, structures=(), codes=(*codes, "organ_mask_missing"), complete=False)
    if not complete:
        codes.append("organ_mask_incomplete")
    if not any(masks[stem].any() for stem in stems):
        return Host(organ=organ, structures=(), codes=(*codes, "organ_mask_empty"), complete=False)
    return Host(organ=organ, structures=stems, codes=tuple(codes), complete=complete)


def of_side(stems: Sequence[str], laterality: str) -> tuple[str, ...]:
    """The files that can hold something on that side: those of the other side are left out.

    >>> of_side(("hip_left", "hip_right", "sacrum"), "left")
    ('hip_left', 'sacrum')
    """
    other = {"left": "right", "right": "left"}.get(laterality)
    kept = tuple(stem for stem in stems if other not in stem.split("_"))
    return kept or tuple(stems)


def _organ_files(masks: Masks, anatomy: Anatomy, organ: str, laterality: str) -> tuple[tuple[str, ...], bool]:
    """Files of the whole organ that are there, and whether they are all of it."""
    entry = anatomy.organs[organ]
    stems = of_side(anatomy.organ_structures(organ, laterality), laterality)
    found = tuple(stem for stem in stems if stem in masks)
    if found and len(found) == len(stems):
        return found, True
    parts = tuple(dict.fromkeys(stem for part in entry.parts.values() for stem in part.structures))
    if not found and parts and all(stem in masks for stem in parts):
        return parts, True
    names = dict.fromkeys((organ, entry.class_name))
    sided = tuple(f"{name}_{laterality}" for name in names) if laterality in ("left", "right") else ()
    for stem in (*sided, *names):
        if stem in masks:
            return (stem,), True
    return found, False


def mask_box(mask: Mask, *, margin_mm: float, spacing_mm: Spacing) -> Box | None:
    """The bounding box of a mask plus a margin, inside the grid; None for an empty mask."""
    box = bounding_box(torch.from_numpy(np.ascontiguousarray(mask)))
    return None if box is None else grow_box(box, reach_voxels(margin_mm, spacing_mm), mask.shape)


def union_mask(masks: Masks, stems: Sequence[str]) -> Mask:
    """Union of the named masks."""
    union = np.array(masks[stems[0]], dtype=bool, copy=True)
    for stem in stems[1:]:
        union |= masks[stem]
    return union


def other_organs(masks: Iterable[str], anatomy: Anatomy, organ: str) -> tuple[str, ...]:
    """Stems of the masks that are neither the organ, something inside it, a lesion nor a container."""
    entry = anatomy.organs[organ]
    own = {stem for part in entry.parts.values() for stem in part.structures}
    own.update(anatomy.organ_structures(organ))
    prefixes = (organ, entry.class_name)
    return tuple(
        stem
        for stem in sorted(masks)
        if stem not in own
        and not stem.startswith(prefixes)
        and not stem.endswith("_lesion")
        and stem not in CONTAINERS
    )


class RegionBuilder:
    """Makes the regions of one case; hosts that recur are computed once.

    Args:
        masks: structure stem -> bool [D,H,W], all on one grid.
        anatomy: the table of organs.
        spacing_mm: voxel size in array order.
        rules: what a region holds beside its host.
    """

    def __init__(self, masks: Masks, anatomy: Anatomy, *, spacing_mm: Spacing, rules: RegionRules) -> None:
        self.masks = masks
        self.anatomy = anatomy
        self.spacing_mm = spacing_mm
        self.rules = rules
        self._shape = next((mask.shape for mask in masks.values()), (0, 0, 0))
        self._cache: dict[tuple[str, tuple[str, ...], float, float], Region] = {}
        self._gaps: dict[tuple[tuple[str, ...], float], Mask] = {}

    def region(self, host: Host, *, margin_mm: float, longest_mm: float = 0.0) -> Region:
        """The region of one host.

        Args:
            host: its files; at least one.
            margin_mm: true Euclidean margin.
            longest_mm: largest stated diameter of the lesion, for gaps of the masks that it may have left; 0 is none.
        """
        if longest_mm / 2 <= min(margin_mm, self.rules.center_margin_mm):
            longest_mm = (
                0.0  # where such a lesion was left out, the margins reach its centre and its far side
            )
        key = (host.organ, host.structures, margin_mm, longest_mm)
        if key not in self._cache:
            self._cache[key] = self._build(host, margin_mm, longest_mm)
        return self._cache[key]

    def _build(self, host: Host, margin_mm: float, longest_mm: float) -> Region:
        inside = union_mask(self.masks, host.structures)
        filled = (
            self._filled(host, inside, longest_mm) if longest_mm * self.rules.fill_diameters > 0 else None
        )
        region, centers = np.zeros_like(inside), np.zeros_like(inside)
        open_mm = self.rules.open_diameters * longest_mm
        reach_mm = max(margin_mm, self.rules.center_margin_mm, open_mm)
        box = mask_box(
            inside if filled is None else inside | filled, margin_mm=reach_mm, spacing_mm=self.spacing_mm
        )
        if box is None:
            return Region(region=region, centers=centers, volume_mm3=0.0)
        free = ~self._inside_others(host.organ, box) | inside[box]
        gained = np.zeros_like(free) if filled is None else filled[box] & free
        squared = self._squared_mm2(inside[box] | gained, reach_mm)

        def within(limit_mm: float) -> Mask:
            return free & (squared <= limit_mm**2 * (1 + SQUARED_SLACK))

        near = within(margin_mm)
        region[box] = near
        centers[box] = near & within(self.rules.center_margin_mm)
        edge: Mask | None = None
        if open_mm > margin_mm:
            edge = np.zeros_like(inside)
            edge[box] = within(open_mm) & ~near
        voxel_mm3 = voxel_volume_mm3(self.spacing_mm)
        return Region(
            region=region,
            centers=centers,
            volume_mm3=int(near.sum()) * voxel_mm3,
            filled_mm3=int(gained.sum()) * voxel_mm3,
            open=edge,
        )

    def _filled(self, host: Host, inside: Mask, longest_mm: float) -> Mask:
        """Gaps of the organ's masks that the lesion may have left, bool [D,H,W]; other organs are not taken out yet."""
        found = np.zeros_like(inside)
        for stems in self._pieces(host):
            key = (stems, longest_mm)
            if key not in self._gaps:
                piece = union_mask(self.masks, stems)
                radius_mm = self.rules.fill_diameters * longest_mm
                self._gaps[key] = gaps(piece, radius_mm, spacing_mm=self.spacing_mm)
            found |= self._gaps[key] if set(stems) <= set(host.structures) else self._near(key, inside)
        return found & ~inside

    def _near(self, key: tuple[tuple[str, ...], float], inside: Mask) -> Mask:
        """Gaps of an organ within a diameter of one of its parts: what the lesion left there touches the part."""
        found, longest_mm = np.zeros_like(inside), key[1]
        box = mask_box(inside, margin_mm=longest_mm, spacing_mm=self.spacing_mm)
        if box is not None and self._gaps[key][box].any():
            near = self._squared_mm2(inside[box], longest_mm) <= longest_mm**2 * (1 + SQUARED_SLACK)
            found[box] = self._gaps[key][box] & near
        return found

    def _pieces(self, host: Host) -> list[tuple[str, ...]]:
        """The files of each thing whose gaps may be filled: an organ, or its side; a bone for itself.

        A gap of one part may lie beside another, so a part is seen in its organ. What one mask holds of both sides is
        left out: the room between them is no gap.
        """
        entry = self.anatomy.organs[host.organ]
        if not entry.paired:
            if len(entry.structures) > 1:
                return [(stem,) for stem in host.structures]
            stems, complete = _organ_files(self.masks, self.anatomy, host.organ, "unknown")
            return [stems if complete else host.structures]
        sides = [tuple(stem for stem in host.structures if side in stem.split("_")) for side in SIDES]
        organs = [_organ_files(self.masks, self.anatomy, host.organ, side) for side in SIDES]
        return [
            stems if complete else own for own, (stems, complete) in zip(sides, organs, strict=True) if own
        ]

    def _inside_others(self, organ: str, box: Box) -> Mask:
        """Voxels of ``box`` that lie deeper than ``interior_mm`` in other organs, taken together."""
        depth_mm = self.rules.interior_mm
        one, two, three = (steps + 1 for steps in reach_voxels(depth_mm, self.spacing_mm))
        wide = grow_box(box, (one, two, three), self._shape)
        others = np.zeros([part.stop - part.start for part in wide], dtype=bool)
        for stem in other_organs(self.masks, self.anatomy, organ):
            others |= self.masks[stem][wide]
        squared = self._squared_mm2(~others, depth_mm)
        deep = squared > depth_mm**2 * (1 + SQUARED_SLACK)
        own = tuple(
            slice(part.start - outer.start, part.stop - outer.start)
            for part, outer in zip(box, wide, strict=True)
        )
        return np.asarray(deep[own])

    def _squared_mm2(self, mask: Mask, limit_mm: float) -> NDArray[np.float32]:
        """Squared distance to the mask in mm², exact up to ``limit_mm``."""
        if sum(reach_voxels(limit_mm, self.spacing_mm)) > FAR_VOXELS:
            return np.square(distance_mm(mask, spacing_mm=self.spacing_mm), dtype=np.float32)
        tensor = torch.from_numpy(np.ascontiguousarray(mask))
        distances: NDArray[np.float32] = squared_distance_within(
            tensor, limit_mm, spacing_mm=self.spacing_mm
        ).numpy()
        return distances
