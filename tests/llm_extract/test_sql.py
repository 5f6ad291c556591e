"""Reports from queries: the same reports as from files, read-only, in batches, and no value in any message."""

import json
import multiprocessing
import os
import shlex
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from llm_extract.archive import ArchiveOptions, Shard, extract_archive
from llm_extract.cli import build_app
from llm_extract.errors import DataError, PipelineError, UsageError
from llm_extract.reports import ReportSource, check_source, read_reports
from llm_extract.sql import IN_MEMORY

CANARY = "quaggazebra"
ROWS = [
    ("A1", "a mass", "P1", "2020-01-02"),
    ("A2", "no mass", "P2", None),
    ("A1", "more", "P1", None),
    (None, "nothing", None, None),
    ("A3", None, None, None),
    ("bad id", "x", None, None),
]


@pytest.fixture
def sqlite_file(tmp_path):
    path = tmp_path / "reports.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE reports (id, text, patient_id, date, other)")
    connection.executemany("INSERT INTO reports VALUES (?, ?, ?, ?, 'o')", ROWS)
    connection.commit()
    connection.close()
    return path


@pytest.fixture
def duckdb_file(tmp_path):
    duckdb = pytest.importorskip("duckdb")
    path = tmp_path / "reports.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute(
            "CREATE TABLE reports (id TEXT, text TEXT, patient_id TEXT, date DATE, other TEXT)"
        )
        connection.executemany("INSERT INTO reports VALUES (?, ?, ?, ?, 'o')", ROWS)
    return path


@pytest.fixture(params=["sqlite_file", "duckdb_file"])
def database(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def as_jsonl(tmp_path):
    path = tmp_path / "reports.jsonl"
    names = ("id", "text", "patient_id", "date")
    path.write_text("".join(json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in ROWS))
    return path


@pytest.mark.parametrize(
    "options", [{}, {"group_column": "id"}, {"kind": "pathology"}, {"id_column": "patient_id"}]
)
def test_a_query_gives_the_reports_of_a_file(database, as_jsonl, options):
    query = ReportSource(database, sql="SELECT * FROM reports", **options)
    assert list(read_reports(query)) == list(read_reports(ReportSource(as_jsonl, **options)))
    assert check_source(query) == check_source(ReportSource(as_jsonl, **options))


def test_columns_are_named_in_the_query_or_by_options(database):
    renamed = ReportSource(
        database, sql="SELECT patient_id || '-1' AS id, text AS report FROM reports WHERE text = 'a mass'"
    )
    assert [(report.report_id, report.text) for report in read_reports(renamed)] == [("P1-1", "a mass")]
    chosen = ReportSource(
        database, sql="SELECT * FROM reports LIMIT 1", id_column="patient_id", text_column="other"
    )
    assert [(report.report_id, report.text) for report in read_reports(chosen)] == [("P1", "o")]
    with pytest.raises(UsageError, match="the query has no column 'nope'; it has: id, text"):
        list(read_reports(ReportSource(database, sql="SELECT * FROM reports", text_column="nope")))
    with pytest.raises(DataError, match="the query has no column of report texts"):
        list(read_reports(ReportSource(database, sql="SELECT id FROM reports")))


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("SELEC 1", "query_failed"),
        ("SELECT nope FROM reports", "query_failed"),
        ("SELECT * FROM nope", "query_failed"),
        ("SELECT id, text, text FROM reports", "repeated_column"),
        ("SELECT * FROM reports WHERE 1 = 0", "empty_table"),
        ("DELETE FROM reports", None),
        ("DROP TABLE reports", None),
        ("CREATE TABLE more (id TEXT)", None),
        ("SELECT * FROM reports; DELETE FROM reports", None),
        ("", None),
    ],
)
def test_a_query_that_cannot_be_asked_has_a_code_and_changes_nothing(database, query, code):
    before = database.read_bytes()
    with pytest.raises(PipelineError) as caught:
        list(read_reports(ReportSource(database, sql=query)))
    assert caught.value.code in ({code} if code else {"not_a_select", "query_failed"})
    assert database.read_bytes() == before
    assert len(list(read_reports(ReportSource(database, sql="SELECT * FROM reports")))) == len(ROWS)


