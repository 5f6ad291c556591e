"""Extraction survives kill -9 at any instant and stops cleanly on signals."""

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

from llm_extract.archive import ArchiveOptions, extract_archive
from llm_extract.ledger import Ledger, settings_sha256, work_key
from llm_extract.reports import ReportSource, read_reports

TOYS = Path(__file__).resolve().parents[1] / "llm_extract"
BACKEND = "toy_backend:ToyBackend"
COMPARED = ("records.jsonl", "lesions.csv", "evidence.html", "summary.json")
N_REPORTS = 60
KILLS = 100

DRIVER = """
import os, signal, sys, time
from pathlib import Path
import pyarrow.parquet, jinja2
import llm_extract.evidence_page, llm_extract.anatomy, llm_extract.readers
from llm_extract.archive import ArchiveOptions, extract_archive
from llm_extract.reports import ReportSource

for line in sys.stdin:
    reports, out, backend, instant_s = line.split()
    child = os.fork()
    if child == 0:
        result = extract_archive(ReportSource(Path(reports)), ArchiveOptions(out=Path(out), backend=backend))
        os._exit(result.exit_code)
    time.sleep(float(instant_s))
    os.kill(child, signal.SIGKILL)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.fixture
def environment(monkeypatch) -> dict[str, str]:
    monkeypatch.syspath_prepend(str(TOYS))
    monkeypatch.delenv("TOY_LOG", raising=False)
    yield os.environ | {"PYTHONPATH": str(TOYS), "TOY_SECONDS": "0.001"}
    sys.modules.pop("toy_backend", None)


@pytest.fixture
def reports(tmp_path) -> Path:
    path = tmp_path / "reports.jsonl"
    texts = ("a mass", "BOOM", "", "LIE mass", "normal", "REVIEW mass")
    rows = ({"id": f"R{index}", "text": f"{texts[index % 6]} {index}"} for index in range(N_REPORTS))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def finished_ids(reports: Path, out: Path) -> set[str]:
    from toy_backend import ToyBackend

    settings_hash = settings_sha256(BACKEND, ToyBackend().settings())
    keys = {
        work_key(report, settings_hash): report.report_id for report in read_reports(ReportSource(reports))
    }
    if not (out / "ledger.sqlite").exists():
        return set()
    with Ledger(out / "ledger.sqlite") as ledger:
        return {keys[key] for key in ledger.results(list(keys))}


def test_kill_9_at_any_instant_loses_and_repeats_nothing(tmp_path, reports, environment):
    whole = tmp_path / "whole"
    started_s = time.monotonic()
    extract_archive(ReportSource(reports), ArchiveOptions(out=whole, backend=BACKEND))
    longest_s = 1.2 * (time.monotonic() - started_s)
    expected = {name: (whole / name).read_bytes() for name in COMPARED}
    log = tmp_path / "log"
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER],
        env=environment | {"TOY_LOG": str(log)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    instants = random.Random(20261121)
    killed = finished_runs = in_a_row = 0
    with driver:
        while killed < KILLS:
            out = tmp_path / f"out-{finished_runs}"
            before = finished_ids(reports, out)
            log.write_text("")
            driver.stdin.write(f"{reports} {out} {BACKEND} {instants.uniform(0.0, longest_s)}\n")
            driver.stdin.flush()
            exit_code = int(driver.stdout.readline())
            extracted = [line.split()[0] for line in log.read_text().splitlines()]
            assert not before & set(extracted), "a finished report was extracted again"
            assert len(extracted) == len(set(extracted)), "a report was extracted twice in one run"
            if exit_code == -signal.SIGKILL:
                killed += 1
                in_a_row += 1
                longest_s *= 1.5 if in_a_row % 10 == 0 else 1.0  # this machine is slow just now
                continue
            assert exit_code == 4
            assert {name: (out / name).read_bytes() for name in COMPARED} == expected
            finished_runs += 1
            in_a_row = 0
            longest_s *= 0.8
        extract_archive(ReportSource(reports), ArchiveOptions(out=out, backend=BACKEND))
        assert {name: (out / name).read_bytes() for name in COMPARED} == expected
        driver.stdin.close()
    assert finished_runs >= 3


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.parametrize("workers", [0, 1])
def test_a_signal_stops_the_run_so_that_it_can_go_on(
    tmp_path, reports, environment, number, exit_code, workers
):
    command = [
        sys.executable,
        "-m",
        "llm_extract.cli",
        "extract",
        str(reports),
        "--out",
        str(tmp_path / "out"),
    ]
    command += ["--backend", BACKEND, "--workers", str(workers)]
    log = tmp_path / "log"
    log.write_text("")
    slow = environment | {"TOY_SECONDS": "0.1", "TOY_LOG": str(log)}
    process = subprocess.Popen(command, env=slow, stderr=subprocess.PIPE, text=True)
    while log.read_text().count("\n") < 5:
        time.sleep(0.02)
    process.send_signal(number)
    started = time.monotonic()
    _, errors = process.communicate(timeout=30)
    assert process.returncode == exit_code
    assert time.monotonic() - started < 10
    assert "goes on from here" in errors
    assert not (tmp_path / "out" / "records.jsonl").exists()
    first = [line.split()[0] for line in log.read_text().splitlines()]
    assert 5 <= len(first) < N_REPORTS / 2
    with Ledger(tmp_path / "out" / "ledger.sqlite") as ledger:
        assert "leased" not in ledger.counts()
    again = subprocess.run(command, env=environment | {"TOY_LOG": str(log)}, capture_output=True, check=False)
    assert again.returncode == 4
    every = [line.split()[0] for line in log.read_text().splitlines()]
    assert len(every) == len(set(every)), "a finished report was extracted again"
    assert len((tmp_path / "out" / "records.jsonl").read_text().splitlines()) == N_REPORTS


SHARED = """
import os, sys
from pathlib import Path
from llm_extract.archive import ArchiveOptions, Shard, extract_archive
from llm_extract.reports import ReportSource

