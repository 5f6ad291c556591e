"""What an evaluation says: one row a case and class, one result a class, and how it was computed."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from llm_extract.anatomy import Anatomy
from rsuper.evaluation.segmentation import EdgeCase, EdgeCasePolicy
from rsuper.evaluation.statistics import Estimate, Resampling
from rsuper.files import write_atomic_text
from rsuper.supervision.policy import SupervisionPolicy
from rsuper.supervision.user_anatomy import own_table_sha256

RowStatus = Literal["evaluated", "not_predicted", "failed"]
Reference = Literal["mask", "report", "none"]
ALL_CLASSES = "all"


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class EvaluationSettings(_Model):
    """Everything that changes a number of an evaluation.

    Args:
        policy: what empty masks are worth.
        tolerance_mm: distance at which surfaces still agree.
        min_iou: smallest overlap of a matched lesion.
        min_lesion_mm3: smaller predicted components are ignored, as in findings.
        specificity: operating point of ``sensitivity_at_specificity``.
        thresholds: lesion class -> case score from which a case is called positive, chosen on other cases;
            a class without one is called positive where at least one lesion was predicted.
        resampling: bootstrap of every interval.
        counted: which reported lesions count where the truth is what the reports say; None is the policy that the
            network was trained under, where its predictions say so, else the default preset.
        anatomy: the table of organs by which reports are read; None is the one that the network was trained with,
            where its predictions say so, else the built-in one. Results hold its hash alone.
    """

    policy: EdgeCasePolicy = EdgeCasePolicy()
    tolerance_mm: float = Field(default=2.0, gt=0)
    min_iou: float = Field(default=0.1, gt=0, le=1)
    min_lesion_mm3: float = Field(default=14.0, ge=0)
    specificity: float = Field(default=0.9, gt=0, lt=1)
    thresholds: Mapping[str, float] = Field(default_factory=dict)
    resampling: Resampling = Resampling()
    counted: SupervisionPolicy | None = None
    anatomy: Anatomy | None = Field(default=None, exclude=True)

    @property
    def anatomy_sha256(self) -> str | None:
        """Hash of the table of organs; None for the built-in one."""
        return own_table_sha256(self.anatomy)


class CaseRow(_Model):
    """One case and lesion class. ``None`` is "not known" or "not defined", never 0.

    Args:
        case_id: the case.
        patient_id: its patient; patients are what the bootstrap draws.
        class_name: lesion class.
        status: ``evaluated``, ``not_predicted`` (no files for this case) or ``failed``.
        code: why it failed.
        reference: where the truth comes from: a mask, the report alone, or nothing.
        present: the reference holds or states a lesion.
        called: the prediction says that there is a lesion.
        score: case score, see ``rsuper.prediction.case_score``.
        dsc, surface_dice, hd95_mm: agreement of the masks; None without a mask or by the edge-case policy.
        edge_case: which mask was empty.
        reference_mm3, prediction_mm3: volumes.
        n_reference, n_prediction, n_matched: lesions.
    """

    case_id: str
    patient_id: str
    class_name: str
    status: RowStatus = "evaluated"
    code: str | None = None
    reference: Reference = "none"
    present: bool | None = None
    called: bool | None = None
    score: float | None = None
    dsc: float | None = None
    surface_dice: float | None = None
    hd95_mm: float | None = None
    edge_case: EdgeCase | None = None
    reference_mm3: float | None = None
    prediction_mm3: float | None = None
    n_reference: int | None = None
    n_prediction: int | None = None
    n_matched: int | None = None


class ClassResult(_Model):
    """All metrics of one lesion class.

    Args:
        class_name: lesion class, or ``all`` for every (case, class) pair together.
        n_positive: evaluated cases with a lesion.
        n_negative: evaluated cases without one.
        n_unknown: evaluated cases of which nothing is known; they enter no metric.
        n_missing: cases without a usable prediction or reference file; they enter no metric.
        metrics: metric name -> estimate with interval.
    """

    class_name: str
    n_positive: int
    n_negative: int
    n_unknown: int
    n_missing: int
    metrics: Mapping[str, Estimate]


class EvaluationResult(_Model):
    """The content of ``evaluation.json``.

    Args:
        name: name of the prediction folder.
        model_sha256: hash of the weights that predicted, where the folder says so.
        anatomy_sha256: hash of the table of organs by which reports were read; None is the built-in one.
        settings: how the numbers were computed.
        classes: results by class.
        cases: one row a case and class.
    """

    name: str
    model_sha256: str | None = None
    anatomy_sha256: str | None = None
    settings: EvaluationSettings
    classes: Mapping[str, ClassResult]
    cases: tuple[CaseRow, ...]

    @property
    def n_failed(self) -> int:
        """Rows without a number: not predicted or failed."""
        return sum(row.status != "evaluated" for row in self.cases)

    @property
    def exit_code(self) -> int:
        """0 all cases evaluated, 4 some could not be."""
        return 4 if self.n_failed else 0


def write_result(result: EvaluationResult, folder: Path) -> None:
    """Write ``evaluation.json`` and ``cases.csv``, one row a case and class; empty is "not defined"."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic_text(folder / "evaluation.json", result.model_dump_json(indent=1) + "\n")
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    columns = list(CaseRow.model_fields)
    writer.writerow(columns)
    for row in result.cases:
        values = row.model_dump()
        writer.writerow(["" if values[name] is None else values[name] for name in columns])
    write_atomic_text(folder / "cases.csv", text.getvalue())
