"""Take over the finished work of another ledger."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from llm_extract.errors import DataError
from llm_extract.ledger_file import LEDGER_VERSION, RESULT_COLUMNS, errors_named


@contextmanager
def attached(connection: sqlite3.Connection, other: Path) -> Iterator[None]:
    """Let a connection read another ledger as ``shard``.

    Args:
        connection: to the ledger that takes over.
        other: a ledger beside it, or a copy without a log, on any file system.

    Raises:
        DataError: it is no ledger of this version.
    """
    is_copy = not other.with_name(other.name + "-wal").exists()
    address = f"{other.resolve().as_uri()}?mode=ro" + ("&immutable=1" if is_copy else "")
    with errors_named(other):
        connection.execute("ATTACH DATABASE ? AS shard", (address,))
    try:
        with errors_named(other):
            version = connection.execute("PRAGMA shard.user_version").fetchone()[0]
        if version != LEDGER_VERSION:
            raise DataError(
                f"{other} is no ledger of this version (it is {version}, this is {LEDGER_VERSION})",
                code="ledger_version",
                hint="extract this shard again, or move the file away",
            )
        yield
    finally:
        connection.execute("DETACH DATABASE shard")


def take_over(connection: sqlite3.Connection) -> int:
    """Copy the finished work of the attached ledger that is not done here; its results get numbers of their own."""
    shift = connection.execute(
        "SELECT (SELECT coalesce(max(id), 0) FROM main.result) - coalesce(min(id), 1) + 1 FROM shard.result"
    ).fetchone()[0]
    connection.execute(
        "CREATE TEMP TABLE taken AS SELECT theirs.key, theirs.state, theirs.attempts, theirs.result "
        "FROM shard.work AS theirs LEFT JOIN main.work AS ours ON ours.key = theirs.key "
        "WHERE theirs.state = 'done' AND coalesce(ours.state, 'pending') <> 'done' "
        "OR theirs.state = 'quarantined' AND coalesce(ours.state, 'pending') = 'pending'"
    )
    connection.execute(
        "DELETE FROM main.result WHERE id IN (SELECT result FROM main.work WHERE key IN (SELECT key FROM taken))"
    )
    connection.execute(
        f"INSERT INTO main.result (id, {RESULT_COLUMNS}) SELECT id + ?, {RESULT_COLUMNS} "  # noqa: S608
        "FROM shard.result WHERE id IN (SELECT result FROM taken)",
        (shift,),
    )
    cursor = connection.execute(
        "INSERT INTO main.work (key, state, attempts, result) SELECT key, state, attempts, result + ? FROM taken "
        "WHERE true ON CONFLICT (key) DO UPDATE SET state = excluded.state, "
        "attempts = excluded.attempts, result = excluded.result",
        (shift,),
    )
    number = cursor.rowcount
    connection.execute("DROP TABLE taken")
    return number
