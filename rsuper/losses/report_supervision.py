"""The whole loss of a batch: voxel labels where they exist, reports where they do not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional

from rsuper.losses.attenuation import USABLE, attenuation_error
from rsuper.losses.ball import boxed_ball_loss
from rsuper.losses.ball_rules import BallRules
from rsuper.losses.boxes import RegionBox, mask_as, zero_of
from rsuper.losses.localisation import Placement, place_lesions
from rsuper.losses.presence import boxed_presence_loss
from rsuper.losses.segmentation import segmentation_and_boxes, voxel_volumes
from rsuper.losses.volume import VolumeForm, median_pull, predicted_volumes, volume_errors, weighted_mean
from rsuper.morphology import Box, Spacing, bounding_boxes, spacing_rows, voxel_volume_mm3
from rsuper.supervision.types import PairTarget, SupervisionBatch

HAZE_PROBABILITY = 0.1


class ReportSupervisionConfig(BaseModel):
    """Weights and settings of the loss; L = Σ_heads a·[segmentation + λ·reports].

    Args:
        segmentation_bce: weight of the cross-entropy on known voxels.
        segmentation_dice: weight of the Dice on known voxels.
        report_weight: λ, on all report terms together.
        ball_bce: weight of the ball cross-entropy.
        ball_dice: weight of the Dice on the pseudo-mask.
        volume: weight of the volume loss.
        presence: weight of the yes/no loss where the report states a lesion (the arm to compare against).
        absence: weight of the same loss where the report calls the organ free: the highest ``top_mm3`` must be dark.
            The voxels are known negatives anyway, but there a single false alarm drowns in the mean.
        attenuation: weight of the attenuation loss, where the batch brings the image in HU.
        smooth_mm3: smoothing of both Dice losses.
        background_weight: mean background against mean foreground of the ball cross-entropy.
        rank_concentration: c of the foreground's rank weights.
        ball: how a size becomes voxels.
        volume_form: see :func:`rsuper.losses.volume_loss`.
        point_tolerance: tolerance of volumes that are points; intervals hold their own.
        softening_mm3: E of the volume loss.
        median_weight: pull towards the calibrated median inside the interval; 0 leaves it out.
        sharpen: factor on the logits before volumes are summed.
        top_mm3: how much of the region must light up for the yes/no loss.
        margin_hu: margin of the attenuation loss.
        head_weights: a, one a head; None weighs all heads alike.
        partial_crops: a crop that holds only part of a region: ``skip`` its ball loss, or keep it for the lesions that
            are not remainders there (``determined``).
        volume_head: head that takes the volume loss; ``auxiliary`` is the last one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    segmentation_bce: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    segmentation_dice: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    report_weight: float = Field(default=0.1, ge=0, allow_inf_nan=False)
    ball_bce: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    ball_dice: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    volume: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    presence: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    absence: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    attenuation: float = Field(default=0.01, ge=0, allow_inf_nan=False)
    smooth_mm3: float = Field(default=1.0, ge=0)
    background_weight: float = Field(default=1.0, ge=0)
    rank_concentration: float = Field(default=0.5, ge=0, lt=1)
    ball: BallRules = BallRules()
    volume_form: VolumeForm = "interval"
    point_tolerance: float = Field(default=0.1, ge=0, lt=1)
    softening_mm3: float = Field(default=500.0, gt=0)
    median_weight: float = Field(default=0.0, ge=0)
    sharpen: float = Field(default=1.0, gt=0)
    top_mm3: float = Field(default=100.0, gt=0)
    margin_hu: float = Field(default=10.0, ge=0)
    head_weights: tuple[float, ...] | None = None
    partial_crops: Literal["skip", "determined"] = "skip"
    volume_head: Literal["final", "auxiliary"] = "final"


