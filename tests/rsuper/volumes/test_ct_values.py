"""Values that are no Hounsfield units are found; those that are pass."""

import numpy as np
import pytest

from rsuper.errors import DataError
from rsuper.volumes import Volume, ct_value_issues, require_ct_values


def phantom(seed=0):
    array = np.full((30, 30, 20), -1000.0)
    array[5:25, 5:25] = 40
    array[10:14, 10:14] = 900
    return array + np.random.default_rng(seed).normal(0, 15, array.shape)


def codes(array):
    return [issue.code for issue in ct_value_issues(Volume(np.asarray(array), np.eye(4)))]


def test_a_ct_passes():
    assert codes(phantom()) == []
    assert codes(phantom().astype(np.int16)) == []
    padded = phantom()
    padded[:3] = -3024
    assert codes(padded) == []
    assert codes(phantom()[5:25, 5:25]) == []


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (np.zeros_like, "constant_volume"),
        (lambda hu: (hu - hu.min()) / (hu.max() - hu.min()), "hu_normalised"),
        (lambda hu: (hu - hu.mean()) / hu.std(), "hu_normalised"),
        (lambda hu: np.clip(hu + 1024, 0, None) * 1.3, "hu_offset"),
        (lambda hu: (np.clip(hu, -160, 240) + 160) / 400 * 255, "hu_windowed"),
        (lambda hu: hu - 2048, "hu_all_air"),
        (lambda hu: hu * 40, "hu_out_of_range"),
    ],
)
def test_everything_else_has_a_code_and_a_hint(change, code):
    issues = ct_value_issues(Volume(change(phantom()), np.eye(4)))
    assert [issue.code for issue in issues] == [code]
    assert issues[0].hint
    if issues[0].severity == "error":
        with pytest.raises(DataError) as caught:
            require_ct_values(Volume(change(phantom()), np.eye(4)), case_id="c7")
        assert (caught.value.code, caught.value.case_id) == (code, "c7")
    else:
        require_ct_values(Volume(change(phantom()), np.eye(4)))
