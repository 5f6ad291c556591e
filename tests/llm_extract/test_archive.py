import csv
import json
import multiprocessing
import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llm_extract import ReportRecord
from llm_extract.archive import COMMIT_S, ArchiveOptions, Shard, extract_archive
from llm_extract.errors import DataError, InterruptedRunError, ResourceError, UsageError
from llm_extract.ledger import Ledger
from llm_extract.reports import Report, ReportSource
from llm_extract.workers import run_here

OUTPUTS = [
    "evidence.html",
    "ledger.sqlite",
    "lesions.csv",
    "lesions.parquet",
    "records.jsonl",
    "studies.csv",
    "studies.parquet",
    "summary.json",
]


def run(path: Path, out: Path, backend: str, **options):
    return extract_archive(ReportSource(path), ArchiveOptions(out=out, backend=backend, **options))


def records_of(path: Path) -> list[ReportRecord]:
    return [ReportRecord.model_validate_json(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_one_record_a_report_in_input_order(tmp_path, toy_backend, write_reports):
    texts = ["a mass", "nothing", "BOOM", "LIE a mass", "REVIEW", "a mass", " "]
    result = run(write_reports(texts), tmp_path / "out", toy_backend)
    records = records_of(tmp_path / "out" / "records.jsonl")
    assert [record.report_id for record in records] == [f"R{index}" for index in range(7)]
    assert [record.status for record in records] == [
        "ok",
        "ok",
        "failed",
        "failed",
        "needs_review",
        "ok",
        "failed",
    ]
    assert [[issue.code for issue in record.issues] for record in records] == [
        [],
        [],
        ["extraction_error"],
        ["extraction_error"],
        [],
        [],
        ["empty_report"],
    ]
    assert result.exit_code == 4
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == OUTPUTS
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert (summary["input"], summary["done"], summary["quarantined"], summary["needs_review"]) == (
        7,
        4,
        3,
        1,
    )
    assert summary["issues"] == {"empty_report": 1, "extraction_error": 2}
    assert summary["errors"] == {
        "empty_report": 1,
        "extraction_error: GroundingError": 1,
        "extraction_error: ValueError": 1,
    }


def test_all_done_is_exit_code_0_and_a_second_run_extracts_nothing(tmp_path, toy_backend, write_reports):
    path = write_reports(["a mass", "nothing", "a mass"])
    first = run(path, tmp_path / "out", toy_backend)
    before = {
        file.name: file.read_bytes() for file in (tmp_path / "out").iterdir() if file.suffix == ".jsonl"
    }
    second = run(path, tmp_path / "out", toy_backend)
    assert (first.exit_code, first.extracted, second.extracted) == (0, 2, 0)
    assert before == {name: (tmp_path / "out" / name).read_bytes() for name in before}


def test_failed_records_name_every_organ(tmp_path, toy_backend, write_reports):
    from llm_extract.anatomy import load_anatomy

    run(write_reports(["BOOM"]), tmp_path / "out", toy_backend)
    (record,) = records_of(tmp_path / "out" / "records.jsonl")
    assert list(record.organs) == list(load_anatomy().organs)
    assert {statement.status for statement in record.organs.values()} == {"not_mentioned"}


def test_ids_of_rows_and_reader_issues_reach_the_record(tmp_path, toy_backend):
    path = tmp_path / "r.csv"
    path.write_bytes(
        b"id,text,case_id,patient_id,date\nA1,a mass,CT1,P1,2020-01-02\n,a mass,,,\nA1,other,,,\n"
        b"A2,L\xe4sion,bad case,,x\n"
    )
    run(path, tmp_path / "out", toy_backend)
    first, second, third, fourth = records_of(tmp_path / "out" / "records.jsonl")
    assert (first.report_id, first.case_id, first.patient_id, str(first.study_date)) == (
        "A1",
        "CT1",
        "P1",
        "2020-01-02",
    )
    assert (second.report_id, second.status, second.lesions) == ("row-1", "ok_with_warnings", first.lesions)
    assert (third.report_id, third.status) == ("A1", "failed")
    assert [issue.code for issue in third.issues] == ["duplicate_id"]
    assert {issue.code for issue in fourth.issues} == {"fallback_encoding", "invalid_case_id", "invalid_date"}


def test_the_same_text_is_extracted_once(tmp_path, toy_backend, write_reports, monkeypatch):
    monkeypatch.setenv("TOY_LOG", str(tmp_path / "log"))
    result = run(write_reports(["a mass"] * 20 + ["other"]), tmp_path / "out", toy_backend)
    assert result.extracted == len((tmp_path / "log").read_text().splitlines()) == 2
    assert result.counts.lesions == 20


def test_a_change_extracts_again_exactly_what_it_touches(tmp_path, toy_backend, write_reports, monkeypatch):
    texts = [f"report {index}" for index in range(10)]
    out = tmp_path / "out"
    assert run(write_reports(texts), out, toy_backend).extracted == 10
    texts[3] += " changed"
    assert run(write_reports(texts), out, toy_backend).extracted == 1
    assert run(write_reports([*texts, "one more"]), out, toy_backend).extracted == 1
    assert run(write_reports(texts[::-1]), out, toy_backend).extracted == 0
    monkeypatch.setenv("TOY_VERSION", "2")
    assert run(write_reports(texts), out, toy_backend).extracted == 10
    assert len(records_of(out / "records.jsonl")) == 10


def test_what_stands_beside_a_text_joins_its_record_and_extracts_nothing_again(tmp_path, toy_backend):
    path, out = tmp_path / "r.csv", tmp_path / "out"
    path.write_text("id,text,date,patient_id,case_id\nA,a mass,2020-01-02,P1,C1\nB,none,,,\n")
    assert run(path, out, toy_backend).extracted == 2
    first = (out / "records.jsonl").read_bytes()
    path.write_text("id,text,date,patient_id,case_id\nA,a mass,2021-12-31,P2,C2\nZ,none,2020-02-03,P3,\n")
    assert run(path, out, toy_backend).extracted == 0
    told = [
        (r.report_id, r.case_id, r.patient_id, str(r.study_date)) for r in records_of(out / "records.jsonl")
    ]
    assert told == [("A", "C2", "P2", "2021-12-31"), ("Z", None, "P3", "2020-02-03")]
    path.write_text("id,text,date,patient_id,case_id\nA,a mass,2020-01-02,P1,C1\nB,none,,,\n")
    assert run(path, out, toy_backend).extracted == 0
    assert (out / "records.jsonl").read_bytes() == first


def test_a_backend_is_shown_nothing_that_the_key_does_not_cover(tmp_path, toy_backend, monkeypatch):
    import toy_backend as toys

    seen = []
    extract = toys.ToyBackend.extract
    monkeypatch.setattr(toys.ToyBackend, "extract", lambda self, r: (seen.append(r), extract(self, r))[1])
    path = tmp_path / "r.csv"
    path.write_text("id,text,date,patient_id,case_id,kind\nA,a mass,2020-01-02,P1,C1,pathology\n")
    run(path, tmp_path / "out", toy_backend)
    assert seen == [Report(report_id="A", text="a mass", kind="pathology")]


def test_a_signal_is_heard_while_finished_work_is_passed_over(
    tmp_path, toy_backend, write_reports, monkeypatch
):
    from llm_extract import archive

    path, out = write_reports([f"mass {index}" for index in range(400)]), tmp_path / "out"
    run(path, out, toy_backend)
    path = write_reports([f"mass {index}" for index in range(400)] + ["new"])
    held = archive._Run._unfinished
    passes = []

    def asked_in_the_second_pass(self, chunk):
        passes.append(len(chunk))
        if len(passes) == 3:  # one chunk of the first pass, then the second in smaller ones
            self._stop.signal_number = 15
        return held(self, chunk)

    monkeypatch.setattr(archive._Run, "_unfinished", asked_in_the_second_pass)
    monkeypatch.setenv("TOY_LOG", str(tmp_path / "log"))
    with pytest.raises(InterruptedRunError):
        run(path, out, toy_backend)
    assert len(passes) == 3
    assert not (tmp_path / "log").exists()


def test_quarantined_reports_stay_until_asked_for(tmp_path, toy_backend, write_reports, monkeypatch):
    path = write_reports(["BOOM", "fine"])
    out = tmp_path / "out"
    monkeypatch.setenv("TOY_LOG", str(tmp_path / "log"))
    assert run(path, out, toy_backend).extracted == 2
    assert run(path, out, toy_backend).extracted == 0
    assert run(path, out, toy_backend, quarantine="retry").extracted == 1
    with pytest.raises(UsageError, match="'keep' or 'retry'"):
        run(path, out, toy_backend, quarantine="retri")


def test_workers_write_the_same_bytes_as_one_process(tmp_path, toy_backend, write_reports):
    path = write_reports([f"mass {index}" if index % 3 else f"BOOM {index}" for index in range(60)])
    run(path, tmp_path / "one", toy_backend)
    run(path, tmp_path / "many", toy_backend, workers=2)
    for name in ("records.jsonl", "lesions.csv", "evidence.html", "summary.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "many" / name).read_bytes(), name


def test_a_report_that_ends_its_worker_or_hangs_is_quarantined_alone(tmp_path, toy_backend, write_reports):
    texts = [f"mass {index}" for index in range(20)]
    texts[4], texts[11] = "CRASH", "HANG"
    result = run(write_reports(texts), tmp_path / "out", toy_backend, workers=2, timeout_s=1.0)
    records = records_of(tmp_path / "out" / "records.jsonl")
    failed = {record.report_id: record.issues[0].code for record in records if record.status == "failed"}
    assert failed == {"R4": "worker_crashed", "R11": "extraction_timeout"}
    assert result.exit_code == 4
    with (tmp_path / "out" / "studies.csv").open(newline="") as file:
        attempts = {row["report_id"]: row["attempts"] for row in csv.DictReader(file)}
    assert (attempts["R4"], attempts["R0"]) == ("2", "1")


def test_a_slow_report_in_this_process_is_quarantined(tmp_path, toy_backend, write_reports):
    run(write_reports(["HANG", "mass"]), tmp_path / "out", toy_backend, timeout_s=0.2)
    assert [record.status for record in records_of(tmp_path / "out" / "records.jsonl")] == ["failed", "ok"]


def test_shards_merge_into_the_bytes_of_one_run(tmp_path, toy_backend, write_reports, monkeypatch):
    path = write_reports([f"mass {index}" if index % 4 else f"BOOM {index}" for index in range(30)])
    run(path, tmp_path / "whole", toy_backend)
    monkeypatch.setenv("TOY_LOG", str(tmp_path / "log"))
    out = tmp_path / "out"
    ids = []
    for index in (3, 1, 2):
        result = run(path, out, toy_backend, shard=Shard.parse(f"{index}/3"))
        records = records_of(out / f"records.{index}-of-3.jsonl")
        assert result.counts.input == len(records) > 0
        ids += [record.report_id for record in records]
    assert sorted(ids) == sorted(f"R{index}" for index in range(30))
    assert not (out / "records.jsonl").exists()
    assert len((tmp_path / "log").read_text().splitlines()) == 30
    assert run(path, out, toy_backend).extracted == 0
    for name in ("records.jsonl", "lesions.csv", "evidence.html", "summary.json"):
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


def test_duplicates_are_found_across_shards(tmp_path, toy_backend):
    path = tmp_path / "r.csv"
    path.write_text("id,text\nA,one\nA,two\n")
    records = []
    for index in (1, 2):
        run(path, tmp_path / "out", toy_backend, shard=Shard.parse(f"{index}/2"))
        records += records_of(tmp_path / "out" / f"records.{index}-of-2.jsonl")
    assert sorted((record.report_id, record.status) for record in records) == [("A", "failed"), ("A", "ok")]


def test_bad_input_ends_before_anything_is_written(tmp_path, toy_backend):
    path = tmp_path / "r.csv"
    path.write_text("id,text\n")
    with pytest.raises(DataError):
        run(path, tmp_path / "out", toy_backend)
    assert not (tmp_path / "out").exists()


def test_a_file_that_breaks_in_the_middle_leaves_no_exports(tmp_path, toy_backend):
    path = tmp_path / "r.csv"
    path.write_text('id,text\nA,fine\nB,"open\n')
    with pytest.raises(DataError, match="line 3"):
        run(path, tmp_path / "out", toy_backend)
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["ledger.sqlite"]


def test_an_output_folder_that_is_a_file(tmp_path, toy_backend, write_reports):
    (tmp_path / "out").write_text("x")
    with pytest.raises(UsageError, match="no folder"):
        run(write_reports(["mass"]), tmp_path / "out", toy_backend)


def test_outputs_with_text_are_private(tmp_path, toy_backend, write_reports):
    previous = os.umask(0)
    try:
        run(write_reports(["mass", "BOOM"]), tmp_path / "out", toy_backend)
    finally:
        os.umask(previous)
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "out").iterdir()}
    assert modes == dict.fromkeys(OUTPUTS, 0o600)


def test_no_text_reaches_ledger_codes_summary_or_stderr(tmp_path, toy_backend, write_reports):
    canary = "CANARY-7731 Mrs Example"
    command = [sys.executable, "-m", "llm_extract.cli", "extract"]
    command += [str(write_reports([f"BOOM {canary}", f"CRASH {canary}", f"LIE mass {canary}"]))]
    command += ["--out", str(tmp_path / "out"), "--backend", toy_backend]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 4
    assert "CANARY" not in done.stdout + done.stderr
    for name in ("ledger.sqlite", "summary.json", "studies.csv", "records.jsonl"):
        assert b"CANARY" not in (tmp_path / "out" / name).read_bytes(), name


def test_an_input_that_changes_under_the_run_is_noticed(tmp_path, toy_backend, write_reports, monkeypatch):
    path = write_reports(["mass"])
    monkeypatch.setattr(Ledger, "results", lambda _self, _keys: {})
    with pytest.raises(DataError, match="first read"):
        run(path, tmp_path / "out", toy_backend)


@pytest.mark.parametrize("nth", range(1, 12))
def test_a_failed_write_leaves_old_exports_whole(tmp_path, toy_backend, write_reports, monkeypatch, nth):
    from llm_extract import private_files

    out = tmp_path / "out"
    run(write_reports(["mass"]), out, toy_backend)
    before = {file.name: file.read_bytes() for file in out.iterdir() if file.suffix != ".sqlite"}
    path = write_reports(["mass", "another mass"])
    calls = iter(range(1, 1000))
    fsync = os.fsync

    def failing(descriptor: int) -> None:
        if next(calls) == nth:
            raise OSError(28, "No space left on device")
        fsync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(private_files.os, "fsync", failing)
        with pytest.raises(ResourceError, match="disk"):
            run(path, out, toy_backend)
    fresh = tmp_path / "fresh"
    run(path, fresh, toy_backend)
    for name, data in before.items():
        if name.endswith(".parquet"):
            continue
        now = (out / name).read_bytes()
        new = (fresh / name).read_bytes()
        assert now in (data, new) or name == "studies.csv", name
    assert not list(out.glob(".*.tmp"))
    assert run(path, out, toy_backend).extracted == 0
    assert (out / "records.jsonl").read_bytes() == (fresh / "records.jsonl").read_bytes()


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(["mass", "BOOM", "LIE mass", "", "REVIEW", "x"]), min_size=1, max_size=12))
def test_totals_add_up_for_any_mix_of_failures(tmp_path_factory, toy_backend, texts):
    folder = tmp_path_factory.mktemp("mix")
    path = folder / "r.jsonl"
    path.write_text(
        "".join(json.dumps({"id": f"R{i % 9}", "text": text}) + "\n" for i, text in enumerate(texts))
    )
    result = run(path, folder / "out", toy_backend, evidence_limit=0)
    records = records_of(folder / "out" / "records.jsonl")
    counts = result.counts
    assert counts.input == counts.done + counts.quarantined == len(texts) == len(records)
    failed = sum(i >= 9 or text in {"BOOM", "LIE mass", ""} for i, text in enumerate(texts))
    assert counts.quarantined == failed
    assert result.exit_code == (4 if failed else 0)


