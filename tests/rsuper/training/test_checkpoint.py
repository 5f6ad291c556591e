"""A valid checkpoint always exists, whatever write fails, and the newest valid one is found."""

from __future__ import annotations

import functools
import json
import os
from pathlib import Path

import pytest
import torch
from torch import nn

from rsuper.errors import DataError, ResourceError
from rsuper.training.checkpoint import TrainingState, load_checkpoint, newest_checkpoint, save_checkpoint


def make_state(seed: int, width: int = 3) -> TrainingState:
    torch.manual_seed(seed)
    network, average = (
        nn.Sequential(nn.Conv3d(1, width, 3), nn.BatchNorm3d(width)).to(memory_format=torch.channels_last_3d)
        for _ in range(2)
    )
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.1)
    network(torch.randn(2, 1, 5, 5, 5)).square().mean().backward()
    optimizer.step()
    return TrainingState(network=network, average=average, optimizer=optimizer)


@functools.cache
def state_of(step: int) -> TrainingState:
    """The state that is saved at a step; never changed."""
    return make_state(step)


def flat(state: TrainingState) -> list[torch.Tensor]:
    moments = state.optimizer.state_dict()["state"]
    return [
        *state.network.state_dict().values(),
        *state.average.state_dict().values(),
        *(
            torch.as_tensor(moments[index][key])
            for index in sorted(moments)
            for key in sorted(moments[index])
        ),
    ]


def same(one: TrainingState, two: TrainingState) -> bool:
    return all(torch.equal(a, b) for a, b in zip(flat(one), flat(two), strict=True))


def test_everything_comes_back_bit_by_bit_and_in_the_same_memory_format(tmp_path):
    state, other = make_state(0), make_state(1)
    path = save_checkpoint(tmp_path, state, step=7, extra={"best": {"step": 3}})
    assert not same(state, other)
    assert load_checkpoint(path, other) == (7, {"best": {"step": 3}})
    assert same(state, other)
    for one, two in zip(flat(state), flat(other), strict=True):
        assert one.stride() == two.stride()


def test_two_are_kept_and_the_newest_is_found(tmp_path):
    for step in (1, 5, 10, 200):
        save_checkpoint(tmp_path, state_of(step), step=step, extra={})
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "step_0000010.json",
        "step_0000010.safetensors",
        "step_0000200.json",
        "step_0000200.safetensors",
    ]
    assert newest_checkpoint(tmp_path).name == "step_0000200.safetensors"


def test_an_empty_folder_has_none(tmp_path):
    assert newest_checkpoint(tmp_path) is None
    assert newest_checkpoint(tmp_path / "missing") is None


@pytest.mark.parametrize("damage", ["truncated", "one_bit", "empty", "no_sidecar", "half_sidecar", "gone"])
def test_a_broken_newest_one_is_passed_over(tmp_path, damage):
    save_checkpoint(tmp_path, state_of(1), step=1, extra={})
    path = save_checkpoint(tmp_path, state_of(2), step=2, extra={})
    content, sidecar = path.read_bytes(), path.with_suffix(".json")
    if damage == "truncated":
        path.write_bytes(content[:-10])
    elif damage == "one_bit":
        path.write_bytes(content[:-10] + bytes([content[-10] ^ 1]) + content[-9:])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "no_sidecar":
        sidecar.unlink()
    elif damage == "half_sidecar":
        sidecar.write_text(sidecar.read_text()[:15])
    else:
        path.unlink()
    found = newest_checkpoint(tmp_path)
    assert found.name == "step_0000001.safetensors"
    restored = make_state(9)
    assert load_checkpoint(found, restored)[0] == 1
    assert same(restored, state_of(1))
    # going on from there never counts the broken one as one of the two that are kept
    save_checkpoint(tmp_path, state_of(3), step=2 if damage == "no_sidecar" else 3, extra={})
    assert len([path for path in tmp_path.glob("*.safetensors") if path.with_suffix(".json").exists()]) >= 2


def test_if_all_are_broken_the_run_does_not_silently_begin_again(tmp_path):
    for step in (1, 2):
        path = save_checkpoint(tmp_path, state_of(step), step=step, extra={})
        path.write_bytes(path.read_bytes()[:100])
    for path in tmp_path.glob("*.safetensors"):
        path.write_bytes(b"broken")
    with pytest.raises(DataError) as caught:
        newest_checkpoint(tmp_path)
    assert caught.value.code == "no_valid_checkpoint"


class Fault:
    """The n-th of the disk operations of a checkpoint fails in one of four ways."""

    def __init__(self, monkeypatch, kind: str, number: int) -> None:
        self.kind, self.number, self.count = kind, number, 0
        fsync, replace, unlink = os.fsync, Path.replace, Path.unlink
        monkeypatch.setattr(os, "fsync", lambda handle: self.step(handle) or fsync(handle))
        monkeypatch.setattr(Path, "replace", lambda path, to: self.step(None) or replace(path, to))
        monkeypatch.setattr(Path, "unlink", lambda path, **kw: self.step(None) or unlink(path, **kw))

    def step(self, handle: int | None) -> None:
        self.count += 1
        if self.count != self.number:
            return
        if self.kind == "full":
            raise OSError(28, "No space left on device")
        if self.kind == "killed":
            raise KeyboardInterrupt
        if handle is not None and self.kind == "short":
            size = os.fstat(handle).st_size
            if size:
                os.ftruncate(handle, size // 2)
        if handle is not None and self.kind == "garbled" and os.fstat(handle).st_size > 1000:
            os.pwrite(handle, b"\xff\xff", os.fstat(handle).st_size // 2)


@pytest.mark.parametrize("kind", ["full", "killed", "short", "garbled"])
def test_whatever_fails_a_valid_checkpoint_exists(tmp_path, monkeypatch, kind):
    outcomes = set()
    for number in range(1, 13):
        folder = tmp_path / f"{kind}_{number}"
        for step in (1, 2):
            save_checkpoint(folder, state_of(step), step=step, extra={})
        with monkeypatch.context() as patch:
            fault = Fault(patch, kind, number)
            try:
                save_checkpoint(folder, state_of(3), step=3, extra={})
                outcomes.add("written")
            except ResourceError:
                outcomes.add("refused")
            except (KeyboardInterrupt, OSError):
                outcomes.add("stopped")
        assert fault.count > 0
        found = newest_checkpoint(folder)
        restored = make_state(9)
        step, _ = load_checkpoint(found, restored)
        assert step in {2, 3}
        assert same(restored, state_of(step))
        # and the run can go on from it
        save_checkpoint(folder, state_of(4), step=4, extra={})
        assert json.loads(newest_checkpoint(folder).with_suffix(".json").read_text())["step"] == 4
    assert "written" in outcomes
    assert outcomes & {"refused", "stopped"}


def test_a_checkpoint_of_another_network_is_named(tmp_path):
    path = save_checkpoint(tmp_path, state_of(1), step=1, extra={})
    with pytest.raises(DataError, match=r"0\.bias is \(3,\), the network expects \(4,\)") as caught:
        load_checkpoint(path, make_state(1, width=4))
    assert caught.value.code == "weights_mismatch"
