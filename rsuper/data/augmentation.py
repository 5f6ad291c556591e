"""Random mirrors and intensities of a crop; labels, regions, slabs and channels go along."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from rsuper.data.crops import Sample, map_regions
from rsuper.data.sampling import Channels, SamplingConfig
from rsuper.supervision.types import LesionTarget, PairTarget

LEFT_RIGHT = 0  # array axis of RAS volumes
_OTHER_SIDE = {"left": "right", "right": "left"}


def augment(
    sample: Sample, rng: np.random.Generator, *, channels: Channels, config: SamplingConfig
) -> Sample:
    """Mirror everything alike, then vary the intensities of the image.

    A left-right mirror turns a left kidney into a right one: sided channels change places, and where one of them has no
    partner among the channels, that axis is not mirrored.
    """
    axes = [axis for axis in config.mirror_axes if rng.random() < 0.5]
    order = mirrored_channels(channels.names)
    if order is None:
        axes = [axis for axis in axes if axis != LEFT_RIGHT]
    swap = order if order is not None and LEFT_RIGHT in axes else tuple(range(len(channels.names)))
    dims = [axis + 1 for axis in axes]
    image = torch.flip(sample.image, dims)
    scale = 1.0 + config.scale_sd * rng.standard_normal()
    shift = config.shift_sd * rng.standard_normal()
    noise = rng.standard_normal(tuple(image.shape), dtype=np.float32) * np.float32(
        config.noise_sd * rng.random()
    )
    image = image * float(scale) + float(shift) + torch.from_numpy(noise)
    shape = tuple(sample.image.shape[1:])
    return replace(
        sample,
        image=image,
        labels=torch.flip(sample.labels, dims)[list(swap)],
        known=torch.flip(sample.known, dims)[list(swap)],
        image_hu=None if sample.image_hu is None else torch.flip(sample.image_hu, dims),
        organ=None if sample.organ is None else torch.flip(sample.organ, dims)[list(swap)],
        reference=None if sample.reference is None else torch.flip(sample.reference, dims)[list(swap)],
        pairs=tuple(_flip_pair(pair, axes, shape, swap) for pair in sample.pairs),
    )


def mirrored_channels(names: Sequence[str]) -> tuple[int, ...] | None:
    """Which channel each channel becomes when left and right are exchanged; None if a sided one has no partner.

    Example:
        >>> mirrored_channels(("liver", "kidney_left", "kidney_right"))
        (0, 2, 1)
    """
    order = []
    for name in names:
        words = [_OTHER_SIDE.get(word, word) for word in name.split("_")]
        partner = "_".join(words)
        if partner not in names:
            return None
        order.append(list(names).index(partner))
    return tuple(order)


def _flip_pair(
    pair: PairTarget, axes: Sequence[int], shape: Sequence[int], swap: Sequence[int]
) -> PairTarget:
    flipped = map_regions(pair, lambda region: torch.flip(region, list(axes)))
    return replace(
        flipped,
        channel=swap[pair.channel],
        lesions=tuple(_flip_slab(lesion, axes, shape) for lesion in flipped.lesions),
    )


def _flip_slab(lesion: LesionTarget, axes: Sequence[int], shape: Sequence[int]) -> LesionTarget:
    if lesion.slab is None or lesion.slab[0] not in axes:
        return lesion
    axis, first, last = lesion.slab
    return replace(lesion, slab=(axis, shape[axis] - last, shape[axis] - first))