@pytest.mark.parametrize(
    "query",
    [
        "VACUUM INTO '{folder}/copy'",
        "ATTACH '{folder}/copy' AS more",
        "EXPORT DATABASE '{folder}/copy'",
        "COPY reports TO '{folder}/copy'",
        "PRAGMA journal_mode = WAL",
        "CREATE TEMP TABLE more AS SELECT * FROM reports",
        "UPDATE sqlite_master SET sql = ''",
    ],
)
def test_a_query_creates_no_file(database, query):
    folder = database.parent
    before = {path: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(UsageError) as caught:
        list(read_reports(ReportSource(database, sql=query.format(folder=folder))))
    assert caught.value.code in {"not_a_select", "query_failed"}
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("query", ["VACUUM INTO '{folder}/copy'", "ATTACH '{folder}/copy' AS more"])
def test_sqlite_is_asked_for_nothing_but_a_select(sqlite_file, query):
    with pytest.raises(UsageError) as caught:
        list(read_reports(ReportSource(sqlite_file, sql=query.format(folder=sqlite_file.parent))))
    assert caught.value.code == "not_a_select"


@pytest.fixture
def wal_file(tmp_path):
    folder = tmp_path / "wal"
    folder.mkdir()
    with closing(sqlite3.connect(folder / "r.db")) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE reports (id, text)")
        connection.executemany(
            "INSERT INTO reports VALUES (?, ?)", [(f"R{n}", f"{CANARY} {n}") for n in range(300)]
        )
        connection.commit()
    return folder / "r.db"


def test_reading_a_database_in_wal_mode_changes_no_row_and_leaves_none_beside_it(wal_file):
    before = wal_file.read_bytes()
    assert [path.name for path in wal_file.parent.iterdir()] == ["r.db"]
    assert len(list(read_reports(ReportSource(wal_file, sql="SELECT id, text FROM reports")))) == 300
    assert wal_file.read_bytes() == before
    beside = {path.name: path.read_bytes() for path in wal_file.parent.iterdir() if path != wal_file}
    assert beside["r.db-wal"] == b""
    assert set(beside) == {"r.db-wal", "r.db-shm"}
    assert CANARY.encode() not in beside["r.db-shm"]


def test_rows_that_a_writer_has_not_moved_yet_are_read_too(wal_file):
    with closing(sqlite3.connect(wal_file)) as writer:
        writer.execute("INSERT INTO reports VALUES ('new', 'a mass')")
        writer.commit()
        ids = [r.report_id for r in read_reports(ReportSource(wal_file, sql="SELECT id, text FROM reports"))]
        assert ids[-1] == "new"
        writer.execute("INSERT INTO reports VALUES ('newer', 'a mass')")
        writer.commit()


def _ask_as_another(path, answers):
    if os.getuid() == 0:
        os.setgid(65534)
        os.setuid(65534)
    try:
        list(read_reports(ReportSource(path, sql="SELECT id, text FROM reports")))
    except PipelineError as error:
        answers.put((error.code, error.hint))
    else:
        answers.put(None)


def test_a_database_in_wal_mode_where_nothing_may_be_written_says_what_to_do(wal_file):
    with tempfile.TemporaryDirectory() as folder:  # pytest's own are of one user
        copy = Path(shutil.copy(wal_file, folder))
        Path(folder).chmod(0o555)
        context = multiprocessing.get_context("fork")
        answers = context.Queue()
        process = context.Process(target=_ask_as_another, args=(copy, answers))
        process.start()
        code, hint = answers.get(timeout=60)
        process.join()
        Path(folder).chmod(0o755)
    assert code == "query_failed"
    assert "WAL" in hint


def test_sqlite_reads_virtual_tables(tmp_path):
    path = tmp_path / "r.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE VIRTUAL TABLE found USING fts5(text)")
    connection.executemany("INSERT INTO found VALUES (?)", [("a mass",), ("nothing",)])
    connection.commit()
    connection.close()
    query = "SELECT value AS id, text FROM found, json_each('[7]') WHERE found MATCH 'mass'"
    assert [(r.report_id, r.text) for r in read_reports(ReportSource(path, sql=query))] == [("7", "a mass")]


SPILLING = """
import os, stat
from pathlib import Path

import duckdb

from llm_extract.reports import ReportSource, read_reports
from llm_extract.sql import IN_MEMORY

connect = duckdb.connect
duckdb.connect = lambda *given, config, **more: connect(*given, config=config | {"memory_limit": "100MB"}, **more)
query = "SELECT i AS id, repeat(md5(i::TEXT), 20) AS text FROM range(200000) t(i) ORDER BY md5((i + 1)::TEXT)"
reports = read_reports(ReportSource(IN_MEMORY, sql=query))
next(reports)
(folder,) = Path(os.environ["TMPDIR"]).iterdir()
spilled = len(list(folder.iterdir()))
reports.close()
print(spilled > 0, oct(stat.S_IMODE(folder.stat().st_mode)), len(list(folder.iterdir())))
"""


