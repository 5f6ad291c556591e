"""Which length of a pathology report is the tumour's: each by the noun that governs it."""

from __future__ import annotations

import pytest

from llm_extract.measurements import scan_measurements
from llm_extract.reports import Report
from llm_extract.rules import extract_record


def sizes(text: str) -> list[tuple]:
    """Organ and diameters of every lesion."""
    lesions = extract_record(Report(report_id="P1", text=text, kind="pathology")).lesions
    return [(x.organ, x.diameters_mm) for x in lesions]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("4.5 cm (prior biopsy 0.9 cm)", (45.0,)),
        ("4.5 cm (previous core needle biopsy: 0.9 cm)", (45.0,)),
        ("4.5 cm; in the earlier excision it measured 0.9 cm", (45.0,)),
        ("4.5 x 3 cm (seen beside the cavity of a prior biopsy)", (45.0, 30.0)),
        ("the tumor at the site of the prior biopsy measures 4.5 cm", (45.0,)),
    ],
)
def test_the_length_of_an_earlier_biopsy_is_not_that_of_the_tumour(words, expected):
    text = f"DIAGNOSIS:\nBreast, left, mastectomy: Invasive ductal carcinoma.\nTumor size: {words}."
    assert sizes(text) == [("breast", expected)]


PANCREAS = "\nDIAGNOSIS:\nPancreas, distal, resection: Ductal adenocarcinoma."


@pytest.mark.parametrize(
    ("gross", "expected"),
    [
        ("The pancreas with tumor measures 11 x 5 x 5 cm.", ()),
        ("The pancreas containing a firm mass measures 11 x 5 x 5 cm.", ()),
        ("The pancreas contains a tumor measuring 4 x 3 cm.", (40.0, 30.0)),
        ("Within the pancreas is a 4 x 3 cm tumor.", (40.0, 30.0)),
        ("Tumor size:\nGreatest dimension: 40 mm\n*Additional dimensions :30 x 20 mm", (40.0, 30.0, 20.0)),
        ("Additional dimensions: 4.5 and 1.4 cm", ()),
    ],
)
def test_the_size_follows_its_own_noun(gross, expected):
    assert sizes(f"GROSS:\n{gross}{PANCREAS}") == [("pancreas", expected)]


def test_what_was_done_to_a_lesion_before_makes_its_size_no_prior_one():
    text = f"GROSS:\nBulging from the pancreas is a 7.0 x 5.0 cm previously ruptured cyst.{PANCREAS}"
    assert ("pancreas", (70.0, 50.0)) in sizes(text)


@pytest.mark.parametrize(
    ("text", "tense"),
    [
        ("A 3 cm previously ruptured cyst", "current"),
        ("A cyst of 3 cm, previously 2 cm", "current"),
        ("A 3 cm previously measured nodule", "prior"),
        ("A nodule, 3 cm previously, is seen", "prior"),
    ],
)
def test_previously_before_a_participle_is_no_time_of_the_size(text, tense):
    assert scan_measurements(text)[0].tense == tense


@pytest.mark.parametrize(
    ("value", "expected"),
    [("NOT PRESENT", []), ("PRESENT, AT LEAST 1.5 CM", [(15.0, None)]), ("PRESENT", [(10.0, None)])],
)
def test_the_limit_in_the_brackets_of_a_key_is_no_size(value, expected):
    text = (
        "DIAGNOSIS:\nProstate, prostatectomy: Adenocarcinoma, Gleason score 7.\n"
        f"DOMINANT NODULE (AT LEAST 1 CM IN SIZE): {value}."
    )
    lesions = extract_record(Report(report_id="P1", text=text, kind="pathology")).lesions
    assert len(lesions) == 1
    bounds = [(x.size_min_mm, x.size_max_mm) for x in lesions if x.size_min_mm is not None]
    assert bounds == expected


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("TWO LEIOMYOMAS,1.5 AND 1.2 CM", [(15.0,), (12.0,)]),
        ("THE FOCUS MEASURES1.2 CM", [(12.0,)]),
        ("Dimensions: 4.2 X 2.2 cmHISTOLOGIC TYPE: carcinoma of 3 cm", [(42.0, 22.0), (30.0,)]),
        ("slide A,12 was cut at 3 mm", [(3.0,)]),
    ],
)
def test_lengths_that_recognition_has_glued_to_their_neighbours(text, values):
    assert [m.values_mm for m in scan_measurements(text, writing="scanned")] == values


def test_typed_text_keeps_its_stricter_reading():
    assert [m.values_mm for m in scan_measurements("nodules,1.5 and 1.2 cm")] == [(12.0,)]


