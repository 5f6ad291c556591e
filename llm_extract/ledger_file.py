"""The SQLite file behind a ledger: its tables, how it is opened and written, and what its errors mean."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from llm_extract.errors import DataError, ResourceError, UsageError
from llm_extract.leases import LEASE_SCHEMA
from llm_extract.mounts import refuse_network_file_system

LEDGER_VERSION = 3
"""Of version 2 keys covered the date of a report too, so that none of them would be found again."""

_APPLICATION_ID = 0x52535550
SCHEMA = """
CREATE TABLE IF NOT EXISTS work (
    key BLOB PRIMARY KEY,
    state TEXT NOT NULL CHECK (state IN ('pending', 'done', 'quarantined')),
    attempts INTEGER NOT NULL DEFAULT 0,
    result INTEGER REFERENCES result (id)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS result (
    id INTEGER PRIMARY KEY,
    code TEXT,
    detail TEXT,
    tokens INTEGER NOT NULL,
    seconds REAL NOT NULL,
    record_bytes INTEGER,
    record BLOB,
    raw_output BLOB
);
"""
RESULT_COLUMNS = "code, detail, tokens, seconds, record_bytes, record, raw_output"
_CACHE_KIB = 64 << 10
_PAGE_BYTES = 16 << 10  # several records a page: a third less time than with pages of 4 KiB
_CHECKPOINT_PAGES = 4096


def open_file(path: Path) -> sqlite3.Connection:
    """Open the file of a ledger; it is created with mode 0600.

    Raises:
        UsageError: it is a link, lies on a network file system, or was written by another version.
        ResourceError: it cannot be opened or written.
        DataError: it is damaged.
    """
    refuse_network_file_system(path.parent)
    if path.is_symlink():
        raise UsageError(f"{path} is a link", code="output_is_a_link", hint="choose another --out")
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    with errors_named(path):
        connection = sqlite3.connect(path.resolve().as_uri(), timeout=60, isolation_level=None, uri=True)
        try:
            _set_up(connection, path)
        except BaseException:
            connection.close()
            raise
    return connection


def _set_up(connection: sqlite3.Connection, path: Path) -> None:
    connection.execute("PRAGMA busy_timeout = 60000")
    connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version not in (0, LEDGER_VERSION):
        raise UsageError(
            f"{path} was written by another version of this program (ledger {version}, this is {LEDGER_VERSION}), "
            "which knows its work by other keys",
            code="ledger_version",
            hint="choose another --out, or delete the ledger to extract everything again",
        )
    connection.executescript(SCHEMA + LEASE_SCHEMA)
    connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {LEDGER_VERSION}")


@contextmanager
def errors_named(path: Path) -> Iterator[None]:
    """Give SQLite's errors about a file a code."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if "full" in str(error) or "disk I/O" in str(error):
            raise ResourceError(
                f"cannot write {path}: {error}",
                code="disk_full",
                hint="free some space and run the same command again",
            ) from error
        raise ResourceError(
            f"cannot use {path}: {error}",
            code="ledger_unavailable",
            hint="check that it and its folder may be written, and that no other program holds it",
        ) from error
    except sqlite3.DatabaseError as error:
        raise DataError(
            f"{path} is damaged: {error}", code="ledger_damaged", hint="move it away and run again"
        ) from error


@contextmanager
def transaction(connection: sqlite3.Connection, path: Path) -> Iterator[sqlite3.Connection]:
    """Write in one step: all of the block or nothing of it."""
    with errors_named(path):
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:  # a full disk may have ended it
                connection.execute("ROLLBACK")
            raise
