"""Agreement: one test a verdict, matching at the smallest cost, broken input, and the ranking."""

from __future__ import annotations

import csv
import hashlib
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_extract.anatomy import load_anatomy
from llm_extract.records import Evidence, Lesion, OrganStatement, Provenance, ReportRecord
from rsuper.agreement import AgreementSettings, agree, compare_case
from rsuper.errors import DataError
from rsuper.prediction import CaseFindings, Finding, write_findings
from rsuper.supervision.policy import load_policy
from rsuper.volumes import Volume, write_volume

QUOTE = Evidence(start=0, end=4, field="organ", text="mass", section="findings")


def lesion(organ="pancreas", *diameters, **fields):
    return Lesion(
        **{
            "lesion_id": "L1",
            "organ": organ,
            "kind": "mass",
            "diameters_mm": diameters,
            "evidence": (QUOTE,),
            **fields,
        }
    )


def record(*lesions, organs=None, **fields):
    statements = {item.organ: OrganStatement(status="lesion_present") for item in lesions}
    for organ, status in (organs or {}).items():
        statements[organ] = OrganStatement(status=status, evidence=(QUOTE,))
    return ReportRecord(
        **{
            "report_id": "r1",
            "source": "radiology",
            "text_sha256": hashlib.sha256(b"mass").hexdigest(),
            "text_chars": 4,
            "status": "ok",
            "lesions": lesions,
            "organs": statements,
            "provenance": Provenance(backend="test", version="1"),
            **fields,
        }
    )


def finding(number, length, *, class_name="pancreas_lesion", organ="pancreas", confidence=0.9, **fields):
    return Finding(
        **{
            "lesion_id": f"{class_name}-{number}",
            "class_name": class_name,
            "organ": organ,
            "side": "n/a",
            "diameters_mm": (length, 0.8 * length, length),
            "volume_mm3": length**3 / 2,
            "confidence": confidence,
            "centre_mm": (0, 0, 0),
            "centre_voxel": (0, 0, 0),
            "slice_index": 0,
            **fields,
        }
    )


def kidney(number, length, side, **fields):
    return finding(number, length, class_name="kidney_lesion", organ="kidney", side=side, **fields)


def compared(findings, *records, classes=("pancreas_lesion",), policy="tumours"):
    case = CaseFindings(case_id="c1", spacing_mm=(1, 1, 1), lesions=tuple(findings))
    return compare_case(case, records, classes=classes, anatomy=load_anatomy(), policy=load_policy(policy))


def verdicts(case):
    return [row.verdict for row in case.rows]


def test_a_lesion_found_as_reported():
    case = compared([finding(1, 22.0)], record(lesion("pancreas", 20.0, 15.0)))
    [row] = case.rows
    assert (row.verdict, case.status) == ("matched", "agrees")
    assert row.size_ratio == pytest.approx(1.1)
    assert (row.report_id, row.report_lesion_id, row.finding_id) == ("r1", "L1", "pancreas_lesion-1")


def test_size_disagreement_needs_more_than_the_tolerance():
    assert verdicts(compared([finding(1, 44.0)], record(lesion("pancreas", 20.0)))) == ["size_disagreement"]
    assert verdicts(compared([finding(1, 9.0)], record(lesion("pancreas", 5.5)))) == ["size_disagreement"]
    # a factor of 1.45, and a difference of 2.5 mm: both within reading error
    assert verdicts(compared([finding(1, 8.0)], record(lesion("pancreas", 5.5)))) == ["matched"]
    assert verdicts(compared([finding(1, 4.0)], record(lesion("pancreas", 1.5)))) == ["matched"]


