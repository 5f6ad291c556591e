"""The part of a case that one class is explained on: a box, coarser than the case where that would be too much."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rsuper.errors import DataError, UsageError
from rsuper.morphology import Box, Spacing, grow_box, reach_voxels
from rsuper.supervision.regions import Host, mask_box, union_mask
from rsuper.views.explain_case import ExplainCase, Seat

Bool = NDArray[np.bool_]
AROUND_MM = 14.0


@dataclass(frozen=True, kw_only=True)
class Crop:
    """A box of a case.

    Args:
        ct_hu: [i,j,k].
        organs: structure name -> bool [i,j,k], those that reach into the box.
        spacing_mm: voxel size in array order.
        seats: stated lesions inside the box, on its grid.
        probability: [i,j,k], where a prediction was given.
    """

    ct_hu: NDArray[np.generic]
    organs: Mapping[str, Bool]
    spacing_mm: Spacing
    seats: tuple[Seat, ...]
    probability: NDArray[np.float32] | None


def crop_case(
    case: ExplainCase,
    host: Host,
    *,
    margin_mm: float,
    voxels: int,
    probability: NDArray[np.float32] | None,
) -> Crop:
    """Cut out an organ and what its region can reach, plus a rim.

    Args:
        case: the patient.
        host: the organ.
        margin_mm: margin of its region.
        voxels: at most so many; more are resampled to a coarser grid.
        probability: [i,j,k] on the case's grid, or None.

    Raises:
        DataError: ``organ_mask_empty``.
    """
    spacing = case.spacing_mm
    organ = union_mask(case.organs, host.structures)
    box = mask_box(organ, margin_mm=1.5 * margin_mm + AROUND_MM, spacing_mm=spacing)
    if box is None:
        raise DataError(
            "the organ mask is empty", code="organ_mask_empty", hint="check the mask of the organ"
        )
    start = tuple(part.start for part in box)
    wide = grow_box(box, reach_voxels(4.0, spacing), organ.shape)
    organs = {name: mask[box] for name, mask in case.organs.items() if mask[wide].any()}
    seats = tuple(
        replace(
            seat,
            voxel=_shifted(seat.voxel, start),
            mask=None if seat.mask is None else seat.mask[box],
        )
        for seat in case.seats
        if all(part.start <= at < part.stop for part, at in zip(box, seat.voxel, strict=True))
    )
    crop = Crop(
        ct_hu=case.ct_hu[box],
        organs=organs,
        spacing_mm=spacing,
        seats=seats,
        probability=None if probability is None else probability[box],
    )
    return crop if crop.ct_hu.size <= voxels else _coarser(crop, case, box, voxels)


def _coarser(crop: Crop, case: ExplainCase, box: Box, voxels: int) -> Crop:
    """The same box on an isotropic grid that has at most so many voxels."""
    from rsuper.volumes import Volume, resample

    extent = [n * s for n, s in zip(crop.ct_hu.shape, crop.spacing_mm, strict=True)]
    side = max(float(np.cbrt(np.prod(extent) / voxels)), min(crop.spacing_mm))
    sides = [max(side, s) for s in crop.spacing_mm]
    affine = np.array(case.affine)
    affine[:3, 3] = case.affine[:3, :3] @ [part.start for part in box] + case.affine[:3, 3]

    def moved(array: NDArray[np.generic]) -> NDArray[np.generic]:
        return resample(Volume(np.ascontiguousarray(array), affine), sides).array

    ct = resample(Volume(np.ascontiguousarray(crop.ct_hu), affine), sides)
    factor = [old / new for old, new in zip(crop.spacing_mm, ct.spacing_mm, strict=True)]
    seats = tuple(
        replace(
            seat,
            voxel=clamped([int((at + 0.5) * f) for at, f in zip(seat.voxel, factor, strict=True)], ct.shape),
            mask=None if seat.mask is None else np.asarray(moved(seat.mask), dtype=bool),
        )
        for seat in crop.seats
    )
    probability = None if crop.probability is None else np.asarray(moved(crop.probability), np.float32)
    return Crop(
        ct_hu=ct.array,
        organs={name: np.asarray(moved(mask), dtype=bool) for name, mask in crop.organs.items()},
        spacing_mm=ct.spacing_mm,
        seats=seats,
        probability=None if probability is None else probability.clip(0, 1),
    )


def _shifted(voxel: Sequence[int], start: Sequence[int]) -> tuple[int, int, int]:
    i, j, k = (at - first for at, first in zip(voxel, start, strict=True))
    return i, j, k


def clamped(voxel: Sequence[int], shape: Sequence[int]) -> tuple[int, int, int]:
    """The nearest voxel inside a grid."""
    i, j, k = (min(max(0, at), size - 1) for at, size in zip(voxel, shape, strict=True))
    return i, j, k


def read_probabilities(
    prediction: Path | None, case: ExplainCase, classes: Sequence[str]
) -> dict[str, NDArray[np.float32]]:
    """Lesion class -> probabilities [i,j,k] on the case's grid.

    Args:
        prediction: a file for the first class, a folder with CLASS.nii.gz, or None for nothing.
        case: the patient.
        classes: lesion classes of the organs that the sentence names.

    Raises:
        UsageError: ``prediction_missing`` if there is no such file.
        DataError: ``grid_mismatch``, or ``not_probabilities`` if a value lies outside [0, 1].
    """
    if prediction is None:
        return {}
    from rsuper.volumes import Volume, read_volume, require_same_grid, to_canonical

    files = {classes[0]: prediction} if prediction.is_file() else {}
    if prediction.is_dir():
        files = {name: path for name in classes if (path := prediction / f"{name}.nii.gz").is_file()}
    if not files:
        raise UsageError(
            f"no probabilities in {prediction}",
            code="prediction_missing",
            hint=f"--prediction takes a file, or a folder with {' or '.join(f'{c}.nii.gz' for c in classes)}",
        )
    found: dict[str, NDArray[np.float32]] = {}
    for name, path in files.items():
        volume = to_canonical(read_volume(path))
        require_same_grid(Volume(case.ct_hu, case.affine), volume, names=("the CT", path.name))
        values = np.asarray(volume.array, np.float32)
        if not bool(np.isfinite(values).all()) or values.min() < 0 or values.max() > 1:
            raise DataError(
                f"{path.name} holds values outside 0 to 1",
                code="not_probabilities",
                hint="give probabilities, as `rsuper predict --probabilities` writes them",
            )
        found[name] = values
    return found
