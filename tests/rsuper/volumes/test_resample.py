"""Resampling against analytic phantoms: linear ramps and spheres keep their place and their volume."""

import numpy as np
import pytest

from rsuper.errors import UsageError
from rsuper.volumes import Grid, Volume, grid_with_spacing, resample, same_grid, to_canonical


def coordinates_mm(grid):
    index = np.stack(np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij"), axis=-1)
    return grid.to_world_mm(index)


def ramp_hu(grid):
    x, y, z = np.moveaxis(coordinates_mm(grid), -1, 0)
    return (3 * x - 2 * y + z + 40).astype(np.float32)


def sphere(grid, centre_mm, radius_mm):
    return ((coordinates_mm(grid) - centre_mm) ** 2).sum(axis=-1) <= radius_mm**2


GRID = Grid((40, 36, 30), np.array([[1.0, 0, 0, -20], [0, 1.2, 0, -18], [0, 0, 1.5, -20], [0, 0, 0, 1]]))
ROTATED = np.eye(4)
ROTATED[:3, :3] = np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]]) @ np.diag([1.1, 1.3, 2.0])
ROTATED[:3, 3] = (-5, -14, -12)


@pytest.mark.parametrize("spacing", [(1, 1, 1), (0.6, 0.7, 0.8), (2, 2, 2), (1.3, 3.1, 2.2), (1, 1.2, 5)])
@pytest.mark.parametrize("order", [1, 3])
def test_a_linear_ramp_stays_exact_inside(spacing, order):
    result = resample(Volume(ramp_hu(GRID), GRID.affine), spacing, order=order)
    expected = ramp_hu(result.grid)
    margin = np.ceil(np.maximum(1, np.array(GRID.spacing_mm) / spacing)).astype(int) * 2 + 1
    inside = tuple(slice(m, n - m) for m, n in zip(margin, result.shape, strict=True))
    np.testing.assert_allclose(result.array[inside], expected[inside], atol=0.02)
    assert result.spacing_mm == pytest.approx(spacing)


