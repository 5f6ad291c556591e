"""The dataset folder: what is read, what belongs together, what is refused."""

import json
import pickle
from datetime import date

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsuper.data.cases_table import is_id, read_cases
from rsuper.data.layout import Dataset
from rsuper.errors import DataError
from rsuper.volumes import Volume, same_grid, write_volume


def code_of(action, *arguments, **options):
    with pytest.raises(DataError) as caught:
        action(*arguments, **options)
    return caught.value.code


def test_everything_of_a_case(cohort, lesion):
    root = cohort.add("c1", split="val", lesions=[lesion("liver", 22.0)]).add("c2").finish()
    dataset = Dataset.open(root)
    first = dataset.cases[0]
    assert [entry.case_id for entry in dataset.cases] == ["c1", "c2"]
    assert (first.patient_id, first.split, first.site) == ("p-c1", "val", None)
    assert dataset.structures(first) == {
        "liver", "spleen", "kidney_left", "kidney_right", "pancreas", "pancreas_head"
    }  # fmt: skip
    ct, liver = dataset.read_ct(first), dataset.read_structure("c1", "liver")
    assert same_grid(ct, liver)
    assert liver.array.sum() == 12 * 16 * 12
    assert [item.report_id for item in dataset.records(first)] == ["c1"]
    assert [item.text for item in dataset.reports("c2")] == ["CT of c2."]
    assert dataset.issues == ()
    assert dataset.lesion_classes(first) == frozenset()


def test_lesion_classes_are_what_a_human_drew_also_when_empty(cohort, mask_box):
    root = cohort.add("c1").finish()
    cohort.write_mask("c1", "pancreas_lesion", mask_box(((1, 1), (1, 1), (1, 1))))
    dataset = Dataset.open(root)
    assert dataset.lesion_classes("c1") == {"pancreas_lesion"}
    assert not dataset.read_structure("c1", "pancreas_lesion").array.any()


def test_all_optional_columns(tmp_path):
    table = tmp_path / "cases.csv"
    table.write_text(
        "site,case_id,patient_id,study_date,phase,sex,age,split,extra\n"
        "north, a1 ,p1,2024-05-06,portal-venous,f,64,train,x\n"
        ",a2,p2,,Non contrast,M,007Y,,\n"
        "n/a,a3,p3,2024/05/06,weird,x,-3,test,\n"
    )
    cases, issues = read_cases(table)
    assert (cases[0].case_id, cases[0].study_date, cases[0].phase) == (
        "a1",
        date(2024, 5, 6),
        "portal_venous",
    )
    assert (cases[0].sex, cases[0].age_years, cases[0].site) == ("F", 64.0, "north")
    assert (cases[1].phase, cases[1].age_years, cases[1].split, cases[1].site) == (
        "non_contrast",
        7.0,
        None,
        None,
    )
    assert (cases[2].study_date, cases[2].phase, cases[2].sex, cases[2].age_years) == (None,) * 4
    assert {issue.code for issue in issues} == {"invalid_value"}
    assert {issue.line for issue in issues} == {4}
    assert len(issues) == 4


@pytest.mark.parametrize(
    "text",
    ["\ufeffcase_id;patient_id\nc1;p1\n", "case_id\tpatient_id\r\nc1\tp1\r\n", "CASE_ID,patient_id\n\nc1,p1"],
)
def test_bom_delimiters_and_blank_lines(tmp_path, text):
    (tmp_path / "cases.csv").write_text(text, encoding="utf-8")
    cases, issues = read_cases(tmp_path / "cases.csv")
    assert [(entry.case_id, entry.patient_id) for entry in cases] == [("c1", "p1")]
    assert issues == ()


