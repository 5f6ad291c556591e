"""What is a lesion's own: its size, not that of its organ or of a part; its place, not that of a neighbour."""

from __future__ import annotations

from typing import Any

import pytest

from llm_extract.records import ReportRecord
from llm_extract.reports import Report
from llm_extract.rules import extract_record


def read(text: str) -> ReportRecord:
    return extract_record(Report(report_id="r1", text=text, kind="radiology"))


def lesions(text: str) -> list[tuple[str, tuple[float, ...], tuple[float, ...]]]:
    return [(x.organ, x.diameters_mm, x.prior_diameters_mm) for x in read(text).lesions]


SIZES: dict[str, list[tuple[Any, ...]]] = {
    # the length of the organ that holds it
    "The spleen measures 15 cm and contains a 21 mm hypodense lesion.": [("spleen", (21.0,), ())],
    "Liver 17 cm, with a cyst of 13 mm in segment 3.": [("liver", (13.0,), ())],
    "The uterus measures 8 x 6 x 5 cm and contains a 27 mm fibroid.": [("uterus", (27.0,), ())],
    "The right kidney is 12 cm with a hypodense lesion in the lower pole.": [("kidney", (), ())],
    "Left kidney 11.4 cm, right kidney 10.9 cm, 14 mm cyst in the left kidney.": [("kidney", (14.0,), ())],
    "The spleen measures 13 cm in span, a hypodense lesion is seen at its hilum.": [("spleen", (), ())],
    "The liver is enlarged with a craniocaudal length of 19 cm and a cyst in segment 4.": [("liver", (), ())],
    "Long axis of the spleen measures 12 cm with a small cyst.": [("spleen", (), ())],
    "The uterus is 90 mm long and a fibroid is seen at its fundus.": [("uterus", (), ())],
    # how an organ looks is no lesion of its length
    "The spleen measures 12 cm in long axis, its contour and density are natural.": [],
    "The liver is 16 cm in length and its parenchymal density is homogeneous.": [],
    "Spleen 12 cm, density normal.": [],
    "The prostate measures 55 x 48 mm and its density is heterogeneous.": [],
    # near misses: the size of the lesion
    "A density of 12 mm is seen in the right upper lobe.": [("lung", (12.0,), ())],
    "Left kidney 8 cm mass, invading the renal vein.": [("kidney", (80.0,), ())],
    "Liver: 21 mm lesion in segment 3 and a 13 mm lesion in segment 6.": [
        ("liver", (21.0,), ()),
        ("liver", (13.0,), ()),
    ],
    "In the spleen, 21 mm in diameter, with irregular borders, a mass is seen.": [("spleen", (21.0,), ())],
    "Right kidney 3 cm, left kidney 2 cm cysts.": [("kidney", (30.0,), ()), ("kidney", (20.0,), ())],
    # the length of a part of it
    "A mass of the liver measuring 52 x 41 mm with a necrotic centre of 18 mm.": [
        ("liver", (52.0, 41.0), ())
    ],
    "A mass with central necrosis of 18 mm, measuring 52 x 41 mm, in the right kidney.": [
        ("kidney", (52.0, 41.0), ())
    ],
    "A 52 mm cystic mass with an 11 mm mural nodule in the pancreatic tail.": [("pancreas", (52.0,), ())],
    "Liver lesion 44 mm with internal cystic area 13 mm.": [("liver", (44.0,), ())],
    "Left renal cyst 31 mm with a thick septum of 3 mm.": [("kidney", (31.0,), ())],
    # near misses: no other size, two lesions
    "A mass with a necrotic centre measuring 52 x 41 mm in the liver.": [("liver", (52.0, 41.0), ())],
    "A mass of 52 mm in the liver and a calcified nodule of 13 mm in the spleen.": [
        ("liver", (52.0,), ()),
        ("spleen", (13.0,), ()),
    ],
    "A mass of 52 mm in the left kidney with a node of 13 mm at the internal iliac vessels.": [
        ("kidney", (52.0,), ()),
        ("lymph_node", (13.0,), ()),
    ],
    # what is denied behind it has no size
    "HCC, 5 cm, without satellite nodules.": [("liver", (50.0,), ())],
    # numbers of segments, stations and lengths
    "Hypodense lesion 1.6 cm segment 4B, and lesion 2.3 cm segment 8.": [
        ("liver", (16.0,), ()),
        ("liver", (23.0,), ()),
    ],
    "Enlarged lymph nodes: right para-aortic 17 mm, left iliac 13 mm.": [
        ("lymph_node", (17.0,), ()),
        ("lymph_node", (13.0,), ()),
    ],
    "A sigmoid mass 5 cm in length.": [("colon", (50.0,), ())],
    "Two hypodense lesions of 21x14 and 7 mm in the liver.": [
        ("liver", (21.0, 14.0), ()),
        ("liver", (7.0,), ()),
    ],
    "In the spleen, the long axis of which is 14 cm, an 8 mm hypodense nodule is observed.": [
        ("spleen", (8.0,), ())
    ],
    "The size of the spleen increased (143 mm) and a hypodense nodule of 11 mm was observed.": [
        ("spleen", (11.0,), ())
    ],
    "A stone of 7 mm in the lower pole of the left kidney, and a 14 mm cyst in the upper pole.": [
        ("kidney", (14.0,), ())
    ],
    # a sentence that an earlier study opens
    "In the previous examination, the nodule of 6 mm in the lingula is 9 mm in the current examination.": [
        ("lung", (9.0,), (6.0,))
    ],
    "On the prior CT, a nodule of 6 mm was seen in the lingula.": [("lung", (), (6.0,))],
    "The 6 mm nodule in the lingula in the previous study is now measured as 9 mm.": [
        ("lung", (9.0,), (6.0,))
    ],
    "While it was 13 mm in the previous study, the nodule in the lingula is measured 9 mm.": [
        ("lung", (9.0,), (13.0,))
    ],
    "Compared with the previous study, the 6 mm nodule in the lingula is stable.": [("lung", (6.0,), ())],
    # what it was, and what it is now
    "The nodule of the right upper lobe was 7 mm, now 12 mm.": [("lung", (12.0,), (7.0,))],
    "The renal mass was 31 mm and is now 38 mm.": [("kidney", (38.0,), (31.0,))],
    "The largest nodule of the lungs was 7 mm; a nodule of 12 mm is now seen in the liver.": [
        ("lung", (7.0,), ()),
        ("liver", (12.0,), ()),
    ],
}


