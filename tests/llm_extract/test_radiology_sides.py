"""Sides, organs and sizes that the words beside a finding only seem to give it."""

from __future__ import annotations

import pytest

from llm_extract.records import Lesion
from llm_extract.reports import Report
from llm_extract.rules import extract_record


def lesions(text: str) -> tuple[Lesion, ...]:
    return extract_record(Report(report_id="r1", text=text, kind="radiology")).lesions


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("Left kidney mass 3 cm, right kidney 11 cm in length.", [("kidney", "left", (30.0,))]),
        ("A right breast mass of 3 cm, and left mastectomy.", [("breast", "right", (30.0,))]),
        (
            "Right adrenal nodule of 2 cm; contralateral nodule of 11 mm.",
            [("adrenal_gland", "right", (20.0,)), ("adrenal_gland", "left", (11.0,))],
        ),
        (
            "Right renal mass of 4 cm. Contralateral kidney with a 1 cm cyst.",
            [("kidney", "right", (40.0,)), ("kidney", "left", (10.0,))],
        ),
        (
            "Right adrenal nodule 2 cm; contralateral left adrenal nodule 11 mm.",
            [("adrenal_gland", "right", (20.0,)), ("adrenal_gland", "left", (11.0,))],
        ),
        (
            "Nodule of 8 mm in the right upper lobe; contralateral nodule in the left lower lobe 5 mm.",
            [("lung", "right", (8.0,)), ("lung", "left", (5.0,))],
        ),
        (
            "Nodule of 8 mm in the right upper lobe. Nodule of 5 mm in the contralateral lung.",
            [("lung", "right", (8.0,)), ("lung", "left", (5.0,))],
        ),
        ("4 cm right renal mass and contralateral hydronephrosis.", [("kidney", "right", (40.0,))]),
        ("Right greater than left hilar adenopathy, up to 18 mm.", [("lymph_node", "bilateral", ())]),
        # near misses
        ("Mass of 3 cm, in the right kidney.", [("kidney", "right", (30.0,))]),
        ("A 3 cm kidney mass on the left.", [("kidney", "left", (30.0,))]),
        (
            "A right renal mass of 4 cm and an ipsilateral cyst.",
            [("kidney", "right", (40.0,)), ("kidney", "right", ())],
        ),
    ],
)  # fmt: skip
def test_which_side(text, told) -> None:
    assert [(x.organ, x.laterality, x.diameters_mm) for x in lesions(text)] == told


@pytest.mark.parametrize(
    ("text", "organ"),
    [
        ("4 cm mass arising from the pancreatic tail or the stomach.", "other"),
        ("Left adrenal versus upper pole left renal mass, 4 cm.", "other"),
        # near misses: one organ, several lesions, two ends of one organ
        ("A 4 cm mass of the pancreatic body or tail.", "pancreas"),
        ("A 4 cm mass of the stomach and the spleen is normal.", "stomach"),
        ("A 4 cm adenoma or cyst of the liver.", "liver"),
    ],
)
def test_an_organ_that_the_text_leaves_open_is_none(text, organ) -> None:
    (lesion,) = lesions(text)
    assert (lesion.organ, lesion.diameters_mm) == (organ, (40.0,))


@pytest.mark.parametrize(
    ("text", "sizes"),
    [
        ("Two nodules in the left upper lobe 2 cm apart measuring 8 mm and 6 mm.", [(8.0,), (6.0,)]),
        ("Two masses in the left breast, 14 mm and 9 mm, 2 cm apart.", [(14.0,), (9.0,)]),
        ("Rather than a mass, a 3 cm cyst is seen in the left kidney.", [(30.0,)]),
        ("2 cm cyst in the left kidney, 5 mm stone right lower pole.", [(20.0,)]),
    ],
)
def test_which_size(text, sizes) -> None:
    assert [x.diameters_mm for x in lesions(text)] == sizes


def test_a_stone_gives_no_part() -> None:
    (cyst,) = lesions("2 cm cyst in the left kidney, 5 mm stone right lower pole.")
    assert (cyst.laterality, cyst.parts) == ("left", ())


@pytest.mark.parametrize(
    "words",
    ["none larger than 5 mm", "none of which is greater than 5 mm", "none exceeding 5 mm", "none > 5 mm"],
)
def test_none_larger_is_an_upper_bound(words) -> None:
    (group,) = lesions(f"Several pulmonary nodules, {words}.")
    assert (group.size_min_mm, group.size_max_mm, group.diameters_mm) == (None, 5.0, ())
