"""The hand-over to researchers: records without words, keyed ids, days for dates, a summary without small counts.

Nothing is written that :mod:`llm_extract.handover.fields` does not list. The folder appears whole or not at all. Counts
are protected in ``summary.json`` only: records and tables have a row a report, and whoever has them can count.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from llm_extract.anatomy import load_anatomy
from llm_extract.anatomy_file import check_anatomy_file
from llm_extract.errors import UsageError
from llm_extract.handover.fields import WITHHELD
from llm_extract.handover.linked_counts import suppress_linked
from llm_extract.handover.pseudonyms import Days, Pseudonyms
from llm_extract.handover.release_tables import (
    README,
    dictionary_rows,
    lesion_columns_released,
    lesion_rows_released,
    lesions_by_organ,
    study_columns_released,
    study_row_released,
    summary_cells,
    summary_links,
)
from llm_extract.handover.released_record import Releaser
from llm_extract.handover.small_cells import SMALLEST_K
from llm_extract.handover.vocabulary import vocabulary
from llm_extract.private_files import private_text
from llm_extract.progress import ProgressReporter
from llm_extract.record_files import parse_record, records_file
from llm_extract.records import SCHEMA_VERSION, ReportRecord
from llm_extract.tables import TableWriter

FORMAT = "rsuper-release-1"


@dataclass(frozen=True)
class ReleaseOptions:
    """How a release is made.

    Args:
        out: new folder.
        key: secret of the hospital.
        smallest_count: counts of patients below it are withheld in ``summary.json``, and only there; 1 shows all.
        anatomy: the user's own anatomy file that the records were made with.
        linking_table: file for the hospital that tells which id became which; new, neither in ``out`` nor
            among the records.
    """

    out: Path
    key: bytes
    smallest_count: int = 5
    anatomy: Path | None = None
    linking_table: Path | None = None


@dataclass
class ReleaseResult:
    """What was released; ``left_out`` counts values that stand in none of the package's lists, by field."""

    records: int = 0
    patients: int = 0
    duplicates: int = 0
    lesions: int = 0
    left_out: dict[str, int] = field(default_factory=dict)
    files: list[Path] = field(default_factory=list)


def release(records: Path, options: ReleaseOptions) -> ReleaseResult:
    """Write a release.

    Args:
        records: a file of records, or the folder of an extraction.
        options: where to, and how.

    Returns:
        Counts, and the files.

    Raises:
        UsageError: the folder is not empty, the linking table exists, or an option makes no sense.
        DataError: there are no records, or a line is none.
    """
    _check(records, options)
    source = records_file(records)
    temporary = options.out.with_name(f".{options.out.name}.{os.getpid()}.tmp")
    temporary.mkdir(parents=True, mode=0o700)
    link = options.linking_table
    try:
        with nullcontext() if link is None else private_text(link) as linking:
            result = _Release(source, options, temporary, linking).write()
            result.files = sorted(options.out / path.name for path in temporary.iterdir())
            if options.out.is_dir():
                options.out.rmdir()  # empty: it was checked
            temporary.rename(options.out)  # before the linking table gets its name
            temporary = options.out
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)  # also where only the linking table could not be written
        raise
    return result


def _check(records: Path, options: ReleaseOptions) -> None:
    out, link = options.out, options.linking_table
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} is not empty", code="output_not_empty", hint="name a new folder with --out")
    if options.smallest_count != 1 and options.smallest_count < SMALLEST_K:
        raise UsageError(
            f"counts below {options.smallest_count} would tell themselves",
            code="bad_option",
            hint=f"give --smallest-count {SMALLEST_K} or more, or 1 to show all",
        )
    if link is None:
        return
    if is_inside(link, out):
        raise UsageError(
            "the linking table would be part of the release",
            code="secret_in_release",
            hint="name a place outside of --out",
        )
    if link.exists() or link.is_symlink():
        raise UsageError(f"{link} exists", code="output_exists", hint="name a new file with --linking-table")
    if is_inside(link, records):
        raise UsageError(
            "the linking table would stand among the records",
            code="output_is_input",
            hint="name a place outside of RECORDS",
        )


def is_inside(path: Path, folder: Path) -> bool:
    """Whether a path lies in a folder, links followed."""
    return path.resolve().is_relative_to(folder.resolve())


@dataclass(frozen=True, order=True)
class _Place:
    """Where a record stands in the file, in the order of the release: by patient, then report, both keyed."""

    patient: str
    report: str
    offset: int
    line: int


