"""Real engines with a real, tiny model: in process, as a server, and transformers."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from llm_extract import ReportRecord
from llm_extract.archive import ArchiveOptions, extract_archive
from llm_extract.chat.answer_schema import Answer
from llm_extract.chat.engine import ModelOptions
from llm_extract.chat.prompting import load_prompts
from llm_extract.errors import PipelineError
from llm_extract.grounding import check_grounding
from llm_extract.ledger import Ledger
from llm_extract.reports import ReportSource, read_reports

pytestmark = [pytest.mark.vllm, pytest.mark.filterwarnings("ignore")]

N_REPORTS = 300
KV_CACHE_BYTES = 256 << 20


def run(reports: Path, out: Path, backend: str, **options):
    model = ModelOptions(**{"concurrency": 32, "kv_cache_bytes": KV_CACHE_BYTES} | options)
    return extract_archive(ReportSource(reports), ArchiveOptions(out=out, backend=backend, model=model))


def check_run(reports: Path, out: Path, result, *, n: int) -> dict[str, float]:
    """Every report has exactly one grounded record; returns how many answers followed the schema at once."""
    inputs = list(read_reports(ReportSource(reports)))
    lines = (out / "records.jsonl").read_text(encoding="utf-8").splitlines()
    records = [ReportRecord.model_validate_json(line) for line in lines]
    assert [r.report_id for r in records] == [r.report_id for r in inputs]
    assert result.counts.input == n == result.counts.done + result.counts.quarantined
    for report, record in zip(inputs, records, strict=True):
        check_grounding(record, report)
    return {"done": result.counts.done, "needs_review": result.counts.needs_review}


def first_answers(recording: Path) -> list[dict]:
    return [json.loads(line) for line in recording.read_text(encoding="utf-8").splitlines()[1:]]


@pytest.fixture(scope="module")
def vllm_run(tiny_model, write_reports, tmp_path_factory):
    """300 reports and one that is too long, through vLLM in this process, recorded."""
    folder = tmp_path_factory.mktemp("vllm")
    too_long = "FINDINGS: " + "The liver is normal. " * 4000
    reports = write_reports(N_REPORTS, extra=(too_long,))
    started = time.monotonic()
    result = run(reports, folder / "out", "vllm", model=str(tiny_model), record=folder / "answers.jsonl")
    return reports, folder, result, time.monotonic() - started


def test_vllm_in_process_gives_every_report_one_grounded_record(vllm_run):
    reports, folder, result, seconds = vllm_run
    counts = check_run(reports, folder / "out", result, n=N_REPORTS + 1)
    assert counts["done"] == N_REPORTS
    records = [json.loads(x) for x in (folder / "out" / "records.jsonl").read_text().splitlines()]
    assert [i["code"] for i in records[-1]["issues"]] == ["report_too_long"]
    print(f"\n{result.extracted} reports in {seconds:.1f} s, start-up included; {counts}")


def test_every_answer_follows_the_schema_at_the_first_try(vllm_run):
    answers = first_answers(vllm_run[1] / "answers.jsonl")
    assert len(answers) >= N_REPORTS
    ended = [a for a in answers if a["finish_reason"] == "stop"]
    for answer in ended:
        Answer.model_validate_json(answer["text"])
    print(f"\n{len(ended)} of {len(answers)} answers ended by themselves; all of these follow the schema")
    assert len(ended) >= 0.9 * len(answers)


def test_the_run_goes_on_from_its_ledger_and_replays_without_the_engine(vllm_run, tiny_model):
    reports, folder, _, _ = vllm_run
    again = run(reports, folder / "out", "vllm", model=str(tiny_model))
    assert again.extracted == 0
    replayed = run(reports, folder / "replayed", "replay", recording=folder / "answers.jsonl")
    assert replayed.counts.done == N_REPORTS
    first, second = (
        [json.loads(line) for line in (folder / name / "records.jsonl").read_text().splitlines()[:-1]]
        for name in ("out", "replayed")
    )
    for a, b in zip(first, second, strict=True):
        a["provenance"]["backend"] = b["provenance"]["backend"] = ""
        assert a == b


def test_another_model_is_other_work(vllm_run, tiny_model):
    folder = vllm_run[1]
    with Ledger(folder / "out" / "ledger.sqlite") as ledger:
        before = sum(ledger.counts().values())
    assert before == N_REPORTS + 1
    from llm_extract.backends import load_backend
    from llm_extract.ledger import settings_sha256

    hashes = set()
    for revision in (None, "other"):
        backend = load_backend("vllm", ModelOptions(model=str(tiny_model), revision=revision))
        hashes.add(settings_sha256("vllm", backend.settings()))
        backend.close()
    assert len(hashes) == 2


def test_transformers_gives_every_report_one_grounded_record(tiny_model, write_reports, tmp_path):
    reports = write_reports(12, seed=5)
    recording = tmp_path / "answers.jsonl"
    result = run(reports, tmp_path / "out", "transformers", model=str(tiny_model), record=recording)
    assert check_run(reports, tmp_path / "out", result, n=12)["done"] == 12
    for answer in first_answers(recording):
        if answer["finish_reason"] == "stop":
            Answer.model_validate_json(answer["text"])


@pytest.fixture(scope="module")
def server(tiny_model):
    """``vllm serve`` on this machine."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(tiny_model)]
    command += ["--served-model-name", "tiny", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--max-model-len", "8192", "--max-num-seqs", "64", "--enforce-eager"]
    command += ["--kv-cache-memory-bytes", str(KV_CACHE_BYTES)]
    command += ["--structured-outputs-config", '{"backend": "xgrammar", "disable_any_whitespace": true}']
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=dict(os.environ),
        start_new_session=True,
    )
    url = f"http://127.0.0.1:{port}"
    until = time.monotonic() + 400
    try:
        while True:
            assert process.poll() is None, "the server does not start"
            assert time.monotonic() < until, "the server is not ready in time"
            try:
                with urllib.request.urlopen(f"{url}/health", timeout=2):
                    break
            except OSError:
                time.sleep(1)
        yield process, f"{url}/v1"
    finally:
        os.killpg(process.pid, 9)
        process.wait()


