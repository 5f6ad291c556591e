"""What every command shares: progress with ETA, errors with exit codes, and the next command at the end."""

from __future__ import annotations

import errno
import json
import math
import shlex
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, TextIO

import typer

from rsuper.errors import InterruptedRunError, ResourceError, RsuperError, UsageError

PLAIN_EVERY_S = 5.0
TRACE_LINES = 6
Tick = Callable[[int, int, str], None]
_OWN = frozenset({"rsuper", "llm_extract"})
_EXTRAS = {"dicom": ("pydicom", "highdicom", "SimpleITK")}


class TerminatedError(KeyboardInterrupt):
    """SIGTERM; like Ctrl-C it passes every ``except Exception``."""


def say(text: str, *, stream: TextIO | None = None) -> None:
    """One line for the user, on standard output unless ``stream`` says otherwise."""
    target = sys.stdout if stream is None else stream
    target.write(f"{text}\n")
    target.flush()


def say_next(*words: str | Path) -> None:
    """The command to type next; paths are quoted for the shell."""
    say(f"Next: {shlex.join(map(str, words))}")


def emit_json(value: Mapping[str, Any]) -> None:
    """The result of a command for programs: one JSON object on standard output."""
    say(json.dumps(_jsonable(value), indent=1, allow_nan=False))


@contextmanager
def failures(*, as_json: bool) -> Iterator[None]:
    """Expected failures become one line, one JSON object where asked for, and an exit code; never a report's text.

    1 a defect of the program · 2 usage · 3 bad data · 4 partial · 5 resources · 130 and 143 interrupted, resumable.
    """
    try:
        yield
    except RsuperError as error:
        _fail(error, as_json=as_json)
    except InterruptedRunError as error:
        say(f"interrupted: {error}", stream=sys.stderr)
        raise typer.Exit(error.exit_code) from error
    except KeyboardInterrupt as error:
        say("interrupted: the same command goes on where it stopped", stream=sys.stderr)
        code = signal.SIGTERM if isinstance(error, TerminatedError) else signal.SIGINT
        raise typer.Exit(128 + int(code)) from error
    except ModuleNotFoundError as error:
        module = (error.name or "").partition(".")[0]
        if module in _OWN:
            raise
        extra = next((name for name, modules in _EXTRAS.items() if module in modules), "train")
        hint = f'pip install "rsuper[{extra}]"'
        _fail(UsageError(f"{module} is not installed", code="missing_extra", hint=hint), as_json=as_json)
    except MemoryError:
        hint = "close other programs, or take smaller patches or batches"
        _fail(ResourceError("not enough memory", code="out_of_memory", hint=hint), as_json=as_json)
    except OSError as error:
        _fail(_named(error), as_json=as_json)
    except (typer.Exit, typer.Abort):
        raise
    except Exception as error:
        # its message may quote a report: only its type and the lines of code are shown
        for line in traceback.format_tb(error.__traceback__)[-TRACE_LINES:]:
            say(line.rstrip(), stream=sys.stderr)
        say(
            f"error internal_error: unexpected {type(error).__name__} — please report it with the lines above",
            stream=sys.stderr,
        )
        if as_json:
            emit_json({"error": {"code": "internal_error", "message": type(error).__name__}})
        raise typer.Exit(1) from None


def _named(error: OSError) -> ResourceError:
    """What the file system refused; a path is told, contents never."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        hint = "free some space; the same command goes on where it stopped"
        return ResourceError("the disk is full", code="disk_full", hint=hint)
    where = f"{error.filename}: " if isinstance(error.filename, str) else ""
    reason = error.strerror or error.__class__.__name__
    return ResourceError(f"{where}{reason}", code="file_error", hint="check the path and its permissions")


def _fail(error: RsuperError, *, as_json: bool) -> NoReturn:
    if as_json:
        message = {
            "code": error.code,
            "message": str(error.args[0]),
            "case_id": error.case_id,
            "hint": error.hint,
        }
        emit_json({"error": message})
    say(f"error {error}", stream=sys.stderr)
    raise typer.Exit(error.exit_code)


def die_of_sigterm_politely() -> None:
    """Let SIGTERM unwind like Ctrl-C, so that temporary files go and the exit code is 143."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise TerminatedError

    signal.signal(signal.SIGTERM, stop)


def _jsonable(value: Any) -> Any:
    """JSON has no NaN and no infinity: null; paths and the like as text."""
    if isinstance(value, Mapping):
        return {str(key): _jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool | None) else str(value)


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
