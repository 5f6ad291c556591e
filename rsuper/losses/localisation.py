"""Where the lesions of a report are: the ball search, the foreground and the voxels to ignore. No gradient."""

from __future__ import annotations

import math
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
from rsuper.losses.ranking import cells_at, ranked, values_at
from rsuper.morphology import (
    BallPlaces,
    Box,
    Spacing,
    ball_cells,
    ball_places,
    dilate_within,
    grow_box,
    reach_voxels,
    reads_are_free,
    voxel_volume_mm3,
)
from rsuper.supervision.types import LesionTarget

# A map whose values differ by less than this share of its maximum says nothing about where the lesion is.
FLAT = 1e-6


@dataclass(frozen=True, kw_only=True)
class PlacedLesion:
    """One place of a lesion. Flat indices point into the box; one past its last voxel stands for no voxel.

    Args:
        lesion: its index in the sequence that was passed in.
        center: index of the centre in the box.
        foreground: flat indices of the foreground voxels, the most probable first.
        ball: flat indices of the voxels that the ball holds.
        located: bool scalar; False only off the CPU, where a lesion that cannot be located is carried along.
        share: share of the lesion's odds that lie here; the places of one lesion follow each other, the best first.
        weight: weight of the lesion.
    """

    lesion: int
    center: Int[Tensor, " 3"]
    foreground: Int[Tensor, " n"]
    ball: Int[Tensor, " m"]
    located: Bool[Tensor, ""]
    share: Float[Tensor, ""]
    weight: float


@dataclass(frozen=True, kw_only=True)
class Placement:
    """All lesions of one pair on its box.

    Args:
        placed: the lesions that were located (off the CPU: or may be).
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
    rooms: Sequence[float],
    rules: BallRules = DEFAULT_RULES,
) -> Placement:
    """Locate the lesions of one pair on its box, from the largest to the smallest. Off the CPU, reads nothing.

    Args:
        logits: or anything that ranks voxels; probabilities are taken as its sigmoid.
        region: bool, where the lesions may lie.
        lesions: their own regions and slabs refer to the whole patch.
        box: where this box lies in the patch.
        spacing_mm: voxel size in array order.
        rooms: :func:`room_voxels` of the lesions, read on the host.
        rules: how a size becomes voxels.
    """
    with torch.no_grad():
        ranks, region = logits.detach().contiguous(), region.contiguous()
        scene = _Scene(ranks=ranks, probability=torch.sigmoid(ranks), spacing_mm=spacing_mm, rules=rules)
        foreground, ignore, free = torch.zeros_like(region), torch.zeros_like(region), region.clone()
        placed: list[PlacedLesion] = []
        reached: list[Tensor] = []
        order = search_order(lesions, rooms, rules)
        for position, index in enumerate(order):
            host = own_region(region, lesions[index], box)
            lesion = without_vacuous_bound(lesions[index], rooms[index] * voxel_volume_mm3(spacing_mm))
            unsized = is_unsized(lesion)
            places = [] if lesion.remainder else _place(scene, host & free, lesion, box)
            if unsized or not places:
                ignore |= host
            if not places:
                continue
            if not unsized and not reads_are_free(ranks):
                ignore |= host & ~places[0].located
            foreground |= _mask(places[0].foreground, free)
            for place in places:
                if reads_are_free(ranks):
                    ignore[place.window] |= scene.grown(place.reach, place.window)
                placed.append(place.of(index, lesion, rules))
                reached.append(place.reach)
            if position + 1 < len(order):
                free[places[0].window] &= ~scene.grown(places[0].middle, places[0].window)
        if reached and not reads_are_free(ranks):  # windows are the box: one margin for all
            whole = slice(0, ranks.shape[0]), slice(0, ranks.shape[1]), slice(0, ranks.shape[2])
            ignore |= scene.grown(torch.cat(reached), whole)
        ignore &= region & ~foreground
        background = region & ~foreground & ~ignore
        return Placement(placed=tuple(placed), foreground=foreground, ignore=ignore, background=background)


def own_region(region: Bool[Tensor, "d h w"], lesion: LesionTarget, box: Box) -> Bool[Tensor, "d h w"]:
    """The part of the pair's region in which this lesion may lie: its own host region and slab."""
    own = region if lesion.region is None else region & _cut(lesion.region, box, region)
    if lesion.slab is None:
        return own
    axis, start, stop = lesion.slab
    size = own.shape[axis]
    start, stop = (min(size, max(0, edge - box[axis].start)) for edge in (start, stop))
    inside = torch.zeros_like(own)
    if stop > start:
        inside.narrow(axis, start, stop - start).fill_(1)
    return own & inside


