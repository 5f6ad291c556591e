"""Compare records with gold answers: lesions, sizes, sides, organ statements, harmful targets, with intervals.

Every figure is a ratio of sums over reports, so that its interval comes from resampling reports; where all or none
are right, resampling shows no spread and the exact binomial interval is given instead.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from llm_extract.anatomy import Anatomy
from llm_extract.errors import DataError
from llm_extract.gold import Finding, GoldReport, organ_name, read_gold
from llm_extract.harm import HARMS, Target, judge_targets, risk_coverage
from llm_extract.intervals import clopper_pearson
from llm_extract.matching import (
    agreement_of,
    findings_of,
    found_sizes,
    is_ignored,
    match_findings,
    parts_fit,
)
from llm_extract.record_files import read_records
from llm_extract.records import ReportRecord

__all__ = [
    "Tally",
    "agreement_of",
    "findings_of",
    "match_findings",
    "read_both",
    "read_records",
    "score",
    "score_files",
]

RESAMPLES = 1000
PUBLISHED_PRESENCE = {"sensitivity": 1.0, "specificity": 0.932, "reports": 447}
"""Organ-level presence labels of a 70B model, arXiv 2507.05582; on reports of its own."""


@dataclass
class Tally:
    """Numerator and denominator of every figure for one report."""

    sums: dict[str, list[float]] = field(default_factory=dict)

    def add(self, name: str, numerator: float, denominator: float, *, organ: str | None = None) -> None:
        """Add to one figure, and to that of one organ if it is given."""
        if organ is not None:
            self.add(f"{name}/{organ}", numerator, denominator)
        both = self.sums.setdefault(name, [0.0, 0.0])
        both[0] += numerator
        both[1] += denominator


def score_files(
    records_path: Path, gold_path: Path, *, seed: int = 0, anatomy: Anatomy | None = None
) -> dict[str, Any]:
    """Score a ``records.jsonl`` against a gold file.

    Args:
        records_path: records, one a line, or the folder of an extraction.
        gold_path: gold answers, one a line.
        seed: seed of the bootstrap.
        anatomy: the table of organs that the records were made with; the built-in one by default.

    Returns:
        Figures with intervals, ready for JSON.

    Raises:
        DataError: a file is broken, or no record belongs to a gold answer.
    """
    gold, records = read_both(records_path, gold_path)
    return score(records, gold, seed=seed, anatomy=anatomy)


def read_both(records_path: Path, gold_path: Path) -> tuple[list[GoldReport], dict[str, ReportRecord]]:
    """Gold answers and records that belong together; raises as :func:`score_files` does."""
    gold = read_gold(gold_path)
    records = read_records(records_path)
    if not any(report.report_id in records for report in gold):
        raise DataError(
            f"no record of {records_path} has the id of a gold answer in {gold_path}",
            code="nothing_to_score",
            hint=f"extract its reports first: rsuper extract {shlex.quote(str(gold_path))} --out gold-records",
        )
    return gold, records


def score(
    records: Mapping[str, ReportRecord],
    gold: Sequence[GoldReport],
    *,
    seed: int = 0,
    anatomy: Anatomy | None = None,
) -> dict[str, Any]:
    """Score records against gold answers; a report without a record is one in which nothing was found.

    Args:
        records: by report id.
        gold: the answers.
        seed: seed of the bootstrap.
        anatomy: the table of organs that the records were made with, which says what part lies in which; the
            built-in one by default.

    Returns:
        ``figures`` (value, low, high, numerator, denominator by name), ``organs`` (F1 by organ),
        ``fields_by_organ``, ``harms`` (how many of each kind), ``risk_coverage``, and ids of what went wrong.
    """
    judged = sorted({finding.organ for report in gold for finding in report.findings})
    tallies: list[Tally] = []
    targets: list[Target] = []
    not_right: list[str] = []
    harmful: list[str] = []
    for report in gold:
        tally = Tally()
        record = records.get(report.report_id)
        is_right = _score_report(report, record, judged, tally)
        targets += _score_targets(report, record, tally, anatomy)
        if report.layout == "hard_case" and not is_right:
            not_right.append(report.report_id)
        if tally.sums["harmful_negatives"][0]:
            harmful.append(report.report_id)
        tallies.append(tally)
    figures = _with_intervals(tallies, seed=seed)
    by_organ: dict[str, dict[str, Any]] = {}
    for key, value in figures.items():
        name, _, organ = key.partition("/")
        if organ:
            by_organ.setdefault(organ, {})[name] = value
    return {
        "reports": len(gold),
        "missing_records": sorted(report.report_id for report in gold if report.report_id not in records),
        "figures": {name: value for name, value in figures.items() if "/" not in name},
        "organs": {organ: by["lesion_f1"] for organ, by in by_organ.items() if "lesion_f1" in by},
        "fields_by_organ": by_organ,
        "harms": {harm: sum(harm in target.harms for target in targets) for harm in (*HARMS, "unmatched")},
        "reports_with_harmful_targets": sorted({target.report_id for target in targets if target.is_harmful}),
        "risk_coverage": risk_coverage(targets),
        "hard_cases_not_right": not_right,
        "reports_with_harmful_negatives": harmful,
        "published_presence": dict(PUBLISHED_PRESENCE),
    }


def _score_targets(
    gold: GoldReport, record: ReportRecord | None, tally: Tally, anatomy: Anatomy | None
) -> list[Target]:
    """Harmful ones over the lesions that would supervise; a false negative adds to the harmful ones alone."""
    targets = judge_targets(gold, record, anatomy=anatomy)
    for target in targets:
        supervises = target.lesion is not None
        tally.add("harmful_targets", target.is_harmful, supervises, organ=target.organ)
        tally.add("not_in_gold", "unmatched" in target.harms, supervises, organ=target.organ)
    return targets


def _score_report(
    gold: GoldReport, record: ReportRecord | None, judged_organs: Sequence[str], tally: Tally
) -> bool:
    found = findings_of(record, gold.layout)
    pairs = match_findings(gold.findings, found)
    matched = {column for _, column in pairs}
    counted = [
        index for index, finding in enumerate(found) if index in matched or not is_ignored(finding, gold)
    ]
    _score_detection(gold, found, pairs, counted, tally)
    for row, column in pairs:
        _score_pair(gold.findings[row], found[column], gold.layout, tally)
    _score_organs(gold, record, found, judged_organs, tally)
    _score_record(gold, record, tally)
    contaminated = sum(any(size in gold.forbidden_mm for size in finding.sizes_mm) for finding in found)
    tally.add("contamination", contaminated, len([1 for finding in found if finding.sizes_mm]))
    if gold.layout == "report":
        return True
    is_right = sorted(map(_identity, gold.findings)) == sorted(map(_identity, found))
    tally.add("hard_cases_right", is_right, 1)
    return is_right


def _score_detection(
    gold: GoldReport,
    found: Sequence[Finding],
    pairs: Sequence[tuple[int, int]],
    counted: Sequence[int],
    tally: Tally,
) -> None:
    n_gold, n_found, n_pairs = len(gold.findings), len(counted), len(pairs)
    tally.add("lesion_precision", n_pairs, n_found)
    tally.add("lesion_recall", n_pairs, n_gold)
    tally.add("lesion_f1", 2 * n_pairs, n_gold + n_found)
    measured_gold = sum(bool(finding.sizes_mm) for finding in gold.findings)
    effective = {column: found_sizes(gold.findings[row], found[column]) for row, column in pairs}
    measured_found = sum(bool(effective.get(index, found[index].sizes_mm)) for index in counted)
    both = sum(bool(gold.findings[row].sizes_mm) and bool(effective[column]) for row, column in pairs)
    tally.add("measured_precision", both, measured_found)
    tally.add("measured_recall", both, measured_gold)
    tally.add("measured_f1", 2 * both, measured_gold + measured_found)
    matched_gold, matched_found = {row for row, _ in pairs}, {column for _, column in pairs}
    for row, finding in enumerate(gold.findings):
        tally.add(f"lesion_f1/{finding.organ}", row in matched_gold, 1)
        tally.add(f"lesion_recall/{finding.organ}", row in matched_gold, 1)
    for index in counted:
        tally.add(f"lesion_f1/{found[index].organ}", index in matched_found, 1)
        tally.add(f"lesion_precision/{found[index].organ}", index in matched_found, 1)


def _score_pair(gold: Finding, found: Finding, layout: str, tally: Tally) -> None:
    organ = gold.organ
    if gold.sizes_mm:
        tally.add("exact_size", gold.sizes_mm == found_sizes(gold, found), 1, organ=organ)
    tally.add("count", gold.count == found.count, 1, organ=organ)
    if gold.side is not None:
        tally.add("laterality", gold.side == found.side, 1, organ=organ)
    if gold.attenuation is not None:
        tally.add("attenuation", gold.attenuation == found.attenuation, 1, organ=organ)
    if layout == "hard_case" and gold.parts:
        tally.add("part", parts_fit(gold, found), 1, organ=organ)
    tally.add("certainty", gold.is_definite == found.is_definite, 1, organ=organ)


def _score_organs(
    gold: GoldReport,
    record: ReportRecord | None,
    found: Sequence[Finding],
    judged: Sequence[str],
    tally: Tally,
) -> None:
    statements = record.organs if record is not None else {}
    free = {organ_name(name) for name, said in statements.items() if said.status == "explicitly_lesion_free"}
    present = {finding.organ for finding in gold.findings}
    for organ in sorted(gold.free_organs - present):
        tally.add("organ_negatives_recall", organ in free, 1)
    tally.add("harmful_negatives", len(free & present), len(present))
    predicted = {finding.organ for finding in found if not is_ignored(finding, gold)}
    tally.add("presence_sensitivity", len(present & predicted), len(present))
    absent = set(judged) - present
    tally.add("presence_specificity", len(absent - predicted), len(absent))


def _score_record(gold: GoldReport, record: ReportRecord | None, tally: Tally) -> None:
    from llm_extract.grounding import evidence_of

    status = record.status if record is not None else "failed"
    tally.add("needs_review", status == "needs_review", 1)
    tally.add("failed", status == "failed", 1)
    for evidence in evidence_of(record) if record is not None else ():
        tally.add("grounding", gold.text[evidence.start : evidence.end] == evidence.text, 1)


def _identity(finding: Finding) -> tuple[str, tuple[float, ...], int, str]:
    return finding.organ, finding.sizes_mm, finding.count or 0, finding.side or ""


def _with_intervals(tallies: Sequence[Tally], *, seed: int) -> dict[str, dict[str, float | None]]:
    """Ratio of sums and its 95 % percentile interval over resampled reports, exact where all or none are right."""
    generator = np.random.default_rng(seed)
    picks = generator.integers(0, len(tallies), size=(RESAMPLES, len(tallies)))
    names = sorted({name for tally in tallies for name in tally.sums})
    figures: dict[str, dict[str, float | None]] = {}
    for name in names:
        sums = np.array([tally.sums.get(name, (0.0, 0.0)) for tally in tallies])
        numerator, denominator = sums.sum(axis=0)
        resampled = sums[picks].sum(axis=1)
        valid = resampled[resampled[:, 1] > 0]
        low, high = np.quantile(valid[:, 0] / valid[:, 1], (0.025, 0.975)) if len(valid) else (None, None)
        if numerator in (0, denominator) and denominator and "f1" not in name:
            low, high = clopper_pearson(numerator, denominator)
        figures[name] = {
            "value": float(numerator / denominator) if denominator else None,
            "low": None if low is None else float(low),
            "high": None if high is None else float(high),
            "numerator": float(numerator),
            "denominator": float(denominator),
        }
    return figures
