"""A stratified random sample of an archive's records, cut into claims that a reader can judge right or wrong.

Which reports are drawn depends on the seed and on the records alone, not on their order: every report has a random
number of its own (a hash), and each stratum keeps those with the smallest. The sample is found again from the records
when the answers come back, so that a page need not carry it.
"""

from __future__ import annotations

import hashlib
import heapq
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeVar, get_args

from llm_extract.highlight import lesion_title, size_text
from llm_extract.record_files import iter_records, records_file
from llm_extract.records import Lesion, ReportRecord

_T = TypeVar("_T")

ClaimField = Literal["lesion", "laterality", "part", "size", "count", "attenuation", "negative", "missed"]
CLAIM_FIELDS: tuple[ClaimField, ...] = get_args(ClaimField)
SHOWN_LESIONS = 4
SHOWN_NEGATIVES = 3
DEFAULT_SAMPLE = 100
TICK_RECORDS = 500


@dataclass(frozen=True)
class Claim:
    """One thing that a record says, to be judged against its report.

    Args:
        claim_id: unique within the audit: report, lesion or organ, field.
        field: what it is about; estimates are made by field.
        question: what a reader is asked, without any words of the report.
        value: what the record says.
        spans: code points of the report that ground it.
        weight: how many claims of this report it stands for, 1 unless only some of them are asked.
    """

    claim_id: str
    field: ClaimField
    question: str
    value: str
    spans: tuple[tuple[int, int], ...] = ()
    weight: float = 1.0


@dataclass(frozen=True)
class SampledReport:
    """A drawn report: its record, and the claims to judge."""

    record: ReportRecord
    stratum: str
    claims: tuple[Claim, ...]


@dataclass(frozen=True)
class AuditSample:
    """What was drawn from an archive.

    Args:
        audit_id: hash of the records, the size of the sample and the seed; answers carry it.
        reports: drawn reports, in the random order in which they are judged.
        strata: number of records in the archive, by stratum.
        quarantined: records without content, which nobody can judge.
        size: reports asked for.
        seed: seed of the draw.
    """

    audit_id: str
    reports: tuple[SampledReport, ...]
    strata: Mapping[str, int]
    quarantined: int
    size: int
    seed: int


@dataclass
class _Drawn:
    """The records of one stratum with the smallest random numbers."""

    number: int = 0
    kept: list[tuple[int, str]] = field(default_factory=list)

    def add(self, priority: int, record: ReportRecord, *, limit: int) -> None:
        self.number += 1
        if len(self.kept) < limit:
            heapq.heappush(self.kept, (-priority, record.model_dump_json()))
        elif -priority > self.kept[0][0]:
            heapq.heapreplace(self.kept, (-priority, record.model_dump_json()))

    def first(self, number: int) -> list[tuple[int, str]]:
        return sorted((-negative, line) for negative, line in self.kept)[:number]


def draw_sample(
    records: Path,
    *,
    size: int = DEFAULT_SAMPLE,
    seed: int = 0,
    tick: Callable[[int], None] = lambda _number: None,
) -> AuditSample:
    """Draw reports at random, some from every stratum.

    Args:
        records: records.jsonl, or the folder of an extraction; read once, one record at a time.
        size: how many reports to draw.
        seed: seed of the draw.
        tick: called now and then with the number of records read since.

    Returns:
        The sample; the same for the same records, size and seed.

    Raises:
        DataError: there are no records, or they are broken.
    """
    strata: dict[str, _Drawn] = {}
    quarantined = 0
    for number, record in enumerate(iter_records(records), start=1):
        if number % TICK_RECORDS == 0:
            tick(TICK_RECORDS)
        if record.status == "failed":
            quarantined += 1
            continue
        drawn = strata.setdefault(stratum_of(record), _Drawn())
        drawn.add(_priority(record, seed), record, limit=size)
    shares = allocate({name: drawn.number for name, drawn in strata.items()}, size)
    chosen = sorted(
        (priority, name, line)
        for name, share in shares.items()
        for priority, line in strata[name].first(share)
    )
    return AuditSample(
        audit_id=_audit_id(records_file(records), size, seed),
        reports=tuple(_sampled(ReportRecord.model_validate_json(line), name) for _, name, line in chosen),
        strata={name: drawn.number for name, drawn in sorted(strata.items())},
        quarantined=quarantined,
        size=size,
        seed=seed,
    )


def stratum_of(record: ReportRecord) -> str:
    """Which kind of report it is: source, and how much the record says.

    Returns:
        For example ``radiology, several lesions``.
    """
    if record.status == "needs_review":
        return f"{record.source}, needs review"
    number = len([lesion for lesion in record.lesions if lesion.change != "resolved"])
    return f"{record.source}, {('no lesion', 'one lesion', 'several lesions')[min(number, 2)]}"


