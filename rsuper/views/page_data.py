"""What the demo page shows: plain frozen data, filled by whoever ran the experiment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from llm_extract.records import ReportRecord
from rsuper.agreement.table import CaseAgreement
from rsuper.evaluation.results import EvaluationResult
from rsuper.evaluation.statistics import Estimate
from rsuper.views.overlays import SlicePicture
from rsuper.views.study import Study

ArmKind = Literal["masks_only", "masks_and_reports"]
ARM_COLOURS: Mapping[ArmKind, str] = {"masks_only": "#c2600a", "masks_and_reports": "#1f6fb4"}


@dataclass(frozen=True, kw_only=True)
class MetricText:
    """How a metric is explained to a stranger.

    Args:
        label: name in tables.
        meaning: one plain clause.
        better: direction of improvement.
        gain: what a clear improvement reads like in a sentence.
    """

    label: str
    meaning: str
    better: Literal["higher", "lower"] = "higher"
    gain: str = ""


METRIC_TEXTS: Mapping[str, MetricText] = {
    "dsc": MetricText(
        label="Overlap with the true tumour (DSC)",
        meaning="0 is no overlap, 1 the exact outline; mean over test cases with a tumour",
        gain="outlines tumours more accurately",
    ),
    "auc": MetricText(
        label="Tumour or normal (AUC)",
        meaning="chance that a tumour case scores above a normal one; 0.5 is guessing",
        gain="tells tumour cases from normal ones more reliably",
    ),
    "sensitivity": MetricText(
        label="Tumour cases found (sensitivity)",
        meaning="share of tumour cases that the network calls positive",
        gain="finds more of the tumour cases",
    ),
    "specificity": MetricText(
        label="Normal cases left alone (specificity)",
        meaning="share of normal cases that it does not call positive",
        gain="leaves more of the normal cases alone",
    ),
    "sensitivity_at_90": MetricText(
        label="Sensitivity at 90 % specificity",
        meaning="tumour cases found if one normal case in ten may be a false alarm",
        gain="finds more tumours at the same rate of false alarms",
    ),
    "surface_dice": MetricText(
        label="Surface Dice",
        meaning="share of the outline within the tolerance",
        gain="draws closer outlines",
    ),
    "lesion_sensitivity": MetricText(
        label="Lesions found",
        meaning="share of single lesions that a finding overlaps",
        gain="finds more lesions",
    ),
}


@dataclass(frozen=True, kw_only=True)
class ArmResult:
    """One trained network on the test cases.

    Args:
        kind: baseline or ours.
        label: short name, such as ``masks + reports``.
        trained_on: what it learned from, such as ``4 masks, 80 reports``.
        metrics: metric name -> estimate.
        scores: case scores of the test cases, for the ROC curve.
        present: tumour in the case or not, one a score.
    """

    kind: ArmKind
    label: str
    trained_on: str
    metrics: Mapping[str, Estimate]
    scores: Sequence[float] = ()
    present: Sequence[bool] = ()

    @classmethod
    def of(
        cls, result: EvaluationResult, class_name: str, *, kind: ArmKind, label: str, trained_on: str
    ) -> ArmResult:
        """From an evaluation of one prediction folder."""
        rows = [
            row
            for row in result.cases
            if row.class_name == class_name and row.score is not None and row.present is not None
        ]
        return cls(
            kind=kind,
            label=label,
            trained_on=trained_on,
            metrics=result.classes[class_name].metrics,
            scores=tuple(row.score for row in rows if row.score is not None),
            present=tuple(bool(row.present) for row in rows),
        )


@dataclass(frozen=True, kw_only=True)
class CasePicture:
    """A slice with its title.

    Args:
        title: what the picture shows, in a few words.
        picture: the slice and its outlines.
        caption: one more sentence, may be empty.
    """

    title: str
    picture: SlicePicture
    caption: str = ""


@dataclass(frozen=True, kw_only=True)
class CaseOutcome:
    """What one network made of the case.

    Args:
        kind: which network.
        label: its name.
        verdict: ``good``, ``partial`` or ``bad``, decides the sign.
        text: a few words, such as ``found, DSC 0.78``.
    """

    kind: ArmKind
    label: str
    verdict: Literal["good", "partial", "bad"]
    text: str


@dataclass(frozen=True, kw_only=True)
class CaseCard:
    """One case: pictures, report, record and agreement.

    Args:
        case_id: the case.
        headline: one plain sentence about what is to be seen.
        truth: what is really there, such as ``one tumour of 18 mm in the pancreatic tail``.
        pictures: slices, in reading order.
        outcomes: one a network.
        report_text: the report exactly as it was extracted.
        record: its record.
        agreement: findings of one network against the report.
        agreement_label: which network that is.
    """

    case_id: str
    headline: str
    truth: str
    pictures: tuple[CasePicture, ...]
    outcomes: tuple[CaseOutcome, ...]
    report_text: str
    record: ReportRecord
    agreement: CaseAgreement | None = None
    agreement_label: str = "masks + reports"


@dataclass(frozen=True, kw_only=True)
class DemoPageData:
    """Everything on the page.

    Args:
        baseline: the network that learned from masks only.
        ours: the network that learned from masks and reports.
        differences: metric name -> ours minus baseline, paired.
        metrics: metric names in the order of the table; the first two make the headline.
        n_tumour: test cases with a tumour.
        n_normal: test cases without.
        facts: short (value, label) pairs under the title, such as ``("4", "tumour masks")``.
        cases: case cards.
        study: the committed study, if it is there.
        made_with: (name, value) pairs for the foot of the page: versions, seed, command.
        notes: sentences that a reader must know about this run.
        protocol: what makes the comparison fair, one short line each.
    """

    baseline: ArmResult
    ours: ArmResult
    differences: Mapping[str, Estimate]
    n_tumour: int
    n_normal: int
    metrics: tuple[str, ...] = ("dsc", "auc", "sensitivity", "specificity", "sensitivity_at_90")
    facts: tuple[tuple[str, str], ...] = ()
    cases: tuple[CaseCard, ...] = ()
    study: Study | None = None
    made_with: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    protocol: tuple[str, ...] = ()
