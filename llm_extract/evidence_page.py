"""Self-contained HTML pages that show each report, with its evidence highlighted, beside its record.

Report text is escaped where it enters HTML and never parsed as HTML: as text by the template, as a JSON data block for
the page's own script, which builds elements and sets text only. The pages load nothing (``default-src 'none'``).
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape

from llm_extract.private_files import private_text
from llm_extract.records import Lesion, ReportRecord
from llm_extract.reports import Report

REPORTS_PER_PAGE = 5_000
PAGE_CHARS = 48_000_000
"""A page ends early when its data would pass this: browsers stay quick below about 50 MB."""

SHOWN_CHARS = 60_000
LESION_COLOURS = 8

HighlightKind = Literal["lesion", "organ", "sign", "surgery", "technique", "unused"]
_RANK: dict[HighlightKind, int] = {"lesion": 0, "sign": 1, "surgery": 2, "organ": 3, "unused": 4, "technique": 5}


@dataclass(frozen=True, order=True)
class Highlight:
    """One stretch of the report that grounds something in the record.

    Args:
        start: first code point.
        end: code point after the last.
        kind: what it grounds.
        index: which of them, from 0; the index of a lesion decides its colour.
        label: what to show when the pointer rests on it.
    """

    start: int
    end: int
    kind: HighlightKind
    index: int
    label: str

    @property
    def css_class(self) -> str:
        """Class names of the mark."""
        colour = f" c{self.index % LESION_COLOURS}" if self.kind == "lesion" else ""
        return f"evidence evidence-{self.kind}{colour}"


@dataclass(frozen=True)
class Segment:
    """A stretch of text with everything that it grounds; the first highlight decides its looks."""

    start: int
    end: int
    highlights: tuple[Highlight, ...]


def highlights_of(record: ReportRecord) -> list[Highlight]:
    """All stretches of the report that the record refers to."""
    found: set[Highlight] = set()

    def add(kind: HighlightKind, index: int, label: str, quotes: Sequence[Any]) -> None:
        found.update(
            Highlight(quote.start, quote.end, kind, index, f"{label} · {quote.field.replace('_', ' ')}")
            for quote in quotes
            if quote.end > quote.start
        )

    for index, lesion in enumerate(record.lesions):
        add("lesion", index, f"lesion {index + 1}: {lesion_title(lesion)}", lesion.evidence)
    for index, (organ, statement) in enumerate(record.organs.items()):
        if statement.status != "lesion_present":
            add("organ", index, f"{_words(organ)}: {_words(statement.status)}", statement.evidence)
    for index, sign in enumerate(record.signs):
        add("sign", index, f"sign: {_words(sign.sign)} ({_words(sign.organ)})", sign.evidence)
    for index, surgery in enumerate(record.surgery):
        add("surgery", index, f"surgery: {surgery.procedure}", surgery.evidence)
    add("technique", 0, "technique", record.technique.evidence)
    for index, unused in enumerate(record.unused_measurements):
        label = f"measurement of no lesion: {_words(unused.reason)}"
        found.add(Highlight(unused.start, unused.end, "unused", index, label))
    return sorted(found)


def segments_of(text_chars: int, highlights: Sequence[Highlight]) -> Iterator[Segment]:
    """Cut a text into stretches that do not overlap, each with all highlights that cover it.

    Args:
        text_chars: length of the text in code points.
        highlights: may overlap; parts beyond the text are ignored.

    Yields:
        Segments that cover the text from 0 to its end, in order.
    """
    starts: dict[int, list[Highlight]] = {}
    ends: dict[int, list[Highlight]] = {}
    for highlight in highlights:
        end = min(highlight.end, text_chars)
        if highlight.start < end:
            starts.setdefault(highlight.start, []).append(highlight)
            ends.setdefault(end, []).append(highlight)
    cuts = sorted({0, text_chars, *starts, *ends})
    active: list[Highlight] = []
    for start, end in zip(cuts, cuts[1:], strict=False):
        active = [highlight for highlight in active if highlight not in ends.get(start, ())]
        active += starts.get(start, [])
        ranked = sorted(active, key=lambda highlight: (_RANK[highlight.kind], highlight.end - highlight.start))
        yield Segment(start, end, tuple(ranked))


def highlight_report(text: str, record: ReportRecord) -> Markup:
    """HTML of a report with its evidence marked, for any page; everything from the report is escaped.

    Args:
        text: the report exactly as it was extracted.
        record: its record.

    Returns:
        One ``<div class="report-text">``; style it with :func:`highlight_css`.
    """
    pieces: list[Markup] = []
    for segment in segments_of(len(text), highlights_of(record)):
        content = escape(text[segment.start : segment.end])
        if segment.highlights:
            title = escape("\n".join(dict.fromkeys(highlight.label for highlight in segment.highlights)))
            css_class = Markup(segment.highlights[0].css_class)  # noqa: S704 - made of our own words
            content = Markup('<mark class="{}" title="{}">{}</mark>').format(css_class, title, content)
        pieces.append(content)
    return Markup('<div class="report-text">{}</div>').format(Markup("").join(pieces))


@lru_cache(maxsize=1)
def highlight_css() -> str:
    """Style sheet of :func:`highlight_report`; light and dark."""
    return _template("highlight.css")


def lesion_title(lesion: Lesion) -> str:
    """A lesion in a few words, such as ``left kidney mass, 34 × 28 mm``."""
    side = f"{lesion.laterality} " if lesion.laterality in {"left", "right", "bilateral"} else ""
    count = f"{lesion.count} × " if lesion.count is not None and lesion.count > 1 else ""
    count = "multiple " if lesion.count is None else count
    size = size_text(lesion)
    return f"{count}{side}{_words(lesion.organ)} {_words(lesion.kind)}" + (f", {size}" if size else "")


def size_text(lesion: Lesion) -> str:
    """The size of a lesion as one reads it, empty where none is stated."""
    approximate = "about " if lesion.size_kind == "approximate" else ""
    if lesion.diameters_mm:
        return approximate + " × ".join(f"{value:g}" for value in lesion.diameters_mm) + " mm"
    low, high = lesion.size_min_mm, lesion.size_max_mm
    if low is not None and high is not None:
        return f"{approximate}{low:g} to {high:g} mm"
    if high is not None:
        return f"at most {high:g} mm"
    return f"at least {low:g} mm" if low is not None else ""


def _words(name: str) -> str:
    return name.replace("_", " ")


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
    css, script = highlight_css() + _template("evidence.css"), _template("evidence.js")
    environment = Environment(autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True)
    head, tail = (
        environment.from_string(_template(name)).render(
            css=Markup(css),  # noqa: S704 - our own files, hashed in the page's policy
            script=Markup(script),  # noqa: S704
            css_hash=_policy_hash(css),
            script_hash=_policy_hash(script),
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
    """JSON that is safe inside a ``<script type="application/json">`` element.

    >>> json_block("</script>")
    '"\\\\u003c/script\\\\u003e"'
    """
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def report_data(text: str, record: ReportRecord) -> dict[str, Any]:
    """What the page's script needs of one report; offsets in UTF-16 units, as the script counts."""
    shown = text[:SHOWN_CHARS]
    units = _utf16_offsets(shown)
    highlights = highlights_of(record)
    number = {highlight: index for index, highlight in enumerate(highlights)}
    segments = [
        [units(segment.start), units(segment.end), [number[highlight] for highlight in segment.highlights]]
        for segment in segments_of(len(shown), highlights)
        if segment.highlights
    ]
    dump = record.model_dump(mode="json", exclude_defaults=True)
    return {
        "id": record.report_id,
        "source": record.source,
        "status": record.status,
        "issues": dump.get("issues", []),
        "text": shown,
        "cut": len(text) - len(shown),
        "marks": [[highlight.kind, highlight.index, highlight.label] for highlight in highlights],
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
        "organ_order": [name for name, statement in record.organs.items() if statement.status != "not_mentioned"],
        "n_organs": len(record.organs),
        "technique": {key: value for key, value in dump.get("technique", {}).items() if key != "evidence"},
        "signs": [{key: v for key, v in sign.items() if key != "evidence"} for sign in dump.get("signs", [])],
        "surgery": [{key: v for key, v in item.items() if key != "evidence"} for item in dump.get("surgery", [])],
        "unused": [
            {"id": unused.measurement_id, "reason": unused.reason, "text": text[unused.start : unused.end]}
            for unused in record.unused_measurements
        ],
        "case_id": record.case_id,
        "patient_id": record.patient_id,
        "study_date": record.study_date.isoformat() if record.study_date else None,
        "backend": f"{record.provenance.backend} {record.provenance.version}",
    }


def _utf16_offsets(text: str) -> Any:
    """A function from code points to UTF-16 units of this text."""
    if text.isascii() or max(text) < "\U00010000":
        return lambda position: position
    offsets = [0]
    for character in text:
        offsets.append(offsets[-1] + (2 if character >= "\U00010000" else 1))
    return lambda position: offsets[position]


@lru_cache(maxsize=8)
def _template(name: str) -> str:
    return (resources.files("llm_extract") / "templates" / name).read_text(encoding="utf-8")


def _policy_hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
