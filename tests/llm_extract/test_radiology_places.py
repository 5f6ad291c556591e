"""Where a finding lies: invented sentences in which a neighbour, a level or a list invites a wrong place."""

from __future__ import annotations

import pytest

from llm_extract.records import Lesion, ReportRecord
from llm_extract.reports import Report
from llm_extract.rules import extract_record


def read(text: str) -> ReportRecord:
    return extract_record(Report(report_id="r1", text=text, kind="radiology"))


def place(lesion: Lesion) -> tuple[str, tuple[str, ...], str]:
    return lesion.organ, lesion.parts, lesion.laterality


PLACES = {
    # the place that opens the sentence wins; a bed and what lies behind a tube are no places in them
    "In the liver, there is a 4 cm nodule in the gallbladder bed.": ("liver", (), "n/a"),
    "A 12 mm nodule posterior of the sigmoid colon.": ("peritoneum", (), "unknown"),
    "A 12 mm cyst in the posterior of the left kidney.": ("kidney", (), "left"),
    "A 15 mm nodule at the intermediate level of the psoas and the descending colon.": (
        "peritoneum",
        (),
        "unknown",
    ),
    # what is beside something inside an organ lies in it
    "In the upper abdomen a 9 mm hypodense lesion adjacent to the falciform ligament of the liver.": (
        "liver",
        (),
        "n/a",
    ),
    "In the upper abdominal sections, a 9 mm lesion near the falciform ligament.": ("liver", (), "n/a"),
    "A 9 mm nodule adjacent to the fissure of the left lung.": ("lung", (), "left"),
    # words that name their organ
    "The spleen is normal. A 4 mm subpleural nodule.": ("lung", (), "unknown"),
    # the tissue that holds a finding, not the bone or the lung that it lies at
    "A 12 mm nodule in the subcutaneous fat in the body of the right scapula.": ("soft_tissue", (), "right"),
    "A 12 mm lesion in the right scapula extending to the subcutaneous fat.": (
        "bone",
        ("bone_scapula",),
        "right",
    ),
    "Nodules are seen in the pleura in the right lung.": ("pleura", (), "right"),
    "A 9 mm nodule beneath the pleura in the right lower lobe.": (
        "lung",
        ("lung_right_lower_lobe",),
        "right",
    ),
    "A 20 mm lesion adjacent to the portal vein at the level of segment 4.": (
        "liver",
        ("liver_segment_4",),
        "n/a",
    ),
    "Lungs: 12 mm soft tissue nodule at the resection site.": ("lung", (), "unknown"),
    "A 12 mm soft tissue nodule of the left thigh.": ("soft_tissue", (), "left"),
    "A 9 mm cyst in liver S8.": ("liver", ("liver_segment_8",), "n/a"),
    "A 9 mm cyst in liver segment 4A.": ("liver", ("liver_segment_4",), "n/a"),
    # lists of lobes, of stations and of sides
    "Nodules in the upper, middle and lower lobes of the right lung.": (
        "lung",
        ("lung_right_lower_lobe", "lung_right_upper_lobe", "lung_right_middle_lobe"),
        "right",
    ),
    "Nodules in the lower lobes of both lungs.": (
        "lung",
        ("lung_left_lower_lobe", "lung_right_lower_lobe"),
        "bilateral",
    ),
    "Nodules in the left upper lobe and the right lower lobe.": (
        "lung",
        ("lung_left_upper_lobe", "lung_right_lower_lobe"),
        "bilateral",
    ),
    "A 5 mm nodule in the left lower lobe, a part of the lower lobe.": (
        "lung",
        ("lung_left_lower_lobe",),
        "left",
    ),
    "Nodules in both lungs, mostly in the lower lobe on the right.": ("lung", (), "bilateral"),
    "Nodules in both lungs, more in the right lower lobe.": ("lung", (), "bilateral"),
    "Enlarged lymph nodes in the right hilum and mediastinum.": (
        "lymph_node",
        ("lymph_node_hilar", "lymph_node_mediastinal"),
        "unknown",
    ),
    "Enlarged left axillary and left supraclavicular lymph nodes.": (
        "lymph_node",
        ("lymph_node_axillary", "lymph_node_supraclavicular"),
        "left",
    ),
    "Enlarged lymph nodes with a fatty hilum in the left axilla.": (
        "lymph_node",
        ("lymph_node_axillary",),
        "left",
    ),
    "A 9 mm nodule in the isthmus of the thyroid.": ("thyroid", ("thyroid_isthmus",), "unknown"),
    "A 9 mm nodule in the right thyroid lobe and isthmus.": (
        "thyroid",
        ("thyroid_right_lobe", "thyroid_isthmus"),
        "right",
    ),
    "LUNGS: 3 mm right upper (6:24) nodule.": ("lung", ("lung_right_upper_lobe",), "right"),
    "KIDNEYS: 3 cm right upper pole cyst.": ("kidney", ("kidney_upper_pole",), "right"),
    "A 9 mm nodule at the left apex of the lung.": ("lung", ("lung_left_upper_lobe",), "left"),
    "A 9 mm cyst in the middle part of the left kidney.": ("kidney", ("kidney_interpolar",), "left"),
    "A 12 mm lesion in the left basal ganglia.": ("brain", (), "left"),
    "Enlarged lymph nodes along the left external iliac artery.": (
        "lymph_node",
        ("lymph_node_pelvic",),
        "left",
    ),
    # a region gives way to any organ named beside it, and stands where nothing else does
    "Tumor implant in the peritoneum of the right lower abdomen, 14 mm.": ("peritoneum", (), "right"),
    "A 3 cm mass in the right hemithorax at the level of the thoracic spine.": ("lung", (), "right"),
    "A 3 cm mass in the right renal pelvis.": ("kidney", (), "right"),
    # what is only in front of a bone is not in it
    "A 4 cm mass lies in front of the right femur.": ("soft_tissue", (), "right"),
    "A 4 cm mass adjacent to the left kidney.": ("peritoneum", (), "left"),
    # a rib is a landmark for what sits on the pleura
    "A 12 mm lesion at the left 4th rib sitting on the pleura.": ("pleura", (), "left"),
    "A 12 mm lesion in the left 4th rib.": ("bone", ("bone_rib",), "left"),
    # a level of the same organ is a part, and its side is the side of the finding
    "A 6 mm nodule at the level of the lingula in the left lung.": ("lung", ("lung_lingula",), "left"),
    "At the level of the right adrenal body there is a 15 mm nodule, an adenoma.": (
        "adrenal_gland",
        ("adrenal_gland_body",),
        "right",
    ),
    "A 4 mm nodule along the right major fissure.": ("lung", (), "right"),
    "A 30 mm mass in the pancreatic tail abutting the left kidney.": ("pancreas", ("pancreas_tail",), "n/a"),
    "A 9 mm mass with clear borders in the liver.": ("liver", (), "n/a"),
    # the innermost part counts
    "A 3 mm nodule in the lingula of the left upper lobe.": ("lung", ("lung_lingula",), "left"),
    "A lytic lesion of the L2 vertebral body.": ("bone", ("bone_vertebra_l2",), "unknown"),
    "A 6 mm hypodense lesion in the second segment of the liver.": ("liver", ("liver_segment_2",), "n/a"),
    # segments of the lung name their lobe once the side is known
    "An 8 mm nodule in the posterobasal segment of the left lung.": (
        "lung",
        ("lung_left_lower_lobe",),
        "left",
    ),
    "An 8 mm nodule in the apicoposterior segment.": ("lung", ("lung_left_upper_lobe",), "left"),
    # the name of a part that another organ has still gives its side
    "A 9 mm polyp on the left lateral wall of the trachea.": ("other", (), "left"),
    "A 5 mm nodule in the left main bronchus.": ("lung", (), "left"),
    # the side of an organ without sides is kept where it is stated
    "A 5 cm fibroid in the right uterine wall.": ("uterus", (), "right"),
    "A 5 cm fibroid in the uterus.": ("uterus", (), "n/a"),
}


