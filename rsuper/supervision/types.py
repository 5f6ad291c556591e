"""The nouns of supervision: what a report asks of one lesion, one class of one case, one batch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from rsuper.morphology import Box, bounding_box

ClassState = Literal["voxels", "reported", "absent", "unknown"]
StatedAttenuation = Literal["hypo", "iso", "hyper", "mixed", "unknown"]


@dataclass(frozen=True, kw_only=True)
class LesionTarget:
    """What a report asks of one lesion, or of the rest of a group.

    Args:
        diameters_mm: 0 to 3 stated diameters; longest axial, perpendicular, cranio-caudal.
        volume_mm3: calibrated interval (lo, hi); hi may be infinite.
        region: bool [D,H,W], this lesion's own host region inside the pair's; None is the pair's region.
        slab: (axis, start, stop) voxels the lesion must lie in, array order; None is everywhere.
        weight: certainty weight in [0, 1].
        remainder: the unsized rest of a group; its region is ignored by the ball loss, never searched.
        median_mm3: calibrated median volume, where a size is stated.
        sigma_log: standard deviation of log volume around the median.
        attenuation: stated density; only hypo, iso and hyper give an attenuation term.
        malignant: True or False where a pathology report settles it for this lesion.
        centers: bool [D,H,W], where the centre of this lesion's ball may lie (within 5 mm of the host); None
            is anywhere in its region.
    """

    diameters_mm: tuple[float, ...] = ()
    volume_mm3: tuple[float, float] = (65.4, math.inf)
    region: Bool[Tensor, "D H W"] | None = None
    slab: tuple[int, int, int] | None = None
    weight: float = 1.0
    remainder: bool = False
    median_mm3: float | None = None
    sigma_log: float | None = None
    attenuation: StatedAttenuation = "unknown"
    malignant: bool | None = None
    centers: Bool[Tensor, "D H W"] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.diameters_mm, Sequence) or len(self.diameters_mm) > 3:
            raise ValueError(f"diameters_mm holds 0 to 3 numbers, such as (18.0,), got {self.diameters_mm}")
        if any(not 0 < diameter < math.inf for diameter in self.diameters_mm):
            raise ValueError(f"diameters_mm are positive and finite, got {self.diameters_mm}")
        if not isinstance(self.volume_mm3, Sequence) or len(self.volume_mm3) != 2:
            raise ValueError(f"volume_mm3 is (lo, hi), twice the same for a point, got {self.volume_mm3}")
        low, high = self.volume_mm3
        if not 0 <= low <= high or math.isinf(low):
            raise ValueError(
                f"volume_mm3 is (lo, hi) with 0 <= lo <= hi and lo finite, got {self.volume_mm3}"
            )
        if not 0 <= self.weight <= 1:
            raise ValueError(f"weight is a certainty in [0, 1], got {self.weight}")
        if self.slab is not None and (len(self.slab) != 3 or self.slab[0] not in range(3)):
            raise ValueError(
                f"slab is (axis, first voxel, one past the last) of axis 0, 1 or 2, got {self.slab}"
            )
        if self.attenuation not in get_args(StatedAttenuation):
            raise ValueError(
                f"attenuation is one of {', '.join(get_args(StatedAttenuation))}, got {self.attenuation!r}"
            )

        if not isinstance(self.malignant, bool | None):
            raise TypeError(f"malignant is True, False or None, got {self.malignant!r}")

    @cached_property
    def region_box(self) -> Box | None:
        """Bounding box of this lesion's own region; None if it has none or it is empty."""
        return None if self.region is None else bounding_box(self.region)


@dataclass(frozen=True, kw_only=True)
class ClassTarget:
    """What is known of one lesion class in one case.

    Args:
        state: ``voxels`` a human mask, ``reported`` at least one lesion stated, ``absent`` organ stated free,
            ``unknown`` anything else.
        region: bool [D,H,W]; ``reported``: where the lesions may lie; ``unknown``: where nothing is known
            (organ + margin); None for the other states.
        lesions: one target a lesion (``reported`` only).
        volume_mm3: interval of the total volume; hi is infinite where the count has no upper bound.
        median_mm3: median of the total volume where every lesion states a size.
        sigma_log: standard deviation of the log total volume around that median.
        weight: certainty weight of the pair in [0, 1]; 0 keeps the pair out of the loss.
        margin_mm: the Euclidean margin that made the region.
        codes: coded findings, such as ``part_mask_missing``.
        ignore: bool [D,H,W], voxels that stay unknown besides the region: lesions that do not count as this
            class, a side the report does not mention; None is none.
    """

    state: ClassState
    region: NDArray[np.bool_] | None = None
    lesions: tuple[LesionTarget, ...] = ()
    volume_mm3: tuple[float, float] = (0.0, math.inf)
    median_mm3: float | None = None
    sigma_log: float | None = None
    weight: float = 1.0
    margin_mm: float = 0.0
    codes: tuple[str, ...] = ()
    ignore: NDArray[np.bool_] | None = None

    @cached_property
    def region_box(self) -> Box | None:
        """Bounding box of the region; None if there is none or it is empty."""
        if self.region is None:
            return None
        return bounding_box(torch.from_numpy(np.ascontiguousarray(self.region)))


