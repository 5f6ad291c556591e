"""Stated sizes -> volume intervals."""

from __future__ import annotations

import csv
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_extract.records import Lesion
from rsuper.supervision import ellipsoid_volume_mm3, lesion_size, volume_interval_mm3, volume_prior
from rsuper.supervision.sizes import CERTAIN_LOW_MM3, UNKNOWN_LOW_MM3, equivalent_diameter_mm, size_factors

DIAMETERS = st.lists(st.floats(min_value=0.5, max_value=400.0), min_size=1, max_size=3)


def stated(**fields) -> Lesion:
    return Lesion(lesion_id="L1", organ="liver", **fields)


def test_ellipsoid_volumes_follow_the_published_convention():
    assert ellipsoid_volume_mm3([10]) == pytest.approx(math.pi / 6 * 1000)
    assert ellipsoid_volume_mm3([30, 10]) == pytest.approx(math.pi / 6 * 30 * 10 * 20)
    assert ellipsoid_volume_mm3([30, 20, 10]) == pytest.approx(math.pi / 6 * 6000)
    assert equivalent_diameter_mm([12]) == pytest.approx(12)


def test_without_a_diameter_the_interval_starts_at_a_5_mm_ball_and_is_open():
    assert volume_interval_mm3([]) == (65.4, math.inf)
    assert pytest.approx(math.pi / 6 * 5**3, abs=0.1) == UNKNOWN_LOW_MM3
    assert pytest.approx(math.pi / 6 * 3**3, abs=0.2) == CERTAIN_LOW_MM3


@given(DIAMETERS)
def test_interval_holds_the_median_and_never_falls_below_a_3_mm_ball(diameters):
    low, high = volume_interval_mm3(diameters)
    median, sigma = volume_prior(diameters)
    assert CERTAIN_LOW_MM3 <= low <= high < math.inf
    assert sigma > 0
    if median > 3 * CERTAIN_LOW_MM3:
        assert low < median < high


@given(DIAMETERS, st.floats(min_value=1.0, max_value=2.0))
def test_a_larger_lesion_never_has_a_smaller_interval(diameters, factor):
    smaller = volume_interval_mm3(diameters)
    larger = volume_interval_mm3([d * factor for d in diameters])
    assert larger[0] >= smaller[0] * (1 - 1e-12)
    assert larger[1] >= smaller[1] * (1 - 1e-12)


@given(DIAMETERS, st.floats(min_value=0.0, max_value=10.0), st.floats(min_value=0.0, max_value=10.0))
def test_coarser_rounding_never_narrows_the_interval(diameters, fine, coarse):
    fine, coarse = sorted((fine, coarse))
    narrow = volume_interval_mm3(diameters, precision_mm=fine)
    wide = volume_interval_mm3(diameters, precision_mm=coarse)
    assert wide[0] <= narrow[0]
    assert wide[1] >= narrow[1]


def test_more_diameters_give_a_narrower_interval():
    for size in (12.0, 25.0, 40.0, 80.0):
        ratios = [volume_interval_mm3([size] * n)[1] / volume_interval_mm3([size] * n)[0] for n in (1, 2, 3)]
        assert ratios == sorted(ratios, reverse=True)


def test_rounding_reaches_half_a_unit_beyond_both_ends():
    low, high = volume_interval_mm3([30.0], precision_mm=5.0)
    exact_low, exact_high = volume_interval_mm3([30.0])
    assert low / exact_low == pytest.approx((25 / 30) ** 3)
    assert high / exact_high == pytest.approx((35 / 30) ** 3)


@pytest.mark.parametrize("bad", [[0.0], [-3.0], [math.nan], [math.inf], [1.0, 2.0, 3.0, 4.0]])
def test_impossible_diameters_are_refused(bad):
    with pytest.raises(ValueError, match="diameter"):
        volume_interval_mm3(bad)


def test_a_prior_needs_a_diameter():
    with pytest.raises(ValueError, match="at least one"):
        volume_prior([])


def test_factors_were_fitted_on_enough_tumours():
    assert all(size_factors()[number].n >= 100 for number in (1, 2, 3))


def log_width(diameters, **options) -> float:
    low, high = volume_interval_mm3(diameters, **options)
    return math.log(high / low)


def test_an_elongated_lesion_of_two_diameters_has_the_wider_interval():
    round_one, oval, long_one = ([22.0, 21.0], [26.0, 18.0], [34.0, 16.0])
    assert log_width(round_one) < log_width(oval) < log_width(long_one)
    assert log_width([60.0, 10.0]) == pytest.approx(
        log_width([50.0, 60.0 / 5]), rel=0.05
    )  # beyond what was measured


@given(DIAMETERS)
def test_the_order_of_the_diameters_does_not_matter(diameters):
    assert volume_interval_mm3(diameters) == pytest.approx(volume_interval_mm3(diameters[::-1]))


