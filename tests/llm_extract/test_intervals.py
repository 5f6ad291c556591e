import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, binomtest

from llm_extract.intervals import clopper_pearson


@given(st.integers(1, 400), st.data())
def test_the_interval_is_the_one_of_scipy(trials, data):
    successes = data.draw(st.integers(0, trials))
    exact = binomtest(successes, trials).proportion_ci(method="exact")
    assert clopper_pearson(successes, trials) == pytest.approx((exact.low, exact.high), abs=1e-9)


def test_its_ends_leave_two_and_a_half_percent_on_each_side():
    low, high = clopper_pearson(7, 50)
    assert binom.sf(6, 50, low) == pytest.approx(0.025)
    assert binom.cdf(7, 50, high) == pytest.approx(0.025)


def test_nothing_tried_says_nothing():
    assert clopper_pearson(0, 0) == (0.0, 1.0)
