"""Under torch.compile and under autocast, the losses are what they are without."""

from __future__ import annotations

import pytest
import torch

from rsuper.losses import (
    LesionTarget,
    ReportSupervisionConfig,
    ReportSupervisionLoss,
    ball_loss,
    presence_loss,
    segmentation_loss,
    volume_loss,
)
from rsuper.supervision.types import PairTarget, SupervisionBatch


@pytest.fixture
def scene(make_phantom):
    phantom = make_phantom((10.0, 10.0, 10.0), field_mm=20.0, region_mm=9.0, height=3.0)
    lesion = LesionTarget(diameters_mm=(10.0,), volume_mm3=(300.0, 800.0))
    shape = (1, 2, *phantom.logits.shape)
    known = torch.ones(shape, dtype=torch.bool)
    known[0, 1] = ~phantom.region
    pair = PairTarget(
        sample=0, channel=1, region=phantom.region, lesions=(lesion,), volume_mm3=(300.0, 800.0)
    )
    batch = SupervisionBatch(
        labels=torch.zeros(shape, dtype=torch.bool), known=known, spacing_mm=torch.ones(1, 3), pairs=(pair,)
    )
    return phantom, batch


CONFIG = ReportSupervisionConfig(presence=1.0, report_weight=1.0)


class Head(torch.nn.Module):
    """A convolution and the loss of its output."""

    def __init__(self, batch):
        super().__init__()
        torch.manual_seed(0)
        self.conv = torch.nn.Conv3d(1, 2, 3, padding=1)
        self.loss, self.batch = ReportSupervisionLoss(CONFIG), batch

    def forward(self, image):
        return self.loss(self.conv(image), self.batch).total


# The compiler's own warnings are not this package's.
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_compiled_step_has_the_same_loss_and_gradient(scene):
    phantom, batch = scene
    image = phantom.logits[None, None]
    grads, values = [], []
    for wrap in (lambda module: module, lambda module: torch.compile(module, backend="aot_eager")):
        head = Head(batch)
        loss = wrap(head)(image)
        loss.backward()
        values.append(loss.item())
        grads.append(head.conv.weight.grad)
    assert values[1] == pytest.approx(values[0], rel=1e-6)
    torch.testing.assert_close(grads[1], grads[0])


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")
def test_pure_losses_compile(scene):
    phantom, batch = scene
    region, lesions = phantom.region[None], [batch.pairs[0].lesions]

    def total(x):
        ball = ball_loss(x, region, lesions, spacing_mm=(1, 1, 1))
        volume = volume_loss(x, region, torch.tensor([[300.0, 320.0]]), spacing_mm=(1, 1, 1))
        return ball.bce + ball.dice + volume + presence_loss(x * 1.0, region, spacing_mm=(1, 1, 1))

    x = (phantom.logits[None] - 1).requires_grad_()
    plain, compiled = total(x), torch.compile(total, backend="aot_eager")(x)
    assert compiled.item() == pytest.approx(plain.item(), rel=1e-6)
    expected, gradient = torch.autograd.grad(plain, x), torch.autograd.grad(compiled, x)
    torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_does_not_reach_the_sums(scene, dtype):
    """The head computes in half precision; its loss is that of the same logits in float32, to float32's digits."""
    phantom, batch = scene
    head = Head(batch)
    with torch.autocast("cpu", dtype):
        logits = head.conv(phantom.logits[None, None])
        assert logits.dtype == dtype
        inside = head.loss(logits, batch)
    outside = head.loss(logits.float(), batch)
    assert inside.total.dtype == torch.float32
    assert all(value.dtype == torch.float32 for value in inside.terms.values())
    assert inside.total.item() == pytest.approx(outside.total.item(), rel=1e-6)
    inside.total.backward()
    assert torch.isfinite(head.conv.weight.grad).all()
    assert head.conv.weight.grad.any()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_logits_have_the_gradient_of_single_ones(scene, dtype):
    phantom, batch = scene
    half = torch.stack((phantom.logits - 2, phantom.logits))[None].to(dtype).requires_grad_()
    single = half.detach().float().requires_grad_()
    for x in (half, single):
        (ReportSupervisionLoss(CONFIG)(x, batch).total * 1000).backward()
    assert half.grad.dtype == dtype
    torch.testing.assert_close(half.grad.float(), single.grad, rtol=2e-2, atol=1e-4)
    loss = segmentation_loss(half.detach(), batch.labels, batch.known)
    assert loss.bce.dtype == torch.float32
