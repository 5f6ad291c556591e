"""Notebooks without tests of their own run from top to bottom in a fresh process, without a kernel or a network."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("0[3-9]_*.ipynb"))  # the first two have tests of their own, with a kernel
MAX_BYTES = 600_000
RUN = "import pathlib, sys; exec(pathlib.Path(sys.argv[1]).read_text(encoding='utf-8'))"  # like a kernel: no main file


def cells(path, kind):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    return ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == kind]


def test_there_are_notebooks():
    assert NOTEBOOKS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path, tmp_path):
    script = tmp_path / f"{path.stem}.py"
    code = cells(path, "code")
    assert not any(line.lstrip().startswith(("%", "!")) for text in code for line in text.splitlines())
    script.write_text("\n\n".join(code), encoding="utf-8")
    settings = os.environ | {"MPLBACKEND": "Agg", "MPLCONFIGDIR": str(tmp_path / "mpl")}
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(script)],
        cwd=tmp_path,
        env=settings,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_small_and_was_run_in_order(path):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    assert path.stat().st_size < MAX_BYTES
    assert (notebook["nbformat"], notebook["metadata"]["kernelspec"]["name"]) == (4, "python3")
    counts = [cell["execution_count"] for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert counts in (
        list(range(1, len(counts) + 1)),
        [None] * len(counts),
    )  # run from the top, or not stored
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", [])]
    assert not [output for output in outputs if output["output_type"] == "error"]
