"""The verbs ``evaluate`` and ``agree`` on folders, and truth that comes from reports alone."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest

from llm_extract.anatomy import load_anatomy
from llm_extract.records import Evidence, Lesion, OrganStatement, Provenance, ReportRecord
from rsuper.agreement.command import run_agree
from rsuper.data.layout import Dataset
from rsuper.errors import DataError, UsageError
from rsuper.evaluation import EvaluationSettings, Resampling
from rsuper.evaluation.command import parse_thresholds, run_evaluate
from rsuper.evaluation.references import truth_of
from rsuper.supervision import load_policy
from rsuper.volumes import Volume, write_volume

CLASS = "liver_lesion"
SHAPE = (10, 10, 10)
QUICK = EvaluationSettings(resampling=Resampling(n_resamples=100))
QUOTE = Evidence(start=0, end=4, field="organ", text="mass", section="findings")


def record(case_id, status, **fields):
    present = status == "lesion_present"
    lesion = Lesion(lesion_id="L1", organ="liver", kind="mass", diameters_mm=(9.0,), evidence=(QUOTE,))
    return ReportRecord(
        report_id=case_id,
        source="radiology",
        text_sha256=hashlib.sha256(b"mass").hexdigest(),
        text_chars=4,
        status="ok",
        lesions=(lesion,) if present else (),
        organs={"liver": OrganStatement(status=status, evidence=(QUOTE,), **fields)},
        provenance=Provenance(backend="test", version="1"),
    )


@pytest.fixture
def world(tmp_path):
    """Four cases that only reports describe: tumour, free, limited examination, no report."""
    data = tmp_path / "data"
    data.mkdir()
    (data / "cases.csv").write_text("case_id,patient_id\n" + "".join(f"c{i},p{i}\n" for i in range(4)))
    records = [
        record("c0", "lesion_present"),
        record("c1", "explicitly_lesion_free"),
        record("c2", "explicitly_lesion_free", limited=True),
    ]
    (data / "records.jsonl").write_text("".join(r.model_dump_json() + "\n" for r in records))
    for name in ("ours", "theirs"):
        for i in range(4):
            folder = tmp_path / name / f"c{i}" / "segmentations"
            folder.mkdir(parents=True)
            mask = np.zeros(SHAPE, np.uint8)
            if i == 0 or name == "theirs":
                mask[2:6, 2:6, 2:6] = 1
            write_volume(folder / f"{CLASS}.nii.gz", Volume(mask, np.diag([2.0, 2.0, 2.0, 1.0])))
    return tmp_path


def test_reports_are_truth_where_no_mask_is(world):
    dataset = Dataset.open(world / "data")
    truths = [truth_of(dataset, entry, CLASS) for entry in dataset.cases]
    assert [truth.present for truth in truths] == [True, False, None, None]
    assert [truth.source for truth in truths] == ["report", "report", "none", "none"]
    outcome = run_evaluate(world / "ours", dataset, settings=QUICK)
    result = outcome.result.classes[CLASS]
    assert (result.n_positive, result.n_negative, result.n_unknown) == (1, 1, 2)
    assert (result.metrics["sensitivity"].value, result.metrics["specificity"].value) == (1.0, 1.0)
    assert result.metrics["dsc"].value is None  # a report gives no outline
    assert outcome.exit_code == 0


ALL_FREE = {"rules": [{"then": "drop"}]}


def test_reported_truth_counts_what_the_network_was_trained_on(world):
    """The policy of the predictions decides, for both folders alike; one that is asked for goes first."""
    dataset = Dataset.open(world / "data")
    (world / "ours" / "predictions.json").write_text(json.dumps({"policy": ALL_FREE}))
    trained = run_evaluate(world / "ours", dataset, against=world / "theirs", settings=QUICK)
    assert [row.present for row in trained.result.cases] == [None, False, None, None]
    assert trained.comparison.differences[CLASS]["specificity"].value == 1.0
    asked = QUICK.model_copy(update={"counted": load_policy()})
    assert run_evaluate(world / "ours", dataset, settings=asked).result.cases[0].present is True
    plain = run_evaluate(world / "theirs", dataset, settings=QUICK)
    assert plain.result.cases[0].present is True


def test_agree_counts_what_the_network_was_trained_on(world):
    (world / "theirs" / "predictions.json").write_text(json.dumps({"policy": ALL_FREE}))
    trained = run_agree(world / "theirs", world / "data").as_json()["verdicts"]
    asked = run_agree(world / "theirs", world / "data", policy="tumours").as_json()["verdicts"]
    assert trained == {"found_not_reported": 3, "not_comparable": 1}
    assert asked == {"found_not_reported": 2, "matched": 1, "not_comparable": 1}


def test_a_policy_of_another_version_is_refused(world):
    (world / "ours" / "predictions.json").write_text(json.dumps({"policy": {"rules": [], "odd": 1}}))
    with pytest.raises(DataError, match="policy_unreadable"):
        run_agree(world / "ours", world / "data")


OWN_CLASS = "thymus_lesion"


@pytest.fixture
def own_organ(world):
    """The same world, seen by a network whose organ the built-in table does not have."""
    file = world / "mine.yaml"
    file.write_text("organs: {thymus: {synonyms: [thymus], structures: [thymus]}}")
    lines = (world / "data" / "records.jsonl").read_text().replace('"organ":"liver"', '"organ":"thymus"')
    (world / "data" / "records.jsonl").write_text(lines.replace('"organs":{"liver"', '"organs":{"thymus"'))
    for mask in world.glob(f"*/*/segmentations/{CLASS}.nii.gz"):
        mask.rename(mask.with_name(f"{OWN_CLASS}.nii.gz"))
    anatomy = load_anatomy(file)
    mark = {"anatomy": anatomy.model_dump(mode="json")}
    (world / "ours" / "predictions.json").write_text(json.dumps(mark))
    return anatomy


def test_reports_are_read_with_the_organs_of_the_networks_training(world, own_organ):
    dataset = Dataset.open(world / "data")
    outcome = run_evaluate(world / "ours", dataset, against=world / "theirs", settings=QUICK)
    assert [row.present for row in outcome.result.cases] == [True, False, None, None]
    assert outcome.comparison.differences[OWN_CLASS]["specificity"].value == 1.0, "one truth for both folders"
    written = (outcome.out / "evaluation.json").read_text()
    assert len(json.loads(written)["anatomy_sha256"]) == 64
    assert '"organs"' not in written, "the table itself stays where it is"
    agreed = run_agree(world / "ours", world / "data")
    assert agreed.as_json()["verdicts"] == {"matched": 1, "both_negative": 2, "not_comparable": 1}
    assert agreed.table.anatomy_sha256 == json.loads(written)["anatomy_sha256"]
    assert json.loads((agreed.out / "agreement.json").read_text())["counted"]["rules"]


def test_a_table_that_is_asked_for_goes_first_and_must_have_the_organs(world, own_organ):
    dataset = Dataset.open(world / "data")
    for anatomy, present in ((own_organ, [True, False, None, None]), (None, [None] * 4)):
        settings = QUICK.model_copy(update={"anatomy": anatomy})
        result = run_evaluate(world / "theirs", dataset, settings=settings).result
        assert [row.present for row in result.cases] == present
    asked = run_agree(world / "theirs", world / "data", anatomy=own_organ).as_json()["verdicts"]
    assert asked == {"found_not_reported": 2, "matched": 1, "not_comparable": 1}
    for run in (
        lambda: run_agree(world / "theirs", world / "data"),
        lambda: run_agree(world / "ours", world / "data", anatomy=load_anatomy()),
        lambda: run_evaluate(
            world / "ours", dataset, settings=QUICK.model_copy(update={"anatomy": load_anatomy()})
        ),
    ):
        with pytest.raises(UsageError, match=OWN_CLASS) as caught:
            run()
        assert caught.value.code == "class_without_organ"


def test_a_rule_for_an_organ_that_the_table_lacks_is_refused(world, own_organ):
    policy = world / "mine_policy.yaml"
    policy.write_text("presets: {mine: {rules: [{organ: [thymus], then: count}]}}")
    assert run_agree(world / "ours", world / "data", policy=str(policy)).as_json()["verdicts"]
    (world / "ours" / "predictions.json").unlink()
    for mask in world.glob(f"ours/*/segmentations/{OWN_CLASS}.nii.gz"):
        mask.rename(mask.with_name(f"{CLASS}.nii.gz"))
    with pytest.raises(UsageError, match="unknown_organ"):
        run_agree(world / "ours", world / "data", policy=str(policy))
    settings = QUICK.model_copy(update={"counted": load_policy(str(policy))})
    with pytest.raises(UsageError, match="unknown_organ"):
        run_evaluate(world / "ours", Dataset.open(world / "data"), settings=settings)


def test_another_table_measures_the_cases_again(world, own_organ):
    dataset = Dataset.open(world / "data")
    out = world / "kept"
    for anatomy, first in ((None, None), (own_organ, True)):
        settings = QUICK.model_copy(update={"anatomy": anatomy})
        assert (
            run_evaluate(world / "theirs", dataset, out=out, settings=settings).result.cases[0].present
            is first
        )


def test_evaluate_writes_beside_the_predictions_and_compares(world):
    dataset = Dataset.open(world / "data")
    outcome = run_evaluate(world / "ours", dataset, against=world / "theirs", settings=QUICK)
    folder = world / "ours" / "evaluation"
    assert outcome.out == folder
    assert {path.name for path in folder.iterdir()} >= {"evaluation.json", "cases.csv", "comparison.json"}
    assert outcome.comparison.differences[CLASS]["specificity"].value == 1.0
    text = "\n".join(outcome.lines())
    assert "liver_lesion: 1 with a lesion, 1 without, 2 unknown" in text
    assert "difference +1.000" in text
    document = json.loads(json.dumps(outcome.as_json()))
    assert document["classes"][CLASS]["n_unknown"] == 2
    assert "cases" not in document
    again = run_evaluate(world / "ours", dataset, against=world / "theirs", settings=QUICK)
    assert again.result == outcome.result  # its own output folder is not taken for a case


def test_a_missing_case_is_named_and_gives_exit_code_4(world):
    (world / "ours" / "c1" / "segmentations" / f"{CLASS}.nii.gz").unlink()
    outcome = run_evaluate(world / "ours", Dataset.open(world / "data"), settings=QUICK)
    assert outcome.exit_code == 4
    assert "prediction_missing [case c1] liver_lesion" in outcome.lines()
    assert outcome.as_json()["failed"] == {"c1/liver_lesion": "prediction_missing"}


def test_thresholds_are_parsed():
    assert parse_thresholds(["liver_lesion=0.4"]) == {"liver_lesion": 0.4}
    with pytest.raises(UsageError, match="bad_threshold"):
        parse_thresholds(["liver_lesion"])


def test_agree_says_where_to_look_first(world):
    outcome = run_agree(world / "theirs", world / "data")
    assert outcome.exit_code == 4  # c3 has no report
    assert {path.name for path in outcome.out.iterdir()} == {"agreement.json", "agreement.csv"}
    text = "\n".join(outcome.lines())
    assert "c1 (1.00): found, not reported; the report calls the organ free of focal lesions" in text
    document = json.loads(json.dumps(outcome.as_json()))
    assert document["cases"][0]["case_id"] == "c1"
    assert document["verdicts"]["found_not_reported"] == 2
    with pytest.raises(UsageError, match="unknown_policy"):
        run_agree(world / "theirs", world / "data", policy="nonsense")
