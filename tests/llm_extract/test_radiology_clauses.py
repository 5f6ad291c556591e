"""Clauses on another side, part or organ than the finding's, and lists whose lesions lie in several."""

from __future__ import annotations

import pytest

from llm_extract.records import Lesion
from llm_extract.reports import Report
from llm_extract.rules import extract_record


def lesions(text: str) -> tuple[Lesion, ...]:
    return extract_record(Report(report_id="r1", text=text, kind="radiology")).lesions


OTHER_SIDE = {
    "The left kidney contains a 3 cm mass and the right kidney is normal.": ("kidney", "left"),
    "The left kidney contains a 3 cm mass, right kidney normal.": ("kidney", "left"),
    "The left kidney contains a 3 cm mass while the right kidney is unremarkable.": ("kidney", "left"),
    "Right kidney: 3 cm mass, left kidney absent.": ("kidney", "right"),
    "The left adrenal gland shows a 30 mm nodule, the right adrenal is thickened.": ("adrenal_gland", "left"),
    "The right ovary contains a 3 cm cyst and the left ovary is not seen.": ("ovary", "right"),
    "The left breast has a 30 mm mass with a normal right breast.": ("breast", "left"),
    "The left kidney shows a 3 cm mass and the right kidney is surgically absent.": ("kidney", "left"),
    "The left kidney shows a 3 cm mass, right kidney shows hydronephrosis.": ("kidney", "left"),
    "The right lung shows a 30 mm nodule, with left lung atelectasis.": ("lung", "right"),
    "A 30 mm nodule in the right lung and consolidation in the left lower lobe.": ("lung", "right"),
    # near misses: what stands before, and what belongs to the finding
    "The right kidney is normal and the left kidney contains a 3 cm mass.": ("kidney", "left"),
    "A 3 cm mass is seen, and it lies in the right kidney.": ("kidney", "right"),
    "The 3 cm mass is solid, normal tissue of the left kidney surrounds it.": ("kidney", "left"),
    "Kidneys: a 3 cm mass, the right kidney is enlarged.": ("kidney", "right"),
}


@pytest.mark.parametrize("text", OTHER_SIDE)
def test_a_clause_on_the_other_side_gives_no_side(text: str) -> None:
    (lesion,) = lesions(text)
    assert (lesion.organ, lesion.laterality) == OTHER_SIDE[text]
    assert lesion.diameters_mm == (30.0,)


OTHER_PART = {
    "The tail of the pancreas contains a 2 cm mass and the head is normal.": ("pancreas_tail",),
    "There is a 2 cm mass in the pancreatic tail, the body and head are unremarkable.": ("pancreas_tail",),
    "A mass in segment 4 is seen and segments 6 and 7 are atrophic.": ("liver_segment_4",),
    "2 cm pancreatic head mass with atrophy of the body and tail.": ("pancreas_head",),
    "2 cm mass in the pancreatic body sparing the head.": ("pancreas_body",),
    "The mass of the pancreatic body measures 3 cm but spares the head and tail.": ("pancreas_body",),
    "A 6 cm mass of segments 5 and 6, not involving segment 8.": ("liver_segment_5", "liver_segment_6"),
    "A 2 cm mass of the pancreatic body with a duct dilated to 8 mm, atrophy of the tail.": (
        "pancreas_body",
    ),
    # near misses: parts of the finding
    "A 4 cm mass of the pancreatic body and tail.": ("pancreas_body", "pancreas_tail"),
    "A mass of 4 cm involves the pancreatic body and the tail.": ("pancreas_body", "pancreas_tail"),
    "A mass not invading the duodenum, in the pancreatic head.": ("pancreas_head",),
}


@pytest.mark.parametrize("text", OTHER_PART)
def test_a_clause_on_another_part_gives_no_part(text: str) -> None:
    (lesion,) = lesions(text)
    assert set(lesion.parts) == set(OTHER_PART[text])


@pytest.mark.parametrize(
    "text",
    [
        "The right kidney mass measuring 4 cm invades the psoas.",
        "The right renal mass measuring 4 cm encases the renal artery.",
        "A right renal mass of 4 cm abuts the aorta.",
    ],
)
def test_a_size_before_what_the_mass_reaches_is_its_own(text: str) -> None:
    (lesion,) = lesions(text)
    assert (lesion.organ, lesion.laterality, lesion.diameters_mm) == ("kidney", "right", (40.0,))


