"""Progress of a long run on standard error: a bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from llm_extract.ledger import Result

PLAIN_INTERVAL_S = 10.0


class ProgressReporter:
    """Shows how far one stage of a run is.

    Args:
        label: name of the stage.
        total: number of steps, if known.
        stream: where to write; by default standard error.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        label: str,
        total: int | None,
        *,
        stream: IO[str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._label = label
        self._total = total
        self._stream = stream if stream is not None else sys.stderr
        self._clock = clock
        self._started = self._said_at = clock()
        self._done = self._at_start = 0
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> ProgressReporter:
        if self._stream.isatty():
            from rich.console import Console
            from rich.progress import (
                BarColumn,
                MofNCompleteColumn,
                Progress,
                TextColumn,
                TimeElapsedColumn,
                TimeRemainingColumn,
            )

            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[note]}"),
                TimeElapsedColumn(),
                TextColumn("ETA"),
                TimeRemainingColumn(),
                console=Console(file=self._stream),
            )
            self._bar.start()
            self._task = self._bar.add_task(self._label, total=self._total, note="")
        return self

    def __exit__(self, *_error: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance(self, steps: int = 1, *, note: str = "") -> None:
        """Count finished steps.

        Args:
            steps: how many more are done.
            note: a few words beside the numbers, such as how many failed.
        """
        if self._done == 0:  # what comes before the first result is start-up, not speed
            self._started, self._at_start = self._clock(), steps
        self._done += steps
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, advance=steps, note=note)
            return
        now = self._clock()
        if now - self._said_at >= PLAIN_INTERVAL_S:
            self._said_at = now
            self._stream.write(self.line(note=note) + "\n")
            self._stream.flush()

    def line(self, *, note: str = "") -> str:
        """The state as one plain line: done, total, rate and time left."""
        timed = self._done - self._at_start
        rate = timed / max(self._clock() - self._started, 1e-9)
        parts = [
            f"{self._label}: {self._done:,}" + (f" of {self._total:,}" if self._total is not None else "")
        ]
        if timed:
            parts.append(f"{rate:,.0f}/s" if rate >= 1 else f"{1 / rate:.1f} s each")
        if self._total and timed:
            parts.append(f"ETA {duration(max(self._total - self._done, 0) / rate)}")
        return ", ".join([*parts, *([note] if note else [])])


@dataclass
class Tally:
    """What a run has done so far, for the words beside its progress.

    Args:
        price_per_million: price of a million tokens, where one is known.
    """

    price_per_million: float | None = None
    reports: int = 0
    quarantined: int = 0
    tokens: int = 0

    def add(self, result: Result) -> None:
        """Count one result."""
        self.reports += 1
        self.quarantined += result.state == "quarantined"
        self.tokens += result.tokens

    def note(self) -> str:
        """Quarantined reports, and tokens and their price where a model was asked.

        >>> Tally(price_per_million=2.0, quarantined=1, tokens=1_500_000).note()
        '1 quarantined, 1,500,000 tokens, 3.00 spent'
        """
        parts = [f"{self.quarantined:,} quarantined"]
        if self.tokens:
            parts.append(f"{self.tokens:,} tokens")
            if self.price_per_million is not None:
                parts.append(f"{self.tokens * self.price_per_million / 1e6:,.2f} spent")
        return ", ".join(parts)


def duration(seconds: float) -> str:
    """Seconds as a short text.

    >>> duration(75), duration(7260)
    ('1 min 15 s', '2 h 1 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
