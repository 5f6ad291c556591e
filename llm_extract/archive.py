"""The batch loop over a report archive: read, skip what the ledger knows, extract, export in input order.

The loop may be killed at any instant and started again with the same command: finished reports are never
extracted again, exports appear whole or not at all, and every input row ends done or quarantined with a code.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, nullcontext
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import TypeVar

from llm_extract.archive_options import ArchiveOptions, Shard
from llm_extract.backends import Backend, BatchBackend, load_backend
from llm_extract.deidentify import Rewriter, check_hook, hook_identity, rewriting
from llm_extract.export import ExportCounts, ExportPlan, export_archive, organ_names
from llm_extract.ledger import Ledger
from llm_extract.ledger_place import open_ledger
from llm_extract.pilot import Forecast, choose_rows, forecast
from llm_extract.private_files import prepare_folder
from llm_extract.progress import ProgressReporter, Tally
from llm_extract.reports import Report, ReportSource, check_source, read_reports
from llm_extract.stopping import Stop, disk_errors_named, stop_signals
from llm_extract.work import Job, Result, settings_sha256, text_alone, work_key
from llm_extract.workers import WorkerPool, run_here

__all__ = ["ArchiveOptions", "ArchiveResult", "Shard", "extract_archive"]

_T = TypeVar("_T")

COMMIT_SIZE = 512
COMMIT_S = 1.0
_CLAIM_SIZES = (64, 512)
_POLL_S = 0.5


@dataclass
class ArchiveResult:
    """What a finished run has done: ``counts`` over the exported rows, the rest over this run alone.

    ``source_note`` says which columns the reports were read from, ``forecast`` what a pilot says of the whole.
    """

    counts: ExportCounts
    extracted: int
    seconds: float
    files: list[Path] = field(default_factory=list)
    source_note: str = ""
    forecast: Forecast | None = None

    @property
    def exit_code(self) -> int:
        """0 when every report is done, 4 when some are quarantined."""
        return 4 if self.counts.quarantined else 0


def extract_archive(source: ReportSource, options: ArchiveOptions) -> ArchiveResult:
    """Extract every report of an archive and write the records, tables and pages.

    Args:
        source: where the reports are.
        options: where results go, and how they are made.

    Returns:
        Counts over all exported rows.

    Raises:
        PipelineError: the input, the output folder or the backend cannot be used.
        InterruptedRunError: SIGINT or SIGTERM arrived; what is done is kept.
    """
    started = time.monotonic()
    source_note = check_source(source)  # a wrong path or column ends here, before anything is written
    check_hook(options)
    backend = load_backend(options.backend, options.model, anatomy=options.anatomy)
    shard_suffix = options.shard.suffix if options.shard else ""
    with disk_errors_named(options.out):
        prepare_folder(options.out)
    with (
        closing(backend) if isinstance(backend, BatchBackend) else nullcontext(),
        disk_errors_named(options.out),
        stop_signals() as stop,
        rewriting(options) as rewriter,
        open_ledger(
            options.out, suffix=shard_suffix, folder=options.ledger_folder, lease_s=options.lease_s
        ) as ledger,
    ):
        if options.shard is None:
            for path in sorted(options.out.glob("ledger.*-of-*.sqlite")):
                ledger.merge(path)
        if options.quarantine == "retry":
            ledger.reopen_quarantined()
        run = _Run(source, options, backend, ledger, stop, rewriter=rewriter)
        total, extracted = run.extract()
        counts, files = run.export(total)
        expected = run.forecast(counts)
        if expected is not None:
            files.append(expected.write(options.out / f"forecast{shard_suffix}.json"))
    return ArchiveResult(
        counts=counts,
        extracted=extracted,
        seconds=time.monotonic() - started,
        files=files,
        source_note=source_note,
        forecast=expected,
    )


def claim_size(pending: int) -> int:
    """How many reports to reserve at a time: few enough that processes on one ledger end at about the same time.

    >>> claim_size(300), claim_size(10_000), claim_size(1_000_000)
    (64, 156, 512)
    """
    smallest, largest = _CLAIM_SIZES
    return min(max(pending // 64, smallest), largest)


class _Run:
    """One pass over one archive with one ledger."""

    def __init__(
        self,
        source: ReportSource,
        options: ArchiveOptions,
        backend: Backend,
        ledger: Ledger,
        stop: Stop,
        *,
        rewriter: Rewriter | None,
    ) -> None:
        self._source = source
        self._rewriter = rewriter
        self._options = options
        self._backend = backend
        self._ledger = ledger
        self._stop = stop
        self._settings = dict(backend.settings())
        if options.deidentify is not None:
            self._settings["deidentify"] = hook_identity(options.deidentify)
        self._settings_hash = settings_sha256(options.backend, self._settings)
        self._elsewhere: dict[str, None] = {}
        self._claim_size = claim_size(0)
        self._finished = ledger.finished_keys()
        self._sample: frozenset[int] | None = None
        self._rows = self._unreadable = 0
        self._seconds = 0.0
        price = options.model.price_per_million if options.model is not None else None
        self._tally = Tally(price_per_million=price)

    def reports(self) -> Iterator[Report]:
        """The reports of this shard or sample, in input order, with the texts that a hook gave them."""
        return self._rows_read() if self._rewriter is None else self._rewriter(self._rows_read(), self._stop)

    def _rows_read(self) -> Iterator[Report]:
        """The reports of this shard or sample as they are read; ids are checked over the whole input."""
        shard, sample = self._options.shard, self._sample
        return (
            report
            for report in read_reports(self._source)
            if (shard is None or shard.holds(report)) and (sample is None or report.row in sample)
        )

    def _choose_sample(self) -> None:
        """For a pilot, read the input once more and choose its rows."""
        if self._options.pilot is not None:
            self._sample = choose_rows(self._counted(self._rows_read()), self._options.pilot)

    def _counted(self, reports: Iterable[Report]) -> Iterator[Report]:
        for report in reports:
            self._stop.raise_if_asked()
            self._rows += 1
            self._unreadable += report.fatal_issue is not None
            yield report

    def forecast(self, counts: ExportCounts) -> Forecast | None:
        """What a pilot says of the whole archive; None for a full run."""
        if self._options.pilot is None:
            return None
        in_process = self._options.backend in {"vllm", "transformers"} and self._options.model is not None
        gpus: float | None = (
            self._options.model.gpus if in_process and self._options.model is not None else None
        )
        if self._options.ray is not None:
            gpus = self._options.ray.workers * self._options.ray.gpus_per_worker or None
        return forecast(
            self._tally,
            reports=self._rows,
            unreadable=self._unreadable,
            sample=(counts.quarantined, counts.input),
            seconds=self._seconds,
            gpus=gpus,
        )

    def keyed(self, reports: Iterable[Report]) -> Iterator[tuple[Report, str | None]]:
        """Reports with their work keys; None where the reader found nothing to extract."""
        for report in reports:
            yield report, (None if report.fatal_issue else work_key(report, self._settings_hash))

    def extract(self) -> tuple[int, int]:
        """Extract what is not finished; returns the number of rows and of reports extracted now."""
        self._choose_sample()
        total, pending = self._scan()
        self._claim_size = claim_size(pending)
        extracted = 0
        try:
            with ProgressReporter("extract", pending) as progress:
                extracted += self._work_off(self._claimed_jobs(self.keyed(self.reports())), progress)
                while self._elsewhere:
                    extracted += self._work_off(self._claimed_again(), progress)
        finally:
            self._ledger.release()
        return total, extracted

    def export(self, total: int) -> tuple[ExportCounts, list[Path]]:
        """Write all output files; returns totals over the exported rows, and the files."""
        options = self._options
        plan = ExportPlan(
            out=options.out,
            suffix=options.suffix,
            backend=options.backend,
            settings=self._settings,
            organs=organ_names(options.anatomy),
            evidence_limit=options.evidence_limit,
            texts="cleaned" if self._rewriter is None else "all",
        )
        counts, files = export_archive(
            self.keyed(self.reports()),
            plan,
            ledger=self._ledger,
            total=total,
            check_stop=self._stop.raise_if_asked,
        )
        if options.model is not None and options.model.cross_check != "none":
            from llm_extract.chat.consensus import write_agreement

            files.append(write_agreement(options.out / f"records{options.suffix}.jsonl"))
        return counts, files

    def _scan(self) -> tuple[int, int]:
        """Read the input once: broken files end the run before anything is written, and totals are known."""
        total = 0
        pending = set[int]()
        with ProgressReporter("read", None) as progress:
            for chunk in _chunks(self.keyed(self.reports()), 500):
                self._stop.raise_if_asked()
                total += len(chunk)
                pending |= {int(key[:15], 16) for _, key in self._unfinished(chunk)}
                progress.advance(len(chunk))
        return total, len(pending)

    def _unfinished(self, chunk: Iterable[tuple[Report, str | None]]) -> list[tuple[Report, str]]:
        """Those with something to extract that was not finished when the run began."""
        given = [(report, key) for report, key in chunk if key is not None]
        finished = self._finished.holds([key for _, key in given])
        return [each for each, done in zip(given, finished, strict=True) if not done]

    def _claimed_jobs(self, keyed: Iterable[tuple[Report, str | None]]) -> Iterator[Job]:
        for chunk in _chunks(keyed, self._claim_size):
            if self._stop.asked():
                return
            jobs = {key: Job(key, text_alone(report)) for report, key in self._unfinished(chunk)}
            if not jobs:
                continue
            self._ledger.renew()  # a long input may be claimed before any of it is finished
            claim = self._ledger.claim(list(jobs))
            self._elsewhere |= dict.fromkeys(claim.elsewhere)
            yield from (job for key, job in jobs.items() if key in claim.ours)

    def _claimed_again(self) -> Iterator[Job]:
        """Work that others held: theirs when they finish it, ours when they die or their lease runs out.

        Of work elsewhere only the keys are kept, for it may be most of the archive: what comes free is read again.
        """
        time.sleep(_POLL_S)
        self._stop.raise_if_asked()
        ours = set[str]()
        for keys in _chunks(list(self._elsewhere), self._claim_size):
            claim = self._ledger.claim(keys)
            for key in keys:
                del self._elsewhere[key]
            self._elsewhere |= dict.fromkeys(
                claim.elsewhere
            )  # at the end: others are asked for first next time
            ours |= claim.ours
            if claim.elsewhere and not claim.ours:  # whoever has them is alive: let it work
                break
        for chunk in _chunks(self.keyed(self.reports()), _CLAIM_SIZES[1]):
            if not ours or self._stop.asked():
                return
            self._ledger.renew()
            jobs = {key: Job(key, text_alone(report)) for report, key in chunk if key in ours}
            ours -= jobs.keys()
            yield from jobs.values()

    def _work_off(self, jobs: Iterator[Job], progress: ProgressReporter) -> int:
        first = next(jobs, None)
        if first is None:
            return 0
        jobs = chain([first], jobs)
        before, tally = self._tally.reports, self._tally
        with ExitStack() as stack:
            buffer: list[Result] = []
            committed = time.monotonic()
            started: float | None = None
            try:
                for result in self._results(jobs, stack):
                    if result is not None:
                        if started is None:  # what comes before is start-up, not speed
                            started = time.monotonic() - result.seconds
                        buffer.append(result)
                        tally.add(result)
                    if len(buffer) >= COMMIT_SIZE or time.monotonic() - committed > COMMIT_S:
                        self._commit(buffer, tally, progress)
                        committed = time.monotonic()
            finally:  # what an engine answered before it failed is kept
                self._commit(buffer, tally, progress)
        self._seconds += 0.0 if started is None else time.monotonic() - started
        self._stop.raise_if_asked()
        return tally.reports - before

    def _commit(self, buffer: list[Result], tally: Tally, progress: ProgressReporter) -> None:
        if buffer:
            self._ledger.finish(buffer)
            progress.advance(len(buffer), note=tally.note())
            buffer.clear()
        self._ledger.renew()

    def _results(self, jobs: Iterator[Job], stack: ExitStack) -> Iterator[Result | None]:
        options = self._options
        if options.ray is not None:
            from llm_extract.distributed import run_on_ray

            return run_on_ray(jobs, options, stop=self._stop.asked, leases_kept=self._ledger.leases_kept)
        if isinstance(self._backend, BatchBackend):
            with self._ledger.leases_kept():
                self._backend.load()
            return self._backend.run(jobs, stop=self._stop.asked)
        if options.workers < 1:
            with self._ledger.leases_kept():
                self._backend.load()
            return run_here(jobs, self._backend, timeout_s=options.timeout_s, stop=self._stop.asked)
        pool = stack.enter_context(
            WorkerPool(
                options.backend,
                options.workers,
                timeout_s=options.timeout_s,
                on_idle=self._ledger.renew,
                anatomy=options.anatomy,
            )
        )
        return pool.run(jobs, stop=self._stop.asked)


def _chunks(items: Iterable[_T], size: int) -> Iterator[list[_T]]:
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk
