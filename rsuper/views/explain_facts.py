"""What one lesion class is taught: its target, its balls, and the sign of the loss gradient in every voxel.

Everything comes from the code that trains: ``build_case_targets``, ``crop_label``, ``crop_pairs``, ``ball_targets`` and
autograd through ``ReportSupervisionLoss``. Here it is only counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from llm_extract.anatomy import Anatomy
from llm_extract.records import ReportRecord
from rsuper.data.crops import denials
from rsuper.data.sampling import Channels
from rsuper.losses import ReportSupervisionConfig, ReportSupervisionLoss, ball_targets, volume_loss
from rsuper.losses.ball_rules import is_unsized, search_diameter_mm, voxel_counts, without_vacuous_bound
from rsuper.morphology import voxel_volume_mm3
from rsuper.supervision import (
    CaseTargets,
    ClassTarget,
    PairTarget,
    SupervisionBatch,
    SupervisionPolicy,
    build_case_targets,
    crop_label,
    crop_pairs,
    load_policy,
)
from rsuper.supervision.types import LesionTarget
from rsuper.views.explain_guesses import GuessKey

Bool = NDArray[np.bool_]
Place = Literal["core", "shell", "rest", "outside", "unknown"]
Pull = Literal["alone", "up", "down"]
VolumeState = Literal["under", "inside", "over", "none"]
PLACES: tuple[Place, ...] = ("core", "shell", "rest", "outside", "unknown")
PULLS: tuple[Pull, ...] = ("alone", "up", "down")


@dataclass(frozen=True, kw_only=True)
class VoxelRow:
    """Voxels of one kind that are told the same.

    Args:
        place: ``core`` and ``shell`` of the balls, ``rest`` of the region, ``outside`` it, ``unknown``.
        pull: the sign of the gradient; ``alone`` is exactly 0.
        volume_mm3: how many of them.
        strength: mean gradient of a voxel, against the strongest kind of voxels.
    """

    place: Place
    pull: Pull
    volume_mm3: float
    strength: float


@dataclass(frozen=True, kw_only=True)
class Ball:
    """Where the loss put one lesion.

    Args:
        lesion: index of the lesion's target.
        centre: voxel of the crop.
        search_mm: diameter that is searched with: the longest stated one, or that of a likely volume.
        ball_mm: diameter of the ball in which voxels are chosen.
        core_mm3: how much is foreground.
        reach_mm3: how much is spared from being pushed down, before the gap around it.
        gap_mm: width of that gap.
        p_centre: the network's probability at the centre.
    """

    lesion: int
    centre: tuple[int, int, int]
    search_mm: float
    ball_mm: float
    core_mm3: float
    reach_mm3: float
    gap_mm: float
    p_centre: float


@dataclass(frozen=True, kw_only=True)
class GuessFacts:
    """What the loss makes of one output of the network.

    Args:
        key: which output.
        probability: float32 [i,j,k].
        codes: uint8 [i,j,k], 3 × place + pull + 1.
        rows: the voxels, counted.
        balls: one a located lesion.
        predicted_mm3: Σ p over the region; None where there is none.
        volume: where that lies against the interval.
        terms: the terms of the loss.
    """

    key: GuessKey
    probability: NDArray[np.float32]
    codes: NDArray[np.uint8]
    rows: tuple[VoxelRow, ...]
    balls: tuple[Ball, ...]
    predicted_mm3: float | None
    volume: VolumeState
    terms: Mapping[str, float] = field(default_factory=dict)


class ClassLesson:
    """The target of one lesion class on one crop, and what the loss says to any output on it.

    Args:
        record: what the sentence says.
        organs: structure name -> bool [i,j,k] of the crop.
        lesion_class: such as ``pancreas_lesion``.
        spacing_mm: voxel size in array order.
        anatomy: the table of organs.
        policy: which lesions count.
        config: the loss.
    """

    def __init__(
        self,
        record: ReportRecord,
        organs: Mapping[str, Bool],
        *,
        lesion_class: str,
        spacing_mm: tuple[float, float, float],
        anatomy: Anatomy,
        policy: SupervisionPolicy | None = None,
        config: ReportSupervisionConfig | None = None,
    ) -> None:
        self.lesion_class = lesion_class
        self.spacing_mm = spacing_mm
        self.config = config or ReportSupervisionConfig()
        self.targets: CaseTargets = build_case_targets(
            [record],
            organs,
            case_id="explain",
            spacing_mm=spacing_mm,
            lesion_classes=(lesion_class,),
            voxel_labelled=frozenset(),
            anatomy=anatomy,
            policy=policy or load_policy(),
        )
        channels = Channels(structures=(), lesion_classes=(lesion_class,))
        start, stop = (0, 0, 0), self.targets.shape
        self.label = crop_label(self.targets, lesion_class, start, stop)
        self.pairs: tuple[PairTarget, ...] = crop_pairs(
            self.targets, start, stop, sample=0, channels=channels.lesion_index
        ) + denials(self.targets, self.targets.shape, channels=channels)
        self._loss = ReportSupervisionLoss(self.config)

    @property
    def target(self) -> ClassTarget:
        """The target of the class."""
        return self.targets.classes[self.lesion_class]

    @property
    def voxel_mm3(self) -> float:
        """Volume of a voxel."""
        return voxel_volume_mm3(self.spacing_mm)

    @property
    def pair(self) -> PairTarget | None:
        """What the report asks of the region; None unless it states a lesion that counts."""
        return next((pair for pair in self.pairs if pair.present), None)

    def ask(self, key: GuessKey, logits: NDArray[np.float32]) -> GuessFacts:
        """Run the loss on one output and count what it tells each voxel.

        Args:
            key: name of the output.
            logits: float32 [i,j,k].
        """
        tensor = torch.from_numpy(np.ascontiguousarray(logits, dtype=np.float32))
        gradient, terms = self._gradient(tensor)
        places, balls = self._places(tensor)
        pulls = np.where(gradient < 0, 1, np.where(gradient > 0, 2, 0))
        codes = np.asarray(3 * places + pulls + 1, np.uint8)
        return GuessFacts(
            key=key,
            probability=torch.sigmoid(tensor).numpy(),
            codes=codes,
            rows=_rows(codes, np.abs(gradient), self.voxel_mm3),
            balls=balls,
            predicted_mm3=self._predicted_mm3(tensor),
            volume=self._volume_state(tensor),
            terms=terms,
        )

    def _gradient(self, logits: Tensor) -> tuple[NDArray[np.float32], dict[str, float]]:
        """The derivative of the loss by the logit of every voxel, and the terms."""
        leaf = logits[None, None].clone().requires_grad_(True)  # noqa: FBT003 - torch's own signature
        batch = SupervisionBatch(
            labels=torch.from_numpy(self.label.label)[None, None],
            known=torch.from_numpy(self.label.known)[None, None],
            spacing_mm=torch.tensor([self.spacing_mm], dtype=torch.float32),
            pairs=self.pairs,
        )
        result = self._loss(leaf, batch)
        if result.total.requires_grad:
            result.total.backward()
        gradient = torch.zeros_like(logits) if leaf.grad is None else leaf.grad[0, 0]
        return gradient.numpy(), {name: float(value) for name, value in result.terms.items()}

    def _places(self, logits: Tensor) -> tuple[NDArray[np.int64], tuple[Ball, ...]]:
        """Which kind of voxel each one is (an index into ``PLACES``), and the balls."""
        places = np.where(self.label.known, PLACES.index("outside"), PLACES.index("unknown"))
        pair = self.pair
        if pair is None:
            return places, ()
        region = pair.region.numpy()
        places[region] = PLACES.index("rest")
        found = ball_targets(
            torch.sigmoid(logits),
            pair.region,
            pair.lesions,
            spacing_mm=self.spacing_mm,
            rules=self.config.ball,
            logits=logits,
        )
        places[found.ignore.numpy()] = PLACES.index("shell")
        places[found.foreground.numpy()] = PLACES.index("core")
        probability = torch.sigmoid(logits)
        balls = []
        for index, (lesion, centre) in enumerate(zip(pair.lesions, found.centers.tolist(), strict=True)):
            if bool(found.located[index]):
                at = (int(centre[0]), int(centre[1]), int(centre[2]))
                balls.append(self._ball(index, lesion, at, region=pair.region, p=float(probability[at])))
        return places, tuple(balls)

    def _ball(
        self, index: int, lesion: LesionTarget, centre: tuple[int, int, int], *, region: Tensor, p: float
    ) -> Ball:
        rules = self.config.ball
        own = region if lesion.region is None else lesion.region
        lesion = without_vacuous_bound(lesion, float(own.sum()) * self.voxel_mm3)
        search_mm = search_diameter_mm(lesion, rules)
        ball_mm = search_mm if is_unsized(lesion) else rules.ball_scale * search_mm
        core, reach, _ = voxel_counts(lesion, ball_mm, self.voxel_mm3, rules)
        return Ball(
            lesion=index,
            centre=centre,
            search_mm=search_mm,
            ball_mm=ball_mm,
            core_mm3=core * self.voxel_mm3,
            reach_mm3=reach * self.voxel_mm3,
            gap_mm=rules.gap_mm,
            p_centre=p,
        )

    def _predicted_mm3(self, logits: Tensor) -> float | None:
        """V̂ = v·Σ p over the region."""
        pair = self.pair
        if pair is None:
            return None
        return float(torch.sigmoid(logits * self.config.sharpen)[pair.region].sum()) * self.voxel_mm3

    def _volume_state(self, logits: Tensor) -> VolumeState:
        """Which way the volume loss pulls: up is under, down is over."""
        pair = self.pair
        if pair is None or self.config.volume == 0:
            return "none"
        leaf = logits[None].clone().requires_grad_(True)  # noqa: FBT003 - torch's own signature
        interval = torch.tensor([pair.volume_mm3], dtype=torch.float32)
        loss = volume_loss(leaf, pair.region[None], interval, spacing_mm=self.spacing_mm, tolerance=0.0)
        loss.backward()  # type: ignore[no-untyped-call]
        slope = 0.0 if leaf.grad is None else float(leaf.grad.sum())
        return "under" if slope < 0 else "over" if slope > 0 else "inside"


def _rows(codes: NDArray[np.uint8], strength: NDArray[np.float32], voxel_mm3: float) -> tuple[VoxelRow, ...]:
    """The kinds of voxels that occur, places from the core outwards, in each the largest first."""
    counts = np.bincount(codes.ravel(), minlength=16)
    sums = np.bincount(codes.ravel(), weights=strength.ravel().astype(np.float64), minlength=16)
    means = sums / np.maximum(counts, 1)
    top = float(means.max()) or 1.0
    rows = [
        VoxelRow(
            place=PLACES[(code - 1) // 3],
            pull=PULLS[(code - 1) % 3],
            volume_mm3=float(counts[code]) * voxel_mm3,
            strength=float(means[code]) / top,
        )
        for code in range(1, 16)
        if counts[code]
    ]
    return tuple(sorted(rows, key=lambda row: (PLACES.index(row.place), -row.volume_mm3)))


def pulled_mm3(rows: Sequence[VoxelRow], pull: Pull) -> float:
    """Total volume that is pulled up, pushed down or left alone."""
    return sum(row.volume_mm3 for row in rows if row.pull == pull)
