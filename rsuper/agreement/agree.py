"""Predictions against reports, case by case: where they agree, where they differ, and where to look first."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from llm_extract.anatomy import Anatomy, load_anatomy
from llm_extract.records import ReportRecord
from rsuper.agreement.compare_case import compare_case
from rsuper.agreement.table import (
    AgreementRow,
    AgreementSettings,
    AgreementTable,
    CaseAgreement,
    write_table,
)
from rsuper.data.case_reports import read_case_reports
from rsuper.data.cases_table import read_links
from rsuper.errors import DataError, RsuperError
from rsuper.evaluation.prediction_folder import PredictionFolder
from rsuper.prediction.findings import FINDINGS_FILE, CaseFindings, read_findings
from rsuper.prediction.lesions import find_lesions
from rsuper.supervision.inputs import check_policy
from rsuper.supervision.policy import SupervisionPolicy, load_policy
from rsuper.supervision.user_anatomy import own_table_sha256, require_organs
from rsuper.volumes import read_mask

Progress = Callable[[int, int, str], None]


def agree(
    predictions_dir: Path,
    records: Mapping[str, Sequence[ReportRecord]] | Path,
    *,
    out: Path | None = None,
    classes: Sequence[str] | None = None,
    settings: AgreementSettings | None = None,
    policy: SupervisionPolicy | None = None,
    anatomy: Anatomy | None = None,
    progress: Progress | None = None,
) -> AgreementTable:
    """Compare every predicted case with its reports, lesion by lesion.

    Args:
        predictions_dir: folder that ``rsuper predict`` wrote, or any ``CASE/segmentations/CLASS.nii.gz``,
            such as human masks; without ``findings.json`` the lesions are measured from the masks.
        records: case id -> its records, or a path: records.jsonl, the folder that extraction wrote, or a data
            set folder.
        out: folder for ``agreement.json`` and ``agreement.csv``; None writes nothing.
        classes: lesion classes; None is every class that was predicted.
        settings: tolerances and priorities.
        policy: which reported lesions count; None is the one that the network was trained under, where its
            predictions say so, else the default preset.
        anatomy: table of organs; None is the one that the network was trained with, where its predictions say so,
            else the built-in one.
        progress: called with (done, total, case_id).

    Returns:
        Cases ordered by priority: reported lesions that were not found, confident findings where the report
        calls the organ free, wrong sides, wrong sizes.

    Raises:
        DataError: no prediction folder, no predicted case, no records (``records_missing``), or none of the records
            is about a predicted case (``no_common_case``).
        UsageError: ``class_without_organ`` if no organ of the table has a class; ``unknown_organ`` for a rule of the
            policy.
    """
    folder = PredictionFolder(predictions_dir)
    case_ids = _case_ids(folder)
    lost = invalid = 0
    if isinstance(records, Path):
        records, lost, invalid = read_records(records, case_ids)
        if lost and not any(records.values()):
            raise DataError(
                f"none of the {lost} records is about one of the {len(case_ids)} predicted cases",
                code="no_common_case",
                hint="records carry case_id; where it differs from the case folders, add links.csv beside the records",
            )
    table = anatomy or folder.anatomy or load_anatomy()
    rules = policy or folder.policy or load_policy()
    check_policy(rules, table)
    names = tuple(classes) if classes else folder.classes
    require_organs(names, table)
    how = settings or AgreementSettings()
    cases = []
    for number, case_id in enumerate(case_ids, start=1):
        cases.append(
            _agree_case(
                folder,
                case_id,
                records.get(case_id, ()),
                classes=names,
                anatomy=table,
                policy=rules,
                settings=how,
            )
        )
        if progress is not None:
            progress(number, len(case_ids), case_id)
    cases.sort(key=lambda case: (-case.priority, case.case_id))
    result = AgreementTable(
        name=predictions_dir.resolve().name,
        settings=how,
        cases=tuple(cases),
        n_records_without_case=lost,
        n_invalid_records=invalid,
        counted=rules,
        anatomy_sha256=own_table_sha256(table),
    )
    if out is not None:
        write_table(result, out)
    return result


def read_records(
    path: Path, case_ids: Sequence[str]
) -> tuple[Mapping[str, Sequence[ReportRecord]], int, int]:
    """Records by case from records.jsonl, an extraction folder or a data set folder (links.csv is honoured).

    Returns:
        records by case, number of records that belong to none of ``case_ids``, number of unreadable lines.

    Raises:
        DataError: there are no records at that place.
    """
    file = path / "records.jsonl" if path.is_dir() else path
    if not file.is_file():
        raise DataError(
            f"there are no records at {file.name}", code="records_missing", hint="run `rsuper extract` first"
        )
    links: tuple[tuple[str, str], ...] = ()
    if (file.parent / "links.csv").is_file():
        links, _ = read_links(file.parent / "links.csv")
    found = read_case_reports(records=file, reports=None, links=links, case_ids=case_ids)
    lost = sum(issue.code == "record_without_case" for issue in found.issues)
    invalid = sum(issue.code == "record_invalid" for issue in found.issues)
    return found.records, lost, invalid


def case_findings(
    folder: PredictionFolder, case_id: str, *, classes: Sequence[str], anatomy: Anatomy
) -> CaseFindings:
    """The findings of a case: ``findings.json``, else measured from its masks, placed by its organ masks.

    Raises:
        DataError: neither is there, or a file is broken.
    """
    case = folder.root / case_id
    if (case / FINDINGS_FILE).is_file():
        return read_findings(case)
    masks = {name: folder.mask(case_id, name) for name in classes}
    present = {name: path for name, path in masks.items() if path.is_file()}
    if not present:
        raise DataError("the case has neither findings nor masks", code="prediction_missing", case_id=case_id)
    organs = {
        path.name.removesuffix(".nii.gz"): np.asarray(read_mask(path).array, dtype=bool)
        for path in sorted((case / "segmentations").glob("*.nii.gz"))
        if not path.name.endswith("_lesion.nii.gz")
    }
    lesions = []
    spacing = (1.0, 1.0, 1.0)
    for name, path in present.items():
        volume = read_mask(path)
        spacing = volume.spacing_mm
        lesions += find_lesions(
            np.asarray(volume.array, dtype=bool),
            None,
            None,
            affine=volume.affine,
            class_name=name,
            organ_masks=organs,
            anatomy=anatomy,
        )
    return CaseFindings(case_id=case_id, spacing_mm=spacing, lesions=tuple(lesions))


def _agree_case(
    folder: PredictionFolder,
    case_id: str,
    records: Sequence[ReportRecord],
    *,
    classes: Sequence[str],
    anatomy: Anatomy,
    policy: SupervisionPolicy,
    settings: AgreementSettings,
) -> CaseAgreement:
    """One case; what is broken becomes a row that says so."""
    try:
        findings = case_findings(folder, case_id, classes=classes, anatomy=anatomy)
    except RsuperError as error:
        row = AgreementRow(
            case_id=case_id,
            class_name=classes[0] if classes else "unknown",
            organ="other",
            verdict="not_comparable",
            reason=f"its prediction cannot be read ({error.code})",
        )
        return CaseAgreement.of(case_id, (row,))
    return compare_case(findings, records, classes=classes, anatomy=anatomy, policy=policy, settings=settings)


def _case_ids(folder: PredictionFolder) -> tuple[str, ...]:
    """Every sub-folder that holds a prediction."""
    found = {
        path.name
        for path in folder.root.iterdir()
        if path.is_dir()
        and not path.name.startswith(".")
        and ((path / FINDINGS_FILE).is_file() or (path / "segmentations").is_dir())
    }
    if not found:
        raise DataError(
            f"{folder.root.name} holds no predicted case",
            code="no_predictions",
            hint="run `rsuper predict` first, or check the path",
        )
    return tuple(sorted(found))
