"""Pair the lesions of a record with those of a gold answer: one to one, by optimal assignment, within an organ.

A pair fits when neither side nor size contradict, or when both point at the same words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from llm_extract.gold import Finding, GoldReport, Layout, organ_name, size_key
from llm_extract.records import Lesion, ReportRecord


def findings_of(record: ReportRecord | None, layout: Layout = "report") -> list[Finding]:
    """The current lesions of a record in the terms of a gold layout.

    Args:
        record: the record; None gives no lesions.
        layout: of a ``report`` an index lesion and its remainder are one group, in a ``hard_case`` they are two.

    Returns:
        Its lesions, resolved ones left out.
    """
    return [finding for finding, _ in findings_and_lesions(record, layout)]


def findings_and_lesions(record: ReportRecord | None, layout: Layout) -> list[tuple[Finding, Lesion]]:
    """:func:`findings_of`, each beside the lesion of the record that it was made of."""
    if record is None:
        return []
    current = [lesion for lesion in record.lesions if lesion.change != "resolved"]
    if layout == "hard_case":
        return [(_finding(lesion), lesion) for lesion in current]
    grouped = [(lesion.group_id, lesion) for lesion in current if lesion.group_id is not None]
    indexes = {group for group, lesion in grouped if lesion.group_role == "index"}
    remainders = {group: lesion for group, lesion in grouped if lesion.group_role == "remainder"}
    findings: list[tuple[Finding, Lesion]] = []
    for lesion in current:
        if lesion.group_role == "remainder" and lesion.group_id in indexes:
            continue
        finding = _finding(lesion)
        if lesion.group_role == "index" and lesion.group_id in remainders:
            rest = _finding(remainders[lesion.group_id])
            count = None if finding.count is None or rest.count is None else finding.count + rest.count
            finding = replace(finding, count=count, spans=finding.spans + rest.spans)
        findings.append((finding, lesion))
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


def found_sizes(gold: Finding, found: Finding) -> tuple[float, ...]:
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
    agreement = np.array([[agreement_of(one, other) for other in found] for one in gold])
    rows, columns = linear_sum_assignment(agreement, maximize=True)
    pairs = zip(rows.tolist(), columns.tolist(), strict=True)
    return [(row, column) for row, column in pairs if agreement[row, column] > 0]


def agreement_of(gold: Finding, found: Finding) -> float:
    """How well two lesions fit; 0 when they cannot be the same."""
    if gold.organ != found.organ:
        return 0.0
    overlap = spans_meet(gold.spans, found.spans)
    sides_fit = gold.side is None or found.side is None or gold.side == found.side
    sizes_mm = found_sizes(gold, found)
    size_fits = not gold.sizes_mm or not sizes_mm or sizes_fit(gold.sizes_mm[0], sizes_mm[0])
    if not overlap and not (sides_fit and size_fits):
        return 0.0
    same_sizes = gold.sizes_mm == sizes_mm
    same_part = not gold.parts or not found.parts or parts_fit(gold, found)
    return (
        1.0
        + 4.0 * same_sizes
        + 2.0 * (size_fits and bool(gold.sizes_mm) == bool(sizes_mm))
        + 2.0 * (gold.side == found.side)
        + 2.0 * overlap
        + 1.0 * same_part
        + 1.0 * (gold.count == found.count)
    )


def parts_fit(gold: Finding, found: Finding) -> bool:
    """Whether a part is shared; part ids of records carry their organ, ``colon_rectum`` for ``rectum``."""
    return any(part == name or part.endswith(f"_{name}") for name in gold.parts for part in found.parts)


def sizes_fit(one_mm: float, other_mm: float) -> bool:
    """Whether two readings of one diameter agree: within 1 mm or 5 %."""
    return abs(one_mm - other_mm) <= max(1.0, 0.05 * one_mm)


def spans_meet(some: Sequence[tuple[int, int]], others: Sequence[tuple[int, int]]) -> bool:
    """Whether any stretch of the one overlaps any of the other."""
    return any(a < d and c < b for a, b in some for c, d in others)


def is_ignored(finding: Finding, gold: GoldReport) -> bool:
    """Whether a found lesion stands where the answer says that it may be extracted or not."""
    return spans_meet(gold.ignored, finding.spans)
