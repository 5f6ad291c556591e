"""Binary cross-entropy and asymmetric soft Dice over the voxels that are known."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from rsuper.losses.boxes import Place, mask_as
from rsuper.losses.checks import as_tensor, require_labels, require_mask, require_setting, require_tensor
from rsuper.morphology import SpacingLike, read_once, spacing_rows, untraced, voxel_volume_mm3

TILE_VOXELS = 1 << 17
BLOCK_VOXELS = 1 << 25
VOXELS_A_LOGARITHM = 8
ASYMMETRY_RANGE = (0.2, 0.8)


@dataclass(frozen=True)
class SegmentationLoss:
    """The two parts of the segmentation loss, scalars."""

    bce: Float[Tensor, ""]
    dice: Float[Tensor, ""]


class _KnownSums(torch.autograd.Function):
    """Σ K·bce, Σ K·p, Σ K·p·y, Σ K·y and Σ K of each (sample, class), and copies of some boxes of the logits.

    Works in tiles that stay in the cache and keeps nothing but its inputs: p is cheaper to compute again than to
    write to memory. The backward pass writes one dense gradient, the boxes' share included.
    """

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, labels: Tensor, known: Tensor, places: tuple[Place, ...]
    ) -> tuple[Tensor, ...]:
        dtype = torch.float64 if logits.dtype == torch.float64 else torch.float32
        x_rows, y_rows, k_rows = (_rows(array) for array in (logits, labels, known))
        sums = torch.zeros(5, len(x_rows), dtype=torch.float64, device=logits.device)
        for tile in _tiles(x_rows):
            x = x_rows[tile].to(dtype)
            y, k = _labels_and_known(y_rows[tile], k_rows[tile], dtype)
            p = torch.sigmoid(x)
            positive: float | Tensor = 0.0
            overlap: float | Tensor = 0.0
            if y is None and k is None and _all_low(x):
                sums[0, tile[0]] += _low_softplus_sum(p)
                sums[1, tile[0]] += p.sum(dim=1)
                sums[4, tile[0]] += float(x.shape[1])
                continue
            if y is None:
                bce = functional.softplus(x)
            elif labels.dtype == torch.bool:
                # One sign a voxel instead of a difference: no digits are lost where the logits are right.
                bce = functional.softplus(torch.addcmul(x, x, y, value=-2))
                positive, overlap = y.sum(dim=1), (p * y).sum(dim=1)
            else:
                bce = functional.softplus(x).addcmul_(x, y, value=-1)
                positive, overlap = y.sum(dim=1), (p * y).sum(dim=1)
            count: float | Tensor = float(x.shape[1])
            if k is not None:
                bce, p, count = bce.mul_(k), p.mul_(k), k.sum(dim=1)
            for row, value in enumerate((bce.sum(dim=1), p.sum(dim=1), overlap, positive, count)):
                sums[row, tile[0]] += value
        ctx.save_for_backward(logits, labels, known)
        ctx.places = places
        boxes = (logits[place].to(dtype, copy=True) for place in places)
        return sums.view(5, *logits.shape[:2]).to(dtype), *boxes

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor, *boxes: Tensor) -> tuple[Tensor, None, None, None]:
        logits, labels, known = ctx.saved_tensors
        x_rows, y_rows, k_rows = (_rows(array) for array in (logits, labels, known))
        dense = torch.empty(logits.shape, dtype=logits.dtype, device=logits.device)
        slopes = dense.view(x_rows.shape)
        bce, total, overlap = gradient[:3].reshape(3, -1, 1)
        for tile in _tiles(x_rows):
            rows = tile[0]
            y, k = _labels_and_known(y_rows[tile], k_rows[tile], gradient.dtype)
            p = torch.sigmoid(x_rows[tile].to(gradient.dtype))
            if y is None:
                slope = torch.addcmul(total[rows] + bce[rows], p, total[rows], value=-1).mul_(p)
            else:
                slope = torch.addcmul(p, p, p, value=-1).mul_(torch.addcmul(total[rows], y, overlap[rows]))
                slope.addcmul_(p.sub_(y), bce[rows])
            slopes[tile] = slope if k is None else slope.mul_(k)
        for place, share in zip(ctx.places, boxes, strict=True):
            dense[place] += share.to(dense.dtype)
        return dense, None, None, None


def _all_low(x: Tensor) -> bool:
    """True if no logit of a tile is above 0, where that is cheap to see; most tiles hold background alone."""
    return x.device.type == "cpu" and x.shape[1] % VOXELS_A_LOGARITHM == 0 and bool(x.amax() <= 0)


def _low_softplus_sum(p: Tensor) -> Tensor:
    """Σ log(1 + e^x) = −Σ log(1 − p) of each row, for p = sigmoid(x) ≤ ½, with one logarithm for eight voxels.

    (1 − a)(1 − b) = 1 − (a + b − ab): the complement keeps the digits of a small p.
    """
    count = VOXELS_A_LOGARITHM
    while count > 1:
        first, second = p.chunk(2, dim=1)
        p, count = torch.addcmul(first + second, first, second, value=-1), count // 2
    return torch.log1p(p.neg_()).sum(dim=1).neg_()


def _rows(array: Tensor) -> Tensor:
    """One row a (sample, class)."""
    return array.reshape(-1, math.prod(array.shape[2:]))


def _labels_and_known(
    labels: Tensor, known: Tensor, dtype: torch.dtype
) -> tuple[Tensor | None, Tensor | None]:
    """Known labels and known voxels of a tile as numbers; None for no positive and for all known.

    Both are what most tiles are, and on a CPU they are cheap to see; elsewhere nothing is looked at.
    """
    look = labels.device.type == "cpu"
    k = None if look and bool(known.view(torch.uint8).amin()) else mask_as(known, dtype)
    if look and labels.dtype == torch.bool and not bool(labels.view(torch.uint8).amax()):
        return None, k
    y = mask_as(labels, dtype)
    if k is not None:  # a label of an unknown voxel may be anything, NaN included
        y = y.masked_fill(~known, 0) if labels.is_floating_point() else y * k
    return y, k


def _tiles(rows: Tensor) -> Iterator[tuple[slice, slice]]:
    """Stretches of one row on a CPU, as large as its cache likes; blocks of whole rows elsewhere."""
    count, length = rows.shape
    if rows.device.type == "cpu":
        for row in range(count):
            for start in range(0, length, TILE_VOXELS):
                yield slice(row, row + 1), slice(start, start + TILE_VOXELS)
        return
    block = max(1, BLOCK_VOXELS // max(length, 1))
    for row in range(0, count, block):
        yield slice(row, row + block), slice(None)


@untraced
def segmentation_loss(
    logits: Float[Tensor, "B C D H W"],
    labels: Tensor,
    known: Bool[Tensor, "B C D H W"] | None = None,
    *,
    spacing_mm: SpacingLike = (1.0, 1.0, 1.0),
    smooth_mm3: float = 1.0,
) -> SegmentationLoss:
    """BCE = Σ K·bce / Σ K and asymmetric Dice over the known voxels K.

    Dice per (sample, class) is 1 − (TP + s)/(TP + a·FP + (1 − a)·FN + s), with a = FP/(FP + FN) per class over the
    batch, clamped to [0.2, 0.8], without gradient, 0.5 where FP + FN = 0; the sums are in mm³, so that s does not
    depend on the spacing. A (sample, class) without a known positive voxel takes no Dice term.

    Args:
        logits: [B,C,D,H,W], any floating dtype.
        labels: [B,C,D,H,W] bool or numbers in [0, 1]; values at unknown voxels do not matter.
        known: bool [B,C,D,H,W]; None means all known.
        spacing_mm: 3 numbers or [B,3], array order; only scales ``smooth_mm3``.
        smooth_mm3: s.

    Returns:
        bce and dice, at least float32; both 0 with a graph where nothing is known.

    Raises:
        TypeError: logits, labels or known is no tensor.
        ValueError: the shapes or devices differ, known is not bool, or ``smooth_mm3`` is negative.

    >>> logits = torch.zeros(1, 1, 2, 2, 2)
    >>> labels = torch.ones(1, 1, 2, 2, 2, dtype=torch.bool)
    >>> round(segmentation_loss(logits, labels, labels).bce.item(), 4)
    0.6931
    """
    require_setting("smooth_mm3", smooth_mm3)
    if known is None:
        known = torch.ones((), dtype=torch.bool, device=logits.device).expand(logits.shape)
    (spacing,) = read_once(as_tensor(spacing_mm))
    voxel_mm3 = voxel_volumes(spacing, logits)
    loss, _ = segmentation_and_boxes(logits, labels, known, (), voxel_mm3=voxel_mm3, smooth_mm3=smooth_mm3)
    return loss


def segmentation_and_boxes(
    logits: Float[Tensor, "B C D H W"],
    labels: Tensor,
    known: Bool[Tensor, "B C D H W"],
    places: Sequence[Place],
    *,
    voxel_mm3: Float[Tensor, " B"],
    smooth_mm3: float,
) -> tuple[SegmentationLoss, tuple[Tensor, ...]]:
    """:func:`segmentation_loss`, and copies of ``logits[place]`` whose gradient goes into the same dense tensor."""
    require_tensor("logits", logits)
    require_labels(labels)
    require_mask("known", known)
    if logits.ndim != 5 or labels.shape != logits.shape or known.shape != logits.shape:
        hint = (
            "; of a label map: labels == channel, one mask a channel"
            if labels.ndim == logits.ndim - 1
            else ""
        )
        raise ValueError(
            "logits, labels and known are all [B,C,D,H,W], got "
            f"{tuple(logits.shape)}, {tuple(labels.shape)} and {tuple(known.shape)}{hint}"
        )
    for name, other in (("labels", labels), ("known", known)):
        if other.device != logits.device:
            raise ValueError(
                f"logits are on {logits.device}, {name} on {other.device}: {name}.to(logits.device)"
            )
    sums, *boxes = _KnownSums.apply(logits, labels, known, tuple(places))  # type: ignore[no-untyped-call]
    bce, probability, overlap, positive, count = sums
    volumes = (part * voxel_mm3[:, None].to(sums.dtype) for part in (overlap, probability, positive))
    dice = asymmetric_dice(*volumes, smooth_mm3=smooth_mm3)
    mean = bce.sum() / count.detach().sum().clamp(min=1)
    return SegmentationLoss(bce=mean, dice=dice), tuple(boxes)


def voxel_volumes(spacing_mm: SpacingLike, logits: Float[Tensor, "B C D H W"]) -> Float[Tensor, " B"]:
    """Voxel volume of each sample in mm³, where the logits are; the spacing is on the host."""
    volumes = [voxel_volume_mm3(row) for row in spacing_rows(spacing_mm, logits.shape[0])]
    return torch.tensor(volumes, dtype=torch.float64).to(logits.device, non_blocking=True)


def asymmetric_dice(
    overlap: Float[Tensor, "B C"],
    probability: Float[Tensor, "B C"],
    positive: Float[Tensor, "B C"],
    *,
    smooth_mm3: float,
) -> Float[Tensor, ""]:
    """Mean asymmetric Dice loss of the entries that have a target, from their volumes in mm³.

    Args:
        overlap: TP = Σ p·y.
        probability: Σ p = TP + FP.
        positive: Σ y = TP + FN; entries with 0 take no part.
        smooth_mm3: s.
    """
    positive = positive.detach()
    active = positive > 0
    false_positive = (probability - overlap).detach().clamp(min=0).sum(dim=0)
    false_negative = (positive - overlap).detach().clamp(min=0).sum(dim=0)
    wrong = false_positive + false_negative
    tiny = torch.finfo(wrong.dtype).tiny
    balance = torch.where(wrong > 0, false_positive / wrong.clamp(min=tiny), 0.5).clamp(*ASYMMETRY_RANGE)
    bottom = balance * probability + (1 - balance) * positive + smooth_mm3
    loss = 1 - (overlap + smooth_mm3) / bottom.clamp(min=tiny)
    return (loss * active).sum() / active.sum().clamp(min=1)
