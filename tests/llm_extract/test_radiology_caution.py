"""Rules that take a lesion away or free an organ: what they were written for, and near misses that must stay."""

from __future__ import annotations

import pytest

from llm_extract.records import ReportRecord
from llm_extract.reports import Report
from llm_extract.rules import extract_record


def read(text: str) -> ReportRecord:
    return extract_record(Report(report_id="r1", text=text, kind="radiology"))


def lesions(text: str) -> list[tuple[str, str, tuple[float, ...]]]:
    return [(x.organ, x.presence, x.diameters_mm) for x in read(text).lesions]


STAY = {
    # a later sentence that explains something else
    "A 26 mm dark lesion in segment 6. Possible pneumonia of the left upper lobe.": [
        ("liver", "definite", (26.0,))
    ],
    "A hypodense lesion in the spleen. Possible pneumonia of the left upper lobe.": [
        ("spleen", "definite", ())
    ],
    "A 26 mm lesion in the spleen. Likely fracture of the right sixth rib.": [
        ("spleen", "definite", (26.0,))
    ],
    "An 8 mm lesion in segment 3 and 21 mm in segment 6. Suspected thrombus of a vein.": [
        ("liver", "definite", (8.0,)),
        ("liver", "definite", (21.0,)),
    ],
    "A dense 26 mm lesion in the liver. Suggested control after surgery.": [("liver", "definite", (26.0,))],
    "Liver: hypodense lesion in segment 6. Probable fatty change. Otherwise the liver is normal.": [
        ("liver", "possible", ())
    ],
    # a clause behind that explains something else
    "A low-density lesion of 18 mm in segment 6, and gallstones are suspected.": [
        ("liver", "definite", (18.0,))
    ],
    "A 35 mm lesion of the lung and pneumonia are suspected.": [("lung", "definite", (35.0,))],
    "An 18 mm nodule in the right kidney, and ureteral stones are suspected.": [
        ("kidney", "definite", (18.0,))
    ],
    # cysts of the lung with a size or a name
    "Lungs: A 38 mm cyst in the left lower lobe. No mass or nodule in the lungs.": [
        ("lung", "definite", (38.0,))
    ],
    "Lungs: A bronchogenic cyst in the left lower lobe.": [("lung", "definite", ())],
    # a reading that places what it names in another organ
    "A 17 mm cyst in the liver. These could be metastases in the spleen.": [
        ("liver", "definite", (17.0,)),
        ("spleen", "possible", ()),
    ],
    "A 26 mm mass in the right kidney. These could be metastases in the pancreas.": [
        ("kidney", "definite", (26.0,)),
        ("pancreas", "possible", ()),
    ],
    "These findings may represent metastases in the liver.": [("liver", "possible", ())],
    "Wall thickening of the stomach. Gastric carcinoma cannot be excluded.": [("stomach", "possible", ())],
    "A 17 mm cyst in the liver. Lymphoma of the stomach should be considered in the differential.": [
        ("liver", "definite", (17.0,)),
        ("stomach", "possible", ()),
    ],
    # the place of the one questioned name is all there is
    "A 17 mm mass (left adrenal metastasis?).": [("adrenal_gland", "definite", (17.0,))],
    "A 17 mm mass (left adrenal adenoma?) and a 26 mm mass (spleen lymphoma?).": [
        ("adrenal_gland", "definite", (17.0,)),
        ("spleen", "definite", (26.0,)),
    ],
    # where another lesion reaches, what changed elsewhere
    "A 26 mm mass in the pancreatic tail. The known liver mass extends to the diaphragm.": [
        ("pancreas", "definite", (26.0,)),
        ("liver", "definite", ()),
    ],
    "A 9 mm nodule in the right upper lobe. Increase in size of the 14 mm nodule in the left upper lobe.": [
        ("lung", "definite", (9.0,)),
        ("lung", "definite", (14.0,)),
    ],
    "A 17 mm lesion in the liver. No change in the size of the lesion in the spleen.": [
        ("liver", "definite", (17.0,)),
        ("spleen", "definite", ()),
    ],
    "A 35 mm mass is in the left lung and the left kidney is not seen.": [("lung", "definite", (35.0,))],
    # bones beside other tissues
    "A 22 mm lytic lesion in the subcutaneous border of the tibia bone.": [("bone", "definite", (22.0,))],
    "A 22 mm mass in the subcutaneous tissue at the scapula.": [("soft_tissue", "definite", (22.0,))],
    "Pleural thickening or mass is noted.": [("other", "possible", ())],
    "Low-density occupation of 3 cm in the left lobe of the liver.": [("liver", "definite", (30.0,))],
}


@pytest.mark.parametrize("text", STAY)
def test_a_lesion_stays(text):
    assert lesions(text) == STAY[text]
    assert not [n for n, s in read(text).organs.items() if s.status == "explicitly_lesion_free"]


GO = (
    "Vague low density in the right flank. Consider a haematoma of the wall.",
    "Dense foci are seen in the gallbladder and gallbladder stones are considered.",
    "Lungs: A 12 mm air cyst in the left lower lobe.",
    "A 35 mm mass in the left lung is no longer seen.",
    "Occupation: retired miner.",
    "The bed occupancy delayed the scan of the liver.",
)


@pytest.mark.parametrize("text", GO)
def test_what_is_explained_or_gone_or_no_finding_goes(text):
    assert lesions(text) == []


def test_one_of_two_sizes_with_a_component_is_no_earlier_size():
    found = read(
        "Liver mass measuring 44 x 32 mm with a necrotic centre of 21 x 16 mm, decreased in size."
    ).lesions
    assert found[0].diameters_mm == (44.0, 32.0)
    assert not any(x.prior_diameters_mm for x in found)


@pytest.mark.parametrize(
    "text",
    [
        "The spleen is not seen to be enlarged.",
        "The prostate is not identified as enlarged.",
        "After cholecystectomy, the spleen was not observed to be enlarged.",
        "The kidneys are not shown on these images of the chest.",
        "Kidneys: Not seen hydronephrosis.",
        "The gallbladder could not be identified separately from the mass.",
        "The gallbladder is not identified, likely decompressed.",
        "Following gastrectomy, the pancreas is not seen due to artifacts.",
        "The pancreas is not seen after gastrectomy.",
    ],
)
def test_an_organ_is_not_absent_for_another_reason(text):
    found = read(text).organs
    assert {n for n, s in found.items() if s.status == "surgically_absent"} <= {"gallbladder"} - (
        {"gallbladder"} if "gallbladder" in text else set()
    )


@pytest.mark.parametrize(
    ("text", "organ"),
    [
        ("Status post wedge resection of the stomach.", "stomach"),
        ("Segmentectomy of the left breast was performed.", "breast"),
        ("Status post segmentectomy.", "lung"),
    ],
)
def test_an_operation_is_on_the_organ_named_beside_it(text, organ):
    assert [s.organ for s in read(text).surgery] == [organ]


def test_a_disease_of_the_family_is_none_of_the_patient():
    record = read("Father has polycystic kidney disease. The kidneys are normal.")
    assert (record.lesions, record.organs["kidney"].status) == ((), "explicitly_lesion_free")
    assert read("The patient has polycystic kidney disease.").lesions
