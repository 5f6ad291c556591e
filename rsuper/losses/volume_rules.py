"""What counts as predicted volume, and how hard the volume loss pulls."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

VolumeMass = Literal["sharpened", "power", "thresholded"]


class VolumeRules(BaseModel):
    """Settings of :func:`rsuper.losses.volume_loss` beside its formula.

    Args:
        mass: what a voxel adds to V̂, so that haze does not pass for a tumour: ``sharpened`` sigmoid(γ·logit),
            ``power`` p^γ, ``thresholded`` max(0, p − 0.1)/0.9 (which leaves haze without a gradient).
        sharpen: γ; with 1, ``sharpened`` and ``power`` are the plain Σ p.
        median_weight: weight of the pull towards a calibrated median.
        outside_weight: weight of volume that lies elsewhere than the located lesions.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    mass: VolumeMass = "sharpened"
    sharpen: float = Field(default=1.0, gt=0)
    median_weight: float = Field(default=0.05, ge=0)
    outside_weight: float = Field(default=1.0, ge=0)


DEFAULT_VOLUME_RULES = VolumeRules()
