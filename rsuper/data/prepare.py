"""Dataset folder → prepared dataset: one grid, HU in int16, packed masks, targets; resumable case by case."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from rsuper.data.layout import CaseEntry, Dataset
from rsuper.data.store import FORMAT_VERSION, PreparedCase, read_case, write_case
from rsuper.errors import DataError, RsuperError
from rsuper.files import write_atomic_text
from rsuper.supervision import build_case_targets
from rsuper.volumes import Volume, read_mask, resample, same_grid, to_canonical

Progress = Callable[[int, int, str], None]


class PrepareConfig(BaseModel):
    """What the prepared dataset holds.

    Args:
        lesion_classes: classes that reports and masks supervise, such as ``pancreas_lesion``.
        structures: organ masks that the network learns beside them.
        spacing_mm: voxel size of the prepared grid in array (RAS) order; None keeps the CT's own.
        roi_structures: crop to the bounding box of these masks plus ``roi_margin_mm``; empty keeps all.
        roi_margin_mm: margin of that box.
        hu_window: HU are clipped to this range (LOSSES § 7).
        margins_mm: organ → margin of the report region; missing organs take the shipped defaults.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    lesion_classes: tuple[str, ...]
    structures: tuple[str, ...] = ()
    spacing_mm: tuple[float, float, float] | None = None
    roi_structures: tuple[str, ...] = ()
    roi_margin_mm: float = Field(default=24.0, ge=0)
    hu_window: tuple[int, int] = (-991, 500)
    margins_mm: dict[str, float] = Field(default_factory=dict)

    @property
    def sha256(self) -> str:
        """Hash of everything that changes a prepared case."""
        return hashlib.sha256(f"{FORMAT_VERSION}{self.model_dump_json()}".encode()).hexdigest()


@dataclass(frozen=True)
class PreparedDataset:
    """A folder that ``prepare`` wrote: its configuration, its cases and the ones that failed."""

    root: Path
    config: PrepareConfig
    cases: tuple[PreparedCase, ...]
    failed: tuple[tuple[str, str], ...]

    @classmethod
    def open(cls, root: Path) -> PreparedDataset:
        """Open a prepared dataset.

        Raises:
            DataError: ``not_prepared`` if the folder was not written by ``prepare``.
        """
        try:
            meta = json.loads((root / "prepared.json").read_text(encoding="utf-8"))
            config = PrepareConfig.model_validate(meta["config"])
        except (OSError, ValueError, KeyError) as error:
            raise DataError(
                f"{root} is not a prepared dataset",
                code="not_prepared",
                hint="run `rsuper prepare DATASET --out DIR` first",
            ) from error
        cases = tuple(read_case(root / case_id) for case_id in meta["cases"])
        return cls(root, config, cases, tuple((item[0], item[1]) for item in meta["failed"]))

    def split(self, name: str) -> tuple[PreparedCase, ...]:
        """The cases of one split, in file order."""
        return tuple(case for case in self.cases if case.split == name)


