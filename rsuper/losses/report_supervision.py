"""The whole loss of a batch: voxel labels where they exist, reports where they do not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from rsuper.losses.boxes import Place, RegionBox, zero_of
from rsuper.losses.checks import as_tensor, check_batch, require_setting
from rsuper.losses.report_config import ReportSupervisionConfig
from rsuper.losses.report_terms import ReportTerms
from rsuper.losses.search_order import room_voxels
from rsuper.losses.segmentation import segmentation_and_boxes, voxel_volumes
from rsuper.morphology import Box, Spacing, box_profiles, boxes_of_profiles, read_once, spacing_rows, untraced
from rsuper.supervision.types import PairTarget, SupervisionBatch


@dataclass(frozen=True)
class LossTerms:
    """The loss of a batch.

    Args:
        total: scalar to call ``backward`` on.
        terms: every term before its weight, detached; only those that were computed.
        diagnostics: detached figures to log: ``pairs``, ``ball_skipped`` (pairs without a located lesion), and those of
            :mod:`rsuper.losses.diagnostics`: haze, volume bias and, where ``batch.reference`` holds masks, whether
            the balls lie in them.
    """

    total: Float[Tensor, ""]
    terms: dict[str, Tensor]
    diagnostics: dict[str, Tensor] = field(default_factory=dict)


class ReportSupervisionLoss(nn.Module):
    """Segmentation loss plus report losses of one batch.

    Args:
        config: weights and settings; None is the defaults, which are those of the study.

    Example:
        >>> loss = ReportSupervisionLoss(ReportSupervisionConfig())
        >>> zeros = torch.zeros(1, 1, 4, 4, 4)
        >>> batch = SupervisionBatch(labels=zeros, known=zeros == 0, spacing_mm=torch.ones(1, 3))
        >>> round(loss(zeros, batch).total.item(), 4)
        0.6931
    """

    def __init__(self, config: ReportSupervisionConfig | None = None) -> None:
        super().__init__()
        if config is not None and not isinstance(config, ReportSupervisionConfig):
            raise TypeError(
                f"config is a ReportSupervisionConfig, got {type(config).__name__}: "
                "ReportSupervisionConfig(volume=0.2, …)"
            )
        self.config = config or ReportSupervisionConfig()

    @untraced
    def forward(
        self, outputs: Tensor | Sequence[Tensor], batch: SupervisionBatch, *, report_scale: float = 1.0
    ) -> LossTerms:
        """Loss of one batch; ``torch.compile`` runs it as it is.

        Args:
            outputs: logits [B,C,D,H,W], or a list of heads with the final one first; smaller heads are resampled.
                [B,heads,C,D,H,W] is taken as such a list.
            batch: labels, what is known of them, and the report targets.
            report_scale: factor on the report terms; 0 during a masks-only warm-up, 1 at the end of the ramp.
        """
        config = self.config
        check_batch(batch)
        require_setting("report_scale", report_scale)
        _check_partners(config, batch.labels.shape[1])
        heads = _heads(outputs, tuple(batch.labels.shape))
        shares = self._head_weights(len(heads))
        scale = config.report_weight * report_scale
        pairs = [pair for pair in batch.pairs if pair.weight > 0] if scale > 0 else []
        facts = _read(batch, pairs, config if scale > 0 else None)
        voxel_mm3 = voxel_volumes(facts.spacing_mm, heads[0])
        terms: dict[str, Tensor] = {}
        total = torch.zeros((), device=voxel_mm3.device)
        cut: dict[int, tuple[Tensor, ...]] = {}
        for index, (head, share) in enumerate(zip(heads, shares, strict=True)):
            parts, cut[index] = segmentation_and_boxes(
                head,
                batch.labels,
                batch.known,
                self._places(index, len(heads), facts, pairs),
                voxel_mm3=voxel_mm3,
                smooth_mm3=config.smooth_mm3,
            )
            total = total + share * (
                config.segmentation_bce * parts.bce + config.segmentation_dice * parts.dice
            )
            for name, value in (("segmentation_bce", parts.bce), ("segmentation_dice", parts.dice)):
                terms[name] = terms.get(name, torch.zeros_like(value)) + share * value.detach()
        diagnostics = {"pairs": torch.tensor(float(len(pairs)))}
        if facts.boxes or facts.drawn:
            reports = self._reports(cut, shares, facts, batch, pairs, diagnostics)
            for name, (weight, value) in reports.items():
                total = total + scale * (weight * value)
                terms[name] = value.detach()
        return LossTerms(total=total, terms=terms, diagnostics=diagnostics)

    def _volume_index(self, heads: int) -> int:
        return heads - 1 if self.config.volume_head == "auxiliary" else 0

    def _head_weights(self, count: int) -> tuple[float, ...]:
        stated = self.config.head_weights
        if stated is None or count == 1:
            return (1.0 / count,) * count
        if len(stated) != count:
            raise ValueError(
                f"head_weights has {len(stated)} numbers for {count} heads; None weighs all heads alike"
            )
        return stated

    def _places(self, head: int, heads: int, facts: _Facts, pairs: Sequence[PairTarget]) -> list[Place]:
        """What the report terms read of a head: the regions, and of the final head the malignancy outputs there."""
        places: list[Place] = []
        if head in {0, self._volume_index(heads)}:
            places += [(pairs[i].sample, pairs[i].channel, *box) for i, box in facts.boxes]
        if head == 0:
            places += [(pairs[i].sample, channel, *box) for i, channel, box in facts.judged]
            places += [(sample, channel, *box) for sample, _, channel, box, _ in facts.drawn]
        return places

    def _reports(
        self,
        cut: Mapping[int, Sequence[Tensor]],
        shares: Sequence[float],
        facts: _Facts,
        batch: SupervisionBatch,
        pairs: Sequence[PairTarget],
        diagnostics: dict[str, Tensor],
    ) -> dict[str, tuple[float, Tensor]]:
        """Every report term with its weight."""
        config, count, judged = self.config, len(facts.boxes), len(facts.judged)
        last = self._volume_index(len(shares))
        scene = ReportTerms(
            config=config,
            batch=batch,
            pairs=pairs,
            spacing_mm=[facts.spacing_mm[pair.sample] for pair in pairs],
            rooms=facts.rooms,
            boxes=_region_boxes(pairs, facts.boxes, cut[0][:count]),
            volume_boxes=_region_boxes(pairs, facts.boxes, cut[last][:count]),
            malignancy_logits={
                index: values
                for (index, _, _), values in zip(facts.judged, cut[0][count : count + judged], strict=True)
            },
            drawn=_drawn(batch, facts, cut[0][count + judged :]),
            zero=zero_of(cut[0][0]),
        )
        reports: dict[str, tuple[float, Tensor]] = {}
        if config.ball_bce > 0 or config.ball_dice > 0 or config.attenuation > 0:
            ball = scene.ball()
            diagnostics["ball_skipped"] = ball.skipped
            reports["ball_bce"] = (shares[0] * config.ball_bce, ball.bce)
            reports["ball_dice"] = (shares[0] * config.ball_dice, ball.dice)
        if config.attenuation > 0 and batch.image_hu is not None and batch.organ is not None:
            reports["attenuation"] = (shares[0] * config.attenuation, scene.attenuation())
        if config.malignancy > 0 and config.malignancy_channels:
            reports["malignancy"] = (shares[0] * config.malignancy, scene.malignancy())
        if config.volume > 0:
            reports["volume"] = (shares[last] * config.volume, scene.volume())
        if config.presence > 0:
            reports["presence"] = (shares[0] * config.presence, scene.yes_no(present=True))
        if config.absence > 0:
            reports["absence"] = (shares[0] * config.absence, scene.yes_no(present=False))
        diagnostics |= scene.figures()
        return reports


@dataclass(frozen=True, kw_only=True)
class _Facts:
    """What the host knows of a batch.

    Args:
        spacing_mm: one row a sample.
        boxes: (index of a pair, box of its region).
        rooms: one row a pair.
        judged: (index of a pair, malignancy channel, box).
        drawn: (sample, lesion channel, malignancy channel, box of the drawn lesions, malignant).
    """

    spacing_mm: tuple[Spacing, ...]
    boxes: list[tuple[int, Box]]
    rooms: list[list[float]]
    judged: list[tuple[int, int, Box]]
    drawn: list[tuple[int, int, int, Box, bool]]


def _read(
    batch: SupervisionBatch, pairs: Sequence[PairTarget], config: ReportSupervisionConfig | None
) -> _Facts:
    """Everything the host must know, with the one device synchronisation of the call."""
    partner = dict(config.malignancy_channels) if config is not None and config.malignancy > 0 else {}
    drawn = [(key, answer) for key, answer in batch.malignant.items() if key[1] in partner]
    masks = [pair.region for pair in pairs] + [_labelled(batch, *key) for key, _ in drawn]
    profiles = box_profiles(torch.stack(masks)) if masks else torch.zeros(0, 0)
    rows, spacing, *rooms = read_once(
        profiles, as_tensor(batch.spacing_mm), *(room_voxels(pair.region, pair.lesions) for pair in pairs)
    )
    found = boxes_of_profiles(rows, (len(masks), *batch.labels.shape[2:]))
    boxes = [(index, box) for index, box in enumerate(found[: len(pairs)]) if box is not None]
    return _Facts(
        spacing_mm=spacing_rows(spacing, len(batch.labels)),
        boxes=boxes,
        rooms=[row.tolist() for row in rooms],
        judged=[
            (index, partner[pairs[index].channel], box)
            for index, box in boxes
            if pairs[index].channel in partner
            and any(lesion.malignant is not None for lesion in pairs[index].lesions)
        ],
        drawn=[
            (sample, channel, partner[channel], box, answer)
            for ((sample, channel), answer), box in zip(drawn, found[len(pairs) :], strict=True)
            if box is not None
        ],
    )


def _check_partners(config: ReportSupervisionConfig, channels: int) -> None:
    """The channels of the malignancy loss exist."""
    for pair in config.malignancy_channels:
        if not all(0 <= channel < channels for channel in pair):
            raise ValueError(f"malignancy_channels names {pair}, the outputs have {channels} channels")


def _labelled(batch: SupervisionBatch, sample: int, channel: int) -> Tensor:
    """The known lesion voxels of a class."""
    return (batch.labels[sample, channel] > 0) & batch.known[sample, channel]


def _drawn(
    batch: SupervisionBatch, facts: _Facts, values: Sequence[Tensor]
) -> list[tuple[Tensor, Tensor, bool]]:
    return [
        (logits, _labelled(batch, sample, channel)[box], answer)
        for (sample, channel, _, box, answer), logits in zip(facts.drawn, values, strict=True)
    ]


def _heads(outputs: Tensor | Sequence[Tensor], shape: tuple[int, ...]) -> list[Tensor]:
    """The heads at full resolution, the final one first."""
    if isinstance(outputs, Tensor):
        outputs = list(outputs.unbind(dim=1)) if outputs.ndim == 6 else [outputs]
    if (
        not isinstance(outputs, Sequence)
        or not outputs
        or not all(isinstance(head, Tensor) for head in outputs)
    ):
        raise ValueError(
            f"outputs are logits [B,C,D,H,W] or a list of such heads, the final one first; got {type(outputs).__name__}"
        )
    heads = []
    for head in outputs:
        if head.ndim != 5 or tuple(head.shape[:2]) != shape[:2]:
            raise ValueError(f"a head is [B,C,D,H,W] with [B,C] = {shape[:2]}, got {tuple(head.shape)}")
        if tuple(head.shape[2:]) != shape[2:]:
            head = functional.interpolate(head, size=shape[2:], mode="trilinear", align_corners=False)  # noqa: PLW2901
        heads.append(head)
    if any(head.shape[2:].numel() > outputs[0].shape[2:].numel() for head in outputs[1:]):
        raise ValueError("a head is finer than the first one: the final head comes first")
    return heads


def _region_boxes(
    pairs: Sequence[PairTarget], places: Sequence[tuple[int, Box]], values: Sequence[Tensor]
) -> tuple[RegionBox, ...]:
    return tuple(
        RegionBox(
            pair=index,
            box=box,
            region=pairs[index].region[box].to(logits.device, non_blocking=True),
            logits=logits,
        )
        for (index, box), logits in zip(places, values, strict=True)
    )
