"""Report supervision in a MONAI pipeline: two dictionary transforms and a collate function.

Load the masks, turn them and the report into ``"targets"`` with :class:`ReportTargetsd`, name ``"targets"`` in every
spatial transform with ``mode="nearest"``, and give :func:`collate_targets` to the loader: ``batch["targets"]`` is what
:class:`rsuper.losses.ReportSupervisionLoss` takes. ``examples/README.md`` has it in full.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor, list_data_collate
from monai.transforms import MapTransform, Randomizable, SpatialCrop, SpatialPad
from torch import Tensor

from llm_extract.anatomy import Anatomy
from rsuper.errors import DataError
from rsuper.integrations.affine_spacing import affine_spacing_mm
from rsuper.integrations.target_batch import supervision_batch
from rsuper.integrations.target_crop import target_crop
from rsuper.integrations.target_key import TargetKey
from rsuper.integrations.target_map import Heads, TargetMap, target_map
from rsuper.supervision import SupervisionPolicy

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
        policy: which reported lesions count, from :func:`rsuper.supervision.load_policy`; None: ``tumours``.
        anatomy: organs of your own; see :func:`rsuper.integrations.target_map`.
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
        policy: SupervisionPolicy | None = None,
        anatomy: Anatomy | None = None,
        targets_key: str = TARGETS,
    ) -> None:
        super().__init__(keys, allow_missing_keys=True)
        self.channels = tuple(channels)
        self.report_key = report_key
        self.heads: Heads = heads
        self.margins_mm = margins_mm
        self.policy = policy
        self.anatomy = anatomy
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
            policy=self.policy,
            anatomy=self.anatomy,
        )
        meta = {META_KEY: made.key.model_dump_json()}
        rest[self.targets_key] = MetaTensor(made.codes, affine=affine, meta=meta)
        return rest


class RandTargetCropd(Randomizable, MapTransform):  # type: ignore[misc]
    """A random crop that holds a report's whole region, where it fits, or shows a drawn lesion.

    See :func:`rsuper.integrations.target_crop`; other crops cut regions, and lose what the report says. Smaller volumes
    are padded.

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
        made = TargetMap(codes=volume.as_tensor(), key=target_key_of(volume))
        box = target_crop(made, self.spatial_size, np.random.default_rng(int(self.R.randint(2**31))))
        crop = SpatialCrop(roi_start=[part.start for part in box], roi_end=[part.stop for part in box])
        pad = SpatialPad(self.spatial_size, mode="constant")
        return dict(data) | {key: pad(crop(data[key])) for key in self.key_iterator(data)}


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
        [target_key_of(volume) for volume in maps],
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


def target_key_of(volume: Tensor) -> TargetKey:
    """The key of a target map in a MONAI dictionary: ``target_key_of(data["targets"]).states`` is what was understood.

    Raises:
        DataError: ``target_key_lost``.
    """
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
