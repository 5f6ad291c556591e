"""How a reported size becomes millimetres of a ball and numbers of voxels."""

from __future__ import annotations

import math
from dataclasses import replace

from pydantic import BaseModel, ConfigDict, Field, field_validator

from rsuper.supervision.types import LesionTarget

LARGEST_FRACTION = 2.0
"""Larger cores have not been measured (benchmarks/core_fraction.py)."""


class BallRules(BaseModel):
    """How a reported size becomes voxels.

    Args:
        foreground_fraction: share of lo that must light up inside the ball, in (0, 2]; or three shares, for 1, 2 and 3
            stated diameters. Up to 1, all of it is lesion if the interval holds. Above 1, the core asks a lesion near
            the lower end of its interval for more than it has; it never exceeds the most likely volume
            (:func:`middle_volume_mm3`). A lesion without diameters, whose lo is no calibrated quantile, takes the last
            share and at most 1.
        ignore_fraction: share of hi inside the ball that is not pushed down.
        core_mm3: at least this much foreground, but never more than lo.
        ball_scale: size of the ball around the centre, in reported diameters.
        ignore_cap: share of the ball that an uncertain size may ignore, so that a size signal is left.
        gap_mm: margin around the ignored voxels.
        sigma_radii: σ of the search kernel in radii.
        unknown_diameter_mm: ball of a lesion without any size.
        candidates: how many places a lesion is looked for at; their odds share its foreground, and none of them
            is background while it is likely.
        candidate_separation: distance between such places in search diameters.
        candidate_odds: a place counts with at least this share of the odds.
        lit_odds: a place lights up with at least this share of the odds; below it the place is only not pushed down, so
            that nothing is forced while several places are as likely. 0 always lights up.
        unknown_size_weight: weight of such a lesion beside lesions of stated size.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    foreground_fraction: float | tuple[float, float, float] = 0.8
    ignore_fraction: float = Field(default=1.2, ge=1)
    core_mm3: float = Field(default=100.0, ge=0)
    ball_scale: float = Field(default=1.2, ge=1)
    ignore_cap: float = Field(default=0.8, gt=0, le=1)
    gap_mm: float = Field(default=3.5, ge=0)
    sigma_radii: float = Field(default=1.5, gt=0)
    unknown_diameter_mm: float = Field(default=6.0, gt=0)
    candidates: int = Field(default=1, ge=1, le=16)
    candidate_separation: float = Field(default=0.75, gt=0)
    candidate_odds: float = Field(default=0.1, ge=0, lt=1)
    lit_odds: float = Field(default=0.0, ge=0, le=1)
    unknown_size_weight: float = Field(default=0.5, ge=0, le=1)

    @field_validator("foreground_fraction")
    @classmethod
    def _in_range(cls, value: float | tuple[float, float, float]) -> float | tuple[float, float, float]:
        shares = value if isinstance(value, tuple) else (value,)
        if not all(0 < share <= LARGEST_FRACTION for share in shares):
            raise ValueError(
                f"foreground_fraction is a share of lo in (0, {LARGEST_FRACTION:g}], or three for 1, 2 and 3 stated "
                f"diameters, got {value}"
            )
        return value

    def core_share(self, diameters: int) -> float:
        """The share of lo for 0 to 3 stated diameters.

        >>> rules = BallRules(foreground_fraction=(1.4, 1.0, 0.8))
        >>> [rules.core_share(number) for number in (0, 1, 2, 3)]
        [0.8, 1.4, 1.0, 0.8]
        """
        stated = self.foreground_fraction
        shares = stated if isinstance(stated, tuple) else (stated,) * 3
        return shares[diameters - 1] if diameters else min(shares[-1], 1.0)


class BallBalance(BaseModel):
    """How the voxels of a pseudo-mask are weighed against each other.

    Args:
        background_weight: weight of the mean background BCE against the mean foreground BCE.
        rank_concentration: c of the foreground's weights w_i ∝ (1 − c)^(i/N); 0 weighs all alike.
        smooth_mm3: s of the Dice.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    background_weight: float = Field(default=1.0, ge=0)
    rank_concentration: float = Field(default=0.5, ge=0, lt=1)
    smooth_mm3: float = Field(default=1.0, ge=0)


