"""The loop learns, takes the stages in order, and says what is wrong before it starts."""

from __future__ import annotations

import json

import pytest
import torch
import toy_data

from rsuper.config import OptimisationConfig, RunConfig
from rsuper.data.batches import SamplingConfig
from rsuper.errors import DataError, ResourceError, UsageError
from rsuper.networks import NetworkConfig, load_weights
from rsuper.prediction.predict import load_model
from rsuper.training import train
from rsuper.training.schedule import average_decay, learning_rate, report_ramp

FACTORY = "toy_data:TinyNetwork"


def lines(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_one_case_can_be_learned_by_heart(toy_prepared, tmp_path):
    """150 steps on one phantom reach DSC > 0.8 on it: labels, loss, optimiser, average and threshold fit together."""
    config = RunConfig(
        network=NetworkConfig(width=8, levels=3),
        sampling=SamplingConfig(patch_size=(16, 16, 16), batch_size=1, lesion_centred=0.9),
        optimisation=OptimisationConfig(
            warmup_steps=0, steps=150, learning_rate=5e-3, arm="masks", ema=0.95, precision="fp32"
        ),
    )
    case = toy_prepared.cases[0]
    result = train(
        toy_prepared, tmp_path / "run", config=config, training_cases=[case], validation_cases=[case]
    )
    assert result.summaries[toy_data.LESION_CLASS].dice > 0.8
    losses = [line["segmentation_bce"] + line["segmentation_dice"] for line in lines(tmp_path / "run")[:150]]
    assert sum(losses[-20:]) < 0.5 * sum(losses[:20])


def test_stages_follow_each_other_and_reports_take_part_only_in_the_second(toy_prepared, tmp_path):
    train(toy_prepared, tmp_path / "run", config=toy_data.toy_config(), network_factory=FACTORY)
    steps = [line for line in lines(tmp_path / "run") if "stage" in line]
    assert [line["stage"] for line in steps] == ["masks"] * 3 + ["masks_and_reports"] * 5
    assert all("volume" not in line for line in steps[:3])
    assert all("volume" in line and "ball_bce" in line for line in steps[3:] if line["pairs"])
    assert all("attenuation" in line for line in steps[3:] if line["pairs"])
    assert any(line["pairs"] for line in steps[3:])


def test_the_masks_arm_never_sees_a_report(toy_prepared, tmp_path):
    config = toy_data.toy_config(arm="masks")
    train(toy_prepared, tmp_path / "run", config=config, network_factory=FACTORY)
    assert {line["stage"] for line in lines(tmp_path / "run") if "stage" in line} == {"masks"}
    assert not any("volume" in line for line in lines(tmp_path / "run"))


def test_without_masks_the_warm_up_learns_organs(toy_prepared, tmp_path):
    cases = [case for case in toy_prepared.split("train") if case.state(toy_data.LESION_CLASS) != "voxels"]
    train(
        toy_prepared,
        tmp_path / "run",
        config=toy_data.toy_config(),
        network_factory=FACTORY,
        training_cases=cases,
    )
    assert [line["stage"] for line in lines(tmp_path / "run") if "stage" in line][:4] == ["organs"] * 3 + [
        "masks_and_reports"
    ]


def test_the_kept_weights_are_the_best_validated_ones(toy_prepared, tmp_path):
    config = toy_data.toy_config(validate_every=1)
    result = train(toy_prepared, tmp_path / "run", config=config, network_factory=FACTORY)
    validated = [line for line in lines(tmp_path / "run") if "validation" in line]
    assert [line["step"] for line in validated] == [4, 5, 6, 7, 8]
    best = max(validated, key=lambda line: line["selection"])
    assert result.best_step == best["step"] == load_weights(tmp_path / "run" / "model.safetensors")[1]["step"]
    summary = result.summaries[toy_data.LESION_CLASS]
    assert best["validation"][toy_data.LESION_CLASS]["dice"] == summary.dice
    model = load_model(tmp_path / "run", network_factory=FACTORY)
    assert model.thresholds == {toy_data.LESION_CLASS: summary.threshold}


def test_initial_weights_are_taken_over(toy_prepared, tmp_path):
    first = train(toy_prepared, tmp_path / "a", config=toy_data.toy_config(), network_factory=FACTORY)
    config = toy_data.toy_config(steps=0, warmup_steps=0, validate_every=0)
    train(
        toy_prepared,
        tmp_path / "b",
        config=config,
        network_factory=FACTORY,
        initial_weights=first.run / "model.safetensors",
    )
    one, two = (load_weights(tmp_path / name / "model.safetensors")[0] for name in "ab")
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_what_cannot_start_says_so(toy_prepared, tmp_path):
    config = toy_data.toy_config()
    with pytest.raises(DataError) as caught:
        train(toy_prepared, tmp_path / "run", config=config, training_cases=[])
    assert caught.value.code == "no_training_cases"
    with pytest.raises(UsageError) as missing:
        train(toy_prepared, tmp_path / "run", config=config, initial_weights=tmp_path / "none.safetensors")
    assert missing.value.code == "no_model"
    with pytest.raises(UsageError) as custom:
        train(toy_prepared, tmp_path / "run", config=config)
    assert custom.value.code == "network_not_given"
    if not torch.cuda.is_available():
        with pytest.raises(ResourceError) as device:
            train(toy_prepared, tmp_path / "run", config=config, device="cuda")
        assert device.value.code == "device_missing"


def test_no_report_text_nor_path_of_the_data_is_in_a_run(toy_prepared, tmp_path):
    train(toy_prepared, tmp_path / "run", config=toy_data.toy_config(), network_factory=FACTORY)
    for path in (tmp_path / "run").rglob("*"):
        if path.is_file():
            assert str(toy_prepared.root).encode() not in path.read_bytes()


def test_schedules_at_their_ends():
    settings = OptimisationConfig(
        warmup_steps=10, steps=20, warmup_learning_rate=1.0, learning_rate=0.5, report_ramp_steps=4, ema=0.9
    )
    assert learning_rate(settings, 0) == 1.0
    assert learning_rate(settings, 10) == 0.5
    assert learning_rate(settings, 9) == pytest.approx(0.1**0.9)
    assert learning_rate(settings, 29) == pytest.approx(0.5 * 0.05**0.9)
    assert [report_ramp(settings, step) for step in (0, 9, 10, 11, 13, 25)] == [0, 0, 0.25, 0.5, 1.0, 1.0]
    quarter = settings.model_copy(update={"report_ramp_steps": None})
    assert [report_ramp(quarter, step) for step in (9, 10, 14, 29)] == [0, 0.2, 1.0, 1.0], (
        "a quarter of 20 steps"
    )
    assert average_decay(settings, 0) == pytest.approx(0.1)
    assert average_decay(settings, 1000) == 0.9