@pytest.mark.parametrize(
    ("count", "found", "expected"),
    [
        ({"count": 2}, ("left", "right"), ["matched", "matched"]),
        ({"count": 2}, ("left", "left"), ["matched", "side_disagreement"]),
        ({"count": 2}, ("left",), ["matched", "reported_not_found"]),
        ({"count": 3}, ("left", "left", "right"), ["matched"] * 3),
        ({"count": 3}, ("left",) * 3, ["matched", "matched", "side_disagreement"]),
        (
            {"count": None, "count_kind": "multiple_unknown"},
            ("right", "right"),
            ["matched", "side_disagreement"],
        ),
        ({"count": None, "count_kind": "multiple_unknown"}, ("left", "right", "right"), ["matched"] * 3),
    ],
)
def test_lesions_on_both_sides_are_found_on_both(count, found, expected):
    both = lesion("kidney", 20.0, laterality="bilateral", **count)
    findings = [kidney(number, 20.0, side) for number, side in enumerate(found)]
    case = compared(findings, record(both), classes=("kidney_lesion",))
    assert sorted(verdicts(case)) == sorted(expected)
    for row in case.rows:
        if row.verdict == "side_disagreement":
            assert row.reason.startswith("the report says both sides")


def test_bounds_are_kept_as_bounds():
    small = lesion("pancreas", size_max_mm=10.0, size_kind="upper_bound")
    assert verdicts(compared([finding(1, 6.0)], record(small))) == ["matched"]
    assert verdicts(compared([finding(1, 30.0)], record(small))) == ["size_disagreement"]
    unsized = compared([finding(1, 60.0)], record(lesion("pancreas"))).rows[0]
    assert (unsized.verdict, unsized.size_ratio) == ("matched", None)


def test_three_diameters_compare_the_longest_of_all_three():
    tall = finding(1, 20.0, diameters_mm=(20.0, 18.0, 40.0))
    assert verdicts(compared([tall], record(lesion("pancreas", 20.0, 18.0, 41.0)))) == ["matched"]
    assert verdicts(compared([tall], record(lesion("pancreas", 41.0)))) == ["size_disagreement"]


def test_side_and_part():
    left = record(lesion("kidney", 20.0, laterality="left"))
    assert verdicts(compared([kidney(1, 20.0, "right")], left, classes=["kidney_lesion"])) == [
        "side_disagreement"
    ]
    head = record(lesion("pancreas", 20.0, parts=("pancreas_head",)))
    assert verdicts(compared([finding(1, 20.0, part="pancreas_tail")], head)) == ["part_disagreement"]
    assert verdicts(compared([finding(1, 20.0)], head)) == ["matched"]
    neck = record(lesion("pancreas", 20.0, parts=("pancreas_neck",)))  # no file of its own: head or body
    assert verdicts(compared([finding(1, 20.0, part="pancreas_body")], neck)) == ["matched"]
    pole = record(lesion("kidney", 20.0, laterality="left", parts=("kidney_upper_pole",)))
    assert verdicts(compared([kidney(1, 20.0, "left")], pole, classes=["kidney_lesion"])) == ["matched"]


def test_missed_and_invented_lesions():
    case = compared([], record(lesion("pancreas", 20.0)))
    assert verdicts(case) == ["reported_not_found"]
    assert case.priority == 1.0
    free = compared([finding(1, 20.0)], record(organs={"pancreas": "explicitly_lesion_free"}))
    assert verdicts(free) == ["found_not_reported"]
    assert "free" in free.rows[0].reason
    silent = compared([finding(1, 20.0)], record())
    assert verdicts(silent) == ["found_not_reported"]
    assert "not mention" in silent.rows[0].reason
    assert free.priority > silent.priority > 0
    nothing = compared([], record(organs={"pancreas": "explicitly_lesion_free"}))
    assert (verdicts(nothing), nothing.status, nothing.priority) == (["both_negative"], "agrees", 0.0)


def test_a_possible_lesion_weighs_less_when_missed():
    sure = compared([], record(lesion("pancreas", 20.0)))
    unsure = compared([], record(lesion("pancreas", 20.0, presence="possible")))
    assert verdicts(unsure) == ["reported_not_found"]
    assert unsure.priority < sure.priority


