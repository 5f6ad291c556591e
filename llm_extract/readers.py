"""Turn files into rows: one function a format, each streaming and none of them changing a text.

Bytes are read in the declared encoding, else as UTF-8. Where none is declared, a value that is not UTF-8 is read as
Windows-1252, the usual export of older systems, and its row says so (``fallback_encoding``); a value that cannot be
decoded is reported as ``undecodable_text``.
"""

from __future__ import annotations

import io
import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import IO, Any

from llm_extract.csv_tables import csv_table
from llm_extract.decoding import decode, decoded_row
from llm_extract.errors import DataError, UsageError
from llm_extract.records import IssueCode
from llm_extract.rows import Row, Table

_TEXT_FILES = frozenset({".txt", ".rtf", ".hl7"})


def open_table(path: Path, *, encoding: str | None = None) -> Table:
    """Open a table of reports.

    Args:
        path: a .csv, .tsv, .parquet or .jsonl file.
        encoding: of the whole file, or of the binary values of a Parquet file; None finds out.

    Returns:
        Its columns and rows; texts in other columns than the asked ones are never looked at.

    Raises:
        UsageError: the type of the file is not known.
        DataError: the file is empty or broken.
    """
    suffix = path.suffix.lower()
    if suffix not in {".csv", ".tsv", ".parquet", ".jsonl", ".ndjson"}:
        database = suffix in {".db", ".duckdb", ".sqlite", ".sqlite3"}
        raise UsageError(
            f"{path} is not a .csv, .tsv, .parquet or .jsonl file and not a folder",
            code="unknown_input_type",
            hint=f'--database {path} --sql "SELECT …" reads it' if database else "convert it to one of these",
        )
    try:
        if path.stat().st_size == 0:
            raise DataError(f"{path} is empty", code="empty_table", hint="check the export that wrote it")
        if suffix == ".parquet":
            return parquet_table(path, encoding=encoding)
        reader = json_table if suffix in {".jsonl", ".ndjson"} else csv_table
        return reader(path, encoding=encoding)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}", code="unreadable_table") from error


def text_folder_rows(folder: Path, *, encoding: str | None = None) -> Iterator[Row]:
    """Read a folder of text files (.txt, .rtf, .hl7), in the order of their names; ids are the names without suffix."""
    paths = sorted(
        path for path in folder.iterdir() if path.suffix.lower() in _TEXT_FILES and not path.is_dir()
    )
    if not paths:
        raise DataError(
            f"{folder} holds no .txt files",
            code="empty_table",
            hint="check the path; .rtf and .hl7 are read too",
        )
    for path in paths:
        try:
            text, issues = decode(path.read_bytes(), encoding)
        except OSError:  # one file that cannot be read stands for itself
            text, issues = "", ("undecodable_text",)
        yield Row({"id": path.stem, "text": text}, issues)


def json_table(path: Path, *, encoding: str | None = None) -> Table:
    """Open JSON lines; blank lines are no rows, a line that is no object is a malformed row."""
    columns: dict[str, None] = {}
    for row in _json_lines(path, encoding):
        columns.update(dict.fromkeys(row.values))
    return Table(tuple(columns), lambda _names: _json_lines(path, encoding))


def _json_lines(path: Path, encoding: str | None) -> Iterator[Row]:
    if encoding is not None:
        with _text_stream(path, encoding) as lines:
            yield from (_json_row(line.removeprefix("\ufeff"), ()) for line in lines if line.strip())
        return
    with path.open("rb") as file:
        for line_number, line in enumerate(file):
            data = line.removeprefix(b"\xef\xbb\xbf") if line_number == 0 else line
            if data.strip():
                yield _json_row(*decode(data))


def _json_row(line: str, issues: tuple[IssueCode, ...]) -> Row:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return Row({}, issues or ("malformed_row",))
    return Row(value, issues) if isinstance(value, dict) else Row({}, ("malformed_row",))


def _text_stream(path: Path, encoding: str) -> IO[str]:
    """Lines end at a newline only; what cannot be decoded becomes a lone surrogate, which its row answers for."""
    return io.TextIOWrapper(path.open("rb"), encoding=encoding, errors="surrogateescape", newline="\n")


def parquet_table(path: Path, *, encoding: str | None = None) -> Table:
    """Open a Parquet file; only the columns that reports use are read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        columns = tuple(pq.read_schema(path).names)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{path} is not a readable Parquet file", code="unreadable_table") from error
    return Table(columns, lambda names: _parquet_records(path, names, encoding))


def _parquet_records(path: Path, names: Collection[str], encoding: str | None) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=1024, columns=list(names)):
                columns = [
                    (name, *_arrow_values(batch.column(index), encoding))
                    for index, name in enumerate(batch.schema.names)
                ]
                for position in range(batch.num_rows):
                    yield decoded_row({name: (values[position], of) for name, values, of in columns})
                number += batch.num_rows
    except (pa.ArrowException, OSError) as error:  # its message may quote a value
        raise DataError(
            f"{path} cannot be read after {number:,} rows ({type(error).__name__})",
            code="unreadable_table",
            hint="write the file again",
        ) from None


def _arrow_values(column: Any, encoding: str | None) -> tuple[list[object], str | None]:
    """Python values of a column, and the encoding of its bytes; Parquet text is UTF-8 whatever is declared.

    Text comes as bytes, so that one bad value does not spoil its neighbours.
    """
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        column, encoding = column.cast(pa.large_binary()), None
    values: list[object] = column.to_pylist()
    return values, encoding
