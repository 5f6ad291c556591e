"""Interval of an AUC, and of the difference of two on the same cases, by DeLong et al., Biometrics 1988."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from rsuper.evaluation.statistics import Estimate

Floats = NDArray[np.float64]


def delong(values: ArrayLike, labels: ArrayLike, *, level: float = 0.95) -> Estimate:
    """AUC with the asymptotic interval of DeLong et al. (Biometrics 1988), made on the logit scale.

    The logit keeps the interval inside [0, 1]; an AUC of exactly 0 or 1 has no such interval (``None``).
    """
    scores, truth = np.asarray(values, dtype=np.float64), np.asarray(labels, dtype=bool)
    if truth.all() or not truth.any():
        return Estimate(n=truth.size, level=level)
    area, by_positive, by_negative = _placements(scores, truth)
    if not 0 < area < 1 or min(by_positive.size, by_negative.size) < 2:
        return Estimate(value=area, n=truth.size, level=level)
    variance = by_positive.var(ddof=1) / by_positive.size + by_negative.var(ddof=1) / by_negative.size
    z = float(stats.norm.ppf((1 + level) / 2))
    logit, spread = float(np.log(area / (1 - area))), float(np.sqrt(variance)) / (area * (1 - area))
    low, high = (float(1 / (1 + np.exp(-(logit + s * z * spread)))) for s in (-1, 1))
    return Estimate(value=area, low=low, high=high, n=truth.size, level=level, method="delong")


def delong_difference(
    first: ArrayLike, second: ArrayLike, labels: ArrayLike, *, level: float = 0.95
) -> Estimate:
    """AUC of ``second`` minus AUC of ``first`` on the same cases, with the paired DeLong interval."""
    truth = np.asarray(labels, dtype=bool)
    if min(truth.sum(), (~truth).sum()) < 2:
        return Estimate(n=truth.size, level=level)
    area_a, pos_a, neg_a = _placements(np.asarray(first, np.float64), truth)
    area_b, pos_b, neg_b = _placements(np.asarray(second, np.float64), truth)
    variance = (pos_b - pos_a).var(ddof=1) / pos_a.size + (neg_b - neg_a).var(ddof=1) / neg_a.size
    half = float(stats.norm.ppf((1 + level) / 2)) * float(np.sqrt(variance))
    difference = area_b - area_a
    return Estimate(
        value=difference,
        low=difference - half,
        high=difference + half,
        n=truth.size,
        level=level,
        method="delong",
    )


def _placements(scores: Floats, truth: NDArray[np.bool_]) -> tuple[float, Floats, Floats]:
    """AUC and DeLong's structural components: of every positive among negatives, and the reverse."""
    positive, negative = scores[truth], scores[~truth]
    ranks = stats.rankdata(scores)
    by_positive = (ranks[truth] - stats.rankdata(positive)) / negative.size
    by_negative = 1 - (ranks[~truth] - stats.rankdata(negative)) / positive.size
    return float(by_positive.mean()), by_positive, by_negative