@pytest.mark.parametrize("text", PLACES)
def test_a_finding_lies_where_the_sentence_puts_it(text):
    record = read(text)
    assert [place(lesion) for lesion in record.lesions] == [PLACES[text]]


def test_a_place_of_no_known_name_is_not_guessed_from_its_neighbours_in_a_list():
    text = "Nodules of 21 mm in the right lower lobe, 17 mm in the left lower lobe and 11 mm in the hyparterial zone."
    first, second, third = read(text).lesions
    assert (first.laterality, second.laterality) == ("right", "left")
    assert (third.diameters_mm, third.organ, third.laterality, third.parts) == (
        (11.0,),
        "lung",
        "unknown",
        (),
    )


def test_a_segment_of_the_lung_does_not_move_a_nodule_to_the_liver():
    first, second = read(
        "A 5 mm nodule in the right lung. A 6 mm nodule is seen below the anterior segment."
    ).lesions
    assert (first.organ, second.organ) == ("lung", "lung")


def test_what_a_density_is_compared_with_is_no_place():
    (lesion,) = read("A nodule of the left adrenal gland, 19 mm, isodense to the spleen.").lesions
    assert place(lesion) == ("adrenal_gland", (), "left")


def test_a_member_of_a_group_keeps_its_own_two_sides():
    text = "Nodules at the right lung apex. Others, for instance of 3 mm in the right lower lobe and left lower lobe."
    assert {lesion.laterality for lesion in read(text).lesions if lesion.diameters_mm} <= {
        "unknown",
        "bilateral",
    }


