"""What ``rsuper.losses`` offers, and that each part says what it does."""

from __future__ import annotations

import inspect

import rsuper.losses
from rsuper.supervision.types import LesionTarget

PUBLIC = {
    "BallLoss",
    "BallRules",
    "BallTargets",
    "LesionTarget",
    "LossTerms",
    "ReportSupervisionConfig",
    "ReportSupervisionLoss",
    "SegmentationLoss",
    "attenuation_loss",
    "ball_loss",
    "ball_targets",
    "malignancy_loss",
    "presence_loss",
    "rank_weights",
    "report_ramp",
    "segmentation_loss",
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
