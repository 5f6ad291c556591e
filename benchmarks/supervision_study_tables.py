"""Tables and picture of the supervision study."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from demo_study_tables import Run, difference, mean_and_range, pairs_of, row_of
from paired_rows import METRICS, shown
from supervision_conditions import CONDITIONS, PARTS

MASKS = 4
BASELINE, WEIGHT_0, BEST = "masks", "none", "size_part"


def tables(runs: Sequence[Run], *, reports: int) -> tuple[dict[str, Any], str]:
    """The document of results/supervision_study.json, and the same as Markdown."""
    rows = []
    for name in (BASELINE, *CONDITIONS):
        own = [row_of(run) for run in runs if run["arm"] == name]
        if not own:
            continue
        row: dict[str, Any] = {"condition": name, "part": part_of(name), "label": label_of(name)}
        for metric in ("dsc", "auc", "dsc_at_half", "log_volume_ratio"):
            row[metric] = [one[metric] for one in own]
        row["seeds"] = [one["seed"] for one in own]
        shares = [
            run["haze_share"] for run in runs if run["arm"] == name and run.get("haze_share") is not None
        ]
        row["haze_share"] = float(np.mean(shares)) if shares else None
        for other in (BASELINE, WEIGHT_0, BEST, *twin_of(name)):
            if name != other and pairs_of(runs, other, name, masks=MASKS):
                row[f"minus_{other}"] = {
                    metric: difference(runs, other, name, masks=MASKS, metric=metric) for metric in METRICS
                }
        rows.append(row)
    return {"reports": reports, "masks": MASKS, "conditions": rows}, markdown(rows, reports)


def part_of(name: str) -> str:
    """The part of the study that a condition belongs to; the baseline stands in the first."""
    return CONDITIONS[name].part if name in CONDITIONS else PARTS[0]


def label_of(name: str) -> str:
    """Name in the tables."""
    return CONDITIONS[name].label if name in CONDITIONS else "masks only, no reports"


TWINS = {"host_use": "the same masks as they are", "core": "cores of 0.8·lo"}


def twin_of(name: str) -> tuple[str, ...]:
    """The condition that differs in nothing but the use of the host masks, or the size of the core, being the usual."""
    if name not in CONDITIONS:
        return ()
    own, usual = CONDITIONS[name], CONDITIONS[BEST]
    for what in TWINS:
        twin = replace(own, **{what: getattr(usual, what)})
        if twin != own:
            return tuple(
                other
                for other, condition in CONDITIONS.items()
                if replace(condition, part=own.part, label=own.label) == twin
            )
    return ()


def differences(row: dict[str, Any], other: str, *, factor: float = 1.0) -> list[str]:
    """DSC and AUC against another condition, with their intervals."""
    found = row.get(f"minus_{other}", {})
    return [shown(found.get(metric), factor) for metric in METRICS]


def verdict(row: dict[str, Any]) -> str:
    """``harms`` if one of the metrics is worse than the same reports at weight 0 beyond the interval."""
    against = row.get(f"minus_{WEIGHT_0}")
    if against is None or row["condition"] == BASELINE:
        return ""
    if any(against[metric]["high"] < 0 for metric in METRICS):
        return "harms"
    return "helps" if any(against[metric]["low"] > 0 for metric in METRICS) else "no difference shown"


def markdown(rows: Sequence[dict[str, Any]], reports: int) -> str:
    """The tables of benchmarks/README.md: gain per 100 reports by tier, then what everything else changes."""
    lines = []
    tiers = [row for row in rows if row["part"] == "tiers"]
    if tiers:
        lines += [
            f"| {MASKS} masks + {reports} reports that state | DSC | AUC | gain a 100 reports over masks only: DSC | "
            "AUC | against weight 0: DSC | AUC | |",
            "|---|---|---|---|---|---|---|---|",
        ]
        for row in tiers:
            cells = [mean_and_range(row["dsc"]), mean_and_range(row["auc"])]
            cells += differences(row, BASELINE, factor=100 / reports) + differences(row, WEIGHT_0)
            lines.append(f"| {row['label']} | {' | '.join(cells)} | {verdict(row)} |")
    for part in PARTS[1:]:
        own = [row for row in rows if row["part"] == part]
        if not own:
            continue
        lines += [
            "",
            f"| {part} | DSC | AUC | against size + part as reported: DSC | AUC | log volume ratio | haze |",
            "|---|---|---|---|---|---|---|",
        ]
        for row in own:
            cells = [mean_and_range(row["dsc"]), mean_and_range(row["auc"])]
            cells += differences(row, BEST)
            haze = "" if row["haze_share"] is None else f"{row['haze_share']:.1%}"
            volume = f"{np.mean(row['log_volume_ratio']):+.2f}"
            lines.append(f"| {row['label']} | {' | '.join(cells)} | {volume} | {haze} |")
        lines += [
            f"- {row['label']}, against {TWINS['core' if part == 'core' else 'host_use']}: DSC {dsc}, AUC {auc}"
            for row in own
            for other in twin_of(row["condition"])
            for dsc, auc in [differences(row, other)]
            if dsc
        ]
    return "\n".join(lines) + "\n"


def picture(document: dict[str, Any], path: Path) -> None:
    """DSC and AUC of every condition with its seeds, a panel a metric."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rows = document["conditions"][::-1]
    if not rows:
        return
    figure, panels = plt.subplots(
        1, 2, figsize=(11, 1.2 + 0.3 * len(rows)), sharey=True, layout="constrained"
    )
    for panel, metric in zip(panels, ("dsc", "auc"), strict=True):
        for place, row in enumerate(rows):
            colour = {"tiers": "#1f5a94"}.get(row["part"], "#8a5a1f")
            panel.plot(row[metric], [place] * len(row[metric]), "o", color=colour, alpha=0.35, markersize=5)
            panel.plot([float(np.mean(row[metric]))], [place], "D", color=colour, markersize=7)
        for name, style in ((BASELINE, ":"), (BEST, "--")):
            values = [row[metric] for row in rows if row["condition"] == name]
            if values:
                panel.axvline(float(np.mean(values[0])), color="#666666", linestyle=style, linewidth=1)
        panel.set_xlabel({"dsc": "Dice of test tumours", "auc": "AUC of the case score"}[metric])
        panel.grid(axis="x", alpha=0.3)
    panels[0].set_yticks(range(len(rows)), [row["label"] for row in rows])
    figure.suptitle("Dots: seeds. Diamonds: means. Dotted: masks only. Dashed: size + part.", fontsize=9)
    figure.savefig(path, dpi=130)
    plt.close(figure)