def test_what_duckdb_cannot_hold_lies_in_a_private_folder_that_ends(tmp_path):
    pytest.importorskip("duckdb")
    work, temporary = tmp_path / "work", tmp_path / "temporary"
    work.mkdir()
    temporary.mkdir()
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "TMPDIR": str(temporary)}
    command = [sys.executable, "-c", SPILLING]
    done = subprocess.run(
        command, env=environment, cwd=work, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.stdout.split() == ["True", "0o700", "0"], done.stderr
    assert not list(temporary.iterdir())
    assert not list(work.iterdir())


def test_two_passes_over_one_query_at_once(database):
    query = ReportSource(database, sql="SELECT * FROM reports")
    assert all(
        first == second for first, second in zip(read_reports(query), read_reports(query), strict=True)
    )


def test_an_error_in_the_middle_says_where_and_quotes_nothing(tmp_path):
    duckdb = pytest.importorskip("duckdb")
    path = tmp_path / "r.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute(
            "CREATE TABLE reports AS SELECT 'R' || i AS id, i || '' AS text FROM range(9000) t(i)"
        )
        connection.execute(f"INSERT INTO reports VALUES ('last', '{CANARY}')")
    query = "SELECT id, text, CAST(text AS INTEGER) AS number FROM reports"
    with pytest.raises(PipelineError) as caught:
        list(read_reports(ReportSource(path, sql=query)))
    assert caught.value.code in {"query_broken", "query_failed"}
    assert CANARY not in str(caught.value)


def test_text_that_is_not_utf_8_is_read_as_in_files(tmp_path):
    path = tmp_path / "r.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE r (id TEXT, text TEXT)")
    connection.execute("INSERT INTO r VALUES ('A', CAST(? AS TEXT))", ("Läsion".encode("cp1252"),))
    connection.execute("INSERT INTO r VALUES (7, CAST(? AS TEXT))", (b"\x81 " + CANARY.encode(),))
    connection.commit()
    connection.close()
    first, second = read_reports(ReportSource(path, sql="SELECT * FROM r"))
    assert (first.text, first.issues) == ("Läsion", ("fallback_encoding",))
    assert (second.report_id, second.text, second.issues) == ("7", "", ("undecodable_text",))
    first, second = read_reports(ReportSource(path, sql="SELECT * FROM r", encoding="latin-1"))
    assert (first.text, second.text[1:]) == ("Läsion", f" {CANARY}")


def test_files_are_queried_without_a_database(tmp_path):
    pytest.importorskip("duckdb")
    for number in range(3):
        (tmp_path / f"part-{number}.csv").write_text(f"acc,body\nA{number},a mass {number}\n")
    query = f"SELECT acc AS id, body AS text FROM read_csv('{tmp_path}/part-*.csv') ORDER BY acc DESC"
    assert [report.report_id for report in read_reports(ReportSource(IN_MEMORY, sql=query))] == [
        "A2",
        "A1",
        "A0",
    ]
    with pytest.raises(UsageError, match="No files found"):
        list(read_reports(ReportSource(IN_MEMORY, sql=f"SELECT * FROM '{tmp_path}/nope.csv'")))


def test_nothing_is_fetched_from_a_network():
    pytest.importorskip("duckdb")
    for query in ("SELECT * FROM 'https://127.0.0.1:9/x.parquet'", "SELECT * FROM sqlite_scan('a', 'b')"):
        with pytest.raises(UsageError) as caught:
            list(read_reports(ReportSource(IN_MEMORY, sql=query)))
        assert caught.value.code == "query_failed"


def test_ids_of_databases_are_ids(tmp_path):
    pytest.importorskip("duckdb")
    uuid = "6ba7b810-9dad-11d1-80b4-00c04fd430c8"
    query = f"SELECT 12::DECIMAL(18, 0) AS id, '{uuid}'::UUID AS case_id, 'x' AS text"
    (report,) = read_reports(ReportSource(IN_MEMORY, sql=query))
    assert (report.report_id, report.case_id) == ("12", uuid)


def test_a_database_that_is_none(tmp_path):
    missing = tmp_path / "nope.duckdb"
    with pytest.raises(DataError, match=r"nope\.duckdb"):
        list(read_reports(ReportSource(missing, sql="SELECT 1")))
    assert not missing.exists()
    pytest.importorskip("duckdb")
    missing.write_bytes(f"no database but {CANARY}".encode() * 99)
    with pytest.raises(UsageError) as caught:
        list(read_reports(ReportSource(missing, sql="SELECT 1 AS text")))
    assert CANARY not in str(caught.value)


