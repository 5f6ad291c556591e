"""Volume loss: the formulas, what they must be monotone in, and what they may not depend on."""

from __future__ import annotations

import math

import pytest
import torch

from rsuper.losses import VolumeRules, volume_loss

ONE = (1.0, 1.0, 1.0)


def filled(volume_mm3: float, size: int = 40) -> torch.Tensor:
    """Logits [1,D,H,W] float64 whose p sum to ``volume_mm3`` on 1 mm voxels."""
    share = volume_mm3 / size**3
    return torch.full((1, size, size, size), math.log(share / (1 - share)), dtype=torch.float64)


def loss_at(volume_mm3, low, high, **options):
    logits = filled(volume_mm3)
    options = {"spacing_mm": ONE, "tolerance": 0.0, **options}
    return volume_loss(logits, torch.ones_like(logits) > 0, torch.tensor([[low, high]]), **options).item()


def slope_at(volume_mm3, low, high, **options):
    """dL/dV̂."""
    scale = torch.ones((), dtype=torch.float64, requires_grad=True)
    logits = torch.logit(torch.sigmoid(filled(volume_mm3)) * scale)
    loss = volume_loss(
        logits,
        torch.ones_like(logits) > 0,
        torch.tensor([[low, high]]),
        spacing_mm=ONE,
        tolerance=0.0,
        **options,
    )
    (slope,) = torch.autograd.grad(loss, scale)
    return slope.item() / volume_mm3


def test_the_three_branches_are_their_formulas():
    assert loss_at(300, 500, 900) == pytest.approx((500 - 300) / (500 + 300 + 500), rel=1e-6)
    assert loss_at(700, 500, 900) == 0
    assert loss_at(2000, 500, 900) == pytest.approx(math.log((2000 + 900 + 500) / (2 * 900 + 500)), rel=1e-6)


def test_tolerance_widens_both_ends():
    assert loss_at(460, 500, 900, tolerance=0.1) == 0
    assert loss_at(980, 500, 900, tolerance=0.1) == 0
    assert loss_at(400, 500, 900, tolerance=0.1) == pytest.approx((450 - 400) / (450 + 400 + 500), rel=1e-6)
    assert loss_at(460, 500, 900, tolerance=torch.tensor([0.1])) == 0


def test_loss_falls_to_the_interval_and_rises_beyond_it():
    volumes = [1, 10, 100, 300, 500, 700, 900, 1000, 3000, 10_000, 60_000]
    losses = [loss_at(volume, 500, 900) for volume in volumes]
    assert losses[:5] == sorted(losses[:5], reverse=True)
    assert losses[4] == pytest.approx(0, abs=1e-9)
    assert losses[6:] == sorted(losses[6:])
    assert len(set(losses[6:])) == len(losses[6:])


def test_gross_over_segmentation_still_feels_the_loss():
    """The published slope dies as V̂⁻²; ours at 100·V is at least 1 % of that at 1.5·V."""
    near, far = slope_at(1.5 * 500, 500, 500), slope_at(100 * 500, 500, 500)
    assert far >= 0.01 * near > 0
    published = [slope_at(factor * 500, 500, 500, form="published") for factor in (1.5, 100)]
    assert published[1] < 0.01 * published[0]


def test_an_upper_end_at_infinity_never_pushes_down():
    logits = filled(30_000).requires_grad_()
    region = torch.ones_like(logits) > 0
    loss = volume_loss(logits, region, torch.tensor([[65.4, math.inf]]), spacing_mm=ONE)
    loss.backward()
    assert loss == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))
    assert loss_at(30, 65.4, math.inf) == pytest.approx((65.4 - 30) / (65.4 + 30 + 500), rel=1e-6)


def test_published_form():
    volume, predicted, t = 600.0, 200.0, 0.1
    inner = max((1 - t) * volume, min(volume, 100))
    allowed = abs(inner - volume) / (inner + volume + 500)
    expected = (volume - predicted) / (volume + predicted + 500) - allowed
    assert loss_at(predicted, volume, volume, form="published", tolerance=t) == pytest.approx(
        expected, rel=1e-6
    )
    assert loss_at(580, volume, volume, form="published", tolerance=t) == 0


def test_only_active_pairs_count_and_by_their_certainty():
    """Classes that no report speaks of do not dilute the loss."""
    logits = torch.cat((filled(300), filled(2000), filled(300)))
    region = torch.ones_like(logits) > 0
    region[2] = False
    intervals = torch.tensor([[500.0, 900.0]] * 3)
    weight = torch.tensor([0.2, 0.6, 1.0])
    loss = volume_loss(logits, region, intervals, spacing_mm=ONE, tolerance=0.0, weight=weight)
    expected = (0.2 * loss_at(300, 500, 900) + 0.6 * loss_at(2000, 500, 900)) / 0.8
    assert loss.item() == pytest.approx(expected, rel=1e-6)


def test_volume_is_in_mm3():
    logits = filled(100)
    loss = volume_loss(
        logits,
        torch.ones_like(logits) > 0,
        torch.tensor([[700.0, 700.0]]),
        spacing_mm=(1.0, 2.0, 3.5),
        tolerance=0.0,
    )
    assert loss.item() == pytest.approx(0, abs=1e-12)


