"""Ball targets and loss on analytic phantoms."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rsuper.losses import (
    BallBalance,
    BallRules,
    LesionTarget,
    ball_loss,
    ball_targets,
    presence_loss,
    rank_weights,
)
from rsuper.losses.ball_rules import filled_ball_mm, voxel_counts
from rsuper.morphology import dilate_mm
from rsuper.supervision import volume_interval_mm3, volume_prior

ONE = (1.0, 1.0, 1.0)


def lesion(*diameters: float, low: float | None = None, high: float | None = None, **fields) -> LesionTarget:
    """A lesion whose volume is that of the ellipsoid of its diameters, unless stated."""
    if diameters:
        a, b, c = diameters if len(diameters) == 3 else (diameters[0],) * 3
        volume = math.pi / 6 * a * b * c
        low, high = volume if low is None else low, volume if high is None else high
    bounds = {} if low is None else {"volume_mm3": (low, high)}
    return LesionTarget(diameters_mm=diameters, **bounds, **fields)


def targets_of(phantom, lesions, **options):
    return ball_targets(
        torch.sigmoid(phantom.logits), phantom.region, lesions, spacing_mm=phantom.spacing_mm, **options
    )


@pytest.mark.parametrize("spacing", [ONE, (0.7, 0.7, 2.5), (2.0, 2.0, 2.0)])
def test_perfect_logits_on_an_elongated_tumour_give_tumour(make_phantom, spacing):
    phantom = make_phantom(spacing_mm=spacing)
    for stated in (lesion(30, low=phantom.volume_mm3, high=phantom.volume_mm3), lesion(30, 12, 12)):
        found = targets_of(phantom, [stated])
        hits = (found.foreground & phantom.tumour).sum()
        assert hits / found.foreground.sum() >= 0.95
        assert hits / phantom.tumour.sum() == pytest.approx(0.8, abs=0.05)
        assert not (phantom.tumour & ~found.foreground & ~found.ignore).any(), "tumour taken for background"
        middle = torch.tensor(spacing) * found.centers[0]
        assert torch.linalg.norm(middle - 30.0) <= 1.5 * max(spacing)


def test_one_diameter_of_an_elongated_tumour_keeps_its_core_small(make_phantom):
    """The sphere of the longest diameter has 6 times the volume; the lower end of the interval is what counts."""
    phantom = make_phantom()
    found = targets_of(phantom, [lesion(30, low=0.16 * math.pi / 6 * 30**3, high=1.9 * math.pi / 6 * 30**3)])
    assert (found.foreground & phantom.tumour).sum() / found.foreground.sum() >= 0.95
    background = phantom.region & ~found.foreground & ~found.ignore
    assert not (background & phantom.tumour).any()
    assert background.any(), "a size signal is left"


def test_foreground_is_the_reported_volume_not_that_of_the_ball(make_phantom):
    phantom = make_phantom()
    found = targets_of(phantom, [lesion(30, 12, 12)])
    assert int(found.foreground.sum()) == round(0.8 * math.pi / 6 * 30 * 12 * 12)


@pytest.mark.parametrize(("low", "expected"), [(14.1, 14), (80.0, 80), (120.0, 100), (1000.0, 800), (0.0, 0)])
def test_small_lesions_keep_a_core(make_phantom, low, expected):
    """0.8·lo, but at least min(100 mm³, lo), and nothing where the lower bound is 0."""
    phantom = make_phantom((16.0, 16.0, 16.0))
    found = targets_of(phantom, [lesion(16, low=low, high=2144.0)])
    assert int(found.foreground.sum()) == expected
    assert bool(found.located[0])


def test_foreground_lies_in_the_ball_and_ignore_within_its_margin(make_phantom):
    phantom = make_phantom((14.0, 14.0, 14.0), center_mm=(40.0, 30.0, 25.0))
    found = targets_of(phantom, [lesion(14, low=900.0, high=5000.0)])
    axes = torch.meshgrid(*[torch.arange(61.0)] * 3, indexing="ij")
    distance = (torch.stack(axes, -1) - found.centers[0]).norm(dim=-1)
    assert distance[found.foreground].max() <= 1.2 * 14 / 2
    assert distance[found.ignore].max() <= 1.2 * 14 / 2 + 3.5
    assert not (found.foreground & found.ignore).any()
    assert not ((found.foreground | found.ignore) & ~phantom.region).any()


def test_each_lesion_searches_its_own_region_and_slab(make_phantom):
    phantom = make_phantom((12.0, 12.0, 12.0), center_mm=(30.0, 30.0, 20.0))
    far = make_phantom((12.0, 12.0, 12.0), center_mm=(30.0, 30.0, 44.0))
    both = torch.maximum(phantom.logits, far.logits - 1)
    right = phantom.region.clone()
    right[:, :, :32] = False
    for stated in (lesion(12, region=right), lesion(12, slab=(2, 32, 61))):
        found = ball_targets(torch.sigmoid(both), phantom.region, [stated], spacing_mm=ONE)
        assert found.centers[0].tolist() == [30, 30, 44]
    assert ball_targets(torch.sigmoid(both), phantom.region, [lesion(12)], spacing_mm=ONE).centers[0, 2] == 20


def test_centres_stay_where_they_may_be(make_phantom):
    phantom = make_phantom((12.0, 12.0, 12.0), center_mm=(30.0, 30.0, 20.0))
    allowed = torch.zeros_like(phantom.region)
    allowed[:, :, 25:] = True
    found = targets_of(phantom, [lesion(12, centers=allowed)])
    assert found.centers[0].tolist() == [30, 30, 25]


def test_two_lesions_take_two_places(make_phantom):
    phantom = make_phantom((16.0, 16.0, 16.0), center_mm=(30.0, 30.0, 20.0))
    other = make_phantom((10.0, 10.0, 10.0), center_mm=(30.0, 30.0, 42.0))
    both = torch.sigmoid(torch.maximum(phantom.logits, other.logits))
    stated = [lesion(10), lesion(16)]
    found = ball_targets(both, phantom.region, stated, spacing_mm=ONE)
    assert found.centers.tolist() == [[30, 30, 42], [30, 30, 20]]
    swapped = ball_targets(both, phantom.region, stated[::-1], spacing_mm=ONE)
    assert torch.equal(found.foreground, swapped.foreground)
    assert torch.equal(found.ignore, swapped.ignore)


def test_a_lesion_without_size_lights_a_core_and_leaves_the_rest_unknown(make_phantom):
    phantom = make_phantom((12.0, 12.0, 12.0))
    room = float(phantom.region.sum())
    for stated in (LesionTarget(), LesionTarget(volume_mm3=(65.4, room))):
        found = targets_of(phantom, [stated])
        assert int(found.foreground.sum()) == 65
        assert (found.foreground & phantom.tumour).sum() == 65
        assert torch.equal(found.ignore, phantom.region & ~found.foreground)


def test_a_remainder_leaves_its_region_unknown_and_is_never_searched(make_phantom):
    phantom = make_phantom((12.0, 12.0, 12.0))
    half = phantom.region.clone()
    half[:, :, :30] = False
    rest = LesionTarget(volume_mm3=(14.1, 900.0), remainder=True, region=half)
    found = targets_of(phantom, [rest, lesion(12)])
    assert found.located.tolist() == [False, True]
    assert found.centers[0].tolist() == [-1, -1, -1]
    assert (found.ignore | found.foreground)[half].all()
    background = phantom.region & ~found.foreground & ~found.ignore
    assert background[:, :, :20].any()


@pytest.mark.parametrize("value", [-100.0, 0.0, 3.0])
def test_a_flat_map_is_skipped_not_guessed(make_phantom, value):
    phantom = make_phantom()
    logits = torch.full_like(phantom.logits, value).requires_grad_()
    found = ball_targets(torch.sigmoid(logits), phantom.region, [lesion(12)], spacing_mm=ONE)
    assert not found.located.any()
    assert not found.foreground.any()
    loss = ball_loss(logits[None], phantom.region[None], [[lesion(12)]], spacing_mm=ONE)
    (loss.bce + loss.dice).backward()
    assert loss.skipped == 1
    assert loss.bce == 0
    assert not logits.grad.any()


def test_logits_rank_where_probabilities_saturate(make_phantom):
    """σ(20) and σ(60) are the same float32 number; the foreground must still be the middle of the tumour."""
    phantom = make_phantom((20.0, 20.0, 20.0), height=60.0)
    stated = [lesion(20, low=400.0, high=8000.0)]
    found = ball_targets(
        torch.sigmoid(phantom.logits), phantom.region, stated, spacing_mm=ONE, logits=phantom.logits
    )
    assert phantom.logits[found.foreground].min() >= phantom.logits[~found.foreground].max()


def test_a_region_smaller_than_the_tumour_is_filled_at_most(make_phantom):
    phantom = make_phantom((12.0, 12.0, 12.0), region_mm=3.0)
    found = targets_of(phantom, [lesion(30)])
    assert torch.equal(found.foreground, phantom.region)


def test_loss_is_the_balanced_cross_entropy_of_its_masks(make_phantom):
    phantom = make_phantom((12.0, 12.0, 12.0), height=2.0)
    loss = ball_loss(
        phantom.logits[None],
        phantom.region[None],
        [[lesion(12)]],
        spacing_mm=ONE,
        balance=BallBalance(background_weight=0.5),
    )
    found = targets_of(phantom, [lesion(12)])
    inside = phantom.logits[found.foreground].double().sort(descending=True).values
    ranks = torch.pow(torch.tensor(0.5, dtype=torch.float64), torch.arange(len(inside)) / len(inside))
    foreground = (ranks / ranks.mean() * -torch.nn.functional.logsigmoid(inside)).mean()
    outside = phantom.logits[phantom.region & ~found.foreground & ~found.ignore].double()
    background = -torch.nn.functional.logsigmoid(-outside).mean()
    assert loss.bce.item() == pytest.approx((foreground + 0.5 * background).item(), rel=1e-5)


def test_a_small_lesion_counts_as_much_as_a_large_one(make_phantom):
    """The gradient that a 6 mm lesion gets does not shrink because a 24 mm one lies beside it."""
    large = make_phantom((24.0, 24.0, 24.0), center_mm=(30.0, 30.0, 22.0), height=3.0)
    small = make_phantom((6.0, 6.0, 6.0), center_mm=(30.0, 30.0, 44.0), height=3.0)
    logits = torch.maximum(large.logits, small.logits).requires_grad_()
    loss = ball_loss(logits[None], large.region[None], [[lesion(24), lesion(6)]], spacing_mm=ONE)
    (gradient,) = torch.autograd.grad(loss.bce, logits)
    found = ball_targets(torch.sigmoid(logits), large.region, [lesion(24), lesion(6)], spacing_mm=ONE)
    near = found.foreground & small.tumour
    assert gradient[near].sum() / gradient[found.foreground].sum() > 0.3


def test_uncertain_lesions_weigh_less(make_phantom):
    phantom = make_phantom((12.0, 12.0, 12.0), height=1.0)
    losses = [
        ball_loss(
            phantom.logits[None],
            phantom.region[None],
            [[lesion(12, weight=weight)]],
            spacing_mm=ONE,
            balance=BallBalance(background_weight=0.0),
        ).bce
        for weight in (1.0, 0.25)
    ]
    assert losses[1] == pytest.approx(0.25 * losses[0].item(), rel=1e-6)


def test_pairs_are_averaged_by_their_certainty(make_phantom):
    first, second = make_phantom((12.0, 12.0, 12.0), height=1.0), make_phantom((20.0, 20.0, 20.0), height=2.0)
    logits, region = torch.stack((first.logits, second.logits)), torch.stack((first.region, second.region))
    stated = [[lesion(12)], [lesion(20)]]
    alone = [
        ball_loss(logits[i : i + 1], region[i : i + 1], stated[i : i + 1], spacing_mm=ONE) for i in range(2)
    ]
    both = ball_loss(logits, region, stated, spacing_mm=ONE, weight=torch.tensor([0.75, 0.25]))
    assert both.bce.item() == pytest.approx(0.75 * alone[0].bce.item() + 0.25 * alone[1].bce.item(), rel=1e-5)
    assert both.dice.item() == pytest.approx(
        0.75 * alone[0].dice.item() + 0.25 * alone[1].dice.item(), rel=1e-5
    )


def test_a_tumour_outside_the_organ_mask_is_not_trained_away(make_phantom):
    """Ring: 5 to 10 mm outside the organ, logits already highest there, the report puts a tumour in that organ."""
    phantom = make_phantom((8.0, 8.0, 8.0), center_mm=(30.0, 30.0, 48.0), height=4.0)
    organ = torch.zeros_like(phantom.region)
    organ[18:43, 18:43, 18:41] = True  # its edge at 40 mm: the tumour's middle is 8 mm outside
    region = dilate_mm(organ, 15.0, spacing_mm=ONE)
    near = dilate_mm(organ, 5.0, spacing_mm=ONE)
    for centers in (None, near):
        logits = phantom.logits.clone().requires_grad_()
        stated = [[lesion(8, low=0.44 * 268.0, high=1.88 * 268.0, centers=centers)]]
        loss = ball_loss(logits[None], region[None], stated, spacing_mm=ONE)
        (loss.bce + loss.dice).backward()
        assert logits.grad[phantom.tumour].sum() < 0, "the tumour is pushed up"
        assert logits.grad[region & (phantom.logits < -3.9)].sum() > 0


def test_loss_does_not_depend_on_the_spacing(make_phantom):
    def losses(spacing):
        phantom = make_phantom((24.0, 20.0, 20.0), spacing_mm=spacing, height=3.0)
        loss = ball_loss(
            phantom.logits[None], phantom.region[None], [[lesion(24, 20, 20)]], spacing_mm=spacing
        )
        return loss.bce.item(), loss.dice.item()

    fine, thick, coarse = losses(ONE), losses((0.7, 0.7, 2.5)), losses((3.0, 3.0, 3.0))
    assert thick[0] == pytest.approx(fine[0], rel=0.03)
    assert thick[1] == pytest.approx(fine[1], rel=0.03)
    assert coarse[0] == pytest.approx(fine[0], rel=0.05)
    assert coarse[1] == pytest.approx(fine[1], rel=0.15)


def test_gradcheck(make_phantom):
    phantom = make_phantom((6.0, 6.0, 6.0), field_mm=12.0, region_mm=6.0, height=1.0)
    noise = torch.randn(phantom.logits.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    logits = (phantom.logits.double() + 0.1 * noise)[None].requires_grad_()

    def bce(values):
        # The Dice holds its asymmetry constant, which a finite difference does not: see its own test.
        stated = [[lesion(6, low=60.0, high=200.0)]]
        return ball_loss(values, phantom.region[None], stated, spacing_mm=ONE).bce

    assert bce(logits).dtype == torch.float64
    assert torch.autograd.gradcheck(bce, (logits,), eps=1e-6, atol=1e-8, fast_mode=True)


def test_rank_weights_have_mean_one_and_fall():
    weights = rank_weights(100, 0.5)
    assert weights.mean().item() == pytest.approx(1.0)
    assert (weights[99] / weights[0]).item() == pytest.approx(0.5**0.99)
    assert torch.equal(rank_weights(3, 0.0), torch.ones(3, dtype=torch.float64))
    assert rank_weights(0, 0.5).shape == (0,)


def test_no_pairs_give_zero_with_a_graph():
    logits = torch.zeros(0, 4, 4, 4, requires_grad=True)
    loss = ball_loss(logits, torch.zeros(0, 4, 4, 4, dtype=torch.bool), [], spacing_mm=ONE)
    (loss.bce + loss.dice).backward()
    assert loss.bce == 0
    assert logits.grad.shape == logits.shape


def test_shapes_that_do_not_fit_are_refused(make_phantom):
    phantom = make_phantom((6.0, 6.0, 6.0), field_mm=12.0)
    with pytest.raises(ValueError, match="lists of lesions"):
        ball_loss(phantom.logits[None], phantom.region[None], [], spacing_mm=ONE)
    with pytest.raises(ValueError, match=r"\[P,D,H,W\]"):
        ball_loss(phantom.logits[None], phantom.region, [[]], spacing_mm=ONE)
    with pytest.raises(ValueError, match="bool"):
        ball_loss(phantom.logits[None], phantom.region[None].float(), [[]], spacing_mm=ONE)
    with pytest.raises(ValueError, match=r"\[D,H,W\]"):
        ball_targets(phantom.logits[1:], phantom.region, [], spacing_mm=ONE)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param(lambda x: x[1:], r"logits is \[D,H,W\] .* as region, got", id="smaller grid"),
        pytest.param(
            lambda x: torch.nn.functional.pad(x, (0, 2, 0, 2, 0, 2)), "as region, got", id="larger grid"
        ),
        pytest.param(lambda x: x[None], "as region, got", id="with a pair axis"),
        pytest.param(lambda x: x.long(), r"logits.float\(\)", id="integers"),
    ],
)
def test_logits_that_rank_lie_on_the_grid_of_the_region(make_phantom, change, said):
    phantom = make_phantom((6.0, 6.0, 6.0), field_mm=12.0)
    probability = torch.sigmoid(phantom.logits)
    targets = ball_targets(probability, phantom.region, [lesion(6)], spacing_mm=ONE, logits=phantom.logits)
    assert targets.located.all()
    with pytest.raises(ValueError, match=said):
        ball_targets(probability, phantom.region, [lesion(6)], spacing_mm=ONE, logits=change(phantom.logits))


@pytest.mark.parametrize("shares", [0, -1, 2.1, math.nan, math.inf, (1.4, 1.0, 0.0), (0.8, 0.8, 2.5)])
def test_shares_of_lo_are_checked(shares):
    with pytest.raises(ValueError, match=r"foreground_fraction|finite"):
        BallRules(foreground_fraction=shares)
    with pytest.raises(ValueError, match="tuple"):
        BallRules(foreground_fraction=(0.8, 0.8))


@pytest.mark.parametrize("name", ["gap_mm", "ball_scale", "sigma_radii", "core_mm3", "unknown_diameter_mm"])
def test_lengths_and_volumes_of_the_rules_are_finite(name):
    with pytest.raises(ValueError, match=name):
        BallRules(**{name: math.inf})


def counted(stated, rules, voxel_mm3=1.0):
    return voxel_counts(stated, filled_ball_mm(stated, rules), voxel_mm3, rules)[0]


@pytest.mark.parametrize("share", [1.0, 1.4, 2.0])
@pytest.mark.parametrize("diameters_mm", [(20.0,), (24.0, 16.0), (24.0, 18.0, 15.0)])
def test_a_core_beyond_lo_ends_at_the_most_likely_volume(diameters_mm, share):
    low, high = volume_interval_mm3(diameters_mm)
    median, _ = volume_prior(diameters_mm)
    stated = LesionTarget(diameters_mm=diameters_mm, volume_mm3=(low, high), median_mm3=median)
    core = counted(stated, BallRules(foreground_fraction=share))
    assert core == pytest.approx(min(share * low, median), abs=1)
    assert core <= median + 1 < high
    assert counted(stated, BallRules(foreground_fraction=(share, share, share))) == core


@given(
    low=st.floats(14, 5000),
    ratio=st.floats(1, 5),
    voxel_mm3=st.floats(0.3, 60),
    share=st.floats(0.05, 2),
    number=st.integers(0, 3),
)
def test_no_core_is_larger_than_the_lesion_may_be(low, ratio, voxel_mm3, share, number):
    """Up to whole voxels: what lo alone makes is rounded, what lies beyond it is not."""
    diameters_mm = (9.0, 8.0, 7.0)[:number]
    stated = LesionTarget(diameters_mm=diameters_mm, volume_mm3=(low, low * ratio))
    core = counted(stated, BallRules(foreground_fraction=share), voxel_mm3)
    usual = max(1, round(max(min(share, 1) * low, min(100.0, low)) / voxel_mm3))
    assert usual <= core <= max(usual, low * ratio / voxel_mm3)
    assert share > 1 or core == usual
    assert number > 0 or core == usual


def test_a_larger_core_is_tumour_where_the_tumour_is_as_large_as_usual(make_phantom):
    """One diameter of a 20 mm ball, its true volume the median of the interval: all that lights up is tumour; of one at
    the lower end of the interval (lo mm³), 1.4·lo lights up 0.4·lo beside it, and never more than is left alone."""
    shares = {0.8: (0.8, 1.0), 1.4: (1.4, 1 / 1.4)}
    low, high = volume_interval_mm3((20.0,))
    median, _ = volume_prior((20.0,))
    stated = LesionTarget(diameters_mm=(20.0,), volume_mm3=(low, high), median_mm3=median)
    for share, (core, precision) in shares.items():
        rules = BallRules(foreground_fraction=share)
        for true_mm3, expected in ((median, 1.0), (low, precision)):
            width_mm = (6 * true_mm3 / math.pi) ** (1 / 3)
            phantom = make_phantom((width_mm,) * 3)
            found = ball_targets(
                torch.sigmoid(phantom.logits), phantom.region, [stated], spacing_mm=ONE, rules=rules
            )
            lit = int(found.foreground.sum())
            assert lit == pytest.approx(core * low, abs=1)
            assert (found.foreground & phantom.tumour).sum() / lit == pytest.approx(expected, abs=0.02)
            assert (found.foreground | found.ignore)[phantom.tumour].all()
            assert not (found.foreground & found.ignore).any()


def test_one_call_leaves_nothing_behind_for_the_next(make_phantom):
    """The ball's template is shared between calls; a region that cuts into it must not change it."""
    phantom = make_phantom((12.0, 12.0, 12.0))
    before = targets_of(phantom, [lesion(12)])
    holes = phantom.region & (
        torch.rand(phantom.region.shape, generator=torch.Generator().manual_seed(0)) < 0.5
    )
    ball_targets(torch.sigmoid(phantom.logits), holes, [lesion(12)], spacing_mm=ONE)
    after = targets_of(phantom, [lesion(12)])
    assert torch.equal(before.foreground, after.foreground)
    assert torch.equal(before.ignore, after.ignore)


