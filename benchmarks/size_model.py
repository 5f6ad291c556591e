"""How volume / ellipsoid of real tumours is distributed, given the size and the shape that a report states.

log(volume / ellipsoid) has a location and a scale. Both may change linearly in log size between two anchors (the
median sizes of the smaller and the larger half of the tumours; constant outside), and the scale may grow with the
irregularity of the tumour, which is the standard deviation of its log diameters: of a 30 x 15 mm tumour the third
diameter is far less certain than of a 22 x 21 mm one. Fitted by a robust likelihood; the interval holds the middle of
the standardised residuals, with (n + 1) plotting positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import optimize

from rsuper.supervision.sizes import ellipsoid_volume_mm3, equivalent_diameter_mm, irregularity

COVERAGE = 0.91
"""Share of the tumours used for the fit that the interval holds; about one point less of others."""
FREEDOM = 4.0


@dataclass(frozen=True)
class Sample:
    """Log size, log(volume / ellipsoid), irregularity and source of the tumours with one number of diameters."""

    log_size: np.ndarray
    log_ratio: np.ndarray
    irregularity: np.ndarray
    source: np.ndarray

    def __getitem__(self, rows: np.ndarray) -> Sample:
        return Sample(self.log_size[rows], self.log_ratio[rows], self.irregularity[rows], self.source[rows])

    def __len__(self) -> int:
        return len(self.log_size)


def make_sample(
    volumes: Sequence[float], sizes: Sequence[tuple[float, ...]], sources: Sequence[str]
) -> Sample:
    """Compare mask volumes with the ellipsoids of their diameters."""
    ratio = [np.log(v / ellipsoid_volume_mm3(d)) for v, d in zip(volumes, sizes, strict=True)]
    size = [np.log(equivalent_diameter_mm(d)) for d in sizes]
    shape = [irregularity(d) for d in sizes]
    return Sample(np.array(size), np.array(ratio), np.array(shape), np.array(sources))


@dataclass(frozen=True)
class Form:
    """Which parts of the model depend on what."""

    location_by_size: bool
    scale_by_size: bool
    scale_by_irregularity: bool


CONSTANT = Form(False, False, False)
SIZE_ONLY = Form(True, True, False)
FORMS = {1: SIZE_ONLY, 2: Form(False, True, True), 3: Form(False, False, True)}
"""The forms that ship: of all combinations about the least cross-validated interval score, the simpler one if near."""


@dataclass(frozen=True)
class Fit:
    """Location and scale at two anchors (log size), and the standardised ends; residuals have median 0.

    ``scale`` holds at the irregularity ``reference``; elsewhere it is times exp(widening · difference), up to ``most``.
    """

    anchors: np.ndarray
    location: np.ndarray
    scale: np.ndarray
    widening: float
    reference: float
    most: float
    low: float = 0.0
    high: float = 0.0
    sigma: float = 1.0

    def at(self, sample: Sample) -> tuple[np.ndarray, np.ndarray]:
        """Location and scale of each tumour."""
        shape = np.minimum(sample.irregularity, self.most) - self.reference
        scale = np.exp(np.interp(sample.log_size, self.anchors, np.log(self.scale)) + self.widening * shape)
        return np.interp(sample.log_size, self.anchors, self.location), scale

    def interval(self, sample: Sample) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper log factor of each tumour."""
        location, scale = self.at(sample)
        return location + self.low * scale, location + self.high * scale


def middle(values: np.ndarray, coverage: float) -> tuple[float, float]:
    """Ends that hold the middle ``coverage`` of the distribution, with (n + 1) plotting positions."""
    positions = np.arange(1, len(values) + 1) / (len(values) + 1)
    low, high = np.interp([(1 - coverage) / 2, (1 + coverage) / 2], positions, np.sort(values))
    return float(low), float(high)


