"""Cut the boxes that matter out of a large output, with one dense gradient written once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rsuper.losses.checks import check_pairs
from rsuper.morphology import Box, box_profiles, boxes_of_profiles, read_once

Place = tuple[int | slice, ...]


@dataclass(frozen=True, kw_only=True)
class RegionBox:
    """One active pair on the bounding box of its region.

    Args:
        pair: index of the pair among those that were asked for.
        box: where the region lies in the patch.
        region: bool, the region inside the box.
        logits: the pair's logits inside the box, float32 or float64, differentiable.
    """

    pair: int
    box: Box
    region: Bool[Tensor, "d h w"]
    logits: Float[Tensor, "d h w"]


class _GatherBoxes(torch.autograd.Function):
    """Slices of one tensor; the backward pass writes all their gradients into one tensor of zeros."""

    @staticmethod
    def forward(
        ctx: Any, source: Tensor, places: tuple[Place, ...], dtype: torch.dtype
    ) -> tuple[Tensor, ...]:
        ctx.places, ctx.shape, ctx.source_dtype, ctx.device = (
            places,
            source.shape,
            source.dtype,
            source.device,
        )
        return tuple(source[place].to(dtype, copy=True) for place in places)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor, None, None]:
        dense = torch.zeros(ctx.shape, dtype=ctx.source_dtype, device=ctx.device)
        for place, gradient in zip(ctx.places, gradients, strict=True):
            if gradient is not None:
                dense[place] += gradient.to(ctx.source_dtype)
        return dense, None, None


def gather_boxes(source: Tensor, places: Sequence[Place]) -> tuple[Tensor, ...]:
    """Copies of ``source[place]`` for every place, in at least float32, differentiable once.

    Args:
        source: any floating tensor.
        places: an index of integers and slices each.
    """
    if not places:
        return ()
    dtype = torch.float64 if source.dtype == torch.float64 else torch.float32
    boxes: tuple[Tensor, ...] = _GatherBoxes.apply(source, tuple(places), dtype)  # type: ignore[no-untyped-call]
    return boxes


def mask_as(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """0 and 1 in ``dtype`` from a bool mask (as bytes, which convert ten times faster); other tensors are cast."""
    return (mask.view(torch.uint8) if mask.dtype == torch.bool else mask).to(dtype)


def zero_of(source: Tensor) -> Tensor:
    """A scalar 0 that is connected to the graph of ``source``, in at least float32."""
    dtype = torch.float64 if source.dtype == torch.float64 else torch.float32
    return source.reshape(-1)[:0].to(dtype).sum()


def pair_boxes(
    logits: Float[Tensor, "P D H W"], region: Bool[Tensor, "P D H W"], *read: Tensor
) -> tuple[tuple[RegionBox, ...], tuple[Tensor, ...]]:
    """The pairs with a region, each on the bounding box of it, with one device synchronisation.

    Args:
        logits: [P,D,H,W].
        region: bool [P,D,H,W]; pairs without a True voxel are left out.
        read: small tensors that are wanted on the host as well.

    Returns:
        The boxes, and ``read`` as float64 tensors of the host.

    Raises:
        ValueError: if the shapes differ or the region is not bool.
    """
    check_pairs(logits, region)
    profiles, *values = read_once(box_profiles(region), *read)
    boxes = boxes_of_profiles(profiles, tuple(region.shape))
    found = [(pair, box) for pair, box in enumerate(boxes) if box is not None]
    cut = gather_boxes(logits, [(pair, *box) for pair, box in found])
    return tuple(
        RegionBox(pair=pair, box=box, region=region[(pair, *box)], logits=part)
        for (pair, box), part in zip(found, cut, strict=True)
    ), tuple(values)
