"""What every loss must survive and may not depend on, over random inputs."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rsuper.losses import (
    BallRules,
    LesionTarget,
    ReportSupervisionConfig,
    ReportSupervisionLoss,
    ball_loss,
    presence_loss,
    segmentation_loss,
    volume_loss,
)
from rsuper.supervision.types import PairTarget, SupervisionBatch

RELAXED = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
SHAPE = (9, 12, 10)
CONFIG = ReportSupervisionConfig(presence=1.0, report_weight=1.0, median_weight=0.05)

lesions = st.builds(
    lambda diameters, low, spread, remainder, slab, weight: LesionTarget(
        diameters_mm=tuple(diameters),
        volume_mm3=(low, math.inf if math.isinf(spread) else low * spread),
        remainder=remainder,
        slab=slab,
        weight=weight,
        attenuation="hypo",
    ),
    diameters=st.lists(st.floats(0.5, 80), max_size=3),
    low=st.sampled_from([0.0, 14.1, 65.4, 900.0, 1e5]) | st.floats(1.0, 1e4),
    spread=st.sampled_from([1.0, 2.0, 40.0, math.inf]),
    remainder=st.booleans(),
    slab=st.none() | st.tuples(st.integers(0, 2), st.integers(-3, 12), st.integers(0, 14)),
    weight=st.sampled_from([0.0, 0.3, 1.0]),
)


def smooth_noise(seed: int, shape=SHAPE, scale=3.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(1, 1, 4, 4, 4, generator=generator)
    fine = torch.randn(shape, generator=generator)
    return scale * torch.nn.functional.interpolate(coarse, size=shape, mode="trilinear")[0, 0] + 0.1 * fine


def region_of(kind: str) -> torch.Tensor:
    region = torch.zeros(SHAPE, dtype=torch.bool)
    if kind == "corner":
        region[:4, :5, -3:] = True
    elif kind == "voxel":
        region[4, 4, 4] = True
    elif kind == "line":
        region[3, :, 5] = True
    elif kind == "all":
        region[:] = True
    elif kind == "middle":
        region[2:8, 3:10, 1:9] = True
    return region


def build(values: torch.Tensor, kind: str, stated, known: str, spacing=(1.0, 1.0, 1.0)):
    region = region_of(kind)
    logits = torch.stack((values, values.flip(0)))[None].clone()
    labels = torch.zeros(logits.shape, dtype=torch.bool)
    labels[0, 1, 2:5, 2:5, 2:5] = True
    knowledge = torch.full(logits.shape, known == "all")
    knowledge[0, 0] &= ~region
    low = sum(lesion.volume_mm3[0] for lesion in stated)
    high = sum(lesion.volume_mm3[1] for lesion in stated)
    pair = PairTarget(
        sample=0,
        channel=0,
        region=region,
        lesions=tuple(stated),
        volume_mm3=(low, high),
        median_mm3=300.0,
        sigma_log=0.4,
    )
    image = 50 * values[None, None] + 100
    batch = SupervisionBatch(
        labels=labels,
        known=knowledge,
        spacing_mm=torch.tensor([spacing]),
        pairs=(pair,),
        image_hu=image,
        organ=region.expand(logits.shape),
    )
    return logits, batch


@given(
    seed=st.integers(0, 10_000),
    kind=st.sampled_from(["corner", "voxel", "line", "all", "middle", "empty"]),
    stated=st.lists(lesions, max_size=15),
    known=st.sampled_from(["all", "nothing"]),
    scale=st.sampled_from([0.0, 1.0, 10.0, 100.0]),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16, torch.float16]),
    spacing=st.sampled_from([(1.0, 1.0, 1.0), (0.7, 0.8, 5.0), (3.0, 3.0, 3.0)]),
)
@settings(RELAXED, max_examples=40)
def test_loss_and_gradient_are_finite_for_any_finite_input(seed, kind, stated, known, scale, dtype, spacing):
    values = (smooth_noise(seed) * scale).clamp(-100, 100)
    logits, batch = build(values, kind, stated, known, spacing)
    x = logits.to(dtype).requires_grad_()
    result = ReportSupervisionLoss(CONFIG)(x, batch)
    result.total.backward()
    assert torch.isfinite(result.total)
    assert all(torch.isfinite(value) for value in (*result.terms.values(), *result.diagnostics.values()))
    assert torch.isfinite(x.grad).all()
    assert x.grad.dtype == dtype
    moved = batch.known[0, 0] | batch.pairs[0].region
    assert (x.grad[0, 0][~moved] == 0).all(), "unknown voxels outside the region get exactly no gradient"


@pytest.mark.parametrize("value", [-100.0, 0.0, 100.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_constant_logits_are_finite(value, dtype):
    stated = [LesionTarget(diameters_mm=(4.0,), volume_mm3=(20.0, 60.0))]
    logits, batch = build(torch.full(SHAPE, value), "middle", stated, "all")
    x = logits.to(dtype).requires_grad_()
    result = ReportSupervisionLoss(CONFIG)(x, batch)
    result.total.backward()
    assert torch.isfinite(result.total)
    assert torch.isfinite(x.grad).all()


def report_losses(logits, region, stated, spacing=(1.0, 1.0, 1.0)) -> list[float]:
    """All losses of one pair, in float64."""
    pair, where = logits.double()[None], region[None]
    ball = ball_loss(pair, where, [stated], spacing_mm=spacing)
    interval = torch.tensor([[60.0, 90.0]])
    return [
        ball.bce.item(),
        ball.dice.item(),
        volume_loss(pair, where, interval, spacing_mm=spacing).item(),
        presence_loss(pair, where, spacing_mm=spacing, top_mm3=30.0).item(),
        segmentation_loss(pair[None], region[None, None], ~where[None], spacing_mm=spacing).bce.item(),
    ]


THREE = [
    LesionTarget(diameters_mm=(5.0, 4.0, 4.0), volume_mm3=(30.0, 60.0)),
    LesionTarget(diameters_mm=(3.0,), volume_mm3=(14.1, 30.0)),
    LesionTarget(volume_mm3=(14.1, math.inf)),
]


@given(seed=st.integers(0, 10_000), axis=st.sampled_from([0, 1, 2]))
@RELAXED
def test_flips_do_not_change_the_losses(seed, axis):
    values, region = smooth_noise(seed), region_of("middle")
    flipped = report_losses(values.flip(axis), region.flip(axis), THREE)
    assert flipped == pytest.approx(report_losses(values, region, THREE), rel=1e-6, abs=1e-9)


@given(seed=st.integers(0, 10_000), order=st.permutations([0, 1, 2]))
@RELAXED
def test_axis_order_does_not_change_the_losses(seed, order):
    values, region, spacing = smooth_noise(seed), region_of("middle"), (1.0, 1.3, 0.8)
    turned = report_losses(
        values.permute(order), region.permute(order), THREE, tuple(spacing[axis] for axis in order)
    )
    assert turned == pytest.approx(report_losses(values, region, THREE, spacing), rel=1e-6, abs=1e-9)


@given(seed=st.integers(0, 10_000), order=st.permutations([0, 1, 2, 3]))
@RELAXED
def test_the_order_of_lesions_does_not_change_the_losses(seed, order):
    stated = [*THREE, LesionTarget(diameters_mm=(3.0,), volume_mm3=(14.1, 30.0), region=region_of("corner"))]
    values, region = smooth_noise(seed), region_of("all")
    shuffled = report_losses(values, region, [stated[index] for index in order])
    assert shuffled == pytest.approx(report_losses(values, region, stated), rel=1e-9)


@given(seed=st.integers(0, 10_000), order=st.permutations([0, 1, 2]))
@RELAXED
def test_the_order_of_the_batch_does_not_change_the_loss(seed, order):
    shape = (3, 2, *SHAPE)
    values = torch.stack([torch.stack([smooth_noise(seed + 2 * b + c) for c in range(2)]) for b in range(3)])
    known = torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < 0.5
    labels = values > 2
    pairs = [
        PairTarget(
            sample=b, channel=1, region=region_of("middle"), lesions=(THREE[b % 2],), volume_mm3=(20.0, 70.0)
        )
        for b in range(3)
    ]

    def total(where):
        back = {old: new for new, old in enumerate(where)}
        moved = tuple(
            PairTarget(
                sample=back[pair.sample],
                channel=1,
                region=pair.region,
                lesions=pair.lesions,
                volume_mm3=pair.volume_mm3,
            )
            for pair in pairs
        )
        batch = SupervisionBatch(
            labels=labels[list(where)], known=known[list(where)], spacing_mm=torch.ones(3, 3), pairs=moved
        )
        return ReportSupervisionLoss(CONFIG)(values[list(where)], batch).total.item()

    assert total(order) == pytest.approx(total([0, 1, 2]), rel=1e-5)


@given(seed=st.integers(0, 10_000), shift=st.tuples(*[st.integers(0, 4)] * 3))
@RELAXED
def test_padding_the_patch_does_not_change_the_report_losses(seed, shift):
    values, region = smooth_noise(seed), region_of("all")
    pads = [n for size in reversed(shift) for n in (size, 4 - size)]
    big = torch.nn.functional.pad(values, pads, value=7.0)
    around = torch.nn.functional.pad(region, pads)
    assert report_losses(big, around, THREE)[:4] == pytest.approx(
        report_losses(values, region, THREE)[:4], rel=1e-9
    )


@given(low=st.floats(1, 5000), spread=st.floats(1, 5), factor=st.floats(1.01, 3))
@RELAXED
def test_more_reported_volume_never_gives_less_foreground(low, spread, factor):
    from rsuper.losses import ball_targets

    values, region = smooth_noise(7), region_of("all")
    rules = BallRules(ball_scale=3.0)
    counts = [
        int(
            ball_targets(
                torch.sigmoid(values),
                region,
                [LesionTarget(diameters_mm=(8.0,), volume_mm3=(volume, volume * spread))],
                spacing_mm=(1, 1, 1),
                rules=rules,
            ).foreground.sum()
        )
        for volume in (low, low * factor)
    ]
    assert counts[0] <= counts[1]
