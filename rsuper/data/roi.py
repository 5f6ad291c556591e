"""The box around some organs that a network sees instead of the whole CT."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Box = tuple[slice, slice, slice]


def bounding_box(mask: NDArray[np.bool_]) -> Box | None:
    """The smallest box that holds every True voxel of [D,H,W]; None where there is none."""
    parts = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        hit = np.flatnonzero(mask.any(axis=others))
        if hit.size == 0:
            return None
        parts.append(slice(int(hit[0]), int(hit[-1]) + 1))
    return parts[0], parts[1], parts[2]


def organ_box(
    masks: Sequence[NDArray[np.bool_]], *, spacing_mm: Sequence[float], margin_mm: float
) -> Box | None:
    """The bounding box of several organs, grown by a margin and cut at the border of the volume.

    Args:
        masks: bool [D,H,W] each, on one grid.
        spacing_mm: voxel size in array order.
        margin_mm: how far the box reaches beyond the organs on every side, rounded up to whole voxels.

    Returns:
        The box, or None if there is no mask or all are empty.
    """
    if not masks:
        return None
    box = bounding_box(np.logical_or.reduce(list(masks)))
    if box is None:
        return None
    grown = []
    for part, size, step in zip(box, masks[0].shape, spacing_mm, strict=True):
        margin = int(np.ceil(margin_mm / float(step)))
        grown.append(slice(max(0, part.start - margin), min(size, part.stop + margin)))
    return grown[0], grown[1], grown[2]


def whole_box(shape: Sequence[int]) -> Box:
    """The box that holds a whole volume."""
    depth, height, width = shape
    return slice(0, depth), slice(0, height), slice(0, width)
