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


def test_a_concern_is_a_possible_lesion_or_a_name_of_the_one_before():
    text = "There is a 17 mm nodule in the left upper lobe. Concern is raised for a metastasis"
    one, other = read(f"{text} in the spleen.").lesions
    assert (one.diagnosis, other.organ, other.presence) == (None, "spleen", "possible")
    (lesion,) = read(f"{text}.").lesions
    assert (lesion.diagnosis, lesion.presence) == ("metastasis", "definite")


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


FILLER = (
    "The trachea is open. The heart is of normal size. The aorta is of normal calibre. No effusion is seen. "
)
SUMMED = {
    "A 4 mm nodule is seen in the left lower lobe. Another 5 mm nodule is seen in the left lower lobe. "
    "IMPRESSION: Nodules in the left lower lobe.": 2,
    "A 4 mm nodule is seen in the right upper lobe. A 5 mm nodule is seen in the left lower lobe. "
    "IMPRESSION: Nodules up to 5 mm in both lungs.": 2,
    "A 4 mm nodule is seen in the right upper lobe. A 5 mm nodule is seen in the left lower lobe. " + FILLER
    + "Nodules smaller than 6 mm in both lungs.": 2,
    "A 14 mm nodule is seen in the right upper lobe. A 25 mm nodule is seen in the left lower lobe. "
    "IMPRESSION: Nodules up to 5 mm in both lungs.": 3,
    "A 4 mm nodule is seen in the right upper lobe. A 5 mm nodule is seen in the right lower lobe. "
    "IMPRESSION: Nodules in the left lung.": 3,
}  # fmt: skip


@pytest.mark.parametrize("text", SUMMED)
def test_a_summary_of_what_was_listed_is_no_further_group(text):
    assert len(read(text).lesions) == SUMMED[text]


def test_a_text_that_stands_there_twice_states_its_lesions_once():
    text = "There are several small nodules in both lungs, the largest measuring 5 mm on the right. " + FILLER
    assert [lesion.group_role for lesion in read(text + text).lesions] == ["remainder", "index"]


def test_a_summary_on_the_other_side_is_a_conflict_not_a_second_lesion():
    text = "A 14 mm myelolipoma is seen in the left adrenal gland. IMPRESSION: Myelolipoma of the right adrenal gland."
    (lesion,) = read(text).lesions
    assert (lesion.laterality, lesion.conflict) == ("unknown", ("laterality",))


MENTIONS = {
    "A 3 cm mass is seen in the left upper lobe. The mass extends to the right hilum.": 1,
    "A 3 cm mass is seen in the left upper lobe. The colon wall is thickened, with unclear boundary with the mass.": 1,
    "Metastases are seen in both adrenal glands. The left adrenal metastasis infiltrates the kidney.": 1,
    "Ground glass is seen in both lungs. The described lesions are peripheral in the lung.": 0,
    "A 3 cm mass is seen in the left upper lobe. There is a mass in the right upper lobe.": 2,
}


@pytest.mark.parametrize("text", MENTIONS)
def test_a_look_back_opens_no_row(text):
    found = [lesion for lesion in read(text).lesions if lesion.kind != "wall_thickening"]
    assert len(found) == MENTIONS[text]


def test_a_third_dimension_of_its_own_joins_the_others():
    text = "A mass is seen in the liver. It measures 25 x 15 mm, and its craniocaudal dimension was 32 mm."
    (lesion,) = read(text).lesions
    assert sorted(lesion.diameters_mm) == [15.0, 25.0, 32.0]


KINDS = {
    "A mass in the left lobe of the thyroid, considered as a thyroid tumor.": ("tumor", "definite"),
    "Wall thickening of the sigmoid colon with stenosis, suspected tumor.": ("tumor", "possible"),
    "A mass in the left lobe of the thyroid, considered as a haemangioma.": ("mass", "definite"),
    "A mass in the left upper lobe, considering an abscess or tumor.": ("mass", "definite"),
    "A mass in the left upper lobe, considering inflammation or tumor possibility.": ("mass", "definite"),
    "A mass in the left upper lobe, considering a benign or malignant tumor.": ("tumor", "definite"),
    "A mass in the left kidney, considering a primary or secondary tumor.": ("tumor", "definite"),
    "A mass in the left kidney, compatible with residue or recurrent tumor.": ("tumor", "definite"),
}


@pytest.mark.parametrize("text", KINDS)
def test_a_favoured_tumour_replaces_a_vague_kind(text):
    (lesion,) = read(text).lesions
    assert (lesion.kind, lesion.presence) == KINDS[text]


