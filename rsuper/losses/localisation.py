"""Where the lesions of a report are: the ball search, the foreground and the voxels to ignore. No gradient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from rsuper.losses.ball_rules import (
    DEFAULT_RULES,
    BallRules,
    filled_ball_mm,
    is_unsized,
    search_ball_mm,
    search_diameter_mm,
    voxel_counts,
    without_vacuous_bound,
)
from rsuper.losses.boxes import RegionBox, mask_as
from rsuper.losses.ranking import cells_at, ranked, values_at
from rsuper.losses.search_order import cut_mask, own_region, search_orders
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
# Orders of the search whose agreement with the prediction differs by less are as good: rounding must not decide.
LIKE = 1e-5


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


@dataclass(frozen=True)
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


def place_in_boxes(
    boxes: Sequence[RegionBox],
    lesions_per_pair: Sequence[Sequence[LesionTarget]],
    *,
    spacing_mm: Sequence[Spacing],
    rooms: Sequence[Sequence[float]],
    rules: BallRules = DEFAULT_RULES,
) -> list[Placement]:
    """:func:`place_lesions` of every box; lesions, spacing and rooms are looked up by ``RegionBox.pair``."""
    return [
        place_lesions(
            item.logits,
            item.region,
            lesions_per_pair[item.pair],
            box=item.box,
            spacing_mm=spacing_mm[item.pair],
            rooms=rooms[item.pair],
            rules=rules,
        )
        for item in boxes
    ]


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
    """Locate the lesions of one pair on its box. Off the CPU, reads nothing.

    From the largest to the smallest; where :func:`search_orders` knows other orders, the one that asks least change
    of the prediction: the most probability in the foreground, the least in the background.

    Args:
        logits: or anything that ranks voxels; probabilities are taken as its sigmoid.
        region: bool, where the lesions may lie.
        lesions: their own regions and slabs refer to the whole patch.
        box: where this box lies in the patch.
        spacing_mm: voxel size in array order.
        rooms: :func:`rsuper.losses.search_order.room_voxels` of the lesions, read on the host.
        rules: how a size becomes voxels.
    """
    with torch.no_grad():
        ranks = logits.detach().contiguous()
        scene = _Scene(
            ranks=ranks,
            probability=torch.sigmoid(ranks),
            region=region.contiguous(),
            box=box,
            spacing_mm=spacing_mm,
            rules=rules,
        )
        tried = [
            _place_in_order(scene, lesions, rooms, order) for order in search_orders(lesions, rooms, rules)
        ]
        return tried[0] if len(tried) == 1 else _most_agreeing(scene, tried)


def _place_in_order(
    scene: _Scene, lesions: Sequence[LesionTarget], rooms: Sequence[float], order: Sequence[int]
) -> Placement:
    """Locate the lesions one after the other, each in the room that those before it leave."""
    ranks, region, rules = scene.ranks, scene.region, scene.rules
    foreground, ignore, free = torch.zeros_like(region), torch.zeros_like(region), region.clone()
    placed: list[PlacedLesion] = []
    reached: list[Tensor] = []
    for position, index in enumerate(order):
        host = own_region(region, lesions[index], scene.box)
        lesion = without_vacuous_bound(lesions[index], rooms[index] * voxel_volume_mm3(scene.spacing_mm))
        unsized = is_unsized(lesion)
        places = [] if lesion.remainder else _place(scene, host & free, lesion)
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


def _most_agreeing(scene: _Scene, tried: Sequence[Placement]) -> Placement:
    """The placement that the prediction contradicts least, the first of equally good ones."""
    agreement = torch.stack([_agreement(scene.probability, item) for item in tried])
    slack = LIKE * (1 + agreement.abs().amax())
    best = (agreement >= agreement.amax() - slack).view(torch.uint8).argmax()
    if reads_are_free(best):
        return tried[int(best)]
    chosen = best.view(1)

    def pick(parts: Sequence[Tensor]) -> Tensor:
        return torch.stack(tuple(parts)).index_select(0, chosen)[0]

    # Off the CPU every order holds the same lesions and as many places of each.
    rows = [sorted(item.placed, key=lambda lesion: lesion.lesion) for item in tried]
    placed = tuple(
        replace(
            same[0],
            center=pick([item.center for item in same]),
            foreground=pick([item.foreground for item in same]),
            ball=pick([item.ball for item in same]),
            located=pick([item.located for item in same]),
            share=pick([item.share for item in same]),
        )
        for same in zip(*rows, strict=True)
    )
    masks = (pick([getattr(item, name) for item in tried]) for name in ("foreground", "ignore", "background"))
    return Placement(placed, *masks)


def _agreement(probability: Tensor, placement: Placement) -> Float[Tensor, ""]:
    lit = mask_as(placement.foreground, probability.dtype) - mask_as(placement.background, probability.dtype)
    return (probability * lit).sum(dtype=torch.float64)


@dataclass(frozen=True, kw_only=True)
class _Scene:
    """What all lesions of a pair look at."""

    ranks: Tensor
    probability: Tensor
    region: Tensor
    box: Box
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


def _place(scene: _Scene, free: Tensor, lesion: LesionTarget) -> list[_Found]:
    """Locate one lesion in the free voxels of its own region; empty if there is no room or nothing to go by."""
    rules, inside = scene.rules, mask_as(free, scene.probability.dtype)
    q = scene.probability * inside
    top, lowest = q.amax(), q.add(1 - inside).amin()
    allowed = free if lesion.centers is None else free & cut_mask(lesion.centers, scene.box, free)
    sure = (top > 0) & (top - lowest > FLAT * top) & (allowed.view(torch.uint8).amax() > 0)
    if reads_are_free(q) and not sure:
        return []
    search_mm = min(search_ball_mm(search_diameter_mm(lesion, rules)), filled_ball_mm(lesion, rules))
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
    ball_mm = filled_ball_mm(lesion, rules)
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
