import json
import shlex
import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from llm_extract.cli import build_app, register
from llm_extract.progress import ProgressReporter, duration

RUNNER = CliRunner()


def invoke(*arguments: object):
    return RUNNER.invoke(build_app(), [str(argument) for argument in arguments])


def extract(reports, out, backend, *more):
    return invoke("extract", reports, "--out", out, "--backend", backend, "--workers", 0, *more)


def test_extract_says_what_it_did_and_what_comes_next(tmp_path, toy_backend, write_reports):
    result = extract(write_reports(["mass", "nothing"]), tmp_path / "out", toy_backend)
    assert result.exit_code == 0
    assert "2 reports: 2 done (0 need review), 0 quarantined; 1 lesions" in result.stdout
    assert str(tmp_path / "out" / "evidence.html") in result.stdout
    assert result.stdout.splitlines()[-1].startswith("Next: ")


def test_json_prints_one_object_with_totals_that_add_up(tmp_path, toy_backend, write_reports):
    result = extract(write_reports(["mass", "BOOM"]), tmp_path / "out", toy_backend, "--json")
    assert result.exit_code == 4
    summary = json.loads(result.stdout)
    assert summary["input"] == summary["done"] + summary["quarantined"] == 2
    assert all((tmp_path / "out").joinpath(name.rsplit("/")[-1]).exists() for name in summary["files"])


def test_quarantine_is_exit_code_4_and_says_where_to_look(tmp_path, toy_backend, write_reports):
    result = extract(write_reports(["BOOM"]), tmp_path / "out", toy_backend)
    assert result.exit_code == 4
    assert "studies.csv" in result.stdout
    assert "1 × extraction_error: ValueError" in result.stdout


@pytest.mark.parametrize(
    ("content", "options", "exit_code", "words"),
    [
        ("", (), 3, "empty"),
        ("id,text\n", (), 3, "no reports"),
        ("id,body\nA,t\n", (), 3, "id, body"),
        ("id,text\nA,t\n", ("--text-column", "nope"), 2, "id, text"),
        ("id,text\nA,t\n", ("--id-column", "nope"), 2, "id, text"),
        ("id,text\nA,t\n", ("--shard", "5/2"), 2, "--shard 1/4"),
    ],
)
def test_errors_have_a_code_an_exit_code_and_a_way_on(
    tmp_path, toy_backend, content, options, exit_code, words
):
    path = tmp_path / "r.csv"
    path.write_text(content)
    result = extract(path, tmp_path / "out", toy_backend, *options)
    assert result.exit_code == exit_code
    assert words in result.stderr
    assert "Traceback" not in result.output
    as_json = extract(path, tmp_path / "out", toy_backend, *options, "--json")
    assert as_json.exit_code == exit_code
    assert set(json.loads(as_json.stdout)["error"]) == {"code", "message", "hint"}


def test_a_file_that_cannot_be_written_is_named(tmp_path, toy_backend, write_reports):
    (tmp_path / "records.jsonl").write_text("")
    gold = write_reports(["x"], name="gold.jsonl")
    result = invoke("score", tmp_path / "records.jsonl", gold)
    assert result.exit_code == 3
    result = extract(write_reports(["mass"]), "/proc/no-such-place/out", toy_backend)
    assert result.exit_code == 5
    assert "/proc/no-such-place" in result.stderr


@pytest.mark.parametrize(
    ("number", "code", "hint"), [(28, "disk_full", "free some space"), (13, "file_error", "check path")]
)
@pytest.mark.parametrize("verb", ["release", "export-chat", "agree-records"])
def test_what_a_disk_refuses_has_a_code_and_the_name_of_the_file_that_was_to_be(
    tmp_path, write_reports, monkeypatch, number, code, hint, verb
):
    from llm_extract import private_files

    reports, out = (
        write_reports(["Hypodense mass of 3.4 cm in segment 7 of the liver. The spleen is normal."]),
        tmp_path / "o",
    )
    run = CliRunner().invoke
    assert run(build_app(), ["extract", str(reports), "--out", str(out), "--workers", "0"]).exit_code == 0

    def refusing(temporary, path):
        raise OSError(number, "no", str(temporary))

    monkeypatch.setattr(private_files, "commit", refusing)
    more = {
        "release": ["--key", str(tmp_path / "k"), "--create-key"],
        "export-chat": ["--reports", str(reports)],
        "agree-records": [str(out)],
    }
    told = [verb, str(out), *more[verb], "--out", str(tmp_path / "new"), "--json"]
    done = run(build_app(), told)
    error = json.loads(done.stdout)["error"]
    assert (done.exit_code, error["code"], hint in error["hint"]) == (5, code, True)
    assert ".tmp" not in error["message"].rpartition("/")[2]


