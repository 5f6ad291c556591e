"""Validation figures against counts done by hand and scikit-like definitions."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import toy_data

from rsuper.data.batches import Channels
from rsuper.data.fingerprint import IntensityFingerprint
from rsuper.networks import NetworkConfig, build_network
from rsuper.training.validation import THRESHOLDS, CaseResult, score_case, summarise

CHANNELS = Channels(structures=("pancreas",), lesion_classes=(toy_data.LESION_CLASS,))


def result(score, positive, dice=()):
    return CaseResult(case_id="c", positive=positive, score=score, dice=tuple(dice))


def test_auc_counts_the_pairs_that_are_in_order():
    rng = np.random.default_rng(0)
    for _ in range(20):
        scores, truth = rng.integers(0, 5, 12) / 4, rng.random(12) < 0.5
        if truth.all() or not truth.any():
            continue
        pairs = itertools.product(scores[truth], scores[~truth])
        wins = [1.0 if a > b else 0.5 if a == b else 0.0 for a, b in pairs]
        found = summarise([result(s, bool(t)) for s, t in zip(scores, truth, strict=True)])
        assert found.auc == pytest.approx(np.mean(wins))


def test_the_threshold_has_the_best_mean_overlap_of_the_positives():
    rng = np.random.default_rng(1)
    table = rng.random((4, len(THRESHOLDS)))
    cases = [result(0.5, True, row) for row in table] + [result(0.9, False, np.ones(len(THRESHOLDS)))]
    found = summarise(cases)
    best = table.mean(axis=0).argmax()
    assert (found.threshold, found.dice) == (THRESHOLDS[best], pytest.approx(table.mean(axis=0)[best]))
    assert found.selection == pytest.approx((found.auc + found.dice) / 2)
    fixed = summarise(cases, threshold=0.3)
    assert fixed.dice == pytest.approx(table[:, THRESHOLDS.index(0.3)].mean())


def test_what_cannot_be_known_is_not_a_number_made_up():
    nothing = summarise([])
    assert (nothing.auc, nothing.dice, nothing.threshold, nothing.selection) == (None, None, 0.5, 0.0)
    assert summarise([result(0.3, True)]).auc is None
    assert summarise([result(0.3, None), result(0.1, True), result(0.2, False)]).auc == 0.0


def test_a_case_is_scored_against_its_mask_or_its_report(toy_prepared):
    network = build_network(
        NetworkConfig(name="custom", factory="toy_data:ThresholdNetwork"),
        2,
        factory="toy_data:ThresholdNetwork",
    ).eval()
    intensity = IntensityFingerprint(low_hu=-1000, high_hu=1000, mean_hu=0, std_hu=100)
    found = {}
    for case in toy_prepared.cases:
        scored = score_case(network, case, channels=CHANNELS, intensity=intensity, patch_size=(16, 16, 16))
        found[case.case_id] = scored[toy_data.LESION_CLASS]
    assert {name: item.positive for name, item in found.items()} == {
        "case_0": True,
        "case_1": True,
        "case_2": False,
        "case_3": True,
        "case_4": True,
        "case_5": None,
        "val_1": True,
        "val_2": False,
    }
    assert found["case_0"].dice[THRESHOLDS.index(0.5)] > 0.99
    assert found["case_0"].volumes_mm3[THRESHOLDS.index(0.5)] == pytest.approx(
        found["case_0"].reference_mm3, rel=0.02
    )
    assert found["case_1"].dice == ()
    assert found["case_1"].reference_mm3 is None
    assert found["case_0"].score > 0.9 > 0.1 > found["case_2"].score
