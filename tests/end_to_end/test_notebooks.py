"""All notebooks run from their first cell to their last, in a kernel and without a network.

The first one trains two networks; its run is in ``test_demo_quick.py``, on the demo that is there already.
"""

from __future__ import annotations

import pytest
from notebook_runs import NOTEBOOKS, ROOT, cells_of, executed, n_figures, needs_kernel, printed

MAX_BYTES = 300_000


def test_every_notebook_has_a_run_of_its_own():
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
