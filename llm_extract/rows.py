"""A row of an input table as it was read, before anything is checked."""

from __future__ import annotations

import re
from collections.abc import Mapping
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


def as_id_text(value: object) -> str:
    """Text of an id given as text or whole number; a newline, which no id may hold, for anything else."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, str) and not SURROGATES.search(value):
        return value
    return "" if value is None else "\n"