DEFAULT_RULES = BallRules()
DEFAULT_BALANCE = BallBalance()


def without_vacuous_bound(lesion: LesionTarget, room_mm3: float) -> LesionTarget:
    """A lesion without diameters that is only known to fit into its region has no size at all."""
    if lesion.diameters_mm or lesion.volume_mm3[1] < room_mm3 or math.isinf(lesion.volume_mm3[1]):
        return lesion
    return replace(lesion, volume_mm3=(lesion.volume_mm3[0], math.inf))


def is_unsized(lesion: LesionTarget) -> bool:
    """True if nothing bounds the size of the lesion from above."""
    return not lesion.diameters_mm and math.isinf(lesion.volume_mm3[1])


def search_diameter_mm(lesion: LesionTarget, rules: BallRules = DEFAULT_RULES) -> float:
    """Largest stated diameter; else that of the ball of volume √(lo·hi); else ``unknown_diameter_mm``.

    >>> search_diameter_mm(LesionTarget())
    6.0
    """
    if lesion.diameters_mm:
        return max(lesion.diameters_mm)
    low, high = lesion.volume_mm3
    if math.isinf(high) or low * high <= 0:
        return rules.unknown_diameter_mm
    return float((6 * math.sqrt(low * high) / math.pi) ** (1 / 3))


def search_ball_mm(diameter_mm: float) -> float:
    """The diameter rounded up to an odd number of mm, as the published search does on its 1 mm voxels.

    >>> search_ball_mm(8.0), search_ball_mm(11.0), search_ball_mm(11.2)
    (9.0, 11.0, 13.0)
    """
    return 2.0 * math.ceil(round(max(diameter_mm, 1.0) - 1, 3) / 2) + 1


def filled_ball_mm(lesion: LesionTarget, rules: BallRules = DEFAULT_RULES) -> float:
    """Diameter of the ball around the centre that holds the foreground; the search looks no further."""
    diameter = search_diameter_mm(lesion, rules)
    return diameter if is_unsized(lesion) else rules.ball_scale * diameter


def middle_volume_mm3(lesion: LesionTarget, rules: BallRules = DEFAULT_RULES) -> float:
    """The most likely volume: the calibrated median, else √(lo·hi), else the ball of the search diameter."""
    low, high = lesion.volume_mm3
    if lesion.median_mm3 is not None:
        return lesion.median_mm3
    if low > 0 and math.isfinite(high):
        return math.sqrt(low * high)
    ball = math.pi / 6 * search_diameter_mm(lesion, rules) ** 3
    return min(max(ball, low), high)


def voxel_counts(
    lesion: LesionTarget, ball_mm: float, voxel_mm3: float, rules: BallRules
) -> tuple[int, int, int]:
    """How many voxels are foreground, are not pushed down, and are most likely lesion.

    Args:
        lesion: its interval and diameters.
        ball_mm: diameter of the ball around the centre.
        voxel_mm3: volume of a voxel.
        rules: how a size becomes voxels.
    """
    low, high = lesion.volume_mm3
    ball_mm3 = math.pi / 6 * ball_mm**3
    foreground = _core_voxels(lesion, voxel_mm3, rules)
    cap = max(rules.ignore_cap * ball_mm3, rules.ignore_fraction * low)
    reach = max(foreground, round(min(rules.ignore_fraction * high, cap) / voxel_mm3))
    middle = max(foreground, min(reach, round(middle_volume_mm3(lesion, rules) / voxel_mm3)))
    return foreground, reach, middle


def _core_voxels(lesion: LesionTarget, voxel_mm3: float, rules: BallRules) -> int:
    """f·lo, at least the smaller of ``core_mm3`` and lo; what exceeds lo is held to the most likely volume."""
    low, high = lesion.volume_mm3
    if low <= 0:
        return 0
    wanted = max(rules.core_share(len(lesion.diameters_mm)) * low, min(rules.core_mm3, low))
    guaranteed = max(1, round(min(wanted, low) / voxel_mm3))
    likely = min(wanted, middle_volume_mm3(lesion, rules), high)
    return max(guaranteed, math.floor(likely / voxel_mm3))
