"""Voxel spacing as every function of this package takes it: three numbers in mm, or one row a sample."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

Spacing = tuple[float, float, float]
SMALLEST_MM, LARGEST_MM = 0.01, 100.0
"""Every voxel of a CT lies between; a spacing in metres or micrometres does not."""
UNITS = f"spacing_mm is in millimetres, between {SMALLEST_MM:g} and {LARGEST_MM:g}"
SpacingLike = Sequence[float] | Sequence[Sequence[float]] | Tensor


def spacing_rows(spacing_mm: SpacingLike, count: int) -> tuple[Spacing, ...]:
    """One (d, h, w) spacing a sample.

    Args:
        spacing_mm: 3 numbers for all samples, or [count, 3]; mm, array order.
        count: number of samples.

    Returns:
        ``count`` tuples of three positive numbers.

    Raises:
        ValueError: if the shape does not fit, or a number is not positive and finite or cannot be millimetres.

    >>> spacing_rows((1, 1, 2.5), 2)
    ((1.0, 1.0, 2.5), (1.0, 1.0, 2.5))
    """
    table = torch.as_tensor(spacing_mm, dtype=torch.float64).detach().cpu()
    if table.shape not in ((3,), (count, 3)):
        raise ValueError(f"spacing_mm is 3 numbers or [{count}, 3], got shape {tuple(table.shape)}")
    rows = [(float(a), float(b), float(c)) for a, b, c in table.expand(count, 3).tolist()]
    if any(not (math.isfinite(step) and step > 0) for row in rows for step in row):
        raise ValueError(f"spacing_mm must be positive and finite, got {table.tolist()}")
    if not all(is_in_mm(row) for row in rows):
        raise ValueError(f"{UNITS}, got {table.tolist()}: metres take 1000 times that, micrometres 0.001")
    return tuple(rows)


def is_in_mm(spacing: Spacing) -> bool:
    """False for steps that no scan has in millimetres.

    >>> is_in_mm((0.7, 0.7, 5.0)), is_in_mm((0.0007, 0.0007, 0.005))
    (True, False)
    """
    return all(SMALLEST_MM <= step <= LARGEST_MM for step in spacing)


def voxel_volume_mm3(spacing_mm: Spacing) -> float:
    """Volume of one voxel in mm³, the product of the spacing.

    >>> voxel_volume_mm3((1.0, 0.5, 4.0))
    2.0
    """
    return spacing_mm[0] * spacing_mm[1] * spacing_mm[2]
