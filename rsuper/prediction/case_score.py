"""One number a case and class: how sure the network is that there is a lesion."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rsuper.errors import DataError

TOP_MM3 = 100.0


def case_score(
    probability: ArrayLike,
    region: NDArray[np.bool_] | None = None,
    *,
    spacing_mm: Sequence[float],
    top_mm3: float = TOP_MM3,
) -> float:
    """Mean probability of the most probable 100 mm³: the one case score of every arm, table and plot.

    With the voxel volume v = product of ``spacing_mm`` the top_mm3 / v highest probabilities are averaged;
    the last voxel counts with the fraction of it that still belongs to the volume, so that the score does
    not jump with the spacing. A single hot voxel of noise thus cannot make a case positive, while a lesion
    of 6 mm (113 mm³) can.

    Args:
        probability: [D,H,W] in [0, 1].
        region: bool [D,H,W]; only voxels inside count. None is the whole volume.
        spacing_mm: voxel size in mm, array order.
        top_mm3: averaged volume in mm³. A region that is smaller is averaged whole.

    Returns:
        Score in [0, 1].

    Raises:
        DataError: the region has another shape or holds no voxel, or a probability is not finite.

    Example:
        >>> p = np.zeros((4, 4, 4)); p[0, 0, :2] = 0.9
        >>> round(case_score(p, spacing_mm=(5.0, 5.0, 2.0)), 3)  # 50 mm³ a voxel, two voxels
        0.9
    """
    values = np.asarray(probability, dtype=np.float64)
    if region is not None:
        if region.shape != values.shape:
            raise DataError(
                f"region has shape [D,H,W] = {region.shape}, the probability {values.shape}",
                code="shape_mismatch",
            )
        values = values[region]
    values = values.ravel()
    if values.size == 0:
        raise DataError("the region of the case score holds no voxel", code="empty_region")
    if not np.isfinite(values).all():
        raise DataError("the probability holds NaN or infinite values", code="not_finite")
    wanted = max(top_mm3 / float(np.prod(np.asarray(spacing_mm, dtype=np.float64))), 1.0)
    count = min(int(np.ceil(wanted)), values.size)
    top = np.sort(np.partition(values, values.size - count)[values.size - count :])[::-1]
    weights = np.ones(count)
    weights[-1] = min(1.0, wanted - (count - 1))
    return float(np.average(top, weights=weights))