def room_voxels(region: Bool[Tensor, "D H W"], lesions: Sequence[LesionTarget]) -> Float[Tensor, " L"]:
    """Voxels that each lesion has to itself, where a rule asks for it; −1 where none does. Stays on the device."""
    several = len(lesions) > 1
    first, second, third = (slice(0, size) for size in region.shape)
    rooms: list[Tensor | None] = []
    for lesion in lesions:
        bounded = not lesion.diameters_mm and math.isfinite(lesion.volume_mm3[1])
        if bounded or (several and lesion.region is not None):
            rooms.append(
                own_region(region, lesion, (first, second, third)).view(torch.uint8).sum(dtype=torch.float32)
            )
        else:
            rooms.append(None)
    if all(room is None for room in rooms):
        return torch.full((len(lesions),), -1.0)
    unasked = torch.full((), -1.0, device=region.device)
    return torch.stack([unasked if room is None else room for room in rooms])


def search_order(
    lesions: Sequence[LesionTarget], rooms: Sequence[float], rules: BallRules = DEFAULT_RULES
) -> list[int]:
    """Indices of the lesions from the largest to the smallest, remainders last; the order passed in has no say."""

    def key(index: int) -> tuple[float | int | tuple[float, ...], ...]:
        lesion = lesions[index]
        return (
            int(lesion.remainder),
            -middle_volume_mm3(lesion, rules),
            -search_diameter_mm(lesion, rules),
            lesion.volume_mm3,
            # of equal ones first those that may lie in few places: a place that suits all is not taken from them
            math.inf if lesion.region is None else rooms[index],
            lesion.slab or (math.inf, math.inf, math.inf),
            -lesion.weight,
        )

    return sorted(range(len(lesions)), key=key)


@dataclass(frozen=True, kw_only=True)
class _Scene:
    """What all lesions of a pair look at."""

    ranks: Tensor
    probability: Tensor
    spacing_mm: Spacing
    rules: BallRules

    def window(self, center: Tensor, ball_mm: float) -> Box:
        """The part of the box that the ball and its margin reach; all of it where the centre is not read."""
        depth, height, width = self.ranks.shape
        if not reads_are_free(self.ranks):
            return slice(0, depth), slice(0, height), slice(0, width)
        first, second, third = center.tolist()
        middle = slice(first, first + 1), slice(second, second + 1), slice(third, third + 1)
        reach = reach_voxels(ball_mm / 2 + self.rules.gap_mm, self.spacing_mm)
        return grow_box(middle, reach, (depth, height, width))

    def grown(self, flat: Tensor, window: Box) -> Tensor:
        """The voxels and their margin, on the window."""
        mask = _mask(flat, self.ranks)[window]
        return dilate_within(mask, self.rules.gap_mm, spacing_mm=self.spacing_mm)


@dataclass(frozen=True, kw_only=True)
class _Found:
    """A place of a lesion and its sets of voxels, as flat indices."""

    center: Tensor
    window: Box
    foreground: Tensor
    ball: Tensor
    reach: Tensor
    middle: Tensor
    located: Tensor
    share: Tensor

    def of(self, index: int, lesion: LesionTarget, rules: BallRules) -> PlacedLesion:
        return PlacedLesion(
            lesion=index,
            center=self.center,
            foreground=self.foreground.long(),
            ball=self.ball.long(),
            located=self.located,
            share=self.share,
            weight=lesion.weight * (rules.unknown_size_weight if is_unsized(lesion) else 1.0),
        )


