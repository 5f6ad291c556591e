"""Journal of an archive run: all work is pending, leased, done or quarantined, and survives kill -9.

A piece of work is one text under one set of backend settings; its key is a hash over both, so a changed text,
prompt, model or setting is new work and everything else stays done. SQLite in WAL mode, ``synchronous=FULL``.

A million records are gigabytes, therefore: ``work`` has one short row a piece of work that has ended, in the order of
the keys, and is all that a resumed run reads; ``result`` only grows at its end; ``lease`` has one row a reservation.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from llm_extract.errors import PipelineError
from llm_extract.finished_keys import KEY_BYTES, FinishedKeys
from llm_extract.leases import Leases, leased_keys
from llm_extract.ledger_file import LEDGER_VERSION, RESULT_COLUMNS, errors_named, open_file, transaction
from llm_extract.ledger_merge import attached, take_over
from llm_extract.owners import this_process
from llm_extract.private_files import commit, private_path
from llm_extract.work import Claim, Job, Result, settings_sha256, work_key

__all__ = ["LEDGER_VERSION", "Claim", "Job", "Ledger", "Result", "settings_sha256", "work_key"]

_KEYS_A_QUERY = 500
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
        self._connection = open_file(path)

    def claim(self, keys: Sequence[str]) -> Claim:
        """Lease what nobody else works on.

        Args:
            keys: work keys, at most a few hundred.

        Returns:
            The keys leased to us now, those already finished, and those leased to others (or to us before).
        """
        now = self._clock()
        ours, finished, elsewhere = dict[str, None](), set[str](), set[str]()
        with transaction(self._connection, self.path) as connection:
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
        with transaction(self._connection, self.path) as connection:
            states = self._known("state", list(by_key))
            new = [key for key in by_key if states.get(key, _UNKNOWN)[0] not in _FINISHED]
            first = connection.execute("SELECT coalesce(max(id), 0) + 1 FROM result").fetchone()[0]
            connection.executemany(
                f"INSERT INTO result (id, {RESULT_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
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
        with errors_named(self.path):
            columns = f"state, attempts, {RESULT_COLUMNS}"
            known = self._known(columns, keys, table="work JOIN result ON result.id = work.result")
        return {key: _result(key, row) for key, row in known.items() if row[0] in _FINISHED}

    def finished_keys(self) -> FinishedKeys:
        """All work that is done or quarantined now."""
        query = "SELECT substr(key, 1, ?) FROM work WHERE state IN ('done', 'quarantined') ORDER BY key"
        with errors_named(self.path):
            return FinishedKeys(row[0] for row in self._connection.execute(query, (KEY_BYTES,)))

    def renew(self) -> None:
        """Extend our leases when a quarter of their time has passed."""
        now = self._clock()
        if now - self._renewed_at < self.lease_s / 4:
            return
        self._renewed_at = now
        with transaction(self._connection, self.path) as connection:
            self._leases.renew(connection, until=now + self.lease_s)

    @contextmanager
    def leases_kept(self) -> Iterator[None]:
        """Renew our leases from a thread while the block waits for something, such as a model that loads."""
        ended = threading.Event()

        def keep() -> None:
            while not ended.wait(self.lease_s / 4):
                with (
                    suppress(PipelineError),  # the run itself will say what is wrong
                    closing(open_file(self.path)) as connection,
                    transaction(connection, self.path),
                ):
                    Leases(self.owner).renew(connection, until=self._clock() + self.lease_s)

        keeper = threading.Thread(target=keep, daemon=True, name="lease-keeper")
        keeper.start()
        try:
            yield
        finally:
            ended.set()
            keeper.join()

    def release(self) -> int:
        """Give back everything leased to us; returns how many."""
        with transaction(self._connection, self.path) as connection:
            return self._leases.release(connection)

    def reopen_quarantined(self) -> int:
        """Make quarantined work pending again; returns how many."""
        with transaction(self._connection, self.path) as connection:
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
        with attached(self._connection, other), transaction(self._connection, self.path) as connection:
            return take_over(connection)

    def copy_to(self, path: Path) -> None:
        """Write a copy that needs no log beside it, so that it may lie on any file system; whole or not at all."""
        local = private_path(self.path.with_name(f"{self.path.name}.copy"))
        try:
            with errors_named(self.path):
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
        with errors_named(self.path):
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
