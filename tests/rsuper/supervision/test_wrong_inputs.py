"""What a stranger passes by mistake to the makers of targets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from llm_extract.records import ReportRecord
from rsuper.errors import DataError, UsageError
from rsuper.supervision import (
    build_case_targets,
    check_consistency,
    ellipsoid_volume_mm3,
    load_policy,
    mask_codes,
    volume_interval_mm3,
)


def build(record, organs, **changes):
    options = {
        "records": [record],
        "organ_masks": organs,
        "case_id": "C1",
        "spacing_mm": (1.0, 1.0, 1.0),
        "lesion_classes": ["liver_lesion"],
        "voxel_labelled": frozenset(),
    }
    return build_case_targets(**options | changes)


def test_one_record_or_text_is_no_sequence_of_records(organs, make_record):
    for records in (make_record(), "2 cm mass in the liver", ["2 cm mass in the liver"], None):
        with pytest.raises(TypeError, match="target_map reads texts"):
            build(make_record(), organs, records=records)
        if not isinstance(records, ReportRecord):
            with pytest.raises(TypeError, match="target_map reads texts"):
                check_consistency(records, organs, spacing_mm=(1.0, 1.0, 1.0))
        with pytest.raises(TypeError, match="target_map reads texts"):
            mask_codes(records, {"liver_lesion": True})
    with pytest.raises(TypeError, match="target_map reads texts"):
        build(
            make_record(), organs, records=(one for one in [make_record()])
        )  # looked at once, it would be empty


def test_one_class_is_no_sequence_of_classes(organs, make_record):
    for name in ("lesion_classes", "voxel_labelled"):
        with pytest.raises(TypeError, match=rf"{name} holds names, such as \['liver_lesion'\]"):
            build(make_record(), organs, **{name: "liver_lesion"})


@pytest.mark.parametrize(
    ("margins_mm", "said"),
    [
        ({"livr": 4.0}, "names 'livr'"),
        ({"liver": -4.0}, "is -4.0"),
        ({"liver": "4"}, "is '4'"),
        ({"liver": None}, "is None"),
    ],
)
def test_a_margin_that_nothing_takes_is_refused(organs, make_record, margins_mm, said):
    with pytest.raises(UsageError, match=said) as caught:
        build(make_record(), organs, margins_mm=margins_mm)
    assert caught.value.code == "bad_margin"
    with pytest.raises(UsageError, match="bad_margin"):
        check_consistency(make_record(), organs, spacing_mm=(1.0, 1.0, 1.0), margins_mm=margins_mm)


def test_other_things_than_mappings_and_tables_are_refused(organs, make_record):
    with pytest.raises(TypeError, match="masks are structure"):
        build(make_record(), [organs["liver"]])
    with pytest.raises(TypeError, match="margins_mm is organ"):
        build(make_record(), organs, margins_mm=5.0)
    with pytest.raises(TypeError, match=r"load_anatomy\(Path"):
        build(make_record(), organs, anatomy=Path("mine.yaml"))
    listed = {name: mask.tolist() for name, mask in organs.items() if name == "liver"}
    assert build(make_record(), listed).shape == organs["liver"].shape


def test_masks_on_several_grids_are_refused_by_the_check_too(organs, make_record):
    masks = {**organs, "liver": organs["liver"][1:]}
    with pytest.raises(DataError, match="mask_grid_mismatch"):
        check_consistency(make_record(), masks, spacing_mm=(1.0, 1.0, 1.0))


def test_a_policy_is_loaded_by_name_or_file(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("presets: {mine: {rules: [{then: count}]}}")
    assert load_policy(file) == load_policy(str(file))
    with pytest.raises(TypeError, match="got SupervisionPolicy"):
        load_policy(load_policy())


def test_a_nan_is_no_voxel_of_an_organ(organs, make_record):
    mask = organs["liver"].astype(np.float32)
    mask[0, 0, 0] = np.nan
    with pytest.raises(DataError, match="mask liver holds NaN") as caught:
        build(make_record(), {**organs, "liver": mask})
    assert caught.value.code == "mask_not_finite"


def test_a_map_of_probabilities_is_no_mask(organs, make_record):
    soft = np.where(organs["liver"], 0.9, 0.01).astype(np.float32)
    with pytest.raises(DataError, match="mask liver holds values between whole numbers") as caught:
        build(make_record(), {**organs, "liver": soft})
    assert caught.value.code == "mask_not_whole"
    assert "mask > 0.5" in caught.value.hint
    whole = build(make_record(), organs)
    for scaled in (organs["liver"].astype(np.float64) * 5.0, organs["liver"] * np.float32(1.0001)):
        assert repr(build(make_record(), {**organs, "liver": scaled})) == repr(whole)


def test_one_number_is_no_sequence_of_diameters():
    with pytest.raises(TypeError, match=r"such as \[20.0\]"):
        volume_interval_mm3(20.0)
    with pytest.raises(ValueError, match="not negative"):
        ellipsoid_volume_mm3([20.0, -3.0])


@pytest.mark.parametrize(
    "spacing_mm",
    [(0.0007, 0.0007, 0.005), (700.0, 700.0, 5000.0), (0.0, 1.0, 1.0), (1.0, 1.0), 1.0, "1 1 1", None],
)
def test_a_spacing_that_is_no_millimetres_is_refused(organs, make_record, spacing_mm):
    with pytest.raises(DataError, match="spacing_mm") as caught:
        build(make_record(), organs, spacing_mm=spacing_mm, records=[make_record()])
    assert caught.value.code == "bad_spacing"


def test_the_name_of_a_policy_is_no_policy(organs, make_record):
    with pytest.raises(TypeError, match=r"load_policy\(\"tumours\"\)"):
        build(make_record(), organs, records=[make_record()], policy="tumours")
