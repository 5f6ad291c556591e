"""Lists of tumours in pathology reports: each entry is a lesion with the place that the entry opens with."""

from __future__ import annotations

import pytest

from llm_extract.reports import Report
from llm_extract.rules import extract_record


def entries(text: str) -> dict[tuple[float, ...], tuple[str, ...]]:
    """Parts of every lesion by its diameters."""
    lesions = extract_record(Report(report_id="P1", text=text, kind="pathology")).lesions
    return {x.diameters_mm: x.parts for x in lesions}


GROSS = "GROSS:\nReceived is a cirrhotic liver, 22 x 16 x 8 cm. The following lesions are noted:\n"
DIAGNOSIS = "DIAGNOSIS:\nA. Liver, hepatectomy: Hepatocellular carcinoma, well differentiated, multifocal.\n"


@pytest.mark.parametrize(
    "lines",
    [
        "Lesion 1: segment 8, a 3.2 x 3.0 x 2.7-cm green nodule.\nLesion 2: segment 3, 1.4 x 1.1-cm, pale.\n",
        "#1 - segment 8, subcapsular: round nodule, 3.2 x 3.0 x 2.7 cm.\n#2 - segment 3, 1.4 x 1.1 cm, pale.\n",
        "Tumor 1: segment 8, 3.2 x 3.0 x 2.7 cm, yellow.\nTumor 2: segment 3, 1.4 x 1.1 cm, tan.\n",
        "Nodule A, segment VIII, measures 3.2 x 3.0 x 2.7 cm.\nNodule B, segment III, measures 1.4 x 1.1 cm.\n",
        "1. Segment 8: 3.2 x 3.0 x 2.7 cm mass, tan.\n2. Segment 3: 1.4 x 1.1 cm nodule, green.\n",
        "Lesion #1 (segment 8): nodule, 3.2 x 3.0 x 2.7 cm.\nLesion #2 (segment 3): nodule, 1.4 x 1.1 cm.\n",
    ],
)
def test_each_entry_is_a_lesion_in_the_segment_it_opens_with(lines):
    found = entries(GROSS + lines + DIAGNOSIS)
    assert found[(32.0, 30.0, 27.0)] == ("liver_segment_8",)
    assert found[(14.0, 11.0)] == ("liver_segment_3",)


def test_an_entry_without_a_noun_follows_those_that_have_one():
    text = (
        GROSS + "#1 - segment 7: round nodule, 3 x 2 cm, with a capsule; 1.2 cm below the surface.\n"
        "#2 - segment 6, 0.8 cm, paler than its neighbours.\n" + DIAGNOSIS
    )
    assert entries(text)[(8.0,)] == ("liver_segment_6",)


def test_letters_of_a_diagnosis_open_an_entry_each():
    text = (
        "DIAGNOSIS:\n1. LIVER, HEPATECTOMY:\na) Segment 7: hepatocellular carcinoma, 3.2 cm.\n"
        "b) Segment 4A: hepatocellular carcinoma, 2.1 cm.\nc) Segment 6: dysplastic nodule, 0.8 cm.\n"
    )
    segments = {(32.0,): ("liver_segment_7",), (21.0,): ("liver_segment_4",), (8.0,): ("liver_segment_6",)}
    assert entries(text) == segments


def test_the_segment_of_an_item_outweighs_the_lobe_of_the_heading():
    items = "- Segment 2: 3.4 cm\n- Segment 3: 1.2 cm\n"
    text = f"DIAGNOSIS:\nLiver, left lobectomy: Metastatic carcinoma, two nodules:\n{items}"
    assert entries(text) == {(34.0,): ("liver_segment_2",), (12.0,): ("liver_segment_3",)}


def test_a_cyst_of_the_list_is_no_further_focus_of_the_carcinoma():
    text = GROSS + "Lesion 1: segment 8, a 3.2 cm nodule.\nLesion 2: segment 2, a 0.7 cm cyst.\n" + DIAGNOSIS
    lesions = extract_record(Report(report_id="P1", text=text, kind="pathology")).lesions
    assert {x.diagnosis for x in lesions if x.diameters_mm == (7.0,)} == {"cyst"}


def test_a_segment_that_is_tissue_is_no_place():
    text = (
        "GROSS:\nA segment, 12 x 9 x 4 cm, of liver with a 3 cm mass. Segments, 2 x 1 cm, of vein are attached.\n"
        "DIAGNOSIS:\nLiver, segment 6, resection: Hepatocellular carcinoma, 3 cm.\n"
    )
    assert entries(text) == {(30.0,): ("liver_segment_6",)}


def test_the_number_of_an_entry_is_not_that_of_a_specimen():
    text = (
        "SPECIMENS:\n1. LIVER, EXPLANT\n2. GALLBLADDER\nGROSS:\n1. Received is a liver, 22 x 16 x 8 cm. The following"
        " lesions are noted:\n#1 - segment 8, a nodule, 3.2 x 3.0 cm.\n#2 - segment 3, 1.4 x 1.1 cm, a pale nodule.\n"
        "DIAGNOSIS:\n1. LIVER, HEPATECTOMY: Hepatocellular carcinoma, multifocal.\n2. GALLBLADDER: Cholelithiasis.\n"
    )
    lesions = extract_record(Report(report_id="P1", text=text, kind="pathology")).lesions
    assert {x.organ for x in lesions} == {"liver"}
