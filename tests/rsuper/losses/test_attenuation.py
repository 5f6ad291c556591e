"""Attenuation loss on phantoms of known HU."""

from __future__ import annotations

import pytest
import torch

from rsuper.losses import attenuation_loss


@pytest.fixture
def scene():
    """An organ of 100 HU with a ball of 60 HU in it, marked by confident logits."""
    axes = torch.meshgrid(*[torch.arange(24.0)] * 3, indexing="ij")
    distance = (torch.stack(axes) - 12).square().sum(0).sqrt()
    image = torch.where(distance <= 5, 60.0, 100.0)
    logits = torch.where(distance <= 5, 9.0, -9.0)
    return logits[None], image[None], (distance <= 7)[None], (distance <= 11)[None]


@pytest.mark.parametrize(
    ("stated", "expected"),
    [("hypo", 0.0), ("hyper", 0.5), ("iso", 0.3), ("mixed", 0.0), ("unknown", 0.0)],
)
def test_the_hinge_is_on_the_stated_side(scene, stated, expected):
    """Δ = −40 HU, margin 10 HU, 100 HU count as 1."""
    loss = attenuation_loss(*scene, [stated])
    assert loss.item() == pytest.approx(expected, abs=1e-3)


def test_bright_voxels_leave_a_dark_lesion(scene):
    logits, image, ball, organ = scene
    half = torch.zeros_like(logits).requires_grad_()  # undecided: the ball's mean is near the organ's
    attenuation_loss(half, image, ball, organ, ["hypo"], margin_hu=60.0).backward()
    dark = image < 80
    assert (half.grad[ball & dark] < 0).all()
    assert (half.grad[ball & ~dark] > 0).all()
    assert (half.grad[~ball] == 0).all()
    assert logits.shape == half.grad.shape


def test_nothing_to_compare_with_gives_zero_with_a_graph(scene):
    logits, image, ball, organ = scene
    logits = logits.clone().requires_grad_()
    nothing = torch.zeros_like(ball)
    for inside, around in ((nothing, organ), (ball, nothing), (ball, ball)):
        loss = attenuation_loss(logits, image, inside, around, ["hypo"])
        loss.backward()
        assert loss == 0


def test_gradcheck(scene):
    logits, image, ball, organ = (part[:, 10:13, 10:13, 4:9] for part in scene)
    x = torch.randn(
        logits.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    ).requires_grad_()
    inside, around = ball.clone(), organ.clone()
    inside[..., :1], around[..., :1] = False, True
    for stated in ("hypo", "hyper", "iso"):
        assert torch.autograd.gradcheck(
            lambda v, s=stated: attenuation_loss(v, image, inside, around, [s], margin_hu=5.0), (x,)
        )


def test_there_is_one_statement_a_lesion(scene):
    with pytest.raises(ValueError, match="for each of 1 lesions"):
        attenuation_loss(*scene, ["hypo", "hypo"])
