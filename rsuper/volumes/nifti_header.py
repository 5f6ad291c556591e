"""NIfTI-1 and NIfTI-2 headers, parsed and checked: nothing in them is believed before it is plausible."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError

from rsuper.errors import DataError
from rsuper.volumes.limits import ReadLimits
from rsuper.volumes.orientation import axis_codes
from rsuper.volumes.volume import Affine, Grid, checked_affine

_DTYPES = {
    2: "u1",
    4: "i2",
    8: "i4",
    16: "f4",
    64: "f8",
    256: "i1",
    512: "u2",
    768: "u4",
    1024: "i8",
    1280: "u8",
}
_MM_PER_UNIT = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
_MAX_SHEAR = 0.005
_SPACING_RANGE_MM = (0.05, 50.0)
_MAX_OFFSET_BYTES = 64 << 20
EXPORT_HINT = "export the file again, or convert it anew from the DICOM series"


@dataclass(frozen=True, kw_only=True)
class NiftiInfo:
    """A checked header.

    Args:
        grid: shape and affine.
        dtype: stored type with its byte order.
        slope: value = stored × slope + intercept; 1 and 0 where the header says nothing.
        intercept: see ``slope``.
        data_offset: byte of the first voxel.
    """

    grid: Grid
    dtype: np.dtype[Any]
    slope: float
    intercept: float
    data_offset: int

    @property
    def data_bytes(self) -> int:
        """Bytes that the voxels take when decoded."""
        return math.prod(self.grid.shape) * self.dtype.itemsize


def header_class(first: bytes) -> Any:
    """NIfTI-1 or NIfTI-2, told by the header's own size field; None if it is neither."""
    size = first[:4]
    if size in (b"\x5c\x01\x00\x00", b"\x00\x00\x01\x5c"):
        return nib.Nifti1Header
    if size in (b"\x1c\x02\x00\x00", b"\x00\x00\x02\x1c"):
        return nib.Nifti2Header
    return None


def checked_header(header: Any, path: Path, *, limits: ReadLimits) -> NiftiInfo:
    """Turn a nibabel header into what the reader needs, or say what is wrong with it.

    Raises:
        DataError: ``not_3d``, ``unsupported_dtype``, ``too_many_voxels``, ``bad_scaling``, ``bad_affine``,
            ``sheared_grid``, ``missing_orientation``, ``orientation_conflict``, ``implausible_spacing``,
            ``spacing_conflict``, ``not_nifti``.
    """
    shape = _shape(header, path)
    if math.prod(shape) > limits.max_voxels:
        raise DataError(
            f"{path.name}: the header claims {math.prod(shape):,} voxels, the limit is {limits.max_voxels:,}",
            code="too_many_voxels",
            hint="crop or resample the volume, or raise ReadLimits.max_voxels if the file is genuine",
        )
    code = int(header["datatype"])
    if code not in _DTYPES:
        raise DataError(
            f"{path.name}: stored type {code} is no plain number",
            code="unsupported_dtype",
            hint="save the volume as int16 or float32",
        )
    offset = float(header["vox_offset"])
    if not (header.sizeof_hdr <= offset <= _MAX_OFFSET_BYTES):
        raise DataError(
            f"{path.name}: the voxels cannot start at byte {offset:g}", code="not_nifti", hint=EXPORT_HINT
        )
    slope, intercept = _scaling(header, path)
    return NiftiInfo(
        grid=Grid(shape, _affine(header, path, shape)),
        dtype=np.dtype(header.endianness + _DTYPES[code]),
        slope=slope,
        intercept=intercept,
        data_offset=int(offset),
    )


def _shape(header: Any, path: Path) -> tuple[int, int, int]:
    dimensions = int(header["dim"][0])
    sizes = [int(n) for n in header["dim"][1 : 1 + max(0, min(dimensions, 7))]]
    if not 1 <= dimensions <= 7 or any(n < 1 for n in sizes):
        raise DataError(f"{path.name}: impossible dimensions {sizes}", code="not_nifti", hint=EXPORT_HINT)
    while len(sizes) > 3 and sizes[-1] == 1:
        sizes.pop()
    if len(sizes) != 3:
        raise DataError(
            f"{path.name}: {len(sizes)}-dimensional, shape {'x'.join(map(str, sizes))}",
            code="not_3d",
            hint="write one file per phase or time point: nib.funcs.four_to_three(image)",
        )
    return sizes[0], sizes[1], sizes[2]


