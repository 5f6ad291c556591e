"""How many lesions a group of a pathology report holds, where the number stands behind its noun or in its sizes."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence
from dataclasses import replace

from llm_extract.rules.attributes import count_of
from llm_extract.rules.lexicon import Mark
from llm_extract.rules.mentions import Mention
from llm_extract.rules.pathology.sightings import Sighting, Tumour

_WORDS = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_BEHIND = re.compile(
    rf"(?:,\s{{1,2}}|\s?[x×]\s?|\s?\(?n\s?=\s?|,?\stotall?ing\s|,?\snumbering\s)(?P<n>{'|'.join(_WORDS)}|[2-9]|[1-4]\d)\b"
    r"(?=\s{0,2}(?:[,.;:)\n-]|in\snumber|$))(?!\.\d)",
    re.IGNORECASE,
)
_JOIN = re.compile(r"\s{0,2}(?:,|,?\s?and|&|/|;)\s{0,2}", re.IGNORECASE)
_LARGEST = re.compile(
    r"[^.;:\d]{0,40}?[,(-]\s?(?:the\s)?(?:largest|biggest|dominant|larger)\s(?:of\s(?:which|these|them)|one"
    r"|(?:nodule|focus|deposit|implant|tumou?r|lesion|mass|plaque|metastas[ei]s)(?!\s(?:dimension|diameter|size|extent)))"
    r"(?:\s\w+){0,2}[\s(,]{1,3}",
    re.IGNORECASE,
)
_MANY = re.compile(
    r"\b(?:multiple|several|numerous|many|few|some|innumerable|scattered)\b[^.;:]{0,40}$", re.IGNORECASE
)


def number_behind(noun: Mark, text: str) -> int | None:
    """The number in "leiomyomata, four, the largest 3 cm", "adenomas x3" and "polyps (n = 2)".

    Args:
        noun: a plural noun of the report.
        text: the report.
    """
    match = _BEHIND.match(text, noun.end, noun.end + 24) if noun.plural else None
    if match is None:
        return None
    word = match["n"].lower()
    return _WORDS.index(word) + 2 if word in _WORDS else int(word)


def number_in_brackets(made: Mention, text: str) -> int | None:
    """The number in "hyperplastic polyps (2)", "deposits in mesentery (2)" and "multiple (6) hamartomas".

    Args:
        made: a mention.
        text: the report.
    """
    if made.head is None:
        return None
    placed = r"(?:\s(?:in|of|on)\s(?:the\s)?[a-z]{4,14})?" if made.head.plural else ""
    after = re.match(
        rf"{placed}\s?\((?:x\s?)?(\d{{1,2}})\)", text[made.head.end : made.head.end + 32], re.IGNORECASE
    )
    before = re.search(
        r"\((\d{1,2})\)\s(?:[\w-]+\s){0,4}$", text[max(0, made.head.start - 50) : made.head.start]
    )
    found = after or before
    return int(found[1]) if found is not None and 1 < int(found[1]) <= 50 else None


def in_groups(tumours: Sequence[Tumour], text: str) -> list[Tumour]:
    """Tumours with the number that their groups have; sizes listed behind one noun make one group of them.

    Args:
        tumours: all of a report.
        text: the report.
    """
    kept = list(tumours)
    for members in _enumerations(tumours, text):
        owners = [t for t in kept if any(s in t.sightings for s in members)]
        number = _stated(members[0].mention, text) or len(members)
        vague = _MANY.search(_before(members[0].mention, text)) is not None
        if len(owners) == 1 and not vague:
            _number(owners[0], number)
        elif len(owners) == len(members) and all(len(t.sightings) == 1 for t in owners):
            largest = max(owners, key=lambda t: t.longest_mm or 0.0)
            held = largest.mention
            held.count, held.count_kind = (None, "multiple_unknown") if vague else (number, "exact")
            held.span = members[0].mention.span
            kept = [t for t in kept if t is largest or t not in owners]
    for tumour in kept:
        behind = [number_behind(s.mention.head, text) for s in tumour.sightings if s.mention.head is not None]
        known = next((n for n in behind if n is not None), None)
        if known is not None:
            _number(tumour, known)
    return kept


def with_others(
    kept: Sequence[Mention], text: str, link: Callable[[Mention, Mention], None]
) -> list[Mention]:
    """The lesions beside those of which "carcinoma, largest nodule 4 cm" measures the largest.

    Args:
        kept: all lesions of a report.
        text: the report.
        link: makes two mentions the remainder and the index lesion of one group.
    """
    found = []
    for held in kept:
        single = held.count == 1 and held.role == "individual" and held.organ != "lymph_node"
        if not (single and held.sizes and held.head is not None) or held.kind in {"cyst", "polyp"}:
            continue
        size = next((m for m in held.statement.measurements if m.start > held.head.end), None)
        if size is None or _LARGEST.fullmatch(text, held.head.end, size.start) is None:
            continue
        if max(size.values_mm) != max(v for m in held.sizes for v in m.values_mm):
            continue
        rest = replace(
            held,
            sizes=[],
            count=None,
            count_kind="multiple_unknown",
            spans=[("count", held.head.end, size.start)],
        )
        link(rest, held)
        found.append(rest)
    return found


def _enumerations(tumours: Sequence[Tumour], text: str) -> list[list[Sighting]]:
    """Sightings that list the sizes of one plural noun: "polyps of 0.3, 0.5 and 0.9 cm"."""
    sized = [s for t in tumours for s in t.sightings if s.mention.sizes and s.mention.head is not None]
    by_noun: dict[int, list[Sighting]] = {}
    for sighting in sized:
        head = sighting.mention.head
        if head is not None and head.plural and sighting.mention.role == "individual":
            by_noun.setdefault(head.start, []).append(sighting)
    found = []
    for members in by_noun.values():
        members.sort(key=lambda s: s.mention.sizes[0].start)
        gaps = [
            text[one.mention.sizes[-1].end : other.mention.sizes[0].start]
            for one, other in itertools.pairwise(members)
        ]
        places = {(s.mention.location.parts, s.mention.location.laterality) for s in members}
        if len(members) > 1 and len(places) == 1 and all(_JOIN.fullmatch(gap) for gap in gaps):
            found.append(members)
    return found


def _before(mention: Mention, text: str) -> str:
    """The words of the statement before the noun."""
    return text[mention.statement.start : mention.head.start] if mention.head is not None else ""


def _stated(mention: Mention, text: str) -> int | None:
    """The number before the noun of a mention."""
    number, kind = count_of(_before(mention, text), plural=True, multiple=False)
    return number if kind == "exact" else None


def _number(tumour: Tumour, number: int) -> None:
    """Give a group whose number is unknown its number."""
    rest, held = tumour.rest, tumour.mention
    if rest is not None and rest.count is None and number > 1:
        rest.count, rest.count_kind = number - 1, "exact"
    elif rest is None and held.count is None:
        held.count, held.count_kind = number, "exact"
