"""Statistics against brute force, closed forms and published examples."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from rsuper.evaluation.delong import delong, delong_difference
from rsuper.evaluation.metrics import (
    auc,
    mean_value,
    roc_points,
    sensitivity,
    sensitivity_at_specificity,
    specificity,
)
from rsuper.evaluation.statistics import (
    Resampling,
    bootstrap,
    bootstrap_weights,
    clopper_pearson,
    paired_difference,
)


def pairs_auc(scores, labels):
    """Every positive against every negative: the definition."""
    wins = [float(p > n) + 0.5 * float(p == n) for p in scores[labels] for n in scores[~labels]]
    return sum(wins) / len(wins)


def one(labels):
    return np.ones((1, len(labels)))


cases = st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=2, max_size=25).filter(
    lambda rows: 0 < sum(label for _, label in rows) < len(rows)
)


@settings(max_examples=100, deadline=None)
@given(cases)
def test_auc_is_the_fraction_of_ordered_pairs(rows):
    scores = np.array([score for score, _ in rows], float)
    labels = np.array([label for _, label in rows])
    assert auc(scores, labels, one(labels))[0] == pytest.approx(pairs_auc(scores, labels))
    mann_whitney = stats.mannwhitneyu(scores[labels], scores[~labels]).statistic
    assert auc(scores, labels, one(labels))[0] == pytest.approx(
        mann_whitney / (labels.sum() * (~labels).sum())
    )
    fpr, tpr, thresholds = roc_points(scores, labels)
    assert np.trapezoid(tpr, fpr) == pytest.approx(pairs_auc(scores, labels))
    for false_rate, true_rate, threshold in zip(fpr, tpr, thresholds, strict=True):
        assert true_rate == pytest.approx(np.mean(scores[labels] >= threshold))
        assert false_rate == pytest.approx(np.mean(scores[~labels] >= threshold))


@settings(max_examples=60, deadline=None)
@given(cases, st.integers(0, 1000))
def test_weights_are_repeated_cases(rows, seed):
    """A row of weights gives what the metric gives on the cases written out that often."""
    scores = np.array([score for score, _ in rows], float)
    labels = np.array([label for _, label in rows])
    weights = np.random.default_rng(seed).integers(0, 4, size=(3, len(rows))).astype(float)
    calls = (scores > 3).astype(float)
    for row in weights:
        repeat = row.astype(int)
        long_scores, long_labels = np.repeat(scores, repeat), np.repeat(labels, repeat)
        if not 0 < long_labels.sum() < long_labels.size:
            continue
        for metric in (auc, sensitivity_at_specificity, mean_value):
            assert metric(scores, labels, row[None])[0] == pytest.approx(
                metric(long_scores, long_labels, one(long_labels))[0]
            )
        for metric, truth in ((sensitivity, True), (specificity, False)):
            wanted = np.mean((np.repeat(calls, repeat) == truth)[long_labels == truth])
            assert metric(calls, labels, row[None])[0] == pytest.approx(wanted)


@settings(max_examples=60, deadline=None)
@given(cases, st.sampled_from([0.5, 0.8, 0.9, 0.95]))
def test_sensitivity_at_specificity_by_trying_every_threshold(rows, wanted):
    scores = np.array([score for score, _ in rows], float)
    labels = np.array([label for _, label in rows])
    best = 0.0
    for threshold in [-np.inf, *scores]:
        called = scores > threshold
        if np.mean(~called[~labels]) >= wanted:
            best = max(best, float(np.mean(called[labels])))
    got = sensitivity_at_specificity(scores, labels, one(labels), specificity=wanted)[0]
    assert got == pytest.approx(best)


def test_undefined_is_none_and_never_a_number():
    assert bootstrap(auc, [0.1, 0.9], [True, True]).value is None
    assert bootstrap(mean_value, [np.nan, np.nan], [True, True]).value is None
    assert clopper_pearson(0, 0).value is None
    assert delong([0.2, 0.3], [True, True]).value is None
    assert delong([0.1, 0.2, 0.8, 0.9], [False, False, True, True]).low is None


def test_clopper_pearson_closed_form_and_coverage():
    zero = clopper_pearson(0, 20)
    assert zero.low == 0.0
    assert zero.high == pytest.approx(1 - 0.025 ** (1 / 20))
    assert clopper_pearson(20, 20).low == pytest.approx(0.025 ** (1 / 20))
    for truth in (0.03, 0.3, 0.77, 0.95):
        chance = stats.binom.pmf(np.arange(31), 30, truth)
        intervals = [clopper_pearson(k, 30) for k in range(31)]
        covered = sum(c for c, i in zip(chance, intervals, strict=True) if i.low <= truth <= i.high)
        assert covered >= 0.95


def test_intervals_cover_the_truth():
    """Binormal scores with a known AUC: DeLong and bootstrap both cover it about 95 % of the time."""
    rng = np.random.default_rng(5)
    truth = stats.norm.cdf(1.2 / np.sqrt(2))
    labels = np.repeat([True, False], [40, 60])
    hits = {"delong": 0, "bootstrap": 0}
    runs = 200
    for _ in range(runs):
        scores = rng.normal(size=100) + 1.2 * labels
        exact = delong(scores, labels)
        resampled = bootstrap(auc, scores, labels, resampling=Resampling(n_resamples=300))
        hits["delong"] += exact.low <= truth <= exact.high
        hits["bootstrap"] += resampled.low <= truth <= resampled.high
    assert 0.90 <= hits["delong"] / runs <= 0.99
    assert 0.88 <= hits["bootstrap"] / runs <= 0.99


def test_paired_bootstrap_agrees_with_paired_delong_and_is_narrower_than_unpaired():
    rng = np.random.default_rng(1)
    labels = np.repeat([True, False], 100)
    shared = rng.normal(size=200) + 1.5 * labels
    first, second = shared + 0.6 * rng.normal(size=200), shared + 0.3 * rng.normal(size=200)
    boot = paired_difference(auc, first, second, labels, resampling=Resampling(n_resamples=4000))
    exact = delong_difference(first, second, labels)
    assert boot.value == pytest.approx(exact.value)
    assert boot.low == pytest.approx(exact.low, abs=0.01)
    assert boot.high == pytest.approx(exact.high, abs=0.01)
    a, b = bootstrap(auc, first, labels), bootstrap(auc, second, labels)
    assert boot.high - boot.low < 0.7 * np.hypot(a.high - a.low, b.high - b.low)


def test_paired_difference_of_means_over_seeds():
    """Constant gain of 0.1 in every case and seed: the difference is 0.1 with no width."""
    rng = np.random.default_rng(2)
    first = rng.random((3, 50))
    labels = np.ones(50, bool)
    gain = paired_difference(mean_value, first, first + 0.1, labels)
    assert (gain.value, gain.low, gain.high) == pytest.approx((0.1, 0.1, 0.1))
    undefined = first.copy()
    undefined[:, :10] = np.nan
    assert paired_difference(mean_value, undefined, first, labels).n == 40
    with pytest.raises(ValueError, match="expected"):
        paired_difference(mean_value, first, first[:, :9], labels)
    noisy = first + 0.1 + 0.3 * rng.normal(size=first.shape)
    shared = paired_difference(mean_value, first, noisy, labels)
    own = paired_difference(mean_value, first, noisy, labels, seeds="own_cases")
    assert shared.value == pytest.approx(own.value)
    deviations = noisy - first
    standard_error = deviations.mean(axis=0).std(ddof=1) / np.sqrt(50)
    assert shared.high - shared.low == pytest.approx(2 * 1.96 * standard_error, rel=0.12)
    own_error = np.sqrt((deviations.var(axis=1, ddof=1) / 50).sum()) / 3
    assert own.high - own.low == pytest.approx(2 * 1.96 * own_error, rel=0.12)


def test_patients_are_drawn_not_cases():
    labels = np.array([True, True, False, False, False, True])
    groups = ["a", "a", "b", "b", "c", "d"]
    weights = bootstrap_weights(labels, groups=groups, resampling=Resampling(n_resamples=500))
    assert (weights[:, 0] == weights[:, 1]).all()
    assert (weights[:, 2] == weights[:, 3]).all()
    assert (weights[:, [0, 5]].sum(axis=1) == 2).all()  # two patients with a lesion in every resample
    assert (weights[:, [2, 4]].sum(axis=1) == 2).all()
    doubled = np.repeat(np.random.default_rng(0).random(40), 2)
    truth = np.repeat(np.arange(40) % 2 == 0, 2)
    pair_groups = np.repeat(np.arange(40), 2).tolist()
    as_patients = bootstrap(auc, doubled, truth, groups=pair_groups)
    as_cases = bootstrap(auc, doubled, truth)
    assert as_patients.value == as_cases.value
    assert as_patients.high - as_patients.low > 1.2 * (as_cases.high - as_cases.low)


def test_the_same_seed_gives_the_same_interval():
    scores, labels = np.arange(20.0), np.arange(20) % 3 == 0
    metric = partial(sensitivity_at_specificity, specificity=0.8)
    assert bootstrap(metric, scores, labels) == bootstrap(metric, scores, labels)
    other = bootstrap(metric, scores, labels, resampling=Resampling(seed=1, n_resamples=50))
    assert other.value == bootstrap(metric, scores, labels).value