class _Release:
    def __init__(self, source: Path, options: ReleaseOptions, folder: Path, linking: IO[str] | None) -> None:
        self._source = source
        self._options = options
        self._folder = folder
        self._linking = linking
        self._ids = Pseudonyms(options.key)
        anatomy = load_anatomy() if options.anatomy is None else check_anatomy_file(options.anatomy)
        self._organs = tuple(anatomy.organs)
        self._releaser = Releaser(self._ids, vocabulary(anatomy))
        self._days = Days()
        self._result = ReleaseResult()
        self._cells: dict[str, Counter[str]] = {}

    def write(self) -> ReleaseResult:
        """Write all files into the folder."""
        places = self._index()
        self._write_records(places)
        self._write_summary()
        self._write_dictionary()
        with private_text(self._folder / "README.md") as file:
            file.write(README)
        left_out = self._releaser.left_out
        self._result.left_out = {name: left_out[name] for name in sorted(left_out) if left_out[name]}
        self._write_manifest()
        return self._result

    def _index(self) -> list[_Place]:
        """The places of all records; later rows of a repeated id are left out, they hold nothing."""
        places: list[_Place] = []
        seen: set[str] = set()
        offset = 0
        with self._source.open("rb") as lines, ProgressReporter("read", None) as progress:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    record = parse_record(line, self._source, number)
                    if record.report_id in seen:
                        self._result.duplicates += 1
                    else:
                        seen.add(record.report_id)
                        self._days.add(record.patient_id, record.study_date)
                        report = self._ids.report(record.report_id)
                        patient = self._ids.patient(record.patient_id) if record.patient_id else report
                        places.append(_Place(patient, report, offset, number))
                    progress.advance(1)
                offset += len(line)
        return sorted(places)

    def _records(self, places: list[_Place]) -> Iterator[tuple[_Place, ReportRecord]]:
        with self._source.open("rb") as file:
            for place in places:
                file.seek(place.offset)
                yield place, parse_record(file.readline(), self._source, place.line)

    def _write_records(self, places: list[_Place]) -> None:
        folder, result = self._folder, self._result
        with ExitStack() as stack:
            progress = stack.enter_context(ProgressReporter("release", len(places)))
            lines = stack.enter_context(private_text(folder / "records.jsonl"))
            lesions = stack.enter_context(TableWriter(folder / "lesions", lesion_columns_released()))
            studies = stack.enter_context(
                TableWriter(folder / "studies", study_columns_released(self._organs))
            )
            link = self._linking_table()
            patient, cells = "", set[tuple[str, str]]()
            for place, record in self._records(places):
                released = self._releaser.release(record)
                day = self._days.since_first(record.patient_id, record.study_date)
                lines.write(released.model_dump_json() + "\n")
                for row in lesion_rows_released(released):
                    lesions.write(row)
                studies.write(study_row_released(released, day=day, organs=self._organs))
                if link is not None:
                    link.writerow(_link_row(record, released))
                if place.patient != patient:
                    self._count(cells)
                    patient, cells = place.patient, set()
                    result.patients += 1
                cells |= set(summary_cells(released, self._organs))
                result.records += 1
                result.lesions += len(released.lesions)
                progress.advance(1)
            self._count(cells)

    def _linking_table(self) -> Any:
        if self._linking is None:
            return None
        writer = csv.writer(self._linking)
        writer.writerow(
            f"{kind}{name}" for kind in ("", "released_") for name in ("report_id", "case_id", "patient_id")
        )
        return writer

    def _count(self, cells: set[tuple[str, str]]) -> None:
        for table, cell in cells:
            self._cells.setdefault(table, Counter())[cell] += 1

    def _write_summary(self) -> None:
        k = self._options.smallest_count
        shown = suppress_linked(
            self._cells, total=self._result.patients, k=k, links=summary_links(self._organs)
        )
        tables = {**shown.tables, "lesions by organ": lesions_by_organ(shown.tables, self._organs)}
        self._write_json(
            "summary.json",
            {
                "unit": "patients; a patient with several reports may count in several cells of a table",
                "smallest_count": k,
                "withheld": "null: below smallest_count, or withheld to hide one that is; here, not in the tables",
                "patients": shown.total,
                "tables": {name: dict(sorted(cells.items())) for name, cells in sorted(tables.items())},
            },
        )

    def _write_dictionary(self) -> None:
        with private_text(self._folder / "data_dictionary.csv") as file:
            writer = csv.writer(file)
            writer.writerow(("file", "column", "type", "unit", "values", "meaning"))
            writer.writerows(dictionary_rows(self._organs))

    def _write_manifest(self) -> None:
        from llm_extract import __version__

        files = sorted(path for path in self._folder.iterdir() if path.is_file())
        self._write_json(
            "manifest.json",
            {
                "format": FORMAT,
                "made_with": f"rsuper {__version__}",
                "schema_version": SCHEMA_VERSION,
                "ids": "HMAC-SHA256 with a key that stays in the hospital, cut to 128 bits",
                "key_id": self._ids.key_id,
                "dates": "days since the first study of the patient",
                "withheld_fields": [
                    f"{model.__name__}.{name}" for model, names in WITHHELD.items() for name in names
                ],
                "values_outside_of_the_lists": self._result.left_out,
                "files": {path.name: _sha256(path) for path in files},
            },
        )

    def _write_json(self, name: str, value: Mapping[str, Any]) -> None:
        with private_text(self._folder / name) as file:
            json.dump(value, file, indent=2)
            file.write("\n")


def _link_row(record: ReportRecord, released: ReportRecord) -> tuple[str | None, ...]:
    given = (record.report_id, record.case_id or record.report_id, record.patient_id)
    return (*given, released.report_id, released.case_id, released.patient_id)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
