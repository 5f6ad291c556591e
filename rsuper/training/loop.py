"""The training loop: a masks-only warm-up, then masks and reports; exact resume, atomic checkpoints, plain logs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from rsuper.config import RunConfig
from rsuper.data.batches import Channels, Stage
from rsuper.data.fingerprint import fingerprint
from rsuper.data.prepare import PreparedDataset
from rsuper.data.store import PreparedCase, content_sha256
from rsuper.errors import DataError, UsageError
from rsuper.networks import load_weights, require_device
from rsuper.training.notes import contradiction
from rsuper.training.run_folder import opened_run
from rsuper.training.session import Session, TrainProgress
from rsuper.training.validation import ClassSummary

__all__ = ["Stage", "TrainProgress", "Trained", "train"]


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A finished run.

    Args:
        run: its folder.
        summaries: validation of the chosen weights, class by class.
        best_step: the step they are of.
        contradicted: True if the network at the end was as sure of lesions where reports call an organ free as where
            they state one; its places are likely wrong.
    """

    run: Path
    summaries: dict[str, ClassSummary]
    best_step: int
    contradicted: bool = False


def train(
    prepared: PreparedDataset,
    run: Path,
    *,
    config: RunConfig,
    initial_weights: Path | None = None,
    training_cases: Sequence[PreparedCase] | None = None,
    validation_cases: Sequence[PreparedCase] | None = None,
    device: str = "cpu",
    network_factory: str | None = None,
    progress: Callable[[TrainProgress], None] | None = None,
) -> Trained:
    """Train a network, or go on with an interrupted run.

    Args:
        prepared: what ``prepare`` wrote.
        run: run folder; a valid checkpoint in it is resumed, if settings and data are the same.
        config: all settings.
        initial_weights: start from these weights (``model.safetensors`` of another run) instead of fresh ones.
        training_cases: cases to learn from instead of the split ``train``.
        validation_cases: cases to choose the checkpoint on instead of the split ``val``.
        device: torch device.
        network_factory: import path of a custom network; the same as in ``config``, named by a person.
        progress: called after every step.

    Returns:
        The run folder with ``model.safetensors`` (moving average of the best validated step) and its validation.

    Raises:
        DataError: ``no_training_cases``, ``training_diverged``, ``no_valid_checkpoint``.
        UsageError: ``run_config_differs`` or ``run_data_differs`` if the folder holds another run, ``run_in_use``.
        ResourceError: ``device_missing``, ``checkpoint_not_written``.
        InterruptedRunError: SIGINT or SIGTERM arrived; the same call resumes.
    """
    require_device(device)
    cases = list(prepared.split("train") if training_cases is None else training_cases)
    validation = list(prepared.split("val") if validation_cases is None else validation_cases)
    if not cases:
        raise DataError(
            "no training case",
            code="no_training_cases",
            hint="give cases.csv a column split with train, val, test",
        )
    weights = None if initial_weights is None else _initial(initial_weights)
    inputs = {
        "training_cases": content_sha256(cases),
        "validation_cases": content_sha256(validation),
        "initial_weights": "" if initial_weights is None else _sha256(initial_weights),
    }
    channels = Channels(structures=prepared.config.structures, lesion_classes=prepared.config.lesion_classes)
    with opened_run(run, config, inputs=inputs, device=device):
        session = Session(
            config,
            channels,
            cases,
            validation,
            run=run,
            intensity=fingerprint(cases, structures=prepared.config.structures),
            prepared=prepared.config,
            device=device,
            network_factory=network_factory,
        )
        if weights is not None and initial_weights is not None:
            session.start_from(weights, source=initial_weights.name)
        summaries = session.train(progress)
        return Trained(
            run=run,
            summaries=summaries,
            best_step=int(session.best["step"]),
            contradicted=contradiction(run) is not None,
        )


def _initial(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise UsageError(f"there are no weights at {path}", code="no_model", hint="check --initial-weights")
    return load_weights(path)[0]


def _sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