@pytest.fixture
def two_places(make_phantom):
    """A tumour and something else that looks like it; ``tilt`` makes the second less likely."""

    def make(tilt: float):
        first = make_phantom((12.0, 12.0, 12.0), center_mm=(30.0, 30.0, 18.0), height=2.0)
        second = make_phantom((12.0, 12.0, 12.0), center_mm=(30.0, 30.0, 42.0), height=2.0)
        return first, second, torch.maximum(first.logits, second.logits - tilt)

    return make


def test_a_likely_second_place_is_no_background(two_places):
    first, second, logits = two_places(0.3)
    stated = [lesion(12)]
    alone = ball_targets(torch.sigmoid(logits), first.region, stated, spacing_mm=ONE)
    both = ball_targets(
        torch.sigmoid(logits), first.region, stated, spacing_mm=ONE, rules=BallRules(candidates=3)
    )
    assert torch.equal(alone.foreground, both.foreground)
    assert alone.centers.tolist() == both.centers.tolist() == [[30, 30, 18]]
    core = second.logits > 1
    assert not alone.ignore[core].any()
    assert both.ignore[core].all()


def test_places_share_the_foreground_by_their_odds(two_places):
    gradients = []
    for tilt in (0.0, 0.5, 4.0):
        first, second, logits = two_places(tilt)
        x = logits.clone().requires_grad_()
        loss = ball_loss(
            x[None],
            first.region[None],
            [[lesion(12)]],
            spacing_mm=ONE,
            rules=BallRules(candidates=2),
            balance=BallBalance(background_weight=0.0),
        )
        (gradient,) = torch.autograd.grad(loss.bce, x)
        gradients.append((gradient[first.tumour].sum().item(), gradient[second.tumour].sum().item()))
    even, tilted, clear = gradients
    assert even[1] == pytest.approx(even[0], rel=0.02)
    assert tilted[0] < tilted[1] < 0
    assert clear[1] == 0


