"""Volume loss: the predicted volume of a class must lie in the interval that the report states."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rsuper.losses.boxes import RegionBox, mask_as, pair_boxes, zero_of
from rsuper.morphology import SpacingLike, spacing_rows, voxel_volume_mm3

VolumeForm = Literal["interval", "published"]


def volume_loss(  # noqa: PLR0913 - the published contract
    logits: Float[Tensor, "P D H W"],
    region: Bool[Tensor, "P D H W"],
    volume_mm3: Float[Tensor, "P 2"],
    *,
    spacing_mm: SpacingLike,
    tolerance: float | Tensor = 0.1,
    softening_mm3: float = 500.0,
    form: VolumeForm = "interval",
    weight: Float[Tensor, " P"] | None = None,
    median_mm3: Float[Tensor, " P"] | None = None,
    sigma_log: Float[Tensor, " P"] | None = None,
    median_weight: float = 0.05,
    sharpen: float = 1.0,
) -> Float[Tensor, ""]:
    """Compare V̂ = v·Σ p over the region with [lo, hi]; the mean over the pairs, weighted by certainty.

    With lo' = (1 − t)·lo, hi' = (1 + t)·hi and E the softening: under, (lo' − V̂)/(lo' + V̂ + E); inside, 0; over,
    log((V̂ + hi' + E)/(2·hi' + E)), whose gradient survives gross over-segmentation. ``form="published"`` is
    clamp(|V̂ − V|/(V̂ + V + E) − τ, 0, 1) of arXiv 2507.05582 with τ = |u − V|/(u + V + E) and
    u = max((1 − t)·V, min(V, 100)); V is the middle of the interval, meant for lo = hi.

    Args:
        logits: [P,D,H,W], any floating dtype.
        region: bool [P,D,H,W], where the lesions may lie; pairs with an empty region are left out.
        volume_mm3: [P,2] (lo, hi) of the total volume; hi may be infinite.
        spacing_mm: 3 numbers or [P,3], array order.
        tolerance: t, a number or [P]; calibrated intervals hold their uncertainty already and take 0.
        softening_mm3: E.
        form: see above.
        weight: [P] certainty; None is 1 each.
        median_mm3: [P] calibrated median volume, NaN where there is none; adds the pull
            ½·((log V̂ − log median)/σ)² inside the interval, constant beyond its ends.
        sigma_log: [P] standard deviation of the log volume; needed with ``median_mm3``.
        median_weight: weight of that pull.
        sharpen: factor on the logits before the sum: above 1, voxels near 0 stop adding up to a tumour.

    Returns:
        Scalar, at least float32; 0 with a graph where P = 0.

    Raises:
        ValueError: if shapes do not fit or the intervals are not 0 <= lo <= hi.

    >>> logits = torch.full((1, 4, 4, 4), 30.0)
    >>> everywhere = torch.ones(1, 4, 4, 4, dtype=torch.bool)
    >>> volume_loss(logits, everywhere, torch.tensor([[60.0, 70.0]]), spacing_mm=(1, 1, 1)).item()
    0.0
    """
    intervals = torch.as_tensor(volume_mm3)
    if intervals.shape != (logits.shape[0], 2):
        raise ValueError(f"volume_mm3 is [P,2] with P = {logits.shape[0]}, got {tuple(intervals.shape)}")
    low, high = intervals[:, 0], intervals[:, 1]
    if not bool(((low >= 0) & (low <= high)).all()):
        raise ValueError(f"volume_mm3 rows are 0 <= lo <= hi, got {intervals.tolist()}")
    boxes = pair_boxes(logits, region)
    if not boxes:
        return zero_of(logits)
    predicted = predicted_volumes(
        boxes, spacing_mm=spacing_rows(spacing_mm, logits.shape[0]), sharpen=sharpen
    )
    rows = torch.tensor([item.pair for item in boxes])

    def pick(values: Tensor | float) -> Tensor:
        table = torch.as_tensor(values).to(device=predicted.device, dtype=predicted.dtype)
        return table.expand(logits.shape[0])[rows.to(predicted.device)]

    if median_mm3 is not None and sigma_log is None:
        raise ValueError("median_mm3 needs sigma_log")
    losses = volume_errors(
        predicted, pick(low), pick(high), tolerance=pick(tolerance), softening_mm3=softening_mm3, form=form
    )
    if median_mm3 is not None and sigma_log is not None:
        losses = losses + median_weight * median_pull(
            predicted, pick(low), pick(high), median_mm3=pick(median_mm3), sigma_log=pick(sigma_log)
        )
    certainty = torch.ones_like(losses) if weight is None else pick(weight)
    return weighted_mean(losses, certainty)


def predicted_volumes(
    boxes: Sequence[RegionBox], *, spacing_mm: Sequence[tuple[float, float, float]], sharpen: float = 1.0
) -> Float[Tensor, " N"]:
    """V̂ = v·Σ sigmoid(sharpen·logit) over the region of each box, in mm³.

    Args:
        boxes: at least one.
        spacing_mm: one row a pair, looked up by ``RegionBox.pair``.
        sharpen: factor on the logits.
    """
    volumes = []
    for item in boxes:
        probability = torch.sigmoid(item.logits if sharpen == 1 else item.logits * sharpen)
        volumes.append(
            voxel_volume_mm3(spacing_mm[item.pair])
            * (probability * mask_as(item.region, probability.dtype)).sum()
        )
    return torch.stack(volumes)


def volume_errors(
    predicted: Float[Tensor, " N"],
    low: Float[Tensor, " N"],
    high: Float[Tensor, " N"],
    *,
    tolerance: Float[Tensor, " N"],
    softening_mm3: float,
    form: VolumeForm,
) -> Float[Tensor, " N"]:
    """The loss of each pair from its predicted volume; formulas in :func:`volume_loss`."""
    tiny = torch.finfo(predicted.dtype).tiny
    bounded = torch.isfinite(high)
    if form == "published":
        volume = (low + torch.where(bounded, high, low)) / 2
        inner = torch.maximum((1 - tolerance) * volume, volume.clamp(max=100.0))
        allowed = (inner - volume).abs() / (inner + volume + softening_mm3).clamp(min=tiny)
        error = (predicted - volume).abs() / (predicted + volume + softening_mm3).clamp(min=tiny)
        return (error - allowed).clamp(0, 1)
    floor = (1 - tolerance).clamp(min=0) * low
    ceiling = (1 + tolerance) * torch.where(bounded, high, 0.0)
    under = (floor - predicted) / (floor + predicted + softening_mm3).clamp(min=tiny)
    over = torch.log1p((predicted - ceiling).clamp(min=0) / (2 * ceiling + softening_mm3).clamp(min=tiny))
    too_much = (predicted > ceiling) & bounded
    return torch.where(predicted < floor, under, torch.where(too_much, over, torch.zeros_like(predicted)))


def median_pull(
    predicted: Float[Tensor, " N"],
    low: Float[Tensor, " N"],
    high: Float[Tensor, " N"],
    *,
    median_mm3: Float[Tensor, " N"],
    sigma_log: Float[Tensor, " N"],
) -> Float[Tensor, " N"]:
    """½·((log V̂ − log median)/σ)² with V̂ held to [lo, hi], so that the loss never falls on leaving it.

    0 where the median or σ is NaN or not positive.
    """
    stated = torch.isfinite(median_mm3) & (median_mm3 > 0) & (sigma_log > 0)
    center = torch.where(stated, median_mm3, 1.0)
    held = torch.minimum(torch.maximum(predicted, low.clamp(min=1e-3)), high.clamp(min=1e-3))
    score = (torch.log(held) - torch.log(center)) / torch.where(stated, sigma_log, 1.0)
    return torch.where(stated, 0.5 * score**2, torch.zeros_like(score))


def weighted_mean(losses: Float[Tensor, " N"], weight: Float[Tensor, " N"]) -> Float[Tensor, ""]:
    """Σ w·loss / Σ w, and 0 where the weights sum to 0."""
    return (losses * weight).sum() / weight.sum().clamp(min=torch.finfo(losses.dtype).tiny)
