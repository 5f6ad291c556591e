"""The yes/no loss against the plain formula."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from rsuper.losses import presence_loss


def random_pairs(seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(3, 8, 9, 7, generator=generator, dtype=torch.float64)
    return logits, torch.rand(3, 8, 9, 7, generator=generator) < 0.8


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (1.0, 2.0, 2.5)])
def test_it_is_the_cross_entropy_of_the_mean_of_the_top(spacing):
    logits, region = random_pairs()
    count = round(100 / (spacing[0] * spacing[1] * spacing[2]))
    means = torch.stack(
        [
            x[r].sigmoid().sort(descending=True).values[:count].mean()
            for x, r in zip(logits, region, strict=True)
        ]
    )
    answers = torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64)
    loss = presence_loss(logits, region, spacing_mm=spacing, present=answers > 0)
    assert loss.item() == pytest.approx(functional.binary_cross_entropy(means, answers).item(), rel=1e-9)
    weight = torch.tensor([0.0, 1.0, 0.0])
    alone = presence_loss(logits[1:2], region[1:2], spacing_mm=spacing, present=torch.tensor([False]))
    weighted = presence_loss(logits, region, spacing_mm=spacing, present=answers > 0, weight=weight)
    assert weighted.item() == pytest.approx(alone.item(), rel=1e-9)


def test_a_region_below_the_top_volume_answers_as_a_whole():
    logits, region = random_pairs()
    region[:] = False
    region[0, 0, 0, :3] = True
    loss = presence_loss(logits, region, spacing_mm=(1, 1, 1))
    assert loss.item() == pytest.approx(-logits[0, 0, 0, :3].sigmoid().mean().log().item(), rel=1e-9)


@pytest.mark.parametrize("value", [-100.0, 100.0])
def test_saturated_logits_keep_their_gradient(value):
    logits = torch.full((1, 6, 6, 6), value, requires_grad=True)
    loss = presence_loss(
        logits, torch.ones_like(logits) > 0, spacing_mm=(1, 1, 1), present=torch.tensor([value < 0])
    )
    loss.backward()
    assert loss.item() == pytest.approx(100.0)
    assert logits.grad.abs().sum().item() == pytest.approx(1.0, rel=1e-4)


def test_gradcheck():
    logits, region = random_pairs()
    small, inside = logits[:, :3, :3, :2].clone().requires_grad_(), region[:, :3, :3, :2]
    assert torch.autograd.gradcheck(
        lambda x: presence_loss(x, inside, spacing_mm=(2, 2, 2), present=torch.tensor([1, 0, 1])), (small,)
    )


def test_no_pairs_give_zero_with_a_graph():
    logits = torch.zeros(0, 3, 3, 3, requires_grad=True)
    loss = presence_loss(logits, torch.zeros(0, 3, 3, 3) > 0, spacing_mm=(1, 1, 1))
    loss.backward()
    assert loss == 0
