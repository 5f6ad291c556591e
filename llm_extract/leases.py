"""Which work is reserved by whom: one row a claim, with all its keys, so that a reservation costs next to nothing."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Set

from llm_extract.owners import process_is_gone

LEASE_SCHEMA = """
CREATE TABLE IF NOT EXISTS lease (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    owner TEXT NOT NULL,
    until REAL NOT NULL,
    keys BLOB NOT NULL
);
"""
_KEY_BYTES = 32


class Leases:
    """The leases of one ledger; every method is called inside a transaction of it.

    What a row holds never changes, so each is read once. A lease ends when its time is over, when the process that
    has it is gone, or when all its work is finished.

    Args:
        owner: who leases.
    """

    def __init__(self, owner: str) -> None:
        self.owner = owner
        self._rows: dict[tuple[int, str], frozenset[str]] = {}
        self._taken: set[str] = set()
        self._row_of: dict[str, int] = {}
        self._left: dict[int, int] = {}

    def taken(self, connection: sqlite3.Connection, now: float) -> Set[str]:
        """Keys under a lease, ours included; some may be finished. Leases that have ended are removed."""
        alive = set[tuple[int, str]]()
        is_gone: dict[str, bool] = {}
        for number, owner, until in connection.execute("SELECT id, owner, until FROM lease").fetchall():
            if owner not in is_gone:
                is_gone[owner] = process_is_gone(owner)
            if until <= now or is_gone[owner]:
                connection.execute("DELETE FROM lease WHERE id = ?", (number,))
                continue
            alive.add((number, owner))
        for ended in self._rows.keys() - alive:  # before new ones, which may hold the same keys
            self._taken -= self._rows.pop(ended)
        for number, owner in alive - self._rows.keys():
            row = connection.execute("SELECT keys FROM lease WHERE id = ?", (number,)).fetchone()
            self._remember(number, owner, _split(row[0]))
        return self._taken

    def add(self, connection: sqlite3.Connection, keys: Collection[str], *, until: float) -> None:
        """Lease keys to us."""
        if not keys:
            return
        packed = b"".join(map(bytes.fromhex, keys))
        cursor = connection.execute(
            "INSERT INTO lease (owner, until, keys) VALUES (?, ?, ?)", (self.owner, until, packed)
        )
        number = cursor.lastrowid or 0
        self._remember(number, self.owner, keys)
        self._row_of.update(dict.fromkeys(keys, number))
        self._left[number] = len(keys)

    def finish(self, connection: sqlite3.Connection, keys: Iterable[str]) -> None:
        """End the leases of ours that have nothing left to do."""
        for key in keys:
            number = self._row_of.pop(key, None)
            if number is None:
                continue
            self._left[number] -= 1
            if not self._left[number]:
                del self._left[number]
                connection.execute("DELETE FROM lease WHERE id = ? AND owner = ?", (number, self.owner))

    def renew(self, connection: sqlite3.Connection, *, until: float) -> None:
        """Extend our leases."""
        connection.execute("UPDATE lease SET until = ? WHERE owner = ?", (until, self.owner))

    def release(self, connection: sqlite3.Connection) -> int:
        """End our leases; returns how many keys were left."""
        rows = connection.execute("DELETE FROM lease WHERE owner = ? RETURNING id", (self.owner,)).fetchall()
        left = sum(self._left.get(number, 0) for (number,) in rows)
        self._row_of.clear()
        self._left.clear()
        return left

    def _remember(self, number: int, owner: str, keys: Collection[str]) -> None:
        self._rows[number, owner] = frozenset(keys)
        self._taken.update(keys)


def leased_keys(connection: sqlite3.Connection) -> set[str]:
    """All keys that stand in a lease, also in one that has ended and not been removed."""
    return {key for (keys,) in connection.execute("SELECT keys FROM lease") for key in _split(keys)}


def _split(keys: bytes) -> list[str]:
    return [keys[start : start + _KEY_BYTES].hex() for start in range(0, len(keys), _KEY_BYTES)]
