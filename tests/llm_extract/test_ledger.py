import json
import multiprocessing
import os
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from datetime import date

import pytest

from llm_extract.errors import DataError, PipelineError, ResourceError, UsageError
from llm_extract.ledger import LEDGER_VERSION, Ledger, Result, settings_sha256, work_key
from llm_extract.owners import process_is_gone, this_process
from llm_extract.reports import Report
from llm_extract.work import text_alone

KEYS = [f"{index:02x}" * 32 for index in range(6)]


def done(key: str, record: str = "{}") -> Result:
    return Result(key=key, state="done", record_json=record, seconds=0.25, tokens=7)


def test_work_is_claimed_once_and_finished_once(tmp_path):
    with Ledger(tmp_path / "l.sqlite", owner="a") as ours, Ledger(tmp_path / "l.sqlite", owner="b") as theirs:
        assert ours.claim(KEYS[:4]).ours == set(KEYS[:4])
        claim = theirs.claim(KEYS)
        assert claim.ours == set(KEYS[4:])
        assert claim.elsewhere == set(KEYS[:4])
        ours.finish([done(KEYS[0], '{"first": 1}')])
        theirs.finish([done(KEYS[0], '{"second": 2}')])
        assert ours.results(KEYS)[KEYS[0]].record_json == '{"first": 1}'
        assert theirs.claim(KEYS[:1]).finished == set(KEYS[:1])
        assert ours.counts() == {"done": 1, "leased": 5}
        assert ours.finished_keys().holds(KEYS) == [True, *[False] * 5]


def test_what_is_written_comes_back(tmp_path):
    result = Result(
        key=KEYS[0],
        state="quarantined",
        code="extraction_error",
        detail="ValueError",
        attempts=2,
        tokens=5,
        seconds=1.5,
        raw_output=b"\x00not json",
    )
    with Ledger(tmp_path / "l.sqlite") as ledger:
        ledger.finish([result, done(KEYS[1], '{"ü": "\\u2028"}')])
    with Ledger(tmp_path / "l.sqlite") as ledger:
        assert ledger.results(KEYS) == {KEYS[0]: result, KEYS[1]: done(KEYS[1], '{"ü": "\\u2028"}')}


def test_a_lease_ends_when_its_time_is_over_unless_renewed(tmp_path):
    now = [1000.0]
    path = tmp_path / "l.sqlite"
    with (
        Ledger(path, owner="a", lease_s=100, clock=lambda: now[0]) as ours,
        Ledger(path, owner="b", lease_s=100, clock=lambda: now[0]) as theirs,
    ):
        ours.claim(KEYS[:1])
        now[0] += 99
        ours.renew()
        now[0] += 99
        assert theirs.claim(KEYS[:1]).elsewhere
        now[0] += 2
        assert theirs.claim(KEYS[:1]).ours
        assert ours.release() == 0
        assert theirs.release() == 1
        assert ours.claim(KEYS[:1]).ours


def test_leases_are_kept_while_something_else_takes_longer_than_they_last(tmp_path):
    path = tmp_path / "l.sqlite"
    with Ledger(path, owner="a", lease_s=0.4) as ours, Ledger(path, owner="b", lease_s=0.4) as theirs:
        ours.claim(KEYS[:1])
        with ours.leases_kept():
            time.sleep(1.2)
            assert theirs.claim(KEYS[:1]).elsewhere
        assert "lease-keeper" not in {thread.name for thread in threading.enumerate()}
        ours.claim(KEYS[1:2])
        time.sleep(0.6)
        assert theirs.claim(KEYS[:2]).ours == set(KEYS[:2]), "and no longer"


def test_part_of_a_lease_that_is_finished_does_not_free_the_rest(tmp_path):
    path = tmp_path / "l.sqlite"
    with Ledger(path, owner="a") as ours, Ledger(path, owner="b") as theirs:
        ours.claim(KEYS[:4])
        ours.claim(KEYS[4:])
        ours.finish([done(KEYS[0]), done(KEYS[3])])
        claim = theirs.claim(KEYS)
        assert (claim.finished, claim.elsewhere) == ({KEYS[0], KEYS[3]}, {*KEYS[1:3], *KEYS[4:]})
        theirs.finish([done(KEYS[1], '{"theirs": 1}')])  # as when a lease had ended in between
        ours.finish([done(KEYS[1], '{"ours": 1}'), done(KEYS[2])])
        assert ours.results(KEYS)[KEYS[1]].record_json == '{"theirs": 1}'
        assert theirs.claim(KEYS).elsewhere == set(KEYS[4:])
        assert ours.release() == 2
        assert theirs.claim(KEYS).ours == set(KEYS[4:])
        assert ours.claim(KEYS).elsewhere == set(KEYS[4:])


