"""Both real patients as a dataset: one through NIfTI, one through DICOM, organs from label maps."""

import json
import shutil

import numpy as np
import pytest

from llm_extract.records import Lesion, Provenance, ReportRecord
from rsuper.data.check import check_dataset
from rsuper.data.layout import Dataset
from rsuper.volumes import same_grid, to_canonical

pytestmark = pytest.mark.real_data


@pytest.fixture(scope="module")
def root(shared_data, tmp_path_factory):
    pytest.importorskip("pydicom", reason="needs the [dicom] extra")
    source = shared_data / "ct" / "totalsegmentator"
    root = tmp_path_factory.mktemp("real")
    for case_id in ("first", "second"):
        (root / case_id).mkdir()
    shutil.copy(source / "example_ct.nii.gz", root / "first" / "ct.nii.gz")
    shutil.copy(source / "example_seg_fast_force_split.nii.gz", root / "first" / "segmentations.nii.gz")
    shutil.copytree(source / "example_ct_dicom", root / "second" / "ct")
    shutil.copy(source / "example_seg_dicom.nii.gz", root / "second" / "segmentations.nii.gz")
    shutil.copy(shared_data / "ct" / "totalsegmentator_label_names.json", root / "labels.json")
    table = json.loads((root / "labels.json").read_text(encoding="utf-8"))
    (root / "labels.json").write_text(json.dumps({"total": table["total"]}))
    (root / "cases.csv").write_text("case_id,patient_id\nfirst,p1\nsecond,p2\n")
    return root


def record(case_id, *lesions):
    return ReportRecord(
        report_id=case_id,
        source="radiology",
        text_sha256="0" * 63 + str(len(case_id)),
        text_chars=0,
        status="ok",
        lesions=lesions,
        provenance=Provenance(backend="rules", version="1"),
    )


def test_both_patients_open(root):
    dataset = Dataset.open(root, class_map="totalsegmentator_ml")
    assert dataset.issues == ()
    for case_id, litres in (("first", 1.13), ("second", 0.70)):
        ct, liver = dataset.read_ct(case_id), dataset.read_structure(case_id, "liver")
        assert same_grid(to_canonical(ct), to_canonical(liver))
        assert liver.array.sum() * liver.voxel_volume_mm3 / 1e6 == pytest.approx(litres, abs=0.01)
    assert "kidney_cyst_left" not in dataset.structures("first")


def test_the_check_finds_no_error_and_what_the_reports_get_wrong(root, tmp_path):
    true = Lesion(lesion_id="L1", organ="liver", diameters_mm=(24.0,), size_kind="exact")
    slip = Lesion(lesion_id="L1", organ="spleen", diameters_mm=(280.0,), size_kind="exact")
    records = tmp_path / "records.jsonl"
    records.write_text(
        "".join(record(*item).model_dump_json() + "\n" for item in (("first", true), ("second", slip)))
    )
    report = check_dataset(root, class_map="totalsegmentator_ml", records=records)
    codes = {
        case_id: {issue.code for issue in report.issues if issue.case_id == case_id}
        for case_id in report.case_ids
    }
    assert report.errors == ()
    assert codes["first"] == {"empty_mask"}
    assert {"size_slip_tenfold", "size_above_organ_extent"} <= codes["second"]


def test_one_file_a_structure(shared_data, tmp_path):
    source = shared_data / "ct" / "totalsegmentator"
    (tmp_path / "slab").mkdir()
    shutil.copy(source / "example_ct_sm.nii.gz", tmp_path / "slab" / "ct.nii.gz")
    shutil.copytree(source / "example_seg_fast", tmp_path / "slab" / "segmentations")
    dataset = Dataset.open(tmp_path, class_map="totalsegmentator")
    label_map = Dataset.open(tmp_path, class_map="totalsegmentator")
    assert {"liver", "spleen", "pancreas", "kidney_left", "aorta"} <= dataset.structures("slab")
    assert np.count_nonzero(label_map.read_structure("slab", "liver").array) == 39350
    report = check_dataset(tmp_path, class_map="totalsegmentator")
    assert report.errors == ()
