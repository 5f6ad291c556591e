import json

import pytest
from typer.testing import CliRunner

from llm_extract.chat.engine import EngineInfo
from llm_extract.cli import build_app
from llm_extract.cli_model import model_options
from llm_extract.errors import UsageError


def invoke(*arguments):
    return CliRunner().invoke(build_app(), ["extract", *map(str, arguments)])


def test_options_reach_the_engine():
    options = model_options(
        "vllm", allow_remote=False, kv_cache_gib=0.25, model="folder", gpus=2, cross_check="rules"
    )
    assert (options.model, options.gpus, options.kv_cache_bytes) == ("folder", 2, 1 << 28)
    assert (options.remote, options.cross_check) == ("refused", "rules")
    assert model_options("rules", allow_remote=False, kv_cache_gib=None) is None


def test_model_options_for_a_backend_without_a_model_are_refused():
    with pytest.raises(UsageError) as caught:
        model_options("rules", allow_remote=False, kv_cache_gib=None, model="x")
    assert caught.value.code == "bad_option"


def test_what_is_sent_to_another_machine_is_said(capsys):
    options = model_options(
        "openai", allow_remote=True, kv_cache_gib=None, base_url="https://llm.example.org/v1"
    )
    assert options.remote == "allowed"
    said = capsys.readouterr().err
    assert "full text of every report is sent to llm.example.org" in said
    model_options("openai", allow_remote=True, kv_cache_gib=None)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("arguments", "code", "exit_code"),
    [
        (["--backend", "replay"], "recording_missing", 2),
        (["--backend", "replay", "--recording", "none.jsonl"], "recording_missing", 3),
        (["--backend", "vllm"], "model_missing", 2),
        (["--backend", "transformers", "--model", "."], "model_missing", 2),
        (["--backend", "openai", "--base-url", "http://example.org/v1"], "remote_server", 2),
        (["--backend", "openai", "--base-url", "nonsense"], "invalid_base_url", 2),
        (["--model", "x"], "bad_option", 2),
    ],
)
def test_wrong_use_is_said_with_a_code_before_anything_is_written(
    tmp_path, write_reports, arguments, code, exit_code
):
    result = invoke(write_reports(["A mass."]), "--out", tmp_path / "out", *arguments)
    assert result.exit_code == exit_code
    assert code in result.output
    assert not (tmp_path / "out").exists()


def test_a_recording_is_replayed_from_the_command_line(tmp_path, write_reports):
    recording = tmp_path / "answers.jsonl"
    info = EngineInfo("recorded")
    header = {
        "format": "chat-recording-1",
        "model": info.model,
        "revision": None,
        "decoding": {"temperature": 0},
    }
    recording.write_text(json.dumps(header) + "\n")
    out = tmp_path / "out"
    result = invoke(
        write_reports(["A mass.", "Normal."]), "--out", out, "--backend", "replay", "--recording", recording
    )
    assert result.exit_code == 4
    assert "2 × model_request_failed: not_recorded" in result.output
    summary = json.loads((out / "summary.json").read_text())
    assert summary["settings"]["model"] == "recorded"