def test_a_smooth_map_has_the_same_loss_on_any_grid(make_phantom):
    fine = make_phantom((24.0, 20.0, 20.0), height=3.0)
    low = float(torch.sigmoid(fine.logits)[fine.region].sum()) * 1.5
    values = []
    for spacing in (ONE, (0.7, 0.7, 2.5), (3.0, 3.0, 3.0)):
        phantom = make_phantom((24.0, 20.0, 20.0), spacing_mm=spacing, height=3.0)
        values.append(
            volume_loss(
                phantom.logits[None], phantom.region[None], torch.tensor([[low, low]]), spacing_mm=spacing
            ).item()
        )
    assert values[1] == pytest.approx(values[0], rel=0.03)
    assert values[2] == pytest.approx(values[0], rel=0.05)


def test_voxels_outside_the_region_get_exactly_no_gradient():
    logits = filled(2000).requires_grad_()
    region = torch.zeros_like(logits) > 0
    region[0, 3:30, 5:20, 8:40] = True
    volume_loss(logits, region, torch.tensor([[10.0, 20.0]]), spacing_mm=ONE).backward()
    assert (logits.grad[~region] == 0).all()
    assert (logits.grad[region] > 0).all()


def test_gradcheck_of_every_branch():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 3, 4, 3, generator=generator, dtype=torch.float64).requires_grad_()
    region = torch.rand(3, 3, 4, 3, generator=generator) < 0.7
    intervals = torch.tensor([[40.0, 50.0], [1.0, 2.0], [1.0, math.inf]])
    options = {
        "median_mm3": torch.tensor([45.0, 1.5, 30.0]),
        "sigma_log": torch.tensor([0.5, 0.4, 0.3]),
        "spacing_mm": (1.0, 1.0, 1.2),
    }
    for sharpen in (1.0, 2.0):
        assert torch.autograd.gradcheck(
            lambda x, s=sharpen: volume_loss(x, region, intervals, rules=VolumeRules(sharpen=s), **options),
            (logits,),
        )
    assert torch.autograd.gradcheck(
        lambda x: volume_loss(x, region, intervals[:, :1].expand(3, 2), form="published", spacing_mm=ONE),
        (logits,),
    )


def test_the_median_pulls_inside_the_interval_only():
    options = {
        "median_mm3": torch.tensor([600.0]),
        "sigma_log": torch.tensor([0.5]),
        "rules": VolumeRules(median_weight=0.1),
    }
    assert loss_at(600, 400, 1500, **options) == pytest.approx(0, abs=1e-9)
    assert loss_at(900, 400, 1500, **options) == pytest.approx(
        0.1 * 0.5 * (math.log(1.5) / 0.5) ** 2, rel=1e-6
    )
    rising = [loss_at(volume, 400, 1500, **options) for volume in (600, 900, 1499, 1501, 2000, 9000)]
    assert rising == sorted(rising), "leaving the interval never pays"
    unstated = {"median_mm3": torch.tensor([math.nan]), "sigma_log": torch.tensor([math.nan])}
    assert loss_at(900, 400, 1500, **unstated) == 0


def test_sharpened_volumes_ignore_haze():
    """p = 0.005 everywhere holds 320 mm³; sharpened it holds next to nothing, and a decided lesion stays."""
    assert loss_at(320, 300, 400) == 0
    assert loss_at(320, 300, 400, rules=VolumeRules(sharpen=2.0)) > 0.3
    lesion = torch.full((1, 20, 20, 20), -9.0)
    lesion[0, 5:12, 5:12, 5:12] = 9.0
    everywhere = torch.ones_like(lesion) > 0
    for sharpen in (1.0, 2.0):
        rules = VolumeRules(sharpen=sharpen)
        interval = torch.tensor([[340.0, 345.0]])
        assert volume_loss(lesion, everywhere, interval, spacing_mm=ONE, rules=rules) == 0


def test_no_pairs_give_zero_with_a_graph():
    logits = torch.zeros(0, 3, 3, 3, requires_grad=True)
    loss = volume_loss(logits, torch.zeros(0, 3, 3, 3) > 0, torch.zeros(0, 2), spacing_mm=ONE)
    loss.backward()
    assert loss == 0
    assert logits.grad.shape == logits.shape


def test_broken_targets_are_refused():
    logits = filled(10)
    region = torch.ones_like(logits) > 0
    for broken in ([[5.0, 4.0]], [[-1.0, 4.0]], [[math.nan, 4.0]]):
        with pytest.raises(ValueError, match="lo <= hi"):
            volume_loss(logits, region, torch.tensor(broken), spacing_mm=ONE)
    with pytest.raises(ValueError, match=r"\[P,2\]"):
        volume_loss(logits, region, torch.tensor([1.0, 2.0]), spacing_mm=ONE)
    with pytest.raises(ValueError, match="sigma_log"):
        volume_loss(
            logits, region, torch.tensor([[1.0, 2.0]]), spacing_mm=ONE, median_mm3=torch.tensor([1.0])
        )


