"""Validation during training: one case score and DSC a class, on the prepared grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from rsuper.data.batches import Channels, normalise
from rsuper.data.fingerprint import IntensityFingerprint
from rsuper.data.store import PreparedCase
from rsuper.networks import predict_probabilities
from rsuper.prediction.case_score import case_score

THRESHOLDS = (
    0.0001,
    0.0002,
    0.0005,
    0.001,
    0.002,
    0.005,
    0.01,
    0.02,
    0.05,
    0.1,
    0.15,
    0.2,
    0.25,
    0.3,
    0.35,
    0.4,
    0.45,
    0.5,
    0.55,
    0.6,
    0.65,
    0.7,
    0.75,
    0.8,
    0.85,
    0.9,
)


@dataclass(frozen=True, kw_only=True)
class CaseResult:
    """What one case of one class says: is there a lesion, the score, and DSC at every threshold."""

    case_id: str
    positive: bool | None
    score: float
    dice: tuple[float, ...] = ()
    volumes_mm3: tuple[float, ...] = ()
    reference_mm3: float | None = None


@dataclass(frozen=True, kw_only=True)
class ClassSummary:
    """Area under the ROC curve, the threshold with the best mean DSC of positive cases, and that DSC."""

    auc: float | None
    dice: float | None
    threshold: float
    cases: tuple[CaseResult, ...] = field(default=(), repr=False)

    @property
    def selection(self) -> float:
        """What chooses the checkpoint: the mean of AUC and DSC, of those that can be computed."""
        known = [value for value in (self.auc, self.dice) if value is not None]
        return float(np.mean(known)) if known else 0.0

    @property
    def case_threshold(self) -> float | None:
        """Case score from which a case is called positive: the largest sensitivity + specificity (Youden 1950).

        Half-way to the next lower score, so that it does not sit on a case; None without both kinds of cases.
        """
        scores = np.array([case.score for case in self.cases if case.positive is not None])
        truth = np.array([case.positive for case in self.cases if case.positive is not None], dtype=bool)
        if truth.all() or not truth.any():
            return None
        levels = np.unique(scores)
        youden = [(scores[truth] >= level).mean() - (scores[~truth] >= level).mean() for level in levels]
        best = int(np.argmax(youden))
        return float((levels[best] + levels[max(0, best - 1)]) / 2)


@torch.inference_mode()
def score_case(
    network: nn.Module,
    case: PreparedCase,
    *,
    channels: Channels,
    intensity: IntensityFingerprint,
    patch_size: Sequence[int],
    device: torch.device | str = "cpu",
) -> dict[str, CaseResult]:
    """Predict one prepared case and compare it with what is known of it.

    The reference is the evaluation mask where there is one, else the label of a voxel-labelled case; a case with
    neither takes part in the AUC by its report's state alone.
    """
    image = torch.from_numpy(normalise(case.image(), intensity))[None]
    probability = predict_probabilities(network, image, patch_size=patch_size, device=device).numpy()
    results = {}
    for name, channel in channels.lesion_index.items():
        reference = _reference(case, name)
        state = case.state(name)
        positive = (
            bool(reference.any()) if reference is not None else {"reported": True, "absent": False}.get(state)
        )
        p = probability[channel]
        voxel_mm3 = float(np.prod(case.spacing_mm))
        masks = [p >= threshold for threshold in THRESHOLDS]
        results[name] = CaseResult(
            case_id=case.case_id,
            positive=positive,
            score=case_score(p, None, spacing_mm=case.spacing_mm),
            dice=() if reference is None else tuple(_dice(mask, reference) for mask in masks),
            volumes_mm3=tuple(float(mask.sum()) * voxel_mm3 for mask in masks),
            reference_mm3=None if reference is None else float(reference.sum()) * voxel_mm3,
        )
    return results


def summarise(cases: Sequence[CaseResult], *, threshold: float | None = None) -> ClassSummary:
    """AUC and DSC over cases; the threshold is chosen here unless it is given.

    DSC is averaged over the positive cases with a reference mask.
    """
    scores = np.array([case.score for case in cases if case.positive is not None])
    truth = np.array([case.positive for case in cases if case.positive is not None], dtype=bool)
    dice = np.array([case.dice for case in cases if case.positive and case.dice], dtype=float)
    if threshold is None:
        index = int(np.argmax(dice.mean(axis=0))) if dice.size else THRESHOLDS.index(0.5)
    else:
        index = THRESHOLDS.index(threshold)
    return ClassSummary(
        auc=_auc(scores, truth),
        dice=float(dice[:, index].mean()) if dice.size else None,
        threshold=THRESHOLDS[index],
        cases=tuple(cases),
    )


def _reference(case: PreparedCase, name: str) -> NDArray[np.bool_] | None:
    if f"reference:{name}" in case.channels:
        return case.mask(f"reference:{name}")
    if case.state(name) == "voxels":
        return case.mask(f"label:{name}")
    return None


def _dice(mask: NDArray[np.bool_], reference: NDArray[np.bool_]) -> float:
    total = int(mask.sum()) + int(reference.sum())
    return 1.0 if total == 0 else 2.0 * int((mask & reference).sum()) / total


def _auc(scores: NDArray[np.float64], truth: NDArray[np.bool_]) -> float | None:
    if truth.all() or not truth.any():
        return None
    from scipy.stats import rankdata

    ranks = rankdata(scores)
    positives = int(truth.sum())
    rank_sum = float(ranks[truth].sum()) - positives * (positives + 1) / 2
    return rank_sum / (positives * (len(truth) - positives))
