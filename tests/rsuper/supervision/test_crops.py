"""What of a case's targets a crop still holds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llm_extract.records import OrganStatement
from rsuper.supervision import (
    CaseTargets,
    ClassTarget,
    LesionTarget,
    build_case_targets,
    crop_label,
    crop_pairs,
)

CHANNELS = {"pancreas_lesion": 3, "adrenal_lesion": 5}
SHAPE = (20, 22, 24)


@pytest.fixture
def targets(organs, make_lesion, make_record) -> CaseTargets:
    report = make_record(
        make_lesion(lesion_id="L1", parts=("pancreas_head",), diameters_mm=(9.0,)),
        make_lesion("adrenal_gland", lesion_id="L2", laterality="right", diameters_mm=(5.0,)),
        make_lesion("adrenal_gland", lesion_id="L3", laterality="left", diameters_mm=(7.0,)),
        organs={"liver": OrganStatement(status="explicitly_lesion_free")},
    )
    return build_case_targets(
        [report],
        organs,
        case_id="C1",
        spacing_mm=(1.0, 1.0, 1.0),
        lesion_classes=("pancreas_lesion", "adrenal_lesion", "liver_lesion", "kidney_lesion"),
        voxel_labelled=frozenset(),
    )


def simple(region: np.ndarray, *lesions: LesionTarget) -> CaseTargets:
    target = ClassTarget(
        state="reported",
        region=region,
        lesions=lesions,
        volume_mm3=(100.0, 900.0),
        median_mm3=300.0,
        sigma_log=0.5,
    )
    return CaseTargets(
        case_id="C1", classes={"liver_lesion": target}, spacing_mm=(1.0, 1.0, 1.0), shape=region.shape
    )


def test_the_whole_volume_keeps_everything(targets):
    pancreas, adrenal = crop_pairs(targets, (0, 0, 0), targets.shape, sample=2, channels=CHANNELS)
    for pair, name in ((pancreas, "pancreas_lesion"), (adrenal, "adrenal_lesion")):
        whole = targets.classes[name]
        assert (pair.sample, pair.channel, pair.complete) == (2, CHANNELS[name], True)
        assert (pair.volume_mm3, pair.median_mm3, pair.sigma_log) == (
            whole.volume_mm3,
            whole.median_mm3,
            whole.sigma_log,
        )
        assert np.array_equal(pair.region.numpy(), whole.region)
        assert [lesion.volume_mm3 for lesion in pair.lesions] == [
            lesion.volume_mm3 for lesion in whole.lesions
        ]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_crop_asks_for_the_same_if_it_holds_the_region_and_for_no_lower_bound_if_not(data):
    box = [
        sorted(data.draw(st.lists(st.integers(0, size), min_size=2, max_size=2, unique=True)))
        for size in SHAPE
    ]
    start, stop = [low for low, _ in box], [high for _, high in box]
    region = np.zeros(SHAPE, dtype=bool)
    region[5:11, 6:14, 8:15] = True
    one = LesionTarget(diameters_mm=(6.0,), volume_mm3=(80.0, 400.0), median_mm3=150.0, sigma_log=0.4)
    targets = simple(region, one)
    pairs = crop_pairs(targets, start, stop, sample=0, channels={"liver_lesion": 1})
    cut = region[tuple(slice(a, b) for a, b in box)]
    if not cut.any():
        assert pairs == ()
        return
    (pair,) = pairs
    assert np.array_equal(pair.region.numpy(), cut)
    assert pair.volume_mm3[1] == 900.0
    (lesion,) = pair.lesions
    assert lesion.volume_mm3[1] == 400.0
    if cut.sum() == region.sum():
        assert pair.complete
        assert (pair.volume_mm3[0], pair.median_mm3, pair.sigma_log) == (100.0, 300.0, 0.5)
        assert lesion == one
    else:
        assert not pair.complete
        assert (pair.volume_mm3[0], pair.median_mm3, pair.sigma_log) == (0.0, None, None)
        assert lesion.remainder
        assert (lesion.volume_mm3[0], lesion.median_mm3) == (0.0, None)


def test_a_lesion_whose_own_region_is_inside_keeps_its_ball(targets):
    whole = targets.classes["adrenal_lesion"]
    left = whole.lesions[0]
    hit = np.argwhere(left.region.numpy())
    start, stop = hit.min(0), hit.max(0) + 1
    (pair,) = crop_pairs(targets, start, stop, sample=0, channels={"adrenal_lesion": 0})
    assert not pair.complete
    assert pair.volume_mm3 == (0.0, whole.volume_mm3[1])
    kept, dropped = pair.lesions
    assert not kept.remainder
    assert kept.volume_mm3 == left.volume_mm3
    assert int(kept.region.sum()) == int(left.region.sum())
    assert kept.centers is not None
    assert dropped.remainder
    assert dropped.volume_mm3[0] == 0.0


def test_a_slab_inside_the_crop_keeps_the_ball_and_is_shifted():
    region = np.zeros(SHAPE, dtype=bool)
    region[2:18, 5:15, 5:15] = True
    inside = LesionTarget(diameters_mm=(6.0,), volume_mm3=(80.0, 400.0), slab=(0, 6, 9))
    outside = LesionTarget(diameters_mm=(6.0,), volume_mm3=(80.0, 400.0), slab=(0, 14, 17))
    (pair,) = crop_pairs(
        simple(region, inside, outside), (4, 0, 0), (12, 22, 24), sample=0, channels={"liver_lesion": 0}
    )
    assert not pair.complete
    assert pair.lesions[0].slab == (0, 2, 5)
    assert not pair.lesions[0].remainder
    assert pair.lesions[1].remainder


def test_pairs_without_weight_or_report_are_left_out(targets):
    assert (
        crop_pairs(
            targets, (0, 0, 0), targets.shape, sample=0, channels={"liver_lesion": 0, "kidney_lesion": 1}
        )
        == ()
    )
    region = np.ones(SHAPE, dtype=bool)
    silent = simple(region)
    silent.classes["liver_lesion"] = ClassTarget(state="reported", region=region, weight=0.0)
    assert crop_pairs(silent, (0, 0, 0), SHAPE, sample=0, channels={"liver_lesion": 0}) == ()


def test_labels_and_known_voxels_of_each_state(targets):
    whole = (0, 0, 0), targets.shape
    reported = crop_label(targets, "pancreas_lesion", *whole)
    assert not reported.label.any()
    assert np.array_equal(reported.known, ~targets.classes["pancreas_lesion"].region)
    absent = crop_label(targets, "liver_lesion", *whole)
    assert absent.known.all()
    assert not absent.label.any()
    unknown = crop_label(targets, "kidney_lesion", *whole)
    assert np.array_equal(unknown.known, ~targets.classes["kidney_lesion"].region)
    assert not crop_label(targets, "not_a_class", *whole).known.any()


def test_a_human_mask_is_known_everywhere_and_must_fit_the_crop():
    targets = CaseTargets(
        case_id="C1",
        classes={"liver_lesion": ClassTarget(state="voxels")},
        spacing_mm=(1.0, 1.0, 1.0),
        shape=SHAPE,
    )
    mask = np.zeros((5, 5, 5), dtype=bool)
    mask[2, 2, 2] = True
    crop = crop_label(targets, "liver_lesion", (1, 1, 1), (6, 6, 6), voxels=mask)
    assert crop.known.all()
    assert np.array_equal(crop.label, mask)
    with pytest.raises(ValueError, match=r"\(D, H, W\)"):
        crop_label(targets, "liver_lesion", (0, 0, 0), (6, 6, 6), voxels=mask)


def test_ignored_voxels_and_organs_without_a_mask_stay_unknown():
    region, ignore = np.zeros(SHAPE, dtype=bool), np.zeros(SHAPE, dtype=bool)
    region[:5], ignore[8:10] = True, True
    targets = CaseTargets(
        case_id="C1",
        classes={
            "liver_lesion": ClassTarget(state="reported", region=region, ignore=ignore),
            "spleen_lesion": ClassTarget(state="unknown", region=None),
        },
        spacing_mm=(1.0, 1.0, 1.0),
        shape=SHAPE,
    )
    assert np.array_equal(crop_label(targets, "liver_lesion", (0, 0, 0), SHAPE).known, ~(region | ignore))
    assert not crop_label(targets, "spleen_lesion", (0, 0, 0), SHAPE).known.any()


@pytest.mark.parametrize("box", [((0, 0, 0), (21, 22, 24)), ((-1, 0, 0), (5, 5, 5)), ((4, 4, 4), (4, 8, 8))])
def test_a_crop_outside_the_grid_is_refused(box):
    with pytest.raises(ValueError, match="grid"):
        crop_pairs(simple(np.ones(SHAPE, dtype=bool)), *box, sample=0, channels={"liver_lesion": 0})


def test_cropped_masks_do_not_alias_the_case(targets):
    (pair,) = crop_pairs(targets, (0, 0, 0), targets.shape, sample=0, channels={"pancreas_lesion": 0})
    before = targets.classes["pancreas_lesion"].region.copy()
    pair.region.fill_(False)
    assert np.array_equal(targets.classes["pancreas_lesion"].region, before)
    assert pair.region.dtype == torch.bool
