"""What README.md shows works: its Python example runs, and every command it names exists."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

README = (Path(__file__).resolve().parents[1] / "README.md").read_text(encoding="utf-8")


def test_the_python_example_runs_and_gives_a_gradient():
    [code] = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    assert float(names["loss"].detach()) > 0
    assert names["network"].weight.grad.abs().sum() > 0
    assert names["case"].key.states == {"pancreas_lesion": "reported", "liver_lesion": "absent"}


VERBS = sorted(set(re.findall(r"`(?:rsuper) ([a-z]+)", README)))


@pytest.mark.parametrize("verb", VERBS)
def test_every_command_has_a_help_with_an_example(verb):
    from rsuper.cli import app

    result = CliRunner().invoke(app, [verb, "--help"])
    assert result.exit_code == 0, result.output
    assert "Example" in result.output


def test_the_table_names_every_command():
    from rsuper.cli import app

    listed = CliRunner().invoke(app, ["--help"]).output
    assert {"extract", "train", "predict", "agree"} <= set(VERBS)
    assert [verb for verb in VERBS if verb not in listed] == []


def test_make_targets_of_the_readme_exist():
    makefile = (Path(__file__).resolve().parents[1] / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"(?:`|^    )make ([a-z]+)", README, re.MULTILINE)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
