"""Voxel size from an affine, before or after a zoom."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike


def affine_spacing_mm(affine: ArrayLike) -> tuple[float, float, float]:
    """Voxel size in array order; its product is the volume of a voxel even where the axes are sheared.

    Args:
        affine: [4,4] or [3,3], from voxels to mm.

    >>> affine_spacing_mm(np.diag([-2.0, 3.0, 4.0, 1.0]))
    (2.0, 3.0, 4.0)
    """
    turn = np.asarray(affine, dtype=np.float64)[:3, :3]
    lengths = np.linalg.norm(turn, axis=0)
    first, second, third = lengths * np.cbrt(abs(np.linalg.det(turn)) / lengths.prod())
    return round(float(first), 9), round(float(second), 9), round(float(third), 9)


def zoomed_spacing_mm(spacing_mm: Sequence[float], voxels: ArrayLike | None) -> tuple[float, float, float]:
    """Voxel size after a resampling that reads the old voxel ``voxels @ x`` at the new voxel ``x``.

    Args:
        spacing_mm: voxel size before, array order.
        voxels: [3,3], or [2,2] where only the last two axes change; None changes nothing.

    >>> zoomed_spacing_mm((2.0, 2.0, 3.0), np.diag([0.5, 1.0, 1.0]))
    (1.0, 2.0, 3.0)
    """
    matrix = np.eye(3)
    if voxels is not None:
        part = np.asarray(voxels, dtype=np.float64)
        matrix[-len(part) :, -len(part) :] = part
    return affine_spacing_mm(np.diag([float(step) for step in spacing_mm]) @ matrix)
