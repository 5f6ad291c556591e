"""One label map that carries everything a case's targets say through any spatial augmentation.

Labels, known voxels, report regions, the regions and slabs of single lesions: each is a mask, and every voxel gets the
code of the combination of masks that holds there. A transform that treats the codes as a label map (nearest neighbour,
0 for what it has to make up) treats all of them right, whatever library it comes from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
import torch
from jaxtyping import Int16
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from llm_extract.anatomy import Anatomy, load_anatomy
from llm_extract.records import ReportRecord
from rsuper.data.class_map import LESION_SUFFIX
from rsuper.errors import DataError, UsageError
from rsuper.integrations.case_reports import records_of
from rsuper.integrations.channel_names import require_channels, warn_without_organ
from rsuper.integrations.softmax_heads import make_exclusive
from rsuper.integrations.target_batch import supervision_batch
from rsuper.integrations.target_key import LesionKey, PairKey, TargetKey
from rsuper.morphology import bounding_box, voxel_volume_mm3
from rsuper.supervision import (
    SupervisionPolicy,
    build_case_targets,
    crop_label,
    organ_of_class,
    with_mask_codes,
)
from rsuper.supervision.inputs import as_bool
from rsuper.supervision.types import CaseTargets, ClassTarget, LesionTarget, SupervisionBatch

Heads = Literal["sigmoid", "softmax"]
Mask = NDArray[np.bool_]
MAX_CODE = np.iinfo(np.int16).max


@dataclass(frozen=True, kw_only=True)
class TargetMap:
    """The targets of one case as a label map and the key to it.

    Args:
        codes: int16 [1,D,H,W]; 0 is outside the volume.
        key: what the codes mean.
    """

    codes: Int16[Tensor, "1 D H W"]
    key: TargetKey

    def supervision(self) -> SupervisionBatch:
        """The whole volume as a batch of one."""
        return supervision_batch([self.codes], [self.key])


def target_map(
    reports: str | ReportRecord | Sequence[str | ReportRecord],
    masks: Mapping[str, ArrayLike],
    *,
    spacing_mm: Sequence[float],
    channels: Sequence[str],
    heads: Heads = "sigmoid",
    case_id: str = "case",
    margins_mm: Mapping[str, float] | None = None,
    policy: SupervisionPolicy | None = None,
    anatomy: Anatomy | None = None,
) -> TargetMap:
    """The targets of one case from its reports and its masks.

    Args:
        reports: texts, or records that were extracted before; all of this case.
        masks: structure such as ``pancreas`` or ``kidney_left`` -> [D,H,W] or [1,D,H,W], non-zero inside, on the grid
            of the CT. The more organs, the tighter the regions. A class such as ``pancreas_lesion`` stands here only
            if a human drew it in this case.
        spacing_mm: voxel size in array order.
        channels: what each output channel of the network is. Names that end in ``_lesion`` are lesion classes,
            supervised by a drawn mask or by the reports; the others are structures, supervised by their masks.
        heads: ``softmax`` if exactly one channel (or background) holds at a voxel.
        case_id: for messages.
        margins_mm: organ or class -> margin of its region; the table's margins by default.
        policy: which reported lesions count, from :func:`rsuper.supervision.load_policy`; None: ``tumours``.
        anatomy: organs of your own, from ``llm_extract.anatomy.load_anatomy(Path("mine.yaml"))``; the built-in table
            by default.

    Raises:
        DataError: the masks do not fit together, or there are none.
        UsageError: ``unknown_channel``, ``channel_twice`` or ``unknown_heads``.
        TypeError: a report is neither a text nor a record.

    Warns:
        UserWarning: a lesion class can learn nothing from reports, because its organ has no mask in this case.

    >>> pancreas = np.zeros((24, 24, 24), bool)
    >>> pancreas[6:18, 8:16, 8:16] = True
    >>> channels = ("pancreas", "pancreas_lesion")
    >>> made = target_map("2 cm mass in the pancreas.", {"pancreas": pancreas}, spacing_mm=(3, 3, 3), channels=channels)
    >>> made.key.states
    {'pancreas_lesion': 'reported'}
    """
    arrays = as_bool({name: _volume(mask) for name, mask in masks.items()})
    require_channels(channels, arrays, anatomy)
    lesion_classes = tuple(name for name in channels if name.endswith(LESION_SUFFIX))
    drawn = frozenset(name for name in lesion_classes if name in arrays)
    records = records_of(reports, anatomy)
    targets = build_case_targets(
        records,
        {name: mask for name, mask in arrays.items() if not name.endswith(LESION_SUFFIX)} or arrays,
        case_id=case_id,
        spacing_mm=spacing_mm,
        lesion_classes=lesion_classes,
        voxel_labelled=drawn,
        anatomy=anatomy,
        margins_mm=margins_mm,
        policy=policy,
    )
    targets = with_mask_codes(targets, records, arrays, anatomy=anatomy, policy=policy)
    warn_without_organ(targets, arrays)
    return encode_targets(targets, arrays, channels=channels, heads=heads, anatomy=anatomy)


def encode_targets(
    targets: CaseTargets,
    masks: Mapping[str, Mask],
    *,
    channels: Sequence[str],
    heads: Heads = "sigmoid",
    anatomy: Anatomy | None = None,
) -> TargetMap:
    """The targets of a case as a label map.

    Args:
        targets: from :func:`rsuper.supervision.build_case_targets`.
        masks: structure -> bool [D,H,W], and the drawn mask of every class whose state is ``voxels``. A structure
            among the channels that has no mask is unknown.
        channels: what each output channel is; the names of ``targets.classes`` are lesion classes.
        heads: ``softmax``: background or one channel holds at a voxel. Then the label of an organ means organ or lesion
            of it (see :func:`softmax_classes`), open where a report leaves open whether a voxel beside it is lesion.
        anatomy: the table of organs that the targets were made with; the built-in one by default.

    Raises:
        DataError: ``drawn_mask_missing``, ``mask_grid_mismatch`` or ``too_many_masks``.
        UsageError: ``unknown_heads``.
    """
    if heads not in get_args(Heads):
        raise UsageError(
            f"heads are sigmoid or softmax, got {heads!r}",
            code="unknown_heads",
            hint="softmax: exactly one channel, or background, holds at a voxel",
        )
    painter = _Painter(targets)
    channels = tuple(channels)
    lesions = [name for name in channels if name in targets.classes]
    labels, known = _labels(targets, masks, channels)
    if heads == "softmax":
        make_exclusive(labels, known, lesions, anatomy=anatomy)
    anatomy = anatomy or load_anatomy()
    parts: dict[str, Any] = {
        "labels": [painter.number(labels[name]) for name in channels],
        "known": [painter.number(known[name]) for name in channels],
        "organ": [painter.add(_host(masks, name, anatomy)) if name in lesions else None for name in channels],
        "pairs": [
            pair
            for number, name in enumerate(channels)
            if name in targets.classes
            for pair in _pairs(targets.classes[name], number, painter)
        ],
    }
    codes, table = painter.finished()
    key = TargetKey(
        case_id=targets.case_id,
        channels=channels,
        states={name: targets.classes[name].state for name in lesions},
        findings={name: targets.classes[name].codes for name in lesions},
        codes=table,
        volumes_mm3=tuple(painter.volumes_mm3),
        spacing_mm=targets.spacing_mm,
        **parts,
    )
    return TargetMap(codes=codes, key=key)


def _volume(mask: ArrayLike) -> NDArray[np.generic]:
    array = np.asarray(mask)
    return array[0] if array.ndim == 4 and array.shape[0] == 1 else array


@dataclass
class _Painter:
    """Paints masks over each other; a voxel's code stands for the masks it got."""

    targets: CaseTargets
    table: list[tuple[int, ...]] = field(default_factory=lambda: [(), ()])
    volumes_mm3: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._codes = np.ones(self.targets.shape, dtype=np.int32)
        self._seen: dict[bytes, int] = {}
        self._voxel_mm3 = voxel_volume_mm3(self.targets.spacing_mm)

    def add(self, mask: Mask | Tensor | None) -> int | None:
        """The number of a mask; None for none."""
        if mask is None:
            return None
        return self.number(mask.numpy() if isinstance(mask, Tensor) else mask)

    def number(self, mask: Mask) -> int:
        """The number of a mask; the same mask twice gets one number."""
        array = np.ascontiguousarray(mask)
        if array.shape != self.targets.shape:
            raise _other_grid("a mask", array, self.targets)
        box = bounding_box(torch.from_numpy(array)) or (slice(0, 0), slice(0, 0), slice(0, 0))
        inside = array[box]
        name = repr(box).encode() + np.packbits(inside).tobytes()
        if name not in self._seen:
            self._seen[name] = len(self.volumes_mm3)
            self._paint(self._codes[box], inside, self._seen[name])
            self.volumes_mm3.append(int(inside.sum()) * self._voxel_mm3)
        return self._seen[name]

    def _paint(self, codes: NDArray[np.int32], inside: Mask, number: int) -> None:
        values = codes[inside]
        new = np.arange(len(self.table), dtype=np.int32)
        for old in np.flatnonzero(np.bincount(values)):
            new[old] = len(self.table)
            self.table.append((*self.table[old], number))
        codes[inside] = new[values]

    def finished(self) -> tuple[Int16[Tensor, "1 D H W"], tuple[tuple[int, ...], ...]]:
        """The map and the masks of each code, without codes that no voxel has any more."""
        used = np.union1d([0], np.flatnonzero(np.bincount(self._codes.ravel())))
        if len(used) - 1 > MAX_CODE:
            raise DataError(
                f"the masks overlap in {len(used) - 1} ways, a label map holds {MAX_CODE}",
                code="too_many_masks",
                case_id=self.targets.case_id,
                hint="leave out channels that the network does not need",
            )
        new = np.zeros(len(self.table), dtype=np.int16)
        new[used] = np.arange(len(used))
        return torch.from_numpy(new[self._codes])[None], tuple(self.table[code] for code in used)


