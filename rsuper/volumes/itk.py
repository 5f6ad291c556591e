"""MetaImage and NRRD through SimpleITK (``[dicom]`` extra)."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from rsuper.errors import DataError
from rsuper.volumes.extras import require_extra
from rsuper.volumes.limits import ReadLimits
from rsuper.volumes.volume import Volume


def read_itk(path: Path, *, limits: ReadLimits | None = None) -> Volume:
    """Read .mha, .mhd or .nrrd: int16 where the values are whole numbers that fit, else float32.

    Raises:
        UsageError: ``extra_missing`` without ``rsuper[dicom]``.
        DataError: ``file_missing``, ``unreadable_file``, ``not_3d``, ``unsupported_dtype``,
            ``too_many_voxels``, ``nonfinite_voxels``.
    """
    limits = limits or ReadLimits()
    sitk = require_extra("SimpleITK", extra="dicom", purpose=f"reading {path.suffix}")
    if not path.is_file():
        raise DataError(f"{path.name} does not exist", code="file_missing")
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
