"""``vllm serve`` on this machine, and the openai backend against it: reading, wrong use, and a server that dies."""

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
from engine_checks import KV_CACHE_BYTES, one_grounded_record_each, read_by_the_model, run, schema_valid_first
from tiny_model import made_reports

pytest.importorskip("vllm", reason="needs a vLLM engine: make test-llm")

from llm_extract.backends.openai import OpenAIEngine
from llm_extract.errors import ResourceError, UsageError
from llm_extract.ledger import Ledger

pytestmark = [pytest.mark.vllm, pytest.mark.filterwarnings("ignore")]

TOO_LONG = "FINDINGS: " + "The liver is normal. " * 4000


class Server:
    """One server after another on one port of this machine."""

    def __init__(self, model: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self._model = model
        self._process: subprocess.Popen | None = None

    def start(self) -> None:
        """Start it and wait until it is ready."""
        command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(self._model)]
        command += ["--served-model-name", "reading", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--max-model-len", "8192", "--max-num-seqs", "64", "--enforce-eager"]
        command += ["--kv-cache-memory-bytes", str(KV_CACHE_BYTES), "--enable-prefix-caching"]
        command += ["--structured-outputs-config", '{"backend": "xgrammar", "disable_any_whitespace": true}']
        self._process = subprocess.Popen(
            command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        until = time.monotonic() + 600
        while True:
            assert self._process.poll() is None, "the server does not start"
            assert time.monotonic() < until, "the server is not ready in time"
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=2):
                    return
            except OSError:
                time.sleep(0.5)

    def kill(self) -> None:
        """End it and all of its processes at once."""
        if self._process is not None:
            os.killpg(self._process.pid, 9)
            self._process.wait()
            self._process = None


@pytest.fixture(scope="module")
def server(reading_model):
    """A running server; the last test of this file kills it and starts another."""
    running = Server(reading_model)
    try:
        running.start()
        yield running
    finally:
        running.kill()


def test_the_records_are_what_the_model_read_and_the_rules_are_compared(server, write_reports, tmp_path):
    made = made_reports(150, seed=7)
    reports = write_reports([*(r.text for r in made), TOO_LONG])
    out, recording = tmp_path / "out", tmp_path / "answers.jsonl"
    result = run(
        reports, out, "openai", base_url=server.url, concurrency=64, record=recording, cross_check="rules"
    )
    assert (result.counts.done, result.counts.errors) == (150, {"report_too_long: prompt_too_long": 1})
    records = one_grounded_record_each(reports, out)
    read_by_the_model(made, records[:-1], out, backend="openai")
    assert schema_valid_first(recording, len(made)) == len(recording.read_text().splitlines()) - 1
    assert json.loads((out / "agreement.json").read_text())["records"] == 150
    for truth, record in zip(made, records, strict=False):
        if truth.unread and not truth.motion:
            assert record.status == "needs_review"
            assert "extractors_disagree" in {issue.code for issue in record.issues}


def test_a_wrong_model_name_lists_what_the_server_has(server, write_reports, tmp_path):
    with pytest.raises(UsageError, match="reading") as caught:
        run(write_reports(["Liver: normal."]), tmp_path / "out", "openai", base_url=server.url, model="other")
    assert (caught.value.code, caught.value.exit_code) == ("unknown_model", 2)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("path", ["", "/v2", "/v1/chat/completions"])
def test_a_wrong_address_of_the_server_is_said_before_anything_is_written(
    server, write_reports, tmp_path, path
):
    url = server.url.removesuffix("/v1") + path
    with pytest.raises(UsageError) as caught:
        run(write_reports(["Liver: normal."]), tmp_path / "out", "openai", base_url=url)
    assert caught.value.code in {"unknown_model", "invalid_base_url"}
    assert "/v1" in f"{caught.value} {caught.value.hint}"
    assert not (tmp_path / "out").exists()


def test_a_server_that_is_killed_stops_the_run_and_the_next_one_goes_on(
    server, write_reports, tmp_path, monkeypatch
):
    made = made_reports(200, seed=8)
    reports, out = write_reports([r.text for r in made]), tmp_path / "out"
    answered = 0
    poll = OpenAIEngine.poll

    def kill_after_some(engine, timeout_s):
        nonlocal answered
        answers = poll(engine, timeout_s)
        answered += len(answers)
        if answered >= 40:
            server.kill()
        return answers

    with monkeypatch.context() as patch:
        patch.setattr(OpenAIEngine, "poll", kill_after_some)
        with pytest.raises(ResourceError) as caught:
            run(reports, out, "openai", base_url=server.url, patience_s=1.0)
    assert (caught.value.code, caught.value.exit_code) == ("server_unreachable", 5)
    assert "run the same command again" in caught.value.hint
    with Ledger(out / "ledger.sqlite") as ledger:
        counts = ledger.counts()
    assert "leased" not in counts
    assert 0 < counts["done"] < len(made)
    server.start()
    result = run(reports, out, "openai", base_url=server.url)
    assert result.extracted == len(made) - counts["done"]
    assert result.counts.done == len(made)
    read_by_the_model(made, one_grounded_record_each(reports, out), out, backend="openai")
