"""Where the lesions of a report are: the ball search, and the foreground and ignored voxels it gives. No gradient."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from rsuper.morphology import (
    Box,
    Spacing,
    ball_mask,
    dilate_within,
    find_center,
    reach_voxels,
    voxel_volume_mm3,
)
from rsuper.morphology.ball import squared_radius_mm2
from rsuper.supervision.types import LesionTarget

# A map whose values differ by less than this share of its maximum says nothing about where the lesion is.
FLAT = 1e-6


class BallRules(BaseModel):
    """How a reported size becomes voxels.

    Args:
        foreground_fraction: share of lo that must light up inside the ball.
        ignore_fraction: share of hi inside the ball that is not pushed down.
        core_mm3: at least this much foreground, but never more than lo.
        ball_scale: size of the ball around the centre, in reported diameters.
        ignore_cap: share of the ball that an uncertain size may ignore, so that a size signal is left.
        gap_mm: margin around the ignored voxels.
        sigma_radii: σ of the search kernel in radii.
        unknown_diameter_mm: ball of a lesion without any size.
        unknown_size_weight: weight of such a lesion beside lesions of stated size.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    foreground_fraction: float = Field(default=0.8, gt=0, le=1)
    ignore_fraction: float = Field(default=1.2, ge=1)
    core_mm3: float = Field(default=100.0, ge=0)
    ball_scale: float = Field(default=1.2, ge=1)
    ignore_cap: float = Field(default=0.8, gt=0, le=1)
    gap_mm: float = Field(default=3.5, ge=0)
    sigma_radii: float = Field(default=1.5, gt=0)
    unknown_diameter_mm: float = Field(default=6.0, gt=0)
    unknown_size_weight: float = Field(default=0.5, ge=0, le=1)


DEFAULT_RULES = BallRules()


@dataclass(frozen=True, kw_only=True)
class PlacedLesion:
    """One located lesion; all indices are flat indices into the box.

    Args:
        lesion: its index in the sequence that was passed in.
        center: index of the centre in the box.
        foreground: the foreground voxels, the most probable first.
        ball: all voxels that the ball holds.
        weight: weight of its foreground.
    """

    lesion: int
    center: tuple[int, int, int]
    foreground: Int[Tensor, " n"]
    ball: Int[Tensor, " m"]
    weight: float


@dataclass(frozen=True, kw_only=True)
class Placement:
    """All lesions of one pair on its box.

    Args:
        placed: the lesions that were located.
        foreground: bool, lesion voxels.
        ignore: bool, neither lesion nor background.
        background: bool, allowed voxels that must not light up.
    """

    placed: tuple[PlacedLesion, ...]
    foreground: Bool[Tensor, "d h w"]
    ignore: Bool[Tensor, "d h w"]
    background: Bool[Tensor, "d h w"]


def place_lesions(
    logits: Float[Tensor, "d h w"],
    region: Bool[Tensor, "d h w"],
    lesions: Sequence[LesionTarget],
    *,
    box: Box,
    spacing_mm: Spacing,
    rules: BallRules = DEFAULT_RULES,
) -> Placement:
    """Locate the lesions of one pair on its box, from the largest to the smallest.

    Args:
        logits: or anything that ranks voxels; probabilities are taken as its sigmoid.
        region: bool, where the lesions may lie.
        lesions: their own regions and slabs refer to the whole patch.
        box: where this box lies in the patch.
        spacing_mm: voxel size in array order.
        rules: how a size becomes voxels.
    """
    with torch.no_grad():
        ranks, region = logits.detach().contiguous(), region.contiguous()
        probability = torch.sigmoid(ranks)
        foreground, ignore = torch.zeros_like(region), torch.zeros_like(region)
        free = region.clone()
        placed: list[PlacedLesion] = []
        order = search_order(lesions, rules)
        for position, index in enumerate(order):
            host = own_region(region, lesions[index], box)
            lesion = without_vacuous_bound(lesions[index], int(host.sum()) * voxel_volume_mm3(spacing_mm))
            result = None
            if not lesion.remainder:
                centers = None if lesion.centers is None else lesion.centers[box].to(region.device)
                result = _place(ranks, probability, host & free, centers, lesion, spacing_mm, rules)
            if result is None:
                ignore |= host
                continue
            foreground.view(-1)[result.foreground] = True
            window = result.window
            if result.unsized:
                ignore |= host
            else:
                ignore[window] |= dilate_within(result.reach, rules.gap_mm, spacing_mm=spacing_mm)
            if position + 1 < len(order):
                free[window] &= ~dilate_within(result.middle, rules.gap_mm, spacing_mm=spacing_mm)
            weight = lesion.weight * (rules.unknown_size_weight if result.unsized else 1.0)
            placed.append(
                PlacedLesion(
                    lesion=index,
                    center=result.center,
                    foreground=result.foreground,
                    ball=result.ball,
                    weight=weight,
                )
            )
        ignore &= region & ~foreground
        background = region & ~foreground & ~ignore
        return Placement(placed=tuple(placed), foreground=foreground, ignore=ignore, background=background)


def own_region(region: Bool[Tensor, "d h w"], lesion: LesionTarget, box: Box) -> Bool[Tensor, "d h w"]:
    """The part of the pair's region in which this lesion may lie: its own host region and slab."""
    own = region if lesion.region is None else region & lesion.region[box].to(region.device)
    if lesion.slab is None:
        return own
    axis, start, stop = lesion.slab
    size = own.shape[axis]
    start, stop = (min(size, max(0, edge - box[axis].start)) for edge in (start, stop))
    inside = torch.zeros_like(own)
    if stop > start:
        inside.narrow(axis, start, stop - start).fill_(1)
    return own & inside


