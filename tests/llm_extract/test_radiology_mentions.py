"""What is a lesion, how many, and which mentions are one: invented sentences with known truth."""

from __future__ import annotations

import pytest

from llm_extract.grounding import evidence_of
from llm_extract.measurements import scan_measurements
from llm_extract.records import ReportRecord
from llm_extract.reports import Report
from llm_extract.rules import extract_record


def read(text: str) -> ReportRecord:
    return extract_record(Report(report_id="r1", text=text, kind="radiology"))


NONE = (
    "Two nodules in the gallbladder, thought to be stones.",
    "A nodule beside the spleen, considered to be an accessory spleen.",
    "A lesion of segment 4 that is seen in the arterial phase only, is isodense in all of the other phases and was "
    "interpreted as an arterioportal shunt.",
    "Dense appearance of the prosthetic valve.",
    "Low density of the liver parenchyma, as in steatosis.",
)


@pytest.mark.parametrize("text", NONE)
def test_what_the_text_explains_away_is_no_lesion(text):
    assert read(text).lesions == ()


SOME = {
    "Low-density shadow in the renal parenchyma.": ("kidney", "hypo"),
    "Multiple patchy low-density shadows in the liver, postoperative change or new lesions.": (
        "liver",
        "hypo",
    ),
    "Patchy low-density foci in the pancreas.": ("pancreas", "hypo"),
    "Questionable 7 mm hypodensity in the spleen, perhaps volume averaging.": ("spleen", "hypo"),
    "A nodular density compatible with an implant lies on the liver.": ("liver", "unknown"),
    "Multiple bone destruction throughout the body.": ("bone", "unknown"),
}


@pytest.mark.parametrize("text", SOME)
def test_a_hedge_or_a_vague_word_does_not_make_a_lesion_disappear(text):
    (lesion,) = read(text).lesions
    assert (lesion.organ, lesion.attenuation) == SOME[text]


def test_what_a_lesion_holds_is_no_lesion_of_its_own():
    (lesion,) = read("A 6 cm cyst in the left kidney with dense nodules inside.").lesions
    assert (lesion.kind, lesion.count) == ("cyst", 1)


COUNTS = {
    "There is lymphadenopathy with a short axis of 13 mm in the subcarinal area.": 1,
    "Mediastinal lymphadenopathy up to 13 mm.": None,
    "Mediastinal and hilar lymphadenopathy, 13 mm.": None,
    "Osteolysis in multiple ribs, suggesting bone metastasis.": None,
    "Osteolysis in the fourth rib, suggesting bone metastasis.": 1,
    "The largest of these nodules in the right lung measures 5 mm.": 1,
    "Multiple subpleural nodule is observed in the right lung.": None,
    "In this Covid-19 positive case several nodules are observed in the right lung.": None,
    "There are two 4 mm diameter nodules in the right lung.": 2,
    "There are 3 nodules of 4 mm in the right lung.": 3,
}


@pytest.mark.parametrize("text", COUNTS)
def test_a_singular_noun_may_stand_for_several_and_a_mass_noun_for_one(text):
    (lesion,) = read(text).lesions
    assert lesion.count == COUNTS[text]


SEVERAL_ORGANS = {
    "Metastases in the liver, both lungs and bones.": [
        ("liver", "n/a"),
        ("lung", "bilateral"),
        ("bone", "unknown"),
    ],
    "Cysts are seen in the liver and left kidney.": [("liver", "n/a"), ("kidney", "left")],
    "Hepatic and renal cysts.": [("liver", "n/a"), ("kidney", "unknown")],
    "Multiple liver and lung metastases.": [("liver", "n/a"), ("lung", "unknown")],
    "In the liver and spleen, multiple hypodense lesions are seen.": [("liver", "n/a"), ("spleen", "n/a")],
    "A mass in the liver, spleen normal.": [("liver", "n/a")],
    "Cysts in the liver adjacent to the right kidney.": [("liver", "n/a")],
}


@pytest.mark.parametrize("text", SEVERAL_ORGANS)
def test_one_noun_states_lesions_of_every_organ_it_is_joined_to(text):
    found = [(lesion.organ, lesion.laterality) for lesion in read(text).lesions]
    assert found == SEVERAL_ORGANS[text]


