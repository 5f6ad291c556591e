"""Attenuation loss: a lesion that is reported as dark or bright must be so against the organ around it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rsuper.losses.boxes import gather_boxes, zero_of
from rsuper.losses.volume import weighted_mean

StatedAttenuation = Literal["hypo", "iso", "hyper", "mixed", "unknown"]
USABLE = ("hypo", "iso", "hyper")


def attenuation_loss(
    logits: Float[Tensor, "P D H W"],
    image_hu: Float[Tensor, "P D H W"],
    ball: Bool[Tensor, "P D H W"],
    parenchyma: Bool[Tensor, "P D H W"],
    attenuation: Sequence[StatedAttenuation],
    *,
    margin_hu: float = 10.0,
    scale_hu: float = 100.0,
    weight: Float[Tensor, " P"] | None = None,
) -> Float[Tensor, ""]:
    """Hinge on Δ = (soft mean HU of the lesion) − (mean HU of the organ around it), divided by ``scale_hu``.

    The soft mean weighs the voxels of the located ball by p. hypo: max(0, Δ + margin); hyper: max(0, margin − Δ);
    iso: max(0, |Δ| − margin); mixed and unknown give no term, nor does an empty ball or organ.

    Args:
        logits: [P,D,H,W], one entry a located lesion.
        image_hu: [P,D,H,W] in HU.
        ball: bool [P,D,H,W], where the lesion was located.
        parenchyma: bool [P,D,H,W], the organ without the lesion and its margin.
        attenuation: P statements of the report.
        margin_hu: how far a stated difference must reach; dead band of iso.
        scale_hu: the difference that counts as 1.
        weight: [P] certainty; None is 1 each.

    Returns:
        Scalar, at least float32; 0 with a graph where nothing can be compared.
    """
    if (
        not logits.shape == image_hu.shape == ball.shape == parenchyma.shape
        or len(attenuation) != logits.shape[0]
    ):
        raise ValueError(
            "logits, image_hu, ball and parenchyma are all [P,D,H,W] with P statements of attenuation"
        )
    rows = [row for row, stated in enumerate(attenuation) if stated in USABLE]
    losses, weights = [], []
    for row, values in zip(rows, gather_boxes(logits, [(row,) for row in rows]), strict=True):
        inside, around = ball[row], parenchyma[row] & ~ball[row]
        if not bool(inside.any()) or not bool(around.any()):
            continue
        organ_hu = image_hu[row][around].to(values.dtype).mean()
        error = attenuation_error(
            values[inside], image_hu[row][inside], organ_hu, attenuation[row], margin_hu=margin_hu
        )
        losses.append(error / scale_hu)
        weights.append(1.0 if weight is None else float(weight[row]))
    if not losses:
        return zero_of(logits)
    stacked = torch.stack(losses)
    return weighted_mean(stacked, stacked.new_tensor(weights))


def attenuation_error(
    logits: Float[Tensor, " n"],
    lesion_hu: Float[Tensor, " n"],
    organ_hu: Float[Tensor, ""],
    attenuation: StatedAttenuation,
    *,
    margin_hu: float,
) -> Float[Tensor, ""]:
    """The hinge of one lesion in HU; the weights p are a softmax of log p, so that a ball of tiny p has a mean too."""
    share = torch.softmax(torch.nn.functional.logsigmoid(logits), dim=0)
    # Against the organ's mean first: HU of ±1000 would cost digits.
    difference = (share * (lesion_hu.to(share.dtype) - organ_hu)).sum()
    if attenuation == "hypo":
        return (difference + margin_hu).clamp(min=0)
    if attenuation == "hyper":
        return (margin_hu - difference).clamp(min=0)
    return (difference.abs() - margin_hu).clamp(min=0)
