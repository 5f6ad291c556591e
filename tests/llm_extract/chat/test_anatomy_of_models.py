"""A user's own anatomy file with a language model: prompt, schema, checks, parts and the ledger's key."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from llm_extract import ReportRecord
from llm_extract.anatomy import load_anatomy
from llm_extract.backends import load_backend
from llm_extract.backends.replay import RecordingEngine
from llm_extract.chat.engine import ModelOptions
from llm_extract.chat.loop import ChatExtractor
from llm_extract.cli import build_app
from llm_extract.errors import UsageError
from llm_extract.ledger import Job
from llm_extract.reports import Report

MINE = """\
organs:
  parotid_gland:
    paired: true
    synonyms: [parotid gland, parotid]
    side_structures: {left: [parotid_left], right: [parotid_right]}
  liver:
    parts:
      liver_papillary_process: {synonyms: [papillary process], structures: [liver_segment_1]}
"""
TEXT = "A mass of 23 mm is seen in the left parotid gland. Liver: nodule of 8 mm in the papillary process."
ANSWER = {
    "lesions": [
        {"quote": "mass of 23 mm", "organ": "parotid_gland", "side": "left", "kind": "mass", "size": ["M1"]},
        {
            "quote": "nodule of 8 mm", "organ": "liver", "place": "papillary process", "kind": "nodule",
            "size": ["M2"],
        },
    ],
    "free": [],
}  # fmt: skip


@pytest.fixture
def mine(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(MINE, "utf-8")
    return path


def run(engine, anatomy, text=TEXT):
    extractor = ChatExtractor("fake", engine, ModelOptions(), anatomy=anatomy)
    extractor.load()
    (result,) = (
        r for r in extractor.run(iter([Job("1", Report(report_id="A", text=text))])) if r is not None
    )
    return extractor, result


def test_the_model_is_offered_the_organ_and_its_answer_becomes_the_record(fake_engine, mine):
    engine = fake_engine(lambda _request: json.dumps(ANSWER))
    extractor, result = run(engine, mine)
    record = ReportRecord.model_validate_json(result.record_json)
    assert (record.status, result.attempts) == ("ok", 1)
    assert [
        (lesion.organ, lesion.parts, lesion.laterality, lesion.diameters_mm) for lesion in record.lesions
    ] == [
        ("parotid_gland", (), "left", (23.0,)),
        ("liver", ("liver_papillary_process",), "n/a", (8.0,)),
    ]
    assert set(record.organs) == {*load_anatomy().organs, "parotid_gland"}
    (request,) = engine.requests
    assert ", parotid_gland" in request.messages[0].content
    for schema in engine.schemas.values():
        lesion = schema["properties"]["lesions"]["items"]["properties"]
        assert "parotid_gland" in lesion["organ"]["enum"]
        free = schema["properties"]["free"]["items"]["properties"]
        assert "parotid_gland" in free["organs"]["items"]["enum"]
    assert extractor.settings()["anatomy_sha256"]


def test_without_the_file_the_same_answer_is_refused(fake_engine):
    _, result = run(fake_engine(lambda _request: json.dumps(ANSWER)), None)
    assert result.attempts == 2
    assert "organ_not_in_report" in json.loads(result.raw_output)["errors"]


def test_the_file_changes_prompt_schema_and_key_and_no_file_changes_nothing(fake_engine, mine):
    def settings(anatomy):
        return ChatExtractor("fake", fake_engine(str), ModelOptions(), anatomy=anatomy).settings()

    without, with_file = settings(None), settings(mine)
    assert "anatomy_sha256" not in without
    changed = {key for key in with_file if with_file[key] != without.get(key)}
    assert changed == {"anatomy_sha256", "prompt_sha256", "schema_sha256"}
    mine.write_text(MINE + "  spleen: {margin_mm: 11}\n", "utf-8")
    assert settings(mine)["anatomy_sha256"] != with_file["anatomy_sha256"]


def test_a_recorded_run_is_replayed_from_the_command_line(fake_engine, mine, tmp_path):
    recording = tmp_path / "answers.jsonl"
    recorder = RecordingEngine(fake_engine(lambda _request: json.dumps(ANSWER)), recording)
    _, result = run(recorder, mine)
    recorder.close()
    reports = tmp_path / "r.jsonl"
    reports.write_text(json.dumps({"id": "A", "text": TEXT}) + "\n")
    out = tmp_path / "out"
    arguments = ["extract", reports, "--out", out, "--backend", "replay", "--recording", recording]
    done = CliRunner().invoke(build_app(), [str(a) for a in [*arguments, "--anatomy", mine]])
    assert done.exit_code == 0, done.output
    (line,) = (out / "records.jsonl").read_text().splitlines()
    expected = ReportRecord.model_validate_json(result.record_json)
    assert ReportRecord.model_validate_json(line).lesions == expected.lesions
    assert "parotid_gland" in (out / "studies.csv").read_text().splitlines()[0]
    without = CliRunner().invoke(build_app(), [str(a) for a in [*arguments, "--out", tmp_path / "other"]])
    assert without.exit_code == 4  # another prompt: nothing was recorded for it


def test_a_wrong_file_ends_before_an_engine_is_built(mine, tmp_path):
    mine.write_text("organs: {liver: {synonyms: x}}")
    options = ModelOptions(recording=tmp_path / "missing.jsonl")
    with pytest.raises(UsageError, match="anatomy_invalid"):
        load_backend("replay", options, anatomy=mine)