@pytest.mark.parametrize("text", SIZES)
def test_a_size_is_that_of_the_lesion(text: str) -> None:
    assert lesions(text) == SIZES[text]


PLACES: dict[str, list[tuple[Any, ...]]] = {
    "A 21 mm hepatic cyst adjacent to the gallbladder.": [("liver", (), "n/a")],
    "A 21 mm renal cyst next to the spleen.": [("kidney", (), "unknown")],
    "A 21 mm adrenal adenoma abutting the liver.": [("adrenal_gland", (), "unknown")],
    "A subpleural nodule of 5 mm adjacent to the spine.": [("lung", (), "unknown")],
    "Liver: a 21 mm cyst adjacent to the gallbladder.": [("liver", (), "n/a")],
    "Liver: simple cyst close to the gallbladder.": [("liver", (), "n/a")],
    "Left kidney: a 31 mm mass close to the spleen.": [("kidney", (), "left")],
    "Lungs: a 6 mm nodule adjacent to a rib.": [("lung", (), "unknown")],
    # near misses: no name, no heading, or no mere neighbour
    "A 21 mm nodule lateral to the right kidney.": [("peritoneum", (), "right")],
    "Urothelial carcinoma involving the right kidney.": [("kidney", (), "right")],
    "Left kidney: normal, a 31 mm mass in the spleen.": [("spleen", (), "n/a")],
    # a part that is asked about, an axis
    "Lesion of the liver (segment 6?), 21 mm.": [("liver", (), "n/a")],
    "Lesion of the liver in segment 6, 21 mm (cyst?).": [("liver", ("liver_segment_6",), "n/a")],
    "An 8 mm nodule in the right (middle lobe?) lung.": [("lung", (), "right")],
    "The colonic mass is 51 mm in the transverse plane.": [("colon", (), "n/a")],
    "Mass in the ascending and transverse colon.": [
        ("colon", ("colon_ascending", "colon_transverse"), "n/a")
    ],
    # where most of them are is not where all of them are
    "Nodules in both lungs, most of them in the left lower lobe.": [("lung", (), "bilateral")],
    "Metastases in both lobes of the liver, predominantly in segment 6.": [("liver", (), "n/a")],
    "Nodules in the left lung, most of them in the lower lobe.": [
        ("lung", ("lung_left_lower_lobe",), "left")
    ],
    # a vague place right behind, a listed organ before
    "Thickening beside the right colon, a 21 mm lesion in the mesentery.": [
        ("peritoneum", ("peritoneum_mesentery",), "unknown")
    ],
    "In the left colon, a 21 mm lesion in the mesentery.": [("colon", ("colon_descending",), "n/a")],
    # a mass that another one touches
    "A 31 mm lung mass in contact with the mediastinal mass.": [
        ("lung", (), "unknown"),
        ("other", (), "unknown"),
    ],
    "A 31 mm lung mass, unclear boundary with the adjacent mass.": [("lung", (), "unknown")],
    # a known mass that reaches another lobe
    "A malignant mass in the right upper lobe. No change in size. The mass extends to the left main bronchus.": [
        ("lung", ("lung_right_upper_lobe",), "right")
    ],
    # what another thing has before it
    "A stone in the lower pole of the left kidney, and a 14 mm cyst in the upper pole.": [
        ("kidney", ("kidney_upper_pole",), "unknown")
    ],
    "Stones of the left kidney and a cyst of its upper pole.": [("kidney", ("kidney_upper_pole",), "left")],
    # a place that only a number or a shared noun names
    "Haemangiomas in segments 6 (31 mm) and 3 (11 mm).": [
        ("liver", ("liver_segment_6",), "n/a"),
        ("liver", (), "n/a"),
    ],
    "Cysts in the right and left hepatic lobes.": [
        ("liver", tuple(f"liver_segment_{n}" for n in range(2, 9)), "n/a")
    ],
    "Nodules in the left and right thyroid lobes.": [
        ("thyroid", ("thyroid_left_lobe", "thyroid_right_lobe"), "bilateral")
    ],
}


