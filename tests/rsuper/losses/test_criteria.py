"""The Modules: what the functions say, with settings that exist."""

from __future__ import annotations

import pytest
import torch

from rsuper.losses import (
    AttenuationCriterion,
    BallBalance,
    BallCriterion,
    BallRules,
    LesionTarget,
    MalignancyCriterion,
    PresenceCriterion,
    SegmentationCriterion,
    VolumeCriterion,
    VolumeRules,
    attenuation_loss,
    ball_loss,
    malignancy_loss,
    presence_loss,
    segmentation_loss,
    volume_loss,
)

MM = (1.0, 1.5, 2.0)
LOGITS = torch.randn(1, 6, 7, 8, generator=torch.Generator().manual_seed(2))
REGION = torch.ones(1, 6, 7, 8, dtype=torch.bool)
LESIONS = [[LesionTarget(diameters_mm=(4.0,), volume_mm3=(20.0, 60.0))]]
VOLUME = torch.tensor([[20.0, 60.0]])


def test_modules_agree_with_their_functions():
    x, where = LOGITS, REGION
    ball = {"rules": BallRules(gap_mm=1.0), "balance": BallBalance(background_weight=0.3)}
    assert BallCriterion(**ball)(x, where, LESIONS, spacing_mm=MM) == ball_loss(
        x, where, LESIONS, spacing_mm=MM, **ball
    )
    volume = {"tolerance": 0.2, "softening_mm3": 90.0, "form": "interval", "rules": VolumeRules(sharpen=2.0)}
    assert VolumeCriterion(**volume)(x, where, VOLUME, spacing_mm=MM, weight=torch.ones(1)) == volume_loss(
        x, where, VOLUME, spacing_mm=MM, **volume
    )
    assert SegmentationCriterion(smooth_mm3=9.0)(x[None], where[None], spacing_mm=MM) == segmentation_loss(
        x[None], where[None], spacing_mm=MM, smooth_mm3=9.0
    )
    assert PresenceCriterion(top_mm3=20.0)(x, where, spacing_mm=MM) == presence_loss(
        x, where, spacing_mm=MM, top_mm3=20.0
    )
    half = x < 0
    density = {"margin_hu": 3.0, "scale_hu": 50.0}
    assert AttenuationCriterion(**density)(x, x, half, where, ["hyper"]) == attenuation_loss(
        x, x, half, where, ["hyper"], **density
    )
    assert MalignancyCriterion()(x, where, [True]) == malignancy_loss(x, where, [True])


@pytest.mark.parametrize(
    ("criterion", "misspelt", "said"),
    [
        (VolumeCriterion, "tolerence", "tolerance, softening_mm3, form"),
        (BallCriterion, "gap_mm", "rules, balance"),
        (SegmentationCriterion, "smooth", "smooth_mm3"),
        (PresenceCriterion, "top", "top_mm3"),
        (AttenuationCriterion, "margin", "margin_hu, scale_hu"),
        (MalignancyCriterion, "weight", "settings are none"),
    ],
)
def test_a_misspelt_setting_is_refused_at_once(criterion, misspelt, said):
    with pytest.raises(TypeError, match=f"{criterion.__name__} has no setting '{misspelt}'.*{said}"):
        criterion(**{misspelt: 1.0})
