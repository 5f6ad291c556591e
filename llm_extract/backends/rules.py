"""The rules backend: no weights, no network; the default and the cross-check of every other backend."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from llm_extract.anatomy_file import anatomy_sha256, check_anatomy_file
from llm_extract.records import SCHEMA_VERSION, ReportRecord
from llm_extract.reports import Report
from llm_extract.rules_hash import rules_sha256

if TYPE_CHECKING:
    from llm_extract.rules import RulesExtractor


class RulesBackend:
    """Runs the rules on each report.

    Args:
        anatomy: a user's own anatomy file, on top of the built-in table.
    """

    name = "rules"

    def __init__(self, anatomy: Path | None = None) -> None:
        self._anatomy = anatomy
        self._extractor: RulesExtractor | None = None

    def settings(self) -> Mapping[str, str]:
        """Schema version and hashes over rules and anatomy, so that changed ones extract again."""
        settings = {"schema": SCHEMA_VERSION, "rules_sha256": rules_sha256()}
        sha256 = anatomy_sha256(self._anatomy)
        return settings | ({"anatomy_sha256": sha256} if sha256 is not None else {})

    def load(self) -> None:
        """Import spaCy and build the rules, so that no report pays for it out of its time limit."""
        self.extract(Report(report_id="start", text="Normal liver."))

    def extract(self, report: Report) -> ReportRecord:
        """The record of one report."""
        from llm_extract.rules import RulesExtractor

        if self._extractor is None:
            table = check_anatomy_file(self._anatomy) if self._anatomy is not None else None
            self._extractor = RulesExtractor(table)
        return self._extractor.extract(report)
