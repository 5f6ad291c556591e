"""The verb ``audit``: judge a random sample of the user's own archive, and estimate how right the rest is."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llm_extract.cli_errors import failures, program_of
from llm_extract.cli_options import (
    Database,
    Encoding,
    GroupColumn,
    IdColumn,
    MarkupOption,
    Sql,
    TextColumn,
    report_source,
)
from llm_extract.errors import DataError, UsageError
from llm_extract.progress import ProgressReporter

if TYPE_CHECKING:
    from llm_extract.reports import ReportSource

HELP = """Judge a random sample of your own archive, without gold answers: the acceptance test before you use records.

First, a page is made: some reports of every kind, drawn at random, each with what its record says. It works offline and
with two keys, Y for right and N for wrong, keeps its progress in the browser, and saves the answers to a file. It holds
report texts (mode 0600): open it only where they may be seen.

Example: {program} audit records --reports reports.csv --sample 100

Then the answers give an accuracy for every field, with an exact interval, and the estimate for the whole archive; half
an audit counts too.

Example: {program} audit records --answers ~/Downloads/audit-answers.json

Exit codes: 0 done, 2 usage, 3 bad data, 5 disk full or similar, 130 or 143 interrupted.
"""


def audit(  # noqa: PLR0913 - one parameter an option
    context: typer.Context,
    records: Annotated[
        Path, typer.Argument(help="records.jsonl, or the folder of an extraction.", metavar="RECORDS")
    ],
    *,
    reports: Annotated[
        Path | None,
        typer.Option("--reports", help="The reports that were extracted: the same file or folder as then."),
    ] = None,
    answers: Annotated[
        Path | None, typer.Option("--answers", metavar="FILE", help="Answers that the page saved.")
    ] = None,
    sample: Annotated[int, typer.Option("--sample", min=1, max=5000, help="How many reports to draw.")] = 100,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the draw.")] = 0,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="The page. [default: audit.html beside the records]"),
    ] = None,
    sql: Sql = None,
    database: Database = None,
    id_column: IdColumn = None,
    text_column: TextColumn = None,
    group_column: GroupColumn = None,
    encoding: Encoding = None,
    markup: MarkupOption = "strip",
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")] = False,
) -> None:
    """Judge a sample of records against their reports."""
    with failures(as_json=as_json):
        verb = f"{program_of(context)} audit {shlex.quote(str(records))}"
        if answers is not None:
            _estimate(records, answers, as_json=as_json, verb=verb)
            return
        if reports is None and sql is None:
            raise UsageError(
                "a page needs the texts of the reports",
                code="missing_argument",
                hint=f"{verb} --reports REPORTS (or --sql), or --answers FILE when the page has been judged",
            )
        source = report_source(
            reports,
            sql=sql,
            database=database,
            id_column=id_column,
            text_column=text_column,
            encoding=encoding,
            group_column=group_column,
            markup=markup,
        )
        _make_page(records, source, out=out, sample=sample, seed=seed, as_json=as_json, verb=verb)


def _estimate(records: Path, answers_path: Path, *, as_json: bool, verb: str) -> None:
    from llm_extract.audit import draw_sample
    from llm_extract.audit_estimate import estimate, estimate_lines, read_answers

    answers = read_answers(answers_path)
    with ProgressReporter("records", None) as progress:
        drawn = draw_sample(records, size=answers.size, seed=answers.seed, tick=progress.advance)
    result = estimate(drawn, answers)
    if as_json:
        typer.echo(json.dumps(result))
        return
    for line in estimate_lines(result):
        typer.echo(line)
    if result["claims"]["judged"] < result["claims"]["sampled"]:
        typer.echo("Next: open the page again and judge the rest; every answer narrows the intervals")
    else:
        typer.echo(f"Next: for narrower intervals, {verb} --reports REPORTS --sample {2 * drawn.size}")


def _make_page(
    records: Path, source: ReportSource, *, out: Path | None, sample: int, seed: int, as_json: bool, verb: str
) -> None:
    from llm_extract.audit import draw_sample
    from llm_extract.audit_page import texts_of, write_page
    from llm_extract.private_files import refuse_an_input
    from llm_extract.record_files import records_file

    refuse_an_input(out, records_file(records), source.path)
    with ProgressReporter("records", None) as progress:
        drawn = draw_sample(records, size=sample, seed=seed, tick=progress.advance)
    if not drawn.reports:
        raise DataError(
            f"{records} holds no record with content: all are quarantined",
            code="nothing_to_audit",
            hint="studies.csv, column issues, says why",
        )
    path = out if out is not None else records_file(records).parent / "audit.html"
    command = f"{verb} --answers audit-answers.json"
    write_page(path, drawn, texts_of(drawn, source), command=command)
    claims = sum(len(report.claims) for report in drawn.reports)
    if as_json:
        typer.echo(
            json.dumps(
                {"page": str(path), "reports": len(drawn.reports), "claims": claims, "strata": drawn.strata}
            )
        )
        return
    typer.echo(
        f"{len(drawn.reports)} reports with {claims:,} statements to judge: {path} (holds report texts)"
    )
    for name, number in drawn.strata.items():
        chosen = sum(report.stratum == name for report in drawn.reports)
        typer.echo(f"  {chosen:>4} of {number:>9,}  {name}")
    typer.echo(f"Next: open {path} in a browser, judge with Y and N, save the answers, then")
    typer.echo(f"      {command}")
