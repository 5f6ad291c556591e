"""The prepared dataset on disk: chunked volumes, packed masks and targets of one case, read crop by crop."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rsuper.errors import DataError
from rsuper.supervision.types import CaseTargets, ClassTarget, LesionTarget

FORMAT_VERSION = 1
Index3 = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True)
class PreparedCase:
    """One prepared case; arrays are opened lazily and a crop reads only its chunks.

    Args:
        folder: where ``image.b2nd``, ``masks.b2nd`` and ``case.json`` are.
        case_id, split, site: as in cases.csv.
        shape: voxels in array order.
        spacing_mm: voxel size in array order.
        affine: 4×4 voxel → RAS+ mm of the prepared grid.
        channels: name of each mask channel; ``structure:NAME``, ``label:CLASS``, ``region:CLASS``,
            ``lesion_region:CLASS:INDEX`` or ``reference:CLASS``.
        targets: class → target as JSON, regions replaced by channel names.
    """

    folder: Path
    case_id: str
    split: str
    site: str
    shape: Index3
    spacing_mm: tuple[float, float, float]
    affine: NDArray[np.float64]
    channels: tuple[str, ...]
    targets: Mapping[str, Mapping[str, Any]]

    @cached_property
    def _image(self) -> Any:
        import blosc2

        return blosc2.open(str(self.folder / "image.b2nd"), mode="r")

    @cached_property
    def _masks(self) -> Any:
        import blosc2

        return blosc2.open(str(self.folder / "masks.b2nd"), mode="r")

    def image(
        self, start: Sequence[int] | None = None, stop: Sequence[int] | None = None
    ) -> NDArray[np.int16]:
        """HU [D,H,W] of the box ``start:stop`` (the whole volume by default)."""
        box = _box(start, stop, self.shape)
        return np.asarray(self._image[box], dtype=np.int16)

    def mask(
        self, channel: str, start: Sequence[int] | None = None, stop: Sequence[int] | None = None
    ) -> NDArray[np.bool_]:
        """One mask channel, bool [D,H,W]; a channel the case does not have is an error."""
        if channel not in self.channels:
            raise KeyError(
                f"{self.case_id} has no mask channel {channel!r}; it has {', '.join(self.channels)}"
            )
        index = self.channels.index(channel)
        return np.asarray(self._masks[(index, *_box(start, stop, self.shape))]).astype(bool)

    def case_targets(self) -> CaseTargets:
        """The targets of every lesion class on the whole prepared grid."""
        return CaseTargets(
            case_id=self.case_id,
            classes={name: self._class_target(name, data) for name, data in self.targets.items()},
            spacing_mm=self.spacing_mm,
            shape=self.shape,
        )

    def state(self, lesion_class: str) -> str:
        """State of one class: voxels, reported, absent or unknown."""
        return str(self.targets[lesion_class]["state"])

    def _class_target(self, name: str, data: Mapping[str, Any]) -> ClassTarget:
        lesions = []
        for item in data["lesions"]:
            plain = {
                key: _tuple(value)
                for key, value in item.items()
                if key not in {"region", "centers", "volume_mm3"}
            }
            lesions.append(
                LesionTarget(
                    **plain,
                    volume_mm3=_interval(item["volume_mm3"]),
                    region=self._optional_tensor(item["region"]),
                    centers=self._optional_tensor(item["centers"]),
                )
            )
        region_name, ignore_name = data["region"], data["ignore"]
        return ClassTarget(
            state=data["state"],
            region=None if region_name is None else self.mask(region_name),
            ignore=None if ignore_name is None else self.mask(ignore_name),
            lesions=tuple(lesions),
            volume_mm3=_interval(data["volume_mm3"]),
            median_mm3=data["median_mm3"],
            sigma_log=data["sigma_log"],
            weight=data["weight"],
            margin_mm=data["margin_mm"],
            codes=tuple(data["codes"]),
        )

    def _optional_tensor(self, channel: str | None) -> Tensor | None:
        return None if channel is None else torch.from_numpy(self.mask(channel))


def write_case(
    folder: Path,
    *,
    image_hu: NDArray[np.int16],
    masks: Mapping[str, NDArray[np.bool_]],
    targets: CaseTargets,
    affine: NDArray[np.float64],
    split: str = "",
    site: str = "",
) -> None:
    """Write one prepared case into ``folder``, which must not exist yet (write to a temporary name, then rename).

    Args:
        folder: new folder.
        image_hu: int16 [D,H,W].
        masks: channel name → bool [D,H,W]; region channels are added from ``targets``.
        targets: targets on the same grid.
        affine: voxel → RAS+ mm of this grid.
        split, site: copied from cases.csv.
    """
    import blosc2

    folder.mkdir(parents=True)
    channels = dict(masks)
    described = {name: _describe(name, target, channels) for name, target in targets.classes.items()}
    chunks = tuple(min(64, size) for size in image_hu.shape)
    settings = {"codec": blosc2.Codec.ZSTD, "clevel": 5, "filters": [blosc2.Filter.SHUFFLE]}
    blosc2.asarray(
        np.ascontiguousarray(image_hu),
        urlpath=str(folder / "image.b2nd"),
        mode="w",
        chunks=chunks,
        cparams=settings,
    )
    stack = np.stack([mask.astype(np.uint8) for mask in channels.values()])
    blosc2.asarray(stack, urlpath=str(folder / "masks.b2nd"), mode="w", chunks=(1, *chunks), cparams=settings)
    meta = {
        "format_version": FORMAT_VERSION,
        "case_id": targets.case_id,
        "split": split,
        "site": site,
        "shape": list(image_hu.shape),
        "spacing_mm": list(targets.spacing_mm),
        "affine": np.asarray(affine, dtype=float).tolist(),
        "channels": list(channels),
        "targets": described,
        "image_sha256": hashlib.sha256(np.ascontiguousarray(image_hu).tobytes()).hexdigest(),
    }
    (folder / "case.json").write_text(json.dumps(meta, indent=1), encoding="utf-8")


def read_case(folder: Path) -> PreparedCase:
    """Open one prepared case.

    Raises:
        DataError: ``prepared_case_broken`` if its description is missing or of another format.
    """
    try:
        meta = json.loads((folder / "case.json").read_text(encoding="utf-8"))
        if meta["format_version"] != FORMAT_VERSION:
            raise ValueError(f"format {meta['format_version']}, this version reads {FORMAT_VERSION}")
    except (OSError, ValueError, KeyError) as error:
        raise DataError(
            f"{folder.name} is not a prepared case ({error.__class__.__name__})",
            code="prepared_case_broken",
            case_id=folder.name,
            hint="delete the folder and run `rsuper prepare` again",
        ) from error
    return PreparedCase(
        folder=folder,
        case_id=meta["case_id"],
        split=meta["split"],
        site=meta["site"],
        shape=(meta["shape"][0], meta["shape"][1], meta["shape"][2]),
        spacing_mm=(meta["spacing_mm"][0], meta["spacing_mm"][1], meta["spacing_mm"][2]),
        affine=np.asarray(meta["affine"], dtype=np.float64),
        channels=tuple(meta["channels"]),
        targets=meta["targets"],
    )


def _describe(name: str, target: ClassTarget, channels: dict[str, NDArray[np.bool_]]) -> dict[str, Any]:
    """One class target as JSON; its masks become channels, equal masks share one."""
    region = _channel(f"region:{name}", target.region, channels)
    lesions = []
    for index, lesion in enumerate(target.lesions):
        lesions.append(
            {
                "diameters_mm": list(lesion.diameters_mm),
                "volume_mm3": _finite(lesion.volume_mm3),
                "region": _channel(f"lesion_region:{name}:{index}", lesion.region, channels),
                "centers": _channel(f"lesion_centers:{name}:{index}", lesion.centers, channels),
                "slab": None if lesion.slab is None else list(lesion.slab),
                "weight": lesion.weight,
                "remainder": lesion.remainder,
                "median_mm3": lesion.median_mm3,
                "sigma_log": lesion.sigma_log,
                "attenuation": lesion.attenuation,
                "malignant": lesion.malignant,
            }
        )
    return {
        "state": target.state,
        "region": region,
        "ignore": _channel(f"ignore:{name}", target.ignore, channels),
        "lesions": lesions,
        "volume_mm3": _finite(target.volume_mm3),
        "median_mm3": target.median_mm3,
        "sigma_log": target.sigma_log,
        "weight": target.weight,
        "margin_mm": target.margin_mm,
        "codes": list(target.codes),
    }


def _channel(
    name: str, mask: NDArray[np.bool_] | Tensor | None, channels: dict[str, NDArray[np.bool_]]
) -> str | None:
    if mask is None:
        return None
    array = np.asarray(mask, dtype=bool)
    for other, existing in channels.items():
        if existing.shape == array.shape and np.array_equal(existing, array):
            return other
    channels[name] = array
    return name


def _finite(interval: tuple[float, float]) -> list[float | None]:
    low, high = interval
    return [low, None if math.isinf(high) else high]


def _interval(pair: Sequence[float | None]) -> tuple[float, float]:
    low, high = pair
    return float(low or 0.0), math.inf if high is None else float(high)


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _box(
    start: Sequence[int] | None, stop: Sequence[int] | None, shape: Index3
) -> tuple[slice, slice, slice]:
    first = (0, 0, 0) if start is None else start
    last = shape if stop is None else stop
    return slice(first[0], last[0]), slice(first[1], last[1]), slice(first[2], last[2])