def test_work_of_a_process_that_is_gone_is_free_at_once(tmp_path):
    script = (
        "import sys, pathlib; from llm_extract.ledger import Ledger;"
        "ledger = Ledger(pathlib.Path(sys.argv[1])); ledger.claim([sys.argv[2]]); print(ledger.owner)"
    )
    path = tmp_path / "l.sqlite"
    command = [sys.executable, "-c", script, str(path), KEYS[0]]
    owner = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    assert process_is_gone(owner)
    assert not process_is_gone(this_process())
    assert not process_is_gone("another-host|pid:[1]|1|1")
    with Ledger(path) as ledger:
        assert ledger.claim(KEYS[:1]).ours


def test_quarantined_work_can_be_opened_again(tmp_path):
    with Ledger(tmp_path / "l.sqlite") as ledger:
        ledger.finish([Result(key=KEYS[0], state="quarantined", code="extraction_error"), done(KEYS[1])])
        assert ledger.reopen_quarantined() == 1
        assert ledger.claim(KEYS[:2]).ours == {KEYS[0]}
        ledger.finish([done(KEYS[0])])
        assert ledger.results(KEYS)[KEYS[0]].attempts == 2


def test_finished_work_of_shards_is_taken_over(tmp_path):
    with Ledger(tmp_path / "a.sqlite") as shard:
        shard.claim(KEYS[:3])
        shard.finish([done(KEYS[0]), done(KEYS[1])])
    with Ledger(tmp_path / "b.sqlite") as ledger:
        ledger.finish([done(KEYS[1], '{"kept": 1}')])
        assert ledger.merge(tmp_path / "a.sqlite") == 1
        assert ledger.merge(tmp_path / "a.sqlite") == 0
        assert set(ledger.results(KEYS)) == set(KEYS[:2])
        assert ledger.results(KEYS)[KEYS[1]].record_json == '{"kept": 1}'


def test_a_merge_keeps_what_leads_to_each_result_apart(tmp_path):
    keys = [f"{index:064x}" for index in range(40)]
    for name, some in (("a", keys[:25]), ("b", keys[15:])):
        with Ledger(tmp_path / f"{name}.sqlite") as shard:
            shard.finish([done(key, json.dumps([name, key])) for key in some])
            shard.claim([f"{99:064x}"])
    with Ledger(tmp_path / "all.sqlite") as ledger:
        ledger.claim(keys[:1])
        ledger.finish([done(keys[-1], "null")])
        assert [ledger.merge(tmp_path / f"{name}.sqlite") for name in ("a", "b")] == [25, 14]
        found = {key: json.loads(result.record_json) for key, result in ledger.results(keys).items()}
        assert found == {key: ["a" if key in keys[:25] else "b", key] for key in keys[:-1]} | {keys[-1]: None}
        assert ledger.counts() == {"done": 40}


def test_work_that_a_shard_has_done_after_all_replaces_its_quarantine(tmp_path):
    failed = [Result(key=key, state="quarantined", code="extraction_error") for key in KEYS[:3]]
    with Ledger(tmp_path / "shard.sqlite") as shard, Ledger(tmp_path / "all.sqlite") as ledger:
        shard.finish(failed[:2])
        assert ledger.merge(tmp_path / "shard.sqlite") == 2
        shard.reopen_quarantined()
        shard.finish([done(KEYS[0]), failed[1]])
        ledger.finish([failed[2]])
        assert ledger.merge(tmp_path / "shard.sqlite") == 1
        assert {key: result.state for key, result in ledger.results(KEYS).items()} == {
            KEYS[0]: "done",
            KEYS[1]: "quarantined",
            KEYS[2]: "quarantined",
        }
        assert ledger._connection.execute("SELECT count(*) FROM result").fetchone() == (3,)


@pytest.mark.parametrize("content", [b"", b"no database " * 200, None])
def test_what_is_no_ledger_is_not_merged(tmp_path, content):
    other = tmp_path / "other.sqlite"
    if content is not None:
        other.write_bytes(content)
    with Ledger(tmp_path / "l.sqlite") as ledger:
        with pytest.raises(PipelineError) as caught:
            ledger.merge(other)
        assert caught.value.code in {"ledger_version", "ledger_damaged", "ledger_unavailable"}
        ledger.finish([done(KEYS[0])])
        assert ledger.counts() == {"done": 1}


def test_a_copy_needs_no_log_beside_it(tmp_path):
    with Ledger(tmp_path / "l.sqlite") as ledger:
        ledger.finish([done(KEYS[0])])
        ledger.copy_to(tmp_path / "copy.sqlite")
        ledger.finish([done(KEYS[1])])
        ledger.copy_to(tmp_path / "copy.sqlite")
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["copy.sqlite", "l.sqlite"]
    with Ledger(tmp_path / "other.sqlite") as other:
        assert other.merge(tmp_path / "copy.sqlite") == 2


