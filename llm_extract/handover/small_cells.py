"""Counts of patients in which no small number can be read, nor worked out from the others and their total."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

SMALLEST_K = 3
"""Below it a withheld count could only be 1."""


@dataclass(frozen=True)
class Suppressed:
    """Tables of counts as they may be shown.

    Args:
        total: patients in all; None where that would tell a small count.
        tables: counts by table and cell; None where a count is withheld. Without a total, only zeros are shown.
    """

    total: int | None
    tables: Mapping[str, Mapping[str, int | None]]


def suppress(tables: Mapping[str, Mapping[str, int]], *, total: int, k: int) -> Suppressed:
    """Withhold every count from 1 to k - 1, and in the same table as many large ones as it takes to hide them.

    The largest counts are withheld, one by one, until what the small ones could be at most is made up for by them while
    each stays as large as any count that is shown: whoever knows the total, the shown counts and this rule still finds
    that a withheld count may be anything from 1 to k - 1, or k and more. Where a table has no counts left to withhold,
    the total is withheld, and with it every count of all tables but zeros: counts of another table may sum to it. What
    is left to tell is how many cells are not zero; patients are at least as many where cells do not overlap.

    Args:
        tables: patients by table and cell; cells of a table may overlap, which hides more.
        total: patients in all.
        k: the smallest count that is shown, 3 or more; 1 shows all.

    >>> suppress({"t": {"a": 40, "b": 3, "c": 12}}, total=55, k=5)
    Suppressed(total=55, tables={'t': {'a': None, 'b': None, 'c': 12}})
    >>> suppress({"t": {"a": 5}, "u": {"b": 1, "c": 4, "d": 0}}, total=5, k=5)
    Suppressed(total=None, tables={'t': {'a': None}, 'u': {'b': None, 'c': None, 'd': 0}})
    """
    made = {name: _suppress(cells, k) for name, cells in tables.items()}
    hidden = all(enough for _, enough in made.values()) and (total == 0 or total >= k)
    if hidden:
        return Suppressed(total=total, tables={name: cells for name, (cells, _) in made.items()})
    return only_zeros(tables)


def only_zeros(tables: Mapping[str, Mapping[str, int]]) -> Suppressed:
    """Withhold the total and every count but zeros."""
    zeros = {name: {cell: None if n else 0 for cell, n in cells.items()} for name, cells in tables.items()}
    return Suppressed(total=None, tables=zeros)


def _suppress(counts: Mapping[str, int], k: int) -> tuple[dict[str, int | None], bool]:
    """The counts as they may be shown, and whether their sum may be known beside them."""
    small = [number for number in counts.values() if 0 < number < k]
    large = sorted(((number, name) for name, number in counts.items() if number >= k), reverse=True)
    slack = len(small) * (k - 1) - sum(small)
    taken = 0
    while small and taken < len(large) and not _made_up_for([n for n, _ in large], taken, slack, k):
        taken += 1
    withheld = {name for _, name in large[:taken]}
    shown = {name: None if 0 < number < k or name in withheld else number for name, number in counts.items()}
    return shown, not small or _made_up_for([n for n, _ in large], taken, slack, k)


def _made_up_for(large: Sequence[int], taken: int, slack: int, k: int) -> bool:
    """Whether the counts withheld with the small ones could give these all they may lack of k - 1."""
    floor = large[taken] if taken < len(large) else k
    return taken > 0 and sum(large[:taken]) - slack >= taken * floor
