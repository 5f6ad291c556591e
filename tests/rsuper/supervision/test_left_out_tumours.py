"""Organ masks that leave the tumour out: a hole, a bite, an end that is missing; and what must not be filled."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from rsuper.supervision import build_case_targets, crop_label, load_policy

SHAPE = (72, 72, 72)
AS_THEY_ARE = load_policy().model_copy(update={"fill_diameters": 0.0, "open_diameters": 0.0})
FILLED = load_policy().model_copy(update={"open_diameters": 0.0})
WHOLE = (36, 36, 36)


@pytest.fixture
def liver(make_sphere) -> np.ndarray:
    return make_sphere(WHOLE, 26, shape=SHAPE)


def built(
    masks, report, *, policy=None, lesion_class="liver_lesion", spacing_mm=(1.0, 1.0, 1.0), margin_mm=6.0
):
    targets = build_case_targets(
        [report],
        masks,
        case_id="C1",
        spacing_mm=spacing_mm,
        lesion_classes=(lesion_class,),
        voxel_labelled=frozenset(),
        margins_mm={lesion_class: margin_mm},
        policy=policy,
    )
    return targets, targets.classes[lesion_class]


def shares(masks, report, tumour, **options) -> tuple[float, float, float]:
    """Of a tumour: its share in the region, how far from its centre the search must stay, its share called healthy."""
    targets, target = built(masks, report, **options)
    known = crop_label(targets, "liver_lesion", (0, 0, 0), targets.shape).known
    [lesion] = target.lesions
    center = tuple(round(place) for place in np.argwhere(tumour).mean(axis=0))
    away_mm = ndimage.distance_transform_edt(~lesion.centers.numpy())[center]
    return float(target.region[tumour].mean()), float(away_mm), float(known[tumour].mean())


@pytest.mark.parametrize(
    ("place", "radius_mm", "diameters_mm"),
    [
        pytest.param(WHOLE, 14, (28.0,), id="a hole"),
        pytest.param((36, 36, 56), 12, (24.0, 24.0), id="a bite at the surface"),
        pytest.param((36, 36, 62), 13, (26.0,), id="half of it outside"),
    ],
)
def test_a_tumour_that_the_mask_leaves_out_is_not_called_healthy(
    liver, make_sphere, make_lesion, make_record, place, radius_mm, diameters_mm
):
    tumour = make_sphere(place, radius_mm, shape=SHAPE)
    report = make_record(make_lesion("liver", diameters_mm=diameters_mm))
    masks = {"liver": liver & ~tumour}
    before = shares(masks, report, tumour, policy=AS_THEY_ARE)
    filled = shares(masks, report, tumour, policy=FILLED)
    now = shares(masks, report, tumour)
    assert before[0] < 0.9
    assert before[1] == pytest.approx(radius_mm - 5, abs=1.0)
    assert filled[0] > before[0] + 0.05
    assert filled[1] < before[1] / 2
    assert now[:2] == filled[:2], "what stays unknown is not searched"
    assert now[2] < 0.15 * before[2]


def test_the_whole_mask_grows_by_next_to_nothing(liver, make_sphere, make_lesion, make_record):
    report = make_record(make_lesion("liver", diameters_mm=(28.0,)))
    masks = {"liver": liver, "stomach": make_sphere((36, 36, 70), 12, shape=SHAPE) & ~liver}
    _, before = built(masks, report, policy=AS_THEY_ARE)
    _, filled = built(masks, report, policy=FILLED)
    assert before.region.sum() <= filled.region.sum() <= 1.005 * before.region.sum()
    assert "host_filled" not in filled.codes
    assert filled.ignore is None


def test_what_was_filled_is_said(liver, make_sphere, make_lesion, make_record):
    report = make_record(make_lesion("liver", diameters_mm=(28.0,)))
    masks = {"liver": liver & ~make_sphere(WHOLE, 14, shape=SHAPE)}
    assert built(masks, report)[1].codes == ("host_filled",)


def test_small_and_unsized_lesions_take_the_mask_as_it_is(liver, make_sphere, make_lesion, make_record):
    masks = {"liver": liver & ~make_sphere(WHOLE, 14, shape=SHAPE)}
    for fields in ({}, {"diameters_mm": (9.0,)}, {"size_max_mm": 10.0, "size_kind": "upper_bound"}):
        report = make_record(make_lesion("liver", **fields))
        (_, before), (_, now) = built(masks, report, policy=AS_THEY_ARE), built(masks, report)
        assert np.array_equal(before.region, now.region)
        assert now.ignore is None


def test_a_free_or_unmentioned_organ_is_not_filled(liver, make_sphere, make_record):
    masks = {"liver": liver & ~make_sphere(WHOLE, 14, shape=SHAPE)}
    (_, before), (_, now) = built(masks, make_record(), policy=AS_THEY_ARE), built(masks, make_record())
    assert now.state == "unknown"
    assert np.array_equal(before.region, now.region)


def test_the_inside_of_a_neighbour_is_neither_filled_nor_left_open(
    liver, make_sphere, make_lesion, make_record
):
    tumour = make_sphere((36, 36, 56), 12, shape=SHAPE)
    neighbour = make_sphere((36, 36, 60), 6, shape=SHAPE)
    masks = {"liver": liver & ~tumour, "stomach": neighbour}
    targets, target = built(masks, make_record(make_lesion("liver", diameters_mm=(24.0,))))
    inside = ndimage.distance_transform_edt(neighbour) > 2.0
    assert not target.region[inside].any()
    assert crop_label(targets, "liver_lesion", (0, 0, 0), SHAPE).known[inside].all()


def test_a_side_is_filled_alone_and_two_sides_are_not_joined(make_sphere, make_lesion, make_record):
    left, right = make_sphere((36, 20, 36), 11, shape=SHAPE), make_sphere((36, 52, 36), 11, shape=SHAPE)
    masks = {"kidney_left": left, "kidney_right": right}
    for laterality in ("left", "unknown"):
        report = make_record(make_lesion("kidney", laterality=laterality, diameters_mm=(22.0,)))
        _, before = built(masks, report, policy=AS_THEY_ARE, lesion_class="kidney_lesion")
        _, filled = built(masks, report, policy=FILLED, lesion_class="kidney_lesion")
        assert filled.region.sum() <= 1.01 * before.region.sum(), "the room between them is no gap"


def test_what_a_lesion_took_of_two_parts_belongs_to_the_stated_one(make_sphere, make_lesion, make_record):
    organ = np.zeros(SHAPE, dtype=bool)
    organ[28:44, 28:44, 8:64] = True
    first, second = organ.copy(), organ.copy()
    first[:, :, 36:], second[:, :, :36] = False, False
    tumour = make_sphere(WHOLE, 12, shape=SHAPE)
    masks = {"pancreas": organ, "pancreas_body": first, "pancreas_tail": second}
    punched = {name: mask & ~tumour for name, mask in masks.items()}
    report = make_record(make_lesion(parts=("pancreas_body",), diameters_mm=(24.0,)))
    options = {"lesion_class": "pancreas_lesion", "margin_mm": 8.0}
    _, before = built(punched, report, policy=AS_THEY_ARE, **options)
    _, filled = built(punched, report, policy=FILLED, **options)
    own = tumour & organ
    assert filled.region[own].mean() > 0.95 > before.region[own].mean()
    assert filled.lesions[0].centers.numpy()[WHOLE]
    assert not filled.region[:, :, 60:].any(), "the far end of the other part is no host"


def test_ribs_are_not_joined(make_lesion, make_record):
    masks = {}
    for number in (5, 6, 7):
        rib = np.zeros(SHAPE, dtype=bool)
        rib[12 * (number - 4) : 12 * (number - 4) + 4, 20:24, 10:60] = True
        masks[f"rib_left_{number}"] = rib
    report = make_record(make_lesion("bone", parts=("bone_rib",), diameters_mm=(20.0,)))
    _, before = built(masks, report, policy=AS_THEY_ARE, lesion_class="bone_lesion")
    _, filled = built(masks, report, policy=FILLED, lesion_class="bone_lesion")
    assert np.array_equal(before.region, filled.region)


def test_lesions_of_one_host_share_one_region_with_room_for_the_longest(
    liver, make_sphere, make_lesion, make_record
):
    masks = {"liver": liver & ~make_sphere(WHOLE, 14, shape=SHAPE)}
    report = make_record(
        make_lesion("liver", lesion_id="L1", diameters_mm=(28.0,)),
        make_lesion("liver", lesion_id="L2", diameters_mm=(12.0,)),
    )
    _, target = built(masks, report, policy=FILLED)
    assert [lesion.region for lesion in target.lesions] == [None, None]
    assert target.region[WHOLE]


def test_an_impossible_size_fills_nothing(liver, make_sphere, make_lesion, make_record):
    masks = {"liver": liver & ~make_sphere(WHOLE, 14, shape=SHAPE)}
    report = make_record(make_lesion("liver", diameters_mm=(280.0,)))
    _, target = built(masks, report)
    assert target.weight == 0.0
    assert not target.region[WHOLE]
    assert target.ignore is None
