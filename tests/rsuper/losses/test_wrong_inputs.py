"""What a stranger passes by mistake: the error says what to pass instead, and a NaN is never a loss of 0."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from rsuper.losses import (
    LesionTarget,
    ReportSupervisionConfig,
    ReportSupervisionLoss,
    attenuation_loss,
    ball_loss,
    ball_targets,
    malignancy_loss,
    presence_loss,
    report_ramp,
    segmentation_loss,
    volume_loss,
)
from rsuper.supervision import PairTarget, SupervisionBatch

SHAPE = (2, 8, 9, 10)
LESION = LesionTarget(diameters_mm=(4.0,), volume_mm3=(20.0, 60.0))


def logits(**options) -> torch.Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(0), **options)


def region() -> torch.Tensor:
    mask = torch.zeros(SHAPE, dtype=torch.bool)
    mask[:, 2:6, 2:7, 2:8] = True
    return mask


def volume(x, where, **options):
    return volume_loss(
        x, where, torch.tensor([[20.0, 60.0], [10.0, math.inf]]), **{"spacing_mm": (1, 1, 2)} | options
    )


def ball(x, where, *, lesions=((LESION,), (LESION,)), **options):
    loss = ball_loss(x, where, lesions, **{"spacing_mm": (1, 1, 2)} | options)
    return loss.bce + loss.dice


def presence(x, where, **options):
    return presence_loss(x, where, **{"spacing_mm": (1, 1, 2)} | options)


LOSSES = pytest.mark.parametrize("loss", [volume, ball, presence])


@LOSSES
@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        pytest.param(lambda x, r: (x[None], r), ValueError, r"outputs\[sample, channel\]", id="all channels"),
        pytest.param(
            lambda x, r: (x[0], r), ValueError, r"both \[P,D,H,W\], got \(8, 9, 10\)", id="no pairs"
        ),
        pytest.param(lambda x, r: (x, r[:, :7]), ValueError, r"\(2, 7, 9, 10\)", id="another grid"),
        pytest.param(
            lambda x, r: (x, r.float()), ValueError, "torch.float32: region > 0", id="floating region"
        ),
        pytest.param(lambda x, r: (x, r.numpy()), TypeError, "ndarray: torch.from_numpy", id="numpy region"),
        pytest.param(lambda x, r: (x.numpy(), r), TypeError, "ndarray: torch.as_tensor", id="numpy logits"),
        pytest.param(lambda x, r: (x.long(), r), ValueError, r"logits.float\(\)", id="integers"),
        pytest.param(lambda x, r: (x, r.to("meta")), ValueError, r"region.to\(logits.device\)", id="devices"),
    ],
)
def test_pairs(loss, change, error, said):
    with pytest.raises(error, match=said):
        loss(*change(logits(), region()))


@LOSSES
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"spacing_mm": (1.0, 2.0)}, r"3 numbers or \[2, 3\], got shape \(2,\)"),
        ({"spacing_mm": (1.0, -2.0, 1.0)}, "positive and finite"),
        ({"spacing_mm": torch.eye(4)}, r"got shape \(4, 4\)"),
        ({"weight": torch.ones(3)}, r"weight is one number or \[P\] with P = 2, got shape \(3,\)"),
        ({"weight": torch.tensor([1.0, -1.0])}, "not negative"),
        ({"weight": torch.tensor([1.0, math.nan])}, "weight is finite"),
        ({"spacing_mm": (0.0007, 0.0007, 0.005)}, "millimetres.*metres take 1000 times"),
        ({"spacing_mm": (700.0, 700.0, 5000.0)}, "millimetres.*micrometres 0.001"),
    ],
)
def test_spacing_and_weight(loss, options, said):
    with pytest.raises(ValueError, match=said):
        loss(logits(), region(), **options)


@LOSSES
@pytest.mark.parametrize("where", ["one voxel", "everywhere"])
def test_a_nan_is_never_a_loss_of_zero(loss, where):
    x = logits()
    x[(0, 3, 3, 3) if where == "one voxel" else ...] = math.nan
    assert torch.isnan(loss(x, region()))


@LOSSES
def test_lists_and_numpy_numbers_will_do(loss):
    same = loss(logits(), region(), spacing_mm=torch.tensor([1.0, 1.0, 2.0]).numpy(), weight=[1.0, 1.0])
    assert same == loss(logits(), region())


def test_volume():
    with pytest.raises(ValueError, match="form is one of interval, published, got 'Published'"):
        volume(logits(), region(), form="Published")
    with pytest.raises(ValueError, match="volume_prior"):
        volume(logits(), region(), median_mm3=torch.ones(2))
    with pytest.raises(ValueError, match=r"\(lo, hi\) of each of P = 2 pairs, got \(2,\)"):
        volume_loss(logits(), region(), torch.ones(2), spacing_mm=(1, 1, 1))
    with pytest.raises(ValueError, match="lo finite"):
        volume_loss(logits(), region(), torch.full((2, 2), math.inf), spacing_mm=(1, 1, 1))
    with pytest.raises(ValueError, match="tolerance is finite and not negative"):
        volume(logits(), region(), tolerance=-0.1)
    with pytest.raises(ValueError, match="located > 0"):
        volume(logits(), region(), located=region().float())
    with pytest.raises(ValueError, match=r"logits and located are both \[P,D,H,W\]"):
        volume(logits(), region(), located=region()[0])


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"ball": region().float()}, ValueError, "ball > 0"),
        ({"parenchyma": region()[:, :3]}, ValueError, r"logits and parenchyma are both \[P,D,H,W\]"),
        ({"image_hu": torch.zeros(8, 9, 10)}, ValueError, r"as logits, got \(8, 9, 10\)"),
        ({"attenuation": ["hypo", "dark"]}, ValueError, "hypo, iso, hyper, mixed, unknown for each of 2"),
        ({"attenuation": ["hypo"]}, ValueError, "for each of 2 lesions"),
        ({"logits": logits().numpy()}, TypeError, "torch.as_tensor"),
        ({"image_hu": torch.zeros(SHAPE).numpy()}, TypeError, "image_hu is a torch tensor, got ndarray"),
        ({"margin_hu": -1.0}, ValueError, "margin_hu is finite and at least 0"),
        ({"scale_hu": 0.0}, ValueError, "scale_hu is finite and at least 1"),
        ({"weight": torch.ones(3)}, ValueError, r"weight is one number or \[P\] with P = 2"),
    ],
)
def test_attenuation(change, error, said):
    right = {
        "logits": logits(),
        "image_hu": torch.zeros(SHAPE),
        "ball": region(),
        "parenchyma": ~region(),
        "attenuation": ["hypo", "unknown"],
    }
    assert attenuation_loss(**right, weight=0.5) == attenuation_loss(**right) > 0
    with pytest.raises(error, match=said):
        attenuation_loss(**(right | change))


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"lesion": region().float()}, ValueError, "lesion > 0"),
        ({"lesion": region()[:1]}, ValueError, r"logits and lesion are both \[P,D,H,W\]"),
        ({"malignant": [True]}, ValueError, "True, False or None for each of 2 lesions, got 1"),
        ({"malignant": ["benign", None]}, TypeError, "True, False or None for each lesion, got str"),
        ({"malignant": torch.tensor([True, False])}, TypeError, r"answers.tolist\(\)"),
        ({"logits": logits().long()}, ValueError, r"logits.float\(\)"),
        ({"weight": torch.ones(3)}, ValueError, r"weight is one number or \[P\] with P = 2"),
    ],
)
def test_malignancy(change, error, said):
    right = {"logits": logits(), "lesion": region(), "malignant": [True, None]}
    assert malignancy_loss(**right, weight=[1.0, 0.0]) == malignancy_loss(**right) > 0
    with pytest.raises(error, match=said):
        malignancy_loss(**(right | change))


@pytest.mark.parametrize(
    "name", ["report_weight", "softening_mm3", "median_weight", "volume_outside", "margin_hu"]
)
@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_weights_of_the_whole_loss_are_finite(name, value):
    with pytest.raises(ValueError, match=name):
        ReportSupervisionConfig(**{name: value})


@pytest.mark.parametrize(
    ("lesions", "error", "said"),
    [
        (((LESION,),), ValueError, r"2 pairs but 1 lists of lesions; \[\] is a pair without"),
        ((LESION, LESION), TypeError, r"\[\[lesion\], \[\]\]"),
        (
            ((replace(LESION, region=region()[0, :5]),), ()),
            ValueError,
            r"lesions\[0\].region is .* got \(5, 9, 10\)",
        ),
        (((replace(LESION, centers=region()[0].float()),), ()), ValueError, r"lesions\[0\].centers > 0"),
    ],
)
def test_lesions_of_the_ball(lesions, error, said):
    with pytest.raises(error, match=said):
        ball(logits(), region(), lesions=lesions)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"diameters_mm": 18.0}, r"such as \(18.0,\)"),
        ({"diameters_mm": (math.inf,)}, "positive and finite"),
        ({"volume_mm3": 30.0}, r"\(lo, hi\), twice the same for a point"),
        ({"volume_mm3": (math.inf, math.inf)}, "lo finite"),
        ({"weight": 2.0}, r"certainty in \[0, 1\]"),
        ({"slab": (3, 0, 4)}, "axis 0, 1 or 2"),
        ({"slab": (0, 4)}, "one past the last"),
        ({"attenuation": "hypoattenuating"}, "one of hypo, iso, hyper, mixed, unknown"),
    ],
)
def test_a_lesion_checks_itself(fields, said):
    with pytest.raises(ValueError, match=said):
        LesionTarget(**fields)


def test_logits_are_no_probabilities():
    with pytest.raises(ValueError, match=r"probability lies in \[0, 1\].*logits=logits"):
        ball_targets(9 * logits()[0], region()[0], [LESION], spacing_mm=(1, 1, 2))
    with pytest.raises(ValueError, match="got nan"):
        ball_targets(logits()[0] * math.nan, region()[0], [LESION], spacing_mm=(1, 1, 2))
    with pytest.raises(TypeError, match="sequence of LesionTarget"):
        ball_targets(torch.sigmoid(logits()[0]), region()[0], LESION, spacing_mm=(1, 1, 2))


def test_labels_and_what_is_known():
    x = torch.randn(1, 3, 4, 5, 6)
    labels = torch.zeros_like(x)
    with pytest.raises(ValueError, match="labels == channel, one mask a channel"):
        segmentation_loss(x, torch.zeros(1, 4, 5, 6))
    with pytest.raises(ValueError, match="known > 0"):
        segmentation_loss(x, labels, torch.ones_like(x))
    with pytest.raises(TypeError, match="labels is a torch tensor, got ndarray"):
        segmentation_loss(x, labels.numpy())
    with pytest.raises(ValueError, match=r"labels.to\(logits.device\)"):
        segmentation_loss(x, labels.to("meta"))
    unknown = labels > 0
    loss = segmentation_loss(x, torch.full_like(x, math.nan), unknown)
    assert (loss.bce, loss.dice) == (0, 0), "what an unknown voxel is labelled does not matter"


def pair(**fields) -> PairTarget:
    own = {"sample": 0, "channel": 1, "region": region()[0], "lesions": (LESION,), "volume_mm3": (20.0, 60.0)}
    return PairTarget(**own | fields)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"channel": 7}, r"pairs\[0\] is sample 0, channel 7; the batch has 2 samples and 3 channels"),
        ({"channel": -1}, "channel -1"),
        ({"sample": 2}, "sample 2"),
        ({"volume_mm3": (60.0, 20.0)}, r"pairs\[0\].volume_mm3 is \(lo, hi\)"),
        ({"volume_mm3": (math.inf, math.inf)}, "lo finite"),
        ({"weight": math.nan}, r"pairs\[0\].weight is finite"),
        ({"region": region()[0, :5]}, r"as the labels, got \(5, 9, 10\)"),
        ({"region": region()[0].float()}, r"pairs\[0\].region > 0"),
    ],
)
def test_pairs_of_a_batch(fields, said):
    labels = torch.zeros(2, 3, 8, 9, 10, dtype=torch.bool)
    batch = SupervisionBatch(
        labels=labels, known=~labels, spacing_mm=torch.ones(2, 3), pairs=(pair(**fields),)
    )
    with pytest.raises(ValueError, match=said):
        ReportSupervisionLoss()(torch.zeros(labels.shape), batch)


def test_outputs_and_settings_of_the_whole_loss():
    labels = torch.zeros(2, 3, 8, 9, 10, dtype=torch.bool)
    batch = SupervisionBatch(labels=labels, known=~labels, spacing_mm=torch.ones(2, 3))
    for outputs in ({"out": torch.zeros(labels.shape)}, []):
        with pytest.raises(ValueError, match="a list of such heads, the final one first"):
            ReportSupervisionLoss()(outputs, batch)
    coarse = torch.zeros(2, 3, 4, 5, 5)
    with pytest.raises(ValueError, match="the final head comes first"):
        ReportSupervisionLoss()([coarse, torch.zeros(labels.shape)], batch)
    with pytest.raises(ValueError, match="got ndarray"):
        ReportSupervisionLoss()(torch.zeros(labels.shape).numpy(), batch)
    with pytest.raises(TypeError, match=r"takes \(outputs, batch\).*got Tensor"):
        ReportSupervisionLoss()(batch, torch.zeros(labels.shape))
    for scale in (-0.5, math.nan):
        with pytest.raises(ValueError, match="report_scale is finite and at least 0"):
            ReportSupervisionLoss()(torch.zeros(labels.shape), batch, report_scale=scale)
    with pytest.raises(ValueError, match=r"names \(1, 3\), the outputs have 3 channels"):
        ReportSupervisionLoss(ReportSupervisionConfig(malignancy_channels=((1, 3),)))(coarse, batch)
    with pytest.raises(TypeError, match=r"ReportSupervisionConfig\(volume"):
        ReportSupervisionLoss({"volume": 1.0})
    two = ReportSupervisionConfig(head_weights=(0.5, 0.5))
    with pytest.raises(ValueError, match="2 numbers for 3 heads; None weighs all heads alike"):
        ReportSupervisionLoss(two)([torch.zeros(labels.shape)] * 3, batch)


def test_settings_of_the_functions_are_no_negative_numbers():
    with pytest.raises(ValueError, match="softening_mm3 is finite and at least 0"):
        volume(logits(), region(), softening_mm3=-1.0)
    with pytest.raises(ValueError, match="top_mm3"):
        presence(logits(), region(), top_mm3=math.nan)
    with pytest.raises(ValueError, match="smooth_mm3"):
        segmentation_loss(logits()[None], region()[None], smooth_mm3=-1.0)
    with pytest.raises(ValueError, match="steps are not negative"):
        report_ramp(3, warmup_steps=-1, ramp_steps=4)


def test_a_word_is_no_answer_to_malignancy():
    with pytest.raises(TypeError, match="True, False or None, got 'benign'"):
        LesionTarget(malignant="benign")