def test_an_undecided_posterior_forces_nothing(two_places):
    """With ``lit_odds`` above every share no place lights up, and none of the likely ones is pushed down."""
    for tilt, lights in ((0.0, False), (4.0, True)):
        first, second, logits = two_places(tilt)
        rules = BallRules(candidates=2, lit_odds=0.7)
        found = ball_targets(torch.sigmoid(logits), first.region, [lesion(12)], spacing_mm=ONE, rules=rules)
        assert bool(found.located[0])
        assert bool(found.foreground.any()) is lights
        x = logits.clone().requires_grad_()
        loss = ball_loss(x[None], first.region[None], [[lesion(12)]], spacing_mm=ONE, rules=rules)
        (gradient,) = torch.autograd.grad(loss.bce, x)
        cores = (first.logits > 1) | (second.logits > 1)
        assert bool((gradient[cores] < 0).any()) is lights
        if not lights:
            assert not gradient[cores].any()
            assert loss.dice == 0


def along_the_bar(place: int) -> torch.Tensor:
    """An 8 mm ball in a bar of 15×15×32 voxels."""
    axes = torch.meshgrid(*[torch.arange(float(size)) for size in (15, 15, 32)], indexing="ij")
    return sum((axis - middle) ** 2 for axis, middle in zip(axes, (7, 7, place), strict=True)) <= 16


