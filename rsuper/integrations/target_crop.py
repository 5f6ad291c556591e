"""Where to crop a case so that the crop shows what there is to learn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from rsuper.integrations.target_key import TargetKey
from rsuper.integrations.target_map import TargetMap
from rsuper.morphology import Box, bounding_box


def target_crop(made: TargetMap, size: Sequence[int], rng: np.random.Generator) -> Box:
    """A random box that holds a report's whole region, where it fits, else lies in it; or shows a drawn lesion.

    A crop that cuts a region loses most of what the report says, because the lesion may be in the other part. Cases
    without either are cropped around a structure, else anywhere.

    Args:
        made: the target map, also after augmentation.
        size: voxels of the crop; a smaller volume gives a smaller box.
        rng: where chance comes from.

    Returns:
        Slices into [D,H,W].

    Raises:
        ValueError: the size is not three positive numbers of voxels.

    >>> liver = torch.zeros(40, 40, 40)
    >>> liver[10:20, 10:20, 10:20] = 1
    >>> from rsuper.integrations import target_map
    >>> made = target_map("2 cm liver mass.", {"liver": liver}, spacing_mm=(5, 5, 5), channels=("liver_lesion",))
    >>> made.codes[:, *target_crop(made, (20, 20, 20), np.random.default_rng(0))].shape
    torch.Size([1, 20, 20, 20])
    """
    if len(size) != 3 or min(size) < 1:
        raise ValueError(
            f"size is three numbers of voxels (D, H, W), such as (96, 96, 96), got {tuple(size)}"
        )
    codes = made.codes.as_subclass(Tensor)[0].to(torch.int64)
    focus = _focus(codes, made.key, rng)
    box = None if focus is None else bounding_box(focus)
    if focus is None or box is None:
        starts = [int(rng.integers(0, max(1, n - s + 1))) for n, s in zip(codes.shape, size, strict=True)]
    else:
        voxels = torch.nonzero(focus)
        middle = voxels[int(rng.integers(len(voxels)))].tolist()
        starts = []
        for axis, (part, side) in enumerate(zip(box, size, strict=True)):
            fits = part.stop - part.start <= side
            wanted = rng.integers(part.stop - side, part.start + 1) if fits else middle[axis] - side // 2
            starts.append(min(max(int(wanted), 0), max(0, codes.shape[axis] - side)))
    first, second, third = (
        slice(start, min(start + side, n)) for start, side, n in zip(starts, size, codes.shape, strict=True)
    )
    return first, second, third


def _focus(codes: Tensor, key: TargetKey, rng: np.random.Generator) -> Tensor | None:
    """One of the masks that the crop should show."""
    lesions = [pair.region for pair in key.pairs if pair.present and pair.region is not None]
    labels = dict(zip(key.channels, key.labels, strict=True))
    drawn = [number for name, number in labels.items() if key.states.get(name) == "voxels"]
    structures = [number for name, number in labels.items() if name not in key.states]
    for numbers in (lesions + drawn, structures):
        for number in rng.permutation(numbers):
            held = torch.tensor([int(number) in masks for masks in key.codes])
            mask = held[codes.clamp(min=0)]
            if mask.any():
                return mask
    return None
