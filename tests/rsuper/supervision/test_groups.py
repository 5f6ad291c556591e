"""Counts, groups and the volume of a pair."""

from __future__ import annotations

import math

import pytest

from rsuper.supervision import volume_interval_mm3, volume_prior
from rsuper.supervision.groups import bound_remainder, count_interval, group_share, pair_volume

REGION_MM3 = 50_000.0


def share(lesion, *, weight=1.0, certain=True, max_searched=10):
    return group_share(
        lesion, region_mm3=REGION_MM3, weight=weight, certain=certain, max_searched=max_searched
    )


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"count": 1}, (1, 1)),
        ({"count": 3}, (3, 3)),
        ({"count": 4, "count_kind": "at_least"}, (4, None)),
        ({"count": None, "count_kind": "at_least"}, (1, None)),
        ({"count": 6, "count_kind": "approximate"}, (3, None)),
        ({"count": None, "count_kind": "multiple_unknown"}, (2, None)),
        ({"count": None, "count_kind": "multiple_unknown", "group_role": "remainder"}, (1, None)),
        ({"count": 5, "count_kind": "exact", "group_role": "remainder"}, (5, 5)),
    ],
)
def test_counts(make_lesion, fields, expected):
    interval = count_interval(make_lesion(**fields))
    assert (interval.low, interval.high) == expected


def test_two_lesions_of_one_size_are_searched_one_by_one_and_add_up(make_lesion):
    two = share(make_lesion(count=2, diameters_mm=(20.0,)))
    low, high = volume_interval_mm3([20.0], organ="pancreas")
    median, sigma = volume_prior([20.0], organ="pancreas")
    assert len(two.targets) == 2
    assert all(t.volume_mm3 == (low, high) and not t.remainder for t in two.targets)
    assert two.volume_mm3 == pytest.approx((2 * low, 2 * high))
    (total, center, spread) = pair_volume([two])
    assert total == pytest.approx((2 * low, 2 * high))
    assert center == pytest.approx(2 * median)
    assert spread == pytest.approx(sigma / math.sqrt(2))


def test_multiple_lesions_have_no_upper_end_and_leave_a_remainder_to_ignore(make_lesion):
    many = share(make_lesion(count=None, count_kind="multiple_unknown"))
    assert [t.remainder for t in many.targets] == [False, False, True]
    assert many.volume_mm3 == (2 * 65.4, math.inf)


def test_one_lesion_without_size_fills_at_most_its_region(make_lesion):
    one = share(make_lesion())
    assert one.volume_mm3 == (65.4, REGION_MM3)
    assert one.targets[0].volume_mm3 == (65.4, math.inf)
    assert pair_volume([one])[1:] == (None, None)


def test_a_remainder_is_bounded_by_its_index_lesion_and_never_searched(make_lesion):
    index = make_lesion(diameters_mm=(34.0,), group_id="G1", group_role="index")
    rest = make_lesion(count=4, group_id="G1", group_role="remainder")
    bounded = bound_remainder(rest, [index, rest])
    assert bounded.size_max_mm == 34.0
    result = share(bounded)
    assert [t.remainder for t in result.targets] == [True]
    assert result.volume_mm3 == pytest.approx(
        (4 * 14.0, 4 * volume_interval_mm3([34.0], organ="pancreas")[1])
    )
    total, median, _ = pair_volume([share(index), result])
    assert total[0] == pytest.approx(volume_interval_mm3([34.0], organ="pancreas")[0] + 56.0)
    assert median is None


def test_a_remainder_keeps_a_bound_of_its_own(make_lesion):
    index = make_lesion(diameters_mm=(34.0,), group_id="G1", group_role="index")
    rest = make_lesion(size_max_mm=8.0, group_id="G1", group_role="remainder")
    assert bound_remainder(rest, [index, rest]) is rest


def test_members_beyond_the_search_limit_become_remainder_and_nothing_is_lost(make_lesion):
    result = share(make_lesion(count=7, diameters_mm=(10.0,)), max_searched=3)
    assert [t.remainder for t in result.targets] == [False] * 3 + [True]
    low, high = volume_interval_mm3([10.0], organ="pancreas")
    assert sum(t.volume_mm3[0] for t in result.targets) == pytest.approx(7 * low)
    assert result.volume_mm3 == pytest.approx((7 * low, 7 * high))


def test_a_possible_lesion_forces_nothing(make_lesion):
    result = share(make_lesion(diameters_mm=(20.0,)), certain=False, weight=0.3)
    assert result.volume_mm3 == (0.0, volume_interval_mm3([20.0], organ="pancreas")[1])
    assert all(t.remainder and t.volume_mm3[0] == 0.0 for t in result.targets)


def test_every_certain_lesion_has_at_least_the_volume_of_a_3_mm_ball(make_lesion):
    for fields in ({"size_max_mm": 2.0}, {"diameters_mm": (1.0,)}, {"reported_volume_mm3": 3.0}):
        result = share(make_lesion(**fields))
        assert result.targets[0].volume_mm3[0] == 14.0
        assert result.volume_mm3[0] == 14.0


def test_some_whole_number_of_voxels_fits_every_interval(make_lesion):
    """4 x 3 x 3 mm is 14 to 22 mm³: less than one voxel of 27 mm³, which a mask cannot halve."""
    small = make_lesion(diameters_mm=(4.0, 3.0, 3.0), size_kind="exact")
    for voxel_mm3 in (1.0, 8.0, 20.0, 27.0, 100.0):
        item = group_share(
            small, region_mm3=REGION_MM3, weight=1.0, certain=True, max_searched=10, voxel_mm3=voxel_mm3
        )
        low, high = item.volume_mm3
        assert math.floor(high / voxel_mm3 + 1e-9) >= math.ceil(low / voxel_mm3 - 1e-9)
        assert item.targets[0].volume_mm3 == item.volume_mm3
    assert share(small).volume_mm3 == pytest.approx(
        volume_interval_mm3((4.0, 3.0, 3.0), precision_mm=small.size_precision_mm, organ=small.organ)
    )
    large = make_lesion(diameters_mm=(40.0,))
    exact, gridded = (
        group_share(
            large, region_mm3=REGION_MM3, weight=1.0, certain=True, max_searched=10, voxel_mm3=voxel_mm3
        )
        for voxel_mm3 in (0.0, 27.0)
    )
    assert exact == gridded, "only lesions of about a voxel change"
