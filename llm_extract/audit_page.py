"""The page on which a reader judges an audit's claims: offline, two keys, progress kept in the browser.

As on the evidence page, report text only ever becomes text: it stands in a JSON data block and the page's own
script, the only one that its policy allows, builds elements from it. Nothing is loaded and nothing is sent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from llm_extract.audit import AuditSample, SampledReport
from llm_extract.audit_estimate import ANSWERS_FORMAT, LABELS
from llm_extract.errors import DataError
from llm_extract.evidence_page import json_block, policy_hash, utf16_offsets
from llm_extract.highlight import template_text
from llm_extract.private_files import private_text
from llm_extract.reports import ReportSource, read_reports


def texts_of(sample: AuditSample, source: ReportSource) -> dict[str, str]:
    """The texts of the drawn reports.

    Args:
        sample: what was drawn.
        source: where the reports of the extraction are, with the same options as then.

    Returns:
        Text by report id.

    Raises:
        DataError: a drawn report is not there (``report_not_found``), or its text is another one
            (``text_differs``).
    """
    wanted = {report.record.report_id: report.record.text_sha256 for report in sample.reports}
    texts: dict[str, str] = {}
    different: set[str] = set()
    for report in read_reports(source):
        if report.report_id not in wanted or report.report_id in texts:
            continue
        if report.text_sha256 == wanted[report.report_id]:
            texts[report.report_id] = report.text
        else:
            different.add(report.report_id)
        if len(texts) == len(wanted):
            return texts
    missing = sorted(set(wanted) - set(texts))
    if not missing:
        return texts
    hint = "give the file that was extracted, and the same column and encoding options as then"
    example, number = missing[0], len(missing)
    if different:
        raise DataError(
            f"the text of {number} sampled reports is not the one that was extracted, for example {example}",
            code="text_differs",
            case_id=example,
            hint=hint,
        )
    raise DataError(
        f"{source.path} does not hold {number} of the sampled reports, for example {example}",
        code="report_not_found",
        case_id=example,
        hint=hint,
    )


def write_page(path: Path, sample: AuditSample, texts: Mapping[str, str], *, command: str) -> None:
    """Write the page, readable by its owner only.

    Args:
        path: where; holds the texts of the sampled reports.
        sample: what was drawn.
        texts: by report id, see :func:`texts_of`.
        command: what to type when the answers are saved.
    """
    with private_text(path) as file:
        for piece in _page(sample, texts, command):
            file.write(piece)


def _page(sample: AuditSample, texts: Mapping[str, str], command: str) -> Iterator[str]:
    css, script = template_text("audit.css"), template_text("audit.js")
    environment = Environment(autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True)
    head, tail = (
        environment.from_string(template_text(name)).render(
            css=Markup(css),  # noqa: S704 - our own files, hashed in the page's policy
            script=Markup(script),  # noqa: S704
            css_hash=policy_hash(css),
            script_hash=policy_hash(script),
            command=command,
        )
        for name in ("audit_head.html.j2", "evidence_tail.html.j2")
    )
    yield head
    yield json_block(
        {
            "format": ANSWERS_FORMAT,
            "audit_id": sample.audit_id,
            "size": sample.size,
            "seed": sample.seed,
            "labels": LABELS,
            "reports": [_report_data(report, texts[report.record.report_id]) for report in sample.reports],
        }
    )
    yield tail


def _report_data(report: SampledReport, text: str) -> dict[str, Any]:
    """What the script needs of one report; offsets in UTF-16 units, as it counts."""
    units = utf16_offsets(text)
    return {
        "id": report.record.report_id,
        "kind": report.stratum,
        "text": text,
        "claims": [
            {
                "id": claim.claim_id,
                "field": claim.field,
                "question": claim.question,
                "value": claim.value,
                "spans": [[units(start), units(end)] for start, end in joined_spans(claim.spans)],
            }
            for claim in report.claims
        ],
    }


def joined_spans(spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same stretches in order and without overlaps."""
    joined: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        elif end > start:
            joined.append((start, end))
    return joined
