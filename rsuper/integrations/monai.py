"""Report supervision in a MONAI pipeline: two dictionary transforms and a collate function.

transforms = Compose([
    LoadImaged(["image", "pancreas", "pancreas_lesion"], allow_missing_keys=True),
    EnsureChannelFirstd(["image", "pancreas", "pancreas_lesion"], allow_missing_keys=True),
    ReportTargetsd(["pancreas", "pancreas_lesion"], channels=("pancreas", "pancreas_lesion")),
    RandCropByPosNegLabeld(["image", "targets"], label_key="focus", spatial_size=(96, 96, 96)),
    RandAffined(["image", "targets"], mode=("bilinear", "nearest"), padding_mode="zeros", ...),
])
loader = DataLoader(Dataset(cases, transforms), batch_size=2, collate_fn=collate_targets)
loss = ReportSupervisionLoss()
for batch in loader:
    loss(network(batch["image"]), batch["targets"]).total.backward()
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor, list_data_collate
from monai.transforms import MapTransform, Randomizable, SpatialCrop, SpatialPad
from torch import Tensor

from rsuper.errors import DataError
from rsuper.integrations.affine_spacing import affine_spacing_mm
from rsuper.integrations.target_batch import supervision_batch
from rsuper.integrations.target_key import TargetKey
from rsuper.integrations.target_map import Heads, target_map

META_KEY = "rsuper_target_key"
TARGETS = "targets"


class ReportTargetsd(MapTransform):  # type: ignore[misc] # MONAI is untyped
    """Turns the masks and reports of a case into one label map, ``data["targets"]``.

    Put it after loading and resampling, before every random transform; name ``"targets"`` in all spatial transforms,
    with ``mode="nearest"`` and zero padding. It takes the masks and the reports out of the dictionary: the map says
    what they say. Zooms are read from the affine that MONAI keeps, so that mm and mm³ stay true. Leave left-right
    flips out if channels have a side, as in any segmentation training.

    Args:
        keys: the masks, [1,D,H,W] each, named like the structures and classes: ``pancreas``, ``kidney_left``,
            ``pancreas_lesion``. A case may lack some; a lesion mask means that a human drew it in this case.
        channels: what each output channel of the network is; see :func:`rsuper.integrations.target_map`.
        report_key: text or :class:`llm_extract.ReportRecord`, or a list of them; a case may have none.
        heads: ``softmax`` if exactly one channel (or background) holds at a voxel.
        margins_mm: organ or class -> margin of its region; the table's margins by default.
        targets_key: where the map is put.
    """

    def __init__(
        self,
        keys: KeysCollection,
        *,
        channels: Sequence[str],
        report_key: str = "report",
        heads: Heads = "sigmoid",
        margins_mm: Mapping[str, float] | None = None,
        targets_key: str = TARGETS,
    ) -> None:
        super().__init__(keys, allow_missing_keys=True)
        self.channels = tuple(channels)
        self.report_key = report_key
        self.heads: Heads = heads
        self.margins_mm = margins_mm
        self.targets_key = targets_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The dictionary without masks and reports, with the map."""
        rest = dict(data)
        masks = {str(key): rest.pop(key) for key in self.key_iterator(data)}
        reports = rest.pop(self.report_key, None)
        if not masks:
            raise DataError(
                f"none of the masks {', '.join(map(str, self.keys))} is in the dictionary",
                code="no_organ_masks",
                hint="load them before ReportTargetsd",
            )
        affine = _affine(next(iter(masks.values())))
        made = target_map(
            [] if reports is None else reports,
            masks,
            spacing_mm=affine_spacing_mm(affine),
            channels=self.channels,
            heads=self.heads,
            case_id=str(rest.get("case_id", "case")),
            margins_mm=self.margins_mm,
        )
        meta = {META_KEY: made.key.model_dump_json()}
        rest[self.targets_key] = MetaTensor(made.codes, affine=affine, meta=meta)
        return rest


