"""Intensity statistics of the organs in a prepared dataset, which normalise every image the same way."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from rsuper.data.store import PreparedCase
from rsuper.errors import DataError

VOXELS_PER_CASE = 4000


class IntensityFingerprint(BaseModel):
    """HU statistics inside the organ masks (nnU-Net's CT normalisation).

    Args:
        low_hu, high_hu: 0.5 and 99.5 percentiles; images are clipped to them.
        mean_hu, std_hu: clipped images are shifted and scaled by these.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    low_hu: float
    high_hu: float
    mean_hu: float
    std_hu: float = Field(gt=0)


def fingerprint(
    cases: Sequence[PreparedCase], *, structures: Sequence[str] = (), seed: int = 0
) -> IntensityFingerprint:
    """Sample organ voxels of every case and summarise them.

    Args:
        cases: prepared training cases with at least one organ mask.
        structures: organ masks to look into, those that the network learns; none is all (bowel gas included).
        seed: seed of the voxel sample.

    Raises:
        DataError: ``no_organ_voxels`` if no case has any organ voxel.
    """
    samples = []
    for number, case in enumerate(cases):
        every = [name for name in case.channels if name.startswith("structure:")]
        names = [name for name in every if name.removeprefix("structure:") in structures] or every
        image = case.image()
        inside = np.zeros(image.shape, dtype=bool)
        for name in names:
            inside |= case.mask(name)
        values = image[inside]
        if values.size:
            rng = np.random.default_rng([seed, number])
            samples.append(rng.choice(values, size=min(VOXELS_PER_CASE, values.size), replace=False))
    if not samples:
        raise DataError(
            "no organ voxel in any training case",
            code="no_organ_voxels",
            hint="organ masks give the intensity range; check CASE/segmentations",
        )
    values = np.concatenate(samples).astype(np.float64)
    low, high = np.percentile(values, [0.5, 99.5])
    clipped = np.clip(values, low, high)
    return IntensityFingerprint(
        low_hu=float(low),
        high_hu=float(high),
        mean_hu=float(clipped.mean()),
        std_hu=float(max(clipped.std(), 1.0)),
    )
