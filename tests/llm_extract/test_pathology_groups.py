"""Groups of lesions in pathology reports written for these tests: members, counts, the largest and the others."""

from __future__ import annotations

import pytest

from llm_extract.reports import Report
from llm_extract.rules import extract_record


def record(text: str):
    return extract_record(Report(report_id="P1", text=text, kind="pathology"))


def sizes(text: str) -> list[tuple]:
    """Organ, diameters and count of every lesion."""
    return [(x.organ, x.diameters_mm, x.count) for x in record(text).lesions]


def nodes(text: str) -> list[tuple]:
    """Side and count of every nodal metastasis."""
    return [(x.laterality, x.count) for x in record(text).lesions if x.organ == "lymph_node"]


def test_a_name_that_ends_with_an_organ_is_no_plural():
    text = (
        "DIAGNOSIS:\nWhipple resection: Ductal adenocarcinoma of the pancreas, poorly differentiated, 2.9 cm."
    )
    assert sizes(text) == [("pancreas", (29.0,), 1)]


def test_the_largest_of_a_group_keeps_the_others_beside_it():
    text = "DIAGNOSIS:\nUterus, hysterectomy:\n- LEIOMYOMATA, INTRAMURAL (LARGEST 3.4 CM)\n- Atrophic endometrium\n"
    rest, index = record(text).lesions
    assert (rest.group_role, index.group_role, index.diameters_mm) == ("remainder", "index", (34.0,))
    assert rest.count is None
    assert rest.diagnosis == index.diagnosis == "leiomyoma"


def test_smaller_nodules_of_the_gross_description_belong_to_the_group():
    text = (
        "DIAGNOSIS:\nUterus, hysterectomy: Leiomyomata, subserosal (largest 3.4 cm).\n"
        "GROSS:\nThe myometrium holds three white whorled nodules, 0.7, 1.2 and 3.4 cm in greatest dimension."
    )
    assert [x.diameters_mm for x in record(text).lesions] == [(), (34.0,)]


def test_a_nodule_in_the_wall_does_not_measure_the_implants_on_the_serosa():
    text = (
        "DIAGNOSIS:\nUterus, hysterectomy:\n- Serosal implants of high grade serous carcinoma\n- Leiomyoma\n"
        "GROSS:\nThe myometrium shows a white whorled nodule measuring 2.6 cm."
    )
    found = {x.diagnosis: x.diameters_mm for x in record(text).lesions}
    assert found == {"metastasis": (), "leiomyoma": (26.0,)}


def test_a_range_replaces_no_exact_size():
    text = (
        "DIAGNOSIS:\nKidney, left, nephrectomy: Simple cortical cysts (largest 1.7 cm).\n"
        "GROSS:\nSeveral thin walled cortical cysts are noted, 0.4 to 1.7 cm."
    )
    assert (17.0,) in [x.diameters_mm for x in record(text).lesions]


@pytest.mark.parametrize(
    "second", ["The smaller one, in segment 3, measures", "The second, in segment 3, is"]
)
def test_sentences_pick_out_the_members_of_a_group(second):
    text = (
        "GROSS:\nReceived is a liver resection, 15 x 11 x 6 cm. On sectioning there are two tumors. The larger one is"
        f" 5.2 x 4.8 x 4.1 cm and lies in segment 8. {second} 1.9 x 1.6 cm and lies 3 cm from the first.\n"
        "DIAGNOSIS:\nLiver, resection: hepatocellular carcinoma, two nodules."
    )
    found = [(x.parts, x.diameters_mm, x.diagnosis) for x in record(text).lesions]
    assert found == [
        (("liver_segment_8",), (52.0, 48.0, 41.0), "hcc"),
        (("liver_segment_3",), (19.0, 16.0), "hcc"),
    ]


def test_members_without_places_stay_one_group():
    text = (
        "GROSS:\nThe opened bowel contains three polyps. The first measures 1.3 cm. The second is 0.9 cm.\n"
        "DIAGNOSIS:\nColon, right, hemicolectomy: Tubular adenomas (3)."
    )
    assert sizes(text) == [("colon", (13.0,), 3)]


