"""Sizes with a depth behind them, a distance behind them, or a feature between noun and size, in pathology reports."""

from __future__ import annotations

import pytest

from llm_extract.reports import Report
from llm_extract.rules import extract_record


def sizes(gross: str, diagnosis: str = "Colon, resection: Adenocarcinoma.") -> list[tuple]:
    text = f"DIAGNOSIS:\n{diagnosis}\nGROSS:\n{gross}\n"
    return [
        x.diameters_mm for x in extract_record(Report(report_id="P1", text=text, kind="pathology")).lesions
    ]


@pytest.mark.parametrize(
    ("gross", "diameters"),
    [
        ("An ulcerated tumour of 52 x 33mm with a depth of\n18mm.", (52, 33, 18)),
        ("A tumor of 5.2 x 3.3 cm, 1.8 cm thick.", (52, 33, 18)),
        ("A tumor measuring 5.2 x 3.3 cm and 1.8 cm in maximum thickness.", (52, 33, 18)),
        ("A fungating mass, 5.2 x 3.3 cm, 1.8 cm deep.", (52, 33, 18)),
        ("A tumor of 5.2 x 3.3 cm across, height of 1.8 cm.", (52, 33, 18)),
        ("A tumor of 5.2 x 3.3 cm which invades to a depth of 1.8 cm.", (52, 33)),
        ("A tumor of 5.2 x 3.3 cm with a depth of invasion of 1.8 cm.", (52, 33)),
        ("A tumor of 5.2 x 3.3 cm, 1.8 cm in depth of invasion.", (52, 33)),
    ],
)
def test_a_depth_completes_two_diameters(gross: str, diameters: tuple) -> None:
    assert sizes(gross) == [diameters]


@pytest.mark.parametrize(
    ("gross", "diameters"),
    [
        ("A tumor measuring 4.0 cm, 0.5 cm from the distal margin.", (40,)),
        ("A tumor, 4.0 x 3.0 cm, 5.5 cm from the distal margin.", (40, 30)),
        ("A tumor, 4.0 cm, 5.5 cm from the distal margin.", (40,)),
        ("A tumor of 4.0 x 3.0 cm and 5.5 cm from the distal margin.", (40, 30)),
        ("The tumor is located 4.0 cm and 5.5 cm from the margins.", ()),
        ("The tumor lies 4.0 cm, 5.5 cm from the margins.", ()),
    ],
)
def test_a_distance_behind_a_size_takes_nothing_from_it(gross: str, diameters: tuple) -> None:
    assert sizes(gross) == [diameters]


@pytest.mark.parametrize(
    ("gross", "diameters"),
    [
        ("A rubbery mass with a central scar, 4.6 x 4.1 cm.", (46, 41)),
        ("A mass filled with grumous material, measuring 4.6 x 4.1 cm.", (46, 41)),
        ("A mass with a tract into the fat, and a scar of 4.6 cm.", ()),
    ],
)
def test_what_a_mass_looks_like_may_stand_before_its_size(gross: str, diameters: tuple) -> None:
    assert sizes(gross) == [diameters]


def test_cysts_with_fluid_keep_the_larger_of_their_sizes() -> None:
    kidney = "Left kidney, nephrectomy: Renal cell carcinoma, 6 cm."
    assert (16,) in sizes("Two cysts with clear fluid, 1.6 and 0.8 cm., are seen.", kidney)