def fit(sample: Sample, form: Form, *, coverage: float = COVERAGE) -> Fit:
    """Maximum likelihood under Student's t with 4 degrees of freedom: a few wrong sizes decide nothing."""
    small = sample.log_size <= np.median(sample.log_size)
    anchors = np.array([np.median(sample.log_size[small]), np.median(sample.log_size[~small])])
    reference, most = float(np.median(sample.irregularity)), float(sample.irregularity.max())
    n_location, n_scale = 1 + form.location_by_size, 1 + form.scale_by_size

    def build(values: np.ndarray) -> Fit:
        location, scale = values[:n_location], values[n_location : n_location + n_scale]
        widening = float(values[-1]) if form.scale_by_irregularity else 0.0
        return Fit(anchors, np.resize(location, 2), np.exp(np.resize(scale, 2)), widening, reference, most)

    def cost(values: np.ndarray) -> float:
        location, scale = build(values).at(sample)
        residual = (sample.log_ratio - location) / scale
        return float(np.sum(np.log(scale) + (FREEDOM + 1) / 2 * np.log1p(residual**2 / FREEDOM)))

    start = [float(np.median(sample.log_ratio))] * n_location
    start += [float(np.log(sample.log_ratio.std(ddof=1)))] * n_scale + [0.0] * form.scale_by_irregularity
    best = build(optimize.minimize(cost, np.array(start), method="L-BFGS-B").x)
    location, scale = best.at(sample)
    standard = (sample.log_ratio - location) / scale
    shift = float(np.median(standard))
    low, high = middle(standard - shift, coverage)
    sigma = float(standard.std(ddof=1))
    return Fit(
        anchors,
        best.location + shift * best.scale,
        best.scale,
        best.widening,
        reference,
        most,
        low,
        high,
        sigma,
    )


def inside(fitted: Fit, sample: Sample) -> np.ndarray:
    """Which tumours lie in their interval."""
    low, high = fitted.interval(sample)
    return (sample.log_ratio >= low) & (sample.log_ratio <= high)


def interval_score(low: np.ndarray, high: np.ndarray, values: np.ndarray, coverage: float) -> np.ndarray:
    """Width plus the penalty for each value outside; the least mean is the best interval (Gneiting, Raftery 2007)."""
    price = 2 / (1 - coverage)
    return high - low + price * (np.maximum(low - values, 0) + np.maximum(values - high, 0))


def cross_validate(
    sample: Sample, form: Form, *, coverage: float = COVERAGE, repeats: int = 100, seed: int = 0
) -> dict[str, object]:
    """Coverage and width on tumours left out of the fit; half of the repeats two-fold, half five-fold."""
    rng = np.random.default_rng(seed)
    hits, widths, scores, per_repeat = np.zeros(len(sample)), [], [], []
    for repeat in range(repeats):
        order = rng.permutation(len(sample))
        before = hits.sum()
        for part in np.array_split(order, 2 if repeat % 2 else 5):
            left_out = sample[part]
            low, high = fit(sample[np.setdiff1d(order, part)], form, coverage=coverage).interval(left_out)
            hits[part] += (left_out.log_ratio >= low) & (left_out.log_ratio <= high)
            widths.extend(high - low)
            scores.extend(interval_score(low, high, left_out.log_ratio, 0.9))
        per_repeat.append((hits.sum() - before) / len(sample))
    share = hits / repeats
    return {
        "coverage": round(float(share.mean()), 4),
        "coverage_sd_over_repeats": round(float(np.std(per_repeat)), 4),
        "mean_ratio_high_to_low": round(float(np.exp(np.mean(widths))), 3),
        "interval_score": round(float(np.mean(scores)), 3),
        "coverage_by_size_third": _by_third(share, sample.log_size),
        "coverage_by_irregularity_third": _by_third(share, sample.irregularity),
        "coverage_by_source": {
            str(name): round(float(share[sample.source == name].mean()), 4)
            for name in np.unique(sample.source)
        },
        "mean_ratio_by_source": _width_by_source(sample, form, coverage),
    }


def leave_one_source_out(sample: Sample, form: Form, *, coverage: float = COVERAGE) -> dict[str, float]:
    """Coverage of each data set by a fit on the others; empty where there is only one."""
    names = np.unique(sample.source)
    return {
        str(name): round(
            float(
                inside(
                    fit(sample[sample.source != name], form, coverage=coverage), sample[sample.source == name]
                ).mean()
            ),
            4,
        )
        for name in names
        if len(names) > 1 and (sample.source != name).sum() > 50
    }


def _by_third(share: np.ndarray, values: np.ndarray) -> list[float]:
    third = np.digitize(values, np.quantile(values, [1 / 3, 2 / 3]))
    return [round(float(share[third == k].mean()), 4) for k in range(3) if (third == k).any()]


def _width_by_source(sample: Sample, form: Form, coverage: float) -> dict[str, float]:
    low, high = fit(sample, form, coverage=coverage).interval(sample)
    return {
        str(name): round(float(np.exp((high - low)[sample.source == name].mean())), 3)
        for name in np.unique(sample.source)
    }
