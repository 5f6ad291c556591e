"""Pathology reports of several specimens: titles, letters, lists of sites, and what is one tumour."""

from __future__ import annotations

import pytest

from llm_extract.records import ReportRecord
from llm_extract.reports import Report
from llm_extract.rules import extract_record
from llm_extract.rules.pathology.layout import split_pathology
from llm_extract.rules.pathology.scanned_text import is_legible, mend
from llm_extract.rules.pathology.titles import longer_title, misread_title


def record(text: str) -> ReportRecord:
    return extract_record(Report(report_id="P1", text=text, kind="pathology"))


def lesions(text: str) -> list[tuple]:
    """Organ, side, diameters and count of every lesion, in a fixed order."""
    found = ((x.organ, x.laterality, x.diameters_mm, x.count) for x in record(text).lesions)
    return sorted(found, key=str)


def sections(text: str) -> list[str]:
    return [s.name for s in split_pathology(text)[0]]


@pytest.mark.parametrize(
    ("words", "section"),
    [
        ("GROSS EXAMINATON", "gross"),
        ("Gross Descriptlon", "gross"),
        ("Intraoperative Consultallon", "intraoperative"),
        ("IMPRES S IQN", "diagnosis"),
        ("CLINICAL H1STORY", "history"),
        ("GROSS WEIGHT", None),
        ("SPECIMEN WEIGHT", None),
        ("CLINICAL STAGE", None),
        ("MICROSCOPIC EXTENSION", None),
        ("", None),
    ],
)
def test_a_title_with_a_misread_letter_opens_its_part(words: str, section: str | None) -> None:
    assert misread_title(words) == section


def test_a_title_may_have_more_words_behind_it() -> None:
    assert longer_title("Clinical history as given by the surgeon") == "history"
    assert longer_title("Gross description") is None
    assert longer_title("Clinical") is None


def test_a_misread_title_ends_the_history() -> None:
    text = """\
CLINICAL HISTORY:
Renal mass.
GROSS DESCRPTION:
The left kidney holds a 4.2 x 3.0 x 2.9 cm tan mass in its lower pole.
FINAL DIAGNOSIS:
Kidney, left, nephrectomy: Renal cell carcinoma.
"""
    assert lesions(text) == [("kidney", "left", (42.0, 30.0, 29.0), 1)]


def test_a_diagnosis_whose_title_is_lost_begins_with_the_heading_of_the_specimen() -> None:
    text = """\
CLINICAL HISTORY:
Bleeding.
CERVIX, NINE O'CLOCK, BIOPSY:
Invasive squamous cell carcinoma.
"""
    assert [(x.organ, x.malignancy) for x in record(text).lesions] == [("uterus", "malignant")]
    earlier = "CLINICAL HISTORY:\nPrior biopsy showed squamous cell carcinoma of the cervix.\n"
    assert record(earlier).lesions == ()


def test_a_title_in_capitals_at_the_end_of_a_line_opens_the_diagnosis() -> None:
    text = "GROSS DESCRIPTION:\nA1: prostate apex.\nA2: left vas  DIAGNOSIS:\nProstate: Adenocarcinoma.\n"
    assert sections(text) == ["gross", "diagnosis"]
    assert sections("CLINICAL HISTORY:\nPRE-OPERATIVE DIAGNOSIS: mass\n") == ["history", "history"]


def test_every_key_to_blocks_ends_at_the_next_specimen() -> None:
    text = """\
DIAGNOSIS:
(A) LEFT OVARY: Serous carcinoma.
(B) RIGHT OVARY: Serous carcinoma.
(C) LIVER, WEDGE: Metastatic carcinoma.
GROSS DESCRIPTION:
(A) LEFT OVARY - An ovary with a 5.0 x 4.0 x 3.0 cm tan mass.
INK CODE: black, outer surface.
SECTION CODE: A1, mass.
(B) RIGHT OVARY - An ovary with a 2.5 x 2.0 x 1.0 cm tan mass.
SECTION CODE: B1, mass.
(C) LIVER, WEDGE - A wedge of liver with a 1.2 x 1.1 x 0.9 cm white nodule.
"""
    assert lesions(text) == [
        ("liver", "n/a", (12.0, 11.0, 9.0), 1),
        ("ovary", "left", (50.0, 40.0, 30.0), 1),
        ("ovary", "right", (25.0, 20.0, 10.0), 1),
    ]


