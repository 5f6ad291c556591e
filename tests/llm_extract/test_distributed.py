"""Extraction on Ray: what needs no cluster; and a real local one, in a process of its own, where Ray is installed."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from llm_extract import distributed
from llm_extract.archive import ArchiveOptions, extract_archive
from llm_extract.distributed import RayOptions, run_on_ray
from llm_extract.errors import ResourceError, UsageError
from llm_extract.ledger import Job, Ledger, Result
from llm_extract.reports import Report, ReportSource

TOYS = Path(__file__).resolve().parent
CANARY = "quaggazebra"
needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")


def jobs(n_jobs):
    return [
        Job(f"{number:064x}", Report(report_id=f"R{number}", text=f"text {number}"))
        for number in range(n_jobs)
    ]


def test_ray_missing_is_said(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError) as caught:
        next(run_on_ray(jobs(1), ArchiveOptions(out=tmp_path, ray=RayOptions()), stop=lambda: False))
    assert (caught.value.code, caught.value.hint) == ("ray_missing", "pip install 'rsuper[ray]'")


@pytest.mark.parametrize("n_jobs", [0, 1, 70, 5000])
def test_jobs_are_handed_over_once_each_and_spread_over_the_workers(n_jobs):
    tables = list(distributed._job_tables(jobs(n_jobs), n_workers=4, batch_size=32))
    given = [key for table in tables for key in table.column("key").to_pylist()]
    assert given == [job.key for job in jobs(n_jobs)]
    assert len(tables) >= min(16, n_jobs // 32)


def test_results_cross_as_they_are():
    results = [
        Result(
            "a" * 64, "done", record_json='{"ü": 1}', attempts=2, tokens=3, seconds=0.5, raw_output=b"\x00"
        ),
        Result("b" * 64, "quarantined", code="extraction_error", detail="ValueError"),
    ]
    assert [Result(**row) for row in distributed._result_table(results).to_pylist()] == results
    assert distributed._result_table([]).num_rows == 0


@pytest.fixture
def talkative_ray(monkeypatch):
    """Stands in for Ray: it, its compiled parts and its processes write to standard output whenever they can."""
    import llm_extract.distributed as module

    def talk(*_anything, **_more):
        sys.stdout.write("by Python\n")
        sys.stdout.flush()
        os.write(1, b"by its compiled part\n")
        subprocess.run(["sh", "-c", "echo by a process"], check=True)

    ray = SimpleNamespace(init=talk, shutdown=talk)
    monkeypatch.setitem(sys.modules, "ray", ray)
    return module


def test_nothing_that_ray_says_reaches_standard_output(talkative_ray, capfd):
    sys.stdout.write("before\n")
    with talkative_ray._cluster(RayOptions()) as ray:
        ray.init()
    sys.stdout.write('{"answer": 1}\n')
    sys.stdout.flush()
    said, errors = capfd.readouterr()
    assert said == 'before\n{"answer": 1}\n'
    for who in ("by Python", "by its compiled part", "by a process"):
        assert errors.count(who) == 3, "at its start, in the block, and at its end"


def test_standard_output_comes_back_after_an_error_too(talkative_ray, capfd):
    with pytest.raises(ResourceError), talkative_ray._cluster(RayOptions()):
        raise ResourceError("the workers fail", code="ray_failed")
    os.write(1, b"after\n")
    assert capfd.readouterr().out == "after\n"


def test_an_error_of_ours_in_a_worker_is_told_and_no_other_message_is():
    ours = UsageError("no such model", code="model_missing")
    wrapped = RuntimeError(CANARY)
    wrapped.cause = ours
    assert distributed._named(wrapped) is ours
    chained = RuntimeError(CANARY)
    chained.__cause__ = ours
    assert distributed._named(chained) is ours
    named = distributed._named(RuntimeError(CANARY))
    assert (named.code, named.exit_code) == ("ray_failed", ResourceError.exit_code)
    assert CANARY not in str(named)


def extract_on_ray(reports, out, backend, *more, folder):
    command = [sys.executable, "-m", "llm_extract.cli", "extract", str(reports), "--out", str(out)]
    command += ["--backend", backend, "--ray", "local", "--workers", "2", "--json", *more]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(TOYS), *sys.path]), "TMPDIR": str(folder)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=540)


@needs_ray
@pytest.mark.slow
def test_two_ray_workers_write_the_bytes_of_one_process(tmp_path, toy_backend, write_reports):
    texts = [f"a mass {number}" if number % 5 else f"BOOM {CANARY} {number}" for number in range(150)]
    texts[7], texts[9] = f"CRASH {CANARY}", "HANG"
    reports = write_reports(texts)
    whole, out = tmp_path / "whole", tmp_path / "out"
    options = ArchiveOptions(out=whole, backend=toy_backend, workers=1, timeout_s=2.0)
    extract_archive(ReportSource(reports), options)
    temporary = Path("/tmp") / f"r{os.getpid()}"  # short: Ray's sockets lie in it
    temporary.mkdir()
    try:
        done = extract_on_ray(reports, out, toy_backend, "--timeout-s", "2", folder=temporary)
        left_over = list(temporary.iterdir())
        again = extract_on_ray(reports, out, toy_backend, "--timeout-s", "2", folder=temporary)
    finally:
        subprocess.run(["rm", "-rf", str(temporary)], check=True)
    assert (done.returncode, again.returncode) == (4, 4), done.stderr + again.stderr
    assert json.loads(done.stdout)["extracted"] == 150
    assert json.loads(again.stdout)["extracted"] == 0
    for name in ("records.jsonl", "lesions.csv", "summary.json"):
        assert (out / name).read_bytes() == (whole / name).read_bytes(), name
    assert CANARY not in done.stdout + done.stderr
    assert not left_over
    with Ledger(out / "ledger.sqlite") as ledger:
        assert set(ledger.counts()) == {"done", "quarantined"}


@needs_ray
@pytest.mark.slow
def test_a_worker_that_ends_each_time_ends_the_run_and_what_is_done_is_kept(
    tmp_path, toy_backend, write_reports
):
    reports = write_reports([f"a mass {number}" for number in range(70)] + ["CRASH"])
    temporary = Path("/tmp") / f"r{os.getpid()}"
    temporary.mkdir()
    try:
        done = extract_on_ray(reports, tmp_path / "out", "toy_backend:ToyBatchBackend", folder=temporary)
    finally:
        subprocess.run(["rm", "-rf", str(temporary)], check=True)
    assert done.returncode == 5, done.stderr
    assert json.loads(done.stdout)["error"]["code"] == "ray_failed"
    with Ledger(tmp_path / "out" / "ledger.sqlite") as ledger:
        counts = ledger.counts()
    assert counts.get("leased") is None
    assert counts.get("done", 0) >= 1


LISTENERS = """
from pathlib import Path
from llm_extract.distributed import RayOptions, _cluster

def listening():
    lines = [line.split() for name in ("tcp", "tcp6") for line in Path("/proc/net", name).read_text().splitlines()[1:]]
    return {fields[9]: fields[1].split(":")[0] for fields in lines if fields[3] == "0A"}

before = listening()
with _cluster(RayOptions("local", 1)):
    from ray._common.usage import usage_lib

    new = {place for number, place in listening().items() if number not in before}
    telemetry = usage_lib.usage_stats_enabled()
from ray._private import auto_init_hook

print("ANSWER", sorted(new), telemetry or auto_init_hook.enable_auto_connect)
"""


@needs_ray
@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="needs Linux's table of sockets")
def test_a_local_cluster_listens_on_this_machine_alone_and_reports_to_nobody():
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", LISTENERS]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    (answer,) = [line for line in done.stdout.splitlines() if line.startswith("ANSWER")]
    loopback = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}
    places = set(json.loads(answer.partition(" ")[2].rpartition(" ")[0].replace("'", '"')))
    assert places
    assert places <= loopback
    assert answer.endswith("False")
