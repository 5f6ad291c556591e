"""A sample of an archive, extracted first: how long the whole will take, what it costs, and how much fails."""

from __future__ import annotations

import json
import math
from array import array
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from llm_extract.private_files import private_text
from llm_extract.progress import Tally, duration
from llm_extract.reports import Report


def choose_rows(reports: Iterable[Report], n: int) -> frozenset[int]:
    """Rows of a sample that is spread evenly over the lengths of the reports, from the shortest to the longest.

    Args:
        reports: all reports.
        n: size of the sample; all rows where there are fewer.

    Returns:
        Row numbers; the same ones each time.
    """
    lengths, rows = array("q"), array("q")
    for report in reports:
        if report.fatal_issue is None:
            lengths.append(len(report.text))
            rows.append(report.row)
    ranked = sorted(range(len(rows)), key=lambda i: (lengths[i], rows[i]))
    if len(ranked) <= n:
        return frozenset(rows)
    return frozenset(rows[ranked[int((k + 0.5) * len(ranked) / n)]] for k in range(n))


@dataclass(frozen=True)
class Forecast:
    """What the whole archive will take, from a sample.

    Args:
        reports: rows of the archive.
        sample: rows of the sample, of those that can be read.
        hours: time for all of it at the sample's speed, start-up left out.
        gpu_hours: the same times the GPUs; None without a model in this process.
        tokens: tokens that a model will read and write.
        price: what they cost, where a price was given.
        quarantined: share of the archive that will be, with its 95 % interval: the rows that the reader refuses, which
            are known, and of the others the share of the sample.
    """

    reports: int
    sample: int
    hours: float
    gpu_hours: float | None
    tokens: int
    price: float | None
    quarantined: tuple[float, float, float]

    def write(self, path: Path) -> Path:
        """Write it as JSON."""
        with private_text(path) as file:
            json.dump(asdict(self), file, indent=2)
            file.write("\n")
        return path

    def lines(self) -> list[str]:
        """It in words."""
        share, low, high = self.quarantined
        lines = [
            f"Forecast for {self.reports:,} reports from {self.sample:,}: {duration(self.hours * 3600)}"
            + (f", {self.gpu_hours:,.1f} GPU hours" if self.gpu_hours is not None else "")
            + (f", {self.tokens:,} tokens" if self.tokens else "")
            + (f", price {self.price:,.2f}" if self.price is not None else "")
        ]
        lines.append(f"Quarantined: about {share:.1%} of all ({low:.1%} to {high:.1%}).")
        return lines


def forecast(
    tally: Tally,
    *,
    reports: int,
    unreadable: int,
    sample: tuple[int, int],
    seconds: float,
    gpus: float | None,
) -> Forecast | None:
    """Extrapolate a sample to the whole archive; None where nothing was extracted now.

    Args:
        tally: what was extracted now took; less than the sample where a stopped pilot goes on.
        reports: rows of the archive.
        unreadable: those that the reader refuses, such as empty ones; they take no time, and the sample has none.
        sample: rows of the sample that are quarantined, and all of its rows.
        seconds: time of what was extracted now, start-up left out.
        gpus: GPUs of a model in this process.
    """
    if not tally.reports:
        return None
    readable = reports - unreadable
    scale = readable / tally.reports
    tokens = round(tally.tokens * scale)
    hours = seconds * scale / 3600
    share, low, high = ((unreadable + rate * readable) / reports for rate in wilson(*sample))
    return Forecast(
        reports=reports,
        sample=sample[1],
        hours=hours,
        gpu_hours=None if gpus is None else hours * gpus,
        tokens=tokens,
        price=None if tally.price_per_million is None else tokens * tally.price_per_million / 1e6,
        quarantined=(share, low, high),
    )


def wilson(hits: int, of: int) -> tuple[float, float, float]:
    """A share and its 95 % Wilson interval.

    >>> [round(value, 3) for value in wilson(0, 100)]
    [0.0, 0.0, 0.037]
    """
    z = 1.959963984540054
    share = hits / of
    centre = (share + z * z / (2 * of)) / (1 + z * z / of)
    half = z * math.sqrt(share * (1 - share) / of + z * z / (4 * of * of)) / (1 + z * z / of)
    return share, max(0.0, centre - half), min(1.0, centre + half)
