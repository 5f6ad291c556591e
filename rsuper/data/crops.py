"""Crops of prepared cases: where they lie, what they show, and what of it is known."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from llm_extract.anatomy import Anatomy, load_anatomy
from rsuper.data.fingerprint import IntensityFingerprint
from rsuper.data.roi import Box
from rsuper.data.sampling import Channels, SamplingConfig
from rsuper.data.store import Index3, PreparedCase
from rsuper.supervision import crop_label, crop_pairs, organ_of_class
from rsuper.supervision.types import CaseTargets, LesionPlace, PairTarget


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One crop of one case, padded to the patch size.

    Args:
        case: where it is from.
        start: its first voxel in the case, array order.
        image: [1,D,H,W] normalised.
        labels: bool [C,D,H,W].
        known: bool [C,D,H,W]; padding is unknown.
        pairs: report targets of the crop; ``sample`` is 0.
        image_hu: [1,D,H,W] in HU, where asked for.
        organ: bool [C,D,H,W], host organ of each lesion channel, where asked for.
        reference: bool [C,D,H,W], evaluation masks of reported lesions; for logs alone. None where the case has none.
    """

    case: PreparedCase
    start: Index3
    image: Tensor
    labels: Tensor
    known: Tensor
    pairs: tuple[PairTarget, ...]
    image_hu: Tensor | None = None
    organ: Tensor | None = None
    reference: Tensor | None = None


Places = Mapping[str, Sequence[LesionPlace]]
"""Lesion class → where the search over its whole region put its lesions."""


