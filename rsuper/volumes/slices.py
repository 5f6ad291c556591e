"""Geometry of a stack of image planes: order, gaps, tilt; in DICOM's LPS+ mm until the affine is made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from rsuper.errors import DataError
from rsuper.volumes.volume import Grid, Volume

_MAX_GAP_DEVIATION = 0.05
_MAX_GAP_DEVIATION_MM = 0.02
_MAX_TILT = 0.005
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])


@dataclass(frozen=True, eq=False, kw_only=True)
class SlicePlane:
    """Where one slice lies.

    Args:
        position_mm: LPS+ centre of the first pixel, [3].
        along_columns: unit vector in which the column index grows, [3].
        along_rows: unit vector in which the row index grows, [3].
        pixel_mm: distance between columns, distance between rows.
        size: number of columns, number of rows.
    """

    position_mm: NDArray[np.float64]
    along_columns: NDArray[np.float64]
    along_rows: NDArray[np.float64]
    pixel_mm: tuple[float, float]
    size: tuple[int, int]

    @property
    def normal(self) -> NDArray[np.float64]:
        """Unit vector across the plane, [3]."""
        cross: NDArray[np.float64] = np.cross(self.along_columns, self.along_rows)
        return cross


def stack_geometry(
    planes: Sequence[SlicePlane], *, name: str, tilt: Literal["refuse", "correct"] = "refuse"
) -> tuple[list[int], Grid, NDArray[np.float64] | None]:
    """Order slices along their normal and make the grid [columns, rows, slices].

    Returns:
        The order of the slices, their grid (RAS+), and None, or for a tilted gantry that is to be corrected
        the in-plane shift of each slice against the first, [slices, 2] in mm along columns and rows.

    Raises:
        DataError: ``too_few_slices``, ``mixed_slices``, ``duplicate_slices``, ``gantry_tilt``,
            ``missing_slices``, ``uneven_slices``, ``dicom_geometry_missing``.
    """
    first = planes[0]
    if len(planes) < 2:
        raise DataError(f"{name} holds a single slice", code="too_few_slices", hint="give the whole series")
    _require_one_stack(planes, name)
    order = sorted(range(len(planes)), key=lambda index: float(planes[index].position_mm @ first.normal))
    positions = np.stack([planes[index].position_mm for index in order])
    gaps = np.diff(positions @ first.normal)
    drift = positions - positions[0] - np.outer((positions - positions[0]) @ first.normal, first.normal)
    shift = np.stack([drift @ first.along_columns, drift @ first.along_rows], axis=1)
    tilted = bool((np.linalg.norm(np.diff(shift, axis=0), axis=1) > _MAX_TILT * np.maximum(gaps, 1e-6)).any())
    if tilted and tilt == "refuse":
        angle = float(
            np.degrees(np.arctan2(np.linalg.norm(shift[-1]), (positions[-1] - positions[0]) @ first.normal))
        )
        raise DataError(
            f"{name}: the gantry was tilted by about {angle:.1f} degrees, the slices are sheared",
            code="gantry_tilt",
            hint="convert with dcm2niix, which corrects the tilt, or read with tilt='correct'",
        )
    spacing_mm = _even_gap(gaps, name)
    affine = np.eye(4)
    affine[:3, 0] = first.along_columns * first.pixel_mm[0]
    affine[:3, 1] = first.along_rows * first.pixel_mm[1]
    affine[:3, 2] = first.normal * spacing_mm
    affine[:3, 3] = positions[0]
    affine[:3] = _LPS_TO_RAS @ affine[:3]
    grid = Grid((*first.size, len(planes)), affine)
    return order, grid, shift if tilted else None


def _require_one_stack(planes: Sequence[SlicePlane], name: str) -> None:
    first = planes[0]
    axes = np.stack([first.along_columns, first.along_rows])
    if not np.allclose(axes @ axes.T, np.eye(2), atol=1e-3) or min(first.pixel_mm) <= 0:
        raise DataError(f"{name}: the slice orientation is no pair of axes", code="dicom_geometry_missing")
    for plane in planes[1:]:
        same = (
            plane.size == first.size
            and np.allclose(plane.pixel_mm, first.pixel_mm, rtol=1e-4)
            and np.allclose(plane.along_columns, first.along_columns, atol=1e-3)
            and np.allclose(plane.along_rows, first.along_rows, atol=1e-3)
        )
        if not same:
            raise DataError(
                f"{name}: slices differ in size, pixel spacing or orientation",
                code="mixed_slices",
                hint="a scout or a second reconstruction is among them; keep one series",
            )


def _even_gap(gaps: NDArray[np.float64], name: str) -> float:
    usual = float(np.median(gaps))
    if float(gaps.min()) < 1e-3:
        raise DataError(
            f"{name}: two slices lie at one position",
            code="duplicate_slices",
            hint="two phases or a repeated export; keep one slice a position",
        )
    tolerance = max(_MAX_GAP_DEVIATION * usual, _MAX_GAP_DEVIATION_MM)
    if float(np.abs(gaps - usual).max()) <= tolerance:
        return float(gaps.mean())
    multiples = gaps / usual
    if bool((np.abs(multiples - np.rint(multiples)) <= _MAX_GAP_DEVIATION).all()):
        missing = int(np.rint(multiples).sum()) - gaps.size
        raise DataError(
            f"{name}: {missing} of {gaps.size + 1 + missing} slices are missing",
            code="missing_slices",
            hint="fetch the series from the archive again",
        )
    raise DataError(
        f"{name}: the gaps between slices run from {gaps.min():.2f} to {gaps.max():.2f} mm",
        code="uneven_slices",
        hint="split the series where the gap changes, or convert with dcm2niix, which resamples it",
    )


def correct_tilt(array: NDArray[Any], grid: Grid, *, shear_mm: NDArray[np.float64], fill: float) -> Volume:
    """Shift every slice in its plane so that a tilted stack becomes rectangular.

    Args:
        array: [columns, rows, slices].
        grid: rectangular grid whose first slice is that of the stack.
        shear_mm: [slices, 2] where each slice lies, along columns and rows, against where the grid has it.
        fill: value where no slice reaches.

    Returns:
        A volume of the same dtype on a grid that is padded to hold every slice.
    """
    shift = shear_mm / np.asarray(grid.spacing_mm[:2])
    low = np.floor(np.minimum(shift.min(axis=0), 0)).astype(int)
    high = np.ceil(np.maximum(shift.max(axis=0), 0)).astype(int)
    columns, rows, count = array.shape
    result = np.full((columns + high[0] - low[0], rows + high[1] - low[1], count), fill, dtype=np.float32)
    for index in range(count):
        padded = np.full(result.shape[:2], fill, dtype=np.float32)
        padded[:columns, :rows] = array[:, :, index]
        move = shift[index] - low
        result[:, :, index] = ndimage.shift(padded, move, order=1, mode="constant", cval=fill)
    affine = np.array(grid.affine)
    affine[:3, 3] = grid.to_world_mm(np.array([low[0], low[1], 0]))
    values = np.rint(result) if np.issubdtype(array.dtype, np.integer) else result
    return Volume(values.astype(array.dtype), affine)
