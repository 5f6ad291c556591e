"""Tables of the demo study: means over seeds, paired differences, and how many reports replace a mask."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from rsuper.demo.recipe import ARM_LABELS, ARMS
from rsuper.evaluation.metrics import auc, mean_value, sensitivity_at_specificity
from rsuper.evaluation.statistics import Resampling, bootstrap_weights, paired_difference

RESAMPLING = Resampling(n_resamples=2000)
Run = dict[str, Any]
COMPARISONS = (
    ("masks", "ball_and_volume"),
    ("masks", "ball"),
    ("masks", "volume"),
    ("masks", "yes_no"),
    ("yes_no", "ball_and_volume"),
    ("yes_no", "ball"),
)


def tables(runs: Sequence[Run]) -> tuple[dict[str, Any], str]:
    """The document of results/demo_study.json and the same as Markdown."""
    rows = [row_of(run) for run in runs]
    differences = [
        difference(runs, first, second, masks=masks, metric=metric)
        for masks in sorted({run["masks"] for run in runs})
        for first, second in COMPARISONS
        for metric in ("dsc", "auc")
        if pairs_of(runs, first, second, masks=masks)
    ]
    replaced = [
        item
        for metric in ("dsc", "auc")
        for arm in ("ball", "ball_and_volume")
        if (item := reports_a_mask(runs, arm, metric=metric)) is not None
    ]
    document = {"runs": rows, "differences": differences, "reports_that_replace_a_mask": replaced}
    return document, markdown(rows, differences, replaced)


def row_of(run: Run) -> Run:
    """One line of the results: means of one run over the test cases."""
    scores, truth, overlap = arrays(run)
    one = np.ones((1, truth.size))
    return {
        "arm": run["arm"],
        "masks": run["masks"],
        "reports": run["reports"],
        "seed": run["seed"],
        "auc": float(auc(scores, truth, one)[0]),
        "dsc": float(np.nanmean(overlap)),
        "sensitivity_at_90": float(sensitivity_at_specificity(scores, truth, one)[0]),
        "dsc_at_half": float(np.mean([c["dsc_at_half"] for c in run["cases"] if c["positive"]])),
        "log_volume_ratio": float(
            np.median(
                [np.log((c["volume_mm3"] + 1.0) / c["reference_mm3"]) for c in run["cases"] if c["positive"]]
            )
        ),
        "threshold": run["threshold"],
    }


def arrays(run: Run) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores, truth and DSC (NaN for normals) of the test cases, in the order of their ids."""
    cases = sorted(run["cases"], key=lambda case: case["case_id"])
    return (
        np.array([case["score"] for case in cases]),
        np.array([case["positive"] for case in cases], dtype=bool),
        np.array([np.nan if case["dsc"] is None else case["dsc"] for case in cases]),
    )


def pairs_of(runs: Sequence[Run], first: str, second: str, *, masks: int) -> list[tuple[Run, Run]]:
    """Runs of two arms with the same seed and masks."""
    found = {(run["arm"], run["seed"]): run for run in runs if run["masks"] == masks}
    seeds = sorted({seed for _, seed in found})
    return [
        (found[first, s], found[second, s]) for s in seeds if (first, s) in found and (second, s) in found
    ]


def difference(runs: Sequence[Run], first: str, second: str, *, masks: int, metric: str) -> Run:
    """Second minus first: mean over seeds, bootstrap over the test cases, which all seeds share."""
    pairs = pairs_of(runs, first, second, masks=masks)
    column = {"dsc": 2, "auc": 0}[metric]
    function: Callable[..., Any] = {"dsc": mean_value, "auc": auc}[metric]
    a = np.stack([arrays(one)[column] for one, _ in pairs])
    b = np.stack([arrays(two)[column] for _, two in pairs])
    truth = arrays(pairs[0][0])[1]
    estimate = paired_difference(function, a, b, truth, resampling=RESAMPLING)
    by_seed = [
        paired_difference(function, x, y, truth, resampling=Resampling(n_resamples=1)).value
        for x, y in zip(a, b, strict=True)
    ]
    return {
        "first": first,
        "second": second,
        "masks": masks,
        "metric": metric,
        "value": estimate.value,
        "low": estimate.low,
        "high": estimate.high,
        "seeds": len(pairs),
        "by_seed": by_seed,
    }