def test_one_organ_of_a_lettered_specimen_keeps_letter_and_side() -> None:
    text = """\
FINAL DIAGNOSIS:
(A) RIGHT TUBE AND OVARY:
OVARY, SEROUS CARCINOMA.
(B) LEFT TUBE AND OVARY:
OVARY, SEROUS CARCINOMA.
"""
    assert lesions(text) == [("ovary", "left", (), 1), ("ovary", "right", (), 1)]


def test_an_excision_without_a_letter_is_a_specimen_of_its_own() -> None:
    text = """\
FINAL DIAGNOSIS:
A. KIDNEY, LEFT, NEPHRECTOMY:
Renal cell carcinoma.
KIDNEY, BIOPSY:
Oncocytoma.
"""
    assert ("kidney", "left", (), 1) in lesions(text)
    assert len(lesions(text)) == 2


def test_an_item_of_findings_is_no_heading() -> None:
    text = """\
FINAL DIAGNOSIS:
E) UTERUS, 90 GRAMS:
- INACTIVE ENDOMETRIUM
- LEIOMYOMA
"""
    lesion = next(x for x in record(text).lesions if x.diagnosis == "leiomyoma")
    assert lesion.parts == ()


def test_a_range_of_letters_names_one_heading() -> None:
    text = """\
FINAL DIAGNOSIS:
A) LEFT OVARY:
- SEROUS CARCINOMA
B-D) RIGHT PELVIC SIDEWALL AND CUL-DE-SAC:
- METASTATIC SEROUS CARCINOMA
"""
    assert [organ for organ, *_ in lesions(text)] == ["ovary", "peritoneum"]


def test_gross_sizes_go_to_the_letter_they_stand_under() -> None:
    text = """\
FINAL DIAGNOSIS:
A. Left ovary, oophorectomy: Serous carcinoma.
B. Uterus, hysterectomy: Metastatic serous carcinoma of the serosa.
GROSS DESCRIPTION:
A. Received labeled "left ovary" is an ovary with a 9.0 x 8.0 x 7.0 cm solid mass.
B. Received labeled "uterus" is a uterus.
Seen before: a 9.0 x 8.0 x 7.0 cm mass.
"""
    assert lesions(text) == [("ovary", "left", (90.0, 80.0, 70.0), 1), ("uterus", "n/a", (), 1)]


def test_what_stands_before_the_diagnosis_gives_it_no_side() -> None:
    text = """\
The man was biopsied for prostatic adenocarcinoma (left lobe) and (right lobe).
FINAL DIAGNOSIS:
PROSTATE, RADICAL PROSTATECTOMY:
Prostatic adenocarcinoma, 1.8 cm.
"""
    assert [(x.laterality, x.diameters_mm) for x in record(text).lesions] == [("unknown", (18.0,))]


NODES = """\
FINAL DIAGNOSIS:
1. Metastatic squamous cell carcinoma to:
a. Two of two right iliac lymph nodes (2/2).
b. One right obturator lymph node without carcinoma (0/1).
c. Three of four left iliac lymph nodes (3/4).
2. No lymphovascular invasion.
"""


def test_a_list_of_sites_is_a_lesion_for_each_item() -> None:
    found = [(side, count) for organ, side, _, count in lesions(NODES) if organ == "lymph_node"]
    assert found == [("left", 3), ("right", 2)]


def test_a_letter_left_behind_at_the_end_of_a_line_marks_the_next_item() -> None:
    torn = NODES.replace(".\nb. One", ".b.\nOne").replace("\nc. Three", "c.\nThree")
    assert lesions(torn) == lesions(NODES)


