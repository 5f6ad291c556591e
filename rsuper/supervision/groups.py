"""Counts and groups: one record entry -> the targets it asks for, and its share of the pair's volume."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from llm_extract.anatomy import SIDES, Side
from llm_extract.records import Lesion
from rsuper.supervision.sizes import CERTAIN_LOW_MM3, SizeTarget, lesion_size
from rsuper.supervision.types import LesionTarget


@dataclass(frozen=True, kw_only=True)
class CountInterval:
    """How many lesions a record entry stands for: at least ``low``, at most ``high`` (None: no bound)."""

    low: int
    high: int | None


@dataclass(frozen=True, kw_only=True)
class GroupShare:
    """What one record entry adds to its (case, class) pair.

    Args:
        targets: lesion targets without regions, largest first.
        volume_mm3: interval of the total volume of the entry; hi may be infinite.
        median_mm3: median of the total, where every member states its size.
        sigma_mm3: standard deviation of the total around that median.
    """

    targets: tuple[LesionTarget, ...]
    volume_mm3: tuple[float, float]
    median_mm3: float | None = None
    sigma_mm3: float | None = None


def count_interval(lesion: Lesion) -> CountInterval:
    """At least and at most how many lesions an entry stands for.

    Exact n is n; "at least n" has no upper bound, and is at least 2 on both sides; "about n" is at least half of n
    (and 2) without an upper bound; "multiple" is at least 2 without an upper bound. A remainder of unknown number
    beside its index lesion is at least 1, because the index already is one of the group.
    """
    stated = lesion.count or 0
    if lesion.count_kind == "exact":
        return CountInterval(low=stated, high=stated)
    if lesion.count_kind == "at_least":
        return CountInterval(low=max(stated, 2 if _is_on_both_sides(lesion) else 1), high=None)
    if lesion.count_kind == "approximate":
        return CountInterval(low=max(2, stated // 2), high=None)
    least = 1 if lesion.group_role == "remainder" else 2
    return CountInterval(low=max(least, stated), high=None)


def _is_on_both_sides(lesion: Lesion) -> bool:
    """True for an entry that by itself has a lesion on either side; a group's remainder may have it on one."""
    return lesion.laterality == "bilateral" and lesion.group_role != "remainder"


def sides_of_members(lesion: Lesion, group: Sequence[Lesion] = ()) -> tuple[Side, ...]:
    """The sides that each have at least one lesion of an entry; empty where the report does not say so much.

    Two or more lesions on both sides: one a side. The rest of a group on both sides whose index lies on one: the other.

    Args:
        lesion: the record entry.
        group: all entries of its group.

    >>> kidneys = Lesion(lesion_id="L1", organ="kidney", laterality="bilateral", count=3)
    >>> sides_of_members(kidneys), sides_of_members(kidneys.model_copy(update={"laterality": "left"}))
    (('left', 'right'), ())
    """
    if lesion.laterality != "bilateral":
        return ()
    if lesion.group_role != "remainder":
        return SIDES if count_interval(lesion).low >= len(SIDES) else ()
    taken = {other.laterality for other in group if other.group_role != "remainder"}
    free = tuple(side for side in SIDES if side not in taken)
    return free if len(free) == 1 else ()


def bound_remainder(lesion: Lesion, group: Sequence[Lesion]) -> Lesion:
    """A remainder without a bound of its own is bounded by the longest diameter of its group's index."""
    if lesion.group_role != "remainder" or lesion.diameters_mm or lesion.size_max_mm is not None:
        return lesion
    index = [d for other in group if other.group_role == "index" for d in other.diameters_mm]
    if not index:
        return lesion
    bound = max(*index, lesion.size_min_mm or 0.0)
    return lesion.model_copy(update={"size_max_mm": bound, "size_kind": "upper_bound"})


