"""R13: positions stay within half a voxel and volumes within 2 % through write, read, canonical, resample and back.

Phantoms are analytic: spheres of known centre and radius, and HU that are a linear function of position in mm.
"""

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from rsuper.volumes import (
    Grid,
    Volume,
    axis_codes,
    read_mask,
    read_volume,
    reorient,
    resample,
    same_grid,
    to_canonical,
    write_volume,
)

SIGNED_PERMUTATIONS = [
    np.eye(3)[:, order] * signs
    for order in itertools.permutations(range(3))
    for signs in itertools.product((1, -1), repeat=3)
]
EXTENT_MM = 72.0
SPACING = st.tuples(*[st.floats(0.8, 8.0)] * 3)


def rotation(x, y, z):
    (cx, cy, cz), (sx, sy, sz) = np.cos((x, y, z)), np.sin((x, y, z))
    return (
        np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
        @ np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
        @ np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    )


def make_grid(axes, spacing_mm, extent_mm=EXTENT_MM):
    """A grid of about ``extent_mm`` a side, centred on the origin."""
    shape = np.maximum(4, np.round(extent_mm / np.asarray(spacing_mm))).astype(int)
    affine = np.eye(4)
    affine[:3, :3] = axes @ np.diag(spacing_mm)
    affine[:3, 3] = -affine[:3, :3] @ ((shape - 1) / 2)
    return Grid(tuple(shape), affine)


def coordinates_mm(grid):
    index = np.stack(np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij"), axis=-1)
    return grid.to_world_mm(index)


def sphere(grid, centre_mm, radius_mm):
    return Volume(((coordinates_mm(grid) - centre_mm) ** 2).sum(axis=-1) <= radius_mm**2, grid.affine)


def centroid_mm(mask):
    return mask.grid.to_world_mm(np.argwhere(mask.array)).mean(axis=0)


def volume_mm3(mask):
    return float(mask.array.sum()) * mask.voxel_volume_mm3


def round_trip(path, mask, spacing_mm):
    """What happens to an organ and to its prediction: file, canonical, working grid, back, file."""
    write_volume(path, mask)
    read = read_mask(path)
    working = resample(to_canonical(read), spacing_mm)
    write_volume(path, resample(working, read))
    return working, read_mask(path)


@pytest.mark.parametrize("axes", SIGNED_PERMUTATIONS, ids=lambda axes: axis_codes(make_grid(axes, (1, 1, 1))))
def test_all_48_orientations(axes, tmp_path):
    grid = make_grid(axes, (1.5, 2.0, 3.0))
    centre = np.array([9.0, -5.0, 6.0])
    mask = sphere(grid, centre, 14.0)
    working, back = round_trip(tmp_path / "mask.nii.gz", mask, (1.5, 1.5, 1.5))
    assert axis_codes(working) == "RAS"
    assert same_grid(back, mask)
    assert volume_mm3(working) == pytest.approx(volume_mm3(mask), rel=0.02)
    assert volume_mm3(working) == pytest.approx(4 / 3 * np.pi * 14.0**3, rel=0.02)
    assert volume_mm3(back) == pytest.approx(volume_mm3(mask), rel=0.02)
    assert (np.abs(centroid_mm(working) - centre) <= 0.5 * 1.5).all()
    assert np.linalg.norm(centroid_mm(back) - centroid_mm(mask)) <= 0.5 * 1.5
    assert (back.array & mask.array).sum() >= 0.95 * mask.array.sum()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    angles=st.tuples(*[st.floats(-np.pi, np.pi)] * 3),
    spacing=SPACING,
    working_mm=st.floats(1.0, 4.0),
    offset=st.tuples(*[st.floats(-8, 8)] * 3),
)
@example(angles=(0.75, 0.75, 0.0), spacing=(1.0, 0.875, 1.0), working_mm=3.8125, offset=(0.0, 0.0, 2.0))
def test_oblique_grids_of_any_spacing(tmp_path: Path, angles, spacing, working_mm, offset):
    """Half a voxel of the file, but where the working grid is much coarser: there a quarter of its voxel.

    The example moves by 0.51 mm, 0.13 voxels of a working grid that is four times as coarse as the file's.
    """
    grid = make_grid(rotation(*angles), spacing)
    mask = sphere(grid, np.array(offset), 16.0)
    working, back = round_trip(tmp_path / "mask.nii.gz", mask, (working_mm,) * 3)
    assert volume_mm3(working) == pytest.approx(volume_mm3(mask), rel=0.02, abs=0.5 * working_mm**3)
    assert volume_mm3(back) == pytest.approx(volume_mm3(mask), rel=0.02, abs=grid.voxel_volume_mm3)
    assert np.linalg.norm(centroid_mm(working) - centroid_mm(mask)) <= 0.5 * max(working_mm, *spacing)
    assert np.linalg.norm(centroid_mm(back) - centroid_mm(mask)) <= max(
        0.5 * max(*spacing), 0.25 * working_mm
    )


