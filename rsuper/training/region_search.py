"""Where the lesions of reports lie whose regions are larger than a patch: the ball search over the whole region.

A crop of such a region cannot know whether the lesion is in it, so by itself it may force no foreground. The network
as trained so far looks over the whole region instead, and crops are taken where it puts the lesions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rsuper.data.batches import Channels, SamplingConfig
from rsuper.data.crops import Places, fits, normalise
from rsuper.data.fingerprint import IntensityFingerprint
from rsuper.data.roi import Box
from rsuper.data.store import PreparedCase
from rsuper.losses.ball_rules import BallRules, filled_ball_mm, without_vacuous_bound
from rsuper.losses.localisation import place_lesions
from rsuper.losses.search_order import room_voxels
from rsuper.morphology import voxel_volume_mm3
from rsuper.networks import predict_probabilities
from rsuper.supervision.types import CaseTargets, ClassTarget, LesionPlace

SATURATED = 1e-7
"""Probabilities nearer to 0 or 1 are no further apart than rounding."""
REMEMBERED = 3
"""Searches of a case that are kept: batches are made ahead, so the next one may not have taken the newest."""


@dataclass(frozen=True, kw_only=True)
class _Found:
    """What one search said, and after how many steps."""

    step: int
    places: Places


def _read(found: Mapping[str, Any]) -> _Found:
    places = {
        name: tuple(LesionPlace(**{**place, "center": tuple(place["center"])}) for place in own)
        for name, own in found["places"].items()
    }
    return _Found(step=int(found["step"]), places=places)


class RegionSearch:
    """Searches the regions that no patch holds, and remembers what it found.

    Args:
        channels: output channels.
        sampling: patch size and when to search again.
        rules: how a size becomes voxels, as in the loss.
        intensity: normalisation.
        device: where the network is.
    """

    def __init__(
        self,
        channels: Channels,
        *,
        sampling: SamplingConfig,
        rules: BallRules,
        intensity: IntensityFingerprint,
        device: str,
    ) -> None:
        self.channels, self.sampling, self.rules = channels, sampling, rules
        self.intensity, self.device = intensity, device
        self._found: dict[str, list[_Found]] = {}

    def places(self, cases: Iterable[PreparedCase], network: nn.Module, *, step: int) -> dict[str, Places]:
        """Case id → places of its lesions, class by class; searched where that was not done lately.

        Args:
            cases: cases of a batch; those whose regions fit into a patch are left out.
            network: in evaluation mode.
            step: steps that the network has learnt; less than in the call before only in a resumed run, which asks
                again for what its first batches were made with.
        """
        known = {}
        for case in cases:
            wanted = self.wanted(case)
            if not wanted:
                continue
            earlier = self._found.setdefault(case.case_id, [])
            found = next((one for one in reversed(earlier) if one.step <= step), None)
            if found is None or step - found.step >= self.sampling.search_again_after:
                found = _Found(step=step, places=self._search(case, wanted, network))
                self._found[case.case_id] = [*earlier[-REMEMBERED + 1 :], found]
            known[case.case_id] = found.places
        return known

    def wanted(self, case: PreparedCase) -> tuple[str, ...]:
        """The reported classes of a case whose region is larger than a patch."""
        if self.sampling.larger_regions != "search":
            return ()
        return larger_regions(case, self.channels, self.sampling)

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps, so that a resumed run takes the same crops."""
        return {case_id: [asdict(one) for one in found] for case_id, found in self._found.items()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over :meth:`state`."""
        self._found = {case_id: [_read(one) for one in found] for case_id, found in state.items()}

    def _search(self, case: PreparedCase, classes: tuple[str, ...], network: nn.Module) -> Places:
        boxes = {name: case.region_box(name) for name in classes}
        seen = _union(
            [box for box in boxes.values() if box is not None], case.shape, self.sampling.patch_size
        )
        image = case.image([part.start for part in seen], [part.stop for part in seen])
        probability = predict_probabilities(
            network,
            torch.from_numpy(normalise(image, self.intensity))[None],
            patch_size=self.sampling.patch_size,
            device=self.device,
            channels=[self.channels.lesion_index[name] for name in classes],
        )
        targets = case.case_targets()
        return {
            name: self._in_region(targets, targets.classes[name], box, probability[number], seen)
            for number, (name, box) in enumerate(boxes.items())
            if box is not None
        }

    def _in_region(
        self, targets: CaseTargets, target: ClassTarget, box: Box, probability: Tensor, seen: Box
    ) -> tuple[LesionPlace, ...]:
        """The best place of every lesion of one class that was located."""
        if target.region is None:
            return ()
        rooms = room_voxels(torch.from_numpy(target.region), target.lesions).tolist()
        region = torch.from_numpy(np.ascontiguousarray(target.region[box])).to(self.device)
        inside = tuple(
            slice(part.start - first.start, part.stop - first.start)
            for part, first in zip(box, seen, strict=True)
        )
        placement = place_lesions(
            torch.logit(probability[inside].to(self.device), eps=SATURATED),
            region,
            target.lesions,
            box=box,
            spacing_mm=targets.spacing_mm,
            rooms=rooms,
            rules=self.rules,
        )
        voxel_mm3 = voxel_volume_mm3(targets.spacing_mm)
        best: dict[int, LesionPlace] = {}
        for placed in placement.placed:  # the places of a lesion follow each other, the best first
            if not bool(placed.located):
                continue
            lesion = without_vacuous_bound(target.lesions[placed.lesion], rooms[placed.lesion] * voxel_mm3)
            center = placed.center.tolist()
            first, second, third = (at + part.start for at, part in zip(center, box, strict=True))
            place = LesionPlace(
                lesion=placed.lesion,
                center=(first, second, third),
                ball_mm=filled_ball_mm(lesion, self.rules),
            )
            best.setdefault(placed.lesion, place)
        return tuple(best.values())


def larger_regions(case: PreparedCase, channels: Channels, sampling: SamplingConfig) -> tuple[str, ...]:
    """The classes of a case that a report states, whose region no patch holds."""
    names = []
    for name in channels.lesion_classes:
        if case.state(name) == "reported" and case.targets[name]["weight"] > 0:
            box = case.region_box(name)
            if box is not None and not fits(box, sampling.patch_size):
                names.append(name)
    return tuple(names)


def _union(boxes: list[Box], shape: tuple[int, int, int], patch: tuple[int, int, int]) -> Box:
    """The box around all boxes, at least as large as a patch where the volume is."""
    parts = []
    for axis in range(3):
        first = min(box[axis].start for box in boxes)
        last = max(box[axis].stop for box in boxes)
        missing = max(0, patch[axis] - (last - first))
        first = max(0, min(first - missing // 2, shape[axis] - max(patch[axis], last - first)))
        parts.append(slice(first, min(shape[axis], max(last, first + patch[axis]))))
    return parts[0], parts[1], parts[2]
