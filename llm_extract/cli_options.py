"""Options about the input that several verbs share."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from llm_extract.errors import UsageError

if TYPE_CHECKING:
    from llm_extract.reports import ReportSource

Markup = Literal["strip", "keep"]
Kind = Literal["radiology", "pathology", "auto"]
Sql = Annotated[
    str | None,
    typer.Option(
        "--sql",
        metavar="SELECT",
        help="Read the rows of this query instead: of --database, or of files that DuckDB reads.",
    ),
]
Database = Annotated[
    Path | None,
    typer.Option(
        "--database", metavar="FILE", help="DuckDB or SQLite database of --sql; it is only ever read."
    ),
]
IdColumn = Annotated[
    str | None,
    typer.Option(
        "--id-column",
        metavar="COLUMN",
        help="Column of the ids. [default: id, report_id, else case_id, else rows are numbered]",
    ),
]
TextColumn = Annotated[
    str | None,
    typer.Option(
        "--text-column", metavar="COLUMN", help="Column of the texts. [default: text, report, report_text]"
    ),
]
GroupColumn = Annotated[
    str | None,
    typer.Option(
        "--group-column",
        metavar="COLUMN",
        help="Rows with the same value here are one report: its text, then its addenda, wherever they stand.",
    ),
]
Encoding = Annotated[
    str | None,
    typer.Option(
        "--encoding", help="Encoding of the input, such as cp1252. [default: UTF-8, else Windows-1252]"
    ),
]
MarkupOption = Annotated[
    Markup, typer.Option("--markup", help="Take RTF and HL7 mark-up out of the texts, or keep it.")
]
DeidentifyOption = Annotated[
    str | None,
    typer.Option(
        "--deidentify",
        metavar="MODULE:FUNCTION",
        help="Your own function, text -> text: nothing else ever sees the original text of a report. What it wrote is "
        "kept in --out with the ledger, so not together with --ledger.",
    ),
]
AnatomyOption = Annotated[
    Path | None,
    typer.Option(
        "--anatomy",
        metavar="YAML",
        help="Your own organs, parts and synonyms, in the shape of llm_extract/anatomy.yaml.",
    ),
]


def report_source(
    reports: Path | None, *, sql: str | None, database: Path | None, **given: Any
) -> ReportSource:
    """Where the reports are: a file or folder, or a query.

    Args:
        reports: file or folder.
        sql: query.
        database: what the query is asked of.
        given: the other fields of :class:`llm_extract.reports.ReportSource`.

    Raises:
        UsageError: both are given, or neither.
    """
    from llm_extract.reports import ReportSource
    from llm_extract.sql import IN_MEMORY

    if sql is None:
        if database is not None:
            raise UsageError(
                "a database needs a query", code="missing_argument", hint='add --sql "SELECT id, text FROM …"'
            )
        if reports is None:
            raise UsageError(
                "there are no reports to read",
                code="missing_argument",
                hint="name a file or folder, or give --sql and --database",
            )
        return ReportSource(reports, **given)
    if reports is not None:
        raise UsageError(
            f"reports come from {reports} or from --sql, not from both",
            code="bad_option",
            hint="leave one out; a query names files itself, as in SELECT * FROM 'reports.parquet'",
        )
    return ReportSource(database if database is not None else IN_MEMORY, sql=sql, **given)


def reports_to_type(source: ReportSource) -> str:
    """The option ``--reports`` or ``--sql`` and what else another verb needs to read the same texts, for a shell."""
    from llm_extract.sql import IN_MEMORY

    database = None if source.sql is None or source.path == IN_MEMORY else str(source.path)
    given = {
        "--reports": str(source.path) if source.sql is None else None,
        "--sql": source.sql,
        "--database": database,
        "--id-column": source.id_column,
        "--text-column": source.text_column,
        "--group-column": source.group_column,
        "--encoding": source.encoding,
        "--markup": "keep" if source.markup == "keep" else None,
    }
    return " ".join(f"{name} {shlex.quote(value)}" for name, value in given.items() if value is not None)
