"""Journal of an archive run: all work is pending, leased, done or quarantined, and survives kill -9.

A piece of work is one text under one set of backend settings; its key is a hash over both, so a changed text,
prompt, model or setting is new work and everything else stays done. SQLite in WAL mode, ``synchronous=FULL``.

A million records are gigabytes, therefore: ``work`` has one short row a piece of work that has ended, in the order of
the keys, and is all that a resumed run reads; ``result`` only grows at its end; ``lease`` has one row a reservation.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from llm_extract.errors import DataError, ResourceError, UsageError
from llm_extract.finished_keys import KEY_BYTES, FinishedKeys
from llm_extract.leases import LEASE_SCHEMA, Leases, leased_keys
from llm_extract.mounts import refuse_network_file_system
from llm_extract.owners import this_process
from llm_extract.private_files import commit, private_path
from llm_extract.work import Claim, Job, Result, settings_sha256, work_key

__all__ = ["Claim", "Job", "Ledger", "Result", "settings_sha256", "work_key"]

LEDGER_VERSION = 3
"""Of version 2 keys covered the date of a report too, so that none of them would be found again."""

_APPLICATION_ID = 0x52535550
_SCHEMA = """
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
_RESULT_COLUMNS = "code, detail, tokens, seconds, record_bytes, record, raw_output"
_KEYS_A_QUERY = 500
_CACHE_KIB = 64 << 10
_PAGE_BYTES = 16 << 10  # several records a page: a third less time than with pages of 4 KiB
_CHECKPOINT_PAGES = 4096