@dataclass(frozen=True, kw_only=True)
class CaseTargets:
    """Targets of all lesion classes of one case, on one grid.

    Args:
        case_id: the case.
        classes: lesion class name such as ``pancreas_lesion`` -> its target.
        spacing_mm: voxel size in array order.
        shape: voxels in array order.
    """

    case_id: str
    classes: Mapping[str, ClassTarget]
    spacing_mm: tuple[float, float, float]
    shape: tuple[int, int, int]


@dataclass(frozen=True, kw_only=True)
class LesionPlace:
    """Where the search over a whole region put a lesion.

    Args:
        lesion: its index in ``ClassTarget.lesions``.
        center: voxel of the case, array order.
        ball_mm: diameter of the ball around it that a crop should hold.
    """

    lesion: int
    center: tuple[int, int, int]
    ball_mm: float


@dataclass(frozen=True, kw_only=True)
class PairTarget:
    """One active (sample, class) pair of a batch: what a report asks of one output channel of one crop.

    Args:
        sample: index into the batch.
        channel: output channel of the class.
        region: bool [D,H,W] of the crop; where the lesions may lie.
        lesions: targets whose regions are cropped to the same grid.
        volume_mm3: interval for the crop; the lower end is 0 if it is not ``complete``.
        median_mm3, sigma_log: calibrated centre and spread; None if the crop is partial or sizes are missing.
        weight: certainty weight.
        complete: True if the crop holds the whole region, or the places where a search over the whole region put these
            lesions; other crops force no foreground.
        present: True for a positive report (the yes/no arm reads this alone).
    """

    sample: int
    channel: int
    region: Bool[Tensor, "D H W"]
    lesions: tuple[LesionTarget, ...]
    volume_mm3: tuple[float, float]
    median_mm3: float | None = None
    sigma_log: float | None = None
    weight: float = 1.0
    complete: bool = True
    present: bool = True


@dataclass(frozen=True, kw_only=True)
class SupervisionBatch:
    """Labels, what is known of them, and the report targets of one batch.

    Args:
        labels: [B,C,D,H,W] bool or float in {0, 1}.
        known: [B,C,D,H,W] bool; False voxels take no part in the segmentation loss.
        pairs: the active report pairs.
        spacing_mm: [B,3] in array order.
        image_hu: [B,1,D,H,W] HU, only for the attenuation term.
        organ: [B,C,D,H,W] bool host organ of each lesion channel, only for the attenuation term.
        malignant: (sample, lesion channel) -> what pathology says of all lesions drawn there; only for the malignancy
            term of voxel-labelled classes.
        reference: [B,C,D,H,W] bool masks of lesions that were reported, where there are any; read for diagnostics
            alone, never by a loss.
    """

    labels: Float[Tensor, "B C D H W"] | Bool[Tensor, "B C D H W"]
    known: Bool[Tensor, "B C D H W"]
    spacing_mm: Float[Tensor, "B 3"]
    pairs: tuple[PairTarget, ...] = ()
    image_hu: Float[Tensor, "B 1 D H W"] | None = None
    organ: Bool[Tensor, "B C D H W"] | None = field(default=None)
    malignant: Mapping[tuple[int, int], bool] = field(default_factory=dict)
    reference: Bool[Tensor, "B C D H W"] | None = None

    def to(self, device: torch.device | str) -> SupervisionBatch:
        """The same batch with every tensor on ``device``."""

        def move(pair: PairTarget) -> PairTarget:
            lesions = tuple(
                replace(
                    lesion,
                    region=None if lesion.region is None else lesion.region.to(device),
                    centers=None if lesion.centers is None else lesion.centers.to(device),
                )
                for lesion in pair.lesions
            )
            return replace(pair, region=pair.region.to(device), lesions=lesions)

        return replace(
            self,
            labels=self.labels.to(device),
            known=self.known.to(device),
            spacing_mm=self.spacing_mm.to(device),
            pairs=tuple(move(pair) for pair in self.pairs),
            image_hu=None if self.image_hu is None else self.image_hu.to(device),
            organ=None if self.organ is None else self.organ.to(device),
            reference=None if self.reference is None else self.reference.to(device),
        )
