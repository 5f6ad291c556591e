"""The lesions table (one row a lesion) and the studies table (one row a report), as CSV and Parquet.

Texts come from reports and end in spreadsheets: a cell that a spreadsheet would run as a formula gets a
leading ``'``.
"""

from __future__ import annotations

import csv
import types
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Union, get_args, get_origin

from llm_extract.private_files import commit, private_path
from llm_extract.records import Evidence, Lesion, ReportRecord, Score, Span

ROWS_PER_GROUP = 20_000
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")

Cell = str | int | float | bool | None
ColumnType = type[str] | type[int] | type[float] | type[bool]


def lesion_columns() -> dict[str, ColumnType]:
    """Columns of the lesions table and their types: report and case, then the fields of a lesion."""
    columns: dict[str, ColumnType] = {"report_id": str, "case_id": str}
    for name, info in Lesion.model_fields.items():
        columns[name] = _column_type(info.annotation)
    return columns


def _column_type(annotation: Any) -> ColumnType:
    """Scalars keep their type; lists, closed words and everything else are text."""
    if get_origin(annotation) in (Union, types.UnionType):
        inner = [part for part in get_args(annotation) if part is not type(None)]
        return _column_type(inner[0]) if len(inner) == 1 else str
    if hasattr(annotation, "__metadata__"):
        return _column_type(annotation.__origin__)
    scalars: tuple[ColumnType, ...] = (bool, int, float)
    return next((scalar for scalar in scalars if annotation is scalar), str)


def lesion_rows(record: ReportRecord) -> list[dict[str, Cell]]:
    """One row a lesion of the record; lists are joined by ``;``."""
    rows: list[dict[str, Cell]] = []
    for lesion in record.lesions:
        row: dict[str, Cell] = {"report_id": record.report_id, "case_id": record.case_id or record.report_id}
        for name in Lesion.model_fields:
            row[name] = _cell(getattr(lesion, name))
        rows.append(row)
    return rows


def _cell(value: object) -> Cell:
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, Sequence):
        return ";".join(_item(item) for item in value)
    raise TypeError(f"a lesion field of type {type(value).__name__} has no place in a table")


def _item(item: object) -> str:
    if isinstance(item, Evidence):
        return f"{item.field}@{item.start}:{item.end}"
    if isinstance(item, Score):
        return f"{item.system} {item.value}"
    if isinstance(item, Span):
        return f"{item.start}:{item.end}"
    return f"{item:g}" if isinstance(item, float) else str(item)


def study_columns(organs: Iterable[str]) -> dict[str, ColumnType]:
    """Columns of the studies table: report, case, status, lesions, one an organ, then how it was made."""
    return {
        "report_id": str,
        "case_id": str,
        "status": str,
        "n_lesions": int,
        **dict.fromkeys(organs, str),
        "attempts": int,
        "tokens": int,
        "seconds": float,
        "issues": str,
    }


def study_row(
    record: ReportRecord, *, organs: Iterable[str], attempts: int, tokens: int, seconds: float
) -> dict[str, Cell]:
    """The row of one report.

    Args:
        record: its record.
        organs: names of the organ columns.
        attempts: how often extraction was tried.
        tokens: tokens that a model read and wrote.
        seconds: time that extraction took.

    Returns:
        Values by column.
    """
    statements: dict[str, Cell] = {
        organ: record.organs[organ].status if organ in record.organs else "not_mentioned" for organ in organs
    }
    return {
        "report_id": record.report_id,
        "case_id": record.case_id or record.report_id,
        "status": record.status,
        "n_lesions": len(record.lesions),
        **statements,
        "attempts": attempts,
        "tokens": tokens,
        "seconds": round(seconds, 4),
        "issues": ";".join(dict.fromkeys(issue.code for issue in record.issues)),
    }


def spreadsheet_safe(value: Cell) -> Cell:
    """The value as a spreadsheet should see it: text that would start a formula gets a leading ``'``.

    >>> spreadsheet_safe("=HYPERLINK(1)"), spreadsheet_safe(-12.5), spreadsheet_safe("3.4 cm")
    ("'=HYPERLINK(1)", -12.5, '3.4 cm')
    """
    return f"'{value}" if isinstance(value, str) and value.lstrip(" ").startswith(_FORMULA_STARTS) else value


class TableWriter:
    """Writes one table as CSV and as Parquet, in step; both appear only when the block ends without an error.

    Args:
        stem: path without suffix; ``.csv`` and ``.parquet`` are added.
        columns: names and types.
    """

    def __init__(self, stem: Path, columns: Mapping[str, ColumnType]) -> None:
        self._columns = dict(columns)
        self._paths = (stem.with_name(stem.name + ".csv"), stem.with_name(stem.name + ".parquet"))
        self._buffer: list[Mapping[str, Cell]] = []
        self.n_rows = 0

    def __enter__(self) -> TableWriter:
        import pyarrow as pa
        import pyarrow.parquet as pq

        arrow_types = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
        self._schema = pa.schema([(name, arrow_types[kind]) for name, kind in self._columns.items()])
        self._temporaries = [private_path(path) for path in self._paths]
        self._csv_file: IO[str] = self._temporaries[0].open("w", encoding="utf-8", newline="")
        self._csv = csv.writer(self._csv_file)
        self._csv.writerow(self._columns)
        self._parquet = pq.ParquetWriter(self._temporaries[1], self._schema, compression="zstd")
        return self

    def write(self, row: Mapping[str, Cell]) -> None:
        """Add one row."""
        self.n_rows += 1
        self._csv.writerow(
            ["" if row[name] is None else spreadsheet_safe(row[name]) for name in self._columns]
        )
        self._buffer.append(row)
        if len(self._buffer) >= ROWS_PER_GROUP:
            self._flush()

    def _flush(self) -> None:
        import pyarrow as pa

        if self._buffer:
            columns = [
                pa.array([row[name] for row in self._buffer], field.type) for name, field in self._fields()
            ]
            self._parquet.write_table(pa.Table.from_arrays(columns, schema=self._schema))
            self._buffer.clear()

    def _fields(self) -> list[tuple[str, Any]]:
        return [(name, self._schema.field(name)) for name in self._columns]

    def __exit__(self, error_type: type[BaseException] | None, *_error: object) -> None:
        try:
            if error_type is None:
                self._flush()
            self._csv_file.close()
            self._parquet.close()
            if error_type is None:
                for temporary, path in zip(self._temporaries, self._paths, strict=True):
                    commit(temporary, path)
        finally:
            self._csv_file.close()
            for temporary in self._temporaries:
                temporary.unlink(missing_ok=True)
