"""Run a backend over jobs, in this process or in worker processes that a bad report may end.

Every job comes back as exactly one result. A worker that dies or hangs is replaced; the report it was
reading is tried once more and then quarantined, its neighbours go on.
"""

from __future__ import annotations

import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import islice
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING

from llm_extract.backends import Backend, extract_checked, load_backend
from llm_extract.errors import ResourceError
from llm_extract.records import IssueCode
from llm_extract.work import Job, Result, read_to_the_end

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

TRIES_AFTER_CRASH = 2
"""A report that a worker dies on is tried this often: the first death may have come from outside."""

_BATCH_S = 0.2
_LARGEST_BATCH = 64
_START_GRACE_S = 300.0
_STOP_GRACE_S = 10.0
_TIMEOUT_GRACE_S = 5.0


class ExtractionTimeoutError(TimeoutError):
    """One report took longer than it may."""


def run_here(
    jobs: Iterable[Job], backend: Backend, *, timeout_s: float, stop: Callable[[], bool] = lambda: False
) -> Iterator[Result]:
    """Extract in this process, one report at a time.

    Args:
        jobs: what to do; pulled one by one.
        backend: what extracts.
        timeout_s: longest time for one report; held in the main thread of Unix systems only.
        stop: asked before each job.

    Yields:
        One result a job.
    """
    for job in jobs:
        if stop():
            return
        yield extract_job(job, backend, timeout_s=timeout_s)


def extract_job(job: Job, backend: Backend, *, timeout_s: float) -> Result:
    """Extract one report; whatever the backend raises becomes a quarantined result without its message."""
    started = time.perf_counter()
    try:
        with time_limit(timeout_s):
            record = extract_checked(backend, job.report)
    except ExtractionTimeoutError:
        return _quarantined(
            job, "extraction_timeout", "ExtractionTimeoutError", time.perf_counter() - started
        )
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        return _quarantined(job, "extraction_error", type(error).__name__, time.perf_counter() - started)
    return read_to_the_end(job.key, record, seconds=time.perf_counter() - started)


def _quarantined(job: Job, code: IssueCode, detail: str, seconds: float, attempts: int = 1) -> Result:
    return Result(
        key=job.key, state="quarantined", code=code, detail=detail[:80], seconds=seconds, attempts=attempts
    )


