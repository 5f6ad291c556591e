"""Contradictions between reports and organ masks."""

from __future__ import annotations

import numpy as np
import pytest

from rsuper.supervision import check_consistency


def codes(organs, record):
    return [finding.code for finding in check_consistency(record, organs, spacing_mm=(1.0, 1.0, 1.0))]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"diameters_mm": (9.0, 7.0)}, []),
        ({}, []),
        ({"parts": ("pancreas_tail",), "diameters_mm": (8.0,)}, []),
        ({"diameters_mm": (90.0,)}, ["size_above_organ_extent", "size_slip_tenfold", "volume_above_region"]),
        ({"diameters_mm": (9.0, 0.7)}, ["size_slip_tenfold"]),
        ({"diameters_mm": (20.0, 2.0)}, ["size_slip_tenfold"]),
        ({"size_min_mm": 3.0, "size_max_mm": 30.0, "size_kind": "range"}, []),
    ],
)
def test_sizes_are_compared_with_the_organ(organs, make_lesion, make_record, fields, expected):
    assert codes(organs, make_record(make_lesion(**fields))) == expected


def test_a_size_beyond_belief_is_found_without_a_mask(organs, make_lesion, make_record):
    report = make_record(make_lesion("spleen", diameters_mm=(900.0,)))
    assert codes(organs, report) == ["organ_mask_missing", "size_implausible", "size_slip_tenfold"]


def test_a_side_without_its_organ(organs, make_lesion, make_record):
    masks = {**organs, "kidney_left": np.zeros_like(organs["kidney_left"])}
    report = make_record(make_lesion("kidney", laterality="left", diameters_mm=(8.0,)))
    assert codes(masks, report) == ["organ_mask_empty", "side_without_organ"]
    assert codes(organs, report) == []


def test_a_part_without_its_mask_is_found_but_does_not_exclude(organs, make_lesion, make_record):
    report = make_record(make_lesion(parts=("pancreas_head",), diameters_mm=(8.0,)))
    masks = {**organs, "pancreas_head": np.zeros_like(organs["pancreas_head"])}
    (finding,) = check_consistency(report, masks, spacing_mm=(1.0, 1.0, 1.0))
    assert finding.code == "part_mask_empty"
    assert not finding.excludes
    assert (finding.report_id, finding.lesion_id, finding.organ) == ("R1", "L1", "pancreas")


def test_a_volume_above_the_region(organs, make_lesion, make_record):
    report = make_record(make_lesion("adrenal_gland", laterality="left", reported_volume_mm3=60_000.0))
    (finding,) = check_consistency(report, organs, spacing_mm=(1.0, 1.0, 1.0))
    assert finding.code == "volume_above_region"
    assert finding.excludes
    assert finding.stated > finding.limit


def test_spacing_counts(organs, make_lesion, make_record):
    report = make_record(make_lesion("liver", diameters_mm=(60.0,)))
    assert "size_above_organ_extent" in codes(organs, report)
    assert check_consistency(report, organs, spacing_mm=(3.0, 3.0, 3.0)) == ()


def test_organs_outside_the_table_are_passed_over(organs, make_lesion, make_record):
    assert codes(organs, make_record(make_lesion("placenta", diameters_mm=(900.0,)))) == []
