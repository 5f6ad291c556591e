"""Words around a tumour noun in pathology reports written for these tests: a tumour stated, or none."""

from __future__ import annotations

import pytest

from llm_extract.reports import Report
from llm_extract.rules import extract_record


def lesions(text: str) -> list[tuple]:
    """Organ, diagnosis, diameters and count of every lesion."""
    record = extract_record(Report(report_id="P1", text=text, kind="pathology"))
    return [(x.organ, x.diagnosis, x.diameters_mm, x.count) for x in record.lesions]


def test_stains_behind_a_diagnosis_leave_it_stated():
    text = (
        "DIAGNOSIS:\nPancreas, tail: Neuroendocrine tumor, grade 1, 17 mm, positive in immunohistochemistry."
    )
    assert lesions(text) == [("pancreas", "neuroendocrine_tumor", (17.0,), 1)]


@pytest.mark.parametrize(
    "comment",
    [
        "The adenocarcinoma stains for CK20.",
        "Immunohistochemistry: adenocarcinoma, positive for CK20.",
        "A stain for mucin shows adenocarcinoma of the colon, CK7 negative.",
    ],
)
def test_a_sentence_on_stains_states_no_tumour(comment):
    assert lesions(f"DIAGNOSIS:\nLiver, biopsy: Steatosis.\nCOMMENT:\n{comment}") == []


def test_carcinoma_in_situ_in_several_places_is_no_second_focus_of_the_invasive_one():
    text = (
        "DIAGNOSIS:\nBladder, cystectomy: Invasive urothelial carcinoma, 5 cm. Multifocal carcinoma in situ."
    )
    assert lesions(text) == [("bladder", "urothelial_carcinoma", (50.0,), 1)]


@pytest.mark.parametrize(
    "nodules", ["regenerative nodules", "cirrhotic nodules", "regenerating liver nodules"]
)
def test_the_nodules_of_a_cirrhosis_are_no_tumours(nodules):
    gross = f"GROSS:\nA 3 cm mass is in segment 6. The rest shows {nodules} up to 0.8 cm."
    text = f"{gross}\nDIAGNOSIS:\nLiver, segment 6: Hepatocellular carcinoma."
    assert lesions(text) == [("liver", "hcc", (30.0,), 1)]
