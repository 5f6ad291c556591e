"""Contradictions planted in a phantom data set: ``rsuper check`` finds and counts each, and none reaches the loss."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from typer.testing import CliRunner

from llm_extract.archive import ArchiveOptions, extract_archive
from llm_extract.records import Lesion, ReportRecord
from llm_extract.reports import ReportSource
from rsuper.cli import app
from rsuper.data.layout import Dataset
from rsuper.data.prepare import PrepareConfig, prepare
from rsuper.supervision import crop_pairs
from rsuper.synthesis import synth

CLASSES = ("kidney_lesion", "pancreas_lesion")
PLANTED = {
    "size_above_organ_extent": "longer than its organ",
    "side_without_organ": "on a side without that organ",
    "part_mask_empty": "in a part whose mask is empty",
    "volume_above_region": "more volume than its region",
    "size_slip_tenfold": "0.8 mm for 8 mm",
}


def change(lesion: Lesion, **fields) -> Lesion:
    base = {
        "organ": "pancreas",
        "laterality": "n/a",
        "parts": (),
        "group_id": None,
        "group_role": "individual",
    }
    base |= {"count": 1, "count_kind": "exact", "kind": "mass", "diameters_mm": (), "size_kind": "none"}
    base |= {
        "size_min_mm": None,
        "size_max_mm": None,
        "diagnosis": None,
        "change": "unknown",
        "treated": False,
    }
    return lesion.model_copy(update=base | fields)


def plant(code: str, lesion: Lesion) -> Lesion:
    if code == "size_above_organ_extent":
        return change(lesion, diameters_mm=(240.0,), size_kind="exact")
    if code == "side_without_organ":
        return change(lesion, organ="kidney", laterality="left", diameters_mm=(20.0,), size_kind="exact")
    if code == "part_mask_empty":
        return change(lesion, parts=("pancreas_tail",), diameters_mm=(20.0,), size_kind="exact")
    if code == "volume_above_region":
        return change(lesion, reported_volume_mm3=9e5)
    return change(lesion, diameters_mm=(0.8,), size_kind="exact")


def empty(path: Path) -> None:
    image = nib.load(path)
    nib.save(nib.Nifti1Image(np.zeros(image.shape, dtype=np.uint8), image.affine), path)


@pytest.fixture(scope="module")
def planted(tmp_path_factory) -> tuple[Path, Path, dict[str, str]]:
    """A phantom data set, its records with one error a case, and which case carries which error."""
    root = tmp_path_factory.mktemp("planted")
    synth(root / "data", cases=12, seed=4, masks=0)
    extract_archive(ReportSource(path=root / "data" / "reports.jsonl"), ArchiveOptions(out=root / "records"))
    lines = (root / "records" / "records.jsonl").read_text(encoding="utf-8").splitlines()
    records = [ReportRecord.model_validate_json(line) for line in lines]
    free = iter(sorted(PLANTED))
    where: dict[str, str] = {}
    written = []
    for record in records:
        own = [lesion for lesion in record.lesions if lesion.organ == "pancreas" and lesion.evidence]
        code = next(free, None) if own else None
        if code is not None:
            where[record.case_id or record.report_id] = code
            record = record.model_copy(update={"lesions": (plant(code, own[0]),)})  # noqa: PLW2901
        written.append(record.model_dump_json())
    (root / "planted.jsonl").write_text("\n".join(written) + "\n", encoding="utf-8")
    for case_id, code in where.items():
        masks = root / "data" / case_id / "segmentations"
        if code == "side_without_organ":
            empty(masks / "kidney_left.nii.gz")
        if code == "part_mask_empty":
            empty(masks / "pancreas_tail.nii.gz")
    assert sorted(where.values()) == sorted(PLANTED)
    return root / "data", root / "planted.jsonl", where


@pytest.fixture(scope="module")
def checked(planted, tmp_path_factory) -> tuple[dict, str]:
    """What ``rsuper check`` wrote, and what it printed."""
    data, records, _ = planted
    out = tmp_path_factory.mktemp("check")
    result = CliRunner().invoke(app, ["check", str(data), "--records", str(records), "--out", str(out)])
    assert result.exit_code == 0
    return json.loads((out / "check.json").read_text(encoding="utf-8")), result.output


@pytest.mark.parametrize("code", sorted(PLANTED))
def test_check_names_the_case_and_what_to_do(planted, checked, code):
    _, _, where = planted
    case_id = next(case for case, planted_code in where.items() if planted_code == code)
    found = [issue for issue in checked[0]["issues"] if issue["code"] == code]
    giant = next(case for case, planted_code in where.items() if planted_code == "size_above_organ_extent")
    assert {issue["case_id"] for issue in found} - {giant} == {case_id} - {giant}
    assert case_id in {issue["case_id"] for issue in found}
    assert all(issue["severity"] == "warning" and issue["hint"] for issue in found)


def test_sound_reports_are_not_accused(planted, checked):
    _, _, where = planted
    accused = {issue["case_id"] for issue in checked[0]["issues"] if issue["report_id"]}
    assert accused == set(where)


def test_the_summary_counts_every_kind(checked):
    report, printed = checked
    summary = next(line for line in printed.splitlines() if "warnings (" in line)
    for code in PLANTED:
        assert f"{code} {report['counts'][code]}" in summary


def test_only_a_missing_part_still_reaches_the_loss(planted, tmp_path):
    data, records, where = planted
    config = PrepareConfig(lesion_classes=CLASSES, structures=("pancreas",))
    prepared = prepare(Dataset.open(data, records=records), tmp_path / "p", config=config, cases=list(where))
    channels = {name: number for number, name in enumerate(CLASSES)}
    assert {case.case_id for case in prepared.cases} == set(where)
    for case in prepared.cases:
        targets = case.case_targets()
        pairs = crop_pairs(targets, (0, 0, 0), case.shape, sample=0, channels=channels)
        codes = {code for target in targets.classes.values() for code in target.codes}
        code = where[case.case_id]
        assert code in codes or code == "side_without_organ"
        assert len(pairs) == (code == "part_mask_empty")
