"""Volume loss: the predicted volume of a class must lie in the interval that the report states."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from rsuper.losses.boxes import RegionBox, mask_as, pair_boxes, zero_of
from rsuper.losses.checks import as_tensor, check_pairs, check_weights, per_pair, require_setting
from rsuper.losses.volume_rules import DEFAULT_VOLUME_RULES, VolumeRules
from rsuper.morphology import Spacing, SpacingLike, spacing_rows, untraced, upload, voxel_volume_mm3

VolumeForm = Literal["interval", "published"]
HAZE_PROBABILITY = 0.1


@dataclass(frozen=True, kw_only=True)
class StatedVolumes:
    """What the reports say of the volumes of N pairs, [N] each, in mm³.

    Args:
        low: lo.
        high: hi; may be infinite.
        tolerance: t.
        median_mm3: calibrated median; NaN or 0 where there is none.
        sigma_log: standard deviation of the log volume; NaN or 0 where there is none.
    """

    low: Float[Tensor, " N"]
    high: Float[Tensor, " N"]
    tolerance: Float[Tensor, " N"]
    median_mm3: Float[Tensor, " N"]
    sigma_log: Float[Tensor, " N"]


@untraced
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
    located: Bool[Tensor, "P D H W"] | None = None,
    rules: VolumeRules = DEFAULT_VOLUME_RULES,
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
        located: bool [P,D,H,W], where the lesions were located. Then the lower end asks for volume there, the upper
            end limits all of the region, and what lies elsewhere in the region costs
            w·log((V̂_out + hi' + E)/(hi' + E)) where hi is finite, with w = ``rules.outside_weight``.
        rules: what a voxel adds to V̂, and the weights of the pull and of what lies outside.

    Returns:
        Scalar, at least float32; 0 with a graph where P = 0.

    Raises:
        ValueError: if shapes do not fit, the intervals are not 0 <= lo <= hi with a finite lo, or a weight, a
            tolerance or the softening is negative.

    >>> logits = torch.full((1, 4, 4, 4), 30.0)
    >>> everywhere = torch.ones(1, 4, 4, 4, dtype=torch.bool)
    >>> volume_loss(logits, everywhere, torch.tensor([[60.0, 70.0]]), spacing_mm=(1, 1, 1)).item()
    0.0
    """
    if form not in get_args(VolumeForm):
        raise ValueError(f"form is one of {', '.join(get_args(VolumeForm))}, got {form!r}")
    require_setting("softening_mm3", softening_mm3)
    if median_mm3 is not None and sigma_log is None:
        raise ValueError("median_mm3 needs sigma_log, the calibrated spread: rsuper.supervision.volume_prior")
    if located is not None:
        check_pairs(logits, located, "located")
    boxes, rows, columns = _read_pairs(
        logits, region, volume_mm3, spacing_mm, (tolerance, weight, median_mm3, sigma_log)
    )
    if not boxes:
        return zero_of(logits)
    low, high, slack, certainty, median, sigma = (upload(column, boxes[0].logits) for column in columns)
    losses = boxed_volume_errors(
        boxes,
        StatedVolumes(low=low, high=high, tolerance=slack, median_mm3=median, sigma_log=sigma),
        voxel_mm3=[voxel_volume_mm3(row) for row in rows],
        softening_mm3=softening_mm3,
        form=form,
        where=None if located is None else [located[(item.pair, *item.box)] for item in boxes],
        rules=rules,
    )
    return weighted_mean(losses, certainty)


def _read_pairs(
    logits: Tensor,
    region: Tensor,
    volume_mm3: Tensor,
    spacing_mm: SpacingLike,
    asked: Sequence[float | Tensor | None],
) -> tuple[tuple[RegionBox, ...], tuple[Spacing, ...], list[Tensor]]:
    """The pairs with a region, a spacing a pair, and of those with a region: lo, hi, then what was asked for."""
    check_pairs(logits, region)
    count, table = logits.shape[0], as_tensor(volume_mm3)
    if table.shape != (count, 2):
        raise ValueError(
            f"volume_mm3 is [P,2], (lo, hi) of each of P = {count} pairs, got {tuple(table.shape)}"
        )
    names = ("tolerance", "weight", "median_mm3", "sigma_log")
    defaults = (1.0, 1.0, math.nan, math.nan)
    wanted = [
        per_pair(name, value, count, default)
        for name, value, default in zip(names, asked, defaults, strict=True)
    ]
    boxes, (intervals, spacing, *columns) = pair_boxes(logits, region, table, as_tensor(spacing_mm), *wanted)
    check_weights(columns[0], "tolerance")
    check_weights(columns[1])
    low, high = intervals.unbind(1)
    if not bool(((low >= 0) & (low <= high) & torch.isfinite(low)).all()):
        raise ValueError(f"volume_mm3 rows are 0 <= lo <= hi with lo finite, got {intervals.tolist()}")
    chosen = [item.pair for item in boxes]
    return (
        boxes,
        spacing_rows(spacing, count),
        [column[chosen] for column in (low, high, *columns)],
    )


