"""Quote -> code points of the report. What cannot be found is an issue, never evidence."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

from llm_extract.records import Evidence, Match, ReportRecord, Section
from llm_extract.reports import Report
from llm_extract.sections import section_at

_MAX_QUOTE = 2000


class GroundingError(ValueError):
    """A record is not about the report it was made from."""


def locate(text: str, quote: str, *, near: int | None = None) -> tuple[int, int, Match] | None:
    """Code points of a quote, or None where the text does not hold it.

    Verbatim first; then with white space and letter case made equal. Of several places the one nearest to ``near``.

    >>> locate("A  Mass, a mass.", "a mass")
    (10, 16, 'exact')
    >>> locate("A  Mass.", "a mass")
    (0, 7, 'normalised')
    >>> locate("A mass.", "a cyst") is None
    True
    """
    if not quote.strip() or len(quote) > _MAX_QUOTE:
        return None
    start = _exact(text, quote, near)
    if start >= 0:
        return start, start + len(quote), "exact"
    found = [match.span() for match in _loose(quote).finditer(text)]
    if not found:
        return None
    start = _nearest([span[0] for span in found], near)
    return start, dict(found)[start], "normalised"


def ground(
    text: str, sections: tuple[Section, ...], field: str, quote: str, *, near: int | None = None
) -> Evidence | None:
    """Evidence for one field from a quote, or None where the text does not hold the quote."""
    found = locate(text, quote, near=near)
    if found is None:
        return None
    start, end, match = found
    return evidence_at(text, sections, field, (start, end), match=match)


def evidence_at(
    text: str, sections: tuple[Section, ...], field: str, span: tuple[int, int], *, match: Match = "exact"
) -> Evidence:
    """Evidence for one field from code points; its text is exactly that slice."""
    start, end = span
    return Evidence.of_own(
        field=field,
        start=start,
        end=end,
        text=text[start:end],
        section=section_at(sections, start),
        match=match,
    )


def check_grounding(record: ReportRecord, report: Report) -> None:
    """Refuse a record that is not grounded in exactly this text.

    Raises:
        GroundingError: the record belongs to another text, or a quote is not the slice it claims to be.
    """
    if record.report_id != report.report_id or record.text_sha256 != report.text_sha256:
        raise GroundingError("the record belongs to another report")
    for evidence in evidence_of(record):
        if report.text[evidence.start : evidence.end] != evidence.text:
            raise GroundingError(f"a quote is not at {evidence.start}:{evidence.end}")


def evidence_of(record: ReportRecord) -> Iterator[Evidence]:
    """Every quote of a record."""
    for lesion in record.lesions:
        yield from lesion.evidence
    for statement in record.organs.values():
        yield from statement.evidence
    yield from record.technique.evidence
    for sign in record.signs:
        yield from sign.evidence
    for surgery in record.surgery:
        yield from surgery.evidence


def _exact(text: str, quote: str, near: int | None) -> int:
    """Start of the nearest verbatim place, found from ``near`` outwards; -1 where there is none."""
    if near is None:
        return text.find(quote)
    if text.startswith(quote, near):
        return near
    before, after = text.rfind(quote, 0, near + len(quote)), text.find(quote, near)
    return (
        _nearest([place for place in (before, after) if place >= 0], near)
        if before >= 0 or after >= 0
        else -1
    )


def _nearest(places: list[int], near: int | None) -> int:
    return places[0] if near is None else min(places, key=lambda place: abs(place - near))


@lru_cache(maxsize=1024)
def _loose(quote: str) -> re.Pattern[str]:
    return re.compile(r"\s+".join(re.escape(word) for word in quote.split()), re.IGNORECASE)
