"""Write files that hold report text: readable by their owner only, and whole or not at all."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from llm_extract.errors import UsageError

LEFTOVER_S = 24 * 3600.0


def prepare_folder(folder: Path) -> None:
    """Create an output folder.

    Raises:
        UsageError: something that is no folder has its name.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(
            f"{folder} exists and is no folder", code="output_not_a_folder", hint="choose another --out"
        )
    folder.mkdir(parents=True, exist_ok=True)
    for leftover in folder.glob(".*.tmp"):  # of a process that was killed; a running one renews its files
        if time.time() - leftover.lstat().st_mtime > LEFTOVER_S:
            leftover.unlink(missing_ok=True)


def private_path(path: Path) -> Path:
    """Temporary name beside ``path``, of this process, with mode 0600; any leftover is replaced."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
    os.close(os.open(temporary, flags, 0o600))
    return temporary


def commit(temporary: Path, path: Path) -> None:
    """Make a temporary file durable and give it its name in one step."""
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@contextmanager
def private_text(path: Path) -> Iterator[IO[str]]:
    """Open a text file that appears under its name only when the block ends without an error.

    Args:
        path: final name; UTF-8, newlines as written, mode 0600.

    Yields:
        The open file.
    """
    temporary = private_path(path)
    try:
        with temporary.open("w", encoding="utf-8", newline="") as file:
            yield file
        commit(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def refuse_an_input(output: Path | None, *inputs: Path | None) -> None:
    """Refuse an output file that is read, under whatever name.

    Raises:
        UsageError: ``output_is_input``.
    """
    if output is None or not output.exists():
        return
    for path in inputs:
        if path is not None and path.exists() and output.samefile(path):
            raise UsageError(
                f"{output} is read and would be replaced", code="output_is_input", hint="choose another file"
            )
