"""The command line of extraction: ``extract`` and ``score``; also mounted into ``rsuper``."""

from __future__ import annotations

import json
import shlex
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import typer

from llm_extract.errors import InterruptedRunError, PipelineError, ResourceError

Kind = Literal["radiology", "pathology", "auto"]

EXTRACT_EXAMPLE = """Turn reports into records.

REPORTS is a .csv, .tsv, .parquet or .jsonl file with the columns (or keys) id and text, and optionally
kind, patient_id, date and case_id; or a folder of .txt files.

Example: llm-extract extract reports.csv --out records --id-column accession --text-column report

Exit codes: 0 all done, 2 usage, 3 bad input, 4 some reports quarantined, 5 disk full or similar, 130 or 143
stopped and resumable. The same command goes on where a stopped one ended.
"""


def _extract(  # noqa: PLR0913 - one parameter an option
    reports: Annotated[
        Path, typer.Argument(help="Table of reports, or folder of .txt files.", metavar="REPORTS")
    ],
    *,
    out: Annotated[Path, typer.Option("--out", help="Folder for records, tables, pages and the ledger.")],
    backend: Annotated[
        str, typer.Option("--backend", help="rules, or package.module:Class for a backend of your own.")
    ] = "rules",
    id_column: Annotated[
        str | None, typer.Option("--id-column", help="Column of the ids [default: id].")
    ] = None,
    text_column: Annotated[
        str | None, typer.Option("--text-column", help="Column of the texts [default: text].")
    ] = None,
    source: Annotated[
        Kind, typer.Option("--source", help="What all reports are; auto decides one by one.")
    ] = "auto",
    shard: Annotated[
        str | None,
        typer.Option("--shard", metavar="I/N", help="Only this part; without it, finished parts are merged."),
    ] = None,
    workers: Annotated[
        int, typer.Option("--workers", min=0, max=1024, help="Worker processes; 0 extracts in this process.")
    ] = 1,
    timeout_s: Annotated[
        float, typer.Option("--timeout-s", min=0.1, help="Longest time for one report.")
    ] = 60.0,
    evidence_limit: Annotated[
        int,
        typer.Option("--evidence-limit", min=0, help="How many reports the evidence pages show; 0: no page."),
    ] = 20_000,
    retry_quarantined: Annotated[
        bool, typer.Option("--retry-quarantined", help="Try quarantined reports again.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    with _failures(as_json=as_json):
        from llm_extract.archive import ArchiveOptions, Shard, extract_archive
        from llm_extract.reports import ReportSource

        options = ArchiveOptions(
            out=out,
            backend=backend,
            shard=Shard.parse(shard) if shard is not None else None,
            workers=workers,
            timeout_s=timeout_s,
            quarantine="retry" if retry_quarantined else "keep",
            evidence_limit=evidence_limit,
        )
        result = extract_archive(
            ReportSource(reports, id_column=id_column, text_column=text_column, kind=source), options
        )
        counts = result.counts
        if as_json:
            summary = asdict(counts) | {"extracted": result.extracted, "seconds": round(result.seconds, 3)}
            typer.echo(json.dumps(summary | {"files": [str(path) for path in result.files]}))
        else:
            typer.echo(
                f"{counts.input:,} reports: {counts.done:,} done ({counts.needs_review:,} need review), "
                f"{counts.quarantined:,} quarantined; {counts.lesions:,} lesions. "
                f"{result.extracted:,} extracted now, {result.seconds:.1f} s."
            )
            for name, number in sorted(counts.errors.items(), key=lambda item: -item[1])[:5]:
                typer.echo(f"  {number:,} × {name}")
            for line in _next_steps(out, shard=shard, quarantined=counts.quarantined):
                typer.echo(line)
    if result.exit_code:
        raise typer.Exit(result.exit_code)


def _next_steps(out: Path, *, shard: str | None, quarantined: int) -> Iterator[str]:
    if shard is not None:
        yield "Next: when every shard is done, the same command without --shard merges them."
        return
    if quarantined:
        yield f"Quarantined reports have status failed in {out / 'studies.csv'}; column issues says why."
    if (out / "evidence.html").exists():
        yield f"Look at: {out / 'evidence.html'}"
    yield f"Next: rsuper check DATASET --records {shlex.quote(str(out / 'records.jsonl'))}"


SCORE_EXAMPLE = """Compare records with a gold file.

Example: llm-extract score records/records.jsonl gold.jsonl

GOLD holds one report a line with its lesions: "findings" and "organs_negative", or "expected".
"""


def _score(
    records: Annotated[Path, typer.Argument(help="records.jsonl of an extraction.", metavar="RECORDS")],
    gold: Annotated[Path, typer.Argument(help="Gold answers, one report a line.", metavar="GOLD")],
    *,
    out: Annotated[
        Path | None, typer.Option("--out", help="Also write the scores to this JSON file.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the bootstrap.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the scores as JSON.")] = False,
) -> None:
    with _failures(as_json=as_json):
        from llm_extract.scoring import score_files
        from llm_extract.scoring_report import score_lines

        scores = score_files(records, gold, seed=seed)
        if out is not None:
            out.write_text(json.dumps(scores, indent=2) + "\n", encoding="utf-8")
        if as_json:
            typer.echo(json.dumps(scores))
        else:
            for line in score_lines(scores):
                typer.echo(line)


@contextmanager
def _failures(*, as_json: bool) -> Iterator[None]:
    """Turn expected failures into one line and an exit code; nothing of a report is ever printed."""
    try:
        yield
    except PipelineError as error:
        _fail(error, as_json=as_json)
    except InterruptedRunError as error:
        typer.echo(f"interrupted: {error}", err=True)
        raise typer.Exit(error.exit_code) from None
    except KeyboardInterrupt as error:  # outside of the loop; a subclass stands for SIGTERM
        typer.echo("interrupted: the same command goes on where it stopped", err=True)
        raise typer.Exit(130 if type(error) is KeyboardInterrupt else 143) from None
    except OSError as error:
        reason = f"{error.filename or 'a file'}: {error.strerror or type(error).__name__}"
        _fail(ResourceError(reason, code="file_error", hint="check path and permissions"), as_json=as_json)
    except (typer.Exit, typer.Abort):
        raise
    except (
        Exception
    ) as error:  # its message may quote a report: only its type and the lines of code are shown
        for line in traceback.format_tb(error.__traceback__)[-6:]:
            typer.echo(line.rstrip(), err=True)
        name = type(error).__name__
        if as_json:
            typer.echo(json.dumps({"error": {"code": "internal_error", "message": name, "hint": None}}))
        typer.echo(
            f"error internal_error: unexpected {name} — please report it with the lines above", err=True
        )
        raise typer.Exit(1) from None


def _fail(error: PipelineError, *, as_json: bool) -> NoReturn:
    if as_json:
        message = {"code": error.code, "message": str(error.args[0]), "hint": error.hint}
        typer.echo(json.dumps({"error": message}))
    typer.echo(f"error {error}", err=True)
    raise typer.Exit(error.exit_code) from None


def register(app: typer.Typer) -> None:
    """Add the verbs ``extract`` and ``score`` to an app.

    Args:
        app: the app of this program, or of one that includes it.
    """
    commands: tuple[tuple[str, str, Callable[..., None]], ...] = (
        ("extract", EXTRACT_EXAMPLE, _extract),
        ("score", SCORE_EXAMPLE, _score),
    )
    for name, help_text, command in commands:
        app.command(name, help=help_text)(command)


def build_app() -> typer.Typer:
    """The app behind ``llm-extract``."""
    app = typer.Typer(
        name="llm-extract",
        help="Radiology and pathology reports become grounded, structured records.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        pretty_exceptions_show_locals=False,
    )
    register(app)

    app.callback()(_callback)
    return app


def _show_version(value: bool) -> None:  # noqa: FBT001 - the signature that typer calls
    if value:
        from llm_extract import __version__

        typer.echo(f"llm-extract {__version__}")
        raise typer.Exit


def _callback(
    *, version: Annotated[bool, typer.Option("--version", callback=_show_version, is_eager=True)] = False
) -> None:
    """Radiology and pathology reports become grounded, structured records."""


def main() -> None:
    """Run the command line."""
    build_app()(sys.argv[1:])


if __name__ == "__main__":
    main()
