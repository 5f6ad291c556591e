"""Lesions that are picked out of a group by their place, and places of their own against what was said before."""

from __future__ import annotations

import pytest

from llm_extract.records import Lesion, ReportRecord
from llm_extract.reports import Report
from llm_extract.rules import extract_record


def read(text: str) -> ReportRecord:
    return extract_record(Report(report_id="r1", text=text, kind="radiology"))


def told(lesion: Lesion) -> tuple[tuple[str, ...], str, tuple[float, ...], int | None]:
    return lesion.parts, lesion.laterality, lesion.diameters_mm, lesion.count


MEMBERS = {
    "Metastases in both lobes of the liver; the one in segment 6 was measured as 38x31 mm (prior 30x25 mm), "
    "the one in segment 3 measures 19 mm (prior 19 mm).": [
        ((), "n/a", (), None),
        (("liver_segment_6",), "n/a", (38.0, 31.0), 1),
        (("liver_segment_3",), "n/a", (19.0,), 1),
    ],
    "Multiple metastatic nodules in both lungs. Of these; the one in the right upper lobe is 17 mm (series 3, image "
    "40; 12 mm in the previous examination) and the one in the left lower lobe is 9 mm.": [
        ((), "bilateral", (), None),
        (("lung_right_upper_lobe",), "right", (17.0,), 1),
        (("lung_left_lower_lobe",), "left", (9.0,), 1),
    ],
    "Lytic lesions are seen in the L2 vertebra and in the right 6th rib, the one in the rib reaches 31 mm.": [
        (("bone_vertebra_l2",), "unknown", (), None),
        (("bone_rib",), "unknown", (31.0,), 1),
    ],
    "Two cysts in the kidneys, the one on the right is 12 mm and the one on the left 20 mm.": [
        ((), "right", (12.0,), 1),
        ((), "left", (20.0,), 1),
    ],
    "Three nodules in the right lung. The one in the upper lobe is 6 mm. The one in the lower lobe measures 9 mm.": [
        ((), "right", (), 1),
        (("lung_right_upper_lobe",), "right", (6.0,), 1),
        (("lung_right_lower_lobe",), "right", (9.0,), 1),
    ],
    # near miss: one lesion is no group
    "A cyst in segment 4. The one in the kidney is 12 mm.": [(("liver_segment_4",), "n/a", (), 1)],
}


@pytest.mark.parametrize("text", MEMBERS)
def test_the_one_in_a_place_is_a_member_with_its_own_size(text: str) -> None:
    assert [told(lesion) for lesion in read(text).lesions] == MEMBERS[text]


def test_each_member_keeps_its_own_earlier_size() -> None:
    text = next(iter(MEMBERS))
    assert [x.prior_diameters_mm for x in read(text).lesions] == [(), (30.0, 25.0), (19.0,)]


OWN_PLACES = {
    # a heading of a region gives way to the organ that the sentence, or the one before, has named
    "In the upper abdomen: three hypodense lesions in the liver, the largest 16 mm in segment 6.": [
        ("liver", ()),
        ("liver", ("liver_segment_6",)),
    ],
    "Abdomen: A 15 mm lesion in liver segment 6. Known hemangioma in segment 2, 21 mm, unchanged.": [
        ("liver", ("liver_segment_6",)),
        ("liver", ("liver_segment_2",)),
    ],
    "Upper abdominal sections: two cysts in the right kidney, the larger 22 mm.": [
        ("kidney", ()),
        ("kidney", ()),
    ],
    "Abdomen: Spleen normal. A 3 cm mass is seen.": [("other", ())],
    # nodes of another station are other nodes
    "In the anterior mediastinum a node of 18 mm is seen. The left axillary nodes have enlarged, largest 13 mm.": [
        ("lymph_node", ("lymph_node_mediastinal",)),
        ("lymph_node", ("lymph_node_axillary",)),
        ("lymph_node", ("lymph_node_axillary",)),
    ],
    # vertebrae by their number
    "A lytic lesion in the 9th thoracic vertebra.": [("bone", ("bone_vertebra_t9",))],
    "A sclerotic lesion of 8 mm in the third lumbar vertebral body.": [("bone", ("bone_vertebra_l3",))],
    "A sclerotic lesion in the lumbar 2nd vertebra.": [("bone", ("bone_vertebra_l2",))],
    "Lytic lesions in the fifth and sixth thoracic vertebrae.": [
        ("bone", ("bone_vertebra_t5", "bone_vertebra_t6"))
    ],
    "A lytic lesion in the 9th lumbar vertebra.": [("bone", ("bone_spine",))],
    "A lytic lesion in the thoracic vertebra and the 9th rib.": [("bone", ("bone_rib", "bone_spine"))],
}


@pytest.mark.parametrize("text", OWN_PLACES)
def test_the_place_of_the_own_sentence_wins(text: str) -> None:
    found = [(lesion.organ, tuple(sorted(lesion.parts))) for lesion in read(text).lesions]
    assert found == OWN_PLACES[text]


