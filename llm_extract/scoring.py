"""Compare records with gold answers: lesions, sizes, sides, organ statements, with bootstrap intervals.

Lesions of one report are matched one to one, by optimal assignment, within an organ: a pair fits when neither
side nor size contradict, or when both point at the same words. Every figure is a ratio of sums over reports,
so that its interval comes from resampling reports.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from llm_extract.errors import DataError
from llm_extract.gold import Finding, GoldReport, Layout, organ_name, read_gold, size_key
from llm_extract.records import Lesion, ReportRecord

RESAMPLES = 1000
PUBLISHED_PRESENCE = {"sensitivity": 1.0, "specificity": 0.932, "reports": 447}
"""Organ-level presence labels of a 70B model, arXiv 2507.05582; on reports of its own."""


@dataclass
class Tally:
    """Numerator and denominator of every figure for one report."""

    sums: dict[str, list[float]] = field(default_factory=dict)

    def add(self, name: str, numerator: float, denominator: float) -> None:
        """Add to one figure."""
        both = self.sums.setdefault(name, [0.0, 0.0])
        both[0] += numerator
        both[1] += denominator


def score_files(records_path: Path, gold_path: Path, *, seed: int = 0) -> dict[str, Any]:
    """Score a ``records.jsonl`` against a gold file.

    Args:
        records_path: records, one a line.
        gold_path: gold answers, one a line.
        seed: seed of the bootstrap.

    Returns:
        Figures with intervals, ready for JSON.

    Raises:
        DataError: a file is broken, or no record belongs to a gold answer.
    """
    gold = read_gold(gold_path)
    records = read_records(records_path)
    if not any(report.report_id in records for report in gold):
        raise DataError(
            f"no record of {records_path} has the id of a gold answer in {gold_path}",
            code="nothing_to_score",
            hint="extract the reports of the gold file first",
        )
    return score(records, gold, seed=seed)


def read_records(path: Path) -> dict[str, ReportRecord]:
    """Records by report id; of repeated ids the first."""
    records: dict[str, ReportRecord] = {}
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}", code="unreadable_input") from error
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                record = ReportRecord.model_validate_json(line)
            except ValidationError as error:
                raise DataError(
                    f"{path}, line {number} is no record ({error.error_count()} errors)", code="broken_record"
                ) from None
            records.setdefault(record.report_id, record)
    return records


def score(
    records: Mapping[str, ReportRecord], gold: Sequence[GoldReport], *, seed: int = 0
) -> dict[str, Any]:
    """Score records against gold answers; a report without a record is one in which nothing was found.

    Args:
        records: by report id.
        gold: the answers.
        seed: seed of the bootstrap.

    Returns:
        ``figures`` (value, low, high, numerator, denominator by name), ``organs`` (F1 by organ), and ids of
        what went wrong.
    """
    judged = sorted({finding.organ for report in gold for finding in report.findings})
    tallies: list[Tally] = []
    not_right: list[str] = []
    harmful: list[str] = []
    for report in gold:
        tally = Tally()
        record = records.get(report.report_id)
        is_right = _score_report(report, record, judged, tally)
        if report.layout == "hard_case" and not is_right:
            not_right.append(report.report_id)
        if tally.sums["harmful_negatives"][0]:
            harmful.append(report.report_id)
        tallies.append(tally)
    figures = _with_intervals(tallies, seed=seed)
    return {
        "reports": len(gold),
        "missing_records": sorted(report.report_id for report in gold if report.report_id not in records),
        "figures": {name: value for name, value in figures.items() if "/" not in name},
        "organs": {name.partition("/")[2]: value for name, value in figures.items() if "/" in name},
        "hard_cases_not_right": not_right,
        "reports_with_harmful_negatives": harmful,
        "published_presence": dict(PUBLISHED_PRESENCE),
    }


def findings_of(record: ReportRecord | None, layout: Layout = "report") -> list[Finding]:
    """The current lesions of a record in the terms of a gold layout.

    Args:
        record: the record; None gives no lesions.
        layout: of a ``report`` an index lesion and its remainder are one group, in a ``hard_case`` they are two.

    Returns:
        Its lesions, resolved ones left out.
    """
    if record is None:
        return []
    current = [lesion for lesion in record.lesions if lesion.change != "resolved"]
    if layout == "hard_case":
        return [_finding(lesion) for lesion in current]
    grouped = [(lesion.group_id, lesion) for lesion in current if lesion.group_id is not None]
    indexes = {group for group, lesion in grouped if lesion.group_role == "index"}
    remainders = {group: lesion for group, lesion in grouped if lesion.group_role == "remainder"}
    findings: list[Finding] = []
    for lesion in current:
        if lesion.group_role == "remainder" and lesion.group_id in indexes:
            continue
        finding = _finding(lesion)
        if lesion.group_role == "index" and lesion.group_id in remainders:
            rest = _finding(remainders[lesion.group_id])
            count = None if finding.count is None or rest.count is None else finding.count + rest.count
            finding = replace(finding, count=count, spans=finding.spans + rest.spans)
        findings.append(finding)
    return findings


def _finding(lesion: Lesion) -> Finding:
    quotes = [*lesion.evidence, *lesion.mentions]
    return Finding(
        organ=organ_name(lesion.organ),
        parts=frozenset(lesion.parts),
        side=lesion.laterality if lesion.laterality in ("left", "right") else None,  # type: ignore[arg-type]
        sizes_mm=size_key(lesion.diameters_mm),
        largest_mm=lesion.size_max_mm if lesion.count != 1 and not lesion.diameters_mm else None,
        count=lesion.count,
        attenuation=None if lesion.attenuation == "unknown" else lesion.attenuation,
        is_definite=lesion.presence == "definite" and lesion.diagnosis_certainty in (None, "definite"),
        spans=tuple((quote.start, quote.end) for quote in quotes),
    )


def _found_sizes(gold: Finding, found: Finding) -> tuple[float, ...]:
    """Sizes to compare with the gold ones: of a group without diameters its bound, where gold states a size."""
    if found.sizes_mm or found.largest_mm is None or not gold.sizes_mm:
        return found.sizes_mm
    return size_key((found.largest_mm,))


def match_findings(gold: Sequence[Finding], found: Sequence[Finding]) -> list[tuple[int, int]]:
    """Match lesions one to one so that the total agreement is largest.

    Args:
        gold: lesions of the answer.
        found: lesions of the record.

    Returns:
        Pairs of positions; lesions that fit none are left out.
    """
    from scipy.optimize import linear_sum_assignment

    if not gold or not found:
        return []
    agreement = np.array([[_agreement(one, other) for other in found] for one in gold])
    rows, columns = linear_sum_assignment(agreement, maximize=True)
    pairs = zip(rows.tolist(), columns.tolist(), strict=True)
    return [(row, column) for row, column in pairs if agreement[row, column] > 0]


def _agreement(gold: Finding, found: Finding) -> float:
    """How well two lesions fit; 0 when they cannot be the same."""
    if gold.organ != found.organ:
        return 0.0
    overlap = any(a < d and c < b for a, b in gold.spans for c, d in found.spans)
    sides_fit = gold.side is None or found.side is None or gold.side == found.side
    sizes_mm = _found_sizes(gold, found)
    sizes_fit = not gold.sizes_mm or not sizes_mm or _sizes_fit(gold.sizes_mm[0], sizes_mm[0])
    if not overlap and not (sides_fit and sizes_fit):
        return 0.0
    same_sizes = gold.sizes_mm == sizes_mm
    parts_fit = not gold.parts or not found.parts or _parts_fit(gold, found)
    return (
        1.0
        + 4.0 * same_sizes
        + 2.0 * (sizes_fit and bool(gold.sizes_mm) == bool(sizes_mm))
        + 2.0 * (gold.side == found.side)
        + 2.0 * overlap
        + 1.0 * parts_fit
        + 1.0 * (gold.count == found.count)
    )


def _parts_fit(gold: Finding, found: Finding) -> bool:
    """Whether a part is shared; part ids of records carry their organ, ``colon_rectum`` for ``rectum``."""
    return any(part == name or part.endswith(f"_{name}") for name in gold.parts for part in found.parts)


def _sizes_fit(one_mm: float, other_mm: float) -> bool:
    return abs(one_mm - other_mm) <= max(1.0, 0.05 * one_mm)


def _score_report(
    gold: GoldReport, record: ReportRecord | None, judged_organs: Sequence[str], tally: Tally
) -> bool:
    found = findings_of(record, gold.layout)
    pairs = match_findings(gold.findings, found)
    matched = {column for _, column in pairs}
    counted = [
        index for index, finding in enumerate(found) if index in matched or not _is_ignored(finding, gold)
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


def _is_ignored(finding: Finding, gold: GoldReport) -> bool:
    return any(a < d and c < b for a, b in gold.ignored for c, d in finding.spans)


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
    effective = {column: _found_sizes(gold.findings[row], found[column]) for row, column in pairs}
    measured_found = sum(bool(effective.get(index, found[index].sizes_mm)) for index in counted)
    both = sum(bool(gold.findings[row].sizes_mm) and bool(effective[column]) for row, column in pairs)
    tally.add("measured_precision", both, measured_found)
    tally.add("measured_recall", both, measured_gold)
    tally.add("measured_f1", 2 * both, measured_gold + measured_found)
    for finding in gold.findings:
        tally.add(f"lesion_f1/{finding.organ}", 0, 1)
    for index in counted:
        tally.add(f"lesion_f1/{found[index].organ}", 0, 1)
    for row, _ in pairs:
        tally.add(f"lesion_f1/{gold.findings[row].organ}", 2, 0)


def _score_pair(gold: Finding, found: Finding, layout: str, tally: Tally) -> None:
    if gold.sizes_mm:
        tally.add("exact_size", gold.sizes_mm == _found_sizes(gold, found), 1)
    tally.add("count", gold.count == found.count, 1)
    if gold.side is not None:
        tally.add("laterality", gold.side == found.side, 1)
    if gold.attenuation is not None:
        tally.add("attenuation", gold.attenuation == found.attenuation, 1)
    if layout == "hard_case" and gold.parts:
        tally.add("part", _parts_fit(gold, found), 1)
    tally.add("certainty", gold.is_definite == found.is_definite, 1)


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
    predicted = {finding.organ for finding in found if not _is_ignored(finding, gold)}
    tally.add("presence_sensitivity", len(present & predicted), len(present))
    absent = set(judged) - present
    tally.add("presence_specificity", len(absent - predicted), len(absent))


def _score_record(gold: GoldReport, record: ReportRecord | None, tally: Tally) -> None:
    from llm_extract.backends import evidence_of

    status = record.status if record is not None else "failed"
    tally.add("needs_review", status == "needs_review", 1)
    tally.add("failed", status == "failed", 1)
    for evidence in evidence_of(record) if record is not None else ():
        tally.add("grounding", gold.text[evidence.start : evidence.end] == evidence.text, 1)


def _identity(finding: Finding) -> tuple[str, tuple[float, ...], int, str]:
    return finding.organ, finding.sizes_mm, finding.count or 0, finding.side or ""


def _with_intervals(tallies: Sequence[Tally], *, seed: int) -> dict[str, dict[str, float | None]]:
    """Ratio of sums and its 95 % percentile interval over resampled reports."""
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
        figures[name] = {
            "value": float(numerator / denominator) if denominator else None,
            "low": None if low is None else float(low),
            "high": None if high is None else float(high),
            "numerator": float(numerator),
            "denominator": float(denominator),
        }
    return figures
