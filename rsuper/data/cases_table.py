"""The two tables of a dataset folder, cases.csv and links.csv: a bad row is reported, the others are read."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import get_args

from llm_extract.records import ID_PATTERN, ContrastPhase
from rsuper.data.issues import DataIssue
from rsuper.errors import DataError

_ID = re.compile(ID_PATTERN)
_MAX_TABLE_BYTES = 512 << 20
_MAX_CELL_CHARS = 100_000
_MAX_LABEL_CHARS = 200
_PHASES = frozenset(get_args(ContrastPhase))
_UNKNOWN = frozenset({"", "na", "n/a", "nan", "none", "null", "unknown"})


@dataclass(frozen=True, kw_only=True)
class CaseEntry:
    """One row of cases.csv; what the table does not say is None.

    Args:
        case_id: name of the case folder.
        patient_id: pseudonym; the case id where the table has none.
        study_date: date of the examination.
        site: where it was made.
        phase: contrast phase, one of those of the record contract.
        sex: ``F`` or ``M``.
        age_years: age at the examination.
        split: ``train``, ``val``, ``test`` or any other name.
    """

    case_id: str
    patient_id: str
    study_date: date | None = None
    site: str | None = None
    phase: ContrastPhase | None = None
    sex: str | None = None
    age_years: float | None = None
    split: str | None = None


def is_id(text: str) -> bool:
    """True if ``text`` may name a case, report or file (see ``llm_extract.records.ID_PATTERN``)."""
    return _ID.fullmatch(text) is not None and not text.endswith("\n")


def read_cases(path: Path) -> tuple[tuple[CaseEntry, ...], tuple[DataIssue, ...]]:
    """Read cases.csv.

    Args:
        path: a CSV with the columns case_id and patient_id; study_date, site, phase, sex, age and split are
            optional, others are ignored.

    Returns:
        The cases in file order, and what was wrong with rows: ``invalid_id`` and ``duplicate_case`` leave the
            row
        out, ``invalid_value`` leaves the value unknown, ``patient_id_missing`` takes the case id.

    Raises:
        DataError: ``empty_table``, ``missing_column``, ``unreadable_table``.
    """
    cases: dict[str, CaseEntry] = {}
    issues: list[DataIssue] = []
    for line, row in _rows(path, required=("case_id",)):
        case_id = row.get("case_id", "")
        if not is_id(case_id):
            issues.append(_invalid_id("case_id", line))
        elif case_id in cases:
            issues.append(
                DataIssue(
                    code="duplicate_case",
                    severity="error",
                    message="this case_id stands in the table twice; the first row is used",
                    hint="keep one row a case",
                    case_id=case_id,
                    line=line,
                )
            )
        else:
            cases[case_id] = _entry(row, line, issues)
    if not cases and not issues:
        raise DataError(
            f"{path.name} has a header but no cases", code="empty_table", hint="add one row a case"
        )
    return tuple(cases.values()), tuple(issues)


def read_links(path: Path) -> tuple[tuple[tuple[str, str], ...], tuple[DataIssue, ...]]:
    """Read links.csv: pairs (case_id, report_id), repeats removed; invalid ids are reported and left out.

    Raises:
        DataError: ``empty_table``, ``missing_column``, ``unreadable_table``.
    """
    pairs: dict[tuple[str, str], None] = {}
    issues: list[DataIssue] = []
    for line, row in _rows(path, required=("case_id", "report_id")):
        wrong = [name for name in ("case_id", "report_id") if not is_id(row.get(name, ""))]
        if wrong:
            issues.extend(_invalid_id(name, line) for name in wrong)
        else:
            pairs[row["case_id"], row["report_id"]] = None
    return tuple(pairs), tuple(issues)


def _entry(row: Mapping[str, str], line: int, issues: list[DataIssue]) -> CaseEntry:
    case_id = row["case_id"]
    patient_id = _known(row.get("patient_id"))
    if patient_id is None or len(patient_id) > _MAX_LABEL_CHARS:
        patient_id = case_id
        issues.append(
            DataIssue(
                code="patient_id_missing",
                severity="warning",
                message="no usable patient_id; the case counts as a patient of its own",
                hint="fill in patient_id, or splits may leak",
                case_id=case_id,
                line=line,
            )
        )

    def unreadable(column: str) -> None:
        issues.append(
            DataIssue(
                code="invalid_value",
                severity="warning",
                message=f"the value of {column} cannot be read and counts as unknown",
                hint=_VALUE_HINTS[column],
                case_id=case_id,
                line=line,
            )
        )

    phase = _known(row.get("phase"))
    phase = phase.lower().replace("-", "_").replace(" ", "_") if phase else None
    if phase is not None and phase not in _PHASES:
        unreadable("phase")
        phase = None
    sex = (_known(row.get("sex")) or "").upper()[:1]
    if sex and sex not in "FM":
        unreadable("sex")
    return CaseEntry(
        case_id=case_id,
        patient_id=patient_id,
        study_date=_date(row.get("study_date"), on_error=lambda: unreadable("study_date")),
        site=_known(row.get("site")),
        phase=phase,  # type: ignore[arg-type]
        sex=sex if sex in ("F", "M") else None,
        age_years=_age(row.get("age"), on_error=lambda: unreadable("age")),
        split=_known(row.get("split")),
    )


_VALUE_HINTS = {
    "phase": f"use one of {', '.join(sorted(_PHASES))}",
    "sex": "use F or M",
    "study_date": "write dates as YYYY-MM-DD",
    "age": "write years, 0 to 130",
}


def _date(text: str | None, *, on_error: Callable[[], None]) -> date | None:
    known = _known(text)
    if known is None:
        return None
    try:
        return date.fromisoformat(known[:10])
    except ValueError:
        on_error()
        return None


def _age(text: str | None, *, on_error: Callable[[], None]) -> float | None:
    known = _known(text)
    if known is None:
        return None
    try:
        years = float(known.rstrip("Yy"))
    except ValueError:
        years = -1.0
    if 0 <= years <= 130:
        return years
    on_error()
    return None


def _known(text: str | None) -> str | None:
    return None if text is None or text.lower() in _UNKNOWN else text


def _invalid_id(column: str, line: int) -> DataIssue:
    return DataIssue(
        code="invalid_id",
        severity="error",
        message=f"{column} is no valid id; the row is left out",
        hint="ids start with a letter or digit and hold letters, digits, . _ - only, 128 at most",
        line=line,
    )


def _rows(path: Path, *, required: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    """Each row with its line number; names and values stripped."""
    text = _text(path)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text))
    try:
        rows = _bounded(reader)
        header = [name.strip().lower() for name in next(rows, [])]
        missing = [name for name in required if name not in header]
        if missing:
            raise DataError(
                f"{path.name} has no column {', '.join(missing)}",
                code="missing_column",
                hint=f"it has: {', '.join(header[:20])}",
            )
        for values in rows:
            if any(value.strip() for value in values):
                yield reader.line_num, dict(zip(header, (value.strip() for value in values), strict=False))
    except csv.Error as error:
        raise DataError(
            f"{path.name}, line {reader.line_num}: no valid CSV",
            code="unreadable_table",
            hint="save it as plain CSV",
        ) from error


def _bounded(rows: Iterable[list[str]]) -> Iterator[list[str]]:
    """Rows without a huge cell, whatever limit others have set for the whole process."""
    for values in rows:
        if any(len(value) > _MAX_CELL_CHARS for value in values):
            raise csv.Error("a cell is too long for this table")
        yield values


def _text(path: Path) -> str:
    try:
        size = path.stat().st_size
        if size > _MAX_TABLE_BYTES:
            raise DataError(f"{path.name} has {size:,} bytes, too many for a table", code="unreadable_table")
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path.name} is not UTF-8", code="unreadable_table", hint="save it as UTF-8 CSV"
        ) from error
    except OSError as error:
        raise DataError(f"{path.name} cannot be read ({error.strerror})", code="unreadable_table") from error
    if not text.strip():
        raise DataError(f"{path.name} is empty", code="empty_table", hint="write a header and one row a case")
    if "\0" in text:
        raise DataError(f"{path.name} is no text file", code="unreadable_table", hint="save it as UTF-8 CSV")
    return text


def _delimiter(text: str) -> str:
    header = text.splitlines()[0]
    return max((",", ";", "\t"), key=header.count)
