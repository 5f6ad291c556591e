import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_extract.archive import ArchiveOptions, extract_archive
from llm_extract.ledger import Result
from llm_extract.pilot import choose_rows, forecast, wilson
from llm_extract.progress import Tally
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
    expected = forecast(tally, reports=100_000, seconds=25.0, gpus=4)
    assert expected.hours == pytest.approx(100_000 * 0.5 / 3600)
    assert expected.gpu_hours == pytest.approx(4 * expected.hours)
    assert (expected.tokens, expected.price) == (100_000_000, pytest.approx(200.0))
    share, low, high = expected.quarantined
    assert share == 0.1
    assert 0.04 < low < 0.1 < high < 0.22
    assert "100,000 reports" in expected.lines()[0]
    assert forecast(Tally(), reports=10, seconds=1.0, gpus=None) is None


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
