"""The rules backend: no weights, no network; the default and the cross-check of every other backend."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from llm_extract.anatomy_file import anatomy_sha256, check_anatomy_file
from llm_extract.records import SCHEMA_VERSION, ReportRecord
from llm_extract.reports import Report

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

    from llm_extract.rules import RulesExtractor

_NOT_RULES = frozenset(
    {
        "backends",
        "templates",
        "__pycache__",
        "archive.py",
        "audit.py",
        "audit_estimate.py",
        "audit_page.py",
        "certainty.py",
        "chat",
        "cli.py",
        "cli_audit.py",
        "cli_errors.py",
        "cli_model.py",
        "cli_options.py",
        "addenda.py",
        "markup.py",
        "rows.py",
        "cli_score.py",
        "errors.py",
        "evidence_page.py",
        "export.py",
        "gold.py",
        "gold_parts.py",
        "harm.py",
        "highlight.py",
        "intervals.py",
        "ledger.py",
        "matching.py",
        "owners.py",
        "pilot.py",
        "private_files.py",
        "progress.py",
        "readers.py",
        "record_files.py",
        "schema.py",
        "score_errors.py",
        "scoring.py",
        "scoring_report.py",
        "stopping.py",
        "tables.py",
        "workers.py",
    }
)
"""Parts of this package that do not decide what a record says."""


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


def rules_sha256() -> str:
    """SHA-256 over the source files and tables that decide what the rules backend writes."""
    digest = hashlib.sha256()
    for name, data in sorted(_rule_files(resources.files("llm_extract"), "")):
        digest.update(name.encode() + b"\0" + hashlib.sha256(data).digest())
    return digest.hexdigest()


def _rule_files(folder: Traversable, prefix: str) -> list[tuple[str, bytes]]:
    files: list[tuple[str, bytes]] = []
    for entry in folder.iterdir():
        if prefix == "" and entry.name in _NOT_RULES:
            continue
        if entry.is_dir() and entry.name != "__pycache__":
            files += _rule_files(entry, f"{prefix}{entry.name}/")
        elif entry.name.endswith((".py", ".yaml")):
            files.append((f"{prefix}{entry.name}", entry.read_bytes()))
    return files
