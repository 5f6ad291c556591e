"""Weights and settings of the loss of a batch, and the ramp of its report terms."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from rsuper.losses.ball_rules import BallBalance, BallRules
from rsuper.losses.volume import VolumeForm
from rsuper.losses.volume_rules import VolumeMass, VolumeRules


def report_ramp(step: int, *, warmup_steps: int, ramp_steps: int) -> float:
    """Share of the report terms at an optimiser step: 0 in the masks-only warm-up, then linear up to 1.

    Args:
        step: the first step is 0.
        warmup_steps: steps that learn from masks alone.
        ramp_steps: steps over which the reports come in; 0 switches them on at once.

    Raises:
        ValueError: a number of steps is negative.

    >>> [report_ramp(step, warmup_steps=10, ramp_steps=4) for step in (9, 10, 12, 50)]
    [0.0, 0.25, 0.75, 1.0]
    """
    if min(step, warmup_steps, ramp_steps) < 0:
        raise ValueError(f"steps are not negative, got {step} of {warmup_steps} and then {ramp_steps}")
    if step < warmup_steps:
        return 0.0
    return 1.0 if ramp_steps == 0 else min(1.0, (step + 1 - warmup_steps) / ramp_steps)


class ReportSupervisionConfig(BaseModel):
    """Weights and settings of the loss; L = Σ_heads a·[segmentation + λ·reports].

    The weights are those of benchmarks/README.md's study; the published method has λ = 0.1, volume 1 and no absence.

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
        sharpen: γ of ``volume_mass``.
        top_mm3: how much of the region must light up for the yes/no loss.
        margin_hu: margin of the attenuation loss.
        head_weights: a, one a head; None weighs all heads alike.
        partial_crops: a crop that holds only part of a region: keep its ball loss for the lesions that are not
            remainders there (``determined``), which surely lie inside, or ``skip`` it.
        volume_head: head that takes the volume loss; ``auxiliary`` is the last one.
        volume_mass: what a voxel adds to the volume; see :class:`rsuper.losses.VolumeRules`.
        volume_where: ``region`` sums all of it; ``located`` asks for the volume where the balls were located (and where
            a lesion without size may be) and makes the rest of the region cost ``volume_outside``.
        volume_outside: see ``volume_where``.
        volume_gate: ``located`` weighs the volume of a pair by the mean p of its located foreground, so that it grows
            once the ball has found the lesion; ``constant`` always counts.
        attenuation_scale_hu: the difference that counts as 1.
        malignancy: weight of the malignancy loss.
        malignancy_channels: (channel of a lesion class, channel of its probability of being malignant given lesion);
            the labels of the second one are not known. Empty leaves the loss out.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    segmentation_bce: float = Field(default=1.0, ge=0)
    segmentation_dice: float = Field(default=1.0, ge=0)
    report_weight: float = Field(default=1.0, ge=0)
    ball_bce: float = Field(default=1.0, ge=0)
    ball_dice: float = Field(default=1.0, ge=0)
    volume: float = Field(default=0.2, ge=0)
    presence: float = Field(default=0.0, ge=0)
    absence: float = Field(default=1.0, ge=0)
    attenuation: float = Field(default=0.01, ge=0)
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
    head_weights: tuple[Annotated[float, Field(ge=0)], ...] | None = None
    partial_crops: Literal["skip", "determined"] = "determined"
    volume_head: Literal["final", "auxiliary"] = "final"
    volume_mass: VolumeMass = "sharpened"
    volume_where: Literal["region", "located"] = "region"
    volume_outside: float = Field(default=1.0, ge=0)
    volume_gate: Literal["constant", "located"] = "constant"
    attenuation_scale_hu: float = Field(default=100.0, gt=0)
    malignancy: float = Field(default=1.0, ge=0)
    malignancy_channels: tuple[tuple[int, int], ...] = ()

    @property
    def balance(self) -> BallBalance:
        """How the ball loss weighs the voxels of its pseudo-mask."""
        return BallBalance(
            background_weight=self.background_weight,
            rank_concentration=self.rank_concentration,
            smooth_mm3=self.smooth_mm3,
        )

    @property
    def volume_rules(self) -> VolumeRules:
        """What counts as predicted volume."""
        return VolumeRules(
            mass=self.volume_mass,
            sharpen=self.sharpen,
            median_weight=self.median_weight,
            outside_weight=self.volume_outside,
        )

    @property
    def places_lesions(self) -> bool:
        """True if a term asks where the lesions are."""
        weights = (
            self.ball_bce,
            self.ball_dice,
            self.attenuation,
            self.malignancy * len(self.malignancy_channels),
        )
        return any(weight > 0 for weight in weights) or "located" in (self.volume_where, self.volume_gate)
