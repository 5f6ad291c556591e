"""Journal of an archive run: all work is pending, leased, done or quarantined, and survives kill -9.

A piece of work is one text under one set of backend settings; its key is a hash over both, so a changed text,
prompt, model or setting is new work and everything else stays done. SQLite in WAL mode, ``synchronous=FULL``.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from llm_extract.errors import DataError, ResourceError, UsageError
from llm_extract.owners import process_is_gone, this_process
from llm_extract.records import IssueCode
from llm_extract.reports import Report

LEDGER_VERSION = 1
_APPLICATION_ID = 0x52535550
_SCHEMA = """
CREATE TABLE IF NOT EXISTS work (
    key TEXT PRIMARY KEY,
    state TEXT NOT NULL CHECK (state IN ('pending', 'leased', 'done', 'quarantined')),
    owner TEXT,
    lease_until REAL,
    code TEXT,
    detail TEXT,
    record BLOB,
    raw_output BLOB,
    attempts INTEGER NOT NULL DEFAULT 0,
    tokens INTEGER NOT NULL DEFAULT 0,
    seconds REAL NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS leased ON work (owner) WHERE state = 'leased';
"""

State = Literal["done", "quarantined"]
_FINISHED = frozenset({"done", "quarantined"})


@dataclass(frozen=True)
class Job:
    """One report to extract, under its work key."""

    key: str
    report: Report


@dataclass(frozen=True)
class Result:
    """How one piece of work ended.

    Args:
        key: work key.
        state: done, or quarantined with a code.
        record_json: the record, when done.
        code: why it was quarantined.
        detail: type of the error; never its message, which may quote the report.
        attempts: how often it was tried.
        tokens: tokens that a model read and wrote.
        seconds: time that the extraction took.
        raw_output: what a model answered, kept when it needs a reader.
    """

    key: str
    state: State
    record_json: str | None = None
    code: IssueCode | None = None
    detail: str | None = None
    attempts: int = 1
    tokens: int = 0
    seconds: float = 0.0
    raw_output: bytes | None = None


@dataclass(frozen=True)
class Claim:
    """Which of the asked work is ours now, and which is still in other hands."""

    ours: frozenset[str]
    finished: frozenset[str]
    elsewhere: frozenset[str]


def settings_sha256(backend: str, settings: Mapping[str, str]) -> str:
    """Hash of a backend and everything that decides its records."""
    return hashlib.sha256(json.dumps([backend, dict(sorted(settings.items()))]).encode()).hexdigest()


def work_key(report: Report, settings_hash: str) -> str:
    """Key of a piece of work: text, kind and date of a report under one set of settings.

    Ids are left out: the same text under two ids is one piece of work.
    """
    study_date = report.study_date.isoformat() if report.study_date else None
    return hashlib.sha256(
        json.dumps([report.text_sha256, report.kind, study_date, settings_hash]).encode()
    ).hexdigest()


class Ledger:
    """The journal of one output folder.

    Args:
        path: file of the ledger; created with mode 0600.
        lease_s: how long a lease lasts unless renewed.
        owner: who leases; by default this process.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        path: Path,
        *,
        lease_s: float = 600.0,
        owner: str | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.path = path
        self.lease_s = lease_s
        self.owner = owner or this_process()
        self._clock = clock
        self._renewed_at = clock()
        self._connection = self._open(path)

    def _open(self, path: Path) -> sqlite3.Connection:
        if path.is_symlink():
            raise UsageError(f"{path} is a link", code="output_is_a_link", hint="choose another --out")
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        with self._errors_named():
            connection = sqlite3.connect(path, timeout=60, isolation_level=None)
            connection.execute("PRAGMA busy_timeout = 60000")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version not in (0, LEDGER_VERSION):
                connection.close()
                raise UsageError(
                    f"{path} was written by another version of this program (ledger {version})",
                    code="ledger_version",
                    hint="choose another --out, or delete the ledger to start over",
                )
            connection.executescript(_SCHEMA)
            connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {LEDGER_VERSION}")
        return connection

    @contextmanager
    def _errors_named(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            if "full" in str(error) or "disk I/O" in str(error):
                raise ResourceError(f"cannot write {self.path}: {error}", code="disk_full") from error
            raise ResourceError(f"cannot use {self.path}: {error}", code="ledger_unavailable") from error
        except sqlite3.DatabaseError as error:
            raise DataError(
                f"{self.path} is damaged: {error}", code="ledger_damaged", hint="move it away and run again"
            ) from error

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._errors_named():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def claim(self, keys: Sequence[str]) -> Claim:
        """Lease what nobody else works on.

        Args:
            keys: work keys, at most a few hundred.

        Returns:
            The keys leased to us now, those already finished, and those leased to others (or to us before).
        """
        now = self._clock()
        ours, finished, elsewhere = set[str](), set[str](), set[str]()
        with self._transaction() as connection:
            known = {row[0]: row[1:] for row in self._rows("key, state, owner, lease_until", keys)}
            for key in dict.fromkeys(keys):
                state, owner, lease_until = known.get(key, ("pending", None, None))
                if state in _FINISHED:
                    finished.add(key)
                elif state == "leased" and lease_until > now and not process_is_gone(owner):
                    elsewhere.add(key)
                else:
                    ours.add(key)
            connection.executemany(
                "INSERT INTO work (key, state, owner, lease_until) VALUES (?, 'leased', ?, ?) "
                "ON CONFLICT (key) DO UPDATE SET state = 'leased', owner = excluded.owner, "
                "lease_until = excluded.lease_until",
                [(key, self.owner, now + self.lease_s) for key in sorted(ours)],
            )
        return Claim(frozenset(ours), frozenset(finished), frozenset(elsewhere))

    def finish(self, results: Iterable[Result]) -> None:
        """Write how work ended, in one transaction; what another process finished first is left as it is."""
        rows = [
            (
                result.key,
                result.state,
                result.code,
                result.detail,
                zlib.compress(result.record_json.encode(), 3) if result.record_json is not None else None,
                result.raw_output,
                result.attempts,
                result.tokens,
                result.seconds,
            )
            for result in results
        ]
        with self._transaction() as connection:
            connection.executemany(
                "INSERT INTO work (key, state, code, detail, record, raw_output, attempts, tokens, seconds) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET state = excluded.state, "
                "owner = NULL, lease_until = NULL, code = excluded.code, detail = excluded.detail, "
                "record = excluded.record, raw_output = excluded.raw_output, "
                "attempts = work.attempts + excluded.attempts, tokens = excluded.tokens, "
                "seconds = excluded.seconds "
                "WHERE work.state IN ('pending', 'leased')",
                rows,
            )

    def results(self, keys: Sequence[str]) -> dict[str, Result]:
        """The finished ones among some pieces of work."""
        with self._errors_named():
            columns = "key, state, record, code, detail, attempts, tokens, seconds, raw_output"
            return {
                row[0]: _result(row) for row in self._rows(columns, keys) if row[1] in {"done", "quarantined"}
            }

    def finished(self, keys: Sequence[str]) -> set[str]:
        """Those among some pieces of work that are done or quarantined."""
        with self._errors_named():
            return {row[0] for row in self._rows("key, state", keys) if row[1] in _FINISHED}

    def renew(self) -> None:
        """Extend our leases when a quarter of their time has passed."""
        now = self._clock()
        if now - self._renewed_at < self.lease_s / 4:
            return
        self._renewed_at = now
        with self._transaction() as connection:
            connection.execute(
                "UPDATE work SET lease_until = ? WHERE state = 'leased' AND owner = ?",
                (now + self.lease_s, self.owner),
            )

    def release(self) -> int:
        """Give back everything leased to us; returns how many."""
        with self._transaction() as connection:
            cursor = connection.execute(
                "UPDATE work SET state = 'pending', owner = NULL, lease_until = NULL "
                "WHERE state = 'leased' AND owner = ?",
                (self.owner,),
            )
            return cursor.rowcount

    def reopen_quarantined(self) -> int:
        """Make quarantined work pending again; returns how many."""
        with self._transaction() as connection:
            cursor = connection.execute(
                "UPDATE work SET state = 'pending', code = NULL, detail = NULL WHERE state = 'quarantined'"
            )
            return cursor.rowcount

    def merge(self, other: Path) -> int:
        """Take over the finished work of another ledger; returns how much was new."""
        with self._errors_named():
            self._connection.execute("ATTACH DATABASE ? AS shard", (str(other),))
        try:
            with self._transaction() as connection:
                columns = "key, state, code, detail, record, raw_output, attempts, tokens, seconds"
                cursor = connection.execute(
                    f"INSERT OR IGNORE INTO work ({columns}) SELECT {columns} FROM shard.work "  # noqa: S608
                    "WHERE state IN ('done', 'quarantined')"
                )
                return cursor.rowcount
        finally:
            self._connection.execute("DETACH DATABASE shard")

    def counts(self) -> dict[str, int]:
        """Pieces of work by state."""
        with self._errors_named():
            return dict(
                self._connection.execute("SELECT state, count(*) FROM work GROUP BY state").fetchall()
            )

    def close(self) -> None:
        """Close the file; committed work is safe without it."""
        self._connection.close()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def _rows(self, columns: str, keys: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        for start in range(0, len(keys), 500):
            some = keys[start : start + 500]
            marks = ", ".join("?" * len(some))
            query = f"SELECT {columns} FROM work WHERE key IN ({marks})"  # noqa: S608 - our own names
            yield from self._connection.execute(query, some)


def _result(row: tuple[Any, ...]) -> Result:
    key, state, record, code, detail, attempts, tokens, seconds, raw_output = row
    return Result(
        key=key,
        state=state,
        record_json=zlib.decompress(record).decode() if record is not None else None,
        code=code,
        detail=detail,
        attempts=attempts,
        tokens=tokens,
        seconds=seconds,
        raw_output=raw_output,
    )
