"""A predicted mask becomes findings: one measured, located entry a connected lesion."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from rsuper.errors import DataError
from rsuper.prediction.case_score import case_score
from rsuper.prediction.findings import Finding, Side
from rsuper.supervision.targets import organ_of_class
from rsuper.volumes.volume import checked_affine

if TYPE_CHECKING:
    from llm_extract.anatomy import Anatomy, Organ

Key = TypeVar("Key", bound=str)
Box = tuple[slice, slice, slice]

MIN_VOLUME_MM3 = 14.0  # a ball of 3 mm, the smallest lesion that a target may ask for
MIN_VOXELS = 2  # a single voxel has no measurable extent and is as often noise
NEAR_MM = 15.0  # how far outside its organ a lesion may lie and still be given a part and a side


class AxialDiameters(NamedTuple):
    """Size of one lesion as a report would state it.

    Args:
        longest_mm: longest in-plane Feret diameter over all axial slices, plus one mean pixel.
        perpendicular_mm: Feret width perpendicular to it in the same slice, plus one mean pixel.
        cranio_caudal_mm: number of axial slices times their distance.
        slice_index: index along the axial axis of the slice that holds the longest diameter, 0-based.
    """

    longest_mm: float
    perpendicular_mm: float
    cranio_caudal_mm: float
    slice_index: int


def spacing_of(affine: ArrayLike) -> tuple[float, float, float]:
    """Voxel size in mm, array order, of a 4×4 voxel-to-world affine."""
    lengths = np.linalg.norm(checked_affine(affine)[:3, :3], axis=0)
    return float(lengths[0]), float(lengths[1]), float(lengths[2])


def axial_axis_of(affine: ArrayLike) -> int:
    """The array axis (0, 1 or 2) that runs closest to head–feet, of a 4×4 affine in RAS+ mm."""
    directions = np.asarray(affine, dtype=np.float64)[:3, :3] / np.asarray(spacing_of(affine))
    return int(np.argmax(np.abs(directions[2])))


def axial_diameters(
    mask: NDArray[np.bool_], *, spacing_mm: Sequence[float], axial_axis: int
) -> AxialDiameters:
    """Measure one lesion in its axial slices, as radiologists do.

    The Feret diameter in direction u is max(x·u) − min(x·u) over the voxel centres x; one mean pixel is added
    because a lesion reaches half a pixel beyond its outermost centres on either side. Directions are sampled
    every degree.

    Args:
        mask: bool [D,H,W], one lesion.
        spacing_mm: voxel size in mm, array order.
        axial_axis: array axis perpendicular to the axial slices.

    Raises:
        DataError: the mask is empty.

    Example:
        >>> box = np.zeros((9, 9, 9), bool); box[2:7, 3:6, 4] = True
        >>> axial_diameters(box, spacing_mm=(1, 1, 2.5), axial_axis=2)[1:]
        (4.4..., 2.5, 4)
    """
    moved = np.moveaxis(mask, axial_axis, 2)
    rows, columns = (float(s) for i, s in enumerate(spacing_mm) if i != axial_axis)
    used = np.flatnonzero(moved.any(axis=(0, 1)))
    if used.size == 0:
        raise DataError("cannot measure an empty mask", code="empty_mask")
    angles = np.deg2rad(np.arange(180))
    directions = np.stack([np.cos(angles), np.sin(angles)])  # [2, 180]
    best = (-1.0, 0.0, int(used[0]))
    for index in used:
        widths = np.ptp(_outline_mm(moved[:, :, index], rows, columns) @ directions, axis=0)
        angle = int(np.argmax(widths))
        longest, perpendicular = float(widths[angle]), float(widths[(angle + 90) % 180])
        # of slices with the same longest diameter the widest one is measured
        if longest > best[0] + 1e-9 or (longest > best[0] - 1e-9 and perpendicular > best[1]):
            best = (longest, perpendicular, int(index))
    pixel = (rows + columns) / 2
    height = (int(used[-1]) - int(used[0]) + 1) * float(spacing_mm[axial_axis])
    return AxialDiameters(best[0] + pixel, best[1] + pixel, height, best[2])


def _outline_mm(plane: NDArray[np.bool_], row_mm: float, column_mm: float) -> NDArray[np.float64]:
    """First and last voxel of every row: [n,2] mm points with the same convex hull as the whole plane."""
    rows = np.flatnonzero(plane.any(axis=1))
    first = plane[rows].argmax(axis=1)
    last = plane.shape[1] - 1 - plane[rows, ::-1].argmax(axis=1)
    points = np.concatenate([np.stack([rows, first], axis=1), np.stack([rows, last], axis=1)])
    return np.asarray(points * np.array([row_mm, column_mm]), dtype=np.float64)


def find_lesions(
    mask: NDArray[np.bool_],
    probability: ArrayLike | None,
    ct: ArrayLike | None,
    *,
    affine: ArrayLike,
    class_name: str,
    organ_masks: Mapping[str, NDArray[np.bool_]] | None = None,
    anatomy: Anatomy | None = None,
    min_volume_mm3: float = MIN_VOLUME_MM3,
) -> list[Finding]:
    """Split a mask into connected lesions (26-connectivity) and measure, locate and grade each.

    Args:
        mask: bool [D,H,W], predicted or drawn voxels of one lesion class.
        probability: [D,H,W] in [0, 1] or None; ``confidence`` is the mean of the lesion's most probable
            100 mm³ (``case_score`` inside the lesion), None without a probability.
        ct: [D,H,W] HU or None; gives ``mean_hu``.
        affine: 4×4 voxel index -> RAS+ mm.
        class_name: lesion class such as ``pancreas_lesion``.
        organ_masks: structure name -> bool [D,H,W] on the same grid, such as ``pancreas_head`` or
            ``kidney_left``; part and side are those of the structure with the largest overlap, else of the
            nearest one within 15 mm.
        anatomy: table of organs, parts and sides; None is the built-in one.
        min_volume_mm3: smaller components, and single voxels, are dropped as noise; 0 keeps all.

    Returns:
        Findings from the largest to the smallest, ids ``<class_name>-1`` onwards.

    Raises:
        DataError: shapes differ or the class belongs to no organ of the anatomy.
    """
    arrays = {"probability": probability, "ct": ct, **(organ_masks or {})}
    for name, array in arrays.items():
        if array is not None and np.shape(array) != mask.shape:
            raise DataError(
                f"{name} has shape [D,H,W] = {np.shape(array)}, the mask {mask.shape}", code="shape_mismatch"
            )
    places = _Places.of(class_name, organ_masks or {}, anatomy)
    box = mask_box(mask)
    if box is None:
        return []
    # everything happens on the box of the mask: a whole CT has a thousand times as many voxels
    labels, _ = ndimage.label(mask[box], structure=np.ones((3, 3, 3), dtype=bool))
    voxel_mm3 = math.prod(spacing_of(affine))
    counts = np.bincount(labels.ravel())
    boxes = ndimage.find_objects(labels)
    least = smallest_voxels(min_volume_mm3, voxel_mm3)
    keep = [i for i in range(1, counts.size) if counts[i] >= least]
    keep.sort(key=lambda i: (-int(counts[i]), i))
    findings = []
    for number, label in enumerate(keep, start=1):
        inner = boxes[label - 1]
        place = _shifted(inner, box)
        findings.append(
            _measure(
                labels[inner] == label,
                place,
                lesion_id=f"{class_name}-{number}",
                probability=None if probability is None else np.asarray(probability)[place],
                ct=None if ct is None else np.asarray(ct)[place],
                affine=np.asarray(affine, dtype=np.float64),
                places=places,
            )
        )
    return findings


def smallest_voxels(min_volume_mm3: float, voxel_mm3: float) -> int:
    """How many voxels a component needs to count as a lesion; 1 where every component is wanted."""
    if min_volume_mm3 <= 0:
        return 1
    return max(MIN_VOXELS, math.ceil(min_volume_mm3 / voxel_mm3 - 1e-9))


def mask_box(mask: NDArray[np.bool_]) -> Box | None:
    """The smallest box that holds a mask, None if it is empty."""
    spans = []
    for axis in range(3):
        used = np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis)))
        if used.size == 0:
            return None
        spans.append(slice(int(used[0]), int(used[-1]) + 1))
    return spans[0], spans[1], spans[2]


def _shifted(inner: Box, outer: Box) -> Box:
    """A box inside another one, in the coordinates of the whole volume."""
    first, second, third = (
        slice(i.start + o.start, i.stop + o.start) for i, o in zip(inner, outer, strict=True)
    )
    return first, second, third


def _measure(
    lesion: NDArray[np.bool_],
    box: Box,
    *,
    lesion_id: str,
    probability: NDArray[np.floating] | None,
    ct: NDArray[np.generic] | None,
    affine: NDArray[np.float64],
    places: _Places,
) -> Finding:
    """One finding from one component, given on its bounding box."""
    spacing = spacing_of(affine)
    axis = axial_axis_of(affine)
    size = axial_diameters(lesion, spacing_mm=spacing, axial_axis=axis)
    offset = np.array([s.start for s in box], dtype=np.float64)
    voxel = np.argwhere(lesion).mean(axis=0) + offset
    world = affine[:3, :3] @ voxel + affine[:3, 3]
    part, side = places.locate(lesion, box, spacing)
    hu = None if ct is None else float(ct[lesion].astype(np.float64).mean())
    return Finding(
        lesion_id=lesion_id,
        class_name=places.class_name,
        organ=places.organ,
        part=part,
        side=side,
        diameters_mm=(
            round(size.longest_mm, 2),
            round(size.perpendicular_mm, 2),
            round(size.cranio_caudal_mm, 2),
        ),
        volume_mm3=round(float(lesion.sum()) * math.prod(spacing), 3),
        mean_hu=None if hu is None or not math.isfinite(hu) else round(hu, 2),
        confidence=None
        if probability is None
        else round(case_score(probability, lesion, spacing_mm=spacing), 6),
        centre_mm=(round(float(world[0]), 3), round(float(world[1]), 3), round(float(world[2]), 3)),
        centre_voxel=(round(float(voxel[0]), 3), round(float(voxel[1]), 3), round(float(voxel[2]), 3)),
        slice_index=size.slice_index + box[axis].start,
    )


class _Places(NamedTuple):
    """Where lesions of one class can be: the organ, and the masks of its parts and sides that are at hand."""

    class_name: str
    organ: str
    paired: Literal["paired", "single"]
    parts: Mapping[str, NDArray[np.bool_]]
    sides: Mapping[Side, NDArray[np.bool_]]

    @classmethod
    def of(cls, class_name: str, masks: Mapping[str, NDArray[np.bool_]], anatomy: Anatomy | None) -> _Places:
        if anatomy is None:
            from llm_extract.anatomy import load_anatomy

            anatomy = load_anatomy()
        name = organ_of_class(class_name, anatomy)
        if name is None:
            known = ", ".join(sorted(o.lesion_class for o in anatomy.organs.values()))
            raise DataError(
                f"no organ has the lesion class {class_name!r}",
                code="unknown_class",
                hint=f"known classes: {known}; organs of your own come with the anatomy",
            )
        organ = anatomy.organs[name]
        parts = {name: _union(masks, stems) for name, stems in _elementary_parts(organ).items()}
        sides: dict[Side, NDArray[np.bool_] | None] = {
            "left": _union(masks, organ.side_structures.get("left", ())),
            "right": _union(masks, organ.side_structures.get("right", ())),
        }
        return cls(
            class_name,
            organ.name,
            "paired" if organ.paired else "single",
            {name: mask for name, mask in parts.items() if mask is not None},
            {name: mask for name, mask in sides.items() if mask is not None},
        )

    def locate(
        self, lesion: NDArray[np.bool_], box: Box, spacing_mm: Sequence[float]
    ) -> tuple[str | None, Side]:
        part = _closest(self.parts, lesion, box, spacing_mm)
        if self.paired == "single":
            return part, "n/a"
        return part, _closest(self.sides, lesion, box, spacing_mm) or "unknown"


def _elementary_parts(organ: Organ) -> dict[str, tuple[str, ...]]:
    """Parts that label files tell apart: no union of others (neck = head + body), no file twice."""
    stems = {
        name: part.structures for name, part in organ.parts.items() if part.structures and not part.one_of
    }
    elementary: dict[str, tuple[str, ...]] = {}
    for name, files in stems.items():
        is_union = any(set(other) < set(files) for other in stems.values())
        if not is_union and files not in elementary.values():
            elementary[name] = files
    return elementary


def _union(masks: Mapping[str, NDArray[np.bool_]], names: Sequence[str]) -> NDArray[np.bool_] | None:
    """Union of the named masks; None unless all of them are at hand."""
    if not names or any(name not in masks for name in names):
        return None
    union = masks[names[0]].astype(bool)
    for name in names[1:]:
        union = union | masks[name].astype(bool)
    return union


def _closest(
    masks: Mapping[Key, NDArray[np.bool_]],
    lesion: NDArray[np.bool_],
    box: Box,
    spacing_mm: Sequence[float],
) -> Key | None:
    """The mask with the largest overlap with the lesion, else the nearest one within 15 mm, else None."""
    overlaps = {name: int((mask[box] & lesion).sum()) for name, mask in masks.items()}
    best = max(overlaps, key=lambda name: overlaps[name], default=None)
    if best is None or overlaps[best] > 0:
        return best
    shape = next(iter(masks.values())).shape
    margins = [math.ceil(NEAR_MM / s) for s in spacing_mm]
    wide = tuple(
        slice(max(0, b.start - m), min(n, b.stop + m)) for b, m, n in zip(box, margins, shape, strict=True)
    )
    grown = np.zeros([s.stop - s.start for s in wide], dtype=bool)
    grown[tuple(slice(b.start - w.start, b.stop - w.start) for b, w in zip(box, wide, strict=True))] = lesion
    distance = ndimage.distance_transform_edt(~grown, sampling=spacing_mm)
    near = {name: float(distance[mask[wide]].min()) for name, mask in masks.items() if mask[wide].any()}
    closest = min(near, key=lambda name: near[name], default=None)
    return closest if closest is not None and near[closest] <= NEAR_MM else None
