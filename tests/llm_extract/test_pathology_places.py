"""Organ, part and side of the tumours of pathology reports written for these tests."""

from __future__ import annotations

import pytest

from llm_extract.reports import Report
from llm_extract.rules import extract_record


def record(text: str):
    return extract_record(Report(report_id="P1", text=text, kind="pathology"))


def only(text: str):
    lesions = record(text).lesions
    assert len(lesions) == 1, [(x.organ, x.kind, x.diameters_mm) for x in lesions]
    return lesions[0]


def places(text: str) -> list[tuple]:
    """Organ, side and parts of every lesion, in the order of the text."""
    return [(x.organ, x.laterality, x.parts) for x in record(text).lesions]


@pytest.mark.parametrize("end", ["\n", " \n", "\n ", "  \n"])
def test_a_part_may_run_over_the_end_of_a_line(end):
    text = (
        "GROSS:\nReceived is a right nephrectomy, 14 x 8 x 6 cm. Sectioning shows a firm yellow mass in the lower"
        f"{end}pole, measuring 5.1 x 4.4 x 4.0 cm, confined to the kidney on section.\n"
        "DIAGNOSIS:\nKidney, right, nephrectomy: Renal cell carcinoma, 5.1 cm."
    )
    lesion = only(text)
    assert (lesion.parts, lesion.diameters_mm) == (("kidney_lower_pole",), (51.0, 44.0, 40.0))


def test_a_part_does_not_run_into_the_next_item_of_a_list():
    text = "DIAGNOSIS:\n1. Kidney, left, lower\n2. Pole of spleen, biopsy: No tumor seen.\n"
    assert not record(text).lesions