def choose_crop(
    case: PreparedCase,
    rng: np.random.Generator,
    *,
    channels: Channels,
    config: SamplingConfig,
    places: Places | None = None,
) -> Index3:
    """First voxel of a crop.

    A report case gets a crop that holds its whole region where the patch is large enough; else, as often as
    ``lesion_centred`` says, one that holds the ball of a lesion that was found, or one anywhere in the region. A
    voxel-labelled case gets one around a lesion voxel or anywhere on its organs.
    """
    patch = config.patch_size
    focus = _focus(case, rng, channels=channels, config=config)
    if focus is None:
        return _clamp(
            [
                int(rng.integers(0, max(1, size - side + 1)))
                for size, side in zip(case.shape, patch, strict=True)
            ],
            case.shape,
            patch,
        )
    name, mask = focus
    box = None if name is None else case.region_box(name)
    start = []
    if box is not None and fits(box, patch):
        for axis, part in enumerate(box):
            first = max(0, part.stop - patch[axis])
            last = min(part.start, max(0, case.shape[axis] - patch[axis]))
            start.append(int(rng.integers(first, last + 1)))
        return _clamp(start, case.shape, patch)
    found = (places or {}).get(name or "", ())
    if found and rng.random() < config.lesion_centred:
        return _around(found[int(rng.integers(len(found)))], case, rng, patch)
    voxels = np.flatnonzero(mask)
    centre = np.unravel_index(int(voxels[int(rng.integers(voxels.size))]), mask.shape)
    for axis in range(3):
        jitter = int(rng.integers(-patch[axis] // 4, patch[axis] // 4 + 1))
        start.append(int(centre[axis]) - patch[axis] // 2 + jitter)
    return _clamp(start, case.shape, patch)


def cut(
    case: PreparedCase,
    start: Index3,
    *,
    channels: Channels,
    patch_size: Index3,
    intensity: IntensityFingerprint,
    hosts: Mapping[str, Sequence[str]] | None = None,
    places: Places | None = None,
) -> Sample:
    """Read one crop and what is known of it; voxels beyond the volume are padding and unknown.

    Args:
        case: a prepared case.
        start: first voxel, array order.
        channels: output channels.
        patch_size: voxels of the crop.
        intensity: normalisation.
        hosts: lesion class → structures of its organ, to bring HU and organ for the attenuation term; None leaves
            them out.
        places: where lesions were found, for regions larger than the crop.
    """
    stop = tuple(
        min(first + side, size) for first, side, size in zip(start, patch_size, case.shape, strict=True)
    )
    image_hu = case.image(start, stop)
    image = normalise(image_hu, intensity)
    shape = image.shape
    labels = np.zeros((len(channels.names), *shape), dtype=bool)
    known = np.zeros_like(labels)
    for number, name in enumerate(channels.structures):
        if f"structure:{name}" in case.channels:
            labels[number] = case.mask(f"structure:{name}", start, stop)
            known[number] = True
    targets = case.case_targets()
    for name, number in channels.lesion_index.items():
        voxels = case.mask(f"label:{name}", start, stop) if case.state(name) == "voxels" else None
        crop = crop_label(targets, name, start, stop, voxels=voxels)
        labels[number], known[number] = crop.label, crop.known
    pairs = crop_pairs(targets, start, stop, sample=0, channels=channels.lesion_index, places=places)
    pairs += denials(targets, (shape[0], shape[1], shape[2]), channels=channels)
    missing = [side - size for side, size in zip(patch_size, shape, strict=True)]
    padding = (0, missing[2], 0, missing[1], 0, missing[0])
    organ = None if hosts is None else _host_organs(case, start, stop, channels=channels, hosts=hosts)
    reference = _references(case, start, stop, channels=channels)
    return Sample(
        case=case,
        start=start,
        image=F.pad(torch.from_numpy(image)[None], padding, value=float(image.min())),
        labels=F.pad(torch.from_numpy(labels), padding),
        known=F.pad(torch.from_numpy(known), padding),
        pairs=tuple(map_regions(pair, lambda region: F.pad(region, padding)) for pair in pairs),
        image_hu=None
        if hosts is None
        else F.pad(torch.from_numpy(image_hu.astype(np.float32))[None], padding),
        organ=None if organ is None else F.pad(torch.from_numpy(organ), padding),
        reference=None if reference is None else F.pad(torch.from_numpy(reference), padding),
    )


def denials(targets: CaseTargets, shape: Index3, *, channels: Channels) -> tuple[PairTarget, ...]:
    """What a report that calls an organ free says of a crop: no lesion anywhere.

    The voxels are known negatives already; these pairs give the yes/no loss its "no". No other term reads them.

    Args:
        targets: targets of the whole case.
        shape: voxels of the crop.
        channels: output channels.
    """
    return tuple(
        PairTarget(
            sample=0,
            channel=channel,
            region=torch.ones(shape, dtype=torch.bool),
            lesions=(),
            volume_mm3=(0.0, 0.0),
            present=False,
        )
        for name, channel in channels.lesion_index.items()
        if targets.classes[name].state == "absent"
    )


def host_structures(channels: Channels, anatomy: Anatomy | None = None) -> dict[str, tuple[str, ...]]:
    """Lesion class → the structures that make up its organ; what ``cut`` takes as ``hosts``.

    Args:
        channels: output channels.
        anatomy: the table of organs that the targets were made with; the built-in one by default.
    """
    table = anatomy or load_anatomy()
    organs = {name: organ_of_class(name, table) for name in channels.lesion_classes}
    return {name: table.organ_structures(organ) for name, organ in organs.items() if organ is not None}


def _host_organs(
    case: PreparedCase,
    start: Sequence[int],
    stop: Sequence[int],
    *,
    channels: Channels,
    hosts: Mapping[str, Sequence[str]],
) -> NDArray[np.bool_]:
    """Bool [C,D,H,W] of the crop: the organ of each lesion channel, nothing in the others."""
    shape = [last - first for first, last in zip(start, stop, strict=True)]
    organ = np.zeros((len(channels.names), *shape), dtype=bool)
    for name, number in channels.lesion_index.items():
        for structure in hosts.get(name, ()):
            if f"structure:{structure}" in case.channels:
                organ[number] |= case.mask(f"structure:{structure}", start, stop)
    return organ


def _references(
    case: PreparedCase, start: Sequence[int], stop: Sequence[int], *, channels: Channels
) -> NDArray[np.bool_] | None:
    """Bool [C,D,H,W] of the crop: the evaluation masks of the reported classes; None if there is none."""
    there = {
        number: f"reference:{name}"
        for name, number in channels.lesion_index.items()
        if case.state(name) == "reported" and f"reference:{name}" in case.channels
    }
    if not there:
        return None
    shape = [last - first for first, last in zip(start, stop, strict=True)]
    masks = np.zeros((len(channels.names), *shape), dtype=bool)
    for number, channel in there.items():
        masks[number] = case.mask(channel, start, stop)
    return masks


def normalise(image_hu: NDArray[np.int16], intensity: IntensityFingerprint) -> NDArray[np.float32]:
    """Clip to the fingerprint's range, subtract its mean, divide by its standard deviation."""
    clipped = np.clip(image_hu.astype(np.float32), intensity.low_hu, intensity.high_hu)
    return (clipped - np.float32(intensity.mean_hu)) / np.float32(intensity.std_hu)


def map_regions(pair: PairTarget, change: Callable[[Tensor], Tensor]) -> PairTarget:
    """The pair with ``change`` applied to its region and to every mask of its lesions."""
    lesions = tuple(
        replace(
            lesion,
            region=None if lesion.region is None else change(lesion.region),
            centers=None if lesion.centers is None else change(lesion.centers),
        )
        for lesion in pair.lesions
    )
    return replace(pair, region=change(pair.region), lesions=lesions)


def _focus(
    case: PreparedCase, rng: np.random.Generator, *, channels: Channels, config: SamplingConfig
) -> tuple[str | None, NDArray[np.bool_]] | None:
    """What the crop should show: the region of a reported class, which is named, a lesion, or any organ."""
    names = list(channels.lesion_classes)
    rng.shuffle(names)
    for name in names:
        if case.state(name) == "reported" and case.targets[name]["region"]:
            region = case.mask(case.targets[name]["region"])
            if region.any():
                return name, region
        if case.state(name) == "voxels" and rng.random() < config.lesion_centred:
            label = case.mask(f"label:{name}")
            if label.any():
                return None, label
    structures = [name for name in channels.structures if f"structure:{name}" in case.channels]
    rng.shuffle(structures)
    for name in structures:
        mask = case.mask(f"structure:{name}")
        if mask.any():
            return None, mask
    return None


def _around(place: LesionPlace, case: PreparedCase, rng: np.random.Generator, patch: Index3) -> Index3:
    """A crop that holds the ball of a lesion if it can, and its centre in its middle half if that is possible."""
    start = []
    for axis, side in enumerate(patch):
        centre, reach = place.center[axis], int(place.ball_mm / 2 / case.spacing_mm[axis])
        first = centre - side // 2 + int(rng.integers(-side // 4, side // 4 + 1))
        if 2 * reach < side:
            first = min(max(first, centre + reach + 1 - side), centre - reach)
        start.append(first)
    return _clamp(start, case.shape, patch)


def fits(box: Box, patch: Sequence[int]) -> bool:
    """True if a patch can hold the box."""
    return all(part.stop - part.start <= side for part, side in zip(box, patch, strict=True))


def _clamp(start: Sequence[int], shape: Index3, patch: Index3) -> Index3:
    first = [
        min(max(0, value), max(0, size - side)) for value, size, side in zip(start, shape, patch, strict=True)
    ]
    return first[0], first[1], first[2]
