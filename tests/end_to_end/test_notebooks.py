"""All notebooks run from their first cell to their last, in a kernel and without a network.

``make test`` runs the three of them; ``make demo`` covers the path of the first one at its full size.
"""

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
RUNNER = ROOT / "tests" / "support" / "notebook_runner.py"
MAX_BYTES = 300_000
needs_kernel = pytest.mark.skipif(
    importlib.util.find_spec("nbclient") is None or importlib.util.find_spec("ipykernel") is None,
    reason="needs nbclient and ipykernel, which the dev extra installs",
)


def cells_of(notebook: Path) -> list[dict[str, Any]]:
    return json.loads(notebook.read_text(encoding="utf-8"))["cells"]


def executed(name: str, folder: Path) -> list[dict[str, Any]]:
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
    outputs = (output for cell in cells for output in cell.get("outputs", ()))
    return "".join("".join(output.get("text", ())) for output in outputs if output.get("name") != "stderr")


def n_figures(cells: list[dict[str, Any]]) -> int:
    return sum("image/png" in output.get("data", {}) for cell in cells for output in cell.get("outputs", ()))


def test_every_notebook_has_a_run_of_its_own_below():
    assert [path.name[:2] for path in NOTEBOOKS] == ["01", "02", "03"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_small_and_was_run_in_order_or_not_at_all(path):
    assert path.stat().st_size < MAX_BYTES
    code = [cell for cell in cells_of(path) if cell["cell_type"] == "code"]
    counts = [cell["execution_count"] for cell in code]
    assert counts in (list(range(1, len(counts) + 1)), [None] * len(counts))
    outputs = [output for cell in code for output in cell["outputs"]]
    assert not [output for output in outputs if output["output_type"] == "error"]
    assert bool(outputs) == (counts[0] is not None)


@needs_kernel
def test_the_quick_start(tmp_path):
    text = printed(executed("01_quickstart.ipynb", tmp_path))
    assert "reported" in text
    assert (tmp_path / "quickstart" / "index.html").exists()


@needs_kernel
def test_extracting_a_folder_of_reports(tmp_path):
    text = printed(executed("02_extract_reports.ipynb", tmp_path))
    assert "6 reports: 5 done, 1 quarantined" in text
    assert "unsupported_language" in text
    assert "harmful, of lesions that would supervise 0.000" in text
    assert "lesion stated, organ right" in text
    assert (tmp_path / "records" / "audit.html").exists()


@needs_kernel
def test_supervision_and_losses(tmp_path):
    """What the stored run shows of records and sizes is what a run gives now; the losses have tests of their own."""
    name = "03_supervision_and_losses.ipynb"
    cells = executed(name, tmp_path)
    stored = cells_of(ROOT / "notebooks" / name)
    for now, then in list(zip(cells, stored, strict=True))[:9]:
        assert printed([now]) == printed([then])
    assert "centre inside the lesion" in printed(cells)
    assert "left alone" in printed(cells)
    assert n_figures(cells) == n_figures(stored) > 0
