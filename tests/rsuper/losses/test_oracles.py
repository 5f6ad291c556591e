"""What the losses as a whole must do, on analytic phantoms."""

from __future__ import annotations

import itertools
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
    presence_loss,
    segmentation_loss,
)
from rsuper.morphology import dilate_mm
from rsuper.supervision.types import PairTarget, SupervisionBatch

ONE = (1.0, 1.0, 1.0)
STUDY = ReportSupervisionConfig(report_weight=1.0, volume=0.2, absence=1.0)
CONFIGS = {"published weights": ReportSupervisionConfig(), "weights of the study": STUDY}


def sphere_mm3(diameter_mm: float) -> float:
    return math.pi / 6 * diameter_mm**3


@pytest.fixture
def ring(make_phantom):
    """The report puts a lesion into an organ; the prediction has it 5 to 10 mm outside the organ's mask."""
    phantom = make_phantom((8.0, 8.0, 8.0), center_mm=(30.0, 30.0, 48.0), height=4.0)
    organ = torch.zeros_like(phantom.region)
    organ[18:43, 18:43, 18:41] = True
    region = dilate_mm(organ, 15.0, spacing_mm=ONE)
    lesion = LesionTarget(
        diameters_mm=(8.0,),
        volume_mm3=(0.44 * sphere_mm3(8), 1.88 * sphere_mm3(8)),
        centers=dilate_mm(organ, 5.0, spacing_mm=ONE),
    )
    pair = PairTarget(sample=0, channel=0, region=region, lesions=(lesion,), volume_mm3=lesion.volume_mm3)
    logits = phantom.logits[None, None]
    batch = SupervisionBatch(
        labels=torch.zeros_like(logits) > 0,
        known=~region[None, None],
        spacing_mm=torch.ones(1, 3),
        pairs=(pair,),
    )
    return phantom, logits, batch


@pytest.mark.parametrize("config", sorted(CONFIGS))
def test_the_whole_loss_does_not_train_a_tumour_outside_the_organ_away(ring, config):
    phantom, logits, batch = ring
    loss = ReportSupervisionLoss(CONFIGS[config])
    x = logits.clone().requires_grad_()
    loss(x, batch).total.backward()
    assert x.grad[0, 0][phantom.tumour].sum() < 0
    trained_away = replace(batch, known=torch.ones_like(batch.known), pairs=())
    y = logits.clone().requires_grad_()
    loss(y, trained_away).total.backward()
    assert y.grad[0, 0][phantom.tumour].sum() > 0, "as it would be if the voxels counted as known negatives"


def test_classes_without_a_report_do_not_change_the_report_terms(ring):
    """The published mean runs over all lesion classes."""
    _, logits, batch = ring
    loss = ReportSupervisionLoss(STUDY)
    alone = loss(logits - 1, batch).terms
    assert {"ball_bce", "ball_dice", "volume"} <= {name for name, value in alone.items() if value > 0}
    more = replace(
        batch,
        labels=batch.labels.repeat(1, 5, 1, 1, 1),
        known=torch.ones_like(logits > 0).repeat(1, 5, 1, 1, 1),
    )
    for count, (name, value) in itertools.product((2, 5), alone.items()):
        if name.startswith("segmentation"):
            continue
        cut = replace(more, labels=more.labels[:, :count], known=more.known[:, :count])
        wide = torch.cat([logits - 1, torch.full_like(logits, -3.0).repeat(1, count - 1, 1, 1, 1)], dim=1)
        assert loss(wide, cut).terms[name].item() == pytest.approx(value.item(), rel=1e-6), name