def test_listed_letters_stand_for_their_specimens() -> None:
    text = """\
DIAGNOSIS:
B. LEFT OVARY:
SEROUS ADENOCARCINOMA WITH IMPLANTS TO:
A. OMENTUM
D. UTERINE SEROSA, FOCAL
THE FOLLOWING ARE FREE OF TUMOR:
C. RIGHT OVARY
"""
    assert [(organ, side) for organ, side, *_ in lesions(text)] == [
        ("ovary", "left"),
        ("peritoneum", "unknown"),
        ("uterus", "n/a"),
    ]
    assert record(text).organs["ovary"].sides["right"].status == "explicitly_lesion_free"


def test_a_list_that_shares_nothing_is_no_list_of_sites() -> None:
    text = "FINAL DIAGNOSIS:\nColon, resection: Adenocarcinoma, see:\na. Liver\nb. Spleen\n"
    assert {organ for organ, *_ in lesions(text)} == {"colon"}


@pytest.mark.parametrize(
    ("value", "bound"), [("NOT PRESENT", None), ("PRESENT, AT LEAST 1.6 CM", 16.0), ("PRESENT", 10.0)]
)
def test_the_terms_of_a_key_are_no_size(value: str, bound: float | None) -> None:
    text = f"FINAL DIAGNOSIS:\nProstate: Adenocarcinoma.\nDOMINANT NODULE (AT LEAST 1 CM IN SIZE): {value}.\n"
    assert [x.size_min_mm for x in record(text).lesions] == [bound]


def test_what_a_cancer_arose_from_is_no_lesion() -> None:
    for words in (
        "Adenocarcinoma.\nPrecursor lesions:\nTubulovillous adenoma",
        "Tubular adenoma including a polypoid, well differentiated adenocarcinoma.",
        "Adenocarcinoma arising in a polyp and limited to the polyp.",
    ):
        found = record(f"FINAL DIAGNOSIS:\nColon, sigmoid, resection:\n{words}\n").lesions
        assert [x.malignancy for x in found] == ["malignant"], words
    both = "FINAL DIAGNOSIS:\nColon, resection:\nAdenocarcinoma, 4 cm.\nSeparate tubular adenoma, 0.5 cm.\n"
    assert sorted(x.malignancy for x in record(both).lesions) == ["benign", "malignant"]


def test_a_stage_of_metastasis_beside_it_keeps_a_tumour() -> None:
    assert lesions("FINAL DIAGNOSIS:\nBladder: urothelial carcinoma, pT3a pN0 pMx.\n") != []


def test_a_report_of_which_nothing_was_read_needs_a_person() -> None:
    assert record("SURGICAL PATHOLOGY\nAccession 7\nSee slides.\n").status == "needs_review"
    free = record("FINAL DIAGNOSIS:\nGallbladder, cholecystectomy: No evidence of malignancy.\n")
    assert free.status != "needs_review"


def test_free_nodes_say_nothing_of_the_organ_that_was_received() -> None:
    nodes = "B. Lymph nodes, right pelvic, excision: Five lymph nodes, negative for tumor (0/5).\n"
    alone = record(f"FINAL DIAGNOSIS:\n{nodes}")
    beside = record(f"FINAL DIAGNOSIS:\nA. Cervix, biopsy: AMOUS CEL C4RC1 NOM4\n{nodes}")
    assert (alone.status, beside.status) == ("ok", "needs_review")


def test_a_urothelial_carcinoma_below_a_lost_heading_is_the_bladders() -> None:
    text = """\
CLINICAL HISTORY: Bladder mass, bladder tumor.
FINAL DIAGNOSIS:
Appendix:
Normal appendix.
xx QD5Bladd3r ,total exc1s : g
- Invasive urothelial carcinoma.
GROSS DESCRIPTION:
Received labeled "bladder" is a bladder with a mass.
"""
    assert [organ for organ, *_ in lesions(text)] == ["bladder"]


