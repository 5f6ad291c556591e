"""Rows of one table that belong to one report: a report and its addenda become one text, in the order of the rows."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from llm_extract.markup import strip_markup
from llm_extract.records import IssueCode
from llm_extract.rows import Row, as_id_text

HEADING = "ADDENDUM:"
_HAS_HEADING = re.compile(r"\s{0,20}(?:addendum|addenda|supplement(?:al|ary)? report)\b", re.IGNORECASE)


@dataclass
class _Further:
    """What later rows add to the first one of their report."""

    texts: list[str] = field(default_factory=list)
    issues: list[IssueCode] = field(default_factory=list)


def without_markup(rows: Iterator[Row], text_column: str) -> Iterator[Row]:
    """The same rows with RTF and HL7 mark-up taken out of their texts, see :mod:`llm_extract.markup`."""
    for row in rows:
        text = row.values.get(text_column)
        plain = strip_markup(text) if isinstance(text, str) else text
        changed = plain is not text
        yield replace(row, values={**row.values, text_column: plain}, is_cleaned=True) if changed else row


def grouped(read_rows: Callable[[], Iterator[Row]], *, group_column: str, text_column: str) -> Iterator[Row]:
    """One row a group: its first, with the texts of the others below it, each under the heading ADDENDUM.

    The rows of a group may lie anywhere in the table, which is therefore read twice. A row without a group, and one
    whose text repeats an earlier one of its group, adds nothing of its own.

    Args:
        read_rows: starts reading the table from its beginning.
        group_column: rows of the same value in it are one report.
        text_column: column of the texts.

    Yields:
        Rows in the order in which their groups begin.
    """
    further = _further_rows(read_rows(), group_column=group_column, text_column=text_column)
    begun: set[str] = set()
    for row in read_rows():
        group = as_id_text(row.values.get(group_column)).strip()
        if group in begun:
            continue
        if group:
            begun.add(group)
        added = further.get(group)
        yield row if added is None else _joined(row, added, text_column)


def _further_rows(rows: Iterator[Row], *, group_column: str, text_column: str) -> dict[str, _Further]:
    begun: set[str] = set()
    further: dict[str, _Further] = {}
    for row in rows:
        group = as_id_text(row.values.get(group_column)).strip()
        if not group:
            continue
        if group not in begun:
            begun.add(group)
            continue
        added = further.setdefault(group, _Further())
        added.issues += row.issues
        text = row.values.get(text_column)
        if isinstance(text, str) and text.strip():
            added.texts.append(text)
        elif text is not None and not isinstance(text, str):
            added.issues.append("undecodable_text")
    return further


def _joined(row: Row, added: _Further, text_column: str) -> Row:
    first = row.values.get(text_column)
    pieces = [first] if isinstance(first, str) and first.strip() else []
    for text in added.texts:
        if text not in pieces:
            pieces.append(text)
    if len(pieces) < 2:
        merged: object = pieces[0] if pieces else first
    else:
        below = (text if _HAS_HEADING.match(text) else f"{HEADING}\n{text}" for text in pieces[1:])
        merged = "\n\n".join([pieces[0], *below])
    return replace(
        row,
        values={**row.values, text_column: merged},
        issues=tuple(dict.fromkeys((*row.issues, *added.issues))),
        is_cleaned=row.is_cleaned or merged is not first,
    )
