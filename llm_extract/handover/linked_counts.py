"""Tables of counts that hang together: no small count can be worked out from all of them, either.

Each table is safe for itself (:mod:`llm_extract.handover.small_cells`), also for somebody who knows its sum. Together
they tell more: the patients of the lesion tables are those with a lesion, and where only one organ has lesions, the
patients with a lesion are the patients with a lesion there. So what is left is attacked: an integer program asks how
large each small count could be at most, given everything that is shown and how it was chosen. Where that tells more of
one than that it is small, more is withheld.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from llm_extract.handover.small_cells import Suppressed, only_zeros, suppress

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_LONGEST_S = 10.0
Cell = tuple[str, str]
"""A table and a cell of it."""
Counts = Mapping[str, Mapping[str, int]]


@dataclass(frozen=True)
class Links:
    """How tables hang together, for whoever knows what they count.

    Args:
        whole: a cell whose patients other tables are about.
        splits: these tables: each of its patients counts in one cell, or in several.
        covers: cells whose patients all count in ``whole``, and which together hold all of its patients.
    """

    whole: Cell
    splits: frozenset[str]
    covers: Sequence[Cell]


def suppress_linked(tables: Counts, *, total: int, k: int, links: Links) -> Suppressed:
    """Withhold counts until no small one can be read or worked out from all tables.

    Args:
        tables: patients by table and cell.
        total: patients in all; each counts in one cell of every table but those that split another cell, or in several.
        k: the smallest count that is shown, 3 or more; 1 shows all.
        links: how the tables hang together.

    >>> links = Links(("lesions", "stated"), frozenset(), [("liver", "present")])
    >>> tables = {"lesions": {"stated": 90, "none": 10}, "liver": {"present": 90, "free": 8, "unknown": 2}}
    >>> suppress_linked(tables, total=100, k=5, links=links).tables["lesions"]
    {'stated': None, 'none': None}
    """
    shown = suppress(tables, total=total, k=k)
    if k == 1:
        return shown
    family = frozenset({links.whole[0], *links.splits})
    ways = [(_apart(tables, total, k, family), family)]
    if None not in shown.tables.get(links.whole[0], {}).values():
        ways.insert(0, (shown, frozenset()))
    for made, withheld in ways:
        if made.total is not None:
            possible = _possible(made, tables, links, k=k, withheld=withheld)
            if all(largest >= k or (smallest, largest) == (1, k - 1) for smallest, largest in possible):
                return made
    return only_zeros(tables)


def _apart(tables: Counts, total: int, k: int, family: Collection[str]) -> Suppressed:
    """Only zeros of some tables; the rest as if they were not there."""
    rest = suppress({name: cells for name, cells in tables.items() if name not in family}, total=total, k=k)
    withheld = only_zeros({name: cells for name, cells in tables.items() if name in family})
    return replace(rest, tables={name: {**rest.tables, **withheld.tables}[name] for name in tables})


def _possible(
    shown: Suppressed, tables: Counts, links: Links, *, k: int, withheld: Collection[str]
) -> Iterator[tuple[int, int]]:
    """For each small count: what it could be at least and at most, given all that is shown and known of the tables.

    In a table that is not withheld as a whole, a count that is not shown is known to be small, or no smaller than any
    that is; and one of them is small. (0, 0) stands for an answer that takes too long.
    """
    import numpy as np
    from scipy.optimize import Bounds, LinearConstraint, milp

    hidden = [(name, cell) for name, cells in shown.tables.items() for cell, n in cells.items() if n is None]
    small = [place for place, (name, cell) in enumerate(hidden) if tables[name][cell] < k]
    if not small:
        return
    n, total = len(hidden), shown.total or 0
    equal, at_most = _known(shown, tables, links, {cell: place for place, cell in enumerate(hidden)})
    chosen = [name for name in dict.fromkeys(name for name, _ in hidden) if name not in withheld]
    of_table = np.array([[float(name == each) for each, _ in hidden] for name in chosen]).reshape(-1, n)
    floors = np.array(
        [
            1 if name in withheld else max(k, *(number or 0 for number in shown.tables[name].values()))
            for name, _ in hidden
        ]
    )
    unit = np.eye(n)
    rules = [  # of the counts, then of whether each is large
        LinearConstraint(np.hstack([equal[:, 1:], np.zeros((len(equal), n))]), -equal[:, 0], -equal[:, 0]),
        LinearConstraint(np.hstack([at_most[:, 1:], np.zeros((len(at_most), n))]), -np.inf, -at_most[:, 0]),
        LinearConstraint(np.hstack([unit, -(floors - 1) * unit]), 1.0, np.inf),
        LinearConstraint(np.hstack([unit, -max(total - k + 1, 0) * unit]), -np.inf, k - 1.0),
        LinearConstraint(np.hstack([np.zeros_like(of_table), of_table]), -np.inf, of_table.sum(axis=1) - 1.0),
    ]
    bounds = Bounds(np.repeat([1.0, 0.0], n), np.repeat([float(total), 1.0], n))

    def least(place: int, sign: float) -> int:
        aim = np.zeros(2 * n)
        aim[place] = sign
        found = milp(aim, integrality=1, bounds=bounds, constraints=rules, options={"time_limit": _LONGEST_S})
        return 0 if found.x is None else round(sign * found.fun)

    for place in small:
        largest = least(place, -1.0)
        yield (least(place, 1.0) if largest < k else 0), largest


def _known(
    shown: Suppressed, tables: Counts, links: Links, places: Mapping[Cell, int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What is known, as rows of a constant and a factor for each withheld count: sums that are 0, and sums below 0.

    Whoever infers what is wrong for these patients, as that a table has a cell for each of them where some have two, is
    led astray: only what is right is known.
    """
    import numpy as np

    def row(cells: Sequence[Cell], sign: float) -> NDArray[np.float64]:
        made = np.zeros(1 + len(places))
        for cell in cells:
            if cell in places:
                made[1 + places[cell]] += sign
            else:
                made[0] += sign * (shown.tables.get(cell[0], {}).get(cell[1]) or 0)
        return made

    def true(cells: Sequence[Cell]) -> int:
        return sum(tables.get(name, {}).get(cell, 0) for name, cell in cells)

    patients = np.zeros(1 + len(places))
    patients[0] = shown.total or 0
    whole, n_whole = row([links.whole], 1.0), true([links.whole])
    equal: list[NDArray[np.float64]] = []
    at_most: list[NDArray[np.float64]] = []
    for name, cells in tables.items():
        inside = [(name, cell) for cell in cells]
        of, n_of = (whole, n_whole) if name in links.splits else (patients, shown.total or 0)
        if true(inside) == n_of:
            equal.append(of + row(inside, -1.0))
        elif true(inside) > n_of:
            at_most.append(of + row(inside, -1.0))
    at_most += [row([cell], 1.0) - whole for cell in links.covers if true([cell]) <= n_whole]
    if n_whole <= true(links.covers):
        at_most.append(whole + row(links.covers, -1.0))
    width = 1 + len(places)
    return np.reshape(equal, (-1, width)), np.reshape(at_most, (-1, width))
