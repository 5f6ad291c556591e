"""Balls in mm and their search, against direct convolution and analytic places."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from rsuper.morphology import ball_kernel, ball_mask, ball_scores, find_center, find_centers

SPACINGS = [(1.0, 1.0, 1.0), (0.8, 0.8, 3.0), (2.0, 1.0, 1.5)]


@pytest.mark.parametrize("spacing", SPACINGS)
def test_a_ball_has_the_volume_of_its_diameter(spacing):
    mask = ball_mask(30.0, spacing)
    assert all(size % 2 == 1 for size in mask.shape)
    assert float(mask.sum()) * math.prod(spacing) == pytest.approx(math.pi / 6 * 30**3, rel=0.03)


def test_the_kernel_is_a_gaussian_inside_a_ball_and_sums_to_one():
    kernel = ball_kernel(9.0, (1.0, 1.0, 1.0))
    assert float(kernel.sum()) == pytest.approx(1.0, abs=1e-12)
    assert float(kernel[4, 4, 8] / kernel[4, 4, 4]) == pytest.approx(math.exp(-(4.0**2) / (2 * 6.75**2)))
    assert float(kernel[0, 0, 0]) == 0.0
    flat = ball_kernel(9.0, (1.0, 1.0, 1.0), sigma_radii=math.inf)
    assert float(flat.max()) == pytest.approx(float(1 / ball_mask(9.0, (1.0, 1.0, 1.0)).sum()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("diameter", [1.0, 5.0, 12.0, 30.0])
@pytest.mark.parametrize("spacing", SPACINGS)
def test_scores_are_the_convolution(spacing, diameter, dtype):
    values = np.random.default_rng(1).random((11, 14, 8))
    expected = ndimage.convolve(values, ball_kernel(diameter, spacing).numpy(), mode="constant")
    scores = ball_scores(torch.from_numpy(values).to(dtype), diameter, spacing_mm=spacing)
    tolerance = 1e-6 if dtype == torch.float32 else 1e-13
    np.testing.assert_allclose(scores.numpy(), expected, atol=tolerance)


@given(
    seed=st.integers(0, 10_000),
    diameter=st.floats(1, 25),
    spacing=st.sampled_from(SPACINGS),
    shape=st.tuples(*[st.integers(1, 14)] * 3),
)
@settings(max_examples=40, deadline=None)
def test_the_centre_is_the_direct_argmax(seed, diameter, spacing, shape):
    random = np.random.default_rng(seed)
    values, allowed = random.random(shape), random.random(shape) < 0.7
    allowed.flat[0] = True
    scores = ndimage.convolve(values, ball_kernel(diameter, spacing).numpy(), mode="constant")
    scores[~allowed] = -1
    center = find_center(torch.from_numpy(values), torch.from_numpy(allowed), diameter, spacing_mm=spacing)
    assert allowed[center]
    assert scores[center] == pytest.approx(scores.max(), rel=1e-9)


def test_the_centre_of_a_bright_ball_is_found():
    grid = np.stack(np.meshgrid(*[np.arange(40)] * 3, indexing="ij"), axis=-1) * (1.0, 0.7, 2.0)
    distance = np.linalg.norm(grid - (23.0, 14.0, 30.0), axis=-1)
    values = torch.from_numpy(np.where(distance <= 6, 0.9, 0.1))
    center = find_center(values, torch.ones_like(values) > 0, 12.0, spacing_mm=(1.0, 0.7, 2.0))
    assert center == (23, 20, 15)


@pytest.mark.parametrize("size", [4, 24])
def test_ties_go_to_the_lowest_index(size):
    """Few ties are summed directly, a plateau of thousands goes through the float64 transform."""
    values = torch.zeros(30, 30, 30)
    values[3 : 3 + size, 3 : 3 + size, 3 : 3 + size] = 1.0
    center = find_center(values, torch.ones_like(values) > 0, 3.0, spacing_mm=(1.0, 1.0, 1.0))
    assert center == (4, 4, 4)


def test_thread_counts_agree():
    values = torch.from_numpy(np.random.default_rng(5).random((30, 31, 29)))
    threads, centers = torch.get_num_threads(), set()
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            centers.add(find_center(values, values > 0, 10.0, spacing_mm=(1.0, 1.0, 1.0)))
    finally:
        torch.set_num_threads(threads)
    assert len(centers) == 1


@pytest.mark.parametrize("diameter", [0.0, -3.0, math.inf, math.nan])
def test_a_diameter_that_is_no_length_is_refused(diameter):
    with pytest.raises(ValueError, match="diameter_mm"):
        ball_mask(diameter, (1.0, 1.0, 1.0))


def test_several_centres_are_the_best_ones_that_keep_their_distance():
    values = np.random.default_rng(2).random((18, 15, 12)) ** 4
    spacing = (1.0, 1.5, 0.8)
    allowed = np.ones(values.shape, dtype=bool)
    found = find_centers(
        torch.from_numpy(values),
        torch.from_numpy(allowed),
        6.0,
        spacing_mm=spacing,
        count=4,
        separation_mm=5.0,
    )
    scores = ndimage.convolve(values, ball_kernel(6.0, spacing).numpy(), mode="constant")
    grid = np.moveaxis(np.indices(values.shape), 0, -1) * spacing
    for place in found:
        assert place.center == np.unravel_index(np.where(allowed, scores, -1).argmax(), scores.shape)
        assert place.score == pytest.approx(scores[place.center], rel=1e-12)
        allowed &= np.linalg.norm(grid - grid[place.center], axis=-1) > 5.0
    assert len(found) == 4


def test_fewer_centres_where_there_is_no_more_room():
    values = torch.rand(4, 4, 4, generator=torch.Generator().manual_seed(0))
    found = find_centers(values, values > 0, 3.0, spacing_mm=(1.0, 1.0, 1.0), count=3, separation_mm=50.0)
    assert len(found) == 1
