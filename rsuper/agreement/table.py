"""What an agreement run says: one row a lesion, one entry a case, ranked by what to look at first."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from rsuper.files import write_atomic_text
from rsuper.supervision.policy import SupervisionPolicy

Verdict = Literal[
    "matched",
    "size_disagreement",
    "part_disagreement",
    "side_disagreement",
    "reported_not_found",
    "found_not_reported",
    "reported_as_other",
    "both_negative",
    "not_comparable",
]
CaseStatus = Literal["agrees", "differs", "not_comparable"]

VERDICT_LABELS: Mapping[Verdict, str] = {
    "matched": "found as reported",
    "size_disagreement": "size differs",
    "part_disagreement": "part differs",
    "side_disagreement": "side differs",
    "reported_not_found": "reported, not found",
    "found_not_reported": "found, not reported",
    "reported_as_other": "reported as something else",
    "both_negative": "nothing reported, nothing found",
    "not_comparable": "cannot be compared",
}
AGREEING: frozenset[Verdict] = frozenset({"matched", "reported_as_other", "both_negative"})


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class AgreementSettings(_Model):
    """When two lesions count as the same, and what makes a case worth a look.

    Args:
        size_ratio: longest diameters agree within this factor either way; readers differ by about a third.
        size_slack_mm: or within this difference, or 1.5 voxels where voxels are coarse.
        unreported_weight: priority of a confident finding in an organ that the report does not mention.
        fewer_weight: the same where the report states other lesions of the organ.
        free_weight: the same where the report calls the organ free.
        side_weight: priority of a lesion on the other side.
        part_weight: priority of a lesion in another part.
        size_weight: priority of a size that is wrong by a factor of two.
        doubt_weight: priority of a matched lesion of which the network is not sure at all.
    """

    size_ratio: float = Field(default=1.5, gt=1)
    size_slack_mm: float = Field(default=3.0, ge=0)
    unreported_weight: float = Field(default=0.6, ge=0)
    fewer_weight: float = Field(default=0.8, ge=0)
    free_weight: float = Field(default=1.0, ge=0)
    side_weight: float = Field(default=0.9, ge=0)
    part_weight: float = Field(default=0.4, ge=0)
    size_weight: float = Field(default=0.5, ge=0)
    doubt_weight: float = Field(default=0.2, ge=0)


class AgreementRow(_Model):
    """One lesion that the report states, the prediction holds, or both. ``None`` is "not stated".

    Args:
        case_id: the case.
        class_name: lesion class.
        organ: its organ.
        verdict: how report and prediction compare.
        reason: why, in one clause; never report text.
        report_id: the record that states the lesion.
        report_lesion_id: its lesion there.
        finding_id: the predicted lesion.
        reported_diameters_mm: stated diameters.
        reported_min_mm: lower bound of the longest diameter where only a bound is stated.
        reported_max_mm: upper bound of the longest diameter.
        found_diameters_mm: longest axial, perpendicular, cranio-caudal.
        size_ratio: found longest diameter over the reported one, or over the bound that it violates.
        reported_side: left, right or what else the report says; of lesions on both sides the one that this is held to.
        found_side: side of the finding.
        reported_parts: parts that the report names.
        found_part: part of the finding.
        presence: definite, probable or possible.
        confidence: of the finding.
        priority: how much this row adds to the case's rank.
    """

    case_id: str
    class_name: str
    organ: str
    verdict: Verdict
    reason: str
    report_id: str | None = None
    report_lesion_id: str | None = None
    finding_id: str | None = None
    reported_diameters_mm: tuple[float, ...] = ()
    reported_min_mm: float | None = None
    reported_max_mm: float | None = None
    found_diameters_mm: tuple[float, ...] = ()
    size_ratio: float | None = None
    reported_side: str | None = None
    found_side: str | None = None
    reported_parts: tuple[str, ...] = ()
    found_part: str | None = None
    presence: str | None = None
    confidence: float | None = None
    priority: float = 0.0


class CaseAgreement(_Model):
    """All rows of one case.

    Args:
        case_id: the case.
        status: ``agrees``, ``differs`` or ``not_comparable``.
        priority: the higher, the sooner a person should look; rows of reported lesions add up, every further
            finding that no report states counts half as much as the one before, or noise would come first.
        rows: at least one a lesion class.
    """

    case_id: str
    status: CaseStatus
    priority: float
    rows: tuple[AgreementRow, ...]

    @classmethod
    def of(cls, case_id: str, rows: tuple[AgreementRow, ...]) -> CaseAgreement:
        """Status and priority follow from the rows."""
        verdicts = {row.verdict for row in rows}
        if verdicts <= {"not_comparable"}:
            status: CaseStatus = "not_comparable"
        else:
            status = "agrees" if verdicts - {"not_comparable"} <= AGREEING else "differs"
        return cls(
            case_id=case_id,
            status=status,
            priority=round(_priority(rows), 4),
            rows=rows,
        )


def _priority(rows: Sequence[AgreementRow]) -> float:
    extra = sorted((row.priority for row in rows if row.verdict == "found_not_reported"), reverse=True)
    rest = sum(row.priority for row in rows if row.verdict != "found_not_reported")
    return rest + sum(value * 0.5**number for number, value in enumerate(extra))


class AgreementTable(_Model):
    """The content of ``agreement.json``: cases in the order in which they deserve a look.

    Args:
        name: name of the prediction folder.
        settings: how lesions were compared.
        cases: highest priority first.
        n_records_without_case: records that belong to no predicted case.
        n_invalid_records: lines of the records file that could not be read.
        counted: which reported lesions count; None where nobody says.
        anatomy_sha256: hash of the table of organs; None for the built-in one.
    """

    name: str
    settings: AgreementSettings
    cases: tuple[CaseAgreement, ...]
    n_records_without_case: int = 0
    n_invalid_records: int = 0
    counted: SupervisionPolicy | None = None
    anatomy_sha256: str | None = None

    @property
    def rows(self) -> tuple[AgreementRow, ...]:
        """All rows in the order of the cases."""
        return tuple(row for case in self.cases for row in case.rows)

    @property
    def verdicts(self) -> Mapping[Verdict, int]:
        """How many rows have each verdict."""
        return Counter(row.verdict for row in self.rows)

    @property
    def exit_code(self) -> int:
        """0 every case was compared, 4 some could not be."""
        bad = any(case.status == "not_comparable" for case in self.cases)
        return 4 if bad or self.n_invalid_records else 0

    def case(self, case_id: str) -> CaseAgreement | None:
        """The entry of a case, if it was compared."""
        return next((case for case in self.cases if case.case_id == case_id), None)


def write_table(table: AgreementTable, folder: Path) -> None:
    """Write ``agreement.json`` and ``agreement.csv``, one row a lesion, lists joined by ``;``."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic_text(folder / "agreement.json", table.model_dump_json(indent=1) + "\n")
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    columns = list(AgreementRow.model_fields)
    writer.writerow(["rank", "case_status", "case_priority", *columns])
    for rank, case in enumerate(table.cases, start=1):
        for row in case.rows:
            values = row.model_dump()
            writer.writerow([rank, case.status, case.priority, *(_cell(values[name]) for name in columns)])
    write_atomic_text(folder / "agreement.csv", text.getvalue())


def _cell(value: object) -> object:
    """Empty for None, ``;`` between list items, and no cell that a spreadsheet would run as a formula."""
    if value is None:
        return ""
    if isinstance(value, (tuple, list)):
        value = ";".join(f"{item:g}" if isinstance(item, float) else str(item) for item in value)
    if isinstance(value, str) and value[:1] in {"=", "+", "-", "@", "\t", "\r"}:
        return f"'{value}"
    return value
