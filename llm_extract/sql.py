"""Reports from a query: of a DuckDB or SQLite database, or of any files that DuckDB reads.

A query changes nothing: only a SELECT is asked, of a database opened read-only. What DuckDB cannot hold in memory lies
in a folder of its owner's alone: its files end with the query, the folder with the process. Beside a SQLite database in
WAL mode whose writers have closed it, reading leaves an empty ``-wal`` and a ``-shm``, which hold no row; SQLite cannot
read it where it may not write these two.

Rows come in batches, so that a result of any size is read in the memory of one batch. The query is asked anew for each
pass over the reports: one that gives other rows the second time ends the run with ``input_changed``.
"""

from __future__ import annotations

import atexit
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any
from uuid import UUID

from llm_extract.decoding import decoded_row
from llm_extract.errors import DataError, UsageError
from llm_extract.rows import Row, Table

IN_MEMORY = Path(":memory:")
"""Stands for no database: the query names its files, as in ``SELECT * FROM 'reports/*.parquet'``."""

_SQLITE_MAGIC = b"SQLite format 3\x00"
_ROWS_A_BATCH = 1024
_NOT_WRITABLE = ("SQLITE_READONLY", "SQLITE_CANTOPEN")
_WAL_HINT = (
    "SQLite reads a database in WAL mode only where it may write beside it: copy it to a folder of your own, or change "
    "it with `PRAGMA journal_mode = DELETE`"
)
_READING = frozenset(
    {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}
)
_SAID = frozenset({"ParserException", "BinderException", "CatalogException", "IOException"})
"""Errors of DuckDB that quote the query, the names in the database and paths, but never a value."""


def query_table(database: Path, query: str, *, encoding: str | None = None) -> Table:
    """Open the result of a query.

    Args:
        database: a DuckDB or SQLite file, opened read-only; :data:`IN_MEMORY` for DuckDB without a database.
        query: one SELECT.
        encoding: of binary values, and of SQLite's text; None finds out.

    Returns:
        Its columns and rows.

    Raises:
        UsageError: the query cannot be asked of this database, or DuckDB is needed and missing.
        DataError: the database cannot be read.
    """
    with closing(_connected(database, query)) as connection:
        columns = _columns(_asked(connection, query, database), database)
    return Table(columns, lambda names: _rows(database, query, names=names, encoding=encoding))


def _connected(database: Path, query: str) -> Any:
    return _sqlite(database) if _is_sqlite(database) else _duckdb(database, query)


def _is_sqlite(database: Path) -> bool:
    if database == IN_MEMORY:
        return False
    try:
        with database.open("rb") as file:
            return file.read(len(_SQLITE_MAGIC)) == _SQLITE_MAGIC
    except OSError as error:
        raise DataError(
            f"cannot read the database {database}: {error.strerror}",
            code="reports_missing",
            hint="check the path; a server's data is exported to Parquet or CSV first",
        ) from error


def _sqlite(database: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True, isolation_level=None)
    connection.execute("PRAGMA query_only = ON")
    connection.text_factory = (
        bytes  # a text that is not UTF-8 must not end the query, nor be quoted by its error
    )
    connection.set_authorizer(_allowed)  # read-only still lets VACUUM INTO and ATTACH create files
    return connection


def _allowed(action: int, first: str | None, second: str | None, *_where: str | None) -> int:
    """Whether SQLite may do what a query asks for: to read.

    A virtual table, such as a search index, says when it opens that it updates the schema, though it does not (and
    could not, in a database opened read-only), and asks whether the data have changed.
    """
    opens_a_virtual_table = (action, first) == (sqlite3.SQLITE_UPDATE, "sqlite_master")
    asks_for_changes = (action, first, second) == (sqlite3.SQLITE_PRAGMA, "data_version", None)
    reads = action in _READING or opens_a_virtual_table or asks_for_changes
    return sqlite3.SQLITE_OK if reads else sqlite3.SQLITE_DENY


