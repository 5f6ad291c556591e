"""Host regions: the organ or part that a report names + a Euclidean margin, minus the inside of others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from llm_extract.anatomy import SIDES, Anatomy
from rsuper.morphology import (
    Box,
    Spacing,
    bounding_box,
    grow_box,
    reach_voxels,
    squared_distance_within,
    voxel_volume_mm3,
)
from rsuper.morphology.distance import SQUARED_SLACK

Mask = NDArray[np.bool_]
Masks = Mapping[str, Mask]

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
    """

    region: Mask
    centers: Mask
    volume_mm3: float


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


def as_bool(masks: Mapping[str, NDArray[np.generic]]) -> dict[str, Mask]:
    """The same masks as bool arrays; any non-zero voxel counts, bool arrays are not copied."""
    return {
        name: np.asarray(mask) if mask.dtype == np.bool_ else np.asarray(mask != 0)
        for name, mask in masks.items()
    }


def union_mask(masks: Masks, stems: Sequence[str]) -> Mask:
    """Union of the named masks."""
    union = np.array(masks[stems[0]], dtype=bool, copy=True)
    for stem in stems[1:]:
        union |= masks[stem]
    return union


def other_organs(masks: Masks, anatomy: Anatomy, organ: str) -> tuple[str, ...]:
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
        center_margin_mm: how far from its host the centre of a ball may lie.
        interior_mm: depth inside another organ from which a lesion cannot lie there.
    """

    def __init__(
        self,
        masks: Masks,
        anatomy: Anatomy,
        *,
        spacing_mm: Spacing,
        center_margin_mm: float,
        interior_mm: float,
    ) -> None:
        self._masks = masks
        self._anatomy = anatomy
        self._spacing_mm = spacing_mm
        self._center_margin_mm = center_margin_mm
        self._interior_mm = interior_mm
        self._shape = next((mask.shape for mask in masks.values()), (0, 0, 0))
        self._cache: dict[tuple[str, tuple[str, ...], float], Region] = {}

    def region(self, host: Host, *, margin_mm: float) -> Region:
        """The region of one host.

        Args:
            host: its files; at least one.
            margin_mm: true Euclidean margin.
        """
        key = (host.organ, host.structures, margin_mm)
        if key not in self._cache:
            self._cache[key] = self._build(host, margin_mm)
        return self._cache[key]

    def _build(self, host: Host, margin_mm: float) -> Region:
        inside = union_mask(self._masks, host.structures)
        region, centers = np.zeros_like(inside), np.zeros_like(inside)
        reach_mm = max(margin_mm, self._center_margin_mm)
        box = mask_box(inside, margin_mm=reach_mm, spacing_mm=self._spacing_mm)
        if box is None:
            return Region(region=region, centers=centers, volume_mm3=0.0)
        squared = self._squared_mm2(inside[box], reach_mm)
        near = squared <= margin_mm**2 * (1 + SQUARED_SLACK)
        near &= ~self._inside_others(host.organ, box) | inside[box]
        region[box] = near
        centers[box] = near & (squared <= self._center_margin_mm**2 * (1 + SQUARED_SLACK))
        voxels = int(near.sum())
        return Region(region=region, centers=centers, volume_mm3=voxels * voxel_volume_mm3(self._spacing_mm))

    def _inside_others(self, organ: str, box: Box) -> Mask:
        """Voxels of ``box`` that lie deeper than ``interior_mm`` in other organs, taken together."""
        one, two, three = (steps + 1 for steps in reach_voxels(self._interior_mm, self._spacing_mm))
        wide = grow_box(box, (one, two, three), self._shape)
        others = np.zeros([part.stop - part.start for part in wide], dtype=bool)
        for stem in other_organs(self._masks, self._anatomy, organ):
            others |= self._masks[stem][wide]
        squared = self._squared_mm2(~others, self._interior_mm)
        deep = squared > self._interior_mm**2 * (1 + SQUARED_SLACK)
        own = tuple(
            slice(part.start - outer.start, part.stop - outer.start)
            for part, outer in zip(box, wide, strict=True)
        )
        return np.asarray(deep[own])

    def _squared_mm2(self, mask: Mask, limit_mm: float) -> NDArray[np.float32]:
        """Squared distance to the mask in mm², exact up to ``limit_mm``."""
        tensor = torch.from_numpy(np.ascontiguousarray(mask))
        distances: NDArray[np.float32] = squared_distance_within(
            tensor, limit_mm, spacing_mm=self._spacing_mm
        ).numpy()
        return distances
