"""The committed multi-seed study, read from its results file and averaged over seeds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from rsuper.errors import DataError

ARM_WORDS: Mapping[str, str] = {
    "masks": "masks only",
    "yes_no": "reports as yes/no labels",
    "volume": "reports, volume loss",
    "ball": "reports, ball loss",
    "ball_and_volume": "reports, ball and volume loss",
}


class StudyRun(BaseModel):
    """One trained network of the study."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    arm: str
    masks: int
    reports: int
    seed: int
    auc: float | None = None
    dsc: float | None = None
    sensitivity_at_90: float | None = None


@dataclass(frozen=True, kw_only=True)
class StudyRow:
    """One arm at one number of masks and reports, over its seeds.

    Args:
        arm: name of the arm.
        masks: tumour masks in the training set.
        reports: positive reports in the training set.
        n_seeds: number of networks.
        means: metric -> mean over seeds.
        ranges: metric -> smallest and largest seed.
    """

    arm: str
    masks: int
    reports: int
    n_seeds: int
    means: Mapping[str, float]
    ranges: Mapping[str, tuple[float, float]]


@dataclass(frozen=True, kw_only=True)
class StudyDifference:
    """A paired difference of two arms with its interval.

    Args:
        what: which arms, at how many masks.
        metric: which metric.
        value: the difference.
        low: lower end of the 95 % interval.
        high: upper end.
    """

    what: str
    metric: str
    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class StudyExchange:
    """How many positive reports do what one more tumour mask does.

    Args:
        what: the arm and its training set.
        metric: which metric.
        equal_masks: masks alone that reach the same value.
        at_least: True where the curve of masks ends below the arm, so that ``equal_masks`` is a lower bound.
        reports_a_mask: reports for one mask; None where the reports added nothing.
        low: lower end of the 95 % interval; None is unbounded.
        high: upper end.
    """

    what: str
    metric: str
    equal_masks: float
    at_least: bool
    reports_a_mask: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, kw_only=True)
class Study:
    """The study as the page shows it.

    Args:
        rows: one an arm and training set, ordered by masks, then reports.
        differences: the paired comparisons.
        exchange: how many reports replace a mask.
        settings: (name, value) pairs that say how it was made.
    """

    rows: tuple[StudyRow, ...]
    differences: tuple[StudyDifference, ...] = ()
    exchange: tuple[StudyExchange, ...] = ()
    settings: tuple[tuple[str, str], ...] = ()


STUDY_METRICS = ("dsc", "auc", "sensitivity_at_90")


def load_study(path: Path) -> Study | None:
    """Read ``demo_study.json``; None where the file is not there.

    Raises:
        DataError: it is there but is no study.
    """
    if not path.is_file():
        return None
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(document, list):
            document = {"runs": document}
        runs = [StudyRun.model_validate(run) for run in document["runs"]]
        differences = tuple(_difference(entry) for entry in document.get("differences", ()))
        exchange = tuple(_exchange(entry) for entry in document.get("reports_that_replace_a_mask", ()))
        settings = tuple((str(key), _plain(value)) for key, value in document.get("settings", {}).items())
    except (ValueError, KeyError, TypeError, AttributeError, ValidationError) as error:
        raise DataError(
            f"{path.name} is not a study ({error.__class__.__name__})",
            code="study_invalid",
            hint="write it again with `python benchmarks/demo_study.py --summary-only`",
        ) from error
    return Study(rows=study_rows(runs), differences=differences, exchange=exchange, settings=settings)


def study_rows(runs: Sequence[StudyRun]) -> tuple[StudyRow, ...]:
    """Mean and range over the seeds of every arm and training set."""
    groups: dict[tuple[int, int, str], list[StudyRun]] = {}
    for run in runs:
        groups.setdefault((run.masks, run.reports, run.arm), []).append(run)
    rows = []
    order = list(ARM_WORDS)

    def place(key: tuple[int, int, str]) -> tuple[int, int, int, str]:
        masks, reports, arm = key
        return masks, reports, order.index(arm) if arm in order else len(order), arm

    for masks, reports, arm in sorted(groups, key=place):
        members = groups[masks, reports, arm]
        values = {
            name: [v for v in (getattr(run, name) for run in members) if v is not None]
            for name in STUDY_METRICS
        }
        known = {name: numbers for name, numbers in values.items() if numbers}
        rows.append(
            StudyRow(
                arm=arm_words(arm),
                masks=masks,
                reports=reports,
                n_seeds=len({run.seed for run in members}),
                means={name: sum(numbers) / len(numbers) for name, numbers in known.items()},
                ranges={name: (min(numbers), max(numbers)) for name, numbers in known.items()},
            )
        )
    return tuple(rows)


def arm_words(name: str) -> str:
    """An arm of the study in plain words."""
    return ARM_WORDS.get(name, name.replace("_", " "))


def _difference(entry: Mapping[str, Any]) -> StudyDifference:
    what = entry.get("what")
    if what is None:
        what = f"{arm_words(str(entry['second']))} − {arm_words(str(entry['first']))}"
        what += f", at {entry['masks']} masks" if "masks" in entry else ""
    return StudyDifference(
        what=str(what),
        metric=str(entry["metric"]),
        value=float(entry["value"]),
        low=float(entry["low"]),
        high=float(entry["high"]),
    )


def _exchange(entry: Mapping[str, Any]) -> StudyExchange:
    what = f"{entry['masks']} masks + {entry['reports']} reports ({arm_words(str(entry['arm']))})"
    return StudyExchange(
        what=what,
        metric=str(entry["metric"]),
        equal_masks=float(entry["equal_masks"]),
        at_least=bool(entry.get("bounded_by_curve", False)),
        reports_a_mask=_known(entry.get("reports_a_mask")),
        low=_known(entry.get("low")),
        high=_known(entry.get("high")),
    )


def _known(value: Any) -> float | None:
    return None if value is None else float(value)


def _plain(value: Any) -> str:
    return ", ".join(str(item) for item in value) if isinstance(value, list) else str(value)
