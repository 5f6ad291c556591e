"""Resumable checkpoints: one safetensors file a step, hashed, the newest valid one wins (promise R7)."""

from __future__ import annotations

import errno
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rsuper.errors import DataError, ResourceError
from rsuper.files import write_atomic_text
from rsuper.networks import load_into, load_weights, own_tensors, save_weights

KEEP = 2
_PATTERN = "step_*.safetensors"


@dataclass(frozen=True, kw_only=True)
class TrainingState:
    """All that a step depends on besides the configuration: the data order is a function of the step."""

    network: nn.Module
    average: nn.Module
    optimizer: torch.optim.Optimizer


def save_checkpoint(folder: Path, state: TrainingState, *, step: int, extra: dict[str, Any]) -> Path:
    """Write the checkpoint of ``step``, read it back, and only then delete all but the newest two.

    Args:
        folder: ``RUN/checkpoints``.
        state: network, moving average, optimiser.
        step: optimiser steps done.
        extra: JSON-able values to carry, such as the best validation score.

    Raises:
        ResourceError: ``checkpoint_not_written`` if the disk is full or does not keep what it is given; the earlier
            checkpoints are still there.
    """
    path = folder / f"step_{step:07d}.safetensors"
    tensors = {f"network.{name}": value for name, value in own_tensors(state.network).items()}
    tensors |= {f"average.{name}": value for name, value in own_tensors(state.average).items()}
    for index, values in state.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": value for name, value in values.items()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        digest = save_weights(path, tensors, metadata={"step": step, "extra": extra})
        write_atomic_text(_sidecar(path), json.dumps({"step": step, "sha256": digest}))
        if not _is_valid(path):
            raise OSError(errno.EIO, "the disk gives back other bytes than were written", str(path))  # noqa: TRY301
    except OSError as error:
        raise ResourceError(
            f"{path.name} could not be written ({error.strerror or error.__class__.__name__})",
            code="checkpoint_not_written",
            hint="free some space; the same command goes on from the checkpoint before",
        ) from error
    _keep_newest(folder, path)
    return path


def newest_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint whose hash fits; broken or half-written ones are passed over.

    Raises:
        DataError: ``no_valid_checkpoint`` if there are finished checkpoints and all are broken: starting again from
            nothing would throw the run away, so that is for a person to decide.
    """
    finished = [path for path in sorted(folder.glob(_PATTERN), reverse=True) if _sidecar(path).is_file()]
    for path in finished:
        if _is_valid(path):
            return path
    if finished:
        raise DataError(
            f"none of the {len(finished)} checkpoints in {folder} is intact",
            code="no_valid_checkpoint",
            hint="bring one back from a backup, or delete the run folder to start again",
        )
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
    parameters = [parameter for group in state.optimizer.param_groups for parameter in group["params"]]
    if not values.keys() <= set(range(len(parameters))):
        raise DataError(f"{path.name}: optimiser state of another network", code="weights_mismatch")
    moments = {
        number: {key: _like(tensor, parameters[number]) for key, tensor in own.items()}
        for number, own in values.items()
    }
    state.optimizer.load_state_dict({"state": moments, "param_groups": groups})
    return int(metadata["step"]), dict(metadata["extra"])


def _like(tensor: Tensor, parameter: Tensor) -> Tensor:
    """In the memory format of its parameter: the optimiser's arithmetic is bitwise the same only then."""
    return torch.empty_like(parameter).copy_(tensor) if tensor.shape == parameter.shape else tensor


def _sidecar(path: Path) -> Path:
    return path.with_suffix(".json")


def _is_valid(path: Path) -> bool:
    try:
        expected = json.loads(_sidecar(path).read_text(encoding="utf-8"))["sha256"]
        with path.open("rb") as handle:
            return bool(hashlib.file_digest(handle, "sha256").hexdigest() == expected)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _keep_newest(folder: Path, newest: Path) -> None:
    """Delete all but the newest finished ones up to ``newest``, and what killed or abandoned runs left behind."""
    finished = [
        path
        for path in sorted(folder.glob(_PATTERN))
        if _sidecar(path).is_file() and path.name <= newest.name
    ]
    kept = {name for path in finished[-KEEP:] for name in (path.name, _sidecar(path).name)}
    for path in (*folder.glob("step_*"), *folder.glob(".step_*")):
        if path.name not in kept:
            path.unlink(missing_ok=True)


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        name.removeprefix(f"{prefix}."): value
        for name, value in tensors.items()
        if name.startswith(f"{prefix}.")
    }