def test_a_size_behind_two_places_lies_in_neither():
    text = (
        "Nodules of 21 mm in the right lower lobe, 17 mm in the left lower lobe, another 11 mm, are stable."
    )
    third = read(text).lesions[-1]
    assert (third.diameters_mm, third.organ, third.laterality, third.parts) == (
        (11.0,),
        "lung",
        "unknown",
        (),
    )


def test_the_largest_of_a_group_lies_where_the_group_does():
    text = "Four nodules, the largest of which is 7 mm, were observed in the lower lobe of the right lung."
    group, index = read(text).lesions
    assert (group.count, group.group_role, index.group_role) == (3, "remainder", "index")
    assert place(group) == place(index) == ("lung", ("lung_right_lower_lobe",), "right")


def test_what_is_no_lesion_keeps_its_own_place():
    text = "Nodules in both lungs, septal thickening in the lower lobe of the left lung."
    (lesion,) = read(text).lesions
    assert place(lesion) == ("lung", (), "bilateral")


@pytest.mark.parametrize("first", ["suspected gastric stones", "suspicious for food residue"])
def test_a_line_without_a_full_stop_ends_its_statement(first):
    text = (
        f"A dense nodule in the lumen of the stomach in all of the series, {first}\n"
        "A low-density nodule at the lower pole of the left kidney, suspected cyst, without any enhancement\n"
        "No other abnormality of the abdomen"
    )
    kidney = [lesion for lesion in read(text).lesions if lesion.organ == "kidney"]
    assert [place(lesion) for lesion in kidney] == [("kidney", ("kidney_lower_pole",), "left")]


def test_a_wrapped_line_does_not_end_its_statement():
    text = (
        "There is a small enhancing nodule that measures 12 mm in the lower pole of the\n"
        "left kidney. No stones.\n"
    )
    (lesion,) = read(text).lesions
    assert place(lesion) == ("kidney", ("kidney_lower_pole",), "left")


