"""Pathology reports written for these tests, with what they state known."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_extract.anatomy import load_anatomy
from llm_extract.reports import Report
from llm_extract.rules import extract_record
from llm_extract.rules.lexicon import Lexicon
from llm_extract.rules.pathology.layout import split_pathology
from llm_extract.rules.pathology.nodes import read_nodes
from llm_extract.rules.pathology.scanned_text import mend
from llm_extract.rules.pathology.specimens import SpecimenReader
from llm_extract.rules.statements import read


@cache
def lexicon() -> Lexicon:
    return Lexicon(load_anatomy())


def record(text: str):
    return extract_record(Report(report_id="P1", text=text, kind="pathology"))


def tumours(text: str) -> list[tuple]:
    """Organ, side and diameters of every lesion, in a fixed order."""
    return sorted((x.organ, x.laterality, x.diameters_mm) for x in record(text).lesions)


def only(text: str):
    lesions = record(text).lesions
    assert len(lesions) == 1, [(x.organ, x.kind, x.diameters_mm) for x in lesions]
    return lesions[0]


def free(text: str) -> set[str]:
    return {name for name, said in record(text).organs.items() if said.status == "explicitly_lesion_free"}


def reasons(text: str) -> list[str]:
    return [u.reason for u in record(text).unused_measurements]


KIDNEY = """\
FINAL DIAGNOSIS:
Kidney, left, radical nephrectomy:
- Renal cell carcinoma, clear cell type, nuclear grade 3.
- Tumor size: 6.1 cm in greatest dimension.
- Margins are free of tumor; closest distance 0.4 cm.
- Benign adrenal gland.
GROSS DESCRIPTION:
Received fresh labeled "left kidney" is a 640 gram, 15.5 x 9.0 x 7.0 cm kidney with a 4 cm ureter.
In the lower pole there is a 6.1 x 5.5 x 5.0 cm golden mass which comes to within 0.2 cm of the capsule.
MICROSCOPIC DESCRIPTION:
The tumor shows nests of clear cells.
"""


def test_gross_diagnosis_and_synoptic_list_speak_of_one_tumour_with_its_fullest_size():
    lesion = only(KIDNEY)
    assert (lesion.organ, lesion.laterality, lesion.parts) == ("kidney", "left", ("kidney_lower_pole",))
    assert lesion.diameters_mm == (61.0, 55.0, 50.0)
    assert (lesion.diagnosis, lesion.malignancy, lesion.malignancy_basis) == ("rcc", "malignant", "pathology")


def test_specimen_distance_and_organ_sizes_are_unused_with_a_reason():
    found = record(KIDNEY)
    by_text = {KIDNEY[u.start : u.end]: u.reason for u in found.unused_measurements}
    assert by_text["15.5 x 9.0 x 7.0 cm"] == "specimen"
    assert by_text["0.2 cm"] == "margin"
    assert by_text["0.4 cm"] == "margin"
    assert free(KIDNEY) == {"adrenal_gland"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("DIAGNOSIS:\nColon, sigmoid, resection: Adenocarcinoma.\nTumor size: 4.2 x 3.0 cm", (42.0, 30.0)),
        ("DIAGNOSIS:\nColon, sigmoid, resection: Adenocarcinoma.\nGreatest dimension: 3.5 cm", (35.0,)),
        (
            "DIAGNOSIS:\nColon, cecum, resection: Adenocarcinoma.\nTumor size: 6.4 cm (largest dimension)\n"
            "Additional dimensions: 3.7 x 2.1 cm",
            (64.0, 37.0, 21.0),
        ),
        (
            "DIAGNOSIS:\nColon, sigmoid, resection:\n- INVASIVE ADENOCARCINOMA.\n- THE NEOPLASM MEASURES 3.3 CM.",
            (33.0,),
        ),
        ("DIAGNOSIS:\nColon, sigmoid, resection: Adenocarcinoma forming a 4.0 x 3.1 cm mass.", (40.0, 31.0)),
        (
            "GROSS:\nThe colon is 22 cm in length. There is a 6.0 x 4.5 cm ulcerated tumor, 3 cm from the distal "
            "margin.\nDIAGNOSIS:\nColon, segmental resection: Adenocarcinoma.",
            (60.0, 45.0),
        ),
        (
            "DIAGNOSIS:\nColon, resection: Adenocarcinoma.\nSYNOPTIC REPORT\nTumor Site: Cecum\nTumor Size: 2.8 cm\n"
            "Depth of invasion: 1.1 cm\nDistance to margin: 4 cm",
            (28.0,),
        ),
    ],
)
def test_the_size_of_the_tumour_is_found_wherever_a_report_gives_it(text, expected):
    lesion = only(text)
    assert (lesion.organ, lesion.diameters_mm) == ("colon", expected)


@pytest.mark.parametrize(
    "text",
    [
        "GROSS:\nReceived is a kidney measuring 12 x 6 x 5 cm.\nDIAGNOSIS:\nKidney, right, biopsy: Oncocytoma.",
        "GROSS:\nA 1.2 x 0.3 cm core of tissue.\nDIAGNOSIS:\nLiver, needle biopsy: Hepatocellular carcinoma.",
        "GROSS:\nMultiple fragments, 3 x 2 x 1 cm in aggregate.\nDIAGNOSIS:\nBladder, TUR: Urothelial carcinoma.",
        "DIAGNOSIS:\nProstate, prostatectomy: Adenocarcinoma, Gleason score 4+3=7.\nProstate size: 5.0 x 4.1 x 3.6 cm.",
        "DIAGNOSIS:\nCervix, cone: Squamous cell carcinoma.\nDepth of invasion: 0.9 cm",
        "GROSS:\nThe pancreatic head measures 7 x 4 x 4 cm.\nDIAGNOSIS:\nPancreas, Whipple: Ductal adenocarcinoma.",
    ],
)
def test_what_measures_the_specimen_never_measures_the_tumour(text):
    assert only(text).diameters_mm == ()
    assert "M1" in [u.measurement_id for u in record(text).unused_measurements]


def test_two_letters_hold_two_tumours_with_their_own_sides_and_sizes():
    text = (
        "SPECIMENS:\nA. Right kidney mass\nB. Left kidney mass\n"
        'GROSS DESCRIPTION:\nA. Received labeled "right kidney mass". On section a 2.2 cm tan tumor is seen.\n'
        'B. Received labeled "left kidney mass". On section a 3.4 cm tan tumor is seen.\n'
        "DIAGNOSIS:\nA. Kidney, right, partial nephrectomy: Papillary renal cell carcinoma.\n"
        "B. Kidney, left, partial nephrectomy: Clear cell renal cell carcinoma.\n"
    )
    assert tumours(text) == [("kidney", "left", (34.0,)), ("kidney", "right", (22.0,))]


def test_a_letter_without_a_heading_of_its_own_keeps_what_the_list_of_specimens_says():
    text = (
        "SPECIMENS SUBMITTED:\nA. Liver, segment 6\nB. Gallbladder\n"
        "FINAL DIAGNOSIS:\nA. Hepatocellular carcinoma, 3.0 cm.\nB. Chronic cholecystitis, no tumor seen.\n"
    )
    lesion = only(text)
    assert (lesion.organ, lesion.diameters_mm) == ("liver", (30.0,))


def test_a_list_of_parts_gives_each_implant_its_organ():
    text = (
        "FINAL DIAGNOSIS:\n"
        "PART 1: OMENTUM, OMENTECTOMY -\nSEROUS CARCINOMA.\n"
        "PART 2: RIGHT OVARY, OOPHORECTOMY -\nA. SEROUS CARCINOMA.\nB. SIZE 7.0 X 4.5 X 3.0 CM.\n"
        "PART 3: LEFT OVARY, OOPHORECTOMY -\nBENIGN OVARY.\n"
        "PART 4: SIGMOID COLON, NODULE, EXCISION -\nMETASTATIC SEROUS CARCINOMA.\n"
    )
    found = {(x.organ, x.laterality, x.kind) for x in record(text).lesions}
    assert found == {
        ("peritoneum", "unknown", "metastasis"),
        ("ovary", "right", "tumor"),
        ("colon", "n/a", "metastasis"),
    }


@pytest.mark.parametrize(
    ("line", "positive"),
    [
        ("Metastatic carcinoma in two of fourteen lymph nodes (2/14).", 2),
        ("Five pelvic lymph nodes, negative for carcinoma (0/5).", 0),
        ("Nodes, perigastric: 4/26 positive for metastasis", 4),
        ("1 of 13 nodes sampled contains metastasis", 1),
        ("No evidence of malignancy in twelve lymph nodes.", 0),
        ("Number of lymph nodes involved: 0", 0),
        ("Lymph nodes positive: 3", 3),
        ("Regional lymph nodes (pN): Cannot be assessed", None),
        ("Slide 3/12 shows fibrosis.", None),
        ("Collected on 3/12 and signed out.", None),
        ("Tumor extends up to a lymph node.", None),
    ],
)
def test_nodes_are_counted_and_fractions_of_other_things_are_not(line, positive):
    reading = read(f"DIAGNOSIS:\n{line}", lexicon(), source="pathology")
    found = read_nodes(reading.statements[-1], heading=False)
    assert (found.positive if found is not None else None) == positive


def test_positive_nodes_are_a_metastasis_of_their_own_and_never_a_size():
    text = (
        "DIAGNOSIS:\nStomach, gastrectomy: Adenocarcinoma, 3.8 cm, in the antrum.\n"
        "Metastatic carcinoma in 3/12 perigastric lymph nodes.\n"
    )
    found = {x.organ: x for x in record(text).lesions}
    assert set(found) == {"stomach", "lymph_node"}
    assert (found["lymph_node"].count, found["lymph_node"].diameters_mm) == (3, ())
    assert found["stomach"].diameters_mm == (38.0,)


def test_negative_nodes_are_free_and_sampled_nodes_are_no_lesions():
    text = (
        "GROSS:\nThree possible lymph nodes measuring 2.4, 1.8 and 0.6 cm are submitted.\n"
        "DIAGNOSIS:\nLymph nodes, pelvic, excision: Three nodes without tumor (0/3).\n"
    )
    assert record(text).lesions == ()
    assert free(text) == {"lymph_node"}
    assert set(reasons(text)) == {"node"}


@pytest.mark.parametrize(
    ("text", "organs"),
    [
        ("DIAGNOSIS:\nSpleen, splenectomy: No significant pathologic abnormality.", {"spleen"}),
        ("DIAGNOSIS:\nA. Gallbladder, cholecystectomy:\n- Negative for malignancy.", {"gallbladder"}),
        ("DIAGNOSIS:\nPancreas, uncinate margin, frozen section: Negative for tumor.", set()),
        ("DIAGNOSIS:\nPancreas, Whipple: Adenocarcinoma.\nMargins are negative for tumor.", set()),
        ("DIAGNOSIS:\nKidney, left, biopsy: Oncocytoma.\nNo renal vein invasion by tumor.", set()),
        ("DIAGNOSIS:\nOvaries, oophorectomy: Benign ovaries.", {"ovary"}),
    ],
)
def test_negatives_belong_to_the_organ_of_their_specimen_and_margins_say_nothing(text, organs):
    assert free(text) == organs


def test_one_side_called_benign_leaves_the_other_open():
    said = record("DIAGNOSIS:\nOvary, left, oophorectomy: Benign ovary.").organs["ovary"]
    assert said.status == "no_statement_on_lesions"
    assert said.sides["left"].status == "explicitly_lesion_free"
    assert said.sides["right"].status == "no_statement_on_lesions"


def test_no_tumour_after_treatment_is_no_lesion():
    text = (
        "CLINICAL HISTORY: rectal cancer, 4 cm, treated.\n"
        "DIAGNOSIS:\nRectum, resection: Fibrosis. No residual tumor identified.\n"
    )
    assert record(text).lesions == ()
    assert reasons(text) == ["prior"]


@pytest.mark.parametrize(
    "line",
    [
        "Tumor cells are positive for CK7.",
        "The tumor extends into the renal sinus.",
        "Tumor type: see below",
        "All margins are free of carcinoma.",
        "No lymphovascular invasion by tumor.",
        "Beside it lies high grade prostatic intraepithelial neoplasia.",
        "Pathologic stage: primary tumor pT2c",
        "A3-A5: tumor with capsule",
        "Distance of tumor from margin: 0.3 cm",
    ],
)
def test_talk_about_a_tumour_adds_no_second_one(line):
    heading = "DIAGNOSIS:\nProstate, prostatectomy:\n"
    text = f"{heading}Adenocarcinoma, Gleason score 3+4=7, dominant nodule 1.6 cm.\n{line}\n"
    assert only(text).diameters_mm == (16.0,)


def test_adenomas_and_a_carcinoma_of_one_colon_stay_apart():
    text = (
        "DIAGNOSIS:\nRight colon, hemicolectomy:\n- Adenocarcinoma of the cecum, 4.4 cm.\n- Tubular adenomas (3).\n"
        "GROSS:\nThe cecum holds a 4.4 x 3.9 cm mass. There are three polyps, the largest 0.8 cm.\n"
    )
    found = {x.kind: x for x in record(text).lesions}
    assert set(found) == {"tumor", "polyp"}
    assert found["tumor"].diameters_mm == (44.0, 39.0)
    assert (found["polyp"].count, found["polyp"].malignancy) == (3, "benign")


def test_a_carcinoma_arising_in_an_adenoma_is_one_tumour():
    text = "DIAGNOSIS:\nRectum, resection: Adenocarcinoma arising in a tubulovillous adenoma, 2.6 cm."
    assert only(text).malignancy == "malignant"


def test_a_liver_biopsy_of_a_colonic_metastasis_is_a_liver_lesion():
    text = (
        "DIAGNOSIS:\nA. Nodule of the liver, needle core:\nMetastatic adenocarcinoma of rectal type.\n"
        "B. Colon, sigmoid, resection:\nAdenocarcinoma, 5.2 cm.\n"
    )
    assert tumours(text) == [("colon", "n/a", (52.0,)), ("liver", "n/a", ())]


def test_a_numbered_tumour_that_is_the_whole_specimen_gives_its_size_and_an_unnumbered_fragment_does_not():
    text = (
        'DIAGNOSIS:\n1. Kidney, left, "tumor #1", wedge: Papillary renal carcinoma.\n'
        'GROSS DESCRIPTION:\n1. "Left kidney TUMOR". The specimen consists of one wedge measuring 1.4 x 0.9 cm.\n'
    )
    numbered = text.replace("TUMOR", "tumor #1")
    assert only(numbered).diameters_mm == (14.0, 9.0)
    assert only(text.replace("TUMOR", "bed")).diameters_mm == ()


def test_a_deposit_in_a_node_is_no_size_of_the_primary():
    text = (
        "DIAGNOSIS:\nPancreas, head, resection:\nDuctal adenocarcinoma.\nTumor size: 3.2 cm\n"
        "Metastatic carcinoma in 3 of 17 lymph nodes. The biggest metastasis is 2 mm.\n"
    )
    assert tumours(text) == [("lymph_node", "unknown", (2.0,)), ("pancreas", "n/a", (32.0,))]


def test_an_organ_that_the_tumour_does_not_involve_is_free():
    text = (
        "DIAGNOSIS:\nLEFT KIDNEY, NEPHRECTOMY -\nA. RENAL CELL CARCINOMA, 5.5 CM.\n"
        "B. THE ADRENAL GLAND WITH ITS FAT IS NOT INVOLVED BY THE TUMOR.\n"
    )
    assert only(text).organ == "kidney"
    assert free(text) == {"adrenal_gland"}


def test_two_masses_of_one_carcinoma_are_two_lesions_of_one_name():
    text = "DIAGNOSIS:\nLiver, resection: Hepatocellular carcinoma forming two masses (1.7 cm and 8.2 cm)."
    found = sorted((x.diameters_mm, x.malignancy) for x in record(text).lesions)
    assert found == [((17.0,), "malignant"), ((82.0,), "malignant")]


def test_distances_to_landmarks_are_no_sizes():
    text = (
        "GROSS:\nA firm nodule of 3.1 x 1.9 cm is found. The nodule is 0.6 cm to the duodenal edge, 1.7 cm to "
        "the knotted thread and 2.2 cm to the bile duct.\nDIAGNOSIS:\nPancreas, resection: Ductal adenocarcinoma.\n"
    )
    assert tumours(text) == [("pancreas", "n/a", (31.0, 19.0))]


@pytest.mark.parametrize(
    ("scanned", "expected"),
    [
        ("l.5 x 2.O cm", "1.5 x 2.0 cm"),
        ("I.8 cm", "1.8 cm"),
        ("3.1 crn", "3.1 cm "),
        ("2.0 om", "2.0 cm"),
        ("adenoma ,0-1 cm (measured)", "adenoma, 0.1 cm (measured)"),
        ("2x1.3xlcm", "2x1.3x1cm"),
        ("1-3 cm and 10-1 cm", "1-3 cm and 10-1 cm"),
        ("Illness at 10 o'clock", "Illness at 10 o'clock"),
        ("pT1b pN0", "pT1b pN0"),
    ],
)
def test_look_alikes_in_lengths_are_mended(scanned, expected):
    assert mend(scanned) == expected


@given(st.text(alphabet="0123456789.,lIOocmrxe \n-:ABz", max_size=80))
def test_mending_keeps_every_character_at_its_place(text):
    mended = mend(text)
    assert len(mended) == len(text)
    assert [i for i, c in enumerate(text) if c == "\n"] == [i for i, c in enumerate(mended) if c == "\n"]


def test_a_length_broken_by_recognition_and_line_ends_is_read():
    text = (
        "GROSS:\nThe specimen shows a circumscribed, 5 .8 x 3.5 x  \n    4. 1 crn. tan tumor mass.\n"
        "DIAGNOSIS:\nRight kidney, nephrectomy -\n  Renal cell carcinoma.\n"
    )
    lesion = only(text)
    assert (lesion.diameters_mm, lesion.laterality) == ((58.0, 35.0, 41.0), "right")


def test_wrapped_prose_is_one_statement_and_list_items_are_several():
    text = (
        "GROSS DESCRIPTION:\nThe specimen is a portion of liver tissue with a firm nodule in its centre that\n"
        "measures 2 cm. across. It is bisected.\nA. First item\nB. Second item\n"
    )
    _, sentences = split_pathology(text)
    shown = [" ".join(text[s.start : s.end].split()) for s in sentences]
    assert shown == [
        "GROSS DESCRIPTION:",
        "The specimen is a portion of liver tissue with a firm nodule in its centre that measures 2 cm. across.",
        "It is bisected.",
        "A. First item",
        "B. Second item",
    ]


@pytest.mark.parametrize(
    ("title", "section"),
    [
        ("DIAGNO SIS:", "diagnosis"),
        ("Final Pathologic Diagnosis", "diagnosis"),
        ("Anatomic Pathology Diagnosis:", "diagnosis"),
        ("PRE-OP DIAGNOSIS:", "history"),
        ("MACROSCOPY", "gross"),
        ("Frozen Section Diagnosis:", "intraoperative"),
        ("BLOCK SUMMARY:", "note"),
    ],
)
def test_titles_are_known_in_their_many_spellings(title, section):
    sections, _ = split_pathology(f"Something first.\n{title}\nSomething after it.\n")
    assert [s.name for s in sections][-1] == section


def test_a_key_to_blocks_ends_at_the_next_specimen():
    text = (
        "GROSS DESCRIPTION:\nA. Received is a left ovary.\nSECTION CODE: A1, ovary; A2, tube.\n"
        "B. Received is a uterus with a 2.5 cm tumor nodule on the serosa.\n"
    )
    sections, _ = split_pathology(text)
    assert [s.name for s in sections] == ["gross", "note", "gross"]


def test_specimens_have_the_organ_side_and_margin_of_their_headings():
    text = (
        "DIAGNOSIS:\nA. Ureter, left distal margin, biopsy: Benign urothelium.\n"
        "B. Kidney, left, nephrectomy: Renal cell carcinoma.\nC. Lymph nodes, para-aortic: Negative (0/4).\n"
    )
    reading = read(text, lexicon(), source="pathology")
    found = [
        s for s in SpecimenReader(reading.text, load_anatomy()).assign(reading.statements) if s is not None
    ]
    assert [(s.label, s.organ, s.location.laterality, s.margin) for s in found] == [
        ("A", "other", "left", True),
        ("B", "kidney", "left", False),
        ("C", "lymph_node", None, False),
    ]


def test_every_quote_is_the_text_at_its_place_and_every_length_is_accounted_for():
    found = record(KIDNEY)
    used = {i for x in found.lesions for i in x.measurement_ids} | {
        u.measurement_id for u in found.unused_measurements
    }
    assert used == {f"M{n}" for n in range(1, len(used) + 1)}
    for lesion in found.lesions:
        for quote in lesion.evidence:
            assert KIDNEY[quote.start : quote.end] == quote.text


@given(st.text(max_size=400))
def test_any_text_gives_a_record_with_true_offsets(text):
    found = record(f"DIAGNOSIS:\n{text}")
    for lesion in found.lesions:
        for quote in lesion.evidence:
            assert f"DIAGNOSIS:\n{text}"[quote.start : quote.end] == quote.text


@pytest.mark.parametrize(
    "key",
    [
        "DISTANT METASTASIS (pM):",
        "Extent of lymph node metastases:",
        "Colon carcinoma template",
        "Sarcoma + -",
        "Primary tumor (pT):",
    ],
)
def test_keys_without_a_value_and_boxes_to_tick_state_nothing(key):
    text = f"DIAGNOSIS:\nLiver, wedge resection: Hepatocellular carcinoma, 2.4 cm.\nSYNOPTIC REPORT\n{key}\n"
    assert tumours(text) == [("liver", "n/a", (24.0,))]


def test_a_value_on_the_line_below_its_key_belongs_to_it():
    text = (
        "DIAGNOSIS:\nRectum, resection: Adenocarcinoma.\nTumor size:\n3.6 x 2.2 cm\n"
        "Number of nodes with tumor:\n0 (0/9)\n"
    )
    assert tumours(text) == [("colon", "n/a", (36.0, 22.0))]
    assert free(text) == {"lymph_node"}


def test_no_node_examined_is_no_node_free():
    text = (
        "DIAGNOSIS:\nProstate, resection: Adenocarcinoma.\nLYMPH NODES EXAMINED: 0\nLYMPH NODES POSITIVE: 0\n"
    )
    assert "lymph_node" not in free(text)


@pytest.mark.parametrize(
    ("heading", "organ", "side"),
    [
        ("PART 2: PARACOLIC MASS, RIGHT, EXCISION-", "peritoneum", "right"),
        ("PART 2: PERISPLENIC NODULE, EXCISION-", "peritoneum", "unknown"),
        ("PART 2: BLADDER PERITONEUM, BIOPSY-", "peritoneum", "unknown"),
        ("PART 2 SPLEEN, SPLENECTOMY-", "spleen", "n/a"),
        ('SPECIMEN LABELED "TUMOR FROM THE BLADDER":', "bladder", "unknown"),
    ],
)
def test_a_deposit_lies_where_its_own_heading_says_and_never_in_the_organ_of_the_report(heading, organ, side):
    text = (
        "FINAL DIAGNOSIS:\nPART 1: LEFT OVARY, OOPHORECTOMY-\nSEROUS CARCINOMA OF THE OVARY.\n"
        f"{heading}\nMETASTATIC SEROUS CARCINOMA.\n"
    )
    assert [(x.organ, x.laterality) for x in record(text).lesions if x.kind == "metastasis"] == [
        (organ, side)
    ]


def test_a_metastasis_without_any_place_is_left_out():
    text = (
        "DIAGNOSIS:\nA. Cervix, cone: Squamous cell carcinoma.\n"
        "B, C and D), see below.\n1. Metastatic squamous carcinoma to:\n"
    )
    assert [x.organ for x in record(text).lesions] == ["uterus"]


def test_lines_that_begin_with_of_or_on_are_prose_and_a_bracketed_length_ends_its_line():
    text = (
        "DIAGNOSIS:\nLiver, resection: Hepatocellular carcinoma of the liver, well differentiated, which is composed\n"
        "of a dominant mass (5.1 x 4.0 x 3.3 cm) and of one smaller satellite mass\n(0.6 cm) beside it.\n"
    )
    assert sorted(x.diameters_mm for x in record(text).lesions) == [(6.0,), (51.0, 40.0, 33.0)]


def test_a_bar_code_is_no_line_of_words():
    code = f"III IIIIIIII {'I' * 40} III {'I' * 30} IIIIIIIIIIII\n"
    text = (
        f"{code * 3}GROSS:\nThe cut surface of the kidney shows a round tan\nTumor of 3.1 cm near the hilum.\n"
        "DIAGNOSIS:\nKidney, right, nephrectomy: Renal cell carcinoma.\n"
    )
    assert only(text).diameters_mm == (31.0,)


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("A gray nodule of 4 x 3 x 3 cm arising from the right hepatic duct is seen.", (40.0, 30.0, 30.0)),
        ("- A firm mass: 2.5 x 2 .1 x 2.0 cm at the segment 4", (25.0, 21.0, 20.0)),
        ("There is a tumor on the left wall and the dome measuring 35 x 22 mm.", (35.0, 22.0)),
        ("The mass is 3.0 cm. The lesion is soft, tan and 0.4 cm thick.", (30.0,)),
        ("The mass is 3.0 cm. It grossly extends into the wall over an area of 8.5 cm.", (30.0,)),
        ("The mass is 3.0 cm. There are focal cystic areas, each 0.6 cm.", (30.0,)),
        ("The largest fragment of tumor measures 0.4 cm.", ()),
        ("The serosa shows tumor studding measuring up to 1.0 cm.", ()),
        ("The inked margin is blue. A 2.2 cm mass abuts it, but is not seen beyond it.", (22.0,)),
    ],
)
def test_what_a_gross_description_measures(sentence, expected):
    text = f"DIAGNOSIS:\nLiver, left, resection:\nHepatocellular carcinoma.\nGROSS DESCRIPTION:\n{sentence}\n"
    assert only(text).diameters_mm == expected


def test_the_limit_of_a_stage_is_no_size():
    text = (
        "DIAGNOSIS:\nCervix, biopsy: Squamous cell carcinoma.\n"
        "COMMENT:\nA tumor size of more than 4 cm is stage T2a2 according to the seventh edition.\n"
    )
    assert only(text).diameters_mm == ()


def test_a_cyst_as_large_as_the_diagnosed_tumour_is_that_tumour():
    text = (
        'GROSS:\nA. "Left ovary". There is a 5.5 x 4 x 3 cm multiloculated cyst.\n'
        'DIAGNOSIS:\nA. "LEFT OVARY":\nTYPE: SEROUS ADENOCARCINOMA\nTUMOR SIZE: 5.5 X 4 X 3 CM\n'
    )
    assert tumours(text) == [("ovary", "left", (55.0, 40.0, 30.0))]


def test_two_named_polyps_with_their_sizes_in_the_gross_description_are_one_group():
    text = (
        "DIAGNOSIS:\nSigmoid colon, resection:\n- Adenocarcinoma, 4.0 cm.\n- Two hyperplastic polyps.\n"
        "GROSS:\nThere is a 4.0 cm tumor. There are two polyps measuring 0.9 and 1.3 cm.\n"
    )
    polyps = [x for x in record(text).lesions if x.kind == "polyp"]
    assert [(x.count, x.diameters_mm) for x in polyps] == [(2, (13.0,))]


def test_a_benign_lesion_is_named_by_the_words_behind_a_semicolon():
    text = "DIAGNOSIS:\nA. Liver, biopsy:\nBenign sclerosing lesion; consistent with an old hemangioma.\n"
    assert only(text).diagnosis == "hemangioma"


@pytest.mark.parametrize(
    "words", ["MULTIFOCAL DISEASE: Yes", "MULTI FOCAL: Yes", "Tumor focality: Multifocal"]
)
def test_a_multifocal_cancer_is_its_largest_focus_and_a_remainder(words):
    text = f"DIAGNOSIS:\nPROSTATE, PROSTATECTOMY:\nADENOCARCINOMA.\nSYNOPTIC\nTUMOR SIZE: 1.2 cm\n{words}\n"
    found = {x.group_role: x for x in record(text).lesions}
    assert set(found) == {"index", "remainder"}
    assert (found["index"].diameters_mm, found["remainder"].diameters_mm) == ((12.0,), ())
    assert found["remainder"].count is None


@pytest.mark.parametrize(
    "words", ["MULTIFOCAL DISEASE: No", "HIGH GRADE PIN: Yes - multifocal", "Focality: unifocal"]
)
def test_one_focus_stays_one(words):
    text = f"DIAGNOSIS:\nPROSTATE, PROSTATECTOMY:\nADENOCARCINOMA.\nSYNOPTIC\nTUMOR SIZE: 1.2 cm\n{words}\n"
    assert (only(text).count, only(text).group_role) == (1, "individual")


def test_a_focus_lies_where_the_sentence_before_places_it_and_not_where_it_extends_to():
    text = (
        "DIAGNOSIS:\nA. PROSTATE, PROSTATECTOMY:\nADENOCARCINOMA, GLEASON SCORE 7.\nCOMMENT:\n"
        "The larger tumor focus is located in the right and mid peripheral zone. This tumor focus measures "
        "2.1 x 1.4 cm and is present in all sections and extensively in the apex and base.\n"
        "The second tumor focus is located in the left transition zone. This tumor focus measures 0.8 x 0.3 cm.\n"
    )
    found = {x.diameters_mm: x.parts for x in record(text).lesions}
    assert found == {
        (21.0, 14.0): ("prostate_peripheral_zone",),
        (8.0, 3.0): ("prostate_transition_zone",),
    }


def test_the_site_of_a_checklist_outranks_the_part_of_its_heading():
    text = (
        "DIAGNOSIS:\nRIGHT COLON, HEMICOLECTOMY:\n- ADENOCARCINOMA, 6 CM.\nSYNOPTIC REPORT - COLON & RECTUM\n"
        "Tumor site: Hepatic flexure\n"
    )
    assert only(text).parts == ("colon_hepatic_flexure",)


@pytest.mark.parametrize(
    "line",
    [
        "The remainder of the adrenal gland is unremarkable.",
        "An intact adrenal gland is attached.",
        "Adrenal gland margin is negative for tumor.",
    ],
)
def test_the_rest_of_an_organ_its_shape_and_its_margin_leave_it_open(line):
    text = f"DIAGNOSIS:\nLEFT KIDNEY, NEPHRECTOMY: RENAL CELL CARCINOMA, 4 CM.\nGROSS:\n{line}\n"
    assert "adrenal_gland" not in free(text)


def test_more_on_margins_behind_a_semicolon_is_no_tumour():
    text = (
        "DIAGNOSIS:\nProstate, prostatectomy: Adenocarcinoma.\n"
        "Assessment of surgical margins: positive; right mid, focus < 0.1 cm, left apex, focus < 0.1 cm\n"
    )
    lesion = only(text)
    assert (lesion.laterality, lesion.parts, lesion.size_max_mm) == ("unknown", (), None)


def test_a_raised_dot_between_words_is_a_hyphen_and_between_digits_a_point():
    assert mend("SALPINGO·OOPHORECTOMY, 3·5 cm") == "SALPINGO-OOPHORECTOMY, 3.5 cm"


def test_a_container_is_known_by_its_letter():
    text = (
        "DIAGNOSIS:\nA: Lymph nodes, pelvic, excision\n- No tumor (0/3).\nB: Liver, left lobe, removal\n"
        "- Hepatocellular carcinoma.\nGROSS DESCRIPTION:\nContainer B holds a lobe of liver measuring 12 x 9 x 6 cm.\n"
        "Sectioning reveals a 4.2 x 3.9 cm mass.\n"
    )
    lesion = only(text)
    assert lesion.diameters_mm == (42.0, 39.0)
    assert set(lesion.parts) == {"liver_segment_2", "liver_segment_3", "liver_segment_4"}


@pytest.mark.parametrize(
    ("text", "organ", "limited"),
    [
        ("DIAGNOSIS:\nSpleen, splenectomy: Unremarkable spleen.", "spleen", False),
        ("DIAGNOSIS:\nA. Liver, nodule, biopsy:\nBenign liver, no tumor.", "liver", True),
        ("DIAGNOSIS:\nStomach, resection: Benign gastric mucosa.", "stomach", True),
        (
            "DIAGNOSIS:\nKidney, left, nephrectomy: Oncocytoma.\nAdrenal gland: Unremarkable.",
            "adrenal_gland",
            True,
        ),
        ("DIAGNOSIS:\nOvaries, oophorectomy: Both ovaries are unremarkable.", "ovary", False),
        ("DIAGNOSIS:\nA. Appendix: Normal appendix.\nB. Kidney: Oncocytoma, 2 cm.", "colon", True),
        ("DIAGNOSIS:\nA. Appendix, excision:\nNo pathologic change.", "colon", True),
        ("DIAGNOSIS:\nA. Appendix: Unremarkable.\nB. Colon: Unremarkable colon.", "colon", False),
        ("DIAGNOSIS:\nUterus, hysterectomy: Benign uterus and cervix.", "uterus", False),
        ("DIAGNOSIS:\nLymph nodes, pelvic: Five benign lymph nodes (0/5).", "lymph_node", False),
    ],
)
def test_a_piece_or_one_of_two_frees_its_organ_only_in_part(text, organ, limited):
    said = record(text).organs[organ]
    assert (said.status, said.limited) == ("explicitly_lesion_free", limited)


def test_a_plain_size_in_a_specimen_of_two_organs_belongs_to_the_named_cancer():
    text = (
        "DIAGNOSIS:\nA: Lymph nodes, right: No tumor (0/2).\nB: Bladder and prostate, cystoprostatectomy\n"
        "Histologic type: papillary urothelial carcinoma\nTumor size: 8.5 cm\nProstate: glandular atrophy\n"
    )
    assert tumours(text) == [("bladder", "unknown", (85.0,))]


def test_a_size_alone_on_its_line_belongs_to_the_tumour_before_it():
    text = (
        "1.GROSS ASSESSMENT: The cut section shows a white tumour.\n2x1.4x1cm.\n4.Tumour Site: Cervix\n"
        "6.HISTOLOGICAL DIAGNOSIS: Squamous cell carcinoma\n"
    )
    lesion = only(text)
    assert (lesion.diameters_mm, lesion.parts) == ((20.0, 14.0, 10.0), ("uterus_cervix",))


def test_what_a_mass_is_so_many_centimetres_from_is_not_where_it_lies():
    text = (
        "DIAGNOSIS:\nRIGHT KIDNEY, NEPHRECTOMY:\nRENAL CELL CARCINOMA (5.0 cm).\nGROSS:\n"
        "It is bivalved to reveal a 5.0 x 4.3 x 2.5 cm mass that is 9.0 cm to the ureter and 1.8 cm to the vein.\n"
    )
    assert tumours(text) == [("kidney", "right", (50.0, 43.0, 25.0))]


def test_both_ovaries_hold_two_tumours():
    lesion = only("DIAGNOSIS:\nUterus and adnexa, hysterectomy:\nSerous carcinoma involving both ovaries.\n")
    assert (lesion.organ, lesion.laterality, lesion.count) == ("ovary", "bilateral", 2)


def test_what_a_cancer_invades_is_not_where_it_lies():
    text = (
        "DIAGNOSIS:\nA. RIGHT HEMICOLECTOMY:\n- ADENOCARCINOMA OF THE CECUM, 6 X 3 CM.\n"
        "- CARCINOMA INFILTRATING THROUGH THE BOWEL WALL AND INVADING INTO ADJACENT LIVER PARENCHYMA.\n"
    )
    assert tumours(text) == [("colon", "n/a", (60.0, 30.0))]


def test_two_tumours_at_two_places_have_their_own_sizes():
    text = (
        "DIAGNOSIS:\nLeft kidney, nephrectomy:\n"
        "- Two oncocytomas located at the lower pole (6.5 cm) and upper pole (0.8 x 0.8 cm).\n"
    )
    found = {x.parts: x.diameters_mm for x in record(text).lesions}
    assert found == {("kidney_lower_pole",): (65.0,), ("kidney_upper_pole",): (8.0, 8.0)}


def test_a_gross_description_without_a_title_gives_length_width_and_thickness():
    text = (
        "DIAGNOSIS:\n1. Right colon, colectomy:\nTumor type: Adenocarcinoma\n2. Omentum, excision: Benign fat.\n"
        '1). The specimen is received fresh, labeled "Right colon" and is opened to show a sessile lesion measuring '
        "6.5 cm in length, 10 cm in width and 2 cm in thickness.\n"
    )
    lesion = only(text)
    assert (lesion.organ, lesion.diameters_mm) == ("colon", (65.0, 100.0, 20.0))


def test_a_size_in_the_gross_description_belongs_to_the_letter_of_its_heading():
    text = (
        "DIAGNOSIS:\n(A) ANTERIOR PERITONEUM:\nSEROUS CARCINOMA.\n(B) LEFT OVARY:\nOVARIAN SEROUS CARCINOMA.\n"
        "GROSS DESCRIPTION:\n(A) ANTERIOR PERITONEUM - The specimen consists of a fragment of fat (5.0 x 2.0 cm). "
        "The specimen is involved by tumor (4.2 cm).\n"
    )
    assert tumours(text) == [("ovary", "left", ()), ("peritoneum", "unknown", (42.0,))]


def test_one_nodal_metastasis_is_one():
    text = "DIAGNOSIS:\nRectum, resection: Adenocarcinoma, 7 cm, with a regional lymph node metastasis.\n"
    assert [x.count for x in record(text).lesions if x.organ == "lymph_node"] == [1]


def test_a_size_squeezed_against_its_noun_is_read():
    assert only(
        "DIAGNOSIS:\nLiver, resection: Hepatocellular carcinoma.\n2)Size oftumor: 4x3.5x2.5cm\n"
    ).diameters_mm == (
        40.0,
        35.0,
        25.0,
    )
