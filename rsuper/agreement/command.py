"""The verb ``agree``: predictions and records in, a ranked table out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llm_extract.anatomy import Anatomy
from rsuper.agreement.agree import agree
from rsuper.agreement.table import VERDICT_LABELS, AgreementTable
from rsuper.supervision.policy import load_policy

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, kw_only=True)
class AgreeOutcome:
    """What the verb did.

    Args:
        table: cases ranked by what to look at first.
        out: folder that holds the files.
    """

    table: AgreementTable
    out: Path

    @property
    def exit_code(self) -> int:
        """0 every case was compared, 4 some could not be."""
        return self.table.exit_code

    def as_json(self) -> Mapping[str, Any]:
        """For ``--json``: counts and the ranked cases without their rows."""
        return {
            "verdicts": dict(self.table.verdicts),
            "cases": [
                {"case_id": case.case_id, "status": case.status, "priority": case.priority}
                for case in self.table.cases
            ],
            "records_without_case": self.table.n_records_without_case,
            "invalid_records": self.table.n_invalid_records,
        }

    def lines(self, *, top: int = 10) -> list[str]:
        """What a person reads: counts of verdicts, then the cases to look at first."""
        text = [f"{VERDICT_LABELS[verdict]:<32} {count}" for verdict, count in self.table.verdicts.items()]
        differing = [case for case in self.table.cases if case.status == "differs"][:top]
        if differing:
            text.append("look first at:")
        for case in differing:
            row = max(case.rows, key=lambda row: row.priority)
            text.append(
                f"  {case.case_id} ({case.priority:.2f}): {VERDICT_LABELS[row.verdict]}; {row.reason}"
            )
        if self.table.n_records_without_case:
            text.append(f"{self.table.n_records_without_case} records belong to no predicted case")
        if self.table.n_invalid_records:
            text.append(f"{self.table.n_invalid_records} lines of the records file could not be read")
        return text


def run_agree(
    predictions: Path,
    records: Path,
    *,
    out: Path | None = None,
    classes: Sequence[str] = (),
    policy: str | None = None,
    anatomy: Anatomy | None = None,
    progress: Progress | None = None,
) -> AgreeOutcome:
    """Compare predictions (or masks) with reports, lesion by lesion.

    Args:
        predictions: folder that ``rsuper predict`` wrote, or a folder of masks in the same layout.
        records: records.jsonl, the folder that ``rsuper extract`` wrote, or a data set folder.
        out: where to write; None is ``PREDICTIONS/agreement``.
        classes: lesion classes; empty is all that were predicted.
        policy: which reported lesions count, a preset or a file; None is the network's own, else the default preset.
        anatomy: the table of organs; None is that of the network's training, else the built-in one.
        progress: called with (done, total, case_id).

    Raises:
        RsuperError: with its exit code.
    """
    folder = out or predictions / "agreement"
    table = agree(
        predictions,
        records,
        out=folder,
        classes=tuple(classes) or None,
        policy=None if policy is None else load_policy(policy),
        anatomy=anatomy,
        progress=progress,
    )
    return AgreeOutcome(table=table, out=folder)
