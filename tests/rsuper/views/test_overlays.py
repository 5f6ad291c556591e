"""Slices and outlines: geometry by hand, areas against the masks, and no surprise on empty input."""

from __future__ import annotations

import io
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.image import imread

from rsuper.errors import DataError
from rsuper.views import Layer, best_slice, frame_around, picture_png, picture_svg, slice_picture
from rsuper.views.overlays import LAYER_COLOURS, LAYER_LABELS, Frame, grey_png

SHAPE = (20, 16, 10)


def mask(*slices):
    array = np.zeros(SHAPE, bool)
    array[slices] = True
    return array


def area(line):
    """Shoelace formula of one closed line."""
    x, y = line[:, 0], line[:, 1]
    return 0.5 * abs(np.dot(x[:-1], y[1:]) - np.dot(x[1:], y[:-1]))


def test_right_of_the_patient_is_left_and_front_is_up():
    ct = np.full(SHAPE, -200.0)
    ct[18, 14, 4] = 500.0  # far right (RAS), far front
    picture = slice_picture(ct, [], spacing_mm=(2.0, 3.0, 5.0), slice_index=4)
    row, column = np.unravel_index(picture.grey.argmax(), picture.grey.shape)
    assert (row, column) == (1, 1)
    assert (picture.width_mm, picture.height_mm) == (40.0, 48.0)
    assert picture.grey.shape == (16, 20)


def test_window_maps_level_to_middle_grey():
    ct = np.zeros(SHAPE)
    ct[0], ct[1], ct[2] = 50.0, -1000.0, 3000.0
    grey = slice_picture(
        ct, [], spacing_mm=(1, 1, 1), slice_index=0, window_hu=(50.0, 400.0)
    ).grey  # columns run from the patient's right: the last one is i = 0
    assert grey[0, -1] == 128
    assert grey[0, -2] == 0
    assert grey[0, -3] == 255


def test_the_outline_of_a_rectangle_lies_on_its_border():
    layer = Layer(kind="reference", mask=mask(slice(4, 10), slice(3, 9), 5))
    picture = slice_picture(np.zeros(SHAPE), [layer], spacing_mm=(2.0, 3.0, 1.0), slice_index=5)
    [line] = picture.outlines[0].lines
    # i 4..9 of 20 columns of 2 mm, seen from the right: 20 − 10 = 10 columns before it
    assert line[:, 0].min() == pytest.approx(2.0 * 10)
    assert line[:, 0].max() == pytest.approx(2.0 * 16)
    assert line[:, 1].min() == pytest.approx(3.0 * 7)
    assert line[:, 1].max() == pytest.approx(3.0 * 13)
    # marching squares cut the corners: an eighth of a voxel each
    assert area(line) == pytest.approx(36 * 6 - 4 * 6 / 8)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_outlines_enclose_the_mask_area(seed):
    from scipy import ndimage

    rng = np.random.default_rng(seed)
    plane = ndimage.gaussian_filter(rng.normal(size=(24, 24)), 3) > 0.02
    volume = plane[:, :, None]
    picture = slice_picture(
        np.zeros(volume.shape),
        [Layer(kind="ball", mask=volume)],
        spacing_mm=(1, 1, 1),
        slice_index=0,
    )
    signed = 0.0
    for line in picture.outlines[0].lines:
        x, y = line[:, 0], line[:, 1]
        signed += 0.5 * (np.dot(x[:-1], y[1:]) - np.dot(x[1:], y[:-1]))
        assert (line[0] == line[-1]).all()  # closed, also at the border of the volume
    perimeter = sum(np.abs(np.diff(plane.astype(int), axis=a)).sum() for a in (0, 1)) + 4 * 24
    assert abs(abs(signed) - plane.sum()) <= perimeter / 4


def test_best_slice_and_frame():
    lesion = mask(slice(4, 8), slice(4, 8), slice(2, 5))
    lesion[4:10, 4:8, 3] = True
    assert best_slice([np.zeros(SHAPE, bool), lesion]) == 3
    assert best_slice([np.zeros(SHAPE, bool)]) == 5
    frame = frame_around([lesion], spacing_mm=(2.0, 1.0, 1.0), margin_mm=4.0)
    assert frame == Frame(first=(2, 12), second=(0, 12))
    wide = frame_around([lesion], spacing_mm=(1.0, 1.0, 1.0), margin_mm=0.0, min_size_mm=12.0)
    assert (wide.first[1] - wide.first[0], wide.second[1] - wide.second[0]) == (12, 12)
    assert frame_around([np.zeros(SHAPE, bool)], spacing_mm=(1, 1, 1)) == Frame(first=(0, 20), second=(0, 16))


def test_wrong_input_is_named():
    with pytest.raises(DataError, match="slice_outside"):
        slice_picture(np.zeros(SHAPE), [], spacing_mm=(1, 1, 1), slice_index=10)
    with pytest.raises(DataError, match="shape_mismatch"):
        slice_picture(
            np.zeros(SHAPE),
            [Layer(kind="ball", mask=np.zeros((3, 3, 3), bool))],
            spacing_mm=(1, 1, 1),
            slice_index=0,
        )
    broken = np.full(SHAPE, np.nan)
    assert slice_picture(broken, [], spacing_mm=(1, 1, 1), slice_index=0).grey.max() == 0


def test_svg_is_well_formed_and_escaped():
    layers = [
        Layer(kind="reference", mask=mask(slice(4, 10), slice(3, 9), 5)),
        Layer(kind="masks_only", mask=np.zeros(SHAPE, bool)),
    ]
    picture = slice_picture(np.zeros(SHAPE), layers, spacing_mm=(1, 1, 1), slice_index=5)
    hostile = '"><script>alert(1)</script>'
    svg = str(picture_svg(picture, description=hostile))
    root = ElementTree.fromstring(svg)
    assert root.attrib["aria-label"] == hostile
    assert "<script" not in svg
    paths = [element for element in root if element.tag.endswith("path")]
    assert [p.attrib["class"] for p in paths] == ["outline outline-reference", "scale-bar"]


def test_png_shows_the_colour_of_the_layer():
    layers = [Layer(kind="masks_and_reports", mask=mask(slice(4, 10), slice(3, 9), 5))]
    picture = slice_picture(np.zeros(SHAPE), layers, spacing_mm=(1, 1, 1), slice_index=5)
    pixels = imread(io.BytesIO(picture_png(picture, width_px=400)))[..., :3]
    wanted = np.array([int(LAYER_COLOURS["masks_and_reports"][i : i + 2], 16) / 255 for i in (1, 3, 5)])
    assert (np.abs(pixels - wanted).max(axis=-1) < 0.05).sum() > 100
    assert pixels.shape[:2] == (320, 400)
    assert picture_png(picture) == picture_png(picture)
    assert imread(io.BytesIO(grey_png(picture.grey))).shape[:2] == picture.grey.shape


def test_every_layer_has_a_colour_and_a_legend():
    assert set(LAYER_COLOURS) == set(LAYER_LABELS)