@cache
def _spill_folder() -> str:
    """One for the process: DuckDB refuses a second connection to a database with other settings."""
    folder, owner = tempfile.mkdtemp(prefix="sql-"), os.getpid()  # mode 0700

    def remove() -> None:
        if os.getpid() == owner:  # not at the end of a fork
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(remove)
    return folder


def _duckdb(database: Path, query: str) -> Any:
    try:
        import duckdb
    except ImportError as error:
        raise UsageError(
            "this query needs DuckDB", code="duckdb_missing", hint="pip install 'rsuper[sql]'"
        ) from error
    config = {
        "threads": 1,  # several give the rows of a join in another order each time
        "autoinstall_known_extensions": "false",  # no network
        "autoload_known_extensions": "false",
        "temp_directory": _spill_folder(),  # otherwise beside the database or in the current folder, for all
    }
    with _errors_named(database):
        connection = duckdb.connect(str(database), read_only=database != IN_MEMORY, config=config)
    try:
        with _errors_named(database):
            statements = connection.extract_statements(query)
        if [statement.type.name for statement in statements] != ["SELECT"]:
            raise _not_a_select()
    except UsageError:
        connection.close()
        raise
    return connection


@contextmanager
def _errors_named(database: Path) -> Iterator[None]:
    """Name what a database refuses; a message that may quote a value is left out."""
    try:
        yield
    except Exception as error:
        name = type(error).__name__
        if not isinstance(error, sqlite3.Error) and not type(error).__module__.endswith("duckdb"):
            raise
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_AUTH:
            raise _not_a_select() from None
        message = str(error).partition("\n")[0] if name in _SAID or isinstance(error, sqlite3.Error) else name
        code_of_sqlite = getattr(error, "sqlite_errorname", "")
        raise UsageError(
            f"{_name(database)} cannot be asked: {message}",
            code="query_failed",
            hint=_WAL_HINT if code_of_sqlite.startswith(_NOT_WRITABLE) else "try the query in your database",
        ) from None


def _not_a_select() -> UsageError:
    return UsageError(
        "the query is not one SELECT", code="not_a_select", hint="give --sql one SELECT, without others"
    )


def _name(database: Path) -> str:
    return "the query" if database == IN_MEMORY else f"the query of {database}"


def _asked(connection: Any, query: str, database: Path) -> Any:
    with _errors_named(database):
        return connection.cursor().execute(query)


def _columns(cursor: Any, database: Path) -> tuple[str, ...]:
    if cursor.description is None:
        raise _not_a_select()
    columns = tuple(str(column[0]) for column in cursor.description)
    repeated = sorted({name for name in columns if columns.count(name) > 1})
    if repeated:
        raise DataError(
            f"{_name(database)} has columns of the same name: {', '.join(repeated)}",
            code="repeated_column",
            hint="name each with AS",
        )
    return columns


def _rows(database: Path, query: str, *, names: Collection[str], encoding: str | None) -> Iterator[Row]:
    with closing(_connected(database, query)) as connection:
        cursor = _asked(connection, query, database)
        wanted = [(index, name) for index, name in enumerate(_columns(cursor, database)) if name in names]
        for values in _fetched(cursor, database):
            yield decoded_row({name: (_plain(values[index]), encoding) for index, name in wanted})


def _fetched(cursor: Any, database: Path) -> Iterator[tuple[object, ...]]:
    number = 0
    while True:
        try:
            batch = cursor.fetchmany(_ROWS_A_BATCH)
        except Exception as error:  # its message may quote a value
            raise DataError(
                f"{_name(database)} fails after {number:,} rows ({type(error).__name__})",
                code="query_broken",
                hint="try the query in your database",
            ) from None
        if not batch:
            return
        number += len(batch)
        yield from batch


def _plain(value: object) -> object:
    """Ids of databases as whole numbers and texts."""
    if isinstance(value, Decimal) and value == value.to_integral_value():
        return int(value)
    return str(value) if isinstance(value, UUID) else value
