"""Balls in mm on a voxel grid, and the search for the place where a probability map holds most of one."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import scipy.fft
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rsuper.morphology.distance import SQUARED_SLACK, reach_voxels
from rsuper.morphology.spacing import Spacing

# float32 transforms are good to about 1e-6 of the best score; everything closer than this is scored again.
NEAR_TIE = 3e-5
# Error of a float32 transform relative to the norms of what it convolves.
TRANSFORM_NOISE = 1e-6
# Scores that differ by less are ties: the order of a float64 summation must not decide.
TIE = 1e-9
MAX_RESCORED = 32


def squared_radius_mm2(reach: tuple[int, int, int], spacing_mm: Spacing) -> Float[Tensor, "d h w"]:
    """Squared distance to the middle voxel of a (2·reach + 1) window, float64."""
    first, second, third = (
        (torch.arange(-steps, steps + 1, dtype=torch.float64) * size) ** 2
        for steps, size in zip(reach, spacing_mm, strict=True)
    )
    return first[:, None, None] + second[None, :, None] + third[None, None, :]


def ball_mask(diameter_mm: float, spacing_mm: Spacing) -> Bool[Tensor, "d h w"]:
    """Voxels whose centre lies within half a diameter of the middle voxel; odd size along each axis.

    >>> ball_mask(2.0, (1.0, 1.0, 1.0)).sum().item()
    7
    """
    if not (math.isfinite(diameter_mm) and diameter_mm > 0):
        raise ValueError(f"diameter_mm must be positive and finite, got {diameter_mm}")
    radius = diameter_mm / 2
    return squared_radius_mm2(reach_voxels(radius, spacing_mm), spacing_mm) <= radius**2 * (1 + SQUARED_SLACK)


def ball_kernel(
    diameter_mm: float, spacing_mm: Spacing, *, sigma_radii: float = 1.5
) -> Float[Tensor, "d h w"]:
    """A ball that is a Gaussian inside, exp(−r²/2σ²) with σ = ``sigma_radii`` · radius, and sums to 1.

    Args:
        diameter_mm: diameter of the ball.
        spacing_mm: voxel size in array order.
        sigma_radii: σ in radii of the ball; ``math.inf`` gives a flat ball.

    Returns:
        float64, odd size along each axis.
    """
    mask = ball_mask(diameter_mm, spacing_mm)
    squared = squared_radius_mm2(reach_voxels(diameter_mm / 2, spacing_mm), spacing_mm)
    kernel = torch.exp(-squared / (2 * (sigma_radii * diameter_mm / 2) ** 2)) * mask
    return kernel / kernel.sum()


def ball_scores(
    values: Float[Tensor, "D H W"], diameter_mm: float, *, spacing_mm: Spacing, sigma_radii: float = 1.5
) -> Float[Tensor, "D H W"]:
    """Convolution of ``values`` with the ball, zeros outside the array, by FFT in the dtype of ``values``."""
    shape = (values.shape[0], values.shape[1], values.shape[2])
    sizes = _transform_sizes(shape, diameter_mm, spacing_mm)
    double = values.dtype == torch.float64
    spectrum = _kernel_spectrum(
        diameter_mm, spacing_mm, shape, sigma_radii, "float64" if double else "float32", str(values.device)
    )
    product = torch.fft.rfftn(values, s=sizes).mul_(spectrum)
    scores: Tensor = torch.fft.irfftn(product, s=sizes)
    return scores[: shape[0], : shape[1], : shape[2]]


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
        sigma_radii: see :func:`ball_kernel`.

    Returns:
        Index of the centre.
    """
    found = find_centers(values, allowed, diameter_mm, spacing_mm=spacing_mm, sigma_radii=sigma_radii)
    return found[0].center


