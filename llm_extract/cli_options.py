"""Options about the input that several verbs share."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from llm_extract.reports import ReportSource

Markup = Literal["strip", "keep"]
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
AnatomyOption = Annotated[
    Path | None,
    typer.Option(
        "--anatomy",
        metavar="YAML",
        help="Your own organs, parts and synonyms, in the shape of llm_extract/anatomy.yaml.",
    ),
]


def reports_to_type(source: ReportSource) -> str:
    """The option ``--reports`` and what else another verb needs to read the same texts, quoted for a shell."""
    given = {
        "--reports": str(source.path),
        "--id-column": source.id_column,
        "--text-column": source.text_column,
        "--group-column": source.group_column,
        "--encoding": source.encoding,
        "--markup": "keep" if source.markup == "keep" else None,
    }
    return " ".join(f"{name} {shlex.quote(value)}" for name, value in given.items() if value is not None)
