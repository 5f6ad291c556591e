"""A hook that rewrites reports: nothing else sees the original text, whatever the hook does."""

from __future__ import annotations

import importlib.util
import json
import shlex
import shutil
import signal
import sqlite3
import stat
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from llm_extract import ReportRecord
from llm_extract.archive import ArchiveOptions, Shard, extract_archive
from llm_extract.cli import build_app
from llm_extract.deidentify import hook_identity, load_hook, rewriting
from llm_extract.errors import DataError, InterruptedRunError, ResourceError, UsageError
from llm_extract.ledger import Ledger
from llm_extract.reports import Report, ReportSource, read_reports
from llm_extract.stopping import Stop
from llm_extract.text_cache import TextCache

TOY_BACKEND = "toy_backend:ToyBackend"
HOOK = "my_hooks:scrub"
NAMES = ("Quirin Zapfmann", "Ottilie Brausewetter")
TEXTS = (
    "Quirin Zapfmann: hypodense mass of 23 mm in segment 7 of the liver. The spleen is normal.",
    "No focal liver lesion. Dictated by Ottilie Brausewetter.",
    "Quirin Zapfmann und Ottilie Brausewetter. Cyst of 9 mm in the left kidney.",
)


@pytest.fixture
def hooks(tmp_path, monkeypatch) -> Path:
    """A folder with the hooks, importable here and in worker processes; ``calls.log`` has a line a call."""
    folder = tmp_path / "hooks"
    folder.mkdir()
    shutil.copy(Path(__file__).with_name("scrubbers.py"), folder / "my_hooks.py")
    (folder / "calls.log").write_text("")
    monkeypatch.syspath_prepend(str(folder))
    yield folder
    sys.modules.pop("my_hooks", None)


def calls(hooks: Path) -> int:
    return len((hooks / "calls.log").read_text().splitlines())


def run(reports: Path, out: Path, **options):
    return extract_archive(ReportSource(reports), ArchiveOptions(out=out, **options))


def records(out: Path) -> list[ReportRecord]:
    lines = (out / "records.jsonl").read_text("utf-8").splitlines()
    return [ReportRecord.model_validate_json(line) for line in lines]


def everything_in(folder: Path) -> bytes:
    """All bytes of all files, those that the ledger has packed included."""
    found = b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())
    for path in folder.glob("ledger*.sqlite"):
        with Ledger(path) as ledger:
            keys = [row[0].hex() for row in ledger._connection.execute("SELECT key FROM work")]
            found += repr(ledger.results(keys)).encode()
    return found


@pytest.mark.parametrize(("backend", "workers"), [("rules", 0), (TOY_BACKEND, 1)])
def test_records_are_those_of_an_archive_that_never_held_a_name(
    tmp_path, hooks, toy_backend, write_reports, backend, workers
):
    result = run(write_reports(TEXTS), tmp_path / "out", backend=backend, deidentify=HOOK, workers=workers)
    scrubbed = [text.replace(NAMES[0], "[PERSON]").replace(NAMES[1], "[PERSON]") for text in TEXTS]
    run(write_reports(scrubbed, name="scrubbed.jsonl"), tmp_path / "oracle", backend=backend)
    assert result.counts.cleaned == 3
    made = (tmp_path / "out" / "records.jsonl").read_bytes()
    assert made == (tmp_path / "oracle" / "records.jsonl").read_bytes()
    assert (b'"liver_segment_7"' in made) == (backend == "rules")
    held = everything_in(tmp_path / "out")
    assert b"[PERSON]" in held
    assert not any(name.encode() in held for name in NAMES)
    for record, text in zip(records(tmp_path / "out"), scrubbed, strict=True):
        quotes = [quote for lesion in record.lesions for quote in lesion.evidence]
        assert all(text[quote.start : quote.end] == quote.text for quote in quotes)
    kept = [json.loads(line) for line in (tmp_path / "out" / "cleaned_texts.jsonl").read_text().splitlines()]
    assert kept == [{"id": f"R{n}", "text": text} for n, text in enumerate(scrubbed)]
    private = [path for path in (tmp_path / "out").rglob("*") if path.name.startswith("deidentif")]
    assert private
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in private)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_hook_that_fails_quarantines_its_report_alone(tmp_path, hooks, toy_backend, write_reports, workers):
    bad = ["BOOM", "NUMBER", "BROKEN", "NOTHING", "LONG", "HANG", *(["CRASH"] if workers else [])]
    texts = [f"Quirin Zapfmann {word}: mass of 12 mm in the liver." for word in bad] + list(TEXTS)
    out = tmp_path / "out"
    arguments = ["extract", write_reports(texts), "--out", out, "--deidentify", HOOK, "--timeout-s", 1]
    arguments += ["--workers", workers, "--backend", toy_backend]
    done = CliRunner().invoke(build_app(), [str(a) for a in arguments])
    assert done.exit_code == 4, done.output
    made = records(out)
    codes = [[issue.code for issue in record.issues] for record in made[: len(bad)]]
    expected = {"NOTHING": ["empty_report"], "LONG": ["report_too_long"]}
    assert codes == [expected.get(word, ["deidentification_failed"]) for word in bad]
    assert all(record.status == "failed" and record.text_chars <= 1 for record in made[: len(bad)])
    assert [len(record.lesions) for record in made[len(bad) :]] == [1, 0, 0]
    assert not any(name.encode() in everything_in(out) for name in NAMES)
    assert "Quirin" not in done.output
    summary = json.loads((out / "summary.json").read_text())
    assert summary["settings"]["deidentify"] == hook_identity(HOOK)
    assert summary["errors"]["deidentification_failed"] == len(bad) - 2


