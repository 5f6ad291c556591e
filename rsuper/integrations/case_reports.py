"""What the reports of a case are: texts, which are read here, or records that were extracted before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from llm_extract.anatomy import Anatomy, load_anatomy
from llm_extract.records import ReportRecord
from llm_extract.reports import Report

if TYPE_CHECKING:
    from llm_extract.rules import RulesExtractor


def records_of(
    reports: str | ReportRecord | Sequence[str | ReportRecord], anatomy: Anatomy | None = None
) -> list[ReportRecord]:
    """One record a report, in order.

    Args:
        reports: a text or a record, or a sequence of them.
        anatomy: the table of organs that texts are read with; the built-in one by default.

    Raises:
        TypeError: anything else, such as a path or a dictionary, which would pass for a report that says nothing.
    """
    said = [reports] if isinstance(reports, str | ReportRecord) else reports
    if isinstance(said, bytes | Mapping) or not isinstance(said, Iterable):
        raise TypeError(f"reports are texts or records, or a list of them, got {type(said).__name__}")
    return [_record(item, f"report-{number}", anatomy) for number, item in enumerate(said)]


def _record(item: object, report_id: str, anatomy: Anatomy | None) -> ReportRecord:
    if isinstance(item, ReportRecord):
        return item
    if not isinstance(item, str):
        raise TypeError(f"a report is its text or a ReportRecord, got {type(item).__name__}")
    from llm_extract.rules import extract_record  # spaCy is loaded only where a text is read

    report = Report(report_id=report_id, text=item)
    if anatomy is None or anatomy == load_anatomy():
        return extract_record(report)
    return _reader(anatomy.model_dump_json()).extract(report)


@lru_cache(maxsize=1)
def _reader(anatomy: str) -> RulesExtractor:
    """A reader with a table of the user's own, which takes seconds to build."""
    from llm_extract.rules import RulesExtractor

    return RulesExtractor(Anatomy.model_validate_json(anatomy))
