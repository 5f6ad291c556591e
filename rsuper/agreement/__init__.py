"""Predictions or masks against reports, lesion by lesion, ranked by what a person should look at first."""

from rsuper.agreement.agree import agree, read_records
from rsuper.agreement.compare_case import compare_case
from rsuper.agreement.table import (
    VERDICT_LABELS,
    AgreementRow,
    AgreementSettings,
    AgreementTable,
    CaseAgreement,
    Verdict,
    write_table,
)

__all__ = [
    "VERDICT_LABELS",
    "AgreementRow",
    "AgreementSettings",
    "AgreementTable",
    "CaseAgreement",
    "Verdict",
    "agree",
    "compare_case",
    "read_records",
    "write_table",
]