def test_duckdb_missing_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "duckdb", None)
    with pytest.raises(UsageError) as caught:
        list(read_reports(ReportSource(IN_MEMORY, sql="SELECT 1 AS text")))
    assert (caught.value.code, caught.value.hint) == ("duckdb_missing", "pip install 'rsuper[sql]'")


def test_a_result_is_read_in_batches(tmp_path, sqlite_file, monkeypatch):
    from llm_extract import sql

    fetched = []
    original = sql._asked

    def asked(connection, query, database):
        cursor = original(connection, query, database)

        class Counted:
            description = cursor.description

            def fetchmany(self, n_rows):
                fetched.append(n_rows)
                return cursor.fetchmany(n_rows)

        return Counted()

    monkeypatch.setattr(sql, "_asked", asked)
    numbers = (
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000) "
        "SELECT i AS id, 'x' AS text FROM n"
    )
    reports = read_reports(ReportSource(sqlite_file, sql=numbers))
    assert next(reports).report_id == "1"
    assert len(fetched) == 1
    assert len(list(reports)) == 4999


def test_an_archive_run_from_a_query_is_the_one_from_a_file(tmp_path, database, as_jsonl, toy_backend):
    query = ReportSource(database, sql="SELECT * FROM reports")
    extract_archive(ReportSource(as_jsonl), ArchiveOptions(out=tmp_path / "file", backend=toy_backend))
    out = tmp_path / "query"
    for index in (1, 2):
        extract_archive(query, ArchiveOptions(out=out, backend=toy_backend, shard=Shard(index, 2)))
    assert extract_archive(query, ArchiveOptions(out=out, backend=toy_backend)).extracted == 0
    for name in ("records.jsonl", "lesions.csv", "summary.json"):
        assert (out / name).read_bytes() == (tmp_path / "file" / name).read_bytes(), name


def invoke(*arguments):
    return CliRunner().invoke(build_app(), [str(argument) for argument in arguments])


def test_the_command_line_reads_queries_and_says_how_to_go_on(tmp_path, sqlite_file, toy_backend):
    common = ("--out", tmp_path / "out", "--backend", toy_backend, "--workers", 0)
    query = "SELECT id AS acc, text FROM reports WHERE patient_id = 'P1'"
    result = invoke("extract", "--sql", query, "--database", sqlite_file, "--id-column", "acc", *common)
    assert result.exit_code == 4, result.output
    assert "2 reports: 1 done" in result.stdout
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("Next: llm-extract audit")]
    typed = shlex.split(line.removeprefix("Next: llm-extract ").partition("   #")[0])
    assert invoke(*typed).exit_code == 0
    assert (tmp_path / "out" / "audit.html").exists()


def test_a_database_without_a_query_is_told_what_to_type(sqlite_file, tmp_path):
    result = invoke("extract", sqlite_file, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert f"--database {sqlite_file} --sql" in result.stderr


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ((), "missing_argument"),
        (("--database", "x.db"), "missing_argument"),
        (("r.csv", "--sql", "SELECT 1"), "bad_option"),
        (("r.csv", "--ray-gpus", 1), "bad_option"),
        (("r.csv", "--ray", "local", "--workers", 0), "bad_option"),
        (("r.csv", "--ray", "auto"), "remote_refused"),
        (("r.csv", "--ray", "10.0.0.1:6379"), "remote_refused"),
    ],
)
def test_options_that_do_not_fit_together(tmp_path, options, code):
    result = invoke("extract", *options, "--out", tmp_path / "out", "--json")
    assert result.exit_code == 2
    assert json.loads(result.stdout)["error"]["code"] == code
    assert not (tmp_path / "out").exists()


def test_the_parquet_tables_are_read_by_duckdb_and_pandas(tmp_path, toy_backend, write_reports):
    out = tmp_path / "out"
    path = write_reports(["a mass", "nothing", "BOOM", "a mass, =HYPERLINK(1)"])
    extract_archive(ReportSource(path), ArchiveOptions(out=out, backend=toy_backend))
    duckdb, pandas = pytest.importorskip("duckdb"), pytest.importorskip("pandas")
    joined = duckdb.sql(
        f"SELECT s.status, count(l.lesion_id) FROM '{out}/studies.parquet' s LEFT JOIN '{out}/lesions.parquet' l "
        "USING (report_id) GROUP BY ALL ORDER BY ALL"
    ).fetchall()
    assert joined == [("failed", 0), ("ok", 2)]
    studies = pandas.read_parquet(out / "studies.parquet")
    assert list(studies.report_id) == ["R0", "R1", "R2", "R3"]
    assert studies.n_lesions.sum() == len(pandas.read_parquet(out / "lesions.parquet")) == 2
