"""What every run through a real engine must show: one grounded record a report, made from the model's own answer."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

from tiny_model import INSISTS, SLIPS, MadeReport

from llm_extract import ReportRecord
from llm_extract.archive import ArchiveOptions, ArchiveResult, extract_archive
from llm_extract.chat.answer_schema import Answer
from llm_extract.chat.engine import ModelOptions
from llm_extract.grounding import check_grounding
from llm_extract.reports import ReportSource, read_reports

KV_CACHE_BYTES = 256 << 20


def run(reports: Path, out: Path, backend: str, **options) -> ArchiveResult:
    """Extract an archive with an engine."""
    model = ModelOptions(**{"concurrency": 32, "kv_cache_bytes": KV_CACHE_BYTES} | options)
    return extract_archive(ReportSource(reports), ArchiveOptions(out=out, backend=backend, model=model))


def one_grounded_record_each(reports: Path, out: Path) -> list[ReportRecord]:
    """The records of a run: exactly one a report, in its order, each quote the slice of the text that it claims."""
    inputs = list(read_reports(ReportSource(reports)))
    lines = (out / "records.jsonl").read_text(encoding="utf-8").splitlines()
    records = [ReportRecord.model_validate_json(line) for line in lines]
    assert [r.report_id for r in records] == [r.report_id for r in inputs]
    for report, record in zip(inputs, records, strict=True):
        check_grounding(record, report)
    return records


def read_by_the_model(
    made: Sequence[MadeReport], records: Sequence[ReportRecord], out: Path, *, backend: str
) -> None:
    """Lesions and free organs are what the report says and the model read; what it got wrong is for review."""
    with (out / "studies.csv").open(encoding="utf-8", newline="") as file:
        attempts = [int(row["attempts"]) for row in csv.DictReader(file)][: len(made)]
    for truth, record, tries in zip(made, records, attempts, strict=True):
        if truth.motion == INSISTS and truth.lesions:
            assert (record.provenance.backend, record.status, tries) == ("rules", "needs_review", 2)
            assert "model_output_invalid" in {issue.code for issue in record.issues}
            continue
        found = [
            (x.organ, x.laterality if x.laterality in {"left", "right"} else None, x.kind, *x.diameters_mm)
            for x in record.lesions
        ]
        assert sorted(found, key=str) == sorted(truth.lesions, key=str)
        assert record.provenance.backend == backend
        assert tries == (2 if truth.motion == SLIPS and truth.lesions else 1)
        organ, side = truth.normal
        stated = record.organs[organ]
        assert (stated.sides[side] if side else stated).status == "explicitly_lesion_free"
        assert len(record.unused_measurements) == truth.unread
        if truth.unread:
            assert record.status in {"ok_with_warnings", "needs_review"}


def schema_valid_first(recording: Path, n: int) -> int:
    """How many of the first answers to ``n`` reports follow the schema, from a file of recorded answers."""
    rows = [json.loads(line) for line in recording.read_text(encoding="utf-8").splitlines()[1:]]
    assert len(rows) >= n
    for row in rows:
        if row["finish_reason"] == "stop":
            Answer.model_validate_json(row["text"])
    return sum(row["finish_reason"] == "stop" for row in rows)
