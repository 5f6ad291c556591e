"""The verb ``export-chat``: a training set for a small extractor."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from llm_extract.cli_errors import failures
from llm_extract.cli_options import (
    AnatomyOption,
    Database,
    Encoding,
    GroupColumn,
    IdColumn,
    MarkupOption,
    Sql,
    TextColumn,
    report_source,
)
from llm_extract.errors import UsageError
from llm_extract.records import IssueCode, Status

if TYPE_CHECKING:
    from llm_extract.handover.chat_set import ChatSetResult

HELP = """Write a training set for fine-tuning a small extractor: chat JSON lines that any usual trainer reads.

Each line asks exactly as --backend openai, vllm and transformers ask, and answers with what the record says: quotes
from the report, sizes by the ids of their measurements. Every answer passes the checks of a real one before it is
written; what does not is counted by reason. All reports of a patient go to train.jsonl or all to validation.jsonl. Both
hold report texts.

Example: {program} export-chat records --reports reports.csv --out chat --min-certainty 0.8

Example: {program} export-chat records --sql "SELECT accession AS id, text FROM ct" --database ris.duckdb --out chat

Example: {program} export-chat gold.jsonl --out chat

Exit codes: 0 done, 2 usage, 3 bad data or nothing that can be written, 5 disk full or similar, 130 or 143 interrupted.
"""


def export_chat(  # noqa: PLR0913 - one parameter an option
    source: Annotated[
        Path,
        typer.Argument(
            help="records.jsonl or the folder of an extraction; without --reports or --sql a file of gold answers.",
            metavar="SOURCE",
        ),
    ],
    *,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder to write.")],
    reports: Annotated[
        Path | None,
        typer.Option("--reports", help="The reports that were extracted: the same file or folder as then."),
    ] = None,
    min_certainty: Annotated[
        float,
        typer.Option(
            "--min-certainty", min=0.0, max=1.0, help="Every lesion of a record is at least so certain."
        ),
    ] = 0.0,
    status: Annotated[
        list[str] | None,
        typer.Option("--status", help="Records of this status; repeat. [default: ok, ok_with_warnings]"),
    ] = None,
    without_issue: Annotated[
        list[str] | None,
        typer.Option("--without-issue", metavar="CODE", help="Leave out records with this issue; repeat."),
    ] = None,
    validation: Annotated[
        float, typer.Option("--validation", min=0.0, max=1.0, help="Share of the patients for validation.")
    ] = 0.1,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the split.")] = 0,
    max_tokens: Annotated[
        int, typer.Option("--max-tokens", min=512, help="Leave out what may be longer (an estimate).")
    ] = 8192,
    sql: Sql = None,
    database: Database = None,
    id_column: IdColumn = None,
    text_column: TextColumn = None,
    group_column: GroupColumn = None,
    encoding: Encoding = None,
    markup: MarkupOption = "strip",
    anatomy: AnatomyOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")] = False,
) -> None:
    """Write a training set for an extractor."""
    with failures(as_json=as_json):
        from llm_extract.handover.chat_set import ChatSetOptions, export_gold, export_records

        options = ChatSetOptions(
            out=out,
            min_certainty=min_certainty,
            statuses=frozenset(_known("--status", status, get_args(Status)) or ("ok", "ok_with_warnings")),  # type: ignore[arg-type]
            without_issues=frozenset(_known("--without-issue", without_issue, get_args(IssueCode))),  # type: ignore[arg-type]
            validation_share=validation,
            seed=seed,
            max_tokens=max_tokens,
            anatomy=anatomy,
        )
        if reports is None and sql is None and database is None:
            if source.is_dir():
                raise UsageError(
                    "records need the texts of their reports",
                    code="missing_argument",
                    hint="add --reports REPORTS (or --sql)",
                )
            result = export_gold(source, options)
        else:
            texts = report_source(
                reports, sql=sql, database=database, id_column=id_column, text_column=text_column,
                group_column=group_column, encoding=encoding, markup=markup,
            )  # fmt: skip
            result = export_records(source, texts, options)
        if as_json:
            typer.echo(json.dumps(asdict(result) | {"files": [str(path) for path in result.files]}))
        else:
            _print(result, out)


def _known(option: str, given: list[str] | None, allowed: tuple[str, ...]) -> list[str]:
    for name in given or ():
        if name not in allowed:
            raise UsageError(
                f"{option} {name!r} is none of: {', '.join(allowed)}",
                code="bad_option",
                hint="choose one of these",
            )
    return given or []


def _print(result: ChatSetResult, out: Path) -> None:
    lines = result.lines
    typer.echo(
        f"{result.reports:,} reports: {lines['train']:,} lines for training, {lines['validation']:,} for validation, "
        f"{result.lesions:,} lesions; {sum(result.dropped.values()):,} left out"
    )
    for reason, number in sorted(result.dropped.items(), key=lambda item: -item[1]):
        typer.echo(f"  {number:,} × {reason}")
    typer.echo(f"{out / 'train.jsonl'} and validation.jsonl hold report texts (mode 0600)")
    typer.echo(
        "Next: give both to a trainer; docs/finetuning.md says how, and how to measure what came of it"
    )
