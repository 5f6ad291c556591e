"""benchmarks/report_figures.py pools what training logs of where the reports' lesions were read."""

from __future__ import annotations

import importlib.util
import json
import math
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    path = ROOT / "benchmarks" / "report_figures.py"
    spec = importlib.util.spec_from_file_location("report_figures", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def run(tmp_path):
    steps = [
        {"step": 1, "pairs": 0.0, "segmentation_bce": 0.4},
        {
            "step": 2,
            "pairs": 2.0,
            "haze_share": 0.4,
            "volume_mm3": 500.0,
            "centre_inside_share": 0.0,
            "centres_compared": 0.0,
        },
        {
            "step": 3,
            "pairs": 1.0,
            "haze_share": 0.2,
            "volume_mm3": 300.0,
            "centre_inside_share": 0.25,
            "centres_compared": 4.0,
            "predicted_mm3": 300.0,
            "reference_mm3": 100.0,
            "volume_log_ratio": math.log(2),
            "volumes_compared": 3.0,
        },
        {
            "step": 4,
            "pairs": 1.0,
            "haze_share": 0.1,
            "volume_mm3": 1200.0,
            "centre_inside_share": 1.0,
            "centres_compared": 1.0,
            "predicted_mm3": 700.0,
            "reference_mm3": 900.0,
            "volume_log_ratio": math.log(0.5),
            "volumes_compared": 1.0,
        },
    ]
    (tmp_path / "run").mkdir()
    text = "".join(json.dumps(step) + "\n" for step in steps)
    (tmp_path / "run" / "metrics.jsonl").write_text(text, encoding="utf-8")
    return tmp_path / "run"


def test_shares_are_pooled_over_what_was_compared(script, run):
    [whole] = script.over_training(run, 1)
    assert (whole["first_step"], whole["last_step"]) == (2, 4)
    assert whole["centres_inside"] == pytest.approx(2 / 5)
    assert whole["haze"] == pytest.approx((200 + 60 + 120) / 2000)
    assert whole["volume_bias"] == pytest.approx(0.0)
    assert whole["volume_to_reported_median"] == pytest.approx(math.sqrt(2)), "three pairs against one"
    first, _, last = script.over_training(run, 3)
    assert first["centres_inside"] is first["volume_bias"] is None
    assert last["volume_bias"] == pytest.approx(-2 / 9)
    assert script.table([first])[-1] == "| 2–2 | – (n = 0) | 40.0 % | – | – |"


def test_runs_that_logged_no_counts_are_averaged_over_steps(script, run):
    steps = [
        {name: value for name, value in step.items() if name not in ("volume_mm3", "volumes_compared")}
        for step in script.read_steps(run)
    ]
    old = script.figures(steps)
    assert old["haze"] == pytest.approx(0.7 / 3)
    assert old["volume_to_reported_median"] == pytest.approx(1.0)
    assert old["centres_inside"] == pytest.approx(2 / 5)


def test_what_training_logs_is_what_is_read(script, tmp_path):
    """The names of the figures are those that the loss gives."""
    import torch

    from rsuper.losses import LesionTarget, ReportSupervisionLoss
    from rsuper.supervision.types import PairTarget, SupervisionBatch

    logits = torch.full((1, 1, 12, 12, 12), -3.0)
    logits[0, 0, 4:8, 4:8, 4:8] = 3.0
    region = torch.ones(12, 12, 12, dtype=torch.bool)
    lesion = LesionTarget(diameters_mm=(5.0,), volume_mm3=(40.0, 90.0))
    pair = PairTarget(
        sample=0, channel=0, region=region, lesions=(lesion,), volume_mm3=(40.0, 90.0), median_mm3=64.0
    )
    batch = SupervisionBatch(
        labels=logits > 9,
        known=logits > 9,
        spacing_mm=torch.ones(1, 3),
        pairs=(pair,),
        reference=logits > 0,
    )
    logged = {
        name: float(value) for name, value in ReportSupervisionLoss()(logits, batch).diagnostics.items()
    }
    (tmp_path / "metrics.jsonl").write_text(json.dumps({"step": 1} | logged) + "\n", encoding="utf-8")
    [row] = script.over_training(tmp_path, 10)
    assert row["centres_inside"] == row["centres_compared"] == 1
    assert None not in row.values()
    assert {"volume_mm3", "volumes_compared", "reference_mm3", "centres_compared"} < set(logged)
    assert logged["haze_mm3"] == pytest.approx(logged["haze_share"] * logged["volume_mm3"])
    assert logged["volumes_compared"] == 1
    script.picture({"run": [row]}, tmp_path / "out.png")
    assert (tmp_path / "out.png").stat().st_size > 1000
