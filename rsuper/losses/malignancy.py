"""Malignancy loss: what pathology says of a lesion, asked of the voxels where it lies."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from rsuper.losses.boxes import gather_boxes, mask_as, zero_of
from rsuper.losses.checks import check_pairs, per_pair
from rsuper.losses.volume import weighted_mean
from rsuper.morphology import untraced, upload


@untraced
def malignancy_loss(
    logits: Float[Tensor, "P D H W"],
    lesion: Bool[Tensor, "P D H W"],
    malignant: Sequence[bool | None],
    *,
    weight: Float[Tensor, " P"] | None = None,
) -> Float[Tensor, ""]:
    """Cross-entropy of P(malignant | lesion), averaged over the voxels of each lesion, then over the lesions.

    The output is conditional: it is asked of lesion voxels alone (a mask, or the foreground of
    :func:`rsuper.losses.ball_targets`), so it can never light up or darken a lesion. None (mixed or not settled) gives
    no term, nor does an empty mask.

    Args:
        logits: [P,D,H,W] of the malignancy output, one entry a lesion or a class of one case.
        lesion: bool [P,D,H,W], its voxels.
        malignant: P answers: True all malignant, False all benign.
        weight: [P] certainty; None is 1 each.

    Returns:
        Scalar, at least float32; 0 with a graph where nothing is settled.

    Raises:
        TypeError: logits or lesion is no tensor, or an answer is none of True, False and None.
        ValueError: the shapes differ or lesion is not bool.

    >>> logits = torch.zeros(2, 3, 3, 3)
    >>> round(malignancy_loss(logits, logits == 0, [True, None]).item(), 4)
    0.6931
    """
    check_pairs(logits, lesion, "lesion")
    if len(malignant) != logits.shape[0]:
        raise ValueError(
            f"malignant holds True, False or None for each of {logits.shape[0]} lesions, got {len(malignant)} answers"
        )
    strange = [answer for answer in malignant if not isinstance(answer, bool | None)]
    if strange:
        raise TypeError(
            f"malignant holds True, False or None for each lesion, got {type(strange[0]).__name__}; "
            "of a tensor: answers.tolist()"
        )
    rows = [(row, answer) for row, answer in enumerate(malignant) if answer is not None]
    if not rows:
        return zero_of(logits)
    cut = gather_boxes(logits, [(row,) for row, _ in rows])
    losses, counts = zip(
        *(
            malignancy_error(values.flatten(), lesion[row].flatten(), answer)
            for values, (row, answer) in zip(cut, rows, strict=True)
        ),
        strict=True,
    )
    stacked = torch.stack(losses)
    certainty = torch.ones_like(stacked)
    if weight is not None:
        asked = per_pair("weight", weight, len(malignant))
        certainty = upload(asked, stacked)[upload([row for row, _ in rows], stacked).long()]
    return weighted_mean(stacked, certainty * (torch.stack(counts) > 0))


def malignancy_error(
    logits: Float[Tensor, " n"],
    held: Bool[Tensor, " n"],
    malignant: bool,  # noqa: FBT001 - what the report says, a value
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Mean cross-entropy over the held voxels, and how many there are."""
    inside = mask_as(held, logits.dtype)
    count = inside.sum()
    errors = functional.softplus(-logits if malignant else logits)
    return (errors * inside).sum() / count.clamp(min=1), count
