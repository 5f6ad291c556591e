"""Target maps, after whatever augmentation, -> the supervision of a batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rsuper.errors import DataError
from rsuper.integrations.target_key import LesionKey, PairKey, TargetKey
from rsuper.morphology import spacing_rows
from rsuper.supervision.types import LesionTarget, PairTarget, SupervisionBatch

# Nearest neighbour on a turned grid loses or gains a few border voxels; less than this share is not a cut.
RESAMPLING_LOSS = 0.03
ROUNDING_LOSS = 0.001
# A region that grew by more than this was zoomed without a word, or mirrored into the padding.
GROWTH = 1.5
GROWTH_VOXELS = 200


def supervision_batch(
    codes: Sequence[Tensor] | Tensor,
    keys: Sequence[TargetKey],
    *,
    spacing_mm: Sequence[Sequence[float]] | Float[Tensor, "B 3"] | None = None,
    image_hu: Float[Tensor, "B 1 D H W"] | None = None,
) -> SupervisionBatch:
    """What the losses need, read from target maps that went through cropping and augmentation.

    A region that the crop holds gives the full target. One that it cuts keeps its upper bounds, its lower bounds fall
    to 0, and only lesions whose own region is inside keep their ball (as in :func:`rsuper.supervision.crop_pairs`).

    Args:
        codes: [B,1,D,H,W], or B maps [1,D,H,W]; whole numbers of any dtype, on any device.
        keys: the key of each map.
        spacing_mm: [B,3], or 3 numbers for all: voxel size after augmentation, array order. A zoom by 1.2 turns 3 mm
            into 2.5 mm, so that the millimetres of the report keep their meaning. None is the spacing of the keys:
            nothing was zoomed.
        image_hu: HU of the crops, for the attenuation term only.

    Raises:
        DataError: ``target_map_interpolated``, ``target_region_grew`` or ``target_keys_differ``.
        ValueError: codes, keys, spacing and image do not fit each other.

    >>> from rsuper.integrations import target_map
    >>> liver = torch.ones(8, 8, 8)
    >>> case = target_map("Liver: no focal lesion.", {"liver": liver}, spacing_mm=(9, 9, 9), channels=("liver_lesion",))
    >>> batch = supervision_batch([case.codes[:, 2:6]], [case.key])
    >>> batch.known.shape, batch.pairs[0].present
    (torch.Size([1, 1, 4, 8, 8]), False)
    """
    if len({key.channels for key in keys}) > 1:
        raise DataError(
            "the cases of a batch have different channels",
            code="target_keys_differ",
            hint="make all target maps with the same channels",
        )
    _check_shapes(codes, keys, image_hu)
    stated = [key.spacing_mm for key in keys] if spacing_mm is None else spacing_mm
    table = stated if isinstance(stated, Tensor) else torch.from_numpy(np.asarray(stated, np.float64))
    rows = spacing_rows(table, len(keys))
    samples = [
        _Sample(_whole(volume, key), key, row) for volume, key, row in zip(codes, keys, rows, strict=True)
    ]
    return SupervisionBatch(
        labels=torch.stack([sample.masks(sample.key.labels) for sample in samples]),
        known=torch.stack([sample.masks(sample.key.known) for sample in samples]),
        spacing_mm=torch.tensor(rows, dtype=torch.float32, device=samples[0].bits.device),
        pairs=tuple(
            pair
            for number, sample in enumerate(samples)
            for item in sample.key.pairs
            if (pair := sample.pair(item, number)) is not None
        ),
        image_hu=image_hu,
        organ=None
        if image_hu is None
        else torch.stack([sample.masks(sample.key.organ) for sample in samples]),
    )


class _Sample:
    """The masks of one crop.

    Args:
        codes: int64 [D,H,W], checked.
        key: what they mean.
        spacing_mm: voxel size of the crop.
    """

    def __init__(self, codes: Tensor, key: TargetKey, spacing_mm: tuple[float, float, float]) -> None:
        self.key = key
        count = len(key.volumes_mm3)
        table = torch.zeros(len(key.codes), count + 1, dtype=torch.bool)  # the last column is the empty mask
        for code, held in enumerate(key.codes):
            table[code, list(held)] = True
        flat = codes.reshape(-1)
        rows = torch.index_select(
            table.to(codes.device), 0, flat
        )  # whole rows are copied faster than single bits
        self.bits: Bool[Tensor, "M D H W"] = rows.t().contiguous().view(count + 1, *codes.shape)
        self.inside = codes > 0
        self.voxel_mm3 = spacing_mm[0] * spacing_mm[1] * spacing_mm[2]
        voxels = torch.bincount(flat, minlength=len(key.codes)).cpu().to(torch.float64)
        self.held_mm3 = (voxels @ table.to(torch.float64) * self.voxel_mm3).tolist()

    def masks(self, numbers: Sequence[int | None]) -> Bool[Tensor, "C D H W"]:
        return self.bits[[-1 if number is None else number for number in numbers]]

    def holds(self, number: int) -> bool:
        """True if the crop holds the whole mask; a mask that meets the border must be there to the last voxel."""
        mask, whole, held = self.bits[number], self.key.volumes_mm3[number], self.held_mm3[number]
        if whole <= 0 or held < (1 - RESAMPLING_LOSS) * whole:
            return False
        faces = [mask.select(axis, end) for axis in range(3) for end in (0, -1)]
        return held >= (1 - ROUNDING_LOSS) * whole or not any(bool(face.any()) for face in faces)

    def require_size(self, number: int) -> None:
        """Refuse a region that is much larger than it was."""
        whole, held = self.key.volumes_mm3[number], self.held_mm3[number]
        if held > GROWTH * max(whole, GROWTH_VOXELS * self.voxel_mm3):
            raise DataError(
                f"a report region has {held / whole:.1f} times the volume it had in the whole case",
                code="target_region_grew",
                case_id=self.key.case_id,
                hint="pass spacing_mm as it is after a zoom, and pad target maps with 0, not by reflection",
            )

    def pair(self, item: PairKey, sample: int) -> PairTarget | None:
        """What the crop still asks of one class; None if it shows nothing of the region."""
        if item.region is None:
            region, complete = self.inside, True
        elif self.held_mm3[item.region] == 0:
            return None
        else:
            self.require_size(item.region)
            region, complete = self.bits[item.region], self.holds(item.region)
        return PairTarget(
            sample=sample,
            channel=item.channel,
            region=region,
            lesions=tuple(self.lesion(lesion, item, complete=complete) for lesion in item.lesions),
            volume_mm3=(item.volume_mm3[0] if complete else 0.0, item.volume_mm3[1]),
            median_mm3=item.median_mm3 if complete else None,
            sigma_log=item.sigma_log if complete else None,
            weight=item.weight,
            complete=complete,
            present=item.present,
        )

    def lesion(self, item: LesionKey, pair: PairKey, *, complete: bool) -> LesionTarget:
        own = pair.region if item.region is None else item.region
        sure = complete or (own is not None and self.holds(own))
        region = item.region if sure else item.host
        return LesionTarget(
            diameters_mm=item.diameters_mm,
            volume_mm3=(item.volume_mm3[0] if sure else 0.0, item.volume_mm3[1]),
            region=None if region is None else self.bits[region],
            centers=self.bits[item.centers] if sure and item.centers is not None else None,
            weight=item.weight,
            remainder=item.remainder or not sure,
            median_mm3=item.median_mm3 if sure else None,
            sigma_log=item.sigma_log if sure else None,
            attenuation=item.attenuation,
            malignant=item.malignant,
        )


def _whole(volume: Tensor, key: TargetKey) -> Tensor:
    """The codes as int64 [D,H,W]; negative ones are padding."""
    codes = volume.as_subclass(Tensor)[0]
    whole = codes.to(torch.int64)
    exact = not codes.is_floating_point() or bool((whole == codes).all())
    if not exact or int(whole.amax()) >= len(key.codes):
        raise DataError(
            "a target map holds numbers that are no codes of its key",
            code="target_map_interpolated",
            case_id=key.case_id,
            hint="transform it as a label map: mode='nearest', padding with 0, no intensity transform",
        )
    return whole.clamp_(min=0)


def _check_shapes(codes: Sequence[Tensor] | Tensor, keys: Sequence[TargetKey], image: Tensor | None) -> None:
    """Maps [1,D,H,W] on one grid, a key each, and an image that goes with them."""
    if len(codes) != len(keys):
        raise ValueError(f"each target map takes its key, got {len(codes)} maps and {len(keys)} keys")
    shapes = [tuple(volume.shape) for volume in codes]
    if any(len(shape) != 4 or shape[0] != 1 or shape != shapes[0] for shape in shapes):
        raise ValueError(f"target maps are [1,D,H,W] of one size, got {', '.join(map(str, shapes))}")
    if image is not None and tuple(image.shape) != (len(codes), *shapes[0]):
        raise ValueError(f"image_hu is [B,1,D,H,W] = {(len(codes), *shapes[0])}, got {tuple(image.shape)}")