def _scaling(header: Any, path: Path) -> tuple[float, float]:
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0 or not math.isfinite(slope):
        return 1.0, 0.0
    if not math.isfinite(intercept):
        raise DataError(f"{path.name}: scl_inter is {intercept}", code="bad_scaling", hint=EXPORT_HINT)
    return slope, intercept


def _affine(header: Any, path: Path, shape: tuple[int, int, int]) -> Affine:
    by_sform, by_qform = int(header["sform_code"]) > 0, int(header["qform_code"]) > 0
    if not by_sform and not by_qform:
        raise DataError(
            f"{path.name}: neither sform nor qform is set, so left and right are unknown",
            code="missing_orientation",
            hint="convert anew from DICOM; never guess the side",
        )
    scale = _MM_PER_UNIT.get(int(header["xyzt_units"]) & 0x07, 1.0)
    candidates = []
    if by_sform:
        candidates.append(_in_millimetres(header.get_sform(), scale))
    if by_qform:
        candidates.append(_in_millimetres(_qform(header, path), scale))
    if len(candidates) == 2 and axis_codes(Grid(shape, candidates[0])) != axis_codes(
        Grid(shape, candidates[1])
    ):
        codes = [axis_codes(Grid(shape, affine)) for affine in candidates]
        raise DataError(
            f"{path.name}: sform says {codes[0]} and qform says {codes[1]}",
            code="orientation_conflict",
            hint="find out which one is right and write it to both; readers differ in which they take",
        )
    affine = _plausible(candidates[0], path)
    _require_one_spacing(header, affine, path, scale)
    return affine


def _qform(header: Any, path: Path) -> Affine:
    try:
        return np.asarray(header.get_qform(), dtype=np.float64)
    except (ValueError, HeaderDataError) as error:
        raise DataError(
            f"{path.name}: the qform is no rotation", code="bad_affine", hint=EXPORT_HINT
        ) from error


def _in_millimetres(affine: Affine, scale: float) -> Affine:
    matrix = np.array(affine, dtype=np.float64)
    matrix[:3] *= scale
    return checked_affine(matrix)


def _require_one_spacing(header: Any, affine: Affine, path: Path, scale: float) -> None:
    """Some readers take the spacing from pixdim, others from the sform: a file where they differ has two sizes."""
    stated = np.abs(np.asarray(header["pixdim"][1:4], dtype=np.float64)) * scale
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    known = np.isfinite(stated) & (stated > 0)
    if not np.allclose(stated[known], spacing[known], rtol=0.02):
        numbers = ["x".join(f"{value:.4g}" for value in values) for values in (spacing, stated)]
        raise DataError(
            f"{path.name}: voxel size {numbers[0]} mm by the sform, {numbers[1]} mm by pixdim",
            code="spacing_conflict",
            hint="find out which one is right and write it to both; readers differ in which they take",
        )


def _plausible(affine: Affine, path: Path) -> Affine:
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    low, high = _SPACING_RANGE_MM
    if (spacing < low).any() or (spacing > high).any():
        numbers = "x".join(f"{value:.4g}" for value in spacing)
        raise DataError(
            f"{path.name}: voxel size {numbers} mm is outside {low:g} to {high:g} mm",
            code="implausible_spacing",
            hint="check the unit (xyzt_units) and the spacing in the header",
        )
    cosines = affine[:3, :3] / spacing
    shear = float(np.abs(cosines.T @ cosines - np.eye(3)).max())
    if shear > _MAX_SHEAR:
        raise DataError(
            f"{path.name}: the axes are not at right angles (cosine {shear:.3f}): gantry tilt?",
            code="sheared_grid",
            hint="resample the volume onto a rectangular grid, e.g. with dcm2niix, which corrects the tilt",
        )
    return affine
