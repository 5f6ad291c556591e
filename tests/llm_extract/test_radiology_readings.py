"""What a later word, clause or sentence says a finding may be: names, not further lesions; invented sentences."""

from __future__ import annotations

import pytest

from llm_extract.records import ReportRecord
from llm_extract.reports import Report
from llm_extract.rules import extract_record


def read(text: str) -> ReportRecord:
    return extract_record(Report(report_id="r1", text=text, kind="radiology"))


ONE_LESION = {
    "A 17 mm nodule in the left adrenal gland, which cannot be distinguished between adenoma and metastasis.": None,
    "There is a 17 mm nodule in the spleen. It may belong to a haemangioma or to a metastasis.": None,
    "There is a 17 mm lesion in the liver. However, a metastasis could not be definitely excluded.": "metastasis",
    "There is a 17 mm lesion in the liver. The primary consideration is a haemangioma.": "hemangioma",
    "A round low-density focus in the spleen, possibility of haemangioma and cyst.": None,
    "A round low-density focus in the liver, no enhancement is seen, and a cyst is considered.": "cyst",
    "A small low-density focus in the liver, cystic lesion of the liver.": "cyst",
    "A 3 cm mass of the ovary, possible glomangioma or teratoma.": None,
}


@pytest.mark.parametrize("text", ONE_LESION)
def test_a_name_is_no_second_lesion(text):
    (lesion,) = read(text).lesions
    assert lesion.diagnosis == ONE_LESION[text]
    assert lesion.malignancy != "malignant"


TWO_LESIONS = (
    "There is a cyst in the liver and a haemangioma in the spleen.",
    "A nodule of the left lung, suspicious for metastasis, and a cyst in the left kidney.",
    "There is a 2 cm lesion in the liver. There may be a metastasis in the spleen.",
    "There is a 2 cm lesion in the liver. A metastasis of the left femur cannot be excluded.",
    "A low-density focus in the liver, a cystic lesion of the spleen.",
)


@pytest.mark.parametrize("text", TWO_LESIONS)
def test_a_place_of_its_own_makes_a_second_lesion(text):
    assert len(read(text).lesions) == 2


NO_LESION = (
    "Dense nodules are seen in the gallbladder, gallbladder stones are considered.",
    "Dense foci in the stomach, postoperative?",
    "Areas of low density are seen in the left flank. Consider a haematoma of the wall.",
    "Cords and patches in both lungs, considering chronic old lesions.",
    "Widespread low density of the vertebrae, consistent with osteopenia.",
    "A dense shadow under the skin of the chest, with dense shadows of wires, in keeping with a pacemaker.",
    "Owing to the effusion the possible presence of a mass cannot be evaluated.",
    "In both lungs; infiltration or mass lesion was detected.",
    "It was learned that a metastatic nodule was irradiated.",
    "Similar nodules were seen in the previous examination and regressed.",
    "Infected duplication cyst and abscess should be considered in the differential diagnosis.",
)


@pytest.mark.parametrize("text", NO_LESION)
def test_what_is_explained_or_not_claimed_is_no_lesion(text):
    assert read(text).lesions == ()


def test_low_density_behind_a_finding_is_its_density():
    (lesion,) = read("Cysts with low density are seen in both kidneys.").lesions
    assert (lesion.kind, lesion.attenuation, lesion.laterality) == ("cyst", "hypo", "bilateral")


@pytest.mark.parametrize("words", ["pending exclusion of metastasis", "possibility of metastasis"])
def test_what_is_yet_to_be_excluded_is_possible(words):
    (lesion,) = read(f"Uneven density of the vertebrae, {words}.").lesions
    assert (lesion.organ, lesion.presence, lesion.malignancy) == ("bone", "possible", "indeterminate")


def test_a_plan_is_no_finding():
    assert read("MRI is recommended to exclude metastasis.").lesions == ()


@pytest.mark.parametrize(
    ("words", "certainty"),
    [
        (", possible xanthofibroma", "possible"),
        (", considered benign", "probable"),
        (", suggesting further ultrasound", None),
        ("", None),
    ],
)
def test_a_reading_with_an_unknown_name_still_hedges(words, certainty):
    (lesion,) = read(f"A low-density focus in the spleen{words}.").lesions
    assert lesion.diagnosis_certainty == certainty


@pytest.mark.parametrize(
    "words", ["metastasis possible", "a metastasis, possibly malignant", "metastatic tumor possible"]
)
def test_a_hedge_behind_the_name_leaves_the_malignancy_open(words):
    (lesion,) = read(f"A low-density nodule of the liver, considering {words}.").lesions
    assert lesion.malignancy == "indeterminate"


def test_normal_tissue_as_an_alternative_questions_the_lesion():
    (lesion,) = read("A nodule in the left kidney. It may be normal medulla or a renal tumor.").lesions
    assert (lesion.presence, lesion.laterality) == ("possible", "left")
