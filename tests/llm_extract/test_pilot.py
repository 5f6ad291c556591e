import json
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_extract import ReportRecord
from llm_extract.archive import ArchiveOptions, extract_archive
from llm_extract.ledger import Ledger, Result
from llm_extract.pilot import choose_rows, forecast, wilson
from llm_extract.progress import Tally
from llm_extract.records import Provenance
from llm_extract.reports import Report, ReportSource


def reports(lengths):
    return [Report(report_id=f"R{i}", text="x" * n, row=i) for i, n in enumerate(lengths)]


@given(st.lists(st.integers(1, 500), min_size=1, max_size=80), st.integers(1, 30))
def test_a_sample_has_its_size_and_covers_the_lengths_evenly(lengths, n):
    rows = choose_rows(reports(lengths), n)
    assert len(rows) == min(n, len(lengths))
    if len(lengths) > n:
        ranked = sorted(range(len(lengths)), key=lambda i: (lengths[i], i))
        places = sorted(ranked.index(row) for row in rows)
        step = len(lengths) / n
        assert all(abs(place - (k + 0.5) * step) <= 1 for k, place in enumerate(places))


def test_the_forecast_scales_time_tokens_price_and_failures():
    tally = Tally(price_per_million=2.0)
    for number in range(50):
        tally.add(Result(str(number), "quarantined" if number < 5 else "done", tokens=1000))
    expected = forecast(tally, reports=100_000, unreadable=0, sample=(5, 50), seconds=25.0, gpus=4)
    assert expected.hours == pytest.approx(100_000 * 0.5 / 3600)
    assert expected.gpu_hours == pytest.approx(4 * expected.hours)
    assert (expected.tokens, expected.price) == (100_000_000, pytest.approx(200.0))
    share, low, high = expected.quarantined
    assert share == 0.1
    assert 0.04 < low < 0.1 < high < 0.22
    assert "100,000 reports" in expected.lines()[0]
    nothing = forecast(Tally(), reports=10, unreadable=0, sample=(0, 10), seconds=1.0, gpus=None)
    assert nothing is None


def test_rows_that_the_reader_refuses_take_no_time_and_are_counted_as_they_are():
    tally = Tally(reports=50, tokens=5000)
    expected = forecast(tally, reports=1000, unreadable=400, sample=(10, 50), seconds=50.0, gpus=None)
    assert expected.hours == pytest.approx(600 / 3600)
    assert expected.tokens == 60_000
    of_readable = wilson(10, 50)
    assert expected.quarantined == pytest.approx([0.4 + 0.6 * rate for rate in of_readable])
    assert expected.quarantined[0] == pytest.approx(0.52)


GERMAN = "Die Leber ist vergrößert, im Segment 7 ein hypodenser Herd von 23 mm, die Milz ist unauffällig."
ENGLISH = "There is a hypodense mass of 23 mm in segment 7 of the liver and the spleen is normal."


@pytest.mark.parametrize("workers", [0, 1])
def test_a_pilot_forecasts_what_the_whole_run_quarantines(tmp_path, write_reports, workers):
    """Other languages, which the rules refuse, and empty rows, which the reader does: one report in two."""
    texts = [f"{GERMAN} {n}" if n % 4 == 0 else "" if n % 4 == 1 else f"{ENGLISH} {n}" for n in range(80)]
    path, out = write_reports(texts), tmp_path / "out"
    options = {"workers": workers, "evidence_limit": 0}
    pilot = extract_archive(ReportSource(path), ArchiveOptions(out=out, pilot=30, **options))
    whole = extract_archive(ReportSource(path), ArchiveOptions(out=out, **options))
    assert (whole.counts.quarantined, whole.counts.input) == (40, 80)
    assert whole.counts.errors == {"unsupported_language": 20, "empty_report": 20}
    share, low, high = pilot.forecast.quarantined
    assert low < 0.5 < high
    assert share == pytest.approx((20 + 60 * pilot.counts.quarantined / 30) / 80)
    assert pilot.counts.quarantined > 0
    assert json.loads((out / "forecast.json").read_text())["quarantined"][0] == pytest.approx(share)


class SlowToStart:
    """A backend that takes long to load in each worker, and little for a report."""

    name = "slow"

    def settings(self):
        return {}

    def load(self):
        time.sleep(1.5)

    def extract(self, report):
        time.sleep(0.01)
        return ReportRecord(
            report_id=report.report_id,
            source="radiology",
            text_sha256=report.text_sha256,
            text_chars=len(report.text),
            status="ok",
            provenance=Provenance(backend="slow", version="1"),
        )


@pytest.mark.parametrize("workers", [0, 1])
def test_start_up_is_left_out_of_the_forecast(tmp_path, write_reports, monkeypatch, workers):
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / "slow_to_start.py").write_text(Path(__file__).read_text())
    monkeypatch.syspath_prepend(str(folder))
    options = ArchiveOptions(
        out=tmp_path / "out", backend="slow_to_start:SlowToStart", pilot=10, workers=workers, evidence_limit=0
    )
    path = write_reports([f"text {n}" for n in range(1000)])
    try:
        hours = extract_archive(ReportSource(path), options).forecast.hours
    finally:
        sys.modules.pop("slow_to_start", None)
    assert hours * 1.01 >= 0.01 * 1000 / 3600
    assert hours < 1.5 * 1000 / 10 / 3600, "not even the start-up of the sample, a hundred times"


def test_what_cannot_be_read_is_counted_while_it_runs(tmp_path, write_reports):
    path, out = write_reports([GERMAN, ENGLISH]), tmp_path / "out"
    extract_archive(ReportSource(path), ArchiveOptions(out=out, evidence_limit=0))
    with Ledger(out / "ledger.sqlite") as ledger:
        assert ledger.counts() == {"done": 1, "quarantined": 1}
    lines = (out / "records.jsonl").read_text().splitlines()
    assert ReportRecord.model_validate_json(lines[0]).issues[0].code == "unsupported_language"


def test_wilson_agrees_with_scipy():
    from scipy.stats import binomtest

    for hits, of in ((0, 10), (3, 50), (50, 50)):
        interval = binomtest(hits, of).proportion_ci(method="wilson")
        assert wilson(hits, of)[1:] == pytest.approx((interval.low, interval.high), abs=1e-9)


def test_a_pilot_extracts_its_sample_and_the_full_run_goes_on_from_it(tmp_path, toy_backend, write_reports):
    path = write_reports([f"mass {'x' * n}" for n in range(40)])
    out = tmp_path / "out"
    pilot = extract_archive(ReportSource(path), ArchiveOptions(out=out, backend=toy_backend, pilot=8))
    assert (pilot.counts.input, pilot.extracted, pilot.forecast.reports) == (8, 8, 40)
    assert len((out / "records.pilot.jsonl").read_text().splitlines()) == 8
    assert json.loads((out / "forecast.json").read_text())["sample"] == 8
    assert not (out / "records.jsonl").exists()
    whole = extract_archive(ReportSource(path), ArchiveOptions(out=out, backend=toy_backend))
    assert (whole.counts.input, whole.extracted, whole.forecast) == (40, 32, None)
