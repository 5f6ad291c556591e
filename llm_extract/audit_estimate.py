"""What the answers of an audit say: by field, in the sample and for the whole archive."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llm_extract.audit import CLAIM_FIELDS, AuditSample, Claim, ClaimField, SampledReport
from llm_extract.errors import DataError, UsageError
from llm_extract.intervals import clopper_pearson, with_interval

ANSWERS_FORMAT = "llm-extract audit answers 1"
VERDICTS = ("right", "wrong", "unsure")


@dataclass(frozen=True)
class AuditAnswers:
    """What a reader answered on the page: the audit it belongs to, and a verdict by claim."""

    audit_id: str
    size: int
    seed: int
    verdicts: Mapping[str, str]


def read_answers(path: Path) -> AuditAnswers:
    """Read the file that the page saved.

    Raises:
        DataError: it is not there (``answers_missing``) or is no such file (``answers_invalid``).
    """
    if not path.is_file():
        raise DataError(
            f"there are no answers at {path}",
            code="answers_missing",
            hint="press 'Save answers' on the page; browsers put the file into the downloads folder",
        )
    try:
        value = json.loads(path.read_bytes())
        answers = AuditAnswers(
            audit_id=value["audit_id"],
            size=int(value["size"]),
            seed=int(value["seed"]),
            verdicts={str(key): str(said) for key, said in value["answers"].items()},
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(
            f"{path} is no file of answers ({type(error).__name__})",
            code="answers_invalid",
            hint="take the file that 'Save answers' on the page wrote",
        ) from error
    if value.get("format") != ANSWERS_FORMAT or not set(answers.verdicts.values()) <= set(VERDICTS):
        raise DataError(f"{path} is of another version", code="answers_invalid", hint="save it again")
    return answers


def estimate(sample: AuditSample, answers: AuditAnswers) -> dict[str, Any]:
    """Accuracy by field with exact intervals, and the estimate for the archive.

    In the sample: right of judged, Clopper–Pearson. For the archive: the ratio of weighted sums, each report
    weighted by how many of its stratum it stands for; the interval is Clopper–Pearson at the effective sample
    size of that design, reports being clusters (Korn and Graubard 1998). Claims answered "unsure" are left out.

    Args:
        sample: what :func:`llm_extract.audit.draw_sample` drew, with the size and seed of the answers.
        answers: the verdicts.

    Returns:
        ``fields`` by name, and totals, ready for JSON.

    Raises:
        UsageError: the answers belong to other records.
    """
    if answers.audit_id != sample.audit_id:
        raise UsageError(
            "these answers belong to other records than the given ones",
            code="answers_of_other_records",
            hint="give the records that the page was made from, unchanged",
        )
    judged = [
        report
        for report in sample.reports
        if any(answers.verdicts.get(claim.claim_id) for claim in report.claims)
    ]
    claims = [claim for report in sample.reports for claim in report.claims]
    verdicts = [answers.verdicts.get(claim.claim_id) for claim in claims]
    return {
        "audit_id": sample.audit_id,
        "seed": sample.seed,
        "archive": sum(sample.strata.values()),
        "quarantined": sample.quarantined,
        "strata": {
            name: {"archive": number, "judged": sum(report.stratum == name for report in judged)}
            for name, number in sample.strata.items()
        },
        "reports": {"sampled": len(sample.reports), "judged": len(judged)},
        "claims": {
            "sampled": len(claims),
            "judged": sum(said is not None for said in verdicts),
            "unsure": sum(said == "unsure" for said in verdicts),
        },
        "fields": {name: _field(name, judged, sample.strata, answers.verdicts) for name in CLAIM_FIELDS},
    }


def _field(
    name: ClaimField,
    reports: Sequence[SampledReport],
    strata: Mapping[str, int],
    verdicts: Mapping[str, str],
) -> dict[str, Any]:
    said = [
        verdicts.get(claim.claim_id) for report in reports for claim in report.claims if claim.field == name
    ]
    right, wrong = said.count("right"), said.count("wrong")
    low, high = clopper_pearson(right, right + wrong)
    return {
        "judged": right + wrong,
        "right": right,
        "rate": right / (right + wrong) if right + wrong else None,
        "low": low,
        "high": high,
        "archive": _archive(name, reports, strata, verdicts),
    }


def _archive(
    name: ClaimField,
    reports: Sequence[SampledReport],
    strata: Mapping[str, int],
    verdicts: Mapping[str, str],
) -> dict[str, float] | None:
    """Ratio of weighted sums over reports and its interval; None where nothing was judged."""
    drawn: dict[str, int] = {}
    for report in reports:
        drawn[report.stratum] = drawn.get(report.stratum, 0) + 1
    cells = []  # stratum, weight of the report, right, judged; the latter two over its claims
    for report in reports:
        claims = [claim for claim in report.claims if claim.field == name]
        right = _weight(claims, verdicts, ("right",))
        cells.append(
            (
                report.stratum,
                strata[report.stratum] / drawn[report.stratum],
                right,
                _weight(claims, verdicts, ("right", "wrong")),
            )
        )
    total = math.fsum(weight * judged for _, weight, _, judged in cells)
    if total == 0:
        return None
    rate = min(math.fsum(weight * right for _, weight, right, _ in cells) / total, 1.0)
    number = sum(
        verdicts.get(claim.claim_id) in ("right", "wrong")
        for report in reports
        for claim in report.claims
        if claim.field == name
    )
    size = _effective_size(cells, rate, total=total, number=number)
    low, high = clopper_pearson(rate * size, size)
    return {"rate": rate, "low": low, "high": high, "effective_size": size}


def _weight(claims: Sequence[Claim], verdicts: Mapping[str, str], kinds: Sequence[str]) -> float:
    return math.fsum(claim.weight for claim in claims if verdicts.get(claim.claim_id) in kinds)


def _effective_size(
    cells: Sequence[tuple[str, float, float, float]], rate: float, *, total: float, number: int
) -> float:
    """How many claims of a simple random sample would say as much: p(1 - p) over the variance of the design.

    Where all are right or all wrong there is no variance: the number of reports, less what unequal weights cost.
    """
    weights = [weight * judged for _, weight, _, judged in cells if judged]
    kish = total**2 / math.fsum(weight**2 for weight in weights)
    if rate in (0.0, 1.0):
        return kish
    variance = 0.0
    for stratum in {name for name, *_ in cells}:
        scores = [
            weight * (right - rate * judged) for name, weight, right, judged in cells if name == stratum
        ]
        mean = math.fsum(scores) / len(scores)
        spread = math.fsum((score - mean) ** 2 for score in scores)
        variance += (
            spread * len(scores) / (len(scores) - 1) if len(scores) > 1 else math.fsum(s * s for s in scores)
        )
    variance /= total**2
    return min(rate * (1.0 - rate) / variance, float(number)) if variance > 0 else kish


LABELS: Mapping[ClaimField, str] = {
    "lesion": "lesion stated, organ right",
    "laterality": "side",
    "part": "part of the organ",
    "size": "size",
    "count": "number",
    "attenuation": "density",
    "negative": "organ stated free",
    "missed": "nothing missing",
}


def estimate_lines(result: Mapping[str, Any]) -> Iterator[str]:
    """The estimate as lines of a plain table.

    Args:
        result: what :func:`estimate` returns.

    Yields:
        Totals, then one line a field.
    """
    reports, claims = result["reports"], result["claims"]
    yield (
        f"{claims['judged']:,} of {claims['sampled']:,} claims judged in {reports['judged']:,} of "
        f"{reports['sampled']:,} sampled reports ({claims['unsure']:,} unsure); the archive holds "
        f"{result['archive']:,} records and {result['quarantined']:,} quarantined ones"
    )
    yield f"{'':<28}{'judged':>7}{'right':>7}  {'in the sample':<24}{'in the archive':<24}"
    for name, label in LABELS.items():
        value = result["fields"][name]
        if value["judged"]:
            yield (
                f"{label:<28}{value['judged']:>7}{value['right']:>7}  "
                f"{_interval(value):<24}{_interval(value['archive']):<24}".rstrip()
            )
    yield "95 % intervals, Clopper–Pearson; the archive's at the effective size of the stratified sample"


def _interval(value: Mapping[str, Any] | None) -> str:
    return "–" if value is None else with_interval(value["rate"], value["low"], value["high"], digits=".1%")
