"""The calibration script: its measurements on analytic shapes, its coverage on a known distribution."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from rsuper.supervision.sizes import ellipsoid_volume_mm3, equivalent_diameter_mm, factors_for

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        return _load("calibrate_size")
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))


@pytest.fixture(scope="module")
def model(script) -> ModuleType:
    return sys.modules["size_model"]


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("pixel_mm", [0.7, 1.0])
def test_diameters_of_a_turned_ellipsoid(script, pixel_mm):
    semi = np.array([9.0, 15.0, 10.0])  # axial axis first
    angle = np.deg2rad(30)
    z, y, x = np.meshgrid(np.arange(-12, 13), *[np.arange(-20, 20.1, pixel_mm)] * 2, indexing="ij")
    u, v = np.cos(angle) * y + np.sin(angle) * x, -np.sin(angle) * y + np.cos(angle) * x
    mask = (z / semi[0]) ** 2 + (u / semi[1]) ** 2 + (v / semi[2]) ** 2 <= 1
    long_mm, perpendicular_mm = script.axial_diameters(mask, np.array([pixel_mm, pixel_mm]))
    assert long_mm == pytest.approx(30.0, abs=1.2 * pixel_mm)
    assert perpendicular_mm == pytest.approx(20.0, abs=1.5 * pixel_mm)
    voxels_mm3 = float(mask.sum()) * pixel_mm**2
    assert voxels_mm3 == pytest.approx(ellipsoid_volume_mm3(2 * semi), rel=0.03)


def test_one_voxel_and_one_row_have_the_size_of_their_pixels(script):
    assert script.axial_diameters(np.ones((1, 1, 1), dtype=bool), np.array([0.8, 0.8])) == (0.8, 0.8)
    long_mm, perpendicular_mm = script.axial_diameters(np.ones((1, 1, 5), dtype=bool), np.array([0.8, 0.8]))
    assert (long_mm, perpendicular_mm) == pytest.approx((4.0, 0.8))


def test_only_the_largest_component_is_measured(script):
    mask = np.zeros((5, 20, 20), dtype=bool)
    mask[1:3, 1:4, 1:4] = True
    mask[3:5, 10:18, 10:18] = True
    assert script.largest_component(mask).sum() == 128


def population(model, rng, n: int):
    """Tumours whose location and spread change with size, and whose spread grows with irregularity."""
    size = rng.uniform(np.log(10), np.log(100), n)
    shape = rng.uniform(0, 0.4, n)
    scale = np.interp(size, [np.log(17.8), np.log(56.2)], [0.5, 0.2]) * np.exp(3 * (shape - 0.2))
    ratio = np.interp(size, [np.log(17.8), np.log(56.2)], [0.1, -0.3]) + scale * rng.standard_normal(n)
    return model.Sample(size, ratio, shape, np.full(n, "x"))


def test_the_fit_covers_what_it_aims_at_in_every_third_of_size_and_shape(model):
    rng = np.random.default_rng(3)
    fresh, sample = population(model, rng, 20_000), population(model, rng, 5000)
    full = model.Form(location_by_size=True, scale_by_size=True, scale_by_irregularity=True)

    def worst_third(form) -> float:
        inside = model.inside(model.fit(sample, form, coverage=0.9), fresh)
        gaps = []
        for values in (fresh.log_size, fresh.irregularity):
            thirds = np.digitize(values, np.quantile(values, [1 / 3, 2 / 3]))
            gaps += [abs(float(inside[thirds == k].mean()) - 0.9) for k in range(3)]
        return max(gaps)

    assert worst_third(full) < 0.02
    assert worst_third(full) < 0.4 * worst_third(model.SIZE_ONLY)
    assert worst_third(full) < 0.4 * worst_third(model.CONSTANT)


def test_a_small_sample_covers_about_nine_in_ten_of_fresh_tumours(model):
    rng = np.random.default_rng(5)
    fresh = population(model, rng, 20_000)
    covered = [
        float(model.inside(model.fit(population(model, rng, 120), model.FORMS[2]), fresh).mean())
        for _ in range(20)
    ]
    assert np.mean(covered) == pytest.approx(0.90, abs=0.02)


def test_the_interval_score_is_least_at_the_true_quantiles(model):
    values = np.random.default_rng(0).standard_normal(20_000)

    def score(z: float) -> float:
        return float(model.interval_score(np.full(1, -z), np.full(1, z), values, 0.9).mean())

    assert score(1.645) < min(score(1.3), score(2.0))


def test_shipped_factors_are_those_of_the_last_run():
    result = json.loads((ROOT / "benchmarks" / "results" / "calibrate_size.json").read_text(encoding="utf-8"))
    for number, row in result["factors"].items():
        shipped = factors_for(int(number)).model_dump()
        assert {key: list(v) if isinstance(v, tuple) else v for key, v in shipped.items()} == row
    special = result["one_diameter_along_duct_or_wall"]["factors"]
    assert factors_for(1, organ="pancreas").low == tuple(special["low"])
    assert factors_for(2, organ="pancreas") == factors_for(2)
    assert factors_for(1, organ="kidney") == factors_for(1)


def test_the_last_run_covers_nine_in_ten_of_left_out_tumours():
    result = json.loads((ROOT / "benchmarks" / "results" / "calibrate_size.json").read_text(encoding="utf-8"))
    for forms in result["cross_validation"].values():
        assert forms["shipped"]["coverage"] == pytest.approx(0.90, abs=0.02)
        assert min(forms["shipped"]["coverage_by_size_third"]) >= 0.85
        assert min(forms["shipped"]["coverage_by_irregularity_third"]) >= 0.85
        assert forms["shipped"]["interval_score"] <= forms["constant"]["interval_score"]
    elsewhere = result["cross_validation"]["2"]
    assert (
        elsewhere["shipped_fitted_without_the_source"]["panorama"]
        > elsewhere["size_only_fitted_without_the_source"]["panorama"]
    )


def test_equivalent_diameter_is_that_of_the_sphere_of_equal_volume():
    assert equivalent_diameter_mm([30.0, 20.0, 10.0]) == pytest.approx(6000 ** (1 / 3))
