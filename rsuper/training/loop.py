"""The training loop: a masks-only warm-up, then masks and reports; exact resume, atomic checkpoints, plain logs."""

from __future__ import annotations

import copy
import json
import platform
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn

import rsuper
from rsuper.config import RunConfig
from rsuper.data.batches import Batch, Batches, Channels, Stage
from rsuper.data.fingerprint import IntensityFingerprint, fingerprint
from rsuper.data.prepare import PrepareConfig, PreparedDataset
from rsuper.data.store import PreparedCase
from rsuper.errors import DataError, UsageError
from rsuper.files import write_atomic_text
from rsuper.losses import LossTerms, ReportSupervisionLoss
from rsuper.networks import Network, build_network, load_into, load_weights, own_tensors, save_weights
from rsuper.training.checkpoint import TrainingState, load_checkpoint, newest_checkpoint, save_checkpoint
from rsuper.training.guard import NonFiniteGuard
from rsuper.training.validation import ClassSummary, score_case, summarise

PREFETCH = 2


@dataclass(frozen=True, kw_only=True)
class TrainProgress:
    """One progress line: steps done, seconds a step, seconds left, and the loss terms."""

    step: int
    total: int
    seconds_a_step: float
    eta_s: float
    stage: Stage
    terms: dict[str, float]


class Interrupted(Exception):  # noqa: N818 - the exit code is in the name of the signal, not an error
    """SIGINT or SIGTERM arrived; the checkpoint is written and the run can be resumed."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(f"interrupted by signal {signal_number}")
        self.exit_code = 128 + signal_number


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A finished run: its folder and the validation summary of the chosen weights."""

    run: Path
    summaries: dict[str, ClassSummary]
    best_step: int


def train(
    prepared: PreparedDataset,
    run: Path,
    *,
    config: RunConfig,
    initial_weights: Path | None = None,
    training_cases: Sequence[PreparedCase] | None = None,
    validation_cases: Sequence[PreparedCase] | None = None,
    device: str = "cpu",
    progress: Callable[[TrainProgress], None] | None = None,
) -> Trained:
    """Train a network, or go on with an interrupted run.

    Args:
        prepared: what ``prepare`` wrote.
        run: run folder; a valid checkpoint in it is resumed, if its configuration is the same.
        config: all settings.
        initial_weights: start from these weights (``model.safetensors`` of another run) instead of fresh ones.
        training_cases, validation_cases: cases to use instead of the splits ``train`` and ``val``.
        device: torch device.
        progress: called after every step.

    Returns:
        The run folder with ``model.safetensors`` (moving average of the best validated step) and its validation.

    Raises:
        DataError: ``no_training_cases``, ``training_diverged``.
        UsageError: ``run_config_differs`` if the folder holds a run with other settings.
        Interrupted: after a signal; the same call resumes.
    """
    cases = list(prepared.split("train") if training_cases is None else training_cases)
    validation = list(prepared.split("val") if validation_cases is None else validation_cases)
    if not cases:
        raise DataError(
            "no training case",
            code="no_training_cases",
            hint="give cases.csv a column split with train, val, test",
        )
    channels = Channels(structures=prepared.config.structures, lesion_classes=prepared.config.lesion_classes)
    intensity = fingerprint(cases, structures=prepared.config.structures)
    _open_run(run, config, prepared)
    session = _Session(
        config,
        channels,
        cases,
        intensity=intensity,
        device=device,
        initial_weights=initial_weights,
        prepared=prepared.config,
    )
    return session.run(run, validation, progress)