def test_what_is_larger_than_a_distance_is_no_member():
    text = (
        "GROSS:\nTwo tumors are seen. The larger one is 2.5 cm from the margin.\n"
        "DIAGNOSIS:\nKidney, left, resection: Papillary renal cell carcinoma."
    )
    assert sizes(text) == [("kidney", (), 1)]


def test_nodes_picked_out_are_no_tumours():
    text = (
        "GROSS:\nThree lymph nodes are found. The largest measures 2.2 cm.\n"
        "DIAGNOSIS:\nColon, resection: Adenocarcinoma. Lymph nodes: 0/3."
    )
    assert sizes(text) == [("colon", (), 1)]


def test_a_cancer_called_multifocal_in_its_own_line_has_further_foci():
    text = "DIAGNOSIS:\nKidney, left, nephrectomy: Papillary renal cell carcinoma, 4.4 cm, multifocal."
    index, rest = record(text).lesions
    assert (index.diameters_mm, index.count, rest.group_role, rest.count) == ((44.0,), 1, "remainder", None)


def test_a_margin_with_several_foci_makes_no_further_tumour():
    text = "DIAGNOSIS:\nProstate, prostatectomy: Adenocarcinoma, 1.4 cm. Margin involved by carcinoma, multifocal."
    assert sizes(text) == [("prostate", (14.0,), 1)]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("Metastatic carcinoma in five of twenty-two nodes (right 2/12, left 3/10).", [("right", 2), ("left", 3)]),
        ("Right pelvic nodes (1/4) and left pelvic nodes (2/5): metastatic carcinoma.", [("right", 1), ("left", 2)]),
        ("right pelvic (0/12), left pelvic (1/10) positive for carcinoma, para-aortic (0/3).", [("left", 1)]),
        ("metastatic carcinoma in level I (1/3), level II (2/7).", [("unknown", 3)]),
        ("metastatic carcinoma in 4/17 nodes (4 of 17).", [("unknown", 4)]),
        ("metastatic carcinoma in 2/9 nodes, Gleason 4/5.", [("unknown", 2)]),
        ("free of carcinoma, right 0/4, left 0/6.", []),
    ],
)  # fmt: skip
def test_groups_of_nodes_with_a_ratio_each(words, found):
    assert nodes(f"DIAGNOSIS:\nProstate, prostatectomy: Adenocarcinoma.\nLymph nodes: {words}") == found


def test_a_corpus_luteum_is_no_lesion_but_its_cyst_is():
    text = "DIAGNOSIS:\nA. LEFT OVARY: Corpus luteum.\nB. RIGHT OVARY: Corpus luteum cyst, 2.4 cm.\n"
    assert [(x.laterality, x.diameters_mm) for x in record(text).lesions] == [("right", (24.0,))]


def test_words_on_the_type_may_stand_before_the_size():
    text = (
        "DIAGNOSIS:\nPancreas, resection: Intraductal papillary mucinous neoplasm, branch duct type, 1.1 cm."
    )
    assert sizes(text) == [("pancreas", (11.0,), 1)]


def test_a_margin_before_the_size_is_none_of_the_tumour():
    text = "DIAGNOSIS:\nPancreas, resection: Ductal adenocarcinoma, closest margin, 1.1 cm."
    assert sizes(text) == [("pancreas", (), 1)]


def test_the_masses_of_the_gross_description_are_those_of_the_diagnosis():
    text = (
        "GROSS:\nOmentum, 22 x 10 x 2 cm, with several firm nodules, the largest 2.7 cm.\n"
        "DIAGNOSIS:\nA. Ovary, left: Serous carcinoma.\nB. Omentum: Metastatic serous carcinoma."
    )
    found = [
        (x.organ, x.kind, x.diameters_mm, x.group_role) for x in record(text).lesions if x.organ != "ovary"
    ]
    assert sorted(found) == [
        ("peritoneum", "metastasis", (), "remainder"),
        ("peritoneum", "metastasis", (27.0,), "index"),
    ]


