"""Log-odds of softmax heads: against the softmax itself in float64, and its gradient."""

from __future__ import annotations

import pytest
import torch

from rsuper.losses import ball_loss, segmentation_loss, softmax_log_odds
from rsuper.supervision.types import LesionTarget


def scores(scale: float, dtype=torch.float64, classes=5) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return (scale * torch.randn(2, classes, 3, 4, 2, generator=generator, dtype=torch.float64)).to(dtype)


def by_definition(z, union) -> torch.Tensor:
    """log p_S − log(1 − p_S), both as sums over classes, in float64."""
    z = z.double()
    rest = [index for index in range(z.shape[1]) if index not in union]
    return z[:, list(union)].logsumexp(1) - z[:, rest].logsumexp(1)


@pytest.mark.parametrize("scale", [0.1, 3.0, 100.0])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_every_class_is_its_definition(scale, dtype):
    z = scores(scale, dtype)
    expected = torch.stack([by_definition(z, (index,)) for index in range(1, 5)], dim=1)
    torch.testing.assert_close(
        softmax_log_odds(z).double(), expected, rtol=1e-12 if dtype == torch.float64 else 2e-6, atol=2e-6
    )
    torch.testing.assert_close(torch.sigmoid(softmax_log_odds(z)), torch.softmax(z, 1)[:, 1:])


def test_unions_are_theirs():
    z = scores(4.0)
    odds = softmax_log_odds(z, [2, (1, 3), (4, 1, 0)])
    for channel, union in enumerate([(2,), (1, 3), (4, 1, 0)]):
        torch.testing.assert_close(odds[:, channel], by_definition(z, union))


@pytest.mark.parametrize("scale", [0.5, 4.0])
def test_gradcheck(scale):
    z = scores(scale)[:1, :, :1, :2].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: softmax_log_odds(x, [0, 1, (2, 3), 4]), (z,))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_saturated_heads_keep_a_finite_gradient(dtype):
    """dℓ_c/dz_j = δ_cj − (1 − δ_cj)·p_j/(1 − p_c), also where p_c rounds to 1; ties of the highest included."""
    z = torch.tensor([[100.0, -100.0, 0.0], [-100.0, 100.0, 100.0], [50.0, 50.0, 50.0]], dtype=dtype)
    z = z.T.reshape(1, 3, 3, 1, 1).clone().requires_grad_()
    odds = softmax_log_odds(z, [0, 1, 2])
    odds.sum().backward()
    assert odds.dtype == torch.float32
    assert torch.isfinite(odds).all()
    assert torch.isfinite(z.grad).all()
    assert torch.equal(odds[0, 0, 0].detach().flatten(), torch.tensor([100.0]))


def test_two_classes_are_a_sigmoid_head():
    z = scores(3.0, classes=2)
    torch.testing.assert_close(softmax_log_odds(z)[:, 0], z[:, 1] - z[:, 0])


def test_a_softmax_head_takes_the_losses_of_a_sigmoid_head(make_phantom):
    """A softmax head whose p is that of a sigmoid head has its losses, and the gradient goes back to every class."""
    phantom = make_phantom((12.0, 12.0, 12.0), field_mm=24.0, region_mm=11.0, height=4.0)
    generator = torch.Generator().manual_seed(1)
    sigmoid = phantom.logits + 0.1 * torch.randn(
        phantom.logits.shape, dtype=torch.float64, generator=generator
    )
    rest = torch.randn(3, *sigmoid.shape, dtype=torch.float64, generator=generator)
    z = torch.cat((rest, (sigmoid + rest.logsumexp(0))[None]))[None].requires_grad_()
    odds = softmax_log_odds(z, [3])
    torch.testing.assert_close(odds[0, 0], sigmoid)
    lesion = LesionTarget(diameters_mm=(12.0,), volume_mm3=(600.0, 1200.0))
    ours = ball_loss(odds[:, 0], phantom.region[None], [[lesion]], spacing_mm=(1, 1, 1))
    plain = ball_loss(sigmoid[None], phantom.region[None], [[lesion]], spacing_mm=(1, 1, 1))
    assert ours.bce.item() == pytest.approx(plain.bce.item(), rel=1e-9)
    seg = segmentation_loss(odds, phantom.tumour[None, None], spacing_mm=(1, 1, 1))
    (ours.bce + seg.bce).backward()
    assert (z.grad != 0).any(dim=(0, 2, 3, 4)).all()
    assert z.grad.sum(dim=1).abs().max() < 1e-12, "a shift of all classes changes nothing"


def test_classes_that_do_not_exist_are_refused():
    z = scores(1.0)
    for wrong in ([5], [-1], [()], [(0, 1, 2, 3, 4)]):
        with pytest.raises(ValueError, match="classes are 0 to 4"):
            softmax_log_odds(z, wrong)
