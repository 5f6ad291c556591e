"""transformers and xgrammar in an archive run: a model that reads, and one of random weights."""

from __future__ import annotations

import pytest
from engine_checks import one_grounded_record_each, read_by_the_model, run, schema_valid_first
from tiny_model import made_reports

pytest.importorskip("vllm", reason="needs the environment of make test-llm")

pytestmark = [pytest.mark.vllm, pytest.mark.filterwarnings("ignore")]


def test_the_records_are_what_the_model_read(reading_model, write_reports, tmp_path):
    made = made_reports(48, seed=5)
    reports = write_reports([r.text for r in made])
    recording = tmp_path / "answers.jsonl"
    result = run(reports, tmp_path / "out", "transformers", model=str(reading_model), record=recording)
    assert result.counts.done == len(made)
    records = one_grounded_record_each(reports, tmp_path / "out")
    read_by_the_model(made, records, tmp_path / "out", backend="transformers")
    assert schema_valid_first(recording, len(made)) == len(recording.read_text().splitlines()) - 1


def test_a_model_without_any_sense_leaves_every_report_one_grounded_record(
    random_model, write_reports, tmp_path
):
    made = made_reports(4, seed=6)
    reports = write_reports([r.text for r in made])
    recording = tmp_path / "answers.jsonl"
    model = {"model": str(random_model), "max_model_len": 2600}
    result = run(reports, tmp_path / "out", "transformers", record=recording, **model)
    assert result.counts.done == len(made)
    schema_valid_first(recording, len(made))
    for record in one_grounded_record_each(reports, tmp_path / "out"):
        refused = "model_output_invalid" in {issue.code for issue in record.issues}
        assert refused == (record.provenance.backend == "rules")
        assert record.status == "needs_review" if refused else not record.lesions
