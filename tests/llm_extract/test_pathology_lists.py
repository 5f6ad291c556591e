"""Lists under a noun in pathology reports written for these tests: an item a lesion, with its size and place."""

from __future__ import annotations

import pytest

from llm_extract.reports import Report
from llm_extract.rules import extract_record


def record_of(text: str):
    return extract_record(Report(report_id="P1", text=text, kind="pathology"))


LISTS = {
    "below": "Two separate masses\n1) S7 : 4.4 x 3.6 cm, encapsulated\n2) S4 : 1.5 x 1.2 cm, soft",
    "dashes": "Masses (2):\n- segment 7: 4.4 x 3.6 cm\n- segment 4: 1.5 x 1.2 cm",
    "brackets": "It holds nodules.\n(1) 4.4 x 3.6 cm, segment 7\n(2) 1.5 x 1.2 cm, segment 4",
    "one sentence": "It holds two tumors: 1) segment 7, 4.4 x 3.6 cm, firm; 2) segment 4, 1.5 x 1.2 cm, soft.",
    "hashes": "Two tumors are seen. #1: 4.4 x 3.6 cm, segment 7. #2: 1.5 x 1.2 cm, segment 4, 3 cm from the first.",
}


@pytest.mark.parametrize("gross", LISTS.values(), ids=LISTS)
def test_the_items_below_a_noun_are_lesions_with_size_and_place(gross):
    text = f"GROSS:\n{gross}\nDIAGNOSIS:\nLiver, resection: Hepatocellular carcinoma, two nodules."
    found = {(x.parts, x.diameters_mm, x.count) for x in record_of(text).lesions}
    assert found == {
        (("liver_segment_7",), (44.0, 36.0), 1),
        (("liver_segment_4",), (15.0, 12.0), 1),
    }


@pytest.mark.parametrize(
    "gross",
    [
        "Two masses.\n1) received in formalin, 4.4 x 3.6 cm",
        "Two masses.\n1) distance to the margin 4.4 cm",
        "One mass.\n1) 4.4 x 3.6 cm wedge of liver",
        "Sections:\n1) segment 7, 4.4 x 3.6 cm",
    ],
)
def test_items_of_something_else_are_no_lesions(gross):
    text = f"GROSS:\n{gross}\nDIAGNOSIS:\nLiver, resection: Hepatocellular carcinoma, two nodules."
    assert [x.diameters_mm for x in record_of(text).lesions] == [()]


def groups(text: str) -> list[tuple]:
    """Organ, role, diameters and count of every lesion."""
    return [(x.organ, x.group_role, x.diameters_mm, x.count) for x in record_of(text).lesions]


@pytest.mark.parametrize(
    ("gross", "expected"),
    [
        ("Two cysts, 1.2 and 2.5 cm, are in the cortex.", ((25.0,), 2)),
        ("Cortical cysts of 0.4, 0.8, and 2.5 cm are seen.", ((25.0,), 3)),
        ("Several cysts, 0.4, 0.8 and 2.5 cm, are seen.", ((25.0,), None)),
    ],
)
def test_sizes_listed_behind_one_noun_are_a_group_with_its_largest(gross, expected):
    text = f"GROSS:\n{gross}\nDIAGNOSIS:\nKidney, left, nephrectomy: Clear cell carcinoma, 5 cm."
    assert groups(text) == [
        ("kidney", "individual", *expected),
        ("kidney", "individual", (50.0,), 1),
    ]


@pytest.mark.parametrize(
    "words", ["POLYPS, THREE", "POLYPS X 3", "POLYPS x3.", "POLYPS (N = 3)", "POLYPS, 3, SMALL"]
)
def test_the_number_of_a_group_may_stand_behind_its_noun(words):
    text = f"DIAGNOSIS:\nColon, right, hemicolectomy: Adenocarcinoma, 4 cm.\nHYPERPLASTIC {words}"
    assert groups(text)[1:] == [("colon", "individual", (), 3)]


def test_the_number_behind_a_noun_counts_the_largest_and_the_others():
    text = "DIAGNOSIS:\nUterus, hysterectomy: LEIOMYOMATA, FIVE, LARGEST 3.4 CM."
    assert groups(text) == [("uterus", "remainder", (), 4), ("uterus", "index", (34.0,), 1)]


def test_what_is_no_number_behind_a_noun_counts_nothing():
    text = "DIAGNOSIS:\nColon: Adenocarcinoma, 4 cm.\nHyperplastic polyps, 3 mm. Tubular adenomas, 2 of 5 blocks."
    assert {x[3] for x in groups(text)[1:]} == {None}


@pytest.mark.parametrize(
    "words", ["LARGEST NODULE 4.2 CM", "the largest deposit 4.2 cm", "dominant nodule measuring 4.2 cm"]
)
def test_the_largest_nodule_of_a_carcinoma_has_others_beside_it(words):
    text = f"DIAGNOSIS:\nOmentum, resection: Metastatic serous carcinoma, {words}."
    assert groups(text) == [("peritoneum", "index", (42.0,), 1), ("peritoneum", "remainder", (), None)]


def test_the_largest_dimension_of_a_carcinoma_has_no_others_beside_it():
    text = "DIAGNOSIS:\nOmentum, resection: Metastatic serous carcinoma, largest dimension 4.2 cm."
    assert groups(text) == [("peritoneum", "individual", (42.0,), 1)]