@pytest.mark.parametrize("size", ["nodule, 0.4 cm, is seen", "nodule 0.4 cm is present"])
def test_a_nodule_measured_beside_the_tumour_keeps_its_size(size):
    text = (
        f"GROSS:\nSections show a tan tumor, 3.6 x 3.1 cm. A second yellow {size} 1.2 cm from the main tumor.\n"
        "DIAGNOSIS:\nKidney, left, nephrectomy: Clear cell renal cell carcinoma, 3.6 cm."
    )
    assert sorted(x.diameters_mm for x in record(text).lesions) == [(4.0,), (36.0, 31.0)]


@pytest.mark.parametrize("words", ["SEGMENT 3", "SEGMENTS III", "SEG 3"])
def test_segments_in_capitals(words):
    text = f"FINAL DIAGNOSIS\nA. LIVER, {words}, WEDGE RESECTION\nMETASTATIC ADENOCARCINOMA, 1.3 CM"
    assert [x.parts for x in record(text).lesions] == [("liver_segment_3",)]


@pytest.mark.parametrize(
    ("heading", "name", "found"),
    [
        ("Kidney, left, nephrectomy", "Lipoma", ("kidney", "lipoma")),
        ("Colon, sigmoid, resection", "GIST", ("colon", "gist")),
        ("Liver, right, resection", "Focal nodular hyperplasia", ("liver", "fnh")),
        ("Liver, right, resection", "Cholangiocellular carcinoma", ("liver", "cholangiocarcinoma")),
        ("Liver, left, resection", "Bile duct adenoma", ("liver", "adenoma")),
        ("Bladder, resection", "Inverted papilloma", ("bladder", "benign_tumor")),
        ("Uterus, hysterectomy", "Myoma", ("uterus", "leiomyoma")),
        ("Colon, resection", "Adenocarcinoma arising in a tubular adenoma", ("colon", "colorectal_cancer")),
    ],
)
def test_a_short_name_keeps_the_size_behind_it(heading, name, found):
    lesions = record(f"FINAL DIAGNOSIS:\n{heading}: {name}, 1.9 cm.").lesions
    assert [(x.organ, x.diagnosis, x.diameters_mm) for x in lesions] == [(*found, (19.0,))]


def test_what_replaces_an_organ_is_a_tumour():
    text = (
        "DIAGNOSIS:\nRight ovary: Serous carcinoma.\n"
        "GROSS:\nThe right ovary is replaced by a 7.4 x 6.1 x 5.0 cm solid tumor."
    )
    assert sizes(text) == [("ovary", (74.0, 61.0, 50.0), 1)]


def test_a_cancer_that_involves_a_list_of_organs_lies_in_each_of_them():
    text = (
        "DIAGNOSIS:\nOvaries, tubes, uterus, cervix, omentum:\n"
        "Papillary serous carcinoma involving both ovaries, omentum, and serosa of the uterus.\n"
        "The right ovarian tumor measures 6.3 cm and the left ovarian tumor 4.1 cm.\n"
        "GROSS:\nThe right ovary is replaced by a 6.3 x 5.9 x 5.0 cm solid tumor. The left ovary is enlarged,"
        " 5.2 x 4 x 3 cm, and contains a 4.1 x 3.6 x 3 cm mass."
    )
    found = sorted((x.organ, x.laterality, x.diameters_mm) for x in record(text).lesions)
    assert found == [
        ("ovary", "left", (41.0, 36.0, 30.0)),
        ("ovary", "right", (63.0, 59.0, 50.0)),
        ("peritoneum", "unknown", ()),
        ("uterus", "n/a", ()),
    ]


def test_the_bowel_that_a_colon_cancer_grows_into_has_no_lesion_of_its_own():
    text = (
        "DIAGNOSIS:\nColon, sigmoid, resection: Adenocarcinoma involving the bladder and small bowel, 5.1 cm."
    )
    assert sizes(text) == [("colon", (51.0,), 1)]


def test_numbered_tumours_are_what_the_diagnosis_names():
    text = (
        "DIAGNOSIS:\nLiver, resection: multifocal hepatocellular carcinoma.\n"
        "Tumor size: tumor 1: 6.6 x 6.0 cm; tumor 2: 2.1 cm; tumor 3: 1.0 cm."
    )
    found = [(x.diagnosis, x.diameters_mm, x.count) for x in record(text).lesions]
    assert sorted(found) == [("hcc", (10.0,), 1), ("hcc", (21.0,), 1), ("hcc", (66.0, 60.0), 1)]