@pytest.mark.parametrize(
    "text",
    [
        "Right kidney not visualised, status post nephrectomy.",
        "Status post right nephrectomy.",
        "Right nephrectomy.",
    ],
)
def test_an_operation_takes_the_side_of_its_organ(text):
    record = read(text)
    assert [(s.organ, s.laterality) for s in record.surgery] == [("kidney", "right")]
    assert record.organs["kidney"].sides["right"].status == "surgically_absent"


def test_parts_listed_from_end_to_end_are_the_whole_organ():
    assert (
        read("Pancreas head, body and tail are normal.").organs["pancreas"].status == "explicitly_lesion_free"
    )
    assert read("The pancreatic head is normal.").organs["pancreas"].status == "no_statement_on_lesions"


@pytest.mark.parametrize("mark", ["", "- ", "1. "])
@pytest.mark.parametrize("heading", ["TARGET LESIONS", "Target lesions:", "FINDINGS:\nTarget lesions"])
def test_a_table_of_target_lesions(heading, mark):
    rows = ("Liver segment 7, 34 x 20 mm (prior 41 mm)", "Left adrenal 18 mm", "Right lower lobe, 15 mm")
    text = "\n".join([heading, *(mark + row for row in rows), "Sum 67 mm"])
    assert [(*place(lesion), lesion.diameters_mm) for lesion in read(text).lesions] == [
        ("liver", ("liver_segment_7",), "n/a", (34.0, 20.0)),
        ("adrenal_gland", (), "left", (18.0,)),
        ("lung", ("lung_right_lower_lobe",), "right", (15.0,)),
    ]


PHRASES = {
    "Shadow of low density in the left lobe of the liver, considering a cyst in the left lobe of the liver.": (
        "left lobe of the liver"
    ),
    "A 9 mm nodule in the right lower lobe, suggestive of a pulmonary metastasis.": "right lower lobe",
    "Soft tissue nodules in the anterior mediastinum.": "anterior mediastinum",
    "A 9 mm cyst in the middle part of the left kidney.": "middle part of the left kidney",
}


@pytest.mark.parametrize("text", PHRASES)
def test_words_of_a_place_hold_no_finding(text):
    assert read(text).lesions[0].location_text == PHRASES[text]


def test_a_level_where_nothing_else_is_named_is_the_place():
    (lesion,) = read("A 9 mm cyst at the level of the liver dome.").lesions
    assert (lesion.organ, lesion.part_relation) == ("liver", "one_of")


def test_one_nodule_lies_in_no_two_lungs():
    (lesion,) = read("A 5 mm nodule in the right middle lobe, left lower lobe.").lesions
    assert (lesion.parts, lesion.laterality, lesion.part_relation) == ((), "unknown", "unknown")


BESIDE = {
    "A 41 mm mass in the left upper lobe abuts the pleura. A satellite nodule of 7 mm is seen in its vicinity.": (
        "lung", "left",
    ),
    "A 3 cm mass is seen in the right kidney. The liver is normal. Next to the mass there is a 1 cm nodule.": (
        "kidney", "right",
    ),
    "A 3 cm mass is seen in the left breast. Satellite lesions of up to 6 mm are seen around it.": ("breast", "left"),
    "A 3 cm mass is seen in the right kidney. Beside it there is a 9 mm cyst in the liver.": ("liver", "n/a"),
    "A 3 cm mass is seen in the left lung. In the right lung there is a 5 mm satellite nodule.": ("lung", "right"),
    # "it" may be the spleen
    "A 3 cm mass is seen in the right kidney. The spleen is normal. A 9 mm nodule is seen adjacent to it.": (
        "other", "unknown",
    ),
    # "it" is the band
    "A 3 mm nodule in the left lung. In the right lung there is a dense band. Calcific nodules are seen around it.": (
        "lung", "right",
    ),
}  # fmt: skip


@pytest.mark.parametrize("text", BESIDE)
def test_a_lesion_beside_another_lies_in_its_organ_and_on_its_side(text):
    last = read(text).lesions[-1]
    assert (last.organ, last.laterality) == BESIDE[text]
    assert not last.parts


