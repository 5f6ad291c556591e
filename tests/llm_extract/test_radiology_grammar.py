"""Invented radiology sentences with known truth: constructions x organs x sizes, and the traps of each construction."""

from __future__ import annotations

import itertools
import time
from typing import Any

import pytest

from llm_extract.records import Lesion, ReportRecord
from llm_extract.reports import Report
from llm_extract.rules import extract_record


def read(text: str) -> ReportRecord:
    record = extract_record(Report(report_id="r1", text=text, kind="radiology"))
    assert all(text[e.start : e.end] == e.text for lesion in record.lesions for e in lesion.evidence)
    return record


def told(lesion: Lesion) -> tuple[Any, ...]:
    """Organ, short part names, side and diameters."""
    parts = tuple(sorted(p.removeprefix(f"{lesion.organ}_") for p in lesion.parts))
    side = lesion.laterality if lesion.laterality in {"left", "right", "bilateral"} else None
    return lesion.organ, parts, side, lesion.diameters_mm


def lesions(text: str) -> list[tuple[Any, ...]]:
    return [told(lesion) for lesion in read(text).lesions]


PLACES = {
    "the left kidney": ("kidney", (), "left"),
    "the lower pole of the right kidney": ("kidney", ("lower_pole",), "right"),
    "the right adrenal gland": ("adrenal_gland", (), "right"),
    "liver segment 7": ("liver", ("segment_7",), None),
    "the pancreatic tail": ("pancreas", ("tail",), None),
    "the spleen": ("spleen", (), None),
    "the left lower lobe": ("lung", ("left_lower_lobe",), "left"),
    "the upper lobe of the right lung": ("lung", ("right_upper_lobe",), "right"),
}
SIZES = {
    "14 mm": (14.0,),
    "1.4 cm": (14.0,),
    "1,4 cm": (14.0,),
    "22 x 17 mm": (22.0, 17.0),
    "2.2x1.7cm": (22.0, 17.0),
    "2.2 × 1.7 × 3 cm": (22.0, 17.0, 30.0),
    "2.2 by 1.7 cm": (22.0, 17.0),
}
ONE = (
    "There is a {size} lesion in {place}.",
    "A lesion measuring {size} is seen in {place}.",
    "In {place} a lesion of {size} is noted.",
    "FINDINGS: Lesion in {place}, {size}.",
    "IMPRESSION:\n1. {size} lesion in {place}, unchanged.",
    "A lesion in {place} now measures {size} (previously 9 mm).",
    "A lesion in {place}, measuring 9 mm on the prior study, now measures {size}.",
    "A lesion in {place} has increased from 9 mm to {size}.",
    "Lesion in {place}: 9 mm -> {size}.",
    "A lesion in {place} measures {size}, compared with 9 mm.",
    "A lesion in {place} measures {size} (3/45).",
    "No effusion, but there is a {size} lesion in {place}.",
    "Status post left hemicolectomy for carcinoma. {size} lesion in {place}.",
)


@pytest.mark.parametrize("sentence", ONE)
def test_every_sentence_reads_the_same_in_every_organ_and_size(sentence):
    for (place, where), (size, diameters) in itertools.product(PLACES.items(), SIZES.items()):
        text = sentence.format(size=size, place=place)
        assert lesions(text) == [(*where, diameters)], text


TWO = (
    "There is a {a} lesion in {x} and a {b} lesion in {y}.",
    "Lesions are seen in {x} ({a}) and in {y} ({b}).",
    "A {a} lesion is present in {x}. A {b} lesion is present in {y}.",
    "Two lesions: {x} {a}, {y} {b}.",
    "Two lesions are seen, the larger in {x} measuring {a}, the other in {y} measuring {b}.",
    "Lesions: {x} ({a}); {y} ({b}).",
    "1. {a} lesion in {x}.\n2. {b} lesion in {y}.",
)


