"""Titles with brackets, letters that stand before sentences, and names of nodes, in pathology reports."""

from __future__ import annotations

import pytest

from llm_extract.records import Lesion
from llm_extract.reports import Report
from llm_extract.rules import extract_record
from llm_extract.rules.pathology.layout import split_pathology


def lesions(text: str) -> list[Lesion]:
    return list(extract_record(Report(report_id="P1", text=text, kind="pathology")).lesions)


@pytest.mark.parametrize(
    ("title", "section"),
    [
        ("MACROSCOPY (3 March 2021):", "gross"),
        ("Microscopy (dictated by the resident) :", "microscopic"),
        ("Conclusion (amended):", "diagnosis"),
        ("Macroscopy (3 March", "preamble"),
    ],
)
def test_a_title_may_have_brackets_before_its_colon(title: str, section: str) -> None:
    text = f"Breast left.\n{title}\nA firm mass of 2 cm.\n"
    assert split_pathology(text)[0][-1].name == section


TWO = """\
CONCLUSION:
I: Lumpectomy right breast: invasive carcinoma, 14 mm.
II: Sentinel node right axilla: two nodes, both without tumor.
MACROSCOPY (4 May):
I: Lumpectomy of 9 x 7 x 3 cm. In slice 4 a firm nodule of 1.3 cm.
II: Fat with two nodes.
MICROSCOPY (5 May):
I: The nodule shows strands of carcinoma cells.
II: Both nodes show reactive change only.
"""


def test_a_letter_before_a_sentence_of_the_microscopy_is_that_of_the_list() -> None:
    assert [(x.organ, x.laterality, x.diameters_mm) for x in lesions(TWO)] == [("breast", "right", (14.0,))]


def test_numbers_before_sentences_of_the_microscopy_stand_for_the_specimens() -> None:
    text = """\
SPECIMEN
1. Bladder
2. Left pelvic nodes
3. Right pelvic nodes
MACROSCOPY
1. A bladder of 9 x 8 x 6 cm with a tumour of 3 cm at the dome.
2. Fat.
3. Fat.
MICROSCOPY
1. A transitional cell carcinoma, grade 3.
2. No evidence of malignancy.
3. One of four nodes holds metastatic carcinoma.
"""
    found = {x.organ: x for x in lesions(text)}
    assert found["bladder"].diameters_mm == (30.0,)
    assert (found["lymph_node"].laterality, found["lymph_node"].parts) == ("right", ("lymph_node_pelvic",))


def test_numbered_remarks_below_the_heading_of_a_diagnosis_stay_with_it() -> None:
    text = """\
SPECIMEN
1. Left kidney
2. Hilar nodes
DIAGNOSIS
Left kidney, nephrectomy:
1. Renal cell carcinoma, 4 cm.
2. Angiomyolipoma, 1 cm.
"""
    assert [(x.organ, x.laterality) for x in lesions(text)] == [("kidney", "left"), ("kidney", "left")]


@pytest.mark.parametrize("name", ["Sentinel node left axilla", "Left sentinel biopsy", "Sentinel node, left"])
def test_a_sentinel_is_a_node(name: str) -> None:
    found = lesions(
        f"DIAGNOSIS:\nA. Left breast, lumpectomy: invasive carcinoma, 20 mm.\nB. {name}: metastasis of 3 mm.\n"
    )
    assert ("lymph_node", "left") in [(x.organ, x.laterality) for x in found]
    assert "soft_tissue" not in [x.organ for x in found]
