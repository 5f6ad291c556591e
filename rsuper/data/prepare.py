"""Dataset folder → prepared dataset: one grid, HU in int16, packed masks, targets; resumable case by case."""

from __future__ import annotations

import errno
import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rsuper.data.layout import CaseEntry, Dataset
from rsuper.data.prepared import PREPARED_FILE, CaseFailure, PrepareConfig, PreparedDataset
from rsuper.data.roi import organ_box, whole_box
from rsuper.data.store import FORMAT_VERSION, read_case, write_case
from rsuper.errors import DataError, ResourceError, RsuperError, UsageError
from rsuper.files import file_stamps, publish_folder, require_own_folders, write_atomic_text
from rsuper.supervision import build_case_targets, with_mask_codes
from rsuper.volumes import Volume, grid_difference, read_mask, resample, to_canonical

Progress = Callable[[int, int, str], None]
Masks = dict[str, NDArray[np.bool_]]
KEY_FILE = "key.txt"
__all__ = ["CaseFailure", "PrepareConfig", "PreparedDataset", "prepare"]
SUPERVISION_TABLES = ("policy.yaml", "size_factors.json")
TARGET_RULES = 2
"""Goes up where the same records, masks and tables give other targets, so that no case keeps those of before."""
DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


def prepare(
    dataset: Dataset,
    out: Path,
    *,
    config: PrepareConfig,
    reference: Path | None = None,
    cases: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> PreparedDataset:
    """Prepare a dataset; cases that are already there, from the same files, records, tables and settings, are kept.

    Args:
        dataset: an opened dataset folder.
        out: folder to write; created if missing.
        config: grid, classes and regions.
        reference: folder ``CASE/CLASS.nii.gz`` with masks for evaluation only; they never become labels.
        cases: case ids to prepare, all by default.
        progress: called with (done, total, case_id).

    Returns:
        The prepared dataset; ``failures`` says which cases could not be prepared, and why.

    Raises:
        UsageError: ``output_holds_inputs`` if ``out`` holds a dataset, or folders of cases that this did not write.
        DataError: ``unknown_case``, or ``nothing_prepared`` if no case could be prepared at all.
        ResourceError: ``disk_full``.
    """
    chosen = (
        dataset.cases if cases is None else tuple(dataset.case(case_id) for case_id in dict.fromkeys(cases))
    )
    if out.resolve() == dataset.root.resolve():
        raise UsageError(
            f"{out} is the dataset itself", code="output_holds_inputs", hint="choose another --out"
        )
    require_own_folders(out, [entry.case_id for entry in chosen], marker=KEY_FILE, writer="rsuper prepare")
    out.mkdir(parents=True, exist_ok=True)
    _forget_other(out, config)
    done: list[str] = []
    failures: list[CaseFailure] = []
    for number, entry in enumerate(chosen, 1):
        failure = _try(dataset, entry, out, config=config, reference=reference)
        if failure is None:
            done.append(entry.case_id)
        else:
            failures.append(failure)
        if progress is not None:
            progress(number, len(chosen), entry.case_id)
    if not done:
        codes = ", ".join(sorted({item.code for item in failures})) or "no case found"
        raise DataError(
            f"no case of {len(chosen)} could be prepared ({codes})",
            code="nothing_prepared",
            hint="run `rsuper check DATASET` to see each finding",
        )
    meta = {
        "format_version": FORMAT_VERSION,
        "config": config.model_dump(mode="json"),
        "cases": done,
        "failures": [asdict(item) for item in failures],
    }
    write_atomic_text(out / PREPARED_FILE, json.dumps(meta, indent=1))
    return PreparedDataset.open(out)


def _try(
    dataset: Dataset, entry: CaseEntry, out: Path, *, config: PrepareConfig, reference: Path | None
) -> CaseFailure | None:
    """Prepare one case; whatever is wrong with it stays its own."""
    try:
        _prepare_one(dataset, entry, out / entry.case_id, config=config, reference=reference)
    except RsuperError as error:
        return CaseFailure(entry.case_id, error.code, str(error.args[0]), error.hint)
    except MemoryError:
        return CaseFailure(
            entry.case_id,
            "out_of_memory",
            "the case does not fit into memory",
            "use roi_structures or a spacing",
        )
    except OSError as error:
        if error.errno in DISK_FULL:
            raise ResourceError(
                f"no space left under {out}",
                code="disk_full",
                case_id=entry.case_id,
                hint="free some space; the same command goes on here",
            ) from error
        return CaseFailure(
            entry.case_id, "file_error", f"{error.__class__.__name__} {error.strerror or ''}".strip()
        )
    except Exception as error:  # the case must not vanish, nor take the others with it
        return CaseFailure(
            entry.case_id, "prepare_failed", f"unexpected {error.__class__.__name__}", "please report this"
        )
    return None


def _forget_other(out: Path, config: PrepareConfig) -> None:
    """A folder that is being made anew with other settings is not a prepared dataset until it is finished."""
    try:
        if PreparedDataset.open(out).config == config:
            return
    except DataError:
        pass
    (out / PREPARED_FILE).unlink(missing_ok=True)


def _key(dataset: Dataset, entry: CaseEntry, *, config: PrepareConfig, reference: Path | None) -> str:
    """Hash of everything that a prepared case depends on: settings, files, records and its row of cases.csv."""
    masks = (
        []
        if reference is None
        else [_reference_path(reference, entry, name) for name in config.lesion_classes]
    )
    parts = (
        config.sha256,
        str(TARGET_RULES),
        _tables_sha256(),
        repr(entry),
        repr(sorted(dataset.labels.items())),
        dataset.class_map.model_dump_json(),
        *file_stamps((*dataset.files(entry), *masks)),
        *(record.model_dump_json() for record in dataset.records(entry)),
    )
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


@cache
def _tables_sha256() -> str:
    """Hash of the tables that turn a record into a target: anatomy, policy, size factors."""
    tables = (
        files("llm_extract") / "anatomy.yaml",
        *(files("rsuper.supervision") / n for n in SUPERVISION_TABLES),
    )
    return hashlib.sha256(b"\0".join(table.read_bytes() for table in tables)).hexdigest()


def _prepare_one(
    dataset: Dataset, entry: CaseEntry, folder: Path, *, config: PrepareConfig, reference: Path | None
) -> None:
    key = _key(dataset, entry, config=config, reference=reference)
    written = folder / KEY_FILE
    if written.is_file() and written.read_text(encoding="utf-8") == key:
        read_case(folder)
        return
    ct = to_canonical(dataset.read_ct(entry))
    masks, lesions = _read_masks(dataset, entry, ct, config=config)
    references = _read_references(reference, entry, ct, config=config)
    grid = ct
    if config.spacing_mm is not None:
        grid = resample(ct, config.spacing_mm, order=3)
        masks, lesions, references = (
            {name: _mask_on(grid, ct, mask) for name, mask in group.items()}
            for group in (masks, lesions, references)
        )
    crop = _roi(masks, grid, config, case_id=entry.case_id)
    organs, drawn = _cropped(masks, crop), _cropped(lesions, crop)
    targets = build_case_targets(
        dataset.records(entry),
        organs or drawn,  # a case may have nothing but drawn lesions
        case_id=entry.case_id,
        spacing_mm=grid.spacing_mm,
        lesion_classes=config.lesion_classes,
        voxel_labelled=frozenset(lesions),
        margins_mm=config.margins_mm or None,
        anatomy=config.anatomy,
        policy=config.policy,
    )
    targets = with_mask_codes(
        targets, dataset.records(entry), lesions, anatomy=config.anatomy, policy=config.policy
    )
    channels = {f"structure:{name}": mask for name, mask in organs.items()}
    channels |= {f"label:{name}": mask for name, mask in drawn.items()}
    channels |= {f"reference:{name}": mask for name, mask in _cropped(references, crop).items()}
    affine = grid.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ np.array([part.start for part in crop], dtype=float)
    temporary = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(temporary, ignore_errors=True)
    write_case(
        temporary,
        image_hu=np.clip(np.rint(grid.array[crop]), *config.hu_window).astype(np.int16),
        masks=channels,
        targets=targets,
        affine=affine,
        split=entry.split or "",
        site=entry.site or "",
    )
    (temporary / KEY_FILE).write_text(key, encoding="utf-8")
    publish_folder(temporary, folder)


def _read_masks(
    dataset: Dataset, entry: CaseEntry, ct: Volume, *, config: PrepareConfig
) -> tuple[Masks, Masks]:
    """Organ masks and voxel-labelled lesion masks on the CT's canonical grid."""
    present = dataset.structures(entry)
    labelled = dataset.lesion_classes(entry)
    missing = [name for name in config.structures if name not in present - labelled]
    if missing:
        raise DataError(
            f"no mask of {', '.join(missing)}",
            code="missing_organ_mask",
            case_id=entry.case_id,
            hint="add CASE/segmentations/STRUCTURE.nii.gz or leave the structure out of the configuration",
        )
    structures = {
        name: _on_grid(dataset.read_structure(entry, name), ct, entry.case_id, name)
        for name in sorted(present - labelled)
    }
    lesions = {
        name: _on_grid(dataset.read_structure(entry, name), ct, entry.case_id, name)
        for name in config.lesion_classes
        if name in labelled
    }
    return structures, lesions


def _read_references(reference: Path | None, entry: CaseEntry, ct: Volume, *, config: PrepareConfig) -> Masks:
    if reference is None:
        return {}
    paths = {name: _reference_path(reference, entry, name) for name in config.lesion_classes}
    return {
        name: _on_grid(read_mask(path), ct, entry.case_id, name)
        for name, path in paths.items()
        if path.is_file()
    }


def _reference_path(reference: Path, entry: CaseEntry, lesion_class: str) -> Path:
    return reference / entry.case_id / f"{lesion_class}.nii.gz"


def _on_grid(mask: Volume, ct: Volume, case_id: str, name: str) -> NDArray[np.bool_]:
    canonical = to_canonical(mask)
    difference = grid_difference(canonical, ct)
    if difference is not None:
        raise DataError(
            f"mask {name} and CT are not on one grid: {difference}",
            code="grid_mismatch",
            case_id=case_id,
            hint="resample the mask to the CT's grid before preparing",
        )
    return np.asarray(canonical.array).astype(bool)


def _mask_on(grid: Volume, ct: Volume, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return np.asarray(resample(ct.with_array(mask), grid).array).astype(bool)


def _cropped(masks: Masks, crop: tuple[slice, slice, slice]) -> Masks:
    return {name: np.ascontiguousarray(mask[crop]) for name, mask in masks.items()}


def _roi(masks: Masks, grid: Volume, config: PrepareConfig, *, case_id: str) -> tuple[slice, slice, slice]:
    if not config.roi_structures:
        return whole_box(grid.shape)
    found = [masks[name] for name in config.roi_structures if name in masks]
    box = organ_box(found, spacing_mm=grid.spacing_mm, margin_mm=config.roi_margin_mm)
    if box is None:
        raise DataError(
            f"no voxel of {', '.join(config.roi_structures)}, which place the box to cut out",
            code="missing_organ_mask" if not found else "empty_organ_mask",
            case_id=case_id,
            hint="add the mask, or leave roi_structures empty to keep whole volumes",
        )
    return box
