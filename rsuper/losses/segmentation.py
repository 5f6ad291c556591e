"""Binary cross-entropy and asymmetric soft Dice over the voxels that are known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from rsuper.morphology import SpacingLike, spacing_rows, voxel_volume_mm3

CHUNK_VOXELS = 1 << 18
ASYMMETRY_RANGE = (0.2, 0.8)


@dataclass(frozen=True)
class SegmentationLoss:
    """The two parts of the segmentation loss, scalars."""

    bce: Float[Tensor, ""]
    dice: Float[Tensor, ""]


class _KnownSums(torch.autograd.Function):
    """Per (sample, class): Σ K·bce, Σ K·p, Σ K·p·y, Σ K·y, Σ K; in chunks, so nothing logits-sized is kept."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, labels: Tensor, known: Tensor) -> Tensor:
        ctx.save_for_backward(logits, labels, known)
        dtype = torch.float64 if logits.dtype == torch.float64 else torch.float32
        sums = torch.zeros(5, *logits.shape[:2], dtype=torch.float64, device=logits.device)
        for sample, channel, x, y, k in _chunks(logits, labels, known, dtype):
            weighted = torch.sigmoid(x).mul_(k)
            bce = functional.binary_cross_entropy_with_logits(x, y, weight=k, reduction="sum")
            parts = (bce, weighted.sum(), torch.dot(weighted, y), torch.dot(k, y), k.sum())
            sums[:, sample, channel] += torch.stack(parts)
        return sums.to(dtype)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        logits, labels, known = ctx.saved_tensors
        dense = torch.empty_like(logits, memory_format=torch.contiguous_format)
        flat = dense.flatten(2)
        start = dict.fromkeys(((b, c) for b in range(logits.shape[0]) for c in range(logits.shape[1])), 0)
        for sample, channel, x, y, k in _chunks(logits, labels, known, gradient.dtype):
            g_bce, g_prob, g_overlap = gradient[:3, sample, channel]
            p = torch.sigmoid(x)
            slope = (1 - p).mul_(p).mul_(y.mul(g_overlap).add_(g_prob))
            slope.add_(p.sub_(y).mul_(g_bce)).mul_(k)
            at = start[sample, channel]
            flat[sample, channel, at : at + len(x)] = slope
            start[sample, channel] = at + len(x)
        return dense, None, None


def _chunks(logits: Tensor, labels: Tensor, known: Tensor, dtype: torch.dtype) -> Any:
    """Flat stretches of one (sample, class) at a time: indices, logits, labels and known in ``dtype``."""
    size = CHUNK_VOXELS if logits.device.type == "cpu" else 1 << 62
    for sample in range(logits.shape[0]):
        for channel in range(logits.shape[1]):
            flat = [array[sample, channel].flatten() for array in (logits, labels, known)]
            for start in range(0, len(flat[0]), size):
                x, y, k = (part[start : start + size].to(dtype) for part in flat)
                yield sample, channel, x, y, k


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
