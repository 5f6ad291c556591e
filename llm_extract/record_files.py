"""Find and read the records that an extraction wrote."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from pydantic import ValidationError

from llm_extract.errors import DataError
from llm_extract.records import ReportRecord


def records_file(path: Path) -> Path:
    """The ``records.jsonl`` of an extraction folder, or the file itself.

    Raises:
        DataError: there is none.
    """
    file = path / "records.jsonl" if path.is_dir() else path
    if not file.is_file():
        raise DataError(
            f"there are no records at {file}", code="records_missing", hint="run `rsuper extract` first"
        )
    return file


def iter_records(path: Path) -> Iterator[ReportRecord]:
    """Every record of a file or of an extraction folder, in order, one at a time.

    Raises:
        DataError: there is no such file, or a line is no record.
    """
    file = records_file(path)
    try:
        with file.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield parse_record(line, file, number)
    except OSError as error:
        raise DataError(f"cannot read {file}: {error.strerror}", code="unreadable_records") from error


def record_places(path: Path, *, tick: Callable[[int], None] = lambda _: None) -> dict[str, tuple[int, int]]:
    """Offset and number of the line of each report, so that a large file can be read in another order.

    Args:
        path: a file of records, or the folder of an extraction.
        tick: called with 1 for each record.

    Returns:
        By report id; of repeated ids the first.

    Raises:
        DataError: there is no such file, or a line is no record.
    """
    file = records_file(path)
    places: dict[str, tuple[int, int]] = {}
    offset = 0
    with file.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                places.setdefault(parse_record(line, file, number).report_id, (offset, number))
                tick(1)
            offset += len(line)
    return places


def parse_record(line: bytes, file: Path, number: int) -> ReportRecord:
    """The record on one line of a file; lines count from 1.

    Raises:
        DataError: it is no record.
    """
    try:
        return ReportRecord.model_validate_json(line)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"][:4]) or "line"
        raise DataError(
            f"{file}, line {number} is no record ({where}: {first['type']})",
            code="record_invalid",
            hint="extract this report again",
        ) from None


def read_records(path: Path) -> dict[str, ReportRecord]:
    """Records by report id; of repeated ids the first."""
    records: dict[str, ReportRecord] = {}
    for record in iter_records(path):
        records.setdefault(record.report_id, record)
    return records