def search_order(lesions: Sequence[LesionTarget], rules: BallRules = DEFAULT_RULES) -> list[int]:
    """Indices of the lesions from the largest to the smallest, remainders last; the order passed in has no say."""

    def key(index: int) -> tuple[float | int | tuple[float, ...], ...]:
        lesion = lesions[index]
        slab = lesion.slab or (-1, -1, -1)
        voxels = -1 if lesion.region is None else int(lesion.region.sum())
        return (
            int(lesion.remainder),
            -middle_volume_mm3(lesion, rules),
            -search_diameter_mm(lesion, rules),
            lesion.volume_mm3,
            -lesion.weight,
            slab,
            voxels,
        )

    return sorted(range(len(lesions)), key=key)


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


def middle_volume_mm3(lesion: LesionTarget, rules: BallRules = DEFAULT_RULES) -> float:
    """The most likely volume: the calibrated median, else √(lo·hi), else the ball of the search diameter."""
    low, high = lesion.volume_mm3
    if lesion.median_mm3 is not None:
        return lesion.median_mm3
    if low > 0 and math.isfinite(high):
        return math.sqrt(low * high)
    ball = math.pi / 6 * search_diameter_mm(lesion, rules) ** 3
    return min(max(ball, low), high)


@dataclass(frozen=True, kw_only=True)
class _Found:
    center: tuple[int, int, int]
    window: Box
    foreground: Tensor
    ball: Tensor
    reach: Tensor
    middle: Tensor
    unsized: bool


def _place(
    ranks: Tensor,
    probability: Tensor,
    free: Tensor,
    centers: Tensor | None,
    lesion: LesionTarget,
    spacing_mm: Spacing,
    rules: BallRules,
) -> _Found | None:
    """Locate one lesion in the free voxels of its own region; None if there is no room or nothing to go by."""
    q = probability.masked_fill(~free, 0.0)
    top = float(q.max())
    if not top > 0 or not bool(free.any()):
        return None
    lowest = float(probability.masked_fill(~free, math.inf).min())
    if top - lowest <= FLAT * top:
        return None
    diameter = search_diameter_mm(lesion, rules)
    unsized = is_unsized(lesion)
    allowed = free if centers is None else free & centers
    if not bool(allowed.any()):
        return None
    search_mm = search_ball_mm(diameter)
    center = find_center(q / top, allowed, search_mm, spacing_mm=spacing_mm, sigma_radii=rules.sigma_radii)
    ball_mm = diameter if unsized else rules.ball_scale * diameter
    window, inside, squared = _ball_window(center, tuple(free.shape), ball_mm, spacing_mm, rules.gap_mm)
    held = torch.nonzero((inside.to(free.device) & free[window]).flatten()).flatten()
    counts = _voxel_counts(lesion, ball_mm, voxel_volume_mm3(spacing_mm), rules)
    cut = [min(count, len(held)) for count in counts]
    order = _ranking(ranks[window].flatten()[held], squared.to(free.device).flatten()[held])
    ranked = held[order[: max(cut)]]
    sets = []
    for count in cut[1:]:
        chosen = torch.zeros_like(inside, device=free.device)
        chosen.view(-1)[ranked[:count]] = True
        sets.append(chosen)
    flat = torch.arange(free.numel(), device=free.device).view(free.shape)[window].flatten()
    return _Found(
        center=center,
        window=window,
        foreground=flat[ranked[: cut[0]]],
        ball=flat[held],
        reach=sets[0],
        middle=sets[1],
        unsized=unsized,
    )


def _ball_window(
    center: tuple[int, int, int],
    shape: tuple[int, ...],
    diameter_mm: float,
    spacing_mm: Spacing,
    gap_mm: float,
) -> tuple[Box, Tensor, Tensor]:
    """The window around the ball and its margin: where it lies, which voxels the ball holds, distances squared."""
    reach = reach_voxels(diameter_mm / 2 + gap_mm, spacing_mm)
    mask = ball_mask(diameter_mm, spacing_mm)
    pads = [outer - width // 2 for outer, width in zip(reach, mask.shape, strict=True)]
    full = torch.nn.functional.pad(mask, [pad for size in reversed(pads) for pad in (size, size)])
    squared = squared_radius_mm2(reach, spacing_mm)
    window, part = [], []
    for index, size, steps in zip(center, shape, reach, strict=True):
        start, stop = max(0, index - steps), min(size, index + steps + 1)
        window.append(slice(start, stop))
        part.append(slice(start - index + steps, stop - index + steps))
    cut = tuple(part)
    return (window[0], window[1], window[2]), full[cut].contiguous(), squared[cut].contiguous()


def _voxel_counts(
    lesion: LesionTarget, ball_mm: float, voxel_mm3: float, rules: BallRules
) -> tuple[int, int, int]:
    """How many voxels are foreground, are not pushed down, and are most likely lesion."""
    low, high = lesion.volume_mm3
    ball_mm3 = math.pi / 6 * ball_mm**3
    wanted = max(rules.foreground_fraction * low, min(rules.core_mm3, low))
    foreground = max(1, round(wanted / voxel_mm3)) if low > 0 else 0
    cap = max(rules.ignore_cap * ball_mm3, rules.ignore_fraction * low)
    reach = max(foreground, round(min(rules.ignore_fraction * high, cap) / voxel_mm3))
    middle = max(foreground, min(reach, round(middle_volume_mm3(lesion, rules) / voxel_mm3)))
    return foreground, reach, middle


def _ranking(values: Tensor, squared_mm2: Tensor) -> Tensor:
    """Order by value, highest first; ties by distance to the centre, then by index."""
    near = torch.argsort(squared_mm2, stable=True)
    return near[torch.argsort(values[near], descending=True, stable=True)]