@pytest.mark.parametrize("spacing", [(1, 1, 1), (0.6, 0.7, 0.8), (0.9, 1.2, 1.4)])
def test_cubic_keeps_a_paraboloid_exact_inside(spacing):
    """Linear interpolation cuts off curved surfaces; cubic reproduces second degree."""

    def paraboloid(grid):
        return ((coordinates_mm(grid) - [30.0, 25.0, 35.0]) ** 2).sum(axis=-1).astype(np.float32)

    source = Volume(paraboloid(GRID), GRID.affine)
    cubic, linear = (resample(source, spacing, order=order) for order in (3, 1))
    inside = tuple(slice(n // 5, n - n // 5) for n in cubic.shape)
    expected = paraboloid(cubic.grid)[inside]
    assert np.abs(linear.array[inside] - expected).max() > 0.1
    np.testing.assert_allclose(cubic.array[inside], expected, rtol=1e-5, atol=0.01)


@pytest.mark.parametrize("spacing", [(0.5, 0.5, 0.5), (2, 2, 2)])
def test_cubic_never_leaves_the_range_of_the_source(spacing):
    step = np.zeros((20, 20, 20), np.float32)
    step[8:12, 8:12, 8:12] = 1
    result = resample(Volume(step, np.eye(4)), spacing, order=3).array
    assert result.min() == 0
    assert 0.5 < result.max() <= 1


@pytest.mark.parametrize("order", [1, 3])
def test_a_ramp_on_an_oblique_grid(order):
    target = Grid((14, 12, 10), ROTATED)
    result = resample(Volume(ramp_hu(GRID), GRID.affine), target, order=order)
    index = GRID.to_index(coordinates_mm(target))
    inside = ((index > 3) & (index < np.array(GRID.shape) - 4)).all(axis=-1)
    assert inside.sum() > 300
    np.testing.assert_allclose(result.array[inside], ramp_hu(target)[inside], atol=0.1)


def test_averaging_removes_noise_when_voxels_grow():
    noise = np.random.default_rng(0).normal(0, 100, (60, 60, 60)).astype(np.float32)
    result = resample(Volume(noise, np.eye(4)), (4, 4, 4)).array[2:-2, 2:-2, 2:-2]
    assert result.std() < 100 / 4**1.5 * 1.4
    assert abs(result.mean()) < 3


def test_field_of_view_stays_centred():
    result = grid_with_spacing(GRID, (3, 3, 3))
    middle = np.array(GRID.shape) / 2 - 0.5
    np.testing.assert_allclose(
        result.to_world_mm(np.array(result.shape) / 2 - 0.5), GRID.to_world_mm(middle), atol=1e-9
    )
    extent = np.array(result.shape) * 3 - np.array(GRID.shape) * GRID.spacing_mm
    assert (np.abs(extent) <= 1.5).all()


@pytest.mark.parametrize("spacing", [(1, 1, 1), (0.5, 0.5, 0.5), (2.5, 2.5, 2.5), (0.8, 0.8, 5), (4, 4, 4)])
@pytest.mark.parametrize("radius_mm", [3.0, 9.0])
def test_a_sphere_keeps_volume_and_place(spacing, radius_mm):
    centre = np.array([1.3, 2.2, 0.4])
    source = Volume(sphere(GRID, centre, radius_mm), GRID.affine)
    result = resample(source, spacing)
    voxel = np.prod(spacing)
    volume = source.array.sum() * source.voxel_volume_mm3
    assert abs(result.array.sum() * voxel - volume) <= max(0.5 * voxel, 0.02 * volume) + 1e-6
    before = source.grid.to_world_mm(np.argwhere(source.array)).mean(axis=0)
    after = result.grid.to_world_mm(np.argwhere(result.array)).mean(axis=0)
    assert (np.abs(before - after) <= 0.5 * np.array(spacing)).all()
    assert (np.abs(after - centre) <= 0.5 * np.maximum(spacing, GRID.spacing_mm)).all()


def test_thin_structures_do_not_vanish():
    wall = np.zeros((39, 39, 39), bool)
    wall[20] = True
    result = resample(Volume(wall, np.eye(4)), (3, 3, 3))
    assert abs(result.array.sum() * 27 - wall.sum()) <= 14
    place = result.grid.to_world_mm(np.argwhere(result.array))
    np.testing.assert_allclose(place.mean(axis=0), [19, 19, 19], atol=1.5)
    assert (place.std(axis=0)[1:] > 9).all()
    dot = np.zeros((40, 40, 40), bool)
    dot[11, 12, 13] = True
    assert resample(Volume(dot, np.eye(4)), (8, 8, 8)).array.sum() == 1


def test_a_mask_on_an_oblique_reference_keeps_volume_and_place():
    moved = ROTATED.copy()
    moved[1:3, 3] -= 6
    target = Grid((26, 24, 22), moved)
    centre = target.to_world_mm((np.array(target.shape) - 1) / 2)
    source = Volume(sphere(GRID, centre, 7.0), GRID.affine)
    result = resample(source, target)
    volume = source.array.sum() * source.voxel_volume_mm3
    assert result.array.sum() * target.voxel_volume_mm3 == pytest.approx(volume, rel=0.02)
    np.testing.assert_allclose(target.to_world_mm(np.argwhere(result.array)).mean(axis=0), centre, atol=0.6)
    overlap = (result.array & sphere(target, centre, 7.0)).sum() / result.array.sum()
    assert overlap > 0.93


def test_a_mask_cut_by_the_reference_keeps_only_what_is_inside():
    source = Volume(np.ones((20, 20, 20), bool), np.eye(4))
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = 10.5
    target = Grid((10, 10, 10), affine)
    result = resample(source, target)
    np.testing.assert_array_equal(result.array, (coordinates_mm(target) <= 19.5)[..., :3].all(axis=-1))
    assert result.array.sum() == 125


def test_outside_the_field_of_view_is_air():
    ct = Volume(np.full((10, 10, 10), 50, np.int16), np.eye(4))
    far = np.eye(4)
    far[0, 3] = 5
    result = resample(ct, Grid((10, 10, 10), far))
    assert (result.array[:5] == 50).all()
    assert (result.array[5:] == -1024).all()
    assert (resample(ct, Grid((10, 10, 10), far), fill=0).array[5:] == 0).all()
    mask = resample(Volume(np.ones((10, 10, 10), bool), np.eye(4)), Grid((10, 10, 10), far))
    assert mask.array[:5].all()
    assert not mask.array[5:].any()


@pytest.mark.parametrize("target_affine", [np.diag([2.0, 2, 2, 1]), ROTATED])
def test_nearest_makes_no_new_labels(target_affine):
    labels = Volume(np.random.default_rng(0).choice([0, 3, 7, 200], (20, 20, 20)).astype(np.uint8), np.eye(4))
    result = resample(labels, Grid((9, 9, 9), target_affine), order=0)
    assert result.array.dtype == np.uint8
    assert set(np.unique(result.array)) <= {0, 3, 7, 200}
    mask = resample(Volume(labels.array > 5, np.eye(4)), Grid((9, 9, 9), target_affine), order=0)
    assert mask.array.dtype == np.bool_


def test_flips_alone_copy_the_voxels_exactly():
    array = np.random.default_rng(0).normal(size=(6, 7, 8)).astype(np.float32)
    affine = np.array([[0, -2.0, 0, 9], [1.5, 0, 0, 4], [0, 0, -3.0, 2], [0, 0, 0, 1]])
    volume = Volume(array, affine)
    canonical = to_canonical(volume)
    result = resample(canonical, volume)
    np.testing.assert_array_equal(result.array, array)
    assert same_grid(result, volume)


@pytest.mark.parametrize("dtype", ["int16", "float32", "bool", "uint8"])
def test_the_dtype_stays(dtype):
    volume = Volume(np.ones((8, 8, 8), dtype), np.eye(4))
    assert resample(volume, (2, 2, 2)).array.dtype == dtype


def test_an_empty_mask_stays_empty():
    assert not resample(Volume(np.zeros((8, 8, 8), bool), np.eye(4)), (2, 2, 2)).array.any()


@pytest.mark.parametrize("spacing", [(1, 1), (0, 1, 1), (1, -1, 1), (1, np.nan, 1)])
def test_a_spacing_that_is_none(spacing):
    with pytest.raises(UsageError) as caught:
        resample(Volume(np.ones((8, 8, 8), np.int16), np.eye(4)), spacing)
    assert caught.value.code == "bad_spacing"
