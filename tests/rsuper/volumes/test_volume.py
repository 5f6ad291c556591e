"""Grids, their comparison, and reorientation without interpolation."""

import itertools

import nibabel as nib
import numpy as np
import pytest
from nibabel.orientations import apply_orientation, axcodes2ornt

from rsuper.errors import DataError
from rsuper.volumes import (
    Grid,
    Volume,
    axis_codes,
    grid_difference,
    reorient,
    require_same_grid,
    same_grid,
    to_canonical,
    volume_mm3_per_voxel,
)

ORIENTATIONS = [
    "".join(signs[axis] for axis in order)
    for order in itertools.permutations(range(3))
    for signs in itertools.product("LR", "PA", "IS")
]


def ramp(affine=None, shape=(4, 5, 6)):
    array = np.arange(np.prod(shape), dtype=np.int16).reshape(shape)
    return Volume(array, np.diag([0.7, 0.8, 2.5, 1.0]) if affine is None else affine)


def test_spacing_and_voxel_volume_of_an_oblique_grid():
    angle = np.radians(25)
    rotation = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = rotation @ np.diag([0.5, 1.0, 3.0])
    volume = ramp(affine)
    assert volume.spacing_mm == pytest.approx((0.5, 1.0, 3.0))
    assert volume_mm3_per_voxel(volume) == pytest.approx(1.5)


def test_world_and_index_are_inverse():
    grid = Grid((3, 4, 5), np.array([[0, 0, 2.0, 5], [-1, 0, 0, 7], [0, 3, 0, -9], [0, 0, 0, 1]]))
    index = np.array([[0, 0, 0], [2.5, 1, 4], [1, 3, 0.25]])
    np.testing.assert_allclose(grid.to_index(grid.to_world_mm(index)), index)
    np.testing.assert_allclose(grid.to_world_mm([1, 1, 1]), [7, 6, -6])


@pytest.mark.parametrize(
    "affine",
    [np.zeros((4, 4)), np.diag([1.0, 0.0, 1.0, 1.0]), np.full((4, 4), np.nan), np.eye(3), np.ones((4, 4))],
)
def test_an_affine_that_spans_nothing_is_refused(affine):
    with pytest.raises(DataError) as caught:
        Volume(np.zeros((2, 2, 2)), affine)
    assert caught.value.code == "bad_affine"


def test_only_three_axes():
    with pytest.raises(DataError) as caught:
        Volume(np.zeros((2, 2, 2, 2)), np.eye(4))
    assert caught.value.code == "not_3d"


def test_the_affine_cannot_be_changed_in_place():
    with pytest.raises(ValueError, match="read-only"):
        ramp().affine[0, 0] = 9


@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_canonical_agrees_with_nibabel_in_all_48_orientations(codes):
    base = ramp()
    ornt = nib.orientations.ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(tuple(codes)))
    array = apply_orientation(base.array, ornt)
    affine = base.affine @ nib.orientations.inv_ornt_aff(ornt, base.shape)
    turned = Volume(array, affine)
    assert axis_codes(turned) == codes
    back = to_canonical(turned)
    np.testing.assert_array_equal(back.array, base.array)
    np.testing.assert_allclose(back.affine, base.affine, atol=1e-12)
    assert back.array.flags.c_contiguous
    again = reorient(back, turned)
    np.testing.assert_array_equal(again.array, turned.array)
    assert same_grid(again, turned)


def test_canonical_keeps_every_voxel_in_place_on_an_oblique_grid():
    rotation = nib.eulerangles.euler2mat(0.4, -0.5, 2.0)
    affine = np.eye(4)
    affine[:3, :3] = rotation @ np.diag([0.5, 1.5, 4.0])
    affine[:3, 3] = (10, -20, 30)
    volume = ramp(affine)
    canonical = to_canonical(volume)
    for value in (0, 17, 119):
        before = volume.grid.to_world_mm(np.argwhere(volume.array == value)[0])
        after = canonical.grid.to_world_mm(np.argwhere(canonical.array == value)[0])
        np.testing.assert_allclose(before, after, atol=1e-9)


def test_grids_differ_in_words():
    base = ramp()
    moved = np.array(base.affine)
    moved[0, 3] += 0.5
    assert grid_difference(base, ramp()) is None
    assert "shape" in grid_difference(base, ramp(shape=(4, 5, 7)))
    assert "spacing" in grid_difference(base, Volume(base.array, np.diag([0.7, 0.8, 2.6, 1.0])))
    assert "0.50 mm" in grid_difference(base, Volume(base.array, moved))


def test_float32_headers_are_no_difference():
    affine = np.diag([0.7421875, 0.7421875, 0.625, 1.0])
    affine[:3, 3] = (-187.123456789, 201.987654321, -1203.55555)
    assert same_grid(ramp(affine), ramp(affine.astype(np.float32)))


def test_a_flipped_grid_is_not_the_same_grid_but_is_after_reorientation():
    base = ramp()
    flipped = np.array(base.affine)
    flipped[0, 0] *= -1
    flipped[0, 3] = base.affine[0, 0] * (base.shape[0] - 1)
    other = Volume(base.array[::-1], flipped)
    assert not same_grid(base, other)
    assert same_grid(base, to_canonical(other))
    with pytest.raises(DataError) as caught:
        require_same_grid(base, other, names=("ct", "liver"), case_id="c1")
    assert caught.value.code == "grid_mismatch"
    assert caught.value.case_id == "c1"
    assert "ct" in str(caught.value)
    assert "liver" in str(caught.value)


def test_with_array_checks_the_shape():
    with pytest.raises(DataError) as caught:
        ramp().with_array(np.zeros((1, 2, 3)))
    assert caught.value.code == "grid_mismatch"
