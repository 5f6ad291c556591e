"""The calibration script: its measurements on analytic shapes, its coverage on a known distribution."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from rsuper.supervision.sizes import ellipsoid_volume_mm3, equivalent_diameter_mm, size_factors

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("calibrate_size", ROOT / "benchmarks" / "calibrate_size.py")
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


def test_the_fit_covers_nine_in_ten_of_a_population_whose_spread_follows_its_size(script):
    rng = np.random.default_rng(3)

    def population(n: int):
        size = rng.uniform(np.log(10), np.log(100), n)
        scale = np.interp(size, [np.log(20), np.log(60)], [0.6, 0.2])
        ratio = np.interp(size, [np.log(20), np.log(60)], [0.1, -0.3]) + scale * rng.standard_normal(n)
        return script.Sample(size, ratio, np.full(n, "x"))

    fresh = population(20_000)
    covered = [float(script.inside(script.fit_two_anchors(population(120)), fresh).mean()) for _ in range(30)]
    assert np.mean(covered) == pytest.approx(0.90, abs=0.015)
    sample = population(5000)
    thirds = np.digitize(fresh.log_size, np.quantile(fresh.log_size, [1 / 3, 2 / 3]))

    def worst_third(fit) -> float:
        inside = script.inside(fit, fresh)
        return max(abs(float(inside[thirds == k].mean()) - 0.9) for k in range(3))

    assert worst_third(script.fit_two_anchors(sample)) < 0.5 * worst_third(script.fit_constant(sample))


def test_shipped_factors_are_those_of_the_last_run():
    result = json.loads((ROOT / "benchmarks" / "results" / "calibrate_size.json").read_text(encoding="utf-8"))
    for number, row in result["factors"].items():
        shipped = size_factors()[int(number)].model_dump()
        assert {key: list(v) if isinstance(v, tuple) else v for key, v in shipped.items()} == row
        assert result["cross_validation"][number]["two_anchors"]["coverage"] == pytest.approx(0.90, abs=0.04)


def test_equivalent_diameter_is_that_of_the_sphere_of_equal_volume():
    assert equivalent_diameter_mm([30.0, 20.0, 10.0]) == pytest.approx(6000 ** (1 / 3))