@pytest.mark.parametrize(("spacing", "share"), [((0.7, 0.7, 2.5), 0.03), ((3.0, 3.0, 3.0), 0.05)])
def test_smooth_maps_have_the_same_losses_on_any_grid(make_phantom, spacing, share):
    """Segmentation, yes/no and attenuation; the ball and the volume loss have tests of their own."""

    def losses(step):
        phantom = make_phantom((26.0, 22.0, 24.0), spacing_mm=step, height=3.0)
        logits, labels = phantom.logits[None, None], phantom.tumour[None, None]
        parts = segmentation_loss(logits, labels, phantom.region[None, None], spacing_mm=step)
        yes = presence_loss(phantom.logits[None] - 4, phantom.region[None], spacing_mm=step, top_mm3=2000.0)
        image = 60 + 10 * phantom.logits[None]
        inside = phantom.tumour[None]
        away = phantom.region[None] & ~inside
        density = attenuation_loss(phantom.logits[None], image, inside, away, ["hypo"])
        return {"bce": parts.bce, "yes": yes, "attenuation": density}, parts.dice

    (fine, fine_dice), (other, other_dice) = losses(ONE), losses(spacing)
    for name, value in fine.items():
        assert other[name].item() == pytest.approx(value.item(), rel=share), name
    assert other_dice.item() == pytest.approx(fine_dice.item(), rel=0.03 if share < 0.05 else 0.15)


def test_fifteen_lesions_take_their_fifteen_places():
    """5 × 3 blobs of 7 mm, the report counts fifteen: each is found once, and a perfect prediction is left alone."""
    shape = (64, 40, 14)
    axes = torch.meshgrid(*(torch.arange(size) for size in shape), indexing="ij")
    tumours = torch.zeros(shape, dtype=torch.bool)
    for first, second in itertools.product(range(7, 60, 12), range(7, 36, 12)):
        middle = (first, second, 6)
        tumours |= sum((axis - at) ** 2 for axis, at in zip(axes, middle, strict=True)) <= 3.5**2
    logits = torch.where(tumours, 12.0, -12.0)
    lesions = [LesionTarget(diameters_mm=(7.0,), volume_mm3=(0.5 * sphere_mm3(7), 1.6 * sphere_mm3(7)))] * 15
    everywhere = torch.ones_like(tumours)
    marked = ball_targets(torch.sigmoid(logits), everywhere, lesions, spacing_mm=ONE, logits=logits)
    assert marked.located.all()
    assert tumours[tuple(marked.centers.T)].all()
    assert len(set(map(tuple, marked.centers.tolist()))) == 15
    assert marked.foreground[tumours].float().mean() > 0.35
    assert not (marked.foreground & ~tumours).any()
    x = logits[None].requires_grad_()
    loss = ball_loss(x, everywhere[None], [lesions], spacing_mm=ONE)
    (loss.bce + loss.dice).backward()
    assert x.grad.abs().sum() < 1e-2
    assert not (tumours & ~marked.foreground & ~marked.ignore).any()


def test_flips_and_orders_do_not_change_lesions_with_regions_of_their_own(make_phantom):
    """Where several orders of the search are tried."""
    phantom = make_phantom((9.0, 8.0, 8.0), field_mm=24.0, region_mm=11.0, height=3.0)
    noise = torch.randn(phantom.logits.shape, generator=torch.Generator().manual_seed(3))
    logits = (phantom.logits + noise).double()
    half = phantom.region.clone()
    half[12:] = False
    whole = LesionTarget(diameters_mm=(6.0,), volume_mm3=(40.0, 220.0))
    near = LesionTarget(diameters_mm=(5.0,), volume_mm3=(30.0, 140.0), region=half)
    slab = LesionTarget(diameters_mm=(5.0, 4.0), volume_mm3=(25.0, 90.0), slab=(2, 3, 20))

    def loss(values, region, lesions):
        parts = ball_loss(values[None], region[None], [lesions], spacing_mm=ONE)
        return parts.bce.item(), parts.dice.item()

    expected = loss(logits, phantom.region, [whole, near, slab])
    for lesions in itertools.permutations([whole, near, slab]):
        assert loss(logits, phantom.region, list(lesions)) == pytest.approx(expected, rel=1e-9)
    for axis in range(3):
        turned = [whole, replace(near, region=half.flip(axis))]
        size = logits.shape[2]
        turned.append(replace(slab, slab=(2, size - 20, size - 3)) if axis == 2 else slab)
        mirrored = loss(logits.flip(axis), phantom.region.flip(axis), turned)
        assert mirrored == pytest.approx(expected, rel=1e-6)