@pytest.mark.parametrize(
    ("mass", "sharpen", "voxel"),
    [("power", 2.0, 0.3**2), ("power", 1.0, 0.3), ("thresholded", 1.0, (0.3 - 0.1) / 0.9)],
)
def test_what_a_voxel_adds(mass, sharpen, voxel):
    """A uniform p = 0.3 over 64,000 voxels of 1 mm³."""
    volume = 64_000 * voxel
    options = {"rules": VolumeRules(mass=mass, sharpen=sharpen)}
    assert loss_at(0.3 * 64_000, 0.99 * volume, 1.01 * volume, **options) == 0
    assert loss_at(0.3 * 64_000, 1.01 * volume, 2 * volume, **options) > 0
    assert loss_at(0.3 * 64_000, 0.5 * volume, 0.99 * volume, **options) > 0


@pytest.mark.parametrize("mass", ["sharpened", "power", "thresholded"])
def test_no_mass_takes_haze_for_a_tumour(mass):
    """p = 0.005 over the region holds the volume of the lesion; of decided voxels it holds next to nothing."""
    sharpen = 1.0 if mass == "thresholded" else 2.0
    assert loss_at(320, 300, 400, rules=VolumeRules(mass=mass, sharpen=sharpen)) > 0.3
    decided = torch.full((1, 20, 20, 20), -12.0)
    decided[0, 5:12, 5:12, 5:12] = 12.0
    everywhere = torch.ones_like(decided) > 0
    interval = torch.tensor([[340.0, 345.0]])
    rules = VolumeRules(mass=mass, sharpen=sharpen)
    assert volume_loss(decided, everywhere, interval, spacing_mm=ONE, rules=rules) == 0


@pytest.mark.parametrize("mass", ["power", "thresholded"])
def test_gradcheck_of_the_masses(mass):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 4, 3, generator=generator, dtype=torch.float64).requires_grad_()
    region = torch.rand(2, 3, 4, 3, generator=generator) < 0.7
    located = torch.rand(2, 3, 4, 3, generator=generator) < 0.5
    for intervals in ([[40.0, 50.0], [0.1, 0.2]], [[1.0, math.inf], [30.0, 60.0]]):
        assert torch.autograd.gradcheck(
            lambda x, i=intervals: volume_loss(
                x,
                region,
                torch.tensor(i),
                spacing_mm=ONE,
                rules=VolumeRules(mass=mass, sharpen=2.0),
                located=located,
            ),
            (logits,),
        )


def test_volume_is_asked_for_where_the_lesion_was_located():
    """600 mm³ of haze outside the ball do not replace the lesion, and go away; the ball fills up."""
    logits = filled(600).requires_grad_()
    region = torch.ones_like(logits) > 0
    located = torch.zeros_like(region)
    located[0, 10:20, 10:20, 10:20] = True
    interval = torch.tensor([[500.0, 900.0]])
    assert volume_loss(logits, region, interval, spacing_mm=ONE) == 0
    volume_loss(logits, region, interval, spacing_mm=ONE, located=located).backward()
    assert (logits.grad[located] < 0).all()
    assert (logits.grad[~located] > 0).all()
    inside = 600 * 1000 / 64_000
    expected = (500 - inside) / (500 + inside + 500) + math.log1p((600 - inside) / (900 + 500))
    assert loss_at(600, 500, 900, located=located) == pytest.approx(expected, rel=1e-6)
    assert loss_at(600, 500, 900, located=located, rules=VolumeRules(outside_weight=0.0)) == pytest.approx(
        (500 - inside) / (500 + inside + 500), rel=1e-6
    )


def test_everything_located_is_the_plain_loss():
    for volume in (100, 700, 5000):
        logits = filled(volume)
        everywhere = torch.ones_like(logits) > 0
        assert loss_at(volume, 500, 900, located=everywhere) == loss_at(volume, 500, 900)


@pytest.mark.parametrize("diameter", [12.0, 18.0, 24.0])
def test_the_volume_of_a_smooth_map_is_the_same_at_3_mm(diameter):
    """Within 1 %: V̂ of a Gaussian in mm, whose volume is (2π)^{3/2}·s³ times its height."""
    volumes = {}
    for step in (1.0, 3.0):
        axes = torch.meshgrid(*[torch.arange(0, 60.5, step, dtype=torch.float64)] * 3, indexing="ij")
        squared = sum((axis - 30.4) ** 2 for axis in axes)
        share = 0.9 * torch.exp(-squared / (2 * (diameter / 4) ** 2)) + 1e-9
        x = torch.logit(share)[None]
        exact = 0.9 * (2 * math.pi) ** 1.5 * (diameter / 4) ** 3 + 1e-9 * 60**3
        for low, high, inside in ((0.99, 1.01, True), (1.02, 1.1, False)):
            loss = volume_loss(
                x,
                x > -99,
                torch.tensor([[low * exact, high * exact]]),
                spacing_mm=(step,) * 3,
                tolerance=0.0,
            )
            assert (loss.item() == 0) is inside
        volumes[step] = step**3 * torch.sigmoid(x).sum().item()
    assert volumes[3.0] == pytest.approx(volumes[1.0], rel=0.01)