def _labels(
    targets: CaseTargets, masks: Mapping[str, Mask], channels: Sequence[str]
) -> tuple[dict[str, Mask], dict[str, Mask]]:
    """Label and known mask of every channel on the whole volume."""
    labels: dict[str, Mask] = {}
    known: dict[str, Mask] = {}
    for name in channels:
        target = targets.classes.get(name)
        if target is None:
            mask = masks.get(name)
            labels[name] = np.zeros(targets.shape, bool) if mask is None else mask.copy()
            known[name] = np.full(targets.shape, mask is not None)
            continue
        voxels = masks.get(name) if target.state == "voxels" else None
        if target.state == "voxels" and voxels is None:
            raise DataError(
                f"{name} is voxel-labelled, but its mask is not among the masks",
                code="drawn_mask_missing",
                case_id=targets.case_id,
                hint=f"add it as masks[{name!r}]",
            )
        if voxels is not None and voxels.shape != targets.shape:
            raise _other_grid(name, voxels, targets)
        crop = crop_label(targets, name, (0, 0, 0), targets.shape, voxels=voxels)
        labels[name], known[name] = crop.label, crop.known
    return labels, known


def _other_grid(name: str, mask: Mask, targets: CaseTargets) -> DataError:
    return DataError(
        f"{name} has shape {mask.shape} (D, H, W), the targets {targets.shape}",
        code="mask_grid_mismatch",
        case_id=targets.case_id,
        hint="resample all masks to the grid of the CT",
    )


