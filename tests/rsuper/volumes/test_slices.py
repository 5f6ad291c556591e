"""Stacks of image planes: order, gaps, tilt, and its correction, against analytic phantoms."""

import numpy as np
import pytest

from rsuper.errors import DataError
from rsuper.volumes import axis_codes
from rsuper.volumes.slices import SlicePlane, correct_tilt, stack_geometry


def planes(heights, *, tilt_degrees=0.0, size=(20, 16), drop=()):
    """Slices whose table moves along z; with a tilted gantry the planes lean, the positions do not follow."""
    angle = np.radians(tilt_degrees)
    return [
        SlicePlane(
            position_mm=np.array([-10.0, -8.0, float(z)]),
            along_columns=np.array([1.0, 0, 0]),
            along_rows=np.array([0, np.cos(angle), -np.sin(angle)]),
            pixel_mm=(0.8, 0.9),
            size=size,
        )
        for index, z in enumerate(heights)
        if index not in drop
    ]


def code_of(stack, **options):
    with pytest.raises(DataError) as caught:
        stack_geometry(stack, name="series", **options)
    assert caught.value.hint or caught.value.code == "dicom_geometry_missing"
    return caught.value.code


def test_slices_are_sorted_along_the_normal():
    order, grid, shift = stack_geometry(planes([6, 2, 4, 0]), name="series")
    assert order == [3, 1, 2, 0]
    assert shift is None
    assert grid.shape == (20, 16, 4)
    assert grid.spacing_mm == pytest.approx((0.8, 0.9, 2.0))
    assert axis_codes(grid) == "LPS"
    np.testing.assert_allclose(grid.to_world_mm([0, 0, 0]), [10, 8, 0])
    np.testing.assert_allclose(grid.to_world_mm([1, 2, 3]), [10 - 0.8, 8 - 1.8, 6])


@pytest.mark.parametrize(
    ("stack", "code"),
    [
        (planes([0]), "too_few_slices"),
        (planes([0, 2, 2, 4]), "duplicate_slices"),
        (planes(range(0, 40, 2), drop=(7, 8)), "missing_slices"),
        (planes([0, 2, 4, 7.1, 9, 11]), "uneven_slices"),
        (planes(range(0, 20, 2), tilt_degrees=12), "gantry_tilt"),
        (planes([0, 2]) + planes([4], size=(16, 16)), "mixed_slices"),
    ],
)
def test_irregular_stacks_are_refused(stack, code):
    assert code_of(stack) == code


def test_missing_slices_are_counted():
    with pytest.raises(DataError, match="2 of 20 slices"):
        stack_geometry(planes(range(0, 40, 2), drop=(7, 8)), name="series")


def test_rounding_of_positions_is_no_gap():
    rng = np.random.default_rng(0)
    stack = planes(np.arange(0, 60, 3) + rng.uniform(-0.01, 0.01, 20))
    assert stack_geometry(stack, name="series")[1].spacing_mm[2] == pytest.approx(3.0, abs=0.01)


def test_a_corrected_tilt_puts_the_anatomy_where_it_was():
    """A ball seen through a tilted gantry is a ball again, at its place, after the correction."""
    stack = planes(np.arange(0, 60, 1.5), tilt_degrees=18.0, size=(70, 70))
    order, grid, shift = stack_geometry(stack, name="series", tilt="correct")
    index = np.stack(np.meshgrid(np.arange(70), np.arange(70), indexing="ij"), axis=-1)
    centre = np.array([18.0, 24.0, 26.0])
    array = np.empty((70, 70, len(stack)), np.float32)
    for number, plane in enumerate(stack[position] for position in order):
        lps = (
            plane.position_mm
            + index[..., :1] * plane.along_columns * plane.pixel_mm[0]
            + index[..., 1:] * plane.along_rows * plane.pixel_mm[1]
        )
        array[..., number] = np.where(((lps - centre) ** 2).sum(axis=-1) <= 12.0**2, 100, -1000)
    corrected = correct_tilt(array, grid, shear_mm=shift, fill=-1024)
    ball = corrected.array > -450
    place = corrected.grid.to_world_mm(np.argwhere(ball)).mean(axis=0)
    np.testing.assert_allclose(place, centre * [-1, -1, 1], atol=0.5)
    assert ball.sum() * corrected.voxel_volume_mm3 == pytest.approx(4 / 3 * np.pi * 12**3, rel=0.03)
