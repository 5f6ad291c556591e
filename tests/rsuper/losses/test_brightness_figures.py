"""How bright reported lesions and free organs are, for the log of a run."""

from __future__ import annotations

import pytest
import torch

from rsuper.losses.boxes import RegionBox
from rsuper.losses.diagnostics import brightness_figures
from rsuper.supervision.types import PairTarget


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({}, {"top_reported"}),
        ({"present": False}, {"top_free"}),
        ({"complete": False}, set()),
    ],
)
def test_brightness_is_that_of_crops_that_hold_the_lesion_or_a_free_organ(changes, names):
    """A mean p of 0.5 over the brightest 8 mm³ has log-odds 0; a crop of part of the region may not hold the lesion."""
    logits = torch.full((6, 6, 6), -20.0)
    logits[1:3, 1:3, 1] = 20.0
    region = torch.ones(6, 6, 6, dtype=torch.bool)
    pair = PairTarget(sample=0, channel=0, region=region, lesions=(), volume_mm3=(0.0, 99.0), **changes)
    whole = slice(0, 6), slice(0, 6), slice(0, 6)
    box = RegionBox(pair=0, box=whole, region=region, logits=logits)
    figures = brightness_figures([box], [pair], [(1.0, 1.0, 1.0)], top_mm3=8.0)
    assert set(figures) == names
    assert all(value.item() == pytest.approx(0.0, abs=1e-4) for value in figures.values())
