"""What every command shares: progress with ETA, errors with exit codes, and the next command at the end."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

PLAIN_EVERY_S = 5.0
Tick = Callable[[int, int, str], None]


def say(text: str, *, stream: Any = None) -> None:
    """One line for the user, on standard output unless ``stream`` says otherwise."""
    target = sys.stdout if stream is None else stream
    target.write(f"{text}\n")
    target.flush()


def emit_json(value: Mapping[str, Any]) -> None:
    """The result of a command for programs: one JSON object on standard output."""
    say(json.dumps(value, indent=1, default=str))


@contextmanager
def progress(label: str) -> Iterator[Tick]:
    """A progress line with ETA: a bar on a terminal, a plain line every few seconds elsewhere (standard error).

    Yields:
        A function of (done, total, detail).
    """
    if sys.stderr.isatty():
        with _bar(label) as tick:
            yield tick
    else:
        yield _plain(label)


@contextmanager
def _bar(label: str) -> Iterator[Tick]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description:<22}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("ETA"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[detail]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(label, total=None, detail="")

        def tick(done: int, total: int, detail: str) -> None:
            bar.update(task, completed=done, total=total, detail=detail)

        yield tick


def _plain(label: str) -> Tick:
    began = time.monotonic()
    last = began

    def tick(done: int, total: int, detail: str) -> None:
        nonlocal last
        now = time.monotonic()
        if done < total and now - last < PLAIN_EVERY_S:
            return
        last = now
        eta = (now - began) / max(done, 1) * (total - done)
        say(
            f"{label}: {done}/{total}, {now - began:.0f} s, ETA {eta:.0f} s {detail}".rstrip(),
            stream=sys.stderr,
        )

    return tick
