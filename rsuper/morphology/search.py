"""The search for the place where a probability map holds most of a ball."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from rsuper.morphology.ball import ball_scores, shared_kernel
from rsuper.morphology.host import read_once, reads_are_free
from rsuper.morphology.spacing import Spacing

# float32 transforms are good to about 1e-6 of the best score; everything closer than this is scored again.
NEAR_TIE = 3e-5
# Error of a float32 transform relative to the norms of what it convolves.
TRANSFORM_NOISE = 1e-6
# Scores that differ by less are ties: the order of a float64 summation must not decide.
TIE = 1e-9
MAX_RESCORED = 32


@dataclass(frozen=True)
class BallCenter:
    """A place of the ball search.

    Args:
        center: index of the voxel.
        score: mean of the values in the ball, weighted by its kernel.
    """

    center: tuple[int, int, int]
    score: float


@dataclass(frozen=True)
class BallPlaces:
    """The same where it was computed, the best first.

    Args:
        centers: [K,3] indices.
        scores: [K] float64.
        found: bool [K]; False where there was no room left.
    """

    centers: Int[Tensor, "K 3"]
    scores: Float[Tensor, " K"]
    found: Bool[Tensor, " K"]


def find_center(
    values: Float[Tensor, "D H W"],
    allowed: Bool[Tensor, "D H W"],
    diameter_mm: float,
    *,
    spacing_mm: Spacing,
    sigma_radii: float = 1.5,
) -> tuple[int, int, int]:
    """The allowed voxel around which a ball holds most of ``values``; ties go to the lowest index.

    Args:
        values: non-negative [D,H,W], 0 where nothing may count.
        allowed: bool [D,H,W], where the centre may be; at least one voxel.
        diameter_mm: diameter of the ball.
        spacing_mm: voxel size in array order.
        sigma_radii: see :func:`rsuper.morphology.ball_kernel`.

    Returns:
        Index of the centre.

    >>> values = torch.zeros(5, 5, 5)
    >>> values[1:4, 2, 3] = 1.0
    >>> find_center(values, values >= 0, 3.0, spacing_mm=(1.0, 1.0, 1.0))
    (2, 2, 3)
    """
    found = find_centers(values, allowed, diameter_mm, spacing_mm=spacing_mm, sigma_radii=sigma_radii)
    return found[0].center


def find_centers(
    values: Float[Tensor, "D H W"],
    allowed: Bool[Tensor, "D H W"],
    diameter_mm: float,
    *,
    spacing_mm: Spacing,
    sigma_radii: float = 1.5,
    count: int = 1,
    separation_mm: float = 0.0,
) -> tuple[BallCenter, ...]:
    """:func:`ball_places`, read on the host (the one device synchronisation).

    Returns:
        1 to ``count`` centres.
    """
    places = ball_places(
        values,
        allowed,
        diameter_mm,
        spacing_mm=spacing_mm,
        sigma_radii=sigma_radii,
        count=count,
        separation_mm=separation_mm,
    )
    centers, scores, found = read_once(places.centers, places.scores, places.found)
    return tuple(
        BallCenter(center=(int(row[0]), int(row[1]), int(row[2])), score=float(score))
        for row, score, there in zip(centers.tolist(), scores, found, strict=True)
        if there
    )


def ball_places(
    values: Float[Tensor, "D H W"],
    allowed: Bool[Tensor, "D H W"],
    diameter_mm: float,
    *,
    spacing_mm: Spacing,
    sigma_radii: float = 1.5,
    count: int = 1,
    separation_mm: float = 0.0,
) -> BallPlaces:
    """The best centres of a ball, the best first, each further than ``separation_mm`` from those before it.

    On a CPU, scores come from a float32 transform on the box and are summed again in float64 where they are close;
    elsewhere the transform is in float64 and nothing is read. So thread counts and devices agree.

    Args:
        values: non-negative [D,H,W], 0 where nothing may count.
        allowed: bool [D,H,W], where a centre may be; at least one voxel.
        diameter_mm: diameter of the ball.
        spacing_mm: voxel size in array order.
        sigma_radii: see :func:`rsuper.morphology.ball_kernel`.
        count: how many, at most.
        separation_mm: distance between centres.
    """
    search = functools.partial(
        ball_scores, diameter_mm=diameter_mm, spacing_mm=spacing_mm, sigma_radii=sigma_radii
    )
    pick = _Exact(search, values)
    if reads_are_free(values):
        pick = _Rescored(search, values, shared_kernel(diameter_mm, spacing_mm, sigma_radii))
    centers, scores, found = [], [], []
    for step in range(count):
        there = allowed.view(torch.uint8).amax()
        if step > 0 and reads_are_free(values) and not there:
            break
        index, score = pick(allowed)
        center = _unravel(index, values)
        centers.append(center)
        scores.append(score)
        found.append(there > 0)
        if step + 1 < count:
            allowed = allowed & ~_around(center, allowed, separation_mm, spacing_mm)
    return BallPlaces(centers=torch.stack(centers), scores=torch.stack(scores), found=torch.stack(found))


class _Exact:
    """The best allowed voxel by a float64 transform; reads nothing."""

    def __init__(self, search: functools.partial[Tensor], values: Tensor) -> None:
        self._search, self._values = search, values

    @functools.cached_property
    def _scores(self) -> Tensor:
        return self._search(self._values.to(torch.float64))

    def __call__(self, allowed: Tensor) -> tuple[Tensor, Tensor]:
        scores = _at_allowed(self._scores, allowed).flatten()
        best = scores.amax()
        # The first of equal maxima: the lowest index.
        return (scores >= best - TIE * best.abs()).view(torch.uint8).argmax(), best


class _Rescored(_Exact):
    """The same from a float32 transform: what it cannot tell from the best is summed again in float64."""

    def __init__(self, search: functools.partial[Tensor], values: Tensor, kernel: Tensor) -> None:
        super().__init__(search, values)
        self._kernel = kernel
        self._rough = search(values.to(torch.float32))
        norms = torch.linalg.vector_norm(values) * torch.linalg.vector_norm(kernel)
        self._noise = TRANSFORM_NOISE * float(norms)

    def __call__(self, allowed: Tensor) -> tuple[Tensor, Tensor]:
        rough = _at_allowed(self._rough, allowed).flatten()
        best = float(rough.amax())
        near = (rough >= best - NEAR_TIE * abs(best) - self._noise).nonzero().flatten()
        if len(near) > MAX_RESCORED:
            return super().__call__(allowed)
        scores = _exact_scores(self._values, near, self._kernel)
        top = scores.amax()
        return near[(scores >= top - TIE * top.abs()).nonzero()[0, 0]], top


def _around(center: Tensor, like: Tensor, distance_mm: float, spacing_mm: Spacing) -> Bool[Tensor, "D H W"]:
    """Voxels of the array within ``distance_mm`` of the centre."""
    first, second, third = (
        ((torch.arange(size, device=like.device) - index) * step) ** 2
        for size, index, step in zip(like.shape, center, spacing_mm, strict=True)
    )
    near: Tensor = first[:, None, None] + second[None, :, None] + third[None, None, :] <= distance_mm**2
    return near


def _at_allowed(scores: Tensor, allowed: Tensor) -> Tensor:
    """Scores where a centre may be, −1 elsewhere; arithmetic on bytes is many times faster than a masked fill."""
    inside = allowed.view(torch.uint8).to(scores.dtype)
    return torch.addcmul(inside - 1, scores, inside)


def _exact_scores(values: Tensor, candidates: Tensor, kernel: Tensor) -> Tensor:
    """Scores of a few centres (flat indices) by direct summation in float64."""
    scores = []
    for candidate in candidates:
        window, part = [], []
        for index, size, width in zip(
            _unravel(candidate, values).tolist(), values.shape, kernel.shape, strict=True
        ):
            reach = width // 2
            start, stop = max(0, index - reach), min(size, index + reach + 1)
            window.append(slice(start, stop))
            part.append(slice(start - index + reach, stop - index + reach))
        scores.append((values[tuple(window)].double() * kernel[tuple(part)]).sum())
    return torch.stack(scores)


def _unravel(index: Tensor, like: Tensor) -> Int[Tensor, " 3"]:
    _, height, width = like.shape
    plane = index.div(height * width, rounding_mode="floor")
    row = index.div(width, rounding_mode="floor").remainder(height)
    return torch.stack((plane, row, index.remainder(width)))