def test_the_key_covers_text_kind_backend_and_each_setting_and_nothing_beside_the_text():
    base = Report(report_id="R1", text="mass")
    settings = {"model": "m", "prompt_sha256": "p", "temperature": "0"}
    variants = [
        (base, "openai", settings),
        (base.model_copy(update={"text": "mass "}), "openai", settings),
        (base.model_copy(update={"kind": "pathology"}), "openai", settings),
        (base, "rules", settings),
        *[(base, "openai", settings | {name: "changed"}) for name in settings],
        (base, "openai", settings | {"extra": ""}),
    ]
    keys = [work_key(report, settings_sha256(backend, some)) for report, backend, some in variants]
    assert len(set(keys)) == len(variants)
    beside = {
        "row": 9,
        "case_id": "C",
        "issues": ("missing_id",),
        "patient_id": "P",
        "study_date": date(2020, 1, 2),
    }
    same = base.model_copy(update={"report_id": "R2", **beside})
    assert work_key(same, settings_sha256("openai", dict(reversed(settings.items())))) == keys[0]
    assert set(Report.model_fields) == {"text", "kind", "report_id", "is_cleaned", *beside}, (
        "in the key or beside it?"
    )
    assert text_alone(same) == base.model_copy(update={"report_id": "R2"})


@pytest.mark.parametrize("version", [1, 2, LEDGER_VERSION + 1])
def test_a_ledger_of_another_version_is_refused_and_left_as_it_is(tmp_path, version):
    path = tmp_path / "l.sqlite"
    with Ledger(path) as ledger:
        ledger.finish([done(KEYS[0])])
        ledger._connection.execute(f"PRAGMA user_version = {version}")
    before = path.read_bytes()
    with pytest.raises(UsageError, match=f"ledger {version}, this is {LEDGER_VERSION}") as caught:
        Ledger(path)
    assert caught.value.code == "ledger_version"
    with Ledger(tmp_path / "new.sqlite") as ledger, pytest.raises(DataError) as caught:
        ledger.merge(path)
    assert caught.value.code == "ledger_version"
    assert path.read_bytes() == before


def test_the_file_is_private_and_durable(tmp_path):
    path = tmp_path / "l.sqlite"
    with Ledger(path) as ledger:
        ledger.claim(KEYS)
        for file in tmp_path.iterdir():
            assert stat.S_IMODE(file.stat().st_mode) == 0o600, file.name
        assert ledger._connection.execute("PRAGMA synchronous").fetchone() == (2,)
        assert ledger._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_damaged_or_foreign_ledger_is_an_error_that_says_so(tmp_path):
    path = tmp_path / "l.sqlite"
    path.write_bytes(b"this is no database, " * 400)
    with pytest.raises(DataError, match="damaged"):
        Ledger(path)
    newer = tmp_path / "newer.sqlite"
    connection = sqlite3.connect(newer)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(UsageError, match="99"):
        Ledger(newer)
    (tmp_path / "link.sqlite").symlink_to(tmp_path / "elsewhere.sqlite")
    with pytest.raises(UsageError, match="link"):
        Ledger(tmp_path / "link.sqlite")
    assert not (tmp_path / "elsewhere.sqlite").exists()


def test_a_full_disk_is_a_resource_error(tmp_path):
    with Ledger(tmp_path / "l.sqlite") as ledger:
        ledger._connection.execute("PRAGMA max_page_count = 10")
        with pytest.raises(ResourceError, match="full"):
            ledger.finish([done(key, os.urandom(40_000).hex()) for key in KEYS])
        assert ledger.counts() == {}


def _claim_all(path, keys, queue, all_done):
    with Ledger(path) as ledger:
        for start in range(0, len(keys), 7):
            queue.put(sorted(ledger.claim(keys[start : start + 7]).ours))
        all_done.wait(timeout=30)  # a process that ends gives its work free


def test_processes_never_get_the_same_work(tmp_path):
    context = multiprocessing.get_context("fork")
    keys = [f"{index:064x}" for index in range(210)]
    queue, all_done = context.Queue(), context.Barrier(4)
    path = tmp_path / "l.sqlite"
    Ledger(path).close()
    processes = [context.Process(target=_claim_all, args=(path, keys, queue, all_done)) for _ in range(4)]
    for process in processes:
        process.start()
    claimed = [key for _ in range(4 * 30) for key in queue.get(timeout=30)]
    for process in processes:
        process.join(timeout=30)
    assert len(claimed) == len(set(claimed))
    assert set(claimed) == set(keys)
