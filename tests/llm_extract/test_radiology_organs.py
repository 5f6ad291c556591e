"""What a report says of whole organs: invented sentences that tempt to call an organ free, and near misses."""

from __future__ import annotations

import pytest

from llm_extract.records import OrganStatement, ReportRecord
from llm_extract.reports import Report
from llm_extract.rules import extract_record


def read(text: str) -> ReportRecord:
    return extract_record(Report(report_id="r1", text=text, kind="radiology"))


def free(text: str) -> set[str]:
    return {name for name, s in read(text).organs.items() if s.status == "explicitly_lesion_free"}


def absent(text: str) -> set[str]:
    return {name for name, s in read(text).organs.items() if s.status == "surgically_absent"}


def sides(statement: OrganStatement) -> tuple[str, str]:
    return statement.sides["left"].status, statement.sides["right"].status


FREE = {
    # an open airway says nothing of the tissue around it
    "The windpipe is patent. Nothing obstructs the lumen of the main bronchus.": set(),
    "The trachea is patent, no narrowing pathology inside it.": set(),
    "No occlusive pathology in the trachea or the main bronchi.": set(),
    "Trachea and main bronchi are normal.": set(),
    "Lungs and pleura: Airways are intact.": set(),
    "No mass is seen in the lumen of the main bronchi.": set(),
    "Trachea and main bronchi are open and no mass is seen in the lung parenchyma.": {"lung"},
    "No stenotic lesion in the ureter, and the kidneys are normal.": {"kidney"},
    # a heading of two organs gives them what has no subject of its own
    "Lungs and pleura: Normal.": {"lung", "pleura"},
    "Lungs and pleura: No pulmonary nodule.": {"lung"},
    "Soft tissues and bones: Soft tissues unremarkable.": {"soft_tissue"},
    "Liver: Size and density are normal.": {"liver"},
    "Spleen: No laceration, otherwise unremarkable.": {"spleen"},
    "Kidneys: The collecting system is normal.": set(),
    "Kidneys: Enhance symmetrically and are unremarkable.": {"kidney"},
    # "normal" before what is not seen is no predicate
    "The normal structure of the uterus is not displayed.": set(),
    "Incomplete display of the normal pancreas.": set(),
    "Emphysema of the right lung with clear boundaries.": set(),
    "The lungs are clear.": {"lung"},
    "The liver is normal and the appendix is not seen.": {"liver"},
    # a dimension is not the tissue
    "Vertebral heights are normal.": set(),
    "Vertebral alignment is normal.": set(),
    "Vertebral heights are preserved, the bones are normal.": {"bone"},
    "Vertebral body heights and densities are normal.": {"bone"},
    # a wall is what a hollow organ is made of
    "The wall thickness of the esophagus is within normal limits.": {"esophagus"},
    "Stomach: Wall thickness is normal.": {"stomach"},
    "The calibre and the wall thickness of the esophagus are natural.": {"esophagus"},
    "The calibre of the esophagus is natural.": {"esophagus"},
    "Esophageal calibration was followed naturally.": {"esophagus"},
    "Esophageal calibration was normal, a thickening of the wall of 8 mm is seen.": set(),
    "The calibre of the esophagus is normal, with wall thickening at its end.": set(),
    "The calibre of the esophagus is normal, no wall thickening is seen.": {"esophagus"},
    "The calibre of the aorta is natural.": set(),
    "The calibre of the colon is natural.": set(),
    "Esophagus without pathological wall thickness.": {"esophagus"},
    "The walls of the esophagus are not thick.": {"esophagus"},
    "The wall of the stomach is not thickened.": {"stomach"},
    "Esophageal calibration and wall thickness are normal.": {"esophagus"},
    "The gallbladder wall is not thick.": set(),
    "The wall of the left ventricle is not thick.": set(),
    "The esophagus is seen, the gallbladder is without wall thickening.": set(),
    # nodes that are named and called small
    "Nodes are seen beside the trachea, the short axis of the largest being 7 mm; none of them is pathological.": {
        "lymph_node"
    },
    "Mediastinal lymph nodes are seen, none of which reach pathological dimensions.": {"lymph_node"},
    "Mediastinal lymph nodes are seen. They are not enlarged.": {"lymph_node"},
    "The vertebrae are seen. None of them is pathological.": set(),
    "The wall thickness of the gallbladder is normal.": set(),
    "The wall thickness of the aorta is normal.": set(),
    "The wall thickness of the colon cannot be evaluated.": set(),
    "The wall thickness of the esophagus is above normal.": set(),
    "Liver, GB and spleen wnl.": {"liver", "gallbladder", "spleen"},
    # wordings of denials
    "No wall thickening or mass in the intestinal segments.": {"colon"},
    "No wall thickening or mass in the small intestinal segments.": {"small_bowel"},
    "No wall thickening or mass in the gastrointestinal tract.": {"stomach", "colon"},
    "No mass is seen in the head, body and tail of the pancreas.": {"pancreas"},
    "No mass is seen in the tail of the pancreas.": set(),
    "No mass in the peritoneum and omentum.": {"peritoneum"},
    "No mass in the omentum.": set(),
    "No mass in the nephrectomy bed.": set(),
    "No solid or cystic lesion in the spleen.": {"spleen"},
    "No cystic lesion in the spleen.": set(),
    "No nodular or infiltrative lesion in either lung.": {"lung"},
    "No infiltrative lesion in either lung.": set(),
    "The liver and the spleen are naturally observed.": {"liver", "spleen"},
    "No lytic or blastic lesions.": {"bone"},
    "The surrenals are natural on both sides.": {"adrenal_gland"},
    "Both surrenal are natural.": {"adrenal_gland"},
    "Musculoskeletal: No destructive lesion.": {"bone"},
}


