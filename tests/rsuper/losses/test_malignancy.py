"""Malignancy loss: the plain cross-entropy on lesion voxels, alone and inside the loss of a batch."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from rsuper.losses import LesionTarget, ReportSupervisionConfig, ReportSupervisionLoss, malignancy_loss
from rsuper.supervision.types import PairTarget, SupervisionBatch


def random_lesions(count=4):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(count, 5, 6, 4, generator=generator, dtype=torch.float64)
    return logits, torch.rand(logits.shape, generator=generator) < 0.3


def test_it_is_the_cross_entropy_of_each_lesion_then_of_all():
    logits, lesion = random_lesions()
    expected = [
        functional.binary_cross_entropy_with_logits(x[m], torch.full_like(x[m], float(answer))).item()
        for x, m, answer in zip(logits[:3], lesion[:3], (1, 0, 1), strict=True)
    ]
    loss = malignancy_loss(logits, lesion, [True, False, True, None])
    assert loss.item() == pytest.approx(sum(expected) / 3, rel=1e-12)
    weight = torch.tensor([0.0, 0.5, 1.0, 1.0])
    weighted = malignancy_loss(logits, lesion, [True, False, True, None], weight=weight)
    assert weighted.item() == pytest.approx((0.5 * expected[1] + expected[2]) / 1.5, rel=1e-12)


def test_only_lesion_voxels_of_settled_lesions_move():
    logits, lesion = random_lesions()
    x = logits.clone().requires_grad_()
    malignancy_loss(x, lesion, [True, False, None, None]).backward()
    assert (x.grad[0][lesion[0]] < 0).all()
    assert (x.grad[1][lesion[1]] > 0).all()
    assert (x.grad[~lesion] == 0).all()
    assert not x.grad[2:].any()


@pytest.mark.parametrize("answers", [[None] * 4, [True, False, True, False]])
def test_nothing_to_say_gives_zero_with_a_graph(answers):
    logits, lesion = random_lesions()
    x = logits.requires_grad_()
    loss = malignancy_loss(x, torch.zeros_like(lesion), answers)
    loss.backward()
    assert loss == 0
    assert not x.grad.any()


def test_gradcheck():
    logits, lesion = random_lesions(2)
    small, held = logits[:, :2, :3, :2].clone().requires_grad_(), lesion[:, :2, :3, :2].clone()
    held[:, 0, 0, 0] = True
    assert torch.autograd.gradcheck(lambda x: malignancy_loss(x, held, [True, False]), (small,))


def test_there_is_one_answer_a_lesion():
    logits, lesion = random_lesions()
    with pytest.raises(ValueError, match="got 1 answers"):
        malignancy_loss(logits, lesion, [True])


@pytest.fixture
def two_lesions(make_phantom):
    """A 12 mm lesion that is malignant beside an 8 mm one that is benign; channel 1 says which."""
    large = make_phantom(
        (12.0, 12.0, 12.0), field_mm=40.0, region_mm=18.0, center_mm=(20, 20, 12), height=4.0
    )
    small = make_phantom((8.0, 8.0, 8.0), field_mm=40.0, region_mm=18.0, center_mm=(20, 20, 29), height=4.0)
    found = torch.maximum(large.logits, small.logits)
    logits = torch.stack((found, torch.zeros_like(found)))[None]
    lesions = (
        LesionTarget(diameters_mm=(12.0,), volume_mm3=(700.0, 1100.0), malignant=True),
        LesionTarget(diameters_mm=(8.0,), volume_mm3=(200.0, 340.0), malignant=False),
    )
    pair = PairTarget(sample=0, channel=0, region=large.region, lesions=lesions, volume_mm3=(900.0, 1440.0))
    labels = torch.zeros(logits.shape, dtype=torch.bool)
    batch = SupervisionBatch(
        labels=labels, known=torch.zeros_like(labels), spacing_mm=torch.ones(1, 3), pairs=(pair,)
    )
    return logits, batch, large, small


CONFIG = ReportSupervisionConfig(report_weight=1.0, malignancy_channels=((0, 1),))


def test_each_located_lesion_learns_its_own_answer(two_lesions):
    logits, batch, large, small = two_lesions
    x = logits.clone().requires_grad_()
    result = ReportSupervisionLoss(CONFIG)(x, batch)
    assert result.terms["malignancy"].item() == pytest.approx(0.6931, abs=1e-4)
    result.total.backward()
    said = x.grad[0, 1]
    assert (said[large.tumour] <= 0).all()
    assert (said[small.tumour] >= 0).all()
    assert (said < 0).sum() == round(0.8 * 700)
    assert (said > 0).sum() == round(0.8 * 200)
    outside = ~large.tumour & ~small.tumour
    assert not said[outside].any()


def test_lesions_that_are_not_settled_say_nothing(two_lesions):
    logits, batch, *_ = two_lesions
    silent = tuple(replace(lesion, malignant=None) for lesion in batch.pairs[0].lesions)
    quiet = replace(batch, pairs=(replace(batch.pairs[0], lesions=silent),))
    x = logits.clone().requires_grad_()
    result = ReportSupervisionLoss(CONFIG)(x, quiet)
    result.total.backward()
    assert result.terms["malignancy"] == 0
    assert not x.grad[0, 1].any()
    assert "malignancy" not in ReportSupervisionLoss()(logits, batch).terms


def test_a_drawn_lesion_takes_the_answer_of_its_class(two_lesions):
    logits, batch, large, _ = two_lesions
    labels = batch.labels.clone()
    labels[0, 0] = large.tumour
    known = torch.zeros_like(labels)
    known[0, 0] = True
    known[0, 0, :20] = False
    drawn = replace(batch, pairs=(), labels=labels, known=known, malignant={(0, 0): True})
    x = logits.clone().requires_grad_()
    ReportSupervisionLoss(CONFIG)(x, drawn).total.backward()
    assert (x.grad[0, 1] < 0).sum() == int((large.tumour & known[0, 0]).sum()) > 0
    assert not x.grad[0, 1][~large.tumour].any()
