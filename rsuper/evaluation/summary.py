"""Rows of cases become metrics with intervals; the metrics themselves are data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rsuper.evaluation import metrics as m
from rsuper.evaluation.results import ALL_CLASSES, CaseRow, ClassResult, EvaluationSettings
from rsuper.evaluation.statistics import Estimate, bootstrap, clopper_pearson


@dataclass(frozen=True, kw_only=True)
class MetricSpec:
    """A metric as data.

    Args:
        name: key in results.
        long_name: what a table prints.
        unit: ``""`` for fractions.
        better: direction of improvement.
        value: the number of one case, None where the metric is not defined for it.
        compute: weighted metric over cases.
        weight: how much one case counts (lesion metrics count lesions).
    """

    name: str
    long_name: str
    unit: str
    better: Literal["higher", "lower"]
    value: Callable[[CaseRow], float | None]
    compute: m.Metric
    weight: Callable[[CaseRow], float] = lambda _: 1.0


def _score(row: CaseRow) -> float | None:
    return None if row.present is None else row.score


def _call(row: CaseRow) -> float | None:
    return None if row.present is None or row.called is None else float(row.called)


def _lesion_recall(row: CaseRow) -> float | None:
    if not row.n_reference or row.n_matched is None:
        return None
    return row.n_matched / row.n_reference


def _false_lesions(row: CaseRow) -> float | None:
    if row.n_prediction is None or row.n_matched is None:
        return None
    return float(row.n_prediction - row.n_matched)


def metric_specs(settings: EvaluationSettings) -> tuple[MetricSpec, ...]:
    """Every metric of an evaluation, in the order of tables."""
    percent = round(100 * settings.specificity)
    at_specificity = partial(m.sensitivity_at_specificity, specificity=settings.specificity)
    higher: Literal["higher"] = "higher"
    return (
        MetricSpec(
            name="auc",
            long_name="Area under the ROC curve",
            unit="",
            better=higher,
            value=_score,
            compute=m.auc,
        ),
        MetricSpec(
            name="sensitivity",
            long_name="Sensitivity (tumour cases called)",
            unit="",
            better=higher,
            value=_call,
            compute=m.sensitivity,
        ),
        MetricSpec(
            name="specificity",
            long_name="Specificity (normal cases not called)",
            unit="",
            better=higher,
            value=_call,
            compute=m.specificity,
        ),
        MetricSpec(
            name=f"sensitivity_at_{percent}",
            long_name=f"Sensitivity at {percent} % specificity",
            unit="",
            better=higher,
            value=_score,
            compute=at_specificity,
        ),
        MetricSpec(
            name="dsc",
            long_name="Dice similarity coefficient (DSC)",
            unit="",
            better=higher,
            value=lambda row: row.dsc,
            compute=m.mean_value,
        ),
        MetricSpec(
            name="surface_dice",
            long_name=f"Surface Dice at {settings.tolerance_mm:g} mm",
            unit="",
            better=higher,
            value=lambda row: row.surface_dice,
            compute=m.mean_value,
        ),
        MetricSpec(
            name="hd95_mm",
            long_name="95th percentile of surface distances",
            unit="mm",
            better="lower",
            value=lambda row: row.hd95_mm,
            compute=m.mean_value,
        ),
        MetricSpec(
            name="lesion_sensitivity",
            long_name=f"Lesions found (IoU ≥ {settings.min_iou:g})",
            unit="",
            better=higher,
            value=_lesion_recall,
            compute=m.mean_value,
            weight=lambda row: float(row.n_reference or 0),
        ),
        MetricSpec(
            name="false_lesions_per_case",
            long_name="False lesions a case",
            unit="lesions",
            better="lower",
            value=_false_lesions,
            compute=m.mean_value,
        ),
    )


@dataclass(frozen=True, kw_only=True)
class MetricInputs:
    """Arrays of the cases for which a metric is defined."""

    rows: tuple[CaseRow, ...]
    values: m.Floats
    labels: NDArray[np.bool_]
    compute: m.Metric

    @property
    def groups(self) -> list[str]:
        """Patient of each case."""
        return [row.patient_id for row in self.rows]


def metric_inputs(spec: MetricSpec, rows: Sequence[CaseRow]) -> MetricInputs:
    """The cases for which ``spec`` is defined, and the metric with their weights inside."""
    used = tuple(row for row in rows if row.status == "evaluated" and spec.value(row) is not None)
    case_weights = np.array([spec.weight(row) for row in used])

    def compute(values: m.Floats, labels: NDArray[np.bool_], weights: m.Floats) -> m.Floats:
        return spec.compute(values, labels, weights * case_weights)

    return MetricInputs(
        rows=used,
        values=np.array([spec.value(row) for row in used], dtype=np.float64),
        labels=np.array([bool(row.present) for row in used], dtype=bool),
        compute=compute,
    )


def summarise(rows: Sequence[CaseRow], settings: EvaluationSettings) -> Mapping[str, ClassResult]:
    """Results of every class, and of all (case, class) pairs together where there are several classes."""
    names = sorted({row.class_name for row in rows})
    results = {
        name: _class_result(name, [r for r in rows if r.class_name == name], settings) for name in names
    }
    if len(names) > 1:
        results[ALL_CLASSES] = _class_result(ALL_CLASSES, rows, settings)
    return results


def _class_result(name: str, rows: Sequence[CaseRow], settings: EvaluationSettings) -> ClassResult:
    evaluated = [row for row in rows if row.status == "evaluated"]
    return ClassResult(
        class_name=name,
        n_positive=sum(row.present is True for row in evaluated),
        n_negative=sum(row.present is False for row in evaluated),
        n_unknown=sum(row.present is None for row in evaluated),
        n_missing=len(rows) - len(evaluated),
        metrics={spec.name: _estimate(spec, rows, settings) for spec in metric_specs(settings)},
    )


def _estimate(spec: MetricSpec, rows: Sequence[CaseRow], settings: EvaluationSettings) -> Estimate:
    """Exact binomial interval for rates of independent cases, bootstrap over patients for all else."""
    inputs = metric_inputs(spec, rows)
    level = settings.resampling.level
    if spec.name in ("sensitivity", "specificity") and len(set(inputs.groups)) == len(inputs.groups):
        wanted = spec.name == "sensitivity"
        right = (inputs.values > 0.5) == wanted
        return clopper_pearson(
            int(right[inputs.labels == wanted].sum()), int((inputs.labels == wanted).sum()), level=level
        )
    return bootstrap(
        inputs.compute, inputs.values, inputs.labels, groups=inputs.groups, resampling=settings.resampling
    )