def test_bad_rows_are_named_by_line_and_the_others_are_read(tmp_path):
    (tmp_path / "cases.csv").write_text("case_id,patient_id\nc1,p1\n../etc,p2\nc1,p3\n,p4\nc2,\n")
    cases, issues = read_cases(tmp_path / "cases.csv")
    assert [(entry.case_id, entry.patient_id) for entry in cases] == [("c1", "p1"), ("c2", "c2")]
    assert [(issue.code, issue.line) for issue in issues] == [
        ("invalid_id", 3), ("duplicate_case", 4), ("invalid_id", 5), ("patient_id_missing", 6)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "empty_table"),
        (b"\n\n", "empty_table"),
        (b"case_id,patient_id\n", "empty_table"),
        (b"patient,name\nx,y\n", "missing_column"),
        (b"case_id,patient_id\n\xff\xfe\xfa,p\n", "unreadable_table"),
        (b"case_id,patient_id\nc1,p\0\n", "unreadable_table"),
        (b'case_id,patient_id\n"' + b"x" * 200_000 + b'",p\n', "unreadable_table"),
        (b'case_id,patient_id\n"' + b"x" * 110_000 + b'",p\n', "unreadable_table"),
    ],
)
def test_tables_that_cannot_be_read(tmp_path, content, code):
    (tmp_path / "cases.csv").write_bytes(content)
    assert code_of(Dataset.open, tmp_path) == code


def test_no_folder_and_no_cases(tmp_path):
    assert code_of(Dataset.open, tmp_path / "none") == "dataset_missing"
    assert code_of(Dataset.open, tmp_path) == "no_cases"


def test_without_a_table_cases_are_found_by_their_ct(cohort):
    root = cohort.add("b").add("a").finish()
    (root / "cases.csv").unlink()
    dataset = Dataset.open(root)
    assert [entry.case_id for entry in dataset.cases] == ["a", "b"]
    assert [issue.code for issue in dataset.issues] == ["cases_table_missing"]


def test_reports_find_their_cases_by_link_then_case_id_then_name(cohort, record):
    cohort.add("c1").add("c2").add("c3").finish()
    root = cohort.root
    records = [
        record("r1"),
        record("c2"),
        record("r3", case_id="c3"),
        record("path", case_id="c3"),
        record("lost"),
    ]
    (root / "records.jsonl").write_text("".join(item.model_dump_json() + "\n" for item in records))
    (root / "links.csv").write_text("case_id,report_id\nc1,r1\nc2,r1\nbad id,r1\nc9,c2\n")
    dataset = Dataset.open(root)
    found = {entry.case_id: [item.report_id for item in dataset.records(entry)] for entry in dataset.cases}
    assert found == {"c1": ["r1"], "c2": ["r1"], "c3": ["r3", "path"]}
    codes = sorted(
        (issue.code, issue.report_id or issue.line) for issue in dataset.issues if "report_" not in issue.code
    )
    assert codes == [("invalid_id", 4), ("record_without_case", "c2"), ("record_without_case", "lost")]


def test_a_broken_record_costs_only_itself(cohort):
    root = cohort.add("c1").add("c2").finish()
    lines = (root / "records.jsonl").read_text().splitlines()
    (root / "records.jsonl").write_text(
        "\n".join([lines[0][:50], '{"secret": "CANARY"}', "", lines[1]]) + "\n"
    )
    dataset = Dataset.open(root)
    assert [len(dataset.records(entry)) for entry in dataset.cases] == [0, 1]
    assert [(issue.code, issue.line) for issue in dataset.issues] == [
        ("record_invalid", 1),
        ("record_invalid", 2),
    ]
    assert "CANARY" not in "".join(map(str, dataset.issues))


def test_records_from_elsewhere(cohort, record, tmp_path):
    root = cohort.add("c1").finish()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "records.jsonl").write_text(
        record("c1", status="needs_review").model_dump_json() + "\n"
    )
    for place in (tmp_path / "out", tmp_path / "out" / "records.jsonl", str(tmp_path / "out")):
        assert Dataset.open(root, records=place).records("c1")[0].status == "needs_review"
    assert code_of(Dataset.open, root, records=tmp_path / "nothing") == "records_missing"


def test_predictions_are_no_labels(cohort):
    root = cohort.add("c1").add("c2").finish()
    dataset = Dataset.open(root)
    (root / "c1" / "segmentations" / "predictions.json").write_text("{}")
    (root / "c2" / "predictions.json").write_text("{}")
    assert code_of(dataset.structures, "c1") == "predictions_as_labels"
    assert code_of(dataset.read_structure, "c2", "liver") == "predictions_as_labels"
    (root / "predictions.json").write_text("{}")
    assert code_of(Dataset.open, root) == "predictions_as_labels"


