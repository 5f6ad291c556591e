"""Run the notebooks of this repository in a kernel, and look at what they printed."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
RUNNER = Path(__file__).with_name("notebook_runner.py")
needs_kernel = pytest.mark.skipif(
    importlib.util.find_spec("nbclient") is None or importlib.util.find_spec("ipykernel") is None,
    reason="needs nbclient and ipykernel, which the dev extra installs",
)


def cells_of(notebook: Path) -> list[dict[str, Any]]:
    """Cells of a notebook file."""
    return json.loads(notebook.read_text(encoding="utf-8"))["cells"]


def executed(name: str, folder: Path) -> list[dict[str, Any]]:
    """Cells of a notebook after a run in a folder, which must not fail."""
    ran = subprocess.run(
        [sys.executable, str(RUNNER), str(ROOT / "notebooks" / name), str(folder)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=1200,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    return cells_of(folder / name)


def printed(cells: list[dict[str, Any]]) -> str:
    """All that the cells printed, warnings left out."""
    outputs = (output for cell in cells for output in cell.get("outputs", ()))
    return "".join("".join(output.get("text", ())) for output in outputs if output.get("name") != "stderr")


def n_figures(cells: list[dict[str, Any]]) -> int:
    """Number of pictures among the outputs."""
    return sum("image/png" in output.get("data", {}) for cell in cells for output in cell.get("outputs", ()))