def test_only_texts_that_the_hook_changed_are_called_others(tmp_path, hooks, write_reports):
    out, reports = (
        tmp_path / "out",
        write_reports([*TEXTS[:2], "No focal liver lesion.", "", "The spleen is normal."]),
    )
    arguments = ["extract", reports, "--out", out, "--deidentify", HOOK, "--workers", 0]
    done = CliRunner().invoke(build_app(), [str(a) for a in arguments])
    assert "2 of 5 texts are others than in the input" in done.stdout, done.output
    assert json.loads((out / "summary.json").read_text())["cleaned"] == 2
    kept = [json.loads(line)["id"] for line in (out / "cleaned_texts.jsonl").read_text().splitlines()]
    assert kept == ["R0", "R1", "R2", "R4"], "the page of an audit reads all of its texts from there"


@pytest.mark.parametrize("workers", [0, 1])
def test_a_hook_that_lacks_a_package_stops_the_run_and_names_it(tmp_path, hooks, write_reports, workers):
    reports, out = write_reports(TEXTS), tmp_path / "out"
    (hooks / "lazy_hooks.py").write_text("def scrub(text):\n    import presidio_anonymous\n    return text\n")
    (hooks / "eager_hooks.py").write_text("import presidio_anonymous\n")
    (hooks / "torn_hooks.py").write_text("def scrub(:\n")
    said = {}
    for module in ("lazy_hooks", "eager_hooks", "torn_hooks", "no_hooks"):
        arguments = [
            "extract",
            reports,
            "--out",
            out,
            "--deidentify",
            f"{module}:scrub",
            "--workers",
            workers,
        ]
        done = CliRunner().invoke(build_app(), [str(a) for a in arguments])
        assert (done.exit_code, "deidentify_missing" in done.stderr) == (2, True), done.output
        assert not (out / "records.jsonl").exists()
        said[module] = done.stderr
    assert "needs 'presidio_anonymous', which is not installed" in said["lazy_hooks"]
    assert "needs 'presidio_anonymous', which is not installed" in said["eager_hooks"]
    assert "SyntaxError" in said["torn_hooks"]
    assert "there is no module 'no_hooks'" in said["no_hooks"]
    assert "PYTHONPATH" in said["no_hooks"]
    assert "PYTHONPATH" not in said["lazy_hooks"]
    (hooks / "lazy_hooks.py").write_text("def scrub(text):\n    return text\n")
    sys.modules.pop("lazy_hooks")


@pytest.mark.parametrize("workers", [0, 1])
def test_a_hook_that_fails_on_every_text_ends_the_run_before_the_archive_is_quarantined(
    tmp_path, hooks, write_reports, workers
):
    """As one whose model is not there. When it is, the same command goes on: nothing was kept as failed."""
    module = hooks / "model_hooks.py"
    module.write_text("def scrub(text):\n    raise OSError(f'no model for {text}')\n")
    reports = write_reports([f"Quirin Zapfmann: mass of {n} mm in the liver." for n in range(1, 200)])
    out = tmp_path / "out"
    arguments = ["extract", reports, "--out", out, "--deidentify", "model_hooks:scrub", "--workers", workers]
    done = CliRunner().invoke(build_app(), [str(a) for a in arguments])
    assert done.exit_code == 2, done.output
    assert "deidentify_fails" in done.stderr
    assert "each of the first 64 texts (mostly OSError)" in done.stderr
    assert "Quirin" not in done.output
    cache = TextCache(out / "deidentified.sqlite")
    assert cache._connection.execute("SELECT count(*) FROM text").fetchone() == (0,)
    cache.close()
    sys.modules.pop("model_hooks")
    few = write_reports(
        [f"Quirin Zapfmann: mass of {n} mm in the liver." for n in range(1, 20)], name="few.jsonl"
    )
    arguments[1:4] = [few, "--out", tmp_path / "few"]
    done = CliRunner().invoke(build_app(), [str(a) for a in arguments])
    assert done.exit_code == 4, "a few may all be bad"


