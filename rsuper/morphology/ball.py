"""Balls in mm on a voxel grid: their voxels, their kernels, and sums over a ball around every voxel."""

from __future__ import annotations

import functools
import math

import numpy as np
import scipy.fft
import torch
from jaxtyping import Bool, Complex, Float, Int
from torch import Tensor

from rsuper.morphology.distance import SQUARED_SLACK, reach_voxels
from rsuper.morphology.spacing import Spacing

Shape = tuple[int, int, int]


def squared_radius_mm2(reach: Shape, spacing_mm: Spacing) -> Float[Tensor, "d h w"]:
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
    return _squared_in_ball(diameter_mm, spacing_mm)[1]


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

    >>> round(ball_kernel(2.0, (1.0, 1.0, 1.0)).max().item(), 3)
    0.172
    """
    squared, mask = _squared_in_ball(diameter_mm, spacing_mm)
    kernel = squared.mul_(-1 / (2 * (sigma_radii * diameter_mm / 2) ** 2)).exp_().mul_(mask)
    return kernel.div_(kernel.sum())


@functools.lru_cache(maxsize=16)
def ball_cells(diameter_mm: float, spacing_mm: Spacing, device: str = "cpu") -> Int[Tensor, "3 n"]:
    """Offsets of the voxels of a ball from its middle, the nearest first, equal distances by index; int16.

    Shared between calls: never write into it.

    >>> ball_cells(2.0, (1.0, 1.0, 3.0)).tolist()
    [[0, -1, 0, 0, 1], [0, 0, -1, 1, 0], [0, 0, 0, 0, 0]]
    """
    squared, mask = _squared_in_ball(diameter_mm, spacing_mm)
    index = mask.flatten().nonzero().flatten().numpy()
    # Distance and index in one number: no two are equal, and numbers sort faster than pairs.
    nearness = squared.flatten()[index].to(torch.float32).numpy().view(np.int32).astype(np.int64)
    order = np.sort((nearness << 32) | index) & 0xFFFFFFFF
    offsets = np.stack(np.unravel_index(order, mask.shape)).astype(np.int16)
    offsets -= np.array([[size // 2] for size in mask.shape], dtype=np.int16)
    return torch.from_numpy(offsets).to(device, non_blocking=True)


def ball_scores(
    values: Float[Tensor, "D H W"], diameter_mm: float, *, spacing_mm: Spacing, sigma_radii: float = 1.5
) -> Float[Tensor, "D H W"]:
    """Convolution of ``values`` with the ball, zeros outside the array, by FFT in the dtype of ``values``.

    >>> ball_scores(torch.ones(3, 3, 3), 2.0, spacing_mm=(1.0, 1.0, 1.0))[1, 1, 1].round(decimals=4).item()
    1.0
    """
    shape = (values.shape[0], values.shape[1], values.shape[2])
    # Offsets that no two voxels of the box share do not matter.
    steps = reach_voxels(diameter_mm / 2, spacing_mm)
    reach = (min(steps[0], shape[0] - 1), min(steps[1], shape[1] - 1), min(steps[2], shape[2] - 1))
    sizes = _transform_sizes(shape, reach)
    double = "float64" if values.dtype == torch.float64 else "float32"
    response = _ball_response(diameter_mm, spacing_mm, sigma_radii, reach, sizes, double, str(values.device))
    product = _transform(values, sizes).mul_(response)
    # Back in the same order, so that nothing is transformed that will not be read.
    planes = torch.fft.ifft(product, dim=0)[: shape[0]]
    rows = torch.fft.ifft(planes, dim=1)[:, : shape[1]]
    scores: Tensor = torch.fft.irfft(rows, n=sizes[2], dim=2)
    return scores[:, :, : shape[2]]


def _squared_in_ball(diameter_mm: float, spacing_mm: Spacing) -> tuple[Tensor, Tensor]:
    """Squared distances in the window of a ball, and which of its voxels the ball holds."""
    if not (math.isfinite(diameter_mm) and diameter_mm > 0):
        raise ValueError(f"diameter_mm must be positive and finite, got {diameter_mm}")
    radius = diameter_mm / 2
    squared = squared_radius_mm2(reach_voxels(radius, spacing_mm), spacing_mm)
    return squared, squared <= radius**2 * (1 + SQUARED_SLACK)


def _transform_sizes(shape: Shape, reach: Shape) -> Shape:
    """Fast transform sizes at which no value wraps around onto the box."""
    first, second, third = (
        int(scipy.fft.next_fast_len(size + steps, real=True))
        for size, steps in zip(shape, reach, strict=True)
    )
    return first, second, third


def _transform(values: Float[Tensor, "D H W"], sizes: Shape) -> Complex[Tensor, "d h w"]:
    """``rfftn`` with zeros up to ``sizes``; the first axis last, so that lines of padding are not transformed."""
    transform: Tensor = torch.fft.fft(torch.fft.rfft2(values, s=sizes[1:]), n=sizes[0], dim=0)
    return transform


@functools.lru_cache(maxsize=4)
def shared_kernel(diameter_mm: float, spacing_mm: Spacing, sigma_radii: float) -> Float[Tensor, "d h w"]:
    """:func:`ball_kernel`, shared between calls: never write into it."""
    return ball_kernel(diameter_mm, spacing_mm, sigma_radii=sigma_radii)


@functools.lru_cache(maxsize=16)
def _ball_response(
    diameter_mm: float,
    spacing_mm: Spacing,
    sigma_radii: float,
    reach: Shape,
    sizes: Shape,
    dtype: str,
    device: str,
) -> Complex[Tensor, "d h w"]:
    """Transform of the ball centred on index 0, cut to ``reach``."""
    kernel = shared_kernel(diameter_mm, spacing_mm, sigma_radii)
    for axis, (steps, width) in enumerate(zip(reach, kernel.shape, strict=True)):
        kernel = kernel.narrow(axis, width // 2 - steps, 2 * steps + 1)
    first, second, third = (
        torch.arange(-steps, steps + 1) % size for steps, size in zip(reach, sizes, strict=True)
    )
    wrapped = torch.zeros(sizes, dtype=getattr(torch, dtype))
    wrapped[first[:, None, None], second[None, :, None], third] = kernel.to(wrapped.dtype)
    return _transform(wrapped, sizes).to(device, non_blocking=True)
