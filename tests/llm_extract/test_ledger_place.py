import stat

import pytest

from llm_extract.archive import ArchiveOptions, Shard, extract_archive
from llm_extract.errors import UsageError
from llm_extract.ledger import Ledger, Result
from llm_extract.ledger_place import open_ledger
from llm_extract.reports import ReportSource

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
    from llm_extract import ledger, mounts

    out = tmp_path / "out"
    table = tmp_path / "table"
    table.write_text(f"1 1 8:1 / / rw - ext4 x rw\n34 1 0:40 / {out} rw - nfs4 server:/x rw\n")
    monkeypatch.setattr(
        ledger,
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
