"""The prepared dataset on disk: chunked volumes, packed masks and targets of one case, read crop by crop."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rsuper.data.roi import Box, bounding_box
from rsuper.errors import DataError
from rsuper.supervision.types import CaseTargets, ClassTarget, LesionTarget

FORMAT_VERSION = 1
CASE_FILE = "case.json"
IMAGE_FILE = "image.b2nd"
MASKS_FILE = "masks.b2nd"
Index3 = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True, eq=False)
class PreparedCase:
    """One prepared case; a crop reads only its chunks. Nothing stays open, so cases may be shared by threads.

    Args:
        folder: where ``image.b2nd``, ``masks.b2nd`` and ``case.json`` are.
        case_id, split, site: as in cases.csv.
        shape: voxels in array order.
        spacing_mm: voxel size in array order.
        affine: 4×4 voxel → RAS+ mm of the prepared grid.
        channels: name of each mask channel; ``structure:NAME``, ``label:CLASS``, ``region:CLASS``,
            ``ignore:CLASS``, ``lesion_region:CLASS:INDEX``, ``lesion_centers:CLASS:INDEX`` or ``reference:CLASS``.
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

    def image(
        self, start: Sequence[int] | None = None, stop: Sequence[int] | None = None
    ) -> NDArray[np.int16]:
        """HU [D,H,W] of the box ``start:stop`` (the whole volume by default)."""
        return np.asarray(self._read(IMAGE_FILE, _box(start, stop, self.shape)), dtype=np.int16)

    def mask(
        self, channel: str, start: Sequence[int] | None = None, stop: Sequence[int] | None = None
    ) -> NDArray[np.bool_]:
        """One mask channel of the box ``start:stop``, bool [D,H,W].

        Raises:
            KeyError: the case has no such channel.
            DataError: ``prepared_case_broken``.
        """
        if channel not in self.channels:
            raise KeyError(
                f"{self.case_id} has no mask channel {channel!r}; it has {', '.join(self.channels)}"
            )
        index = self.channels.index(channel)
        return self._read(MASKS_FILE, (index, *_box(start, stop, self.shape))).astype(bool)

    def case_targets(self) -> CaseTargets:
        """The targets of every lesion class on the whole prepared grid."""
        return CaseTargets(
            case_id=self.case_id,
            classes={name: self._class_target(data) for name, data in self.targets.items()},
            spacing_mm=self.spacing_mm,
            shape=self.shape,
        )

    def state(self, lesion_class: str) -> str:
        """State of one class: voxels, reported, absent or unknown."""
        return str(self.targets[lesion_class]["state"])

    def region_box(self, lesion_class: str) -> Box | None:
        """The box around a class's region, array order; None if it has no region or an empty one."""
        data = self.targets[lesion_class]
        if data["region"] is None:
            return None
        if "region_box" not in data:  # prepared before the box was written
            return bounding_box(self.mask(data["region"]))
        if data["region_box"] is None:
            return None
        first, second, third = (slice(low, high) for low, high in data["region_box"])
        return first, second, third

    def _read(self, name: str, where: tuple[Any, ...]) -> NDArray[Any]:
        import blosc2

        try:
            return np.asarray(blosc2.open(str(self.folder / name), mode="r")[where])
        except (OSError, RuntimeError, ValueError) as error:
            raise _broken(self.folder, f"{name}: {error.__class__.__name__}") from error

    def _class_target(self, data: Mapping[str, Any]) -> ClassTarget:
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
    """Write one prepared case into ``folder``, which must not exist yet; ``publish_folder`` gives it its name.

    Args:
        folder: new folder.
        image_hu: int16 [D,H,W].
        masks: channel name → bool [D,H,W]; region channels are added from ``targets``.
        targets: targets on the same grid.
        affine: voxel → RAS+ mm of this grid.
        split: as in cases.csv; empty where it says nothing.
        site: as in cases.csv; empty where it says nothing.
    """
    import blosc2

    folder.mkdir(parents=True)
    channels = dict(masks)
    described = {name: _describe(name, target, channels) for name, target in targets.classes.items()}
    chunks = tuple(min(64, size) for size in image_hu.shape)
    settings = {"codec": blosc2.Codec.ZSTD, "clevel": 5, "filters": [blosc2.Filter.SHUFFLE]}
    image = np.ascontiguousarray(image_hu)
    blosc2.asarray(image, urlpath=str(folder / IMAGE_FILE), mode="w", chunks=chunks, cparams=settings)
    stack = np.zeros((0, *image.shape), dtype=np.uint8)
    if channels:
        stack = np.stack([mask.astype(np.uint8) for mask in channels.values()])
        blosc2.asarray(
            stack, urlpath=str(folder / MASKS_FILE), mode="w", chunks=(1, *chunks), cparams=settings
        )
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
        "image_sha256": hashlib.sha256(image.tobytes()).hexdigest(),
        "masks_sha256": hashlib.sha256(stack.tobytes()).hexdigest(),
    }
    (folder / CASE_FILE).write_text(json.dumps(meta, indent=1), encoding="utf-8")


def read_case(folder: Path) -> PreparedCase:
    """Open one prepared case.

    Raises:
        DataError: ``prepared_case_broken`` if a file is missing or its description is of another format.
    """
    try:
        meta = json.loads((folder / CASE_FILE).read_text(encoding="utf-8"))
        version = meta["format_version"]
        case = PreparedCase(
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
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise _broken(folder, f"{CASE_FILE}: {error.__class__.__name__}") from error
    if version != FORMAT_VERSION:
        raise _broken(folder, f"format {version}, this version reads {FORMAT_VERSION}")
    files = (IMAGE_FILE, MASKS_FILE) if case.channels else (IMAGE_FILE,)
    missing = [name for name in files if not (folder / name).is_file()]
    if missing:
        raise _broken(folder, f"{' and '.join(missing)} missing")
    return case


def content_sha256(cases: Sequence[PreparedCase]) -> str:
    """Hash of all images, masks and targets of these cases, in order."""
    digest = hashlib.sha256()
    for case in cases:
        digest.update((case.folder / CASE_FILE).read_bytes())
    return digest.hexdigest()


def _broken(folder: Path, what: str) -> DataError:
    return DataError(
        f"{folder.name} is not a readable prepared case ({what})",
        code="prepared_case_broken",
        case_id=folder.name,
        hint="delete the folder and run `rsuper prepare` again",
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
        "region_box": _ends(target.region_box),
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


def _ends(box: Box | None) -> list[list[int]] | None:
    return None if box is None else [[part.start, part.stop] for part in box]


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
