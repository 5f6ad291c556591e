"""One row of a table of arms: means over their runs, and paired differences to one of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from demo_study_tables import Run, difference, row_of

METRICS = ("dsc", "auc")


@dataclass(frozen=True, kw_only=True)
class PairedRow:
    """An arm.

    Args:
        figures: of each of its runs.
        gaps: metric -> difference to the baseline with its interval; empty for the baseline.
        cells: DSC, AUC and the two differences, for Markdown.
    """

    figures: list[Run]
    gaps: dict[str, Run]
    cells: list[str]


def paired_row(runs: Sequence[Run], arm: str, *, baseline: str, masks: int) -> PairedRow | None:
    """The runs of an arm against those of the baseline on the same test cases; None if the arm has none."""
    figures = [row_of(run) for run in runs if run["arm"] == arm]
    if not figures:
        return None
    compared = arm != baseline and any(run["arm"] == baseline for run in runs)
    gaps = {
        metric: difference(runs, baseline, arm, masks=masks, metric=metric)
        for metric in (METRICS if compared else ())
    }
    cells = [f"{sum(one[metric] for one in figures) / len(figures):.3f}" for metric in METRICS]
    cells += [shown(gaps.get(metric)) for metric in METRICS]
    return PairedRow(figures=figures, gaps=gaps, cells=cells)


def shown(gap: dict[str, Any] | None, factor: float = 1.0) -> str:
    """A difference with its interval, times a factor; nothing for none."""
    if gap is None:
        return ""
    value, low, high = (factor * gap[end] for end in ("value", "low", "high"))
    return f"{value:+.3f} [{low:+.3f}, {high:+.3f}]"
