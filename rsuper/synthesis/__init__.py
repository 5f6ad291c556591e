"""Phantoms, tumours and their reports: CT-report pairs of which everything is known."""

from rsuper.synthesis.cohort import label_cases, read_truths, synth, write_cohort
from rsuper.synthesis.phantom_case import LesionTruth, PhantomCase, case_split, make_case
from rsuper.synthesis.phantom_config import PhantomConfig, SiteConfig, TumourConfig
from rsuper.synthesis.report_truth import LesionFact, LesionStatement, ReportFacts, ReportTruth, WrittenReport
from rsuper.synthesis.reports import write_report

__all__ = [
    "LesionFact",
    "LesionStatement",
    "LesionTruth",
    "PhantomCase",
    "PhantomConfig",
    "ReportFacts",
    "ReportTruth",
    "SiteConfig",
    "TumourConfig",
    "WrittenReport",
    "case_split",
    "label_cases",
    "make_case",
    "read_truths",
    "synth",
    "write_cohort",
    "write_report",
]