@pytest.mark.parametrize("sentence", TWO)
def test_two_lesions_keep_their_own_size_and_place(sentence):
    places = [p for p in PLACES if p not in {"the spleen", "the upper lobe of the right lung"}]
    for x, y in itertools.permutations(places, 2):
        if PLACES[x][0] != PLACES[y][0]:
            continue
        text = sentence.format(a="31 x 24 mm", b="8 mm", x=x, y=y)
        assert sorted(lesions(text)) == sorted([(*PLACES[x], (31.0, 24.0)), (*PLACES[y], (8.0,))]), text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "5 hepatic lesions: seg 3 (9 mm), seg 4b (1.6 cm), seg 6/7 (4 x 3 cm), caudate (1.2 cm).",
            [("segment_3", 9), ("segment_4", 16), ("segment_6 segment_7", 40), ("segment_1", 12)],
        ),
        (
            "Metastases in segments 3, 5 and 8 of 7, 11 and 19 mm.",
            [("segment_3", 7), ("segment_5", 11), ("segment_8", 19)],
        ),
        ("Liver cysts (segment 4, 13 mm; segment 6, 27 mm).", [("segment_4", 13), ("segment_6", 27)]),
        (
            "A cyst in segment 3 measuring 3.3 cm and another in segment 8 measuring 1.9 cm.",
            [("segment_3", 33), ("segment_8", 19)],
        ),
        (
            "A cyst is present in segment 5 (12 mm) and a second one in segment 2 (6 mm).",
            [("segment_5", 12), ("segment_2", 6)],
        ),
    ],
)  # fmt: skip
def test_lists_of_places_and_sizes(text, expected):
    found = [(" ".join(told(x)[1]), x.diameters_mm[0]) for x in read(text).lesions]
    assert found == expected


@pytest.mark.parametrize(
    ("text", "side"),
    [
        ("IMPRESSION: Left kidney: 27 mm mass. Liver: normal.", "left"),
        ("Left adrenal gland: 27 mm nodule.", "left"),
        ("KIDNEYS: Left: 27 mm cyst. Right: no mass.", "left"),
        ("The left kidney is enlarged. A 27 mm mass is seen in the upper pole.", "left"),
        ("A 27 mm cyst in the left and a 9 mm cyst in the right kidney.", "left"),
        ("In the left kidney a 27 mm cyst and an 11 mm angiomyolipoma.", "left"),
        ("The liver is normal. A 27 mm cyst and a 9 mm angiomyolipoma are seen in the left kidney.", "left"),
        ("Atelectasis adjacent to the expansile 27 mm left rib lesion.", "left"),
        ("Scars on the right and a 27 mm nodule in the left lung.", "left"),
    ],
)
def test_the_side_follows_the_finding(text, side):
    (lesion,) = [x for x in read(text).lesions if x.diameters_mm == (27.0,)]
    assert lesion.laterality == side


def test_index_members_and_remainder():
    rest, index, member = read(
        "At least 6 splenic lesions, the largest 3.1 cm at the upper pole, the second largest 1.4 cm at the hilum."
    ).lesions
    assert (index.group_role, index.diameters_mm, member.group_role, member.diameters_mm) == (
        "index", (31.0,), "member", (14.0,),
    )  # fmt: skip
    assert (rest.group_role, rest.count, rest.count_kind, rest.size_max_mm) == (
        "remainder",
        4,
        "at_least",
        31.0,
    )


def test_the_place_behind_the_verb_is_the_place_of_the_group():
    rest, index = read("Several nodules, the largest of which was 6 mm, were observed in both lungs.").lesions
    assert (rest.organ, rest.laterality, index.laterality) == ("lung", "bilateral", "unknown")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Three nodules of the lower and upper lobes of the left lung.", {"left_upper_lobe", "left_lower_lobe"}),
        (
            "Nodules in the right upper, middle and lower lobes.",
            {"right_upper_lobe", "right_middle_lobe", "right_lower_lobe"},
        ),
        ("Cysts in the upper and lower poles of the right kidney.", {"upper_pole", "lower_pole"}),
    ],
)  # fmt: skip
def test_parts_that_share_a_noun(text, expected):
    (lesion,) = read(text).lesions
    assert set(told(lesion)[1]) == expected


@pytest.mark.parametrize(
    "text",
    [
        "Status post right nephrectomy for renal cell carcinoma (7 cm tumour in 2014).",
        "Prior left adrenalectomy due to a 4 cm pheochromocytoma.",
        "Interval resection of the 3 cm left renal mass.",
        "Lymphoma on follow-up.",
        "Neither kidney shows a mass.",
        "None of the solid organs contains a lesion.",
        "The previously described 9 mm nodule in the left lower lobe is not seen on the current study.",
        "Inguinal nodes which stay below pathological size in a man treated for a bladder tumour.",
        "Calcified lymph nodes smaller than 1 cm are seen in the mediastinum.",
        "Hyperdense nodules of the gallbladder that are considered to be stones.",
        "Wall thickening all around the descending aorta.",
        "An 8 mm nodule is seen next to the spleen, compatible with accessory spleen.",
    ],
)
def test_no_lesion(text):
    assert lesions(text) == []