def group_share(
    lesion: Lesion,
    *,
    region_mm3: float,
    weight: float,
    certain: bool,
    max_searched: int,
    voxel_mm3: float = 0.0,
    sides: int = 0,
) -> GroupShare:
    """The lesion targets and the volume interval of one record entry.

    The pair's interval is the sum of the los of the lesions that are certainly there and the sum of all
    his; a lesion that is only possible has lo 0, and its region is ignored rather than searched.

    Args:
        lesion: the record entry, a single lesion or a group.
        region_mm3: volume of its host region; bounds a lesion of unknown size.
        weight: its certainty weight in [0, 1].
        certain: False for a lesion that is only possible.
        max_searched: members beyond this number become part of the group's remainder.
        voxel_mm3: volume of a voxel; each hi is raised to the next whole number of voxels above lo, so that a mask
            can meet the interval (a 4 × 3 × 3 mm lesion, 14–22 mm³, is less than one voxel of 3 mm). 0 leaves it.
        sides: members that lie on sides of their own (:func:`sides_of_members`), which are searched in a remainder too.
    """
    size = lesion_size(lesion)
    count = count_interval(lesion)
    low, high = size.volume_mm3
    high = max(high, whole_voxels_mm3(max(low, CERTAIN_LOW_MM3), voxel_mm3))
    member_high = high if math.isfinite(high) else max(region_mm3, low)
    total_high = math.inf if count.high is None else count.high * member_high
    if not certain:
        ignored = _remainder(size, (0.0, total_high), weight, lesion)
        return GroupShare(targets=(ignored,), volume_mm3=(0.0, total_high))
    low = max(low, CERTAIN_LOW_MM3)
    total = (count.low * low, max(total_high, count.low * low))
    searched = min(count.low, sides if lesion.group_role == "remainder" else max(max_searched, sides))
    target = LesionTarget(
        diameters_mm=size.diameters_mm,
        volume_mm3=(low, max(high, low)),
        weight=weight,
        median_mm3=size.median_mm3,
        sigma_log=size.sigma_log,
        attenuation=lesion.attenuation,
    )
    targets = [target] * searched
    rest = count.low - searched
    if rest > 0 or count.high is None:
        rest_high = math.inf if count.high is None else rest * member_high
        targets.append(_remainder(size, (rest * low, max(rest_high, rest * low)), weight, lesion))
    if size.median_mm3 is None or size.sigma_log is None or count.high is None:
        return GroupShare(targets=tuple(targets), volume_mm3=total)
    median = count.low * size.median_mm3
    spread = math.sqrt(count.low) * size.median_mm3 * size.sigma_log
    return GroupShare(targets=tuple(targets), volume_mm3=total, median_mm3=median, sigma_mm3=spread)


def whole_voxels_mm3(volume_mm3: float, voxel_mm3: float) -> float:
    """The least volume of whole voxels that is not below ``volume_mm3``; the volume itself for voxels of 0 mm³.

    >>> whole_voxels_mm3(14.0, 27.0), whole_voxels_mm3(54.0, 27.0), whole_voxels_mm3(14.0, 0.0)
    (27.0, 54.0, 14.0)
    """
    if voxel_mm3 <= 0:
        return volume_mm3
    return math.ceil(volume_mm3 / voxel_mm3 - 1e-9) * voxel_mm3


def pair_volume(shares: Sequence[GroupShare]) -> tuple[tuple[float, float], float | None, float | None]:
    """Volume interval of a pair, and median and log spread of its total where every lesion states a size.

    The spread of a sum of medians mᵢ with log spreads σᵢ is √Σ(mᵢσᵢ)² / Σmᵢ (delta method).
    """
    low = sum(share.volume_mm3[0] for share in shares)
    high = sum(share.volume_mm3[1] for share in shares)
    medians = [share.median_mm3 for share in shares]
    spreads = [share.sigma_mm3 for share in shares]
    known = [m for m in medians if m is not None]
    widths = [s for s in spreads if s is not None]
    if not shares or len(known) < len(shares) or len(widths) < len(shares):
        return (low, high), None, None
    total = sum(known)
    return (low, high), total, math.sqrt(sum(s * s for s in widths)) / total


def without_claim(target: LesionTarget) -> LesionTarget:
    """The same target as something to ignore: never searched, no lower bound, no weight."""
    return replace(
        target, remainder=True, weight=0.0, volume_mm3=(0.0, math.inf), median_mm3=None, sigma_log=None
    )


def _remainder(
    size: SizeTarget, volume_mm3: tuple[float, float], weight: float, lesion: Lesion
) -> LesionTarget:
    return LesionTarget(
        diameters_mm=size.diameters_mm,
        volume_mm3=volume_mm3,
        weight=weight,
        remainder=True,
        attenuation=lesion.attenuation,
    )
