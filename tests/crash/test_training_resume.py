"""A run cut anywhere and resumed is bitwise the run that was never cut; signals leave a checkpoint and an exit code."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import toy_data

from rsuper.config import load_config
from rsuper.errors import InterruptedRunError, UsageError
from rsuper.networks import load_weights
from rsuper.training import session as module
from rsuper.training import train

FACTORY = "toy_data:TinyNetwork"
SUPPORT = Path(toy_data.__file__).parent


class Killed(BaseException):
    """As abrupt as kill -9: nothing of the run gets to say goodbye."""


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def contents(run: Path):
    model, meta = load_weights(run / "model.safetensors")
    newest = sorted((run / "checkpoints").glob("*.safetensors"))[-1]
    state, extra = load_weights(newest)
    return {**{f"model.{k}": v for k, v in model.items()}, **state}, meta, extra, newest.name


def assert_same_run(one: Path, two: Path) -> None:
    first, second = contents(one), contents(two)
    assert first[1:] == second[1:]
    assert first[0].keys() == second[0].keys()
    assert [name for name in first[0] if not torch.equal(first[0][name], second[0][name])] == []
    assert (one / "metrics.jsonl").read_text() == (two / "metrics.jsonl").read_text()


@pytest.fixture(scope="module")
def uncut(toy_prepared, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "uncut"
    torch.set_num_threads(1)
    result = train(toy_prepared, run, config=toy_data.toy_config(), network_factory=FACTORY)
    kinds = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in kinds if "stage" in line] == list(range(1, 9))
    assert [line["step"] for line in kinds if "validation" in line] == [4, 8]
    assert any("volume" in line for line in kinds)  # the reports took part
    return run, result


def go(prepared, run, progress=None):
    return train(prepared, run, config=toy_data.toy_config(), network_factory=FACTORY, progress=progress)


@pytest.mark.parametrize("how", ["kill", "signal"])
@pytest.mark.parametrize("cut", range(1, 9))
def test_a_cut_run_ends_as_the_uncut_one(toy_prepared, uncut, tmp_path, cut, how):
    def stop(item):
        if item.step == cut:
            if how == "kill":
                raise Killed
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Killed if how == "kill" else InterruptedRunError):
        go(toy_prepared, tmp_path / "run", stop)
    if how == "signal":
        newest = sorted((tmp_path / "run" / "checkpoints").glob("*.json"))[-1]
        assert json.loads(newest.read_text())["step"] == cut
    result = go(toy_prepared, tmp_path / "run")
    assert_same_run(tmp_path / "run", uncut[0])
    assert result.summaries == uncut[1].summaries
    assert result.best_step == uncut[1].best_step


def test_a_run_cut_at_every_step_still_ends_the_same(toy_prepared, uncut, tmp_path):
    for step in range(1, 9):

        def stop(item, step=step):
            if item.step == step:
                os.kill(os.getpid(), signal.SIGINT)

        with pytest.raises(InterruptedRunError) as caught:
            go(toy_prepared, tmp_path / "run", stop)
        assert caught.value.exit_code == 130
    go(toy_prepared, tmp_path / "run")
    assert_same_run(tmp_path / "run", uncut[0])


def test_a_signal_in_the_last_validation_is_made_up_for(toy_prepared, uncut, tmp_path, monkeypatch):
    real, calls = module.score_case, []

    def score(*args, **kwargs):
        calls.append(1)
        if len(calls) == 3:  # the first case of the second validation
            os.kill(os.getpid(), signal.SIGTERM)
        return real(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(module, "score_case", score)
        with pytest.raises(InterruptedRunError):
            go(toy_prepared, tmp_path / "run")
    assert len(calls) == 3
    go(toy_prepared, tmp_path / "run")
    assert_same_run(tmp_path / "run", uncut[0])


def test_a_finished_run_stays_as_it_is(toy_prepared, uncut, tmp_path):
    go(toy_prepared, tmp_path / "run")
    again = go(toy_prepared, tmp_path / "run")
    assert_same_run(tmp_path / "run", uncut[0])
    assert again.summaries == uncut[1].summaries


def test_the_newest_checkpoint_broken_means_the_one_before(toy_prepared, uncut, tmp_path):
    def stop(item):
        if item.step == 7:
            raise Killed

    with pytest.raises(Killed):
        go(toy_prepared, tmp_path / "run", stop)
    newest = sorted((tmp_path / "run" / "checkpoints").glob("*.safetensors"))[-1]
    assert newest.name == "step_0000006.safetensors"
    newest.write_bytes(newest.read_bytes()[:1000])
    go(toy_prepared, tmp_path / "run")
    events = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [(e["event"], e["step"]) for e in events if e["event"] != "finished"] == [
        ("started", 0),
        ("resumed", 3),
    ]
    assert_same_run(tmp_path / "run", uncut[0])


def test_another_config_or_other_data_do_not_continue_a_run(toy_prepared, uncut, tmp_path):
    go(toy_prepared, tmp_path / "run")
    with pytest.raises(UsageError) as caught:
        train(toy_prepared, tmp_path / "run", config=toy_data.toy_config(steps=6), network_factory=FACTORY)
    assert caught.value.code == "run_config_differs"
    assert "optimisation.steps was 5, now 6" in str(caught.value)
    with pytest.raises(UsageError) as caught:
        train(
            toy_prepared,
            tmp_path / "run",
            config=toy_data.toy_config(),
            network_factory=FACTORY,
            training_cases=toy_prepared.split("train")[:3],
        )
    assert caught.value.code == "run_data_differs"
    assert "training cases" in str(caught.value)
    assert_same_run(tmp_path / "run", uncut[0])


def test_two_processes_do_not_train_one_run(toy_prepared, tmp_path):
    def second(item):
        with pytest.raises(UsageError) as caught:
            go(toy_prepared, tmp_path / "run")
        assert caught.value.code == "run_in_use"
        raise Killed

    with pytest.raises(Killed):
        go(toy_prepared, tmp_path / "run", second)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_signals_through_the_command_line(toy_prepared, tmp_path):
    """SIGTERM ends with 143, SIGINT with 130, the same command ends with 0, and the result is that of one go."""
    config = toy_data.toy_config(steps=120, validate_every=0, checkpoint_every=1000)
    (tmp_path / "config.yaml").write_text(config.to_yaml())
    assert load_config(tmp_path / "config.yaml") == config
    run = tmp_path / "run"
    command = [
        *(sys.executable, "-m", "rsuper.cli", "train", str(toy_prepared.root), "--out", str(run)),
        *("--config", str(tmp_path / "config.yaml"), "--network", FACTORY, "--json"),
    ]
    environment = os.environ | {"PYTHONPATH": str(SUPPORT), "OMP_NUM_THREADS": "1"}
    steps = 0
    for number, code in ((signal.SIGTERM, 143), (signal.SIGINT, 130)):
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        wait_for_steps(run / "metrics.jsonl", steps + 3, process)
        process.send_signal(number)
        began = time.monotonic()
        out, err = process.communicate(timeout=60)
        assert process.returncode == code, err
        assert time.monotonic() - began < 30
        assert "goes on from here" in err
        assert out == ""
        newest = sorted((run / "checkpoints").glob("*.json"))[-1]
        assert json.loads(newest.read_text())["step"] > steps
        steps = json.loads(newest.read_text())["step"]
    assert steps < 123
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["best_step"] == 123
    train(toy_prepared, tmp_path / "one_go", config=config, network_factory=FACTORY)
    assert_same_run(run, tmp_path / "one_go")


def wait_for_steps(path: Path, steps: int, process: subprocess.Popen, limit_s: float = 120.0) -> None:
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline and process.poll() is None:
        if path.is_file() and path.read_text().count("\n") >= steps:
            return
        time.sleep(0.05)
    raise AssertionError(f"no {steps} steps; exit code {process.poll()}")
