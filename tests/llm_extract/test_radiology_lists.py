"""Lists of bones and stations, numbers before misspelt nouns, pairs that are stated twice, and masses of no organ."""

from __future__ import annotations

import pytest

from llm_extract.records import Lesion
from llm_extract.reports import Report
from llm_extract.rules import extract_record


def lesions(text: str) -> tuple[Lesion, ...]:
    return extract_record(Report(report_id="r1", text=text, kind="radiology")).lesions


@pytest.mark.parametrize(
    ("text", "count", "kind"),
    [
        ("Sclerotic metastases in T4, T11 and the sternum.", 3, "at_least"),
        ("Sclerotic metastases in T4, T11, sternum and left scapula.", 4, "at_least"),
        ("Sclerotic metastases in T4 and T11.", 2, "at_least"),
        ("T5, 6 and 7 contain metastases.", 3, "at_least"),
        # a stretch of vertebrae is not a list, and many are many
        ("Sclerotic metastases in T4-T7 and the sternum.", None, "multiple_unknown"),
        ("Multiple sclerotic metastases in T4, T11 and the sternum.", None, "multiple_unknown"),
        ("A sclerotic lesion in T4.", 1, "exact"),
    ],
)
def test_bones_listed_one_by_one_count(text, count, kind) -> None:
    (lesion,) = lesions(text)
    assert (lesion.organ, lesion.count, lesion.count_kind) == ("bone", count, kind)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("There are few enhancing nodule in the liver.", None),
        ("There are a few hypodense lesion in segment 4.", None),
        ("There are many small cyst in the liver.", None),
        ("A few mm nodule in the liver.", 1),
        ("A nodule of a few millimeters in the liver.", 1),
        ("The liver shows few changes and a hypodense nodule.", 1),
    ],
)
def test_a_few_of_a_misspelt_noun_are_several(text, count) -> None:
    (lesion,) = lesions(text)
    assert (lesion.organ, lesion.count) == ("liver", count)


def twice(findings: str, impression: str) -> list[tuple[float, ...]]:
    return [x.diameters_mm for x in lesions(f"FINDINGS:\n{findings}\nIMPRESSION:\n{impression}")]


@pytest.mark.parametrize(
    ("findings", "impression", "sizes"),
    [
        ("Station 4R node, 12 mm.", "Station 7 node, 12 mm.", [(12.0,), (12.0,)]),
        ("Enlarged nodes: 4R 12 mm, 10L 14 mm.", "Enlarged nodes: 4R 12 mm, 10L 14 mm.", [(12.0,), (14.0,)]),
        ("Node in station 4R, 12 mm.", "12 mm node at level 4R.", [(12.0,)]),
        ("Node in station 4R, 12 mm.", "Mediastinal node of 12 mm.", [(12.0,)]),
        ("Two enlarged mediastinal nodes, 16 and 17 mm.", "Mediastinal nodes of 16 mm and 17 mm.", [(16.0,), (17.0,)]),
        ("Two portal nodes of 15 x 12 mm and 18 x 10 mm.", "Portal adenopathy, up to 18 mm.",
         [(15.0, 12.0), (18.0, 10.0)]),
        ("Two enlarged left axillary nodes, 16 mm and 18 mm.", "Two enlarged left axillary nodes, the larger 18 mm.",
         [(16.0,), (18.0,)]),
    ],
)  # fmt: skip
def test_nodes_that_are_stated_twice(findings, impression, sizes) -> None:
    assert twice(findings, impression) == sizes


@pytest.mark.parametrize(
    ("text", "organ"),
    [
        ("A 4 cm pelvic mass.", "other"),
        ("Pelvic mass of 8 cm, inseparable from the uterus and left ovary.", "other"),
        ("Mass in the pelvis displacing the bladder, 8 cm.", "other"),
        ("PELVIS: 8 cm mass anterior to the rectum.", "peritoneum"),
        ("Complex pelvic mass of 12 cm, likely ovarian in origin.", "ovary"),
        ("PELVIS: 3 cm mass of the rectum.", "colon"),
    ],
)
def test_a_mass_of_a_region_has_no_organ_that_it_is_only_beside(text, organ) -> None:
    (lesion,) = lesions(text)
    assert lesion.organ == organ
    assert len(lesion.diameters_mm) == 1
