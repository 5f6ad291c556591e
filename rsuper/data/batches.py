"""Training batches: which case, which crop, which augmentation; a pure function of (seed, step, slot).

Nothing here keeps a random state, so a run that resumes at step n sees exactly the crops an uninterrupted run sees.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.nn import functional as F

from rsuper.data.fingerprint import IntensityFingerprint
from rsuper.data.store import Index3, PreparedCase
from rsuper.supervision import crop_label, crop_pairs
from rsuper.supervision.types import LesionTarget, PairTarget, SupervisionBatch

Stage = Literal["masks", "masks_and_reports", "organs"]


class SamplingConfig(BaseModel):
    """How cases and crops are drawn and augmented.

    Args:
        patch_size: voxels of a crop, array order.
        batch_size: crops a step.
        report_fraction: share of the slots of a batch that report cases fill in the second stage.
        positive_fraction: chance that a slot takes a case with a lesion, where there are both kinds.
        lesion_centred: chance that a crop of a voxel-labelled case is centred on a lesion voxel.
        mirror_axes: array axes along which crops are mirrored at random.
        shift_sd, scale_sd, noise_sd: random intensity shift, scale and noise, in normalised units.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    patch_size: Index3 = (128, 128, 128)
    batch_size: int = Field(default=2, ge=1)
    report_fraction: float = Field(default=0.5, ge=0, le=1)
    positive_fraction: float = Field(default=0.67, ge=0, le=1)
    lesion_centred: float = Field(default=0.67, ge=0, le=1)
    mirror_axes: tuple[Literal[0, 1, 2], ...] = (0, 1, 2)
    shift_sd: float = Field(default=0.15, ge=0)
    scale_sd: float = Field(default=0.1, ge=0)
    noise_sd: float = Field(default=0.1, ge=0)


@dataclass(frozen=True, kw_only=True)
class Channels:
    """Output channels of the network: organ structures first, then lesion classes."""

    structures: tuple[str, ...]
    lesion_classes: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """All channel names in order."""
        return (*self.structures, *self.lesion_classes)

    @property
    def lesion_index(self) -> dict[str, int]:
        """Lesion class → output channel."""
        return {name: len(self.structures) + number for number, name in enumerate(self.lesion_classes)}


@dataclass(frozen=True, kw_only=True)
class Batch:
    """One training batch: normalised image [B,1,D,H,W], its supervision, and the case ids for messages."""

    image: Tensor
    supervision: SupervisionBatch
    case_ids: tuple[str, ...]


class Batches:
    """Deterministic source of batches over prepared cases.

    Args:
        cases: training cases.
        channels: output channels.
        config: sampling settings.
        intensity: normalisation.
        seed: seed of the data order.
    """

    def __init__(
        self,
        cases: Sequence[PreparedCase],
        channels: Channels,
        *,
        config: SamplingConfig,
        intensity: IntensityFingerprint,
        seed: int,
    ) -> None:
        self.channels = channels
        self.config = config
        self.intensity = intensity
        self.seed = seed
        self.pools: dict[str, list[PreparedCase]] = {"mask+": [], "mask-": [], "report+": [], "report-": []}
        for case in cases:
            states = [case.state(name) for name in channels.lesion_classes]
            if "voxels" in states:
                positive = any(_labelled(case, name) for name in channels.lesion_classes)
                self.pools["mask+" if positive else "mask-"].append(case)
            elif "reported" in states:
                self.pools["report+"].append(case)
            else:
                self.pools["report-"].append(case)
        self.all_cases = list(cases)

    def batch(self, step: int, stage: Stage) -> Batch:
        """The batch of one step: same seed, step and stage → same batch."""
        samples = [self._sample(step, slot, stage) for slot in range(self.config.batch_size)]
        pairs = tuple(
            replace(pair, sample=slot) for slot, sample in enumerate(samples) for pair in sample.pairs
        )
        return Batch(
            image=torch.stack([sample.image for sample in samples]),
            supervision=SupervisionBatch(
                labels=torch.stack([sample.labels for sample in samples]),
                known=torch.stack([sample.known for sample in samples]),
                spacing_mm=torch.tensor([sample.case.spacing_mm for sample in samples], dtype=torch.float32),
                pairs=pairs if stage == "masks_and_reports" else (),
            ),
            case_ids=tuple(sample.case.case_id for sample in samples),
        )

    def _sample(self, step: int, slot: int, stage: Stage) -> _Sample:
        rng = np.random.default_rng([self.seed, step, slot])
        case = self._draw(rng, slot, stage)
        start = choose_crop(case, rng, channels=self.channels, config=self.config)
        sample = cut(
            case, start, channels=self.channels, patch_size=self.config.patch_size, intensity=self.intensity
        )
        return augment(sample, rng, config=self.config)

    def _draw(self, rng: np.random.Generator, slot: int, stage: Stage) -> PreparedCase:
        pools = self.pools
        if stage == "organs":
            return self.all_cases[int(rng.integers(len(self.all_cases)))]
        has_masks = bool(pools["mask+"] or pools["mask-"])
        has_reports = bool(pools["report+"] or pools["report-"])
        report_slots = round(self.config.report_fraction * self.config.batch_size)
        from_reports = has_reports and stage == "masks_and_reports" and (slot < report_slots or not has_masks)
        kind = "report" if from_reports or not has_masks else "mask"
        positive, negative = pools[f"{kind}+"], pools[f"{kind}-"]
        pool = (
            positive
            if positive and (not negative or rng.random() < self.config.positive_fraction)
            else negative
        )
        return pool[int(rng.integers(len(pool)))]


