"""Diameters of a mask as a radiologist measures them: longest axial, perpendicular to it, cranio-caudal."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull
from scipy.spatial.distance import pdist, squareform


def outline_mm(mask: NDArray[np.bool_], spacing_mm: Sequence[float]) -> NDArray[np.float64]:
    """Midpoints of the pixel edges between inside and outside of a 2D mask, in mm; [N,2].

    Edge midpoints lie on the true outline on average, so that a disc's diameter comes out without the bias of
    pixel centres (too short) or pixel corners (too long).
    """
    padded = np.pad(mask, 1)
    points = []
    for axis in (0, 1):
        edges = np.argwhere(np.diff(padded.astype(np.int8), axis=axis) != 0).astype(float) - 1
        edges[:, axis] += 0.5
        points.append(edges)
    return np.asarray(np.concatenate(points) * np.asarray(spacing_mm, float))


def measure_diameters_mm(
    mask: NDArray[np.bool_], *, spacing_mm: Sequence[float]
) -> tuple[float, float, float]:
    """Longest axial diameter, the width perpendicular to it in the same slice, and the cranio-caudal extent.

    Args:
        mask: bool [i,j,k] in RAS array order, one lesion, not empty.
        spacing_mm: voxel size in array order.

    Returns:
        The three lengths in mm; the first is the largest Feret diameter over all axial slices.

    Raises:
        ValueError: if the mask is empty.
    """
    slices = np.flatnonzero(mask.any(axis=(0, 1)))
    if not len(slices):
        raise ValueError("an empty mask has no diameters")
    best = (0.0, 0.0)
    for k in slices:
        best = max(best, _axial_diameters_mm(mask[:, :, k], spacing_mm[:2]))
    return best[0], best[1], float((slices[-1] - slices[0] + 1) * spacing_mm[2])


def _axial_diameters_mm(mask: NDArray[np.bool_], spacing_mm: Sequence[float]) -> tuple[float, float]:
    points = outline_mm(mask, spacing_mm)
    points = points[ConvexHull(points).vertices]
    distances = squareform(pdist(points))
    a, b = np.unravel_index(int(distances.argmax()), distances.shape)
    longest = float(distances[a, b])
    direction = (points[b] - points[a]) / longest
    across = points @ np.array([-direction[1], direction[0]])
    return longest, float(across.max() - across.min())
