"""Evaluation of folders: numbers by hand, bad cases, resumption, comparison."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from rsuper.data.layout import Dataset
from rsuper.errors import DataError, UsageError
from rsuper.evaluation import EvaluationSettings, Resampling, compare, evaluate
from rsuper.volumes import Volume, write_volume

SHAPE = (12, 10, 8)
QUICK = EvaluationSettings(resampling=Resampling(n_resamples=200))
CLASS = "liver_lesion"


def cube(*slices):
    mask = np.zeros(SHAPE, np.uint8)
    mask[slices] = 1
    return mask


def save(path, array, affine=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    write_volume(path, Volume(array, np.diag([2.0, 2.0, 3.0, 1.0]) if affine is None else affine))


@pytest.fixture
def world(tmp_path):
    """Six cases: four with a lesion (one missed, one half found), two normal (one false alarm)."""
    data, found = tmp_path / "data", tmp_path / "predictions"
    lesion = cube(slice(2, 6), slice(2, 6), slice(2, 6))
    half = cube(slice(4, 8), slice(2, 6), slice(2, 6))
    nothing = np.zeros(SHAPE, np.uint8)
    cases = {
        "c1": (lesion, lesion, 0.9),
        "c2": (lesion, half, 0.8),
        "c3": (lesion, nothing, 0.2),
        "c4": (lesion, lesion, 0.7),
        "c5": (nothing, half, 0.6),
        "c6": (nothing, nothing, 0.1),
    }
    data.mkdir()
    rows = [f"{case},p{case[1:]},{'test' if case != 'c4' else 'val'}" for case in cases]
    (data / "cases.csv").write_text("case_id,patient_id,split\n" + "\n".join(rows) + "\n")
    for case, (truth, prediction, _) in cases.items():
        save(data / "reference" / case / f"{CLASS}.nii.gz", truth)
        save(found / case / "segmentations" / f"{CLASS}.nii.gz", prediction)
    table = [f"case_id,{CLASS}_score", *(f"{case},{score}" for case, (_, _, score) in cases.items())]
    (found / "predictions.csv").write_text("\n".join(table) + "\n")
    (found / "predictions.json").write_text(json.dumps({"model_sha256": "ab"}))
    return data, found


def test_numbers_by_hand(world, tmp_path):
    data, found = world
    result = evaluate(found, Dataset.open(data), out=tmp_path / "out", settings=QUICK)
    metrics = result.classes[CLASS].metrics
    assert (result.classes[CLASS].n_positive, result.classes[CLASS].n_negative) == (4, 2)
    # positives .9 .8 .2 .7 against negatives .6 .1: 7 of 8 pairs are in order
    assert metrics["auc"].value == pytest.approx(7 / 8)
    assert metrics["sensitivity"].value == pytest.approx(3 / 4)
    assert metrics["specificity"].value == pytest.approx(1 / 2)
    assert metrics["sensitivity_at_90"].value == pytest.approx(3 / 4)
    assert metrics["dsc"].value == pytest.approx((1 + 0.5 + 0 + 1) / 4)
    assert metrics["dsc"].n == 4  # the false alarm counts against specificity, not here
    assert metrics["lesion_sensitivity"].value == pytest.approx(3 / 4)
    assert metrics["false_lesions_per_case"].value == pytest.approx(1 / 6)
    assert metrics["sensitivity"].method == "clopper_pearson"
    assert metrics["dsc"].low <= metrics["dsc"].value <= metrics["dsc"].high
    assert (result.name, result.model_sha256, result.exit_code) == ("predictions", "ab", 0)
    with (tmp_path / "out" / "cases.csv").open() as stream:
        table = {row["case_id"]: row for row in csv.DictReader(stream)}
    assert float(table["c2"]["dsc"]) == pytest.approx(0.5)
    assert float(table["c2"]["reference_mm3"]) == 64 * 12
    assert table["c5"]["dsc"] == ""  # not defined is an empty cell
    assert str(tmp_path) not in (tmp_path / "out" / "evaluation.json").read_text()


def test_threshold_from_other_cases_decides_the_call(world):
    data, found = world
    settings = QUICK.model_copy(update={"thresholds": {CLASS: 0.75}})
    metrics = evaluate(found, Dataset.open(data), settings=settings).classes[CLASS].metrics
    assert metrics["sensitivity"].value == pytest.approx(2 / 4)
    assert metrics["specificity"].value == pytest.approx(1.0)


def test_bad_cases_keep_their_row_and_stop_nothing(world, tmp_path):
    data, found = world
    path = found / "c1" / "segmentations" / f"{CLASS}.nii.gz"
    path.write_bytes(path.read_bytes()[:80])
    (found / "c2" / "segmentations" / f"{CLASS}.nii.gz").unlink()
    save(found / "c4" / "segmentations" / f"{CLASS}.nii.gz", cube(slice(2, 4)), np.eye(4))
    result = evaluate(found, Dataset.open(data), settings=QUICK)
    rows = {row.case_id: row for row in result.cases}
    assert rows["c1"].status == "failed"
    assert (rows["c2"].status, rows["c2"].code) == ("not_predicted", "prediction_missing")
    assert (rows["c4"].status, rows["c4"].code) == ("failed", "grid_mismatch")
    assert result.exit_code == 4
    assert len(result.cases) == 6
    assert result.classes[CLASS].n_missing == 3


def test_masks_without_scores_give_no_auc(world):
    data, found = world
    (found / "predictions.csv").unlink()
    metrics = evaluate(found, Dataset.open(data), settings=QUICK).classes[CLASS].metrics
    assert metrics["auc"].value is None
    assert metrics["dsc"].value == pytest.approx(2.5 / 4)
    save(found / "c1" / "probabilities" / f"{CLASS}.nii.gz", np.full(SHAPE, 0.25, np.float32))
    rows = evaluate(found, Dataset.open(data), settings=QUICK).cases
    assert rows[0].score == pytest.approx(0.25)


def test_a_second_run_measures_only_what_changed(world, tmp_path, monkeypatch):
    data, found = world
    out = tmp_path / "out"
    first = evaluate(found, Dataset.open(data), out=out, settings=QUICK)
    module = __import__("rsuper.evaluation.evaluate", fromlist=["segmentation_scores"])
    calls = []
    real = module.segmentation_scores
    monkeypatch.setattr(module, "segmentation_scores", lambda *a, **k: calls.append(1) or real(*a, **k))
    assert evaluate(found, Dataset.open(data), out=out, settings=QUICK) == first
    assert calls == []
    save(found / "c3" / "segmentations" / f"{CLASS}.nii.gz", cube(slice(2, 6), slice(2, 6), slice(2, 6)))
    journal = (out / "journal.jsonl").read_text()
    (out / "journal.jsonl").write_text(journal[:-40])  # a crash cut the last line
    again = evaluate(found, Dataset.open(data), out=out, settings=QUICK)
    assert len(calls) == 2  # the changed case and the one whose line was cut
    assert again.classes[CLASS].metrics["dsc"].value == pytest.approx(3.5 / 4)
    other = QUICK.model_copy(update={"tolerance_mm": 5.0})
    evaluate(found, Dataset.open(data), out=out, settings=other)
    assert len(calls) == 8


def test_splits_and_classes_that_do_not_exist(world, tmp_path):
    data, found = world
    dataset = Dataset.open(data)
    assert len(evaluate(found, dataset, split="val", settings=QUICK).cases) == 1
    with pytest.raises(UsageError, match="unknown_split"):
        evaluate(found, dataset, split="holdout")
    with pytest.raises(UsageError, match="unknown_class"):
        evaluate(found, dataset, classes=["spleen_lesion"])
    with pytest.raises(DataError, match="predictions_missing"):
        evaluate(tmp_path / "nowhere", dataset)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no_predictions"):
        evaluate(tmp_path / "empty", dataset)


def test_compare_pairs_cases(world, tmp_path):
    data, found = world
    dataset = Dataset.open(data)
    first = evaluate(found, dataset, settings=QUICK)
    better = tmp_path / "better"
    for case in ("c1", "c2", "c3", "c4", "c5", "c6"):
        has = case in ("c1", "c2", "c3", "c4")
        mask = cube(slice(2, 6), slice(2, 6), slice(2, 6)) if has else np.zeros(SHAPE, np.uint8)
        save(better / case / "segmentations" / f"{CLASS}.nii.gz", mask)
    (better / "predictions.csv").write_text(
        f"case_id,{CLASS}_score\nc1,.9\nc2,.9\nc3,.9\nc4,.9\nc5,.1\nc6,.1\n"
    )
    second = evaluate(better, dataset, settings=QUICK)
    difference = compare(first, second).differences[CLASS]
    assert difference["dsc"].value == pytest.approx(1 - 2.5 / 4)
    assert difference["auc"].value == pytest.approx(1 / 8)
    assert difference["specificity"].value == pytest.approx(0.5)
    same = compare(first, first).differences[CLASS]["dsc"]
    assert (same.value, same.low, same.high) == (0.0, 0.0, 0.0)
    other = evaluate(better, dataset, settings=QUICK.model_copy(update={"min_iou": 0.5}))
    with pytest.raises(DataError, match="settings_differ"):
        compare(first, other)
