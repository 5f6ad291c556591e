"""How many nodes hold tumour where words stand for a ratio, and how large the largest deposit is."""

from __future__ import annotations

import pytest

from llm_extract.reports import Report
from llm_extract.rules import extract_record

COLON = "DIAGNOSIS:\nA. Colon, resection: Adenocarcinoma, 4 cm.\n"
PELVIC = "DIAGNOSIS:\nA. Left pelvic nodes: "


def record(text: str):
    return extract_record(Report(report_id="P1", text=text, kind="pathology"))


def nodes(text: str) -> list[tuple]:
    return [(x.count, x.diameters_mm) for x in record(text).lesions if x.organ == "lymph_node"]


@pytest.mark.parametrize(
    ("sentence", "count"),
    [
        ("Metastatic carcinoma in four of thirty-six lymph nodes.", 4),
        ("Twenty-six lymph nodes, five of which contain metastases.", 5),
        ("Twelve lymph nodes, of which two hold a micrometastasis.", 2),
        ("Twelve lymph nodes, two with metastasis and ten without.", 2),
        ("Of twelve nodes two show metastasis.", 2),
        ("Twelve lymph nodes were found, with metastasis of the carcinoma in two.", 2),
        ("Lymph nodes: 12 examined, 2 positive.", 2),
        ("Metastases in two of twelve nodes, the others free of tumor.", 2),
        ("Two of twelve nodes with metastasis, without extracapsular extension.", 2),
        ("Two nodes contain metastases.", 2),
        ("Metastases in regional nodes.", None),
    ],
)
def test_how_many_nodes_hold_tumour(sentence: str, count: int | None) -> None:
    assert nodes(COLON + sentence) == [(count, ())]


@pytest.mark.parametrize(
    "sentence",
    [
        "Lymph nodes: 23 examined, none positive.",
        "No metastasis in twenty-three lymph nodes.",
        "Twelve lymph nodes, none of which contain metastases.",
        "All 3 of 3 lymph nodes are free of tumor.",
    ],
)
def test_none_of_them_is_no_metastasis(sentence: str) -> None:
    found = record(COLON + sentence)
    assert [x for x in found.lesions if x.organ == "lymph_node"] == []
    assert found.organs["lymph_node"].status == "explicitly_lesion_free"


@pytest.mark.parametrize(
    ("words", "diameters"),
    [
        ("two nodes, of which one contains a macrometastasis of 4 mm.", (4,)),
        ("Micrometastasis (1.5 mm) in one of five nodes.", (1.5,)),
        ("A 6 mm metastasis in one of five nodes.", (6,)),
        ("One of five nodes is replaced by carcinoma. The deposit measures 9 mm.", (9,)),
        ("One of five nodes is replaced by carcinoma. The fat measures 9 mm.", ()),
    ],
)
def test_the_size_of_a_deposit_is_that_of_the_metastasis(words: str, diameters: tuple) -> None:
    assert nodes(PELVIC + words) == [(1, diameters)]
