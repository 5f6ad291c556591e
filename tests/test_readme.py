"""What README.md shows works: its example runs, its commands exist, and its results are those of the study."""

from __future__ import annotations

import json
import re
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from rsuper.cli import app

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
VERBS = sorted(set(re.findall(r"`rsuper ([a-z]+(?:-[a-z]+)*)", README)))


def test_the_python_example_runs_and_gives_a_gradient():
    [code] = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    assert float(names["loss"].detach()) > 0
    assert names["network"].weight.grad.abs().sum() > 0
    assert names["case"].key.states == {"pancreas_lesion": "reported", "liver_lesion": "absent"}


@pytest.mark.parametrize("verb", VERBS)
def test_every_command_has_a_help_with_an_example(verb):
    result = CliRunner().invoke(app, [verb, "--help"])
    assert result.exit_code == 0, result.output
    assert "Example" in result.output


def test_the_table_names_every_command_and_no_other():
    table = re.findall(r"^\| `rsuper ([a-z]+(?:-[a-z]+)*)", README, re.MULTILINE)
    assert sorted(table) == sorted(get_command(app).commands)


def test_make_targets_of_the_readme_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"(?:`|^    )make ([a-z]+)", README, re.MULTILINE)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


@pytest.fixture(scope="module")
def study() -> dict[str, Any]:
    return json.loads((ROOT / "benchmarks" / "results" / "demo_study.json").read_text(encoding="utf-8"))


ARMS = {
    "4 tumour masks": ("masks", 4),
    "4 tumour masks + 120 reports, read as yes or no": ("yes_no", 4),
    "4 tumour masks + 120 reports, ball and volume loss": ("ball_and_volume", 4),
    "4 tumour masks + 120 reports, ball loss": ("ball", 4),
    "8 tumour masks": ("masks", 8),
    "no tumour mask, 120 reports, ball loss": ("ball", 0),
}
"""Rows of the table under "What reports add" and what the study calls them."""


def section() -> str:
    """What stands under "What reports add"."""
    return README.partition("## What reports add\n")[2].partition("\n## ")[0]


def test_the_table_of_results_is_the_mean_of_the_seeds(study):
    rows = [
        [cell.strip(" *") for cell in line.split("|")[1:-1]] for line in section().splitlines() if "|" in line
    ]
    assert rows[0] == ["trained on", "DSC", "AUC", "sensitivity at 90 % specificity"]
    assert [name for name, *_ in rows[2:]] == list(ARMS)
    for name, *shown in rows[2:]:
        runs = [run for run in study["runs"] if (run["arm"], run["masks"]) == ARMS[name]]
        assert sorted(run["seed"] for run in runs) == study["settings"]["seeds"] == [0, 1, 2]
        means = [fmean(run[metric] for run in runs) for metric in ("dsc", "auc", "sensitivity_at_90")]
        assert [float(cell) for cell in shown] == pytest.approx(means, abs=0.00501), name


def shown_with_interval(value: float, low: float, high: float, *, digits: int) -> str:
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


@pytest.mark.parametrize("metric", ["dsc", "auc"])
def test_the_differences_and_the_reports_a_mask_are_those_of_the_study(study, metric):
    words = " ".join(section().split())
    [added] = (
        row
        for row in study["differences"]
        if (row["first"], row["second"], row["masks"], row["metric"]) == ("masks", "ball", 4, metric)
    )
    said = shown_with_interval(added["value"], added["low"], added["high"], digits=3)
    assert said.replace(" [", f" {metric.upper()} [") in words
    [worth] = (
        row
        for row in study["reports_that_replace_a_mask"]
        if (row["arm"], row["masks"], row["metric"]) == ("ball", 4, metric)
    )
    said = shown_with_interval(worth["reports_a_mask"], worth["low"], worth["high"], digits=1)
    assert f"{metric.upper()}: {said}" in words


def test_what_is_said_of_16_masks_and_of_one_mask_in_round_numbers(study):
    words = " ".join(section().split())
    [loss] = (
        row["value"]
        for row in study["differences"]
        if (row["first"], row["second"], row["masks"], row["metric"]) == ("masks", "ball", 16, "dsc")
    )
    assert f"With 16 masks the same recipe loses {-loss:.2f} DSC" in words
    worth = [
        row["reports_a_mask"]
        for row in study["reports_that_replace_a_mask"]
        if (row["arm"], row["masks"]) == ("ball", 4)
    ]
    assert f"about {fmean(worth):.0f} positive reports do the work of one tumour mask" in words