@pytest.mark.parametrize(
    ("hedge", "certainty"),
    [
        (", compatible with haemangioma", "probable"),
        (", consistent with a haemangioma", "probable"),
        (", likely a small haemangioma", "probable"),
        (", considered haemangioma", "probable"),
        (", which may be a haemangioma", "possible"),
        (", cannot exclude haemangioma", "possible"),
        (", not excluding the possibility of haemangioma", "possible"),
        (" (haemangioma?)", "possible"),
        (", ? haemangioma", "possible"),
        (", a known haemangioma", "definite"),
    ],
)
def test_how_sure_a_diagnosis_is(hedge, certainty):
    (lesion,) = read(f"A 12 mm hypodense lesion in the liver{hedge}.").lesions
    assert (lesion.diagnosis, lesion.diagnosis_certainty, lesion.presence) == (
        "hemangioma",
        certainty,
        "definite",
    )


@pytest.mark.parametrize(
    "text", ["? tumour in the pancreatic tail, 2 cm.", "Possible 2 cm tumour in the pancreatic tail."]
)
def test_a_questioned_lesion_is_possible(text):
    (lesion,) = read(text).lesions
    assert (lesion.organ, lesion.presence, lesion.diameters_mm) == ("pancreas", "possible", (20.0,))


@pytest.mark.parametrize(
    "words", ["suspicious for malignancy", "suspicious for carcinoma", "suspicious for metastasis"]
)
def test_a_suspicion_is_no_malignancy(words):
    (lesion,) = read(f"3 cm mass in the head of the pancreas, {words}.").lesions
    assert (lesion.malignancy, lesion.diagnosis_certainty) == ("indeterminate", "probable")


def test_what_cannot_be_characterised_has_an_open_nature():
    (lesion,) = read("Punctate hypodensity in the spleen, too small to characterise.").lesions
    assert (lesion.malignancy, lesion.diagnosis_certainty, lesion.diameters_mm) == (
        "indeterminate",
        "possible",
        (),
    )


def test_an_implausible_size_is_flagged_and_reviewed():
    record = read("There is a 500 mm mass in the liver.")
    assert [issue.code for issue in record.issues] == ["implausible_size"]
    assert record.status == "needs_review"


@pytest.mark.parametrize(
    ("text", "current", "prior"),
    [
        (
            "Right upper lobe nodule 11 mm in the previous CT and 8 mm in the current CT.",
            8,
            11,
        ),
        (
            "The nodule, measured as about 11 mm in the left lower lobe in the previous CT, was measured as 8 mm.",
            8,
            11,
        ),
        ("8 mm nodule in the lingula, stable from the prior when it measured 11 mm.", 8, 11),
        ("Lingular nodule of 8 mm (11 mm in the previous study).", 8, 11),
        ("Lingular nodule 8 mm (11 mm).", 8, 11),
        ("Pancreatic cyst, 11 mm in 2019, now 8 mm.", 8, 11),
    ],
)
def test_earlier_sizes_never_become_current(text, current, prior):
    (lesion,) = read(text).lesions
    assert (lesion.diameters_mm, lesion.prior_diameters_mm) == ((float(current),), (float(prior),))


def test_an_addendum_corrects_the_size_and_the_side():
    base = "FINDINGS: 3 cm mass in the left kidney.\n"
    (size,) = read(base + "ADDENDUM: The left renal mass should read 4.3 cm, not 3 cm.").lesions
    (side,) = read(base + "ADDENDUM: The mass described above is in the right kidney.").lesions
    assert size.diameters_mm == (43.0,)
    assert (side.laterality, side.diameters_mm) == ("right", (30.0,))


@pytest.mark.parametrize(
    ("text", "organ"),
    [
        ("A 3 cm cystic lesion adjacent to the left kidney.", "peritoneum"),
        ("A 4 mm nodule on the right major fissure.", "lung"),
        ("Ileal loops are normal. A 5 cm mass in the right iliac fossa.", "other"),
        ("A 2 cm solid nodule in the anterior mediastinum.", "other"),
        ("Lymph nodes of 6 mm are seen. Hypodense nodular lesion of 9 mm.", "other"),
        ("A 2 cm retroperitoneal mass, which is separate from the left kidney.", "peritoneum"),
    ],
)
def test_a_neighbour_is_not_the_organ(text, organ):
    assert [x.organ for x in read(text).lesions] == [organ]


