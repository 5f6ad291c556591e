"""The prevalence of lesions in reports against masks, as a finding of the check."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from llm_extract.anatomy import load_anatomy
from llm_extract.records import Evidence, Lesion, Provenance, ReportRecord
from rsuper.data.mask_summary import MaskSummary
from rsuper.data.prevalence import prevalence_issues

QUOTE = Evidence(field="lesion", start=0, end=4, text="cyst", section="findings")
EMPTY = MaskSummary(volume_mm3=0.0)
DRAWN = MaskSummary(volume_mm3=900.0, low_mm=(0.0, 0.0, 0.0), high_mm=(9.0, 10.0, 10.0))


@pytest.fixture
def issues():
    """Findings of a data set of 60 cases with reports; every other case has a kidney mask, few with a lesion."""

    def record(case_id: str, kind: str | None) -> ReportRecord:
        own = () if kind is None else (Lesion(lesion_id="L1", organ="kidney", kind=kind, evidence=(QUOTE,)),)
        return ReportRecord(
            report_id=case_id,
            source="radiology",
            text_sha256="0" * 64,
            text_chars=9,
            status="ok",
            lesions=own,
            provenance=Provenance(backend="rules", version="0"),
        )

    def of(policy: str):
        records = {f"c{i}": (record(f"c{i}", "cyst" if i % 3 else None),) for i in range(60)}
        masks = {
            f"c{i}": {"kidney_left": DRAWN} | ({} if i % 2 else {"kidney_lesion": DRAWN if i == 0 else EMPTY})
            for i in range(60)
        }
        dataset = SimpleNamespace(records=records.__getitem__)
        return list(prevalence_issues(dataset, masks, policy=policy, anatomy=load_anatomy()))

    return of


def test_a_policy_that_counts_cysts_is_told(issues):
    (issue,) = issues("all_lesions")
    assert (issue.code, issue.severity, issue.structure) == (
        "prevalence_disagrees",
        "warning",
        "kidney_lesion",
    )
    assert "40 of 60" in issue.message
    assert "1 of 30" in issue.message
    assert "20 are stated and not drawn" in issue.message
    assert "--policy" in issue.hint


def test_a_policy_that_fits_the_masks_is_not(issues):
    assert issues("tumours") == []