def test_errors_carry_the_case(cohort):
    root = cohort.add("c1").finish()
    dataset = Dataset.open(root)
    (root / "c1" / "ct.nii.gz").write_bytes((root / "c1" / "ct.nii.gz").read_bytes()[:200])
    with pytest.raises(DataError) as caught:
        dataset.read_ct("c1")
    assert (caught.value.code, caught.value.case_id) == ("truncated_file", "c1")
    (root / "c1" / "ct.nii.gz").unlink()
    assert code_of(dataset.read_ct, "c1") == "ct_missing"
    assert code_of(dataset.read_structure, "c1", "uterus") == "structure_missing"
    assert code_of(dataset.read_ct, "c9") == "unknown_case"


def test_a_ct_without_hounsfield_units_is_refused(cohort):
    root = cohort.add("c1").finish()
    ct = Dataset.open(root).read_ct("c1")
    write_volume(root / "c1" / "ct.nii.gz", ct.with_array(np.zeros_like(ct.array)))
    assert code_of(Dataset.open(root).read_ct, "c1") == "constant_volume"


@pytest.mark.parametrize("name", ["ct.nii", "ct.nii.gz"])
def test_ct_under_another_suffix(cohort, name):
    root = cohort.add("c1").finish()
    ct = Dataset.open(root).read_ct("c1")
    (root / "c1" / "ct.nii.gz").unlink()
    write_volume(root / "c1" / name, ct)
    assert Dataset.open(root).ct_path("c1").name == name
    np.testing.assert_array_equal(Dataset.open(root).read_ct("c1").array, ct.array)


@pytest.mark.parametrize(
    "target",
    ["c1/ct.nii.gz", "c1/segmentations/liver.nii.gz", "c1/segmentations", "cases.csv", "records.jsonl"],
)
def test_links_out_of_the_folder_are_refused(cohort, tmp_path, target):
    root = cohort.add("c1").finish()
    outside = tmp_path / "elsewhere"
    (root / target).rename(outside)
    (root / target).symlink_to(outside)

    def use():
        dataset = Dataset.open(root)
        dataset.read_ct("c1")
        dataset.read_structure("c1", "liver")
        dataset.records("c1")

    assert code_of(use) == "path_escapes"


def test_links_inside_the_folder_are_followed(cohort):
    root = cohort.add("c1").finish()
    (root / "c1" / "ct.nii.gz").rename(root / "big.nii.gz")
    (root / "c1" / "ct.nii.gz").symlink_to(root / "big.nii.gz")
    assert Dataset.open(root).read_ct("c1").shape == (36, 30, 24)


@pytest.mark.parametrize(
    "text", ["", ".", "..", ".hidden", "a/b", "a\\b", "a b", "-a", "a\n", "é", "a" * 129, "a:b", "a\0"]
)
def test_ids_that_are_none(text):
    assert not is_id(text)


@given(st.text(max_size=200))
def test_an_id_never_leaves_its_folder(text):
    if is_id(text):
        assert text.isascii()
        assert "/" not in text
        assert "\\" not in text
        assert not text.startswith(".")
        assert len(text) <= 128


def test_a_multi_label_file_with_its_table(cohort):
    root = cohort.add("c1", masks={}).finish()
    labels = np.zeros((36, 30, 24), np.uint8)
    labels[3:6], labels[8:9], labels[20:21] = 5, 1, 24
    write_volume(root / "c1" / "segmentations.nii.gz", Volume(labels, np.diag([3.0, 3.0, 4.0, 1.0])))
    with pytest.raises(DataError) as caught:
        Dataset.open(root, class_map="totalsegmentator_ml").structures("c1")
    assert (caught.value.code, caught.value.case_id) == ("label_table_missing", "c1")
    table = {"total": {"1": "spleen", "5": "liver", "7": "pancreas", "24": "kidney_cyst_right"}}
    (root / "labels.json").write_text(json.dumps(table))
    dataset = Dataset.open(root, class_map="totalsegmentator_ml")
    assert dataset.structures("c1") == {"spleen", "liver", "pancreas"}
    np.testing.assert_array_equal(dataset.read_structure("c1", "liver").array, labels == 5)
    np.testing.assert_array_equal(dataset.read_structure("c1", "spleen").array, labels == 1)
    assert not dataset.read_structure("c1", "pancreas").array.any()