def test_a_scan_that_is_mostly_misread_needs_a_person() -> None:
    scraps = "kl)ney 1eF^ nep(rr&t o!ny %ar~c in0 ma\n" * 20
    text = f"FINAL DIAGNOSIS:\nKidney, left: renal cell carcinoma, 4 cm.\n{scraps}"
    assert not is_legible(text)
    assert "nothing_read" in {issue.code for issue in record(text).issues}
    assert is_legible("Kidney, left, nephrectomy: clear cell carcinoma, 4.0 x 3.0 cm (grade 2/4).\n" * 20)


@pytest.mark.parametrize(
    "misread", ["ADENOCARC)NOMA", "ADENOCARCINONA", "ADENOCARCINOl-IA", "Adellocarcinoma", "ADENO.CARCINOMA"]
)
def test_a_noun_of_which_letters_are_misread_states_a_tumour(misread: str) -> None:
    text = f"FINAL DIAGNOSIS:\nAPPENDIX, EXCISION:\n- {misread} INVOLVING THE SEROSA.\n"
    found = record(text).lesions
    assert [(x.organ, x.malignancy) for x in found] == [("colon", "malignant")]
    assert found[0].evidence[0].text == text[found[0].evidence[0].start : found[0].evidence[0].end]


@pytest.mark.parametrize(
    "words",
    [
        "carcinoma",
        "Metastatic adenocarcinoma",
        "within the lumen",
        "the LUMEN of the tube",
        "Turner syndrome",
        "coroner",
    ],
)
def test_words_that_are_read_right_stay(words: str) -> None:
    assert mend(words) == words


@pytest.mark.parametrize("words", ["ADENOCARCINOl-IA of", "NETASTATIC", "LEIOMYOMAS1 UP TO 0.7 eM", "TUHORS"])
def test_mending_keeps_the_length(words: str) -> None:
    assert len(mend(words)) == len(words)
    assert mend(words) != words


def test_of_several_gross_lesions_a_benign_one_is_the_one_at_its_place() -> None:
    text = """\
DIAGNOSIS:
Liver, partial resection:
- Incidental subcapsular hemangioma.
GROSS DESCRIPTION:
Sectioning shows a 5.1 x 4.9 x 4.0 cm encapsulated mass.
There is a {where} 0.7 x 0.6 x 0.5 cm white nodule.
"""
    found = {x.diagnosis: x.diameters_mm for x in record(text.format(where="subcapsular")).lesions}
    assert found["hemangioma"] == (7.0, 6.0, 5.0)
    found = {x.diagnosis: x.diameters_mm for x in record(text.format(where="second")).lesions}
    assert found["hemangioma"] == ()
    single = text.rpartition("There is")[0]
    assert [x.diameters_mm for x in record(single).lesions] == [(51.0, 49.0, 40.0)]


def test_one_of_several_nodules_of_a_prostate_is_not_its_cancer() -> None:
    text = """\
DIAGNOSIS:
Prostate, radical prostatectomy: Adenocarcinoma.
GROSS DESCRIPTION:
The apex holds a firm nodule measuring 0.8 cm.
"""
    assert [x.diameters_mm for x in record(text).lesions] == [(8.0,)]
    more = text + "In the left base there is a firm nodule measuring 0.4 cm.\n"
    assert [x.diameters_mm for x in record(more).lesions] == [()]


def test_a_surface_involved_by_the_tumour_of_the_ovary_is_a_deposit() -> None:
    text = """\
FINAL DIAGNOSIS:
PART 1: RIGHT ADNEXA, SALPINGO-OOPHORECTOMY -
A. SEROUS ADENOCARCINOMA OF THE RIGHT OVARY.
PART 2: UTERUS, HYSTERECTOMY -
A. CHRONIC CERVICITIS.
B. UTERINE SEROSA {involved} BY TUMOR.
"""
    found = [(x.organ, x.kind) for x in record(text.format(involved="INVOLVED")).lesions]
    assert found == [("ovary", "tumor"), ("uterus", "metastasis")]
    assert {x.organ for x in record(text.format(involved="NOT INVOLVED")).lesions} == {"ovary"}


