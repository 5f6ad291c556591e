"""Shapes of tumours to insert into a real CT: cut from a real tumour mask, or grown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import affine_transform, distance_transform_edt, gaussian_filter, label

from rsuper.errors import DataError
from rsuper.prediction.lesions import axial_diameters

Bool = NDArray[np.bool_]
Float = NDArray[np.float32]
MARGIN_VOXELS = 3


@dataclass(frozen=True)
class TumourShape:
    """The outline of one tumour as a signed distance.

    Args:
        distance_mm: float32 [i,j,k] in RAS array order, positive inside, cropped with a margin.
        spacing_mm: voxel size in array order.
        source: where it comes from, for the truth: ``grown`` or the name of a mask.
    """

    distance_mm: Float
    spacing_mm: tuple[float, float, float]
    source: str = "grown"

    @property
    def diameters_mm(self) -> tuple[float, float, float]:
        """Longest axial, perpendicular, cranio-caudal."""
        return axial_diameters(self.distance_mm > 0, spacing_mm=self.spacing_mm, axial_axis=2)[:3]


def shape_from_mask(mask: Bool, *, spacing_mm: Sequence[float], source: str) -> TumourShape:
    """The largest connected component of a tumour mask, cropped.

    Args:
        mask: bool [i,j,k] in RAS array order, such as label 2 of a kidney tumour data set.
        spacing_mm: voxel size in array order.
        source: name to keep in the truth.

    Raises:
        DataError: if the mask is empty or its largest component has fewer than 8 voxels.
    """
    pieces, n = label(mask)
    sizes = np.bincount(pieces.ravel())[1:] if n else np.zeros(1, int)
    if sizes.max() < 8:
        raise DataError("the mask holds no tumour of at least 8 voxels", code="empty_tumour_shape")
    largest = np.argwhere(pieces == sizes.argmax() + 1)
    low, high = largest.min(axis=0), largest.max(axis=0) + 1
    cropped = np.zeros(high - low + 2 * MARGIN_VOXELS, bool)
    cropped[tuple((largest - low + MARGIN_VOXELS).T)] = True
    i, j, k = (float(s) for s in spacing_mm)
    return TumourShape(signed_distance_mm(cropped, spacing_mm=(i, j, k)), (i, j, k), source)


def grown_shape(rng: np.random.Generator, *, roughness: float = 0.12) -> TumourShape:
    """An irregular smooth blob, 40 mm across on a 1.25 mm grid, to be scaled.

    Args:
        rng: draws axes and bumps.
        roughness: standard deviation of the outline's bumps relative to the radius.
    """
    n, radius = 48, 16.0  # voxels of the box and of the mean radius
    axes = np.ogrid[:n, :n, :n]
    ratios = np.exp(rng.normal(0, 0.15, 3))
    ratios /= ratios.max()
    distance = np.sqrt(
        sum(((a - (n - 1) / 2) / (radius * r)) ** 2 for a, r in zip(axes, ratios, strict=True))
    )
    bumps = gaussian_filter(rng.standard_normal((n, n, n)), 5.0)
    inside = distance * (1 + roughness * bumps / bumps.std()) < 1
    return shape_from_mask(inside, spacing_mm=(1.25, 1.25, 1.25), source="grown")


def signed_distance_mm(mask: Bool, *, spacing_mm: Sequence[float]) -> Float:
    """Distance to the outline in mm, positive inside; the outline lies between voxel centres."""
    half = float(np.mean(spacing_mm)) / 2
    inside = distance_transform_edt(mask, sampling=spacing_mm)
    outside = distance_transform_edt(~mask, sampling=spacing_mm)
    return np.asarray(np.where(mask, inside - half, half - outside), np.float32)


def fitted(
    shape: TumourShape,
    *,
    spacing_mm: Sequence[float],
    longest_mm: float,
    turn_rad: float,
    mirror: bool | np.bool_,
) -> Float:
    """The shape on another grid, scaled to a longest axial diameter; a signed distance in mm.

    The scale is corrected until the diameter measured on the new voxels is the stated one to half a voxel.

    Args:
        shape: the tumour.
        spacing_mm: voxel size of the new grid.
        longest_mm: longest axial diameter wanted.
        turn_rad: rotation about the body axis.
        mirror: left-right mirrored.

    Raises:
        DataError: if so small a tumour has no voxel on the grid.
    """
    scale = longest_mm / shape.diameters_mm[0]
    best: tuple[float, Float] | None = None
    for _ in range(6):
        distance = _resampled(shape, spacing_mm, scale, turn_rad, mirror=bool(mirror))
        if not (distance > 0).any():
            scale *= 1.3
            continue
        measured = axial_diameters(distance > 0, spacing_mm=spacing_mm, axial_axis=2).longest_mm
        error = abs(measured - longest_mm)
        if best is None or error < best[0]:
            best = (error, distance)
        if error <= 0.25:
            break
        scale *= (longest_mm / measured) ** 0.8
    if best is None:
        raise DataError(f"a tumour of {longest_mm:g} mm has no voxel on this grid", code="tumour_too_small")
    return best[1]


def _resampled(
    shape: TumourShape, spacing_mm: Sequence[float], scale: float, turn_rad: float, *, mirror: bool
) -> Float:
    source = np.asarray(shape.distance_mm.shape)
    reach = np.linalg.norm((source[:2] - 1) * shape.spacing_mm[:2]) * scale / 2
    extent = np.array([reach, reach, (source[2] - 1) * shape.spacing_mm[2] * scale / 2])
    size = 2 * np.ceil(extent / spacing_mm).astype(int) + 1
    cos, sin = np.cos(turn_rad), np.sin(turn_rad)
    turn = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]]) @ np.diag([-1.0 if mirror else 1.0, 1, 1])
    matrix = np.diag(1 / np.asarray(shape.spacing_mm)) @ turn @ np.diag(spacing_mm) / scale
    offset = (source - 1) / 2 - matrix @ ((size - 1) / 2)
    far = float(shape.distance_mm.min())
    moved = affine_transform(shape.distance_mm, matrix, offset, output_shape=tuple(size), order=1, cval=far)
    return np.asarray(moved * scale, np.float32)