@contextmanager
def time_limit(timeout_s: float) -> Iterator[None]:
    """Raise in the block after ``timeout_s``; CPython looks for signals inside regular expressions too."""
    usable = hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread()
    if not usable or timeout_s <= 0:
        yield
        return

    def expired(_number: int, _frame: object) -> None:
        raise ExtractionTimeoutError

    before = signal.signal(signal.SIGALRM, expired)
    signal.setitimer(signal.ITIMER_REAL, timeout_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@dataclass
class _Worker:
    process: BaseProcess
    connection: Connection
    in_hand: deque[Job] = field(default_factory=deque)
    is_ready: bool = False
    is_killed: bool = False
    since: float = 0.0


def _serve(connection: Connection, backend_name: str, timeout_s: float, anatomy: Path | None = None) -> None:
    """Main loop of a worker: jobs in, results out, until the parent closes the connection."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    backend = load_backend(backend_name, anatomy=anatomy)
    backend.load()
    with suppress(EOFError, OSError):
        connection.send("ready")
        while True:
            batch: list[Job] = connection.recv()
            for job in batch:
                connection.send(extract_job(job, backend, timeout_s=timeout_s))


class WorkerPool:
    """Worker processes that each run one backend.

    Args:
        backend: name for :func:`llm_extract.backends.load_backend`; each worker loads its own.
        workers: number of processes.
        timeout_s: longest time for one report.
        on_idle: called at least once a second while results are awaited, for example to renew leases.
        anatomy: a user's own anatomy file.
    """

    serve = staticmethod(_serve)
    """What runs in a worker."""

    def __init__(
        self,
        backend: str,
        workers: int,
        *,
        timeout_s: float,
        on_idle: Callable[[], None] = lambda: None,
        anatomy: Path | None = None,
    ) -> None:
        self._anatomy = anatomy
        self._backend = backend
        self._timeout_s = timeout_s
        self._on_idle = on_idle
        self._context = get_context("spawn")
        self._crashes: dict[str, int] = {}
        self._again: deque[Job] = deque()
        self._seconds_per_job = _BATCH_S
        self._failed_starts = 0
        self._workers = [self._start() for _ in range(max(1, workers))]

    def run(self, jobs: Iterable[Job], *, stop: Callable[[], bool] = lambda: False) -> Iterator[Result]:
        """Extract jobs; results come in the order in which they end.

        Args:
            jobs: what to do; pulled only as workers become free.
            stop: when true, no job is started any more and those in hand are awaited for a moment.

        Yields:
            One result a job; on a stop, one for each job that ended.
        """
        source = iter(jobs)
        stop_at: float | None = None
        while True:
            if stop_at is None and stop():
                stop_at = time.monotonic() + _STOP_GRACE_S
            if stop_at is None:
                for worker in self._workers:
                    if worker.is_ready and not worker.in_hand:
                        self._give(worker, source)
            busy = any(worker.in_hand for worker in self._workers)
            if stop_at is not None and (not busy or time.monotonic() > stop_at):
                return
            if not busy and not self._again and all(worker.is_ready for worker in self._workers):
                return
            yield from self._collect()
            self._on_idle()

    def close(self) -> None:
        """End all workers."""
        for worker in self._workers:
            worker.connection.close()
        for worker in self._workers:
            worker.process.join(timeout=1)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
        self._workers = []

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def _start(self) -> _Worker:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=self.serve,
            args=(theirs, self._backend, self._timeout_s, self._anatomy),
            daemon=True,
            name="llm-extract-worker",
        )
        process.start()
        theirs.close()
        return _Worker(process=process, connection=ours, since=time.monotonic())

    def _give(self, worker: _Worker, source: Iterator[Job]) -> None:
        """Hand an idle worker about a fifth of a second of work, one suspect alone."""
        if self._again:
            batch = [self._again.popleft()]
        else:
            size = max(1, min(_LARGEST_BATCH, int(_BATCH_S / self._seconds_per_job)))
            batch = list(islice(source, size))
        if batch:
            worker.in_hand.extend(batch)
            worker.since = time.monotonic()
            with suppress(OSError):  # a dead worker is noticed when its answers are collected
                worker.connection.send(batch)

    def _collect(self) -> Iterator[Result]:
        by_connection = {worker.connection: worker for worker in self._workers}
        for connection in wait(list(by_connection), timeout=1.0):
            worker = by_connection[connection]  # type: ignore[index]
            try:
                message = worker.connection.recv()
            except (EOFError, OSError):
                yield from self._replace(worker)
                continue
            worker.since = time.monotonic()
            if isinstance(message, Result):
                worker.in_hand.popleft()
                self._seconds_per_job += 0.1 * (max(message.seconds, 1e-4) - self._seconds_per_job)
                yield replace(message, attempts=1 + self._crashes.pop(message.key, 0))
            else:
                worker.is_ready = True
                self._failed_starts = 0
        self._kill_hanging()

    def _kill_hanging(self) -> None:
        for worker in self._workers:
            limit_s = self._timeout_s + _TIMEOUT_GRACE_S if worker.is_ready else _START_GRACE_S
            waiting = bool(worker.in_hand) or not worker.is_ready
            if waiting and self._timeout_s > 0 and time.monotonic() - worker.since > limit_s:
                worker.is_killed = True
                worker.process.kill()

    def _replace(self, worker: _Worker) -> Iterator[Result]:
        """Start a new worker for one that died, and decide what becomes of what it had in hand."""
        worker.process.join(timeout=5)
        worker.connection.close()
        if not worker.is_ready:
            self._failed_starts += 1
            if self._failed_starts > 2:
                raise ResourceError(
                    f"worker processes of the backend {self._backend!r} end while they start "
                    f"(exit code {worker.process.exitcode})",
                    code="worker_start_failed",
                    hint="run once with --workers 0 to see why",
                )
        if worker.in_hand:
            suspect = worker.in_hand.popleft()
            crashes = self._crashes.get(suspect.key, 0) + 1
            if worker.is_killed or crashes >= TRIES_AFTER_CRASH:
                self._crashes.pop(suspect.key, None)
                code: IssueCode = "extraction_timeout" if worker.is_killed else "worker_crashed"
                detail = f"exit code {worker.process.exitcode}"
                yield _quarantined(suspect, code, detail, time.monotonic() - worker.since, attempts=crashes)
            else:
                self._crashes[suspect.key] = crashes
                self._again.append(suspect)
            self._again.extend(worker.in_hand)
        self._workers[self._workers.index(worker)] = self._start()