COUNTS = {
    "The sigmoid colon is thickened, considering the possibility of tumors.": 1,
    "Multiple vertebrae of uneven density, not excluding bone metastasis.": None,
    "Uneven density of one vertebra, not excluding bone metastasis.": 1,
    "At the thoracic inlet there is lymphadenopathy with a short diameter of 13 mm, behind the left thyroid lobe.": 1,
    "Lymphadenopathy of up to 13 mm is seen at the left thyroid lobe and in the mediastinum.": None,
    "There are two adjacent 2-3 mm nodules in the right upper lobe.": 2,
}


@pytest.mark.parametrize("text", COUNTS)
def test_the_described_subject_tells_the_number(text):
    assert read(text).lesions[0].count == COUNTS[text]


GROUPS = {
    "In both lungs there is a multiple nodule formation, the largest of which is in the right middle lobe, 6 mm.": 6.0,
    "In the left lobe of the liver there are two dense lesions of 8 mm, the largest of which is in segment 3.": 8.0,
    "There are nodules of about 9 mm, the largest of which is in the left lower lobe, in both lungs.": 9.0,
}


@pytest.mark.parametrize("text", GROUPS)
def test_the_largest_has_its_own_place(text):
    remainder, index = read(text).lesions
    assert (remainder.group_role, index.group_role) == ("remainder", "index")
    assert (remainder.size_max_mm, index.diameters_mm, index.count) == (GROUPS[text], (GROUPS[text],), 1)
    assert index.parts
    assert index.parts != remainder.parts


def test_the_group_lies_in_both_lungs_where_the_end_of_the_sentence_says_so():
    remainder, index = read(
        "There are pulmonary nodules, the largest of which is in the left lower lobe, "
        "measuring 11 x 9 mm in both lungs."
    ).lesions
    assert (remainder.laterality, index.laterality, index.diameters_mm) == ("bilateral", "left", (11.0, 9.0))


def test_a_group_listed_on_both_sides_is_not_that_of_one():
    (lesion,) = read(
        "Right lung in the upper lobe, left lung at the fissure in the lower lobe, small nodules are seen."
    ).lesions
    assert (lesion.laterality, lesion.count_kind) == ("bilateral", "multiple_unknown")


@pytest.mark.parametrize(
    "text",
    [
        "A mass of 27 x 28 x 46 mm, measuring 27 x 28 x 46 mm, is seen in the left upper lobe.",
        "A low density (mean 20 HU) lesion of 28 mm is seen in the left upper lobe.",
        "A lesion in the form of a dense nodule of 28 mm is seen in the left upper lobe.",
    ],
)
def test_one_noun_phrase_is_one_lesion(text):
    (lesion,) = read(text).lesions
    assert lesion.parts == ("lung_left_upper_lobe",)


@pytest.mark.parametrize("verb", ["cannot be excluded", "could not be definitely ruled out"])
def test_a_hedge_at_the_end_of_the_clause_covers_the_finding(verb):
    (lesion,) = read(f"Metastasis in the form of a stripe in the left lower lobe {verb}.").lesions
    assert (lesion.presence, lesion.malignancy) == ("possible", "indeterminate")


def test_joined_findings_share_their_reading():
    text = "A round nodule and mass in the right kidney, considered renal cysts."
    assert [(x.kind, x.diagnosis, x.laterality) for x in read(text).lesions] == [
        ("nodule", "simple_cyst", "right"),
        ("mass", "simple_cyst", "right"),
    ]


def test_a_sign_with_a_suspected_name_is_that_name():
    (lesion,) = read("Uneven thickening of the omentum, suspected metastasis.").lesions
    assert (lesion.organ, lesion.kind, lesion.presence) == ("peritoneum", "metastasis", "possible")


@pytest.mark.parametrize("place", ["localization", "site"])
def test_where_a_lesion_was_is_no_lesion(place):
    text = f"Linear density is seen in the metastatic nodule {place} in the right lower lobe, a sequela."
    assert read(text).lesions == ()


BOTH_SIDES = {
    "In both kidneys, multiple cysts measuring 5 cm on the right and 9 cm on the left are seen.": [
        ("right", None, (50.0,)),
        ("left", None, (90.0,)),
    ],
    "In both kidneys, cysts measuring 5 cm in the right upper pole and 9 cm in the left lower pole are seen.": [
        ("right", 1, (50.0,)),
        ("left", 1, (90.0,)),
    ],
    "In both kidneys there is a cyst measuring up to 33 mm.": [("bilateral", None, ())],
}


@pytest.mark.parametrize("text", BOTH_SIDES)
def test_many_on_either_side_are_not_two(text):
    assert [(x.laterality, x.count, x.diameters_mm) for x in read(text).lesions] == BOTH_SIDES[text]


def test_two_sizes_of_one_mass_with_an_increase_are_then_and_now():
    text = "In the right adrenal gland a mass measuring 47 x 17 mm is seen, {}, with an increase in size."
    (lesion,) = read(text.format("50 x 23 mm in size")).lesions
    assert (lesion.diameters_mm, lesion.prior_diameters_mm) == ((50.0, 23.0), (47.0, 17.0))
    assert len(read(text.format("and another of 50 x 23 mm")).lesions) == 2


