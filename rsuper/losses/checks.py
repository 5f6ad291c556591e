"""What callers pass, looked at before anything is computed: errors that say what to pass instead."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rsuper.morphology import SpacingLike
from rsuper.supervision.types import LesionTarget, SupervisionBatch

PROBABILITY_SLACK = 1e-3


def check_pairs(
    logits: Float[Tensor, "P D H W"], mask: Bool[Tensor, "P D H W"], name: str = "region"
) -> None:
    """Raise TypeError or ValueError unless both are tensors [P,D,H,W] on one device and the mask is bool."""
    require_tensor("logits", logits)
    require_mask(name, mask)
    if logits.ndim != 4 or logits.shape != mask.shape:
        hint = "; take the entry of each pair: outputs[sample, channel]" if logits.ndim == 5 else ""
        raise ValueError(
            f"logits and {name} are both [P,D,H,W], got {tuple(logits.shape)} and {tuple(mask.shape)}{hint}"
        )
    if logits.device != mask.device:
        raise ValueError(f"logits are on {logits.device}, {name} on {mask.device}: {name}.to(logits.device)")


def require_tensor(name: str, value: Tensor) -> None:
    """Raise TypeError if a value is no tensor, ValueError if it is no floating one."""
    if not isinstance(value, Tensor):
        raise TypeError(f"{name} is a torch tensor, got {type(value).__name__}: torch.as_tensor(...)")
    if not value.is_floating_point():
        raise ValueError(f"{name} is a floating tensor, got {value.dtype}: {name}.float()")


def require_labels(labels: Tensor) -> None:
    """Raise TypeError if labels are no tensor."""
    if not isinstance(labels, Tensor):
        raise TypeError(f"labels is a torch tensor, got {type(labels).__name__}: torch.as_tensor(...)")


def require_mask(name: str, mask: Tensor) -> None:
    """Raise TypeError if a value is no tensor, ValueError if it is no bool one."""
    if not isinstance(mask, Tensor):
        raise TypeError(
            f"{name} is a bool mask as a torch tensor, got {type(mask).__name__}: torch.from_numpy(...)"
        )
    if mask.dtype != torch.bool:
        raise ValueError(f"{name} is a bool mask, got {mask.dtype}: {name} > 0")


def per_pair(
    name: str, value: SpacingLike | Tensor | float | None, count: int, default: float = 1.0
) -> Tensor:
    """A number a pair, [P], of one number, of [P] numbers, or of the default for None."""
    tensor = as_tensor(value, default)
    if tensor.shape not in ((), (count,)):
        raise ValueError(f"{name} is one number or [P] with P = {count}, got shape {tuple(tensor.shape)}")
    return tensor.expand(count)


def check_weights(weight: Tensor, name: str = "weight") -> None:
    """Raise ValueError if a weight, read on the host, is negative or not finite."""
    if not bool((torch.isfinite(weight) & (weight >= 0)).all()):
        raise ValueError(f"{name} is finite and not negative, got {weight.tolist()}")


def require_setting(name: str, value: float, *, least: float = 0.0) -> None:
    """Raise ValueError if a setting is not finite or below ``least``."""
    if not least <= value < math.inf:
        raise ValueError(f"{name} is finite and at least {least:g}, got {value}")


def check_probability(lowest: Tensor, highest: Tensor) -> None:
    """Raise ValueError if probabilities, of which both ends were read on the host, leave [0, 1]."""
    low, high = float(lowest), float(highest)
    if not (low >= -PROBABILITY_SLACK and high <= 1 + PROBABILITY_SLACK):
        raise ValueError(
            f"probability lies in [0, 1], got {low:g} to {high:g}; of logits: torch.sigmoid(logits), logits=logits"
        )


def check_lesions(lesions: Sequence[LesionTarget], shape: Sequence[int]) -> None:
    """Raise TypeError if these are no lesions, ValueError if their masks do not fit a patch [D,H,W] of ``shape``."""
    if isinstance(lesions, LesionTarget) or any(not isinstance(lesion, LesionTarget) for lesion in lesions):
        raise TypeError("each pair takes a sequence of LesionTarget, such as [[lesion], []] for two pairs")
    for number, lesion in enumerate(lesions):
        for name in ("region", "centers"):
            mask = getattr(lesion, name)
            if mask is not None:
                require_mask(f"lesions[{number}].{name}", mask)
                if tuple(mask.shape) != tuple(shape):
                    raise ValueError(
                        f"lesions[{number}].{name} is [D,H,W] = {tuple(shape)} as the patch, got {tuple(mask.shape)}"
                    )


def check_lesion_lists(
    lesions_per_pair: Sequence[Sequence[LesionTarget]], region: Bool[Tensor, "P D H W"]
) -> None:
    """Raise ValueError if these are not P lists of lesions that fit the patch, TypeError if they are no lesions."""
    if len(lesions_per_pair) != region.shape[0]:
        raise ValueError(
            f"{region.shape[0]} pairs but {len(lesions_per_pair)} lists of lesions; [] is a pair without"
        )
    for lesions in lesions_per_pair:
        check_lesions(lesions, region.shape[1:])


def check_batch(batch: SupervisionBatch) -> None:
    """Raise TypeError if this is no batch.

    ValueError if one of its pairs points outside it, or has an interval, weight or masks that do not fit.
    """
    if not isinstance(batch, SupervisionBatch):
        raise TypeError(
            f"the loss takes (outputs, batch), with a SupervisionBatch such as target_map(…).supervision(); got "
            f"{type(batch).__name__} for the batch"
        )
    samples, channels, *shape = batch.labels.shape
    for number, pair in enumerate(batch.pairs):
        if not (0 <= pair.sample < samples and 0 <= pair.channel < channels):
            raise ValueError(
                f"pairs[{number}] is sample {pair.sample}, channel {pair.channel}; the batch has {samples} samples "
                f"and {channels} channels"
            )
        low, high = pair.volume_mm3
        if not (0 <= low <= high and math.isfinite(low)):
            raise ValueError(
                f"pairs[{number}].volume_mm3 is (lo, hi) with 0 <= lo <= hi and lo finite, got {pair.volume_mm3}"
            )
        if not 0 <= pair.weight < math.inf:
            raise ValueError(f"pairs[{number}].weight is finite and not negative, got {pair.weight}")
        require_mask(f"pairs[{number}].region", pair.region)
        if tuple(pair.region.shape) != tuple(shape):
            raise ValueError(
                f"pairs[{number}].region is [D,H,W] = {tuple(shape)} as the labels, got {tuple(pair.region.shape)}"
            )
        check_lesions(pair.lesions, shape)


def as_tensor(values: SpacingLike | Tensor | float | None, default: float = 1.0) -> Tensor:
    """A tensor of numbers (float64), of a tensor on any device (as it is), or of nothing."""
    if isinstance(values, Tensor):
        return values
    return torch.tensor(default if values is None else values, dtype=torch.float64)