def test_every_help_names_the_exit_codes_of_its_verb():
    for verb in ("extract", "score", "audit", "agree-records", "export-chat", "release"):
        said = " ".join(CliRunner().invoke(build_app(), [verb, "--help"]).stdout.split())
        codes = said.partition("Exit codes:")[2]
        assert all(f" {code} " in codes for code in ("0", "2", "3", "5", "130", "143")), verb


def test_usage_errors_are_exit_code_2_and_missing_files_3(tmp_path, write_reports):
    path = write_reports(["mass"])
    assert extract(path, tmp_path / "out", "nope").exit_code == 2
    assert extract(tmp_path / "missing.csv", tmp_path / "out", "rules").exit_code == 3
    assert invoke("extract", path).exit_code == 2
    assert extract(path, tmp_path / "out", "rules", "--source", "dentistry").exit_code == 2


def test_help_has_an_example_for_every_verb():
    for verb in ("extract", "score", "audit", "agree-records", "export-chat", "release"):
        result = invoke(verb, "--help")
        assert result.exit_code == 0
        assert f"llm-extract {verb}" in result.stdout
        assert "--json" in result.stdout


def test_verbs_can_be_mounted_in_another_program():
    app = typer.Typer()
    register(app)
    assert {command.name for command in app.registered_commands} == {
        "extract",
        "score",
        "audit",
        "agree-records",
        "export-chat",
        "release",
    }


def test_the_program_runs_as_a_module_and_tells_its_version():
    command = [sys.executable, "-m", "llm_extract.cli", "--version"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.startswith(
        "llm-extract "
    )


def test_an_unexpected_error_shows_its_type_and_never_its_message(
    tmp_path, toy_backend, write_reports, monkeypatch
):
    from llm_extract import archive

    def broken(source, _options):
        text = source.path.read_text()
        raise RuntimeError(f"cannot handle {text}")

    monkeypatch.setattr(archive, "extract_archive", broken)
    result = extract(write_reports(["CANARY of a report"]), tmp_path / "out", toy_backend, "--json")
    assert result.exit_code == 1
    assert "RuntimeError" in result.stderr
    assert json.loads(result.stdout)["error"]["code"] == "internal_error"
    assert "CANARY" not in result.output


def test_progress_lines_tell_rate_and_time_left(capsys):
    now = [0.0]
    with ProgressReporter("extract", 1000, clock=lambda: now[0]) as progress:
        now[0] = 5.0
        progress.advance(100)
        now[0] = 15.0
        progress.advance(100, note="2 quarantined")
    errors = capsys.readouterr().err
    assert errors == "extract: 200 of 1,000, 10/s, ETA 1 min 20 s, 2 quarantined\n"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (59, "59 s"), (61, "1 min 1 s"), (3600, "1 h 0 min"), (90061, "25 h 1 min")],
)
def test_durations_in_words(seconds, words):
    assert duration(seconds) == words


def test_the_next_command_reads_the_same_texts_the_same_way(tmp_path, toy_backend):
    path = tmp_path / "my export.csv"
    path.write_bytes(b"acc,body\nA1,a mass\nA1,gr\xf6\xdfer\n")
    options = ("--id-column", "acc", "--text-column", "body", "--group-column", "acc", "--encoding", "cp1252")
    result = extract(path, tmp_path / "out", toy_backend, *options)
    assert result.exit_code == 0, result.stderr
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("Next: llm-extract audit")]
    typed = shlex.split(line.removeprefix("Next: llm-extract ").partition("   #")[0])
    assert invoke(*typed).exit_code == 0
    assert (tmp_path / "out" / "audit.html").exists()


def test_no_output_takes_the_place_of_what_is_read(tmp_path, toy_backend, write_reports):
    reports, out = write_reports(["a mass"]), tmp_path / "out"
    extract(reports, out, toy_backend)
    gold = tmp_path / "gold.jsonl"
    gold.write_text('{"id": "R0", "text": "a mass", "expected": {"lesions": []}}\n')
    link = tmp_path / "link.jsonl"
    link.symlink_to(gold)
    refused = [
        ("score", out, gold, "--errors", gold),
        ("score", out, gold, "--errors", link),
        ("score", out, gold, "--out", gold),
        ("score", out, gold, "--out", out / "records.jsonl"),
        ("audit", out, "--reports", reports, "--out", reports),
        ("audit", out, "--reports", reports, "--out", out / "records.jsonl"),
        ("agree-records", out, out, "--out", out),
    ]
    before = {path: path.read_bytes() for path in (gold, reports, out / "records.jsonl")}
    for command in refused:
        result = invoke(*command, "--json")
        assert result.exit_code == 2, (command, result.output)
        assert json.loads(result.stdout)["error"]["code"] == "output_is_input", command
    assert {path: path.read_bytes() for path in before} == before
