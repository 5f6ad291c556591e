"""True Euclidean distance and dilation in mm, on the box that matters."""

from __future__ import annotations

import functools
import math
from typing import overload

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from rsuper.morphology.boxes import bounding_box, grow_box
from rsuper.morphology.host import reads_are_free
from rsuper.morphology.spacing import Spacing

# Distances that are equal on paper (5 × 0.7 = 3.5) must compare as equal whatever the rounding.
SQUARED_SLACK = 1e-6
MANY_VOXELS = 1 << 15
CHORDS_PER_REACH = 10
SHORT_REACH = 8


def reach_voxels(distance_mm: float, spacing_mm: Spacing) -> tuple[int, int, int]:
    """How many voxels along each axis lie within ``distance_mm``.

    >>> reach_voxels(3.5, (0.7, 1.0, 5.0))
    (5, 3, 0)
    """
    first, second, third = (math.floor(distance_mm / step * (1 + SQUARED_SLACK)) for step in spacing_mm)
    return first, second, third


def distance_mm(mask: NDArray[np.bool_], *, spacing_mm: Spacing) -> NDArray[np.float64]:
    """Distance of every voxel centre to the nearest True voxel centre, in mm; 0 inside, inf if the mask is empty.

    Args:
        mask: bool [D,H,W].
        spacing_mm: voxel size in array order.
    """
    if not mask.any():
        return np.full(mask.shape, np.inf)
    distances: NDArray[np.float64] = ndimage.distance_transform_edt(~mask, sampling=spacing_mm)
    return distances


@overload
def dilate_mm(mask: NDArray[np.bool_], margin_mm: float, *, spacing_mm: Spacing) -> NDArray[np.bool_]: ...
@overload
def dilate_mm(mask: Tensor, margin_mm: float, *, spacing_mm: Spacing) -> Tensor: ...
def dilate_mm(
    mask: NDArray[np.bool_] | Tensor, margin_mm: float, *, spacing_mm: Spacing
) -> NDArray[np.bool_] | Tensor:
    """Every voxel whose centre lies within ``margin_mm`` of a True voxel's centre: {x : min_y |x − y| ≤ margin}.

    Args:
        mask: bool [D,H,W], numpy or torch (any device).
        margin_mm: at least 0.
        spacing_mm: voxel size in array order.

    Returns:
        A new bool mask of the same kind and shape.

    >>> mask = np.zeros((5, 5, 5), dtype=bool)
    >>> mask[2, 2, 2] = True
    >>> int(dilate_mm(mask, 1.0, spacing_mm=(1.0, 1.0, 2.0)).sum())
    5
    """
    if not (math.isfinite(margin_mm) and margin_mm >= 0):
        raise ValueError(f"margin_mm must be finite and at least 0, got {margin_mm}")
    if isinstance(mask, Tensor):
        return _dilate(mask, margin_mm, spacing_mm)
    grown: NDArray[np.bool_] = _dilate(
        torch.from_numpy(np.ascontiguousarray(mask)), margin_mm, spacing_mm
    ).numpy()
    return grown


def _dilate(mask: Bool[Tensor, "D H W"], margin_mm: float, spacing_mm: Spacing) -> Bool[Tensor, "D H W"]:
    box = bounding_box(mask)
    out = mask.clone()
    if box is None:
        return out
    around = grow_box(box, reach_voxels(margin_mm, spacing_mm), tuple(mask.shape))
    out[around] = dilate_within(mask[around], margin_mm, spacing_mm=spacing_mm)
    return out


def dilate_within(
    mask: Bool[Tensor, "D H W"], margin_mm: float, *, spacing_mm: Spacing
) -> Bool[Tensor, "D H W"]:
    """Dilation of a small array as a whole, without looking for its box (and so without a synchronisation)."""
    limit = margin_mm**2 * (1 + SQUARED_SLACK)
    if reads_are_free(mask) and mask.numel() > MANY_VOXELS:
        chords = _chords(limit, spacing_mm)
        # A pass over bytes costs a quarter of one over float32.
        if len(chords) <= CHORDS_PER_REACH * sum(reach_voxels(margin_mm, spacing_mm)):
            return _dilate_by_chords(mask, chords)
    return squared_distance_within(mask, margin_mm, spacing_mm=spacing_mm) <= limit


