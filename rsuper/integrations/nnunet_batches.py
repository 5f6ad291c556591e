"""Batches of drawn cases and report cases for nnU-Net, with its own augmentation applied to the target maps."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rsuper.errors import UsageError
from rsuper.integrations.affine_spacing import zoomed_spacing_mm
from rsuper.integrations.nnunet_cases import MISSING, ReportCases

try:
    from acvl_utils.cropping_and_padding.bounding_boxes import crop_and_pad_nd
    from batchgeneratorsv2.transforms.base.basic_transform import BasicTransform
    from batchgeneratorsv2.transforms.nnunet.seg_to_onehot import MoveSegAsOneHotToDataTransform
    from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
    from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
    from batchgeneratorsv2.transforms.utils.deep_supervision_downsampling import DownsampleSegForDSTransform
    from batchgeneratorsv2.transforms.utils.seg_to_regions import ConvertSegmentationToRegionsTransform
    from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader
    from threadpoolctl import threadpool_limits
except ImportError as error:
    raise ImportError(MISSING) from error

_READERS = (
    MoveSegAsOneHotToDataTransform,
    ConvertSegmentationToRegionsTransform,
    DownsampleSegForDSTransform,
)


class TargetSpatialTransform(BasicTransform):  # type: ignore[misc] # batchgeneratorsv2 is untyped
    """nnU-Net's spatial transform; the target map, last channel of the segmentation, goes along nearest-neighbour.

    Args:
        inner: the transform as nnU-Net made it.
    """

    def __init__(self, inner: SpatialTransform) -> None:
        super().__init__()
        self.inner = inner
        self.nearest = copy.copy(inner)
        self.nearest.mode_seg = "nearest"
        self.nearest.border_mode_seg = "constant"
        self.nearest.padding_value_seg = 0

    def __call__(self, **data: Any) -> dict[str, Any]:
        """Transform a sample and note in ``voxels`` where its voxels come from."""
        both = data["segmentation"]
        planes = both.shape[0] // data.get(
            "nchannels_seg", both.shape[0]
        )  # slices are channels in 2D augmentation
        data["segmentation"] = both[:-planes]
        params = self.inner.get_parameters(**data)
        data = self.inner.apply(data, **params)
        moved = self.nearest._apply_to_segmentation(both[-planes:], **params)
        data["segmentation"] = torch.cat([data["segmentation"], moved])
        data["voxels"] = params["affine"]
        return data


class TakeTargets(BasicTransform):  # type: ignore[misc]
    """Moves the target map from the last channel of the segmentation to ``codes``."""

    def apply(self, data_dict: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Take the map out."""
        segmentation = data_dict["segmentation"]
        data_dict["codes"] = segmentation[-1:].clamp(min=0)
        data_dict["segmentation"] = segmentation[:-1]
        return data_dict


def with_targets(pipeline: ComposeTransforms) -> ComposeTransforms:
    """nnU-Net's training transforms, which carry target maps as well.

    Args:
        pipeline: what ``get_training_transforms`` of a trainer returned.
    """
    steps = [
        TargetSpatialTransform(step) if isinstance(step, SpatialTransform) else step
        for step in pipeline.transforms
    ]
    place = next((number for number, step in enumerate(steps) if isinstance(step, _READERS)), len(steps))
    return ComposeTransforms([*steps[:place], TakeTargets(), *steps[place:]])


