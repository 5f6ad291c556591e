"""No small count can be read or worked out: every table that an attacker cannot tell apart is tried."""

from __future__ import annotations

import itertools
from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_extract.handover.small_cells import SMALLEST_K, suppress


def shown(cells: tuple[int, ...], k: int):
    made = suppress({"t": {str(n): cell for n, cell in enumerate(cells)}}, total=sum(cells), k=k)
    return made.total, tuple(made.tables["t"].values())


@pytest.mark.parametrize(
    ("k", "width", "largest"), [(3, 3, 14), (5, 3, 24), (3, 4, 12), (5, 2, 30), (4, 4, 16)]
)
def test_whoever_knows_the_rule_still_cannot_tell_a_small_count(k, width, largest):
    """Tables of which the same is shown are grouped: in each group a withheld cell is small in any way, or large."""
    alike = defaultdict(list)
    for cells in itertools.product(range(largest + 1), repeat=width):
        if sum(cells) <= largest:
            alike[shown(cells, k)].append(cells)
    withheld = 0
    for (total, values), tables in alike.items():
        for place, value in enumerate(values):
            possible = {cells[place] for cells in tables}
            if value is None:
                withheld += 1
                assert len(possible) > 1, (total, values)
                assert max(possible) >= k or possible == set(range(1, k)), (total, values)
            else:
                assert possible == {value}
                assert value == 0 or value >= k
    assert withheld > 40


def tables_of(total: int, width: int) -> list[tuple[int, ...]]:
    """All tables of a width, zeros among them, that cover all patients."""
    return [cells for cells in itertools.product(range(total + 1), repeat=width) if sum(cells) == total]


@pytest.mark.parametrize(
    ("k", "widths", "largest"), [(3, (1, 3), 13), (5, (1, 3), 20), (3, (2, 3), 12), (5, (2, 2), 24), (4, (2, 3), 12)]
)  # fmt: skip
def test_two_tables_of_the_same_patients_tell_no_small_count(k, widths, largest):
    """As above, and whoever tries to tell one knows that both tables sum to the same, shown or not."""
    alike: dict[object, tuple[set[int], ...]] = {}
    for total in range(1, largest + 1):
        for one, two in itertools.product(*(tables_of(total, width) for width in widths)):
            given = {"one": dict(enumerate(one)), "two": dict(enumerate(two))}
            made = suppress(given, total=total, k=k)
            seen = made.total, *made.tables["one"].values(), *made.tables["two"].values()
            for possible, number in zip(
                alike.setdefault(seen, tuple(set() for _ in one + two)), one + two, strict=True
            ):
                possible.add(number)
    withheld = 0
    for seen, places in alike.items():
        for value, possible in zip(seen[1:], places, strict=True):
            if value is None:
                withheld += 1
                assert len(possible) > 1, seen
                assert max(possible) >= k or possible == set(range(1, k)), seen
            else:
                assert possible == {value}
                assert value == 0 or value >= k
    assert withheld > 15


def test_another_table_does_not_stand_in_for_a_withheld_total():
    tables = {"source": {"radiology": 5}, "phase": {str(n): 1 for n in range(5)}}
    made = suppress(tables, total=5, k=5)
    assert made.total is None
    assert {n for cells in made.tables.values() for n in cells.values()} == {None}


def test_the_sum_is_shown_only_where_it_leaves_more_than_one_value():
    """An attacker who does not know the rule and subtracts what is shown from the total."""
    for cells in itertools.product(range(13), repeat=3):
        total, values = shown(cells, 5)
        hidden = sum(value is None for value in values)
        if hidden and total is not None:
            left = total - sum(value for value in values if value is not None)
            assert hidden > 1
            assert left - (hidden - 1) >= 5


@given(st.dictionaries(st.text(max_size=3), st.integers(0, 60), max_size=8), st.integers(SMALLEST_K, 12))
def test_nothing_below_k_is_shown_and_zeros_are(counts, k):
    made = suppress({"t": counts}, total=sum(counts.values()), k=k)
    cells = made.tables["t"]
    assert all(value is None or value == 0 or value >= k for value in cells.values())
    assert all(cells[name] == 0 for name, number in counts.items() if number == 0)
    assert made.total is None or made.total == 0 or made.total >= k
    if all(number == 0 or number >= k for number in counts.values()):
        assert dict(cells) == counts


def test_a_total_that_would_tell_one_table_is_withheld_from_all():
    tables = {"safe": {"a": 30, "b": 20}, "telling": {"c": 1, "d": 0}}
    made = suppress(tables, total=50, k=5)
    assert made.total is None
    assert made.tables == {"safe": {"a": None, "b": None}, "telling": {"c": None, "d": 0}}
    assert suppress({"safe": tables["safe"]}, total=50, k=5).total == 50
    assert suppress({"all": {"a": 1, "b": 2}}, total=3, k=1).tables == {"all": {"a": 1, "b": 2}}
