"""Overlap and surface agreement of two masks, with an explicit policy for empty ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from scipy import ndimage
from scipy.spatial import cKDTree

from rsuper.errors import DataError
from rsuper.prediction.lesions import mask_box

Mask = NDArray[np.bool_]
EdgeCase = Literal["none", "both_empty", "empty_reference", "empty_prediction"]
Outcome = Literal["skip", "zero", "one"]
DistanceOutcome = Literal["skip", "zero", "diagonal"]


class EdgeCasePolicy(BaseModel):
    """What a measure is worth where a mask is empty. The defaults separate finding from outlining.

    A tumour that was missed is a Dice of 0; a case without a tumour has nothing to outline, whatever was
    predicted there, and enters sensitivity, specificity and AUC instead of the mean Dice.

    Args:
        both_empty: Dice and surface Dice of two empty masks.
        empty_reference: Dice and surface Dice of a false alarm.
        empty_prediction: Dice and surface Dice of a missed lesion.
        both_empty_distance: HD95 of two empty masks.
        one_empty_distance: HD95 where exactly one is empty; ``diagonal`` is that of the volume, in mm.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    both_empty: Outcome = "skip"
    empty_reference: Outcome = "skip"
    empty_prediction: Outcome = "zero"
    both_empty_distance: DistanceOutcome = "skip"
    one_empty_distance: DistanceOutcome = "skip"


class SegmentationScores(BaseModel):
    """Agreement of one predicted mask with one reference; ``None`` where the policy leaves a measure out.

    Args:
        dsc: Dice similarity coefficient 2|A∩B| / (|A|+|B|).
        surface_dice: share of both surfaces within the tolerance of the other one.
        hd95_mm: larger of the two 95th percentiles of surface distances.
        reference_mm3: volume of the reference.
        prediction_mm3: volume of the prediction.
        edge_case: which mask was empty.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    dsc: float | None
    surface_dice: float | None
    hd95_mm: float | None
    reference_mm3: float
    prediction_mm3: float
    edge_case: EdgeCase


def segmentation_scores(
    reference: Mask,
    prediction: Mask,
    *,
    spacing_mm: Sequence[float],
    tolerance_mm: float = 2.0,
    policy: EdgeCasePolicy | None = None,
) -> SegmentationScores:
    """Compare a predicted mask with a reference.

    Args:
        reference: bool [D,H,W].
        prediction: bool [D,H,W], same grid.
        spacing_mm: voxel size in mm, array order.
        tolerance_mm: distance at which surfaces still agree.
        policy: what empty masks are worth.

    Raises:
        DataError: the shapes differ.

    Example:
        >>> a = np.zeros((8, 8, 8), bool); a[2:6, 2:6, 2:6] = True
        >>> segmentation_scores(a, a, spacing_mm=(1, 1, 1)).dsc
        1.0
    """
    if reference.shape != prediction.shape:
        raise DataError(
            f"reference has shape [D,H,W] = {reference.shape}, the prediction {prediction.shape}",
            code="shape_mismatch",
        )
    rules = policy or EdgeCasePolicy()
    voxel_mm3 = math.prod(float(s) for s in spacing_mm)
    size_reference, size_prediction = int(reference.sum()), int(prediction.sum())
    edge = _edge_case(size_reference, size_prediction)
    if edge == "none":
        dsc = 2 * int((reference & prediction).sum()) / (size_reference + size_prediction)
        surface, hd95 = _surface_scores(reference, prediction, spacing_mm, tolerance_mm)
        scores: tuple[float | None, float | None, float | None] = (dsc, surface, hd95)
    else:
        outcome = {"skip": None, "zero": 0.0, "one": 1.0}[getattr(rules, edge)]
        diagonal = math.hypot(*(n * float(s) for n, s in zip(reference.shape, spacing_mm, strict=True)))
        name = rules.both_empty_distance if edge == "both_empty" else rules.one_empty_distance
        scores = (outcome, outcome, {"skip": None, "zero": 0.0, "diagonal": diagonal}[name])
    return SegmentationScores(
        dsc=scores[0],
        surface_dice=scores[1],
        hd95_mm=scores[2],
        reference_mm3=size_reference * voxel_mm3,
        prediction_mm3=size_prediction * voxel_mm3,
        edge_case=edge,
    )


def _edge_case(size_reference: int, size_prediction: int) -> EdgeCase:
    if size_reference and size_prediction:
        return "none"
    if size_reference:
        return "empty_prediction"
    return "empty_reference" if size_prediction else "both_empty"


def _surface_scores(
    reference: Mask, prediction: Mask, spacing_mm: Sequence[float], tolerance_mm: float
) -> tuple[float, float]:
    """Surface Dice and HD95 of two masks that are not empty."""
    scale = np.asarray([float(size) for size in spacing_mm])
    surface_a, surface_b = _surface(reference) * scale, _surface(prediction) * scale
    # nearest point of the other surface; a tree over surface voxels is far smaller than a distance map
    to_b, _ = cKDTree(surface_b).query(surface_a)
    to_a, _ = cKDTree(surface_a).query(surface_b)
    close = int((to_b <= tolerance_mm + 1e-9).sum()) + int((to_a <= tolerance_mm + 1e-9).sum())
    hd95 = max(float(np.percentile(to_b, 95)), float(np.percentile(to_a, 95)))
    return close / (to_a.size + to_b.size), hd95


def _surface(mask: Mask) -> NDArray[np.int64]:
    """Indices [n,3] of the voxels of a mask that have a face neighbour outside it."""
    box = mask_box(mask)
    if box is None:
        return np.zeros((0, 3), dtype=np.int64)
    inner = np.pad(mask[box], 1)
    start = np.array([part.start for part in box]) - 1
    return np.asarray(np.argwhere(inner & ~ndimage.binary_erosion(inner)) + start, dtype=np.int64)
