"""Records + organ masks -> targets of a case."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import ndimage

from llm_extract.anatomy import load_anatomy
from llm_extract.records import OrganStatement, SideStatement
from rsuper.errors import DataError
from rsuper.supervision import build_case_targets, load_policy, organ_of_class, volume_interval_mm3

CLASSES = ("pancreas_lesion", "kidney_lesion", "adrenal_lesion", "liver_lesion", "spleen_lesion")
FREE = OrganStatement(status="explicitly_lesion_free")


def build(records, organs, *, classes=CLASSES, labelled=(), **options):
    return build_case_targets(
        records,
        organs,
        case_id="C1",
        spacing_mm=(1.0, 1.0, 1.0),
        lesion_classes=classes,
        voxel_labelled=frozenset(labelled),
        **options,
    )


def near(mask, margin_mm):
    return ndimage.distance_transform_edt(~mask) <= margin_mm


def test_every_class_gets_a_target_on_the_grid_of_the_masks(organs, make_lesion, make_record):
    report = make_record(make_lesion(diameters_mm=(8.0,)), organs={"liver": FREE})
    targets = build([report], organs, labelled=("kidney_lesion",))
    assert set(targets.classes) == set(CLASSES)
    assert {name: target.state for name, target in targets.classes.items()} == {
        "pancreas_lesion": "reported",
        "kidney_lesion": "voxels",
        "adrenal_lesion": "unknown",
        "liver_lesion": "absent",
        "spleen_lesion": "unknown",
    }
    assert targets.shape == organs["liver"].shape
    assert targets.spacing_mm == (1.0, 1.0, 1.0)


def test_one_sized_lesion_in_a_part(organs, make_lesion, make_record):
    report = make_record(
        make_lesion(
            parts=("pancreas_tail",), diameters_mm=(9.0, 7.0), size_precision_mm=0.5, attenuation="hypo"
        )
    )
    target = build([report], organs, margins_mm={"pancreas": 6.0}).classes["pancreas_lesion"]
    expected = volume_interval_mm3([9.0, 7.0], precision_mm=0.5)
    assert target.volume_mm3 == expected
    assert target.weight == 1.0
    assert target.margin_mm == 6.0
    assert target.codes == ()
    assert target.ignore is None
    (only,) = target.lesions
    assert only.volume_mm3 == expected
    assert only.diameters_mm == (9.0, 7.0)
    assert only.attenuation == "hypo"
    assert only.region is None
    stomach = ndimage.distance_transform_edt(organs["stomach"]) > 2.0
    assert np.array_equal(target.region, near(organs["pancreas_tail"], 6.0) & ~stomach)
    assert np.array_equal(only.centers.numpy(), near(organs["pancreas_tail"], 5.0) & target.region)


def test_two_adrenals_share_one_region_and_each_keeps_its_own(organs, make_lesion, make_record):
    report = make_record(
        make_lesion("adrenal_gland", lesion_id="L1", laterality="right", diameters_mm=(5.0,)),
        make_lesion("adrenal_gland", lesion_id="L2", laterality="left", diameters_mm=(7.0,)),
    )
    target = build([report], organs).classes["adrenal_lesion"]
    large, small = target.lesions
    assert large.diameters_mm == (7.0,)
    left, right = large.region.numpy(), small.region.numpy()
    assert np.array_equal(target.region, left | right)
    assert left[organs["adrenal_gland_left"]].all()
    assert not left[organs["adrenal_gland_right"]].any()
    assert right[organs["adrenal_gland_right"]].all()
    kidney = ndimage.distance_transform_edt(organs["kidney_left"]) > 2.0
    assert not left[kidney].any()
    single = [volume_interval_mm3([d]) for d in (5.0, 7.0)]
    assert target.volume_mm3 == pytest.approx((single[0][0] + single[1][0], single[0][1] + single[1][1]))
    assert target.median_mm3 is not None


def test_index_and_remainder(organs, make_lesion, make_record):
    report = make_record(
        make_lesion("liver", lesion_id="L1", diameters_mm=(9.0,), group_id="G1", group_role="index"),
        make_lesion(
            "liver",
            lesion_id="L2",
            count=None,
            count_kind="multiple_unknown",
            group_id="G1",
            group_role="remainder",
        ),
    )
    target = build([report], organs).classes["liver_lesion"]
    assert [lesion.remainder for lesion in target.lesions] == [False, True]
    assert target.volume_mm3 == (pytest.approx(volume_interval_mm3([9.0])[0] + 14.0), math.inf)
    assert target.median_mm3 is None


def test_a_lesion_without_size_is_bounded_by_its_region(organs, make_lesion, make_record):
    target = build([make_record(make_lesion("liver"))], organs).classes["liver_lesion"]
    assert target.volume_mm3 == (65.4, float(target.region.sum()))


def test_a_missing_organ_mask_is_coded_and_never_supervises(organs, make_lesion, make_record):
    report = make_record(make_lesion("spleen", diameters_mm=(10.0,)))
    target = build([report], organs).classes["spleen_lesion"]
    assert target.state == "unknown"
    assert target.weight == 0.0
    assert target.region is None
    assert "organ_mask_missing" in target.codes


def test_a_part_without_mask_uses_the_organ_and_says_so(organs, make_lesion, make_record):
    masks = {name: mask for name, mask in organs.items() if name != "pancreas_head"}
    report = make_record(make_lesion(parts=("pancreas_head",), diameters_mm=(9.0,)))
    target = build([report], masks).classes["pancreas_lesion"]
    assert target.state == "reported"
    assert target.weight == 1.0
    assert target.codes == ("part_mask_missing",)
    assert target.region[organs["pancreas_tail"]].all()


def test_unknown_is_unknown_in_the_organ_and_its_margin_only(organs, make_record):
    target = build([make_record()], organs, margins_mm={"kidney": 4.0}).classes["kidney_lesion"]
    kidneys = organs["kidney_left"] | organs["kidney_right"]
    inside_other = [
        ndimage.distance_transform_edt(mask) > 2.0
        for name, mask in organs.items()
        if not name.startswith("kidney")
    ]
    expected = near(kidneys, 4.0) & ~np.logical_or.reduce(inside_other)
    assert target.state == "unknown"
    assert np.array_equal(target.region, expected | kidneys)


def test_a_side_that_is_free_leaves_only_the_other_side_unknown(organs, make_record):
    said = OrganStatement(sides={"right": SideStatement(status="explicitly_lesion_free")})
    target = build([make_record(organs={"kidney": said})], organs).classes["kidney_lesion"]
    assert target.state == "unknown"
    assert target.region[organs["kidney_left"]].all()
    assert not target.region[organs["kidney_right"]].any()


def test_an_unmentioned_side_stays_unknown_beside_a_reported_one(organs, make_lesion, make_record):
    report = make_record(
        make_lesion("kidney", laterality="left", diameters_mm=(8.0,)),
        organs={"kidney": OrganStatement(status="lesion_present")},
    )
    target = build([report], organs).classes["kidney_lesion"]
    assert target.state == "reported"
    assert not target.region[organs["kidney_right"]].any()
    assert target.ignore[organs["kidney_right"]].all()


def test_a_cyst_beside_a_mass_is_ignored_not_negative(organs, make_lesion, make_record):
    report = make_record(
        make_lesion("kidney", laterality="left", diameters_mm=(8.0,)),
        make_lesion("kidney", lesion_id="L2", laterality="right", kind="cyst", malignancy="benign"),
    )
    target = build([report], organs).classes["kidney_lesion"]
    assert len(target.lesions) == 1
    assert target.ignore[organs["kidney_right"]].all()


def test_exophytic_lesions_get_a_larger_margin(organs, make_lesion, make_record):
    plain = build([make_record(make_lesion(diameters_mm=(8.0,)))], organs).classes["pancreas_lesion"]
    exophytic = build(
        [make_record(make_lesion(diameters_mm=(8.0,), location_text="exophytic from the tail"))], organs
    ).classes["pancreas_lesion"]
    assert exophytic.margin_mm == pytest.approx(1.5 * plain.margin_mm)
    assert exophytic.region.sum() > plain.region.sum()


def test_an_impossible_size_keeps_the_lesion_out_of_the_loss(organs, make_lesion, make_record):
    report = make_record(make_lesion(diameters_mm=(220.0,)))
    target = build([report], organs).classes["pancreas_lesion"]
    assert target.state == "reported"
    assert target.weight == 0.0
    assert "size_above_organ_extent" in target.codes
    assert target.volume_mm3[0] == 0.0
    trusting = load_policy().model_copy(update={"inconsistent_weight": 0.2})
    assert build([report], organs, policy=trusting).classes["pancreas_lesion"].weight in (0.0, 0.2)


def test_one_impossible_lesion_opens_the_pair_but_the_other_still_counts(organs, make_lesion, make_record):
    report = make_record(
        make_lesion(lesion_id="L1", parts=("pancreas_head",), diameters_mm=(8.0,)),
        make_lesion(lesion_id="L2", parts=("pancreas_tail",), diameters_mm=(220.0,)),
    )
    target = build([report], organs).classes["pancreas_lesion"]
    assert 0.0 < target.weight < 1.0
    assert target.volume_mm3 == (volume_interval_mm3([8.0], organ="pancreas")[0], math.inf)
    assert [lesion.remainder for lesion in target.lesions] == [False, True]


def test_pathology_settles_malignancy_of_the_target(organs, make_lesion, make_record):
    radiology = make_record(make_lesion(diameters_mm=(8.0,)))
    pathology = make_record(make_lesion(malignancy="malignant"), source="pathology", report_id="P1")
    target = build([radiology, pathology], organs).classes["pancreas_lesion"]
    assert [lesion.malignant for lesion in target.lesions] == [True]


def test_less_certain_lesions_weigh_less(organs, make_lesion, make_record):
    report = make_record(make_lesion(diameters_mm=(8.0,), presence="probable"), status="needs_review")
    target = build([report], organs).classes["pancreas_lesion"]
    assert target.weight == pytest.approx(0.35)
    assert target.lesions[0].weight == pytest.approx(0.35)


def test_permuting_the_lesions_changes_nothing_that_matters(organs, make_lesion, make_record):
    lesions = [
        make_lesion(lesion_id="L1", parts=("pancreas_head",), diameters_mm=(8.0,)),
        make_lesion(lesion_id="L2", parts=("pancreas_tail",), diameters_mm=(6.0,)),
    ]
    one = build([make_record(*lesions)], organs).classes["pancreas_lesion"]
    two = build([make_record(*reversed(lesions))], organs).classes["pancreas_lesion"]
    assert one.volume_mm3 == pytest.approx(two.volume_mm3)
    assert np.array_equal(one.region, two.region)
    assert [lesion.diameters_mm for lesion in one.lesions] == [lesion.diameters_mm for lesion in two.lesions]


def test_a_class_without_an_organ_is_unknown_everywhere(organs, make_record):
    target = build([make_record()], organs, classes=("tail_lesion",)).classes["tail_lesion"]
    assert target.codes == ("class_without_organ",)
    assert target.region is None
    assert target.weight == 0.0


def test_classes_find_their_organs():
    anatomy = load_anatomy()
    assert organ_of_class("adrenal_lesion", anatomy) == "adrenal_gland"
    assert organ_of_class("kidney_cyst", anatomy) == "kidney"
    assert organ_of_class("nonsense", anatomy) is None


def test_bad_input_is_refused_with_a_code(organs):
    cases = [
        ({}, (1.0, 1.0, 1.0), "no_organ_masks"),
        ({**organs, "spleen": np.zeros((3, 3, 3), dtype=bool)}, (1.0, 1.0, 1.0), "mask_grid_mismatch"),
        (organs, (1.0, 0.0, 1.0), "bad_spacing"),
        (organs, (1.0, 1.0), "bad_spacing"),
    ]
    for masks, spacing_mm, code in cases:
        with pytest.raises(DataError) as caught:
            build_case_targets(
                [],
                masks,
                case_id="C1",
                spacing_mm=spacing_mm,
                lesion_classes=CLASSES,
                voxel_labelled=frozenset(),
            )
        assert caught.value.code == code
        assert caught.value.case_id == "C1"


def test_masks_of_any_number_type_give_the_same_targets(organs, make_lesion, make_record):
    report = make_record(make_lesion(diameters_mm=(8.0,)))
    plain = build([report], organs).classes["pancreas_lesion"]
    for numbers in (
        {k: m.astype(np.uint8) * 255 for k, m in organs.items()},
        {k: 1.0 * m for k, m in organs.items()},
    ):
        other = build([report], numbers).classes["pancreas_lesion"]
        assert np.array_equal(other.region, plain.region)
        assert other.volume_mm3 == plain.volume_mm3


@pytest.mark.parametrize("place", [(0, 0, 0), (55, 63, 59), (20, 0, 59)])
def test_an_organ_of_one_voxel_in_a_corner(organs, make_lesion, make_record, place):
    spot = np.zeros_like(organs["liver"])
    spot[place] = True
    report = make_record(make_lesion("spleen"))
    target = build([report], {"spleen": spot}, margins_mm={"spleen": 7.0}).classes["spleen_lesion"]
    assert target.state == "reported"
    assert np.array_equal(target.region, near(spot, 7.0))
    assert target.volume_mm3 == (65.4, float(target.region.sum()))
    tight = build([report], {"spleen": spot}, margins_mm={"spleen": 2.0}).classes["spleen_lesion"]
    assert tight.weight == 0.0
    assert tight.codes == ("volume_above_region",)


def test_a_thousand_lesions_stay_searchable(organs, make_lesion, make_record):
    report = make_record(make_lesion("liver", count=1000, size_max_mm=4.0, size_kind="upper_bound"))
    target = build([report], organs).classes["liver_lesion"]
    assert len(target.lesions) == 11
    assert target.volume_mm3[0] == pytest.approx(14_000.0)
    assert sum(lesion.volume_mm3[0] for lesion in target.lesions) == pytest.approx(14_000.0)


def test_nothing_in_a_target_is_shared_with_the_input(organs, make_lesion, make_record):
    before = {name: mask.copy() for name, mask in organs.items()}
    target = build([make_record(make_lesion())], organs, margins_mm={"pancreas": 0.0}).classes[
        "pancreas_lesion"
    ]
    target.region[:] = False
    target.lesions[0].centers.fill_(True)
    assert all(np.array_equal(organs[name], before[name]) for name in organs)
