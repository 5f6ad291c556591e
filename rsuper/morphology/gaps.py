"""Gaps of a mask: its holes, and the bites and clefts that a ball cannot enter from outside."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from rsuper.morphology.boxes import Box, bounding_box
from rsuper.morphology.distance import dilate_within, reach_voxels
from rsuper.morphology.spacing import Spacing

Mask = NDArray[np.bool_]
FINEST = 8
"""Voxels of this share of the radius are fine enough; finer ones are taken together, which keeps large radii quick."""


def gaps(mask: Mask, radius_mm: float, *, spacing_mm: Spacing) -> Mask:
    """Voxels outside a mask that no ball of ``radius_mm`` that stays outside it can reach, and enclosed holes.

    The Euclidean closing without the mask itself, (mask ⊕ ball) ⊖ ball ∖ mask, and every hole whatever its size; all of
    it lies in the convex hull of the mask. Of a bite of radius a and depth a in a flat surface a ball of radius k·a
    enters a·(k − √(k² − 1)): all of it for k = 1, a quarter for k = 2.

    Voxels smaller than an eighth of the radius are taken together, so the edges of gaps are as exact as that.

    Args:
        mask: bool [D,H,W].
        radius_mm: more than 0.
        spacing_mm: voxel size in array order.

    Returns:
        bool [D,H,W], disjoint from the mask.

    >>> organ = np.ones((9, 9, 9), dtype=bool)
    >>> organ[3:6, 3:6, 3:6] = False
    >>> int(gaps(organ, 4.0, spacing_mm=(1.0, 1.0, 1.0)).sum())
    27
    """
    if not (np.isfinite(radius_mm) and radius_mm > 0):
        raise ValueError(f"radius_mm must be finite and more than 0, got {radius_mm}")
    out = np.zeros_like(mask, dtype=bool)
    box = bounding_box(torch.from_numpy(np.ascontiguousarray(mask)))
    if box is None:
        return out
    steps = [max(1, int(radius_mm / FINEST / step)) for step in spacing_mm]
    coarse = _pooled(mask[box], steps)
    wide = (spacing_mm[0] * steps[0], spacing_mm[1] * steps[1], spacing_mm[2] * steps[2])
    found = _closed(coarse, radius_mm, wide) & ~coarse
    for axis, step in enumerate(steps):
        found = np.repeat(found, step, axis=axis)
    out[box] = found[tuple(slice(0, part.stop - part.start) for part in box)] & ~mask[box]
    return out


def _pooled(mask: Mask, steps: list[int]) -> Mask:
    """Blocks of voxels as one, in the mask if at least half of them are; the last of an axis may reach beyond it."""
    padded = np.pad(mask, [(0, -size % step) for size, step in zip(mask.shape, steps, strict=True)])
    blocks = [part for size, step in zip(padded.shape, steps, strict=True) for part in (size // step, step)]
    return np.asarray(2 * padded.reshape(blocks).sum(axis=(1, 3, 5)) >= np.prod(steps))


def _closed(mask: Mask, radius_mm: float, spacing_mm: Spacing) -> Mask:
    """Closing with holes filled; nothing of the mask lies beyond the array."""
    borders = [steps + 1 for steps in reach_voxels(radius_mm, spacing_mm)]
    padded = torch.from_numpy(np.pad(mask, [(border, border) for border in borders]))
    grown = dilate_within(padded, radius_mm, spacing_mm=spacing_mm)
    closed = ~dilate_within(~grown, radius_mm, spacing_mm=spacing_mm)
    own: Box = tuple(slice(b, b + size) for b, size in zip(borders, mask.shape, strict=True))  # type: ignore[assignment]
    return np.asarray(ndimage.binary_fill_holes(closed.numpy()[own] | mask))
