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
