"""Volume and place of a mask, small enough to keep for every mask of a dataset."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rsuper.volumes import Volume


@dataclass(frozen=True, kw_only=True)
class MaskSummary:
    """What the check keeps of a mask.

    Args:
        volume_mm3: its volume.
        low_mm, high_mm: corners of its bounding box in RAS+ along the canonical axes; None if it is empty.
    """

    volume_mm3: float
    low_mm: tuple[float, float, float] | None = None
    high_mm: tuple[float, float, float] | None = None


def summarise_mask(mask: Volume) -> MaskSummary:
    """Volume and bounding box of a canonical mask."""
    used = [
        np.flatnonzero(mask.array.any(axis=tuple(other for other in range(3) if other != axis)))
        for axis in range(3)
    ]
    if used[0].size == 0:
        return MaskSummary(volume_mm3=0.0)
    corners = mask.grid.to_world_mm(
        np.array([[axis[0] - 0.5 for axis in used], [axis[-1] + 0.5 for axis in used]])
    )
    low, high = corners.min(axis=0), corners.max(axis=0)
    return MaskSummary(
        volume_mm3=float(mask.array.sum()) * mask.voxel_volume_mm3,
        low_mm=(float(low[0]), float(low[1]), float(low[2])),
        high_mm=(float(high[0]), float(high[1]), float(high[2])),
    )


def centre_x_mm(mask: MaskSummary | None) -> float | None:
    """How far to the right the middle of the bounding box lies; None if there is no mask or it is empty."""
    if mask is None or mask.low_mm is None or mask.high_mm is None:
        return None
    return (mask.low_mm[0] + mask.high_mm[0]) / 2


def boxes_apart_mm(first: MaskSummary, second: MaskSummary) -> float:
    """Distance between two bounding boxes; 0 if they touch or one mask is empty."""
    if first.low_mm is None or first.high_mm is None or second.low_mm is None or second.high_mm is None:
        return 0.0
    gaps = np.maximum(np.subtract(first.low_mm, second.high_mm), np.subtract(second.low_mm, first.high_mm))
    return float(np.linalg.norm(np.maximum(gaps, 0.0)))
