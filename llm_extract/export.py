"""Write what extraction found: records in input order, tables, evidence pages, and a summary that adds up."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO, Any, Literal

from llm_extract.errors import DataError
from llm_extract.ledger import Ledger, Result
from llm_extract.private_files import private_text
from llm_extract.progress import ProgressReporter
from llm_extract.records import Issue, IssueCode, OrganStatement, Provenance, ReportRecord, Source
from llm_extract.reports import FATAL_ISSUES, Report
from llm_extract.tables import TableWriter, lesion_columns, lesion_rows, study_columns, study_row

CHUNK = 256

Keyed = Iterable[tuple[Report, str | None]]


@dataclass
class ExportCounts:
    """Totals over the exported rows; input = done + quarantined."""

    input: int = 0
    done: int = 0
    quarantined: int = 0
    needs_review: int = 0
    ok: int = 0
    ok_with_warnings: int = 0
    lesions: int = 0
    cleaned: int = 0
    issues: dict[str, int] = field(default_factory=dict)
    errors: dict[str, int] = field(default_factory=dict)

    def add(self, record: ReportRecord, result: Result | None = None) -> None:
        """Count one record; of a quarantined one also the code and the type of error."""
        if record.status == "failed":
            codes = [issue.code for issue in record.issues]
            reader = next((code for code in codes if code in FATAL_ISSUES), codes[-1] if codes else None)
            code = result.code if result is not None and result.code is not None else reader
            name = f"{code}: {result.detail}" if result is not None and result.detail else str(code)
            self.errors[name] = self.errors.get(name, 0) + 1
        self.input += 1
        self.quarantined += record.status == "failed"
        self.done += record.status != "failed"
        self.needs_review += record.status == "needs_review"
        self.ok += record.status == "ok"
        self.ok_with_warnings += record.status == "ok_with_warnings"
        self.lesions += len(record.lesions)
        for code in {issue.code for issue in record.issues}:
            self.issues[code] = self.issues.get(code, 0) + 1


def organ_names(anatomy: Path | None = None) -> tuple[str, ...]:
    """Names of all organs, in the order of the built-in table, then those of a user's own anatomy file."""
    from llm_extract.anatomy import load_anatomy

    return tuple(load_anatomy(anatomy).organs)


def failed_record(
    report: Report, *, code: IssueCode, backend: str, organs: Sequence[str] | None = None
) -> ReportRecord:
    """The record of a report that gave nothing: status ``failed``, every organ not mentioned.

    Args:
        report: what was read.
        code: why.
        backend: name of the backend that tried.
        organs: names of all organs; by default those of the built-in table.

    Returns:
        A record with one issue at least.
    """
    from llm_extract import __version__

    source: Source = "pathology" if report.kind == "pathology" else "radiology"
    return ReportRecord(
        report_id=report.report_id,
        case_id=report.case_id,
        patient_id=report.patient_id,
        study_date=report.study_date,
        source=source,
        text_sha256=report.text_sha256,
        text_chars=len(report.text),
        status="failed",
        issues=tuple(Issue(code=each) for each in dict.fromkeys((*report.issues, code))),
        organs={name: OrganStatement() for name in (organs or organ_names())},
        provenance=Provenance(backend=backend, version=__version__),
    )


def final_record(
    report: Report, result: Result | None, *, backend: str, organs: Sequence[str] | None = None
) -> ReportRecord:
    """The record of one input row: what its text gave, under its own ids and with the reader's issues.

    Args:
        report: the row.
        result: how its text ended in the ledger; None where the reader found nothing to extract.
        backend: name of the backend.
        organs: names of all organs; by default those of the built-in table.

    Returns:
        The one record of this row.
    """
    if result is None or result.record_json is None:
        code = report.fatal_issue or (result.code if result else None) or "extraction_error"
        return failed_record(report, code=code, backend=backend, organs=organs)
    record = ReportRecord.model_validate_json(result.record_json)
    known = {issue.code for issue in record.issues}
    issues = record.issues + tuple(Issue(code=code) for code in report.issues if code not in known)
    status = (
        "ok_with_warnings" if record.status == "ok" and len(issues) > len(record.issues) else record.status
    )
    return record.model_copy(
        update={
            "report_id": report.report_id,
            "case_id": report.case_id,
            "patient_id": report.patient_id,
            "study_date": report.study_date,
            "issues": issues,
            "status": status,
        }
    )


def final_records(
    keyed: Keyed, *, ledger: Ledger, backend: str, organs: Sequence[str] | None = None
) -> Iterator[tuple[Report, ReportRecord, Result | None]]:
    """Records of all rows in input order.

    Raises:
        DataError: a report is not in the ledger, so the input changed while it was read.
    """
    iterator = iter(keyed)
    while chunk := list(islice(iterator, CHUNK)):
        results = ledger.results([key for _, key in chunk if key is not None])
        for report, key in chunk:
            result = results.get(key) if key is not None else None
            if key is not None and result is None:
                raise DataError(
                    f"row {report.row} of the input was not there when it was first read",
                    code="input_changed",
                    hint="run the same command again",
                )
            yield report, final_record(report, result, backend=backend, organs=organs), result


