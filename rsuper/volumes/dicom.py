"""A DICOM CT series as a volume in HU: slices sorted by position, every irregularity refused with a code."""

from __future__ import annotations

import hashlib
import warnings
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from rsuper.errors import DataError
from rsuper.volumes.extras import require_extra
from rsuper.volumes.limits import ReadLimits
from rsuper.volumes.slices import SlicePlane, correct_tilt, stack_geometry
from rsuper.volumes.volume import Volume

_MAX_FILES = 20_000
_PADDING_HU = -1024
_CONVERT_HINT = "convert the series with dcm2niix and give the .nii.gz"


def read_dicom_series(
    folder: Path,
    *,
    limits: ReadLimits | None = None,
    series_number: int | None = None,
    tilt: Literal["refuse", "correct"] = "refuse",
) -> Volume:
    """Read the one CT series that a folder holds (subfolders included; other objects are passed over).

    Args:
        folder: folder of DICOM files, one slice a file.
        limits: caps on voxels and time.
        series_number: which series, where the folder holds several.
        tilt: ``correct`` shears a tilted-gantry series onto a rectangular grid (linear interpolation
            in-plane) instead of refusing it.

    Returns:
        HU as int16 (float32 where the rescaling is not whole), array axes columns, rows, slices, the slices
        in the direction of the normal of the image plane. Padding becomes -1024.

    Raises:
        UsageError: ``extra_missing`` without ``rsuper[dicom]``.
        DataError: ``no_dicom_images``, ``several_series``, ``not_ct``, ``dicom_multiframe``,
            ``dicom_geometry_missing``, ``mixed_slices``, ``gantry_tilt``, ``missing_slices``,
            ``uneven_slices``, ``duplicate_slices``, ``too_few_slices``, ``dicom_pixels_undecodable``,
            ``too_many_voxels``, ``read_timeout``.
    """
    limits = limits or ReadLimits()
    deadline = limits.clock() + limits.time_limit_s
    pydicom = require_extra("pydicom", extra="dicom", purpose="reading a DICOM series")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom warns about every deviation in every header
        headers = _choose_series(_read_headers(pydicom, folder), folder, series_number)
        planes = [_plane(header, folder) for header in headers]
        order, grid, shear_mm = stack_geometry(planes, name=folder.name, tilt=tilt)
        if np.prod(grid.shape, dtype=np.int64) > limits.max_voxels:
            raise DataError(f"{folder.name}: {grid.shape} voxels are too many", code="too_many_voxels")
        array = _stack(pydicom, [headers[index] for index in order], folder, limits, deadline)
    if shear_mm is None:
        return Volume(array, grid.affine)
    return correct_tilt(array, grid, shear_mm=shear_mm, fill=_PADDING_HU)


def _read_headers(pydicom: Any, folder: Path) -> list[Any]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    if len(files) > _MAX_FILES:
        raise DataError(
            f"{folder.name} holds {len(files):,} files", code="several_series", hint="give one series"
        )
    headers = []
    for path in files:
        try:
            header = pydicom.dcmread(path, stop_before_pixels=True)
        except (pydicom.errors.InvalidDicomError, OSError, ValueError, AttributeError, KeyError, EOFError):
            continue
        if "Rows" in header and "LOCALIZER" not in (header.get("ImageType") or ()) and _is_ct_image(header):
            headers.append(header)
    if not headers:
        raise DataError(
            f"{folder.name} holds no DICOM CT slice",
            code="no_dicom_images",
            hint="give the folder with the slices of one CT series",
        )
    return headers


def _is_ct_image(header: Any) -> bool:
    """CT by modality or class; objects that say neither are kept and judged by their geometry."""
    modality = str(header.get("Modality") or "")
    if modality and modality != "CT":
        return False
    sop_class = str(header.get("SOPClassUID") or header.file_meta.get("MediaStorageSOPClassUID") or "")
    return not sop_class or sop_class.startswith("1.2.840.10008.5.1.4.1.1.2")


