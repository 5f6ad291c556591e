"""Intensity range against numpy on the same voxels."""

from __future__ import annotations

import numpy as np
import pytest

from rsuper.data.fingerprint import fingerprint
from rsuper.errors import DataError


def test_it_is_the_statistics_of_the_organ_voxels(toy_prepared):
    cases = toy_prepared.split("train")
    found = fingerprint(cases, structures=("pancreas",))
    values = np.concatenate([case.image()[case.mask("structure:pancreas")] for case in cases]).astype(float)
    low, high = np.percentile(values, [0.5, 99.5])
    clipped = values.clip(low, high)
    # every organ has fewer voxels than are sampled, so the sample is all of them
    assert (found.low_hu, found.high_hu) == (low, high)
    assert (found.mean_hu, found.std_hu) == (pytest.approx(clipped.mean()), pytest.approx(clipped.std()))


def test_it_does_not_depend_on_chance(toy_prepared):
    assert fingerprint(toy_prepared.cases) == fingerprint(toy_prepared.cases)


def test_structures_that_a_case_does_not_have_fall_back_to_all(toy_prepared):
    assert fingerprint(toy_prepared.cases, structures=("liver",)) == fingerprint(toy_prepared.cases)


def test_no_organ_is_an_error():
    with pytest.raises(DataError) as caught:
        fingerprint([])
    assert caught.value.code == "no_organ_voxels"
