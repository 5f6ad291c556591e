"""MetaImage and NRRD through SimpleITK (``[dicom]`` extra)."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np

from rsuper.errors import DataError
from rsuper.volumes.extras import require_extra
from rsuper.volumes.limits import ReadLimits
from rsuper.volumes.volume import Volume

_MAX_HEADER_BYTES = 1 << 16
_MAX_DEFLATE_RATIO = 1032
_DATA_FILE = re.compile(
    rb"^(?:ElementDataFile\s*=|data ?file:)[ \t]*([^\r\n]*)", re.IGNORECASE | re.MULTILINE
)
_OWN_DATA = re.compile(rb"LOCAL|[A-Za-z0-9][A-Za-z0-9._-]*")


def read_itk(path: Path, *, limits: ReadLimits | None = None) -> Volume:
    """Read .mha, .mhd or .nrrd: int16 where the values are whole numbers that fit, else float32.

    Raises:
        UsageError: ``extra_missing`` without ``rsuper[dicom]``.
        DataError: ``file_missing``, ``unreadable_file``, ``not_3d``, ``unsupported_dtype``,
            ``too_many_voxels``, ``nonfinite_voxels``, ``truncated_file``, ``path_escapes``.
    """
    limits = limits or ReadLimits()
    sitk = require_extra("SimpleITK", extra="dicom", purpose=f"reading {path.suffix}")
    if not path.is_file():
        raise DataError(f"{path.name} does not exist", code="file_missing")
    _require_own_data(path)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
        size = tuple(reader.GetSize())
        if len(size) != 3:
            raise DataError(
                f"{path.name}: {len(size)}-dimensional", code="not_3d", hint="write one 3-D file each"
            )
        if math.prod(size) > limits.max_voxels:
            raise DataError(f"{path.name}: claims {math.prod(size):,} voxels", code="too_many_voxels")
        if math.prod(size) > _MAX_DEFLATE_RATIO * sum(item.stat().st_size for item in _data_files(path)):
            raise DataError(f"{path.name}: the header claims more than is stored", code="truncated_file")
        if reader.GetNumberOfComponents() != 1:
            raise DataError(f"{path.name}: colour or vector voxels", code="unsupported_dtype")
        image = reader.Execute()
    except RuntimeError as error:
        raise DataError(
            f"{path.name} cannot be read", code="unreadable_file", hint="copy or download the file again"
        ) from error
    array = sitk.GetArrayFromImage(image).transpose(2, 1, 0)
    if not np.isfinite(array).all():
        raise DataError(f"{path.name}: NaN or infinite voxels", code="nonfinite_voxels")
    affine = np.eye(4)
    direction = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    affine[:3, :3] = np.diag([-1.0, -1.0, 1.0]) @ direction
    affine[:3, 3] = np.array(image.GetOrigin()) * (-1.0, -1.0, 1.0)
    fits = array.dtype.kind in "iu" and array.min() >= -32768 and array.max() <= 32767
    return Volume(np.ascontiguousarray(array.astype(np.int16 if fits else np.float32)), affine)


def _require_own_data(path: Path) -> None:
    """A header may name another file for its voxels: only one beside it, never a path or a list."""
    for name in _named_data_files(path):
        if _OWN_DATA.fullmatch(name) is None or name.upper() == b"LIST":
            raise DataError(
                f"{path.name}: the voxels lie in another place",
                code="path_escapes",
                hint="save the volume as one file, .mha or .nrrd",
            )


def _named_data_files(path: Path) -> list[bytes]:
    with path.open("rb") as file:
        return [name.strip() for name in _DATA_FILE.findall(file.read(_MAX_HEADER_BYTES))]


def _data_files(path: Path) -> list[Path]:
    names = [name.decode("ascii") for name in _named_data_files(path) if name.upper() != b"LOCAL"]
    return [path, *(path.with_name(name) for name in names if path.with_name(name).is_file())]