LISTS = {
    "Metastases in the liver (3 cm) and both adrenal glands (2 cm right, 1.5 cm left).": [
        ("liver", "n/a", (), (30.0,)),
        ("adrenal_gland", "right", (), (20.0,)),
        ("adrenal_gland", "left", (), (15.0,)),
    ],
    "A 2 cm lesion is in segment 5 and two in segment 8 measuring 1 cm and 1.5 cm.": [
        ("liver", "n/a", ("liver_segment_5",), (20.0,)),
        ("liver", "n/a", ("liver_segment_8",), (10.0,)),
        ("liver", "n/a", (), (15.0,)),
    ],
    # one place is that of all
    "Two lesions in segment 8 measuring 1 cm and 1.5 cm.": [
        ("liver", "n/a", ("liver_segment_8",), (10.0,)),
        ("liver", "n/a", ("liver_segment_8",), (15.0,)),
    ],
    "Renal masses: right upper pole 4 cm, left 2.5 cm.": [
        ("kidney", "right", ("kidney_upper_pole",), (40.0,)),
        ("kidney", "left", (), (25.0,)),
    ],
    "Thyroid nodules: right 1.2 cm, left 0.8 cm, isthmus 0.5 cm.": [
        ("thyroid", "right", (), (12.0,)),
        ("thyroid", "left", (), (8.0,)),
        ("thyroid", "unknown", ("thyroid_isthmus",), (5.0,)),
    ],
    "Uterus: fibroids, 3 cm fundal, 2 cm posterior.": [
        ("uterus", "n/a", ("uterus_fundus",), (30.0,)),
        ("uterus", "n/a", (), (20.0,)),
    ],
    # sizes in the order of the organs
    "Cysts of the right kidney and the spleen measuring 2 cm and 3 cm.": [
        ("kidney", "right", (), (20.0,)),
        ("spleen", "n/a", (), (30.0,)),
    ],
    "Masses of the left adrenal gland and the pancreatic tail, 2 and 3 cm, respectively.": [
        ("adrenal_gland", "left", (), (20.0,)),
        ("pancreas", "n/a", ("pancreas_tail",), (30.0,)),
    ],
    "Hypodense lesions: spleen 8 mm, right kidney 12 mm, liver too small to characterise.": [
        ("spleen", "n/a", (), (8.0,)),
        ("kidney", "right", (), (12.0,)),
        ("liver", "n/a", (), ()),
    ],
    "Nodules in the RUL (6 mm) and LLL (9 mm), none in the LUL.": [
        ("lung", "right", ("lung_right_upper_lobe",), (6.0,)),
        ("lung", "left", ("lung_left_lower_lobe",), (9.0,)),
    ],
    "Two nodules in the right lung measuring 8 and 6 mm, none in the left lung.": [
        ("lung", "right", (), (8.0,)),
        ("lung", "right", (), (6.0,)),
    ],
    "Cysts in the upper poles of the kidneys, 4 cm on the right and 2.5 cm on the left.": [
        ("kidney", "right", ("kidney_upper_pole",), (40.0,)),
        ("kidney", "left", ("kidney_upper_pole",), (25.0,)),
    ],
}


@pytest.mark.parametrize("text", LISTS)
def test_a_lesion_of_a_list_takes_no_place_of_another(text: str) -> None:
    assert [(x.organ, x.laterality, x.parts, x.diameters_mm) for x in lesions(text)] == LISTS[text]


@pytest.mark.parametrize(
    ("text", "sizes"),
    [
        ("The 4 cm right renal mass has been resected.", []),
        (
            "The right renal mass of 4 cm has since been surgically removed. A 1 cm cyst of the liver.",
            [(10.0,)],
        ),
        ("A 4 cm right renal mass is seen and the gallbladder has been removed.", [(40.0,)]),
        ("A 4 cm right renal mass, the left kidney has been resected.", [(40.0,)]),
        ("The 22 mm lesion of segment 6 is 12 mm from the portal vein.", [(22.0,)]),
        ("The lesion of segment 6 has grown to 22 mm from 14 mm.", [(22.0,)]),
    ],
)
def test_what_has_been_taken_out_and_where_a_size_comes_from(text, sizes) -> None:
    assert [x.diameters_mm for x in lesions(text)] == sizes
