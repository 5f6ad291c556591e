"""A model's answer -> checked items, or the codes of what is wrong with it. Pure functions of answer and report.

Whatever the model was told inside a report, an answer passes only if its quotes stand in the text, its ids exist,
its organs, sides and numbers are named there, and an organ called free is called free in so many words.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from pydantic import ValidationError

from llm_extract.chat.answer_schema import Answer, FreeAnswer, LesionAnswer
from llm_extract.chat.preparation import Prepared, organs_named
from llm_extract.chat.prompting import unmark
from llm_extract.measurements import Measurement
from llm_extract.rules.heads import find_heads
from llm_extract.sections import CURRENT, section_at

ERROR_CODES = {
    "answer_not_json": "the answer was no JSON object",
    "answer_cut_off": "the answer ran into the limit of its length",
    "answer_against_schema": "a key or a value is not allowed",
    "unknown_mark": "a mark that the report does not have",
    "size_is_prior": "a prior mark was given as current size",
    "mark_used_twice": "one mark was given to two lesions",
    "size_far_from_quote": "a mark lies far from the quote of its lesion",
    "quote_not_in_report": "a quote is not in the report word for word",
    "quote_in_history": "a lesion was quoted from history, comparison or recommendation",
    "lesion_denied": "a lesion was quoted from words that deny it",
    "lesion_twice": "the same lesion was given twice",
    "organ_not_in_report": "an organ that the report does not name",
    "side_not_in_report": "a side that the report does not name",
    "count_not_in_report": "a number of lesions that the report does not state",
    "free_not_supported": "an organ was called free by a quote that does not say so",
    "free_and_lesion": "an organ was called free although a lesion was given for it",
    "answer_loops": "the answer repeated itself",
}
"""Codes, and how the repair turn words them; they never quote the report."""

_NEAR_CHARS = 400
_FENCE = "```"
_DENIAL = re.compile(
    r"\b(?:no|not|non|nor|none|neither|without|negative|normal\w*|unremarkable|free|absen\w+|clear|intact|benign|natural"
    r"|lack\w*|within (?:normal|physiologic\w*) limits|wnl|uninvolved|uninvaded|spared|0)\b"
    r"|\b0\s?/\s?\d",
    re.IGNORECASE,
)
_COLLECTIVE = re.compile(
    r"\b(?:organs?|viscera|abdom\w+|solid|elsewhere|remain\w+|other|others|rest)\b", re.IGNORECASE
)
_NUMBERS = (
    ("two", "both", "pair", "couple", "bilateral", "2"), ("three", "3"), ("four", "4"), ("five", "5"), ("six", "6"),
    ("seven", "7"), ("eight", "8"), ("nine", "9"), ("ten", "10"), ("eleven", "11"), ("twelve", "12"),
)  # fmt: skip
_LEFT_RIGHT = {
    "left": re.compile(r"\b(?:left|lt\.?|l)\b|left-|\bbilateral", re.IGNORECASE),
    "right": re.compile(r"\b(?:right|rt\.?|r)\b|right-|\bbilateral", re.IGNORECASE),
    "bilateral": re.compile(
        r"\bbilateral|\bboth\b|\bleft\s?(?:and|/|&)\s?right\b|\bright\s?(?:and|/|&)\s?left\b", re.IGNORECASE
    ),
}


@dataclass(frozen=True)
class GroundedLesion:
    """A lesion of an answer with the place of its quote and its measurements."""

    answer: LesionAnswer
    start: int
    end: int
    sizes: tuple[Measurement, ...]
    priors: tuple[Measurement, ...]


@dataclass(frozen=True)
class GroundedFree:
    """Organs called free, with the place of the quote."""

    answer: FreeAnswer
    start: int
    end: int


@dataclass(frozen=True)
class CheckedAnswer:
    """What of an answer holds; nothing of it is used unless ``errors`` is empty."""

    lesions: tuple[GroundedLesion, ...] = ()
    free: tuple[GroundedFree, ...] = ()
    errors: tuple[str, ...] = ()


def check_answer(raw: str, *, finish_reason: str, prepared: Prepared) -> CheckedAnswer:
    """Check a model's answer against the report it is about.

    Args:
        raw: what the model wrote.
        finish_reason: why it stopped; ``length`` is a failure, whatever it wrote.
        prepared: the report.
    """
    if finish_reason == "length":
        return CheckedAnswer(errors=("answer_cut_off",))
    answer, errors = _parse(raw)
    if answer is None:
        return CheckedAnswer(errors=errors)
    found = list(_answer_errors(answer))
    lesions: list[GroundedLesion] = []
    for entry in answer.lesions:
        lesion = _lesion(entry, prepared, found)
        if lesion is not None:
            lesions.append(lesion)
    free: list[GroundedFree] = []
    for statement in answer.free:
        span = _locate(statement.quote, prepared, ())
        if span is None:
            found.append("quote_not_in_report")
            continue
        found.extend(_free_errors(statement, span, prepared, lesions))
        free.append(GroundedFree(statement, *span))
    found.extend(_shared_marks(lesions))
    if found:
        return CheckedAnswer(errors=tuple(dict.fromkeys(found)))
    return CheckedAnswer(tuple(lesions), tuple(free))


def _parse(raw: str) -> tuple[Answer | None, tuple[str, ...]]:
    text = raw.strip()
    if len(text) >= 2 * len(_FENCE) and text.startswith(_FENCE) and text.endswith(_FENCE):
        text = text[len(_FENCE) : -len(_FENCE)].removeprefix("json")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None, ("answer_not_json",)
    if not isinstance(value, dict):
        return None, ("answer_not_json",)
    try:
        return Answer.model_validate(value), ()
    except (ValidationError, RecursionError):
        return None, ("answer_against_schema",)


def _answer_errors(answer: Answer) -> Iterator[str]:
    entries = [entry.model_dump_json() for entry in answer.lesions]
    if len(entries) != len(set(entries)):
        yield "answer_loops" if len(entries) > 2 * len(set(entries)) else "lesion_twice"
    statements = [entry.model_dump_json() for entry in answer.free]
    if len(statements) > 2 * len(set(statements)):
        yield "answer_loops"


def _lesion(entry: LesionAnswer, prepared: Prepared, errors: list[str]) -> GroundedLesion | None:
    by_id = {m.id: m for m in prepared.measurements}
    ids = [*entry.size, *entry.prior]
    if any(i not in by_id for i in ids):
        errors.append("unknown_mark")
        return None
    sizes = tuple(by_id[i] for i in dict.fromkeys(entry.size))
    priors = tuple(by_id[i] for i in dict.fromkeys(entry.prior))
    span = _locate(entry.quote, prepared, sizes)
    if span is None:
        errors.append("quote_not_in_report")
        return None
    if _section(prepared, span[0]) not in CURRENT:
        errors.append("quote_in_history")
    if _denied(span, prepared):
        errors.append("lesion_denied")
    if any(m.tense == "prior" for m in sizes):
        errors.append("size_is_prior")
    if sizes and not any(_belongs(m, span, entry.organ, prepared) for m in sizes):
        errors.append("size_far_from_quote")
    if entry.organ not in {*prepared.named, "other"}:
        errors.append("organ_not_in_report")
    if not _side_named(entry.side, prepared):
        errors.append("side_not_in_report")
    if isinstance(entry.count, int) and not _count_named(entry.count, span, prepared):
        errors.append("count_not_in_report")
    return GroundedLesion(entry, *span, sizes, priors)


def _denied(span: tuple[int, int], prepared: Prepared) -> bool:
    """True if every finding named in the quote is denied by its sentence."""
    heads = [
        head
        for statement in prepared.statements_in(*span)
        for head in find_heads(statement)
        if span[0] <= head.mark.start < span[1]
    ]
    return bool(heads) and all(head.polarity == "negated" for head in heads)


def _belongs(m: Measurement, span: tuple[int, int], organ: str, prepared: Prepared) -> bool:
    """A size stands near the quote of its lesion or in a sentence on its organ; in pathology it may stand apart."""
    gap = max(0, m.start - span[1], span[0] - m.end)
    if gap <= _NEAR_CHARS or prepared.reading.pathology:
        return True
    return any(organ in organs_named(statement) for statement in prepared.statements_in(m.start, m.end))


def _section(prepared: Prepared, position: int) -> str:
    return section_at(prepared.reading.sections, position)


def _locate(quote: str, prepared: Prepared, sizes: Sequence[Measurement]) -> tuple[int, int] | None:
    """Where a quote stands: verbatim or with white space and case made equal; in a current section, near its sizes."""
    text = prepared.report.text
    spans: list[tuple[int, int]] = []
    for words in dict.fromkeys((quote, unmark(quote))):
        spans = _places(text, words)
        if spans:
            break
    if not spans:
        return None
    near = sizes[0].start if sizes else 0
    return min(
        spans,
        key=lambda s: (_section(prepared, s[0]) not in CURRENT, abs(s[0] - near) if sizes else s[0]),
    )


def _places(text: str, words: str) -> list[tuple[int, int]]:
    parts = words.split()
    if not parts:
        return []
    pattern = re.compile(r"\s+".join(re.escape(part) for part in parts), re.IGNORECASE)
    return [match.span() for match in pattern.finditer(text)][:200]


def _side_named(side: str | None, prepared: Prepared) -> bool:
    pattern = _LEFT_RIGHT.get(side or "")
    return pattern is None or pattern.search(prepared.report.text) is not None


def _count_named(count: int, span: tuple[int, int], prepared: Prepared) -> bool:
    """A number of lesions has to be written where they are stated, or counted by the rules; one needs no word."""
    if count == 1 or any(lesion.count == count for lesion in prepared.rules.lesions):
        return True
    words = next((w for w in _NUMBERS if w[-1] == str(count)), (str(count),))
    starts = [s.sentence.start for s in prepared.reading.statements]
    first = max(0, bisect_right(starts, span[0]) - 2)
    begin, end = (starts[first] if starts else 0), span[1] + 200
    statements = prepared.statements_in(begin, end)
    taken = [(m.start, m.end) for s in statements for m in s.measurements]
    taken += [(r.start, r.end) for s in statements for r in s.references]
    pattern = re.compile(r"\b(?:" + "|".join(words) + r")\b", re.IGNORECASE)
    found = pattern.finditer(prepared.report.text, begin, min(end, len(prepared.report.text)))
    return any(not any(a <= m.start() < b for a, b in taken) for m in found)


def _free_errors(
    entry: FreeAnswer, span: tuple[int, int], prepared: Prepared, lesions: Sequence[GroundedLesion]
) -> Iterator[str]:
    statements = prepared.statements_in(*span)
    text = " ".join(s.text for s in statements) or prepared.report.text[span[0] : span[1]]
    if not _DENIAL.search(text) or _section(prepared, span[0]) not in CURRENT:
        yield "free_not_supported"
    first = statements[0] if statements else None
    nearby = set[str]()
    for before, statement in pairwise([None, *prepared.reading.statements]):
        if statement is not None and (statement is first or statement in statements):
            nearby.update(organs_named(statement))
            if before is not None:
                nearby.update(organs_named(before))
    collective = _COLLECTIVE.search(text) is not None
    agreed = {n for n, s in prepared.rules.organs.items() if s.status == "explicitly_lesion_free"}
    for organ in entry.organs:
        if organ not in prepared.anatomy.organs:
            yield "answer_against_schema"
        elif organ not in nearby and not (collective and organ in prepared.named) and organ not in agreed:
            yield "organ_not_in_report"
        elif any(_contradicts(lesion, organ, entry) for lesion in lesions):
            yield "free_and_lesion"
    if not _side_named(entry.side, prepared):
        yield "side_not_in_report"


def _contradicts(lesion: GroundedLesion, organ: str, entry: FreeAnswer) -> bool:
    """A lesion in an organ called free of any lesion, on the same side, as far as sides are known."""
    if (
        lesion.answer.organ != organ
        or entry.scope != "any_focal_lesion"
        or lesion.answer.change == "resolved"
    ):
        return False
    sides = {lesion.answer.side, entry.side} & {"left", "right"}
    return len(sides) < 2


def _shared_marks(lesions: Sequence[GroundedLesion]) -> Iterator[str]:
    """One size belongs to one lesion."""
    seen: dict[str, int] = {}
    for number, lesion in enumerate(lesions):
        for m in lesion.sizes:
            if seen.setdefault(m.id, number) != number:
                yield "mark_used_twice"