def test_the_adrenal_gland_of_a_nephrectomy_lies_on_its_side():
    text = "DIAGNOSIS:\nKidney, right, nephrectomy: Renal cell carcinoma, 8.0 cm. Adrenal: cortical nodule, 0.8 cm."
    assert [(x.organ, x.laterality) for x in record(text).lesions] == [
        ("kidney", "right"),
        ("adrenal_gland", "right"),
    ]


def test_what_the_gross_description_places_nowhere_is_the_tumour_of_that_size_in_another_organ_received():
    text = (
        "GROSS:\nPart 2: Received fresh. The left ovary is a mass, 11 x 9 cm. In the wall are several firm nodules to "
        "2.3 cm.\nDIAGNOSIS:\nPART 2: UTERUS AND BILATERAL ADNEXA, HYSTERECTOMY AND SALPINGO-OOPHORECTOMY -\n"
        "A. SEROUS CARCINOMA OF LEFT OVARY, 11 CM.\nB. MYOMETRIUM WITH LEIOMYOMAS, LARGEST 2.3 CM."
    )
    assert [x[:2] for x in sizes(text)] == [("ovary", (110.0, 90.0)), ("uterus", ()), ("uterus", (23.0,))]


def test_a_separate_tumour_gives_the_first_one_no_place():
    text = (
        "GROSS:\nA solid tumor is on the right wall, 37 x 29 mm. A second papillary lesion of 11 mm lies at the dome.\n"
        "DIAGNOSIS:\nBladder - G3 TCC, pT3b; separate pTa G2 tumor of dome."
    )
    found = {(x.parts, x.diameters_mm) for x in record(text).lesions}
    assert found == {(("bladder_right_wall",), (37.0, 29.0)), (("bladder_dome",), (11.0,))}


def test_a_focus_of_a_named_tumour_lies_and_measures_what_stands_beside_either_word():
    text = (
        "GROSS:\n1. The bladder is 9 x 7 cm, the prostate 4 x 4 cm.\nMICROSCOPIC:\n1. The bladder shows a urothelial "
        "carcinoma. In the left prostate posteriorly is a focus of acinar adenocarcinoma, 6 mm in diameter.\n"
        "DIAGNOSIS:\n1. Bladder and prostate, cystoprostatectomy: Urothelial carcinoma, 4 cm. Prostatic adenocarcinoma."
    )
    assert ("prostate", (6.0,), 1) in sizes(text)
    assert ("bladder", (40.0,), 1) in sizes(text)


@pytest.mark.parametrize(
    "words",
    [
        "Two satellite nodules of hepatocellular carcinoma, 1.3 cm and 0.6 cm.",
        "Two nodules of hepatocellular carcinoma (1.3 cm and 0.6 cm).",
        "Two foci of hepatocellular carcinoma measuring 1.3 cm and 0.6 cm.",
    ],
)
def test_nodules_of_a_carcinoma_are_one_group(words):
    text = f"DIAGNOSIS:\nLiver, hepatectomy:\n- Hepatocellular carcinoma, 9.1 cm.\n- {words}\n"
    assert sizes(text) == [("liver", (91.0,), 1), ("liver", (13.0,), 2)]


def test_the_number_in_brackets_may_stand_behind_the_place():
    text = "DIAGNOSIS:\nColon, resection: Adenocarcinoma, 4 cm.\n - TUMOR DEPOSITS IN MESENTERY (2).\n"
    assert sizes(text)[1:] == [("peritoneum", (), 2)]


def test_foci_of_contact_with_ink_are_no_group_of_the_carcinoma():
    text = (
        "DIAGNOSIS:\nProstate, prostatectomy: Adenocarcinoma, max. 1.8 cm.\n"
        "COMMENT:\nThe apex shows foci of contact between the carcinoma and the ink (diameter about 2 cm)."
    )
    assert sizes(text) == [("prostate", (18.0,), 1)]