@pytest.mark.parametrize("text", PLACES)
def test_a_place_is_that_of_the_lesion(text: str) -> None:
    found = [(x.organ, tuple(sorted(x.parts)), x.laterality) for x in read(text).lesions]

    assert found == PLACES[text]


NAMES = {
    "A 21 mm hyperdense lesion in segment 6, haemangioma.": [("liver", "hemangioma")],
    "Sclerotic focus of 6 mm in the right iliac wing, bone island.": [("bone", "bone_island")],
    "A 31 mm lesion in the left kidney, oncocytoma or renal cell carcinoma.": [("kidney", None)],
    # near misses: another organ, another place, another number
    "A 21 mm nodule in the left lung, hepatic haemangioma.": [("lung", None), ("liver", "hemangioma")],
    "A 21 mm lesion in segment 6, haemangioma in segment 2.": [("liver", None), ("liver", "hemangioma")],
    "A 21 mm lesion in segment 6, cysts.": [("liver", None), ("liver", "cyst")],
    # what a lesion holds is none
    "A ground-glass nodule with a central solid nodule in the right upper lobe.": [("lung", None)],
    "Nodules in both lungs with a 21 mm central mass in the liver.": [("lung", None), ("liver", None)],
}


@pytest.mark.parametrize("text", NAMES)
def test_a_bare_name_at_the_end_names_the_lesion(text: str) -> None:
    assert [(x.organ, x.diagnosis) for x in read(text).lesions] == NAMES[text]