@dataclass(frozen=True)
class LossTerms:
    """The loss of a batch.

    Args:
        total: scalar to call ``backward`` on.
        terms: every term before its weight, detached; only those that were computed.
        diagnostics: detached figures to log: ``pairs``, ``ball_skipped``, ``haze_share`` (share of the predicted
            volume that comes from p < 0.1).
    """

    total: Float[Tensor, ""]
    terms: dict[str, Tensor]
    diagnostics: dict[str, Tensor] = field(default_factory=dict)


class ReportSupervisionLoss(nn.Module):
    """Segmentation loss plus report losses of one batch.

    Args:
        config: weights and settings; None is the published ones.

    Example:
        >>> loss = ReportSupervisionLoss(ReportSupervisionConfig())
        >>> zeros = torch.zeros(1, 1, 4, 4, 4)
        >>> batch = SupervisionBatch(labels=zeros, known=zeros == 0, spacing_mm=torch.ones(1, 3))
        >>> round(loss(zeros, batch).total.item(), 4)
        0.6931
    """

    def __init__(self, config: ReportSupervisionConfig | None = None) -> None:
        super().__init__()
        self.config = config or ReportSupervisionConfig()

    def forward(
        self, outputs: Tensor | Sequence[Tensor], batch: SupervisionBatch, *, report_scale: float = 1.0
    ) -> LossTerms:
        """Loss of one batch.

        Args:
            outputs: logits [B,C,D,H,W], or a list of heads with the final one first; smaller heads are resampled.
                [B,heads,C,D,H,W] is taken as such a list.
            batch: labels, what is known of them, and the report targets.
            report_scale: factor on the report terms; 0 during a masks-only warm-up, 1 at the end of the ramp.
        """
        config = self.config
        heads = _heads(outputs, tuple(batch.labels.shape))
        shares = self._head_weights(len(heads))
        scale = config.report_weight * report_scale
        pairs = [pair for pair in batch.pairs if pair.weight > 0] if scale > 0 else []
        places = _place_pairs(pairs)
        readers = {0, self._volume_index(len(heads))} if places else set()
        voxel_mm3 = voxel_volumes(batch.spacing_mm, heads[0])
        terms: dict[str, Tensor] = {}
        total = torch.zeros((), device=voxel_mm3.device)
        cut: dict[int, tuple[RegionBox, ...]] = {}
        for index, (head, share) in enumerate(zip(heads, shares, strict=True)):
            indices = (
                [(pairs[i].sample, pairs[i].channel, *box) for i, box in places] if index in readers else []
            )
            parts, values = segmentation_and_boxes(
                head, batch.labels, batch.known, indices, voxel_mm3=voxel_mm3, smooth_mm3=config.smooth_mm3
            )
            cut[index] = _region_boxes(pairs, places, values)
            total = total + share * (
                config.segmentation_bce * parts.bce + config.segmentation_dice * parts.dice
            )
            for name, value in (("segmentation_bce", parts.bce), ("segmentation_dice", parts.dice)):
                terms[name] = terms.get(name, torch.zeros_like(value)) + share * value.detach()
        diagnostics = {"pairs": torch.tensor(float(len(pairs)))}
        if places:
            reports = self._reports(cut, shares, batch, pairs, diagnostics)
            for name, (weighted, value) in reports.items():
                total = total + scale * weighted
                terms[name] = value.detach()
        return LossTerms(total=total, terms=terms, diagnostics=diagnostics)

    def _volume_index(self, heads: int) -> int:
        return heads - 1 if self.config.volume_head == "auxiliary" else 0

    def _head_weights(self, count: int) -> tuple[float, ...]:
        stated = self.config.head_weights
        if stated is None or count == 1:
            return (1.0 / count,) * count
        if len(stated) != count:
            raise ValueError(f"head_weights has {len(stated)} numbers for {count} heads")
        return stated

    def _reports(
        self,
        cut: Mapping[int, Sequence[RegionBox]],
        shares: Sequence[float],
        batch: SupervisionBatch,
        pairs: Sequence[PairTarget],
        diagnostics: dict[str, Tensor],
    ) -> dict[str, tuple[Tensor, Tensor]]:
        """Every report term as (weighted for the total, plain)."""
        config = self.config
        rows = spacing_rows(batch.spacing_mm, len(batch.labels))
        spacing = [rows[pair.sample] for pair in pairs]
        final = cut[0]
        zero = zero_of(final[0].logits)
        reports: dict[str, tuple[Tensor, Tensor]] = {}
        if config.ball_bce > 0 or config.ball_dice > 0 or config.attenuation > 0:
            boxes = [item for item in final if self._takes_ball(pairs[item.pair])]
            placements = [
                place_lesions(
                    item.logits,
                    item.region,
                    pairs[item.pair].lesions,
                    box=item.box,
                    spacing_mm=spacing[item.pair],
                    rules=config.ball,
                )
                for item in boxes
            ]
            ball = boxed_ball_loss(
                boxes,
                placements,
                zero=zero,
                voxel_mm3=[voxel_volume_mm3(row) for row in spacing],
                weight=[pair.weight for pair in pairs],
                background_weight=config.background_weight,
                rank_concentration=config.rank_concentration,
                smooth_mm3=config.smooth_mm3,
            )
            diagnostics["ball_skipped"] = torch.tensor(float(ball.skipped))
            reports["ball_bce"] = (shares[0] * config.ball_bce * ball.bce, ball.bce)
            reports["ball_dice"] = (shares[0] * config.ball_dice * ball.dice, ball.dice)
            if config.attenuation > 0 and batch.image_hu is not None and batch.organ is not None:
                error = self._attenuation(boxes, placements, batch, pairs, zero)
                reports["attenuation"] = (shares[0] * config.attenuation * error, error)
        if config.volume > 0:
            index = self._volume_index(len(shares))
            error = self._volume(
                [item for item in cut[index] if pairs[item.pair].present], pairs, spacing, zero
            )
            diagnostics["haze_share"] = _haze_share([item for item in cut[index] if pairs[item.pair].present])
            reports["volume"] = (shares[index] * config.volume * error, error)
        for name, weighted in (("presence", config.presence), ("absence", config.absence)):
            if weighted > 0:
                boxes = [item for item in final if pairs[item.pair].present == (name == "presence")]
                error = self._yes_no(boxes, pairs, spacing, zero)
                reports[name] = (shares[0] * weighted * error, error)
        return reports

    def _yes_no(
        self,
        boxes: Sequence[RegionBox],
        pairs: Sequence[PairTarget],
        spacing: Sequence[Spacing],
        zero: Tensor,
    ) -> Tensor:
        return boxed_presence_loss(
            boxes,
            zero=zero,
            spacing_mm=spacing,
            top_mm3=self.config.top_mm3,
            present=torch.tensor([float(pair.present) for pair in pairs], device=zero.device),
            weight=torch.tensor([pair.weight for pair in pairs], device=zero.device),
        )

    def _takes_ball(self, pair: PairTarget) -> bool:
        return pair.present and (pair.complete or self.config.partial_crops == "determined")

    def _volume(
        self,
        boxes: Sequence[RegionBox],
        pairs: Sequence[PairTarget],
        spacing: Sequence[Spacing],
        zero: Tensor,
    ) -> Tensor:
        config = self.config
        if not boxes:
            return zero
        predicted = predicted_volumes(boxes, spacing_mm=spacing, sharpen=config.sharpen)
        chosen = [pairs[item.pair] for item in boxes]
        low = predicted.new_tensor([pair.volume_mm3[0] if pair.complete else 0.0 for pair in chosen])
        high = predicted.new_tensor([pair.volume_mm3[1] for pair in chosen])
        errors = volume_errors(
            predicted,
            low,
            high,
            tolerance=torch.where(
                (low == high) | (config.volume_form == "published"), config.point_tolerance, 0.0
            ),
            softening_mm3=config.softening_mm3,
            form=config.volume_form,
        )
        if config.median_weight > 0:
            stated = [(p.median_mm3 or 0.0, p.sigma_log or 0.0) if p.complete else (0.0, 0.0) for p in chosen]
            median, sigma = predicted.new_tensor(stated).unbind(dim=1)
            errors = errors + config.median_weight * median_pull(
                predicted, low, high, median_mm3=median, sigma_log=sigma
            )
        return weighted_mean(errors, predicted.new_tensor([pair.weight for pair in chosen]))

    def _attenuation(
        self,
        boxes: Sequence[RegionBox],
        placements: Sequence[Placement],
        batch: SupervisionBatch,
        pairs: Sequence[PairTarget],
        zero: Tensor,
    ) -> Tensor:
        errors, weights = [], []
        for item, placement in zip(boxes, placements, strict=True):
            pair = pairs[item.pair]
            if batch.image_hu is None or batch.organ is None:
                break
            hu = batch.image_hu[(pair.sample, 0, *item.box)].to(item.logits.dtype)
            organ = (
                batch.organ[(pair.sample, pair.channel, *item.box)]
                & ~placement.foreground
                & ~placement.ignore
            )
            for lesion in placement.placed:
                stated = pair.lesions[lesion.lesion].attenuation
                around = organ.clone()
                around[lesion.window] &= ~lesion.ball
                if stated not in USABLE or not bool(around.any()):
                    continue
                error = attenuation_error(
                    item.logits[lesion.window][lesion.ball],
                    hu[lesion.window][lesion.ball],
                    hu[around].mean(),
                    stated,
                    margin_hu=self.config.margin_hu,
                )
                errors.append(error / 100.0)
                weights.append(lesion.weight * lesion.share * pair.weight)
        if not errors:
            return zero
        return weighted_mean(torch.stack(errors), zero.new_tensor(weights))