def centres_in_the_tumour(rules: BallRules, steps: int) -> list[int]:
    """How many of four tumours the ball lies in, step by step, while a network learns from reports.

    Two features a voxel: the tumour's and a decoy's, which normal cases show alone. The network weighs the two, and
    starts out preferring the decoy.
    """
    generator = torch.Generator().manual_seed(0)
    places = [7, 8, 10, 11]
    noise = 0.2 * torch.randn(4, 2, 15, 15, 32, generator=generator)
    tumours = torch.stack([along_the_bar(place) for place in places])
    decoys = torch.stack([along_the_bar(place + 12) for place in places]).float()
    cases = torch.stack((tumours.float(), decoys), dim=1) + noise
    normals = torch.stack((torch.zeros_like(decoys), decoys), dim=1) + noise.flip(2)
    everywhere, stated = torch.ones_like(tumours), [[lesion(8)]] * 4
    weights, bias = torch.tensor([0.8, 1.0], requires_grad=True), torch.tensor(-2.0, requires_grad=True)
    optimizer, hits = torch.optim.Adam([weights, bias], lr=0.1), []
    for _ in range(steps):
        seen, free = (torch.einsum("c,pcdhw->pdhw", weights, x) + bias for x in (cases, normals))
        loss = ball_loss(seen, everywhere, stated, spacing_mm=ONE, rules=rules).bce
        loss = loss + presence_loss(free, everywhere, spacing_mm=ONE, present=torch.zeros(4))
        found = [
            ball_targets(torch.sigmoid(x.detach()), everywhere[0], stated[0], spacing_mm=ONE, rules=rules)
            for x in seen
        ]
        hits.append(
            sum(
                int(tumour[tuple(one.centers[0].tolist())])
                for one, tumour in zip(found, tumours, strict=True)
            )
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return hits


def test_several_candidates_let_go_of_a_decoy():
    """One place locks on: the decoy is lit, the tumour pushed down. Several share the light until normals decide."""
    one = centres_in_the_tumour(BallRules(), steps=6)
    several = centres_in_the_tumour(BallRules(candidates=3), steps=6)
    assert one == [0] * 6
    assert several[0] == 0
    assert several[-1] == 4