class RandTargetCropd(Randomizable, MapTransform):  # type: ignore[misc]
    """A random crop that shows what there is to learn: a report's whole region, where it fits, or a drawn lesion.

    A crop that cuts a region must drop most of what the report says (the lesion may be in the other part), so random
    crops waste reports. Cases without either are cropped around a structure, else anywhere. Smaller volumes are padded.

    Args:
        keys: image, target map and whatever goes with them, all on one grid.
        spatial_size: voxels of the crop.
        targets_key: the target map.
    """

    def __init__(
        self, keys: KeysCollection, spatial_size: Sequence[int], *, targets_key: str = TARGETS
    ) -> None:
        super().__init__(keys)
        self.spatial_size = tuple(int(side) for side in spatial_size)
        self.targets_key = targets_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The dictionary with every key cropped alike."""
        volume = data[self.targets_key]
        start = self._start(volume.as_tensor()[0], _key_of(volume))
        crop = SpatialCrop(
            roi_start=start, roi_end=[a + b for a, b in zip(start, self.spatial_size, strict=True)]
        )
        pad = SpatialPad(self.spatial_size, mode="constant")
        return dict(data) | {key: pad(crop(data[key])) for key in self.key_iterator(data)}

    def _start(self, codes: Tensor, key: TargetKey) -> list[int]:
        """First voxel of the crop."""
        focus = self._focus(codes, key)
        if focus is None:
            return [
                int(self.R.randint(0, max(1, n - s + 1)))
                for n, s in zip(codes.shape, self.spatial_size, strict=True)
            ]
        voxels = torch.nonzero(focus)
        first, last = voxels.amin(dim=0).tolist(), (voxels.amax(dim=0) + 1).tolist()
        middle = voxels[int(self.R.randint(len(voxels)))].tolist()
        start = []
        for axis, (size, side) in enumerate(zip(codes.shape, self.spatial_size, strict=True)):
            fits = last[axis] - first[axis] <= side
            wanted = (
                int(self.R.randint(last[axis] - side, first[axis] + 1)) if fits else middle[axis] - side // 2
            )
            start.append(min(max(wanted, 0), max(0, size - side)))
        return start

    def _focus(self, codes: Tensor, key: TargetKey) -> Tensor | None:
        """One of the masks that the crop should show."""
        lesions = [pair.region for pair in key.pairs if pair.present and pair.region is not None]
        drawn = [
            number
            for name, number in zip(key.channels, key.labels, strict=True)
            if key.states.get(name) == "voxels"
        ]
        structures = [
            number for name, number in zip(key.channels, key.labels, strict=True) if name not in key.states
        ]
        for numbers in (lesions + drawn, structures):
            for number in self.R.permutation(numbers):
                held = torch.tensor([int(number) in masks for masks in key.codes])
                mask = held[codes.to(torch.int64)]
                if mask.any():
                    return mask
        return None


def collate_targets(
    samples: Sequence[Any], *, targets_key: str = TARGETS, hu_key: str | None = None
) -> dict[str, Any]:
    """MONAI's ``list_data_collate``, with the target maps of the batch as one ``SupervisionBatch``.

    Args:
        samples: what the data set returns; lists of crops are joined.
        targets_key: where the maps are.
        hu_key: where the crops in HU are (copy the image before its intensities change), for the attenuation term only.
    """
    flat = [crop for sample in samples for crop in (sample if isinstance(sample, list) else [sample])]
    maps = [crop[targets_key] for crop in flat]
    batch: dict[str, Any] = list_data_collate(
        [{key: value for key, value in crop.items() if key != targets_key} for crop in flat]
    )
    batch[targets_key] = supervision_batch(
        maps,
        [_key_of(volume) for volume in maps],
        spacing_mm=[affine_spacing_mm(volume.affine) for volume in maps],
        image_hu=None if hu_key is None else batch[hu_key].as_subclass(Tensor),
    )
    return batch


def _affine(mask: Any) -> Tensor:
    if isinstance(mask, MetaTensor):
        return torch.as_tensor(mask.affine, dtype=torch.float64)
    raise DataError(
        "a mask has no affine, so its voxel size is unknown",
        code="no_spacing",
        hint="load masks with LoadImaged, or wrap arrays: MetaTensor(mask, affine=torch.diag(...))",
    )


def _key_of(volume: Tensor) -> TargetKey:
    text = volume.meta.get(META_KEY) if isinstance(volume, MetaTensor) else None
    if text is None:
        raise DataError(
            "a target map lost its meta data on the way to the batch",
            code="target_key_lost",
            hint="keep set_track_meta(True); PersistentDataset needs track_meta=True and weights_only=False",
        )
    return _parsed(str(text))


@lru_cache(maxsize=1024)
def _parsed(text: str) -> TargetKey:
    return TargetKey.model_validate_json(text)
