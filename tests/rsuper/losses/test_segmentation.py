"""Segmentation loss against torch's own BCE and a plain Dice, and what unknown voxels may not do."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from rsuper.losses import segmentation_loss
from rsuper.losses.segmentation import asymmetric_dice


def random_case(seed=0, shape=(2, 3, 6, 7, 5), dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(shape, generator=generator, dtype=torch.float64).mul(2).to(dtype)
    labels = torch.rand(shape, generator=generator) < 0.3
    known = torch.rand(shape, generator=generator) < 0.7
    return logits, labels, known


def plain_dice(logits, labels, known, smooth):
    """Straight from the definition, class by class."""
    p, y, k = logits.double().sigmoid(), labels.double(), known.double()
    tp, fp, fn = ((k * part).sum((2, 3, 4)) for part in (p * y, p * (1 - y), (1 - p) * y))
    losses = []
    for channel in range(p.shape[1]):
        wrong = fp[:, channel].sum() + fn[:, channel].sum()
        a = (fp[:, channel].sum() / wrong).clamp(0.2, 0.8).detach() if wrong > 0 else 0.5
        for sample in range(p.shape[0]):
            if (k * y)[sample, channel].sum() > 0:
                t, f, m = tp[sample, channel], fp[sample, channel], fn[sample, channel]
                losses.append(1 - (t + smooth) / (t + a * f + (1 - a) * m + smooth))
    return torch.stack(losses).mean() if losses else torch.zeros(())


def test_bce_is_the_mean_over_the_known_voxels():
    logits, labels, known = random_case()
    expected = functional.binary_cross_entropy_with_logits(logits[known], labels[known].float())
    assert segmentation_loss(logits, labels, known).bce.item() == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize("smooth", [0.0, 1.0, 25.0])
def test_dice_is_its_definition_in_value_and_gradient(smooth):
    logits, labels, known = random_case(dtype=torch.float64)
    labels[0, 1] = False
    ours, plain = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    a = segmentation_loss(ours, labels, known, smooth_mm3=smooth).dice
    b = plain_dice(plain, labels, known, smooth)
    assert a.item() == pytest.approx(b.item(), rel=1e-12)
    a.backward()
    b.backward()
    torch.testing.assert_close(ours.grad, plain.grad, rtol=1e-9, atol=1e-14)


def test_gradcheck():
    logits, labels, known = random_case(shape=(1, 2, 3, 3, 3), dtype=torch.float64)
    logits.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: segmentation_loss(x, labels, known).bce, (logits,))
    # With a clamped asymmetry (all false positives), Dice is smooth and its gradient exact.
    labels[:] = False
    labels[0, 0, 0, 0, 0] = labels[0, 1, 0, 0, 0] = True
    high = logits.detach().abs().add(3).requires_grad_()
    known[:] = True
    assert torch.autograd.gradcheck(lambda x: segmentation_loss(x, labels, known).dice, (high,))


def test_unknown_voxels_get_exactly_no_gradient_and_their_labels_do_not_matter():
    logits, labels, known = random_case()
    grads, values = [], []
    for flipped in (labels, torch.where(known, labels, ~labels)):
        x = logits.clone().requires_grad_()
        loss = segmentation_loss(x, flipped, known)
        (loss.bce + loss.dice).backward()
        grads.append(x.grad)
        values.append((loss.bce.item(), loss.dice.item()))
    assert values[0] == values[1]
    assert torch.equal(grads[0], grads[1])
    assert (grads[0][~known] == 0).all()
    assert (grads[0][known] != 0).all()


def test_absent_classes_are_pushed_down():
    logits, labels, known = random_case()
    labels[:, 2], known[:, 2] = False, True
    x = logits.clone().requires_grad_()
    loss = segmentation_loss(x, labels, known)
    (loss.bce + loss.dice).backward()
    assert (x.grad[:, 2] > 0).all()


def test_nothing_known_gives_zero_with_a_graph():
    logits, labels, known = random_case()
    x = logits.requires_grad_()
    loss = segmentation_loss(x, labels, torch.zeros_like(known))
    (loss.bce + loss.dice).backward()
    assert loss.bce == 0
    assert loss.dice == 0
    assert not x.grad.any()


def test_empty_targets_take_no_dice_term():
    logits, labels, known = random_case()
    known[:] = True
    labels[:, 1:] = False
    alone = segmentation_loss(logits[:, :1], labels[:, :1], known[:, :1]).dice
    assert segmentation_loss(logits, labels, known).dice.item() == pytest.approx(alone.item(), rel=1e-6)


def test_smoothing_is_in_mm3():
    """The same object on voxels of 8 mm³ and of 1 mm³ has the same loss."""
    logits, labels, known = random_case(shape=(1, 1, 4, 4, 4))
    coarse = segmentation_loss(logits, labels, known, spacing_mm=(2, 2, 2), smooth_mm3=30.0).dice
    grown = [
        part.repeat_interleave(2, 2).repeat_interleave(2, 3).repeat_interleave(2, 4)
        for part in (logits, labels, known)
    ]
    fine = segmentation_loss(*grown, spacing_mm=(1, 1, 1), smooth_mm3=30.0).dice
    assert coarse.item() == pytest.approx(fine.item(), rel=1e-5)


def test_asymmetry_is_pooled_over_the_batch_and_clamped():
    overlap = torch.tensor([[1.0], [1.0]])
    only_misses = asymmetric_dice(overlap, torch.ones(2, 1), torch.full((2, 1), 5.0), smooth_mm3=0.0)
    assert only_misses.item() == pytest.approx(1 - 1 / (1 + 0.8 * 4))
    nothing_wrong = asymmetric_dice(overlap, overlap, overlap, smooth_mm3=0.0)
    assert nothing_wrong.item() == 0
    # 3 false positives in one sample, 1 miss in the other: a = 0.75 in both.
    mixed = asymmetric_dice(
        overlap, torch.tensor([[4.0], [1.0]]), torch.tensor([[1.0], [2.0]]), smooth_mm3=0.0
    )
    expected = ((1 - 1 / (1 + 0.75 * 3)) + (1 - 1 / (1 + 0.25))) / 2
    assert mixed.item() == pytest.approx(expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_summed_in_single(dtype):
    logits, labels, known = random_case(shape=(1, 2, 40, 40, 40))
    half = logits.to(dtype).requires_grad_()
    loss = segmentation_loss(half, labels, known)
    exact = segmentation_loss(half.detach().double(), labels, known)
    assert loss.bce.dtype == torch.float32
    assert loss.bce.item() == pytest.approx(exact.bce.item(), rel=1e-5)
    assert loss.dice.item() == pytest.approx(exact.dice.item(), rel=1e-5)
    loss.bce.backward()
    assert half.grad.dtype == dtype


def test_float_labels_and_known_none_are_taken():
    logits, labels, _ = random_case()
    everything = torch.ones_like(labels)
    assert segmentation_loss(logits, labels.float()).bce == segmentation_loss(logits, labels, everything).bce


def test_many_voxels_in_chunks_are_one_sum():
    logits, labels, known = random_case(shape=(1, 1, 70, 70, 70))
    expected = functional.binary_cross_entropy_with_logits(logits[known].double(), labels[known].double())
    assert segmentation_loss(logits, labels, known).bce.item() == pytest.approx(expected.item(), rel=1e-6)


def test_shapes_that_differ_are_refused():
    logits, labels, known = random_case()
    with pytest.raises(ValueError, match=r"\[B,C,D,H,W\]"):
        segmentation_loss(logits, labels[:1], known)
    with pytest.raises(ValueError, match=r"\[B,C,D,H,W\]"):
        segmentation_loss(logits[0], labels[0], known[0])


def test_memory_layout_does_not_matter():
    logits, labels, known = random_case(dtype=torch.float64)
    plain = segmentation_loss(logits, labels, known)
    last = logits.to(memory_format=torch.channels_last_3d).requires_grad_()
    loss = segmentation_loss(last, labels.to(memory_format=torch.channels_last_3d), known)
    assert loss.bce.item() == pytest.approx(plain.bce.item(), rel=1e-12)
    assert loss.dice.item() == pytest.approx(plain.dice.item(), rel=1e-12)
    (loss.bce + loss.dice).backward()
    straight = logits.clone().requires_grad_()
    again = segmentation_loss(straight, labels, known)
    (again.bce + again.dice).backward()
    torch.testing.assert_close(last.grad, straight.grad)


@pytest.mark.parametrize("top", [0.0, -5.0, -25.0, 3.0])
@pytest.mark.parametrize("voxels", [4096, 4095])
def test_background_is_summed_to_the_digits_of_single_precision(top, voxels):
    """Tiles of background take one logarithm for eight voxels; p of 1e-11 must not vanish in 1 − p."""
    generator = torch.Generator().manual_seed(0)
    logits = top - 4 * torch.rand(1, 1, 1, 1, voxels, generator=generator)
    logits[..., 5] = top
    x, exact = logits.clone().requires_grad_(), logits.double().requires_grad_()
    nothing = torch.zeros_like(logits) > 0
    loss = segmentation_loss(x, nothing)
    expected = torch.nn.functional.softplus(exact).mean()
    assert loss.bce.item() == pytest.approx(expected.item(), rel=2e-6)
    loss.bce.backward()
    expected.backward()
    torch.testing.assert_close(x.grad.double(), exact.grad, rtol=1e-5, atol=0)
