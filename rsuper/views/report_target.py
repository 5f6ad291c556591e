"""What the reports of a case ask of a network, as masks that can be drawn: the region and the balls."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llm_extract.records import ReportRecord
from rsuper.supervision.types import ClassState


@dataclass(frozen=True, kw_only=True)
class ReportTarget:
    """The target of one lesion class, drawn.

    Args:
        state: what the reports say about the class.
        region: bool [D,H,W], where the lesions may lie; empty unless a lesion is reported.
        balls: bool [D,H,W], a ball of the reported size where the network sees each lesion most.
    """

    state: ClassState
    region: NDArray[np.bool_]
    balls: NDArray[np.bool_]


def report_target(
    records: Sequence[ReportRecord],
    organ_masks: Mapping[str, NDArray[np.bool_]],
    probability: NDArray[np.floating],
    *,
    case_id: str,
    spacing_mm: Sequence[float],
    class_name: str,
) -> ReportTarget:
    """Build the target of a class as training does, and place its balls on a probability map.

    Args:
        records: all records of the case.
        organ_masks: structure name -> bool [D,H,W].
        probability: [D,H,W] in [0, 1], on the same grid.
        case_id: the case.
        spacing_mm: voxel size in mm, array order.
        class_name: lesion class such as ``pancreas_lesion``.
    """
    import torch

    from rsuper.losses import ball_targets
    from rsuper.supervision import build_case_targets

    targets = build_case_targets(
        records,
        organ_masks,
        case_id=case_id,
        spacing_mm=spacing_mm,
        lesion_classes=(class_name,),
        voxel_labelled=frozenset(),
    )
    target = targets.classes[class_name]
    empty = np.zeros(targets.shape, dtype=bool)
    if target.state != "reported" or target.region is None:
        return ReportTarget(state=target.state, region=empty, balls=empty)
    placed = ball_targets(
        torch.from_numpy(np.ascontiguousarray(probability, dtype=np.float32)),
        torch.from_numpy(np.ascontiguousarray(target.region)),
        target.lesions,
        spacing_mm=targets.spacing_mm,
    )
    balls = empty.copy()
    for lesion, centre, located in zip(
        target.lesions, placed.centers.tolist(), placed.located.tolist(), strict=True
    ):
        if located:
            balls |= ball(
                targets.shape,
                centre,
                diameter_mm=ball_diameter_mm(lesion.diameters_mm, lesion.volume_mm3),
                spacing_mm=targets.spacing_mm,
            )
    return ReportTarget(state=target.state, region=np.asarray(target.region, dtype=bool), balls=balls)


def ball_diameter_mm(diameters_mm: Sequence[float], volume_mm3: tuple[float, float]) -> float:
    """Diameter of the drawn ball: the longest stated one, else (6·√(lo·hi)/π)^⅓, else 6 mm."""
    if diameters_mm:
        return max(diameters_mm)
    low, high = volume_mm3
    if low <= 0 or math.isinf(high):
        return 6.0
    return float((6 * math.sqrt(low * high) / math.pi) ** (1 / 3))


def ball(
    shape: tuple[int, int, int],
    centre_voxel: Sequence[float],
    *,
    diameter_mm: float,
    spacing_mm: Sequence[float],
) -> NDArray[np.bool_]:
    """Voxels whose centre lies in a ball: bool [D,H,W]."""
    squared = np.zeros(shape)
    for axis, (size, centre, spacing) in enumerate(zip(shape, centre_voxel, spacing_mm, strict=True)):
        distance = (np.arange(size) - float(centre)) * float(spacing)
        squared += (distance**2).reshape([-1 if i == axis else 1 for i in range(3)])
    return np.asarray(squared <= (diameter_mm / 2) ** 2 + 1e-6, dtype=bool)