def _run_archive(path, out, backend):
    result = run(path, out, backend)
    os._exit(result.exit_code)


def test_processes_share_one_ledger_and_take_over_from_the_dead(
    tmp_path, toy_backend, write_reports, monkeypatch
):
    n_reports = 300
    path = write_reports([f"mass {index}" for index in range(n_reports)])
    monkeypatch.setenv("TOY_LOG", str(tmp_path / "log"))
    monkeypatch.setenv("TOY_SECONDS", "0.004")
    context = multiprocessing.get_context("fork")
    arguments = (path, tmp_path / "out", toy_backend)
    processes = [context.Process(target=_run_archive, args=arguments) for _ in range(4)]
    for process in processes:
        process.start()
    began = time.monotonic()
    processes[0].join(timeout=0.3)
    for process in processes[:2]:
        process.kill()
    alive_s = time.monotonic() - began
    for process in processes:
        process.join(timeout=60)
    assert [process.exitcode for process in processes] == [-9, -9, 0, 0]
    assert len(records_of(tmp_path / "out" / "records.jsonl")) == n_reports
    extracted = [line.split()[0] for line in (tmp_path / "log").read_text().splitlines()]
    assert len(set(extracted)) == n_reports
    assert len(extracted) - n_reports <= 2 * min(alive_s, COMMIT_S) / 0.004 + 2, "what two had not committed"


