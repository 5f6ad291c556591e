"""An archive run with recorded model answers survives kill -9 at any instant."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from llm_extract import ReportRecord
from llm_extract.archive import ArchiveOptions, extract_archive
from llm_extract.backends.replay import FORMAT, RecordingEngine, read_recording
from llm_extract.chat.engine import ChatAnswer, EngineInfo, ModelOptions
from llm_extract.chat.loop import ChatExtractor
from llm_extract.errors import DataError, UsageError
from llm_extract.ledger import Job, Ledger
from llm_extract.reports import ReportSource, read_reports

COMPARED = ("records.jsonl", "lesions.csv", "summary.json", "agreement.json")
N_REPORTS = 24
KILLS = 100

DRIVER = """
import os, signal, sys, time
from pathlib import Path
import pyarrow.parquet, jinja2
import llm_extract.evidence_page
from llm_extract.archive import ArchiveOptions, extract_archive
from llm_extract.backends import load_backend
from llm_extract.chat.engine import ModelOptions
from llm_extract.reports import ReportSource

reports, recording = map(Path, sys.argv[1:])
model = ModelOptions(recording=recording, cross_check="rules")
load_backend("replay", model)  # the rules are built once, before the forks
for line in sys.stdin:
    out, instant_s = line.split()
    child = os.fork()
    if child == 0:
        options = ArchiveOptions(out=Path(out), backend="replay", model=model)
        os._exit(extract_archive(ReportSource(reports), options).exit_code)
    time.sleep(float(instant_s))
    os.kill(child, signal.SIGKILL)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def text_of(number: int) -> str:
    return f"FINDINGS: A mass of {number + 11} mm in the liver. The spleen is normal. Examination {number}."


class ScriptedEngine:
    """Answers well, in prose, or at first badly, by the number of the report."""

    capacity = 4

    def __init__(self) -> None:
        self.open = []

    def info(self) -> EngineInfo:
        return EngineInfo("scripted", "7")

    def start(self, schemas) -> None:
        pass

    def submit(self, request) -> None:
        self.open.append(request)

    def poll(self, timeout_s):
        answers = [self.answer(request) for request in self.open]
        self.open = []
        return answers

    def answer(self, request) -> ChatAnswer:
        number = int(request.request_id)
        lesion = {"quote": f"mass of {number + 11} mm", "organ": "liver", "kind": "mass", "size": ["M1"]}
        good = json.dumps({"lesions": [lesion], "free": []})
        first = request.messages[-1].content.startswith("<report")
        text = {0: good, 1: "prose", 2: "no" if first else good, 3: good}[number % 4]
        return ChatAnswer(request.request_id, text, prompt_tokens=1000, output_tokens=len(text))

    def close(self) -> None:
        pass


@pytest.fixture(scope="module")
def recorded(tmp_path_factory) -> tuple[Path, Path]:
    """Reports and the recording of their answers; two reports have none."""
    folder = tmp_path_factory.mktemp("recorded")
    reports = folder / "reports.jsonl"
    rows = ({"id": f"R{n}", "text": text_of(n) if n % 11 else f" {n}"} for n in range(N_REPORTS))
    reports.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    recording = folder / "answers.jsonl"
    extractor = ChatExtractor("replay", RecordingEngine(ScriptedEngine(), recording), ModelOptions())
    extractor.load()
    jobs = (Job(r.report_id[1:], r) for r in read_reports(ReportSource(reports)) if r.row not in {5, 9})
    assert sum(result is not None for result in extractor.run(jobs)) == N_REPORTS - 2
    extractor.close()
    return reports, recording


def replay(recorded, out: Path):
    reports, recording = recorded
    model = ModelOptions(recording=recording, cross_check="rules")
    return extract_archive(ReportSource(reports), ArchiveOptions(out=out, backend="replay", model=model))


def test_a_recording_replays_without_a_model(recorded, tmp_path):
    result = replay(recorded, tmp_path / "out")
    lines = (tmp_path / "out" / "records.jsonl").read_text().splitlines()
    records = [ReportRecord.model_validate_json(line) for line in lines]
    assert [r.report_id for r in records] == [f"R{n}" for n in range(N_REPORTS)]
    failed = {r.report_id: r.issues[0].code for r in records if r.status == "failed"}
    assert failed["R5"] == failed["R9"] == "model_request_failed"
    assert result.exit_code == 4
    assert result.counts.input == result.counts.done + result.counts.quarantined == N_REPORTS
    good = [r for r in records if r.status != "failed" and r.provenance.backend == "replay"]
    assert good
    for record in good:
        assert record.provenance.model == "scripted"
        assert record.lesions[0].diameters_mm == (float(record.report_id[1:]) + 11,)
    assert replay(recorded, tmp_path / "out").extracted == 0


