"""A training set for a small extractor: the messages that a model backend sends, and the answer it should get.

Prompts, examples, marks, fence and schema are those of :mod:`llm_extract.chat`; a model that is trained on the set is
asked in the very same words afterwards. A line is written only if its answer passes all checks of a real one.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from llm_extract.anatomy_file import check_anatomy_file
from llm_extract.certainty import lesion_certainty
from llm_extract.chat.answer_schema import BUCKETS, schema_sha256
from llm_extract.chat.engine import message_dicts
from llm_extract.chat.preparation import Prepared, Preparer
from llm_extract.chat.prompting import Message, estimate_tokens, load_prompts, render
from llm_extract.errors import DataError, UsageError
from llm_extract.gold import read_gold
from llm_extract.handover.chat_answers import NotSayableError, answer_of_record, answer_text
from llm_extract.handover.chat_checks import record_of_answer, refused, says_the_same
from llm_extract.handover.gold_answers import answer_of_gold, says_the_gold
from llm_extract.private_files import prepare_folder, private_text
from llm_extract.progress import ProgressReporter
from llm_extract.record_files import parse_record, record_places, records_file
from llm_extract.records import IssueCode, ReportRecord, Status
from llm_extract.reports import Report, ReportSource, read_reports

SPLITS = ("train", "validation")
SAYS_OTHERWISE = "answer_says_otherwise"


@dataclass(frozen=True)
class ChatSetOptions:
    """Which reports become lines, and where they go.

    Args:
        out: folder; not one of an extraction, whose summary would be replaced.
        min_certainty: every lesion of a record is at least so certain, see :mod:`llm_extract.certainty`.
        statuses: statuses of the records that are used.
        without_issues: records with one of these are left out.
        validation_share: share of the patients whose reports go to ``validation.jsonl``.
        seed: of the split.
        max_tokens: longest conversation, estimated on the safe side.
        anatomy: the user's own anatomy file that the model is asked with.
    """

    out: Path
    min_certainty: float = 0.0
    statuses: frozenset[Status] = frozenset({"ok", "ok_with_warnings"})
    without_issues: frozenset[IssueCode] = frozenset()
    validation_share: float = 0.1
    seed: int = 0
    max_tokens: int = 8192
    anatomy: Path | None = None


@dataclass
class ChatSetResult:
    """What was written: lines by split; ``dropped`` has the reports that gave none, by reason."""

    reports: int = 0
    lines: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SPLITS, 0))
    lesions: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    files: list[Path] = field(default_factory=list)


@dataclass(frozen=True)
class _Known:
    """A report with what is known of it: a record, or a line of a gold file; or why it cannot be used."""

    report: Report
    record: ReportRecord | None = None
    gold: Mapping[str, Any] | None = None
    unusable: str | None = None


def export_records(records: Path, reports: ReportSource, options: ChatSetOptions) -> ChatSetResult:
    """Write a training set from records and the reports that they were made from.

    Raises:
        PipelineError: records or reports cannot be read, none of the reports has a record, none of the records gives a
            line (``nothing_to_export``), or the folder holds records.
    """
    return _write(_with_records(records, reports), options)


def export_gold(gold: Path, options: ChatSetOptions) -> ChatSetResult:
    """Write a training set from a gold file, see :mod:`llm_extract.gold`.

    Raises:
        DataError: the file is missing, holds no gold answers, or none that gives a line.
        UsageError: the folder holds records.
    """
    read_gold(gold)
    return _write(_with_gold(gold), options)


def _with_records(records: Path, reports: ReportSource) -> Iterator[_Known]:
    file = records_file(records)
    with ProgressReporter("read", None) as progress:
        places = record_places(file, tick=progress.advance)
    with file.open("rb") as lines:
        for report in read_reports(reports):
            if report.fatal_issue is not None:
                yield _Known(report, unusable=report.fatal_issue)
                continue
            place = places.get(report.report_id)
            if place is None:
                yield _Known(report, unusable="no_record")
                continue
            lines.seek(place[0])
            record = parse_record(lines.readline(), file, place[1])
            same = record.text_sha256 == report.text_sha256
            told = {"patient_id": record.patient_id or report.patient_id, "kind": record.source}
            yield _Known(
                report.model_copy(update=told), record=record, unusable=None if same else "other_text"
            )


def _with_gold(gold: Path) -> Iterator[_Known]:
    for number, line in enumerate(gold.read_text("utf-8-sig").split("\n")):
        if line.strip():
            value = json.loads(line)
            said = value.get("kind", value.get("source"))
            report = Report(
                report_id=f"row-{number}",
                text=value["text"],
                kind=said if said in ("radiology", "pathology") else "auto",
                patient_id=value.get("patient_id") or str(value["id"]),
            )
            yield _Known(report, gold=value)


def _write(known: Iterator[_Known], options: ChatSetOptions) -> ChatSetResult:
    if (options.out / "records.jsonl").exists():
        raise UsageError(
            f"{options.out} holds records, and their summary.json would be replaced",
            code="output_is_input",
            hint="choose another --out",
        )
    result = ChatSetResult()
    maker = _LineMaker(options)
    dropped: Counter[str] = Counter()
    prepare_folder(options.out)
    with ExitStack() as stack:
        files: dict[str, IO[str]] = {
            split: stack.enter_context(private_text(options.out / f"{split}.jsonl")) for split in SPLITS
        }
        progress = stack.enter_context(ProgressReporter("export", None))
        for each in known:
            result.reports += 1
            progress.advance(1)
            made = maker.line(each)
            if isinstance(made, str):
                dropped[made] += 1
                continue
            messages, lesions = made
            split = split_of(each.report, share=options.validation_share, seed=options.seed)
            files[split].write(json.dumps({"messages": message_dicts(messages)}, ensure_ascii=False) + "\n")
            result.lines[split] += 1
            result.lesions += lesions
        if dropped["no_record"] == result.reports:
            raise DataError(
                "none of these reports has a record",
                code="no_common_report",
                hint="check both paths and --id-column",
            )
        if not sum(result.lines.values()):
            raise _nothing_to_export(result.reports, dropped)
    result.dropped = dict(sorted(dropped.items()))
    result.files = [options.out / f"{split}.jsonl" for split in SPLITS]
    result.files.append(maker.write_summary(result))
    return result


def _nothing_to_export(reports: int, dropped: Counter[str]) -> DataError:
    """The error of a set without a line; nothing is written, and what was there before stays."""
    reasons = ", ".join(f"{number:,} × {reason}" for reason, number in dropped.most_common(8))
    return DataError(
        f"none of {reports:,} reports gives a line: {reasons}",
        code="nothing_to_export",
        hint="choose others with --status, --min-certainty or --without-issue; other_text: give the reports that "
        "were extracted, with the same options",
    )


def split_of(report: Report, *, share: float, seed: int) -> str:
    """Train or validation, by the patient: all reports of one go the same way, whatever else is in the set.

    >>> split_of(Report(report_id="A", text="", patient_id="P1"), share=1.0, seed=0)
    'validation'
    """
    patient = f"patient {report.patient_id}" if report.patient_id else f"report {report.report_id}"
    digest = hashlib.sha256(f"{seed}\0{patient}".encode("utf-8", "surrogatepass")).digest()
    return SPLITS[int.from_bytes(digest[:8], "big") < share * 2**64]


class _LineMaker:
    def __init__(self, options: ChatSetOptions) -> None:
        self._options = options
        own = None if options.anatomy is None else check_anatomy_file(options.anatomy)
        self._preparer = Preparer(own)
        self._organs = tuple(self._preparer.anatomy.organs)
        self._prompts = load_prompts(self._organs)
        self._texts: set[str] = set()

    def line(self, known: _Known) -> tuple[tuple[Message, ...], int] | str:
        """The conversation of a report and how many lesions its answer has, or the reason why there is none."""
        reason = known.unusable or self._not_wanted(known.record)
        if reason is not None:
            return reason
        if known.report.text_sha256 in self._texts:
            return "repeated_text"
        prepared = self._preparer.prepare(known.report)
        if not prepared.readable:
            return "unreadable"
        try:
            answer = answer_text(self._answer(known, prepared))
        except NotSayableError as error:
            return error.code
        value = json.loads(answer)
        checked, errors = refused(answer, value, prepared)
        if errors:
            return errors[0]
        if known.gold is not None:
            same = says_the_gold(record_of_answer(checked, prepared), known.gold)
        else:
            same = known.record is not None and says_the_same(checked, prepared, known.record)
        if not same:
            return SAYS_OTHERWISE
        messages = (*self._asked(prepared), Message("assistant", answer))
        if estimate_tokens(messages) > self._options.max_tokens:
            return "too_long"
        self._texts.add(known.report.text_sha256)
        return messages, len(value["lesions"])

    def _answer(self, known: _Known, prepared: Prepared) -> dict[str, Any]:
        if known.gold is not None:
            return answer_of_gold(known.gold, prepared)
        if known.record is None:
            raise NotSayableError("no_record")
        return answer_of_record(known.record, prepared)

    def _not_wanted(self, record: ReportRecord | None) -> str | None:
        if record is None:
            return None
        if record.status not in self._options.statuses:
            return f"status_{record.status}"
        issue = next((i.code for i in record.issues if i.code in self._options.without_issues), None)
        if issue is not None:
            return f"issue_{issue}"
        least = min((lesion_certainty(lesion, record) for lesion in record.lesions), default=1.0)
        return "low_certainty" if least < self._options.min_certainty else None

    def _asked(self, prepared: Prepared) -> tuple[Message, ...]:
        return render(
            self._prompts,
            text=prepared.report.text,
            source=prepared.rules.source,
            measurements=prepared.measurements[: BUCKETS[-1]],
        )

    def write_summary(self, result: ChatSetResult) -> Path:
        """Write what the set is made of, without any text of a report; returns the file."""
        options = self._options
        path = options.out / "summary.json"
        with private_text(path) as file:
            json.dump(
                {
                    "reports": result.reports, "lines": result.lines, "lesions": result.lesions,
                    "dropped": result.dropped, "prompt_sha256": self._prompts.sha256,
                    "schema_sha256": schema_sha256(self._organs), "min_certainty": options.min_certainty,
                    "statuses": sorted(options.statuses), "without_issues": sorted(options.without_issues),
                    "validation_share": options.validation_share, "seed": options.seed,
                    "max_tokens": options.max_tokens,
                },
                file,
                indent=2,
            )  # fmt: skip
            file.write("\n")
        return path
