"""One door for every format: NIfTI first; DICOM series and ITK formats through the ``[dicom]`` extra."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rsuper.errors import DataError
from rsuper.volumes.limits import ReadLimits
from rsuper.volumes.nifti import read_nifti, read_nifti_info, read_nifti_labels, read_nifti_mask, write_nifti
from rsuper.volumes.volume import Grid, Volume

_NIFTI = (".nii.gz", ".nii")
_ITK = (".mha", ".mhd", ".nrrd")


def is_volume_name(name: str) -> bool:
    """True for a file name that :func:`read_volume` knows."""
    return name.endswith(_NIFTI + _ITK)


def read_volume(path: Path | str, *, limits: ReadLimits | None = None) -> Volume:
    """Read a CT: int16 where the values are whole HU that fit, else float32.

    Args:
        path: .nii.gz, .nii, a folder with one DICOM series, or .mha/.mhd/.nrrd (the last two need the
            ``[dicom]`` extra).
        limits: caps on what the file may claim.

    Returns:
        Voxels in the file's own axis order; :func:`rsuper.volumes.to_canonical` turns them to RAS+.

    Raises:
        DataError: with a stable code for whatever is wrong with the file.
    """
    path = Path(path)
    if path.is_dir():
        from rsuper.volumes.dicom import read_dicom_series

        return read_dicom_series(path, limits=limits)
    if path.name.lower().endswith(_ITK):
        from rsuper.volumes.itk import read_itk

        return read_itk(path, limits=limits)
    return read_nifti(path, limits=limits)


def read_mask(path: Path | str, *, limits: ReadLimits | None = None) -> Volume:
    """Read a mask as bool: True where the stored value is not zero (formats as in :func:`read_volume`)."""
    path = Path(path)
    if path.name.lower().endswith(_ITK):
        volume = read_volume(path, limits=limits)
        return Volume(volume.array != 0, volume.affine)
    return read_nifti_mask(path, limits=limits)


def read_labels(path: Path | str, *, limits: ReadLimits | None = None) -> Volume:
    """Read a label map as uint8 or uint16 (formats as in :func:`read_volume`).

    Raises:
        DataError: ``labels_not_integer`` if a value is no whole number from 0 to 65535.
    """
    path = Path(path)
    if not path.name.lower().endswith(_ITK):
        return read_nifti_labels(path, limits=limits)
    volume = read_volume(path, limits=limits)
    if volume.array.min() < 0 or volume.array.max() > 65535 or (volume.array != np.rint(volume.array)).any():
        raise DataError(f"{path.name}: a label is no whole number from 0 to 65535", code="labels_not_integer")
    return Volume(volume.array.astype(np.uint8 if volume.array.max() < 256 else np.uint16), volume.affine)


def read_grid(path: Path | str, *, limits: ReadLimits | None = None) -> Grid:
    """Read the geometry alone, without decoding the voxels of a NIfTI file."""
    path = Path(path)
    if path.is_dir() or path.name.lower().endswith(_ITK):
        return read_volume(path, limits=limits).grid
    return read_nifti_info(path, limits=limits).grid


def write_volume(path: Path | str, volume: Volume) -> None:
    """Write NIfTI atomically and reproducibly (see :func:`rsuper.volumes.nifti.write_nifti`)."""
    write_nifti(Path(path), volume)
