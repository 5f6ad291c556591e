"""Reads one report: measurements, statements, findings, organs; then the record."""

from __future__ import annotations

from llm_extract.anatomy import Anatomy, load_anatomy
from llm_extract.assembly import assemble, failed_record
from llm_extract.cues import Cue
from llm_extract.drafts import RecordDraft, UnusedDraft
from llm_extract.language import is_english
from llm_extract.lower_case import lowered
from llm_extract.measurements import MAX_MEASUREMENTS
from llm_extract.records import IssueCode, Provenance, ReportRecord, Source
from llm_extract.reports import MAX_TEXT_CHARS, Report
from llm_extract.rules.lesions import LesionReader
from llm_extract.rules.lexicon import Lexicon
from llm_extract.rules.organs import organ_drafts
from llm_extract.rules.pathology.reader import PathologyReader
from llm_extract.rules.pathology.scanned_text import is_legible
from llm_extract.rules.statements import Reading, read
from llm_extract.rules.surroundings import sign_drafts, surgery_drafts, technique_draft

RULES_VERSION = "1.0.0"
MAX_VOCABULARY = 400_000
"""spaCy remembers every word it has met; beyond this many the tokenizer is built anew, so that memory stays bounded."""
_PROVENANCE = Provenance(backend="rules", version=RULES_VERSION)
_PATHOLOGY = Cue(
    r"\b(?:specimens?\s(?:submitted|received|is|consists?|label\w*)|gross(?:\s(?:description"
    r"|examination))|surgical pathology|histolog\w*|microscopic\s(?:description|examination)"
    r"|received (?:in|fresh)|pathologic(?:al)? (?:diagnosis|stag\w+)|submitted in toto|frozen section|gross:)",
    "specimen", "gross", "patholog", "histolog", "microscopic", "received", "in toto", "frozen",
)  # fmt: skip


class RulesExtractor:
    """Extracts records without a model.

    Args:
        anatomy: table of organs; the built-in one by default.
    """

    def __init__(self, anatomy: Anatomy | None = None) -> None:
        self.anatomy = anatomy or load_anatomy()
        self.lexicon = Lexicon(self.anatomy)
        self._paired = frozenset(name for name, organ in self.anatomy.organs.items() if organ.paired)

    def extract(self, report: Report) -> ReportRecord:
        """What one report says; always a record, ``failed`` with a code where it cannot be read."""
        return self.extract_with_reading(report)[0]

    def extract_with_reading(self, report: Report) -> tuple[ReportRecord, Reading]:
        """The record and what it was made from: the report's sentences with the known phrases, none where it failed."""
        source = source_of(report)
        code = _unreadable(report)
        if code is not None:
            failed = failed_record(report, code, source=source, provenance=_PROVENANCE)
            return failed, read("", self.lexicon, source=source)
        if len(self.lexicon.nlp.vocab) > MAX_VOCABULARY:
            self.lexicon = Lexicon(self.anatomy)
        reading = read(report.text, self.lexicon, source=source)
        reader = PathologyReader if reading.pathology else LesionReader
        lesions = reader(reading, self.anatomy)
        lesions.run()
        pathology = lesions if isinstance(lesions, PathologyReader) else None
        spoken = reading.statements if pathology is None else pathology.on_organs
        technique = technique_draft(reading)
        organs = organ_drafts(spoken, lesions.denials, self._paired, phase=technique.phase)
        draft = RecordDraft(
            lesions=tuple(mention.draft(report.text) for mention in lesions.mentions),
            organs=tuple(organs if pathology is None else pathology.organ_drafts(organs, self._paired)),
            signs=tuple(sign_drafts(reading)),
            surgery=tuple(surgery_drafts(reading)),
            technique=technique,
            unused=tuple(
                UnusedDraft(measurement_id=key, reason=value) for key, value in lesions.unused.items()
            ),
            merged=reading.pathology,
        )
        codes: list[IssueCode] = list(report.issues)
        if lesions.overfull or len(reading.measurements) >= MAX_MEASUREMENTS:
            codes.append("extraction_error")
        if pathology is not None and _nothing_read(draft, pathology.looked_at, reading.text):
            codes.append("nothing_read")
        report = report.model_copy(update={"issues": tuple(codes)})
        record = assemble(
            report, draft, measurements=reading.measurements, sections=reading.sections, source=source,
            provenance=_PROVENANCE, anatomy=self.anatomy,
        )  # fmt: skip
        return record, reading


def _nothing_read(draft: RecordDraft, looked_at: frozenset[str], text: str) -> bool:
    """True for a pathology report that gave neither a tumour nor a free organ, or whose scan is mostly misread.

    Free nodes say nothing of an organ that was received as well.
    """
    free = {said.organ for said in draft.organs if said.status == "explicitly_lesion_free"}
    told = free - {"lymph_node"} if looked_at - {"lymph_node"} else free
    return not (draft.lesions or told) or not is_legible(text)


def source_of(report: Report) -> Source:
    """Radiology or pathology: what the input says, else what the words say."""
    if report.kind != "auto":
        return report.kind
    return "pathology" if len(list(_PATHOLOGY.finditer(lowered(report.text[:20_000])))) >= 2 else "radiology"


def _unreadable(report: Report) -> str | None:
    if report.fatal_issue is not None:
        return report.fatal_issue
    if len(report.text) > MAX_TEXT_CHARS:
        return "report_too_long"
    if not report.text.strip():
        return "empty_report"
    return None if is_english(report.text) else "unsupported_language"
