"""Lesions on both sides: one ball a side, however much brighter the network sees one of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from llm_extract.anatomy import load_anatomy
from llm_extract.records import Lesion
from llm_extract.reports import Report
from llm_extract.rules import extract_record
from rsuper.integrations import encode_targets
from rsuper.losses import ReportSupervisionLoss, ball_targets
from rsuper.supervision import build_case_targets, check_consistency, crop_pairs, load_policy
from rsuper.supervision.groups import sides_of_members
from rsuper.supervision.regions import RegionBuilder, find_host

SHAPE = (56, 64, 60)
MM = (1.5, 1.5, 1.5)


@pytest.fixture
def kidneys(make_sphere):
    """Two kidneys of 39 mm, apart."""
    return {
        "kidney_left": make_sphere((14, 48, 30), 19.5, MM, SHAPE),
        "kidney_right": make_sphere((14, 15, 30), 19.5, MM, SHAPE),
    }


def build(records, masks, **options):
    targets = build_case_targets(
        records,
        masks,
        case_id="C1",
        spacing_mm=MM,
        lesion_classes=("kidney_lesion",),
        voxel_labelled=frozenset(),
        **options,
    )
    return targets, targets.classes["kidney_lesion"]


def sides(targets, logits):
    """The side of the ball of every located lesion."""
    (pair,) = crop_pairs(targets, (0, 0, 0), SHAPE, sample=0, channels={"kidney_lesion": 0})
    found = ball_targets(torch.sigmoid(logits), pair.region, pair.lesions, spacing_mm=MM, logits=logits)
    return sorted("left" if center[1] > 32 else "right" for center in found.centers[found.located].tolist())


def bright_left(make_sphere):
    """A network that sees two lesions in the left kidney, and hardly anything in the right one."""
    noise = torch.randn(SHAPE, generator=torch.Generator().manual_seed(3))
    logits = -6 + 0.2 * noise
    for center in ((10, 44, 26), (18, 52, 34)):
        logits[torch.from_numpy(make_sphere(center, 7, MM, SHAPE))] += 9
    logits[torch.from_numpy(make_sphere((14, 15, 30), 7, MM, SHAPE))] += 1.5
    return logits


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"count": 2}, ["left", "right"]),
        ({"count": 2, "diameters_mm": (14.0,)}, ["left", "right"]),
        ({"count": None, "count_kind": "multiple_unknown"}, ["left", "right"]),
        ({"count": None, "count_kind": "at_least"}, ["left", "right"]),
        ({"count": 3, "diameters_mm": (14.0,)}, ["left", "left", "right"]),
        ({"count": 2, "diameters_mm": (14.0,), "laterality": "left"}, ["left", "left"]),
        ({"count": 2, "diameters_mm": (14.0,), "laterality": "unknown"}, ["left", "left"]),
    ],
)
def test_each_side_gets_its_ball(kidneys, make_lesion, make_record, make_sphere, fields, expected):
    item = make_lesion("kidney", **({"laterality": "bilateral"} | fields))
    targets, target = build([make_record(item)], kidneys)
    assert target.state == "reported"
    assert sides(targets, bright_left(make_sphere)) == expected


@pytest.mark.parametrize(
    "text",
    [
        "Renal masses on both sides.",
        "Two 14 mm masses in both kidneys.",
        "Bilateral renal masses up to 2 cm.",
    ],
)
def test_from_the_words_to_one_ball_a_side(kidneys, make_sphere, text):
    targets, _ = build([extract_record(Report(report_id="R1", text=text))], kidneys)
    assert sides(targets, bright_left(make_sphere)) == ["left", "right"]


def test_the_rest_of_a_group_on_both_sides_is_searched_where_the_largest_is_not(
    kidneys, make_lesion, make_record, make_sphere
):
    many = {"laterality": "bilateral", "group_id": "G1", "group_role": "remainder"}
    report = make_record(
        make_lesion("kidney", laterality="left", diameters_mm=(14.0,), group_id="G1", group_role="index"),
        make_lesion("kidney", lesion_id="L2", count=None, count_kind="multiple_unknown", **many),
    )
    targets, target = build([report], kidneys)
    assert [item.remainder for item in target.lesions] == [False, False, True]
    assert sides(targets, bright_left(make_sphere)) == ["left", "right"]
    assert target.volume_mm3[1] == np.inf


def test_the_region_of_a_side_is_that_of_a_lesion_stated_there(kidneys, make_lesion, make_record):
    both = make_lesion("kidney", laterality="bilateral", count=2, diameters_mm=(14.0,))
    _, target = build([make_record(both)], kidneys)
    for item, side in zip(target.lesions, ("left", "right"), strict=True):
        one = make_lesion("kidney", laterality=side, diameters_mm=(14.0,))
        _, alone = build([make_record(one)], kidneys)
        assert np.array_equal(item.region.numpy(), alone.region)
        assert torch.equal(item.centers, alone.lesions[0].centers)
        assert item.volume_mm3 == alone.lesions[0].volume_mm3
    assert np.array_equal(target.region, (target.lesions[0].region | target.lesions[1].region).numpy())


def test_target_maps_and_the_loss_carry_the_sides(kidneys, make_lesion, make_record, make_sphere):
    both = make_lesion("kidney", laterality="bilateral", count=2, diameters_mm=(14.0,))
    targets, _ = build([make_record(both)], kidneys)
    batch = encode_targets(targets, kidneys, channels=("kidney_lesion",)).supervision()
    logits = bright_left(make_sphere)[None, None].requires_grad_()
    ReportSupervisionLoss()(logits, batch).total.backward()
    right = torch.from_numpy(kidneys["kidney_right"])
    assert (logits.grad[0, 0][right] < 0).any(), "the dim side is pulled up as well"


def test_a_mask_that_does_not_tell_sides_leaves_both_balls_free_and_says_so(
    kidneys, make_lesion, make_record, make_sphere
):
    both = make_lesion("kidney", laterality="bilateral", count=2, diameters_mm=(14.0,))
    one_file = {"kidney": kidneys["kidney_left"] | kidneys["kidney_right"]}
    targets, target = build([make_record(both)], one_file)
    assert "side_mask_missing" in target.codes
    assert target.weight == 1.0
    assert sides(targets, bright_left(make_sphere)) == ["left", "left"]


def test_a_missing_file_of_one_side_is_said_as_such(kidneys, make_lesion, make_record):
    both = make_lesion("kidney", laterality="bilateral", count=2, diameters_mm=(14.0,))
    _, target = build([make_record(both)], {"kidney_left": kidneys["kidney_left"]})
    assert (target.state, target.codes) == ("unknown", ("organ_mask_incomplete",))


def test_both_sides_stated_where_one_has_no_kidney_stays_out_of_the_loss(kidneys, make_lesion, make_record):
    """Two balls in the one kidney would pull up a lesion that is not there."""
    masks = {**kidneys, "kidney_right": np.zeros(SHAPE, dtype=bool)}
    report = make_record(make_lesion("kidney", laterality="bilateral", count=2, diameters_mm=(14.0,)))
    _, target = build([report], masks)
    assert (target.state, target.weight) == ("unknown", 0.0)
    assert {"organ_mask_empty", "side_without_organ"} <= set(target.codes)
    codes = {finding.code for finding in check_consistency(report, masks, spacing_mm=MM)}
    assert codes == {"organ_mask_empty", "side_without_organ"}


def test_parts_of_both_sides_go_to_their_own_side(make_lesion, make_record, make_sphere):
    lobes = {
        f"lung_{lobe}_lobe_{side}": make_sphere((28, y, z), 9, MM, SHAPE)
        for side, y in (("left", 48), ("right", 15))
        for lobe, z in (("lower", 12), ("upper", 42))
    }
    lobes["lung_middle_lobe_right"] = make_sphere((44, 15, 28), 6, MM, SHAPE)
    anatomy = load_anatomy()
    parts = ("lung_left_lower_lobe", "lung_right_lower_lobe")
    nodules = make_lesion("lung", parts=parts, laterality="bilateral", count=2, diameters_mm=(8.0,))
    targets = build_case_targets(
        [make_record(nodules)],
        lobes,
        case_id="C1",
        spacing_mm=MM,
        lesion_classes=("lung_lesion",),
        voxel_labelled=frozenset(),
    )
    builder = RegionBuilder(lobes, anatomy, spacing_mm=MM, rules=load_policy().region_rules)
    found = targets.classes["lung_lesion"].lesions
    for item, side in zip(found, ("left", "right"), strict=True):
        host = find_host(lobes, anatomy, organ="lung", parts=(f"lung_{side}_lower_lobe",), laterality=side)
        expected = builder.region(host, margin_mm=anatomy.organs["lung"].margin_mm, longest_mm=8.0)
        assert np.array_equal(item.region.numpy(), expected.region)


@pytest.mark.parametrize(
    ("fields", "index", "expected"),
    [
        ({"count": 2, "laterality": "bilateral"}, None, ("left", "right")),
        ({"count": 1, "laterality": "bilateral"}, None, ()),
        ({"count": 2, "laterality": "unknown"}, None, ()),
        ({"count": 4, "laterality": "bilateral", "group_role": "remainder"}, "right", ("left",)),
        ({"count": 4, "laterality": "bilateral", "group_role": "remainder"}, "unknown", ()),
    ],
)
def test_what_an_entry_says_of_the_sides(fields, index, expected):
    item = Lesion(lesion_id="L2", organ="kidney", group_id="G1", **fields)
    group = [item]
    if index is not None:
        group.append(
            Lesion(lesion_id="L1", organ="kidney", group_id="G1", group_role="index", laterality=index)
        )
    assert sides_of_members(item, group) == expected
