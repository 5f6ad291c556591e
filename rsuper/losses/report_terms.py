"""The report terms of one batch, all from the same boxes and the same located lesions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from rsuper.losses.attenuation import USABLE, attenuation_error, mean_over
from rsuper.losses.ball import BallLoss, boxed_ball_loss
from rsuper.losses.boxes import RegionBox, mask_as
from rsuper.losses.diagnostics import brightness_figures, centre_figures, volume_figures
from rsuper.losses.localisation import PlacedLesion, Placement, place_in_boxes
from rsuper.losses.malignancy import malignancy_error
from rsuper.losses.presence import boxed_presence_loss
from rsuper.losses.report_config import ReportSupervisionConfig
from rsuper.losses.volume import StatedVolumes, boxed_volume_errors, weighted_mean
from rsuper.morphology import Spacing, upload, voxel_volume_mm3
from rsuper.supervision.types import LesionTarget, PairTarget, SupervisionBatch


@dataclass(frozen=True, kw_only=True)
class ReportTerms:
    """What the report terms of one batch read; each term is a scalar before its weight.

    Args:
        config: settings.
        batch: labels, image and organ.
        pairs: the active pairs.
        spacing_mm: one row a pair.
        rooms: one row a pair; see :func:`rsuper.losses.search_order.room_voxels`.
        boxes: the pairs on the final head.
        volume_boxes: the pairs on the head that takes the volume loss.
        malignancy_logits: index of a pair -> the malignancy output on its box.
        drawn: (malignancy logits, drawn lesion voxels, malignant) of voxel-labelled classes that pathology settles.
        zero: a scalar 0 with a graph.
    """

    config: ReportSupervisionConfig
    batch: SupervisionBatch
    pairs: Sequence[PairTarget]
    spacing_mm: Sequence[Spacing]
    rooms: Sequence[Sequence[float]]
    boxes: Sequence[RegionBox]
    volume_boxes: Sequence[RegionBox]
    malignancy_logits: dict[int, Tensor]
    drawn: Sequence[tuple[Tensor, Tensor, bool]]
    zero: Tensor

    @cached_property
    def voxel_mm3(self) -> list[float]:
        """One number a pair."""
        return [voxel_volume_mm3(row) for row in self.spacing_mm]

    @cached_property
    def placements(self) -> dict[int, Placement]:
        """Index of a pair -> its located lesions, of the pairs that take the ball."""
        partial = self.config.partial_crops == "determined"
        searched = [
            item
            for item in self.boxes
            if self.pairs[item.pair].present and (self.pairs[item.pair].complete or partial)
        ]
        placements = place_in_boxes(
            searched,
            [pair.lesions for pair in self.pairs],
            spacing_mm=self.spacing_mm,
            rooms=self.rooms,
            rules=self.config.ball,
        )
        return {item.pair: placement for item, placement in zip(searched, placements, strict=True)}

    @cached_property
    def _located(self) -> list[tuple[RegionBox, Placement, PlacedLesion, LesionTarget]]:
        """Every place of every lesion."""
        return [
            (item, self.placements[item.pair], lesion, self.pairs[item.pair].lesions[lesion.lesion])
            for item in self.boxes
            if item.pair in self.placements
            for lesion in self.placements[item.pair].placed
        ]

    def ball(self) -> BallLoss:
        """See :func:`rsuper.losses.ball_loss`."""
        return boxed_ball_loss(
            [item for item in self.boxes if item.pair in self.placements],
            list(self.placements.values()),
            zero=self.zero,
            voxel_mm3=self.voxel_mm3,
            weight=[pair.weight for pair in self.pairs],
            balance=self.config.balance,
        )

    def yes_no(self, *, present: bool) -> Tensor:
        """See :func:`rsuper.losses.presence_loss`; a crop that may not hold the lesion need not light up."""
        return boxed_presence_loss(
            [
                item
                for item in self.boxes
                if self.pairs[item.pair].present == present and self.pairs[item.pair].complete
            ],
            zero=self.zero,
            spacing_mm=self.spacing_mm,
            top_mm3=self.config.top_mm3,
            present=[float(pair.present) for pair in self.pairs],
            weight=[pair.weight for pair in self.pairs],
        )

    def volume(self) -> Tensor:
        """See :func:`rsuper.losses.volume_loss`."""
        config = self.config
        boxes = [item for item in self.volume_boxes if self.pairs[item.pair].present]
        if not boxes:
            return self.zero
        located = config.volume_where == "located"
        errors = boxed_volume_errors(
            boxes,
            self._stated_volumes([self.pairs[item.pair] for item in boxes]),
            voxel_mm3=self.voxel_mm3,
            softening_mm3=config.softening_mm3,
            form=config.volume_form,
            where=[self._where_located(item) for item in boxes] if located else None,
            rules=config.volume_rules,
        )
        if config.volume_gate == "located":
            errors = errors * torch.stack([self._confidence(item) for item in boxes])
        return weighted_mean(errors, upload([self.pairs[item.pair].weight for item in boxes], errors))

    def _stated_volumes(self, pairs: Sequence[PairTarget]) -> StatedVolumes:
        """What the reports say of the volume inside the crop: of a part of the region, only the upper end holds."""
        low = upload([pair.volume_mm3[0] if pair.complete else 0.0 for pair in pairs], self.zero)
        high = upload([pair.volume_mm3[1] for pair in pairs], self.zero)
        point = (low == high) | (self.config.volume_form == "published")
        known = [(p.median_mm3 or 0.0, p.sigma_log or 0.0) if p.complete else (0.0, 0.0) for p in pairs]
        median, sigma = upload(known, self.zero).unbind(dim=1)
        return StatedVolumes(
            low=low,
            high=high,
            tolerance=torch.where(point, self.config.point_tolerance, 0.0),
            median_mm3=median,
            sigma_log=sigma,
        )

    def attenuation(self) -> Tensor:
        """See :func:`rsuper.losses.attenuation_loss`."""
        image, organs = self.batch.image_hu, self.batch.organ
        errors, weights, certainty = [], [], []
        for item, placement, lesion, stated in self._located:
            if image is None or organs is None or stated.attenuation not in USABLE:
                continue
            pair = self.pairs[item.pair]
            hu = image[(pair.sample, 0, *item.box)].to(item.logits.dtype)
            organ = organs[(pair.sample, pair.channel, *item.box)]
            free = organ & ~placement.foreground & ~placement.ignore
            outside = torch.ones(free.numel() + 1, dtype=torch.bool, device=free.device)
            outside.index_fill_(0, lesion.ball, value=False)
            around = free & outside[:-1].view(free.shape)
            held, place = _held(lesion.ball, free)
            error = attenuation_error(
                item.logits.flatten().index_select(0, place),
                hu.flatten().index_select(0, place),
                mean_over(hu, around),
                stated.attenuation,
                margin_hu=self.config.margin_hu,
                held=held,
            )
            errors.append(error / self.config.attenuation_scale_hu)
            weights.append(lesion.weight * pair.weight)
            certainty.append(lesion.share * (lesion.located & around.any()))
        if not errors:
            return self.zero
        shares = torch.stack(certainty).to(self.zero.dtype)
        return weighted_mean(torch.stack(errors), upload(weights, self.zero) * shares)

    def malignancy(self) -> Tensor:
        """See :func:`rsuper.losses.malignancy_loss`: located lesions one by one, drawn ones class by class."""
        errors, weights, certainty = [], [], []
        for item, _, lesion, stated in self._located:
            if (
                stated.malignant is None
                or item.pair not in self.malignancy_logits
                or not len(lesion.foreground)
            ):
                continue
            held, place = _held(lesion.foreground, item.region)
            logits = self.malignancy_logits[item.pair].flatten().index_select(0, place)
            error, count = malignancy_error(logits, held, stated.malignant)
            errors.append(error)
            weights.append(lesion.weight * self.pairs[item.pair].weight)
            certainty.append(lesion.share.to(error.dtype) * (count > 0))
        for logits, drawn, malignant in self.drawn:
            error, count = malignancy_error(logits.flatten(), drawn.flatten(), malignant)
            errors.append(error)
            weights.append(1.0)
            certainty.append((count > 0).to(error.dtype))
        if not errors:
            return self.zero
        return weighted_mean(torch.stack(errors), upload(weights, self.zero) * torch.stack(certainty))

    def figures(self) -> dict[str, Tensor]:
        """What to log of the predicted volumes and of where the lesions were located."""
        figures = volume_figures(
            self.volume_boxes, self.pairs, self.voxel_mm3, reference=self.batch.reference
        )
        figures |= brightness_figures(self.boxes, self.pairs, self.spacing_mm, top_mm3=self.config.top_mm3)
        if self.config.places_lesions:
            places = [(item, lesion) for item, _, lesion, _ in self._located]
            figures |= centre_figures(places, self.pairs, self.batch.reference)
        return figures

    @torch.no_grad()
    def _where_located(self, item: RegionBox) -> Tensor:
        """Where the volume of a pair may come from: its balls and what is ignored; all of it if nothing is located."""
        placement = self.placements.get(item.pair)
        if placement is None or not placement.placed:
            return item.region
        where = torch.zeros(item.region.numel() + 1, dtype=torch.bool, device=item.region.device)
        for lesion in placement.placed:
            where.index_fill_(0, lesion.ball, value=True)
        found = torch.stack([lesion.located for lesion in placement.placed]).any()
        return where[:-1].view(item.region.shape) | placement.ignore | ~found

    @torch.no_grad()
    def _confidence(self, item: RegionBox) -> Tensor:
        """Mean p of the foreground that was located for a pair; 0 where there is none."""
        placement = self.placements.get(item.pair)
        if placement is None:
            return torch.zeros_like(self.zero)
        final = next(box.logits for box in self.boxes if box.pair == item.pair)
        inside = mask_as(placement.foreground, final.dtype)
        return (torch.sigmoid(final) * inside).sum() / inside.sum().clamp(min=1)


def _held(flat: Tensor, box: Tensor) -> tuple[Tensor, Tensor]:
    """Which flat indices are voxels, and indices that can be read."""
    return flat < box.numel(), flat.clamp(max=box.numel() - 1)
