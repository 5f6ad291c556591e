"""Correlated noise: parenchymal texture and CT noise with a kernel's grain."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

Float = NDArray[np.float32]


def correlated_noise(
    shape: tuple[int, int, int],
    rng: np.random.Generator,
    *,
    sigma_mm: float,
    spacing_mm: tuple[float, float, float],
) -> Float:
    """Zero-mean noise of unit standard deviation and correlation length ``sigma_mm``; float32 [i,j,k]."""
    white = rng.standard_normal(shape, dtype=np.float32)
    sigma = [sigma_mm / s for s in spacing_mm]
    smooth = gaussian_filter(white, sigma, mode="wrap", truncate=3.0)
    return np.asarray(smooth / smooth.std(), np.float32)


def blurred(array: Float, *, sigma_mm: float, spacing_mm: tuple[float, float, float]) -> Float:
    """The image through a Gaussian point spread function of ``sigma_mm``."""
    return np.asarray(
        gaussian_filter(array, [sigma_mm / s for s in spacing_mm], mode="nearest", truncate=3.0)
    )
