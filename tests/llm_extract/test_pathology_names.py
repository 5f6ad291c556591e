"""Names of tumours that pathology reports give."""

from __future__ import annotations

import pytest

from llm_extract.reports import Report
from llm_extract.rules import extract_record


@pytest.mark.parametrize(
    ("organ", "name", "malignancy"),
    [
        ("Pancreas", "Neuroendocrine microadenoma", "benign"),
        ("Lung", "Non-small cell carcinoma", "malignant"),
        ("Breast", "Intraductal papilloma", "benign"),
        ("Uterus", "Lipoleiomyoma", "benign"),
        ("Uterus", "Choriocarcinoma", "malignant"),
        ("Ovary", "Brenner tumour", "benign"),
        ("Stomach", "Gastrointestinal stromal tumour", "malignant"),
        ("Liver", "Haemangioma", "benign"),
        ("Spleen", "Littoral cell angioma", "benign"),
    ],
)
def test_a_name_in_a_diagnosis_is_a_tumour(organ: str, name: str, malignancy: str) -> None:
    text = f"FINAL DIAGNOSIS:\nA. {organ}, resection:\n{name} (2.3 cm).\n"
    found = extract_record(Report(report_id="P1", text=text, kind="pathology")).lesions
    assert [(x.organ, x.diameters_mm, x.malignancy) for x in found] == [(organ.lower(), (23.0,), malignancy)]