def test_the_largest_of_several_organs_lies_in_one_of_them():
    text = "Multiple cysts in the liver and both kidneys, the largest in the left kidney measuring 4 cm."
    liver, kidneys, largest = read(text).lesions
    assert (liver.organ, liver.size_max_mm, liver.diameters_mm) == ("liver", None, ())
    assert (kidneys.laterality, kidneys.size_max_mm, kidneys.group_role) == ("bilateral", 40.0, "remainder")
    assert (largest.laterality, largest.diameters_mm, largest.group_role) == ("left", (40.0,), "index")


def test_a_size_that_may_be_of_either_organ_is_given_to_none():
    record = read("Multiple cysts in the liver and both kidneys, the largest 4 cm.")
    assert [lesion.diameters_mm for lesion in record.lesions] == [(), ()]
    assert [m.reason for m in record.unused_measurements] == ["other"]


@pytest.mark.parametrize(
    "text",
    [
        "Several nodules with a diameter of 4 mm in both lungs, the largest of which is in the left lower lobe.",
        "Several nodules in both lungs, the largest of which is 4 mm in the left lower lobe.",
    ],
)
def test_the_place_of_the_largest_is_not_that_of_the_others(text):
    group, index = read(text).lesions
    assert (group.laterality, group.parts, group.size_max_mm) == ("bilateral", (), 4.0)
    assert (index.laterality, index.parts, index.diameters_mm) == ("left", ("lung_left_lower_lobe",), (4.0,))


def test_a_single_noun_in_both_lungs_stands_for_several():
    (lesion,) = read("A millimetric nodule is observed in both lungs.").lesions
    assert (lesion.laterality, lesion.count, lesion.count_kind) == ("bilateral", None, "multiple_unknown")


LOOSE = (
    "Ground-glass areas in both lungs. The described lesions are peripheral. Wide vessels are seen within the lesion.",
    "Axillary lymph nodes measured in pathological dimensions were not detected.",
    "A dense shadow in the area of the coronary calcification.",
    "At the hilar level a pathologically enlarged lymph node cannot be distinguished.",
    "Isodense accessory spleen appearance in the hilum of the spleen.",
)


@pytest.mark.parametrize("text", LOOSE)
def test_a_look_back_at_no_lesion_and_a_denied_participle_are_none(text):
    assert read(text).lesions == ()


NODES = {
    "Mediastinal lymphadenopathy is present.": ("lymph_node_mediastinal",),
    "Enlarged right axillary lymph node, 17 mm.": ("lymph_node_axillary",),
    "LYMPH NODES: There are mesenteric lymph nodes of up to 16 mm.": ("lymph_node_mesenteric",),
    "Enlarged inguinal nodes.": ("lymph_node_inguinal",),
}


@pytest.mark.parametrize("text", NODES)
def test_a_station_does_not_hide_the_node(text):
    (lesion,) = read(text).lesions
    assert (lesion.organ, lesion.parts) == ("lymph_node", NODES[text])


def test_a_denied_station_is_a_denial():
    assert read("No axillary lymphadenopathy.").organs["lymph_node"].status == "explicitly_lesion_free"


def test_a_size_in_brackets_behind_a_size_word_is_a_current_one():
    (lesion,) = read("A millimetric (3 mm) nodule in the right lower lobe.").lesions
    assert (lesion.diameters_mm, lesion.prior_diameters_mm) == ((3.0,), ())


def test_the_largest_of_a_group_named_in_the_next_sentence():
    text = (
        "Millimetric nodules in both lungs. The largest of these nodules, 6 mm, is in the right upper lobe."
    )
    group, index = read(text).lesions
    assert (group.group_role, group.laterality, group.parts, group.size_max_mm) == (
        "remainder",
        "bilateral",
        (),
        6.0,
    )
    assert (index.group_role, index.diameters_mm, index.laterality) == ("index", (6.0,), "right")


def test_the_summary_of_some_nodules_does_not_move_the_others():
    text = (
        "FINDINGS: Nodules of 9 mm and 8 mm in the left lower lobe. Small nodules in both lungs.\n"
        "IMPRESSION: Two nodules in the left lower lobe."
    )
    first, second, others = read(text).lesions
    assert {first.parts, second.parts} == {("lung_left_lower_lobe",)}
    assert (others.laterality, others.parts, others.count) == ("bilateral", (), None)


