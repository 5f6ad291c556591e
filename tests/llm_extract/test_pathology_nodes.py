"""Lymph nodes in pathology reports written for these tests: how many hold tumour, which statements count none."""

from __future__ import annotations

import pytest

from llm_extract.reports import Report
from llm_extract.rules import extract_record


def record(text: str):
    return extract_record(Report(report_id="P1", text=text, kind="pathology"))


def nodes(text: str) -> list[tuple]:
    return [(x.count, x.diameters_mm) for x in record(text).lesions if x.organ == "lymph_node"]


def said(text: str) -> str:
    return record(text).organs["lymph_node"].status


PROSTATE = "DIAGNOSIS:\nProstate, prostatectomy: Adenocarcinoma, Gleason score 7.\n"


@pytest.mark.parametrize(
    ("sentence", "count"),
    [
        ("Metastases in the lymph nodes (No 1/XVII).", 1),
        ("Metastatic carcinoma in lymph nodes (III/XII).", 3),
        ("Metastatic carcinoma in 2 of 9 lymph nodes.", 2),
        ("2 lymph nodes show involvement by direct extension of tumor.", 2),
        ("Number of nodes involved by metastasis: 4", 4),
    ],
)
def test_how_many_nodes_hold_tumour(sentence, count):
    assert nodes(PROSTATE + sentence) == [(count, ())]


@pytest.mark.parametrize(
    "sentence",
    [
        "IIINO EVIDENCE OF CARCINOMA IN THREE LYMPH NODES EXAMINED.",
        "Carcinoma in three (013) lymph nodes examined.",
        "Lymph nodes, metastatic carcinoma (0/12).",
        "Number of nodes involved by metastasis: 0",
    ],
)
def test_none_of_so_many_vetoes_a_metastasis(sentence):
    assert (nodes(PROSTATE + sentence), said(PROSTATE + sentence)) == ([], "explicitly_lesion_free")


@pytest.mark.parametrize(
    ("sentence", "count"),
    [
        ("Lymph nodes: level I (0/3), level II 2/7 with metastatic carcinoma.", 2),
        ("Metastatic carcinoma in 3 of 9 lymph nodes (obturator 3/5, common iliac (0/4)).", 3),
        ("Metastatic carcinoma in three of 11 lymph nodes, sentinel node (0/2).", 3),
        ("Pelvic nodes: left negative (0/6), right positive for carcinoma (1/6).", 1),
    ],
)
def test_an_empty_group_leaves_the_nodes_of_another_one_positive(sentence, count):
    assert nodes(PROSTATE + sentence) == [(count, ())]


@pytest.mark.parametrize(
    "sentence",
    [
        "No metastatic carcinoma in 3 of 3 lymph nodes (0/3).",
        "No metastatic carcinoma in lymph nodes of level I (0/3), 2/3 of them calcified.",
        "Lymph nodes of both sides are negative for carcinoma: left (0/4), right (0/5).",
        "Lymph nodes without tumor (0/8), adenocarcinoma of grade 2/3.",
    ],
)
def test_another_ratio_beside_an_empty_group_that_counts_no_positive_node(sentence):
    assert (nodes(PROSTATE + sentence), said(PROSTATE + sentence)) == ([], "explicitly_lesion_free")


@pytest.mark.parametrize(
    "sentence",
    [
        "(N0: negative node; N1: positive regional node)",
        "T3c IIIc Macroscopic peritoneal metastasis measuring > 2 cm, OR regional lymph node metastasis",
        "Extracapsular spread of lymph node metastases: 1.",
    ],
)
def test_the_definition_of_a_stage_is_no_finding(sentence):
    assert nodes(PROSTATE + sentence) == []


def test_a_stage_with_its_ratio_is_one():
    assert nodes(PROSTATE + "pN1: 3 of 12 lymph nodes positive for carcinoma") == [(3, ())]


@pytest.mark.parametrize(
    "size",
    ["The metastatic focus measures 4 mm.", "Largest metastatic deposit: 4 mm.", "Size of metastasis: 4 mm"],
)
def test_the_size_of_the_deposit_joins_the_node_stated_before(size):
    heading = "DIAGNOSIS:\nLymph nodes, right pelvic, excision:\n"
    text = f"{heading}- Metastatic carcinoma in one of four (1/4)\nlymph nodes.\n- {size}"
    assert nodes(text) == [(1, (4.0,))]


def test_a_margin_under_a_heading_of_nodes_is_no_node():
    text = "DIAGNOSIS:\nLymph nodes, left pelvic, excision:\n- No tumor seen.\nPositive inked margin: left lobe.\n"
    assert (nodes(text), said(text)) == ([], "explicitly_lesion_free")


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("Two nodes show metastatic carcinoma (1 out of 3 right iliac; 1 out of 5 left iliac).", [(2, ())]),
        ("No tumor in two nodes (0/3 right iliac; 0/5 left iliac).", []),
    ],
)
def test_a_bracket_that_goes_on_counts_its_first_item_only(sentence, expected):
    assert nodes(PROSTATE + sentence) == expected
    assert all(
        x.laterality == "unknown" for x in record(PROSTATE + sentence).lesions if x.organ == "lymph_node"
    )


def test_the_largest_metastasis_is_the_size_of_the_nodes_before_it():
    text = PROSTATE + "Metastatic carcinoma is present in 2 of 9 lymph nodes. The largest metastasis is 1 mm."
    assert nodes(text) == [(2, (1.0,))]
