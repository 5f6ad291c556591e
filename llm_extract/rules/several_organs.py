"""Findings that one noun states of several organs at once: "metastases in the liver and both lungs"."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

from llm_extract.rules.heads import Head
from llm_extract.rules.lexicon import Mark
from llm_extract.rules.locations import WEAK
from llm_extract.rules.neighbours import is_neighbour

_PLACES = frozenset({"place", "short", "side"})
_JOINED = re.compile(
    r"\s?(?:,\s?(?:and\s|or\s)?|and\s|&\s?|/|as well as\s|in addition to\s)(?:also\s)?(?:in\s)?"
    r"(?:(?:the|both|left|right|bilateral|multiple|his|her)\s)*",
    re.IGNORECASE,
)
_BEFORE_NOUN = re.compile(
    r"[\s-]?(?:,\s?)?(?:(?!(?:in|of|with|and|or|to|from|at|on|no|not|is|are|was|were)\b)[\w-]+[\s-]){0,4}",
    re.IGNORECASE,
)


def places_by_organ(text: str, marks: Sequence[Mark], head: Head) -> list[list[Mark]]:
    """Place words of a plural finding, one list an organ; empty unless several organs are listed side by side.

    Args:
        text: the whole report.
        marks: marks of the stretch of the finding.
        head: the finding; a word that names its organ itself stands for an empty list of its own.
    """
    if not head.plural or head.mark.value.kind == "lymph_node":
        return []
    nouns = [m for m in marks if m.category == "place" and m.value.organ not in {*WEAK, None, "lymph_node"}]
    after = _chain(text, [m for m in nouns if m.start >= head.mark.end], head)
    if len({m.value.organ for m in after}) > 1:
        return _split(marks, after, head.mark.end)
    before = _chain(text, [m for m in nouns if m.end <= head.mark.start], head)
    if not before or not _BEFORE_NOUN.fullmatch(text[before[-1].end : head.mark.start]):
        joined = before and _JOINED.fullmatch(text[before[-1].end : head.mark.start])
        own = head.mark.value.organ
        return (
            [*_split(marks, before, head.start), []]
            if joined and own not in {None, before[-1].value.organ}
            else []
        )
    return _split(marks, before, head.start) if len({m.value.organ for m in before}) > 1 else []


def _chain(text: str, nouns: Sequence[Mark], head: Head) -> list[Mark]:
    """The first places of a list that are joined by nothing but commas and "and"."""
    chain: list[Mark] = []
    for noun in nouns:
        if chain and not _JOINED.fullmatch(text[chain[-1].end : noun.start]):
            break
        if is_neighbour(text, noun, head.mark):
            break
        chain.append(noun)
    return chain


def _split(marks: Sequence[Mark], chain: Sequence[Mark], start: int) -> list[list[Mark]]:
    """Place words that end with the last place of each organ of a chain."""
    found: list[list[Mark]] = []
    for _, group in itertools.groupby(chain, key=lambda m: m.value.organ):
        end = list(group)[-1].end
        found.append([m for m in marks if m.category in _PLACES and start <= m.start < end])
        start = end
    return found
