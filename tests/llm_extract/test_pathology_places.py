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


@pytest.mark.parametrize(
    ("organ", "words", "part"),
    [
        ("Pancreas", "cephalic portion of the pancreas", "pancreas_head"),
        ("Pancreas", "isthmus of the pancreas", "pancreas_neck"),
        ("Kidney, left", "mid-portion", "kidney_interpolar"),
        ("Kidney, left", "middle portion", "kidney_interpolar"),
        ("Kidney, left", "upper half of the kidney", "kidney_upper_pole"),
        ("Colon", "sigma", "colon_sigmoid"),
        ("Colon", "right colic flexure", "colon_hepatic_flexure"),
        ("Colon", "Bauhin's valve", "colon_cecum"),
        ("Bladder", "anterior aspect of the bladder", "bladder_anterior_wall"),
        ("Bladder", "superior wall", "bladder_dome"),
        ("Uterus", "cervical stroma", "uterus_cervix"),
        ("Prostate", "apical region", "prostate_apex"),
        ("Stomach", "pyloric channel", "stomach_pylorus"),
        ("Duodenum", "second part of the duodenum", "duodenum_descending"),
    ],
)
def test_the_words_that_pathologists_use_for_parts(organ, words, part):
    text = f"DIAGNOSIS:\n{organ}, resection: Carcinoma in the {words}, 3.1 cm."
    assert only(text).parts == (part,)


@pytest.mark.parametrize("words", ["Cervical biopsy", "Cervix, biopsy", "Endocervical curettings"])
def test_a_biopsy_of_the_cervix_places_its_carcinoma(words):
    assert only(f"DIAGNOSIS:\n{words}:\nInvasive squamous cell carcinoma.").parts == ("uterus_cervix",)


def test_a_neck_node_is_no_cervix():
    assert {
        x.organ for x in record("DIAGNOSIS:\nCervical lymph node, biopsy: Metastatic carcinoma.").lesions
    } == {"lymph_node"}


PROSTATE = "DIAGNOSIS:\nProstate, radical prostatectomy: Adenocarcinoma, Gleason score 3+4=7.\n"


@pytest.mark.parametrize(
    ("key", "side", "parts"),
    [
        ("Location: Left\nRight\nPosterior lateral\nApical\nBasal\n", "unknown", ()),
        ("Tumor site: right and left lobe\n", "unknown", ()),
        ("Tumor site: left lobe\n", "left", ()),
        ("Tumor Location\nApex\n", "unknown", ("prostate_apex",)),
        ("LOBE LATERALITY: Right and Left Lobes\n", "unknown", ()),
        ("- Involving both left and right lobes of the gland\nTumor site: left\n", "unknown", ()),
        ("Margins: involved\nLocation: left base\n", "unknown", ()),
    ],
)
def test_a_key_of_the_site_takes_all_its_values(key, side, parts):
    lesion = only(PROSTATE + "SYNOPTIC REPORT\n" + key)
    assert (lesion.laterality, lesion.parts) == (side, parts)


@pytest.mark.parametrize(
    ("site", "parts", "relation"),
    [
        ("Tumor Site\nPancreatic tail\n", ("pancreas_tail",), "within"),
        ("TUMOR. SITE:\nPancreatic head\n", ("pancreas_head",), "within"),
        (
            "TUMOR SITE:\nPancreatic head\nUncinate process\n",
            ("pancreas_head", "pancreas_uncinate"),
            "spanning",
        ),
        (
            "Tumor Site: Pancreatic tail\nHistologic grade: 2\nUncinate margin: free\n",
            ("pancreas_tail",),
            "within",
        ),
    ],
)
def test_values_below_a_key_are_its_own(site, parts, relation):
    lesion = only("DIAGNOSIS:\nDistal pancreas, resection: Ductal adenocarcinoma.\nSYNOPTIC REPORT\n" + site)
    assert (lesion.parts, lesion.part_relation) == (parts, relation)


