"""Interpolation along one axis as a sparse matrix: linear, cubic, and by covered share."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

Doubles = NDArray[np.float64]


def axis_weights(
    n_source: int, n_target: int, step: float, start: float, *, order: Literal[1, 3] = 1
) -> sparse.csr_array:
    """[n_target, n_source] weights of the interpolant, averaged over :func:`averaging_window` source voxels.

    Target voxel i lies at source index ``start + step·i``. Inside, order 1 reproduces linear functions exactly and
    order 3 quadratic ones; at the border weights are renormalised.
    """
    window = averaging_window(step)
    centre = np.clip(start + step * np.arange(n_target), -0.5, n_source - 0.5)
    reach = (1.0 if order == 1 else 2.0) + window / 2
    taps = np.floor(centre - reach)[:, None].astype(int) + np.arange(int(np.ceil(2 * reach)) + 2)
    offset = taps - centre[:, None]
    kernel, integral = (_tent, _tent_integral) if order == 1 else (_keys, _keys_integral)
    if window < 1e-6:
        weight = kernel(offset)
    else:
        weight = (integral(offset + window / 2) - integral(offset - window / 2)) / window
    weight[(taps < 0) | (taps >= n_source)] = 0.0
    weight /= weight.sum(axis=1, keepdims=True)
    rows, columns = np.nonzero(weight)
    entries = (weight[rows, columns].astype(np.float32), (rows, taps[rows, columns]))
    return sparse.csr_array(entries, shape=(n_target, n_source))


def averaging_window(step: float) -> float:
    """Averaging window √(step² - 1): 0 for equal or smaller voxels, nearly ``step`` for large ones."""
    return float(np.sqrt(max(0.0, step**2 - 1.0)))


def _tent(t: Doubles) -> Doubles:
    """Linear interpolation: max(0, 1 - |t|)."""
    return np.maximum(0.0, 1.0 - np.abs(t))


def _tent_integral(t: Doubles) -> Doubles:
    """Integral of the tent from -∞ to t."""
    inner = np.clip(t, -1.0, 1.0)
    return np.where(inner < 0, (inner + 1) ** 2 / 2, 1 - (1 - inner) ** 2 / 2)


def _keys(t: Doubles) -> Doubles:
    """Cubic convolution with a = -1/2 (Keys 1981, doi 10.1109/TASSP.1981.1163711)."""
    u = np.minimum(np.abs(t), 2.0)
    return np.where(u < 1, (1.5 * u - 2.5) * u**2 + 1, ((-0.5 * u + 2.5) * u - 4) * u + 2)


def _keys_integral(t: Doubles) -> Doubles:
    """Integral of the Keys kernel from 0 to t."""
    u = np.minimum(np.abs(t), 2.0)
    inner = (0.375 * u - 2.5 / 3) * u**3 + u
    outer = ((-0.125 * u + 2.5 / 3) * u - 2) * u**2 + 2 * u - 1 / 6
    magnitude: Doubles = np.where(u < 1, inner, outer)
    return np.copysign(magnitude, t)


def axis_shares(n_source: int, n_target: int, step: float, start: float) -> sparse.csr_array:
    """[n_target, n_source] share of each target voxel that each source voxel covers (step >= 1)."""
    left = start + step * np.arange(n_target) - abs(step) / 2
    taps = np.floor(left + 0.5)[:, None].astype(int) + np.arange(int(np.ceil(abs(step))) + 2)
    right = np.minimum(left[:, None] + abs(step), taps + 0.5)
    share = np.maximum(0.0, right - np.maximum(left[:, None], taps - 0.5)) / abs(step)
    share[(taps < 0) | (taps >= n_source)] = 0.0
    rows, columns = np.nonzero(share)
    entries = (share[rows, columns].astype(np.float32), (rows, taps[rows, columns]))
    return sparse.csr_array(entries, shape=(n_target, n_source))
