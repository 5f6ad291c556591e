"""What ``rsuper check`` found, as Python values and as files."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import BaseModel

from llm_extract.anatomy import Anatomy
from rsuper.data.issues import DataIssue
from rsuper.files import write_atomic_text
from rsuper.supervision import SupervisionPolicy

_COLUMNS = ("severity", "code", "case_id", "structure", "report_id", "line", "message", "hint")


@dataclass(frozen=True, kw_only=True)
class CheckedWith:
    """The tables that a check read reports with: another policy or other organs find other things.

    Args:
        policy: preset, or name of the file and preset.
        policy_sha256: hash of what it says.
        anatomy: ``built-in``, or the name of the file with organs of one's own.
        anatomy_sha256: hash of the whole table.
    """

    policy: str
    policy_sha256: str
    anatomy: str
    anatomy_sha256: str

    @classmethod
    def of(cls, policy: str, rules: SupervisionPolicy, anatomy: str, table: Anatomy) -> CheckedWith:
        """The names of the tables, and their hashes."""
        return cls(
            policy=Path(policy).name,
            policy_sha256=_sha256(rules),
            anatomy=anatomy,
            anatomy_sha256=_sha256(table),
        )


def _sha256(table: BaseModel) -> str:
    return hashlib.sha256(table.model_dump_json().encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class CheckReport:
    """What ``check_dataset`` found.

    Args:
        root: the dataset folder.
        case_ids: all cases of the dataset that were checked.
        issues: everything found, errors first, then in case order.
        checked_with: the policy and the table of organs; None where nobody says.
    """

    root: Path
    case_ids: tuple[str, ...]
    issues: tuple[DataIssue, ...]
    checked_with: CheckedWith | None = None

    @property
    def errors(self) -> tuple[DataIssue, ...]:
        """The issues that keep a case or row out of training."""
        return tuple(issue for issue in self.issues if issue.severity == "error")

    @property
    def warnings(self) -> tuple[DataIssue, ...]:
        """The issues that do not."""
        return tuple(issue for issue in self.issues if issue.severity == "warning")

    @property
    def usable_case_ids(self) -> tuple[str, ...]:
        """Cases without an error, in the order of the dataset."""
        broken = {issue.case_id for issue in self.errors}
        return tuple(case_id for case_id in self.case_ids if case_id not in broken)

    @property
    def counts(self) -> dict[str, int]:
        """Issue code -> how often, most frequent first."""
        return dict(Counter(issue.code for issue in self.issues).most_common())

    @property
    def exit_code(self) -> int:
        """0 no errors, 3 no case is usable, 4 some errors."""
        if not self.errors:
            return 0
        return 4 if self.usable_case_ids else 3

    def summary(self) -> str:
        """One line: how many cases, how many usable, which issues how often."""
        counts = ", ".join(f"{code} {count}" for code, count in self.counts.items())
        return (
            f"{len(self.case_ids)} cases, {len(self.usable_case_ids)} without error; "
            f"{len(self.errors)} errors, {len(self.warnings)} warnings{f' ({counts})' if counts else ''}"
        )

    def as_dict(self) -> dict[str, object]:
        """Totals and issues, for ``--json``."""
        return {
            "dataset": self.root.name,
            **({} if self.checked_with is None else asdict(self.checked_with)),
            "cases": len(self.case_ids),
            "usable": len(self.usable_case_ids),
            "errors": len(self.errors),
            "warnings": len(self.warnings),
            "counts": self.counts,
            "issues": [issue.as_dict() for issue in self.issues],
        }

    def write(self, folder: Path) -> None:
        """Write check.json and check.csv (one row an issue)."""
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic_text(
            folder / "check.json", json.dumps(self.as_dict(), indent=1, ensure_ascii=False) + "\n"
        )
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(_COLUMNS)
        for issue in self.issues:
            values = issue.as_dict()
            table.writerow([_cell(values[name]) for name in _COLUMNS])
        write_atomic_text(folder / "check.csv", text.getvalue())


def _cell(value: str | int | None) -> str:
    """A cell that no spreadsheet takes for a formula."""
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
