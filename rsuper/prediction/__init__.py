"""A trained network and a CT become a mask and measured, located findings."""

from rsuper.prediction.case_score import case_score
from rsuper.prediction.findings import CaseFindings, Finding, read_findings, write_findings
from rsuper.prediction.lesions import find_lesions

__all__ = ["CaseFindings", "Finding", "case_score", "find_lesions", "read_findings", "write_findings"]
