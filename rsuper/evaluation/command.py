"""The verb ``evaluate``: folders in, numbers and files out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rsuper.data.layout import Dataset
from rsuper.errors import UsageError
from rsuper.evaluation.compare import Comparison, compare
from rsuper.evaluation.evaluate import evaluate
from rsuper.evaluation.prediction_folder import PredictionFolder
from rsuper.evaluation.results import EvaluationResult, EvaluationSettings
from rsuper.evaluation.statistics import Estimate
from rsuper.evaluation.summary import metric_specs
from rsuper.files import write_atomic_text
from rsuper.supervision.policy import load_policy

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, kw_only=True)
class EvaluateOutcome:
    """What the verb did.

    Args:
        result: evaluation of the prediction folder.
        comparison: against the other folder, if one was given (this one minus the other one).
        out: folder that holds the files.
    """

    result: EvaluationResult
    comparison: Comparison | None
    out: Path

    @property
    def exit_code(self) -> int:
        """0 all cases evaluated, 4 some could not be."""
        return self.result.exit_code

    def as_json(self) -> Mapping[str, Any]:
        """For ``--json``: numbers without the rows of the cases."""
        document = self.result.model_dump(mode="json", exclude={"cases"})
        document["failed"] = {
            f"{row.case_id}/{row.class_name}": row.code
            for row in self.result.cases
            if row.status != "evaluated"
        }
        if self.comparison is not None:
            document["comparison"] = self.comparison.model_dump(mode="json")
        return document

    def lines(self) -> list[str]:
        """What a person reads: one block a class."""
        text: list[str] = []
        for name, entry in self.result.classes.items():
            counts = f"{entry.n_positive} with a lesion, {entry.n_negative} without"
            extra = "".join(
                f", {count} {word}"
                for count, word in ((entry.n_unknown, "unknown"), (entry.n_missing, "not evaluated"))
                if count
            )
            text.append(f"{name}: {counts}{extra}")
            differences = self.comparison.differences.get(name, {}) if self.comparison else {}
            for spec in metric_specs(self.result.settings):
                line = f"  {spec.long_name:<42} {_text(entry.metrics[spec.name])}"
                if spec.name in differences:
                    line += f"   difference {_text(differences[spec.name], sign='+')}"
                text.append(line)
        text += [
            f"{row.code} [case {row.case_id}] {row.class_name}"
            for row in self.result.cases
            if row.status != "evaluated"
        ]
        return text


def run_evaluate(
    predictions: Path,
    dataset: Dataset,
    *,
    out: Path | None = None,
    against: Path | None = None,
    reference: Path | None = None,
    classes: Sequence[str] = (),
    split: str | None = None,
    settings: EvaluationSettings | None = None,
    progress: Progress | None = None,
) -> EvaluateOutcome:
    """Evaluate a prediction folder, and compare it with another one case by case.

    Args:
        predictions: folder that ``rsuper predict`` wrote.
        dataset: the data set with the truth, opened with its records.
        out: where to write; None is ``PREDICTIONS/evaluation``.
        against: another prediction folder of the same cases, such as the baseline.
        reference: folder of evaluation masks; None looks for ``DATASET/reference``.
        classes: lesion classes; empty is all that were predicted.
        split: only this split of cases.csv.
        settings: how the numbers are computed; see ``parse_thresholds``.
        progress: called with (done, total, case_id).

    Raises:
        RsuperError: with its exit code.
    """
    folder = out or predictions / "evaluation"
    how = settings or EvaluationSettings()
    trained = PredictionFolder(predictions)  # one truth for both folders
    truth = {
        "counted": how.counted or trained.policy or load_policy(),
        "anatomy": how.anatomy or trained.anatomy,
    }
    how = how.model_copy(update=truth)

    def run(source: Path, target: Path) -> EvaluationResult:
        return evaluate(
            source,
            dataset,
            out=target,
            reference=reference,
            classes=tuple(classes) or None,
            split=split,
            settings=how,
            progress=progress,
        )

    result = run(predictions, folder)
    comparison = None
    if against is not None:
        comparison = compare(run(against, folder / "against"), result)
        write_atomic_text(folder / "comparison.json", comparison.model_dump_json(indent=1) + "\n")
    return EvaluateOutcome(result=result, comparison=comparison, out=folder)


def parse_thresholds(items: Sequence[str]) -> dict[str, float]:
    """``CLASS=SCORE`` options as a mapping: the case score from which a case is called, chosen on other cases.

    Raises:
        UsageError: an item has another form.
    """
    found = {}
    for item in items:
        name, _, value = item.partition("=")
        try:
            found[name] = float(value)
        except ValueError as error:
            raise UsageError(
                f"not a threshold: {item!r}",
                code="bad_threshold",
                hint="write CLASS=SCORE, such as liver_lesion=0.4",
            ) from error
    return found


def _text(estimate: Estimate, *, sign: str = "") -> str:
    if estimate.value is None:
        return "–"
    text = f"{estimate.value:{sign}.3f}"
    if estimate.low is not None and estimate.high is not None:
        text += f" ({estimate.low:{sign}.3f} to {estimate.high:{sign}.3f})"
    return text