def test_a_multi_label_file_that_names_its_labels_itself(cohort):
    root = cohort.add("c1", masks={}).finish()
    labels = np.zeros((36, 30, 24), np.uint8)
    labels[3:6], labels[8:9] = 5, 1
    image = nib.Nifti1Image(labels, np.diag([3.0, 3.0, 4.0, 1.0]))
    table = b"""<?xml version="1.0"?><!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>
    <CaretExtension><LabelTable><Label Key="0"><![CDATA[background]]></Label>
    <Label Key="1" Red="0.0"><![CDATA[spleen]]></Label><Label Key="5"><![CDATA[liver]]></Label>
    <Label Key="6"><![CDATA[../etc]]></Label><Label Key="7">&e;</Label></LabelTable></CaretExtension>"""
    image.header.extensions.append(nib.nifti1.Nifti1Extension(0, table))
    nib.save(image, root / "c1" / "segmentations.nii.gz")
    dataset = Dataset.open(root, class_map="totalsegmentator_ml")
    assert dataset.structures("c1") == {"spleen", "liver"}
    np.testing.assert_array_equal(dataset.read_structure("c1", "liver").array, labels == 5)


def test_the_nnunet_layout(tmp_path):
    root = tmp_path
    for folder in ("imagesTr", "labelsTr"):
        (root / folder).mkdir()
    hu = np.random.default_rng(0).integers(-1000, 1000, (8, 8, 8)).astype(np.int16)
    labels = (hu > 900).astype(np.uint8) * 2
    nib.save(nib.Nifti1Image(hu, np.eye(4)), root / "imagesTr" / "liver_001_0000.nii.gz")
    nib.save(nib.Nifti1Image(labels, np.eye(4)), root / "labelsTr" / "liver_001.nii.gz")
    (root / "dataset.json").write_text(
        json.dumps({"labels": {"background": 0, "liver": 1, "liver_tumour": 2}})
    )
    dataset = Dataset.open(root, class_map="nnunet")
    assert [entry.case_id for entry in dataset.cases] == ["liver_001"]
    np.testing.assert_array_equal(dataset.read_ct("liver_001").array, hu)
    assert dataset.lesion_classes("liver_001") == {"liver_lesion"}
    np.testing.assert_array_equal(dataset.read_structure("liver_001", "liver_lesion").array, labels == 2)


def test_two_trees(cohort):
    root = cohort.add("c1").finish()
    (root / "ImageTr").mkdir()
    (root / "LabelTr" / "c1").mkdir(parents=True)
    (root / "c1" / "segmentations").rename(root / "LabelTr" / "c1" / "segmentations")
    (root / "c1").rename(root / "ImageTr" / "c1")
    (root / "map.yaml").write_text(
        'ct: "ImageTr/{case_id}/ct.nii.gz"\nmasks: "LabelTr/{case_id}/segmentations/{structure}.nii.gz"\n'
    )
    dataset = Dataset.open(root, class_map=root / "map.yaml")
    assert same_grid(dataset.read_ct("c1"), dataset.read_structure("c1", "liver"))


def test_parts_on_different_grids_make_no_union(cohort, mask_box):
    root = cohort.add("c1").finish()
    cohort.write_mask(
        "c1", "kidney_right", mask_box(((1, 2), (1, 2), (1, 2))), affine=np.diag([3.0, 3.0, 5.0, 1.0])
    )
    (root / "map.yaml").write_text("structures:\n  kidney: [[kidney_left, kidney_right]]\n")
    dataset = Dataset.open(root, class_map=root / "map.yaml")
    assert "kidney" in dataset.structures("c1")
    assert code_of(dataset.read_structure, "c1", "kidney") == "grid_mismatch"


def test_a_dataset_travels_to_other_processes(cohort):
    dataset = pickle.loads(pickle.dumps(Dataset.open(cohort.add("c1").finish())))
    assert dataset.read_ct("c1").shape == (36, 30, 24)