def test_a_later_run_rewrites_nothing_again_and_failures_only_when_asked(
    tmp_path, hooks, toy_backend, write_reports
):
    reports, out = write_reports([*TEXTS, "BOOM"]), tmp_path / "out"
    run(reports, out, backend=toy_backend, deidentify=HOOK)
    assert calls(hooks) == 4
    first = (out / "records.jsonl").read_bytes()
    assert run(reports, out, backend=toy_backend, deidentify=HOOK).extracted == 0
    assert calls(hooks) == 4
    assert (out / "records.jsonl").read_bytes() == first
    run(reports, out, backend=toy_backend, deidentify=HOOK, quarantine="retry")
    assert calls(hooks) == 5


def test_a_folder_is_never_continued_with_another_hook(tmp_path, hooks, toy_backend, write_reports):
    reports, out, plain = write_reports(TEXTS), tmp_path / "out", tmp_path / "plain"
    run(reports, out, backend=toy_backend, deidentify=HOOK)
    run(reports, plain, backend=toy_backend)
    before = {path: path.read_bytes() for path in [*out.iterdir(), *plain.iterdir()]}

    def refused(folder, hook):
        with pytest.raises(UsageError) as caught:
            run(reports, folder, backend=toy_backend, deidentify=hook)
        assert caught.value.code == "deidentify_changed"
        return str(caught.value)

    refused(out, "my_hooks:other")
    assert "without" not in refused(out, None)
    assert "without a hook" in refused(plain, HOOK)
    source = hooks / "my_hooks.py"
    source.write_text(source.read_text() + "\n# changed\n")
    assert "code" in refused(out, HOOK)
    assert {path: path.read_bytes() for path in [*out.iterdir(), *plain.iterdir()]} == before


def test_a_hook_that_never_wrote_a_text_may_be_mended(tmp_path, hooks, write_reports):
    reports, out, module = write_reports(TEXTS), tmp_path / "out", hooks / "mended_hooks.py"
    module.write_text("def scrub(text):\n    import no_such_package\n")
    with pytest.raises(UsageError, match="no_such_package"):
        run(reports, out, deidentify="mended_hooks:scrub")
    with pytest.raises(UsageError, match="deidentify_changed"):
        run(reports, out)
    sys.modules.pop("mended_hooks")
    module.write_text("def scrub(text):\n    return text.upper()  # mended\n")
    assert run(reports, out, deidentify="mended_hooks:scrub").counts.cleaned == 3
    sys.modules.pop("mended_hooks")
    module.write_text("def scrub(text):\n    return text.lower()  # mended again, too late\n")
    importlib.invalidate_caches()
    with pytest.raises(UsageError) as caught:
        run(reports, out, deidentify="mended_hooks:scrub")
    assert caught.value.code == "deidentify_changed"
    sys.modules.pop("mended_hooks")


def test_each_shard_and_a_pilot_rewrite_their_own_reports_only(tmp_path, hooks, write_reports):
    texts = [f"Quirin Zapfmann: cyst of {n} mm in the liver." for n in range(5, 45)]
    reports, out = write_reports(texts), tmp_path / "out"
    run(reports, out, deidentify=HOOK, pilot=3)
    assert calls(hooks) == 3
    run(reports, out, deidentify=HOOK, shard=Shard(1, 2))
    assert 3 < calls(hooks) < 40
    run(reports, out, deidentify=HOOK, shard=Shard(2, 2))
    assert calls(hooks) == 40
    run(reports, out, deidentify=HOOK)
    assert calls(hooks) == 40
    assert [r.lesions[0].diameters_mm for r in records(out)] == [(float(n),) for n in range(5, 45)]


def test_the_backend_is_never_shown_the_original(tmp_path, hooks, toy_backend, write_reports, monkeypatch):
    import toy_backend as toys

    seen = []
    extract = toys.ToyBackend.extract
    monkeypatch.setattr(
        toys.ToyBackend, "extract", lambda self, report: (seen.append(report), extract(self, report))[1]
    )
    run(write_reports(TEXTS), tmp_path / "out", backend=toy_backend, deidentify=HOOK)
    assert len(seen) == 3
    assert not any(name in report.model_dump_json() for name in NAMES for report in seen)


