"""One hash over everything that decides what the rules write, for the ledger's keys."""

from __future__ import annotations

import hashlib
from importlib import resources
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

_NOT_RULES = frozenset(
    {
        "backends",
        "templates",
        "__pycache__",
        "archive.py",
        "archive_options.py",
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
        "cli_agree_records.py",
        "cli_export_chat.py",
        "cli_release.py",
        "cli_run.py",
        "cli_score.py",
        "csv_tables.py",
        "decoding.py",
        "deidentify.py",
        "distributed.py",
        "errors.py",
        "evidence_page.py",
        "export.py",
        "finished_keys.py",
        "gold.py",
        "gold_format.py",
        "gold_parts.py",
        "handover",
        "harm.py",
        "highlight.py",
        "hook_workers.py",
        "intervals.py",
        "leases.py",
        "ledger.py",
        "ledger_file.py",
        "ledger_merge.py",
        "ledger_place.py",
        "matching.py",
        "mounts.py",
        "owners.py",
        "pilot.py",
        "private_files.py",
        "progress.py",
        "readers.py",
        "record_files.py",
        "rules_hash.py",
        "schema.py",
        "score_errors.py",
        "scoring.py",
        "scoring_report.py",
        "sql.py",
        "stopping.py",
        "tables.py",
        "text_cache.py",
        "work.py",
        "workers.py",
    }
)
"""Parts of this package that do not decide what a record says."""


def rules_sha256() -> str:
    """SHA-256 over the source files and tables that decide what the rules write."""
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
