"""A size between a lesion and its name, a third axis far behind, sizes behind segments of the lung, vague densities."""

from __future__ import annotations

import pytest

from llm_extract.records import ReportRecord
from llm_extract.reports import Report
from llm_extract.rules import extract_record


def read(text: str) -> ReportRecord:
    return extract_record(Report(report_id="r1", text=text, kind="radiology"))


@pytest.mark.parametrize(
    "words",
    [
        "a nodular lesion of 18 x 13 mm consistent with adenoma is seen",
        "a nodule of 18 x 13 mm compatible with an adenoma is present",
        "a mass measuring 18 x 13 mm suggestive of adenoma was noted",
        "a nodule, 18 x 13 mm, previously characterized as adenoma",
        "a nodule of 18 x 13 mm evaluated in favour of adenoma",
        "a lesion of 18 x 13 mm which may represent an adenoma",
    ],
)
def test_a_name_behind_the_size_is_no_second_lesion(words):
    (lesion,) = read(f"In the left adrenal gland {words}.").lesions
    assert (lesion.organ, lesion.diagnosis, lesion.diameters_mm) == ("adrenal_gland", "adenoma", (18.0, 13.0))


def test_a_second_lesion_with_a_size_of_its_own_stays():
    first, second = read("A 3 cm mass in the liver and a 12 mm haemangioma.").lesions
    assert (first.diameters_mm, second.diameters_mm) == ((30.0,), (12.0,))
    assert second.diagnosis == "hemangioma"


def test_the_third_axis_stands_behind_what_the_mass_does():
    (lesion,) = read(
        "A mass measuring 45 x 38 mm in the axial plane is seen in the left upper lobe, it narrows the upper lobe "
        "bronchus and its craniocaudal size is 52 mm."
    ).lesions
    assert sorted(lesion.diameters_mm) == [38.0, 45.0, 52.0]


def test_a_size_behind_a_segment_of_the_lung_is_no_segment_of_the_liver():
    (lesion,) = read("In the left lung lower lobe superior segment 6 mm nodule is present.").lesions
    assert (lesion.organ, lesion.diameters_mm) == ("lung", (6.0,))
    first, second = read("A lesion in segment 6 12 mm and in segment 7 9 mm.").lesions
    assert (first.parts, second.parts) == (("liver_segment_6",), ("liver_segment_7",))


def test_a_list_of_parts_keeps_the_side_that_opens_it():
    found = read("In the right lung, upper lobe 6 mm, middle lobe 4 mm and lower lobe 5 mm nodules.").lesions
    assert [x.parts[0] for x in found] == [
        "lung_right_upper_lobe", "lung_right_middle_lobe", "lung_right_lower_lobe",
    ]  # fmt: skip
    other = read("A 6 mm nodule in the right lung upper lobe, 5 mm in the lingula.").lesions
    assert [x.laterality for x in other] == ["right", "left"]


def test_low_densities_of_the_liver_are_lesions_and_its_low_density_is_none():
    (lesion,) = read("The liver has millimetric hypodensities that cannot be characterised.").lesions
    assert (lesion.organ, lesion.attenuation, lesion.count_kind) == ("liver", "hypo", "multiple_unknown")
    assert not read("The liver shows hypodensity consistent with steatosis.").lesions


def test_no_abnormal_density_frees_the_organ():
    record = read("The shape and size of the spleen are normal, and no abnormal density is seen.")
    assert record.organs["spleen"].status == "explicitly_lesion_free"
    assert not read("An abnormal density is seen.").lesions


def test_a_duct_tells_of_which_organ_the_next_sentence_speaks():
    (lesion,) = read("The main pancreatic duct is 5 mm. There is a 9 mm cystic lesion in the body.").lesions
    assert (lesion.organ, lesion.parts) == ("pancreas", ("pancreas_body",))
