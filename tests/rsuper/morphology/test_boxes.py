"""Bounding boxes against numpy, and spacing rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rsuper.morphology import (
    bounding_box,
    bounding_boxes,
    box_shape,
    grow_box,
    spacing_rows,
    voxel_volume_mm3,
)


def test_boxes_hold_every_true_voxel_and_nothing_more():
    masks = torch.from_numpy(np.random.default_rng(0).random((20, 7, 9, 11)) < 0.01)
    masks[3] = False
    for mask, box in zip(masks, bounding_boxes(masks), strict=True):
        where = torch.nonzero(mask)
        if len(where) == 0:
            assert box is None
            continue
        low, high = where.amin(0).tolist(), where.amax(0).tolist()
        assert box == tuple(slice(a, b + 1) for a, b in zip(low, high, strict=True))


def test_no_masks_and_empty_axes_give_no_boxes():
    assert bounding_boxes(torch.zeros(0, 3, 3, 3, dtype=torch.bool)) == ()
    assert bounding_box(torch.zeros(3, 0, 3, dtype=torch.bool)) is None
    with pytest.raises(ValueError, match=r"\[P,D,H,W\]"):
        bounding_boxes(torch.zeros(3, 3, 3, dtype=torch.bool))


def test_a_grown_box_stops_at_the_array():
    box = (slice(2, 4), slice(0, 1), slice(5, 8))
    grown = grow_box(box, (1, 2, 3), (10, 10, 9))
    assert grown == (slice(1, 5), slice(0, 3), slice(2, 9))
    assert box_shape(grown) == (4, 3, 7)


def test_spacing_is_three_numbers_or_one_row_a_sample():
    assert spacing_rows((1, 2, 3), 2) == ((1.0, 2.0, 3.0), (1.0, 2.0, 3.0))
    rows = spacing_rows(torch.tensor([[1.0, 1.0, 1.0], [0.5, 0.5, 2.0]]), 2)
    assert [voxel_volume_mm3(row) for row in rows] == [1.0, 0.5]
    for broken in ((1, 1), (1, 1, 0), (1, 1, float("nan")), [[1, 1, 1]] * 3):
        with pytest.raises(ValueError, match="spacing_mm"):
            spacing_rows(broken, 2)
