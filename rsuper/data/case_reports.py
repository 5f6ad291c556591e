"""Reports and records of a dataset folder, and which case each belongs to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from llm_extract.records import ReportRecord
from rsuper.data.issues import DataIssue
from rsuper.errors import DataError

if TYPE_CHECKING:
    from llm_extract.reports import Report

_MAX_LINE_BYTES = 64 << 20


@dataclass(frozen=True, kw_only=True)
class CaseReports:
    """Everything written about the cases.

    Args:
        records: case id -> its records, in file order.
        reports: case id -> its reports, in file order.
        issues: lines that could not be read, and reports or records that belong to no case.
    """

    records: Mapping[str, tuple[ReportRecord, ...]] = field(default_factory=dict)
    reports: Mapping[str, tuple[Report, ...]] = field(default_factory=dict)
    issues: tuple[DataIssue, ...] = ()


def read_case_reports(
    *, records: Path | None, reports: Path | None, links: Sequence[tuple[str, str]], case_ids: Iterable[str]
) -> CaseReports:
    """Read records.jsonl and reports.jsonl and sort them by case.

    A report belongs to the cases that ``links`` gives it; else to its own ``case_id``; else to the case that
    is named like the report.

    Raises:
        DataError: ``unreadable_records`` or ``unreadable_reports`` if a file as a whole cannot be read.
    """
    issues: list[DataIssue] = []
    known = frozenset(case_ids)
    linked: dict[str, list[str]] = defaultdict(list)
    for case_id, report_id in links:
        linked[report_id].append(case_id)
    places = _Places(linked=linked, known=known, issues=issues)
    by_case_records: dict[str, list[ReportRecord]] = defaultdict(list)
    for record in _read_records(records, issues) if records is not None else ():
        for case_id in places.of(record.report_id, record.case_id, what="record"):
            by_case_records[case_id].append(record)
    by_case_reports: dict[str, list[Report]] = defaultdict(list)
    for report in _read_reports(reports, issues) if reports is not None else ():
        for case_id in places.of(report.report_id, report.case_id, what="report"):
            by_case_reports[case_id].append(report)
    return CaseReports(
        records={case_id: tuple(items) for case_id, items in by_case_records.items()},
        reports={case_id: tuple(items) for case_id, items in by_case_reports.items()},
        issues=tuple(issues),
    )


@dataclass(frozen=True)
class _Places:
    """Decides which cases a report belongs to, and reports those that belong to none."""

    linked: Mapping[str, Sequence[str]]
    known: frozenset[str]
    issues: list[DataIssue]

    def of(self, report_id: str, own_case_id: str | None, *, what: str) -> tuple[str, ...]:
        wanted = tuple(self.linked.get(report_id, ())) or ((own_case_id or report_id),)
        for case_id in wanted:
            if case_id not in self.known:
                self.issues.append(
                    DataIssue(
                        code=f"{what}_without_case",
                        severity="warning",
                        message=f"this {what} belongs to case {case_id}, which the dataset does not have",
                        hint="add the case, correct case_id, or link it in links.csv",
                        report_id=report_id,
                    )
                )
        return tuple(case_id for case_id in wanted if case_id in self.known)


def _read_records(path: Path, issues: list[DataIssue]) -> Iterable[ReportRecord]:
    seen: set[str] = set()
    try:
        with path.open("rb") as file:
            for number, line in enumerate(iter(lambda: file.readline(_MAX_LINE_BYTES), b""), 1):
                if not line.strip():
                    continue
                try:
                    record = ReportRecord.model_validate_json(line)
                except ValidationError as error:
                    issues.append(_invalid_record(error, path, number))
                    continue
                if record.report_id in seen:
                    issues.append(_repeated(record.report_id, path, number))
                    if record.status == "failed":
                        continue
                seen.add(record.report_id)
                yield record
    except OSError as error:
        raise DataError(
            f"{path.name} cannot be read ({error.strerror})", code="unreadable_records"
        ) from error


def _invalid_record(error: ValidationError, path: Path, line: int) -> DataIssue:
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"][:4])
    return DataIssue(
        code="record_invalid",
        severity="error",
        message=f"{path.name}: no valid record ({where or 'line'}: {first['type']})",
        hint="extract this report again; records of another schema version cannot be read",
        line=line,
    )


def _repeated(report_id: str, path: Path, line: int) -> DataIssue:
    return DataIssue(
        code="duplicate_report_id",
        severity="warning",
        message=f"{path.name}: this report_id stands there twice",
        hint="give every report an id of its own",
        report_id=report_id,
        line=line,
    )


def _report_issue(code: str, report: Report, path: Path) -> DataIssue:
    return DataIssue(
        code=code,
        severity="warning",
        message=f"{path.name}: the report has this issue",
        hint="correct the row; its record says whether anything could be extracted",
        report_id=report.report_id,
        line=report.row + 1,
    )


def _read_reports(path: Path, issues: list[DataIssue]) -> Iterable[Report]:
    from llm_extract.errors import PipelineError
    from llm_extract.reports import ReportSource, read_reports

    try:
        for report in read_reports(ReportSource(path)):
            issues.extend(_report_issue(code, report, path) for code in report.issues)
            yield report
    except PipelineError as error:
        raise DataError(str(error.args[0]), code="unreadable_reports", hint=error.hint) from error
