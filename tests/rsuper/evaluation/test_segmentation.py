"""Masks: closed forms for spheres and boxes, MONAI as an independent implementation, empty masks."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rsuper.errors import DataError
from rsuper.evaluation.detection import match_lesions
from rsuper.evaluation.segmentation import EdgeCasePolicy, segmentation_scores


def box(shape, *slices):
    mask = np.zeros(shape, bool)
    mask[slices] = True
    return mask


def blobs(seed, shape=(18, 16, 12)):
    """Two overlapping smooth random masks."""
    from scipy import ndimage

    rng = np.random.default_rng(seed)
    base = ndimage.gaussian_filter(rng.normal(size=shape), 2)
    other = base + 0.5 * ndimage.gaussian_filter(rng.normal(size=shape), 2)
    return base > np.quantile(base, 0.8), other > np.quantile(other, 0.8)


def test_boxes_by_hand():
    reference = box((12, 12, 12), slice(2, 8), slice(2, 8), slice(2, 8))
    prediction = box((12, 12, 12), slice(4, 10), slice(2, 8), slice(2, 8))
    scores = segmentation_scores(reference, prediction, spacing_mm=(1.5, 1, 1), tolerance_mm=2.9)
    assert scores.dsc == pytest.approx(2 * 4 * 36 / (2 * 216))
    assert scores.hd95_mm == pytest.approx(3.0)  # shifted by two voxels of 1.5 mm
    assert scores.reference_mm3 == pytest.approx(216 * 1.5)
    assert 0.5 < scores.surface_dice < 1
    exact = segmentation_scores(reference, prediction, spacing_mm=(1.5, 1, 1), tolerance_mm=3.0)
    assert exact.surface_dice == 1.0


def test_concentric_spheres():
    grid = np.meshgrid(*[np.arange(41) - 20.0] * 3, indexing="ij")
    radius = np.sqrt(sum(g**2 for g in grid))
    small, large = radius <= 10, radius <= 13
    scores = segmentation_scores(small, large, spacing_mm=(1, 1, 1))
    assert scores.dsc == pytest.approx(2 * 10**3 / (10**3 + 13**3), rel=0.02)
    assert scores.hd95_mm == pytest.approx(3.0, abs=0.5)
    assert scores.surface_dice < 0.02


@pytest.mark.filterwarnings("ignore::FutureWarning")
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), spacing_mm=st.tuples(*[st.sampled_from([0.7, 1.0, 2.5])] * 3))
def test_agrees_with_monai(seed, spacing_mm):
    torch = pytest.importorskip("torch")
    from monai.metrics import compute_dice, compute_hausdorff_distance, compute_surface_dice

    reference, prediction = blobs(seed)
    scores = segmentation_scores(reference, prediction, spacing_mm=spacing_mm, tolerance_mm=2.0)
    y, y_hat = (torch.from_numpy(m.astype(np.float32))[None, None] for m in (reference, prediction))
    assert scores.dsc == pytest.approx(float(compute_dice(y_hat, y)), rel=1e-5)
    hd95 = compute_hausdorff_distance(y_hat, y, percentile=95, spacing=spacing_mm, include_background=True)
    assert scores.hd95_mm == pytest.approx(float(hd95), rel=1e-4)
    nsd = compute_surface_dice(y_hat, y, [2.0], spacing=spacing_mm, include_background=True)
    assert scores.surface_dice == pytest.approx(float(nsd), rel=1e-4)


def test_empty_masks_follow_the_policy():
    full, empty = np.ones((3, 4, 5), bool), np.zeros((3, 4, 5), bool)
    default = {"spacing_mm": (1.0, 1.0, 1.0)}
    missed = segmentation_scores(full, empty, **default)
    assert (missed.dsc, missed.surface_dice, missed.hd95_mm, missed.edge_case) == (
        0.0, 0.0, None, "empty_prediction",
    )  # fmt: skip
    alarm = segmentation_scores(empty, full, **default)
    assert (alarm.dsc, alarm.edge_case) == (None, "empty_reference")
    both = segmentation_scores(empty, empty, **default)
    assert (both.dsc, both.hd95_mm, both.edge_case) == (None, None, "both_empty")
    strict = EdgeCasePolicy(
        both_empty="one", empty_reference="zero", both_empty_distance="zero", one_empty_distance="diagonal"
    )
    assert segmentation_scores(empty, empty, policy=strict, **default).dsc == 1.0
    assert segmentation_scores(empty, empty, policy=strict, **default).hd95_mm == 0.0
    assert segmentation_scores(empty, full, policy=strict, **default).dsc == 0.0
    assert segmentation_scores(full, empty, policy=strict, **default).hd95_mm == pytest.approx(
        math.hypot(3, 4, 5)
    )
    with pytest.raises(DataError, match="shape_mismatch"):
        segmentation_scores(full, np.ones((3, 4, 4), bool), **default)


def test_lesions_are_matched_one_to_one():
    shape = (30, 10, 10)
    reference = box(shape, slice(0, 6), slice(0, 6), slice(0, 6)) | box(shape, slice(20, 26))
    hit = box(shape, slice(1, 7), slice(0, 6), slice(0, 6))
    speck = box(shape, slice(12, 13), slice(0, 1), slice(0, 1))
    matches = match_lesions(reference, hit | speck)
    assert (matches.n_reference, matches.n_prediction, matches.n_missed, matches.n_false) == (2, 2, 1, 1)
    assert matches.matched[0][2] == pytest.approx(5 / 7)
    assert match_lesions(reference, hit | speck, min_voxels=2).n_false == 0
    assert match_lesions(reference, hit, min_iou=0.8).n_missed == 2
    covers_both = match_lesions(reference, np.ones(shape, bool))
    assert len(covers_both.matched) == 1  # one blob over everything finds at most one lesion
    nothing = match_lesions(np.zeros(shape, bool), np.zeros(shape, bool))
    assert (nothing.n_reference, nothing.n_prediction, nothing.matched) == (0, 0, ())
