"""Training batches: which case, which crop, which augmentation; a pure function of (seed, step, slot).

Nothing here keeps a random state, so a run that resumes at step n sees exactly the crops an uninterrupted run sees:
where a search says where the crops of larger regions lie, its answers are an argument.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from rsuper.data.augmentation import augment
from rsuper.data.crops import Places, Sample, choose_crop, cut, normalise
from rsuper.data.fingerprint import IntensityFingerprint
from rsuper.data.sampling import Channels, SamplingConfig
from rsuper.data.store import PreparedCase
from rsuper.supervision.types import SupervisionBatch

__all__ = ["Batch", "Batches", "Channels", "SamplingConfig", "Stage", "choose_crop", "cut", "normalise"]
Stage = Literal["masks", "masks_and_reports", "organs"]
_FRACTION = 1 << 31  # a slot number that no batch has


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
        hosts: lesion class → structures of its organ, where the attenuation term is used; see ``cut``.
    """

    def __init__(
        self,
        cases: Sequence[PreparedCase],
        channels: Channels,
        *,
        config: SamplingConfig,
        intensity: IntensityFingerprint,
        seed: int,
        hosts: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self.hosts = hosts
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

    def cases(self, step: int, stage: Stage) -> tuple[PreparedCase, ...]:
        """The cases that the batch of a step shows, slot by slot."""
        slots = range(self.config.batch_size)
        return tuple(self._draw(self._random(step, slot), step, slot, stage) for slot in slots)

    def batch(self, step: int, stage: Stage, *, places: Mapping[str, Places] | None = None) -> Batch:
        """The batch of one step: same seed, step, stage and places → same batch.

        Args:
            step: number of the step.
            stage: what it learns from.
            places: case id → where the lesions of its larger regions were found.
        """
        known = places or {}
        samples = [self._sample(step, slot, stage, known) for slot in range(self.config.batch_size)]
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
                image_hu=_stacked([sample.image_hu for sample in samples]),
                organ=_stacked([sample.organ for sample in samples]),
                reference=_references(samples) if stage == "masks_and_reports" else None,
            ),
            case_ids=tuple(sample.case.case_id for sample in samples),
        )

    def _random(self, step: int, slot: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, step, slot])

    def _sample(self, step: int, slot: int, stage: Stage, known: Mapping[str, Places]) -> Sample:
        rng = self._random(step, slot)
        case = self._draw(rng, step, slot, stage)
        places = known.get(case.case_id)
        start = choose_crop(case, rng, channels=self.channels, config=self.config, places=places)
        sample = cut(
            case,
            start,
            channels=self.channels,
            patch_size=self.config.patch_size,
            intensity=self.intensity,
            hosts=self.hosts,
            places=places,
        )
        return augment(sample, rng, channels=self.channels, config=self.config)

    def _draw(self, rng: np.random.Generator, step: int, slot: int, stage: Stage) -> PreparedCase:
        pools = self.pools
        if stage == "organs":
            return self.all_cases[int(rng.integers(len(self.all_cases)))]
        has_masks = bool(pools["mask+"] or pools["mask-"])
        has_reports = bool(pools["report+"] or pools["report-"])
        from_reports = (
            has_reports
            and stage == "masks_and_reports"
            and (not has_masks or slot < self._report_slots(step))
        )
        kind = "report" if from_reports or not has_masks else "mask"
        positive, negative = pools[f"{kind}+"], pools[f"{kind}-"]
        pool = (
            positive
            if positive and (not negative or rng.random() < self.config.positive_fraction)
            else negative
        )
        return pool[int(rng.integers(len(pool)))]

    def _report_slots(self, step: int) -> int:
        exact = self.config.report_fraction * self.config.batch_size
        whole = int(exact)
        if exact == whole:
            return whole
        return whole + int(np.random.default_rng([self.seed, step, _FRACTION]).random() < exact - whole)


def _labelled(case: PreparedCase, name: str) -> bool:
    return case.state(name) == "voxels" and bool(case.mask(f"label:{name}").any())


def _references(samples: Sequence[Sample]) -> Tensor | None:
    """Evaluation masks of a batch, empty where a case has none; None where no case has any."""
    if all(sample.reference is None for sample in samples):
        return None
    return torch.stack(
        [
            torch.zeros_like(sample.known) if sample.reference is None else sample.reference
            for sample in samples
        ]
    )


def _stacked(tensors: Sequence[Tensor | None]) -> Tensor | None:
    present = [tensor for tensor in tensors if tensor is not None]
    return torch.stack(present) if present else None
