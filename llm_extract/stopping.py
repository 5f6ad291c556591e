"""What ends a run from outside: signals, and a disk that takes no more."""

from __future__ import annotations

import errno
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from llm_extract.errors import InterruptedRunError, ResourceError, UsageError


class Stop:
    """Whether a signal has asked the run to stop."""

    def __init__(self) -> None:
        self.signal_number: int | None = None

    def asked(self) -> bool:
        """True after a signal."""
        return self.signal_number is not None

    def raise_if_asked(self) -> None:
        """End the run, resumable.

        Raises:
            InterruptedRunError: a signal has arrived.
        """
        if self.signal_number is not None:
            raise InterruptedRunError(self.signal_number)


@contextmanager
def stop_signals() -> Iterator[Stop]:
    """Turn SIGINT and SIGTERM into a wish to stop; a second one ends the process at once."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    before: dict[int, Any] = {}

    def ask(number: int, _frame: object) -> None:
        stop.signal_number = number
        signal.signal(number, before[number])

    for number in (int(signal.SIGINT), int(signal.SIGTERM)):
        before[number] = signal.signal(number, ask)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def disk_errors_named(folder: Path, *, option: str = "--out") -> Iterator[None]:
    """Name what the disk or the place of a folder makes impossible; an error about another path names that one.

    Args:
        folder: where the block writes.
        option: the option that names it.

    Raises:
        ResourceError: the disk is full, or may not be written to.
        UsageError: the folder's place is taken.
    """
    try:
        yield
    except OSError as error:
        place, hint = folder, f"choose another {option}"
        if isinstance(error.filename, str) and not _on_one_path(Path(error.filename), folder):
            place, hint = Path(error.filename), "check this path and who may write to it"
        if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
            raise ResourceError(
                f"the disk of {place} is full",
                code="disk_full",
                hint="free some space and run the same command again",
            ) from error
        if error.errno in {errno.EACCES, errno.EROFS, errno.EPERM}:
            raise ResourceError(
                f"cannot write to {place}: {error.strerror}", code="output_not_writable", hint=hint
            ) from error
        if error.errno in {errno.ENOTDIR, errno.EEXIST}:
            raise UsageError(
                f"{place} cannot be a folder, a file is in its place", code="output_not_a_folder", hint=hint
            ) from error
        raise


def _on_one_path(one: Path, other: Path) -> bool:
    """Whether one of two paths lies in the other."""
    one, other = one.absolute(), other.absolute()
    return one.is_relative_to(other) or other.is_relative_to(one)