def test_a_range_of_two_sizes_bounds_its_group_by_the_last():
    text = (
        "GROSS:\nMultiple lesions measure ranging from 1.0 x 1.0 x 0.5 cm up to 6.0 x 5.0 x 3.0 cm.\n"
        "DIAGNOSIS:\nSigmoid colon, resection: Serous carcinoma."
    )
    lesions = extract_record(Report(report_id="P1", text=text, kind="pathology")).lesions
    assert [(x.diameters_mm, x.size_max_mm, x.count_kind) for x in lesions] == [
        ((), 60.0, "multiple_unknown")
    ]


@pytest.mark.parametrize(
    ("bracket", "expected"),
    [
        ("(RIGHT 15.0 CM; LEFT 8.5 CM)", [("right", (150.0,), 1), ("left", (85.0,), 1)]),
        ("(right: 4 cm, left: 3 cm)", [("right", (40.0,), 1), ("left", (30.0,), 1)]),
        ("(15.0 CM)", [("bilateral", (150.0,), 2)]),
    ],
)
def test_sizes_of_both_sides_in_brackets_are_two_tumours(bracket, expected):
    text = f"DIAGNOSIS:\nOvaries, bilateral, excision:\nSerous carcinoma of both ovaries {bracket} of high grade."
    lesions = extract_record(Report(report_id="P1", text=text, kind="pathology")).lesions
    assert [(x.laterality, x.diameters_mm, x.count) for x in lesions] == expected


@pytest.mark.parametrize(
    ("heading", "count"), [("Sigmoid nodule x3", 3), ("Sigmoid nodule", 1), ("Sigmoid, biopsy x3", 1)]
)
def test_the_number_of_nodules_in_a_heading(heading, count):
    text = f"DIAGNOSIS:\nA. {heading}:\n- Metastatic serous adenocarcinoma.\n"
    lesions = extract_record(Report(report_id="P1", text=text, kind="pathology")).lesions
    assert [x.count for x in lesions] == [count]


def test_equal_sizes_are_one_tumour_though_another_is_of_its_kind():
    text = (
        "GROSS:\nIn the lower pole of the left kidney is a tumor of 6.5 x 5.0 x 4.0 cm.\n"
        "DIAGNOSIS:\nLeft kidney, nephrectomy:\nOncocytoma at the lower pole (6.5 cm).\n"
        "Chromophobe renal cell carcinoma in the middle portion (1.4 cm).\n"
    )
    assert sizes(text) == [("kidney", (65.0, 50.0, 40.0)), ("kidney", (14.0,))]


@pytest.mark.parametrize(
    ("gross", "expected"),
    [
        ("In the tail is a pink nodule of 18 mm, 6 mm away from the cut line.", (18.0,)),
        ("A soft mass measuring 18 mm, 6 mm from the splenic vein, is in the tail.", (18.0,)),
        ("A nodule on a broad base sized 1.8 em, 4 em above the staples.", (18.0,)),
        ("The mass lies 18 mm, 20 mm and 6 mm from the three margins.", ()),
        ("The tumor is 18 mm, 20 mm from the two margins.", ()),
    ],
)
def test_the_first_of_two_lengths_behind_a_noun_is_its_size_and_the_second_a_distance(gross, expected):
    assert sizes(f"GROSS:\n{gross}{PANCREAS}") == [("pancreas", expected)]


@pytest.mark.parametrize(
    "words",
    [
        "The research bank took two pieces of the upper pole tumor of 8 mm each.",
        "Three fragments of the solid renal tumor, 8 mm each, were frozen.",
    ],
)
def test_a_piece_taken_of_a_tumour_is_no_tumour(words):
    gross = f"GROSS:\nA 4 x 3 cm tumor is in the upper pole of the kidney.\n{words}"
    text = f"{gross}\nDIAGNOSIS:\nKidney, left: Renal cell carcinoma."
    assert sizes(text) == [("kidney", (40.0, 30.0))]


def test_a_focus_behind_its_place_has_the_size():
    text = (
        "DIAGNOSIS:\nProstate, prostatectomy: Adenocarcinoma, Gleason 7.\nCOMMENT:\n"
        "The main tumor is in the right apex, 2.0 x 1.4 cm. "
        "A second focus lies in the left transition zone, 0.6 x 0.4 cm."
    )
    assert ("prostate", (6.0, 4.0)) in sizes(text)


@pytest.mark.parametrize(
    "cyst",
    [
        "A pseudocyst (1.8 cm ) is noted upstream from the tumor.",
        "A pseudocyst of 1.8 cm lies proximal to the main tumor.",
        "A pseudocyst, 1.8 cm, is near the tumor, 2.2 cm apart from it.",
        "A pseudocyst measuring 1.8 cm is seen lateral to this mass.",
    ],
)
def test_a_tumour_named_as_a_landmark_takes_no_size(cyst):
    found = sizes(f"DIAGNOSIS:\nPancreas, distal, resection: Ductal adenocarcinoma, 4.1 cm. {cyst}")
    assert found == [("pancreas", (41.0,)), ("pancreas", (18.0,))]


