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