STATUS = {
    "No lytic or blastic lesion, except for a sclerotic lesion in the L3 body.": "lesion_present",
    "No lytic, blastic or sclerotic lesion in the bones.": "explicitly_lesion_free",
}


@pytest.mark.parametrize("text", STATUS)
def test_an_exception_is_not_denied(text: str) -> None:
    assert read(text).organs["bone"].status == STATUS[text]


def test_what_an_organ_is_normal_aside_from_is_there() -> None:
    record = read("The pancreas is normal aside from the known cystic lesion in the tail.")

    assert [(x.organ, x.parts) for x in record.lesions] == [("pancreas", ("pancreas_tail",))]


def test_a_sentence_without_its_full_stop_denies_only_what_follows() -> None:
    record = read(
        "Stable 8 mm left hilar node (4:211) No enlarged axillary, supraclavicular or mediastinal nodes."
    )

    assert record.lesions == ()
    assert record.organs["lymph_node"].status == "explicitly_lesion_free"


@pytest.mark.parametrize(
    "text",
    [
        "Wedge-shaped hypodensity in the spleen consistent with infarct.",
        "Hypodense area in segment 4, likely focal fat.",
    ],
)
def test_what_is_read_as_infarct_or_fat_is_no_lesion(text: str) -> None:
    assert read(text).lesions == ()


CHANGES = {
    "New:\n- 4 mm nodule in the lingula\n- 6 mm nodule in the right lower lobe\nStable:\n- 9 mm cyst in the liver": [
        "new",
        "new",
        "stable",
    ],
    "Resolved:\n- 4 mm nodule in the lingula": ["resolved"],
    "New:\n- 4 mm nodule in the lingula\n\n9 mm cyst in the liver.": ["new", "unknown"],
    "Few new nodules, for example:\n* right upper lobe 5 mm\n* left lower lobe 4 mm": ["new", "new"],
    "New protocol. 4 mm nodule in the lingula.": ["unknown"],
}


@pytest.mark.parametrize("text", CHANGES)
def test_a_title_tells_the_change_of_its_lines(text: str) -> None:
    assert [x.change for x in read(text).lesions] == CHANGES[text]


NOT_OURS = {
    "Calculus of 11 mm and a 25 mm cyst in the left kidney.": [(25.0,)],
    "Left renal pelvis stone 11 mm, left kidney upper pole 25 mm cyst.": [(25.0,)],
    "In the right kidney, a calculus 6 mm in diameter and a 21 mm angiomyolipoma are seen.": [(21.0,)],
    "A stone measuring 9 mm, a 14 mm polyp in the gallbladder.": [(14.0,)],
    "Aorta 38 mm, liver cyst 12 mm.": [(12.0,)],
    "CBD 9 mm, pancreatic head mass 32 mm.": [(32.0,)],
    "Portal vein is 15 mm, a 9 mm hypodense lesion in segment 4.": [(9.0,)],
    "Pleural effusion of 12 mm on the left, a 6 mm nodule in the lingula.": [(6.0,)],
    "Calcifications, 6 mm cyst in the liver.": [(6.0,)],
    "In the dilated common bile duct 9 mm polypoid mass.": [(9.0,)],
    "A mass of 6x4 cm encasing the celiac trunk is seen in the pancreas.": [(60.0, 40.0)],
    "A 3 cm mass compressing the common bile duct in the pancreatic head.": [(30.0,)],
    "A 5 mm nonobstructing calculus in the left kidney.": [],
}


@pytest.mark.parametrize("text", NOT_OURS)
def test_the_size_right_behind_what_is_no_lesion_is_its_own(text):
    assert [lesion.diameters_mm for lesion in read(text).lesions] == NOT_OURS[text]