def test_groups_without_a_number_take_what_fits():
    index = lesion("liver", 34.0, lesion_id="L1", group_id="G1", group_role="index")
    rest = lesion(
        "liver",
        lesion_id="L2",
        group_id="G1",
        group_role="remainder",
        count=None,
        count_kind="multiple_unknown",
    )
    found = [finding(i, d, class_name="liver_lesion", organ="liver") for i, d in enumerate([33, 12, 9, 7], 1)]
    case = compared(found, record(index, rest), classes=["liver_lesion"])
    assert verdicts(case) == ["matched"] * 4
    assert case.rows[0].size_ratio == pytest.approx(33 / 34, abs=1e-3)
    alone = compared(found[:1], record(index, rest), classes=["liver_lesion"])
    assert sorted(verdicts(alone)) == ["matched", "reported_not_found"]
    two = lesion("liver", 10.0, count=2)
    assert sorted(verdicts(compared(found[1:2], record(two), classes=["liver_lesion"]))) == [
        "matched",
        "reported_not_found",
    ]


def test_a_cyst_explains_a_finding_but_is_never_missed():
    cyst = lesion("kidney", 20.0, kind="cyst", laterality="left")
    explained = compared([kidney(1, 21.0, "left")], record(cyst), classes=["kidney_lesion"])
    assert (verdicts(explained), explained.status) == (["reported_as_other"], "agrees")
    assert verdicts(compared([], record(cyst), classes=["kidney_lesion"])) == ["both_negative"]


def test_a_class_of_its_own_is_compared_where_the_policy_makes_it():
    cyst = record(lesion("kidney", 20.0, kind="cyst", laterality="left"))
    own = ("kidney_cyst_lesion",)
    found = finding(1, 21.0, class_name=own[0], organ="kidney", side="left")
    assert verdicts(compared([found], cyst, classes=own, policy="tumours_and_cysts")) == ["matched"]
    assert verdicts(compared([], cyst, classes=own, policy="tumours_and_cysts")) == ["reported_not_found"]


def test_two_lesions_are_paired_by_size_and_side():
    reports = record(
        lesion("kidney", 40.0, lesion_id="L1", laterality="left"),
        lesion("kidney", 15.0, lesion_id="L2", laterality="right"),
    )
    found = [kidney(1, 16.0, "right"), kidney(2, 38.0, "left")]
    case = compared(found, reports, classes=["kidney_lesion"])
    assert {(row.report_lesion_id, row.finding_id) for row in case.rows} == {
        ("L1", "kidney_lesion-2"),
        ("L2", "kidney_lesion-1"),
    }
    assert verdicts(case) == ["matched", "matched"]


def test_cases_that_cannot_be_compared():
    assert verdicts(compared([])) == ["not_comparable"]
    failed = record(status="failed")
    assert compared([finding(1, 9.0)], failed).status == "not_comparable"
    unknown = compared([], record(), classes=["unicorn_lesion"])
    assert verdicts(unknown) == ["not_comparable"]


@settings(max_examples=60, deadline=None)
@given(
    reported=st.lists(st.floats(3, 80), max_size=5),
    found=st.lists(st.floats(3, 80), max_size=5),
)
def test_every_lesion_appears_exactly_once(reported, found):
    """Nothing is lost: each reported and each found lesion is in one row, whatever their sizes."""
    lesions = [lesion("pancreas", d, lesion_id=f"L{i}") for i, d in enumerate(reported)]
    case = compared([finding(i, d) for i, d in enumerate(found)], record(*lesions))
    assert sorted(r.report_lesion_id for r in case.rows if r.report_lesion_id) == sorted(
        item.lesion_id for item in lesions
    )
    assert len([r for r in case.rows if r.finding_id]) == len(found)
    matched = sum(row.finding_id is not None and row.report_lesion_id is not None for row in case.rows)
    assert matched <= min(len(reported), len(found))
    exact = compared([finding(i, d) for i, d in enumerate(reported)], record(*lesions))
    if reported:
        assert verdicts(exact) == ["matched"] * len(reported)


def test_noise_does_not_outrank_a_missed_tumour():
    """Twenty unsure specks weigh less than one reported tumour that was not found and one sure finding."""
    specks = [finding(i, 5.0, confidence=0.5) for i in range(20)]
    noisy = compared(specks, record())
    missed = compared([], record(lesion("pancreas", 20.0)))
    assert noisy.priority < missed.priority
    assert noisy.priority > compared(specks[:1], record()).priority


