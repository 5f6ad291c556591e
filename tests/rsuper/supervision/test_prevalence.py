"""Reports against masks: how often each has a lesion."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import fisher_exact

from llm_extract.anatomy import load_anatomy
from llm_extract.records import OrganStatement
from rsuper.supervision import load_policy
from rsuper.supervision.prevalence import prevalence_gaps

ANATOMY = load_anatomy()


@pytest.fixture
def gaps(make_lesion, make_record):
    """Gaps of a cohort in which so many reports state a cyst or a mass, and so many masks show a lesion."""

    def of(policy: str, *, reports=100, cysts=0, masses=0, masks=50, drawn=0, shift=0):
        free = {"kidney": OrganStatement(status="explicitly_lesion_free")}
        records = {}
        for number in range(reports):
            kind = "cyst" if number < cysts else "mass" if number < cysts + masses else None
            own = make_record() if kind is None else make_record(make_lesion("kidney", kind=kind))
            records[f"c{number}"] = [own if kind else own.model_copy(update={"organs": free})]
        shown = {f"c{number + shift}": number < drawn for number in range(masks)}
        return prevalence_gaps(
            records,
            {"kidney_lesion": shown},
            organs={"kidney_lesion": "kidney"},
            anatomy=ANATOMY,
            policy=load_policy(policy),
        )

    return of


def test_cysts_that_the_policy_counts_and_the_masks_do_not_are_a_gap(gaps):
    (gap,) = gaps("all_lesions", cysts=36, masses=4, drawn=2, masks=50)
    assert (gap.reported, gap.with_reports, gap.drawn, gap.with_masks) == (40, 100, 2, 50)
    assert (gap.both, gap.denied) == (50, 38)
    assert gaps("tumours", cysts=36, masses=4, drawn=2, masks=50) == ()


def test_fewer_reports_than_masks_are_a_gap_as_well(gaps):
    (gap,) = gaps("tumours", masses=5, drawn=25, shift=1000)
    assert (gap.reported, gap.drawn, gap.both, gap.denied) == (5, 25, 0, 0)


def test_few_cases_and_small_ratios_are_no_gap(gaps):
    assert gaps("tumours", reports=6, masses=4, masks=5, drawn=1) == ()
    assert gaps("tumours", masses=40, masks=50, drawn=21) == ()
    assert gaps("tumours", masses=0, masks=50, drawn=0) == ()
    assert gaps("tumours", reports=0, masks=50, drawn=10) == ()


def test_a_gap_is_a_ratio_of_two_that_chance_does_not_explain(gaps):
    rng, seen = np.random.default_rng(0), set()
    for _ in range(15):
        reports, masks = (int(n) for n in rng.integers(5, 120, 2))
        masses, drawn = int(rng.integers(0, reports + 1)), int(rng.integers(0, masks + 1))
        table = [[masses, reports - masses], [drawn, masks - drawn]]
        shares = sorted((masses / reports, drawn / masks))
        expected = fisher_exact(table).pvalue < 0.01 and shares[1] >= 2 * shares[0]
        assert bool(gaps("tumours", reports=reports, masses=masses, masks=masks, drawn=drawn)) == expected
        seen.add(bool(expected))
    assert seen == {True, False}
