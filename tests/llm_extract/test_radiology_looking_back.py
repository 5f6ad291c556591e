"""What a sentence takes from those before it: the same lobe, the summary, the larger ones of a group."""

from __future__ import annotations

import pytest

from llm_extract.records import ReportRecord
from llm_extract.reports import Report
from llm_extract.rules import extract_record


def read(text: str) -> ReportRecord:
    return extract_record(Report(report_id="r1", text=text, kind="radiology"))


SAME = {
    "A 9 mm nodule in the left upper lobe. In the same lobe, a little below this, a 4 mm nodule is seen.": (
        ("lung_left_upper_lobe",), "left",
    ),
    "A 9 mm nodule in the left upper lobe. Another 4 mm nodule is seen in the same segment.": (
        ("lung_left_upper_lobe",), "left",
    ),
    "A 3 cm lesion in segment 7. A 12 mm cyst is seen in the same segment.": (("liver_segment_7",), "n/a"),
    "A 3 cm mass in the upper pole of the left kidney. A 12 mm cyst at the same level.": (
        ("kidney_upper_pole",), "left",
    ),
    # the organ and its side, not the part
    "A 3 cm mass in the upper pole of the left kidney. A 12 mm cyst is seen in the same kidney.": ((), "left"),
    "A 9 mm nodule in the left upper lobe. A 4 mm nodule in the lower lobe of the same lung.": (
        ("lung_left_lower_lobe",), "left",
    ),
    # a lobe of the liver is more than the segment before; two lobes are not one
    "A 3 cm lesion in segment 7. A 12 mm cyst is seen in the same lobe.": ((), "n/a"),
    "Nodules in both lower lobes. A 4 mm nodule is seen in the same lobe.": ((), "unknown"),
}  # fmt: skip


@pytest.mark.parametrize("text", SAME)
def test_the_same_part_is_that_of_the_lesion_before(text):
    last = read(text).lesions[-1]
    assert (last.parts, last.laterality) == SAME[text]


@pytest.mark.parametrize(
    "text",
    [
        "FINDINGS: A 12 mm nodule is seen in the left lower lobe.\nRESULT: Left lower lobe nodule.",
        "FINDINGS: A 12 mm nodule is seen in the left lower lobe. RESULT: Left lower lobe nodule.",
        "A 12 mm nodule is seen in the left lower lobe. The liver is normal. Result: Left lower lobe nodule.",
    ],
)
def test_a_result_behind_the_findings_sums_them_up(text):
    (lesion,) = read(text).lesions
    assert lesion.diameters_mm == (12.0,)


def test_a_result_without_findings_before_it_holds_them():
    (lesion,) = read("CT of the chest. RESULT: A 12 mm nodule in the left lower lobe.").lesions
    assert lesion.diameters_mm == (12.0,)


def test_a_number_behind_a_segment_of_the_lung_counts_the_nodules():
    (lesion,) = read("In the left lower lobe superior segment two nodules, 3 mm each, are unchanged.").lesions
    assert (lesion.count, lesion.count_kind) == (2, "exact")


GROUPS = {
    "Lymph nodes in the mediastinum and both hila; enlarged ones reach a short axis of 17 mm at the right hilum.": (
        17.0, "right",
    ),
    "Multiple lymph nodes are present in both axillae; the bigger ones reach 15 mm.": (15.0, "unknown"),
    "Numerous nodules in both lungs. The most remarkable is 9 mm in the left upper lobe.": (9.0, "left"),
    "Numerous nodules in both lungs, with the prominent one measuring 9 mm in the left upper lobe.": (9.0, "left"),
    "Multiple cysts in both kidneys; big ones reach 31 mm on the right.": (31.0, "right"),
}  # fmt: skip


@pytest.mark.parametrize("text", GROUPS)
def test_the_larger_ones_of_a_group_give_its_size(text):
    remainder, index = read(text).lesions
    size, side = GROUPS[text]
    assert (remainder.group_role, remainder.size_max_mm, remainder.diameters_mm) == ("remainder", size, ())
    assert (index.group_role, index.diameters_mm, index.laterality) == ("index", (size,), side)


@pytest.mark.parametrize(
    "words",
    [
        "has been considered an intrapulmonary lymph node",
        "is thought to be an intrapulmonary lymph node",
        "may be a perifissural lymph node",
        ", compatible with an intrapulmonary lymph node",
    ],
)
def test_a_nodule_read_as_a_node_of_the_lung_is_one_lesion_with_its_size(words):
    text = f"Tiny nodules are seen in both lungs. Apart from these, a nodule of 11 x 6 mm at the left fissure {words}."
    many, single = read(text).lesions
    assert (many.laterality, many.diameters_mm) == ("bilateral", ())
    assert (single.organ, single.diameters_mm, single.laterality, single.count) == (
        "lung",
        (11.0, 6.0),
        "left",
        1,
    )
    assert single.diagnosis_certainty in {"probable", "possible"}


def test_a_nodule_beside_an_enlarged_node_is_none():
    organs = {
        x.organ for x in read("A 5 mm nodule in the left lung and an enlarged node at the hilum.").lesions
    }
    assert organs == {"lung", "lymph_node"}
