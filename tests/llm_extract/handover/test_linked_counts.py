"""Whoever has the whole summary, knows how its tables hang together and solves equations finds no small count."""

from __future__ import annotations

import itertools
import random
from collections import Counter, defaultdict

import numpy as np
import pytest
from scipy.optimize import linprog

from llm_extract import Lesion, OrganStatement, ReportRecord
from llm_extract.handover.linked_counts import Links, suppress_linked
from llm_extract.handover.release_tables import lesions_by_organ, summary_cells, summary_links
from llm_extract.handover.small_cells import suppress
from llm_extract.records import Provenance

K = 5
STATUSES = ("lesion_present", "explicitly_lesion_free", "not_mentioned")
ORGANS = ("liver", "kidney")


def kinds() -> list[tuple[tuple[str, str], ...]]:
    """Every kind of patient, by the cells that it counts in: two organs, and the malignancy of the lesions."""
    found = []
    for said in itertools.product(STATUSES, repeat=len(ORGANS)):
        organs = tuple((f"organ: {name}", status) for name, status in zip(ORGANS, said, strict=True))
        if "lesion_present" not in said:
            found.append((*organs, ("lesions", "none")))
            continue
        found += [
            (*organs, ("lesions", "stated"), ("lesions by malignancy", word))
            for word in ("benign", "malignant")
        ]
    return found


KINDS = kinds()
LINKS = Links(
    whole=("lesions", "stated"),
    splits=frozenset({"lesions by malignancy"}),
    covers=[(f"organ: {name}", "lesion_present") for name in ORGANS],
)


def tables_of(cohort: tuple[int, ...]) -> dict[str, Counter[str]]:
    tables: dict[str, Counter[str]] = defaultdict(Counter)
    for kind, number in zip(KINDS, cohort, strict=True):
        for table, cell in kind:
            if number:
                tables[table][cell] += number
    return dict(tables)


def equations(shown) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """What is shown, as sums over the unknown numbers of patients of each kind: equal to, and at most."""
    equal, values, at_most, limits = [], [], [], []
    if shown.total is not None:
        equal.append(np.ones(len(KINDS)))
        values.append(shown.total)
    for table in {table for kind in KINDS for table, _ in kind}:
        for cell in {cell for kind in KINDS for name, cell in kind if name == table}:
            counted = np.array([float((table, cell) in kind) for kind in KINDS])
            number = shown.tables.get(table, {}).get(cell, 0)
            if number is None:
                at_most.append(-counted)  # not zero: zeros are shown
                limits.append(-1.0)
            else:
                equal.append(counted)
                values.append(number)
    return np.array(equal), np.array(values), np.reshape(at_most, (-1, len(KINDS))), np.array(limits)


def attacked(shown, tables) -> dict[tuple[str, str], str]:
    """What the equations tell of each small count."""
    equal, values, at_most, limits = equations(shown)
    found = {}
    for table, cells in tables.items():
        for cell, number in cells.items():
            if shown.tables[table][cell] is not None or number >= K:
                continue
            counted = np.array([float((table, cell) in kind) for kind in KINDS])
            given = {"A_eq": equal, "b_eq": values} if len(equal) else {}
            most = linprog(-counted, A_ub=at_most, b_ub=limits, **given)
            least = linprog(counted, A_ub=at_most, b_ub=limits, **given)
            largest = np.inf if most.status == 3 else -most.fun
            open_ = largest > K - 1e-6 or (least.fun < 1 + 1e-6 and largest > K - 1 - 1e-6)
            rank = np.linalg.matrix_rank(equal) if len(equal) else 0
            with_it = np.linalg.matrix_rank(np.vstack([equal, counted])) if len(equal) else 1
            found[table, cell] = "determined" if with_it == rank else "open" if open_ else "narrowed"
    return found


def cohort(rng: random.Random) -> tuple[int, ...]:
    """Patients of which some kinds are frequent, some rare and most absent."""
    return tuple(rng.choice((0, 0, 0, 1, 2, 3, 4, 6, 9, 30, 80)) for _ in KINDS)


def test_no_small_count_is_recovered_from_all_tables_together():
    rng = random.Random(20261121)
    attacks = shown_numbers = 0
    for _ in range(600):
        tables = tables_of(cohort(rng))
        total = sum(tables.get("lesions", {}).values())
        shown = suppress_linked(tables, total=total, k=K, links=LINKS)
        found = attacked(shown, tables)
        attacks += len(found)
        assert set(found.values()) <= {"open"}, (tables, found)
        shown_numbers += sum(
            n is not None and n > 0 for cells in shown.tables.values() for n in cells.values()
        )
    assert attacks > 200
    assert shown_numbers > 1000, "and much is shown all the same"


def test_the_attack_succeeds_where_each_table_is_made_safe_alone():
    """The oracle bites: with the former rule, patients without a lesion, or of an organ, could be worked out."""
    rng = random.Random(20261121)
    recovered = 0
    for _ in range(600):
        tables = tables_of(cohort(rng))
        shown = suppress(tables, total=sum(tables.get("lesions", {}).values()), k=K)
        recovered += sum(said == "determined" for said in attacked(shown, tables).values())
    assert recovered > 5


