"""Two evaluations of the same cases: the paired difference of every metric."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict

from rsuper.errors import DataError
from rsuper.evaluation.results import ALL_CLASSES, CaseRow, EvaluationResult
from rsuper.evaluation.statistics import Estimate, paired_difference
from rsuper.evaluation.summary import MetricSpec, metric_inputs, metric_specs


class Comparison(BaseModel):
    """Metrics of the second evaluation minus those of the first, on the cases that both hold.

    Args:
        first: name of the first prediction folder.
        second: name of the second one.
        n_common: (case, class) pairs that both evaluated.
        n_unpaired: pairs that only one of them evaluated; they enter no difference.
        differences: class -> metric -> second minus first, with a paired bootstrap interval over patients.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    first: str
    second: str
    n_common: int
    n_unpaired: int
    differences: Mapping[str, Mapping[str, Estimate]]


def compare(first: EvaluationResult, second: EvaluationResult) -> Comparison:
    """Compare two evaluations case by case.

    Raises:
        DataError: they were computed in different ways, share no case, or disagree about the truth.
    """
    plain = {"resampling", "thresholds"}
    if first.settings.model_dump(exclude=plain) != second.settings.model_dump(exclude=plain):
        raise DataError("the two evaluations used different settings", code="settings_differ")
    rows_a, rows_b = _rows(first), _rows(second)
    common = sorted(set(rows_a) & set(rows_b))
    if not common:
        raise DataError("the two evaluations share no evaluated case", code="no_common_case")
    if any(rows_a[key].present != rows_b[key].present for key in common):
        raise DataError(
            "the two evaluations disagree about which cases hold a lesion",
            code="references_differ",
            hint="evaluate both against the same data set",
        )
    names = sorted({class_name for _, class_name in common})
    groups = {name: [key for key in common if key[1] == name] for name in names}
    if len(names) > 1:
        groups[ALL_CLASSES] = common
    specs = metric_specs(second.settings)
    return Comparison(
        first=first.name,
        second=second.name,
        n_common=len(common),
        n_unpaired=len(set(rows_a) ^ set(rows_b)),
        differences={
            name: {
                spec.name: _difference(
                    spec, [rows_a[key] for key in keys], [rows_b[key] for key in keys], second
                )
                for spec in specs
            }
            for name, keys in groups.items()
        },
    )


def _rows(result: EvaluationResult) -> dict[tuple[str, str], CaseRow]:
    return {(row.case_id, row.class_name): row for row in result.cases if row.status == "evaluated"}


def _difference(
    spec: MetricSpec, rows_a: list[CaseRow], rows_b: list[CaseRow], settings_of: EvaluationResult
) -> Estimate:
    """Paired difference over the cases for which the metric is defined in both."""
    pairs = [
        (a, b)
        for a, b in zip(rows_a, rows_b, strict=True)
        if spec.value(a) is not None and spec.value(b) is not None
    ]
    if not pairs:
        return Estimate(level=settings_of.settings.resampling.level)
    inputs_a = metric_inputs(spec, [a for a, _ in pairs])
    inputs_b = metric_inputs(spec, [b for _, b in pairs])
    return paired_difference(
        inputs_b.compute,
        inputs_a.values,
        inputs_b.values,
        inputs_b.labels,
        groups=inputs_b.groups,
        resampling=settings_of.settings.resampling,
    )