def allocate(numbers: Mapping[str, int], size: int) -> dict[str, int]:
    """How many to draw from each stratum: in proportion to the root of its size, so that rare ones are seen too.

    Args:
        numbers: records by stratum.
        size: reports to draw in all.

    Returns:
        Draws by stratum, none above its size; one at least from each while there are enough.

    >>> allocate({"common": 9900, "rare": 100}, 44)
    {'common': 40, 'rare': 4}
    """
    left = min(size, sum(numbers.values()))
    order = sorted(numbers, key=lambda name: (numbers[name], name))
    shares: dict[str, int] = {}
    for position, name in enumerate(order):
        rest = math.fsum(math.sqrt(numbers[other]) for other in order[position:])
        wanted = max(1, round(left * math.sqrt(numbers[name]) / rest)) if rest else 0
        shares[name] = min(numbers[name], wanted, left)
        left -= shares[name]
    return {name: shares[name] for name in numbers}


def claims_of(record: ReportRecord) -> Iterator[Claim]:
    """The claims of one record: some of its lesions field by field, some negatives, and whether one is missing."""
    current = [lesion for lesion in record.lesions if lesion.change != "resolved"]
    lesions = _some(current, SHOWN_LESIONS, key=f"{record.report_id}/{record.text_sha256}")
    for lesion in lesions:
        yield from _lesion_claims(record.report_id, lesion, weight=len(current) / len(lesions))
    free = [name for name, said in record.organs.items() if said.status == "explicitly_lesion_free"]
    negatives = _some(free, SHOWN_NEGATIVES, key=record.text_sha256)
    for name in negatives:
        yield Claim(
            claim_id=f"{record.report_id}/{name}/negative",
            field="negative",
            question=f"Does the report say that the {_words(name)} is free of lesions?",
            value=f"{_words(name)}: free of lesions",
            spans=tuple((quote.start, quote.end) for quote in record.organs[name].evidence),
            weight=len(free) / len(negatives),
        )
    listed = "; ".join(lesion_title(lesion) for lesion in current) or "no lesion at all"
    yield Claim(
        claim_id=f"{record.report_id}/report/missed",
        field="missed",
        question="Is that every lesion that the report states as present now?",
        value=f"recorded: {listed}",
        spans=tuple((quote.start, quote.end) for lesion in current for quote in lesion.evidence),
    )


def _lesion_claims(report_id: str, lesion: Lesion, *, weight: float) -> Iterator[Claim]:
    asked: list[tuple[ClaimField, str, str]] = [
        (
            "lesion",
            "Does the report state this lesion, in this organ, as present now?",
            f"{_words(lesion.organ)}: {_words(lesion.diagnosis or lesion.kind)}",
        )
    ]
    if lesion.laterality not in ("unknown", "n/a"):
        asked.append(("laterality", "Is the side right?", lesion.laterality))
    if lesion.parts:
        relation = (
            "" if lesion.part_relation in ("within", "unknown") else f" ({_words(lesion.part_relation)})"
        )
        asked.append(
            ("part", "Is the part of the organ right?", ", ".join(map(_words, lesion.parts)) + relation)
        )
    size = size_text(lesion) or "no size stated"
    asked.append(("size", "Is this its present size as the report gives it?", size))
    asked.append(("count", "Is the number of lesions right?", _count(lesion)))
    if lesion.attenuation != "unknown":
        asked.append(("attenuation", "Is the density right?", f"{lesion.attenuation}dense"))
    quotes = lesion.evidence
    for name, question, value in asked:
        of_field = [quote for quote in quotes if name == "lesion" or quote.field in _EVIDENCE_FIELDS[name]]
        yield Claim(
            claim_id=f"{report_id}/{lesion.lesion_id}/{name}",
            field=name,
            question=question,
            value=value,
            spans=tuple((quote.start, quote.end) for quote in of_field or quotes),
            weight=weight,
        )


_EVIDENCE_FIELDS: Mapping[str, frozenset[str]] = {
    "laterality": frozenset({"laterality"}),
    "part": frozenset({"parts"}),
    "size": frozenset({"diameters_mm", "size_min_mm", "size_max_mm"}),
    "count": frozenset({"count"}),
    "attenuation": frozenset({"attenuation"}),
}


def _count(lesion: Lesion) -> str:
    if lesion.count is None:
        return "several, number not stated"
    words = {"exact": "", "at_least": "at least ", "approximate": "about ", "multiple_unknown": "at least "}
    return f"{words[lesion.count_kind]}{lesion.count}"


def _some(items: list[_T], number: int, *, key: str) -> list[_T]:
    """At most so many, chosen by a hash of their place, in their order."""
    if len(items) <= number:
        return items
    order = sorted(range(len(items)), key=lambda index: hashlib.sha256(f"{key}/{index}".encode()).digest())
    return [items[index] for index in sorted(order[:number])]


def _sampled(record: ReportRecord, stratum: str) -> SampledReport:
    return SampledReport(record=record, stratum=stratum, claims=tuple(claims_of(record)))


def _priority(record: ReportRecord, seed: int) -> int:
    """The random number of a report, 64 bits, independent of its place in the file."""
    text = f"{seed}/{record.report_id}/{record.text_sha256}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def _audit_id(file: Path, size: int, seed: int) -> str:
    digest = hashlib.sha256(f"{size}/{seed}/".encode())
    with file.open("rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def _words(name: str) -> str:
    return name.replace("_", " ")
