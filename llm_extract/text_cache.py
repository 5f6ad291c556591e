"""Texts that a hook wrote, kept beside the ledger: each text is rewritten once, whoever goes on later."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from llm_extract.errors import DataError, ResourceError, UsageError
from llm_extract.mounts import refuse_network_file_system

LOCAL_HINT = (
    "leave out --ledger and choose an --out on a disk of this machine; or extract there first, then extract its "
    "cleaned_texts.jsonl without --deidentify"
)
"""What to do where these texts cannot be kept beside their ledger."""


class TextCache:
    """Texts that a hook wrote, by the hash of what it read; as private as the reports.

    Args:
        path: an SQLite file, created with mode 0600.

    Raises:
        UsageError: it would lie on a network file system, or is a link.
        ResourceError: the disk is full, or the file cannot be used; all methods raise it.
        DataError: it is damaged; all methods raise it.
    """

    def __init__(self, path: Path) -> None:
        try:
            refuse_network_file_system(path.parent)
        except UsageError as error:
            raise UsageError(error.args[0], code=error.code, hint=LOCAL_HINT) from error
        if path.is_symlink():
            raise UsageError(f"{path} is a link", code="output_is_a_link", hint="choose another --out")
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        self._path = path
        with self._errors_named():
            self._connection = sqlite3.connect(path, timeout=60, isolation_level=None)
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = NORMAL")
            self._connection.execute(
                "CREATE TABLE IF NOT EXISTS text (key BLOB PRIMARY KEY, rewritten TEXT) WITHOUT ROWID"
            )

    @contextmanager
    def _errors_named(self) -> Iterator[None]:
        """Name errors by SQLite's code alone: the message of a text that cannot be decoded holds that text."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            if not isinstance(error, sqlite3.OperationalError) and type(error) is not sqlite3.DatabaseError:
                raise
            name = getattr(error, "sqlite_errorname", "")
            if name.startswith(("SQLITE_FULL", "SQLITE_IOERR")):
                raise ResourceError(
                    f"cannot write {self._path}: {name}",
                    code="disk_full",
                    hint="free some space and run the same command again",
                ) from error
            if name and isinstance(error, sqlite3.OperationalError):
                raise ResourceError(f"cannot use {self._path}: {name}", code="ledger_unavailable") from error
            raise DataError(f"{self._path} is damaged", code="ledger_damaged", hint="delete it") from None

    def known(self, keys: Sequence[str]) -> dict[str, str | None]:
        """Rewritten texts by key; None where the hook failed."""
        found: dict[str, str | None] = {}
        for start in range(0, len(keys), 500):
            some = [bytes.fromhex(key) for key in keys[start : start + 500]]
            query = f"SELECT key, rewritten FROM text WHERE key IN ({', '.join('?' * len(some))})"  # noqa: S608
            with self._errors_named():
                found |= {key.hex(): text for key, text in self._connection.execute(query, some)}
        return found

    def add(self, texts: Iterable[tuple[str, str | None]]) -> None:
        """Keep rewritten texts; what another process kept first stays."""
        rows = [(bytes.fromhex(key), text) for key, text in texts]
        with self._errors_named():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                self._connection.executemany("INSERT OR IGNORE INTO text VALUES (?, ?)", rows)
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:  # a full disk may have ended it
                    self._connection.execute("ROLLBACK")
                raise

    def is_empty(self) -> bool:
        """Whether no text is kept."""
        with self._errors_named():
            return self._connection.execute("SELECT 1 FROM text LIMIT 1").fetchone() is None

    def forget_failures(self) -> None:
        """Let the hook try again what it failed on."""
        with self._errors_named():
            self._connection.execute("DELETE FROM text WHERE rewritten IS NULL")

    def close(self) -> None:
        """Close the file."""
        self._connection.close()


def holds_nothing(path: Path) -> bool:
    """Whether no text was ever kept in a file, as where a hook failed on all that it was shown."""
    if not path.is_file():
        return True
    cache = TextCache(path)
    try:
        return cache.is_empty()
    finally:
        cache.close()
