"""The verb ``agree-records``: two extractors on the same reports."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Annotated

import typer

from llm_extract.cli_errors import failures, program_of

HELP = """Compare the records that two extractors made of the same reports: two models, or a model and the rules.

Lesions are paired, then compared field by field: share with its interval, Cohen's kappa, and how often both state
something and contradict each other. DIR/disagreements.csv lists every difference, DIR/records.jsonl has the records of
the first, those that differ on lesion, organ, size, side, count or "free" marked for review and of lower certainty.

Example: {program} agree-records records-70b records-8b --out both

Exit codes: 0 compared, 2 usage, 3 bad data, 5 disk full or similar, 130 or 143 interrupted.
"""


def agree_records(
    context: typer.Context,
    first: Annotated[Path, typer.Argument(help="Records of the first extractor.", metavar="FIRST")],
    second: Annotated[Path, typer.Argument(help="Records of the second.", metavar="SECOND")],
    *,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder to write.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as one JSON object.")] = False,
) -> None:
    """Compare the records of two extractors."""
    with failures(as_json=as_json):
        from llm_extract.errors import UsageError
        from llm_extract.handover.record_agreement import agree_records as compare
        from llm_extract.handover.record_agreement import agreement_lines
        from llm_extract.record_files import records_file

        if (out / "records.jsonl").resolve() in {records_file(p).resolve() for p in (first, second)}:
            raise UsageError(
                f"{out} holds records that are to be compared",
                code="output_is_input",
                hint="choose another --out",
            )
        if (out / "ledger.sqlite").exists():
            raise UsageError(
                f"{out} holds an extraction", code="output_is_input", hint="choose another --out"
            )
        summary = compare(first, second, out)
        if as_json:
            typer.echo(json.dumps(summary))
            return
        for line in agreement_lines(summary):
            typer.echo(line)
        typer.echo(f"Every difference: {out / 'disagreements.csv'}")
        where = shlex.quote(str(out))
        typer.echo(
            f"Next: {program_of(context)} audit {where} --reports REPORTS   # judge a sample of what is marked"
        )
