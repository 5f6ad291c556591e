"""One call of ``train``: the network, its average and optimiser, and every step from the last checkpoint to the end."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import rsuper
from rsuper.config import RunConfig
from rsuper.data.batches import Batch, Batches, Channels, Stage
from rsuper.data.crops import host_structures
from rsuper.data.fingerprint import IntensityFingerprint
from rsuper.data.prepare import PrepareConfig
from rsuper.data.store import PreparedCase
from rsuper.errors import InterruptedRunError
from rsuper.losses import LossTerms, ReportSupervisionLoss
from rsuper.networks import Network, build_network, load_into, load_weights, own_tensors, save_weights
from rsuper.training import run_folder
from rsuper.training.checkpoint import TrainingState, load_checkpoint, newest_checkpoint, save_checkpoint
from rsuper.training.guard import NonFiniteGuard, non_finite
from rsuper.training.notes import contradiction, larger_than_patch
from rsuper.training.region_search import RegionSearch
from rsuper.training.schedule import average_decay, learning_rate, report_ramp
from rsuper.training.signals import collected_signals
from rsuper.training.stream import BatchStream
from rsuper.training.validation import CaseResult, ClassSummary, score_case, summarise


@dataclass(frozen=True, kw_only=True)
class TrainProgress:
    """One progress line: steps done, seconds a step, seconds left, and the loss terms."""

    step: int
    total: int
    seconds_a_step: float
    eta_s: float
    stage: Stage
    terms: dict[str, float]


Progress = Callable[[TrainProgress], None]


class Session:
    """The moving parts of one call of ``train``.

    Args:
        config: all settings.
        channels: output channels.
        cases: training cases.
        validation: cases that choose the checkpoint.
        run: run folder, made and locked by the caller.
        intensity: normalisation.
        prepared: settings of the prepared data, for the weights file.
        device: torch device.
        network_factory: import path of a custom network.
    """

    def __init__(
        self,
        config: RunConfig,
        channels: Channels,
        cases: Sequence[PreparedCase],
        validation: Sequence[PreparedCase],
        *,
        run: Path,
        intensity: IntensityFingerprint,
        prepared: PrepareConfig,
        device: str,
        network_factory: str | None = None,
    ) -> None:
        self.config, self.channels, self.validation = config, channels, validation
        self.run, self.intensity, self.prepared, self.device = run, intensity, prepared, device
        torch.manual_seed(config.seed)
        network = build_network(config.network, len(channels.names), factory=network_factory)
        self.network: Network = network.to(device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self.average = self._fresh_average()
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=1e-3, weight_decay=config.optimisation.weight_decay
        )
        self.loss = ReportSupervisionLoss(config.loss)
        self.batches = Batches(
            cases,
            channels,
            config=config.sampling,
            intensity=intensity,
            seed=config.seed,
            hosts=host_structures(channels, prepared.anatomy) if config.loss.attenuation > 0 else None,
        )
        self.search = RegionSearch(
            channels,
            sampling=config.sampling,
            rules=config.loss.ball,
            intensity=intensity,
            device=device,
        )
        self.guard = NonFiniteGuard(config.optimisation.max_bad_steps)
        self.best: dict[str, Any] = {"step": -1, "selection": -1.0}
        self.validated = -1
        self.summaries: dict[str, ClassSummary] = {}

    @property
    def state(self) -> TrainingState:
        """What a checkpoint holds."""
        return TrainingState(network=self.network, average=self.average, optimizer=self.optimizer)

    def start_from(self, weights: Mapping[str, Tensor], *, source: str) -> None:
        """Take over the weights of another run."""
        load_into(self.network, weights, source=source)
        self.average = self._fresh_average()

    def stage(self, step: int) -> Stage:
        """What step ``step`` learns from."""
        settings = self.config.optimisation
        if step >= settings.warmup_steps and settings.arm == "masks_and_reports":
            return "masks_and_reports"
        return "masks" if self.batches.pools["mask+"] else "organs"

    def train(self, progress: Progress | None) -> dict[str, ClassSummary]:
        """Go on from the newest checkpoint to the end.

        Returns:
            Validation of the chosen weights, which the moving average then holds.
        """
        start = self._resume()
        total = self.config.optimisation.total_steps
        began = time.monotonic()
        stream = BatchStream(batches=self.batches, search=self.search, network=self.average, stage=self.stage)
        with collected_signals() as received:
            if self._is_validation(start) and self.validated < start:  # a signal kept it from taking place
                self._validate(start, received)
                self._checkpoint(start)
            for step, batch in stream.steps(start, total):
                terms = self._step(step, batch)
                done = step + 1
                if progress is not None:
                    seconds = (time.monotonic() - began) / (done - start)
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
                    self._validate(done, received)
                if received or done % self.config.optimisation.checkpoint_every == 0 or done == total:
                    self._checkpoint(done)
                if received:
                    self._stop(received, done)
            return self._finish(total, received)

    def _fresh_average(self) -> Network:
        return copy.deepcopy(self.network).eval().requires_grad_(requires_grad=False)

    def _resume(self) -> int:
        start = 0
        checkpoint = newest_checkpoint(self.run / run_folder.CHECKPOINTS)
        if checkpoint is not None:
            start, extra = load_checkpoint(checkpoint, self.state)
            self.best, self.validated = extra["best"], int(extra.get("validated", -1))
            self.guard.in_a_row = int(extra.get("bad_in_a_row", 0))
            self.search.restore(extra.get("places", {}))
        run_folder.forget_after(self.run / run_folder.METRICS_FILE, step=start, validated=self.validated)
        run_folder.log_event(self.run, "started" if start == 0 else "resumed", step=start)
        larger = larger_than_patch(self.batches.all_cases, self.channels, self.config.sampling)
        if larger and self.config.optimisation.arm == "masks_and_reports":
            how = self.config.sampling.larger_regions
            run_folder.log_event(self.run, "regions_larger_than_patch", cases=larger, crops=how)
        return start

    def _checkpoint(self, done: int) -> None:
        extra = {
            "best": self.best,
            "validated": self.validated,
            "bad_in_a_row": self.guard.in_a_row,
            "places": self.search.state(),
        }
        save_checkpoint(self.run / run_folder.CHECKPOINTS, self.state, step=done, extra=extra)

    def _stop(self, received: Sequence[int], done: int) -> None:
        run_folder.log_event(self.run, "interrupted", step=done, signal=int(received[0]))
        raise InterruptedRunError(received[0])

    def _step(self, step: int, batch: Batch) -> dict[str, float]:
        settings = self.config.optimisation
        torch.manual_seed(
            (self.config.seed << 32) + step + 1
        )  # dropout and the like depend on the step alone
        rate = learning_rate(settings, step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        buffers = {name: value.clone() for name, value in self.network.named_buffers()}
        bad, result = self._gradients(step, batch)
        if not bad:
            nn.utils.clip_grad_norm_(self.network.parameters(), settings.clip_norm)
            self.optimizer.step()
            self._update_average(step)
        else:
            self._restore(buffers)
        values = {} if result is None else result.terms | result.diagnostics
        entry: dict[str, Any] = {
            "step": step + 1,
            "stage": self.stage(step),
            "learning_rate": rate,
            **{name: float(value) for name, value in values.items()},
        }
        if bad:
            entry |= {"skipped": ", ".join(bad), "cases": list(batch.case_ids)}
            run_folder.log_event(
                self.run, "step_skipped", step=step + 1, terms=list(bad), cases=list(batch.case_ids)
            )
        run_folder.append_line(self.run / run_folder.METRICS_FILE, entry)
        self.guard.record(bad, case_ids=batch.case_ids)
        return {} if result is None else {name: float(value) for name, value in result.terms.items()}

    def _gradients(self, step: int, batch: Batch) -> tuple[tuple[str, ...], LossTerms | None]:
        """Forward and backward; what was not finite on the way, and the loss as far as it got."""
        settings = self.config.optimisation
        self.network.train()
        self.optimizer.zero_grad(set_to_none=True)
        image = batch.image.to(self.device, memory_format=torch.channels_last_3d)
        bad = non_finite({"image": image})
        if bad:
            return bad, None
        with torch.autocast(
            torch.device(self.device).type, torch.bfloat16, enabled=settings.precision == "bf16"
        ):
            heads = self.network(image)
        bad = non_finite({"logits": heads})
        if bad:
            return bad, None
        ramp = report_ramp(settings, step)
        result: LossTerms = self.loss(heads, batch.supervision.to(self.device), report_scale=ramp)
        bad = non_finite({**result.terms, "total": result.total})
        if bad:
            return bad, result
        result.total.backward()  # type: ignore[no-untyped-call]
        gradients = [p.grad for p in self.network.parameters() if p.grad is not None]
        return non_finite({"gradient": gradients}), result

    @torch.no_grad()
    def _restore(self, buffers: Mapping[str, Tensor]) -> None:
        """Running statistics as they were before a step that was skipped."""
        for name, value in self.network.named_buffers():
            value.copy_(buffers[name])

    @torch.no_grad()
    def _update_average(self, step: int) -> None:
        decay = average_decay(self.config.optimisation, step)
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

    def _evaluate(self, received: Sequence[int]) -> dict[str, ClassSummary] | None:
        """Validation summary of every lesion class with the averaged weights; None if a signal came in between."""
        results: dict[str, list[CaseResult]] = {name: [] for name in self.channels.lesion_classes}
        for case in self.validation:
            if received:
                return None
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

    def _validate(self, done: int, received: Sequence[int]) -> None:
        """Validate step ``done`` and keep its weights if they are the best; left for the resumed run after a signal."""
        summaries = self._evaluate(received)
        if summaries is None:
            return
        selection = sum(summary.selection for summary in summaries.values()) / max(1, len(summaries))
        report = {
            name: {"auc": summary.auc, "dice": summary.dice, "threshold": summary.threshold}
            for name, summary in summaries.items()
        }
        run_folder.append_line(
            self.run / run_folder.METRICS_FILE,
            {"step": done, "validation": report, "selection": selection},
        )
        self.validated = done
        self._look_for_contradiction(done)
        if selection > self.best["selection"] or not self.validation:
            self.best = {"step": done, "selection": selection}
            self.summaries = summaries
            self._save_model(summaries, done)

    def _look_for_contradiction(self, done: int) -> None:
        """Say so where the reports contradict what the network makes of them."""
        separation = contradiction(self.run)
        if separation is not None:
            run_folder.log_event(self.run, "reports_contradicted", step=done, separation=separation)

    def _save_model(self, summaries: Mapping[str, ClassSummary], step: int) -> None:
        metadata = {
            "rsuper_version": rsuper.__version__,
            "network": self.config.network.model_dump(mode="json"),
            "structures": list(self.channels.structures),
            "lesion_classes": list(self.channels.lesion_classes),
            "intensity": self.intensity.model_dump(),
            "prepared": self.prepared.model_dump(mode="json"),
            "patch_size": list(self.config.sampling.patch_size),
            "thresholds": {name: summary.threshold for name, summary in summaries.items()},
            "case_thresholds": {
                name: summary.case_threshold
                for name, summary in summaries.items()
                if summary.case_threshold is not None
            },
            "step": step,
        }
        save_weights(self.run / run_folder.MODEL_FILE, own_tensors(self.average), metadata=metadata)

    def _finish(self, total: int, received: Sequence[int]) -> dict[str, ClassSummary]:
        if self.validated < total:
            self._validate(total, received)
            self._checkpoint(total)
        if not self.summaries and not received:
            tensors, _ = load_weights(self.run / run_folder.MODEL_FILE)
            load_into(self.average, tensors, source=run_folder.MODEL_FILE)
            self.summaries = self._evaluate(received) or {}
        if received:
            self._stop(received, total)
        run_folder.log_event(self.run, "finished", step=total, best_step=int(self.best["step"]))
        return self.summaries
