"""The job array script of examples/, with Slurm's commands replaced by ones that write down how they were called."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from llm_extract.archive import ArchiveOptions, extract_archive
from llm_extract.reports import ReportSource

SCRIPT = Path(__file__).resolve().parents[2] / "examples" / "slurm" / "extract_array.sh"
TOYS = Path(__file__).resolve().parent


@pytest.fixture
def cluster(tmp_path):
    """Environment of a task; ``srun`` runs its command here."""
    programs = tmp_path / "bin"
    programs.mkdir()
    commands = {
        "srun": 'exec "$@"',
        "scontrol": f'echo "$@" >> {shlex.quote(str(tmp_path))}/scontrol',
        "rsuper": f'exec {shlex.quote(sys.executable)} -m llm_extract.cli "$@"',
    }
    for name, body in commands.items():
        (programs / name).write_text(f"#!/bin/bash\n{body}\n")
        (programs / name).chmod(0o755)
    path = os.pathsep.join([str(programs), os.environ["PATH"]])
    ours = {
        "PATH": path,
        "PYTHONPATH": str(TOYS),
        "USER": "someone",
        "SLURM_TMPDIR": str(tmp_path / "scratch"),
    }
    (tmp_path / "scratch").mkdir()
    return (
        os.environ
        | ours
        | {"SLURM_CPUS_PER_TASK": "1", "SLURM_ARRAY_JOB_ID": "77", "SLURM_ARRAY_TASK_MAX": "2"}
    )


def submit(task, *arguments, environment):
    command = ["bash", str(SCRIPT), *map(str, arguments)]
    environment = environment | {"SLURM_ARRAY_TASK_ID": str(task)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_a_job_array_and_its_merge_write_the_bytes_of_one_run(tmp_path, toy_backend, write_reports, cluster):
    reports, out, whole = (
        write_reports(["a mass", "BOOM", "x", "y mass"]),
        tmp_path / "out",
        tmp_path / "whole",
    )
    extract_archive(ReportSource(reports), ArchiveOptions(out=whole, backend=toy_backend))
    options = ("--backend", toy_backend, "--evidence-limit", 10)
    for task in (1, 2, 0):
        done = submit(task, reports, out, *options, environment=cluster)
        assert done.returncode == 0, done.stderr
    assert "0 extracted now" in done.stdout
    assert (out / "records.jsonl").read_bytes() == (whole / "records.jsonl").read_bytes()
    assert sorted(path.name for path in out.glob("ledger*")) == [
        "ledger.1-of-2.sqlite",
        "ledger.2-of-2.sqlite",
        "ledger.sqlite",
    ]
    assert len(list((tmp_path / "scratch").glob("*/*.sqlite"))) == 3


def test_a_task_that_runs_out_of_time_is_queued_again(tmp_path, cluster):
    (tmp_path / "bin" / "rsuper").write_text("#!/bin/bash\nexit 143\n")
    assert submit(2, "reports.csv", tmp_path / "out", environment=cluster).returncode == 0
    assert (tmp_path / "scontrol").read_text() == "requeue 77_2\n"


def test_an_error_stays_an_error(tmp_path, cluster):
    done = submit(1, tmp_path / "missing.csv", tmp_path / "out", environment=cluster)
    assert done.returncode == 3
    assert "reports_missing" in done.stderr