@pytest.mark.parametrize("words", ["at L3", "at the level of L3", "in the L3 vertebra"])
def test_the_level_of_a_lesion_of_bone_is_its_place(words):
    (lesion,) = read(f"A lytic lesion {words}, 12 mm.").lesions
    assert place(lesion) == ("bone", ("bone_vertebra_l3",), "unknown")


def test_a_phase_is_no_vessel():
    text = "Mass in the pancreatic tail, hypovascular on the arterial phase, another smaller one of 8 mm in the head."
    assert {lesion.organ for lesion in read(text).lesions} == {"pancreas"}


LETTERED = {
    "L kidney: 3.5cm exophytic mass.": ("kidney", "left"),
    "1 cm R adrenal nodule.": ("adrenal_gland", "right"),
    "4 mm nodule in L lower lobe.": ("lung", "left"),
    "B/L renal cysts up to 2 cm.": ("kidney", "bilateral"),
    "8 mm lytic lesion of the L spine.": ("bone", "unknown"),
}


@pytest.mark.parametrize("text", LETTERED)
def test_a_capital_letter_is_a_side_before_a_paired_organ(text):
    (lesion,) = read(text).lesions
    assert (lesion.organ, lesion.laterality) == LETTERED[text]


CYSTS = {
    "A haemangioma of 22 mm in segment 7, simple cyst in segment 2 of 9 mm.": "liver",
    "A 2 cm haemangioma is seen in the spleen. A simple cyst of 9 mm is present.": "spleen",
    "LIVER: Simple cyst of 1 cm.": "liver",
    "KIDNEYS: Simple cyst of 1 cm.": "kidney",
    "A 2 cm haemangioma is seen in the liver. There is also a cortical cyst of 9 mm.": "kidney",
    "Renal cyst of 3 cm adjacent to segment 6.": "kidney",
    "Both lungs are clear. A simple cyst of 9 mm.": "kidney",
}


@pytest.mark.parametrize("text", CYSTS)
def test_a_simple_cyst_lies_in_what_was_spoken_of(text):
    assert read(text).lesions[-1].organ == CYSTS[text]


PARTS = {
    "A 13 mm cystic lesion of the pancreatic body and atrophy of the tail.": ("pancreas_body",),
    "A 2 cm mass in the pancreatic body with dilated duct in the tail.": ("pancreas_body",),
    "A calculus in the lower pole and a 21 mm cyst in the upper pole of the left kidney.": (
        "kidney_upper_pole",
    ),
    "A 21 mm mass in the body and the tail of the pancreas.": ("pancreas_body", "pancreas_tail"),
}


@pytest.mark.parametrize("text", PARTS)
def test_the_part_of_something_else_is_not_that_of_the_lesion(text):
    (lesion,) = read(text).lesions
    assert set(lesion.parts) == set(PARTS[text])


@pytest.mark.parametrize(
    ("text", "organ"),
    [
        ("Gallbladder stone, left renal cyst.", "kidney"),
        ("Mild dilatation of the bile ducts, renal cyst.", "kidney"),
        ("Spleen of 14 cm, small hepatic cysts.", "liver"),
        ("Liver: a cortical cyst of the spleen.", "spleen"),
        (
            "The esophagus is normal. At the left paratracheal station, a 15 mm lesion (lymphadenopathy).",
            "lymph_node",
        ),
        ("Renal cystic disease.", "kidney"),
    ],
)
def test_the_word_of_a_finding_names_its_organ(text, organ):
    assert [lesion.organ for lesion in read(text).lesions] == [organ]


@pytest.mark.parametrize(
    "text", ["3 to 4 mm nodules in both lungs.", "There are 3 to 12 mm nodules in the lung."]
)
def test_a_range_of_sizes_is_no_number_of_lesions(text):
    assert [lesion.count for lesion in read(text).lesions] == [None]
