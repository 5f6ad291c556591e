"""Resumable checkpoints: one safetensors file a step, hashed, the newest valid one wins (promise R7)."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rsuper.errors import DataError
from rsuper.files import write_atomic_text
from rsuper.networks import load_into, load_weights, own_tensors, save_weights

KEEP = 2


@dataclass(frozen=True, kw_only=True)
class TrainingState:
    """All that a step depends on besides the configuration: the data order is a function of the step."""

    network: nn.Module
    average: nn.Module
    optimizer: torch.optim.Optimizer


def save_checkpoint(folder: Path, state: TrainingState, *, step: int, extra: dict[str, Any]) -> Path:
    """Write the checkpoint of ``step`` and delete all but the newest two.

    Args:
        folder: ``RUN/checkpoints``.
        state: network, moving average, optimiser.
        step: optimiser steps done.
        extra: JSON-able values to carry, such as the best validation score.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"step_{step:07d}.safetensors"
    tensors = {f"network.{name}": value for name, value in own_tensors(state.network).items()}
    tensors |= {f"average.{name}": value for name, value in own_tensors(state.average).items()}
    for index, values in state.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": value for name, value in values.items()}
    save_weights(path, tensors, metadata={"step": step, "extra": extra})
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    write_atomic_text(path.with_suffix(".json"), json.dumps({"step": step, "sha256": digest}))
    for old in sorted(folder.glob("step_*.safetensors"))[:-KEEP]:
        old.with_suffix(".json").unlink(missing_ok=True)
        old.unlink()
    return path


def newest_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint whose hash fits; broken or half-written ones are passed over."""
    for path in sorted(folder.glob("step_*.safetensors"), reverse=True):
        try:
            expected = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))["sha256"]
        except (OSError, ValueError, KeyError):
            continue
        if hashlib.sha256(path.read_bytes()).hexdigest() == expected:
            return path
    return None


def load_checkpoint(path: Path, state: TrainingState) -> tuple[int, dict[str, Any]]:
    """Put a checkpoint into ``state``.

    Returns:
        The number of steps done and the extra values.

    Raises:
        DataError: ``weights_mismatch`` if it belongs to another network.
    """
    tensors, metadata = load_weights(path)
    load_into(state.network, _part(tensors, "network"), source=path.name)
    load_into(state.average, _part(tensors, "average"), source=path.name)
    values: dict[int, dict[str, Tensor]] = {}
    for name, tensor in _part(tensors, "optimizer").items():
        index, _, key = name.partition(".")
        values.setdefault(int(index), {})[key] = tensor
    groups = state.optimizer.state_dict()["param_groups"]
    if values and len(values) != sum(len(group["params"]) for group in groups):
        raise DataError(f"{path.name}: optimiser state of another network", code="weights_mismatch")
    state.optimizer.load_state_dict({"state": values, "param_groups": groups})
    return int(metadata["step"]), dict(metadata["extra"])


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        name.removeprefix(f"{prefix}."): value
        for name, value in tensors.items()
        if name.startswith(f"{prefix}.")
    }
