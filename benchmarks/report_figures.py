"""How a run's reports were read, over its training: balls in lesions, haze, bias of the predicted volume.

    python benchmarks/report_figures.py RUN [RUN …] [--parts 10] [--png PATH]

Reads ``metrics.jsonl`` of runs of ``rsuper train`` whose prepared cases hold evaluation masks (``rsuper prepare
--reference``, as the demo and the studies do); the masks are read for these figures alone. Shares are pooled over all
steps of a part: centres inside / centres compared, Σ volume from p < 0.1 / Σ volume, Σ predicted / Σ true volume − 1,
log ratios weighed by the pairs they are means of. Runs that logged no volumes and counts: means over steps.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

Row = dict[str, float | int | None]


def read_steps(run: Path) -> list[Mapping[str, float]]:
    """The logged steps that read reports."""
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [entry for entry in map(json.loads, lines) if entry.get("pairs", 0) > 0]


def figures(steps: Sequence[Mapping[str, float]]) -> Row:
    """The figures of some steps together; None where no step can tell."""

    def total(key: str) -> float:
        return math.fsum(step.get(key, 0.0) for step in steps)

    def pooled(key: str, weight: str) -> float | None:
        logged = [(step[key], step.get(weight)) for step in steps if key in step]
        if any(share is None for _, share in logged):
            logged = [(value, 1.0) for value, _ in logged]
        shares = math.fsum(share for _, share in logged)
        return math.fsum(value * share for value, share in logged) / shares if shares else None

    true = total("reference_mm3")
    ratio = pooled("volume_log_ratio", "volumes_compared")
    return {
        "first_step": int(steps[0]["step"]),
        "last_step": int(steps[-1]["step"]),
        "centres_compared": int(total("centres_compared")),
        "centres_inside": pooled("centre_inside_share", "centres_compared"),
        "haze": pooled("haze_share", "volume_mm3"),
        "volume_bias": total("predicted_mm3") / true - 1 if true else None,
        "volume_to_reported_median": None if ratio is None else math.exp(ratio),
    }


def over_training(run: Path, parts: int) -> list[Row]:
    """The figures of equal stretches of a run, in order."""
    steps = read_steps(run)
    edges = [round(index * len(steps) / parts) for index in range(parts + 1)]
    return [figures(steps[first:last]) for first, last in pairwise(edges) if last > first]


def table(rows: Sequence[Row]) -> list[str]:
    """Markdown."""
    lines = [
        "| steps | centres inside | haze | volume bias | volume / reported median |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        inside, haze, bias = (
            "–" if row[key] is None else f"{100 * row[key]:{sign}.1f} %"
            for key, sign in (("centres_inside", ""), ("haze", ""), ("volume_bias", "+"))
        )
        ratio = row["volume_to_reported_median"]
        lines.append(
            f"| {row['first_step']}–{row['last_step']} | {inside} (n = {row['centres_compared']}) | {haze} | {bias} "
            f"| {'–' if ratio is None else format(ratio, '.2f')} |"
        )
    return lines


def picture(runs: Mapping[str, Sequence[Row]], path: Path) -> None:
    """The three figures over the steps, a line a run."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3), layout="constrained")
    FigureCanvasAgg(figure)
    bars = {"centres_inside": None, "haze": 0.1, "volume_bias": 0.05}
    for axis, (key, bar) in zip(figure.subplots(1, 3), bars.items(), strict=True):
        for name, rows in runs.items():
            points = [(row["last_step"], row[key]) for row in rows if row[key] is not None]
            axis.plot([x for x, _ in points], [y for _, y in points], marker="o", markersize=3, label=name)
        if bar is not None:
            axis.axhline(bar, color="grey", linewidth=0.8, linestyle="dotted")
        axis.set_title(key.replace("_", " "), fontsize=9)
        axis.set_xlabel("step", fontsize=8)
    figure.axes[0].legend(fontsize=7)
    figure.savefig(path, dpi=110, metadata={"Software": None})


def main() -> None:
    """Read, print, draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--parts", type=int, default=10)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--png", type=Path)
    args = parser.parse_args()
    rows = {run.name: over_training(run, args.parts) for run in args.runs}
    for name, lines in rows.items():
        print("\n".join((f"{name}:", "", *table(lines), "")))
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    if args.png:
        picture(rows, args.png)


if __name__ == "__main__":
    main()
