"""Stated diameters -> calibrated volume intervals.

The factors live in ``size_factors.json``; ``benchmarks/calibrate_size.py`` fits them on real tumour masks.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

from pydantic import BaseModel, ConfigDict

from llm_extract.records import Lesion

UNKNOWN_LOW_MM3 = 65.4
"""A 5 mm ball: the least volume of a lesion whose size is not stated (LOSSES § 1)."""
CERTAIN_LOW_MM3 = 14.0
"""A 3 mm ball: the least volume of any lesion that is certainly there, whatever its bounds (LOSSES § 1)."""
STATED_VOLUME_FACTORS = (0.8, 1.25)
"""Spread around a volume that the report states outright, such as 12 cc."""
APPROXIMATE_FRACTION = 0.1
"""``about 3 cm`` is read as 3 cm give or take this fraction, if that is more than its rounding."""
CONFLICT_FRACTION = 0.25
"""A report that contradicts itself on a size is read with this spread, where the other size is not in the record."""
SIZE_FIELDS = frozenset({"size", "diameters_mm", "size_min_mm", "size_max_mm"})


@dataclass(frozen=True, kw_only=True)
class SizeRow:
    """Distribution of mask volume / ellipsoid volume for one lesion: both ends, the median, the log spread."""

    low: float
    median: float
    high: float
    sigma_log: float


class SizeFactors(BaseModel):
    """Distribution of mask volume / ellipsoid volume for one number of stated diameters.

    Each pair holds the values at the two sizes of ``size_mm``; between them the logarithm is linear in the
    log size, outside it is constant.

    Args:
        size_mm: equivalent diameters of the two anchors.
        low: lower end of the interval that holds the wanted share of real tumours.
        median: median ratio.
        high: its upper end.
        sigma_log: standard deviation of the log ratio.
        n: tumours it was fitted on.
        irregularity: irregularity of the stated diameters at which the values hold.
        irregularity_max: beyond it nothing was measured and nothing changes any more.
        widening: log distances from the median grow by exp(widening · difference in irregularity).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    size_mm: tuple[float, float]
    low: tuple[float, float]
    median: tuple[float, float]
    high: tuple[float, float]
    sigma_log: tuple[float, float]
    n: int
    irregularity: float = 0.0
    irregularity_max: float = 0.0
    widening: float = 0.0

    def row(self, diameters_mm: Sequence[float]) -> SizeRow:
        """The distribution for the size and the shape of these diameters."""
        size_mm = equivalent_diameter_mm(diameters_mm)
        shape = min(irregularity(diameters_mm), self.irregularity_max) - self.irregularity
        wider = math.exp(self.widening * shape)
        median = self.at(self.median, size_mm)
        low, high = (median * (self.at(end, size_mm) / median) ** wider for end in (self.low, self.high))
        return SizeRow(low=low, median=median, high=high, sigma_log=wider * self.at(self.sigma_log, size_mm))

    def at(self, values: tuple[float, float], size_mm: float) -> float:
        """One of the lists at an equivalent diameter, log-linear between the anchors."""
        first, last = (math.log(size) for size in self.size_mm)
        share = min(max((math.log(size_mm) - first) / (last - first), 0.0), 1.0)
        return math.exp((1 - share) * math.log(values[0]) + share * math.log(values[1]))


@dataclass(frozen=True, kw_only=True)
class SizeTarget:
    """What a report says about the volume of one lesion.

    Args:
        volume_mm3: interval (lo, hi); hi is infinite where nothing bounds it.
        diameters_mm: what the search starts from; empty where no diameter is stated.
        median_mm3, sigma_log: calibrated centre and spread; None for bounds, ranges and unknown sizes.
        stated: True if the report says anything about the size.
    """

    volume_mm3: tuple[float, float]
    diameters_mm: tuple[float, ...] = ()
    median_mm3: float | None = None
    sigma_log: float | None = None
    stated: bool = True


