"""Turn files into rows: one function a format, each streaming and none of them changing a text.

Bytes are read in the declared encoding, else as UTF-8. Where none is declared, a value that is not UTF-8 is read as
Windows-1252, the usual export of older systems, and its row says so (``fallback_encoding``); a value that cannot be
decoded is reported as ``undecodable_text``.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from llm_extract.errors import DataError, UsageError
from llm_extract.records import IssueCode
from llm_extract.rows import Row

MAX_FIELD_BYTES = 1 << 28
"""Upper limit of one CSV field; a text longer than the reader's own limit is quarantined, not an error."""

_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
_DELIMITERS = (",", ";", "\t", "|")
_TEXT_FILES = frozenset({".txt", ".rtf", ".hl7"})


@dataclass(frozen=True)
class Table:
    """A table of reports: the names of its columns, and a function that reads the rows with some of them."""

    columns: tuple[str, ...]
    rows: Callable[[Collection[str]], Iterator[Row]]


def refuse_unknown_encoding(encoding: str | None) -> None:
    """Raise a UsageError for a name that is no text encoding."""
    if encoding is None:
        return
    try:
        b"a".decode(encoding)
    except UnicodeError:
        return  # it exists, and takes more than one byte a character
    except LookupError as error:
        raise UsageError(
            f"there is no text encoding {encoding!r}",
            code="unknown_encoding",
            hint="common ones are utf-8, cp1252, latin-1, utf-16, cp1250, iso8859-9",
        ) from error


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


def decode(data: bytes, encoding: str | None = None) -> tuple[str, tuple[IssueCode, ...]]:
    """Decode one value: as declared; else UTF-8 (or UTF-16 with its mark), else Windows-1252, else nothing.

    Returns:
        The text with its BOM as read, and what to declare about it.

    >>> decode("Läsion".encode("cp1252"))
    ('Läsion', ('fallback_encoding',))
    """
    if encoding is not None:
        return _strictly(data, encoding, ())
    if data.startswith(_UTF16_MARKS):
        return _strictly(data, "utf-16", ())
    try:
        return data.decode("utf-8"), ()
    except UnicodeDecodeError:
        return _strictly(data, "cp1252", ("fallback_encoding",))


def _strictly(
    data: bytes, encoding: str, declared: tuple[IssueCode, ...]
) -> tuple[str, tuple[IssueCode, ...]]:
    try:
        return data.decode(encoding), declared
    except UnicodeError:
        return "", ("undecodable_text",)


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


def csv_table(path: Path, *, encoding: str | None = None) -> Table:
    """Open a CSV file with a header line; the delimiter is ``,`` ``;`` tab or ``|``, as the header has it."""
    try:
        with _csv_stream(path, encoding) as stream:
            delimiter = max(_DELIMITERS, key=stream.readline().count)
            stream.seek(0)
            header = tuple(name.strip() for name in next(csv.reader(stream, delimiter=delimiter), []))
    except (UnicodeError, csv.Error) as error:
        raise DataError(f"{path} has no readable header line", code="broken_csv") from error
    if not any(header):
        raise DataError(
            f"{path} has no header line", code="empty_table", hint="the first line names the columns"
        )
    repeated = sorted({name for name in header if name and header.count(name) > 1})
    if repeated:
        raise DataError(f"{path} has columns of the same name: {', '.join(repeated)}", code="repeated_column")
    layout = _CsvLayout(path, header, delimiter, encoding)
    return Table(header, lambda names: _csv_lines(layout, names))


@dataclass(frozen=True)
class _CsvLayout:
    """How one file is to be read."""

    path: Path
    header: tuple[str, ...]
    delimiter: str
    encoding: str | None


def _csv_stream(path: Path, encoding: str | None) -> IO[str]:
    with path.open("rb") as file:
        mark = file.read(3)
    if encoding is None:
        encoding = "utf-16" if mark.startswith(_UTF16_MARKS) else "utf-8-sig"
    elif encoding.lower().replace("_", "-") in {"utf-8", "utf8"}:
        encoding = "utf-8-sig"
    return io.TextIOWrapper(path.open("rb"), encoding=encoding, errors="surrogateescape", newline="")