def reports_a_mask(runs: Sequence[Run], arm: str, *, metric: str, masks: int = 4) -> Run | None:
    """How many positive reports do what one tumour mask does.

    Masks only gives a curve over the number of masks (made monotone, linear in log2 between the measured numbers);
    ``masks`` masks + the reports of ``arm`` reach the value of m masks on it; reports / (m - masks) is the figure.
    m is bounded by the largest number of masks measured: where the arm lies above the curve, only a bound is known.
    """
    seeds = sorted({r["seed"] for r in runs if r["arm"] == arm and r["masks"] == masks})
    curve_masks = sorted({r["masks"] for r in runs if r["arm"] == "masks"})
    if not seeds or len(curve_masks) < 2:
        return None
    truth = arrays(next(r for r in runs if r["arm"] == arm))[1]
    weights = np.vstack([np.ones((1, truth.size)), bootstrap_weights(truth, resampling=RESAMPLING)])
    column = {"dsc": 2, "auc": 0}[metric]
    function = {"dsc": mean_value, "auc": auc}[metric]

    def value(name: str, number: int) -> np.ndarray:
        own = [r for r in runs if r["arm"] == name and r["masks"] == number and r["seed"] in seeds]
        return np.mean([function(arrays(r)[column], truth, weights) for r in own], axis=0)

    curve = np.maximum.accumulate(np.stack([value("masks", number) for number in curve_masks]), axis=0)
    reached = value(arm, masks)
    reports = next(r["reports"] for r in runs if r["arm"] == arm and r["masks"] == masks)
    equal = np.array(
        [
            np.interp(reached[i], curve[:, i] + np.arange(len(curve_masks)) * 1e-9, np.log2(curve_masks))
            for i in range(reached.size)
        ]
    )
    equal_masks = 2.0**equal
    per_mask = np.where(equal_masks > masks + 1e-6, reports / np.maximum(equal_masks - masks, 1e-6), np.inf)
    low, high = np.quantile(per_mask[1:], [0.025, 0.975])
    return {
        "arm": arm,
        "metric": metric,
        "masks": masks,
        "reports": reports,
        "equal_masks": float(equal_masks[0]),
        "reports_a_mask": finite(per_mask[0]),
        "low": finite(low),
        "high": finite(high),
        "bounded_by_curve": bool(reached[0] >= curve[-1, 0]),
    }


def finite(value: float) -> float | None:
    """None for infinity: the reports gave nothing in that resample."""
    return float(value) if np.isfinite(value) else None


def markdown(rows: Sequence[Run], differences: Sequence[Run], replaced: Sequence[Run]) -> str:
    """The tables of benchmarks/README.md."""
    lines = [
        "| masks | reports | arm | DSC | AUC | sensitivity at 90 % | DSC at 0.5 | log volume ratio | seeds |"
    ]
    lines.append("|---|---|---|---|---|---|---|---|---|")
    keys = sorted({(r["masks"], r["reports"], ARMS.index(r["arm"])) for r in rows})
    for masks, reports, number in keys:
        own = [r for r in rows if (r["masks"], r["reports"], r["arm"]) == (masks, reports, ARMS[number])]
        cells = [
            mean_and_range([r[name] for r in own])
            for name in ("dsc", "auc", "sensitivity_at_90", "dsc_at_half")
        ]
        volume = f"{np.mean([r['log_volume_ratio'] for r in own]):+.2f}"
        lines.append(
            f"| {masks} | {reports} | {ARM_LABELS[ARMS[number]]} | {' | '.join(cells)} | {volume} | {len(own)} |"
        )
    lines += [
        "",
        "| masks | difference | metric | value [95 % interval] | by seed |",
        "|---|---|---|---|---|",
    ]
    for item in differences:
        name = f"{item['second']} − {item['first']}".replace("_", " ")
        by_seed = ", ".join(f"{value:+.3f}" for value in item["by_seed"])
        interval = f"{item['value']:+.3f} [{item['low']:+.3f}, {item['high']:+.3f}]"
        lines.append(f"| {item['masks']} | {name} | {item['metric'].upper()} | {interval} | {by_seed} |")
    lines += [
        "",
        "| arm | metric | as good as … masks | reports a mask [95 % interval] |",
        "|---|---|---|---|",
    ]
    for item in replaced:
        sign = "≥ " if item["bounded_by_curve"] else ""
        shown = [
            ("∞" if v is None else f"{v:.1f}") for v in (item["reports_a_mask"], item["low"], item["high"])
        ]
        lines.append(
            f"| {item['masks']} masks + {item['reports']} reports, {item['arm'].replace('_', ' ')} "
            f"| {item['metric'].upper()} | {sign}{item['equal_masks']:.1f} | {shown[0]} [{shown[1]}, {shown[2]}] |"
        )
    return "\n".join(lines) + "\n"


def mean_and_range(values: Sequence[float]) -> str:
    """Mean over seeds with the smallest and the largest seed."""
    return f"{np.mean(values):.3f} ({min(values):.3f}–{max(values):.3f})"
