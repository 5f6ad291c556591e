"""Predictions against the truth: detection, segmentation and statistics with intervals."""

from rsuper.evaluation.compare import Comparison, compare
from rsuper.evaluation.evaluate import evaluate
from rsuper.evaluation.prediction_folder import PredictionFolder
from rsuper.evaluation.results import CaseRow, ClassResult, EvaluationResult, EvaluationSettings
from rsuper.evaluation.segmentation import EdgeCasePolicy, segmentation_scores
from rsuper.evaluation.statistics import Estimate, Resampling

__all__ = [
    "CaseRow",
    "ClassResult",
    "Comparison",
    "EdgeCasePolicy",
    "Estimate",
    "EvaluationResult",
    "EvaluationSettings",
    "PredictionFolder",
    "Resampling",
    "compare",
    "evaluate",
    "segmentation_scores",
]
