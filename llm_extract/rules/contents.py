"""What a finding holds, which is no finding beside it: mural nodules, cystic areas, nodules inside a mass."""

from __future__ import annotations

import re

from llm_extract.cues import Cue
from llm_extract.lower_case import lowered
from llm_extract.rules.lexicon import Mark
from llm_extract.rules.statements import Statement

_INSIDE = re.compile(
    r"\s(?:inside|therein|within(?: it)?|in it|in its (?:interior|centre|center))"
    r"(?=[\s,.;]*(?:$|[,.;]|and\b))",
    re.IGNORECASE,
)
_PARENT = re.compile(
    r"\b(?:mass|lesion|cyst|nodule|tumou?r)\b[^.;]*"
    r"\b(?:with|contain\w*|has|having|show\w*)\b[^.;]*$",
    re.IGNORECASE,
)
"""Reads "a mass with nodules inside": what a lesion holds is no lesion of its own."""
_CONTENT = Cue(
    r"\b(?:with|contain\w*|having|has|show\w*)\s(?:an?\s)?(?:(?!(?:in|of|and|on|at)\b)[\w.,×-]+\s){0,4}?"
    r"(?:mural|central|internal|intracystic|intralesional|intratumou?ral)\s(?:[\w-]+\s){0,2}$",
    "mural", "central", "internal", "intra",
)  # fmt: skip
"""Given lower case."""


def is_content(statement: Statement, mark: Mark, before: str, after: str) -> bool:
    """Reads "a mass with nodules inside" and "a cystic mass with a mural nodule".

    Args:
        statement: the sentence.
        mark: the noun.
        before: words of the sentence before it.
        after: words behind it.
    """
    if _INSIDE.match(after) and _PARENT.search(before):
        return True
    match = _CONTENT.search(lowered(before[-90:]))
    if match is None or mark.value.kind not in {"nodule", "lesion", "cyst"}:
        return False
    at = mark.start - len(match[0])
    return any(m.category == "finding" and m.end <= at for m in statement.marks)