@functools.lru_cache(maxsize=64)
def _chords(limit_mm2: float, spacing_mm: Spacing) -> tuple[tuple[int, int, int], ...]:
    """The lines along the last axis that make a ball: offsets along the other two, half length; in voxels."""
    first, second, third = reach_voxels(math.sqrt(limit_mm2), spacing_mm)
    squares = (np.arange(third + 1) * spacing_mm[2]) ** 2
    chords = []
    for plane in range(-first, first + 1):
        for row in range(-second, second + 1):
            room = limit_mm2 - (plane * spacing_mm[0]) ** 2 - (row * spacing_mm[1]) ** 2
            if room >= 0:
                chords.append((plane, row, int((squares <= room).sum()) - 1))
    return tuple(chords)


def _dilate_by_chords(mask: Tensor, chords: tuple[tuple[int, int, int], ...]) -> Tensor:
    """The union, over all lines of the ball, of the mask grown along its last axis and shifted along the others.

    In an array with a border as wide as the ball, every shift is an offset into one stretch of memory.
    """
    borders = [max(line[axis] for line in chords) for axis in range(3)]
    depth, height, width = (size + 2 * border for size, border in zip(mask.shape, borders, strict=True))
    inside = tuple(slice(border, border + size) for size, border in zip(mask.shape, borders, strict=True))
    padded = np.zeros((depth, height, width), dtype=np.uint8)
    padded[inside] = mask.numpy()
    source = padded.reshape(-1)
    lines = [source]
    for shift in range(1, borders[2] + 1):
        longer = lines[-1].copy()
        longer[shift:] |= source[:-shift]
        longer[:-shift] |= source[shift:]
        lines.append(longer)
    out = np.zeros_like(source)
    start = (borders[0] * height + borders[1]) * width  # no line reaches further
    middle = out[start : len(out) - start]
    for plane, row, half in chords:
        offset = start - (plane * height + row) * width
        middle |= lines[half][offset : offset + len(middle)]
    return torch.from_numpy(out.reshape(padded.shape)[inside].copy()).view(torch.bool)


def squared_distance_within(
    mask: Bool[Tensor, "D H W"], limit_mm: float, *, spacing_mm: Spacing
) -> Float[Tensor, "D H W"]:
    """Squared distance in mm² to the nearest True voxel, exact up to ``limit_mm``, larger values beyond it.

    One axis after the other: d²(x) = min_k d²(x + k) + (k·spacing)².

    Args:
        mask: bool [D,H,W].
        limit_mm: distances above it need not be exact.
        spacing_mm: voxel size in array order.
    """
    far = 4.0 * (limit_mm**2 + 1.0)
    squared = torch.where(mask, 0.0, far)
    for axis, (step, reach) in enumerate(zip(spacing_mm, reach_voxels(limit_mm, spacing_mm), strict=True)):
        squared = _relax(squared, axis, step, reach)
    return squared


def _relax(squared: Tensor, axis: int, step_mm: float, reach: int) -> Tensor:
    """Lower every value along ``axis`` to the best of its neighbours plus their squared distance."""
    size = squared.shape[axis]
    if not reads_are_free(squared) and 0 < reach <= SHORT_REACH:  # few launches matter more than memory
        sides = [0, 0] * (2 - axis) + [reach, reach]
        padded = functional.pad(squared, sides, value=math.inf)
        costs = _costs(reach, step_mm, str(squared.device))
        return (padded.unfold(axis, 2 * reach + 1, 1) + costs).amin(dim=3)
    out = squared.clone()
    for shift in range(1, min(reach, size - 1) + 1):
        cost = (shift * step_mm) ** 2
        ahead, behind = out.narrow(axis, shift, size - shift), out.narrow(axis, 0, size - shift)
        raised = squared + cost
        torch.minimum(ahead, raised.narrow(axis, 0, size - shift), out=ahead)
        torch.minimum(behind, raised.narrow(axis, shift, size - shift), out=behind)
    return out


@functools.lru_cache(maxsize=64)
def _costs(reach: int, step_mm: float, device: str) -> Tensor:
    """Squared distances along a line of voxels, from its middle; shared between calls."""
    steps = torch.arange(-reach, reach + 1, dtype=torch.float64)
    return ((steps * step_mm) ** 2).to(torch.float32).to(device, non_blocking=True)
