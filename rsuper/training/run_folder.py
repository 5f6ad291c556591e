"""The folder of a run: settings, manifest, metrics and log; for one process at a time and for one run only."""

from __future__ import annotations

import fcntl
import json
import math
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
import yaml

import rsuper
from rsuper.config import RunConfig
from rsuper.errors import UsageError
from rsuper.files import write_atomic_text

CHECKPOINTS = "checkpoints"
MODEL_FILE = "model.safetensors"
METRICS_FILE = "metrics.jsonl"
LOG_FILE = "log.jsonl"
CONFIG_FILE = "config.yaml"
MANIFEST_FILE = "manifest.json"
NAMED_SETTINGS = 5


@contextmanager
def opened_run(run: Path, config: RunConfig, *, inputs: Mapping[str, str], device: str) -> Iterator[None]:
    """Hold a run folder: made, or checked to be the same run, and locked against a second process.

    Args:
        run: the folder.
        config: all settings; written to ``config.yaml``.
        inputs: hashes of what the run depends on besides, such as ``training_cases``.
        device: torch device, for the manifest.

    Raises:
        UsageError: ``run_config_differs``, ``run_data_differs``, ``run_in_use``.
    """
    run.mkdir(parents=True, exist_ok=True)
    with (run / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(
                f"another process trains in {run}",
                code="run_in_use",
                hint="wait for it, or choose another --out",
            ) from error
        _require_same(run, config, inputs)
        write_atomic_text(run / CONFIG_FILE, config.to_yaml())
        manifest = {
            "rsuper": rsuper.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
            "seed": config.seed,
            "device": device,
            "threads": torch.get_num_threads(),
            "inputs_sha256": dict(inputs),
            "deterministic": "CPU with the same number of threads: everything; GPU: the order of the data",
        }
        write_atomic_text(run / MANIFEST_FILE, json.dumps(manifest, indent=1))
        yield


def _require_same(run: Path, config: RunConfig, inputs: Mapping[str, str]) -> None:
    settings = run / CONFIG_FILE
    if settings.is_file() and settings.read_text(encoding="utf-8") != config.to_yaml():
        raise UsageError(
            f"{run} holds a run with other settings{_differences(settings, config)}",
            code="run_config_differs",
            hint="choose another --out, set these as they were, or delete this folder to start again",
        )
    try:
        earlier = json.loads((run / MANIFEST_FILE).read_text(encoding="utf-8"))["inputs_sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        return
    other = [name for name, value in inputs.items() if earlier.get(name, value) != value]
    if other and any((run / CHECKPOINTS).glob("*.safetensors")):
        raise UsageError(
            f"{run} was trained with other {', '.join(other).replace('_', ' ')}",
            code="run_data_differs",
            hint="choose another --out, or delete this folder to start again",
        )


def _differences(settings: Path, config: RunConfig) -> str:
    """The settings that are not what they were: a default may have changed with the version."""
    try:
        earlier = dict(_leaves(yaml.safe_load(settings.read_text(encoding="utf-8"))))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return ""
    now = dict(_leaves(yaml.safe_load(config.to_yaml())))
    names = [name for name in {**earlier, **now} if earlier.get(name) != now.get(name)]
    told = [f"{name} was {earlier.get(name)}, now {now.get(name)}" for name in names[:NAMED_SETTINGS]]
    more = f" and {len(names) - len(told)} more" if len(names) > len(told) else ""
    return f": {'; '.join(told)}{more}" if told else ""


def _leaves(tree: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Setting with its path, such as ``sampling.batch_size``, and its value."""
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from _leaves(value, f"{name}.{key}" if name else str(key))
    else:
        yield name, tree


def append_line(path: Path, entry: Mapping[str, Any]) -> None:
    """Add one JSON object to a ``.jsonl`` file; numbers that are not finite become null."""
    with path.open("a", encoding="utf-8") as handle:
        handle.write(json.dumps(_plain(entry), allow_nan=False) + "\n")


def log_event(run: Path, event: str, **facts: Any) -> None:
    """Add what happened, and when, to ``log.jsonl``."""
    append_line(
        run / LOG_FILE, {"time": datetime.now(UTC).isoformat(timespec="seconds"), "event": event, **facts}
    )


def forget_after(path: Path, *, step: int, validated: int) -> None:
    """Drop the metrics that a killed run wrote after its last checkpoint, and half a line.

    Args:
        path: ``metrics.jsonl``; may be missing.
        step: steps that the checkpoint has done.
        validated: last step whose validation the checkpoint knows of.
    """
    if not path.is_file():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            entry = json.loads(line)
            if entry["step"] <= (validated if "validation" in entry else step):
                kept.append(line)
        except (ValueError, KeyError, TypeError):
            continue
    write_atomic_text(path, "".join(f"{line}\n" for line in kept))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
