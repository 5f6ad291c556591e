"""Phantoms end to end: the true masks agree with the reports that were written about them, and only with those."""

from __future__ import annotations

import pytest

from llm_extract.anatomy import load_anatomy
from llm_extract.backends.rules import RulesBackend
from llm_extract.reports import Report
from rsuper.agreement import compare_case
from rsuper.prediction import CaseFindings, find_lesions
from rsuper.supervision import load_policy
from rsuper.synthesis import make_case

CLASS = "pancreas_lesion"


@pytest.fixture(scope="module")
def cohort():
    """Findings of the true masks and records of the reports, of eight phantoms."""
    backend = RulesBackend()
    found = []
    for index in range(8):
        case = make_case(11, index)
        findings = find_lesions(
            case.lesion_masks[CLASS],
            None,
            case.ct,
            affine=case.affine,
            class_name=CLASS,
            organ_masks=case.organs,
        )
        record = backend.extract(
            Report(report_id=case.case_id, text=case.report, kind="radiology", row=index)
        )
        found.append(
            (
                case,
                CaseFindings(case_id=case.case_id, spacing_mm=case.spacing_mm, lesions=tuple(findings)),
                record,
            )
        )
    return found


def agreement(findings, record):
    return compare_case(findings, [record], classes=[CLASS], anatomy=load_anatomy(), policy=load_policy())


def test_findings_measure_what_the_phantom_knows(cohort):
    lesions = 0
    for case, findings, _ in cohort:
        assert len(findings.lesions) == len(case.lesions)
        truths = sorted(case.lesions, key=lambda lesion: -lesion.volume_mm3)
        for truth, finding in zip(truths, findings.lesions, strict=True):
            lesions += 1
            assert finding.diameters_mm == pytest.approx(truth.diameters_mm, abs=0.02)
            assert finding.volume_mm3 == pytest.approx(truth.volume_mm3, rel=1e-3)
            assert finding.part == truth.part
            assert finding.centre_mm == pytest.approx(truth.centre_mm, abs=0.01)
    assert lesions >= 3


def test_true_masks_agree_with_their_reports(cohort):
    for case, findings, record in cohort:
        result = agreement(findings, record)
        wanted = "matched" if case.has_tumour else "both_negative"
        assert {row.verdict for row in result.rows} == {wanted}, case.case_id


def test_reports_of_other_cases_do_not_agree(cohort):
    with_tumour = [entry for entry in cohort if entry[0].has_tumour]
    normal = [entry for entry in cohort if not entry[0].has_tumour]
    for (_, findings, _), (_, _, record) in zip(with_tumour, normal, strict=False):
        assert {row.verdict for row in agreement(findings, record).rows} == {"found_not_reported"}
    for (_, findings, _), (_, _, record) in zip(normal, with_tumour, strict=False):
        assert {row.verdict for row in agreement(findings, record).rows} == {"reported_not_found"}