class _Shipped(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")
    factors: dict[int, SizeFactors]
    along_duct_or_wall: OrganFactors


class OrganFactors(BaseModel):
    """One-diameter factors of the organs whose tumours grow along a duct or a wall."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    organs: frozenset[str]
    factors: SizeFactors


@lru_cache(maxsize=1)
def _shipped() -> _Shipped:
    text = resources.files("rsuper.supervision").joinpath("size_factors.json").read_text(encoding="utf-8")
    return _Shipped.model_validate(json.loads(text))


def size_factors() -> Mapping[int, SizeFactors]:
    """The calibrated factors of compact tumours by number of diameters, 1 to 3."""
    return _shipped().factors


def factors_for(number: int, *, organ: str | None = None) -> SizeFactors:
    """The calibrated factors for 1 to 3 stated diameters of a lesion of one organ.

    Args:
        number: how many diameters are stated.
        organ: host of the lesion, as in a record; one diameter says less about a tumour that grows along a duct or
            a wall (pancreas, bowel, …).
    """
    special = _shipped().along_duct_or_wall
    if number == 1 and organ in special.organs:
        return special.factors
    return _shipped().factors[number]


def ellipsoid_volume_mm3(diameters_mm: Sequence[float]) -> float:
    """Volume of the ellipsoid of 1 to 3 diameters: π/6·abc.

    One diameter is a sphere; of two, the third is their mean (published convention, arXiv 2507.05582).

    >>> round(ellipsoid_volume_mm3([10.0]), 1)
    523.6
    """
    sizes = [float(d) for d in diameters_mm]
    if not 1 <= len(sizes) <= 3:
        raise ValueError(f"an ellipsoid takes 1 to 3 diameters, got {len(sizes)}")
    if min(sizes) < 0:
        raise ValueError(f"diameters_mm are not negative, got {tuple(sizes)}")
    if len(sizes) == 1:
        sizes *= 3
    elif len(sizes) == 2:
        sizes.append((sizes[0] + sizes[1]) / 2)
    return math.pi / 6 * math.prod(sizes)


def equivalent_diameter_mm(diameters_mm: Sequence[float]) -> float:
    """Diameter of the sphere that has the volume of the ellipsoid: (6·V/π)^⅓."""
    return float((6 * ellipsoid_volume_mm3(diameters_mm) / math.pi) ** (1 / 3))


def irregularity(diameters_mm: Sequence[float]) -> float:
    """How far a lesion is from a ball: the standard deviation of its log diameters; 0 for one diameter.

    >>> irregularity([20.0]), irregularity([20.0, 20.0])
    (0.0, 0.0)
    """
    logs = [math.log(d) for d in diameters_mm]
    mean = sum(logs) / len(logs)
    return math.sqrt(sum((value - mean) ** 2 for value in logs) / len(logs))


def volume_interval_mm3(
    diameters_mm: Sequence[float], *, precision_mm: float = 0.0, organ: str | None = None
) -> tuple[float, float]:
    """Calibrated volume interval of one lesion: lo = f_lo·V₀(d − h), hi = f_hi·V₀(d + h), lo ≥ 14 mm³.

    The factors f depend on the number of diameters, on the size V₀ (small tumours are stated less exactly), on the
    shape (the third diameter of a 30 x 15 mm tumour is less certain than that of a 22 x 21 mm one) and, where one
    diameter is all there is, on whether tumours of the organ grow along a duct or a wall.

    Args:
        diameters_mm: 0 to 3 stated diameters in mm; longest axial, perpendicular, cranio-caudal.
        precision_mm: h, half a unit of the last stated digit (``3.4 cm``: 0.5).
        organ: host of the lesion, as in a record; None is a compact tumour.

    Returns:
        (lo, hi) in mm³; ``(65.4, inf)`` without a diameter.

    Raises:
        ValueError: more than 3 diameters, or one that is not a positive finite number.

    >>> low, high = volume_interval_mm3([20.0])
    >>> low < ellipsoid_volume_mm3([20.0]) < high
    True
    """
    _check_diameters(diameters_mm, precision_mm)
    if len(diameters_mm) == 0:
        return (UNKNOWN_LOW_MM3, math.inf)
    row = factors_for(len(diameters_mm), organ=organ).row(diameters_mm)
    low_mm3 = row.low * ellipsoid_volume_mm3([max(float(d) - precision_mm, 0.0) for d in diameters_mm])
    high_mm3 = row.high * ellipsoid_volume_mm3([float(d) + precision_mm for d in diameters_mm])
    # a lesion that is there is at least a 3 mm ball, and below that size nothing more is known than around it
    return (max(low_mm3, CERTAIN_LOW_MM3), max(high_mm3, CERTAIN_LOW_MM3 * row.high))


def volume_prior(diameters_mm: Sequence[float], *, organ: str | None = None) -> tuple[float, float]:
    """Calibrated median volume in mm³ and standard deviation of the log volume, for 1 to 3 diameters.

    Raises:
        ValueError: no diameter, more than 3, or one that is not a positive finite number.
    """
    _check_diameters(diameters_mm, 0.0)
    if len(diameters_mm) == 0:
        raise ValueError("a volume prior needs at least one diameter")
    row = factors_for(len(diameters_mm), organ=organ).row(diameters_mm)
    return (row.median * ellipsoid_volume_mm3(diameters_mm), row.sigma_log)


def lesion_size(lesion: Lesion) -> SizeTarget:
    """Volume interval of one lesion (or of each member of a group) as its report states it.

    An exact or approximate size gives the calibrated interval, a range spans both its ends, an upper bound
    gives 14 mm³ … hi of the bound, a lower bound lo of the bound … ∞, a size conflict the union of both
    sizes, and no size at all 65.4 mm³ … ∞.
    """
    if lesion.reported_volume_mm3 is not None:
        return _stated_volume(lesion)
    if lesion.diameters_mm and not _diameters_are_bound(lesion):
        return _stated_diameters(lesion)
    smallest, largest = _bounds_mm(lesion)
    if smallest is None and largest is None:
        return SizeTarget(volume_mm3=(UNKNOWN_LOW_MM3, math.inf), stated=False)
    h = lesion.size_precision_mm
    low = (
        CERTAIN_LOW_MM3
        if smallest is None
        else volume_interval_mm3((smallest,), precision_mm=h, organ=lesion.organ)[0]
    )
    high = (
        math.inf
        if largest is None
        else volume_interval_mm3((largest,), precision_mm=h, organ=lesion.organ)[1]
    )
    search = (smallest,) if largest is None and smallest is not None else ()
    return SizeTarget(volume_mm3=(low, high), diameters_mm=search)


def stated_longest_mm(lesion: Lesion) -> float:
    """The longest diameter that a lesion of this record entry may have by what the report states; 0 if it states none.

    Of bounds and ranges the larger one; of a group's remainder its bound.
    """
    stated = (*lesion.diameters_mm, lesion.size_max_mm, lesion.size_min_mm)
    return max((size for size in stated if size is not None), default=0.0)


def _diameters_are_bound(lesion: Lesion) -> bool:
    """True if the diameters only bound the size, so that no volume follows from them as they stand."""
    return lesion.size_kind == "lower_bound" or (
        lesion.size_kind in ("upper_bound", "range") and not _is_single(lesion)
    )


def _is_single(lesion: Lesion) -> bool:
    return lesion.count == 1 and lesion.group_role != "remainder"


def _bounds_mm(lesion: Lesion) -> tuple[float | None, float | None]:
    smallest, largest = lesion.size_min_mm, lesion.size_max_mm
    if lesion.diameters_mm:
        longest = max(lesion.diameters_mm)
        if lesion.size_kind == "lower_bound":
            smallest = smallest or longest
        else:
            largest = largest or longest
    return smallest, largest


def _stated_diameters(lesion: Lesion) -> SizeTarget:
    diameters = tuple(lesion.diameters_mm)
    h = lesion.size_precision_mm
    if lesion.size_kind == "approximate":
        h = max(h, APPROXIMATE_FRACTION * min(diameters))
    low, high = volume_interval_mm3(diameters, precision_mm=h, organ=lesion.organ)
    median, sigma = volume_prior(diameters, organ=lesion.organ)
    ends = [end for end in (lesion.size_min_mm, lesion.size_max_mm) if end is not None]
    conflict = bool(SIZE_FIELDS.intersection(lesion.conflict))
    if not ends and not conflict:
        return SizeTarget(volume_mm3=(low, high), diameters_mm=diameters, median_mm3=median, sigma_log=sigma)
    if conflict and not ends:
        ends = [(1 - CONFLICT_FRACTION) * max(diameters), (1 + CONFLICT_FRACTION) * max(diameters)]
    others = [
        volume_interval_mm3((end,), precision_mm=lesion.size_precision_mm, organ=lesion.organ) for end in ends
    ]
    low, high = min([low, *(o[0] for o in others)]), max([high, *(o[1] for o in others)])
    return SizeTarget(volume_mm3=(low, high), diameters_mm=diameters)


def _stated_volume(lesion: Lesion) -> SizeTarget:
    volume = float(lesion.reported_volume_mm3 or 0.0)
    low, high = (factor * volume for factor in STATED_VOLUME_FACTORS)
    low = max(low, CERTAIN_LOW_MM3)
    return SizeTarget(volume_mm3=(low, max(high, low)), diameters_mm=tuple(lesion.diameters_mm))


def _check_diameters(diameters_mm: Sequence[float], precision_mm: float) -> None:
    if not hasattr(diameters_mm, "__len__"):
        raise TypeError(f"diameters_mm is a sequence of 0 to 3 numbers, such as [20.0], got {diameters_mm!r}")
    if len(diameters_mm) > 3:
        raise ValueError(f"a lesion has 0 to 3 diameters, got {len(diameters_mm)}")
    if any(not (math.isfinite(d) and d > 0) for d in diameters_mm):
        raise ValueError(f"diameters_mm must be positive and finite, got {tuple(diameters_mm)}")
    if not (math.isfinite(precision_mm) and precision_mm >= 0):
        raise ValueError(f"precision_mm must be finite and not negative, got {precision_mm}")