def test_of_work_in_other_hands_no_text_is_held_and_it_is_done_when_it_comes_free(
    tmp_path, toy_backend, write_reports, monkeypatch
):
    """Another process has reserved everything, finishes some of it, and gives the rest up."""
    from llm_extract import archive

    texts = [f"mass {index}" for index in range(200)]
    path, out = write_reports(texts), tmp_path / "out"
    whole = run(path, tmp_path / "whole", toy_backend)
    with Ledger(tmp_path / "whole" / "ledger.sqlite") as ledger:
        keys = [row[0].hex() for row in ledger._connection.execute("SELECT key FROM work")]
        results = list(ledger.results(keys).values())
    out.mkdir()
    other = Ledger(out / "ledger.sqlite", owner="another-host|pid:[1]|1|1")
    assert other.claim(keys).ours == set(keys)
    polls, held, asked = [], [], []
    runs, made = [], archive._Run.__init__
    monkeypatch.setattr(
        archive._Run, "__init__", lambda self, *a, **k: (runs.append(self), made(self, *a, **k))[1]
    )
    claim = Ledger.claim
    monkeypatch.setattr(Ledger, "claim", lambda self, some: (asked.append(len(some)), claim(self, some))[1])

    def wait(seconds):
        if not seconds:  # the toy backend
            return
        polls.append(len(polls))
        if len(polls) in {2, 3}:
            assert sum(asked[4:]) <= 64 * (len(polls) - 1), (
                "who is at work is not asked for all of it each time"
            )
        held.append(set(runs[0]._elsewhere))
        if len(polls) == 2:
            other.finish(results[:50])
        if len(polls) == 3:
            other.release()

    monkeypatch.setattr(archive.time, "sleep", wait)
    result = run(path, out, toy_backend)
    other.close()
    assert held[:2] == [set(keys)] * 2
    assert len(polls) == 3, "what is finished or free is taken at once"
    assert (result.extracted, whole.extracted) == (150, 200)
    assert (out / "records.jsonl").read_bytes() == (tmp_path / "whole" / "records.jsonl").read_bytes()


