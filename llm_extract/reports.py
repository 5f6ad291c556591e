"""Read a report archive as a stream of reports: CSV, Parquet, JSON lines or a folder of text files.

Every input row becomes exactly one :class:`Report`, also when its id is missing or its text is undecodable:
what is wrong stands in ``issues``. Texts are kept exactly as read, without newline, BOM or Unicode changes.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Literal, get_args

from pydantic import Field

from llm_extract.errors import DataError, UsageError
from llm_extract.records import ID_PATTERN, IssueCode, Model

ReportKind = Literal["radiology", "pathology", "auto"]
MAX_TEXT_CHARS = 100_000
"""Longer texts are quarantined before any model or tokenizer sees them; real reports end below 40,000."""

FATAL_ISSUES: frozenset[IssueCode] = frozenset(
    {"duplicate_id", "empty_report", "malformed_row", "missing_text", "report_too_long", "undecodable_text"}
)
"""Issues found by the reader that leave nothing to extract."""

ID_COLUMNS = ("id", "report_id")
TEXT_COLUMNS = ("text", "report", "report_text")
OPTIONAL_COLUMNS = ("kind", "patient_id", "case_id")
_DATE_COLUMNS = ("date", "study_date")
_ID = re.compile(ID_PATTERN)
_SURROGATES = re.compile("[\ud800-\udfff]")


class Report(Model):
    """One report as it was read.

    Args:
        report_id: the given id, or ``row-<n>`` where it is missing or invalid (``n`` counts from 0).
        text: the report exactly as read; empty where it could not be decoded.
        kind: what the input says it is; ``auto`` leaves the decision to the backend.
        case_id: the CT it belongs to, where it differs from ``report_id``.
        patient_id: pseudonym of the patient.
        study_date: date of the examination.
        row: position in the input, from 0.
        issues: what the reader found, such as ``missing_id``.
    """

    report_id: str = Field(pattern=ID_PATTERN)
    text: str
    kind: ReportKind = "auto"
    case_id: str | None = Field(default=None, pattern=ID_PATTERN)
    patient_id: str | None = None
    study_date: date | None = None
    row: int = Field(default=0, ge=0)
    issues: tuple[IssueCode, ...] = ()

    @property
    def text_sha256(self) -> str:
        """SHA-256 of the text in UTF-8, 64 hexadecimal digits."""
        return hashlib.sha256(self.text.encode("utf-8")).hexdigest()

    @property
    def fatal_issue(self) -> IssueCode | None:
        """The first issue that leaves nothing to extract, or None."""
        return next((code for code in self.issues if code in FATAL_ISSUES), None)


@dataclass(frozen=True)
class ReportSource:
    """Where reports are read from, and how.

    Args:
        path: a .csv, .tsv, .parquet or .jsonl file, or a folder of .txt files.
        id_column: column or key of the ids; by default the first of ``id``, ``report_id`` that exists.
        text_column: column or key of the texts; by default ``text``, ``report`` or ``report_text``.
        kind: overrides what the input says when it is not ``auto``.
        max_text_chars: longer texts get the issue ``report_too_long``.
    """

    path: Path
    id_column: str | None = None
    text_column: str | None = None
    kind: ReportKind = "auto"
    max_text_chars: int = MAX_TEXT_CHARS


@dataclass(frozen=True)
class Row:
    """One input row before it is checked: its values by column, and what went wrong in reading it."""

    values: Mapping[str, object]
    issues: tuple[IssueCode, ...] = ()


@dataclass(frozen=True)
class Columns:
    """The columns that hold the id and the text; an id column may be absent altogether."""

    id_column: str | None
    text_column: str
    seen_ids: set[str] = field(default_factory=set)


def read_reports(source: ReportSource) -> Iterator[Report]:
    """Read every report of a source, one at a time and in input order.

    Args:
        source: path, columns and limits.

    Yields:
        One report an input row.

    Raises:
        UsageError: the path has an unknown type, or a column named by an option does not exist.
        DataError: the path does not exist, or the file is empty, unreadable, or has no text column.
    """
    from llm_extract import readers

    path = source.path
    if path.is_dir():
        rows = readers.text_folder_rows(path)
        columns = Columns(id_column="id", text_column="text")
        _refuse_column_options(source)
    elif not path.exists():
        raise DataError(f"there is no file or folder {path}", code="reports_missing", hint="check the path")
    else:
        table = readers.open_table(path)
        columns = choose_columns(source, table.columns)
        wanted = {columns.id_column or "", columns.text_column, *OPTIONAL_COLUMNS, *_DATE_COLUMNS}
        rows = table.rows(wanted.intersection(table.columns))
    empty = True
    for row_number, row in enumerate(rows):
        empty = False
        yield _to_report(row, row_number=row_number, columns=columns, source=source)
    if empty:
        raise DataError(f"{path} holds no reports", code="empty_table", hint="check the path and the file")


def choose_columns(source: ReportSource, available: tuple[str, ...]) -> Columns:
    """Decide which columns hold the id and the text.

    Args:
        source: the options of the user.
        available: the columns (or keys) that the input has.

    Returns:
        The chosen columns.

    Raises:
        UsageError: a column named by an option does not exist.
        DataError: no column holds the text.
    """
    listed = ", ".join(available[:40]) or "none"
    for option, name in (("--id-column", source.id_column), ("--text-column", source.text_column)):
        if name is not None and name not in available:
            raise UsageError(
                f"{source.path} has no column {name!r}; it has: {listed}",
                code="missing_column",
                hint=f"give {option} one of these",
            )
    text_column = source.text_column or next((name for name in TEXT_COLUMNS if name in available), None)
    if text_column is None:
        raise DataError(
            f"{source.path} has no column of report texts; it has: {listed}",
            code="missing_column",
            hint="name it with --text-column",
        )
    id_column = source.id_column or next((name for name in ID_COLUMNS if name in available), None)
    return Columns(id_column=id_column, text_column=text_column)


def _refuse_column_options(source: ReportSource) -> None:
    if source.id_column is not None or source.text_column is not None:
        raise UsageError(
            f"{source.path} is a folder of text files, which has no columns",
            code="missing_column",
            hint="leave out --id-column and --text-column: ids are the file names without .txt",
        )


def _to_report(row: Row, *, row_number: int, columns: Columns, source: ReportSource) -> Report:
    issues = list(row.issues)
    report_id = _report_id(row, row_number=row_number, columns=columns, issues=issues)
    text = _text(row.values.get(columns.text_column), issues=issues, max_chars=source.max_text_chars)
    return Report(
        report_id=report_id,
        text=text,
        kind=source.kind if source.kind != "auto" else _kind(row.values.get("kind")),
        case_id=_case_id(row.values.get("case_id"), issues=issues),
        patient_id=_as_id_text(row.values.get("patient_id")) or None,
        study_date=_study_date(row.values, issues=issues),
        row=row_number,
        issues=tuple(dict.fromkeys(issues)),
    )


def _report_id(row: Row, *, row_number: int, columns: Columns, issues: list[IssueCode]) -> str:
    given = _as_id_text(row.values.get(columns.id_column)) if columns.id_column is not None else ""
    if not given:
        issues.append("missing_id")
    elif _ID.fullmatch(given) is None or given.endswith("\n"):
        issues.append("invalid_id")
    report_id = f"row-{row_number}" if not given or "invalid_id" in issues else given
    if report_id in columns.seen_ids:
        issues.append("duplicate_id")
    columns.seen_ids.add(report_id)
    return report_id


def _text(value: object, *, issues: list[IssueCode], max_chars: int) -> str:
    if any(code in FATAL_ISSUES for code in issues if code != "duplicate_id"):
        return ""
    if value is None:
        issues.append("missing_text")
        return ""
    if not isinstance(value, str) or _SURROGATES.search(value):
        issues.append("undecodable_text")
        return ""
    if not value.strip():
        issues.append("empty_report")
    elif len(value) > max_chars:
        issues.append("report_too_long")
    return value


def _kind(value: object) -> ReportKind:
    name = value.strip().lower() if isinstance(value, str) else ""
    return next((kind for kind in get_args(ReportKind) if kind == name), "auto")


def _case_id(value: object, *, issues: list[IssueCode]) -> str | None:
    name = _as_id_text(value)
    if not name:
        return None
    if _ID.fullmatch(name) is None or name.endswith("\n"):
        issues.append("invalid_case_id")
        return None
    return name


def _as_id_text(value: object) -> str:
    """Text of an id given as text or whole number; anything else is no id."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, str) and not _SURROGATES.search(value):
        return value
    return "" if value is None else "\n"


def _study_date(values: Mapping[str, object], *, issues: list[IssueCode]) -> date | None:
    value = next((values[name] for name in _DATE_COLUMNS if values.get(name) not in (None, "")), None)
    if value is None:
        return None
    if isinstance(value, datetime):
        return value.date()
    if isinstance(value, date):
        return value
    try:
        return datetime.fromisoformat(str(value).strip()).date()
    except ValueError:
        issues.append("invalid_date")
        return None