def _choose_series(headers: Sequence[Any], folder: Path, series_number: int | None) -> list[Any]:
    series: dict[tuple[str, str], list[Any]] = defaultdict(list)
    for header in headers:
        number = str(header.get("SeriesNumber") or "")
        if series_number is None or number == str(series_number):
            series[str(header.get("SeriesInstanceUID") or ""), number].append(header)
    if len(series) == 1:
        return next(iter(series.values()))
    sizes = ", ".join(
        f"number {number or 'none'}: {len(items)} slices" for (_, number), items in series.items()
    )
    raise DataError(
        f"{folder.name} holds {len(series)} CT series ({sizes or 'none of that number'})",
        code="several_series",
        hint="keep one series a folder, or choose it by series_number",
    )


def _plane(header: Any, folder: Path) -> SlicePlane:
    if int(header.get("NumberOfFrames") or 1) > 1:
        raise DataError(f"{folder.name}: multi-frame DICOM", code="dicom_multiframe", hint=_CONVERT_HINT)
    try:
        position = tuple(float(value) for value in header.ImagePositionPatient)
        cosines = np.array([float(value) for value in header.ImageOrientationPatient]).reshape(2, 3)
        row_mm, column_mm = (float(value) for value in header.PixelSpacing)
        plane = SlicePlane(
            position_mm=np.array(position),
            along_columns=cosines[0],
            along_rows=cosines[1],
            pixel_mm=(column_mm, row_mm),
            size=(int(header.Columns), int(header.Rows)),
        )
    except (AttributeError, TypeError, ValueError) as error:
        raise DataError(
            f"{folder.name}: a slice lacks position, orientation or pixel spacing",
            code="dicom_geometry_missing",
            hint="export the original slices from the archive; secondary captures have no geometry",
        ) from error
    return plane


def _stack(
    pydicom: Any, headers: Sequence[Any], folder: Path, limits: ReadLimits, deadline: float
) -> NDArray[Any]:
    """[columns, rows, slices] HU, int16 where every value is whole and fits."""
    slices: list[NDArray[np.float32]] = []
    seen: dict[bytes, int] = {}
    for number, header in enumerate(headers):
        pixels = _pixels(pydicom, header, folder)
        digest = hashlib.sha256(pixels.tobytes()).digest()
        if digest in seen and pixels.min() != pixels.max():
            raise DataError(
                f"{folder.name}: slices {seen[digest] + 1} and {number + 1} hold the same pixels",
                code="duplicate_slices",
                hint="export the series again; one slice was stored twice",
            )
        seen[digest] = number
        slices.append(_hounsfield(header, pixels))
        if limits.clock() > deadline:
            raise DataError(f"{folder.name}: not read after {limits.time_limit_s:g} s", code="read_timeout")
    array = np.stack(slices, axis=-1).transpose(1, 0, 2)
    whole = bool((array == np.rint(array)).all()) and array.min() >= -32768 and array.max() <= 32767
    return np.ascontiguousarray(array.astype(np.int16 if whole else np.float32))


def _pixels(pydicom: Any, header: Any, folder: Path) -> NDArray[Any]:
    try:
        pixels: NDArray[Any] = pydicom.dcmread(header.filename).pixel_array
    except Exception as error:  # decoders of several libraries raise whatever they like
        raise DataError(
            f"{folder.name}: the pixels of a slice cannot be decoded ({type(error).__name__})",
            code="dicom_pixels_undecodable",
            hint="truncated slice or missing decoder; " + _CONVERT_HINT,
        ) from error
    if pixels.shape != (int(header.Rows), int(header.Columns)):
        raise DataError(
            f"{folder.name}: a slice has shape {pixels.shape}", code="mixed_slices", hint=_CONVERT_HINT
        )
    return pixels


def _hounsfield(header: Any, pixels: NDArray[Any]) -> NDArray[np.float32]:
    slope = float(header.get("RescaleSlope") or 1.0)
    values = pixels.astype(np.float32) * slope + float(header.get("RescaleIntercept") or 0.0)
    padding = header.get("PixelPaddingValue")
    if padding is not None:
        values[pixels == int(padding)] = _PADDING_HU
    return values