@pytest.mark.parametrize(
    ("heading", "parts"),
    [
        (
            "Liver, right, partial hepatectomy",
            ("liver_segment_5", "liver_segment_6", "liver_segment_7", "liver_segment_8"),
        ),
        ("Liver, left lateral, sectorectomy", ("liver_segment_2", "liver_segment_3")),
        ("Liver, right kidney and spleen, resection", ()),
        ("Liver, segment 6, right side, wedge", ("liver_segment_6",)),
    ],
)
def test_a_side_behind_the_liver_is_its_lobe(heading, parts):
    lesions = record(f"DIAGNOSIS:\n{heading}:\nHepatocellular carcinoma, 4.1 cm.").lesions
    assert [x.parts for x in lesions if x.organ == "liver"] == [parts]


def test_a_landmark_of_a_distance_is_not_the_part():
    text = "GROSS:\nA colon with a 4.5 x 3.8 cm tumor located 9 cm. distal to the ileocecal valve.\n"
    assert only(text + "DIAGNOSIS:\nColon, resection: Adenocarcinoma, 4.5 cm.").parts == ()


def test_a_benign_name_holds_its_organ_against_the_heading_and_takes_its_side():
    text = "DIAGNOSIS:\nA. Left kidney, nephrectomy: Renal cell carcinoma, 3.1 cm.\nAdrenal cortical adenoma, 1.2 cm.\n"
    assert places(text) == [("kidney", "left", ()), ("adrenal_gland", "left", ())]


def test_the_name_of_a_cancer_is_its_origin():
    text = "DIAGNOSIS:\nLung, left, wedge: Metastatic renal cell carcinoma, 1.1 cm."
    assert places(text) == [("lung", "left", ())]


def test_a_carcinoma_of_the_ureter_is_none_of_the_bladder():
    text = (
        "DIAGNOSIS:\nA. Urinary bladder, cystectomy:\nUrothelial carcinoma, 4 cm.\n"
        "B. Left ureter, margin of resection, excision:\nUrothelial carcinoma, 0.3 cm.\n"
    )
    assert [x[0] for x in places(text)] == ["bladder", "other"]


def test_a_benign_tumour_in_fat_lies_in_no_organ():
    bladder = "DIAGNOSIS:\nBladder, cystectomy:\nUrothelial carcinoma, 4 cm.\n"
    text = f"{bladder}Leiomyoma (0.8 cm) in perivesical adipose tissue."
    assert [x[0] for x in places(text)] == ["bladder", "soft_tissue"]


def test_the_beginning_of_the_next_item_is_no_part_of_the_one_before():
    text = "DIAGNOSIS:\nUterus, hysterectomy:\nMyometrial leiomyoma, 2 cm,\nCervix, squamous metaplasia,\n"
    assert places(text) == [("uterus", "n/a", ())]


def test_a_polyp_lies_in_the_bowel_that_is_described():
    text = (
        "GROSS:\nReceived is a head of pancreas with a segment of duodenum. The duodenum is opened to show tan mucosa."
        " There is a 0.8 x 0.4 cm polyp.\nDIAGNOSIS:\nPancreas, Whipple resection: Ductal adenocarcinoma, 3 cm.\n"
    )
    assert ("duodenum", "n/a", ()) in places(text)


def test_a_nodule_of_the_tube_is_not_the_size_of_the_ovarian_cancer():
    text = (
        "DIAGNOSIS:\nA. Right fallopian tube and ovary, excision:\nOvary, serous carcinoma.\n"
        'GROSS:\nA. "Right tube and ovary". The fallopian tube has a surface nodule measuring 0.9 x 0.8 cm.\n'
    )
    assert [x.diameters_mm for x in record(text).lesions if x.organ == "ovary"] == [()]


@pytest.mark.parametrize(
    ("organ", "expected"), [("Uterus", "carcinoma"), ("Sigmoid colon", "carcinoma"), ("Bladder", "carcinoma")]
)
def test_a_carcinoma_that_reaches_an_organ_is_not_named_by_it(organ, expected):
    text = (
        "DIAGNOSIS:\nA. Right ovary, excision:\nSerous carcinoma of the ovary, 8 cm.\nRight ovary replaced by tumor.\n"
        f"B. {organ}, excision:\nSerous carcinoma involving the serosa of the {organ.split()[-1].lower()}.\n"
    )
    reached = [x for x in record(text).lesions if x.organ != "ovary"]
    assert [x.diagnosis for x in reached] == [expected]