reports, out, backend, shard = sys.argv[1:]
shard = None if shard == "all" else Shard.parse(shard)
options = ArchiveOptions(out=Path(out), backend=backend, shard=shard)
os._exit(extract_archive(ReportSource(Path(reports)), options).exit_code)
"""


def started(reports, out, shard, environment):
    command = [sys.executable, "-c", SHARED, str(reports), str(out), BACKEND, shard]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def wait_for_lines(log: Path, n_lines: int) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if log.exists() and log.read_text().count("\n") >= n_lines:
            return
        time.sleep(0.02)
    pytest.fail("no report was extracted in two minutes")


def extracted_by(log: Path) -> dict[int, list[str]]:
    """Report ids by process, in the order of extraction."""
    by_process: dict[int, list[str]] = {}
    for line in log.read_text().splitlines():
        report_id, process = line.split()
        by_process.setdefault(int(process), []).append(report_id)
    return by_process


@pytest.mark.parametrize(
    "shards", [("all",) * 4, ("1/4", "2/4", "3/4", "4/4")], ids=["one ledger", "four shards"]
)
def test_four_processes_of_which_two_are_killed_write_the_bytes_of_one(tmp_path, environment, shards):
    """The ones that are left take over what the dead had in hand; nothing that is finished is done again."""
    n_reports = 240
    reports = tmp_path / "reports.jsonl"
    texts = ("a mass", "BOOM", "", "LIE mass", "normal", "REVIEW mass")
    rows = ({"id": f"R{index}", "text": f"{texts[index % 6]} {index}"} for index in range(n_reports))
    reports.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    whole, out, log = tmp_path / "whole", tmp_path / "out", tmp_path / "log"
    extract_archive(ReportSource(reports), ArchiveOptions(out=whole, backend=BACKEND))
    slow = environment | {"TOY_SECONDS": "0.02", "TOY_LOG": str(log)}
    processes = [started(reports, out, shard, slow) for shard in shards]
    wait_for_lines(log, 40)
    for process in processes[:2]:
        process.send_signal(signal.SIGKILL)
    codes = [process.wait(timeout=300) for process in processes]
    assert codes[:2] == [-signal.SIGKILL] * 2
    assert codes[2:] == [4, 4]
    if shards[0] != "all":  # a job array is started again: only what the dead left is done
        survivors = {
            report_id for process in processes[2:] for report_id in extracted_by(log).get(process.pid, [])
        }
        log.write_text("")
        again = [started(reports, out, shard, slow) for shard in shards]
        assert [process.wait(timeout=300) for process in again] == [4] * 4
        assert not survivors & {report_id for ids in extracted_by(log).values() for report_id in ids}
        log.write_text("")
        result = extract_archive(ReportSource(reports), ArchiveOptions(out=out, backend=BACKEND))
        assert (result.extracted, log.read_text()) == (0, "")
    else:
        by_process = extracted_by(log)
        assert all(len(ids) == len(set(ids)) for ids in by_process.values())
        alive = [report_id for process in processes[2:] for report_id in by_process.get(process.pid, [])]
        assert len(alive) == len(set(alive)), "two processes did the same work"
    assert {name: (out / name).read_bytes() for name in COMPARED} == {
        name: (whole / name).read_bytes() for name in COMPARED
    }
