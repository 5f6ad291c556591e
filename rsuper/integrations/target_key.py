"""What the codes of a target map mean: everything that a case's targets say, apart from the voxels."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from rsuper.supervision.types import ClassState

Attenuation = Literal["hypo", "iso", "hyper", "mixed", "unknown"]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")


class LesionKey(_Model):
    """One lesion of a pair; the fields of :class:`rsuper.supervision.LesionTarget` with numbers of masks for masks.

    Args:
        region: mask in which this lesion lies, its slab included; None is the region of the pair.
        host: the same without its slab.
        centers: mask in which the centre of its ball may lie; None is anywhere.
    """

    diameters_mm: tuple[float, ...]
    volume_mm3: tuple[float, float]
    region: int | None
    host: int | None
    centers: int | None
    weight: float
    remainder: bool
    median_mm3: float | None
    sigma_log: float | None
    attenuation: Attenuation
    malignant: bool | None


class PairKey(_Model):
    """What the reports ask of one output channel.

    Args:
        channel: output channel.
        present: False where the report calls the organ free.
        region: mask in which the lesions lie; None is the whole volume.
        lesions: one entry a lesion.
        volume_mm3, median_mm3, sigma_log, weight: of the pair as a whole.
    """

    channel: int
    present: bool
    region: int | None
    lesions: tuple[LesionKey, ...] = ()
    volume_mm3: tuple[float, float]
    median_mm3: float | None = None
    sigma_log: float | None = None
    weight: float = 1.0


class TargetKey(_Model):
    """What the codes of one case's target map mean; plain data, JSON in and out.

    Args:
        case_id: the case.
        channels: names of the output channels.
        states: lesion class -> ``voxels``, ``reported``, ``absent`` or ``unknown``.
        findings: lesion class -> codes of what could not be used as it was said, such as ``part_mask_missing``.
        codes: the masks that hold at a voxel with this code; code 0 is outside the volume, where nothing is known.
        volumes_mm3: volume of each mask in the whole case, by which a crop knows what it holds.
        labels: mask of the label of each channel.
        known: mask of the voxels where each channel is known.
        organ: mask of the host organ of each lesion channel; None for the others.
        pairs: the report targets.
        spacing_mm: voxel size of the map before any augmentation, array order.
    """

    case_id: str
    channels: tuple[str, ...]
    states: dict[str, ClassState]
    findings: dict[str, tuple[str, ...]]
    codes: tuple[tuple[int, ...], ...]
    volumes_mm3: tuple[float, ...]
    labels: tuple[int, ...]
    known: tuple[int, ...]
    organ: tuple[int | None, ...]
    pairs: tuple[PairKey, ...]
    spacing_mm: tuple[float, float, float]
