"""The command line: few verbs, each with an example, ``--json``, progress, and the next command at the end."""

from __future__ import annotations

from typing import Annotated

import typer

import llm_extract.cli
import rsuper
from rsuper.commands import data, explain, judge, learn, start
from rsuper.console import die_of_sigterm_politely

SUMMARY = (
    "Report-supervised 3D segmentation: reports → records → supervision → network → findings → agreement. "
    "For research; not a medical device."
)
app = typer.Typer(
    name="rsuper",
    help=SUMMARY,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _show_version(value: bool) -> None:  # noqa: FBT001 - the signature that typer calls
    if value:
        typer.echo(f"rsuper {rsuper.__version__}")
        raise typer.Exit


@app.callback(help=SUMMARY)
def _callback(
    *,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and stop."),
    ] = False,
) -> None:
    """Options of the program itself."""


app.command()(start.demo)
app.command()(data.synth)
llm_extract.cli.register(app, program="rsuper")
app.command()(data.check)
app.command()(data.prepare)
app.command()(learn.train)
app.command()(learn.predict)
app.command()(judge.evaluate)
app.command()(judge.agree)
app.command()(explain.explain)
app.command()(start.doctor)


def main() -> None:
    """Entry point of ``rsuper``."""
    die_of_sigterm_politely()
    app()


if __name__ == "__main__":
    main()
