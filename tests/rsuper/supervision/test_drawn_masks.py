"""Human masks beside reports that say something else: one code, wherever targets are made."""

from __future__ import annotations

import numpy as np
import pytest

from llm_extract.anatomy import load_anatomy
from llm_extract.records import OrganStatement
from rsuper.supervision import build_case_targets, load_policy, mask_codes, with_mask_codes

FREE = OrganStatement(status="explicitly_lesion_free")


@pytest.mark.parametrize(
    ("fields", "organs", "drawn", "expected"),
    [
        ({"diameters_mm": (9.0,)}, {}, False, ("mask_denies_report",)),
        ({"diameters_mm": (9.0,)}, {}, True, ()),
        ({"presence": "possible"}, {}, False, ()),
        ({"kind": "cyst"}, {}, False, ()),
        (None, {"pancreas": FREE}, True, ("report_denies_mask",)),
        (None, {"pancreas": FREE}, False, ()),
        (None, {"pancreas": FREE.model_copy(update={"limited": True})}, True, ()),
        (None, {"pancreas": FREE.model_copy(update={"scope": "metastasis_only"})}, True, ()),
        (None, {"liver": FREE}, True, ()),
    ],
)
def test_what_contradicts_and_what_does_not(make_lesion, make_record, fields, organs, drawn, expected):
    report = make_record(*([] if fields is None else [make_lesion(**fields)]), organs=organs)
    assert mask_codes([report], {"pancreas_lesion": drawn}).get("pancreas_lesion", ()) == expected


def test_the_policy_says_which_class_an_empty_mask_denies(make_lesion, make_record):
    report = make_record(make_lesion("kidney", kind="cyst", laterality="left", diameters_mm=(9.0,)))
    drawn = {"kidney_lesion": False, "kidney_cyst_lesion": False}
    rules = load_policy("tumours_and_cysts")
    found = mask_codes([report], drawn, anatomy=load_anatomy(), policy=rules)
    assert found == {"kidney_cyst_lesion": ("mask_denies_report",)}
    assert mask_codes([report], drawn) == {}


def test_only_drawn_classes_get_a_code_and_the_mask_still_wins(organs, make_lesion, make_record):
    report = make_record(
        make_lesion(diameters_mm=(9.0,)), make_lesion("liver", lesion_id="L2", diameters_mm=(9.0,))
    )
    targets = build_case_targets(
        [report],
        organs,
        case_id="C1",
        spacing_mm=(1.0, 1.0, 1.0),
        lesion_classes=("pancreas_lesion", "liver_lesion"),
        voxel_labelled=frozenset({"pancreas_lesion"}),
    )
    empty = {"pancreas_lesion": np.zeros(targets.shape, dtype=bool)}
    found = with_mask_codes(targets, [report], {**organs, **empty})
    assert found.classes["pancreas_lesion"].codes == ("mask_denies_report",)
    assert found.classes["pancreas_lesion"].state == "voxels"
    assert found.classes["liver_lesion"] is targets.classes["liver_lesion"] or (
        found.classes["liver_lesion"].codes == targets.classes["liver_lesion"].codes
    )
    drawn = {"pancreas_lesion": organs["pancreas_head"]}
    assert with_mask_codes(targets, [report], {**organs, **drawn}) is targets