class ReportDataLoader(nnUNetDataLoader):  # type: ignore[misc]
    """nnU-Net's data loader; a share of each batch, its first samples, are report cases.

    Besides ``data``, ``target`` and ``keys`` a batch has ``codes`` [B,1,D,H,W] int16 and ``spacing_mm`` [B,3].

    Args:
        *args: as nnU-Net's.
        report_cases: the report cases of the data set; the others are drawn by a human.
        report_fraction: share of the samples that report cases fill, drawn batch by batch where it is no whole number.
        positive_fraction: chance that a report sample takes a case whose report states a lesion.
        spacing_mm: voxel size of the preprocessed data, array order.
        **options: as nnU-Net's.

    Raises:
        UsageError: ``no_training_cases`` if the split has no drawn case or no report case.
    """

    def __init__(
        self,
        *args: Any,
        report_cases: ReportCases,
        report_fraction: float,
        positive_fraction: float,
        spacing_mm: Sequence[float],
        **options: Any,
    ) -> None:
        super().__init__(*args, **options)
        self.report_cases, self.report_fraction = report_cases, report_fraction
        self.positive_fraction, self.spacing_mm = positive_fraction, tuple(spacing_mm)
        reported = [name for name in self.indices if name in report_cases.states]
        self.positives = [name for name in reported if report_cases.positive(name)]
        self.negatives = [name for name in reported if not report_cases.positive(name)]
        self.drawn = [name for name in self.indices if name not in report_cases.states]
        if not reported or not self.drawn:
            raise UsageError(
                f"the split has {len(self.drawn)} drawn and {len(reported)} report cases to train on",
                code="no_training_cases",
                hint="change splits_final.json, or the cases given as drawn",
            )

    def get_indices(self) -> list[str]:
        """Report cases first: nnU-Net shows foreground in the last samples of a batch."""
        exact = self.report_fraction * self.batch_size
        count = int(exact) + int(np.random.uniform() < exact - int(exact))  # noqa: NPY002 - nnU-Net seeds this generator
        reports = [self._report_case() for _ in range(count)]
        return reports + list(np.random.choice(self.drawn, self.batch_size - count))  # noqa: NPY002

    def _report_case(self) -> str:
        positive = np.random.uniform() < self.positive_fraction  # noqa: NPY002
        pool = self.positives if self.positives and (positive or not self.negatives) else self.negatives
        return str(np.random.choice(pool))  # noqa: NPY002

    def report_box(self, shape: Sequence[int], case_id: str) -> tuple[list[int], list[int]]:
        """Where to crop a report case: so that its whole region is inside, where it fits, else inside the region."""
        focus = self.report_cases.focus(case_id)
        if not focus:
            lower, upper = self.get_bbox(shape, False, None)  # noqa: FBT003 - nnU-Net's signature
            return lower, upper
        voxels = focus[sorted(focus)[np.random.randint(len(focus))]]  # noqa: NPY002
        middle = voxels[2 + np.random.randint(len(voxels) - 2)]  # noqa: NPY002
        lower = []
        for axis, (final, initial) in enumerate(zip(self.final_patch_size, self.patch_size, strict=True)):
            first, last = int(voxels[0][axis]), int(voxels[1][axis]) + 1
            if last - first <= final:
                start = int(np.random.randint(last - final, first + 1))  # noqa: NPY002
            else:
                start = int(middle[axis]) - final // 2
            start = min(max(start, 0), max(0, int(shape[axis]) - final))
            lower.append(start - (initial - final) // 2)
        return lower, [low + int(side) for low, side in zip(lower, self.patch_size, strict=True)]

    def generate_train_batch(self) -> dict[str, Any]:
        """One batch."""
        keys = self.get_indices()
        with torch.no_grad(), threadpool_limits(limits=1, user_api=None):
            samples = [self._sample(key, self.get_do_oversample(number)) for number, key in enumerate(keys)]
        segmentations = [sample["segmentation"] for sample in samples]
        deep = isinstance(segmentations[0], list)
        return {
            "data": torch.stack([sample["image"] for sample in samples]),
            "target": [torch.stack(scale) for scale in zip(*segmentations, strict=True)]
            if deep
            else torch.stack(segmentations),
            "keys": keys,
            "codes": torch.stack([sample["codes"] for sample in samples]),
            "spacing_mm": torch.tensor(
                [zoomed_spacing_mm(self.spacing_mm, sample.get("voxels")) for sample in samples]
            ),
        }

    def _sample(self, case_id: str, force_foreground: bool) -> dict[str, Any]:  # noqa: FBT001 - nnU-Net's own flag
        data, segmentation, previous, properties = self._data.load_case(case_id)
        shape = data.shape[1:]
        reported = case_id in self.report_cases.states
        if reported:
            lower, upper = self.report_box(shape, case_id)
        else:
            lower, upper = self.get_bbox(shape, force_foreground, properties["class_locations"])
        box = [[low, high] for low, high in zip(lower, upper, strict=True)]
        layers = [_cropped(segmentation, box, padding=-1)]
        if previous is not None:
            layers.append(_cropped(previous, box, padding=-1)[None])
        codes = torch.zeros_like(layers[0])
        if reported:
            codes = _cropped(self.report_cases.codes(case_id), box, padding=0)
        image = torch.from_numpy(crop_and_pad_nd(data, box, 0)).float()
        sample: dict[str, Any] = self.transforms(image=image, segmentation=torch.cat([*layers, codes]))
        return sample


def _cropped(array: Any, box: list[list[int]], *, padding: int) -> Tensor:
    return torch.from_numpy(crop_and_pad_nd(array, box, padding, cast_cropped_to=np.int16)).to(torch.int16)
