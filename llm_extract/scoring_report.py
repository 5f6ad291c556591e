"""Scores as lines of text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

FIGURES: Mapping[str, str] = {
    "lesion_f1": "lesions, F1",
    "lesion_precision": "lesions, precision",
    "lesion_recall": "lesions, recall",
    "measured_f1": "measured lesions, F1",
    "measured_precision": "measured lesions, precision",
    "measured_recall": "measured lesions, recall",
    "exact_size": "sizes exactly right, of matched",
    "contamination": "prior or other sizes taken as current",
    "count": "counts right, of matched",
    "laterality": "sides right, of matched",
    "part": "parts right, of matched",
    "attenuation": "attenuation right, of matched",
    "certainty": "certainty right, of matched",
    "organ_negatives_recall": "organs stated free, found",
    "harmful_negatives": "organs with a lesion called free",
    "presence_sensitivity": "organ-level presence, sensitivity",
    "presence_specificity": "organ-level presence, specificity",
    "grounding": "quotes found in the text",
    "hard_cases_right": "hard cases fully right",
    "needs_review": "records that need review",
    "failed": "records that failed or are missing",
}


def score_lines(scores: Mapping[str, Any]) -> Iterator[str]:
    """Lines of a plain table.

    Args:
        scores: what :func:`llm_extract.scoring.score` returns.

    Yields:
        One line a figure, then one an organ, then what to look at.
    """
    yield f"{scores['reports']} reports; intervals: 95 %, bootstrap over reports"
    figures = scores["figures"]
    for name, label in FIGURES.items():
        if name in figures and figures[name]["value"] is not None:
            yield f"{label:<40} {_figure(figures[name])}"
    yield "lesion F1 by organ:"
    for organ, value in sorted(scores["organs"].items(), key=lambda item: -item[1]["denominator"]):
        yield f"  {organ.replace('_', ' '):<38} {_figure(value)}"
    published = scores["published_presence"]
    yield (
        f"published for presence, other reports (n = {published['reports']}): sensitivity "
        f"{published['sensitivity']:.1%}, specificity {published['specificity']:.1%}"
    )
    for key, label in (
        ("missing_records", "without a record"),
        ("hard_cases_not_right", "hard cases not right"),
        ("reports_with_harmful_negatives", "an organ with a lesion called free in"),
    ):
        if scores[key]:
            yield f"{label}: {', '.join(scores[key])}"


def _figure(value: Mapping[str, Any]) -> str:
    if value["value"] is None:
        return "–"
    interval = f"{value['low']:.3f}–{value['high']:.3f}" if value["low"] is not None else "–"
    return f"{value['value']:.3f}  ({interval})  {value['numerator']:g}/{value['denominator']:g}"
