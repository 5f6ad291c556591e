"""Run a hook over texts, in this process or in worker processes that a bad report may end."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

from llm_extract.deidentify import NOT_INSTALLED, checked_text, load_hook
from llm_extract.work import Job, Result
from llm_extract.workers import WorkerPool, time_limit


def rewrite_here(
    jobs: Iterable[Job],
    hook: Callable[[str], str],
    *,
    timeout_s: float,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Result]:
    """Rewrite in this process; one result a job, with the new text where a record usually stands."""
    for job in jobs:
        if stop():
            return
        yield rewrite_job(job, hook, timeout_s=timeout_s)


def rewrite_job(job: Job, hook: Callable[[str], str], *, timeout_s: float) -> Result:
    """Rewrite one text; whatever the hook raises becomes a quarantined result without its message."""
    try:
        with time_limit(timeout_s):
            text = checked_text(hook(job.report.text))
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        detail = type(error).__name__[:80]
        if isinstance(error, ImportError) and error.name is not None:
            detail = NOT_INSTALLED + error.name[:80]
        return Result(key=job.key, state="quarantined", code="deidentification_failed", detail=detail)
    return Result(key=job.key, state="done", record_json=text)


def _serve_hook(
    connection: Connection, backend_name: str, timeout_s: float, anatomy: Path | None = None
) -> None:
    """Main loop of a worker: texts in, rewritten texts out, until the parent closes the connection."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    hook = load_hook(backend_name)
    with suppress(EOFError, OSError):
        connection.send("ready")
        while True:
            batch: list[Job] = connection.recv()
            for job in batch:
                connection.send(rewrite_job(job, hook, timeout_s=timeout_s))


class HookPool(WorkerPool):
    """Worker processes that each run the hook; its name stands where a backend's does."""

    serve = staticmethod(_serve_hook)
