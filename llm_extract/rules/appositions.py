"""Names that stand behind a comma: what they are, and whether they speak of the finding before them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from llm_extract.rules.lexicon import Mark
from llm_extract.rules.organ_choice import WEAK
from llm_extract.rules.statements import Statement

if TYPE_CHECKING:
    from llm_extract.rules.heads import Head

_LAST_COMMA = re.compile(
    r"[^;:]*,\s(?:an?\s)?(?:(?:likely|probabl[ey]|possibl[ey]|typical|presumed|known|benign|simple|definite|classic"
    r"|proven|biopsy-proven|confirmed)\s)?"
)
_NO_MORE = re.compile(
    r"[\s.)]{0,3}(?:(?:or|vs\.?|versus)\s[^.;,]{3,60}|,\s(?:previously|formerly|prior|was|stable|unchanged|lr-?\w"
    r"|li-?rads)\b[^;]{0,60}|,\s(?:the\s(?:larg|bigg)|up to\b|measuring\b|all\b)[^;]{0,120}"
    r"|,\s\d[\d.x ]{0,14}[cm]m\s(?:on|in|at|previously)\b[^;]{0,60})?[\s.)]{0,3}"
)
"""Behind a name nothing follows but another one, or what the lesion was before."""


def restates(statement: Statement, head: Head, mark: Mark, between: str) -> bool:
    """Reads "round shadow in the liver, cystic lesion of the liver": the same place named again behind a comma."""
    if (
        head.names
        or head.mark.value.diagnosis is not None
        or mark.value.diagnosis is None
        or mark.plural != head.plural
    ):
        return False
    if not re.search(r",\s(?:an?\s)?$", between) or re.search(r"[.;\d]", between):
        return False
    places = [
        m for m in statement.marks if m.category in {"place", "short", "side"} and m.start >= head.mark.end
    ]
    before = [(m.category, m.value) for m in places if m.end <= mark.start]
    behind = [(m.category, m.value) for m in places if m.start >= mark.end]
    return bool(behind) and before == behind


def is_last_word(statement: Statement, head: Head, mark: Mark, between: str) -> bool:
    """Reads "a 2 cm lesion in segment 4, haemangioma.": a bare name that ends the sentence names what was placed."""
    bare = (
        head.mark.value.diagnosis is None
        and mark.value.diagnosis is not None
        and mark.plural == head.mark.plural
    )
    named = any(link for _, link in head.names)
    if not bare or named or not _LAST_COMMA.fullmatch(between) or ". " in between:
        return False
    if not _NO_MORE.fullmatch(statement.low, mark.end - statement.start):
        return False
    dense = {
        m.start for m in statement.of("attenuation")
    }  # "fat density" alone is no lesion, as a density it is one's
    others = (m for m in statement.of("excluded", "sign", "operation") if m.start not in dense)
    if any(head.mark.end <= m.start < mark.start for m in others):
        return False
    first = max((m.end for m in statement.of("finding", "excluded") if m.end <= head.mark.start), default=0)
    inside = [m for m in statement.of("place", "short") if first <= m.start < mark.start]
    organs = {m.value.organ for m in inside if m.category == "place"} | {head.mark.value.organ}
    placed = bool(inside) or head.mark.value.organ is not None
    if any(r.kind == "segment" and first <= r.start < mark.start for r in statement.references):
        organs, placed = organs | {"liver"}, True
    return mark.value.organ in organs if mark.value.organ not in {None, *WEAK} else placed


def is_unplaced(statement: Statement, head: Head, mark: Mark, reach: int) -> bool:
    """True if a name and the ``reach`` characters before it say of no other place than the finding before them."""
    if mark.value.diagnosis is None and mark.value.malignancy is None:
        return False
    places = statement.of("place", "short", "side")
    own = [m for m in places if mark.start - reach <= m.start < mark.start]
    before = {m.value.organ for m in places if m.category == "place" and m.end <= mark.start - reach}
    organs = {m.value.organ for m in own if m.category == "place"} | {mark.value.organ} - {None}
    known = before | {head.mark.value.organ} | set(statement.topic)
    return all(m.category == "place" for m in own) and (organs <= known or known <= {None})


_BESIDE_THE = re.compile(
    r"\b(?:adjacent to|next to|near|beside|close to|around)\s(?:the|this|that|its)\s(?:[\w-]+\s){0,2}$"
)
_WITH_OR_AND = re.compile(r"\b(?:with|causing|and)\s(?:\w+\s){0,2}$")
_SIZES_OF_MANY = re.compile(r",\s(?:(?:measuring|sized)\s)?(?:\d|(?:the\s)?(?:larg|bigg))")


_EITHER = re.compile(
    r",\s(?!(?:consider|compatib|consist|suggest|suspicio|possib|probab|likely|favo|indicat|represent|may|which|in|with)\w*)"
    r"(?:[\w-]+\s){1,4}(?:or|versus|vs\.?)\s(?:[\w-]+\s){0,3}[\w-]+\W{0,3}"
)


def is_alternative(statement: Statement, last: Head, mark: Mark) -> bool:
    """Reads "a nodule in the mediastinum, thymic lesion or node.": what the finding may be, no other findings."""
    if mark.value.diagnosis is not None or last.plural or last.polarity != "affirmed":
        return False
    low, offset = statement.low, statement.start
    comma = low.rfind(",", last.mark.end - offset, mark.start - offset)
    if comma < 0 or _EITHER.fullmatch(low, comma) is None or not statement.of("place", "short"):
        return False
    tail = [m for m in statement.marks if m.start >= comma + offset]
    strong = any(m.category == "place" and m.value.organ not in {"lymph_node", *WEAK} for m in tail)
    return not (strong or any(m.category in {"side", "multiple"} or m.plural for m in tail)) and not any(
        m.start >= comma + offset for m in statement.measurements
    )


def describes_last(statement: Statement, last: Head, mark: Mark, before: str) -> bool:
    """Reads "nodes adjacent to the tumor, 12 and 10 mm", "a lytic area with cortical destruction"."""
    if last.polarity != "affirmed":
        return False
    listed = last.plural and _SIZES_OF_MANY.match(statement.low, mark.end - statement.start) is not None
    if mark.value.diagnosis is None and listed and _BESIDE_THE.search(before.lower()):
        return True
    noun = statement.low[mark.start - statement.start : mark.end - statement.start]
    destroyed = noun.endswith("destruction") and last.mark.value.diagnosis is None
    return destroyed and _WITH_OR_AND.search(before.lower()) is not None


_LARGEST_OF_THEM = re.compile(
    r"(?:\s[\w-]+){0,2}\s?[,;(]?\s?(?:with\s)?(?:the\s)?(?:largest|biggest|dominant|larger)\s(?:\w+\s)?"
)


def without_umbrella(statement: Statement, heads: list[Head]) -> list[Head]:
    """Reads "fibroid uterus with three fibroids": the same finding named twice is stated once."""
    kept = []
    for position, head in enumerate(heads):
        following = heads[position + 1] if position + 1 < len(heads) else None
        if following is not None and head.polarity == following.polarity == "affirmed":
            gap = statement.text[head.mark.end - statement.start : following.mark.start - statement.start]
            own, next_ = head.mark.value, following.mark.value
            cysts = own.kind == next_.kind == "cyst" and own.organ == next_.organ
            alike = own.diagnosis is not None and ((own == next_ and not head.plural) or cysts)
            if alike and _LARGEST_OF_THEM.fullmatch(gap.lower()):
                following.mark, following.start, following.plural = head.mark, head.start, True
                continue
            if alike and following.plural and re.fullmatch(r"\s(?:\w+\s)?with\s(?:\w+\s){0,3}", gap):
                following.start = head.start
                continue
        kept.append(head)
    return kept
