"""Checklists without a title, and clauses that free no organ, in pathology reports written for these tests."""

from __future__ import annotations

from llm_extract.reports import Report
from llm_extract.rules import extract_record
from llm_extract.rules.pathology.layout import split_pathology

CHECKLIST = """\
Procedure
Partial pancreatectomy
Tumor Site
Pancreatic tail
Tumor Size
Greatest dimension: 5.0 cm
Histologic Type
Ductal adenocarcinoma
"""


def record(text: str):
    return extract_record(Report(report_id="P1", text=text, kind="pathology"))


def test_the_first_tumour_key_below_a_procedure_begins_a_checklist():
    sections, _ = split_pathology(CHECKLIST)
    assert [s.name for s in sections] == ["procedure", "synoptic"]
    lesions = record(CHECKLIST).lesions
    assert [(x.parts, x.diameters_mm) for x in lesions] == [(("pancreas_tail",), (50.0,))]


def test_a_procedure_without_a_checklist_stays_one():
    sections, _ = split_pathology("PROCEDURE:\nRadical nephrectomy\nDIAGNOSIS:\nKidney: Oncocytoma.\n")
    assert [s.name for s in sections] == ["procedure", "diagnosis"]


def test_the_clause_behind_a_dash_is_not_what_was_called_unremarkable():
    text = (
        "GROSS:\nThe duodenal mucosa is unremarkable- opening the attached gallbladder releases bile.\n"
        "DIAGNOSIS:\nPancreas, Whipple resection: Ductal adenocarcinoma, 2 cm.\n"
    )
    assert record(text).organs["gallbladder"].status == "no_statement_on_lesions"


def test_an_organ_before_the_dash_is():
    text = (
        "GROSS:\nThe gallbladder is unremarkable- opening the duodenum shows folds.\n"
        "DIAGNOSIS:\nPancreas, Whipple resection: Ductal adenocarcinoma, 2 cm.\n"
    )
    assert record(text).organs["gallbladder"].status == "explicitly_lesion_free"


INVADED = "DIAGNOSIS:\nBladder and prostate, cystectomy: Urothelial carcinoma, 8 cm.\n"


def test_an_organ_that_the_tumour_involves_is_not_called_free_by_a_later_word():
    text = INVADED + "Tumor involves the bladder and prostate.\nCOMMENT:\nStains show benign prostate.\n"
    assert record(text).organs["prostate"].status == "no_statement_on_lesions"


def test_an_organ_that_it_does_not_involve_is():
    text = INVADED + "Tumor does not involve the prostate.\nProstate: benign, no tumor.\n"
    assert record(text).organs["prostate"].status == "explicitly_lesion_free"