@pytest.mark.parametrize("text", FREE)
def test_organs_called_free(text):
    assert free(text) == FREE[text]


ABSENT = {
    "The gallbladder was not observed secondary to the operation.": {"gallbladder"},
    "The gallbladder was not observed.": {"gallbladder"},
    "The gallbladder was not clearly seen.": set(),
    "The gallbladder is not visualized because it is contracted.": set(),
    "Wall thickening of the gallbladder was not observed.": set(),
    "Enhancement of the spleen was not observed.": set(),
    "Uterus and both ovaries were not observed.": {"uterus", "ovary"},
    "The ovaries were not observed.": set(),
    "Absence of the spleen, considered postoperative.": {"spleen"},
    "Absence of a splenic lesion.": set(),
    "Incomplete visualization of the uterus, postoperative change.": {"uterus"},
    "Incomplete display of the normal structure of the uterus, postoperative.": {"uterus"},
    "Considered to be postoperative changes of cholecystectomy.": {"gallbladder"},
    "Cholecystectomy should be considered.": set(),
    "Postcholecystectomy status.": {"gallbladder"},
    "Post-splenectomised patient.": {"spleen"},
    "TAH+BSO.": {"uterus", "ovary"},
    "Status post bilateral mastectomies.": {"breast"},
    "Metal clip in the gallbladder fossa, postoperative.": {"gallbladder"},
    "A cyst beside the gallbladder fossa.": set(),
}


@pytest.mark.parametrize("text", ABSENT)
def test_organs_called_absent(text):
    assert absent(text) == ABSENT[text]


def test_an_absent_side_is_no_free_side():
    record = read("The right kidney was not observed. No renal mass.")
    assert sides(record.organs["kidney"]) == ("explicitly_lesion_free", "surgically_absent")


def test_one_lung_that_is_missed_leaves_the_other():
    record = read("The left lung is not observed. No mass is seen in the right lung.")
    assert sides(record.organs["lung"]) == ("surgically_absent", "explicitly_lesion_free")
    assert record.organs["lung"].status == "explicitly_lesion_free"


def test_the_apices_speak_for_the_lungs_with_a_limit():
    lung = read("The visualized lung apices are clear.").organs["lung"]
    assert (lung.status, lung.limited) == ("explicitly_lesion_free", True)


def test_the_side_of_an_operation_in_the_participle():
    (operation,) = read("The patient is right nephrectomized.").surgery
    assert (operation.procedure, operation.laterality) == ("nephrectomy", "right")


def test_the_side_of_one_organ_in_a_list():
    record = read(
        "Spleen, both kidneys and left adrenal gland are normal. A 12 mm nodule of the right adrenal gland."
    )
    assert sides(record.organs["adrenal_gland"]) == ("explicitly_lesion_free", "lesion_present")


def test_a_side_is_as_certain_as_its_organ():
    record = read("A possible 9 mm nodule in the left adrenal gland.")
    assert record.organs["adrenal_gland"].status == "indeterminate"
    assert sides(record.organs["adrenal_gland"])[0] == "indeterminate"


OPERATIONS = {
    "Status post right lower lobe wedge resection.": ("lung", "wedge_resection"),
    "Status post wedge resection of the liver.": ("liver", "wedge_resection"),
    "Left upper lobe apical segmentectomy.": ("lung", "segmentectomy"),
    "Right upper lobe resection.": ("lung", "lobectomy"),
    "The lower lobe of the right lung was not observed (operated).": ("lung", "resection"),
    "Liver right lobe transplantation was performed.": ("liver", "liver_transplant"),
    "Suggesting renal transplantation.": ("kidney", "kidney_transplant"),
}


@pytest.mark.parametrize("text", OPERATIONS)
def test_operations(text):
    (operation,) = read(text).surgery
    assert (operation.organ, operation.procedure) == OPERATIONS[text]


SIGNS = {
    "Intrahepatic bile duct dilatation.": {"duct_dilatation"},
    "The gallbladder is not visible, the common bile duct is dilated.": {"duct_dilatation"},
    "No intrahepatic or extrahepatic bile duct dilatation.": set(),
}


@pytest.mark.parametrize("text", SIGNS)
def test_signs(text):
    assert {sign.sign for sign in read(text).signs} == SIGNS[text]


def test_the_side_of_a_scar_is_not_that_of_the_lungs():
    assert sides(read("Linear scar at the left base, lungs otherwise clear.").organs["lung"]) == (
        "explicitly_lesion_free", "explicitly_lesion_free",
    )  # fmt: skip


def test_one_lung_called_clear_says_nothing_of_the_other():
    assert sides(read("Scar at the right base. The left lung is clear.").organs["lung"])[1] != (
        "explicitly_lesion_free"
    )