def prepare(
    dataset: Dataset,
    out: Path,
    *,
    config: PrepareConfig,
    reference: Path | None = None,
    cases: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> PreparedDataset:
    """Prepare a dataset; cases that are already there with the same settings are kept.

    Args:
        dataset: an opened dataset folder.
        out: folder to write; created if missing.
        config: grid, classes and regions.
        reference: folder ``CASE/CLASS.nii.gz`` with masks for evaluation only; they never become labels.
        cases: case ids to prepare, all by default.
        progress: called with (done, total, case_id).

    Returns:
        The prepared dataset; ``failed`` lists (case_id, code) of the cases that could not be prepared.

    Raises:
        DataError: ``nothing_prepared`` if no case could be prepared at all.
    """
    out.mkdir(parents=True, exist_ok=True)
    chosen = [entry for entry in dataset.cases if cases is None or entry.case_id in set(cases)]
    done: list[str] = []
    failed: list[tuple[str, str]] = []
    for number, entry in enumerate(chosen, 1):
        try:
            _prepare_one(dataset, entry, out / entry.case_id, config=config, reference=reference)
            done.append(entry.case_id)
        except RsuperError as error:
            failed.append((entry.case_id, error.code))
        if progress is not None:
            progress(number, len(chosen), entry.case_id)
    if not done:
        codes = ", ".join(sorted({code for _, code in failed})) or "no case found"
        raise DataError(
            f"no case of {len(chosen)} could be prepared ({codes})",
            code="nothing_prepared",
            hint="run `rsuper check DATASET` to see each finding",
        )
    meta = {"format_version": FORMAT_VERSION, "config": config.model_dump(), "cases": done, "failed": failed}
    write_atomic_text(out / "prepared.json", json.dumps(meta, indent=1))
    return PreparedDataset.open(out)


def _prepare_one(
    dataset: Dataset, entry: CaseEntry, folder: Path, *, config: PrepareConfig, reference: Path | None
) -> None:
    key = folder / "key.txt"
    if key.is_file() and key.read_text(encoding="utf-8") == config.sha256:
        return
    ct = to_canonical(dataset.read_ct(entry))
    masks, lesions = _read_masks(dataset, entry, ct, config=config)
    references = _read_references(reference, entry.case_id, ct, config=config)
    if config.spacing_mm is not None:
        grid = resample(ct, config.spacing_mm, order=1)
        masks, lesions, references = (
            {name: _mask_on(grid, ct, mask) for name, mask in group.items()}
            for group in (masks, lesions, references)
        )
    else:
        grid = ct
    box = _roi(masks, grid, config)
    crop = (slice(box[0][0], box[1][0]), slice(box[0][1], box[1][1]), slice(box[0][2], box[1][2]))
    spacing = (float(grid.spacing_mm[0]), float(grid.spacing_mm[1]), float(grid.spacing_mm[2]))
    organs = {name: np.ascontiguousarray(mask[crop]) for name, mask in masks.items()}
    targets = build_case_targets(
        dataset.records(entry),
        organs,
        case_id=entry.case_id,
        spacing_mm=spacing,
        lesion_classes=config.lesion_classes,
        voxel_labelled=frozenset(lesions),
        margins_mm=config.margins_mm or None,
    )
    channels = {f"structure:{name}": mask for name, mask in organs.items()}
    channels |= {f"label:{name}": np.ascontiguousarray(mask[crop]) for name, mask in lesions.items()}
    channels |= {f"reference:{name}": np.ascontiguousarray(mask[crop]) for name, mask in references.items()}
    affine = grid.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ np.asarray(box[0], dtype=float)
    image = np.clip(np.rint(grid.array[crop]), *config.hu_window).astype(np.int16)
    temporary = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(temporary, ignore_errors=True)
    write_case(
        temporary,
        image_hu=image,
        masks=channels,
        targets=targets,
        affine=affine,
        split=entry.split or "",
        site=entry.site or "",
    )
    (temporary / "key.txt").write_text(config.sha256, encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    temporary.rename(folder)


def _read_masks(
    dataset: Dataset, entry: CaseEntry, ct: Volume, *, config: PrepareConfig
) -> tuple[dict[str, NDArray[np.bool_]], dict[str, NDArray[np.bool_]]]:
    """Organ masks and voxel-labelled lesion masks on the CT's canonical grid."""
    present = dataset.structures(entry)
    labelled = dataset.lesion_classes(entry)
    structures = {
        name: _on_grid(dataset.read_structure(entry, name), ct, entry.case_id, name)
        for name in sorted(present - labelled)
    }
    lesions = {
        name: _on_grid(dataset.read_structure(entry, name), ct, entry.case_id, name)
        for name in config.lesion_classes
        if name in labelled
    }
    missing = [name for name in config.structures if name not in structures]
    if missing:
        raise DataError(
            f"no mask of {', '.join(missing)}",
            code="missing_organ_mask",
            case_id=entry.case_id,
            hint="add CASE/segmentations/STRUCTURE.nii.gz or leave the structure out of the configuration",
        )
    return structures, lesions


def _read_references(
    reference: Path | None, case_id: str, ct: Volume, *, config: PrepareConfig
) -> dict[str, NDArray[np.bool_]]:
    if reference is None:
        return {}
    found = {}
    for name in config.lesion_classes:
        path = reference / case_id / f"{name}.nii.gz"
        if path.is_file():
            found[name] = _on_grid(read_mask(path), ct, case_id, name)
    return found


def _on_grid(mask: Volume, ct: Volume, case_id: str, name: str) -> NDArray[np.bool_]:
    canonical = to_canonical(mask)
    if not same_grid(canonical, ct):
        raise DataError(
            f"mask {name} has grid {canonical.shape}, the CT {ct.shape}, or their affines differ",
            code="grid_mismatch",
            case_id=case_id,
            hint="resample the mask to the CT's grid before preparing",
        )
    return np.asarray(canonical.array).astype(bool)


def _mask_on(grid: Volume, ct: Volume, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return np.asarray(resample(ct.with_array(mask), grid).array).astype(bool)


def _roi(
    masks: dict[str, NDArray[np.bool_]], grid: Volume, config: PrepareConfig
) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    shape = (int(grid.shape[0]), int(grid.shape[1]), int(grid.shape[2]))
    found = [masks[name] for name in config.roi_structures if name in masks and masks[name].any()]
    if not found:
        return (0, 0, 0), shape
    union = np.logical_or.reduce(found)
    start, stop = [], []
    for axis in range(3):
        hit = np.flatnonzero(union.any(axis=tuple(other for other in range(3) if other != axis)))
        margin = int(np.ceil(config.roi_margin_mm / float(grid.spacing_mm[axis])))
        start.append(max(0, int(hit[0]) - margin))
        stop.append(min(shape[axis], int(hit[-1]) + 1 + margin))
    return (start[0], start[1], start[2]), (stop[0], stop[1], stop[2])
