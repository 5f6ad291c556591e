"""Phantoms, tumours and their reports: CT-report pairs of which everything is known."""

from rsuper.synthesis.cohort import label_cases, read_truths, synth, write_cohort
from rsuper.synthesis.insertion import InsertedTumour, insert_tumour, report_inserted
from rsuper.synthesis.lesion_truth import LesionTruth
from rsuper.synthesis.pancreas_parts import split_pancreas
from rsuper.synthesis.phantom_case import PhantomCase, case_split, make_case
from rsuper.synthesis.phantom_config import PhantomConfig, SiteConfig, TumourConfig
from rsuper.synthesis.report_truth import LesionFact, LesionStatement, ReportFacts, ReportTruth, WrittenReport
from rsuper.synthesis.reports import write_report
from rsuper.synthesis.tumour_shapes import TumourShape, grown_shape, shape_from_mask

__all__ = [
    "InsertedTumour",
    "LesionFact",
    "LesionStatement",
    "LesionTruth",
    "PhantomCase",
    "PhantomConfig",
    "ReportFacts",
    "ReportTruth",
    "SiteConfig",
    "TumourConfig",
    "TumourShape",
    "WrittenReport",
    "case_split",
    "grown_shape",
    "insert_tumour",
    "label_cases",
    "make_case",
    "read_truths",
    "report_inserted",
    "shape_from_mask",
    "split_pancreas",
    "synth",
    "write_cohort",
    "write_report",
]
