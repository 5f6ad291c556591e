"""Binary cross-entropy and asymmetric soft Dice over the voxels that are known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from rsuper.losses.boxes import mask_as
from rsuper.morphology import SpacingLike, spacing_rows, voxel_volume_mm3

TILE_VOXELS = 1 << 17
ASYMMETRY_RANGE = (0.2, 0.8)


@dataclass(frozen=True)
class SegmentationLoss:
    """The two parts of the segmentation loss, scalars."""

    bce: Float[Tensor, ""]
    dice: Float[Tensor, ""]


class _KnownSums(torch.autograd.Function):
    """Σ K·bce, Σ K·p, Σ K·p·y, Σ K·y and Σ K of each (sample, class), in tiles that stay in the cache.

    Nothing is kept but the inputs: p is cheaper to compute again than to write to memory.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, labels: Tensor, known: Tensor) -> Tensor:
        dtype = torch.float64 if logits.dtype == torch.float64 else torch.float32
        x_rows, y_rows, k_rows = (array.reshape(-1, array[0, 0].numel()) for array in (logits, labels, known))
        sums = torch.zeros(5, len(x_rows), dtype=torch.float64, device=logits.device)
        for tile in _tiles(x_rows):
            x, k = x_rows[tile].to(dtype), mask_as(k_rows[tile], dtype)
            y = mask_as(y_rows[tile], dtype) * k
            if labels.dtype == torch.bool:
                # One sign a voxel instead of a difference: no digits are lost where the logits are right.
                bce = functional.softplus(torch.addcmul(x, x, y, value=-2)).mul_(k)
            else:
                bce = functional.softplus(x).mul_(k).addcmul_(x, y, value=-1)
            p = torch.sigmoid(x).mul_(k)
            sums[:, tile[0]] += torch.stack([part.sum(dim=1) for part in (bce, p, p * y, y, k)])
        ctx.save_for_backward(logits, labels, known)
        return sums.view(5, *logits.shape[:2]).to(dtype)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        logits, labels, known = ctx.saved_tensors
        x_rows, y_rows, k_rows = (array.reshape(-1, array[0, 0].numel()) for array in (logits, labels, known))
        dense = torch.empty(x_rows.shape, dtype=logits.dtype, device=logits.device)
        bce, total, overlap = gradient[:3].reshape(3, -1, 1)
        for tile in _tiles(x_rows):
            k, rows = mask_as(k_rows[tile], gradient.dtype), tile[0]
            y = mask_as(y_rows[tile], gradient.dtype) * k
            p = torch.sigmoid(x_rows[tile].to(gradient.dtype)).mul_(k)
            slope = torch.addcmul(p, p, p, value=-1).mul_(torch.addcmul(total[rows], y, overlap[rows]))
            slope.addcmul_(p.sub_(y), bce[rows])
            dense[tile] = slope
        return dense.view(logits.shape), None, None


def _tiles(rows: Tensor) -> Iterator[tuple[slice, slice]]:
    """Stretches of one row at a time on a CPU, as large as the cache likes; all at once elsewhere."""
    count, length = rows.shape
    if rows.device.type != "cpu":
        yield slice(None), slice(None)
        return
    for row in range(count):
        for start in range(0, length, TILE_VOXELS):
            yield slice(row, row + 1), slice(start, start + TILE_VOXELS)


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
        ValueError: if the shapes differ.

    >>> logits = torch.zeros(1, 1, 2, 2, 2)
    >>> labels = torch.ones(1, 1, 2, 2, 2, dtype=torch.bool)
    >>> round(segmentation_loss(logits, labels, labels).bce.item(), 4)
    0.6931
    """
    if known is None:
        known = torch.ones((), dtype=torch.bool, device=logits.device).expand(logits.shape)
    if logits.ndim != 5 or labels.shape != logits.shape or known.shape != logits.shape:
        raise ValueError(
            "logits, labels and known are all [B,C,D,H,W], got "
            f"{tuple(logits.shape)}, {tuple(labels.shape)} and {tuple(known.shape)}"
        )
    sums: Tensor = _KnownSums.apply(logits, labels, known)  # type: ignore[no-untyped-call]
    bce, probability, overlap, positive, count = sums
    voxel = sums.new_tensor([voxel_volume_mm3(row) for row in spacing_rows(spacing_mm, logits.shape[0])])
    dice = asymmetric_dice(
        *(part * voxel[:, None] for part in (overlap, probability, positive)), smooth_mm3=smooth_mm3
    )
    return SegmentationLoss(bce=bce.sum() / count.detach().sum().clamp(min=1), dice=dice)


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
