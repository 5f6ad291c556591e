"""Where the lesions of a report are: the ball search, the foreground and the voxels to ignore. No gradient."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from rsuper.losses.ball_rules import (
    DEFAULT_RULES,
    BallRules,
    is_unsized,
    middle_volume_mm3,
    search_ball_mm,
    search_diameter_mm,
    voxel_counts,
    without_vacuous_bound,
)
from rsuper.losses.boxes import mask_as
from rsuper.morphology import (
    Box,
    Spacing,
    ball_mask,
    dilate_within,
    find_centers,
    reach_voxels,
    squared_radius_mm2,
    voxel_volume_mm3,
)
from rsuper.supervision.types import LesionTarget

# A map whose values differ by less than this share of its maximum says nothing about where the lesion is.
FLAT = 1e-6


@dataclass(frozen=True, kw_only=True)
class PlacedLesion:
    """One located lesion.

    Args:
        lesion: its index in the sequence that was passed in.
        center: index of the centre in the box.
        foreground: flat indices into the box of the foreground voxels, the most probable first.
        window: the part of the box around the ball.
        ball: bool on the window, the voxels that the ball holds.
        share: share of the lesion's odds that lie here; the places of one lesion follow each other, the best first.
        weight: weight of the lesion.
    """

    lesion: int
    center: tuple[int, int, int]
    foreground: Int[Tensor, " n"]
    window: Box
    ball: Bool[Tensor, "a b c"]
    share: float
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
            places: list[_Found] = []
            if not lesion.remainder:
                centers = None if lesion.centers is None else lesion.centers[box].to(region.device)
                places = _place(ranks, probability, host & free, centers, lesion, spacing_mm, rules)
            if not places or is_unsized(lesion):
                ignore |= host
            if not places:
                continue
            best = places[0]
            foreground.view(-1)[best.foreground] = True
            for place in places:
                ignore[place.window] |= dilate_within(place.reach, rules.gap_mm, spacing_mm=spacing_mm)
                placed.append(
                    PlacedLesion(
                        lesion=index,
                        center=place.center,
                        foreground=place.foreground,
                        window=place.window,
                        ball=place.ball,
                        share=place.share,
                        weight=lesion.weight * (rules.unknown_size_weight if is_unsized(lesion) else 1.0),
                    )
                )
            if position + 1 < len(order):
                free[best.window] &= ~dilate_within(best.middle, rules.gap_mm, spacing_mm=spacing_mm)
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


@dataclass(frozen=True, kw_only=True)
class _Found:
    """A place of a lesion: its foreground as flat indices into the box, bool sets on the window around its ball."""

    center: tuple[int, int, int]
    window: Box
    foreground: Tensor
    ball: Tensor
    reach: Tensor
    middle: Tensor
    share: float


def _place(
    ranks: Tensor,
    probability: Tensor,
    free: Tensor,
    centers: Tensor | None,
    lesion: LesionTarget,
    spacing_mm: Spacing,
    rules: BallRules,
) -> list[_Found]:
    """Locate one lesion in the free voxels of its own region; empty if there is no room or nothing to go by."""
    inside_free = mask_as(free, probability.dtype)
    q = probability * inside_free
    top = float(q.max())
    lowest = float(q.add(1 - inside_free).min())
    allowed = free if centers is None else free & centers
    if not top > 0 or top - lowest <= FLAT * top or not bool(allowed.any()):
        return []
    search_mm = search_ball_mm(search_diameter_mm(lesion, rules))
    found = find_centers(
        q / top,
        allowed,
        search_mm,
        spacing_mm=spacing_mm,
        sigma_radii=rules.sigma_radii,
        count=rules.candidates,
        separation_mm=rules.candidate_separation * search_mm,
    )
    shares = _odds_shares([place.score * top for place in found], rules.candidate_odds)
    return [
        _fill(place.center, share, ranks, free, lesion, spacing_mm, rules)
        for place, share in zip(found, shares, strict=False)
    ]


def _odds_shares(scores: Sequence[float], least: float) -> list[float]:
    """If exactly one place holds the lesion: p_k ∝ m_k/(1 − m_k) for a mean m_k; unlikely places are left out."""
    odds = [score / max(1 - score, 1e-3) for score in scores]
    kept = [value for value in odds if value >= least * sum(odds)] or odds[:1]
    return [value / sum(kept) for value in kept]


def _fill(
    center: tuple[int, int, int],
    share: float,
    ranks: Tensor,
    free: Tensor,
    lesion: LesionTarget,
    spacing_mm: Spacing,
    rules: BallRules,
) -> _Found:
    """The voxels of one place: nested sets of the highest ranks in the ball."""
    diameter = search_diameter_mm(lesion, rules)
    ball_mm = diameter if is_unsized(lesion) else rules.ball_scale * diameter
    window, inside, squared = _ball_window(center, free, ball_mm, spacing_mm, rules.gap_mm)
    inside = inside & free[window]  # the template is shared
    held = inside.flatten().nonzero().flatten()
    values = ranks[window].flatten()[held]
    foreground, reach, middle = voxel_counts(lesion, ball_mm, voxel_volume_mm3(spacing_mm), rules)
    # Each set lies in the one before it.
    reached = _highest(values, held, squared, reach)
    likely = _narrow(values, held, squared, reached, middle)
    lit = _narrow(values, held, squared, likely, foreground)
    order = torch.argsort(values[lit], descending=True, stable=True)
    return _Found(
        center=center,
        window=window,
        foreground=_box_index(held[lit[order]], window, free),
        ball=inside,
        reach=_as_mask(held[reached], inside),
        middle=_as_mask(held[likely], inside),
        share=share,
    )


def _narrow(values: Tensor, held: Tensor, squared_mm2: Tensor, among: Tensor, count: int) -> Tensor:
    """:func:`_highest` among some of the positions."""
    return among[_highest(values[among], held[among], squared_mm2, count)]


def _highest(values: Tensor, held: Tensor, squared_mm2: Tensor, count: int) -> Tensor:
    """Positions of the ``count`` highest values; at the cut, ties go to the nearest to the centre, then by index."""
    if count >= len(values):
        return torch.arange(len(values), device=values.device)
    if count == 0:
        return torch.arange(0, device=values.device)
    cut = torch.kthvalue(values, len(values) - count + 1).values
    above = values > cut
    tied = (values == cut).nonzero().flatten()
    missing = count - int(above.sum())
    if len(tied) > missing:
        nearest = torch.argsort(squared_mm2.flatten()[held[tied]], stable=True)
        tied = tied[nearest[:missing]]
    above[tied] = True
    return above.nonzero().flatten()


def _as_mask(index: Tensor, like: Tensor) -> Tensor:
    mask = torch.zeros_like(like)
    mask.view(-1)[index] = True
    return mask


def _box_index(index: Tensor, window: Box, box: Tensor) -> Tensor:
    """Flat indices into the box from flat indices into the window."""
    _, height, width = (span.stop - span.start for span in window)
    plane, rest = index.div(height * width, rounding_mode="floor"), index.remainder(height * width)
    row, column = rest.div(width, rounding_mode="floor"), rest.remainder(width)
    flat = (plane + window[0].start) * box.shape[1] + row + window[1].start
    return torch.add(flat * box.shape[2], column + window[2].start)


def _ball_window(
    center: tuple[int, int, int], box: Tensor, diameter_mm: float, spacing_mm: Spacing, gap_mm: float
) -> tuple[Box, Tensor, Tensor]:
    """The window around the ball and its margin: where it lies, which voxels the ball holds, distances squared."""
    inside, squared = _ball_template(diameter_mm, spacing_mm, gap_mm)
    window, part = [], []
    for index, size, width in zip(center, box.shape, inside.shape, strict=True):
        steps = width // 2
        start, stop = max(0, index - steps), min(size, index + steps + 1)
        window.append(slice(start, stop))
        part.append(slice(start - index + steps, stop - index + steps))
    cut = tuple(part)
    place = (window[0], window[1], window[2])
    return place, inside[cut].contiguous().to(box.device), squared[cut].contiguous().to(box.device)


@functools.lru_cache(maxsize=16)
def _ball_template(diameter_mm: float, spacing_mm: Spacing, gap_mm: float) -> tuple[Tensor, Tensor]:
    """The ball in the middle of a window that also holds its margin, and the squared distances of the window."""
    reach = reach_voxels(diameter_mm / 2 + gap_mm, spacing_mm)
    mask = ball_mask(diameter_mm, spacing_mm)
    pads = [outer - width // 2 for outer, width in zip(reach, mask.shape, strict=True)]
    inside = torch.nn.functional.pad(mask, [pad for size in reversed(pads) for pad in (size, size)])
    return inside, squared_radius_mm2(reach, spacing_mm).to(torch.float32)