@pytest.fixture
def folders(tmp_path):
    """Four predicted cases: agreeing, missed, broken findings, without a report."""
    predictions = tmp_path / "predictions"
    records = tmp_path / "records.jsonl"
    texts = []
    for case_id, items in {"c1": [finding(1, 20.0)], "c2": [], "c3": [], "c4": []}.items():
        folder = predictions / case_id / "segmentations"
        folder.mkdir(parents=True)
        write_volume(folder / "pancreas_lesion.nii.gz", Volume(np.zeros((4, 4, 4), np.uint8), np.eye(4)))
        write_findings(
            predictions / case_id, CaseFindings(case_id=case_id, spacing_mm=(1, 1, 1), lesions=tuple(items))
        )
        if case_id != "c4":
            texts.append(record(lesion("pancreas", 20.0), report_id=case_id).model_dump_json())
    (predictions / "c3" / "findings.json").write_text('{"SECRET": 1}')
    texts.append(record(report_id="elsewhere").model_dump_json())
    texts.append('{"report_id": "SECRET"}')
    records.write_text("\n".join(texts) + "\n")
    return predictions, records


def test_folders_are_ranked_and_nothing_is_lost(folders, tmp_path):
    predictions, records = folders
    table = agree(predictions, records, out=tmp_path / "out")
    assert table.cases[0].case_id == "c2"  # the missed tumour first
    assert {case.case_id: case.status for case in table.cases} == {
        "c1": "agrees",
        "c2": "differs",
        "c3": "not_comparable",
        "c4": "not_comparable",
    }
    assert (table.n_records_without_case, table.n_invalid_records, table.exit_code) == (1, 1, 4)
    assert table.verdicts["reported_not_found"] == 1
    written = json.loads((tmp_path / "out" / "agreement.json").read_text())
    assert [case["case_id"] for case in written["cases"]] == [case.case_id for case in table.cases]
    text = (tmp_path / "out" / "agreement.csv").read_text()
    rows = list(csv.DictReader(text.splitlines()))
    assert [row["case_id"] for row in rows] == [row.case_id for row in table.rows]
    assert "SECRET" not in text + json.dumps(written)
    assert rows[0]["verdict"] == "reported_not_found"
    assert rows[0]["reported_diameters_mm"] == "20"


def test_masks_without_findings_are_measured(tmp_path):
    mask = np.zeros((30, 30, 30), np.uint8)
    mask[5:25, 10:20, 10:20] = 1
    folder = tmp_path / "masks" / "c1" / "segmentations"
    folder.mkdir(parents=True)
    write_volume(folder / "kidney_lesion.nii.gz", Volume(mask, np.eye(4)))
    write_volume(folder / "kidney_left.nii.gz", Volume(np.ones_like(mask), np.eye(4)))
    write_volume(folder / "kidney_right.nii.gz", Volume(np.zeros_like(mask), np.eye(4)))
    reports = {"c1": [record(lesion("kidney", 22.0, laterality="left"))]}
    [row] = agree(tmp_path / "masks", reports).rows
    assert (row.verdict, row.found_side) == ("matched", "left")
    other = {"c1": [record(lesion("kidney", 22.0, laterality="right"))]}
    assert agree(tmp_path / "masks", other).rows[0].verdict == "side_disagreement"


def test_missing_places_are_named(tmp_path, folders):
    predictions, _ = folders
    with pytest.raises(DataError, match="records_missing"):
        agree(predictions, tmp_path / "nothing.jsonl")
    with pytest.raises(DataError, match="predictions_missing"):
        agree(tmp_path / "nowhere", {})
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no_predictions"):
        agree(tmp_path / "empty", {})
    (tmp_path / "others.jsonl").write_text(record(report_id="elsewhere").model_dump_json() + "\n")
    with pytest.raises(DataError, match="no_common_case"):
        agree(predictions, tmp_path / "others.jsonl")


def test_settings_are_closed():
    with pytest.raises(ValueError, match="size_ratio"):
        AgreementSettings(size_ratio=0.9)
