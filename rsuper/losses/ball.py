"""Ball loss: light up the reported volume where the network sees most of each lesion, push down the rest."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from rsuper.losses.ball_rules import DEFAULT_BALANCE, DEFAULT_RULES, BallBalance, BallRules
from rsuper.losses.boxes import RegionBox, mask_as, pair_boxes, zero_of
from rsuper.losses.checks import (
    as_tensor,
    check_lesion_lists,
    check_lesions,
    check_pairs,
    check_probability,
    check_weights,
    per_pair,
    require_mask,
    require_tensor,
)
from rsuper.losses.localisation import PlacedLesion, Placement, place_in_boxes, place_lesions
from rsuper.losses.search_order import room_voxels
from rsuper.losses.segmentation import asymmetric_dice
from rsuper.losses.volume import weighted_mean
from rsuper.morphology import (
    SpacingLike,
    box_profiles,
    boxes_of_profiles,
    read_once,
    reads_are_free,
    spacing_rows,
    untraced,
    upload,
    voxel_volume_mm3,
)
from rsuper.supervision.types import LesionTarget


@dataclass(frozen=True)
class BallTargets:
    """Pseudo-mask of one pair.

    Args:
        foreground: bool [D,H,W], lesion.
        ignore: bool [D,H,W], neither lesion nor background; the rest of the region is background.
        centers: [L,3] centre of each lesion in the order passed in; −1 where ``located`` is False.
        located: bool [L]; False for remainders and where the map is flat or no room is left.
    """

    foreground: Bool[Tensor, "D H W"]
    ignore: Bool[Tensor, "D H W"]
    centers: Int[Tensor, "L 3"]
    located: Bool[Tensor, " L"]


@dataclass(frozen=True)
class BallLoss:
    """The two parts of the ball loss, scalars, and how many pairs gave no signal.

    Args:
        bce: balanced cross-entropy on the pseudo-mask.
        dice: asymmetric Dice loss on the pseudo-mask.
        skipped: number of pairs in which no lesion could be located, a scalar.
    """

    bce: Float[Tensor, ""]
    dice: Float[Tensor, ""]
    skipped: Float[Tensor, ""]


@untraced
def ball_targets(
    probability: Float[Tensor, "D H W"],
    region: Bool[Tensor, "D H W"],
    lesions: Sequence[LesionTarget],
    *,
    spacing_mm: SpacingLike,
    rules: BallRules = DEFAULT_RULES,
    logits: Float[Tensor, "D H W"] | None = None,
) -> BallTargets:
    """Locate every lesion and mark its foreground and the voxels to ignore; no gradient.

    From the largest lesion to the smallest: the centre is where a ball of the largest diameter (rounded up to an odd
    number of mm, at most 1.2 diameters), a Gaussian with σ = 1.5 radii inside, holds most probability; in the ball of
    1.2 diameters around it the highest 0.8·lo mm³ are foreground and the highest 1.2·hi mm³, dilated by 3.5 mm, are
    ignored (arXiv 2507.05582, with the reported volume instead of that of the ball). A remainder or a lesion without
    any size leaves the rest of its region ignored.

    Args:
        probability: [D,H,W] in [0, 1].
        region: bool [D,H,W], where the lesions may lie.
        lesions: what the report states.
        spacing_mm: 3 numbers, array order.
        rules: how a size becomes voxels.
        logits: [D,H,W]; ranks the voxels better than saturated probabilities do.

    >>> blob = torch.zeros(9, 9, 9)
    >>> blob[4, 4, 5] = 0.9
    >>> lesion = LesionTarget(diameters_mm=(3,), volume_mm3=(14.1, 14.1))
    >>> everywhere = torch.ones(9, 9, 9, dtype=torch.bool)
    >>> targets = ball_targets(blob, everywhere, [lesion], spacing_mm=(1, 1, 1))
    >>> int(targets.foreground.sum()), bool(targets.foreground[4, 4, 5])
    (14, True)
    """
    require_tensor("probability", probability)
    require_mask("region", region)
    if probability.shape != region.shape or region.ndim != 3:
        raise ValueError(
            f"probability and region are both [D,H,W], got {tuple(probability.shape)} and {tuple(region.shape)}"
        )
    if logits is not None:
        require_tensor("logits", logits)
        if logits.shape != region.shape:
            raise ValueError(
                f"logits is [D,H,W] = {tuple(region.shape)} as region, got {tuple(logits.shape)}"
            )
    check_lesions(lesions, region.shape)
    values = _at_least_single(probability.detach())
    ranks = torch.logit(values.clamp(0, 1)) if logits is None else logits
    foreground, ignore = torch.zeros_like(region), torch.zeros_like(region)
    centers = torch.full((len(lesions), 3), -1, dtype=torch.long, device=region.device)
    ends = values.aminmax() if values.numel() else (values.new_zeros(()),) * 2
    profiles, spacing, rooms, low, high = read_once(
        box_profiles(region[None]), as_tensor(spacing_mm), room_voxels(region, lesions), *ends
    )
    check_probability(low, high)
    (box,) = boxes_of_profiles(profiles, (1, *region.shape))
    if box is not None and lesions:
        placement = place_lesions(
            _at_least_single(ranks.detach()[box]),
            region[box],
            lesions,
            box=box,
            spacing_mm=spacing_rows(spacing, 1)[0],
            rooms=rooms.tolist(),
            rules=rules,
        )
        foreground[box], ignore[box] = placement.foreground, placement.ignore
        corner = upload([span.start for span in box], centers)
        for item in reversed(placement.placed):  # the best place of a lesion is its first
            here = item.center + corner
            centers[item.lesion] = torch.where(item.located, here, centers[item.lesion])
    return BallTargets(foreground=foreground, ignore=ignore, centers=centers, located=centers[:, 0] >= 0)


@untraced
def ball_loss(
    logits: Float[Tensor, "P D H W"],
    region: Bool[Tensor, "P D H W"],
    lesions_per_pair: Sequence[Sequence[LesionTarget]],
    *,
    spacing_mm: SpacingLike,
    rules: BallRules = DEFAULT_RULES,
    weight: Float[Tensor, " P"] | None = None,
    balance: BallBalance = DEFAULT_BALANCE,
) -> BallLoss:
    """Cross-entropy and asymmetric Dice on the pseudo-mask of :func:`ball_targets`.

    Foreground: rank-weighted BCE, w_i ∝ (1 − c)^(i/N) with mean 1 over the N voxels of a lesion sorted by p,
    averaged over each lesion's own N, then over the lesions by their weight. Background: BCE averaged over its own
    count, times ``balance.background_weight``.

    Args:
        logits: [P,D,H,W], any floating dtype.
        region: bool [P,D,H,W], where the lesions may lie.
        lesions_per_pair: P sequences of targets.
        spacing_mm: 3 numbers or [P,3], array order.
        rules: how a size becomes voxels.
        weight: [P] certainty of the pairs; None is 1 each.
        balance: c, s of the Dice, and the weight of the background.

    Returns:
        bce and dice, at least float32; both 0 with a graph where no lesion can be located.

    >>> blob = torch.full((1, 9, 9, 9), -4.0)
    >>> blob[0, 3:6, 3:6, 4:7] = 4.0
    >>> lesion = LesionTarget(diameters_mm=(4,), volume_mm3=(27.0, 40.0))
    >>> loss = ball_loss(blob, blob > -9, [[lesion]], spacing_mm=(1, 1, 1))
    >>> round(loss.bce.item(), 3), int(loss.skipped)
    (0.036, 0)
    """
    check_pairs(logits, region)
    check_lesion_lists(lesions_per_pair, region)
    boxes, (spacing, certainty, *rooms) = pair_boxes(
        logits,
        region,
        as_tensor(spacing_mm),
        per_pair("weight", weight, logits.shape[0]),
        *(room_voxels(where, lesions) for where, lesions in zip(region, lesions_per_pair, strict=True)),
    )
    check_weights(certainty)
    rows = spacing_rows(spacing, logits.shape[0])
    result = boxed_ball_loss(
        boxes,
        place_in_boxes(
            boxes, lesions_per_pair, spacing_mm=rows, rooms=[row.tolist() for row in rooms], rules=rules
        ),
        zero=zero_of(logits),
        voxel_mm3=[voxel_volume_mm3(row) for row in rows],
        weight=certainty.tolist(),
        balance=balance,
    )
    return replace(result, skipped=result.skipped + (logits.shape[0] - len(boxes)))


def boxed_ball_loss(
    boxes: Sequence[RegionBox],
    placements: Sequence[Placement],
    *,
    zero: Tensor,
    voxel_mm3: Sequence[float],
    weight: Sequence[float],
    balance: BallBalance,
) -> BallLoss:
    """:func:`ball_loss` of pairs that are cut to their boxes and located; rows are looked up by ``RegionBox.pair``."""
    bces, dices, weights, located = [], [], [], []
    lost = zero
    for item, placement in zip(boxes, placements, strict=True):
        if not placement.placed:
            lost = lost + 0 * item.logits.detach().amax()  # in a NaN nothing is found; it is no 0
            continue
        bces.append(_pair_bce(item.logits, placement, balance))
        dices.append(_pair_dice(item.logits, placement, voxel_mm3[item.pair], balance.smooth_mm3))
        weights.append(weight[item.pair])
        located.append(torch.stack([lesion.located for lesion in placement.placed]).any())
    if not bces:
        return BallLoss(bce=lost, dice=zero, skipped=torch.full_like(zero.detach(), len(boxes)))
    signal = torch.stack(located)
    certainty = upload(weights, zero) * signal
    return BallLoss(
        bce=weighted_mean(torch.stack(bces), certainty) + lost,
        dice=weighted_mean(torch.stack(dices), certainty),
        skipped=len(boxes) - signal.to(zero.dtype).sum(),
    )


def _pair_bce(logits: Tensor, placement: Placement, balance: BallBalance) -> Tensor:
    flat = logits.flatten()
    total = flat.new_zeros(())
    lit = [item for item in placement.placed if item.weight > 0 and len(item.foreground) > 0]
    if lit:
        weights = upload([item.weight for item in lit], total)
        weights = weights * torch.stack([item.located & (item.foreground[0] < len(flat)) for item in lit])
        shares = weights * torch.stack([item.share for item in lit]).to(weights.dtype)
        shares = shares * (weights.amax() / shares.sum().clamp(min=torch.finfo(shares.dtype).tiny))
        means = torch.stack([_foreground_bce(flat, item, balance.rank_concentration) for item in lit])
        total = total + (shares * means).sum()
    if balance.background_weight > 0:
        background = mask_as(placement.background, flat.dtype)
        pushed = (functional.softplus(logits) * background).sum() / background.sum().clamp(min=1)
        total = total + balance.background_weight * pushed
    return total


def _foreground_bce(flat: Tensor, item: PlacedLesion, concentration: float) -> Tensor:
    """Rank-weighted mean over the foreground of one place; 0 where it holds no voxel."""
    count = len(item.foreground)
    if reads_are_free(flat):
        weights = _shared_rank_weights(count, concentration, flat.dtype)
        return (weights * functional.softplus(-flat.index_select(0, item.foreground))).mean()
    # The voxels that count come first; how many there are is not known here.
    real = item.foreground < len(flat)
    held = real.sum().clamp(min=1).to(torch.float64)
    order = torch.arange(count, dtype=torch.float64, device=flat.device)
    weights = torch.exp(math.log1p(-concentration) * order / held) * real
    weights = (weights / weights.sum().clamp(min=torch.finfo(torch.float64).tiny)).to(flat.dtype)
    values = flat.index_select(0, item.foreground.clamp(max=len(flat) - 1))
    return (weights * functional.softplus(-values)).sum()


def _pair_dice(logits: Tensor, placement: Placement, voxel_mm3: float, smooth_mm3: float) -> Tensor:
    probability = torch.sigmoid(logits)
    foreground = mask_as(placement.foreground, logits.dtype)
    overlap = (probability * foreground).sum()
    everything = overlap + (probability * mask_as(placement.background, logits.dtype)).sum()
    parts = [(part * voxel_mm3).view(1, 1) for part in (overlap, everything, foreground.sum())]
    return asymmetric_dice(parts[0], parts[1], parts[2], smooth_mm3=smooth_mm3)


def rank_weights(count: int, concentration: float) -> Float[Tensor, " n"]:
    """w_i ∝ (1 − c)^(i/N) for i = 0 … N − 1, with mean 1, float64.

    >>> rank_weights(2, 0.5).round(decimals=3).tolist()
    [1.172, 0.828]
    """
    weights = torch.pow(1 - concentration, torch.arange(count, dtype=torch.float64) / max(count, 1))
    return weights / weights.mean() if count else weights


@functools.lru_cache(maxsize=32)
def _shared_rank_weights(count: int, concentration: float, dtype: torch.dtype) -> Tensor:
    """Shared between calls: never write into it."""
    return rank_weights(count, concentration).to(dtype)


def _at_least_single(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.to(torch.float32)
