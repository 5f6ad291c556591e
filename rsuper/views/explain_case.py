"""The patient on whom a sentence is explained: the phantom with the stated lesions, or a CT with its organ masks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from llm_extract.anatomy import Anatomy
from llm_extract.records import Lesion, ReportRecord
from rsuper.errors import DataError, UsageError
from rsuper.supervision.groups import count_interval, sides_of_members
from rsuper.supervision.regions import Host, find_host, union_mask
from rsuper.supervision.sizes import lesion_size
from rsuper.views.explain_phantom import (
    CONTRAST_HU,
    UNSIZED_MM,
    ellipsoid,
    load_phantom,
    paint_lesion,
    seat_in,
)

Bool = NDArray[np.bool_]
Voxel = tuple[int, int, int]
MAX_PAINTED = 4
FLUID_KINDS = frozenset({"cyst", "simple_cyst", "pseudocyst", "hydatid_cyst"})


@dataclass(frozen=True, kw_only=True)
class Seat:
    """Where a stated lesion sits on the page.

    Args:
        organ: its organ.
        lesion_id: the entry of the record.
        voxel: its centre.
        diameter_mm: its longest diameter, assumed where none is stated.
        mask: bool [i,j,k], its voxels; None if no truth is known.
    """

    organ: str
    lesion_id: str
    voxel: Voxel
    diameter_mm: float
    mask: Bool | None = None


@dataclass(frozen=True, kw_only=True)
class ExplainCase:
    """A patient, RAS array order.

    Args:
        origin: ``phantom`` (its lesions are painted as stated) or ``ct`` (nobody knows where they are).
        ct_hu: [i,j,k].
        organs: structure name -> bool [i,j,k].
        spacing_mm: voxel size in array order.
        affine: [4,4] voxel to RAS mm.
        seats: one a stated lesion that has a host here.
    """

    origin: Literal["phantom", "ct"]
    ct_hu: NDArray[np.generic]
    organs: Mapping[str, Bool]
    spacing_mm: tuple[float, float, float]
    affine: NDArray[np.float64]
    seats: tuple[Seat, ...] = ()


def phantom_case(record: ReportRecord, anatomy: Anatomy) -> ExplainCase:
    """The phantom, with the lesions of a record painted as ellipsoids of their stated diameters."""
    phantom = load_phantom()
    ct_hu: NDArray[np.generic] = phantom.ct_hu
    seats: list[Seat] = []
    for lesion, seat in _seats(record, phantom.organs, anatomy, phantom.spacing_mm):
        fluid = lesion.kind in FLUID_KINDS or lesion.diagnosis in FLUID_KINDS
        ct_hu, mask = paint_lesion(
            ct_hu,
            seat.voxel,
            _drawn_diameters(lesion),
            spacing_mm=phantom.spacing_mm,
            contrast_hu=None if fluid else CONTRAST_HU[lesion.attenuation],
        )
        seats.append(
            Seat(
                organ=seat.organ,
                lesion_id=seat.lesion_id,
                voxel=seat.voxel,
                diameter_mm=seat.diameter_mm,
                mask=mask,
            )
        )
    return ExplainCase(
        origin="phantom",
        ct_hu=ct_hu,
        organs=phantom.organs,
        spacing_mm=phantom.spacing_mm,
        affine=np.diag([*phantom.spacing_mm, 1.0]),
        seats=tuple(seats),
    )


def read_case(record: ReportRecord, anatomy: Anatomy, *, ct: Path, organs: Path) -> ExplainCase:
    """A CT and its organ masks, one a file, such as ``ORGANS/pancreas_head.nii.gz``.

    Raises:
        UsageError: ``organs_missing`` if there is no folder with masks.
        DataError: ``grid_mismatch`` if a mask is not on the grid of the CT, or what is wrong with a file.
    """
    from rsuper.data.paths import volume_stem
    from rsuper.volumes import is_volume_name, read_mask, read_volume, require_same_grid, to_canonical

    files = sorted(p for p in organs.iterdir() if is_volume_name(p.name)) if organs.is_dir() else []
    files = [path for path in files if not volume_stem(path.name).endswith("_lesion")]
    if not files:
        raise UsageError(
            f"there are no organ masks in {organs}",
            code="organs_missing",
            hint="--organs takes a folder with one mask a file, named as pancreas.nii.gz or kidney_left.nii.gz",
        )
    volume = read_volume(ct)
    masks: dict[str, Bool] = {}
    for path in files:
        mask = read_mask(path)
        require_same_grid(volume, mask, names=("the CT", path.name))
        if mask.array.any():
            masks[volume_stem(path.name)] = np.asarray(to_canonical(mask).array, dtype=bool)
    canonical = to_canonical(volume)
    spacing = canonical.spacing_mm
    seats = tuple(seat for _, seat in _seats(record, masks, anatomy, spacing))
    return ExplainCase(
        origin="ct",
        ct_hu=canonical.array,
        organs=masks,
        spacing_mm=spacing,
        affine=canonical.affine,
        seats=seats,
    )


def require_hosts(case: ExplainCase, organs: Sequence[str], anatomy: Anatomy) -> tuple[str, ...]:
    """Those of the organs that have a mask.

    Raises:
        DataError: ``organ_mask_missing`` if none has, naming the files that are looked for.
    """
    there = tuple(
        organ
        for organ in organs
        if organ in anatomy.organs and find_host(case.organs, anatomy, organ=organ).structures
    )
    if organs and not there:
        wanted = ", ".join(f"{stem}.nii.gz" for organ in organs for stem in organ_files(organ, anatomy))
        if case.origin == "phantom":
            names = ", ".join(sorted(case.organs))
            hint = f"the phantom has {names}; give --ct CT --organs DIR with {wanted or 'a mask of it'}"
        else:
            hint = f"add {wanted or 'a mask of it'} to the --organs folder"
        names = ", ".join(organ.replace("_", " ") for organ in organs)
        raise DataError(f"no mask of {names}", code="organ_mask_missing", hint=hint)
    return there


def organ_files(organ: str, anatomy: Anatomy) -> tuple[str, ...]:
    """The file names, without suffix, that hold an organ."""
    return anatomy.organ_structures(organ) if organ in anatomy.organs else ()


def ball_mask(
    shape: tuple[int, int, int], centre: Sequence[int], diameter_mm: float, *, spacing_mm: Sequence[float]
) -> Bool:
    """Voxels whose centre lies in a ball: bool [i,j,k]."""
    return np.asarray(ellipsoid(shape, centre, (diameter_mm,), spacing_mm=spacing_mm) <= 1 + 1e-9)


def _seats(
    record: ReportRecord, organs: Mapping[str, Bool], anatomy: Anatomy, spacing_mm: Sequence[float]
) -> list[tuple[Lesion, Seat]]:
    """Deep in its host, one after the other; an entry of several lesions takes several."""
    shape = next(iter(organs.values())).shape
    taken = np.zeros(shape, dtype=bool)
    seats: list[tuple[Lesion, Seat]] = []
    for lesion in record.lesions:
        if lesion.organ not in anatomy.organs or lesion.change == "resolved":
            continue
        hosts = _member_hosts(lesion, record, organs, anatomy)
        diameter = max(_drawn_diameters(lesion), default=UNSIZED_MM)
        for host in hosts:
            inside = union_mask(organs, host.structures)
            voxel = seat_in(inside, taken, spacing_mm=spacing_mm)
            if voxel is None:
                break
            taken |= ball_mask(inside.shape, voxel, 1.3 * diameter + 4, spacing_mm=spacing_mm)
            seats.append(
                (
                    lesion,
                    Seat(
                        organ=lesion.organ,
                        lesion_id=lesion.lesion_id,
                        voxel=voxel,
                        diameter_mm=diameter,
                    ),
                )
            )
    return seats


def _member_hosts(
    lesion: Lesion, record: ReportRecord, organs: Mapping[str, Bool], anatomy: Anatomy
) -> list[Host]:
    """Where each of the painted lesions of an entry lies: on its own side first, where both sides have one."""
    group = [
        other for other in record.lesions if lesion.group_id is not None and other.group_id == lesion.group_id
    ]
    number = min(count_interval(lesion).low, MAX_PAINTED)
    sides = (*sides_of_members(lesion, group), *[lesion.laterality] * number)[:number]
    hosts = [
        find_host(organs, anatomy, organ=lesion.organ, parts=lesion.parts, laterality=side) for side in sides
    ]
    return [host for host in hosts if host.structures]


def _drawn_diameters(lesion: Lesion) -> tuple[float, ...]:
    """What is painted: the stated diameters, else the ball of a likely volume, else nothing."""
    size = lesion_size(lesion)
    if lesion.diameters_mm and lesion.size_kind in ("exact", "approximate"):
        return tuple(lesion.diameters_mm)
    low, high = size.volume_mm3
    if size.stated and math.isfinite(high):
        return ((6 * math.sqrt(low * high) / math.pi) ** (1 / 3),)
    return size.diameters_mm
