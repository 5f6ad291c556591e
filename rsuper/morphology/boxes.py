"""Bounding boxes: the part of an array that matters, so that nothing is computed outside it."""

from __future__ import annotations

import torch
from jaxtyping import Bool, UInt8
from torch import Tensor

from rsuper.morphology.host import read_once

Box = tuple[slice, slice, slice]


def bounding_boxes(masks: Bool[Tensor, "P D H W"]) -> tuple[Box | None, ...]:
    """Smallest box around the True voxels of each mask, with a single device synchronisation.

    Args:
        masks: bool [P,D,H,W].

    Returns:
        One box a mask, None where the mask is empty.

    >>> mask = torch.zeros(1, 5, 5, 5, dtype=torch.bool)
    >>> mask[0, 1:3, 2, 4] = True
    >>> bounding_boxes(mask)[0]
    (slice(1, 3, None), slice(2, 3, None), slice(4, 5, None))
    """
    (rows,) = read_once(box_profiles(masks))
    return boxes_of_profiles(rows, tuple(masks.shape))


def box_profiles(masks: Bool[Tensor, "P D H W"]) -> UInt8[Tensor, "P n"]:
    """Which planes of each axis hold a True voxel, D + H + W numbers a mask; stays on the device."""
    if masks.ndim != 4:
        raise ValueError(f"masks are [P,D,H,W], got shape {tuple(masks.shape)}")
    count, *sizes = masks.shape
    if masks.numel() == 0:
        return masks.new_zeros((count, sum(sizes)), dtype=torch.uint8)
    # The maximum of bytes is many times faster than any() of bools.
    bytes_ = masks.view(torch.uint8)
    last = bytes_.amax(dim=3)  # [P,D,H]
    return torch.cat((last.amax(dim=2), last.amax(dim=1), bytes_.amax(dim=1).amax(dim=1)), dim=1)


def boxes_of_profiles(profiles: Tensor, shape: tuple[int, ...]) -> tuple[Box | None, ...]:
    """The boxes of masks of ``shape`` [P,D,H,W] from what :func:`box_profiles` says of them, read on the host."""
    boxes: list[Box | None] = []
    for row in profiles:
        spans = []
        for profile in torch.split(row, list(shape[1:])):
            hits = torch.nonzero(profile).flatten().tolist()
            if hits:
                spans.append(slice(hits[0], hits[-1] + 1))
        boxes.append((spans[0], spans[1], spans[2]) if len(spans) == 3 else None)
    return tuple(boxes)


def bounding_box(mask: Bool[Tensor, "D H W"]) -> Box | None:
    """Smallest box around the True voxels of one mask [D,H,W]; None if it is empty."""
    return bounding_boxes(mask[None])[0]


def grow_box(box: Box, voxels: tuple[int, int, int], shape: tuple[int, ...]) -> Box:
    """The box grown by ``voxels`` on both sides of each axis, cut at the array.

    >>> grow_box((slice(1, 2), slice(0, 4), slice(3, 4)), (1, 1, 1), (4, 4, 4))
    (slice(0, 3, None), slice(0, 4, None), slice(2, 4, None))
    """
    first, second, third = (
        slice(max(0, span.start - step), min(size, span.stop + step))
        for span, step, size in zip(box, voxels, shape, strict=True)
    )
    return first, second, third


def box_shape(box: Box) -> tuple[int, int, int]:
    """Voxels of the box along each axis."""
    first, second, third = (span.stop - span.start for span in box)
    return first, second, third
