"""Metrics of weighted cases: one sort serves every resample of a bootstrap.

Each is a function ``metric(values[n], labels[n], weights[B,n]) -> [B]``; a row of weights says how often
each case counts.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Metric = Callable[[Floats, NDArray[np.bool_], Floats], Floats]


def auc(values: Floats, labels: NDArray[np.bool_], weights: Floats) -> Floats:
    """Area under the ROC curve: P(score of a positive > score of a negative) + ½ P(equal).

    Args:
        values: [n] case scores.
        labels: [n] True where a lesion is present.
        weights: [B,n] non-negative.

    Returns:
        [B]; NaN where a row has no positive or no negative.
    """
    positive, negative = _by_level(values, labels, weights)
    below = np.cumsum(negative, axis=1) - negative
    pairs = positive.sum(axis=1) * negative.sum(axis=1)
    return _divide((positive * (below + 0.5 * negative)).sum(axis=1), pairs)


def sensitivity_at_specificity(
    values: Floats, labels: NDArray[np.bool_], weights: Floats, *, specificity: float = 0.9
) -> Floats:
    """Largest sensitivity of a rule ``score > t`` with at least the given specificity on the same cases.

    Args:
        values: [n] case scores.
        labels: [n] True where a lesion is present.
        weights: [B,n] non-negative.
        specificity: required fraction of negatives at or below t.

    Returns:
        [B]; NaN where a row has no positive or no negative.
    """
    positive, negative = _by_level(values, labels, weights)
    above_positive = np.cumsum(positive[:, ::-1], axis=1) - positive[:, ::-1]  # strictly above each level
    above_negative = np.cumsum(negative[:, ::-1], axis=1) - negative[:, ::-1]
    total_positive, total_negative = positive.sum(axis=1), negative.sum(axis=1)
    above_positive = np.concatenate([above_positive, total_positive[:, None]], axis=1)
    above_negative = np.concatenate([above_negative, total_negative[:, None]], axis=1)
    allowed = (1 - specificity) * total_negative[:, None] * (1 + 1e-12) + 1e-12
    best = np.where(above_negative <= allowed, above_positive, 0.0).max(axis=1)
    return np.where(total_negative > 0, _divide(best, total_positive), np.nan)


def mean_value(values: Floats, labels: NDArray[np.bool_], weights: Floats) -> Floats:
    """Weighted mean of the defined (not NaN) values; ``labels`` plays no part."""
    defined = np.isfinite(values)
    return _divide(weights @ np.where(defined, values, 0.0), weights @ defined.astype(np.float64))


def sensitivity(calls: Floats, labels: NDArray[np.bool_], weights: Floats) -> Floats:
    """Fraction of the positives that are called (``calls`` 1 or 0)."""
    return _divide(weights @ (calls * labels), weights @ labels.astype(np.float64))


def specificity(calls: Floats, labels: NDArray[np.bool_], weights: Floats) -> Floats:
    """Fraction of the negatives that are not called (``calls`` 1 or 0)."""
    return _divide(weights @ ((1 - calls) * ~labels), weights @ (~labels).astype(np.float64))


def roc_points(values: ArrayLike, labels: ArrayLike) -> tuple[Floats, Floats, Floats]:
    """ROC curve of the rules ``score >= threshold``.

    Returns:
        false positive rate [m], true positive rate [m], thresholds [m]; from (0, 0) with an infinite
        threshold to (1, 1).
    """
    scores, truth = np.asarray(values, dtype=np.float64), np.asarray(labels, dtype=bool)
    positive, negative = _by_level(scores, truth, np.ones((1, truth.size)))
    hits = np.concatenate([[0.0], np.cumsum(positive[0, ::-1])])
    alarms = np.concatenate([[0.0], np.cumsum(negative[0, ::-1])])
    thresholds = np.concatenate([[np.inf], np.unique(scores)[::-1]])
    return (
        _divide(alarms, np.full_like(alarms, alarms[-1])),
        _divide(hits, np.full_like(hits, hits[-1])),
        thresholds,
    )


def _by_level(values: Floats, labels: NDArray[np.bool_], weights: Floats) -> tuple[Floats, Floats]:
    """Weight of positives and of negatives at every distinct score, ascending: two arrays [B,L]."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    sorted_weights, truth = weights[:, order], labels[order]
    positive = np.add.reduceat(sorted_weights * truth, starts, axis=1)
    negative = np.add.reduceat(sorted_weights * ~truth, starts, axis=1)
    return positive, negative


def _divide(numerator: Floats, denominator: Floats) -> Floats:
    """Quotient with NaN where the denominator is 0."""
    quotient = np.full(numerator.shape, np.nan)
    np.divide(numerator, denominator, out=quotient, where=denominator != 0)
    return quotient
