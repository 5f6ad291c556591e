"""What is wrong with a dataset, as data: a stable code, where, how bad, what to do; never any report text."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

Severity = Literal["error", "warning"]


@dataclass(frozen=True, kw_only=True)
class DataIssue:
    """One thing that a reader should know about a dataset.

    Args:
        code: stable identifier such as ``ct_missing``.
        severity: ``error`` keeps the case (or row) out of training, ``warning`` does not.
        message: what is wrong, with the numbers that show it.
        hint: what to type or change next.
        case_id: the case, if it belongs to one.
        structure: the mask, if it belongs to one.
        report_id: the report, if it belongs to one.
        line: line of the table or JSON-lines file, counted from 1.
    """

    code: str
    severity: Severity
    message: str
    hint: str = ""
    case_id: str | None = None
    structure: str | None = None
    report_id: str | None = None
    line: int | None = None

    def as_dict(self) -> dict[str, str | int | None]:
        """The fields by name, for JSON and CSV."""
        return asdict(self)

    def __str__(self) -> str:
        parts = [f"case {self.case_id}" if self.case_id else "", self.structure or ""]
        parts += [
            f"report {self.report_id}" if self.report_id else "",
            f"line {self.line}" if self.line else "",
        ]
        where = ", ".join(part for part in parts if part)
        hint = f" — {self.hint}" if self.hint else ""
        return f"{self.severity} {self.code}{f' [{where}]' if where else ''}: {self.message}{hint}"