def _host(masks: Mapping[str, Mask], lesion_class: str, anatomy: Anatomy) -> Mask | None:
    """The organ of a lesion class, where there is a mask of it."""
    organ = organ_of_class(lesion_class, anatomy)
    found = [
        masks[name]
        for name in (anatomy.organ_structures(organ) if organ is not None else ())
        if name in masks
    ]
    return np.logical_or.reduce(found) if found else None


def _pairs(target: ClassTarget, channel: int, painter: _Painter) -> tuple[PairKey, ...]:
    """At most one pair: what the reports say of one class."""
    if target.state == "absent":
        return (PairKey(channel=channel, present=False, region=None, volume_mm3=(0.0, 0.0)),)
    if target.state != "reported" or target.weight <= 0 or target.region is None or not target.region.any():
        return ()
    return (
        PairKey(
            channel=channel,
            present=True,
            region=painter.add(target.region),
            lesions=tuple(_lesion(lesion, target.region, painter) for lesion in target.lesions),
            volume_mm3=target.volume_mm3,
            median_mm3=target.median_mm3,
            sigma_log=target.sigma_log,
            weight=target.weight,
        ),
    )


def _lesion(lesion: LesionTarget, pair_region: Mask, painter: _Painter) -> LesionKey:
    host = region = None if lesion.region is None else lesion.region.numpy()
    if lesion.slab is not None:
        axis, start, stop = lesion.slab
        place = [slice(None)] * 3
        place[axis] = slice(start, stop)
        slab = np.zeros_like(pair_region)
        slab[tuple(place)] = (pair_region if region is None else region)[tuple(place)]
        region = slab
    return LesionKey(
        diameters_mm=lesion.diameters_mm,
        volume_mm3=lesion.volume_mm3,
        region=painter.add(region),
        host=painter.add(host),
        centers=painter.add(lesion.centers),
        weight=lesion.weight,
        remainder=lesion.remainder,
        median_mm3=lesion.median_mm3,
        sigma_log=lesion.sigma_log,
        attenuation=lesion.attenuation,
        malignant=lesion.malignant,
    )
