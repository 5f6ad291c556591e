"""The work of the batch loop on Ray Data: every worker is an actor that holds one backend, and its GPUs.

The ledger stays with the program that was started: it reserves work, hands it to the cluster, and writes down what
comes back. Work that a dead node had in hand is done again elsewhere; a result that comes twice is kept once.
"""

from __future__ import annotations

import logging
import os
import queue
import signal
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, redirect_stdout
from dataclasses import dataclass, fields
from itertools import islice
from typing import TYPE_CHECKING, Any

from llm_extract.backends import BatchBackend, load_backend
from llm_extract.errors import PipelineError, ResourceError, UsageError
from llm_extract.ledger import Job, Result
from llm_extract.reports import Report
from llm_extract.workers import WorkerPool

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

    from llm_extract.archive_options import ArchiveOptions
    from llm_extract.chat.engine import ModelOptions

LOCAL = "local"
_JOBS_A_BLOCK = 1024
_JOBS_A_BATCH = 32
_MODEL_JOBS_A_BATCH = 256
_RESTARTS = 3
_POLL_S = 0.5
_STANDARD_OUTPUT, _STANDARD_ERROR = 1, 2


@dataclass(frozen=True)
class RayOptions:
    """Which Ray cluster, and what each worker gets of it.

    Args:
        address: of a running cluster, ``auto`` for the one of this machine; ``local`` starts one for this run.
        workers: number of actors.
        gpus_per_worker: GPUs of each; 0 for backends without a model of their own.
    """

    address: str = LOCAL
    workers: int = 1
    gpus_per_worker: float = 0.0


@dataclass(frozen=True)
class _Spec:
    """What an actor needs to build its backend."""

    backend: str
    model: ModelOptions | None
    anatomy: Path | None
    timeout_s: float


class _Extractor:
    """One actor: a batch of jobs in, a batch of results out. A report that ends or hangs its process ends alone."""

    def __init__(self, spec: _Spec) -> None:
        self._backend = load_backend(spec.backend, spec.model, anatomy=spec.anatomy)
        self._stack = ExitStack()
        if isinstance(self._backend, BatchBackend):
            self._backend.load()
        else:
            self._pool = self._stack.enter_context(
                WorkerPool(spec.backend, 1, timeout_s=spec.timeout_s, anatomy=spec.anatomy)
            )

    def __call__(self, batch: pa.Table) -> pa.Table:
        jobs = (
            Job(row["key"], Report.model_validate_json(row["report"]))
            for row in batch.select(["key", "report"]).to_pylist()
        )
        if isinstance(self._backend, BatchBackend):
            results: Iterable[Result | None] = self._backend.run(jobs, stop=lambda: False)
        else:
            results = self._pool.run(jobs)
        return _result_table(result for result in results if result is not None)