def test_a_summary_without_a_size_is_no_proof_of_a_side():
    text = (
        "FINDINGS: A 4 mm lesion is seen in the lumen of a bronchus.\n"
        "IMPRESSION: Calcified lesion in the right upper lobe."
    )
    assert [(lesion.laterality, lesion.diameters_mm) for lesion in read(text).lesions] == [
        ("unknown", (4.0,)),
        ("right", ()),
    ]


def test_one_nodule_of_a_summary_may_be_the_nodules_of_the_findings():
    text = (
        "FINDINGS: 19 mm nodules of the left lower lobe are stable.\n"
        "IMPRESSION: Stable nodule of the left lower lobe."
    )
    assert len(read(text).lesions) == 1


GOES_ON = (
    "A low-density nodule in the left kidney. CT value 6 HU, clear border, considering a simple renal cyst.",
    "A hypodense nodule in the left kidney. It is low density.",
    "A hypodense nodule in the left kidney. Tumor differentiation could not be made.",
    "A hypodense nodule in the left kidney compatible with a 16 mm diameter cyst.",
    "A hypodense nodule of the left kidney with a nonspecific hypodense appearance, 16 mm.",
    "A hypodense nodule of cystic density, 16 mm, in the left kidney.",
    "A hypodense nodule of the left kidney cannot be clearly distinguished from the spleen.",
)


@pytest.mark.parametrize("text", GOES_ON)
def test_a_sentence_that_only_describes_is_no_second_lesion(text):
    (lesion,) = read(text).lesions
    assert (lesion.organ, lesion.laterality, lesion.attenuation) == ("kidney", "left", "hypo")


ACCOUNTED = (
    "FINDINGS: A 4 mm and a 3 mm nodule in the right lung.\nIMPRESSION: Nodules smaller than 5 mm in the right lung.",
    "A 3 cm cyst in the left kidney, previously 2 cm, with a wall of 2 mm, next to a 9 mm stone.",
    "The spleen measures 12 cm. Common bile duct 6 mm. Aorta 30 mm. Nodes of up to 7 mm. 5 mm.",
    "Multiple cysts in the liver and both kidneys, the largest 4 cm. Repeat in 6 months if above 5 mm.",
)


@pytest.mark.parametrize("text", ACCOUNTED)
def test_every_length_is_a_quote_of_the_record_or_has_a_reason_why_not(text):
    record = read(text)
    accounted = {(u.start, u.end) for u in record.unused_measurements}
    accounted |= {(e.start, e.end) for e in evidence_of(record)}
    assert {(m.start, m.end) for m in scan_measurements(text)} <= accounted


@pytest.mark.parametrize(
    "text",
    [
        "Thin-walled cysts are seen in both lungs.",
        "A 25 mm air cyst in the right lower lobe.",
        "Thin-walled cystic areas in both lungs.",
        "Areas of low density in the vertebrae, consistent with osteopenia.",
        "Tree-in-bud opacities in the right upper lobe.",
        "Acinar nodules in the right upper lobe.",
        "Local nodule-like thickening of the left adrenal gland.",
        "Residual thymus tissue in the anterior mediastinum.",
    ],
)
def test_what_is_no_lesion(text):
    assert not read(text).lesions


LESIONS = {
    "A 25 mm cyst of fluid density in the right lower lobe.": ("cyst", "hypo", (25.0,)),
    "A 40 mm hydatid cyst in the right lower lobe.": ("cyst", "unknown", (40.0,)),
    "A sclerotic lesion in the left third rib.": ("lesion", "unknown", ()),
    "A lytic area in the left third rib.": ("lesion", "unknown", ()),
    "A nodular low-density shadow in the liver.": ("lesion", "hypo", ()),
    "Nodular high-density shadows in both lungs.": ("lesion", "hyper", ()),
    "Right breast nodule shadow, please combine with ultrasound.": ("nodule", "unknown", ()),
    "A mass shadow of the left kidney, further examination is advised.": ("mass", "unknown", ()),
    "A 9 mm nodule image in the left lung.": ("nodule", "unknown", (9.0,)),
    "Polycystic kidney disease.": ("cyst", "unknown", ()),
    "Space occupation in the nasopharynx.": ("mass", "unknown", ()),
}


