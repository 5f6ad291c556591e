"""Shares and kappa against the definition, published figures, and resampling."""

from __future__ import annotations

import numpy as np
import pytest

from llm_extract.handover.kappa import Share, cohen_kappa
from llm_extract.intervals import clopper_pearson


def by_definition(labels: list[tuple[str, str]]) -> float:
    """Kappa from the labels themselves: what agrees, and what would with one reader shuffled, over all pairs."""
    n = len(labels)
    observed = sum(a == b for a, b in labels) / n
    chance = sum(a == b for a, _ in labels for _, b in labels) / n**2
    return (observed - chance) / (1 - chance)


def test_kappa_of_the_table_of_fleiss_cohen_and_everitt():
    """Their example of 1969: kappa 0.429, standard error 0.054 of 200 units in three categories."""
    table = [[53, 5, 2], [11, 14, 5], [1, 6, 3]]
    counts = {(i, j): 2 * n for i, row in enumerate(table) for j, n in enumerate(row)}
    labels = [(str(i), str(j)) for (i, j), n in counts.items() for _ in range(n)]
    estimate = cohen_kappa(counts)
    assert estimate.value == pytest.approx(by_definition(labels), abs=1e-9)
    assert estimate.value == pytest.approx(0.429, abs=0.0005)
    assert (estimate.high - estimate.low) / 2 / 1.96 == pytest.approx(0.054, abs=0.0005)


def test_the_interval_of_kappa_is_that_of_resampling():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 400)
    second = np.where(rng.random(400) < 0.7, truth, rng.integers(0, 3, 400))

    def kappa(index):
        pairs, numbers = np.unique(np.stack([truth[index], second[index]]), axis=1, return_counts=True)
        return cohen_kappa({(int(a), int(b)): int(n) for (a, b), n in zip(pairs.T, numbers, strict=True)})

    draws = [kappa(rng.integers(0, 400, 400)).value for _ in range(800)]
    estimate = kappa(np.arange(400))
    assert estimate.low == pytest.approx(np.quantile(draws, 0.025), abs=0.012)
    assert estimate.high == pytest.approx(np.quantile(draws, 0.975), abs=0.012)


def test_kappa_is_one_for_equal_readers_and_undefined_for_one_value():
    assert cohen_kappa({("a", "a"): 5, ("b", "b"): 5}).value == 1.0
    assert cohen_kappa({("a", "a"): 5}).value is None
    assert cohen_kappa({}).value is None


def test_a_share_of_single_units_has_the_exact_interval():
    share = Share()
    for n in range(40):
        share.add(int(n < 30), 1)
    estimate = share.estimate()
    assert (estimate.value, share.agree, share.of) == (0.75, 30, 40)
    assert (estimate.low, estimate.high) == pytest.approx(clopper_pearson(30, 40))


def test_units_that_come_in_reports_count_as_reports():
    """Ten copies of each unit tell no more than one: the interval stays; of all-equal ones too."""
    single, copied, all_agree = Share(), Share(), Share()
    for n in range(40):
        single.add(int(n < 30), 1)
        copied.add(10 * int(n < 30), 10)
        all_agree.add(10, 10)
    assert copied.estimate().low == pytest.approx(single.estimate().low)
    assert copied.estimate().high == pytest.approx(single.estimate().high)
    assert all_agree.estimate().low == pytest.approx(clopper_pearson(40, 40)[0])


def test_nothing_compared_is_no_share():
    share = Share()
    share.add(0, 0)
    assert share.estimate().value is None
