"""Punctures, biopsies that only suspect, landmarks, and diagnoses in one sentence, in pathology reports."""

from __future__ import annotations

import pytest

from llm_extract.records import Lesion
from llm_extract.reports import Report
from llm_extract.rules import extract_record
from llm_extract.rules.pathology.heading_words import SENTINEL


def record(text: str):
    return extract_record(Report(report_id="P1", text=text, kind="pathology"))


def lesions(text: str) -> list[Lesion]:
    return list(record(text).lesions)


LUNG = """\
CONCLUSION:
I. Biopsy right upper lobe: adenocarcinoma of the lung.
II. EBUS puncture station 7: localization of adenocarcinoma.
III. EUS puncture right adrenal gland: {words}
MICROSCOPY:
III: Blood and {cells} adrenal cortical cells.
"""


def test_a_station_is_a_node() -> None:
    found = {x.organ: x for x in lesions(LUNG.format(words="blood only.", cells="few"))}
    assert set(found) == {"lung", "lymph_node"}
    assert (found["lymph_node"].kind, found["lymph_node"].count) == ("metastasis", 1)


@pytest.mark.parametrize(
    ("name", "node"),
    [
        ("EBUS 4L", True),
        ("station 10R", True),
        ("TBNA 7", True),
        ("EBUS of a 12.5 mm lesion", False),
        ("stationary", False),
    ],
)
def test_names_of_stations(name: str, node: bool) -> None:
    assert (SENTINEL.search(name) is not None) is node


def test_a_suspicion_is_a_lesion_that_is_not_sure_and_normal_cells_free_no_organ() -> None:
    found = record(LUNG.format(words="atypical cells, suspicious for carcinoma.", cells="normal"))
    adrenal = next(x for x in found.lesions if x.organ == "adrenal_gland")
    assert (adrenal.laterality, adrenal.presence) == ("right", "probable")
    assert found.organs["adrenal_gland"].status == "lesion_present"
    alone = record(LUNG.format(words="blood only.", cells="normal"))
    assert alone.organs["adrenal_gland"].status != "explicitly_lesion_free"


def test_a_suspicion_beside_a_tumour_is_no_second_one() -> None:
    text = "DIAGNOSIS:\nColon, resection: Adenocarcinoma, 4 cm. Foci suspicious for carcinoma in the fat.\n"
    assert [x.diameters_mm for x in lesions(text)] == [(40.0,)]


def test_a_cancer_as_landmark_takes_no_size() -> None:
    text = """\
DIAGNOSIS:
Sigmoid resection specimen with a carcinoma of 5 cm. Two more tubular adenomas in the vicinity of the carcinoma, 0.7 cm.
"""
    found = {x.kind: x for x in lesions(text)}
    assert (found["polyp"].count, found["polyp"].diameters_mm) == (2, (7.0,))
    assert {x.parts for x in found.values()} == {("colon_sigmoid",)}
    assert found["tumor"].diameters_mm == (50.0,)


@pytest.mark.parametrize(
    ("heading", "parts"),
    [
        ("Sigmoid resection with", ("colon_sigmoid",)),
        ("Right hemicolectomy specimen with", ()),
        ("Low anterior resection with", ()),
    ],
)
def test_a_resection_of_one_part_gives_its_tumour_the_part(heading: str, parts: tuple) -> None:
    assert [x.parts for x in lesions(f"DIAGNOSIS:\n{heading} an ulcerated adenocarcinoma.\n")] == [parts]


def test_two_sites_of_a_checklist_are_of_two_tumours() -> None:
    text = """\
MICROSCOPIC:
1. Tumor type: Ductal adenocarcinoma
Tumor location: Pancreas (tail)
2. Tumor type: Neuroendocrine microadenoma
Tumor location: Pancreas (body)
Tumor size: 0.6 cm
DIAGNOSIS:
Pancreas, tail, resection:
Ductal adenocarcinoma (4 cm)
Pancreas, body, resection:
Neuroendocrine microadenoma (0.6 cm)
"""
    found = {(x.parts, x.diameters_mm) for x in lesions(text)}
    assert found == {(("pancreas_tail",), (40.0,)), (("pancreas_body",), (6.0,))}
