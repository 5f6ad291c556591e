"""Notebooks run from their first cell to their last."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
RUNNER = ROOT / "tests" / "support" / "notebook_runner.py"
needs_kernel = pytest.mark.skipif(
    importlib.util.find_spec("nbclient") is None or importlib.util.find_spec("ipykernel") is None,
    reason="needs nbclient and ipykernel, which the dev extra installs",
)


def cells_of(notebook: Path) -> list[dict]:
    return json.loads(notebook.read_text(encoding="utf-8"))["cells"]


def execute(notebook: Path, folder: Path) -> list[dict]:
    ran = subprocess.run(
        [sys.executable, str(RUNNER), str(notebook), str(folder)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=1200,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    return cells_of(folder / notebook.name)


def printed(cells: list[dict]) -> str:
    outputs = (output for cell in cells for output in cell.get("outputs", ()))
    return "".join("".join(output.get("text", ())) for output in outputs if output.get("name") != "stderr")


def test_notebooks_are_small_and_were_committed_in_order():
    assert [path.name for path in NOTEBOOKS][:2] == ["01_quickstart.ipynb", "02_extract_reports.ipynb"]
    assert all(path.stat().st_size < 300_000 for path in NOTEBOOKS)
    for path in NOTEBOOKS[:2]:
        assert not [cell for cell in cells_of(path) if cell.get("outputs") or cell.get("execution_count")]


@needs_kernel
def test_extracting_a_folder_of_reports(tmp_path):
    text = printed(execute(ROOT / "notebooks" / "02_extract_reports.ipynb", tmp_path))
    assert "6 reports: 5 done, 1 quarantined" in text
    assert "unsupported_language" in text
    assert "harmful, of lesions that would supervise 0.000" in text
    assert "lesion stated, organ right" in text
    assert (tmp_path / "records" / "audit.html").exists()


@needs_kernel
@pytest.mark.slow
def test_the_quick_start(tmp_path):
    text = printed(execute(ROOT / "notebooks" / "01_quickstart.ipynb", tmp_path))
    assert "reported" in text
    assert (tmp_path / "quickstart" / "index.html").exists()
