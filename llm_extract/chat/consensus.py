"""Do two extractors agree? Field by field, lesion by lesion; what differs is marked in the record."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from llm_extract.private_files import private_text
from llm_extract.records import Issue, Lesion, ReportRecord

CODE: Literal["extractors_disagree"] = "extractors_disagree"
CORE_FIELDS = ("lesion", "organ", "diameters_mm", "laterality", "count", "status")
"""Disagreement on these sends a record to review; on the others it is only counted."""

LESION_FIELDS = (
    "organ", "diameters_mm", "laterality", "count", "parts", "kind", "attenuation", "presence", "malignancy",
    "change", "prior_diameters_mm",
)  # fmt: skip
OPEN = frozenset({"unknown", "n/a", None, (), "not_mentioned", "no_statement_on_lesions"})
"""Values of a field that state nothing."""


@dataclass(frozen=True)
class Pairing:
    """Lesions of two records that are the same, and those that only one has."""

    pairs: tuple[tuple[Lesion, Lesion], ...]
    only_first: tuple[Lesion, ...]
    only_second: tuple[Lesion, ...]


def pair_lesions(first: Sequence[Lesion], second: Sequence[Lesion]) -> Pairing:
    """Pair the lesions of two records of one text: by shared measurements, then organ, side, part and order."""
    scored = []
    for i, a in enumerate(first):
        for j, b in enumerate(second):
            score = _likeness(a, b)
            if score > 0:
                scored.append((-score, abs(i - j), i, j))
    taken_first, taken_second = set[int](), set[int]()
    pairs = []
    for _, _, i, j in sorted(scored):
        if i not in taken_first and j not in taken_second:
            taken_first.add(i)
            taken_second.add(j)
            pairs.append((first[i], second[j]))
    return Pairing(
        tuple(pairs),
        tuple(a for i, a in enumerate(first) if i not in taken_first),
        tuple(b for j, b in enumerate(second) if j not in taken_second),
    )


def _likeness(a: Lesion, b: Lesion) -> float:
    shared = set(a.measurement_ids) & set(b.measurement_ids)
    same_size = bool(a.diameters_mm) and a.diameters_mm == b.diameters_mm
    if a.organ != b.organ:
        return 10.0 if shared else 0.0
    if {a.laterality, b.laterality} == {"left", "right"} and not shared:
        return 0.0
    score = 1.0 + 20.0 * bool(shared) + 5.0 * same_size
    score += 2.0 * bool(set(a.parts) & set(b.parts)) + (a.laterality == b.laterality) + (a.count == b.count)
    apart = bool(a.diameters_mm) and bool(b.diameters_mm) and not (shared or same_size)
    return 0.5 if apart else score


def disagreements(record: ReportRecord, other: ReportRecord) -> tuple[Issue, ...]:
    """One issue a field on which another extractor's record of the same text differs.

    A field that one of the two leaves open is no disagreement, except where it decides what a lesion is.
    """
    return tuple(Issue(code=CODE, field=field) for field in _differences(record, other))


def needs_review(issues: Iterable[Issue]) -> bool:
    """Whether one of the disagreements is on a field that decides what a loss is told."""
    return any(
        (issue.field or "").rsplit(".", 1)[-1] in CORE_FIELDS for issue in issues if issue.code == CODE
    )


def _differences(record: ReportRecord, other: ReportRecord) -> Iterator[str]:
    pairing = pair_lesions(record.lesions, other.lesions)
    for a, b in pairing.pairs:
        for name in LESION_FIELDS:
            x, y = getattr(a, name), getattr(b, name)
            decides = name in {"diameters_mm", "count"}
            if x != y and (decides or (x not in OPEN and y not in OPEN)):
                yield f"{a.lesion_id}.{name}"
    for lesion in pairing.only_first:
        yield f"{lesion.lesion_id}.lesion"
    for lesion in pairing.only_second:
        yield f"other.{lesion.lesion_id}.lesion"
    for name, statement in record.organs.items():
        status = other.organs[name].status if name in other.organs else "not_mentioned"
        opposed = {statement.status, status} == {"lesion_present", "explicitly_lesion_free"}
        alone = statement.status == "explicitly_lesion_free" and status in OPEN
        if opposed or alone:
            yield f"organs.{name}.status"


@dataclass
class Agreement:
    """Agreement over many records, per field."""

    records: int = 0
    records_that_differ: int = 0
    lesions: int = 0
    paired: int = 0
    only_first: int = 0
    only_second: int = 0

    def __post_init__(self) -> None:
        self._differ: Counter[str] = Counter()
        self._free = 0

    def add(self, record: ReportRecord) -> None:
        """Count one record that carries the issues of :func:`disagreements`."""
        if record.status == "failed":
            return
        fields = [issue.field or "" for issue in record.issues if issue.code == CODE]
        self.records += 1
        self.records_that_differ += bool(fields)
        self.lesions += len(record.lesions)
        second = sum(f.startswith("other.") for f in fields)
        first = sum(f.endswith(".lesion") for f in fields) - second
        self.only_first += first
        self.only_second += second
        self.paired += len(record.lesions) - first
        self._differ.update(f.rsplit(".", 1)[-1] for f in fields if not f.endswith(".lesion"))
        self._free += sum(s.status == "explicitly_lesion_free" for s in record.organs.values())

    def summary(self) -> dict[str, object]:
        """Counts, and per field how many of the paired lesions agree."""
        fields = {
            name: {"agree": self.paired - self._differ[name], "of": self.paired} for name in LESION_FIELDS
        }
        return {
            "records": self.records, "records_that_differ": self.records_that_differ, "lesions": self.lesions,
            "paired": self.paired, "only_first": self.only_first, "only_second": self.only_second,
            "fields": fields, "free_organs": {"agree": self._free - self._differ["status"], "of": self._free},
        }  # fmt: skip


def write_agreement(records: Path) -> Path:
    """Write the agreement over a file of records beside it, as ``agreement….json``; returns the file."""
    agreement = Agreement()
    with records.open(encoding="utf-8") as lines:
        for line in lines:
            agreement.add(ReportRecord.model_validate_json(line))
    path = records.with_name(records.name.replace("records", "agreement", 1)).with_suffix(".json")
    with private_text(path) as file:
        json.dump(agreement.summary(), file, indent=2)
        file.write("\n")
    return path
