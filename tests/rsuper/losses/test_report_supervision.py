"""The whole loss of a batch: which voxels it moves, which way, and how its parts add up."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError

from rsuper.losses import (
    LesionTarget,
    ReportSupervisionConfig,
    ReportSupervisionLoss,
    ball_loss,
    presence_loss,
    report_ramp,
    segmentation_loss,
    volume_loss,
)
from rsuper.supervision.types import PairTarget, SupervisionBatch

ONE = (1.0, 1.0, 1.0)
VOLUME = math.pi / 6 * 12**3


@pytest.fixture
def batch_and_logits(make_phantom):
    """Two samples, three classes; a report puts a 12 mm lesion of class 1 into sample 0."""
    phantom = make_phantom((12.0, 12.0, 12.0), field_mm=30.0, region_mm=12.0, height=3.0)
    shape = (2, 3, *phantom.logits.shape)
    logits = torch.full(shape, -3.0)
    logits[0, 1] = phantom.logits
    labels = torch.zeros(shape, dtype=torch.bool)
    labels[1, 2, 4:9, 4:9, 4:9] = True
    known = torch.ones(shape, dtype=torch.bool)
    known[0, 1] = ~phantom.region
    known[0, 0] = False
    lesion = LesionTarget(diameters_mm=(12.0,), volume_mm3=(0.5 * VOLUME, 1.8 * VOLUME))
    pair = PairTarget(
        sample=0, channel=1, region=phantom.region, lesions=(lesion,), volume_mm3=(0.5 * VOLUME, 1.8 * VOLUME)
    )
    batch = SupervisionBatch(labels=labels, known=known, spacing_mm=torch.ones(2, 3), pairs=(pair,))
    return batch, logits, phantom


def test_total_is_the_weighted_sum_of_the_public_losses(batch_and_logits):
    batch, logits, phantom = batch_and_logits
    config = ReportSupervisionConfig(
        segmentation_bce=2.0,
        segmentation_dice=3.0,
        report_weight=0.5,
        ball_bce=1.1,
        ball_dice=0.7,
        volume=0.9,
        presence=0.3,
        absence=0.0,
    )
    result = ReportSupervisionLoss(config)(logits - 1, batch)
    only = (logits - 1)[:1, 1]
    region, pair = phantom.region[None], batch.pairs[0]
    seg = segmentation_loss(logits - 1, batch.labels, batch.known)
    ball = ball_loss(only, region, [pair.lesions], spacing_mm=ONE)
    volume = volume_loss(only, region, torch.tensor([pair.volume_mm3]), spacing_mm=ONE, tolerance=0.0)
    presence = presence_loss(only, region, spacing_mm=ONE)
    expected = {
        "segmentation_bce": seg.bce,
        "segmentation_dice": seg.dice,
        "ball_bce": ball.bce,
        "ball_dice": ball.dice,
        "volume": volume,
        "presence": presence,
    }
    assert {name: value.item() for name, value in result.terms.items()} == pytest.approx(
        {name: value.item() for name, value in expected.items()}
    )
    total = (
        2 * seg.bce + 3 * seg.dice + 0.5 * (1.1 * ball.bce + 0.7 * ball.dice + 0.9 * volume + 0.3 * presence)
    )
    assert result.total.item() == pytest.approx(total.item(), rel=1e-6)
    assert not any(value.requires_grad for value in (*result.terms.values(), *result.diagnostics.values()))


def test_every_voxel_moves_as_the_report_says(batch_and_logits):
    batch, logits, phantom = batch_and_logits
    x = (logits - 0.5).requires_grad_()
    ReportSupervisionLoss(ReportSupervisionConfig(report_weight=1.0))(x, batch).total.backward()
    assert (x.grad[0, 0] == 0).all(), "an unknown class is left alone"
    middle = torch.zeros_like(phantom.region)
    middle[14:17, 14:17, 14:17] = True
    assert (x.grad[0, 1][middle] < 0).all(), "the reported lesion lights up"
    far = phantom.region & (phantom.logits <= -2.99)
    assert (x.grad[0, 1][far] > 0).all(), "the rest of the region goes dark"
    assert (x.grad[0, 2] > 0).all(), "an absent class is pushed down"
    assert (x.grad[1, 2][batch.labels[1, 2]] < 0).all()


def test_a_masks_only_warm_up_is_the_segmentation_loss_alone(batch_and_logits):
    batch, logits, _ = batch_and_logits
    loss = ReportSupervisionLoss(ReportSupervisionConfig(report_weight=1.0))
    cold, none = loss(logits, batch, report_scale=0.0), loss(logits, replace(batch, pairs=()))
    assert cold.total == none.total
    assert set(cold.terms) == {"segmentation_bce", "segmentation_dice"}
    half, full = loss(logits, batch, report_scale=0.5), loss(logits, batch)
    assert (half.total - cold.total).item() == pytest.approx(0.5 * (full.total - cold.total).item(), rel=1e-4)


def test_pairs_without_weight_are_left_out(batch_and_logits):
    batch, logits, _ = batch_and_logits
    loss = ReportSupervisionLoss()
    ignored = replace(batch, pairs=(replace(batch.pairs[0], weight=0.0),))
    assert loss(logits, ignored).total == loss(logits, replace(batch, pairs=())).total


def test_a_partial_crop_forces_no_foreground(batch_and_logits):
    batch, logits, phantom = batch_and_logits
    (pair,) = batch.pairs
    elsewhere = tuple(replace(lesion, remainder=True) for lesion in pair.lesions)
    partial = replace(batch, pairs=(replace(pair, complete=False, lesions=elsewhere),))
    silent = ReportSupervisionConfig(segmentation_bce=0, segmentation_dice=0)
    skipping = silent.model_copy(update={"partial_crops": "skip"})
    sure = replace(batch, pairs=(replace(pair, complete=False),))
    for config, crop in ((silent, partial), (skipping, sure)):
        x = (logits - 5).requires_grad_()
        result = ReportSupervisionLoss(config)(x, crop)
        result.total.backward()
        assert result.terms["volume"] == 0
        assert not x.grad.any()
    bright = torch.full_like(logits, 5.0).requires_grad_()
    ReportSupervisionLoss(ReportSupervisionConfig(segmentation_bce=0, segmentation_dice=0))(
        bright, partial
    ).total.backward()
    assert (bright.grad[0, 1][phantom.region] > 0).all(), "upper bounds stay"
    assert ReportSupervisionLoss()(logits, sure).terms["ball_bce"] > 0, "lesions that surely are inside"


def test_the_yes_no_arm_reads_presence_alone(batch_and_logits):
    batch, logits, phantom = batch_and_logits
    config = ReportSupervisionConfig(
        segmentation_bce=0,
        segmentation_dice=0,
        ball_bce=0,
        ball_dice=0,
        volume=0,
        attenuation=0,
        presence=1.0,
        absence=1.0,
        report_weight=1.0,
    )
    absent = replace(batch, pairs=(replace(batch.pairs[0], present=False, lesions=()),))
    for case, answer in ((batch, True), (absent, False)):
        result = ReportSupervisionLoss(config)(logits, case)
        expected = presence_loss(
            logits[:1, 1], phantom.region[None], spacing_mm=ONE, present=torch.tensor([answer])
        )
        assert set(result.terms) == {"segmentation_bce", "segmentation_dice", "presence", "absence"}
        assert result.total.item() == pytest.approx(expected.item(), rel=1e-6)


def test_heads_are_weighted_and_the_volume_goes_to_its_head(batch_and_logits):
    batch, logits, phantom = batch_and_logits
    config = ReportSupervisionConfig(head_weights=(0.7, 0.3), volume_head="auxiliary", volume=1.0)
    other = logits - 2
    result = ReportSupervisionLoss(config)([logits, other], batch)
    seg = [segmentation_loss(head, batch.labels, batch.known) for head in (logits, other)]
    pair = batch.pairs[0]
    ball = ball_loss(logits[:1, 1], phantom.region[None], [pair.lesions], spacing_mm=ONE)
    volume = volume_loss(
        other[:1, 1], phantom.region[None], torch.tensor([pair.volume_mm3]), spacing_mm=ONE, tolerance=0.0
    )
    expected = 0.7 * (seg[0].bce + seg[0].dice + ball.bce + ball.dice) + 0.3 * (
        seg[1].bce + seg[1].dice + volume
    )
    assert result.total.item() == pytest.approx(expected.item(), rel=1e-6)
    stacked = ReportSupervisionLoss(config)(torch.stack([logits, other], dim=1), batch)
    assert stacked.total.item() == pytest.approx(result.total.item(), rel=1e-6)


def test_smaller_heads_are_resampled(batch_and_logits):
    batch, logits, _ = batch_and_logits
    small = torch.nn.functional.avg_pool3d(logits, 2).requires_grad_()
    result = ReportSupervisionLoss()([logits, small], batch)
    result.total.backward()
    assert torch.isfinite(result.total)
    assert small.grad.any()


def test_volume_points_get_their_tolerance_and_intervals_do_not(batch_and_logits):
    batch, logits, phantom = batch_and_logits
    predicted = float(torch.sigmoid(logits[0, 1])[phantom.region].sum())
    near = predicted * 1.05
    for interval, zero in (((near, near), True), ((near, near * 1.001), False)):
        pair = replace(batch.pairs[0], volume_mm3=interval)
        result = ReportSupervisionLoss()(logits, replace(batch, pairs=(pair,)))
        assert (result.terms["volume"].item() == 0) is zero


def test_the_median_pulls_where_it_is_stated(batch_and_logits):
    batch, logits, _ = batch_and_logits
    config = ReportSupervisionConfig(median_weight=0.1)
    pair = replace(batch.pairs[0], volume_mm3=(1.0, 1e6), median_mm3=100.0, sigma_log=0.5)
    stated = ReportSupervisionLoss(config)(logits, replace(batch, pairs=(pair,))).terms["volume"]
    silent = replace(pair, median_mm3=None, sigma_log=None)
    assert stated > 0
    assert ReportSupervisionLoss(config)(logits, replace(batch, pairs=(silent,))).terms["volume"] == 0


def test_attenuation_is_taken_from_the_image(batch_and_logits):
    batch, logits, phantom = batch_and_logits
    image = torch.full((2, 1, *phantom.region.shape), 100.0)
    image[0, 0][phantom.tumour] = 160.0
    organ = phantom.region[None, None].expand(2, 3, *phantom.region.shape)
    lesion = replace(batch.pairs[0].lesions[0], attenuation="hypo")
    full = replace(batch, image_hu=image, organ=organ, pairs=(replace(batch.pairs[0], lesions=(lesion,)),))
    bright = ReportSupervisionLoss()(logits, full).terms["attenuation"]
    lesion = replace(lesion, attenuation="hyper")
    hyper = replace(full, pairs=(replace(batch.pairs[0], lesions=(lesion,)),))
    assert bright == pytest.approx(0.6, abs=0.15)
    assert ReportSupervisionLoss()(logits, hyper).terms["attenuation"] == 0
    assert "attenuation" not in ReportSupervisionLoss()(logits, batch).terms


def test_haze_and_skipped_pairs_are_reported(batch_and_logits):
    batch, logits, phantom = batch_and_logits
    loss = ReportSupervisionLoss()
    assert loss(torch.full_like(logits, -4.0), batch).diagnostics["ball_skipped"] == 1
    assert loss(torch.full_like(logits, -4.0), batch).diagnostics["haze_share"] == pytest.approx(1.0)
    figures = loss(logits * 3, batch).diagnostics
    assert figures["ball_skipped"] == 0
    inside = torch.sigmoid(logits[0, 1] * 3)[phantom.region]
    assert figures["haze_share"] == pytest.approx(
        (inside[inside < 0.1].sum() / inside.sum()).item(), rel=1e-5
    )


def test_configuration_is_checked(batch_and_logits):
    batch, logits, _ = batch_and_logits
    with pytest.raises(ValidationError):
        ReportSupervisionConfig(volume=-1.0)
    with pytest.raises(ValidationError):
        ReportSupervisionConfig(unheard_of=1.0)
    with pytest.raises(ValidationError):
        ReportSupervisionConfig().volume = 2.0
    with pytest.raises(ValueError, match="head_weights"):
        ReportSupervisionLoss(ReportSupervisionConfig(head_weights=(1.0,)))([logits, logits], batch)
    with pytest.raises(ValueError, match=r"\[B,C,D,H,W\]"):
        ReportSupervisionLoss()(logits[0], batch)
    assert (
        ReportSupervisionConfig.model_validate_json(ReportSupervisionConfig().model_dump_json())
        == ReportSupervisionConfig()
    )


def test_the_gated_volume_grows_once_the_ball_has_located(batch_and_logits):
    """Weight of the volume: the mean p of the located foreground; without a located lesion it is 0."""
    batch, logits, _ = batch_and_logits
    pair = replace(batch.pairs[0], volume_mm3=(9000.0, 12000.0))
    batch = replace(batch, pairs=(pair,))
    plain, gated = ReportSupervisionConfig(), ReportSupervisionConfig(volume_gate="located")
    shares = []
    for shift in (-3.0, 0.0, 3.0):
        free = ReportSupervisionLoss(plain)(logits + shift, batch).terms["volume"]
        held = ReportSupervisionLoss(gated)(logits + shift, batch).terms["volume"]
        shares.append((held / free).item())
    assert 0 < shares[0] < 0.25 < shares[1] < 0.95 < shares[2] < 1
    assert ReportSupervisionLoss(gated)(torch.full_like(logits, -3.0), batch).terms["volume"] == 0


def test_located_volume_pushes_haze_down_and_the_lesion_up(batch_and_logits):
    batch, logits, phantom = batch_and_logits
    config = ReportSupervisionConfig(
        segmentation_bce=0,
        segmentation_dice=0,
        ball_bce=0,
        ball_dice=0,
        report_weight=1.0,
        volume_where="located",
    )
    stated = replace(batch.pairs[0], volume_mm3=(2500.0, 4000.0))
    x = (logits - 1).requires_grad_()
    result = ReportSupervisionLoss(config)(x, replace(batch, pairs=(stated,)))
    result.total.backward()
    axes = torch.meshgrid(*[torch.arange(31.0)] * 3, indexing="ij")
    distance = (torch.stack(axes, -1) - 15).norm(dim=-1)
    assert (x.grad[0, 1][phantom.region & (distance < 7)] < 0).all()
    assert (x.grad[0, 1][phantom.region & (distance > 11)] > 0).all()
    everywhere = ReportSupervisionLoss(config.model_copy(update={"volume_where": "region"}))
    y = (logits - 1).requires_grad_()
    everywhere(y, replace(batch, pairs=(stated,))).total.backward()
    assert (y.grad[0, 1][phantom.region] < 0).all(), "the plain form lifts haze as well"


def test_centres_are_compared_with_a_reference_where_there_is_one(batch_and_logits):
    batch, logits, phantom = batch_and_logits
    reference = torch.zeros_like(batch.labels)
    loss = ReportSupervisionLoss()
    assert "centre_inside_share" not in loss(logits, batch).diagnostics
    assert loss(logits, replace(batch, reference=reference)).diagnostics["centre_inside_share"] == 0
    reference[0, 1] = phantom.tumour
    inside = loss(logits, replace(batch, reference=reference))
    assert inside.diagnostics["centre_inside_share"] == inside.diagnostics["centres_compared"] == 1
    assert inside.total == loss(logits, batch).total, "a reference is never learnt from"
    flat = loss(torch.full_like(logits, -3.0), replace(batch, reference=reference))
    assert "centre_inside_share" not in flat.diagnostics


def test_volumes_are_compared_with_medians_and_references(batch_and_logits):
    batch, logits, phantom = batch_and_logits
    stated = replace(batch.pairs[0], median_mm3=500.0, sigma_log=0.4)
    ball_only = ReportSupervisionLoss(ReportSupervisionConfig(volume=0.0))
    predicted = float(torch.sigmoid(logits[0, 1])[phantom.region].sum()) * phantom.voxel_mm3

    def figures(**changes):
        return ball_only(logits, replace(batch, **changes)).diagnostics

    alone = figures(pairs=(stated,))
    assert alone["volume_log_ratio"] == pytest.approx(math.log(predicted / 500), rel=1e-5)
    assert {"haze_share", "ball_skipped"} < set(alone), "also where no volume is learnt"
    assert not {"predicted_mm3", "volume_log_ratio"} & set(figures(pairs=(replace(stated, median_mm3=None),)))
    assert "volume_log_ratio" not in figures(pairs=(replace(stated, complete=False),))
    assert "haze_share" not in figures(pairs=(replace(stated, present=False, lesions=()),))

    reference = torch.zeros_like(batch.labels)
    nothing = figures(pairs=(stated,), reference=reference)
    assert nothing["predicted_mm3"] == nothing["reference_mm3"] == nothing["centres_compared"] == 0
    reference[0, 1] = phantom.tumour
    other = replace(stated, sample=1)  # a case without a reference says nothing
    both = figures(pairs=(stated, other), reference=reference)
    assert both["predicted_mm3"] == pytest.approx(predicted, rel=1e-5)
    assert both["reference_mm3"] == pytest.approx(phantom.volume_mm3, rel=1e-6)
    assert both["centre_inside_share"] == both["centres_compared"] == 1


def test_the_attenuation_scale_is_a_setting(batch_and_logits):
    batch, logits, phantom = batch_and_logits
    image = torch.full((2, 1, *phantom.region.shape), 100.0)
    image[0, 0][phantom.tumour] = 160.0
    organ = phantom.region[None, None].expand(2, 3, *phantom.region.shape)
    lesion = replace(batch.pairs[0].lesions[0], attenuation="hypo")
    full = replace(batch, image_hu=image, organ=organ, pairs=(replace(batch.pairs[0], lesions=(lesion,)),))
    hundred = ReportSupervisionLoss()(logits, full).terms["attenuation"]
    fifty = ReportSupervisionLoss(ReportSupervisionConfig(attenuation_scale_hu=50.0))(logits, full)
    assert fifty.terms["attenuation"].item() == pytest.approx(2 * hundred.item(), rel=1e-6)


def test_the_ramp_scales_the_reports(batch_and_logits):
    batch, logits, _ = batch_and_logits
    loss = ReportSupervisionLoss(ReportSupervisionConfig(report_weight=1.0))
    totals = [
        loss(logits, batch, report_scale=report_ramp(step, warmup_steps=100, ramp_steps=10)).total.item()
        for step in (0, 99, 100, 104, 109, 500)
    ]
    cold, full = totals[0], totals[-1]
    expected = [cold, cold, cold + 0.1 * (full - cold), cold + 0.5 * (full - cold), full, full]
    assert totals == pytest.approx(expected, rel=1e-5)
    assert report_ramp(5, warmup_steps=5, ramp_steps=0) == 1.0


def test_the_gradient_of_everything_is_that_of_finite_differences(batch_and_logits):
    """Float64, along random directions; the Dice terms hold their asymmetry constant and are left out."""
    batch, logits, phantom = batch_and_logits
    generator = torch.Generator().manual_seed(0)
    image = 100 + 20 * torch.randn((2, 1, *phantom.region.shape), generator=generator, dtype=torch.float64)
    lesion = replace(batch.pairs[0].lesions[0], attenuation="hypo", malignant=True)
    full = replace(
        batch,
        image_hu=image,
        organ=phantom.region[None, None].expand(2, 3, *phantom.region.shape),
        pairs=(
            replace(
                batch.pairs[0],
                lesions=(lesion,),
                volume_mm3=(3000.0, 4000.0),
                median_mm3=3500.0,
                sigma_log=0.4,
            ),
        ),
    )
    config = ReportSupervisionConfig(
        segmentation_dice=0,
        ball_dice=0,
        report_weight=1.0,
        presence=1.0,
        absence=0.0,
        attenuation=1.0,
        median_weight=0.05,
        volume_mass="power",
        sharpen=2.0,
        volume_where="located",
        malignancy_channels=((1, 0),),
    )
    loss = ReportSupervisionLoss(config)
    noise = 0.3 * torch.randn(logits.shape, generator=generator, dtype=torch.float64)
    x = (logits.double() + noise).requires_grad_()
    result = loss(x, full)
    assert set(result.terms) >= {"ball_bce", "attenuation", "malignancy", "volume", "presence"}
    assert all(value > 0 for name, value in result.terms.items() if name != "segmentation_dice")
    (gradient,) = torch.autograd.grad(result.total, x)
    for _ in range(3):
        direction = torch.randn(x.shape, generator=generator, dtype=torch.float64)
        ahead, behind = (loss((x + sign * 1e-6 * direction).detach(), full).total for sign in (1, -1))
        slope = (ahead - behind).item() / 2e-6
        assert slope == pytest.approx((gradient * direction).sum().item(), rel=1e-5)
