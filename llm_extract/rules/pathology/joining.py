"""Joins what one statement names and what it measures: "adenocarcinoma forming a 4 cm mass" is one tumour."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import replace

from llm_extract.rules.heads import Head
from llm_extract.rules.mentions import Mention
from llm_extract.rules.statements import Statement

_APART = re.compile(r"\b(?:and|with|also|another|separate|additional)\b|;", re.IGNORECASE)
_COUNTED = re.compile(r"[,;:(\s-]{1,3}(?:in\s|forming\s|present as\s|with\s)?(?:\w+\s){1,3}", re.IGNORECASE)
"""Between a named tumour and the noun that counts it."""
_NAMED_BY = re.compile(
    r"\s{1,2}of\s{1,2}(?:an?\s)?(?:(?!(?:contact|between|with|in|to|from|the|and)\b)[\w-]+\s{1,2}){0,4}",
    re.IGNORECASE,
)
"""Between "focus", "nodule" or "mass" and what it is."""
_PLAIN = frozenset({"mass", "tumor", "lesion", "nodule"})
_MAX_BETWEEN = 150
_MAX_BESIDE = 60
"""Characters between a named tumour and a plain noun for it."""


def in_one_phrase(statement: Statement, heads: Sequence[Head]) -> list[Head]:
    """Reads "in the left lobe is a focus of carcinoma, 6 mm": the noun and the name behind it have one stretch."""
    kept: list[Head] = []
    for head in heads:
        last = kept[-1] if kept else None
        if last is not None and last.mark.value.diagnosis is None and head.mark.value.diagnosis is not None:
            between = statement.text[last.mark.end - statement.start : head.mark.start - statement.start]
            if last.polarity == head.polarity == "affirmed" and _NAMED_BY.fullmatch(between):
                head.start = last.start
                if last.plural:  # the number stands before the noun, the sizes behind the name
                    head.mark, head.plural = replace(head.mark, start=last.mark.start, plural=True), True
                kept[-1] = head
                continue
        kept.append(head)
    return kept


def joined(made: Sequence[Mention], text: str) -> list[Mention]:
    """The mentions of one statement, a plain noun with a size put together with the tumour named before it.

    Args:
        made: mentions in text order.
        text: the report.
    """
    for named, plain in itertools.pairwise(made):
        if named.head is None or plain.head is None or named.sizes:
            continue
        if not plain.sizes:
            _count_by(named, plain, text)
            continue
        between = text[named.head.end : plain.head.start]
        alike = named.kind not in {"polyp", "cyst"} and plain.kind in _PLAIN
        unnamed = named.diagnosis is not None and plain.diagnosis is None
        if alike and unnamed and len(between) < _MAX_BETWEEN and not _APART.search(between):
            named.sizes, named.count, named.count_kind = plain.sizes, plain.count, plain.count_kind
            named.spans += [("diameters_mm", m.start, m.end) for m in plain.sizes]
            if not named.location.parts and plain.organ == named.organ:
                named.location = replace(
                    named.location, parts=plain.location.parts, relation=plain.location.relation
                )
            plain.tentative = True
    kept = [m for m in made if not m.tentative]
    _share_name(kept)
    return kept


def _count_by(named: Mention, plain: Mention, text: str) -> None:
    """Reads "hepatocellular carcinoma, two nodules": the plain noun says how many there are."""
    if named.head is None or plain.head is None or named.diagnosis is None or plain.diagnosis is not None:
        return
    between = text[named.head.end : plain.head.start]
    if named.count == 1 and (plain.count or 0) > 1 and plain.kind in _PLAIN and _COUNTED.fullmatch(between):
        named.count, named.count_kind = plain.count, plain.count_kind


def _share_name(made: Sequence[Mention]) -> None:
    """Reads "carcinoma forming two masses (2 cm and 5 cm)": both are what the first is."""
    for named, plain in itertools.pairwise(made):
        alike = plain.kind in _PLAIN and plain.organ == named.organ
        if alike and named.kind != "cyst" and named.sizes and plain.sizes and plain.diagnosis is None:
            near = plain.span[0] - named.span[1] < _MAX_BESIDE and plain.statement is named.statement
            if near and named.diagnosis is not None and named.head is not None and plain.head is not None:
                plain.diagnosis, plain.diagnosis_text = named.diagnosis, named.diagnosis_text
                plain.malignancy, plain.malignancy_basis = named.malignancy, named.malignancy_basis
