"""What a step says of itself beside its loss: balls, haze, bias, brightness. No gradient, no look at a value.

Every figure is a tensor that stays where it is; sums and counts come along, so that a log adds up over steps.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool
from torch import Tensor

from rsuper.losses.boxes import RegionBox, mask_as
from rsuper.losses.localisation import PlacedLesion
from rsuper.losses.presence import top_log_probabilities
from rsuper.losses.volume import HAZE_PROBABILITY
from rsuper.morphology import Spacing
from rsuper.supervision.types import PairTarget

LEAST_MM3 = 1e-3


@torch.no_grad()
def volume_figures(
    boxes: Sequence[RegionBox],
    pairs: Sequence[PairTarget],
    voxel_mm3: Sequence[float],
    *,
    reference: Bool[Tensor, "B C D H W"] | None = None,
) -> dict[str, Tensor]:
    """Haze and bias of the predicted volumes V̂ = v·Σ p of the pairs with a lesion.

    Args:
        boxes: the pairs on the head whose volume is meant.
        pairs: looked up by ``RegionBox.pair``; those that are not ``present`` are left out.
        voxel_mm3: one number a pair.
        reference: masks of the reported lesions; an empty one is none.

    Returns:
        ``haze_share``: share of V̂ from p < 0.1, which is ``haze_mm3`` / ``volume_mm3`` · ``volume_log_ratio``: mean of
        log(V̂ / reported median) over the ``volumes_compared`` pairs that state every size and are all in the crop ·
        with a reference ``predicted_mm3`` and ``reference_mm3`` of the pairs that have one, whose sums over steps give
        the bias. Nothing that no pair of the batch can tell.
    """
    found, ratios, seen, true = [], [], [], []
    for item in boxes:
        pair, size = pairs[item.pair], voxel_mm3[item.pair]
        if not pair.present:
            continue
        probability = torch.sigmoid(item.logits) * mask_as(item.region, item.logits.dtype)
        thin = probability * mask_as(probability < HAZE_PROBABILITY, probability.dtype)
        found.append(torch.stack((probability.sum(), thin.sum())) * size)
        if pair.complete and pair.median_mm3 is not None:
            ratios.append(torch.log(found[-1][0].clamp(min=LEAST_MM3) / pair.median_mm3))
        if reference is not None:
            mask = reference[(pair.sample, pair.channel, *item.box)]
            drawn = mask_as(mask, probability.dtype).sum() * size
            seen.append(found[-1][0] * (drawn > 0))
            true.append(drawn)
    if not found:
        return {}
    volume, haze = torch.stack(found).sum(dim=0)
    share = haze / volume.clamp(min=torch.finfo(volume.dtype).tiny)
    figures = {"haze_share": share, "haze_mm3": haze, "volume_mm3": volume}
    if ratios:
        figures |= {
            "volume_log_ratio": torch.stack(ratios).mean(),
            "volumes_compared": torch.tensor(float(len(ratios))),
        }
    if true:
        figures |= {"predicted_mm3": torch.stack(seen).sum(), "reference_mm3": torch.stack(true).sum()}
    return figures


@torch.no_grad()
def brightness_figures(
    boxes: Sequence[RegionBox],
    pairs: Sequence[PairTarget],
    spacing_mm: Sequence[Spacing],
    *,
    top_mm3: float,
) -> dict[str, Tensor]:
    """How bright the brightest ``top_mm3`` are where reports state a lesion and where they call the organ free.

    A crop that may not hold the lesion says nothing: its pair is not ``complete`` and left out.

    Args:
        boxes: the pairs on the final head.
        pairs: looked up by ``RegionBox.pair``.
        spacing_mm: one row a pair.
        top_mm3: as in :func:`rsuper.losses.presence_loss`.

    Returns:
        ``top_reported`` and ``top_free``: mean over the pairs of the log-odds of mean p, where there is a pair. Of a
        network that finds the lesions the first is the higher one.
    """
    odds: dict[str, list[Tensor]] = {}
    for item in boxes:
        if not pairs[item.pair].complete:
            continue
        yes, no = top_log_probabilities(item, spacing_mm=spacing_mm[item.pair], top_mm3=top_mm3)
        odds.setdefault("top_reported" if pairs[item.pair].present else "top_free", []).append(yes - no)
    return {name: torch.stack(values).mean() for name, values in odds.items()}


@torch.no_grad()
def centre_figures(
    located: Sequence[tuple[RegionBox, PlacedLesion]],
    pairs: Sequence[PairTarget],
    reference: Bool[Tensor, "B C D H W"] | None,
) -> dict[str, Tensor]:
    """Whether the balls lie in the lesions.

    Args:
        located: every place of every lesion, the best of a lesion first; only that one counts.
        pairs: looked up by ``RegionBox.pair``.
        reference: masks of the reported lesions; an empty one is none.

    Returns:
        ``centre_inside_share``: share of the located lesions whose centre lies in the mask, 0 if none can be compared;
        ``centres_compared``: how many can. Empty without a reference or without lesions.
    """
    if reference is None or not located:
        return {}
    hits, counts, seen = [], [], set[tuple[int, int]]()
    for item, lesion in located:
        if (item.pair, lesion.lesion) in seen:
            continue
        seen.add((item.pair, lesion.lesion))
        pair = pairs[item.pair]
        mask = reference[(pair.sample, pair.channel, *item.box)].view(torch.uint8)
        counts.append((lesion.located & (mask.amax() > 0)).to(item.logits.dtype))
        first, second, third = lesion.center.view(3, 1)
        hits.append(mask[first, second, third].sum() * counts[-1])
    compared = torch.stack(counts).sum()
    return {
        "centre_inside_share": torch.stack(hits).sum() / compared.clamp(min=1),
        "centres_compared": compared,
    }
