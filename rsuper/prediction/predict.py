"""A trained run on CTs: masks, probabilities and findings on each CT's own grid; resumable case by case."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rsuper.data.cases_table import is_id
from rsuper.data.layout import PREDICTION_MARK, Dataset
from rsuper.data.prepare import DISK_FULL, CaseFailure
from rsuper.errors import DataError, ResourceError, RsuperError, UsageError
from rsuper.files import file_stamps, publish_folder, require_own_folders, write_atomic_text
from rsuper.prediction.case_score import case_score
from rsuper.prediction.findings import CaseFindings, read_findings, write_findings
from rsuper.prediction.lesions import find_lesions
from rsuper.prediction.model import Model, Prediction, load_model, predict_volume
from rsuper.volumes import (
    Volume,
    read_volume,
    reorient,
    require_ct_values,
    require_same_grid,
    to_canonical,
    write_volume,
)

__all__ = ["Model", "Prediction", "load_model", "predict", "predict_volume"]
CASE_FILE = "case.json"
TABLE_FILE = "predictions.csv"


@dataclass(frozen=True, kw_only=True)
class _Input:
    """One CT to predict: its files, and how to read it and its organ masks."""

    case_id: str
    files: tuple[Path, ...]
    read: Callable[[], tuple[Volume, dict[str, Volume]]]


def predict(
    model: Model,
    source: Path,
    out: Path,
    *,
    cases: Sequence[str] | None = None,
    class_map: str | None = None,
    probabilities: bool = False,
    progress: Callable[[int, int, str], None] | None = None,
) -> dict[str, Any]:
    """Predict a dataset folder or one CT file.

    A case that is finished with the same model and the same files is kept; one that cannot be predicted is listed with
    its code in ``predictions.csv`` and leaves no files.

    Args:
        model: from ``load_model``.
        source: a dataset folder (its organ masks place the box and name parts), or a CT file.
        out: output folder; ``CASE/segmentations/CLASS.nii.gz``, ``CASE/findings.json``, ``predictions.csv``.
        cases: case ids to predict, all by default.
        class_map: where a dataset folder keeps its CTs and organ masks: a YAML file or a preset.
        probabilities: also write ``CASE/probabilities/CLASS.nii.gz``.
        progress: called with (done, total, case_id).

    Returns:
        ``{"done": n, "failed": {case_id: code}, "failures": [{case_id, code, message, hint}]}``.

    Raises:
        UsageError: ``output_holds_inputs`` if ``out`` is a dataset, holds an input CT, or foreign case folders.
        DataError: ``no_cases``, ``unknown_case``, ``invalid_case_id``.
        ResourceError: ``disk_full``.
    """
    inputs = _inputs(source, cases, class_map=class_map)
    _refuse(out, source, inputs)
    out.mkdir(parents=True, exist_ok=True)
    about = {
        "written_by": "rsuper predict",
        "model_sha256": model.sha256,
        "thresholds": dict(model.thresholds),
        "policy": model.policy,
        "anatomy": None if model.anatomy is None else model.anatomy.model_dump(mode="json"),
    }
    write_atomic_text(out / PREDICTION_MARK, json.dumps(about))
    failures: list[CaseFailure] = []
    for number, item in enumerate(inputs, 1):
        failure = _try(model, item, out, probabilities=probabilities)
        if failure is not None:
            failures.append(failure)
            shutil.rmtree(out / item.case_id, ignore_errors=True)
        if progress is not None:
            progress(number, len(inputs), item.case_id)
    _write_table(out, model, failures)
    return {
        "done": len(inputs) - len(failures),
        "failed": {item.case_id: item.code for item in failures},
        "failures": [vars(item) for item in failures],
    }


def _inputs(source: Path, cases: Sequence[str] | None, *, class_map: str | None) -> list[_Input]:
    if source.is_file():
        name = source.name
        for suffix in (".gz", ".nii", ".mha", ".mhd", ".nrrd"):
            name = name.removesuffix(suffix)
        case_id = source.resolve().parent.name if name == "ct" else name
        if not is_id(case_id):
            raise DataError(
                "the name of the file is no case id",
                code="invalid_case_id",
                hint="letters, digits, dot, dash and underscore only; rename the file",
            )
        return [_Input(case_id=case_id, files=(source,), read=lambda: (read_volume(source), {}))]
    dataset = Dataset.open(source, class_map=class_map)
    entries = dataset.cases if cases is None else [dataset.case(name) for name in dict.fromkeys(cases)]
    if not entries:
        raise DataError(f"no case to predict in {source}", code="no_cases", hint="see cases.csv")

    def reader(case_id: str) -> Callable[[], tuple[Volume, dict[str, Volume]]]:
        def read() -> tuple[Volume, dict[str, Volume]]:
            names = sorted(dataset.structures(case_id) - dataset.lesion_classes(case_id))
            return dataset.read_ct(case_id), {name: dataset.read_structure(case_id, name) for name in names}

        return read

    return [
        _Input(case_id=entry.case_id, files=_files(dataset, entry.case_id), read=reader(entry.case_id))
        for entry in entries
    ]


def _files(dataset: Dataset, case_id: str) -> tuple[Path, ...]:
    """Files of a case; where they cannot even be listed, reading says why."""
    try:
        return dataset.files(case_id)
    except DataError:
        return ()


def _try(model: Model, item: _Input, out: Path, *, probabilities: bool) -> CaseFailure | None:
    """Predict one case unless it is done; whatever is wrong with it stays its own."""
    key = _key(model, item)
    try:
        if not _is_done(out / item.case_id, key, probabilities=probabilities):
            _predict_case(model, item, out, key=key, probabilities=probabilities)
    except RsuperError as error:
        return CaseFailure(item.case_id, error.code, str(error.args[0]), error.hint)
    except MemoryError:
        return CaseFailure(item.case_id, "out_of_memory", "the case does not fit into memory")
    except OSError as error:
        if error.errno in DISK_FULL:
            raise ResourceError(
                f"no space left under {out}",
                code="disk_full",
                case_id=item.case_id,
                hint="free some space; the same command goes on here",
            ) from error
        return CaseFailure(item.case_id, "file_error", error.__class__.__name__)
    except Exception as error:  # the case must not vanish, nor take the others with it
        return CaseFailure(
            item.case_id, "predict_failed", f"unexpected {error.__class__.__name__}", "please report this"
        )
    return None


def _predict_case(model: Model, item: _Input, out: Path, *, key: str, probabilities: bool) -> None:
    original, structures = item.read()
    require_ct_values(original, case_id=item.case_id)
    ct = to_canonical(original)
    organs = {}
    for name, mask in structures.items():
        canonical = to_canonical(mask)  # a mask may be stored in another axis order than its CT
        require_same_grid(ct, canonical, case_id=item.case_id, names=("CT", name))
        organs[name] = np.asarray(canonical.array).astype(bool)
    prediction = predict_volume(model, ct, organ_masks=organs)
    own_organs = organs or {name: prediction.probability[name] >= 0.5 for name in model.structures}
    native = {name: _back(mask, ct, original).array for name, mask in own_organs.items()}
    temporary = out / f".{item.case_id}.partial"
    shutil.rmtree(temporary, ignore_errors=True)
    folders = ("segmentations", "probabilities") if probabilities else ("segmentations",)
    for folder in folders:
        (temporary / folder).mkdir(parents=True)
    lesions, scores = [], {}
    for name in model.lesion_classes:
        p = _back(prediction.probability[name], ct, original)
        called = p.array >= model.thresholds.get(name, 0.5)
        scores[name] = case_score(prediction.probability[name], prediction.inside, spacing_mm=ct.spacing_mm)
        write_volume(temporary / "segmentations" / f"{name}.nii.gz", p.with_array(called.astype(np.uint8)))
        if probabilities:
            write_volume(temporary / "probabilities" / f"{name}.nii.gz", p)
        lesions += find_lesions(
            called,
            p.array,
            original.array,
            affine=original.affine,
            class_name=name,
            organ_masks=native,
            anatomy=model.anatomy,
        )
    write_findings(
        temporary / "findings.json",
        CaseFindings(case_id=item.case_id, spacing_mm=original.spacing_mm, lesions=tuple(lesions)),
    )
    (temporary / CASE_FILE).write_text(
        json.dumps({"key": key, "model_sha256": model.sha256, "scores": scores}), encoding="utf-8"
    )
    publish_folder(temporary, out / item.case_id)


def _back(array: NDArray[Any], canonical: Volume, original: Volume) -> Volume:
    """An array on the canonical grid, in the voxel order of the original file."""
    return reorient(canonical.with_array(array), original)


def _refuse(out: Path, source: Path, inputs: Sequence[_Input]) -> None:
    """Nothing that this did not write is ever replaced, and no folder of inputs is marked as predictions."""
    target = out.resolve()
    inside = any(path.resolve().is_relative_to(target) for item in inputs for path in item.files)
    if inside or target == source.resolve():
        raise UsageError(f"{out} holds the inputs", code="output_holds_inputs", hint="choose another --out")
    require_own_folders(out, [item.case_id for item in inputs], marker=CASE_FILE, writer="rsuper predict")


def _key(model: Model, item: _Input) -> str:
    """Hash of everything that a prediction depends on: weights, thresholds, files."""
    parts = (model.sha256, json.dumps(dict(model.thresholds), sort_keys=True), *file_stamps(item.files))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _is_done(folder: Path, key: str, *, probabilities: bool) -> bool:
    meta = _case_meta(folder)
    complete = (folder / "findings.json").is_file() and (
        not probabilities or (folder / "probabilities").is_dir()
    )
    return complete and meta.get("key") == key


def _case_meta(folder: Path) -> Mapping[str, Any]:
    try:
        meta = json.loads((folder / CASE_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return meta if isinstance(meta, dict) else {}


def _write_table(out: Path, model: Model, failures: Sequence[CaseFailure]) -> None:
    """One row a case that this model has predicted, now or earlier, or that failed."""
    handle = io.StringIO(newline="")
    writer = csv.writer(handle, lineterminator="\n")
    columns = [
        f"{name}_{what}" for name in model.lesion_classes for what in ("score", "lesions", "volume_mm3")
    ]
    writer.writerow(["case_id", "status", "code", *columns])
    rows: dict[str, list[str]] = {}
    for folder in (path.parent for path in out.glob(f"*/{CASE_FILE}")):
        meta = _case_meta(folder)
        if meta.get("model_sha256") != model.sha256:
            continue
        scores = meta.get("scores", {})
        findings = read_findings(folder).lesions
        row = [folder.name, "done", ""]
        for name in model.lesion_classes:
            own = [lesion for lesion in findings if lesion.class_name == name]
            score = f"{scores[name]!r}" if name in scores else ""
            row += [score, str(len(own)), f"{sum(lesion.volume_mm3 for lesion in own):.1f}"]
        rows[folder.name] = row
    for item in failures:
        rows[item.case_id] = [item.case_id, "failed", item.code, *("" for _ in columns)]
    writer.writerows(rows[case_id] for case_id in sorted(rows))
    write_atomic_text(out / TABLE_FILE, handle.getvalue())
