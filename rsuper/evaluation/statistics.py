"""Point estimates with intervals: exact, and a bootstrap over patients that also pairs and averages seeds.

A resample is a row of weights, how often each patient was drawn, so that the cases of one patient always
travel together.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Annotated, Literal

import numpy as np
from numpy.typing import ArrayLike
from pydantic import BaseModel, ConfigDict, Field

from llm_extract import intervals
from rsuper.evaluation.metrics import Floats, Metric


class Estimate(BaseModel):
    """A number with its uncertainty; ``None`` where it is not defined, never 0 or NaN.

    Args:
        value: the point estimate.
        low: lower end of the interval.
        high: upper end of the interval.
        n: cases that entered.
        level: coverage of the interval.
        method: how the interval was made.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 0
    level: float = 0.95
    method: Literal["none", "clopper_pearson", "delong", "bootstrap", "paired_bootstrap"] = "none"


class Resampling(BaseModel):
    """How to bootstrap.

    Args:
        n_resamples: number of resamples.
        level: coverage of the percentile interval.
        seed: seed of the resampling alone.
        stratify: ``label`` keeps the number of patients with and without a lesion in every resample.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    n_resamples: int = Field(default=2000, ge=1, le=1_000_000)
    level: Annotated[float, Field(gt=0, lt=1)] = 0.95
    seed: int = Field(default=0, ge=0)
    stratify: Literal["label", "none"] = "label"


def bootstrap(
    metric: Metric,
    values: ArrayLike,
    labels: ArrayLike,
    *,
    groups: Sequence[Hashable] | None = None,
    resampling: Resampling | None = None,
) -> Estimate:
    """Point estimate and percentile interval of a metric.

    Args:
        metric: one of the metrics of this module, or a user's own of the same form.
        values: [n] scores, calls or per-case measures; NaN is "not defined for this case".
        labels: [n] True where a lesion is present.
        groups: [n] patient of each case; patients are drawn, not cases. None: every case is a patient.
        resampling: how to bootstrap.
    """
    how = resampling or Resampling()
    scores, truth = np.asarray(values, dtype=np.float64), np.asarray(labels, dtype=bool)
    used = int(np.isfinite(scores).sum())
    if used == 0:
        return Estimate(level=how.level)
    keep = np.isfinite(scores)
    scores, truth = scores[keep], truth[keep]
    kept_groups = None if groups is None else [g for g, k in zip(groups, keep, strict=True) if k]
    point = metric(scores, truth, np.ones((1, used)))[0]
    draws = metric(scores, truth, bootstrap_weights(truth, groups=kept_groups, resampling=how))
    return _estimate(point, draws, n=used, how=how, method="bootstrap")


def paired_difference(
    metric: Metric,
    first: ArrayLike,
    second: ArrayLike,
    labels: ArrayLike,
    *,
    groups: Sequence[Hashable] | None = None,
    resampling: Resampling | None = None,
    seeds: Literal["same_cases", "own_cases"] = "same_cases",
) -> Estimate:
    """Metric of ``second`` minus metric of ``first`` on the same cases, with a paired bootstrap interval.

    Args:
        metric: the metric.
        first: [n], or [S,n] where S training seeds were evaluated; the metric is averaged over seeds.
        second: same shape as ``first``.
        labels: [n] or [S,n].
        groups: [n] patient of each case.
        resampling: how to bootstrap.
        seeds: ``same_cases``: all seeds were evaluated on one test set, so one draw serves them all;
            ``own_cases``: every seed has its own test cases, drawn on their own.

    Raises:
        ValueError: the shapes do not fit together.
    """
    how = resampling or Resampling()
    a, b = np.atleast_2d(np.asarray(first, np.float64)), np.atleast_2d(np.asarray(second, np.float64))
    truth = np.asarray(labels, dtype=bool)
    if a.shape != b.shape or truth.shape not in {a.shape, a.shape[1:]}:
        raise ValueError(
            f"expected [S,n] twice and labels [n] or [S,n]; got {a.shape}, {b.shape}, {truth.shape}"
        )
    truth = np.broadcast_to(truth, a.shape)
    if seeds == "same_cases" and (truth != truth[0]).any():
        raise ValueError("seeds that share their cases must share their labels")
    points, draws = [], []
    for index in range(a.shape[0]):
        keep = np.isfinite(a[index]) & np.isfinite(b[index])
        part = how if seeds == "same_cases" else how.model_copy(update={"seed": how.seed + 7919 * index})
        weights = bootstrap_weights(truth[index], groups=groups, resampling=part)[:, keep]
        one = np.ones((1, int(keep.sum())))
        args = truth[index][keep]
        points.append(metric(b[index][keep], args, one)[0] - metric(a[index][keep], args, one)[0])
        draws.append(metric(b[index][keep], args, weights) - metric(a[index][keep], args, weights))
    paired = int((np.isfinite(a) & np.isfinite(b)).any(axis=0).sum())
    return _estimate(
        float(np.mean(points)), np.mean(draws, axis=0), n=paired, how=how, method="paired_bootstrap"
    )


def bootstrap_weights(
    labels: ArrayLike, *, groups: Sequence[Hashable] | None = None, resampling: Resampling
) -> Floats:
    """How often each case is drawn in each resample: [B,n], the cases of one group (patient) always together.

    With ``stratify="label"`` groups that hold a positive and groups that hold none are drawn apart, so that
    every resample has both and a metric is never undefined by bad luck.
    """
    truth = np.asarray(labels, dtype=bool)
    if groups is None:
        member = np.arange(truth.size)
        n_groups = truth.size
    else:
        codes: dict[Hashable, int] = {}
        member = np.array([codes.setdefault(group, len(codes)) for group in groups], dtype=np.int64)
        n_groups = len(codes)
    has_lesion = np.zeros(n_groups, dtype=bool)
    np.logical_or.at(has_lesion, member, truth)
    strata = [np.flatnonzero(has_lesion), np.flatnonzero(~has_lesion)]
    if resampling.stratify == "none":
        strata = [np.arange(n_groups)]
    rng = np.random.default_rng(resampling.seed)
    drawn = np.zeros((resampling.n_resamples, n_groups))
    for stratum in strata:
        if stratum.size:
            chance = np.full(stratum.size, 1 / stratum.size)
            drawn[:, stratum] = rng.multinomial(stratum.size, chance, size=resampling.n_resamples)
    return drawn[:, member]


def clopper_pearson(successes: int, n: int, *, level: float = 0.95) -> Estimate:
    """Exact binomial interval of a proportion; defined also for 0 of n and n of n.

    Example:
        >>> clopper_pearson(0, 10).high
        0.308...
    """
    if not 0 <= successes <= n:
        raise ValueError(f"expected 0 <= successes <= n, got {successes} of {n}")
    if n == 0:
        return Estimate(level=level)
    low, high = intervals.clopper_pearson(successes, n, confidence=level)
    return Estimate(value=successes / n, low=low, high=high, n=n, level=level, method="clopper_pearson")


def _estimate(
    point: float,
    draws: Floats,
    *,
    n: int,
    how: Resampling,
    method: Literal["bootstrap", "paired_bootstrap"],
) -> Estimate:
    """Percentile interval of the defined draws."""
    defined = draws[np.isfinite(draws)]
    if not np.isfinite(point) or defined.size == 0:
        return Estimate(n=n, level=how.level)
    tail = (1 - how.level) / 2
    low, high = np.quantile(defined, [tail, 1 - tail])
    return Estimate(value=float(point), low=float(low), high=float(high), n=n, level=how.level, method=method)
