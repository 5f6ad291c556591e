import errno
import hashlib
import os
import sqlite3
import stat
from contextlib import closing

import pytest

from llm_extract.archive import ArchiveOptions, Shard, extract_archive
from llm_extract.errors import PipelineError, UsageError
from llm_extract.ledger import Ledger, Result
from llm_extract.ledger_place import open_ledger
from llm_extract.reports import ReportSource
from llm_extract.stopping import disk_errors_named

KEY = "ab" * 32
DONE = Result(key=KEY, state="done", record_json="{}", tokens=3)


def test_a_copy_is_left_beside_the_outputs_and_taken_up_elsewhere(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    with open_ledger(out, suffix=".1-of-2", folder=tmp_path / "node-a", lease_s=60) as ledger:
        assert ledger.path.parent == tmp_path / "node-a"
        ledger.finish([DONE])
    copy = out / "ledger.1-of-2.sqlite"
    assert [path.name for path in out.iterdir()] == [copy.name]
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    with open_ledger(out, suffix=".1-of-2", folder=tmp_path / "node-b", lease_s=60) as ledger:
        assert ledger.results([KEY]) == {KEY: DONE}


def broken_run(out, folder):
    with open_ledger(out, suffix="", folder=folder, lease_s=60) as ledger:
        ledger.finish([DONE])
        raise RuntimeError


def test_an_error_in_the_run_still_leaves_the_copy(tmp_path):
    with pytest.raises(RuntimeError):
        broken_run(tmp_path, tmp_path / "a")
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        assert ledger.finished_keys().holds([KEY]) == [True]


def test_two_archives_may_share_a_local_folder(tmp_path):
    for name in ("x", "y"):
        (tmp_path / name).mkdir()
        with open_ledger(tmp_path / name, suffix="", folder=tmp_path / "local", lease_s=60) as ledger:
            assert ledger.counts() == {}
            ledger.finish([DONE])
    assert len(list((tmp_path / "local").iterdir())) == 2


def test_shards_with_outputs_on_a_network_merge(tmp_path, toy_backend, write_reports, monkeypatch):
    from llm_extract import ledger_file, mounts

    out = tmp_path / "out"
    table = tmp_path / "table"
    table.write_text(f"1 1 8:1 / / rw - ext4 x rw\n34 1 0:40 / {out} rw - nfs4 server:/x rw\n")
    monkeypatch.setattr(
        ledger_file,
        "refuse_network_file_system",
        lambda folder: mounts.refuse_network_file_system(folder, mounts=table),
    )
    source = ReportSource(write_reports([f"mass {index}" for index in range(12)] + ["BOOM"]))
    whole = tmp_path / "whole"
    extract_archive(source, ArchiveOptions(out=whole, backend=toy_backend))
    with pytest.raises(UsageError, match="--ledger"):
        extract_archive(source, ArchiveOptions(out=out, backend=toy_backend))
    for index in (1, 2):
        shard = Shard(index, 2)
        folder = tmp_path / f"node-{index}"
        extract_archive(
            source, ArchiveOptions(out=out, backend=toy_backend, shard=shard, ledger_folder=folder)
        )
    merged = extract_archive(
        source, ArchiveOptions(out=out, backend=toy_backend, ledger_folder=tmp_path / "node-3")
    )
    assert merged.extracted == 0
    assert (out / "records.jsonl").read_bytes() == (whole / "records.jsonl").read_bytes()


def refused(source, out, folder, backend) -> PipelineError:
    with pytest.raises(PipelineError) as caught:
        extract_archive(source, ArchiveOptions(out=out, backend=backend, ledger_folder=folder))
    return caught.value


@pytest.fixture
def places(tmp_path, monkeypatch):
    """One folder on a network, one that may not be written, one whose place a file has taken, and a linked ledger."""
    from llm_extract import ledger_file, mounts, private_files

    names = {name: tmp_path / name for name in ("network", "forbidden", "taken", "linked", "old")}
    table = tmp_path / "table"
    table.write_text(f"1 1 8:1 / / rw - ext4 x rw\n34 1 0:40 / {names['network']} rw - nfs4 server:/x rw\n")
    monkeypatch.setattr(
        ledger_file,
        "refuse_network_file_system",
        lambda folder: mounts.refuse_network_file_system(folder, mounts=table),
    )
    names["taken"].write_text("a file")
    opened = os.open

    def forbidding(path, *more):
        if str(path).startswith(str(names["forbidden"])):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return opened(path, *more)

    monkeypatch.setattr(ledger_file.os, "open", forbidding)
    assert private_files.os.open is forbidding
    return names


def broken(place: str, folder, ledger_name: str) -> None:
    """Make a folder in which the ledger is a link, or of another version."""
    if place in {"linked", "old"}:
        folder.mkdir(exist_ok=True)
        path = folder / ledger_name
        if place == "linked":
            path.symlink_to(folder / "elsewhere")
        else:
            with closing(sqlite3.connect(path)) as connection:
                connection.execute("PRAGMA user_version = 1")


@pytest.mark.parametrize("place", ["network", "forbidden", "taken", "linked", "old"])
def test_the_option_that_is_wrong_is_the_one_that_is_blamed(
    tmp_path, toy_backend, write_reports, places, place
):
    source, good = ReportSource(write_reports(["mass"])), tmp_path / "good"
    folder = places[place]
    digest = hashlib.sha256(str(good.resolve()).encode()).hexdigest()[:12]
    broken(place, folder, f"{digest}.ledger.sqlite")
    error = refused(source, good, folder, toy_backend)
    assert "--ledger" in error.hint
    assert "--out" not in error.hint
    assert str(folder) in str(error)
    broken(place, folder, "ledger.sqlite")
    error = refused(source, folder, None, toy_backend)
    assert "choose another --ledger" not in error.hint
    assert "--out" in error.hint
    assert str(folder) in str(error)


def test_an_error_about_a_third_path_blames_neither(tmp_path):
    out = tmp_path / "out"
    for number, code in ((errno.EACCES, "output_not_writable"), (errno.ENOSPC, "disk_full")):
        with pytest.raises(PipelineError) as caught, disk_errors_named(out):
            raise OSError(number, "no", str(tmp_path / "answers.jsonl"))
        assert caught.value.code == code
        assert f"{tmp_path / 'answers.jsonl'}" in str(caught.value)
        assert "--" not in caught.value.hint
        for inside in (str(out / "records.jsonl"), str(tmp_path), None):
            with pytest.raises(PipelineError) as caught, disk_errors_named(out):
                raise OSError(number, "no", inside)
            assert str(out) in str(caught.value)
