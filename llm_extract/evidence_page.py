"""Self-contained HTML pages that show each report, with its evidence highlighted, beside its record.

Report text is escaped where it enters HTML and never parsed as HTML: as text by the template, as a JSON data
block for the page's own script, which builds elements and sets text only. The pages load nothing
(``default-src 'none'``).
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from llm_extract.highlight import (
    Highlight,
    highlight_css,
    highlight_report,
    highlights_of,
    lesion_title,
    segments_of,
    size_text,
    template_text,
)
from llm_extract.private_files import private_text
from llm_extract.records import ReportRecord
from llm_extract.reports import Report

__all__ = [
    "EvidencePages",
    "highlight_css",
    "highlight_report",
    "json_block",
    "page_html",
    "policy_hash",
    "report_data",
    "utf16_offsets",
]

REPORTS_PER_PAGE = 5_000
PAGE_CHARS = 48_000_000
"""A page ends early when its data would pass this: browsers stay quick below about 50 MB."""

SHOWN_CHARS = 60_000


class EvidencePages:
    """Writes ``evidence.html``, then ``evidence.2.html`` …, as reports arrive.

    Args:
        out: folder of the pages.
        limit: how many reports to show at most; 0 writes nothing.
        total: how many reports there are.
    """

    def __init__(self, out: Path, *, limit: int, total: int) -> None:
        self._out = out
        self._limit = limit
        self._total = total
        self._added = 0
        self._first = 1
        self._chars = 0
        self._data: list[str] = []
        self.files: list[Path] = []

    def __enter__(self) -> EvidencePages:
        return self

    def add(self, report: Report, record: ReportRecord) -> None:
        """Show one report, unless the limit is reached."""
        if self._added >= self._limit:
            return
        if len(self._data) >= REPORTS_PER_PAGE or self._chars > PAGE_CHARS:
            self._write("another page follows")
        data = json_block(report_data(report.text, record))
        self._data.append(data)
        self._chars += len(data)
        self._added += 1

    def __exit__(self, error_type: type[BaseException] | None, *_error: object) -> None:
        if error_type is not None:
            return
        if self._data:
            self._write("last page")
        for path in self._out.glob("evidence*.html"):
            if re.fullmatch(r"evidence(\.[0-9]+)?\.html", path.name) and path not in self.files:
                path.unlink()

    def _write(self, position: Literal["another page follows", "last page"]) -> None:
        number = len(self.files) + 1
        path = self._out / _page_name(number)
        with private_text(path) as file:
            for piece in page_html(
                self._data,
                first=self._first,
                total=self._total,
                previous_page=_page_name(number - 1) if number > 1 else None,
                next_page=_page_name(number + 1) if position == "another page follows" else None,
            ):
                file.write(piece)
        self.files.append(path)
        self._first += len(self._data)
        self._data, self._chars = [], 0


def _page_name(number: int) -> str:
    return "evidence.html" if number == 1 else f"evidence.{number}.html"


def page_html(
    reports: Sequence[str], *, first: int, total: int, previous_page: str | None, next_page: str | None
) -> Iterator[str]:
    """One whole page, in pieces.

    Args:
        reports: JSON of each report, from :func:`json_block`.
        first: number of the first of them, from 1.
        total: number of reports in the archive.
        previous_page: file name of the page before, if any.
        next_page: file name of the page after, if any.

    Yields:
        HTML.
    """
    css, script = highlight_css() + template_text("evidence.css"), template_text("evidence.js")
    environment = Environment(autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True)
    head, tail = (
        environment.from_string(template_text(name)).render(
            css=Markup(css),  # noqa: S704 - our own files, hashed in the page's policy
            script=Markup(script),  # noqa: S704
            css_hash=policy_hash(css),
            script_hash=policy_hash(script),
            first=first,
            last=first + len(reports) - 1,
            total=total,
            previous_page=previous_page,
            next_page=next_page,
        )
        for name in ("evidence_head.html.j2", "evidence_tail.html.j2")
    )
    yield head
    yield "["
    for index, report in enumerate(reports):
        yield ("," if index else "") + "\n" + report
    yield "\n]"
    yield tail


def json_block(value: object) -> str:
    r"""JSON that is safe inside a ``<script type="application/json">`` element.

    >>> json_block("</script>")
    '"\\u003c/script\\u003e"'
    """
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def report_data(text: str, record: ReportRecord) -> dict[str, Any]:
    """What the page's script needs of one report; offsets in UTF-16 units, as the script counts."""
    shown = text[:SHOWN_CHARS]
    units = utf16_offsets(shown)
    highlights = highlights_of(record)
    number = {highlight: index for index, highlight in enumerate(highlights)}
    segments = [
        [
            units(segment.start),
            units(segment.end),
            [number[highlight] for highlight in segment.highlights],
            int(segment.is_core),
        ]
        for segment in segments_of(len(shown), highlights)
        if segment.highlights
    ]
    dump = record.model_dump(mode="json", exclude_defaults=True)
    return {
        "id": record.report_id,
        "source": record.source,
        "status": record.status,
        "issues": [
            {"code": issue.code, "field": issue.field}
            | ({"text": text[issue.span.start : issue.span.end][:120]} if issue.span else {})
            for issue in record.issues
        ],
        "text": shown,
        "cut": len(text) - len(shown),
        "marks": [_mark(highlight) for highlight in highlights],
        "segments": segments,
        "lesions": [
            {"title": lesion_title(lesion), "size": size_text(lesion)}
            | lesion.model_dump(mode="json", exclude_defaults=True, exclude={"evidence", "mentions"})
            for lesion in record.lesions
        ],
        "organs": {
            name: {key: value for key, value in statement.items() if key != "evidence"}
            for name, statement in dump.get("organs", {}).items()
            if statement
        },
        "organ_order": [
            name for name, statement in record.organs.items() if statement.status != "not_mentioned"
        ],
        "n_organs": len(record.organs),
        "technique": {key: value for key, value in dump.get("technique", {}).items() if key != "evidence"},
        "signs": [{key: v for key, v in sign.items() if key != "evidence"} for sign in dump.get("signs", [])],
        "surgery": [
            {key: v for key, v in item.items() if key != "evidence"} for item in dump.get("surgery", [])
        ],
        "unused": [
            {"id": unused.measurement_id, "reason": unused.reason, "text": text[unused.start : unused.end]}
            for unused in record.unused_measurements
        ],
        "case_id": record.case_id,
        "patient_id": record.patient_id,
        "study_date": record.study_date.isoformat() if record.study_date else None,
        "backend": f"{record.provenance.backend} {record.provenance.version}",
    }


def _mark(highlight: Highlight) -> list[str | int]:
    """Kind, index and label; of a lesion only what follows its title, which the page has anyway."""
    label = highlight.label.rpartition(" · ")[2] if highlight.kind == "lesion" else highlight.label
    return [highlight.kind, highlight.index, label]


def utf16_offsets(text: str) -> Callable[[int], int]:
    """A function from code points to UTF-16 units of this text."""
    if text.isascii() or max(text) < "\U00010000":
        return lambda position: position
    offsets = [0]
    for character in text:
        offsets.append(offsets[-1] + (2 if character >= "\U00010000" else 1))
    return lambda position: offsets[position]


def policy_hash(text: str) -> str:
    """Source expression by which a page's policy allows exactly this script or style sheet."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
