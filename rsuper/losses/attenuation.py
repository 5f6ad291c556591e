"""Attenuation loss: a lesion that is reported as dark or bright must be so against the organ around it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from rsuper.losses.boxes import gather_boxes, mask_as, zero_of
from rsuper.losses.checks import check_pairs, per_pair, require_setting
from rsuper.losses.volume import weighted_mean
from rsuper.morphology import untraced, upload
from rsuper.supervision.types import StatedAttenuation

USABLE = ("hypo", "iso", "hyper")


@untraced
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
    iso: max(0, |Δ| − margin); mixed and unknown give no term, nor does an empty ball or organ. A density stated for
    another contrast phase than the image's is unknown.

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

    Raises:
        TypeError: logits, image, ball or parenchyma is no tensor.
        ValueError: the shapes differ, a mask is not bool, a statement is none of the five words, or a setting is
            negative or ``scale_hu`` below 1.

    >>> image = torch.tensor([60.0, 60.0, 100.0, 100.0]).view(1, 4, 1, 1)
    >>> ball = image < 80
    >>> round(attenuation_loss(torch.zeros(1, 4, 1, 1), image, ball, ~ball, ["hyper"]).item(), 3)
    0.5
    """
    check_pairs(logits, ball, "ball")
    check_pairs(logits, parenchyma, "parenchyma")
    require_setting("margin_hu", margin_hu)
    require_setting("scale_hu", scale_hu, least=1.0)
    if not isinstance(image_hu, Tensor):
        raise TypeError(f"image_hu is a torch tensor, got {type(image_hu).__name__}: torch.as_tensor(...)")
    if image_hu.shape != logits.shape:
        raise ValueError(
            f"image_hu is [P,D,H,W] = {tuple(logits.shape)} as logits, got {tuple(image_hu.shape)}"
        )
    known = get_args(StatedAttenuation)
    if len(attenuation) != logits.shape[0] or any(stated not in known for stated in attenuation):
        raise ValueError(
            f"attenuation holds one of {', '.join(known)} for each of {logits.shape[0]} lesions, got {attenuation}"
        )
    rows = [row for row, stated in enumerate(attenuation) if stated in USABLE]
    if not rows:
        return zero_of(logits)
    losses, valid = [], []
    for row, values in zip(rows, gather_boxes(logits, [(row,) for row in rows]), strict=True):
        inside, around = ball[row], parenchyma[row] & ~ball[row]
        hu = image_hu[row].to(values.dtype)
        error = attenuation_error(
            values.flatten(),
            hu.flatten(),
            mean_over(hu, around),
            attenuation[row],
            margin_hu=margin_hu,
            held=inside.flatten(),
        )
        losses.append(error / scale_hu)
        valid.append(inside.any() & around.any())
    stacked = torch.stack(losses)
    certainty = torch.ones_like(stacked)
    if weight is not None:
        asked = per_pair("weight", weight, len(attenuation))
        certainty = upload(asked, stacked)[upload(rows, stacked).long()]
    return weighted_mean(stacked, certainty * torch.stack(valid))


def attenuation_error(
    logits: Float[Tensor, " n"],
    lesion_hu: Float[Tensor, " n"],
    organ_hu: Float[Tensor, ""],
    attenuation: StatedAttenuation,
    *,
    margin_hu: float,
    held: Bool[Tensor, " n"],
) -> Float[Tensor, ""]:
    """The hinge of one lesion in HU over the ``held`` voxels; finite, and of no meaning, where there are none.

    The weights p are a softmax of log p, so that a ball of tiny p has a mean too.
    """
    ranks = functional.logsigmoid(logits)
    share = torch.softmax(torch.where(held, ranks, torch.finfo(ranks.dtype).min), dim=0)
    # Against the organ's mean first: HU of ±1000 would cost digits.
    difference = (share * torch.where(held, lesion_hu.to(share.dtype) - organ_hu, 0.0)).sum()
    if attenuation == "hypo":
        return (difference + margin_hu).clamp(min=0)
    if attenuation == "hyper":
        return (margin_hu - difference).clamp(min=0)
    return (difference.abs() - margin_hu).clamp(min=0)


def mean_over(values: Float[Tensor, "*n"], mask: Bool[Tensor, "*n"]) -> Float[Tensor, ""]:
    """Mean of the values inside the mask, 0 if it is empty."""
    total = torch.where(mask, values, 0.0).sum(dtype=torch.float64)
    return (total / mask_as(mask, torch.float64).sum().clamp(min=1)).to(values.dtype)
