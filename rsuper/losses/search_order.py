"""In which order the lesions of a pair are searched: the large before the small, the confined before the free."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rsuper.losses.ball_rules import DEFAULT_RULES, BallRules, middle_volume_mm3, search_diameter_mm
from rsuper.morphology import Box
from rsuper.supervision.types import LesionTarget

Alike = Callable[[LesionTarget, LesionTarget], bool]


def search_orders(
    lesions: Sequence[LesionTarget], rooms: Sequence[float], rules: BallRules = DEFAULT_RULES
) -> list[list[int]]:
    """The orders worth a try, all different, the usual one first.

    From the largest to the smallest a lesion that may lie anywhere can take the only place of one that is hardly
    smaller and confined to one side. So of lesions of like size the confined ones may come first; how like, intervals
    do not say: once where each median lies in the other's interval, once wherever the intervals meet.

    >>> left = torch.zeros(4, 4, 4, dtype=torch.bool)
    >>> anywhere = LesionTarget(diameters_mm=(9.0,), volume_mm3=(200.0, 800.0))
    >>> confined = LesionTarget(diameters_mm=(8.0,), volume_mm3=(150.0, 600.0), region=left)
    >>> search_orders([anywhere, confined], [-1.0, 32.0])
    [[0, 1], [1, 0]]
    """
    usual = search_order(lesions, rooms, rules)

    def exchangeable(first: LesionTarget, second: LesionTarget) -> bool:
        return all(
            one.volume_mm3[0] <= middle_volume_mm3(other, rules) <= one.volume_mm3[1]
            for one, other in ((first, second), (second, first))
        )

    orders = [usual]
    for alike in (exchangeable, _intervals_meet):
        order = _confined_first(usual, lesions, rooms, alike)
        if order not in orders:
            orders.append(order)
    return orders


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
            _room(lesion, rooms[index]),
            lesion.slab or (math.inf, math.inf, math.inf),
            -lesion.weight,
        )

    return sorted(range(len(lesions)), key=key)


def _confined_first(
    order: Sequence[int], lesions: Sequence[LesionTarget], rooms: Sequence[float], alike: Alike
) -> list[int]:
    """Neighbours of like size change places until none with less room follows one with more."""
    order, moved = list(order), True
    while moved:  # ends: each exchange leaves one pair fewer in which the one with more room comes first
        moved = False
        for position in range(len(order) - 1):
            first, second = (lesions[index] for index in order[position : position + 2])
            narrower = _room(second, rooms[order[position + 1]]) < _room(first, rooms[order[position]])
            if narrower and not (first.remainder or second.remainder) and alike(first, second):
                order[position : position + 2] = order[position + 1], order[position]
                moved = True
    return order


def _intervals_meet(first: LesionTarget, second: LesionTarget) -> bool:
    return first.volume_mm3[0] <= second.volume_mm3[1] and second.volume_mm3[0] <= first.volume_mm3[1]


def _room(lesion: LesionTarget, room: float) -> float:
    return math.inf if lesion.region is None and lesion.slab is None else room


def room_voxels(region: Bool[Tensor, "D H W"], lesions: Sequence[LesionTarget]) -> Float[Tensor, " L"]:
    """Voxels that each lesion has to itself, where a rule asks for it; −1 where none does. Stays on the device."""
    several = len(lesions) > 1
    whole = slice(0, region.shape[0]), slice(0, region.shape[1]), slice(0, region.shape[2])
    rooms: list[Tensor | None] = []
    for lesion in lesions:
        bounded = not lesion.diameters_mm and math.isfinite(lesion.volume_mm3[1])
        confined = lesion.region is not None or lesion.slab is not None
        if bounded or (several and confined):
            own = own_region(region, lesion, whole)
            rooms.append(own.view(torch.uint8).sum(dtype=torch.float32))
        else:
            rooms.append(None)
    if all(room is None for room in rooms):
        return torch.full((len(lesions),), -1.0)
    unasked = torch.full((), -1.0, device=region.device)
    return torch.stack([unasked if room is None else room for room in rooms])


def own_region(region: Bool[Tensor, "d h w"], lesion: LesionTarget, box: Box) -> Bool[Tensor, "d h w"]:
    """The part of the pair's region in which this lesion may lie: its own host region and slab."""
    own = region if lesion.region is None else region & cut_mask(lesion.region, box, region)
    if lesion.slab is None:
        return own
    axis, start, stop = lesion.slab
    size = own.shape[axis]
    start, stop = (min(size, max(0, edge - box[axis].start)) for edge in (start, stop))
    inside = torch.zeros_like(own)
    if stop > start:
        inside.narrow(axis, start, stop - start).fill_(1)
    return own & inside


def cut_mask(mask: Bool[Tensor, "D H W"], box: Box, like: Tensor) -> Bool[Tensor, "d h w"]:
    """The box of a mask of the whole patch, on the device of ``like``."""
    return mask[box].to(like.device, non_blocking=True)