def test_a_second_organ_of_a_checklist_has_its_own_tumour() -> None:
    text = """\
Diagnosis:
B: Bladder and prostate, radical cystoprostatectomy
Bladder:
Tumor histologic type: Invasive urothelial carcinoma
NOTE:
Stage may change.
Prostate:
Tumor histologic type: Prostatic adenocarcinoma
"""
    assert [organ for organ, *_ in lesions(text)] == ["bladder", "prostate"]


def test_a_tube_without_tumour_frees_no_ovary() -> None:
    text = "FINAL DIAGNOSIS:\nA. Left tube and ovary, excision:\n{words}\n"
    tube = record(text.format(words="Fallopian tube, no tumor present.")).organs["ovary"]
    ovary = record(text.format(words="Ovary, no tumor present.")).organs["ovary"]
    assert (tube.status == "explicitly_lesion_free", ovary.status == "explicitly_lesion_free") == (
        False,
        True,
    )


def test_what_is_listed_below_margins_frees_no_organ() -> None:
    text = (
        "FINAL DIAGNOSIS:\nProstate: Adenocarcinoma.\n{key}:\n{first}Bladder neck: No carcinoma identified.\n"
    )
    for first in ("", "Tumor reaches the margin of the left posterior lobe.\n"):
        said = record(text.format(key="Margin status", first=first)).organs["bladder"]
        assert said.status != "explicitly_lesion_free", first


def test_a_benign_ovary_with_what_belongs_there_is_free() -> None:
    text = "FINAL DIAGNOSIS:\nOvaries, excision:\nBenign bilateral ovaries with {what}.\n"
    assert record(text.format(what="corpora albicantia")).organs["ovary"].status == "explicitly_lesion_free"
    assert record(text.format(what="a leiomyoma")).organs["ovary"].status != "explicitly_lesion_free"


def test_a_gross_size_goes_to_the_tumour_of_that_size_whatever_it_is() -> None:
    text = """\
DIAGNOSIS:
Kidney, left, nephrectomy:
- Oncocytoma, lower pole (6.5 cm).
- Chromophobe renal cell carcinoma, upper pole (1.4 cm).
GROSS DESCRIPTION:
In the lower pole of the kidney there is a round tumor measuring 6.5 x 5.0 x 4.0 cm.
"""
    found = {x.diagnosis: x.diameters_mm for x in record(text).lesions}
    assert found == {"oncocytoma": (65.0, 50.0, 40.0), "rcc": (14.0,)}


def test_the_first_named_tumour_under_a_heading_is_stated_there() -> None:
    text = """\
DIAGNOSIS:
SPECIMEN LABELED "RIGHT OVARY":
SEROUS ADENOCARCINOMA.
SPECIMEN LABELED "LEFT ADNEXA":
METASTATIC ADENOCARCINOMA is present on the ovarian surface.
The adenocarcinoma invades the stroma.
"""
    assert [(side, count) for _, side, _, count in lesions(text)] == [("left", 1), ("right", 1)]


def test_both_ovaries_with_a_size_for_each_are_two() -> None:
    text = (
        "DIAGNOSIS:\nA. SEROUS ADENOCARCINOMA OF BOTH OVARIES (RIGHT 15.0 CM; LEFT 8.5 CM) WITH NECROSIS.\n"
    )
    assert lesions(text) == [("ovary", "left", (85.0,), 1), ("ovary", "right", (150.0,), 1)]


@pytest.mark.parametrize(("times", "count"), [(" X3", 3), (" (x 2)", 2), ("", 1)])
def test_the_number_of_a_heading_is_that_of_its_tumours(times: str, count: int) -> None:
    text = f"DIAGNOSIS:\nF) SIGMOID NODULE{times}:\n- METASTATIC ADENOCARCINOMA\n"
    assert [x.count for x in record(text).lesions] == [count]


def test_values_on_one_line_free_each_organ() -> None:
    values = "Gallbladder: Unremarkable Duodenum: Unremarkable Spleen: Unremarkable"
    text = f"MICROSCOPIC DESCRIPTION:\nOther organs: {values}\n"
    free = {name for name, said in record(text).organs.items() if said.status == "explicitly_lesion_free"}
    assert {"duodenum", "spleen"} <= free


