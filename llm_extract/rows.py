"""A row of an input table as it was read, before anything is checked; and a table of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

from llm_extract.records import IssueCode

SURROGATES = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Row:
    """One input row before it is checked.

    Args:
        values: by column.
        issues: what went wrong in reading it.
        is_cleaned: whether its text is no longer the one of the file, see :mod:`llm_extract.addenda`.
    """

    values: Mapping[str, object]
    issues: tuple[IssueCode, ...] = ()
    is_cleaned: bool = False


@dataclass(frozen=True)
class Table:
    """A table of reports: the names of its columns, and a function that reads the rows with some of them."""

    columns: tuple[str, ...]
    rows: Callable[[Collection[str]], Iterator[Row]]


def as_id_text(value: object) -> str:
    """Text of an id given as text or whole number; a newline, which no id may hold, for anything else."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, str) and not SURROGATES.search(value):
        return value
    return "" if value is None else "\n"
