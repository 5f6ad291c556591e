"""Read a report archive as a stream of reports: CSV, Parquet, JSON lines, a folder of text files or an SQL query.

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
from llm_extract.rows import SURROGATES, Row, as_id_text

ReportKind = Literal["radiology", "pathology", "auto"]
MAX_TEXT_CHARS = 100_000
"""Longer texts are quarantined before any model or tokenizer sees them; real reports end below 40,000."""

FATAL_ISSUES: frozenset[IssueCode] = frozenset(
    {
        "deidentification_failed",
        "duplicate_id",
        "empty_report",
        "malformed_row",
        "missing_text",
        "report_too_long",
        "undecodable_text",
    }
)
"""Issues found by the reader that leave nothing to extract."""

ID_COLUMNS = ("id", "report_id")
TEXT_COLUMNS = ("text", "report", "report_text")
OPTIONAL_COLUMNS = ("kind", "patient_id", "case_id")
_DATE_COLUMNS = ("date", "study_date")
_ID = re.compile(ID_PATTERN)


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
        is_cleaned: whether mark-up was taken out of the text, addenda were joined to it or a hook changed it, so that
            it stands in no input file as it is here.
    """

    report_id: str = Field(pattern=ID_PATTERN)
    text: str
    kind: ReportKind = "auto"
    case_id: str | None = Field(default=None, pattern=ID_PATTERN)
    patient_id: str | None = None
    study_date: date | None = None
    row: int = Field(default=0, ge=0)
    issues: tuple[IssueCode, ...] = ()
    is_cleaned: bool = False

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
        path: a .csv, .tsv, .parquet or .jsonl file, or a folder of .txt files; with ``sql`` the database.
        id_column: column or key of the ids; by default the first of ``id``, ``report_id`` that exists.
        text_column: column or key of the texts; by default ``text``, ``report`` or ``report_text``.
        kind: overrides what the input says when it is not ``auto``.
        max_text_chars: longer texts get the issue ``report_too_long``.
        encoding: encoding of the file; by default UTF-8, with Windows-1252 for values that are not.
        group_column: rows with the same value in it are one report: its text, then its addenda.
        markup: ``strip`` takes RTF and HL7 mark-up out of the texts, ``keep`` leaves them as they are.
        sql: a query whose rows are the reports, see :func:`llm_extract.sql.query_table`.
    """

    path: Path
    id_column: str | None = None
    text_column: str | None = None
    kind: ReportKind = "auto"
    max_text_chars: int = MAX_TEXT_CHARS
    encoding: str | None = None
    group_column: str | None = None
    markup: Literal["strip", "keep"] = "strip"
    sql: str | None = None

    @property
    def name(self) -> str:
        """What to call it in messages."""
        return str(self.path) if self.sql is None else "the query"


@dataclass(frozen=True)
class Columns:
    """The columns that hold the id and the text; an id column may be absent altogether.

    Args:
        id_column: column of the ids; None numbers the rows.
        text_column: column of the texts.
        repeats: ``fail`` makes a later row of the same id a duplicate; ``number`` calls it ``<id>-2``, for ids that
            name a case rather than a report.
    """

    id_column: str | None
    text_column: str
    repeats: Literal["fail", "number"] = "fail"
    seen_ids: set[str] = field(default_factory=set)
    numbers: dict[str, int] = field(default_factory=dict)


def read_reports(source: ReportSource) -> Iterator[Report]:
    """Read every report of a source, one at a time and in input order.

    Args:
        source: path, columns and limits.

    Yields:
        One report an input row, or a group of rows where a column groups them.

    Raises:
        UsageError: the path has an unknown type, or a column named by an option does not exist.
        DataError: the path does not exist, or the file is empty, unreadable, or has no text column.
    """
    columns, rows = _open(source)
    row_number = -1
    try:
        for row_number, row in enumerate(rows):
            yield _to_report(row, row_number=row_number, columns=columns, source=source)
    except OSError as error:
        raise DataError(
            f"{source.name} cannot be read after {row_number + 1:,} rows: {error.strerror}",
            code="unreadable_table",
            hint="check the disk or network that holds it, and run the same command again",
        ) from error
    if row_number < 0:
        raise DataError(
            f"{source.name} holds no reports", code="empty_table", hint="check the path and the file"
        )


def _open(source: ReportSource) -> tuple[Columns, Iterator[Row]]:
    """Columns and rows of a source, cleaned and grouped as it asks for."""
    from llm_extract import addenda, readers
    from llm_extract.decoding import refuse_unknown_encoding

    path = source.path
    refuse_unknown_encoding(source.encoding)
    if source.sql is not None:
        from llm_extract.sql import query_table

        table = query_table(path, source.sql, encoding=source.encoding)
    elif path.is_dir():
        _refuse_column_options(source)
        columns = Columns(id_column="id", text_column="text")
        rows = readers.text_folder_rows(path, encoding=source.encoding)
        return columns, _cleaned(rows, columns, source)
    elif not path.exists():
        raise DataError(f"there is no file or folder {path}", code="reports_missing", hint="check the path")
    else:
        table = readers.open_table(path, encoding=source.encoding)
    columns = choose_columns(source, table.columns)
    wanted = {columns.id_column or "", columns.text_column, source.group_column or ""}
    names = (wanted | {*OPTIONAL_COLUMNS, *_DATE_COLUMNS}).intersection(table.columns)
    if source.group_column is None:
        return columns, _cleaned(table.rows(names), columns, source)
    return columns, addenda.grouped(
        lambda: _cleaned(table.rows(names), columns, source),
        group_column=source.group_column,
        text_column=columns.text_column,
    )


def _cleaned(rows: Iterator[Row], columns: Columns, source: ReportSource) -> Iterator[Row]:
    from llm_extract.addenda import without_markup

    return without_markup(rows, columns.text_column) if source.markup == "strip" else rows


def choose_columns(source: ReportSource, available: tuple[str, ...]) -> Columns:
    """Decide which columns hold the id and the text.

    Args:
        source: the options of the user.
        available: the columns (or keys) that the input has.

    Returns:
        The chosen columns: ids come from the named one, else ``id`` or ``report_id``, else the column that groups
        rows, else ``case_id``; without any of them rows are numbered.

    Raises:
        UsageError: a column named by an option does not exist.
        DataError: no column holds the text.
    """
    listed = ", ".join(available[:40]) or "none"
    named = {
        "--id-column": source.id_column,
        "--text-column": source.text_column,
        "--group-column": source.group_column,
    }
    for option, name in named.items():
        if name is not None and name not in available:
            raise UsageError(
                f"{source.name} has no column {name!r}; it has: {listed}",
                code="missing_column",
                hint=f"give {option} one of these",
            )
    text_column = source.text_column or next((name for name in TEXT_COLUMNS if name in available), None)
    if text_column is None:
        raise DataError(
            f"{source.name} has no column of report texts; it has: {listed}",
            code="missing_column",
            hint="name it with --text-column",
        )
    found = next((name for name in ID_COLUMNS if name in available), None)
    id_column = source.id_column or found or source.group_column
    if id_column is None and "case_id" in available:
        return Columns(id_column="case_id", text_column=text_column, repeats="number")
    return Columns(id_column=id_column, text_column=text_column)


def check_source(source: ReportSource) -> str:
    """Open a source, read its first row, and say which columns are used.

    Returns:
        A sentence for the user; empty for a folder.

    Raises:
        PipelineError: as :func:`read_reports`.
    """
    next(iter(read_reports(source)))
    if source.sql is None and source.path.is_dir():
        return ""
    columns, _ = _open(source)
    texts = f"texts from column {columns.text_column}"
    if columns.id_column is None:
        return f"no column of ids: reports are called row-0, row-1 … (--id-column names one); {texts}"
    more = "; further reports of a case are called CASE-2, CASE-3 …" if columns.repeats == "number" else ""
    return f"ids from column {columns.id_column}{more}; {texts}"


def _refuse_column_options(source: ReportSource) -> None:
    if (source.id_column, source.text_column, source.group_column) != (None, None, None):
        raise UsageError(
            f"{source.path} is a folder of text files, which has no columns",
            code="missing_column",
            hint="leave out --id-column, --text-column and --group-column: ids are the names of the files",
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
        patient_id=as_id_text(row.values.get("patient_id")) or None,
        study_date=_study_date(row.values, issues=issues),
        row=row_number,
        issues=tuple(dict.fromkeys(issues)),
        is_cleaned=row.is_cleaned and bool(text),
    )


def _report_id(row: Row, *, row_number: int, columns: Columns, issues: list[IssueCode]) -> str:
    given = as_id_text(row.values.get(columns.id_column)) if columns.id_column is not None else ""
    if not given:
        issues.append("missing_id")
    elif _ID.fullmatch(given) is None or given.endswith("\n"):
        issues.append("invalid_id")
    report_id = f"row-{row_number}" if not given or "invalid_id" in issues else given
    if columns.repeats == "number":
        report_id = _unused(report_id, columns)
    if report_id in columns.seen_ids:
        issues.append("duplicate_id")
    columns.seen_ids.add(report_id)
    return report_id


def _unused(name: str, columns: Columns) -> str:
    """The name itself, or the first of ``name-2``, ``name-3`` … that no earlier row has."""
    unused = name
    while unused in columns.seen_ids:
        columns.numbers[name] = columns.numbers.get(name, 1) + 1
        unused = f"{name[:118]}-{columns.numbers[name]}"
    return unused


def _text(value: object, *, issues: list[IssueCode], max_chars: int) -> str:
    if any(code in FATAL_ISSUES for code in issues if code != "duplicate_id"):
        return ""
    if value is None:
        issues.append("missing_text")
        return ""
    if not isinstance(value, str) or SURROGATES.search(value):
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
    name = as_id_text(value)
    if not name:
        return None
    if _ID.fullmatch(name) is None or name.endswith("\n"):
        issues.append("invalid_case_id")
        return None
    return name


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
