"""A lesion that one section states and another denies is an issue for a person, and its organ is never free."""

from __future__ import annotations

import pytest

from llm_extract.certainty import lesion_certainty
from llm_extract.records import ReportRecord
from llm_extract.reports import Report
from llm_extract.rules import extract_record


def read(findings: str, impression: str, last: str = "IMPRESSION") -> ReportRecord:
    text = f"FINDINGS:\n{findings}\n{last}:\n{impression}"
    return extract_record(Report(report_id="r1", text=text, kind="radiology"))


def codes(record: ReportRecord) -> list[str]:
    return [issue.code for issue in record.issues]


@pytest.mark.parametrize(
    ("findings", "impression", "organ"),
    [
        ("Liver: No hepatic mass.", "2 cm liver mass in segment 4.", "liver"),
        ("Liver: No focal lesion.", "1. 2 cm hypodense liver lesion.", "liver"),
        ("Kidneys: Normal.", "1. 3 cm right renal mass.", "kidney"),
        ("No right renal mass.", "3 cm right renal mass.", "kidney"),
        ("No liver metastasis.", "Metastasis of 3 cm in segment 4 of the liver.", "liver"),
        ("Liver: 2 cm mass in segment 4.", "No hepatic mass.", "liver"),
    ],
)
def test_a_lesion_that_another_section_denies_is_reviewed(findings, impression, organ) -> None:
    record = read(findings, impression)
    assert record.status == "needs_review"
    (issue,) = [x for x in record.issues if x.code == "conflicting_presence"]
    (lesion,) = record.lesions
    assert (issue.field, lesion.organ) == (f"{lesion.lesion_id}.presence", organ)
    assert record.organs[organ].status == "lesion_present"
    assert lesion_certainty(lesion, record) < 0.4


@pytest.mark.parametrize(
    ("findings", "impression"),
    [
        ("Liver: 2 cm mass in segment 4.", "2 cm liver mass in segment 4."),
        ("Liver: 2 cm mass in segment 4. No other hepatic mass.", "2 cm liver mass."),
        ("Left kidney normal. 3 cm mass of the right kidney.", "3 cm right renal mass."),
        ("Left kidney normal.", "3 cm right renal mass."),
        ("Liver: 2 cm simple cyst in segment 4.", "No hepatic mass."),
        ("No suspicious liver lesion.", "3 cm hemangioma of the liver."),
        ("No lung mass.", "4 mm nodule in the right upper lobe."),
        ("Spleen: No mass.", "2 cm liver mass in segment 4."),
        ("No mediastinal lymph nodes.", "Enlarged left axillary node, 18 mm."),
        ("Liver: No focal lesion.", "Possible lesion of segment 4."),
    ],
)
def test_what_does_not_contradict(findings, impression) -> None:
    assert "conflicting_presence" not in codes(read(findings, impression))


def test_an_addendum_overrides_without_a_contradiction() -> None:
    record = read("Liver: No hepatic mass.", "A 2 cm liver mass was missed in segment 4.", "ADDENDUM")
    assert (codes(record), record.lesions[0].organ) == ([], "liver")