class CleanedTexts:
    """Keeps texts as they were extracted, which stand in no input file: the offsets of their records refer to them.

    Args:
        path: JSON lines with ``id`` and ``text``; written only where there is one, and removed where there is none.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stack = ExitStack()
        self._file: IO[str] | None = None
        self.files: list[Path] = []

    def __enter__(self) -> CleanedTexts:
        return self

    def add(self, report: Report) -> None:
        """Keep the text of one report."""
        if self._file is None:
            self._file = self._stack.enter_context(private_text(self._path))
            self.files.append(self._path)
        line = {"id": report.report_id, "text": report.text}
        self._file.write(json.dumps(line, ensure_ascii=False) + "\n")

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)
        if self._file is None and error[0] is None:
            self._path.unlink(missing_ok=True)


@dataclass(frozen=True)
class ExportPlan:
    """What is written where.

    Args:
        out: output folder.
        suffix: middle of the file names of a shard or pilot, which gets records and a summary only; else empty.
        backend: name of the backend.
        settings: settings of the backend, for the summary.
        organs: names of all organs, see :func:`organ_names`.
        evidence_limit: how many reports the evidence pages show.
        texts: which texts are kept beside the records: those that were cleaned, or all, where a hook rewrote them.
    """

    out: Path
    suffix: str
    backend: str
    settings: Mapping[str, str]
    organs: Sequence[str]
    evidence_limit: int
    texts: Literal["cleaned", "all"] = "cleaned"


class _Outputs:
    """All files of an export but the summary; each appears under its name when the block ends without an error."""

    def __init__(self, plan: ExportPlan, *, total: int) -> None:
        self._plan = plan
        self._total = total
        self._stack = ExitStack()
        self._tables: _Tables | None = None
        self.cleaned = 0
        """How many texts stand in no input file as they were extracted."""

    def __enter__(self) -> _Outputs:
        plan = self._plan
        with ExitStack() as stack:
            self._records_path = plan.out / f"records{plan.suffix}.jsonl"
            self._records = stack.enter_context(private_text(self._records_path))
            self._cleaned = stack.enter_context(CleanedTexts(plan.out / f"cleaned_texts{plan.suffix}.jsonl"))
            if not plan.suffix:
                self._tables = _Tables(stack, plan, total=self._total)
            self._stack = stack.pop_all()
        return self

    def add(self, report: Report, record: ReportRecord, result: Result | None) -> None:
        """Write one report to every file that it belongs in."""
        self._records.write(record.model_dump_json() + "\n")
        if self._tables is not None:
            self._tables.add(report, record, result)
        self.cleaned += report.is_cleaned
        if report.is_cleaned or (self._plan.texts == "all" and report.text):
            self._cleaned.add(report)

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)

    @property
    def files(self) -> list[Path]:
        """The files written, once the block has ended."""
        return [self._records_path, *self._cleaned.files, *(self._tables.files if self._tables else ())]


class _Tables:
    """The tables and the evidence pages."""

    def __init__(self, stack: ExitStack, plan: ExportPlan, *, total: int) -> None:
        from llm_extract.evidence_page import EvidencePages

        self._plan = plan
        self._lesions = stack.enter_context(TableWriter(plan.out / "lesions", lesion_columns()))
        self._studies = stack.enter_context(TableWriter(plan.out / "studies", study_columns(plan.organs)))
        self._pages = stack.enter_context(EvidencePages(plan.out, limit=plan.evidence_limit, total=total))

    def add(self, report: Report, record: ReportRecord, result: Result | None) -> None:
        for row in lesion_rows(record):
            self._lesions.write(row)
        self._studies.write(
            study_row(
                record,
                organs=self._plan.organs,
                attempts=result.attempts if result else 0,
                tokens=result.tokens if result else 0,
                seconds=result.seconds if result else 0.0,
            )
        )
        self._pages.add(report, record)

    @property
    def files(self) -> list[Path]:
        names = (f"{name}.{kind}" for name in ("lesions", "studies") for kind in ("csv", "parquet"))
        return [*(self._plan.out / name for name in names), *self._pages.files]


def export_archive(
    keyed: Keyed, plan: ExportPlan, *, ledger: Ledger, total: int, check_stop: Callable[[], None]
) -> tuple[ExportCounts, list[Path]]:
    """Write all output files; each appears whole under its name or not at all.

    Args:
        keyed: reports with their work keys, in input order.
        plan: what is written where.
        ledger: where results are.
        total: number of rows, for progress.
        check_stop: raises when the run was asked to stop.

    Returns:
        Totals, and the files written.
    """
    counts = ExportCounts()
    with ProgressReporter("export", total) as progress, _Outputs(plan, total=total) as outputs:
        for report, record, result in final_records(
            keyed, ledger=ledger, backend=plan.backend, organs=plan.organs
        ):
            outputs.add(report, record, result)
            counts.add(record, result)
            if counts.input % CHUNK == 0:
                check_stop()
                progress.advance(CHUNK)
    counts.cleaned = outputs.cleaned
    return counts, [*outputs.files, _write_summary(counts, plan)]


def _write_summary(counts: ExportCounts, plan: ExportPlan) -> Path:
    path = plan.out / f"summary{plan.suffix}.json"
    summary = asdict(counts) | {"backend": plan.backend, "settings": dict(plan.settings)}
    summary["issues"] = dict(sorted(Counter(counts.issues).items()))
    with private_text(path) as file:
        json.dump(summary, file, indent=2)
        file.write("\n")
    return path
