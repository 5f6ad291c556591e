"""What the ledger and the batch loop cost beside extraction itself.

Run: ``python benchmarks/archive.py [--reports 100000] [--rows 1000000] [--loop 5000] [--json PATH]``.

- ledger: every operation of a run on records of real length (the rules' records of synthetic reports, about 12 kB of
  JSON): reserve, write the results down, read them back for the export. Microseconds a report, CPU and wall.
- resume: a ledger of a million finished rows is opened by a new process and asked for all of them, as a resumed run
  does. The result rows are short; a resumed run does not read them.
- loop: whole runs with a backend that answers at once, of which the stages are told apart: reading the input,
  extraction loop, export. What a second run costs that finds everything done.

CPU seconds are of this process: other jobs count only by what they do to its caches. Wall seconds hold waits for the
disk and everything else that the machine does. The best tenth of all chunks is what the least disturbed ones took.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from extraction import synthetic_report

from llm_extract import ReportRecord
from llm_extract.archive import COMMIT_SIZE, ArchiveOptions, claim_size, extract_archive
from llm_extract.backends import load_backend
from llm_extract.export import CHUNK
from llm_extract.ledger import Ledger, Result
from llm_extract.records import OrganStatement, Provenance
from llm_extract.reports import Report, ReportSource

N_TEXTS = 200
RESUME = (
    "import sys; sys.path.insert(0, sys.argv[1]); import archive; "
    "archive.print_resume(sys.argv[2], int(sys.argv[3]))"
)
Times = dict[str, float]
UNITS = ("cpu_us", "wall_us", "cpu_us_best_tenth")


class InstantBackend:
    """Answers at once: nothing is found in any report."""

    name = "instant"

    def settings(self) -> Mapping[str, str]:  # noqa: D102
        return {}

    def load(self) -> None:  # noqa: D102
        self._organs = {"liver": OrganStatement()}
        self._provenance = Provenance(backend="instant", version="1")

    def extract(self, report: Report) -> ReportRecord:  # noqa: D102
        return ReportRecord(
            report_id=report.report_id,
            source="radiology",
            text_sha256=report.text_sha256,
            text_chars=len(report.text),
            status="ok",
            organs=self._organs,
            provenance=self._provenance,
        )


def timed(work: Callable[[], object]) -> Times:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return {"cpu_s": time.process_time() - cpu, "wall_s": time.perf_counter() - wall}


def key_of(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def ledger_times(folder: Path, n_reports: int) -> dict[str, Times]:
    """Microseconds a report of each operation."""
    backend = load_backend("rules")
    backend.load()
    texts = (Report(report_id=f"R{seed}", text=synthetic_report(seed)) for seed in range(N_TEXTS))
    records = [backend.extract(report).model_dump_json() for report in texts]
    keys = [key_of(number) for number in range(n_reports)]
    results = [
        Result(key, "done", records[number % N_TEXTS], seconds=0.003) for number, key in enumerate(keys)
    ]
    size = claim_size(n_reports)
    times: dict[str, Times] = {}
    with Ledger(folder / "ledger.sqlite") as ledger:

        def over(chunk: int, work: Callable[[int, int], object]) -> Times:
            spans = [(start, min(start + chunk, n_reports)) for start in range(0, n_reports, chunk)]
            parts = [(end - start, timed(partial(work, start, end))) for start, end in spans]
            us = {
                name: sum(part[name] for _, part in parts) / n_reports * 1e6 for name in ("cpu_s", "wall_s")
            }
            each = sorted(part["cpu_s"] / n * 1e6 for n, part in parts)
            return {
                "cpu_us": us["cpu_s"],
                "wall_us": us["wall_s"],
                "cpu_us_best_tenth": each[len(each) // 10],
            }

        times["reserve"] = over(size, lambda start, end: ledger.claim(keys[start:end]))
        times["write down"] = over(COMMIT_SIZE, lambda start, end: ledger.finish(results[start:end]))
        times["read back"] = over(CHUNK, lambda start, end: ledger.results(keys[start:end]))
    times["all"] = {
        name: sum(times[part][name] for part in ("reserve", "write down", "read back")) for name in UNITS
    }
    mib = (folder / "ledger.sqlite").stat().st_size / 2**20
    times["file"] = {
        "mib": mib,
        "bytes_a_report": mib * 2**20 / n_reports,
        "json_bytes": len(max(records, key=len)),
    }
    return times


def resume_times(folder: Path, n_rows: int) -> Times:
    """Seconds of a new process until it knows which of all keys are finished and has reserved new work."""
    with Ledger(folder / "ledger.sqlite") as ledger:
        for start in range(0, n_rows, 20_000):
            ledger.finish(Result(key_of(n), "done", "{}") for n in range(start, min(start + 20_000, n_rows)))
    command = [sys.executable, "-c", RESUME, str(Path(__file__).parent), str(folder), str(n_rows)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def print_resume(folder: str, n_rows: int) -> None:
    keys = [key_of(number) for number in range(n_rows)]

    def resume() -> None:
        with Ledger(Path(folder) / "ledger.sqlite") as ledger:
            finished = ledger.finished_keys()
            for _ in ("count what is left", "go to the first unfinished report"):
                for start in range(0, n_rows, 500):
                    if not all(finished.holds(keys[start : start + 500])):
                        raise SystemExit("a finished report is not known")
            ledger.claim([key_of(-1)])
            ledger.release()

    sys.stdout.write(json.dumps(timed(resume)))


def loop_times(folder: Path, n_reports: int) -> dict[str, Times]:
    """Whole runs with a backend that takes no time; microseconds a report."""
    path = folder / "reports.jsonl"
    texts = [synthetic_report(seed) for seed in range(N_TEXTS)]
    with path.open("w", encoding="utf-8") as file:
        for number in range(n_reports):
            file.write(json.dumps({"id": f"R{number}", "text": f"{texts[number % N_TEXTS]} {number}"}) + "\n")
    options = ArchiveOptions(out=folder / "out", backend="archive:InstantBackend", evidence_limit=0)
    backend = InstantBackend()
    backend.load()
    reports = [Report(report_id="R", text=text) for text in texts]
    alone = timed(lambda: [backend.extract(reports[n % N_TEXTS]).model_dump_json() for n in range(n_reports)])
    runs = {"backend alone": alone}
    for name in ("first run", "second run, everything done"):
        runs[name] = timed(lambda: extract_archive(ReportSource(path), options))
    return {
        name: {unit.replace("_s", "_us"): value / n_reports * 1e6 for unit, value in times.items()}
        for name, times in runs.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reports", type=int, default=100_000)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--loop", type=int, default=5_000)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).parent))  # the backend is loaded by its import path
    results: dict[str, object] = {}
    for name, measure, number in (
        ("ledger", ledger_times, options.reports),
        ("resume", resume_times, options.rows),
        ("loop", loop_times, options.loop),
    ):
        if number:
            with tempfile.TemporaryDirectory(dir=options.json.parent if options.json else None) as folder:
                results[name] = {"n": number, **measure(Path(folder), number)}
            print(name, json.dumps(results[name], indent=2))
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
