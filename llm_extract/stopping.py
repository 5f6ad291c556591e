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
def disk_errors_named(out: Path) -> Iterator[None]:
    """Name what the disk or the place of the output folder makes impossible.

    Raises:
        ResourceError: the disk is full, or may not be written to.
        UsageError: the folder's place is taken.
    """
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
            raise ResourceError(
                f"the disk of {out} is full",
                code="disk_full",
                hint="free some space and run the same command again",
            ) from error
        if error.errno in {errno.EACCES, errno.EROFS, errno.EPERM}:
            raise ResourceError(
                f"cannot write to {out}: {error.strerror}",
                code="output_not_writable",
                hint="choose another --out",
            ) from error
        if error.errno in {errno.ENOTDIR, errno.EEXIST}:
            raise UsageError(
                f"{out} cannot be a folder, a file is in its place",
                code="output_not_a_folder",
                hint="choose another --out",
            ) from error
        raise
