"""A run says when its reports contradict it, and only then."""

from __future__ import annotations

import json

import numpy as np
import pytest
import toy_data

from rsuper.config import RunConfig
from rsuper.data.batches import SamplingConfig
from rsuper.losses import ReportSupervisionConfig
from rsuper.training import train
from rsuper.training.notes import CONTRADICTED, RECENT_STEPS, recent_separation

BLIND = "toy_data:BlindNetwork"


def write_metrics(run, steps):
    run.mkdir(exist_ok=True)
    lines = [{"step": number, "stage": "masks_and_reports", **step} for number, step in enumerate(steps, 1)]
    lines.insert(3, {"step": 3, "validation": {}, "selection": 0.5})
    (run / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))


def brightness(rng, gap):
    """Steps with a reported pair two times in three, whose brightest is ``gap`` above that of a free one."""
    return [
        {"top_reported": rng.normal(gap)} if rng.random() < 0.67 else {"top_free": rng.normal(0)}
        for _ in range(RECENT_STEPS)
    ]


@pytest.mark.parametrize("before", [-5.0, 5.0])
@pytest.mark.parametrize("gap", [0.0, 0.5, 2.0])
def test_the_separation_is_the_area_under_the_curve_of_the_recent_steps(tmp_path, before, gap):
    rng = np.random.default_rng(1)
    recent = brightness(rng, gap)
    write_metrics(tmp_path, brightness(rng, before) + recent)
    reported = [step["top_reported"] for step in recent if "top_reported" in step]
    free = [step["top_free"] for step in recent if "top_free" in step]
    pairs = [(one > other) + 0.5 * (one == other) for one in reported for other in free]
    assert recent_separation(tmp_path) == pytest.approx(np.mean(pairs))
    assert (recent_separation(tmp_path) < CONTRADICTED) is (gap < 0.5)


def test_too_few_steps_or_only_one_kind_say_nothing(tmp_path):
    rng = np.random.default_rng(2)
    write_metrics(tmp_path, brightness(rng, 1.0)[:-1])
    assert recent_separation(tmp_path) is None
    write_metrics(tmp_path, [{"top_reported": 1.0}] * (2 * RECENT_STEPS))
    assert recent_separation(tmp_path) is None
    write_metrics(tmp_path, [{}] * (2 * RECENT_STEPS))
    assert recent_separation(tmp_path) is None


@pytest.mark.parametrize("absence", [1.0, 0.0])
def test_a_short_run_is_not_contradicted(toy_prepared, tmp_path, absence):
    config = toy_data.toy_config(warmup_steps=1, steps=4, validate_every=2)
    config = RunConfig.model_validate(
        config.model_dump() | {"loss": ReportSupervisionConfig(absence=absence).model_dump()}
    )
    result = train(toy_prepared, tmp_path / "run", config=config, network_factory="toy_data:TinyNetwork")
    assert result.contradicted is False
    events = [json.loads(line)["event"] for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert "reports_contradicted" not in events


def test_a_run_that_is_as_sure_in_free_organs_says_so(toy_prepared, tmp_path, monkeypatch):
    """A network that sees nothing is as bright in organs that reports call free as in those with lesions."""
    monkeypatch.setattr("rsuper.training.notes.RECENT_STEPS", 120)
    config = toy_data.toy_config(warmup_steps=0, steps=120, validate_every=0, learning_rate=1e-9)
    sampling = SamplingConfig(
        patch_size=(16, 16, 16), batch_size=1, report_fraction=1.0, positive_fraction=0.5
    )
    network = config.network.model_copy(update={"factory": BLIND})
    config = config.model_copy(update={"sampling": sampling, "network": network})
    result = train(toy_prepared, tmp_path / "run", config=config, network_factory=BLIND)
    assert result.contradicted is True
    events = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    (told,) = [event for event in events if event["event"] == "reports_contradicted"]
    assert told["separation"] < CONTRADICTED
    again = train(toy_prepared, tmp_path / "run", config=config, network_factory=BLIND)
    assert again.contradicted is True, "a finished run that is started again says so too"