def test_leases_are_renewed_while_much_is_claimed_and_nothing_finished(
    tmp_path, toy_backend, write_reports, monkeypatch
):
    """As on a cluster, which is handed everything before it gives anything back."""
    from llm_extract import archive

    renewed = []
    monkeypatch.setattr(Ledger, "renew", lambda self: renewed.append(self.path))
    path = write_reports([f"mass {index}" for index in range(300)])

    def all_at_once(jobs, backend, *, timeout_s, stop):
        taken = list(jobs)
        assert len(renewed) == len(taken) // 64 + 1, "once a chunk, before anything is finished"
        return run_here(taken, backend, timeout_s=timeout_s, stop=stop)

    monkeypatch.setattr(archive, "run_here", all_at_once)
    assert run(path, tmp_path / "out", toy_backend).extracted == 300


def test_texts_that_stand_in_no_input_file_are_kept_privately(tmp_path, toy_backend):
    path = tmp_path / "r.csv"
    path.write_text('id,text\nA1,"{\\rtf1 a mass}"\nA2,plain\nA1,more\n')
    run(path, tmp_path / "out", toy_backend)
    kept = tmp_path / "out" / "cleaned_texts.jsonl"
    assert [json.loads(line) for line in kept.read_text().splitlines()] == [{"id": "A1", "text": "a mass"}]
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    first = records_of(tmp_path / "out" / "records.jsonl")[0]
    assert first.text_chars == len("a mass")
    path.write_text("id,text\nA2,plain\n")
    run(path, tmp_path / "out", toy_backend)
    assert not kept.exists()
