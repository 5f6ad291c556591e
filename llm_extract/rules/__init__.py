"""The backend without a model: spaCy tokens, a lexicon and the grammar of radiology language."""

from __future__ import annotations

from functools import lru_cache

from llm_extract.records import ReportRecord
from llm_extract.reports import Report
from llm_extract.rules.extractor import RulesExtractor

__all__ = ["RulesExtractor", "extract_record"]


@lru_cache(maxsize=1)
def _default() -> RulesExtractor:
    return RulesExtractor()


def extract_record(report: Report) -> ReportRecord:
    """What a report says, by rules; always a record, also when the report cannot be read."""
    return _default().extract(report)