NEW = {
    "A 7 mm nodule in the right lower lobe was not present on the prior CT.": ["new"],
    "Two hypodense lesions in the liver were not distinguishable in the previous examination.": ["new"],
    "A nodule of 9 mm in the left upper lobe, which could not be seen before.": ["new"],
    "A cyst of 9 mm in the liver, not clearly separated from the gallbladder in the previous examination.": [
        "unknown"
    ],
    "The 5 mm nodule described in the lingula in the previous examination was not observed in the current one.": [],
    "The 8 mm nodule reported in the right upper lobe on the old study is not seen on today's study.": [],
}


@pytest.mark.parametrize("text", NEW)
def test_what_was_not_there_before_is_new_and_what_is_gone_is_no_lesion(text: str) -> None:
    assert [lesion.change for lesion in read(text).lesions] == NEW[text]


def test_the_organ_of_the_last_finding_ends_with_the_findings() -> None:
    text = (
        "Findings: A mass of 34 mm in the right upper lobe. Bones: no lytic lesion.\n"
        "Impression: Partial regression in the primary mass."
    )
    assert [lesion.organ for lesion in read(text).lesions] == ["lung"]


STATED = {
    # what a sentence says of the lesion before it
    "A 52 x 47 mm mass in the left kidney. The craniocaudal extent is 55 mm.": [
        ("kidney", (52.0, 47.0, 55.0), 1)
    ],
    "A 3.2 x 2.8 cm mass in segment 6. Its height measures 4.1 cm.": [("liver", (32.0, 28.0, 41.0), 1)],
    "A 52 x 47 mm mass in the left kidney. The craniocaudal length of the liver is 17 cm.": [
        ("kidney", (52.0, 47.0), 1)
    ],
    "A 4 cm mass of the left kidney, appearances are those of a renal cell carcinoma.": [
        ("kidney", (40.0,), 1)
    ],
    "A nodule of 24x18 mm is noted in the anterior mediastinum, thymic lesion or LAP.": [
        ("other", (24.0, 18.0), 1)
    ],
    "A 14 mm nodule at the bladder wall, enhanced, tumor possible.": [("bladder", (14.0,), 1)],
    "A lytic area, 18 mm in size, with cortical destruction in the right scapula.": [("bone", (18.0,), 1)],
    "A 12 mm nodule in the spleen, a cyst or lesion in the left kidney.": [
        ("spleen", (12.0,), 1),
        ("kidney", (), 1),
    ],
    # groups and their largest
    "Fibroid uterus, largest fibroid 4.8 cm.": [("uterus", (), None), ("uterus", (48.0,), 1)],
    "Two enlarged nodes adjacent to the tumor, 14 and 11 mm.": [
        ("lymph_node", (14.0,), 1),
        ("lymph_node", (11.0,), 1),
    ],
    "A 20 mm nodule next to the mass in the liver.": [("liver", (20.0,), 1)],
    "Lymphadenopathy: Enlarged aortocaval node 1.6 x 1.3 cm.": [("lymph_node", (16.0, 13.0), 1)],
    "Lymphadenopathy: right hilar, 14 mm.": [("lymph_node", (14.0,), 1)],
    # deposits by their surface
    "Capsular implant along segment 6 is larger, measuring 4.1 x 1.8 cm.": [("liver", (41.0, 18.0), 1)],
    "A peritoneal nodular implant of 16x11 mm adjacent to the descending colon.": [
        ("peritoneum", (16.0, 11.0), 1)
    ],
    "Breast implant on the left, 12 mm thick.": [],
    # what is asked for is no finding
    "Pleural thickening on the right, an underlying mass cannot be ruled out.": [],
    "Under treatment with the diagnosis of lymphoma.": [],
    "IMPRESSION:,1.  A 6 mm obstructing left ureterovesical junction calculus.,2.  Right renal cyst.": [
        ("kidney", (), 1)
    ],
    # misspelt nouns
    "In right lung uper lobe nodul of 7 mm; in left lung lower lobe a subpleural nodul 4 mm.": [
        ("lung", (7.0,), 1),
        ("lung", (4.0,), 1),
    ],
}


@pytest.mark.parametrize("text", STATED)
def test_what_is_stated_and_nothing_beside_it(text: str) -> None:
    assert [(x.organ, x.diameters_mm, x.count) for x in read(text).lesions] == STATED[text]


def test_the_largest_node_lies_where_the_nodes_lie() -> None:
    text = "Left para-aortic lymphadenopathy, the largest node 2.1 x 1.7 cm."
    assert {(x.parts, x.laterality) for x in read(text).lesions} == {
        (("lymph_node_retroperitoneal",), "left")
    }


def test_a_misspelt_lobe_and_a_lettered_segment_are_places() -> None:
    assert read("Rigth lung uper lobe nodul 7 mm.").lesions[0].parts == ("lung_right_upper_lobe",)
    assert read("Hypodense lesion in segment S4, 7 mm.").lesions[0].parts == ("liver_segment_4",)
