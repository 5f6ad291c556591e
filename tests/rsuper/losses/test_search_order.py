"""The order in which lesions are searched: a free lesion must not take the only place of a confined one."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from rsuper.losses import LesionTarget, ball_loss, ball_targets
from rsuper.losses.search_order import search_order, search_orders
from rsuper.morphology import host

ONE = (1.0, 1.0, 1.0)
SHAPE = (28, 12, 12)


def ball(center, diameter_mm):
    axes = torch.meshgrid(*(torch.arange(size) for size in SHAPE), indexing="ij")
    return (
        sum((axis - middle) ** 2 for axis, middle in zip(axes, center, strict=True)) <= (diameter_mm / 2) ** 2
    )


def lesion(diameter_mm, low, high, **fields):
    volume = math.pi / 6 * diameter_mm**3
    return LesionTarget(diameters_mm=(diameter_mm,), volume_mm3=(low * volume, high * volume), **fields)


@pytest.fixture
def scene():
    """Two equal tumours of 7 mm, the lower index in the near half; both lesions are found by a perfect network."""
    tumours = ball((7, 6, 6), 7.0) | ball((21, 6, 6), 7.0)
    near = torch.zeros(SHAPE, dtype=torch.bool)
    near[:14] = True
    return tumours, near


def found(tumours, lesions):
    logits = torch.where(tumours, 12.0, -12.0)
    region = torch.ones(SHAPE, dtype=torch.bool)
    return ball_targets(torch.sigmoid(logits), region, lesions, spacing_mm=ONE, logits=logits)


def gradient(tumours, lesions):
    """Of the ball loss, in units of the logits' count."""
    logits = torch.where(tumours, 12.0, -12.0)[None].requires_grad_()
    loss = ball_loss(logits, torch.ones(1, *SHAPE, dtype=torch.bool), [lesions], spacing_mm=ONE)
    (loss.bce + loss.dice).backward()
    return float(logits.grad.abs().sum())


@pytest.mark.parametrize("reads", ["free", "one"])
def test_a_free_lesion_leaves_the_confined_one_its_place(scene, reads, monkeypatch):
    tumours, near = scene
    if reads == "one":
        monkeypatch.setattr(host, "HOST_DEVICES", ())
    confined = lesion(6.0, 0.4, 1.8, region=near)
    for free in (
        lesion(7.0, 0.4, 1.8),
        lesion(6.0, 0.8, 3.0),
    ):  # medians that fit each other, intervals that meet
        assert search_order([confined, free], [float(near.sum()), -1.0]) == [1, 0], "the larger comes first"
        for lesions in itertools.permutations((confined, free)):
            marked = found(tumours, lesions)
            places = {id(item): int(marked.centers[index, 0]) for index, item in enumerate(lesions)}
            assert places == {id(confined): 7, id(free): 21}
            assert not (tumours & ~marked.foreground & ~marked.ignore).any()
            assert gradient(tumours, lesions) < 1e-3


def test_a_much_larger_lesion_still_goes_first(scene):
    _, near = scene
    tumours = ball((7, 6, 6), 10.0) | ball((21, 6, 6), 4.0)
    large, small = lesion(10.0, 0.7, 1.3), lesion(4.0, 0.7, 1.3, region=~near)
    assert search_orders([small, large], [float((~near).sum()), -1.0]) == [[1, 0]]
    assert found(tumours, [small, large]).centers[:, 0].tolist() == [21, 7]


def test_the_order_that_the_prediction_agrees_with_wins(scene):
    """Intervals that meet at their ends: both orders are tried, and sizes that are seen decide."""
    _, near = scene
    tumours = ball((7, 6, 6), 9.0) | ball((7, 1, 1), 3.0) | ball((21, 6, 6), 5.0)
    large, small = lesion(9.0, 0.2, 1.3), lesion(5.0, 0.7, 1.3, region=near | ~near)
    assert len(search_orders([large, small], [-1.0, float(near.numel())])) == 2
    marked = found(tumours, [large, small])
    assert marked.centers[0].tolist() == [7, 6, 6]
    assert marked.centers[1].tolist() == [21, 6, 6]


def test_equal_lesions_and_remainders_keep_one_order(scene):
    _, near = scene
    twins = [lesion(6.0, 0.5, 1.5), lesion(6.0, 0.5, 1.5)]
    rest = LesionTarget(volume_mm3=(14.0, 900.0), remainder=True, region=near)
    assert search_orders([rest, *twins], [10.0, -1.0, -1.0]) == [[1, 2, 0]]


def test_the_search_looks_no_further_than_the_ball_it_fills():
    """4 voxels as a plus fill the 6 mm ball of a lesion without size; 6 at the corners of a 7 mm ball do not."""
    spacing = (4.0, 2.0, 2.5)
    logits = torch.full((3, 12, 24), -12.0)
    for row, column in ((5, 4), (5, 6), (7, 4), (7, 6), (6, 4)):  # around (6, 5), which is dark
        logits[1, row, column] = 12.0
    for row, column in ((6, 16), (5, 16), (7, 16), (6, 17)):
        logits[1, row, column] = 12.0
    everywhere = torch.ones_like(logits, dtype=torch.bool)
    marked = ball_targets(
        torch.sigmoid(logits), everywhere, [LesionTarget()], spacing_mm=spacing, logits=logits
    )
    assert marked.centers[0].tolist() == [1, 6, 16]
    assert (logits[marked.foreground] > 0).all()