def test_an_organ_of_the_next_clause_is_not_called_free() -> None:
    text = "GROSS DESCRIPTION:\nThe duodenum is unremarkable- opening the attached gallbladder shows bile.\n"
    assert record(text).organs["duodenum"].status == "explicitly_lesion_free"
    assert record(text).organs["gallbladder"].status != "explicitly_lesion_free"


def test_an_organ_that_was_spared_is_no_specimen() -> None:
    text = "DIAGNOSIS:\nC. Pancreas, pylorus preserving pancreaticoduodenectomy:\nNo tumor present.\n"
    assert record(text).organs["stomach"].status != "explicitly_lesion_free"


def counted(text: str) -> list[tuple]:
    """Organ, kind, diameters and count of every lesion of a diagnosis."""
    found = record(f"DIAGNOSIS:\n{text}").lesions
    return [(x.organ, x.kind, x.diameters_mm, x.count, x.count_kind) for x in found]


HCC = ("liver", "tumor", (60.0,), 1, "exact")
SATELLITES = (("liver", "nodule", (), None, "multiple_unknown"),)


@pytest.mark.parametrize(
    ("words", "beside"),
    [
        ("Several satellite nodules surround it.", SATELLITES),
        ("Satellite nodules: present", SATELLITES),
        (
            "Multiple satellite nodules are present. The satellite nodules are poorly differentiated.",
            SATELLITES,
        ),
        ("No satellite nodules are present.", ()),
        ("Satellite nodules: absent", ()),
        ("A search for satellite nodules was made.", ()),
        ("The nodules are poorly differentiated.", ()),
        ("Microsatellite nodules are stable.", ()),
    ],
)
def test_satellites_are_lesions_beside_the_tumour(words: str, beside: tuple) -> None:
    assert counted(f"Liver, resection: Hepatocellular carcinoma, 6 cm.\n{words}") == [HCC, *beside]


def test_satellites_of_a_liver_stay_there_and_all_lesions_together_give_the_tumour_no_count() -> None:
    found = counted(
        "Perihilar cholangiocarcinoma.\nLeft hepatic lobe, resection: A nodule of 9 cm from the hepatic duct."
        " Many satellite nodules are present. The nodules are consistent with cholangiocarcinoma of the hepatic duct."
    )
    assert ("bile_duct", "tumor", (), 1, "exact") in found
    assert ("liver", "nodule", (), None, "multiple_unknown") in found


@pytest.mark.parametrize(
    ("heading", "place"),
    [
        ("RIGHT HEMIDIAPHRAGM, STRIPPING -", ("peritoneum", "right")),
        ("LEFT DIAPHRAGM NODULE, EXCISION -", ("soft_tissue", "left")),
        ("PERITONEUM, SPLENIC FLEXURE, EXCISION:", ("peritoneum", "unknown")),
        ("Peritoneal nodule over the sigmoid colon, biopsy:", ("peritoneum", "unknown")),
    ],
)
def test_a_deposit_lies_where_its_heading_says_and_not_in_the_organ_it_came_from(heading, place):
    text = f"DIAGNOSIS:\nPART 1: LEFT OVARY, OOPHORECTOMY -\nSEROUS CARCINOMA.\nPART 2: {heading}\nSEROUS CARCINOMA."
    found = [(x.organ, x.laterality) for x in record(text).lesions]
    assert found == [("ovary", "left"), place]


def test_two_organs_of_one_heading_are_no_lining():
    text = "DIAGNOSIS:\nPeritoneum and sigmoid colon, resection: Colonic adenocarcinoma, 4 cm."
    assert [x.organ for x in record(text).lesions] == ["colon"]


def test_a_distal_pancreatectomy_places_no_tumour_in_the_tail():
    text = (
        "DIAGNOSIS:\nB. Pancreas, spleen, distal pancreatectomy, splenectomy: Invasive adenocarcinoma, forming a "
        "2.2 x 2.0 cm mass within the body of the pancreas."
    )
    assert [(x.parts, x.diameters_mm) for x in record(text).lesions] == [(("pancreas_body",), (22.0, 20.0))]
