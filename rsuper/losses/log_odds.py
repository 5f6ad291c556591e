"""Softmax heads: the log-odds of each class, so that losses made for sigmoid heads apply without a change."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor


def softmax_log_odds(
    logits: Float[Tensor, "B K D H W"], classes: Sequence[int | Sequence[int]] | None = None
) -> Float[Tensor, "B C D H W"]:
    """ℓ with sigmoid(ℓ_c) = softmax(z)_c exactly: ℓ_c = log p_c − log(1 − p_c) = z_c − log Σ_{j≠c} exp z_j.

    A union S of classes (an organ is its parenchyma and its lesions) has ℓ_S = log Σ_S exp z_j − log Σ_{j∉S} exp z_j.
    Where p_c is below ½, 1 − p_c keeps its digits; above, only one class can be, and there the sum over the others is
    taken without it. So ±100 logits stay exact, and so does the gradient ∂ℓ_c/∂z_j = δ_cj − (1 − δ_cj)·p_j/(1 − p_c).

    Args:
        logits: [B,K,...] of a softmax head such as nnU-Net's, any floating dtype; K >= 2.
        classes: one entry an output channel: a class, or a set of classes whose union it is. None is every class but
            0, the background.

    Returns:
        [B,C,...], at least float32: what every loss of this package takes for logits.

    Raises:
        ValueError: if a class does not exist, or a union is empty or holds every class.

    >>> z = torch.tensor([2.0, 0.5, -1.0]).view(1, 3, 1, 1, 1)
    >>> torch.allclose(torch.sigmoid(softmax_log_odds(z)), torch.softmax(z, dim=1)[:, 1:])
    True
    """
    count = logits.shape[1]
    chosen = list(range(1, count)) if classes is None else list(classes)
    unions = [(entry,) if isinstance(entry, int) else tuple(dict.fromkeys(entry)) for entry in chosen]
    for union in unions:
        if not 0 < len(union) < count or not all(0 <= index < count for index in union):
            raise ValueError(
                f"classes are 0 to {count - 1}, in unions of 1 to {count - 1} of them; got {union}"
            )
    scores = logits if logits.dtype == torch.float64 else logits.to(torch.float32)
    singles = [union[0] for union in unions if len(union) == 1]
    odds = iter(_each(scores, singles).unbind(dim=1)) if singles else iter(())
    return torch.stack([next(odds) if len(union) == 1 else _union(scores, union) for union in unions], dim=1)


def _each(scores: Tensor, chosen: Sequence[int]) -> Tensor:
    """Log-odds of single classes, all at once."""
    index = scores.detach().argmax(dim=1, keepdim=True)
    # log of the sum over all classes but the highest, for that class alone.
    others = torch.logsumexp(scores.scatter(1, index, -torch.inf), dim=1, keepdim=True)
    log_p = torch.log_softmax(scores, dim=1)
    if list(chosen) != list(range(scores.shape[1])):
        scores, log_p = scores[:, list(chosen)], log_p[:, list(chosen)]
    channels = torch.tensor(list(chosen)).to(index.device, non_blocking=True)
    highest = index == channels.view(1, -1, *[1] * (index.ndim - 2))
    # Where the class is the highest its p may round to 1: keep that branch's logarithm, and its gradient, finite.
    below = torch.where(highest, -1.0, log_p)
    return torch.where(highest, scores - others, below - torch.log1p(-torch.exp(below)))


def _union(scores: Tensor, union: Sequence[int]) -> Tensor:
    rest = [index for index in range(scores.shape[1]) if index not in union]
    inside, outside = scores[:, list(union)], scores[:, rest]
    odds: Tensor = torch.logsumexp(inside, dim=1) - torch.logsumexp(outside, dim=1)
    return odds