def test_kill_9_at_any_instant_leaves_the_bytes_of_an_uninterrupted_run(recorded, tmp_path):
    whole = tmp_path / "whole"
    started = time.monotonic()
    replay(recorded, whole)
    longest_s = 1.2 * (time.monotonic() - started)
    expected = {name: (whole / name).read_bytes() for name in COMPARED}
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, *map(str, recorded)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    instants = random.Random(20261121)
    killed = finished = in_a_row = 0
    with driver:
        while killed < KILLS:
            out = tmp_path / f"out-{finished}"
            driver.stdin.write(f"{out} {instants.uniform(0.0, longest_s)}\n")
            driver.stdin.flush()
            exit_code = int(driver.stdout.readline())
            if exit_code == -signal.SIGKILL:
                killed += 1
                in_a_row += 1
                longest_s *= 1.5 if in_a_row % 10 == 0 else 1.0  # this machine is slow just now
                continue
            assert exit_code == 4
            assert {name: (out / name).read_bytes() for name in COMPARED} == expected
            finished += 1
            in_a_row = 0
            longest_s *= 0.8
        driver.stdin.close()
    out = tmp_path / f"out-{finished}"
    replay(recorded, out)
    assert {name: (out / name).read_bytes() for name in COMPARED} == expected
    with Ledger(out / "ledger.sqlite") as ledger:
        assert set(ledger.counts()) == {"done", "quarantined"}
    assert finished >= 2


def test_a_recording_cut_off_by_a_crash_is_read_up_to_its_last_whole_line(recorded, tmp_path):
    whole = recorded[1].read_bytes()
    cut = tmp_path / "cut.jsonl"
    cut.write_bytes(whole[:-20])
    assert len(read_recording(cut)[1]) == len(read_recording(recorded[1])[1]) - 1
    lines = whole.splitlines(keepends=True)
    for after in (lines[3:], []):
        cut.write_bytes(b"".join([*lines[:2], b"{broken\n", *after]))
        with pytest.raises(DataError, match="line 3"):
            read_recording(cut)


def test_a_file_that_is_no_recording_is_not_touched(tmp_path):
    path = tmp_path / "precious.txt"
    path.write_text("kept\nas it is")
    path.chmod(0o644)
    with pytest.raises(DataError):
        ChatExtractor("replay", RecordingEngine(ScriptedEngine(), path), ModelOptions()).load()
    assert (path.read_text(), oct(path.stat().st_mode & 0o777)) == ("kept\nas it is", "0o644")


def record_again(path: Path, reports: Path) -> int:
    """Continue a recording with a run over all reports; returns how many results there are."""
    extractor = ChatExtractor("replay", RecordingEngine(ScriptedEngine(), path), ModelOptions())
    extractor.load()
    jobs = (Job(r.report_id[1:], r) for r in read_reports(ReportSource(reports)))
    n_results = sum(result is not None for result in extractor.run(jobs))
    extractor.close()
    return n_results


@pytest.mark.parametrize("n_lost", [1, 2, 20, 150, 900, "all but a header without its end"])
def test_a_recording_cut_off_by_a_crash_is_continued(recorded, tmp_path, n_lost):
    reports, _ = recorded
    entire = tmp_path / "entire.jsonl"
    assert record_again(entire, reports) == N_REPORTS
    whole = entire.read_bytes()
    cut = tmp_path / "cut.jsonl"
    cut.write_bytes(whole.split(b"\n")[0] if isinstance(n_lost, str) else whole[:-n_lost])
    assert record_again(cut, reports) == N_REPORTS
    assert read_recording(cut) == read_recording(entire)
    assert set(cut.read_bytes().splitlines()) == set(whole.splitlines())
    assert record_again(cut, reports) == N_REPORTS
    assert len(cut.read_bytes()) == len(whole)


def test_writes_that_stop_half_way_are_finished(recorded, tmp_path, monkeypatch):
    entire, path = tmp_path / "entire.jsonl", tmp_path / "answers.jsonl"
    record_again(entire, recorded[0])
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, bytes(data)[:7]))
    record_again(path, recorded[0])
    monkeypatch.undo()
    assert path.read_bytes() == entire.read_bytes()


def test_a_recording_that_others_could_read_is_made_private(recorded, tmp_path):
    path = tmp_path / "answers.jsonl"
    path.write_bytes(recorded[1].read_bytes())
    path.chmod(0o644)
    record_again(path, recorded[0])
    assert oct(path.stat().st_mode & 0o777) == "0o600"


def test_a_recording_is_private_continued_and_of_one_model(recorded, tmp_path):
    path = tmp_path / "answers.jsonl"
    path.write_bytes(recorded[1].read_bytes())
    before = path.read_bytes()
    extractor = ChatExtractor("replay", RecordingEngine(ScriptedEngine(), path), ModelOptions())
    extractor.load()
    extractor.close()
    assert path.read_bytes() == before
    assert oct(recorded[1].stat().st_mode & 0o777) == "0o600"
    path.write_text(json.dumps({"format": FORMAT, "model": "other", "revision": None, "decoding": {}}) + "\n")
    with pytest.raises(UsageError, match="other"):
        ChatExtractor("replay", RecordingEngine(ScriptedEngine(), path), ModelOptions()).load()


@pytest.mark.parametrize("content", ["", "x", "{}", '{"format": "other"}', "[1]"])
def test_what_is_no_recording_is_said(tmp_path, content):
    path = tmp_path / "answers.jsonl"
    path.write_text(content)
    with pytest.raises(DataError):
        read_recording(path)
