"""vLLM without a server, with a model that reads."""

from __future__ import annotations

import json
import os
import signal
import time

import pytest
from engine_checks import one_grounded_record_each, read_by_the_model, run, schema_valid_first
from tiny_model import REPAIR, made_reports

pytest.importorskip("vllm", reason="needs a vLLM engine: make test-llm")

from llm_extract.backends import load_backend
from llm_extract.backends.vllm import VLLMEngine
from llm_extract.chat.answer_schema import MAX_QUOTE, answer_schema
from llm_extract.chat.engine import ModelOptions
from llm_extract.errors import ResourceError, UsageError
from llm_extract.ledger import Ledger, settings_sha256

pytestmark = [pytest.mark.vllm, pytest.mark.filterwarnings("ignore")]

MADE = made_reports(300, seed=1)
TOO_LONG = "FINDINGS: " + "The liver is normal. " * 4000


@pytest.fixture(scope="module")
def vllm_run(reading_model, write_reports, tmp_path_factory):
    """300 reports and one that is too long, recorded."""
    folder = tmp_path_factory.mktemp("vllm")
    reports = write_reports([*(r.text for r in MADE), TOO_LONG])
    started = time.monotonic()
    result = run(reports, folder / "out", "vllm", model=str(reading_model), record=folder / "answers.jsonl")
    print(f"\n{result.extracted} reports in {time.monotonic() - started:.1f} s, start-up included")
    return reports, folder, result


def test_every_report_ends_with_exactly_one_grounded_record(vllm_run):
    reports, folder, result = vllm_run
    records = one_grounded_record_each(reports, folder / "out")
    assert (result.counts.input, result.counts.done, result.counts.quarantined) == (301, 300, 1)
    assert [issue.code for issue in records[-1].issues] == ["report_too_long"]


def test_the_records_are_what_the_model_read_and_wrong_answers_are_mended_once(vllm_run):
    reports, folder, _ = vllm_run
    records = one_grounded_record_each(reports, folder / "out")
    read_by_the_model(MADE, records[:-1], folder / "out", backend="vllm")


def test_every_answer_follows_the_schema_at_the_first_try(vllm_run):
    answers = (vllm_run[1] / "answers.jsonl").read_text(encoding="utf-8").splitlines()[1:]
    valid = schema_valid_first(vllm_run[1] / "answers.jsonl", len(MADE))
    print(f"\n{valid} of {len(answers)} answers follow the schema")
    assert valid == len(answers)


def test_the_run_goes_on_from_its_ledger_and_replays_without_the_engine(vllm_run, reading_model):
    reports, folder, _ = vllm_run
    again = run(reports, folder / "out", "vllm", model=str(reading_model))
    assert again.extracted == 0
    replayed = run(reports, folder / "replayed", "replay", recording=folder / "answers.jsonl")
    assert replayed.counts.done == len(MADE)
    first, second = (
        [json.loads(line) for line in (folder / name / "records.jsonl").read_text().splitlines()[:-1]]
        for name in ("out", "replayed")
    )
    for a, b in zip(first, second, strict=True):
        a["provenance"]["backend"] = b["provenance"]["backend"] = ""
        assert a == b


def test_another_model_or_revision_is_other_work(vllm_run, reading_model, random_model):
    with Ledger(vllm_run[1] / "out" / "ledger.sqlite") as ledger:
        assert sum(ledger.counts().values()) == len(MADE) + 1
    hashes = set()
    for model, revision in ((reading_model, None), (reading_model, "other"), (random_model, None)):
        backend = load_backend("vllm", ModelOptions(model=str(model), revision=revision))
        hashes.add(settings_sha256("vllm", backend.settings()))
        backend.close()
    assert len(hashes) == 3


@pytest.mark.parametrize("backend", ["vllm", "transformers"])
def test_a_context_that_does_not_hold_the_instructions_ends_the_run_before_the_model_is_loaded(
    reading_model, write_reports, tmp_path, backend
):
    reports = write_reports([MADE[0].text])
    started = time.monotonic()
    with pytest.raises(UsageError) as caught:
        run(reports, tmp_path / "out", backend, model=str(reading_model), max_model_len=1024)
    assert caught.value.code == "context_too_small"
    assert time.monotonic() - started < 60
    with Ledger(tmp_path / "out" / "ledger.sqlite") as ledger:
        assert "leased" not in ledger.counts()


def test_an_engine_that_is_killed_stops_the_run_and_the_same_command_goes_on(
    reading_model, write_reports, tmp_path, monkeypatch
):
    made = made_reports(80, seed=4)
    reports, out = write_reports([r.text for r in made]), tmp_path / "out"
    answered = 0
    poll = VLLMEngine.poll

    def kill_after_some(engine, timeout_s):
        nonlocal answered
        answers = poll(engine, timeout_s)
        answered += len(answers)
        if answered >= 20:
            os.kill(engine._process.pid, signal.SIGKILL)
        return answers

    with monkeypatch.context() as patch:
        patch.setattr(VLLMEngine, "poll", kill_after_some)
        with pytest.raises(ResourceError) as caught:
            run(reports, out, "vllm", model=str(reading_model), concurrency=8)
    assert (caught.value.code, caught.value.exit_code) == ("engine_failed", 5)
    with Ledger(out / "ledger.sqlite") as ledger:
        counts = ledger.counts()
    assert "leased" not in counts
    assert 0 < counts["done"] < len(made)
    result = run(reports, out, "vllm", model=str(reading_model))
    assert result.extracted == len(made) - counts["done"]
    read_by_the_model(made, one_grounded_record_each(reports, out), out, backend="vllm")


def test_a_schema_that_the_grammar_cannot_compile_is_noticed_at_the_start(reading_model):
    """Patterns that repeat more than 128 times do not compile; vLLM itself only ends each request that needs one."""
    good = json.dumps(answer_schema(4, ("liver", "other")))
    bad = good.replace(f"{{4,{MAX_QUOTE}}}", "{4,129}")
    assert bad != good
    engine = VLLMEngine(ModelOptions(model=str(reading_model), kv_cache_bytes=64 << 20, concurrency=4))
    try:
        with pytest.raises(ResourceError) as caught:
            engine.start({0: json.loads(good), 4: json.loads(bad)})
    finally:
        engine.close()
    assert (caught.value.code, caught.value.exit_code) == ("schema_not_compiled", 5)


def test_the_words_that_the_model_is_wired_to_are_those_of_the_prompts():
    from llm_extract.anatomy import load_anatomy
    from llm_extract.chat.prompting import load_prompts

    assert load_prompts(tuple(load_anatomy().organs)).repair.startswith(REPAIR)