@pytest.mark.parametrize("spacing", [(0.5, 0.5, 0.5), (0.5, 0.5, 8.0), (8.0, 8.0, 8.0), (0.7, 0.7, 5.0)])
def test_the_ends_of_the_spacing_range(tmp_path, spacing):
    grid = make_grid(
        rotation(0.2, -0.3, 0.5), spacing, extent_mm=48.0 if spacing != (8.0, 8.0, 8.0) else 96.0
    )
    radius = 14.0 if spacing != (8.0, 8.0, 8.0) else 28.0
    mask = sphere(grid, np.array([2.0, 1.0, -3.0]), radius)
    working, back = round_trip(tmp_path / "mask.nii.gz", mask, (1.5, 1.5, 1.5))
    for result in (working, back):
        assert volume_mm3(result) == pytest.approx(volume_mm3(mask), rel=0.02)
        assert np.linalg.norm(centroid_mm(result) - centroid_mm(mask)) <= 0.5 * max(1.5, *spacing)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    angles=st.tuples(*[st.floats(-np.pi, np.pi)] * 3),
    spacing=SPACING,
    working=st.tuples(*[st.floats(1.0, 4.0)] * 3),
    slope=st.tuples(*[st.floats(-4, 4)] * 3),
)
def test_intensities_stay_where_they_are(tmp_path: Path, angles, spacing, working, slope):
    """HU = slope · position: after any resampling the value still tells the position, to half a voxel."""
    grid = make_grid(rotation(*angles), spacing)
    ct = Volume((coordinates_mm(grid) @ slope + 50).astype(np.float32), grid.affine)
    write_volume(tmp_path / "ct.nii.gz", ct)
    result = resample(to_canonical(read_volume(tmp_path / "ct.nii.gz")), working)
    points = coordinates_mm(result.grid)
    index = ct.grid.to_index(points)
    reach = 1.5 + np.max(np.divide.outer(working, spacing))
    inside = ((index > reach) & (index < np.array(ct.shape) - 1 - reach)).all(axis=-1)
    if inside.any():
        error = np.abs(result.array[inside] - (points[inside] @ slope + 50))
        assert error.max() <= 0.1 * np.linalg.norm(slope) * max(spacing) + 0.05


@settings(max_examples=60, deadline=None)
@given(
    angles=st.tuples(*[st.floats(-np.pi, np.pi)] * 3),
    spacing=SPACING,
    turn=st.sampled_from(SIGNED_PERMUTATIONS),
)
def test_reorienting_is_lossless(angles, spacing, turn):
    grid = make_grid(rotation(*angles), spacing, extent_mm=20.0)
    volume = Volume(np.arange(np.prod(grid.shape)).reshape(grid.shape), grid.affine)
    other = make_grid(rotation(*angles) @ turn, (1.0, 1.0, 1.0))
    turned = reorient(volume, other)
    assert axis_codes(turned) == axis_codes(other)
    back = reorient(turned, volume)
    np.testing.assert_array_equal(back.array, volume.array)
    np.testing.assert_allclose(back.affine, volume.affine, atol=1e-9)
    assert axis_codes(to_canonical(volume)) == "RAS"