def test_a_server_gives_every_report_one_grounded_record(server, write_reports, tmp_path):
    reports = write_reports(100, seed=7, extra=("FINDINGS: " + "The liver is normal. " * 4000,))
    recording = tmp_path / "answers.jsonl"
    out = tmp_path / "out"
    result = run(
        reports, out, "openai", base_url=server[1], concurrency=64, record=recording, cross_check="rules"
    )
    assert check_run(reports, out, result, n=101)["done"] == 100
    assert result.counts.errors == {"report_too_long: prompt_too_long": 1}
    for answer in first_answers(recording):
        if answer["finish_reason"] == "stop":
            Answer.model_validate_json(answer["text"])
    agreement = json.loads((out / "agreement.json").read_text())
    assert agreement["records"] == 100


def test_a_server_that_is_killed_stops_the_run_and_the_ledger_keeps_what_is_done(
    server, write_reports, tmp_path
):
    process, url = server
    import threading

    reports = write_reports(400, seed=8)
    threading.Timer(3.0, lambda: os.killpg(process.pid, 9)).start()
    with pytest.raises(PipelineError) as caught:
        run(reports, tmp_path / "out", "openai", base_url=url, patience_s=2.0)
    assert caught.value.exit_code == 5
    with Ledger(tmp_path / "out" / "ledger.sqlite") as ledger:
        assert "leased" not in ledger.counts()


def test_the_fixed_prompt_is_at_most_1500_tokens_of_a_real_vocabulary():
    tekken = pytest.importorskip("mistral_common.tokens.tokenizers.tekken")
    import mistral_common

    from llm_extract.anatomy import load_anatomy

    folder = Path(mistral_common.__file__).parent / "data"
    files = sorted(folder.glob("tekken_*.json"))
    if not files:
        pytest.skip("mistral_common ships no vocabulary")
    tokenizer = tekken.Tekkenizer.from_file(str(files[-1]))
    prompts = load_prompts(tuple(load_anatomy().organs))
    for source in ("radiology", "pathology"):
        counted = sum(len(tokenizer.encode(m.content, bos=False, eos=False)) for m in prompts.fixed(source))
        print(f"\n{source}: {counted} fixed tokens")
        assert counted <= 1_400  # and a few a turn for the chat template
