"""Yes/no supervision: the report only says whether the region holds a lesion (the arm to compare against)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from rsuper.losses.boxes import RegionBox, mask_as, pair_boxes, zero_of
from rsuper.losses.checks import as_tensor, check_pairs, check_weights, per_pair, require_setting
from rsuper.losses.volume import weighted_mean
from rsuper.morphology import SpacingLike, spacing_rows, untraced, upload, voxel_volume_mm3


@untraced
def presence_loss(
    logits: Float[Tensor, "P D H W"],
    region: Bool[Tensor, "P D H W"],
    *,
    spacing_mm: SpacingLike,
    top_mm3: float = 100.0,
    present: Tensor | None = None,
    weight: Float[Tensor, " P"] | None = None,
) -> Float[Tensor, ""]:
    """Multiple-instance BCE on the mean p of the highest ``top_mm3`` of the region.

    Both log(mean p) and log(1 − mean p) = log(mean(1 − p)) come from log-sums, so that nothing saturates.

    Args:
        logits: [P,D,H,W], any floating dtype.
        region: bool [P,D,H,W]; pairs with an empty region are left out.
        spacing_mm: 3 numbers or [P,3], array order.
        top_mm3: how much of the region must light up.
        present: [P] bool or 0/1, what the report says; None is all present.
        weight: [P] certainty; None is 1 each.

    Returns:
        Scalar, at least float32; 0 with a graph where P = 0.

    >>> logits = torch.zeros(1, 4, 4, 4)
    >>> region = torch.ones(1, 4, 4, 4, dtype=torch.bool)
    >>> round(presence_loss(logits, region, spacing_mm=(1, 1, 1)).item(), 4)
    0.6931
    """
    check_pairs(logits, region)
    require_setting("top_mm3", top_mm3)
    count = logits.shape[0]
    boxes, (spacing, answers, certainty) = pair_boxes(
        logits,
        region,
        as_tensor(spacing_mm),
        per_pair("present", present, count),
        per_pair("weight", weight, count),
    )
    check_weights(certainty)
    return boxed_presence_loss(
        boxes,
        zero=zero_of(logits),
        spacing_mm=spacing_rows(spacing, count),
        top_mm3=top_mm3,
        present=answers.tolist(),
        weight=certainty.tolist(),
    )


def boxed_presence_loss(
    boxes: Sequence[RegionBox],
    *,
    zero: Tensor,
    spacing_mm: Sequence[tuple[float, float, float]],
    top_mm3: float,
    present: Sequence[float],
    weight: Sequence[float],
) -> Float[Tensor, ""]:
    """:func:`presence_loss` of pairs that are cut to their boxes; rows are looked up by ``RegionBox.pair``."""
    if not boxes:
        return zero
    losses = []
    for item in boxes:
        yes, no = top_log_probabilities(item, spacing_mm=spacing_mm[item.pair], top_mm3=top_mm3)
        answer = present[item.pair]
        losses.append(-(answer * yes + (1 - answer) * no))
    return weighted_mean(torch.stack(losses), upload([weight[item.pair] for item in boxes], zero))


def top_log_probabilities(
    item: RegionBox, *, spacing_mm: tuple[float, float, float], top_mm3: float
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """log(mean p) and log(mean(1 − p)) of the highest ``top_mm3`` of a region; of all of it where it is smaller."""
    flat, region = item.logits.flatten(), item.region.flatten()
    wanted = max(1, round(top_mm3 / voxel_volume_mm3(spacing_mm)))
    ranks = torch.where(region, flat.detach(), -torch.inf)
    highest = torch.topk(ranks, min(wanted, len(ranks)), sorted=False).indices
    top, inside = flat[highest], region[highest]
    size = mask_as(inside, flat.dtype).sum().log()
    yes = torch.logsumexp(torch.where(inside, functional.logsigmoid(top), -torch.inf), dim=0) - size
    no = torch.logsumexp(torch.where(inside, functional.logsigmoid(-top), -torch.inf), dim=0) - size
    return yes, no
