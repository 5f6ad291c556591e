"""Targets of a crop: what of a case's targets still holds when the network sees only a box of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rsuper.morphology import Box, ball_cells, bounding_box, voxel_volume_mm3
from rsuper.supervision.regions import Mask
from rsuper.supervision.types import CaseTargets, ClassTarget, LesionPlace, LesionTarget, PairTarget


@dataclass(frozen=True, kw_only=True)
class CropLabel:
    """Label and known mask of one class on one crop.

    Args:
        label: bool [D,H,W]; False where nothing is known.
        known: bool [D,H,W]; False voxels take no part in the segmentation loss.
    """

    label: Mask
    known: Mask


def crop_pairs(
    targets: CaseTargets,
    start: Sequence[int],
    stop: Sequence[int],
    *,
    sample: int,
    channels: Mapping[str, int],
    places: Mapping[str, Sequence[LesionPlace]] | None = None,
) -> tuple[PairTarget, ...]:
    """The active report pairs of the crop ``start:stop``.

    A crop that holds all of the region of a class takes the full target. A partial one keeps the upper
    bounds, its lower bounds fall to 0, and only lesions that surely lie inside keep their ball: their own
    region, or the part of it in their slab, is all inside. The others become remainders, whose region is
    ignored, never searched.

    Where a search over the whole region has said where the lesions are, a partial crop takes those whose centre it
    holds and no others, with the share of their lower bounds that their balls have inside and with their upper bounds;
    what reaches into it of the balls of others leaves the region. To the loss it is a part of the whole region's
    pseudo-mask, and a crop that holds none of the lesions must stay dark but for those that were not found.

    Args:
        targets: targets of the whole case.
        start: first voxel of the box, array order.
        stop: one past its last voxel, inside the grid.
        sample: index of the crop in its batch.
        channels: class -> output channel; classes that are not named are left out.
        places: class -> where its lesions were found, for regions larger than a crop.

    Returns:
        One pair a ``reported`` class with a weight whose region meets the crop, in the order of ``channels``.
    """
    box = _box(targets, start, stop)
    pairs = []
    for name, channel in channels.items():
        target = targets.classes.get(name)
        if target is None or target.state != "reported" or target.weight <= 0 or target.region is None:
            continue
        region = target.region[box].copy()
        if not region.any():
            continue
        whole = _pair(target, box, region, sample=sample, channel=channel)
        if _holds(box, target.region_box):
            pairs.append(whole)
            continue
        found = (places or {}).get(name, ())
        seen = {place.lesion: _seen(targets, target, place, box) for place in found}
        voxel_mm3 = voxel_volume_mm3(targets.spacing_mm)
        pairs.append(_at_places(whole, target, seen, voxel_mm3) if seen else _partial(whole, target, box))
    return tuple(pairs)


def crop_label(
    targets: CaseTargets,
    lesion_class: str,
    start: Sequence[int],
    stop: Sequence[int],
    *,
    voxels: NDArray[np.bool_] | None = None,
) -> CropLabel:
    """Label and known mask of one class on the crop ``start:stop``.

    voxels: the human mask, known everywhere · absent: known negative everywhere · reported: unknown inside
    the region (and where something that does not count lies), known negative outside · unknown: unknown in
    organ + margin, known negative elsewhere; unknown everywhere if no mask tells where the organ is.

    Args:
        targets: targets of the whole case.
        lesion_class: the class; one that the case does not have is unknown everywhere.
        start: first voxel of the box, array order.
        stop: one past its last voxel.
        voxels: the human mask of the crop, bool [D,H,W]; needed for the state ``voxels`` only.

    Raises:
        ValueError: the state is ``voxels`` and no mask of the crop's shape is given.
    """
    box = _box(targets, start, stop)
    shape = tuple(part.stop - part.start for part in box)
    label = np.zeros(shape, dtype=bool)
    target = targets.classes.get(lesion_class)
    if target is None:
        return CropLabel(label=label, known=np.zeros(shape, dtype=bool))
    if target.state == "voxels":
        if voxels is None or voxels.shape != shape:
            got = None if voxels is None else voxels.shape
            raise ValueError(
                f"{lesion_class} is voxel-labelled: needs its mask of shape (D, H, W) = {shape}, got {got}"
            )
        return CropLabel(label=np.asarray(voxels, dtype=bool), known=np.ones(shape, dtype=bool))
    if target.state == "absent":
        return CropLabel(label=label, known=np.ones(shape, dtype=bool))
    if target.region is None:
        return CropLabel(label=label, known=np.zeros(shape, dtype=bool))
    known = ~target.region[box]
    if target.ignore is not None:
        known &= ~target.ignore[box]
    return CropLabel(label=label, known=known)


def _box(targets: CaseTargets, start: Sequence[int], stop: Sequence[int]) -> Box:
    corners = list(zip(start, stop, targets.shape, strict=True))
    if any(not 0 <= first < last <= size for first, last, size in corners):
        raise ValueError(
            f"a crop lies inside the grid {targets.shape} (D, H, W), got {tuple(start)}:{tuple(stop)}"
        )
    first, second, third = (slice(int(low), int(high)) for low, high, _ in corners)
    return (first, second, third)


def _pair(target: ClassTarget, box: Box, region: Mask, *, sample: int, channel: int) -> PairTarget:
    """All that the report says, on the crop."""
    return PairTarget(
        sample=sample,
        channel=channel,
        region=torch.from_numpy(region),
        lesions=tuple(
            replace(
                lesion,
                region=_cut(lesion.region, box),
                centers=_cut(lesion.centers, box),
                slab=_shift_slab(lesion.slab, box),
            )
            for lesion in target.lesions
        ),
        volume_mm3=target.volume_mm3,
        median_mm3=target.median_mm3,
        sigma_log=target.sigma_log,
        weight=target.weight,
    )


def _partial(pair: PairTarget, target: ClassTarget, box: Box) -> PairTarget:
    """What still holds of a part of the region: upper bounds, and the lesions that surely are inside."""
    lesions = tuple(
        cropped if _surely_inside(lesion, target, box) else _as_remainder(cropped)
        for cropped, lesion in zip(pair.lesions, target.lesions, strict=True)
    )
    return replace(
        pair,
        lesions=lesions,
        volume_mm3=(0.0, target.volume_mm3[1]),
        median_mm3=None,
        sigma_log=None,
        complete=False,
    )


def _as_remainder(lesion: LesionTarget) -> LesionTarget:
    return replace(
        lesion,
        volume_mm3=(0.0, lesion.volume_mm3[1]),
        remainder=True,
        slab=None,
        centers=None,
        median_mm3=None,
        sigma_log=None,
    )


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """What a crop shows of a lesion that was found.

    Args:
        ball: bool [D,H,W] of the crop, the part of the lesion's ball in its region that lies in the crop.
        share: that part of the whole ball, 0 to 1.
        centred: True if the centre lies in the crop.
    """

    ball: Mask
    share: float
    centred: bool


def _seen(targets: CaseTargets, target: ClassTarget, place: LesionPlace, box: Box) -> _Seen:
    own = target.lesions[place.lesion].region
    region = target.region if own is None else own.numpy()
    cells = ball_cells(place.ball_mm, targets.spacing_mm).numpy().T + np.array(place.center)
    cells = cells[((cells >= 0) & (cells < targets.shape)).all(axis=1)]
    cells = cells[region[tuple(cells.T)]] if region is not None else cells
    corner = np.array([part.start for part in box])
    sides = [part.stop - part.start for part in box]
    shown = cells - corner
    shown = shown[((shown >= 0) & (shown < sides)).all(axis=1)]
    ball = np.zeros(sides, dtype=bool)
    ball[tuple(shown.T)] = True
    return _Seen(
        ball=ball,
        share=len(shown) / len(cells) if len(cells) else 0.0,
        centred=all(part.start <= at < part.stop for at, part in zip(place.center, box, strict=True)),
    )


def _at_places(
    pair: PairTarget, target: ClassTarget, seen: Mapping[int, _Seen], voxel_mm3: float
) -> PairTarget:
    """The lesions that were found in the crop, and those that were not found, which may be here.

    What reaches into the crop of the balls of those found elsewhere is taken out of the region: it is no background,
    and no place for the others.
    """
    lesions: list[LesionTarget] = []
    for index, lesion in enumerate(pair.lesions):
        found = seen.get(index)
        if lesion.remainder or found is None:
            lesions.append(_as_remainder(lesion))
        elif found.centred and found.share == 1:
            lesions.append(lesion)
        elif found.centred and found.share > 0:
            part = (found.share * lesion.volume_mm3[0], lesion.volume_mm3[1])
            lesions.append(replace(lesion, volume_mm3=part, median_mm3=None, sigma_log=None))
    held = [lesion for lesion in lesions if not lesion.remainder]
    everything = len(seen) == len(pair.lesions) and all(one.share == 1 for one in seen.values())
    nothing = np.zeros(pair.region.shape, dtype=bool)
    own = np.logical_or.reduce([nothing, *(one.ball for one in seen.values() if one.centred)])
    elsewhere = np.logical_or.reduce(
        [nothing, *(one.ball & ~own for one in seen.values() if not one.centred)]
    )
    high = target.volume_mm3[1]
    region = pair.region & ~torch.from_numpy(elsewhere)
    room = float(region.sum()) * voxel_mm3
    low = min(sum(lesion.volume_mm3[0] for lesion in held), target.volume_mm3[0], room)
    if math.isfinite(high):  # else the report bounds no number of lesions
        high = min(high, max(low, sum(lesion.volume_mm3[1] for lesion in lesions)))
    return replace(
        pair,
        region=region,
        lesions=tuple(lesions),
        volume_mm3=(low, high),
        median_mm3=target.median_mm3 if everything else None,
        sigma_log=target.sigma_log if everything else None,
        complete=bool(held),
    )


def _surely_inside(lesion: LesionTarget, target: ClassTarget, box: Box) -> bool:
    """True if all voxels in which the lesion may lie are inside the crop."""
    own_box = target.region_box if lesion.region is None else lesion.region_box
    if lesion.slab is None:
        return _holds(box, own_box)
    region = lesion.region.numpy() if lesion.region is not None else target.region
    if region is None:
        return False
    axis, first, last = lesion.slab
    slab = [slice(None)] * 3
    slab[axis] = slice(first, last)
    inside = bounding_box(torch.from_numpy(np.ascontiguousarray(region[tuple(slab)])))
    if inside is None:
        return False
    parts = list(inside)
    parts[axis] = slice(parts[axis].start + first, parts[axis].stop + first)
    return _holds(box, (parts[0], parts[1], parts[2]))


def _holds(box: Box, inner: Box | None) -> bool:
    """True if ``inner`` lies inside ``box``; nothing holds an empty region."""
    return inner is not None and all(
        part.start <= own.start and own.stop <= part.stop for part, own in zip(box, inner, strict=True)
    )


def _cut(mask: Tensor | None, box: Box) -> Tensor | None:
    return None if mask is None else mask[box].clone(memory_format=torch.contiguous_format)


def _shift_slab(slab: tuple[int, int, int] | None, box: Box) -> tuple[int, int, int] | None:
    if slab is None:
        return None
    axis, first, last = slab
    part = box[axis]
    size = part.stop - part.start
    return (axis, min(max(first - part.start, 0), size), min(max(last - part.start, 0), size))
