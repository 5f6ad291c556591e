"""What is known of a report before a model reads it: the rules' record, its measurements and its sentences.

A model gives lesions and statements on organs. Technique, signs, operations, sections and the reasons why a
measurement is no lesion's size come from the rules, which also step in when a model's answer is unusable.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from llm_extract.anatomy import Anatomy, load_anatomy
from llm_extract.drafts import DraftSpan as Span
from llm_extract.drafts import SignDraft, SurgeryDraft, TechniqueDraft, UnusedDraft
from llm_extract.measurements import Measurement
from llm_extract.records import Evidence, ReportRecord
from llm_extract.reports import Report
from llm_extract.rules.extractor import RulesExtractor
from llm_extract.rules.lexicon import Lexicon
from llm_extract.rules.statements import Reading, Statement


@dataclass(frozen=True)
class Prepared:
    """A report as a model's answer is checked against.

    Args:
        report: the report.
        rules: what the rules make of it.
        reading: its sentences with the known phrases.
        lexicon: finds known phrases in words that a model quotes.
        anatomy: table of organs.
        named: organs that some word of the report names, or that the rules read out of it.
    """

    report: Report
    rules: ReportRecord
    reading: Reading
    lexicon: Lexicon
    anatomy: Anatomy
    named: frozenset[str]

    @property
    def measurements(self) -> tuple[Measurement, ...]:
        """The scan that ids point into."""
        return self.reading.measurements

    @property
    def readable(self) -> bool:
        """False where even the rules found nothing to read."""
        return self.rules.status != "failed"

    def statements_in(self, start: int, end: int) -> list[Statement]:
        """Sentences that overlap a stretch of the text."""
        return [s for s in self.reading.statements if s.sentence.start < end and s.sentence.end > start]


class Preparer:
    """Prepares reports; holds the rules.

    Args:
        anatomy: table of organs; the built-in one by default.
    """

    def __init__(self, anatomy: Anatomy | None = None) -> None:
        self.anatomy = anatomy or load_anatomy()
        self._rules = RulesExtractor(anatomy) if anatomy is not None else _default_rules()

    def prepare(self, report: Report) -> Prepared:
        """Everything that is known of a report before a model reads it."""
        rules, reading = self._rules.extract_with_reading(report)
        known = (name for name, statement in rules.organs.items() if statement.status != "not_mentioned")
        named = frozenset((*_named(reading.statements), *known))
        return Prepared(report, rules, reading, self._rules.lexicon, self.anatomy, named)


@lru_cache(maxsize=1)
def _default_rules() -> RulesExtractor:
    return RulesExtractor()


def _named(statements: Sequence[Statement]) -> Iterator[str]:
    for statement in statements:
        yield from organs_named(statement)


def organs_named(statement: Statement) -> Iterator[str]:
    """Organs that a sentence, or the heading it stands under, names or implies."""
    yield from statement.topic
    for mark in statement.marks:
        if mark.category == "place" and mark.value.organ:
            yield mark.value.organ
        elif mark.category == "short":
            yield from (organ for organ, _ in mark.value.candidates)
        elif mark.category == "finding":
            if mark.value.organ:
                yield mark.value.organ
            if mark.value.kind == "lymph_node":
                yield "lymph_node"
        elif mark.category == "operation":
            yield mark.value.organ
    for reference in statement.references:
        if reference.kind == "segment":
            yield "liver"
        elif reference.kind == "vertebra":
            yield "bone"


def surgery_drafts(record: ReportRecord) -> tuple[SurgeryDraft, ...]:
    """The operations of the rules' record, as drafts."""
    return tuple(
        SurgeryDraft(
            organ=s.organ, procedure=s.procedure, laterality=s.laterality, extent=s.extent,
            removed_parts=s.removed_parts, quote=s.evidence[0].text, quote_start=s.evidence[0].start,
        )
        for s in record.surgery
        if s.evidence
    )  # fmt: skip


def sign_drafts(record: ReportRecord) -> tuple[SignDraft, ...]:
    """The secondary signs of the rules' record, as drafts."""
    return tuple(
        SignDraft(
            organ=s.organ, sign=s.sign, measurement_ids=s.measurement_ids,
            quote=s.evidence[0].text, quote_start=s.evidence[0].start,
        )
        for s in record.signs
        if s.evidence
    )  # fmt: skip


def technique_draft(record: ReportRecord) -> TechniqueDraft:
    """The technique of the rules' record, as a draft."""
    t = record.technique
    spans = tuple(_span(e) for e in t.evidence)
    return TechniqueDraft(
        modality=t.modality, phase=t.phase, body_regions=t.body_regions, limited=t.limited, spans=spans
    )


def unused_drafts(record: ReportRecord) -> tuple[UnusedDraft, ...]:
    """The rules' reasons why measurements are no lesion's size; ``other`` is no reason."""
    return tuple(
        UnusedDraft(measurement_id=u.measurement_id, reason=u.reason)
        for u in record.unused_measurements
        if u.reason != "other"
    )


def _span(evidence: Evidence) -> Span:
    return Span(field=evidence.field, start=evidence.start, end=evidence.end)
