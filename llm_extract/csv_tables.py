"""Tables of comma-separated values: quoted texts over many lines, any usual delimiter, mistakes by their line."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from llm_extract.decoding import UTF16_MARKS, decode
from llm_extract.errors import DataError
from llm_extract.records import IssueCode
from llm_extract.rows import Row, Table

MAX_FIELD_BYTES = 1 << 28
"""Upper limit of one CSV field; a text longer than the reader's own limit is quarantined, not an error."""

_DELIMITERS = (",", ";", "\t", "|")


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
        encoding = "utf-16" if mark.startswith(UTF16_MARKS) else "utf-8-sig"
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