@pytest.mark.parametrize(
    ("sentence", "parts"),
    [
        (
            "The tumor extends from the upper pole to the mid pole of the kidney.",
            ("kidney_upper_pole", "kidney_interpolar"),
        ),
        ("The tumor extends to the renal sinus fat.", ()),
    ],
)
def test_what_extends_from_one_part_to_another_spans_both(sentence, parts):
    text = f"GROSS:\nA kidney with a tan tumor measuring 10.5 x 9.5 cm. {sentence}\n"
    lesion = only(text + "DIAGNOSIS:\nKidney, right, nephrectomy: Renal cell carcinoma, 10.5 cm.\n")
    assert lesion.parts == parts


def test_a_site_of_two_parts_outweighs_the_one_of_the_heading():
    text = "DIAGNOSIS:\nHead of pancreas, resection: Ductal adenocarcinoma.\nSYNOPTIC REPORT\n"
    lesion = only(text + "TUMOR SITE:\nPancreatic head\nUncinate process\n")
    assert (lesion.parts, lesion.part_relation) == (("pancreas_head", "pancreas_uncinate"), "spanning")


@pytest.mark.parametrize(
    ("site", "parts"),
    [
        ("BILATERAL, MOSTLY IN TRANSITION ZONE", ("prostate_transition_zone",)),
        ("RIGHT AND LEFT, MAINLY IN PERIPHERAL AND TRANSITIONAL ZONES",
         ("prostate_transition_zone", "prostate_peripheral_zone")),
        ("RIGHT AND LEFT, MAINLY IN UPPER AND PERIPHERAL ZONES", ("prostate_peripheral_zone",)),
        ("BILATERAL", ()),
    ],
)  # fmt: skip
def test_the_zones_that_most_of_a_prostate_cancer_lies_in(site, parts):
    text = f"DIAGNOSIS:\nProstate, radical prostatectomy:\nADENOCARCINOMA OF PROSTATE.\nTUMOR SITE: {site}.\n"
    lesion = only(text + "GLEASON SCORE: 3 + 4 = 7.\n")
    assert set(lesion.parts) == set(parts)
    assert lesion.laterality == "unknown"


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("Bladder neck involved: Yes", "no_statement_on_lesions"),
        ("Lumen invaded: No\nBladder neck involved: Yes\nMargins involved: No", "no_statement_on_lesions"),
        ("Bladder neck involved: No\nProstatic capsule involved: Yes", "explicitly_lesion_free"),
        ("Bladder neck involved: No", "explicitly_lesion_free"),
        ("Bladder neck margin involved: Yes", "explicitly_lesion_free"),
        ("Vascular invasion: Present", "explicitly_lesion_free"),
    ],
)
def test_a_key_that_says_that_an_organ_is_involved_takes_back_that_a_piece_of_it_is_free(line, status):
    text = "DIAGNOSIS:\nA. Bladder neck, excision:\n- Negative for tumor.\nB. Prostate, prostatectomy:\n"
    made = record(text + f"- Prostatic adenocarcinoma, Gleason 3 + 4.\nSYNOPTIC REPORT\n{line}\n")
    assert made.organs["bladder"].status == status


@pytest.mark.parametrize("word", ["VESICLE", "VESICAL"])
def test_seminal_vesicles_are_no_bladder_however_spelt(word):
    text = "DIAGNOSIS:\nProstate, prostatectomy: Acinar adenocarcinoma.\n"
    made = record(text + f"SEMINAL {word} INVASION\nABSENT\n")
    assert made.organs["bladder"].status == "not_mentioned"


def test_a_polyp_of_the_right_colon_lies_in_any_part_of_it():
    text = "DIAGNOSIS:\nRight colon, resection: Adenocarcinoma of the cecum, 5 cm.\nTubular adenoma, 0.8 cm."
    lesions = extract_record(Report(report_id="P1", text=text, kind="pathology")).lesions
    found = {x.diameters_mm: (x.part_relation, "colon_cecum" in x.parts) for x in lesions}
    assert found == {(50.0,): ("within", True), (8.0,): ("one_of", True)}


def test_fibrous_tissue_without_tumour_frees_nothing_where_the_omentum_is_full_of_it():
    text = "DIAGNOSIS:\nA. Omentum: Metastatic serous carcinoma.\nB. Diaphragm, biopsy: Fibrous tissue, no tumor.\n"
    organs = extract_record(Report(report_id="P1", text=text, kind="pathology")).organs
    assert organs["soft_tissue"].status != "explicitly_lesion_free"
