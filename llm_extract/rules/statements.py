"""A report cut into statements: each sentence with its marks, measurements and the topic it stands under."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field

from llm_extract.lower_case import lowered
from llm_extract.measurements import Measurement, scan_measurements
from llm_extract.records import Section
from llm_extract.references import Reference, scan_references
from llm_extract.rules.lexicon import Lexicon, Mark
from llm_extract.rules.pathology.layout import split_pathology
from llm_extract.rules.pathology.scanned_text import mend
from llm_extract.sections import CURRENT, Sentence, split_sections, split_sentences

_HEADING = re.compile(
    r"[\s\W\d]{0,6}(?:[A-Za-z]+(?:'s)?\s?:\s{0,2})?(?P<title>[A-Za-z][A-Za-z/&,'() -]{2,60}?)\s{0,2}(?P<mark>:"
    r"|\s-\s)"
)
_MAX_TITLE_WORDS = 7
_VERB = re.compile(
    r"\b(?:is|are|was|were|has|have|had|shows?|measures?|demonstrates?|reveals?|contains?|remains?|appears?|be)\b"
)
_REGIONS = frozenset({"other", "vessel", "peritoneum", "soft_tissue", "pleura"})
"""Headings of these say little of where a finding under them lies ("UPPER ABDOMEN:")."""


@dataclass(slots=True)
class Statement:
    """One sentence and what was found in it.

    Args:
        sentence: where it is.
        text: its slice of the report; scanned text with look-alike characters mended, at the same length.
        low: the same in lower case, at the same length.
        marks: known phrases, positions of the report.
        measurements: lengths in it.
        references: numbers in it that are no lengths.
        topic: organs of the heading it stands under ("KIDNEYS:").
        heading: words of that heading that place a finding ("Right kidney:", "Left lower lobe:").
        title_end: end of such a heading inside the sentence, else its start.
        start: first code point.
    """

    sentence: Sentence
    text: str
    low: str
    marks: list[Mark]
    measurements: list[Measurement]
    references: list[Reference]
    topic: tuple[str, ...] = ()
    heading: tuple[Mark, ...] = ()
    title_end: int = 0
    start: int = field(init=False)

    def __post_init__(self) -> None:
        self.start = self.sentence.start

    @property
    def current(self) -> bool:
        """True if its section is about this examination."""
        return self.sentence.section in CURRENT

    def of(self, *categories: str) -> list[Mark]:
        """Marks of some categories, in text order."""
        return [mark for mark in self.marks if mark.category in categories]


@dataclass(slots=True)
class Reading:
    """A report as the rules see it."""

    text: str
    sections: tuple[Section, ...]
    statements: list[Statement]
    measurements: tuple[Measurement, ...]
    pathology: bool = False
    by_id: dict[str, Measurement] = field(default_factory=dict)


def read(text: str, lexicon: Lexicon, *, source: str) -> Reading:
    """Cut a report into statements."""
    pathology = source == "pathology"
    plain = mend(text) if pathology else text
    if pathology:
        sections, sentences = split_pathology(plain)
    else:
        sections = split_sections(plain)
        sentences = split_sentences(plain, sections)
    references = scan_references(plain)
    measurements = scan_measurements(
        plain,
        references,
        bounds=tuple(s.start for s in sentences),
        writing="scanned" if pathology else "typed",
    )
    marks = lexicon.find(_unwrapped(plain, sentences) if pathology else plain)
    lower = lowered(plain)
    measure_starts = [m.start for m in measurements]
    reference_starts = [r.start for r in references]
    statements = []
    for sentence in sentences:
        first, last = bisect_left(measure_starts, sentence.start), bisect_left(measure_starts, sentence.end)
        low, high = bisect_left(reference_starts, sentence.start), bisect_left(reference_starts, sentence.end)
        statements.append(
            Statement(
                sentence,
                plain[sentence.start : sentence.end],
                lower[sentence.start : sentence.end],
                marks.between(sentence.start, sentence.end),
                list(measurements[first:last]),
                list(references[low:high]),
                title_end=sentence.start,
            )
        )
    if not pathology:
        _set_topics(statements)
    by_id = {m.id: m for m in measurements}
    return Reading(plain, sections, statements, measurements, pathology, by_id)


def _unwrapped(text: str, sentences: Sequence[Sentence]) -> str:
    """The text with the line ends inside its statements as blanks, so that a phrase may run over a line's end."""
    pieces, done = [], 0
    for sentence in sentences:
        pieces += [text[done : sentence.start], text[sentence.start : sentence.end].replace("\n", " ")]
        done = sentence.end
    return "".join((*pieces, text[done:]))


def _set_topics(statements: list[Statement]) -> None:
    topic: tuple[str, ...] = ()
    heading: tuple[Mark, ...] = ()
    section = ""
    for statement in statements:
        if statement.sentence.section != section:
            section, topic, heading = statement.sentence.section, (), ()
        has_mark = ":" in statement.text or "-" in statement.text
        match = _HEADING.match(statement.text) if has_mark else None
        if match is not None and len(match["title"].split()) <= _MAX_TITLE_WORDS:
            end = statement.start + match.end("title")
            organs = tuple(
                dict.fromkeys(
                    m.value.organ
                    for m in statement.marks
                    if m.category == "place" and m.end <= end and m.value.organ
                )
            )
            holds_finding = _holds_finding(statement.marks, end)
            if organs:
                topic, heading = organs, _placing(statement.marks, end, organs)
                if not holds_finding and not statement.sentence.item:
                    statement.title_end = statement.start + match.end("mark")
            elif topic and _only_side(statement.marks, match, statement.start):
                heading = tuple(m for m in statement.marks if m.category == "side" and m.end <= end)
                statement.title_end = statement.start + match.end("mark")
            elif (
                match["mark"] == ":"
                and not holds_finding
                and not statement.sentence.item
                and match.start("title") < 3
            ):
                topic, heading = (), ()
        statement.topic, statement.heading = topic, heading


def _holds_finding(marks: list[Mark], end: int) -> bool:
    """True if a heading names a finding; "Lymph nodes:" before a sentence on lymph nodes is only a heading."""
    titled = [m for m in marks if m.category == "finding" and m.end <= end]
    said = {m.value.kind for m in marks if m.category == "finding" and m.start >= end}
    return any(
        (m.value.needs != "qualified" and m.value.kind != "lymph_node") or m.value.kind not in said
        for m in titled
    )


def _only_side(marks: list[Mark], match: re.Match[str], offset: int) -> bool:
    """True for the heading "Right:" under the heading of an organ."""
    sides = [m for m in marks if m.category == "side" and m.end - offset <= match.end("title")]
    return len(sides) == 1 and len(match["title"].split()) <= 2 and match["mark"] == ":"


def _placing(marks: list[Mark], end: int, organs: tuple[str, ...]) -> tuple[Mark, ...]:
    """Words of a heading of one organ that say on which side or in which part its findings lie."""
    if len(organs) != 1:
        return ()
    titled = [m for m in marks if m.end <= end]
    named = [m for m in titled if m.category == "short" or (m.category == "place" and not m.plural)]
    if organs[0] in _REGIONS:
        named = []
    return (*named, *(m for m in titled if m.category == "side" and m.value in {"left", "right"}))


def has_verb(sentence: str) -> bool:
    """True for a full sentence, False for a bare noun phrase."""
    return _VERB.search(lowered(sentence)) is not None
