"""Dilation in mm against scipy's distance transform and against balls counted by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from rsuper.morphology import dilate_mm, dilate_within, distance_mm, host, squared_distance_within

SPACINGS = [(1.0, 1.0, 1.0), (0.7, 0.7, 2.5), (3.0, 1.5, 0.8)]


def scattered(seed: int, shape=(19, 23, 17), share=0.003) -> np.ndarray:
    mask = np.random.default_rng(seed).random(shape) < share
    mask[tuple(size // 2 for size in shape)] = True
    return mask


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("margin", [0.0, 1.0, 3.5, 6.3])
def test_dilation_is_scipys_distance_cut_at_the_margin(spacing, margin):
    mask = scattered(3)
    expected = ndimage.distance_transform_edt(~mask, sampling=spacing) <= margin * (1 + 1e-7)
    assert np.array_equal(dilate_mm(mask, margin, spacing_mm=spacing), expected)
    assert torch.equal(
        dilate_mm(torch.from_numpy(mask), margin, spacing_mm=spacing), torch.from_numpy(expected)
    )


@given(seed=st.integers(0, 10_000), margin=st.floats(0, 9), step=st.sampled_from(SPACINGS))
@settings(max_examples=30, deadline=None)
def test_squared_distance_is_exact_up_to_the_limit(seed, margin, step):
    mask = scattered(seed, (9, 11, 8), 0.02)
    exact = ndimage.distance_transform_edt(~mask, sampling=step) ** 2
    ours = squared_distance_within(torch.from_numpy(mask), margin, spacing_mm=step).numpy()
    near = exact <= margin**2
    np.testing.assert_allclose(ours[near], exact[near], rtol=1e-5, atol=1e-5)
    assert (ours[~near] > margin**2 * (1 - 1e-5)).all()


def test_a_grown_voxel_has_the_volume_of_the_ball():
    mask = np.zeros((41, 41, 41), dtype=bool)
    mask[20, 20, 20] = True
    for spacing in SPACINGS[:2]:
        grown = dilate_mm(mask, 12.0, spacing_mm=spacing)
        assert grown.sum() * np.prod(spacing) == pytest.approx(4 / 3 * math.pi * 12.0**3, rel=0.02)


def test_margins_that_fall_on_voxel_centres_are_inside_whatever_the_rounding():
    mask = np.zeros((1, 1, 21), dtype=bool)
    mask[0, 0, 10] = True
    grown = dilate_mm(mask, 3.5, spacing_mm=(1.0, 1.0, 0.7))
    assert np.flatnonzero(grown).tolist() == list(range(5, 16))


def test_dilation_stays_inside_the_array_and_leaves_its_input_alone():
    mask = np.zeros((6, 6, 6), dtype=bool)
    mask[0, 5, 0] = True
    before = mask.copy()
    grown = dilate_mm(mask, 2.0, spacing_mm=(1.0, 1.0, 1.0))
    assert np.array_equal(mask, before)
    assert grown.shape == mask.shape
    assert grown.sum() == 1 + 3 + 3 + 1 + 3  # |d|² = 0, 1, 2, 3, 4 of one octant


def test_an_empty_mask_stays_empty():
    empty = np.zeros((4, 5, 6), dtype=bool)
    assert not dilate_mm(empty, 5.0, spacing_mm=(1.0, 1.0, 1.0)).any()
    assert np.isinf(distance_mm(empty, spacing_mm=(1.0, 1.0, 1.0))).all()


@pytest.mark.parametrize("margin", [-1.0, math.nan, math.inf])
def test_a_margin_that_is_no_length_is_refused(margin):
    with pytest.raises(ValueError, match="margin_mm"):
        dilate_mm(np.ones((2, 2, 2), dtype=bool), margin, spacing_mm=(1.0, 1.0, 1.0))


def test_whole_array_and_boxed_dilation_agree():
    mask = torch.from_numpy(scattered(8))
    boxed = dilate_mm(mask, 4.2, spacing_mm=(1.0, 2.0, 1.3))
    assert torch.equal(dilate_within(mask, 4.2, spacing_mm=(1.0, 2.0, 1.3)), boxed)


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("margin", [0.0, 0.7, 3.5, 6.0])
@pytest.mark.parametrize("shape", [(40, 33, 41), (2, 3, 9000), (200, 200, 1)])
def test_large_arrays_are_dilated_as_small_ones(spacing, margin, shape):
    """A large array takes lines of bytes, a small one distances: both are scipy's distance cut at the margin."""
    mask = scattered(4, shape, 0.001)
    expected = ndimage.distance_transform_edt(~mask, sampling=spacing) <= margin * (1 + 1e-7)
    ours = dilate_within(torch.from_numpy(mask), margin, spacing_mm=spacing)
    assert np.array_equal(ours.numpy(), expected)
    limit = margin**2 * (1 + 1e-6)
    distances = squared_distance_within(torch.from_numpy(mask), margin, spacing_mm=spacing)
    assert torch.equal(distances <= limit, ours)


@pytest.mark.parametrize("spacing", SPACINGS)
def test_the_path_of_other_devices_says_the_same(spacing, monkeypatch):
    mask = torch.from_numpy(scattered(6))
    here = [squared_distance_within(mask, margin, spacing_mm=spacing) for margin in (1.0, 3.5, 12.0)]
    monkeypatch.setattr(host, "HOST_DEVICES", ())
    there = [squared_distance_within(mask, margin, spacing_mm=spacing) for margin in (1.0, 3.5, 12.0)]
    assert all(torch.equal(a, b) for a, b in zip(here, there, strict=True))
