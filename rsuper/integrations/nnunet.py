"""An nnU-Net v2 trainer that learns from reports as well: softmax or region-based heads, deep supervision.

nnU-Net finds trainers by their class name. Put a file with this line into a folder of its own, name the folder in the
environment variable ``nnUNet_extTrainer``, and train with ``-tr ReportSupervisedTrainer``::

    from rsuper.integrations.nnunet import ReportSupervisedTrainer
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from llm_extract.anatomy import Anatomy
from rsuper.errors import UsageError
from rsuper.integrations.nnunet_batches import ReportDataLoader, with_targets
from rsuper.integrations.nnunet_cases import MISSING, ReportCases
from rsuper.integrations.nnunet_channels import NnunetChannels
from rsuper.integrations.softmax_heads import softmax_classes
from rsuper.integrations.target_batch import supervision_batch
from rsuper.losses import ReportSupervisionConfig, ReportSupervisionLoss, softmax_log_odds
from rsuper.supervision.types import SupervisionBatch

try:
    from batchgenerators.dataloading.nondet_multi_threaded_augmenter import NonDetMultiThreadedAugmenter
    from batchgenerators.dataloading.single_threaded_augmenter import SingleThreadedAugmenter
    from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
    from nnunetv2.utilities.default_n_proc_DA import get_allowed_n_proc_DA
except ImportError as error:
    raise ImportError(MISSING) from error


@dataclass(frozen=True, kw_only=True)
class _Reports:
    """The report samples of the batch in training.

    Args:
        rows: samples with a drawn segmentation.
        report_rows: samples with a report.
        supervision: of the report samples.
        scale: factor on the report terms, 0 to 1.
    """

    rows: list[int]
    report_rows: list[int]
    supervision: SupervisionBatch
    scale: float


class DrawnAndReportedLoss(nn.Module):
    """nnU-Net's own loss on drawn samples, report supervision on report samples, each by its share of the batch.

    Args:
        drawn: nnU-Net's loss.
        config: weights of the report terms.
        channels: what the heads are.
        heads: how many heads, from the finest, learn from report samples.
        anatomy: the table of organs that the report cases were made with; the built-in one by default.
    """

    def __init__(
        self,
        drawn: nn.Module,
        config: ReportSupervisionConfig,
        *,
        channels: NnunetChannels,
        heads: int,
        anatomy: Anatomy | None = None,
    ) -> None:
        super().__init__()
        self.drawn = drawn
        self.reported = ReportSupervisionLoss(config)
        self.channels = channels
        self.heads = heads
        self._classes = softmax_classes(channels.names, anatomy=anatomy)
        self.terms: dict[str, list[Tensor]] = defaultdict(list)
        self._reports: _Reports | None = None

    @contextmanager
    def reports(self, reports: _Reports | None) -> Iterator[None]:
        """What the report samples of the next training step say; validation is as ever."""
        self._reports = reports
        try:
            yield
        finally:
            self._reports = None

    def forward(self, output: Any, target: Any) -> Tensor:
        """The loss of one batch; ``output`` and ``target`` as nnU-Net passes them."""
        now = self._reports
        if now is None:
            plain: Tensor = self.drawn(output, target)
            return plain
        deep = isinstance(output, list | tuple)
        heads: list[Tensor] = list(output) if deep else [output]
        share = len(now.report_rows) / heads[0].shape[0]
        logits = [self._logits(head[now.report_rows]) for head in heads[: self.heads]]
        result = self.reported(logits, now.supervision, report_scale=now.scale / share)
        total: Tensor = share * result.total
        for name, value in (result.terms | result.diagnostics).items():
            self.terms[name].append(value.detach())
        if now.rows:
            rows = now.rows
            labels = [scale[rows] for scale in target] if deep else target[rows]
            total = total + (1 - share) * self.drawn(
                [head[rows] for head in heads] if deep else output[rows], labels
            )
        return total

    def _logits(self, head: Tensor) -> Tensor:
        return head if self.channels.regions else softmax_log_odds(head, self._classes)


class ReportSupervisedTrainer(nnUNetTrainer):  # type: ignore[misc] # nnunetv2 is untyped
    """nnU-Net's trainer with report supervision; settings are class attributes of a subclass.

    Goes with other trainers: ``class Mine(ReportSupervisedTrainer, nnUNetTrainerNoMirroring)``.

    Attributes:
        report_fraction: share of each batch that report cases fill.
        report_positive_fraction: chance that a report sample takes a case whose report states a lesion.
        report_config: weights of the report terms.
        report_heads: how many heads of deep supervision, from the finest, learn from report samples.
        report_warmup: share of the epochs before the report terms begin; report cases teach their organs meanwhile.
        report_ramp: share of the epochs over which they grow to their weight.
        report_structures: label of dataset.json -> structure or lesion class, as for ``prepare_report_cases``.
        report_anatomy: organs of your own, as for ``prepare_report_cases``; the built-in table by default.
    """

    report_fraction: float = 0.5
    report_positive_fraction: float = 0.67
    report_config: ReportSupervisionConfig = ReportSupervisionConfig(attenuation=0.0)
    report_heads: int = 1
    report_warmup: float = 0.2
    report_ramp: float = 0.05
    report_structures: dict[str, str] | None = None
    report_anatomy: Anatomy | None = None

    def initialize(self) -> None:
        """Open the report cases, then initialise as ever."""
        if len(self.configuration_manager.patch_size) != 3:
            raise UsageError(
                f"{self.configuration_name} is not 3D", code="not_3d", hint="train 3d_fullres or 3d_lowres"
            )
        self.channels = NnunetChannels.of(self.label_manager, self.report_structures)
        self.report_cases = ReportCases.open(
            Path(self.preprocessed_dataset_folder_base), self.configuration_manager.data_identifier
        )
        if self.report_cases.channels != self.channels.names:
            raise UsageError(
                f"the report cases were made for the labels {self.report_cases.channels}, dataset.json has "
                f"{self.channels.names}",
                code="labels_differ",
                hint="run prepare_report_cases again, with the structures that the trainer has",
            )
        super().initialize()
        if self.is_ddp and int(self.report_fraction * self.batch_size) >= self.batch_size:
            raise UsageError(
                "every GPU needs a drawn sample in each batch",
                code="batch_too_small",
                hint="a larger batch, fewer GPUs or a smaller report_fraction",
            )

    def _build_loss(self) -> nn.Module:
        return DrawnAndReportedLoss(
            super()._build_loss(),
            self.report_config,
            channels=self.channels,
            heads=self.report_heads,
            anatomy=self.report_anatomy,
        )

    def do_split(self) -> tuple[list[str], list[str]]:
        """nnU-Net's split; report cases have no lesion labels to validate on and leave the validation."""
        training, validation = super().do_split()
        drawn = [case_id for case_id in validation if case_id not in self.report_cases.states]
        if not drawn:
            raise UsageError(
                f"all {len(validation)} validation cases are report cases",
                code="no_validation_cases",
                hint="write splits_final.json with drawn cases in val",
            )
        return list(training), drawn

    def get_training_transforms(self, *args: Any, **options: Any) -> Any:
        """The training transforms of the trainer, target maps included."""
        return with_targets(super().get_training_transforms(*args, **options))

    def get_dataloaders(self) -> tuple[Any, Any]:
        """nnU-Net's data loaders; the one for training draws report cases as well."""
        rotation, dummy_2d, initial_patch, mirror_axes = (
            self.configure_rotation_dummyDA_mirroring_and_inital_patch_size()
        )
        patch, scales = self.configuration_manager.patch_size, self._get_deep_supervision_scales()
        shared = {
            "is_cascaded": self.is_cascaded,
            "foreground_labels": self.label_manager.foreground_labels,
            "regions": self.label_manager.foreground_regions if self.label_manager.has_regions else None,
            "ignore_label": self.label_manager.ignore_label,
        }
        training_transforms = self.get_training_transforms(
            patch,
            rotation,
            scales,
            mirror_axes,
            dummy_2d,
            use_mask_for_norm=self.configuration_manager.use_mask_for_norm,
            **shared,
        )
        training, validation = self.get_tr_and_val_datasets()
        options = {
            "oversample_foreground_percent": self.oversample_foreground_percent,
            "probabilistic_oversampling": self.probabilistic_oversampling,
        }
        train_loader = ReportDataLoader(
            training,
            self.batch_size,
            initial_patch,
            patch,
            self.label_manager,
            transforms=training_transforms,
            report_cases=self.report_cases,
            report_fraction=self.report_fraction,
            positive_fraction=self.report_positive_fraction,
            spacing_mm=self.configuration_manager.spacing,
            **options,
        )
        validation_loader = nnUNetDataLoader(
            validation,
            self.batch_size,
            patch,
            patch,
            self.label_manager,
            transforms=self.get_validation_transforms(scales, **shared),
            **options,
        )
        workers = get_allowed_n_proc_DA()
        augmenters = (
            self._augmenter(train_loader, workers, cached=max(6, workers // 2)),
            self._augmenter(validation_loader, workers and max(1, workers // 2), cached=max(3, workers // 4)),
        )
        for augmenter in augmenters:
            next(augmenter)
        return augmenters

    def _augmenter(self, loader: Any, workers: int, *, cached: int) -> Any:
        if workers == 0:
            return SingleThreadedAugmenter(loader, None)
        return NonDetMultiThreadedAugmenter(
            data_loader=loader,
            transform=None,
            num_processes=workers,
            num_cached=cached,
            seeds=None,
            pin_memory=self.device.type == "cuda",
            wait_time=0.002,
        )

    def report_scale(self) -> float:
        """Factor on the report terms in the present epoch."""
        epoch, epochs = int(self.current_epoch), int(self.num_epochs)
        begin, ramp = self.report_warmup * epochs, self.report_ramp * epochs
        return float(epoch >= begin) if ramp == 0 else min(1.0, max(0.0, (epoch + 1 - begin) / ramp))

    def train_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        """nnU-Net's step, with what the report samples of the batch say."""
        with self.loss.reports(self._reports(batch)):
            result: dict[str, Any] = super().train_step(batch)
        return result

    def _reports(self, batch: dict[str, Any]) -> _Reports | None:
        keys: Sequence[str] = batch["keys"]
        report_rows = [row for row, key in enumerate(keys) if key in self.report_cases.states]
        if not report_rows:
            return None
        return _Reports(
            rows=[row for row in range(len(keys)) if row not in report_rows],
            report_rows=report_rows,
            supervision=supervision_batch(
                batch["codes"][report_rows].to(self.device, non_blocking=True),
                [self.report_cases.key(keys[row]) for row in report_rows],
                spacing_mm=batch["spacing_mm"][report_rows],
            ),
            scale=self.report_scale(),
        )

    def on_train_epoch_end(self, train_outputs: list[dict[str, Any]]) -> None:
        """Log the mean of every term beside nnU-Net's own losses."""
        super().on_train_epoch_end(train_outputs)
        means = {name: float(torch.stack(values).mean()) for name, values in self.loss.terms.items()}
        self.loss.terms.clear()
        if means:
            text = ", ".join(f"{name} {value:.4f}" for name, value in sorted(means.items()))
            self.print_to_log_file(f"report samples (weight {self.report_scale():.2f}): {text}")
