"""Cohorts on disk: layout, hidden references, refusal, and resuming after a failure at any write."""

import csv
import hashlib
import json

import nibabel
import numpy as np
import pytest

from rsuper.data.layout import Dataset
from rsuper.errors import UsageError
from rsuper.synthesis import PhantomConfig, cohort, label_cases, make_case, read_truths, synth, write_cohort

SEED = 5


def fingerprint(root):
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_cohort(
        tmp_path_factory.mktemp("cohort") / "a b",
        n_cases=4,
        seed=SEED,
        mask_cases=["case_00002"],
        splits={"train": 2, "val": 1, "test": 1},
    )


def test_the_layout_is_the_datasets(root):
    dataset = Dataset.open(root)
    assert [c.case_id for c in dataset.cases] == [f"case_{i:05d}" for i in range(4)]
    assert [c.split for c in dataset.cases] == ["train", "train", "val", "test"]
    case = make_case(SEED, 2)
    entry = dataset.cases[2]
    ct = dataset.read_ct(entry)
    assert np.array_equal(ct.array, case.ct)
    assert np.allclose(ct.affine, case.affine)
    assert set(dataset.structures(entry)) >= set(case.organs)
    assert np.array_equal(dataset.read_structure(entry, "pancreas_tail").array, case.organs["pancreas_tail"])


def test_only_chosen_cases_are_voxel_labelled(root):
    dataset = Dataset.open(root)
    labelled = [c.case_id for c in dataset.cases if dataset.lesion_classes(c)]
    assert labelled == ["case_00002"]


def test_reference_and_truth_are_those_of_the_cases(root):
    truths = read_truths(root)
    assert len(truths) == 4
    for index, truth in enumerate(truths):
        case = make_case(SEED, index)
        mask = np.asarray(nibabel.load(root / "reference" / case.case_id / "pancreas_lesion.nii.gz").dataobj)
        assert np.array_equal(mask > 0, case.lesion_masks["pancreas_lesion"])
        assert truth["has_tumour"] == case.has_tumour == bool(mask.any())
        assert truth["report"] == case.report_truth.model_dump(mode="json")
        assert "text" not in truth
    lines = [json.loads(line) for line in (root / "reports.jsonl").read_text().splitlines()]
    assert [line["text"] for line in lines] == [make_case(SEED, index).report for index in range(4)]
    assert (root / "reports.jsonl").stat().st_mode & 0o777 == 0o600
    with (root / "cases.csv").open() as file:
        assert {row["phase"] for row in csv.DictReader(file)} == {"portal_venous"}


def test_a_longer_cohort_begins_with_the_same_cases(root, tmp_path):
    longer = write_cohort(tmp_path / "longer", n_cases=5, seed=SEED)
    first, second = fingerprint(root), fingerprint(longer)
    images = [name for name in first if name.endswith(("ct.nii.gz", "pancreas.nii.gz"))]
    assert len(images) == 8
    assert all(first[name] == second[name] for name in images)


def test_labels_can_be_added_later(tmp_path):
    root = write_cohort(
        tmp_path / "c", n_cases=2, seed=SEED, mask_cases=lambda case: case.case_id.endswith("1")
    )
    assert not (root / "case_00000/segmentations/pancreas_lesion.nii.gz").exists()
    assert (root / "case_00001/segmentations/pancreas_lesion.nii.gz").exists()
    label_cases(root, ["case_00000"])
    copy = (root / "case_00000/segmentations/pancreas_lesion.nii.gz").read_bytes()
    assert copy == (root / "reference/case_00000/pancreas_lesion.nii.gz").read_bytes()


