"""Of which organs, and of which side, a predicate such as "is normal" or "was not observed" speaks."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from llm_extract.records import Laterality
from llm_extract.rules import context
from llm_extract.rules.lexicon import Mark
from llm_extract.rules.locations import DIGESTIVE
from llm_extract.rules.statements import Statement

_BREAK = re.compile(
    r"[;]|\b(?:but|however|while|whereas|is|are|was|were|appears?|shows?|adjacent|along|near|in the "
    r"region of|of normal)\b",
)
_VERB = re.compile(
    r"\b(?:is|are|was|were|appears?|remains?|look(?:s)?|has been|have been|:)\W*(?:\w+\W+){0,4}$",
)
_AIRWAY = re.compile(r"(?:main\s)?bronch(?:us|i)$")
"""Words of the lung that name its tubes: open or normal tubes say nothing of the tissue around them."""
_OF_THE_ORGAN = re.compile(
    r"(?:[^a-z]|\b(?:the|an?|both|its?|they|these|is|are|was|were|be|been|being|has|have|appear(?:s|ed|ance)?|remains?"
    r"|looks?|grossly|otherwise|overall|generally|also|again|within|of|in|on|at|and|or|with|for|by|to|as|no"
    r"|sizes?|contours?|densit(?:y|ies)|attenuation|parenchymal?|enhancement|morphology|shape|configuration|signal"
    r"|structures?|walls?|thickness|position|locali[sz]ation|location|texture|dimensions?|outline|margins|surface"
    r"|bilateral|bilaterally|left|right|sides?|all|entirely|completely|largely|visuali[sz]ed|portions?|imaged"
    r"|included|partially|limits|sections|findings|glands?|organ|lobes?|homogeneous|symmetric|symmetrical"
    r"|unenhanced|contrast|observed|seen|evaluated|demonstrates?|shows?|\w+ly|enhanc\w*|homogeneous|opacif\w*"
    r"|distend\w*|well|stable|unchanged|caliber|calibre|course)\b)*+"
)
"""Words that an organ of a heading is described with; any other word before the predicate is a subject of its own."""


def subjects(
    statement: Statement, start: int, end: int, paired: frozenset[str]
) -> Iterator[tuple[str, Laterality]]:
    """Organs that a predicate speaks of, with a side for paired organs.

    Args:
        statement: the sentence.
        start: first character of the predicate, counted from the start of the sentence.
        end: one past its last character.
        paired: organs that exist on both sides.
    """
    places = [m for m in statement.marks if m.category == "place" and m.value.organ and not m.value.adjective]
    before = statement.text[:start]
    chosen = _before(statement, places, start) or _behind(statement, places, end)
    organs: dict[str, Mark | None] = {
        "lymph_node" if m.category == "finding" else m.value.organ: m
        for m in chosen
        if m.category == "finding"
        or (
            not is_airway(statement, m)
            and (not m.value.part or _whole(statement, m) or _in_full(statement, m, start))
        )
    }
    if not chosen and context.names_digestive_tract(before):
        for organ in DIGESTIVE:
            yield organ, "unknown"
        return
    titled = re.match(r"[^:]{0,70}:\W*(?:\w+\s){0,3}$", before) is not None
    if not chosen and (not places or titled) and _is_subjectless(statement, start):
        organs = dict.fromkeys(statement.topic)
    for organ, mark in organs.items():
        if organ in {"other", "vessel", "peritoneum"}:
            continue
        yield organ, side_of_subject(statement, mark, organ, paired)


def _before(statement: Statement, places: Sequence[Mark], start: int) -> list[Mark]:
    """Organs named before a predicate in its clause; those of a heading only where none is named behind it."""
    nodes = [m for m in statement.marks if m.category == "finding" and m.value.kind == "lymph_node"]
    before = statement.low[:start]
    verb = _VERB.search(before)
    low = 0
    for cut in _BREAK.finditer(before[: verb.start()] if verb else before):
        low = cut.end()
    low += statement.start
    found = [m for m in (*places, *nodes) if low <= m.start < statement.start + start]
    own = [m for m in found if m.start >= statement.title_end]
    return own or (found if _is_subjectless(statement, start) else [])


def _behind(statement: Statement, places: Sequence[Mark], end: int) -> list[Mark]:
    """Organs named right behind a predicate: "Normal liver and spleen"."""
    rest = statement.text[end:]
    stop = re.search(r"[.;:]|-\s|\b(?:with|is|are|but|in|on|at)\b", rest)
    high = end + (stop.start() if stop else len(rest))
    return [m for m in places if end <= m.start - statement.start < high]


def _is_subjectless(statement: Statement, start: int) -> bool:
    """True if the words before a predicate only describe the organ of the heading: "Size and density are normal"."""
    first = max(0, statement.title_end - statement.start)
    clause = re.split(r"[,;:]", statement.low[first:start])[-1]
    return _OF_THE_ORGAN.fullmatch(clause) is not None


def is_airway(statement: Statement, mark: Mark) -> bool:
    """True for the bronchi, where they stand for the lung."""
    word = statement.low[mark.start - statement.start : mark.end - statement.start]
    return mark.value.organ == "lung" and _AIRWAY.match(word) is not None


def _in_full(statement: Statement, mark: Mark, end: int) -> bool:
    """Reads "Pancreas head, body and tail are normal": parts listed from end to end are the whole organ."""
    if mark.value.organ != "pancreas":
        return False
    listed = [m for m in statement.of("place", "short") if m.start - statement.start < end]
    named = {m.value.part for m in listed if m.category == "place"} | {
        part for m in listed for organ, part in m.value.candidates if organ == "pancreas"
    }
    return named >= WHOLE_PANCREAS


WHOLE_PANCREAS = frozenset({"pancreas_head", "pancreas_body", "pancreas_tail"})
"""Parts that together are the organ."""


def _whole(statement: Statement, mark: Mark) -> bool:
    """True where a part stands for its organ; the apices of the lungs do, for a limited statement."""
    word = statement.low[mark.start - statement.start : mark.end - statement.start]
    return mark.value.organ in {"bone", "uterus", "colon", "lymph_node"} or "apices" in word


def side_of_subject(
    statement: Statement, mark: Mark | None, organ: str, paired: frozenset[str]
) -> Laterality:
    """The side that right before an organ says which of the two is meant."""
    if organ not in paired:
        return "unknown"
    sides = [m for m in statement.marks if m.category == "side"]
    if mark is not None:
        if mark.plural and not mark.value.adjective:
            return "unknown"
        sides = [m for m in sides if 0 <= mark.start - m.end < 22]
        others = [m.end for m in statement.of("place") if m.end <= mark.start]
        sides = [m for m in sides if m.start >= max(others, default=0)]
    values = {m.value for m in sides}
    if len(values) == 1 and values & {"left", "right"}:
        return "left" if "left" in values else "right"
    return "unknown"