def _heads(outputs: Tensor | Sequence[Tensor], shape: tuple[int, ...]) -> list[Tensor]:
    """The heads at full resolution, the final one first."""
    if isinstance(outputs, Tensor):
        outputs = list(outputs.unbind(dim=1)) if outputs.ndim == 6 else [outputs]
    if not outputs:
        raise ValueError("outputs holds no head")
    heads = []
    for head in outputs:
        if head.ndim != 5 or tuple(head.shape[:2]) != shape[:2]:
            raise ValueError(f"a head is [B,C,D,H,W] with [B,C] = {shape[:2]}, got {tuple(head.shape)}")
        if tuple(head.shape[2:]) != shape[2:]:
            head = functional.interpolate(head, size=shape[2:], mode="trilinear", align_corners=False)  # noqa: PLW2901
        heads.append(head)
    return heads


def _place_pairs(pairs: Sequence[PairTarget]) -> list[tuple[int, Box]]:
    """The box of each pair's region, with one device synchronisation for all of them."""
    if not pairs:
        return []
    boxes = bounding_boxes(torch.stack([pair.region for pair in pairs]))
    return [(index, box) for index, box in enumerate(boxes) if box is not None]


def _region_boxes(
    pairs: Sequence[PairTarget], places: Sequence[tuple[int, Box]], values: Sequence[Tensor]
) -> tuple[RegionBox, ...]:
    return tuple(
        RegionBox(pair=index, box=box, region=pairs[index].region[box].to(logits.device), logits=logits)
        for (index, box), logits in zip(places, values, strict=False)
    )


@torch.no_grad()
def _haze_share(boxes: Sequence[RegionBox]) -> Tensor:
    """Share of the predicted volume that comes from voxels which no threshold would keep."""
    haze, total = torch.zeros(()), torch.zeros(())
    for item in boxes:
        probability = torch.sigmoid(item.logits) * mask_as(item.region, item.logits.dtype)
        total = total.to(probability) + probability.sum()
        haze = (
            haze.to(probability)
            + (probability * mask_as(probability < HAZE_PROBABILITY, probability.dtype)).sum()
        )
    return haze / total.clamp(min=torch.finfo(total.dtype).tiny)
