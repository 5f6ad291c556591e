"""A run says when its reports contradict it, and only then."""

from __future__ import annotations

import json

import pytest
import toy_data

from rsuper.config import RunConfig
from rsuper.data.batches import SamplingConfig
from rsuper.losses import ReportSupervisionConfig
from rsuper.training import train
from rsuper.training.notes import CONTRADICTED, RECENT_STEPS, recent_absence

BRIGHT = "toy_data:ThresholdNetwork"


def write_metrics(run, values):
    run.mkdir(exist_ok=True)
    lines = [{"step": step, **({} if value is None else {"absence": value})} for step, value in values]
    (run / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))


@pytest.mark.parametrize("before", [0.0, 9.0])
def test_the_mean_is_that_of_the_recent_steps_that_had_a_free_organ(tmp_path, before):
    values = [before] * 50 + [0.0, 3.0, 1.0, 0.0] * (RECENT_STEPS // 4)
    write_metrics(tmp_path, [(0, None), *enumerate(values, 1)])
    assert recent_absence(tmp_path) == pytest.approx(2.0)


def test_too_few_steps_or_no_free_organ_say_nothing(tmp_path):
    write_metrics(tmp_path, enumerate([5.0] * (RECENT_STEPS - 1)))
    assert recent_absence(tmp_path) is None
    write_metrics(tmp_path, enumerate([0.0] * (2 * RECENT_STEPS)))
    assert recent_absence(tmp_path) is None
    write_metrics(tmp_path, enumerate([None] * (2 * RECENT_STEPS)))
    assert recent_absence(tmp_path) is None


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
    """After as many steps the brightest of a free organ still is as bright as a lesion: here from the start."""
    monkeypatch.setattr("rsuper.training.notes.RECENT_STEPS", 4)
    config = toy_data.toy_config(warmup_steps=0, steps=12, validate_every=0, learning_rate=1e-9)
    sampling = SamplingConfig(
        patch_size=(16, 16, 16), batch_size=4, report_fraction=1.0, positive_fraction=0.0
    )
    config = config.model_copy(
        update={"sampling": sampling, "network": config.network.model_copy(update={"factory": BRIGHT})}
    )
    result = train(toy_prepared, tmp_path / "run", config=config, network_factory=BRIGHT)
    assert result.contradicted is True
    events = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    (told,) = [event for event in events if event["event"] == "reports_contradicted"]
    assert told["absence"] > CONTRADICTED