def test_rewritten_texts_stay_as_they_were_first_written(tmp_path):
    cache = TextCache(tmp_path / "texts.sqlite")
    key = "00" * 32
    cache.add([(key, "first"), (key, "second")])
    cache.add([(key, "third")])
    assert cache.known([key, "11" * 32]) == {key: "first"}
    cache.close()


def test_a_second_opener_uses_the_same_private_file(tmp_path):
    path, key = tmp_path / "texts.sqlite", "00" * 32
    first = TextCache(path)
    file = path.stat().st_ino
    second = TextCache(path)
    assert path.stat().st_ino == file
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    first.add([(key, "first")])
    assert second.known([key]) == {key: "first"}
    first.close()
    second.close()


def test_opening_never_replaces_a_file_that_appears_meanwhile(tmp_path, monkeypatch):
    path, key = tmp_path / "texts.sqlite", "00" * 32
    first = TextCache(path)
    monkeypatch.setattr(Path, "exists", lambda _self, **_options: False)
    second = TextCache(path)
    first.add([(key, "first")])
    assert second.known([key]) == {key: "first"}
    first.close()
    second.close()


def test_a_full_disk_is_named_and_the_texts_can_be_kept_later(tmp_path):
    cache = TextCache(tmp_path / "texts.sqlite")
    cache.add([("00" * 32, "first")])
    pages = cache._connection.execute("PRAGMA page_count").fetchone()[0]
    cache._connection.execute(f"PRAGMA max_page_count = {pages}")
    rows = [(f"{n:064x}", NAMES[0] * 500) for n in range(1, 20)]
    with pytest.raises(ResourceError) as caught:
        cache.add(rows)
    assert (caught.value.code, caught.value.exit_code) == ("disk_full", 5)
    assert NAMES[0] not in str(caught.value)
    assert not cache._connection.in_transaction
    cache._connection.execute("PRAGMA max_page_count = 100000")
    assert cache.known([key for key, _ in rows]) == {}
    cache.add(rows)
    assert len(cache.known([key for key, _ in rows])) == 19
    cache.close()


def test_any_failure_to_keep_texts_leaves_no_transaction_open(tmp_path):
    cache = TextCache(tmp_path / "texts.sqlite")
    with pytest.raises(sqlite3.Error):
        cache.add([("00" * 32, "first"), ("11" * 32, object())])
    assert not cache._connection.in_transaction
    assert cache.known(["00" * 32]) == {}
    cache.close()


def test_a_text_that_cannot_be_decoded_is_damage_and_not_shown(tmp_path):
    cache, key = TextCache(tmp_path / "texts.sqlite"), "00" * 32
    broken = NAMES[0].encode() + b" full \xff"
    cache._connection.execute("INSERT INTO text VALUES (?, CAST(? AS TEXT))", (bytes.fromhex(key), broken))
    with pytest.raises(DataError) as caught:
        cache.known([key])
    assert caught.value.code == "ledger_damaged"
    assert NAMES[0] not in str(caught.value)
    assert caught.value.__suppress_context__
    cache.close()


def test_a_hook_is_refused_with_a_ledger_elsewhere(tmp_path, hooks, write_reports):
    out, elsewhere = tmp_path / "out", tmp_path / "node"
    arguments = [
        "extract",
        write_reports(TEXTS),
        "--out",
        out,
        "--deidentify",
        HOOK,
        "--workers",
        0,
        "--json",
    ]
    refused = CliRunner().invoke(build_app(), [str(a) for a in [*arguments, "--ledger", elsewhere]])
    assert refused.exit_code == 2
    error = json.loads(refused.stdout)["error"]
    assert error["code"] == "deidentify_with_ledger"
    assert "cleaned_texts.jsonl" in error["hint"]
    assert not out.exists()
    assert not elsewhere.exists()
    assert calls(hooks) == 0
    same = CliRunner().invoke(build_app(), [str(a) for a in [*arguments, "--ledger", out]])
    assert same.exit_code == 0, same.output
    assert (out / "deidentified.sqlite").is_file()
    cleaned = ["extract", out / "cleaned_texts.jsonl", "--out", tmp_path / "second", "--ledger", elsewhere]
    assert CliRunner().invoke(build_app(), [str(a) for a in [*cleaned, "--workers", 0]]).exit_code == 0
    assert [r.lesions for r in records(tmp_path / "second")] == [r.lesions for r in records(out)]


