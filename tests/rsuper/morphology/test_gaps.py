"""Gaps of masks against analytic holes and bites and an independent closing."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from rsuper.morphology import gaps


def grid(shape, spacing_mm):
    return [axis * mm for axis, mm in zip(np.indices(shape).astype(float), spacing_mm, strict=True)]


def ball(shape, center_mm, radius_mm, spacing_mm):
    squared = sum((x - c) ** 2 for x, c in zip(grid(shape, spacing_mm), center_mm, strict=True))
    return squared <= radius_mm**2


@pytest.mark.parametrize("spacing_mm", [(1.0, 1.0, 1.0), (0.8, 0.8, 2.5), (3.0, 1.0, 0.7)])
@pytest.mark.parametrize("radius_mm", [6.0, 24.0])
def test_a_hole_is_filled_whatever_the_spacing(spacing_mm, radius_mm):
    shape = tuple(round(48 / mm) for mm in spacing_mm)
    center = [size // 2 * mm for size, mm in zip(shape, spacing_mm, strict=True)]
    organ = ball(shape, center, 20.0, spacing_mm)
    hole = ball(shape, center, 12.0, spacing_mm)
    found = gaps(organ & ~hole, radius_mm, spacing_mm=spacing_mm)
    assert not (found & organ & ~hole).any()
    # voxels smaller than an eighth of the radius are taken together; a hole loses at most one of those at its edge
    deep = ndimage.distance_transform_edt(hole, sampling=spacing_mm) > math.sqrt(3) * radius_mm / 8
    assert found[hole if radius_mm / 8 < min(spacing_mm) else deep].all()
    assert found[hole].mean() > 0.9
    assert (found & ~organ).sum() < 0.002 * organ.sum()


@pytest.mark.parametrize(
    ("factor", "spacing_mm"), [(1.5, (1.0, 1.0, 1.0)), (2.0, (1.0, 1.0, 1.0)), (2.0, (0.7, 1.2, 2.0))]
)
def test_of_a_bite_only_what_the_ball_enters_is_left(factor, spacing_mm):
    bite_mm, shape = 10.0, tuple(round(size / mm) for size, mm in zip((24, 56, 56), spacing_mm, strict=True))
    x, y, z = grid(shape, spacing_mm)
    organ = x <= 16.0
    taken = organ & ((x - 16) ** 2 + (y - 28) ** 2 + (z - 28) ** 2 <= bite_mm**2)
    found = gaps(organ & ~taken, factor * bite_mm, spacing_mm=spacing_mm) & taken
    depth = bite_mm * (factor - math.sqrt(factor**2 - 1))
    entered = math.pi * depth**2 * (factor * bite_mm - depth / 3)
    whole = 2 / 3 * math.pi * bite_mm**3
    voxel_mm3 = math.prod(spacing_mm)
    assert taken.sum() * voxel_mm3 == pytest.approx(whole, rel=0.1)
    assert found.sum() / taken.sum() == pytest.approx(1 - entered / whole, abs=0.08)


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 1000),
    radius_mm=st.floats(1.0, 5.0),
    spacing_mm=st.tuples(*[st.sampled_from([0.7, 1.0, 2.5])] * 3),
)
def test_agrees_with_an_independent_closing(seed, radius_mm, spacing_mm):
    rng = np.random.default_rng(seed)
    mask = ndimage.gaussian_filter(rng.normal(size=(14, 15, 16)), 1.5) > 0.02
    border = 10
    wide = np.pad(mask, border)
    from_mask = ndimage.distance_transform_edt(~wide, sampling=spacing_mm)
    from_outside = ndimage.distance_transform_edt(from_mask <= radius_mm, sampling=spacing_mm)
    own = (slice(border, -border),) * 3
    closed = (from_outside > radius_mm)[own]
    filled = ndimage.binary_fill_holes(closed | mask) & ~mask
    found = gaps(mask, radius_mm, spacing_mm=spacing_mm)
    near_a_tie = np.abs(from_mask - radius_mm).min() < 1e-4 or np.abs(from_outside - radius_mm).min() < 1e-4
    assert near_a_tie or np.array_equal(found, filled)


@pytest.mark.parametrize("radius_mm", [4.0, 10.0, 40.0])
def test_what_is_convex_has_no_gaps(radius_mm):
    spacing_mm = (0.8, 0.8, 1.5)
    shape = (60, 60, 32)
    organ = ball(shape, (23.6, 23.6, 23.0), 20.0, spacing_mm)
    assert gaps(organ, radius_mm, spacing_mm=spacing_mm).sum() <= 0.003 * organ.sum()
    block = np.zeros(shape, dtype=bool)
    block[8:50, 3:57, 0:32] = True
    assert not gaps(block, radius_mm, spacing_mm=spacing_mm).any()


def test_an_empty_mask_has_none_and_a_radius_is_a_length():
    assert not gaps(np.zeros((4, 5, 6), dtype=bool), 3.0, spacing_mm=(1.0, 1.0, 1.0)).any()
    with pytest.raises(ValueError, match="radius_mm"):
        gaps(np.ones((4, 5, 6), dtype=bool), 0.0, spacing_mm=(1.0, 1.0, 1.0))
