"""Names with the hedge behind them, reasons of an advice, and what is unlikely; invented sentences."""

from __future__ import annotations

import pytest

from llm_extract.records import ReportRecord
from llm_extract.reports import Report
from llm_extract.rules import extract_record


def read(text: str) -> ReportRecord:
    return extract_record(Report(report_id="r1", text=text, kind="radiology"))


NAMED = {
    "Right adrenal nodule of 14 mm with mild washout, adenoma possible": ("adenoma", "possible"),
    "Right renal lesion of 14 mm, cyst likely.": ("cyst", "probable"),
    "Lesion in segment 7, 2 cm, metastasis suspected.": ("metastasis", "possible"),
    "Left kidney: 3 cm solid mass with calcifications, RCC not excluded.": ("rcc", "possible"),
    "Hypodense lesion in the spleen, 12 mm, haemangioma probable.": ("hemangioma", "probable"),
    "A 9 mm lesion of low density in the spleen (haemangioma favoured).": ("hemangioma", "probable"),
    "Focus in segment 2, 8 mm, no enhancement, cyst most likely given stability.": ("cyst", "probable"),
    "A 12 mm nodule in the right upper lobe, metastasis is considered in the first place.": ("metastasis", "possible"),
    "A 9 mm nodule in the liver. It was 5 mm before and a haemangioma is likely.": ("hemangioma", "possible"),
    "A 9 mm nodule in the liver. This nodule was measured as 5 mm in the previous examination and metastasis is"
    " suspected.": ("metastasis", "possible"),
    "A 44 mm mass is seen in the right kidney; CT and urology consultation are recommended with regard to RCC.": (
        "rcc", "possible",
    ),
    "A 22 mm nodule is seen in the liver, MRI is advised in respect of metastasis.": ("metastasis", "possible"),
    "A 12 mm lesion is seen in the liver. Biopsy is recommended to exclude metastasis.": ("metastasis", "possible"),
    "Nodule of 9 mm in the right upper lobe, which may be related to metastasis.": ("metastasis", "possible"),
    "A 19 mm lesion is seen in the spleen, which may be secondary to lymphoma involvement.": ("lymphoma", "possible"),
    "In the L2 a sclerotic focus of 6 mm, bone island?, is observed.": ("bone_island", "possible"),
    "A 12 mm lesion is seen in the spleen. A haemangioma is likely.": ("hemangioma", "possible"),
    "Dense focus of the right kidney, 8 mm, haemorrhagic cyst versus solid nodule.": ("cyst", "possible"),
    "Foci of up to 4 mm in both kidneys are too small to characterise, statistically cysts.": ("cyst", "probable"),
}  # fmt: skip


@pytest.mark.parametrize("text", NAMED)
def test_a_name_with_its_hedge_is_no_second_lesion(text):
    (lesion,) = read(text).lesions
    assert (lesion.diagnosis, lesion.diagnosis_certainty) == NAMED[text]
    assert lesion.diameters_mm or lesion.size_max_mm
    assert lesion.malignancy != "malignant"


LAST_WORD = {
    "Segment 8 mass of 3 cm with capsule, HCC.": ("hcc", None),
    "Segment 6 lesion of 2.1 cm with washout, LI-RADS 5, typical HCC, 1.6 cm on the prior exam.": (
        "hcc",
        16.0,
    ),
    "In segment 8 there is a mass of 2.4 x 2.1 cm (series 6 image 29) with washout, LR-5, definite HCC, previously"
    " 1.7 cm.": ("hcc", 17.0),
    "In the left kidney a 3 cm mass with a capsule, RCC, unchanged.": ("rcc", None),
    "A lesion with fat density in the right chest wall, 25 mm, lipoma.": ("lipoma", None),
    "In the liver multiple lesions of low density, cysts, all under 5 mm.": ("cyst", None),
}


@pytest.mark.parametrize("text", LAST_WORD)
def test_a_name_behind_a_chain_of_commas_is_no_second_lesion(text):
    (lesion,) = read(text).lesions
    name, prior_mm = LAST_WORD[text]
    assert (lesion.diagnosis, lesion.diagnosis_certainty) == (name, "definite")
    assert max(lesion.prior_diameters_mm or (0,)) == (prior_mm or 0)


def test_a_reading_in_the_plural_names_the_group_and_its_largest():
    text = "Several lesions are seen in the liver, the largest 28 mm in segment 4; metastases should be considered."
    assert [lesion.diagnosis for lesion in read(text).lesions] == ["metastasis", "metastasis"]


def test_what_a_node_looks_like_is_no_thickened_wall():
    (lesion,) = read(
        "Enlarged nodes in the right axilla with cortical thickening, suspicious for metastasis."
    ).lesions
    assert (lesion.kind, lesion.diagnosis) == ("lymph_node", "metastasis")


UNNAMED = (
    "A 2 cm lesion in segment 4 of the liver, metastasis unlikely.",
    "A 2 cm lesion in segment 4 of the liver. Metastasis is unlikely.",
    "The lesion in segment 4 measures 12 mm and is unlikely to be a metastasis.",
    "A 2 cm lesion in segment 4. Follow-up is recommended in the patient who was operated for bladder tumour.",
    "A 2 cm lesion in segment 4, unchanged with respect to the CT before.",
)


@pytest.mark.parametrize("text", UNNAMED)
def test_what_is_unlikely_names_nothing(text):
    (lesion,) = read(text).lesions
    assert lesion.diagnosis is None
    assert lesion.malignancy == "unknown"


def test_the_reason_of_an_advice_states_no_lesion():
    assert not read("The liver is normal. MRI is recommended with regard to HCC.").lesions


def test_a_settled_name_outlasts_an_advice():
    text = "2 cm simple cyst in the left kidney. MRI is recommended with regard to RCC."
    (lesion,) = read(text).lesions
    assert lesion.diagnosis == "simple_cyst"


PLACED = {
    "2 cm cyst in the liver, left renal cyst suspected.": {"liver", "kidney"},
    "Cyst of 2 cm in the liver, another haemangioma suspected in the spleen.": {"liver", "spleen"},
    "Nodule of 2 cm in the left lobe of the thyroid, hepatic haemangioma.": {"thyroid", "liver"},
    "A 12 mm lesion is seen in the spleen. A renal cyst is suspected.": {"spleen", "kidney"},
    "3 cm mass in the pancreatic head, hepatic metastases suspected.": {"pancreas", "liver"},
}


@pytest.mark.parametrize("text", PLACED)
def test_a_hedged_name_with_a_place_of_its_own_is_a_lesion(text):
    assert {lesion.organ for lesion in read(text).lesions} == PLACED[text]


EXISTENCE = {
    "In the gallbladder wall a polyp of 6 mm is suspected.": "possible",
    "A mass of 3 cm in the stomach is questionable.": "possible",
    "Pancreatic head carcinoma suspected.": "possible",
    "Hepatic cyst likely.": "probable",
    "A 3 cm mass in the stomach is seen, no stenosis is suspected.": "definite",
    "A mass of 3 cm in the stomach is seen.": "definite",
}


@pytest.mark.parametrize("text", EXISTENCE)
def test_a_hedge_behind_the_place_doubts_the_finding(text):
    (lesion,) = read(text).lesions
    assert lesion.presence == EXISTENCE[text]
