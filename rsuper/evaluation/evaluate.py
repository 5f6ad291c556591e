"""Predictions against the truth: every case measured once, resumable, with intervals for every metric."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np
from pydantic import ValidationError

from llm_extract.anatomy import load_anatomy
from rsuper.data.layout import CaseEntry, Dataset
from rsuper.errors import DataError, RsuperError, UsageError
from rsuper.evaluation.detection import match_lesions
from rsuper.evaluation.prediction_folder import PredictionFolder
from rsuper.evaluation.references import Truth, mask_path, truth_of
from rsuper.evaluation.results import CaseRow, EvaluationResult, EvaluationSettings, write_result
from rsuper.evaluation.segmentation import segmentation_scores
from rsuper.evaluation.summary import summarise
from rsuper.files import write_atomic_text
from rsuper.prediction.lesions import smallest_voxels
from rsuper.supervision.inputs import check_policy
from rsuper.supervision.policy import load_policy
from rsuper.supervision.user_anatomy import require_organs
from rsuper.volumes import read_mask, require_same_grid, volume_mm3_per_voxel

JOURNAL = "journal.jsonl"
Progress = Callable[[int, int, str], None]


def evaluate(
    predictions_dir: Path,
    dataset: Dataset,
    *,
    out: Path | None = None,
    reference: Path | None = None,
    classes: Sequence[str] | None = None,
    split: str | None = None,
    settings: EvaluationSettings | None = None,
    progress: Progress | None = None,
) -> EvaluationResult:
    """Compare a prediction folder with what is known of a data set.

    Every case is measured once: finished cases are kept in ``OUT/journal.jsonl`` and only redone where a file
    or a setting that matters has changed. A case that is broken or was not predicted keeps its row, with a
    code, and enters no metric.

    Args:
        predictions_dir: folder that ``rsuper predict`` wrote, or any ``CASE/segmentations/CLASS.nii.gz``.
        dataset: the truth: evaluation masks, human masks, or records.
        out: folder for ``evaluation.json``, ``cases.csv`` and the journal; None writes nothing.
        reference: folder ``CASE/CLASS.nii.gz`` of evaluation masks; None looks for ``reference`` in the data.
        classes: lesion classes; None is every class that was predicted.
        split: only the cases of this split, such as ``test``.
        settings: how the numbers are computed.
        progress: called with (done, total, case_id).

    Raises:
        UsageError: no such split or class; ``class_without_organ`` if no organ of the given table has a predicted
            class; ``unknown_organ`` if a rule of the policy names one that the table does not have.
        DataError: no prediction folder, or it shares no case with the data set.
    """
    folder = PredictionFolder(predictions_dir)
    how = settings or EvaluationSettings()
    if how.counted is None:
        how = how.model_copy(update={"counted": folder.policy or load_policy()})
    names = _classes(folder, classes)
    if how.anatomy is not None:
        require_organs(names, how.anatomy)
    how = how.model_copy(update={"anatomy": how.anatomy or folder.anatomy})
    check_policy(how.counted or load_policy(), how.anatomy or load_anatomy())
    entries = _entries(dataset, split)
    if not any((folder.root / entry.case_id).is_dir() for entry in entries):
        raise DataError(
            f"{predictions_dir.name} holds no case of the data set",
            code="no_common_case",
            hint="predict this data set, or choose another split",
        )
    journal = _Journal.open(out)
    rows: list[CaseRow] = []
    try:
        for number, entry in enumerate(entries, start=1):
            key = _key(folder, dataset, entry, names, reference=reference, settings=how)
            done = journal.get(key)
            if done is None:
                done = tuple(
                    _row(folder, dataset, entry, name, reference=reference, settings=how) for name in names
                )
                journal.add(key, done)
            rows.extend(done)
            if progress is not None:
                progress(number, len(entries), entry.case_id)
    finally:
        journal.close()
    result = EvaluationResult(
        name=predictions_dir.resolve().name,
        model_sha256=folder.model_sha256,
        anatomy_sha256=how.anatomy_sha256,
        settings=how,
        classes=summarise(rows, how),
        cases=tuple(rows),
    )
    if out is not None:
        write_result(result, out)
    return result


def _classes(folder: PredictionFolder, wanted: Sequence[str] | None) -> tuple[str, ...]:
    if not folder.classes:
        raise DataError(
            f"{folder.root.name} holds no CASE/segmentations/*_lesion.nii.gz",
            code="no_predictions",
            hint="run `rsuper predict` first, or check the path",
        )
    missing = sorted(set(wanted or ()) - set(folder.classes))
    if missing:
        raise UsageError(
            f"not predicted: {', '.join(missing)}",
            code="unknown_class",
            hint=f"predicted classes: {', '.join(folder.classes)}",
        )
    return tuple(wanted) if wanted else folder.classes


def _entries(dataset: Dataset, split: str | None) -> tuple[CaseEntry, ...]:
    entries = tuple(entry for entry in dataset.cases if split is None or entry.split == split)
    if not entries:
        splits = sorted({entry.split for entry in dataset.cases if entry.split})
        raise UsageError(
            f"no case has split {split!r}",
            code="unknown_split",
            hint=f"splits in cases.csv: {', '.join(splits) or 'none'}",
        )
    return entries


def _row(
    folder: PredictionFolder,
    dataset: Dataset,
    entry: CaseEntry,
    class_name: str,
    *,
    reference: Path | None,
    settings: EvaluationSettings,
) -> CaseRow:
    """Measure one case and class; a failure becomes a row with its code."""
    row = CaseRow(case_id=entry.case_id, patient_id=entry.patient_id or entry.case_id, class_name=class_name)
    if not folder.mask(entry.case_id, class_name).is_file():
        return row.model_copy(update={"status": "not_predicted", "code": "prediction_missing"})
    try:
        truth = truth_of(
            dataset,
            entry,
            class_name,
            reference=reference,
            policy=settings.counted,
            anatomy=settings.anatomy,
        )
        return _measured(row, folder, truth, settings)
    except RsuperError as error:
        return row.model_copy(update={"status": "failed", "code": error.code})


def _measured(row: CaseRow, folder: PredictionFolder, truth: Truth, settings: EvaluationSettings) -> CaseRow:
    prediction = read_mask(folder.mask(row.case_id, row.class_name))
    voxel_mm3 = volume_mm3_per_voxel(prediction)
    min_voxels = smallest_voxels(settings.min_lesion_mm3, voxel_mm3)
    mask = np.asarray(prediction.array, dtype=bool)
    empty = np.zeros_like(mask)
    n_prediction = match_lesions(empty, mask, min_voxels=min_voxels).n_prediction
    score = folder.score(row.case_id, row.class_name)
    threshold = settings.thresholds.get(row.class_name)
    if threshold is not None and score is None:
        raise DataError("a threshold was given but there is no case score", code="score_missing")
    called = n_prediction > 0 if threshold is None or score is None else score >= threshold
    update: dict[str, object] = {
        "reference": truth.source,
        "present": truth.present,
        "called": called,
        "score": score,
        "prediction_mm3": float(mask.sum()) * voxel_mm3,
        "n_prediction": n_prediction,
    }
    if truth.mask is not None:
        require_same_grid(truth.mask, prediction, case_id=row.case_id, names=("reference", "prediction"))
        wanted = np.asarray(truth.mask.array, dtype=bool)
        scores = segmentation_scores(
            wanted,
            mask,
            spacing_mm=prediction.spacing_mm,
            tolerance_mm=settings.tolerance_mm,
            policy=settings.policy,
        )
        matches = match_lesions(wanted, mask, min_iou=settings.min_iou, min_voxels=min_voxels)
        update |= scores.model_dump()
        update |= {"n_reference": matches.n_reference, "n_matched": len(matches.matched)}
    return CaseRow.model_validate({**row.model_dump(), **update})


def _key(
    folder: PredictionFolder,
    dataset: Dataset,
    entry: CaseEntry,
    names: Sequence[str],
    *,
    reference: Path | None,
    settings: EvaluationSettings,
) -> str:
    """Hash of everything a row depends on: settings, organs, score, records, size and time of every file."""
    files = []
    for name in names:
        files += [folder.mask(entry.case_id, name), folder.probability(entry.case_id, name)]
        evaluation_mask = mask_path(dataset, entry, name, reference=reference)
        if evaluation_mask is not None:
            files.append(evaluation_mask)
        files.append(dataset.root / entry.case_id / "segmentations" / f"{name}.nii.gz")
    parts = [
        entry.case_id,
        entry.patient_id or "",
        settings.model_dump_json(exclude={"resampling"}),
        settings.anatomy_sha256 or "",
        *names,
        json.dumps(folder.scores.get(entry.case_id, {}), sort_keys=True),
        *(record.model_dump_json() for record in dataset.records(entry)),
        *(_fingerprint(path) for path in files),
    ]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _fingerprint(path: Path) -> str:
    try:
        stat = path.stat()
    except OSError:
        return "absent"
    return f"{stat.st_size} {stat.st_mtime_ns}"


@dataclass(eq=False)
class _Journal:
    """Rows of finished cases, one JSON line a case; a line cut short by a crash is dropped."""

    rows: dict[str, tuple[CaseRow, ...]]
    stream: TextIO | None = None

    @classmethod
    def open(cls, out: Path | None) -> _Journal:
        if out is None:
            return cls({})
        out.mkdir(parents=True, exist_ok=True)
        path = out / JOURNAL
        rows: dict[str, tuple[CaseRow, ...]] = {}
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        kept = []
        for line in lines:
            try:
                entry = json.loads(line)
                rows[entry["key"]] = tuple(CaseRow.model_validate(row) for row in entry["rows"])
                kept.append(line)
            except (ValueError, KeyError, TypeError, ValidationError):
                continue
        write_atomic_text(path, "".join(f"{line}\n" for line in kept))
        return cls(rows, path.open("a", encoding="utf-8"))

    def get(self, key: str) -> tuple[CaseRow, ...] | None:
        return self.rows.get(key)

    def add(self, key: str, rows: tuple[CaseRow, ...]) -> None:
        if self.stream is not None:
            line = json.dumps({"key": key, "rows": [row.model_dump(mode="json") for row in rows]})
            self.stream.write(f"{line}\n")
            self.stream.flush()

    def close(self) -> None:
        if self.stream is not None:
            self.stream.close()
