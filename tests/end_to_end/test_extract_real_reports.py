"""The rules backend on every real report beside the checkout, through the command line."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from llm_extract import ReportRecord
from llm_extract.backends import load_backend
from llm_extract.grounding import evidence_of
from llm_extract.measurements import scan_measurements
from llm_extract.reports import Report
from llm_extract.rules.pathology.scanned_text import mend

pytestmark = pytest.mark.real_data


@pytest.fixture(scope="module")
def extracted(shared_data, tmp_path_factory) -> tuple[list[dict[str, str]], Path]:
    source = shared_data / "reports" / "reports.jsonl"
    out = tmp_path_factory.mktemp("real") / "records"
    command = [sys.executable, "-m", "llm_extract.cli", "extract", str(source), "--out", str(out), "--json"]
    done = subprocess.run([*command, "--workers", "2"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["quarantined"] == 0
    return [json.loads(line) for line in source.read_bytes().split(b"\n") if line.strip()], out


def test_every_report_has_its_grounded_record_in_order(extracted):
    rows, out = extracted
    lines = (out / "records.jsonl").read_text(encoding="utf-8").splitlines()
    records = [ReportRecord.model_validate_json(line) for line in lines]
    assert [record.report_id for record in records] == [row["id"] for row in rows]
    for row, record in zip(rows, records, strict=True):
        assert record.source == row["kind"]
        assert record.text_chars == len(row["text"])
        for evidence in evidence_of(record):
            assert row["text"][evidence.start : evidence.end] == evidence.text
    assert sum(bool(record.lesions) for record in records) > 0.3 * len(records)


def test_every_length_is_a_quote_of_the_record_or_has_a_reason_why_not(extracted):
    rows, out = extracted
    lines = (out / "records.jsonl").read_text(encoding="utf-8").splitlines()
    lengths = 0
    for row, line in zip(rows, lines, strict=True):
        record = ReportRecord.model_validate_json(line)
        scanned = record.source == "pathology"
        text = mend(row["text"]) if scanned else row["text"]
        accounted = {(u.start, u.end) for u in record.unused_measurements}
        accounted |= {(e.start, e.end) for e in evidence_of(record)}
        found = scan_measurements(text, writing="scanned" if scanned else "typed")
        lengths += len(found)
        assert {(m.start, m.end) for m in found} <= accounted, record.report_id
    assert lengths > 2000


def test_tables_and_summary_agree_with_the_records(extracted):
    rows, out = extracted
    records = [json.loads(line) for line in (out / "records.jsonl").read_text(encoding="utf-8").splitlines()]
    n_lesions = sum(len(record["lesions"]) for record in records)
    for name, expected in (("lesions", n_lesions), ("studies", len(rows))):
        with (out / f"{name}.csv").open(newline="", encoding="utf-8") as file:
            assert sum(1 for _ in csv.DictReader(file)) == expected
        assert pq.read_metadata(out / f"{name}.parquet").num_rows == expected
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["input"], summary["lesions"]) == (len(rows), n_lesions)


def test_the_same_report_gives_the_same_record_in_any_process(extracted):
    rows, out = extracted
    lines = (out / "records.jsonl").read_text(encoding="utf-8").splitlines()
    backend = load_backend("rules")
    for row, line in list(zip(rows, lines, strict=True))[::40]:
        report = Report(report_id=row["id"], text=row["text"], kind=row["kind"])
        assert backend.extract(report).model_dump_json() == line