def voxel_mass(logits: Float[Tensor, "*n"], rules: VolumeRules) -> Float[Tensor, "*n"]:
    """How much of a voxel counts as lesion; formulas in :class:`VolumeRules`."""
    if rules.mass == "sharpened":
        return torch.sigmoid(logits if rules.sharpen == 1 else logits * rules.sharpen)
    if rules.mass == "power":
        return torch.exp(rules.sharpen * functional.logsigmoid(logits))
    return (torch.sigmoid(logits) - HAZE_PROBABILITY).clamp(min=0) / (1 - HAZE_PROBABILITY)


def predicted_volumes(
    boxes: Sequence[RegionBox],
    voxel_mm3: Sequence[float],
    *,
    rules: VolumeRules = DEFAULT_VOLUME_RULES,
    where: Sequence[Bool[Tensor, "d h w"]] | None = None,
) -> Float[Tensor, " N"]:
    """V̂ = v·Σ mass over the region of each box, in mm³.

    Args:
        boxes: at least one.
        voxel_mm3: one number a pair, looked up by ``RegionBox.pair``.
        rules: what a voxel adds.
        where: the part of each region to sum over; None is all of it.
    """
    parts = [item.region for item in boxes]
    if where is not None:
        parts = [region & part for region, part in zip(parts, where, strict=True)]
    volumes = [
        voxel_mm3[item.pair] * (voxel_mass(item.logits, rules) * mask_as(part, item.logits.dtype)).sum()
        for item, part in zip(boxes, parts, strict=True)
    ]
    return torch.stack(volumes)


def boxed_volume_errors(
    boxes: Sequence[RegionBox],
    stated: StatedVolumes,
    *,
    voxel_mm3: Sequence[float],
    softening_mm3: float,
    form: VolumeForm,
    where: Sequence[Bool[Tensor, "d h w"]] | None,
    rules: VolumeRules,
) -> Float[Tensor, " N"]:
    """:func:`volume_loss` of each of N pairs that are cut to their boxes, before the mean.

    Args:
        boxes: at least one.
        stated: one entry a box.
        voxel_mm3: one number a pair, looked up by ``RegionBox.pair``.
        softening_mm3: E.
        form: see :func:`volume_loss`.
        where: where the lesions of each box were located; None is the whole region.
        rules: what a voxel adds, and the weights of the pull and of what lies outside.
    """
    predicted = predicted_volumes(boxes, voxel_mm3, rules=rules)
    inside = None if where is None else predicted_volumes(boxes, voxel_mm3, rules=rules, where=where)
    errors = volume_errors(
        predicted,
        stated,
        softening_mm3=softening_mm3,
        form=form,
        inside=inside,
        outside_weight=rules.outside_weight,
    )
    if rules.median_weight > 0:
        errors = errors + rules.median_weight * median_pull(predicted, stated)
    return errors


def volume_errors(
    predicted: Float[Tensor, " N"],
    stated: StatedVolumes,
    *,
    softening_mm3: float,
    form: VolumeForm,
    inside: Float[Tensor, " N"] | None = None,
    outside_weight: float = 1.0,
) -> Float[Tensor, " N"]:
    """The loss of each pair from its predicted volume; formulas in :func:`volume_loss`.

    Args:
        predicted: V̂ of the whole region.
        stated: lo, hi and t.
        softening_mm3: E.
        form: ``interval`` or ``published``, which knows no ``inside``.
        inside: V̂ where the lesions were located; None is the whole region.
        outside_weight: weight of the rest.
    """
    low, high, tolerance = stated.low, stated.high, stated.tolerance
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
    counted = predicted if inside is None else inside
    under = (floor - counted) / (floor + counted + softening_mm3).clamp(min=tiny)
    over = torch.log1p((predicted - ceiling).clamp(min=0) / (2 * ceiling + softening_mm3).clamp(min=tiny))
    too_much = (predicted > ceiling) & bounded
    none = torch.where(torch.isnan(predicted), predicted, 0.0)  # a NaN is never a volume that fits
    if inside is None:
        return torch.where(predicted < floor, under, torch.where(too_much, over, none))
    outside = torch.log1p((predicted - inside).clamp(min=0) / (ceiling + softening_mm3))
    errors = torch.where(inside < floor, under, none) + torch.where(too_much, over, none)
    return errors + outside_weight * torch.where(bounded, outside, none)


def median_pull(predicted: Float[Tensor, " N"], stated: StatedVolumes) -> Float[Tensor, " N"]:
    """½·((log V̂ − log median)/σ)² with V̂ held to [lo, hi], so that the loss never falls on leaving it.

    0 where the median or σ is NaN or not positive.
    """
    known = torch.isfinite(stated.median_mm3) & (stated.median_mm3 > 0) & (stated.sigma_log > 0)
    center = torch.where(known, stated.median_mm3, 1.0)
    low, high = (end.clamp(min=1e-3) for end in (stated.low, stated.high))
    held = torch.minimum(torch.maximum(predicted, low), high)
    score = (torch.log(held) - torch.log(center)) / torch.where(known, stated.sigma_log, 1.0)
    return torch.where(known, 0.5 * score**2, torch.zeros_like(score))


def weighted_mean(losses: Float[Tensor, " N"], weight: Float[Tensor, " N"]) -> Float[Tensor, ""]:
    """Σ w·loss / Σ w, and 0 where the weights sum to 0."""
    return (losses * weight).sum() / weight.sum().clamp(min=torch.finfo(losses.dtype).tiny)
