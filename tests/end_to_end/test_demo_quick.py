"""The whole path in one command, small: every file is there, the page stands alone, a second call changes nothing."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from notebook_runs import executed, needs_kernel, printed

pytestmark = pytest.mark.slow
LESION = "pancreas_lesion"


def demo(out: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "rsuper.cli", "demo", "--quick", "--out", str(out), "--json"],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    out = tmp_path_factory.mktemp("quick demo") / "with a space" / "quickstart"
    result = demo(out)
    assert result.returncode == 0, result.stderr
    return out, json.loads(result.stdout), result.stderr


def test_both_arms_are_trained_from_one_warm_up_and_judged_on_the_same_cases(ran):
    out, summary, _ = ran
    assert set(summary["metrics"]) == {"masks", "ball_and_volume"}
    counts = set()
    for arm in summary["metrics"]:
        evaluation = json.loads((out / "evaluation" / arm / "evaluation.json").read_text())
        judged = evaluation["classes"][LESION]
        counts.add((judged["n_positive"], judged["n_negative"]))
        manifest = json.loads((out / "runs" / arm / "manifest.json").read_text())
        counts.add(manifest["inputs_sha256"]["initial_weights"])
        lines = (out / "runs" / arm / "metrics.jsonl").read_text().splitlines()
        stages = {json.loads(line).get("stage") for line in lines} - {None}
        assert stages == ({"masks"} if arm == "masks" else {"masks_and_reports"})
    assert len(counts) == 2
    assert summary["differences"]


def test_every_step_left_its_files(ran):
    out, _, said = ran
    for name in (
        "cohort/cases.csv",
        "records/records.jsonl",
        "prepared/prepared.json",
        "runs/warmup/model.safetensors",
        "runs/masks/model.safetensors",
        "runs/ball_and_volume/model.safetensors",
        "predictions/masks/predictions.csv",
        "agreement/ball_and_volume/agreement.csv",
        "summary.json",
        "index.html",
    ):
        assert (out / name).is_file(), name
    assert [f"{n}/7" in said for n in range(1, 8)] == [True] * 7


def test_no_case_was_lost_on_the_way(ran):
    out, _, _ = ran
    cases = (out / "cohort" / "cases.csv").read_text().splitlines()[1:]
    prepared = json.loads((out / "prepared" / "prepared.json").read_text())
    assert len(prepared["cases"]) == len(cases)
    assert prepared["failures"] == []
    records = [json.loads(line) for line in (out / "records" / "records.jsonl").read_text().splitlines()]
    assert len(records) == len(cases)
    assert {record["status"] for record in records} <= {"ok", "needs_review"}


def test_the_page_stands_alone(ran):
    out, _, _ = ran
    page = (out / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"""(?:src|href)\s*=\s*["'](?:https?:)?//""", page)
    assert "data:image/" in page or "<svg" in page


def test_the_second_time_nothing_is_trained_again(ran):
    out, summary, _ = ran
    weights = {path: path.stat().st_mtime_ns for path in out.glob("runs/*/model.safetensors")}
    result = demo(out)
    assert result.returncode == 0, result.stderr
    assert {path: path.stat().st_mtime_ns for path in out.glob("runs/*/model.safetensors")} == weights
    again = json.loads(result.stdout)
    assert again["metrics"] == summary["metrics"]


@needs_kernel
def test_the_notebook_of_the_quick_start_shows_the_finished_demo(ran):
    """Its first cell asks for the same demo in the same folder, and finds it done; the other cells look at it."""
    out, summary, _ = ran
    weights = {path: path.stat().st_mtime_ns for path in out.glob("runs/*/model.safetensors")}
    text = printed(executed("01_quickstart.ipynb", out.parent))
    assert {path: path.stat().st_mtime_ns for path in out.glob("runs/*/model.safetensors")} == weights
    assert "reported" in text
    for arm, metrics in summary["metrics"].items():
        assert (
            f"{arm} { ({name: round(metrics[name]['value'], 2) for name in ('dsc', 'auc', 'sensitivity')}) }"
            in text
        )
    assert "The page, self-contained" in text
