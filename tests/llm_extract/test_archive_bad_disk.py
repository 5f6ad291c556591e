"""A disk that takes or gives no more: a code, an exit code, nothing lost, and the same command goes on."""

import errno
import io
import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llm_extract import readers
from llm_extract.archive import ArchiveOptions, extract_archive
from llm_extract.errors import DataError
from llm_extract.ledger import Ledger
from llm_extract.reports import ReportSource, read_reports

TOYS = Path(__file__).resolve().parent
CANARY = "quaggazebra"
COMPARED = ("records.jsonl", "lesions.csv", "summary.json")


def extract(reports, out, backend, *, largest_file=None):
    """The command as a person would type it, where no file may become larger than ``largest_file`` bytes."""
    command = [sys.executable, "-m", "llm_extract.cli", "extract", str(reports), "--out", str(out)]
    command += ["--backend", backend, "--workers", "0", "--json"]
    limit = (largest_file or resource.RLIM_INFINITY,) * 2
    return subprocess.run(
        command,
        env=os.environ | {"PYTHONPATH": str(TOYS)},
        preexec_fn=(lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit)) if largest_file else None,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("largest_file", "least_kept"),
    [(20_000, 0), (700_000, 1), (200_000, 601)],
    ids=["opening", "extraction", "export"],
)
def test_a_full_disk_is_said_and_the_same_command_goes_on(
    tmp_path, toy_backend, write_reports, monkeypatch, largest_file, least_kept
):
    reports = write_reports([f"a mass {CANARY} {number}" for number in range(600)] + ["BOOM"])
    whole, out = tmp_path / "whole", tmp_path / "out"
    extract_archive(ReportSource(reports), ArchiveOptions(out=whole, backend=toy_backend))
    if least_kept == 601:  # everything is extracted, and only the export is left
        out.mkdir()
        shutil.copy(whole / "ledger.sqlite", out)
    if least_kept == 1:  # slow enough for a commit before the disk is full
        monkeypatch.setenv("TOY_SECONDS", "0.005")
    full = extract(reports, out, toy_backend, largest_file=largest_file)
    monkeypatch.delenv("TOY_SECONDS", raising=False)
    assert full.returncode == 5, full.stdout + full.stderr
    assert json.loads(full.stdout)["error"]["code"] == "disk_full"
    assert CANARY not in full.stdout + full.stderr
    assert not [path.name for path in out.iterdir() if not path.name.startswith("ledger")]
    kept = 0
    if (out / "ledger.sqlite").stat().st_size:
        with Ledger(out / "ledger.sqlite") as ledger:
            kept = len(ledger.finished_keys())
    assert kept >= least_kept
    again = extract(reports, out, toy_backend)
    assert again.returncode == 4, again.stderr
    assert json.loads(again.stdout)["extracted"] == 601 - kept
    for name in COMPARED:
        assert (out / name).read_bytes() == (whole / name).read_bytes(), name


class BreakingFile(io.BytesIO):
    """Gives so many bytes, then the error of a disk that breaks or a network that goes away."""

    def __init__(self, data: bytes, good_bytes: int) -> None:
        super().__init__(data)
        self.left = good_bytes

    def read(self, size=-1):
        return self._given(super().read(size))

    def read1(self, size=-1):
        return self._given(super().read1(size))

    def readline(self, size=-1):
        return self._given(super().readline(size))

    def __next__(self):
        line = self.readline()
        if not line:
            raise StopIteration
        return line

    def _given(self, data):
        self.left -= len(data)
        if self.left < 0:
            raise OSError(errno.EIO, "Input/output error")
        return data


@pytest.mark.parametrize("name", ["r.csv", "r.jsonl"])
def test_an_input_that_breaks_off_ends_the_run_with_a_code(tmp_path, toy_backend, monkeypatch, name):
    path = tmp_path / name
    rows = [(f"R{number}", f"a mass {CANARY} {number}") for number in range(3000)]
    lines = (
        ["id,text", *(",".join(row) for row in rows)]
        if name == "r.csv"
        else [json.dumps(dict(zip(("id", "text"), row, strict=True))) for row in rows]
    )
    path.write_text("\n".join(lines) + "\n")
    out = tmp_path / "out"
    opened = Path.open

    rest = readers.Table(("id", "text"), lambda _names: readers._json_lines(path, None))
    monkeypatch.setattr(
        readers, "json_table", lambda _path, encoding: rest
    )  # which reads it once to find the keys
    data = path.read_bytes()

    def breaking(self, *arguments, **options):
        return BreakingFile(data, 50_000) if self == path else opened(self, *arguments, **options)

    monkeypatch.setattr(Path, "open", breaking)
    with pytest.raises(DataError, match=r"cannot be read after [0-9,]+ rows: Input/output error") as caught:
        extract_archive(ReportSource(path), ArchiveOptions(out=out, backend=toy_backend))
    assert caught.value.code == "unreadable_table"
    assert caught.value.exit_code == 3
    assert CANARY not in str(caught.value)
    assert [file.name for file in out.iterdir()] == ["ledger.sqlite"]


def test_a_parquet_file_with_a_broken_page_says_where(tmp_path):
    path = tmp_path / "r.parquet"
    texts = [f"{CANARY} {os.urandom(40).hex()} {number}" for number in range(6000)]
    table = pa.table({"id": [f"R{number}" for number in range(6000)], "text": texts})
    pq.write_table(table, path, row_group_size=1000, compression="zstd")
    data = bytearray(path.read_bytes())
    start, end = len(data) * 6 // 10, len(data) * 8 // 10  # a whole row group and more
    data[start:end] = bytes(end - start)
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"cannot be read after [1-5],[0-9]+ rows") as caught:
        list(read_reports(ReportSource(path)))
    assert caught.value.code == "unreadable_table"
    assert CANARY not in str(caught.value)


def test_a_text_file_that_cannot_be_read_stands_for_itself(tmp_path, toy_backend):
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "a.txt").write_text("a mass")
    (folder / "b.txt").symlink_to(tmp_path / "gone.txt")
    (folder / "c.txt").mkdir()
    result = extract_archive(ReportSource(folder), ArchiveOptions(out=tmp_path / "out", backend=toy_backend))
    assert (result.counts.input, result.counts.done, result.counts.errors) == (2, 1, {"undecodable_text": 1})