@dataclass(frozen=True)
class BallCenter:
    """A place of the ball search.

    Args:
        center: index of the voxel.
        score: mean of the values in the ball, weighted by its kernel.
    """

    center: tuple[int, int, int]
    score: float


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
    """The best centres of a ball, the best first, each further than ``separation_mm`` from those before it.

    Scores come from a float32 transform on the box and are summed again in float64 where they are close, so that
    thread counts and devices agree.

    Args:
        values: non-negative [D,H,W], 0 where nothing may count.
        allowed: bool [D,H,W], where a centre may be; at least one voxel.
        diameter_mm: diameter of the ball.
        spacing_mm: voxel size in array order.
        sigma_radii: see :func:`ball_kernel`.
        count: how many, at most.
        separation_mm: distance between centres.

    Returns:
        1 to ``count`` centres.
    """
    search = functools.partial(
        ball_scores, diameter_mm=diameter_mm, spacing_mm=spacing_mm, sigma_radii=sigma_radii
    )
    kernel = ball_kernel(diameter_mm, spacing_mm, sigma_radii=sigma_radii)
    rough = exact = None
    noise = 0.0
    if values.device.type == "cpu":  # elsewhere a float64 transform is cheap and a look at the scores is not
        rough = search(values.to(torch.float32))
        noise = TRANSFORM_NOISE * float(torch.linalg.vector_norm(values) * torch.linalg.vector_norm(kernel))
    found: list[BallCenter] = []
    while len(found) < count and (not found or bool(allowed.any())):
        candidates = None if rough is None else _near_best(_at_allowed(rough, allowed), noise)
        if candidates is None or len(candidates) > MAX_RESCORED:
            exact = search(values.to(torch.float64)) if exact is None else exact
            scores = _at_allowed(exact, allowed).flatten()
            candidates = torch.arange(len(scores), device=scores.device)
        else:
            scores = _exact_scores(values, candidates, kernel)
        best = scores.max()
        index = int(candidates[(scores >= best * (1 - TIE)).nonzero()[0, 0]])
        found.append(BallCenter(center=_unravel(index, values), score=float(best)))
        if len(found) < count:
            allowed = allowed & ~_around(found[-1].center, allowed, separation_mm, spacing_mm)
    return tuple(found)


def _near_best(scores: Tensor, noise: float) -> Tensor:
    """Flat indices of the scores that a float32 transform cannot tell from the best."""
    best = float(scores.max())
    return (scores >= best - NEAR_TIE * abs(best) - noise).flatten().nonzero().flatten()


def _around(
    center: tuple[int, int, int], like: Tensor, distance_mm: float, spacing_mm: Spacing
) -> Bool[Tensor, "D H W"]:
    """Voxels of the array within ``distance_mm`` of the centre."""
    first, second, third = (
        ((torch.arange(size, device=like.device) - index) * step) ** 2
        for size, index, step in zip(like.shape, center, spacing_mm, strict=True)
    )
    return first[:, None, None] + second[None, :, None] + third[None, None, :] <= distance_mm**2


def _at_allowed(scores: Tensor, allowed: Tensor) -> Tensor:
    """Scores where a centre may be, −1 elsewhere; arithmetic on bytes is many times faster than a masked fill."""
    inside = allowed.view(torch.uint8).to(scores.dtype)
    return torch.addcmul(inside - 1, scores, inside)


def _exact_scores(values: Tensor, candidates: Tensor, kernel: Tensor) -> Tensor:
    """Scores of a few centres (flat indices) by direct summation in float64."""
    scores = []
    for candidate in candidates.tolist():
        center = _unravel(candidate, values)
        window, part = [], []
        for index, size, width in zip(center, values.shape, kernel.shape, strict=True):
            reach = width // 2
            start, stop = max(0, index - reach), min(size, index + reach + 1)
            window.append(slice(start, stop))
            part.append(slice(start - index + reach, stop - index + reach))
        scores.append((values[tuple(window)].double() * kernel[tuple(part)]).sum())
    return torch.stack(scores)


def _unravel(index: int, like: Tensor) -> tuple[int, int, int]:
    _, height, width = like.shape
    return index // (height * width), index // width % height, index % width


def _transform_sizes(
    shape: tuple[int, int, int], diameter_mm: float, spacing_mm: Spacing
) -> tuple[int, int, int]:
    """Fast transform sizes at which no value wraps around onto the box."""
    reach = reach_voxels(diameter_mm / 2, spacing_mm)
    first, second, third = (
        int(scipy.fft.next_fast_len(size + min(steps, size - 1), real=True))
        for size, steps in zip(shape, reach, strict=True)
    )
    return first, second, third


@functools.lru_cache(maxsize=24)
def _kernel_spectrum(
    diameter_mm: float,
    spacing_mm: Spacing,
    shape: tuple[int, int, int],
    sigma_radii: float,
    dtype: str,
    device: str,
) -> Tensor:
    """Transform of the ball centred on index 0; offsets that no two voxels of the box share are left out."""
    sizes = _transform_sizes(shape, diameter_mm, spacing_mm)
    kernel = ball_kernel(diameter_mm, spacing_mm, sigma_radii=sigma_radii)
    for axis, (size, width) in enumerate(zip(shape, kernel.shape, strict=True)):
        reach = width // 2
        kept = min(reach, size - 1)
        kernel = kernel.narrow(axis, reach - kept, 2 * kept + 1)
    padded = torch.zeros(sizes, dtype=torch.float64)
    padded[: kernel.shape[0], : kernel.shape[1], : kernel.shape[2]] = kernel
    centred = padded.roll([-(width // 2) for width in kernel.shape], dims=(0, 1, 2))
    spectrum: Tensor = torch.fft.rfftn(centred.to(device=device, dtype=getattr(torch, dtype)))
    return spectrum