def test_whoever_also_knows_how_counts_are_withheld_cannot_tell_a_small_one():
    """Every cohort of six patients: in those that look the same, a withheld count is small in any way, or large."""
    k, total = 3, 6
    without = [number for number, kind in enumerate(KINDS) if "not_mentioned" not in dict(kind).values()]
    made: dict[object, tuple[object, dict[str, Counter[str]]]] = {}
    for chosen in itertools.combinations_with_replacement(without, total):
        numbers = Counter(chosen)
        tables = tables_of(tuple(numbers[kind] for kind in range(len(KINDS))))
        made[frozenset((name, cell, n) for name, cells in tables.items() for cell, n in cells.items())] = (
            tables
        )
    alike: dict[object, list[dict[str, Counter[str]]]] = defaultdict(list)
    for tables in made.values():
        shown = suppress_linked(tables, total=total, k=k, links=LINKS)
        seen = frozenset((name, cell, n) for name, cells in shown.tables.items() for cell, n in cells.items())
        alike[shown.total, seen].append(tables)
    withheld = 0
    for (_, seen), cohorts in alike.items():
        for name, cell, value in seen:
            possible = {tables[name][cell] for tables in cohorts}
            if value is not None:
                assert possible == {value}
            else:
                withheld += 1
                assert max(possible) >= k or possible == set(range(1, k)), (seen, name, cell, possible)
    assert withheld > 50


def test_a_lesion_count_is_no_way_round_a_withheld_one():
    """Patients with a lesion and a single organ: what that organ withholds would be total less both."""
    tables = {
        "lesions": {"stated": 90, "none": 10},
        "organ: liver": {"lesion_present": 90, "explicitly_lesion_free": 8, "not_mentioned": 2},
        "organ: kidney": {"not_mentioned": 100},
        "lesions by malignancy": {"benign": 60, "malignant": 30},
    }
    shown = suppress_linked(tables, total=100, k=K, links=LINKS)
    assert shown.total == 100
    assert shown.tables["organ: liver"]["explicitly_lesion_free"] == 8
    assert set(shown.tables["lesions"].values()) == {None}
    assert set(shown.tables["lesions by malignancy"].values()) == {None}
    many = tables | {
        "lesions": {"stated": 95, "none": 5},
        "organ: kidney": {"lesion_present": 40, "not_mentioned": 60},
        "lesions by malignancy": {"benign": 60, "malignant": 35},
    }
    assert suppress_linked(many, total=100, k=K, links=LINKS).tables["lesions"] == many["lesions"]


def test_few_patients_without_a_lesion_hide_the_sums_of_the_lesion_tables():
    tables = {
        "lesions": {"stated": 97, "none": 3},
        "organ: liver": {"lesion_present": 60, "not_mentioned": 40},
        "organ: kidney": {"lesion_present": 50, "not_mentioned": 50},
        "lesions by malignancy": {"benign": 60, "malignant": 37},
    }
    shown = suppress_linked(tables, total=100, k=K, links=LINKS)
    assert set(shown.tables["lesions by malignancy"].values()) == {None}
    assert shown.tables["organ: liver"] == tables["organ: liver"]
    assert suppress_linked(tables, total=100, k=1, links=LINKS).tables == tables


@pytest.mark.parametrize("organs", [{}, {"liver": OrganStatement(status="lesion_present")}])
def test_every_patient_counts_in_a_cell_of_every_table_on_all_patients(organs):
    """Also one whose record could not be made: a table that lacks it would tell how many there are."""
    lesions = tuple(Lesion(lesion_id=f"L{n}", organ="liver", diameters_mm=(9.0,)) for n in range(len(organs)))
    record = ReportRecord(
        report_id="R", source="radiology", text_sha256="0" * 64, text_chars=1, status="ok", lesions=lesions,
        organs=organs, provenance=Provenance(backend="x", version="1"),
    )  # fmt: skip
    cells = list(summary_cells(record, ORGANS))
    links = summary_links(ORGANS)
    named = Counter(table for table, _ in cells)
    assert all(number == 1 for table, number in named.items() if table not in links.splits)
    assert {
        "source",
        "status",
        "modality",
        "phase",
        "lesions",
        "organ: liver",
        "organ: kidney",
    } <= named.keys()
    assert (links.splits <= named.keys()) == bool(organs)
    assert set(links.covers) >= {cell for cell in cells if cell[1] == "lesion_present"}


def test_lesions_by_organ_show_what_the_tables_of_the_organs_show():
    tables = {
        "organ: liver": {"lesion_present": 40, "not_mentioned": 20},
        "organ: kidney": {"lesion_present": None, "not_mentioned": None},
        "organ: spleen": {"lesion_present": 0, "not_mentioned": 60},
        "organ: lung": {"not_mentioned": 60},
    }
    organs = ("liver", "kidney", "spleen", "lung")
    assert lesions_by_organ(tables, organs) == {"liver": 40, "kidney": None}