def test_one_lesion_stated_twice_is_one():
    text = "FINDINGS: 6 mm nodule in the right upper lobe.\nIMPRESSION: Millimetric nodule in the right lung."
    assert lesions(text) == [("lung", ("right_upper_lobe",), "right", (6.0,))]
    text = (
        "FINDINGS: 6 mm nodule in the right upper lobe. 4 mm nodule in the lingula.\n"
        "IMPRESSION: Nodules in both lungs."
    )
    assert len(read(text).lesions) == 2


def test_a_questioned_operation_is_none():
    assert not read("The appendix could not be visualized (operated?).").surgery
    assert read("The appendix could not be visualized (operated).").surgery
    assert read("The gallbladder was not observed (operated?).").organs["gallbladder"].status == (
        "surgically_absent"
    )


def test_a_summary_of_two_lobes_is_of_the_nodules_there_not_of_the_others():
    text = (
        "FINDINGS: A 5 mm nodule in the right upper lobe. A 4 mm nodule in the left upper lobe. "
        "Apart from these, there are tiny nodules in both lungs.\n"
        "IMPRESSION: {} of both lungs, metastases cannot be excluded."
    )
    first, second, others = read(text.format("Nodules in the upper lobes")).lesions
    assert (first.diameters_mm, second.diameters_mm) == ((5.0,), (4.0,))
    assert (others.parts, others.laterality, others.diagnosis) == ((), "bilateral", None)
    found = read(text.format("Nodules in the lower lobes")).lesions
    assert any("lung_left_lower_lobe" in lesion.parts for lesion in found)


def test_a_look_back_on_nodules_of_several_lobes_names_one_lobe():
    text = (
        "FINDINGS: New nodules up to 5 mm in the left upper lobe, the left lower lobe and the right middle lobe.\n"
        "IMPRESSION: {} in the left lower lobe suggest recurrence."
    )
    (lesion,) = read(text.format("The nodules described above")).lesions
    assert (lesion.laterality, len(lesion.parts), lesion.size_max_mm) == ("bilateral", 3, 5.0)
    assert len(read(text.format("Calcified nodules")).lesions) == 2


def test_a_group_of_three_lobes_keeps_the_lobe_that_a_summary_leaves_out():
    text = (
        "FINDINGS: Nodules in the upper, middle and lower lobes of the right lung.\n"
        "IMPRESSION: Nodules in the middle and lower lobes of the right lung."
    )
    (lesion,) = read(text).lesions
    assert len(lesion.parts) == 3


def test_a_word_behind_a_bracket_is_read():
    (lesion,) = read("(Cyst) in the liver (segment 4), 12 mm.").lesions
    assert (lesion.kind, lesion.organ) == ("cyst", "liver")


def test_a_wrapped_line_joins_its_words():
    (lesion,) = read("FINDINGS: There is a 3 cm mass in the right upper\nlobe of the lung.").lesions
    assert told(lesion) == ("lung", ("right_upper_lobe",), "right", (30.0,))


def test_a_mass_with_calcification_keeps_its_size():
    assert lesions("Mass with central calcification, measuring 4 cm, in the left adrenal gland.") == [
        ("adrenal_gland", (), "left", (40.0,))
    ]


def test_axes_given_one_by_one_are_one_lesion():
    text = (
        "A splenic mass measured 38x31 mm on transverse images where it is broadest, and its craniocaudal extent "
        "was 67 mm."
    )
    assert lesions(text) == [("spleen", (), None, (38.0, 31.0, 67.0))]


@pytest.mark.parametrize(
    ("text", "free"),
    [
        ("The liver, spleen and adrenals are unremarkable.", {"liver", "spleen", "adrenal_gland"}),
        ("Neither kidney shows a mass.", {"kidney"}),
        ("No focal lesion in the spleen, but there is a 9 mm cyst in the liver.", {"spleen"}),
        ("Gastrointestinal tract: no abnormality.", {"stomach", "colon"}),
        ("In the axilla there are lymph nodes not reaching pathological size.", {"lymph_node"}),
        ("The liver is normal except for a 9 mm cyst.", set()),
        ("The drain ends in the bile ducts in a patient operated for pancreatic cancer.", set()),
    ],
)
def test_organs_called_free(text, free):
    found = {o for o, said in read(text).organs.items() if said.status == "explicitly_lesion_free"}
    assert found == free


@pytest.mark.parametrize(
    "unit", ["3 mm ", "FINDINGS: ", "[", "no mass ", "the liver is normal ", "Lesion in segment 4 (3 cm), "]
)
def test_hostile_repetition_is_bounded(unit):
    text = (unit * 100_000)[:99_000]
    began = time.process_time()
    record = read(text)
    assert record.text_chars == 99_000
    assert time.process_time() - began < 8  # quadratic reading takes far longer
