"""Hosts and their regions, against analytic volumes and an independent distance transform."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from llm_extract.anatomy import load_anatomy
from rsuper.supervision.regions import RegionBuilder, RegionRules, find_host, other_organs

ANATOMY = load_anatomy()


def builder(masks, spacing_mm=(1.0, 1.0, 1.0), **rules) -> RegionBuilder:
    return RegionBuilder(masks, ANATOMY, spacing_mm=spacing_mm, rules=RegionRules(**rules))


@pytest.mark.parametrize("spacing_mm", [(1.0, 1.0, 1.0), (0.8, 0.8, 2.5), (3.0, 1.0, 0.7)])
def test_a_dilated_ball_has_the_volume_of_a_larger_ball(make_sphere, spacing_mm):
    shape = tuple(int(60 / s) for s in spacing_mm)
    center = [size // 2 for size in shape]
    masks = {"liver": make_sphere(center, 12.0, spacing_mm, shape)}
    host = find_host(masks, ANATOMY, organ="liver")
    region = builder(masks, spacing_mm).region(host, margin_mm=10.0)
    own_mm3 = float(masks["liver"].sum()) * math.prod(spacing_mm)
    radius_mm = (own_mm3 * 3 / 4 / math.pi) ** (1 / 3)
    assert region.volume_mm3 == pytest.approx(4 / 3 * math.pi * (radius_mm + 10) ** 3, rel=0.06)
    assert region.volume_mm3 == pytest.approx(float(region.region.sum()) * math.prod(spacing_mm))


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 1000),
    margin_mm=st.floats(0.0, 9.0),
    spacing_mm=st.tuples(*[st.sampled_from([0.7, 1.0, 2.5])] * 3),
)
def test_region_and_centers_agree_with_an_independent_distance_transform(seed, margin_mm, spacing_mm):
    rng = np.random.default_rng(seed)
    organ = np.zeros((14, 15, 16), dtype=bool)
    organ[tuple(rng.integers(0, size, 6) for size in organ.shape)] = True
    masks = {"spleen": organ}
    region = builder(masks, spacing_mm, center_margin_mm=3.0).region(
        find_host(masks, ANATOMY, organ="spleen"), margin_mm=margin_mm
    )
    distance = ndimage.distance_transform_edt(~organ, sampling=spacing_mm)
    clear = np.abs(distance - margin_mm) > 1e-3
    assert np.array_equal(region.region[clear], (distance <= margin_mm)[clear])
    clear &= np.abs(distance - 3.0) > 1e-3
    assert np.array_equal(region.centers[clear], (distance <= min(margin_mm, 3.0))[clear])


def test_the_inside_of_other_organs_is_left_out_but_not_their_rim(organs):
    region = builder(organs).region(find_host(organs, ANATOMY, organ="pancreas"), margin_mm=12.0)
    depth = ndimage.distance_transform_edt(organs["stomach"])
    assert not region.region[depth > 2.0].any()
    assert region.region[organs["stomach"] & (depth <= 2.0)].any()
    assert region.region[organs["pancreas"]].all()


def test_a_left_adrenal_lesion_never_lands_in_the_left_kidney(organs):
    host = find_host(organs, ANATOMY, organ="adrenal_gland", laterality="left")
    region = builder(organs).region(host, margin_mm=15.0)
    inside = ndimage.distance_transform_edt(organs["kidney_left"]) > 2.0
    assert host.structures == ("adrenal_gland_left",)
    assert not region.region[inside].any()
    assert not region.centers[inside].any()
    assert not region.centers[organs["adrenal_gland_right"]].any()


def test_a_part_is_its_own_host_and_several_parts_are_their_union(organs):
    head = find_host(organs, ANATOMY, organ="pancreas", parts=("pancreas_head",))
    both = find_host(organs, ANATOMY, organ="pancreas", parts=("pancreas_body", "pancreas_tail"))
    assert head.structures == ("pancreas_head",)
    assert set(both.structures) == {"pancreas_body", "pancreas_tail"}
    assert not head.codes
    region = builder(organs).region(both, margin_mm=0.0)
    assert np.array_equal(region.region, organs["pancreas_body"] | organs["pancreas_tail"])


def test_a_part_does_not_lose_its_margin_inside_its_own_organ(organs):
    host = find_host(organs, ANATOMY, organ="pancreas", parts=("pancreas_head",))
    region = builder(organs).region(host, margin_mm=5.0).region
    near = ndimage.distance_transform_edt(~organs["pancreas_head"]) <= 5.0
    assert region[near & organs["pancreas_body"]].all()


def test_a_part_without_a_mask_falls_back_to_the_organ_with_a_code(organs):
    missing = {name: mask for name, mask in organs.items() if name != "pancreas_head"}
    empty = {**organs, "pancreas_head": np.zeros_like(organs["pancreas_head"])}
    for masks, code in ((missing, "part_mask_missing"), (empty, "part_mask_empty")):
        host = find_host(masks, ANATOMY, organ="pancreas", parts=("pancreas_head",))
        assert host.structures == ("pancreas",)
        assert host.codes == (code,)
        assert host.complete


def test_a_kidney_pole_without_label_files_is_the_kidney_of_that_side(organs):
    host = find_host(organs, ANATOMY, organ="kidney", parts=("kidney_upper_pole",), laterality="left")
    assert host.structures == ("kidney_left",)
    assert host.codes == ("part_mask_missing",)


def test_an_organ_is_the_union_of_its_parts_where_only_those_have_masks(organs):
    masks = {name: mask for name, mask in organs.items() if name != "pancreas"}
    host = find_host(masks, ANATOMY, organ="pancreas")
    assert set(host.structures) == {"pancreas_head", "pancreas_body", "pancreas_tail"}
    assert host.complete


def test_missing_incomplete_and_empty_organs_are_told_apart(organs):
    assert find_host(organs, ANATOMY, organ="spleen").codes == ("organ_mask_missing",)
    one_sided = {name: mask for name, mask in organs.items() if name != "kidney_right"}
    assert find_host(one_sided, ANATOMY, organ="kidney").complete is False
    assert find_host(one_sided, ANATOMY, organ="kidney", laterality="left").complete is True
    none = {**organs, "liver": np.zeros_like(organs["liver"])}
    assert find_host(none, ANATOMY, organ="liver").codes == ("organ_mask_empty",)


def test_own_substructures_lesions_and_containers_are_never_taken_out(organs):
    masks = {
        **organs,
        "kidney_cyst_left": organs["liver"],
        "kidney_lesion": organs["liver"],
        "body": organs["liver"],
    }
    others = other_organs(masks, ANATOMY, "kidney")
    assert set(others) == {name for name in organs if not name.startswith("kidney")}
