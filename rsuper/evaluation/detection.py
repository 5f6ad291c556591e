"""Which lesions were found: one-to-one matching of predicted and true components."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from scipy import ndimage
from scipy.optimize import linear_sum_assignment

from rsuper.errors import DataError
from rsuper.prediction.case_score import case_score
from rsuper.prediction.lesions import mask_box

__all__ = ["LesionMatches", "case_score", "match_lesions"]


class LesionMatches(BaseModel):
    """Lesions of one case and class.

    Args:
        n_reference: true lesions.
        n_prediction: predicted lesions.
        matched: pairs (index of the true lesion, index of the predicted one, IoU); indices from 0 in the
            order of the connected components.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    n_reference: int
    n_prediction: int
    matched: tuple[tuple[int, int, float], ...] = ()

    @property
    def n_missed(self) -> int:
        """True lesions without a partner."""
        return self.n_reference - len(self.matched)

    @property
    def n_false(self) -> int:
        """Predicted lesions without a partner."""
        return self.n_prediction - len(self.matched)


def match_lesions(
    reference: NDArray[np.bool_],
    prediction: NDArray[np.bool_],
    *,
    min_iou: float = 0.1,
    min_voxels: int = 1,
) -> LesionMatches:
    """Match connected lesions (26-connectivity) one to one so that the sum of IoU is largest.

    A pair counts from an IoU of ``min_iou`` on: 0.1 is the usual choice for small lesions in 3D, where a
    one-voxel rim already halves the overlap.

    Args:
        reference: bool [D,H,W].
        prediction: bool [D,H,W], same grid.
        min_iou: smallest overlap of a match.
        min_voxels: predicted components below this size are ignored as noise; true ones never are.

    Raises:
        DataError: the shapes differ.
    """
    if reference.shape != prediction.shape:
        raise DataError(
            f"reference has shape [D,H,W] = {reference.shape}, the prediction {prediction.shape}",
            code="shape_mismatch",
        )
    box = mask_box(reference | prediction)
    if box is None:
        return LesionMatches(n_reference=0, n_prediction=0)
    reference, prediction = reference[box], prediction[box]
    structure = np.ones((3, 3, 3), dtype=bool)
    true_labels, n_true = ndimage.label(reference, structure=structure)
    found_labels, _ = ndimage.label(prediction, structure=structure)
    sizes = np.bincount(found_labels.ravel())
    kept = [i for i in range(1, sizes.size) if sizes[i] >= min_voxels]
    true_sizes = np.bincount(true_labels.ravel(), minlength=n_true + 1)
    overlap = np.zeros((n_true + 1, sizes.size), dtype=np.int64)
    both = reference & prediction
    np.add.at(overlap, (true_labels[both], found_labels[both]), 1)
    inter = overlap[1:][:, kept]
    union = true_sizes[1:, None] + sizes[kept][None, :] - inter
    iou = np.where(union > 0, inter / np.maximum(union, 1), 0.0)
    iou = np.where(iou >= min_iou, iou, 0.0)
    rows, columns = linear_sum_assignment(iou, maximize=True)
    matched = tuple(
        (int(r), int(c), float(iou[r, c])) for r, c in zip(rows, columns, strict=True) if iou[r, c] > 0
    )
    return LesionMatches(n_reference=n_true, n_prediction=len(kept), matched=matched)
