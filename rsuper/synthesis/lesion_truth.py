"""What is known of one synthetic lesion, measured on its voxels by the rule that measures findings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rsuper.prediction.lesions import axial_diameters, spacing_of
from rsuper.synthesis.report_truth import LesionFact

Side = Literal["left", "right", "n/a"]
Attenuation = Literal["hypo", "hyper"]


@dataclass(frozen=True, kw_only=True)
class LesionTruth:
    """One lesion of an image.

    Args:
        lesion_class: such as ``pancreas_lesion``.
        organ, part, side: where most of it lies; part such as ``pancreas_head`` or None.
        parts: the part, or the two neighbours that it spans.
        attenuation: against the healthy parenchyma of its organ.
        diameters_mm: longest axial, perpendicular to it, cranio-caudal.
        volume_mm3: voxels times voxel volume.
        contrast_hu: its tissue minus mean parenchyma, before noise.
        centre_voxel: centre of mass in array order.
        centre_mm: the same in RAS millimetres.
    """

    lesion_class: str
    organ: str
    part: str | None
    parts: tuple[str, ...]
    side: Side
    attenuation: Attenuation
    diameters_mm: tuple[float, float, float]
    volume_mm3: float
    contrast_hu: float
    centre_voxel: tuple[float, float, float]
    centre_mm: tuple[float, float, float]

    def as_fact(self) -> LesionFact:
        """What the report writer is told."""
        return LesionFact(
            organ=self.organ,
            parts=self.parts,
            side=self.side,
            diameters_mm=self.diameters_mm,
            attenuation=self.attenuation,
        )


def measured_truth(
    mask: NDArray[np.bool_],
    affine: NDArray[np.float64],
    *,
    organ: str,
    parts: tuple[str, ...],
    part: str | None,
    side: Side,
    attenuation: Attenuation,
    contrast_hu: float,
) -> LesionTruth:
    """Measure a lesion.

    Args:
        mask: bool [i,j,k] in RAS array order, one lesion.
        affine: [4,4] voxel to RAS mm.
        organ: host organ.
        parts: the part, or the two neighbours that it spans.
        part: where most of it lies.
        side: of a paired organ.
        attenuation: against the healthy parenchyma.
        contrast_hu: its tissue minus mean parenchyma.
    """
    voxels = np.argwhere(mask)
    low, high = voxels.min(axis=0), voxels.max(axis=0) + 1
    local = mask[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    spacing = spacing_of(affine)
    size = axial_diameters(local, spacing_mm=spacing, axial_axis=2)
    centre = voxels.mean(axis=0)
    place = affine[:3, :3] @ centre + affine[:3, 3]
    return LesionTruth(
        lesion_class=f"{'adrenal' if organ == 'adrenal_gland' else organ}_lesion",
        organ=organ,
        part=part,
        parts=parts,
        side=side,
        attenuation=attenuation,
        diameters_mm=(size.longest_mm, size.perpendicular_mm, size.cranio_caudal_mm),
        volume_mm3=float(len(voxels) * np.prod(spacing)),
        contrast_hu=contrast_hu,
        centre_voxel=(float(centre[0]), float(centre[1]), float(centre[2])),
        centre_mm=(float(place[0]), float(place[1]), float(place[2])),
    )