@pytest.mark.parametrize("text", LESIONS)
def test_kind_and_density_of_a_word(text):
    (lesion,) = read(text).lesions
    assert (lesion.kind, lesion.attenuation, lesion.diameters_mm) == LESIONS[text]


def test_a_density_belongs_to_the_noun_behind_it():
    lesion = read("A solitary nodule and patchy high-density shadows in the right lung.").lesions[0]
    assert (lesion.kind, lesion.attenuation) == ("nodule", "unknown")
    (lesion,) = read("A mass of the liver with necrosis and low density.").lesions
    assert lesion.attenuation == "hypo"


def test_what_has_an_earlier_size_is_not_new():
    (lesion,) = read(
        "A 25 mm lesion in the left lung (27 mm in the previous examination), new air within it."
    ).lesions
    assert lesion.change != "new"


def test_a_disease_of_many_cysts_is_no_single_one():
    (lesion,) = read("Polycystic kidney disease.").lesions
    assert (lesion.count, lesion.count_kind) == (None, "multiple_unknown")


def test_a_worded_bound_needs_no_digit_elsewhere():
    (lesion,) = read("There are millimetric nodules in both lungs.").lesions
    assert (lesion.diameters_mm, lesion.size_max_mm) == ((), 10.0)
    (lesion,) = read("There are nodules of millimeter size in both lungs.").lesions
    assert lesion.size_max_mm == 10.0
    (lesion,) = read("There are nodules up to the 4 mm in both lungs.").lesions
    assert (lesion.diameters_mm, lesion.size_max_mm) == ((), 4.0)


@pytest.mark.parametrize(
    "text",
    [
        "A mediastinal lymph node larger than 1 cm.",
        "Mediastinal lymph nodes greater than 1 cm, suggesting lymph node enlargement.",
        "Mild enlargement of the left jugulodigastric node, 11 mm.",
        "There is mild enlargement of a right cervical node of 13 mm with normal architecture.",
        "The left kidney is normal, there is slight enlargement of a para-aortic node, 13 mm.",
        "A left axillary lymph node of 12 mm with loss of fatty hilus.",
        "A round lymph node of 14x12 mm, of which the fatty hilus cannot be made out, lies in the left axilla.",
        "An inguinal node of 14 mm whose fatty hilum is not seen is noted.",
        "A left axillary lymph node of 12 mm with effaced fatty hilum.",
        "A left axillary node of 12 mm, the fatty hilum of which is lost.",
    ],
)
def test_a_node_that_is_called_large(text):
    (lesion,) = read(text).lesions
    assert lesion.kind == "lymph_node"
    assert (lesion.size_min_mm or max(lesion.diameters_mm)) >= 10


def test_small_nodes_stay_unread():
    assert not read("Mediastinal lymph nodes smaller than 1 cm.").lesions
    assert not read("A mediastinal lymph node of 6 mm.").lesions
    assert not read("An axillary lymph node of 14 mm with a fatty hilum is not enlarged.").lesions
    assert not read("An axillary lymph node of 14 mm, the fatty hilum of which is preserved.").lesions
    assert not read("A cervical node of 6 mm with normal architecture.").lesions
    assert not read("No enlargement of the cervical nodes, which have a normal shape.").lesions
    assert not read("Reactive enlargement of a cervical node of 9 mm.").lesions


def test_a_calcified_node_counts_only_where_it_is_called_enlarged():
    assert not read("A calcified mediastinal lymph node of 16 mm.").lesions
    assert len(read("An enlarged, calcified mediastinal lymph node of 16 mm.").lesions) == 1


def test_smaller_nodules_have_not_shrunk():
    (lesion,) = read("There are smaller sized nodules in both lungs.").lesions
    assert lesion.change == "unknown"
    (lesion,) = read("The 5 mm nodule in the left lung is smaller.").lesions
    assert lesion.change == "smaller"


@pytest.mark.parametrize("words", ["there was no significant difference", "it did not differ significantly"])
def test_no_difference_is_stable(words):
    (lesion,) = read(f"A 5 mm nodule in the left lung, {words} from the earlier study.").lesions
    assert lesion.change == "stable"
