"""Head, body and tail of a real pancreas mask that comes without parts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, label

Bool = NDArray[np.bool_]
FULL = np.ones((3, 3, 3), bool)
PART_NAMES = ("pancreas_head", "pancreas_body", "pancreas_tail")


def split_pancreas(pancreas: Bool, *, shares: tuple[float, float] = (0.45, 0.72)) -> dict[str, Bool]:
    """Split by the way along the gland from its right end; gaps of a fragmented mask are bridged.

    Args:
        pancreas: bool [i,j,k] in RAS array order.
        shares: volume shares at which body and tail begin.

    Returns:
        ``pancreas_head``, ``pancreas_body`` and ``pancreas_tail``, disjoint, together the mask.
    """
    if not pancreas.any():
        return {name: np.zeros_like(pancreas) for name in PART_NAMES}
    steps = _steps_from_right(_bridged(pancreas), pancreas)
    values = steps[pancreas]
    rank = np.empty(len(values))
    rank[values.argsort(kind="stable")] = (np.arange(len(values)) + 0.5) / len(values)
    parts = {}
    for name, low, high in zip(PART_NAMES, (0.0, *shares), (*shares, 1.0), strict=True):
        part = np.zeros_like(pancreas)
        part[pancreas] = (rank >= low) & (rank < high)
        parts[name] = part
    return parts


def _bridged(mask: Bool) -> Bool:
    """The mask grown voxel by voxel until it is one piece, 12 voxels at most."""
    grown = np.pad(mask, 13)
    for _ in range(12):
        if label(grown, FULL)[1] == 1:
            break
        grown = binary_dilation(grown)
    return np.asarray(grown[13:-13, 13:-13, 13:-13])


def _steps_from_right(way: Bool, mask: Bool) -> NDArray[np.intp]:
    """Voxel steps within ``way`` from the lowest of the right-most voxels of the mask; [i,j,k]."""
    voxels = np.argwhere(mask)
    right = voxels[voxels[:, 0] >= voxels[:, 0].max() - 1]
    front = np.zeros_like(mask)
    front[tuple(right[right[:, 2].argmin()])] = True
    steps = np.where(front, 0, -1)
    step = 0
    while front.any():
        step += 1
        front = binary_dilation(front, FULL) & way & (steps < 0)
        steps[front] = step
    return np.asarray(np.where(steps < 0, step, steps), np.intp)