def test_a_failure_at_any_write_is_resumed_to_the_same_bytes(tmp_path, monkeypatch):
    whole = write_cohort(tmp_path / "whole", n_cases=2, seed=SEED, mask_cases="all")
    expected = fingerprint(whole)
    original, calls = cohort._write_nifti, {"count": 0, "fail_at": -1}

    def failing(path, array, affine):
        calls["count"] += 1
        if calls["count"] == calls["fail_at"]:
            path.write_bytes(b"half a file")
            raise OSError("disk full")
        original(path, array, affine)

    monkeypatch.setattr(cohort, "_write_nifti", failing)
    memo = {index: make_case(SEED, index) for index in range(2)}
    monkeypatch.setattr(cohort, "make_case", lambda seed, index, config: memo[index])
    root = tmp_path / "torn"
    failures = 0
    for fail_at in (1, 2, 7, 1, 2, 13):
        calls.update(count=0, fail_at=fail_at)
        try:
            write_cohort(root, n_cases=2, seed=SEED, mask_cases="all", resume="resume")
        except OSError:
            failures += 1
            assert not (root / "cases.csv").exists()
    calls.update(fail_at=-1)
    write_cohort(root, n_cases=2, seed=SEED, mask_cases="all", resume="resume")
    assert failures >= 3
    assert fingerprint(root) == expected


def test_a_folder_with_something_else_is_refused(tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="output_not_empty"):
        write_cohort(other, n_cases=1, seed=1)
    with pytest.raises(UsageError, match="not_this_cohort"):
        write_cohort(other, n_cases=1, seed=1, resume="resume")
    assert [p.name for p in other.iterdir()] == ["notes.txt"]


def test_another_seed_recipe_or_version_is_not_resumed(root, monkeypatch):
    settings = {"n_cases": 4, "seed": SEED, "splits": {"train": 2, "val": 1, "test": 1}, "resume": "resume"}
    for change in ({"seed": 6}, {"config": PhantomConfig(decoys=1.0)}, {"n_cases": 4, "splits": None}):
        with pytest.raises(UsageError, match="not_this_cohort"):
            write_cohort(root, **{**settings, **change})
    monkeypatch.setattr(cohort, "PHANTOM_VERSION", -1)
    with pytest.raises(UsageError, match="not_this_cohort"):
        write_cohort(root, **settings)


@pytest.mark.parametrize(
    "options",
    [{"cases": 0}, {"masks": -1}, {"organs": ("brain",)}, {"organs": ()}],
)
def test_options_that_make_no_cohort_are_refused(options, tmp_path):
    with pytest.raises(UsageError):
        synth(tmp_path / "x", **options)
    assert not (tmp_path / "x").exists()


def test_splits_must_add_up(tmp_path):
    with pytest.raises(UsageError, match="add up"):
        write_cohort(tmp_path / "x", n_cases=3, seed=1, splits={"train": 1})


def test_synth_counts_what_it_wrote(tmp_path):
    seen = []
    counts = synth(
        tmp_path / "s", cases=5, seed=2, masks=1, progress=lambda done, total: seen.append((done, total))
    )
    assert seen == [(i, 5) for i in range(1, 6)]
    assert counts["cases"] == counts["train"] + counts["val"] + counts["test"] == 5
    dataset = Dataset.open(tmp_path / "s")
    labelled = [c.case_id for c in dataset.cases if dataset.lesion_classes(c)]
    assert len(labelled) == counts["voxel_labelled"] > 0
    truths = {t["case_id"]: t for t in read_truths(tmp_path / "s")}
    assert counts["tumour_cases"] == sum(t["has_tumour"] for t in truths.values())
    assert all(truths[c]["split"] == "train" for c in labelled)
    assert sum(truths[c]["has_tumour"] for c in labelled) <= 1


def test_by_default_most_training_tumours_are_known_from_their_reports(tmp_path):
    counts = synth(tmp_path / "s", cases=8, seed=2)
    dataset = Dataset.open(tmp_path / "s")
    truths = [t for t in read_truths(tmp_path / "s") if t["split"] == "train" and t["has_tumour"]]
    labelled = {c.case_id for c in dataset.cases if dataset.lesion_classes(c)}
    unlabelled = [t for t in truths if t["case_id"] not in labelled]
    assert counts["train_reported"] == len(unlabelled) >= 2 * (len(truths) - len(unlabelled)) > 0