class _CountedLines:
    """Physical lines, remembering those of the record that is being read."""

    def __init__(self, stream: IO[str]) -> None:
        self.stream = stream
        self.pending: list[str] = []
        self.first_line = 1

    def __iter__(self) -> Iterator[str]:
        for line in self.stream:
            self.pending.append(line)
            yield line

    def next_record(self) -> None:
        self.first_line += len(self.pending)
        self.pending.clear()


def _csv_lines(layout: _CsvLayout, names: Collection[str]) -> Iterator[Row]:
    before = csv.field_size_limit(MAX_FIELD_BYTES)
    try:
        yield from _csv_rows(layout, names)
    finally:
        csv.field_size_limit(before)


def _csv_rows(layout: _CsvLayout, names: Collection[str]) -> Iterator[Row]:
    path, delimiter = layout.path, layout.delimiter
    with _csv_stream(path, layout.encoding) as stream:
        lines = _CountedLines(stream)
        records = csv.reader(iter(lines), delimiter=delimiter)
        first_line = 0
        record: list[str] | None = None
        last: list[str] = []
        try:
            for record in records:
                last, first_line = list(lines.pending), lines.first_line
                lines.next_record()
                if first_line > 1 and record:
                    yield _csv_row(record, layout, names)
        except (UnicodeError, csv.Error) as error:
            wrong = f"its bytes are not {layout.encoding or 'UTF-16'}"
            reason = wrong if isinstance(error, UnicodeError) else str(error)
            raise DataError(
                f"{path}, line {lines.first_line}: {reason}", code="broken_csv", hint="check this line"
            ) from None
        _refuse_open_quote(last, path=path, first_line=first_line, delimiter=delimiter)


def _refuse_open_quote(lines: list[str], *, path: Path, first_line: int, delimiter: str) -> None:
    """A quote that never closes would swallow the rest of the file into one text."""
    try:
        list(csv.reader(lines, delimiter=delimiter, strict=True))
    except csv.Error as error:
        if "unexpected end" in str(error):
            raise DataError(
                f"{path}: a quoted field that opens in the record at line {first_line} never closes",
                code="broken_csv",
                hint='close the quote, or double it ("") where it is part of the text',
            ) from error


def _csv_row(record: list[str], layout: _CsvLayout, names: Collection[str]) -> Row:
    issues: list[IssueCode] = []
    header = layout.header
    if len(record) > len(header):
        issues.append("malformed_row")
    values: dict[str, object] = {}
    for name, value in zip(header, record, strict=False):
        if name not in names:
            continue
        if value.isascii():
            values[name] = value
            continue
        try:
            value.encode("utf-8")
            values[name] = value
        except UnicodeEncodeError:
            text, declared = _escaped(value, layout.encoding)
            values[name] = None if "undecodable_text" in declared else text
            issues.extend(declared)
    return Row(values, tuple(dict.fromkeys(issues)))


def _escaped(value: str, encoding: str | None) -> tuple[str, tuple[IssueCode, ...]]:
    """A value with bytes that its encoding does not have: in a declared one it is lost, else another is tried."""
    return ("", ("undecodable_text",)) if encoding else decode(value.encode("utf-8", "surrogateescape"))


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


def decoded_row(values: Mapping[str, tuple[object, str | None]]) -> Row:
    """A row of values that are bytes or not, each with its encoding, None to find out; see :func:`decode`."""
    issues: list[IssueCode] = []
    decoded: dict[str, object] = {}
    for name, (value, encoding) in values.items():
        if isinstance(value, bytes):
            text, declared = decode(value, encoding)
            decoded[name] = None if "undecodable_text" in declared else text
            issues.extend(declared)
        else:
            decoded[name] = value
    return Row(decoded, tuple(dict.fromkeys(issues)))