def run_on_ray(
    jobs: Iterable[Job],
    options: ArchiveOptions,
    *,
    stop: Callable[[], bool],
    leases_kept: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Iterator[Result | None]:
    """Extract on a Ray cluster.

    Args:
        jobs: what to do; all of it is handed to the cluster's object store, which writes to disk what its memory
            does not hold.
        options: backend, model and cluster.
        stop: when true, no more results are awaited.
        leases_kept: a block in which leases are renewed, for a cluster that takes long to start.

    Yields:
        One result a job, in the order in which batches end; None while nothing ends.

    Raises:
        UsageError: Ray is not installed.
        ResourceError: the cluster cannot be reached, or its workers fail.
    """
    cluster = options.ray if options.ray is not None else RayOptions()
    with ExitStack() as stack:
        with leases_kept():
            ray = stack.enter_context(_cluster(cluster))
            dataset = _dataset(ray, jobs, options, cluster)
        results: queue.Queue[list[Result] | Exception | None] = queue.Queue(maxsize=64)
        threading.Thread(target=_collect, args=(dataset, results), daemon=True).start()
        while not stop():
            try:
                batch = results.get(timeout=_POLL_S)
            except queue.Empty:
                yield None
                continue
            if batch is None:
                return
            if isinstance(batch, Exception):
                raise _named(batch) from None  # its message may quote what a worker had in hand
            yield from batch


def _dataset(ray: Any, jobs: Iterable[Job], options: ArchiveOptions, cluster: RayOptions) -> Any:
    from ray.data import ActorPoolStrategy, DataContext, from_arrow_refs

    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.execution_no_progress_timeout_s = -1  # a large model may load for long
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    spec = _Spec(options.backend, options.model, options.anatomy, options.timeout_s)
    size = _MODEL_JOBS_A_BATCH if options.model is not None else _JOBS_A_BATCH
    blocks = [ray.put(block) for block in _job_tables(jobs, n_workers=cluster.workers, batch_size=size)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the only way to end the restarts of an actor
        return from_arrow_refs(blocks).map_batches(
            _Extractor,
            fn_constructor_args=(spec,),
            batch_size=size,
            batch_format="pyarrow",
            compute=ActorPoolStrategy(size=cluster.workers),
            num_cpus=1,
            num_gpus=cluster.gpus_per_worker or None,
            ray_remote_args_fn=lambda: {"max_restarts": _RESTARTS, "max_task_retries": _RESTARTS},
        )


def _job_tables(jobs: Iterable[Job], *, n_workers: int, batch_size: int) -> Iterator[pa.Table]:
    """Jobs as tables; the first ones are small, so that few jobs are spread over all workers too."""
    import pyarrow as pa

    iterator = iter(jobs)
    number = 0
    while chunk := list(islice(iterator, batch_size if number < 4 * n_workers else _JOBS_A_BLOCK)):
        number += 1
        yield pa.table(
            {"key": [job.key for job in chunk], "report": [job.report.model_dump_json() for job in chunk]}
        )


def _result_table(results: Iterable[Result]) -> pa.Table:
    import pyarrow as pa

    kinds = {"attempts": pa.int64(), "tokens": pa.int64(), "seconds": pa.float64(), "raw_output": pa.binary()}
    schema = pa.schema([(field.name, kinds.get(field.name, pa.string())) for field in fields(Result)])
    return pa.Table.from_pylist([vars(result) for result in results], schema=schema)


def _collect(dataset: Any, results: queue.Queue[list[Result] | Exception | None]) -> None:
    try:
        for batch in dataset.iter_batches(batch_size=None, batch_format="pyarrow"):
            results.put([Result(**row) for row in batch.to_pylist()])
        results.put(None)
    except Exception as error:
        results.put(error)


def _named(error: Exception) -> PipelineError:
    """An error of the cluster without its message; one of ours that a worker raised stays as it is."""
    cause: BaseException | None = error
    while cause is not None:
        inner = getattr(cause, "cause", None)
        for each in (cause, inner):
            if isinstance(each, PipelineError):
                return each
        cause = inner if isinstance(inner, BaseException) else cause.__cause__
    return ResourceError(
        f"the workers of the Ray cluster fail ({type(error).__name__})",
        code="ray_failed",
        hint="what is done is kept; run a few reports without --ray to see why",
    )


@contextmanager
def _cluster(cluster: RayOptions) -> Iterator[Any]:
    """A connection to the cluster; a local one listens on this machine alone and ends with the block."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = (
        "0"  # Ray has no other switch for these three, and reads them once
    )
    os.environ["RAY_ENABLE_AUTO_CONNECT"] = (
        "0"  # a thread that is late at the end would start a cluster of its own
    )
    if cluster.address == LOCAL:
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # listen at 127.0.0.1, on any system
    try:
        import ray
    except ImportError as error:
        raise UsageError(
            "Ray is not installed", code="ray_missing", hint="pip install 'rsuper[ray]'"
        ) from error
    with ExitStack() as stack:
        stack.enter_context(_standard_output_kept_clean())
        where: dict[str, Any] = {"address": cluster.address}
        if cluster.address == LOCAL:
            folder = stack.enter_context(
                tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True)
            )
            where |= {"num_cpus": cluster.workers, "include_dashboard": False, "_temp_dir": folder}
        on_terminate = signal.getsignal(signal.SIGTERM)
        try:
            ray.init(**where, log_to_driver=False, logging_level="ERROR")
        except Exception as error:
            raise ResourceError(
                f"no Ray cluster at {cluster.address!r} ({type(error).__name__})",
                code="ray_unavailable",
                hint="start one with `ray start --head`, or give --ray local",
            ) from error
        stack.callback(ray.shutdown)
        if threading.current_thread() is threading.main_thread():
            signal.signal(
                signal.SIGTERM, on_terminate
            )  # Ray takes it; a run that is asked to stop ends in order
        yield ray


@contextmanager
def _standard_output_kept_clean() -> Iterator[None]:
    """Send what Ray says to standard error: it is no answer of the program.

    Also what its processes and its compiled parts write, which know the descriptor alone.
    """
    sys.stdout.flush()  # what was said before is an answer
    with redirect_stdout(sys.stderr):
        try:
            kept = os.dup(_STANDARD_OUTPUT)
        except OSError:  # closed: nothing can be written to it
            yield
            return
        try:
            os.dup2(_STANDARD_ERROR, _STANDARD_OUTPUT)
            yield
        finally:
            os.dup2(kept, _STANDARD_OUTPUT)
            os.close(kept)