def test_texts_on_a_network_get_no_hint_that_would_be_refused(tmp_path, monkeypatch):
    from llm_extract import mounts, text_cache

    table = tmp_path / "table"
    table.write_text(f"34 1 0:40 / {tmp_path} rw - nfs4 server:/x rw\n")
    monkeypatch.setattr(
        text_cache,
        "refuse_network_file_system",
        lambda folder: mounts.refuse_network_file_system(folder, mounts=table),
    )
    with pytest.raises(UsageError) as caught:
        TextCache(tmp_path / "texts.sqlite")
    assert caught.value.code == "ledger_on_network"
    assert "leave out --ledger" in caught.value.hint
    assert "add --ledger" not in str(caught.value)


def test_a_stop_in_the_middle_of_rewriting_is_resumable(tmp_path, hooks, write_reports):
    options = ArchiveOptions(out=tmp_path / "out", deidentify=HOOK)
    options.out.mkdir()
    stop = Stop()
    stop.signal_number = signal.SIGTERM
    with rewriting(options) as rewriter, pytest.raises(InterruptedRunError):
        list(rewriter(read_reports(ReportSource(write_reports(TEXTS))), stop))
    assert calls(hooks) == 0


def test_what_the_reader_quarantined_is_rewritten_too(tmp_path, hooks):
    options = ArchiveOptions(out=tmp_path / "out", deidentify=HOOK)
    options.out.mkdir()
    rows = [
        Report(report_id="A", text=TEXTS[0], issues=("duplicate_id",)),
        Report(report_id="B", text=TEXTS[1], issues=("report_too_long",)),
        Report(report_id="C", text="", issues=("missing_text",)),
    ]
    with rewriting(options) as rewriter:
        first, second, third = rewriter(rows, Stop())
    assert first.text == TEXTS[0].replace(NAMES[0], "[PERSON]")
    assert first.issues == ("duplicate_id",)
    assert (second.text, second.issues) == ("", ("report_too_long",))
    assert third == rows[2]


@pytest.mark.parametrize(
    "name",
    ["my_hooks", "my_hooks:", ":scrub", "no_such_module:f", "my_hooks:nope", "my_hooks:NOT_A_FUNCTION"],
)
def test_a_hook_that_is_not_there_is_a_usage_error(tmp_path, hooks, write_reports, name):
    with pytest.raises(UsageError) as caught:
        load_hook(name)
    assert caught.value.code == "deidentify_missing"
    arguments = ["extract", write_reports(TEXTS), "--out", tmp_path / "out", "--deidentify", name]
    done = CliRunner().invoke(build_app(), [str(a) for a in arguments])
    assert done.exit_code == 2
    assert not (tmp_path / "out").exists()


def test_the_next_command_shows_the_rewritten_texts_only(tmp_path, hooks, write_reports):
    out = tmp_path / "out"
    arguments = ["extract", write_reports(TEXTS), "--out", out, "--deidentify", HOOK, "--workers", 0]
    done = CliRunner().invoke(build_app(), [str(a) for a in arguments])
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("Next: llm-extract audit")]
    typed = shlex.split(line.removeprefix("Next: llm-extract ").partition("   #")[0])
    assert CliRunner().invoke(build_app(), typed).exit_code == 0
    page = (out / "audit.html").read_text()
    assert "[PERSON]" in page
    assert not any(name in page for name in NAMES)


def test_the_presidio_example_keeps_lengths_places_and_eponyms(monkeypatch):
    """With engines that stand in for Presidio's, which is no dependency: they find all that is listed."""
    path = Path(__file__).resolve().parents[2] / "examples" / "presidio_hook.py"
    spec = importlib.util.spec_from_file_location("presidio_hook", path)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    text = "Quirin Zapfmann, 4 May 2019: 2.1 x 1.8 cm mass, image 112. Whipple by Dr. Whipple."
    words = {"Quirin Zapfmann": "PERSON", "4 May 2019": "DATE_TIME", "2.1 x 1.8 cm": "DATE_TIME",
             "image 112": "DATE_TIME", "Whipple": "PERSON", "Dr. Whipple": "PERSON"}  # fmt: skip
    places = [
        SimpleNamespace(start=text.index(w), end=text.index(w) + len(w), entity_type=k)
        for w, k in words.items()
    ]

    def anonymize(*, text, analyzer_results):
        for each in sorted(analyzer_results, key=lambda each: -each.start):
            text = f"{text[: each.start]}<{each.entity_type}>{text[each.end :]}"
        return SimpleNamespace(text=text)

    engines = SimpleNamespace(analyze=lambda **_: places), SimpleNamespace(anonymize=anonymize)
    monkeypatch.setattr(example, "engines", lambda: engines)
    assert example.scrub(text) == "<PERSON>, <DATE_TIME>: 2.1 x 1.8 cm mass, image 112. Whipple by <PERSON>."
