"""Analytic phantoms: logits that are a smooth function of position in mm, on any grid."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor


@dataclass(frozen=True)
class Phantom:
    """An ellipsoid in the middle of a field of view, and what a perfect network says of it."""

    tumour: Tensor
    region: Tensor
    logits: Tensor
    spacing_mm: tuple[float, float, float]

    @property
    def voxel_mm3(self) -> float:
        return float(np.prod(self.spacing_mm))

    @property
    def volume_mm3(self) -> float:
        return float(self.tumour.sum()) * self.voxel_mm3


def ellipsoid_radius(shape, spacing_mm, center_mm, diameters_mm) -> Tensor:
    """1 on the surface of the ellipsoid, below inside."""
    axes = [
        torch.arange(size, dtype=torch.float64) * step for size, step in zip(shape, spacing_mm, strict=True)
    ]
    grid = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
    half = torch.tensor(diameters_mm, dtype=torch.float64) / 2
    return (((grid - torch.tensor(center_mm, dtype=torch.float64)) / half) ** 2).sum(-1).sqrt()


@pytest.fixture
def make_phantom() -> Callable[..., Phantom]:
    def make(
        diameters_mm: Sequence[float] = (12.0, 12.0, 30.0),
        *,
        field_mm: float = 60.0,
        spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0),
        center_mm: Sequence[float] | None = None,
        region_mm: float = 25.0,
        height: float = 8.0,
    ) -> Phantom:
        shape = [round(field_mm / step) + 1 for step in spacing_mm]
        center = [field_mm / 2] * 3 if center_mm is None else center_mm
        radius = ellipsoid_radius(shape, spacing_mm, center, diameters_mm)
        around = ellipsoid_radius(shape, spacing_mm, [field_mm / 2] * 3, [2 * region_mm] * 3)
        logits = (height * (1 - radius)).clamp(-height, height).float()
        return Phantom(tumour=radius <= 1, region=around <= 1, logits=logits, spacing_mm=spacing_mm)

    return make