@dataclass(frozen=True, kw_only=True)
class _Sample:
    case: PreparedCase
    image: Tensor
    labels: Tensor
    known: Tensor
    pairs: tuple[PairTarget, ...]


def choose_crop(
    case: PreparedCase, rng: np.random.Generator, *, channels: Channels, config: SamplingConfig
) -> Index3:
    """First voxel of a crop (LOSSES § 1, Crop).

    A report case gets a crop that holds its whole region where the patch is large enough, else one inside the region;
    a voxel-labelled case one around a lesion voxel or anywhere on its organs.
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
    kind, mask = focus
    low, high = _bounds(mask)
    start = []
    if kind == "region" and all(high[axis] - low[axis] <= patch[axis] for axis in range(3)):
        for axis in range(3):
            first, last = (
                max(0, high[axis] - patch[axis]),
                min(low[axis], max(0, case.shape[axis] - patch[axis])),
            )
            start.append(int(rng.integers(min(first, last), max(first, last) + 1)))
        return _clamp(start, case.shape, patch)
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
) -> _Sample:
    """Read one crop and what is known of it; voxels beyond the volume are padding and unknown."""
    stop = tuple(
        min(first + side, size) for first, side, size in zip(start, patch_size, case.shape, strict=True)
    )
    image = normalise(case.image(start, stop), intensity)
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
    pairs = crop_pairs(targets, start, stop, sample=0, channels=channels.lesion_index)
    missing = [side - size for side, size in zip(patch_size, shape, strict=True)]
    padding = (0, missing[2], 0, missing[1], 0, missing[0])
    return _Sample(
        case=case,
        image=F.pad(torch.from_numpy(image)[None], padding, value=float(image.min(initial=0.0))),
        labels=F.pad(torch.from_numpy(labels), padding),
        known=F.pad(torch.from_numpy(known), padding),
        pairs=tuple(map_regions(pair, lambda region: F.pad(region, padding)) for pair in pairs),
    )


def normalise(image_hu: NDArray[np.int16], intensity: IntensityFingerprint) -> NDArray[np.float32]:
    """Clip to the fingerprint's range, subtract its mean, divide by its standard deviation."""
    clipped = np.clip(image_hu.astype(np.float32), intensity.low_hu, intensity.high_hu)
    return (clipped - np.float32(intensity.mean_hu)) / np.float32(intensity.std_hu)


def augment(sample: _Sample, rng: np.random.Generator, *, config: SamplingConfig) -> _Sample:
    """Mirror everything alike, then vary the intensities of the image."""
    axes = [axis for axis in config.mirror_axes if rng.random() < 0.5]
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
        labels=torch.flip(sample.labels, dims),
        known=torch.flip(sample.known, dims),
        pairs=tuple(_flip_pair(pair, axes, shape) for pair in sample.pairs),
    )


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


def _flip_pair(pair: PairTarget, axes: Sequence[int], shape: Sequence[int]) -> PairTarget:
    flipped = map_regions(pair, lambda region: torch.flip(region, list(axes)))
    return replace(flipped, lesions=tuple(_flip_slab(lesion, axes, shape) for lesion in flipped.lesions))


def _flip_slab(lesion: LesionTarget, axes: Sequence[int], shape: Sequence[int]) -> LesionTarget:
    if lesion.slab is None or lesion.slab[0] not in axes:
        return lesion
    axis, first, last = lesion.slab
    return replace(lesion, slab=(axis, shape[axis] - last, shape[axis] - first))


def _focus(
    case: PreparedCase, rng: np.random.Generator, *, channels: Channels, config: SamplingConfig
) -> tuple[str, NDArray[np.bool_]] | None:
    """What the crop should show: a report's region, a lesion, or any organ."""
    names = list(channels.lesion_classes)
    rng.shuffle(names)
    for name in names:
        if case.state(name) == "reported" and case.targets[name]["region"]:
            return "region", case.mask(case.targets[name]["region"])
        if case.state(name) == "voxels" and rng.random() < config.lesion_centred:
            label = case.mask(f"label:{name}")
            if label.any():
                return "lesion", label
    structures = [name for name in channels.structures if f"structure:{name}" in case.channels]
    rng.shuffle(structures)
    for name in structures:
        mask = case.mask(f"structure:{name}")
        if mask.any():
            return "organ", mask
    return None


def _labelled(case: PreparedCase, name: str) -> bool:
    return case.state(name) == "voxels" and bool(case.mask(f"label:{name}").any())


def _bounds(mask: NDArray[np.bool_]) -> tuple[list[int], list[int]]:
    low, high = [], []
    for axis in range(3):
        hit = np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis)))
        low.append(int(hit[0]))
        high.append(int(hit[-1]) + 1)
    return low, high


def _clamp(start: Sequence[int], shape: Index3, patch: Index3) -> Index3:
    first = [
        min(max(0, value), max(0, size - side)) for value, size, side in zip(start, shape, patch, strict=True)
    ]
    return first[0], first[1], first[2]
