"""Plots of an evaluation: ROC curves, metrics with intervals, paired differences; as SVG or PNG bytes."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from rsuper.evaluation.metrics import roc_points
from rsuper.evaluation.statistics import Estimate

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ImageFormat = Literal["svg", "png"]
INK = "#1b1f24"
SOFT = "#5b6470"
GRID = "#e3e7ec"
_RC: Mapping[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10,
    "svg.hashsalt": "rsuper",
    "axes.edgecolor": SOFT,
    "axes.labelcolor": INK,
    "xtick.color": SOFT,
    "ytick.color": INK,
    "text.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


@dataclass(frozen=True, kw_only=True)
class ArmPlot:
    """What plots need of one arm.

    Args:
        label: name in the legend.
        colour: ``#rrggbb``.
        metrics: metric name -> estimate.
        scores: case scores.
        present: lesion there or not, one a score.
    """

    label: str
    colour: str
    metrics: Mapping[str, Estimate]
    scores: Sequence[float] = ()
    present: Sequence[bool] = ()


def roc_plot(arms: Sequence[ArmPlot], *, image: ImageFormat = "svg") -> bytes:
    """ROC curve of every arm on the same cases."""
    import matplotlib as mpl

    with mpl.rc_context(dict(_RC)):
        figure, axes = _figure(4.6, 4.4)
        axes.plot([0, 1], [0, 1], color=GRID, linewidth=1.2, linestyle=(0, (4, 3)), zorder=1)
        for arm in arms:
            if not any(arm.present) or all(arm.present):
                continue
            false_rate, true_rate, _ = roc_points(arm.scores, arm.present)
            area = arm.metrics.get("auc", Estimate())
            label = arm.label if area.value is None else f"{arm.label} (AUC {area.value:.2f})"
            axes.plot(false_rate, true_rate, color=arm.colour, linewidth=2.4, label=label, zorder=3)
        axes.set_xlabel("normal cases called, of all normal cases\n(1 − specificity)")
        axes.set_ylabel("tumour cases called, of all tumour cases\n(sensitivity)")
        axes.set_xlim(-0.01, 1.01)
        axes.set_ylim(-0.01, 1.01)
        axes.set_aspect("equal")
        axes.grid(color=GRID, linewidth=0.8)
        axes.set_axisbelow(True)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(loc="lower right", frameon=False)
        return _bytes(figure, image)


def metric_bars(arms: Sequence[ArmPlot], names: Mapping[str, str], *, image: ImageFormat = "svg") -> bytes:
    """One group of bars a metric, one bar an arm, with intervals.

    Args:
        arms: the arms, first at the top of each group.
        names: metric -> label, in order; metrics between 0 and 1.
        image: file format.
    """
    import matplotlib as mpl

    with mpl.rc_context(dict(_RC)):
        figure, axes = _figure(6.2, 0.7 + 0.82 * len(names))
        height = 0.8 / max(len(arms), 1)
        for row, name in enumerate(names):
            for number, arm in enumerate(arms):
                _bar(axes, row - 0.4 + (number + 0.5) * height, height, arm, name)
        axes.set_yticks(range(len(names)), list(names.values()))
        axes.invert_yaxis()
        axes.set_xlim(0, 1.12)
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1])
        axes.grid(axis="x", color=GRID, linewidth=0.8)
        axes.set_axisbelow(True)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        handles, labels = axes.get_legend_handles_labels()
        unique = dict(zip(labels, handles, strict=True))
        figure.legend(list(unique.values()), list(unique), loc="upper center", ncols=len(arms), frameon=False)
        figure.subplots_adjust(top=1 - 0.38 / figure.get_figheight())
        return _bytes(figure, image)


def difference_plot(
    differences: Mapping[str, Estimate],
    names: Mapping[str, str],
    *,
    colour: str = "#0072b2",
    image: ImageFormat = "svg",
) -> bytes:
    """Paired differences with intervals around a line at 0."""
    import matplotlib as mpl

    with mpl.rc_context(dict(_RC)):
        figure, axes = _figure(6.2, 0.9 + 0.45 * len(names))
        axes.axvline(0, color=SOFT, linewidth=1.2)
        for row, name in enumerate(names):
            estimate = differences.get(name, Estimate())
            if estimate.value is None or estimate.low is None or estimate.high is None:
                continue
            axes.plot([estimate.low, estimate.high], [row, row], color=colour, linewidth=2.6)
            axes.plot([estimate.value], [row], "o", color=colour, markersize=8)
            axes.annotate(
                f"{estimate.value:+.2f}".replace("-", "−"),
                (estimate.value, row),
                xytext=(0, 9),
                textcoords="offset points",
                ha="center",
            )
        axes.set_yticks(range(len(names)), list(names.values()))
        axes.set_ylim(len(names) - 0.5, -0.7)
        axes.grid(axis="x", color=GRID, linewidth=0.8)
        axes.set_axisbelow(True)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        return _bytes(figure, image)


def _bar(axes: Any, position: float, height: float, arm: ArmPlot, name: str) -> None:
    """One bar with its interval and number."""
    estimate = arm.metrics.get(name, Estimate())
    if estimate.value is None:
        axes.text(0.01, position, "not defined", va="center", fontsize=9, color=SOFT)
        return
    axes.barh(position, estimate.value, height=0.92 * height, color=arm.colour, label=arm.label, zorder=2)
    end = estimate.value
    if estimate.low is not None and estimate.high is not None:
        axes.plot([estimate.low, estimate.high], [position, position], color=INK, linewidth=1.4, zorder=3)
        end = max(end, estimate.high)
    axes.text(end + 0.015, position, f"{estimate.value:.2f}", va="center", fontsize=9.5)


def _figure(width_in: float, height_in: float) -> tuple[Figure, Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_in, height_in), dpi=100)
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


def _bytes(figure: Figure, image: ImageFormat) -> bytes:
    buffer = io.BytesIO()
    # nothing that differs from run to run: same data, same bytes
    no_stamp: dict[str, Any] = {"Date": None, "Creator": None} if image == "svg" else {"Software": None}
    figure.savefig(buffer, format=image, bbox_inches="tight", dpi=160, metadata=no_stamp)
    return buffer.getvalue()
