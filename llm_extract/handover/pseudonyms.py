"""Ids that only the holder of a key can trace back, and days in place of dates."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

from llm_extract.errors import UsageError

KEY_BYTES = 32
_HEX = re.compile(r"[0-9a-fA-F]{64,}")
_DIGITS = 32
_ANOTHER_FILE = (
    "it is no key and stays as it is: give --key the key of the last release, or a new name with --create-key"
)


def create_key(path: Path) -> None:
    """Write a new random key that only its owner can read.

    Raises:
        UsageError: something has that name already: a key that is lost or replaced breaks every id made with it.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise UsageError(
            f"there is already a file {path}", code="key_exists", hint=_what_to_do_with(path)
        ) from None
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_hex(KEY_BYTES) + "\n")


@contextmanager
def new_key(path: Path) -> Iterator[None]:
    """A new key for the block; where the block fails, nothing was made with the key, and it is removed.

    Raises:
        UsageError: see :func:`create_key`.
    """
    create_key(path)
    try:
        yield
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def read_key(path: Path) -> bytes:
    """Read a key of at least 64 hexadecimal digits.

    Raises:
        UsageError: it is missing, readable by others, or no key.
    """
    if not path.is_file():
        raise UsageError(
            f"there is no key {path}",
            code="key_missing",
            hint="check --key; for the first release, add --create-key, which makes one",
        )
    if path.stat().st_mode & 0o077:
        raise UsageError(
            f"others than its owner can read the key {path}",
            code="key_not_private",
            hint=f"chmod 600 {path}",
        )
    key = _key_in(path)
    if key is None:
        raise UsageError(
            f"{path} holds no key of 64 or more hexadecimal digits", code="key_invalid", hint=_ANOTHER_FILE
        )
    return key


def _key_in(path: Path) -> bytes | None:
    text = path.read_text("ascii", "replace").strip()
    return None if _HEX.fullmatch(text) is None or len(text) % 2 else bytes.fromhex(text)


def _what_to_do_with(path: Path) -> str:
    """What to type where something has the name of a new key already."""
    is_key = path.is_file() and _key_in(path) is not None
    return "leave out --create-key to use the key in it" if is_key else _ANOTHER_FILE


class Pseudonyms:
    """Keyed ids: HMAC-SHA256, cut to 128 bits; reports, cases and patients of the same name get different ones.

    Args:
        key: secret of the hospital.

    >>> ids = Pseudonyms(b"k" * 32)
    >>> ids.report("R1") == ids.report("R1"), ids.report("R1") == ids.case("R1")
    (True, False)
    """

    def __init__(self, key: bytes) -> None:
        self._key = key

    def report(self, name: str) -> str:
        """Pseudonym of a report."""
        return self._keyed("report", name, "R")

    def case(self, name: str) -> str:
        """Pseudonym of a case: the CT."""
        return self._keyed("case", name, "C")

    def patient(self, name: str) -> str:
        """Pseudonym of a patient."""
        return self._keyed("patient", name, "P")

    @property
    def key_id(self) -> str:
        """Tells whether two releases were made with the same key, and nothing else of it."""
        return self._keyed("key", "id", "K")[:13]

    def _keyed(self, kind: str, name: str, prefix: str) -> str:
        message = f"{kind}\0{name}".encode("utf-8", "surrogatepass")
        return prefix + hmac.new(self._key, message, hashlib.sha256).hexdigest()[:_DIGITS]


class Days:
    """Days since the first study of a patient."""

    def __init__(self) -> None:
        self._first: dict[str, date] = {}

    def add(self, patient: str | None, day: date | None) -> None:
        """Note a study; all of a patient's have to be noted before the first is asked for."""
        if patient is not None and day is not None:
            self._first[patient] = min(day, self._first.get(patient, day))

    def since_first(self, patient: str | None, day: date | None) -> int | None:
        """Days since the patient's first study; None where patient or date is not known."""
        return None if patient is None or day is None else (day - self._first[patient]).days