def test_a_landmark_with_a_size_of_its_own_is_a_lesion():
    gross = "GROSS:\nA 3 cm nodule is above the 5 cm tumor of the upper pole."
    found = sizes(f"{gross}\nDIAGNOSIS:\nKidney, left: Renal cell carcinoma; oncocytoma.")
    assert found == [("kidney", (50.0,)), ("kidney", (30.0,))]


def test_an_infiltrative_lesion_that_was_cut_and_measured_is_the_tumour():
    gross = "GROSS:\nAn infiltrative lesion, vaguely limited, that measures 6 x 5 cm and distances 2 cm from one end."
    assert sizes(f"{gross}{PANCREAS}") == [("pancreas", (60.0, 50.0))]


@pytest.mark.parametrize(
    ("gross", "expected"),
    [
        ("The right ovary, 4 x 3 x 2.5 cm, has a papillary area of 2.8 x 2.0 x 1.5 cm.", (28.0, 20.0, 15.0)),
        ("The right ovary has a hard growth at its surface, 2.8 x 2.0 cm.", (28.0, 20.0)),
        ("The left ovary has a papillary area of 2.8 x 2.0 x 1.5 cm.", (28.0,)),
        ("The right ovary has a papillary area of 2.2 x 2.0 x 1.5 cm.", (28.0,)),
        ("The right ovary is 2.8 x 2.0 x 1.5 cm.", (28.0,)),
        ("The right ovary has an area of 2.8 x 2 cm and a soft area of 2.8 x 1 cm.", (28.0,)),
    ],
)
def test_the_gross_area_as_long_as_the_tumour_of_the_diagnosis_gives_its_other_diameters(gross, expected):
    text = f"GROSS:\n{gross}\nDIAGNOSIS:\nRight ovary, oophorectomy: Serous carcinoma, 2.8 cm."
    assert sizes(text) == [("ovary", expected)]


@pytest.mark.parametrize(
    ("gross", "expected"),
    [
        ("Left ovary 3.5 x 2.5 cm, with a brown cyst of 1.2 cm.", (12.0,)),
        ("Left ovary 3.5 x 2.5 cm. It contains a brown cyst, 1.2 cm.", (12.0,)),
        ("Left ovary 3.5 x 2.5 cm with a tan cyst of 1.2 cm.", (12.0,)),
        ("Left ovary 3.5 x 2.5 cm; it holds a cyst with hair, 1.2 x 1.0 cm.", (12.0, 10.0)),
        ("The left tube is stretched over a cyst of 1.2 cm, 5 cm long and 0.4 cm wide.", (12.0,)),
        ("Fallopian tube 5 cm long x 0.5 cm with a translucent cyst, 1.2 cm.", (12.0,)),
    ],
)
def test_the_size_of_an_ovary_or_tube_is_not_that_of_its_cyst(gross, expected):
    text = f"GROSS:\n{gross}\nDIAGNOSIS:\nLeft ovary and tube: Cyst, benign."
    assert sizes(text) == [("ovary", expected)]


@pytest.mark.parametrize(
    "gross",
    [
        "A mass, 5 x 4 cm, bulging in the fat over a front of 3 cm.",
        "A mass, 5 x 4 cm. Tissue given for research: tumor 1.0 x 0.8 cm, cortex 0.8 x 0.5 cm.",
        "A mass, 5 x 4 cm. A sample is sent to the tumor bank: tumor 1.0 cm.",
    ],
)
def test_fronts_and_tissue_for_research_are_no_further_tumours(gross):
    text = f"GROSS:\n{gross}\nDIAGNOSIS:\nKidney, left, nephrectomy: Renal cell carcinoma, 5 cm."
    assert sizes(text) == [("kidney", (50.0, 40.0))]


def test_a_sheet_of_omentum_is_no_tumour():
    text = (
        "GROSS:\nOmentum: A sheet of fat (30 x 14 x 3 cm) replaced by firm tumor, the largest mass 11 x 7 cm.\n"
        "DIAGNOSIS:\nOmentum: Metastatic serous carcinoma."
    )
    assert [found for _, found in sizes(text)] == [(110.0, 70.0)]


@pytest.mark.parametrize(
    ("gross", "named", "expected"),
    [
        ("A mass, 6.6 x\n5.9 cm. and up to 2.4 cm. thick.", "Adenocarcinoma, 6.6 cm", (66.0, 59.0, 24.0)),
        ("A 6.1 x 4.9 x 4.0 cm unilocular cystic ovary.", "Serous cystadenoma, 6.1 cm", (61.0, 49.0, 40.0)),
        ("A cyst with hair, 3.2 x 2.9 x 2.5 cm.", "Mature teratoma, 3.2 cm", (32.0, 29.0, 25.0)),
    ],
)
def test_the_gross_description_completes_the_largest_diameter(gross, named, expected):
    text = f"GROSS:\nLeft ovary. {gross}\nDIAGNOSIS:\nLeft ovary, excision: {named}."
    assert sizes(text) == [("ovary", expected)]