class _Session:
    """The moving parts of one call of ``train``."""

    def __init__(
        self,
        config: RunConfig,
        channels: Channels,
        cases: Sequence[PreparedCase],
        *,
        intensity: IntensityFingerprint,
        device: str,
        initial_weights: Path | None,
        prepared: PrepareConfig,
    ) -> None:
        self.config = config
        self.prepared = prepared
        self.channels = channels
        self.intensity = intensity
        self.device = device
        torch.manual_seed(config.seed)
        network = build_network(config.network, len(channels.names))
        if initial_weights is not None:
            tensors, _ = load_weights(initial_weights)
            load_into(network, tensors, source=initial_weights.name)
        self.network: Network = network.to(device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self.average = copy.deepcopy(self.network).eval().requires_grad_(requires_grad=False)
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=1e-3, weight_decay=config.optimisation.weight_decay
        )
        self.loss = ReportSupervisionLoss(config.loss)
        self.batches = Batches(cases, channels, config=config.sampling, intensity=intensity, seed=config.seed)
        self.guard = NonFiniteGuard(config.optimisation.max_bad_steps)
        self.best: dict[str, Any] = {"step": -1, "selection": -1.0}

    @property
    def state(self) -> TrainingState:
        return TrainingState(network=self.network, average=self.average, optimizer=self.optimizer)

    def stage(self, step: int) -> Stage:
        """What step ``step`` learns from."""
        if (
            step >= self.config.optimisation.warmup_steps
            and self.config.optimisation.arm == "masks_and_reports"
        ):
            return "masks_and_reports"
        pools = self.batches.pools
        return "masks" if pools["mask+"] else "organs"

    def run(
        self,
        run: Path,
        validation: Sequence[PreparedCase],
        progress: Callable[[TrainProgress], None] | None,
    ) -> Trained:
        start = 0
        checkpoint = newest_checkpoint(run / "checkpoints")
        if checkpoint is not None:
            start, extra = load_checkpoint(checkpoint, self.state)
            self.best = extra["best"]
        _truncate_metrics(run / "metrics.jsonl", start)
        total = self.config.optimisation.total_steps
        began = time.monotonic()
        with _signals() as received:
            for step, batch in self._stream(start, total):
                terms = self._step(step, batch, run)
                done = step + 1
                seconds = (time.monotonic() - began) / (done - start)
                if progress is not None:
                    progress(
                        TrainProgress(
                            step=done,
                            total=total,
                            seconds_a_step=seconds,
                            eta_s=seconds * (total - done),
                            stage=self.stage(step),
                            terms=terms,
                        )
                    )
                if self._is_validation(done):
                    self._validate(done, validation, run)
                if received or done % self.config.optimisation.checkpoint_every == 0 or done == total:
                    save_checkpoint(run / "checkpoints", self.state, step=done, extra={"best": self.best})
                if received:
                    raise Interrupted(received[0])
        return self._finish(run, validation)

    def _stream(self, start: int, total: int) -> Iterator[tuple[int, Batch]]:
        """Batches in step order, made one thread ahead."""
        with ThreadPoolExecutor(max_workers=1) as pool:
            ahead = [
                pool.submit(self.batches.batch, s, self.stage(s))
                for s in range(start, min(total, start + PREFETCH))
            ]
            for step in range(start, total):
                batch = ahead.pop(0).result()
                following = step + PREFETCH
                if following < total:
                    ahead.append(pool.submit(self.batches.batch, following, self.stage(following)))
                yield step, batch

    def _step(self, step: int, batch: Batch, run: Path) -> dict[str, float]:
        settings = self.config.optimisation
        rate = self._learning_rate(step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.network.train()
        image = batch.image.to(self.device, memory_format=torch.channels_last_3d)
        device_type = torch.device(self.device).type
        with torch.autocast(device_type, torch.bfloat16, enabled=settings.precision == "bf16"):
            heads = self.network(image)
        result: LossTerms = self.loss(heads, batch.supervision.to(self.device), report_scale=self._ramp(step))
        self.optimizer.zero_grad(set_to_none=True)
        result.total.backward()  # type: ignore[no-untyped-call]
        bad = self.guard.check(result.total, self.network, terms=result.terms, case_ids=batch.case_ids)
        if bad is None:
            nn.utils.clip_grad_norm_(self.network.parameters(), settings.clip_norm)
            self.optimizer.step()
            self._update_average(step)
        terms = {name: float(value) for name, value in result.terms.items()}
        extra = {name: float(value) for name, value in result.diagnostics.items()}
        entry: dict[str, Any] = {
            "step": step + 1,
            "stage": self.stage(step),
            "learning_rate": rate,
            **terms,
            **extra,
        }
        if bad is not None:
            entry |= {"skipped": bad, "cases": list(batch.case_ids)}
        _append(run / "metrics.jsonl", entry)
        return terms

    def _learning_rate(self, step: int) -> float:
        """Polynomial decay (power 0.9, as nnU-Net) in each stage."""
        settings = self.config.optimisation
        if step < settings.warmup_steps:
            return settings.warmup_learning_rate * (1 - step / settings.warmup_steps) ** 0.9
        return settings.learning_rate * (1 - (step - settings.warmup_steps) / settings.steps) ** 0.9

    def _ramp(self, step: int) -> float:
        settings = self.config.optimisation
        if settings.report_ramp_steps == 0:
            return 1.0
        return min(1.0, max(0, step + 1 - settings.warmup_steps) / settings.report_ramp_steps)

    @torch.no_grad()
    def _update_average(self, step: int) -> None:
        decay = min(self.config.optimisation.ema, (step + 1) / (step + 10))
        own: dict[str, Tensor] = own_tensors(self.network)
        for name, value in own_tensors(self.average).items():
            if value.is_floating_point():
                value.lerp_(own[name], 1 - decay)
            else:
                value.copy_(own[name])

    def _is_validation(self, done: int) -> bool:
        settings = self.config.optimisation
        every = settings.validate_every
        return bool(every) and done % every == 0 and done > settings.warmup_steps

    def evaluate(self, cases: Sequence[PreparedCase]) -> dict[str, ClassSummary]:
        """Validation summary of every lesion class with the averaged weights."""
        results: dict[str, list[Any]] = {name: [] for name in self.channels.lesion_classes}
        for case in cases:
            scored = score_case(
                self.average,
                case,
                channels=self.channels,
                intensity=self.intensity,
                patch_size=self.config.sampling.patch_size,
                device=self.device,
            )
            for name, result in scored.items():
                results[name].append(result)
        return {name: summarise(items) for name, items in results.items()}

    def _validate(self, done: int, validation: Sequence[PreparedCase], run: Path) -> dict[str, ClassSummary]:
        summaries = self.evaluate(validation)
        selection = sum(summary.selection for summary in summaries.values()) / max(1, len(summaries))
        report = {
            name: {"auc": summary.auc, "dice": summary.dice, "threshold": summary.threshold}
            for name, summary in summaries.items()
        }
        _append(run / "metrics.jsonl", {"step": done, "validation": report, "selection": selection})
        if selection > self.best["selection"] or not validation:
            self.best = {"step": done, "selection": selection}
            self._save_model(run, summaries, done)
        return summaries

    def _save_model(self, run: Path, summaries: dict[str, ClassSummary], step: int) -> None:
        metadata = {
            "rsuper_version": rsuper.__version__,
            "network": self.config.network.model_dump(mode="json"),
            "structures": list(self.channels.structures),
            "lesion_classes": list(self.channels.lesion_classes),
            "intensity": self.intensity.model_dump(),
            "prepared": self.prepared.model_dump(mode="json"),
            "patch_size": list(self.config.sampling.patch_size),
            "thresholds": {name: summary.threshold for name, summary in summaries.items()},
            "step": step,
        }
        save_weights(run / "model.safetensors", own_tensors(self.average), metadata=metadata)

    def _finish(self, run: Path, validation: Sequence[PreparedCase]) -> Trained:
        total = self.config.optimisation.total_steps
        if (
            self.best["step"] < 0
            or self.config.optimisation.validate_every == 0
            or total % max(1, self.config.optimisation.validate_every)
        ):
            self._validate(total, validation, run)
        tensors, _ = load_weights(run / "model.safetensors")
        load_into(self.average, tensors, source="model.safetensors")
        return Trained(run=run, summaries=self.evaluate(validation), best_step=int(self.best["step"]))


def _open_run(run: Path, config: RunConfig, prepared: PreparedDataset) -> None:
    run.mkdir(parents=True, exist_ok=True)
    path = run / "config.yaml"
    text = config.to_yaml()
    if path.is_file() and path.read_text(encoding="utf-8") != text:
        raise UsageError(
            f"{run} holds a run with other settings",
            code="run_config_differs",
            hint="choose another --out, or delete this folder to start again",
        )
    write_atomic_text(path, text)
    manifest = {
        "rsuper": rsuper.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "seed": config.seed,
        "prepared_sha256": prepared.config.sha256,
        "cases": len(prepared.cases),
        "deterministic": "CPU: data order and weights; GPU: data order only",
    }
    write_atomic_text(run / "manifest.json", json.dumps(manifest, indent=1))


def _append(path: Path, entry: dict[str, Any]) -> None:
    with path.open("a", encoding="utf-8") as handle:
        handle.write(json.dumps(entry) + "\n")


def _truncate_metrics(path: Path, step: int) -> None:
    """Drop lines that a killed run wrote after its last checkpoint."""
    if not path.is_file():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line)
        except (ValueError, KeyError):
            continue
    write_atomic_text(path, "".join(f"{line}\n" for line in kept))


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM instead of dying from them; only the main thread can."""
    import threading

    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return

    def note(number: int, _frame: FrameType | None) -> None:
        received.append(number)

    previous = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
