"""What ``rsuper.losses`` offers, and that each part says what it does."""

from __future__ import annotations

import doctest
import inspect
import sys

import pytest

import rsuper.losses
from rsuper.supervision.types import LesionTarget

PUBLIC = {
    "AttenuationCriterion",
    "BallBalance",
    "BallCriterion",
    "BallLoss",
    "BallRules",
    "BallTargets",
    "LesionTarget",
    "LossTerms",
    "MalignancyCriterion",
    "PresenceCriterion",
    "ReportSupervisionConfig",
    "ReportSupervisionLoss",
    "SegmentationCriterion",
    "SegmentationLoss",
    "VolumeCriterion",
    "VolumeRules",
    "attenuation_loss",
    "ball_loss",
    "ball_targets",
    "malignancy_loss",
    "presence_loss",
    "rank_weights",
    "report_ramp",
    "segmentation_loss",
    "softmax_log_odds",
    "volume_loss",
}


def test_the_inventory_is_what_users_were_promised():
    assert set(rsuper.losses.__all__) == PUBLIC
    assert rsuper.losses.LesionTarget is LesionTarget
    for name in PUBLIC:
        assert inspect.getdoc(getattr(rsuper.losses, name)), name


def test_spacing_is_always_an_argument_and_never_positional():
    for name in (
        "attenuation_loss",
        "ball_loss",
        "ball_targets",
        "presence_loss",
        "segmentation_loss",
        "volume_loss",
    ):
        parameters = inspect.signature(getattr(rsuper.losses, name)).parameters
        if name == "attenuation_loss":  # compares means, in which the voxel size cancels
            assert "spacing_mm" not in parameters
            continue
        assert parameters["spacing_mm"].kind is inspect.Parameter.KEYWORD_ONLY


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_examples_run_and_every_function_has_one(name):
    thing = getattr(rsuper.losses, name)
    names = vars(sys.modules[thing.__module__])
    tests = [test for test in doctest.DocTestFinder().find(thing, name, globs=names) if test.examples]
    runner = doctest.DocTestRunner()
    assert all(runner.run(test, clear_globs=False).failed == 0 for test in tests)
    assert tests or not inspect.isfunction(thing), "no example"