def test_one_diameter_says_less_where_tumours_grow_along_a_duct_or_a_wall():
    for organ in ("pancreas", "colon", "stomach"):
        assert log_width([30.0], organ=organ) > log_width([30.0], organ="kidney") == log_width([30.0])
        assert volume_interval_mm3([30.0, 25.0], organ=organ) == volume_interval_mm3([30.0, 25.0])
    lesion = Lesion(lesion_id="L1", organ="pancreas", diameters_mm=(30.0,), size_kind="exact")
    assert lesion_size(lesion).volume_mm3 == volume_interval_mm3([30.0], organ="pancreas")


def test_no_size_is_open_and_says_so():
    size = lesion_size(stated())
    assert size.volume_mm3 == (UNKNOWN_LOW_MM3, math.inf)
    assert not size.stated
    assert size.median_mm3 is None


def test_an_exact_size_carries_its_calibrated_centre():
    size = lesion_size(stated(diameters_mm=(34.0, 29.0), size_kind="exact", size_precision_mm=0.5))
    assert size.volume_mm3 == volume_interval_mm3([34.0, 29.0], precision_mm=0.5)
    assert (size.median_mm3, size.sigma_log) == volume_prior([34.0, 29.0])


def test_an_approximate_size_is_wider_than_an_exact_one():
    exact = lesion_size(stated(diameters_mm=(30.0,), size_kind="exact")).volume_mm3
    about = lesion_size(stated(diameters_mm=(30.0,), size_kind="approximate")).volume_mm3
    assert about[0] < exact[0] < exact[1] < about[1]


@pytest.mark.parametrize("count", [1, 3])
def test_below_a_centimetre_reaches_from_a_3_mm_ball_to_the_bound(count):
    size = lesion_size(stated(size_max_mm=10.0, size_kind="upper_bound", count=count))
    assert size.volume_mm3 == (CERTAIN_LOW_MM3, volume_interval_mm3([10.0])[1])
    assert size.median_mm3 is None
    assert size.diameters_mm == ()


def test_at_least_5_cm_has_no_upper_end_and_is_searched_at_its_bound():
    size = lesion_size(stated(size_min_mm=50.0, size_kind="lower_bound"))
    assert size.volume_mm3 == (volume_interval_mm3([50.0])[0], math.inf)
    assert size.diameters_mm == (50.0,)


def test_a_range_spans_both_ends():
    size = lesion_size(stated(size_min_mm=8.0, size_max_mm=14.0, size_kind="range", count=4))
    assert size.volume_mm3 == (volume_interval_mm3([8.0])[0], volume_interval_mm3([14.0])[1])


def test_up_to_15_mm_is_the_size_of_one_lesion_but_bounds_a_group():
    one = lesion_size(stated(diameters_mm=(15.0,), size_kind="upper_bound"))
    group = lesion_size(stated(diameters_mm=(15.0,), size_kind="upper_bound", count=4))
    assert one.volume_mm3 == volume_interval_mm3([15.0])
    assert group.volume_mm3 == (CERTAIN_LOW_MM3, volume_interval_mm3([15.0])[1])


def test_a_size_conflict_spans_both_sizes():
    size = lesion_size(
        stated(
            diameters_mm=(20.0,), size_kind="exact", size_min_mm=20.0, size_max_mm=26.0, conflict=("size",)
        )
    )
    assert size.volume_mm3 == (volume_interval_mm3([20.0])[0], volume_interval_mm3([26.0])[1])
    assert size.median_mm3 is None


def test_a_conflict_without_the_other_size_is_wider_and_has_no_centre():
    plain = lesion_size(stated(diameters_mm=(20.0, 18.0), size_kind="exact"))
    unsure = lesion_size(stated(diameters_mm=(20.0, 18.0), size_kind="exact", conflict=("diameters_mm",)))
    assert unsure.volume_mm3[0] < plain.volume_mm3[0]
    assert unsure.volume_mm3[1] > plain.volume_mm3[1]
    assert unsure.median_mm3 is None


def test_a_stated_volume_is_taken_as_it_stands():
    low, high = lesion_size(stated(reported_volume_mm3=12000.0)).volume_mm3
    assert low < 12000 < high
    assert high / low < 2


@pytest.mark.real_data
def test_one_stated_diameter_covers_nine_in_ten_real_tumours(shared_data):
    table = shared_data / "masks" / "kits19" / "sizes.csv"
    if not table.is_file():
        pytest.skip("no masks/kits19/sizes.csv in the folder of real material")
    with table.open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["radiographic_size_cm"]]
    inside = []
    for row in rows:
        low, high = volume_interval_mm3([10 * float(row["radiographic_size_cm"])])
        inside.append(low <= 1000 * float(row["largest_vol_ml"]) <= high)
    assert len(inside) > 90
    assert 0.86 <= np.mean(inside) <= 0.94