_FINISHED = frozenset({"done", "quarantined"})
_UNKNOWN = (None,)


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
        self._leases = Leases(self.owner)
        self._renewed_at = clock()
        self._connection = self._open(path)

    def _open(self, path: Path) -> sqlite3.Connection:
        refuse_network_file_system(path.parent)
        if path.is_symlink():
            raise UsageError(f"{path} is a link", code="output_is_a_link", hint="choose another --out")
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        with self._errors_named():
            connection = sqlite3.connect(path.resolve().as_uri(), timeout=60, isolation_level=None, uri=True)
            connection.execute("PRAGMA busy_timeout = 60000")
            connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
            connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version not in (0, LEDGER_VERSION):
                connection.close()
                raise UsageError(
                    f"{path} was written by another version of this program (ledger {version}, this is "
                    f"{LEDGER_VERSION}), which knows its work by other keys",
                    code="ledger_version",
                    hint="choose another --out, or delete the ledger to extract everything again",
                )
            connection.executescript(_SCHEMA + LEASE_SCHEMA)
            connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {LEDGER_VERSION}")
        return connection

    @contextmanager
    def _errors_named(self, path: Path | None = None) -> Iterator[None]:
        path = path or self.path
        try:
            yield
        except sqlite3.OperationalError as error:
            if "full" in str(error) or "disk I/O" in str(error):
                raise ResourceError(
                    f"cannot write {path}: {error}",
                    code="disk_full",
                    hint="free some space and run the same command again",
                ) from error
            raise ResourceError(f"cannot use {path}: {error}", code="ledger_unavailable") from error
        except sqlite3.DatabaseError as error:
            raise DataError(
                f"{path} is damaged: {error}", code="ledger_damaged", hint="move it away and run again"
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
        ours, finished, elsewhere = dict[str, None](), set[str](), set[str]()
        with self._transaction() as connection:
            known = self._known("state", keys)
            taken = self._leases.taken(connection, now)
            for key in keys:
                if known.get(key, _UNKNOWN)[0] in _FINISHED:
                    finished.add(key)
                elif key in taken:
                    elsewhere.add(key)
                else:
                    ours[key] = None
            self._leases.add(connection, ours, until=now + self.lease_s)
        return Claim(frozenset(ours), frozenset(finished), frozenset(elsewhere))

    def finish(self, results: Iterable[Result]) -> None:
        """Write how work ended, in one transaction; what another process finished first is left as it is."""
        by_key: dict[str, Result] = {}
        for result in results:
            by_key.setdefault(result.key, result)
        packed = {key: _packed(result) for key, result in by_key.items()}  # before others have to wait for us
        with self._transaction() as connection:
            states = self._known("state", list(by_key))
            new = [key for key in by_key if states.get(key, _UNKNOWN)[0] not in _FINISHED]
            first = connection.execute("SELECT coalesce(max(id), 0) + 1 FROM result").fetchone()[0]
            connection.executemany(
                f"INSERT INTO result (id, {_RESULT_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
                [(number, *packed[key]) for number, key in enumerate(new, start=first)],
            )
            connection.executemany(
                "INSERT INTO work (key, state, attempts, result) VALUES (?, ?, ?, ?) "
                "ON CONFLICT (key) DO UPDATE SET state = excluded.state, "
                "attempts = work.attempts + excluded.attempts, result = excluded.result",
                sorted(
                    (bytes.fromhex(key), by_key[key].state, by_key[key].attempts, number)
                    for number, key in enumerate(new, start=first)
                ),
            )
            self._leases.finish(connection, by_key)

    def results(self, keys: Sequence[str]) -> dict[str, Result]:
        """The finished ones among some pieces of work."""
        with self._errors_named():
            columns = f"state, attempts, {_RESULT_COLUMNS}"
            known = self._known(columns, keys, table="work JOIN result ON result.id = work.result")
        return {key: _result(key, row) for key, row in known.items() if row[0] in _FINISHED}

    def finished_keys(self) -> FinishedKeys:
        """All work that is done or quarantined now."""
        query = "SELECT substr(key, 1, ?) FROM work WHERE state IN ('done', 'quarantined') ORDER BY key"
        with self._errors_named():
            return FinishedKeys(row[0] for row in self._connection.execute(query, (KEY_BYTES,)))

    def renew(self) -> None:
        """Extend our leases when a quarter of their time has passed."""
        now = self._clock()
        if now - self._renewed_at < self.lease_s / 4:
            return
        self._renewed_at = now
        with self._transaction() as connection:
            self._leases.renew(connection, until=now + self.lease_s)

    def release(self) -> int:
        """Give back everything leased to us; returns how many."""
        with self._transaction() as connection:
            return self._leases.release(connection)

    def reopen_quarantined(self) -> int:
        """Make quarantined work pending again; returns how many."""
        with self._transaction() as connection:
            connection.execute(
                "DELETE FROM result WHERE id IN (SELECT result FROM work WHERE state = 'quarantined')"
            )
            cursor = connection.execute(
                "UPDATE work SET state = 'pending', result = NULL WHERE state = 'quarantined'"
            )
            return cursor.rowcount

    def merge(self, other: Path) -> int:
        """Take over the finished work of another ledger; returns how much was new.

        Args:
            other: a ledger beside this one, or a copy that :meth:`copy_to` wrote, on any file system.

        Raises:
            DataError: it is no ledger of this version.
        """
        is_copy = not other.with_name(other.name + "-wal").exists()
        address = f"{other.resolve().as_uri()}?mode=ro" + ("&immutable=1" if is_copy else "")
        with self._errors_named(other):
            self._connection.execute("ATTACH DATABASE ? AS shard", (address,))
        try:
            with self._errors_named(other):
                version = self._connection.execute("PRAGMA shard.user_version").fetchone()[0]
            if version != LEDGER_VERSION:
                raise DataError(
                    f"{other} is no ledger of this version ({version})",
                    code="ledger_version",
                    hint="extract this shard again, or move the file away",
                )
            with self._transaction() as connection:
                return _take_over(connection)
        finally:
            self._connection.execute("DETACH DATABASE shard")

    def copy_to(self, path: Path) -> None:
        """Write a copy that needs no log beside it, so that it may lie on any file system; whole or not at all."""
        local = private_path(self.path.with_name(f"{self.path.name}.copy"))
        try:
            with self._errors_named():
                self._connection.execute("VACUUM INTO ?", (str(local),))
            temporary = private_path(path)
            try:
                shutil.copyfile(local, temporary)
                commit(temporary, path)
            finally:
                temporary.unlink(missing_ok=True)
        finally:
            local.unlink(missing_ok=True)

    def counts(self) -> dict[str, int]:
        """Pieces of work by state."""
        with self._errors_named():
            rows = self._connection.execute("SELECT state, count(*) FROM work GROUP BY state").fetchall()
            counts: dict[str, int] = dict(rows)
            leased = list(leased_keys(self._connection))
            states = [self._known("state", leased).get(key, _UNKNOWN)[0] for key in leased]
        held = sum(state not in _FINISHED for state in states)
        counts["pending"] = counts.get("pending", 0) - states.count("pending")
        return {state: n for state, n in (counts | {"leased": held}).items() if n}

    def close(self) -> None:
        """Close the file; committed work is safe without it."""
        self._connection.close()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def _known(self, columns: str, keys: Sequence[str], *, table: str = "work") -> dict[str, tuple[Any, ...]]:
        """Some columns by key, of those among the keys that have a row."""
        found: dict[str, tuple[Any, ...]] = {}
        for start in range(0, len(keys), _KEYS_A_QUERY):
            some = [bytes.fromhex(key) for key in keys[start : start + _KEYS_A_QUERY]]
            marks = ", ".join("?" * len(some))
            query = f"SELECT key, {columns} FROM {table} WHERE key IN ({marks})"  # noqa: S608 - our own names
            found |= {row[0].hex(): row[1:] for row in self._connection.execute(query, some)}
        return found


def _take_over(connection: sqlite3.Connection) -> int:
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
        f"INSERT INTO main.result (id, {_RESULT_COLUMNS}) SELECT id + ?, {_RESULT_COLUMNS} "  # noqa: S608
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


@cache
def _codec() -> Any:
    import pyarrow as pa

    return pa.Codec("lz4")


def _packed(result: Result) -> tuple[Any, ...]:
    """Columns of a result; its record as LZ4, which takes a tenth of the time of zlib."""
    record = result.record_json.encode() if result.record_json is not None else None
    return (
        result.code,
        result.detail,
        result.tokens,
        result.seconds,
        None if record is None else len(record),
        None if record is None else _codec().compress(record, asbytes=True),
        result.raw_output,
    )


def _result(key: str, row: tuple[Any, ...]) -> Result:
    state, attempts, code, detail, tokens, seconds, n_bytes, packed, raw_output = row
    record = None if packed is None else _codec().decompress(packed, n_bytes, asbytes=True).decode()
    return Result(
        key=key,
        state=state,
        record_json=record,
        code=code,
        detail=detail,
        attempts=attempts,
        tokens=tokens,
        seconds=seconds,
        raw_output=raw_output,
    )
