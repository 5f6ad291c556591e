"""Radiology and pathology reports become grounded, structured records."""

from llm_extract.records import Evidence, Lesion, OrganStatement, ReportRecord

__all__ = ["Evidence", "Lesion", "OrganStatement", "ReportRecord", "__version__"]
__version__ = "0.1.0"
