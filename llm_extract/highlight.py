"""Mark in the text of a report what its record is grounded in: pieces that every page with a report uses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from itertools import pairwise
from typing import Any, Literal

from markupsafe import Markup, escape

from llm_extract.records import Lesion, ReportRecord

LESION_COLOURS = 8

HighlightKind = Literal["lesion", "free", "organ", "sign", "surgery", "technique", "unused"]
_RANK: dict[HighlightKind, int] = {
    "lesion": 0,
    "sign": 1,
    "surgery": 2,
    "unused": 3,
    "free": 4,
    "organ": 5,
    "technique": 6,
}


@dataclass(frozen=True, order=True)
class Highlight:
    """One stretch of the report that grounds something in the record.

    Args:
        start: first code point.
        end: code point after the last.
        kind: what it grounds; ``free`` is an organ stated to be free of lesions, ``organ`` any other statement.
        index: which of them, from 0; the index of a lesion decides its colour.
        label: what to show when the pointer rests on it.
    """

    start: int
    end: int
    kind: HighlightKind
    index: int
    label: str


@dataclass(frozen=True)
class Segment:
    """A stretch of text with everything that it grounds; the first highlight decides its looks."""

    start: int
    end: int
    highlights: tuple[Highlight, ...]

    @property
    def css_class(self) -> str:
        """Class names of the mark: kind and, of a lesion, its colour; stronger where two of its fields meet."""
        first = self.highlights[0]
        if first.kind != "lesion":
            return f"evidence evidence-{first.kind}"
        return f"evidence evidence-lesion c{first.index % LESION_COLOURS}" + (" core" if self.is_core else "")

    @property
    def is_core(self) -> bool:
        """Whether two fields of one lesion meet here, such as a size within its sentence."""
        first = self.highlights[0]
        fields = sum(other.kind == "lesion" and other.index == first.index for other in self.highlights)
        return first.kind == "lesion" and fields > 1


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
            kind: HighlightKind = "free" if statement.status == "explicitly_lesion_free" else "organ"
            add(kind, index, f"{_words(organ)}: {_words(statement.status)}", statement.evidence)
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
    for start, end in pairwise(cuts):
        active = [highlight for highlight in active if highlight not in ends.get(start, ())]
        active += starts.get(start, [])
        ranked = sorted(
            active, key=lambda highlight: (_RANK[highlight.kind], highlight.end - highlight.start)
        )
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
            css_class = Markup(segment.css_class)  # noqa: S704 - made of our own words
            content = Markup('<mark class="{}" title="{}">{}</mark>').format(css_class, title, content)
        pieces.append(content)
    return Markup('<div class="report-text">{}</div>').format(Markup("").join(pieces))


@lru_cache(maxsize=1)
def highlight_css() -> str:
    """Style sheet of :func:`highlight_report`; light and dark."""
    return template_text("highlight.css")


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


@lru_cache(maxsize=8)
def template_text(name: str) -> str:
    """A file of the ``templates`` folder."""
    return (resources.files("llm_extract") / "templates" / name).read_text(encoding="utf-8")
