"""Scores as lines of text; ids and numbers only, never a report's words."""

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
    "harmful_targets": "harmful, of lesions that would supervise",
    "not_in_gold": "not in the answer, of those",
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
    yield from _organ_lines(scores)
    yield from _harm_lines(scores)
    published = scores["published_presence"]
    yield (
        f"published for presence, other reports (n = {published['reports']}): sensitivity "
        f"{published['sensitivity']:.1%}, specificity {published['specificity']:.1%}"
    )
    for key, label in (
        ("missing_records", "without a record"),
        ("reports_with_harmful_targets", "harmful targets in"),
        ("hard_cases_not_right", "hard cases not right"),
        ("reports_with_harmful_negatives", "an organ with a lesion called free in"),
    ):
        if scores[key]:
            yield f"{label}: {', '.join(scores[key])}"


ORGAN_FIELDS: Mapping[str, str] = {
    "lesion_f1": "F1",
    "exact_size": "size",
    "count": "count",
    "laterality": "side",
    "part": "part",
    "attenuation": "density",
    "harmful_targets": "harmful",
}


def _organ_lines(scores: Mapping[str, Any]) -> Iterator[str]:
    """A row an organ, a column a field: right ones of all."""
    yield "by organ; F1, then right / all of the matched lesions, then harmful / all that would supervise:"
    yield f"  {'':<16}" + "".join(f"{label:>11}" for label in ORGAN_FIELDS.values())
    order = sorted(scores["organs"].items(), key=lambda item: (-item[1]["denominator"], item[0]))
    for organ, _ in order:
        values = scores["fields_by_organ"][organ]
        cells = (_cell(name, values.get(name)) for name in ORGAN_FIELDS)
        yield f"  {organ.replace('_', ' '):<16}" + "".join(f"{cell:>11}" for cell in cells)


def _cell(name: str, value: Mapping[str, Any] | None) -> str:
    if value is None or value["value"] is None:
        return "–"
    if name == "lesion_f1":
        return f"{value['value']:.2f}"
    return f"{value['numerator']:g}/{value['denominator']:g}"


COVERAGES = (0.25, 0.5, 0.75, 0.9, 1.0)


def _harm_lines(scores: Mapping[str, Any]) -> Iterator[str]:
    """What harms, and how the share of harmful lesions falls when only the most certain ones are used."""
    kinds = (f"{harm.replace('_', ' ')} {number}" for harm, number in scores["harms"].items())
    yield f"harmful targets by kind: {', '.join(kinds)}"
    points = scores["risk_coverage"]["points"]
    if points:
        yield "harmful among the lesions that the record is most certain of:"
        chosen = [
            next(point for point in points if point["coverage"] >= wanted - 1e-9) for wanted in COVERAGES
        ]
        for point in {point["coverage"]: point for point in chosen}.values():
            yield (
                f"  the most certain {point['coverage']:>4.0%} (certainty ≥ {point['certainty']:.2f})"
                f"  {point['risk']:.1%} harmful"
            )


def _figure(value: Mapping[str, Any]) -> str:
    if value["value"] is None:
        return "–"
    interval = f"{value['low']:.3f}–{value['high']:.3f}" if value["low"] is not None else "–"
    return f"{value['value']:.3f}  ({interval})  {value['numerator']:g}/{value['denominator']:g}"