NODES = {"21 x 17 mm": 2, "9 x 7 mm": 0}


@pytest.mark.parametrize("size", NODES)
def test_the_size_in_the_next_sentence_calls_nodes_enlarged(size):
    text = f"There are two prominent mediastinal nodes. The larger one measures {size}."
    assert len(read(text).lesions) == NODES[size]


def test_sentences_on_it_add_to_the_lesion():
    (lesion,) = read("There is a mass of 20 mm in the left lower lobe. It is stable.").lesions
    assert lesion.change == "stable"
    text = "There is a mass of 20 mm in the left lower lobe. In the previous examination the long axis was 30 mm."
    (lesion,) = read(text).lesions
    assert lesion.prior_diameters_mm == (30.0,)


VARIANTS = (
    "A nodular density of 7 mm is seen at the splenic hilum (accessory spleen?).",
    "A nodular density of 19 x 15 mm at the splenic hilum is isodense with the spleen.",
    "Beside the spleen an accessory spleen in isodense appearance is seen.",
    "In the anterior mediastinum thymic tissue holds hypodense areas, which does not show mass configuration.",
    "Cyst-like lesions in the right middle lobe, considered as pulmonary cysts.",
    "A dense nodule at the medial condyle of the femur, considered to be calcification of the ligament.",
)


@pytest.mark.parametrize("text", VARIANTS)
def test_variants_and_lookalikes_are_no_lesions(text):
    assert read(text).lesions == ()


@pytest.mark.parametrize("words", [", hypodense to the spleen", " and an accessory spleen at the hilum"])
def test_a_spleen_with_a_lesion_keeps_it(words):
    (lesion,) = read(f"A hypodense lesion of 12 mm is seen in the spleen{words}.").lesions
    assert (lesion.organ, lesion.diameters_mm) == ("spleen", (12.0,))


def test_low_densities_behind_the_place_are_an_attribute_with_a_name():
    text = "There is a 19 x 12 mm nodular lesion in the left adrenal gland with low densities evaluated as adenoma."
    (lesion,) = read(text).lesions
    assert (lesion.diagnosis, lesion.attenuation, lesion.diameters_mm) == ("adenoma", "hypo", (19.0, 12.0))


def test_the_organ_of_a_questioned_name_is_no_place():
    (lesion,) = read(
        "Cystic lesion (infected oesophageal duplication cyst? abscess?) with a thick wall."
    ).lesions
    assert lesion.organ == "other"


def test_a_reading_is_not_given_to_a_lesion_of_which_the_talk_has_moved_on():
    text = (
        "A 12 mm nodule is seen in the spleen. Nodular thickening of the left adrenal gland. "
        "It was evaluated in favor of adenoma."
    )
    assert read(text).lesions[0].diagnosis is None
    near = "A 12 mm nodule is seen in the left adrenal gland. It was evaluated in favor of adenoma."
    assert read(near).lesions[0].diagnosis == "adenoma"


def test_a_summary_without_a_place_means_the_one_organ_of_its_kind():
    text = "Nodules of 4 mm are seen in both lungs. A 3 cm cyst is seen in the liver.\n\nIMPRESSION:\nSmall nodules."
    assert {lesion.organ for lesion in read(text).lesions} == {"lung", "liver"}


PAIRS = {
    "There is a possible metastasis in the liver and a possible cyst in the spleen.": [
        ("metastasis", "liver", ()),
        ("cyst", "spleen", ()),
    ],
    "A cyst is seen in the right kidney, adjacent to the 3 cm mass.": [
        ("cyst", "kidney", ()),
        ("mass", "kidney", (30.0,)),
    ],
    "The 12 mm nodule next to the mass in the left upper lobe is stable.": [("nodule", "lung", (12.0,))],
    "Two lesions in the liver. The larger lesion, near the dome, measures 3 cm.": [
        ("lesion", "liver", ()),
        ("lesion", "liver", (30.0,)),
    ],
}


@pytest.mark.parametrize("text", PAIRS)
def test_what_two_nouns_of_a_sentence_are(text):
    assert [(x.kind, x.organ, x.diameters_mm) for x in read(text).lesions] == PAIRS[text]


def test_a_mass_that_invades_and_measures_has_that_size():
    (lesion,) = read("Mass in the pancreatic head. The mass invades the duodenum and measures 3 cm.").lesions
    assert (lesion.organ, lesion.diameters_mm) == ("pancreas", (30.0,))
    (lesion,) = read("Mass in the bladder, invading the muscle to a depth of 4 mm.").lesions
    assert lesion.diameters_mm == ()