def _place(scene: _Scene, free: Tensor, lesion: LesionTarget, box: Box) -> list[_Found]:
    """Locate one lesion in the free voxels of its own region; empty if there is no room or nothing to go by."""
    rules, inside = scene.rules, mask_as(free, scene.probability.dtype)
    q = scene.probability * inside
    top, lowest = q.amax(), q.add(1 - inside).amin()
    allowed = free if lesion.centers is None else free & _cut(lesion.centers, box, free)
    sure = (top > 0) & (top - lowest > FLAT * top) & (allowed.view(torch.uint8).amax() > 0)
    if reads_are_free(q) and not sure:
        return []
    search_mm = search_ball_mm(search_diameter_mm(lesion, rules))
    found = ball_places(
        q / top.clamp(min=torch.finfo(q.dtype).tiny),
        allowed,
        search_mm,
        spacing_mm=scene.spacing_mm,
        sigma_radii=rules.sigma_radii,
        count=rules.candidates,
        separation_mm=rules.candidate_separation * search_mm,
    )
    shares = _odds_shares(found, top, rules.candidate_odds)
    return [
        _fill(scene, free, lesion, center=center, share=share, located=sure & (share > 0))
        for center, share in zip(found.centers, shares, strict=True)
        if not reads_are_free(q) or share > 0
    ]


def _odds_shares(places: BallPlaces, scale: Tensor, least: float) -> Float[Tensor, " K"]:
    """If exactly one place holds the lesion: p_k ∝ m_k/(1 − m_k) for a mean m_k; 0 for unlikely places."""
    means = places.scores.clamp(min=0) * scale.to(places.scores.dtype)
    odds = torch.where(places.found, means / (1 - means).clamp(min=1e-3), 0.0)
    kept = odds >= least * odds.sum()
    kept[0] = True
    odds = odds * kept
    return odds / odds.sum().clamp(min=torch.finfo(odds.dtype).tiny)


def _fill(
    scene: _Scene, free: Tensor, lesion: LesionTarget, *, center: Tensor, share: Tensor, located: Tensor
) -> _Found:
    """The voxels of one place: nested sets of the highest ranks in the ball, ties to the nearest to its centre."""
    rules, spacing_mm = scene.rules, scene.spacing_mm
    diameter = search_diameter_mm(lesion, rules)
    ball_mm = diameter if is_unsized(lesion) else rules.ball_scale * diameter
    ball = cells_at(center, ball_cells(ball_mm, spacing_mm, str(free.device)), free)
    small, large, middle = voxel_counts(lesion, ball_mm, voxel_volume_mm3(spacing_mm), rules)
    ball_by_rank = ball.index_select(0, ranked(values_at(scene.ranks, ball)))
    lit = located & (share >= rules.lit_odds)
    return _Found(
        center=center,
        window=scene.window(center, ball_mm),
        foreground=_where(ball_by_rank[:small], lit, free),
        ball=_where(ball, located, free),
        reach=_where(ball_by_rank[:large], located, free),
        middle=_where(ball_by_rank[:middle], located, free),
        located=located,
        share=share,
    )


def _where(flat: Tensor, taken: Tensor, free: Tensor) -> Tensor:
    """The indices if ``taken``, else none of them."""
    if reads_are_free(free):
        return flat if taken else flat[:0]
    return torch.where(taken, flat, free.numel())


def _mask(flat: Tensor, like: Tensor) -> Bool[Tensor, "d h w"]:
    mask = torch.zeros(like.numel() + 1, dtype=torch.bool, device=like.device)
    return mask.index_fill_(0, flat.long(), value=True)[:-1].view(like.shape)


def _cut(mask: Tensor, box: Box, like: Tensor) -> Tensor:
    return mask[box].to(like.device, non_blocking=True)
