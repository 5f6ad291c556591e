"""The command line of extraction: from reports to records, and what is done with records alone; also in ``rsuper``."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llm_extract import (
    cli_agree_records,
    cli_audit,
    cli_export_chat,
    cli_model,
    cli_release,
    cli_run,
    cli_score,
)
from llm_extract.cli_errors import failures, program_of
from llm_extract.cli_options import (
    AnatomyOption,
    Database,
    DeidentifyOption,
    Encoding,
    GroupColumn,
    IdColumn,
    Kind,
    MarkupOption,
    Sql,
    TextColumn,
    report_source,
    reports_to_type,
)

if TYPE_CHECKING:
    from llm_extract.archive import ArchiveResult
    from llm_extract.archive_options import ArchiveOptions
    from llm_extract.export import ExportCounts
    from llm_extract.reports import ReportSource

EXTRACT_EXAMPLE = """Turn reports into records.

REPORTS is a .csv, .tsv, .parquet or .jsonl file with the columns (or keys) id and text, and optionally
kind, patient_id, date and case_id; or a folder of .txt (.rtf, .hl7) files. The rules read English; reports in other
languages are quarantined with the code unsupported_language.

Example: {program} extract reports.csv --out records --id-column accession --text-column report

Example: {program} extract export.csv --out records --encoding cp1252 --group-column accession

Example: {program} extract --sql "SELECT accession AS id, text FROM ct" --database ris.duckdb --out records

Example: {program} extract reports.csv --out records --backend openai --cross-check rules

Exit codes: 0 all done, 2 usage, 3 bad input, 4 some reports quarantined, 5 disk full or similar, 130 or 143
stopped and resumable. The same command goes on where a stopped one ended.
"""


def _extract(  # noqa: PLR0913 - one parameter an option
    context: typer.Context,
    reports: Annotated[
        Path | None, typer.Argument(help="Table of reports, or folder of .txt files.", metavar="REPORTS")
    ] = None,
    *,
    out: Annotated[Path, typer.Option("--out", help="Folder for records, tables, pages and the ledger.")],
    backend: cli_run.BackendName = "rules",
    sql: Sql = None,
    database: Database = None,
    id_column: IdColumn = None,
    text_column: TextColumn = None,
    group_column: GroupColumn = None,
    encoding: Encoding = None,
    markup: MarkupOption = "strip",
    anatomy: AnatomyOption = None,
    deidentify: DeidentifyOption = None,
    source: Annotated[
        Kind, typer.Option("--source", help="What all reports are; auto decides one by one.")
    ] = "auto",
    workers: cli_run.Workers = 1,
    timeout_s: cli_run.TimeoutS = 60.0,
    evidence_limit: cli_run.EvidenceLimit = 20_000,
    retry_quarantined: cli_run.RetryQuarantined = False,
    pilot: cli_model.Pilot = None,
    shard: cli_run.ShardName = None,
    ledger: cli_run.LedgerFolder = None,
    ray: cli_run.RayAddress = None,
    ray_gpus: cli_run.RayGpus = None,
    model: cli_model.ModelName = None,
    revision: cli_model.Revision = None,
    base_url: cli_model.BaseUrl = "http://127.0.0.1:8000/v1",
    allow_remote: cli_model.AllowRemote = False,
    api_key_file: cli_model.ApiKeyFile = None,
    concurrency: cli_model.Concurrency = 64,
    request_timeout_s: cli_model.RequestTimeout = 600.0,
    max_model_len: cli_model.MaxModelLen = 8192,
    gpus: cli_model.Gpus = 1,
    kv_cache_gib: cli_model.KvCache = None,
    record: cli_model.Record = None,
    recording: cli_model.Recording = None,
    cross_check: cli_model.CrossCheckOption = "none",
    price_per_million: cli_model.Price = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    with failures(as_json=as_json):
        from llm_extract.archive import extract_archive
        from llm_extract.backends import MODEL_BACKENDS

        table = report_source(
            reports, sql=sql, database=database, id_column=id_column, text_column=text_column, kind=source,
            encoding=encoding, group_column=group_column, markup=markup,
        )  # fmt: skip
        asked = cli_model.model_options(
            backend, allow_remote=allow_remote and (ray is None or backend in MODEL_BACKENDS), model=model,
            revision=revision, base_url=base_url, api_key_file=api_key_file, concurrency=concurrency,
            request_timeout_s=request_timeout_s, max_model_len=max_model_len, gpus=gpus, record=record,
            recording=recording, cross_check=cross_check, price_per_million=price_per_million,
            kv_cache_gib=kv_cache_gib,
        )  # fmt: skip
        cluster = cli_run.ray_options(
            ray, workers=workers, gpus=ray_gpus, allow_remote=allow_remote, model=asked, backend=backend
        )
        options = cli_run.archive_options(
            out, shard=shard, retry_quarantined=retry_quarantined, backend=backend, workers=workers,
            timeout_s=timeout_s, evidence_limit=evidence_limit, anatomy=anatomy, pilot=pilot, ledger_folder=ledger,
            ray=cluster, model=asked, deidentify=deidentify,
        )  # fmt: skip
        result = extract_archive(table, options)
        if as_json:
            _print_json(result)
        else:
            _print_lines(result, table, options, program=program_of(context))
    if result.exit_code:
        raise typer.Exit(result.exit_code)


def _print_json(result: ArchiveResult) -> None:
    summary = asdict(result.counts) | {"extracted": result.extracted, "seconds": round(result.seconds, 3)}
    typer.echo(json.dumps(summary | {"files": [str(path) for path in result.files]}))


def _print_lines(
    result: ArchiveResult, table: ReportSource, options: ArchiveOptions, *, program: str
) -> None:
    counts = result.counts
    if result.source_note:
        typer.echo(result.source_note)
    typer.echo(
        f"{counts.input:,} reports: {counts.done:,} done ({counts.needs_review:,} need review), "
        f"{counts.quarantined:,} quarantined; {counts.lesions:,} lesions. "
        f"{result.extracted:,} extracted now, {result.seconds:.1f} s."
    )
    for name, number in sorted(counts.errors.items(), key=lambda item: -item[1])[:5]:
        typer.echo(f"  {number:,} × {name}")
    for line in result.forecast.lines() if result.forecast is not None else ():
        typer.echo(line)
    if options.pilot is not None and result.forecast is None:
        typer.echo("The whole sample was extracted before: nothing was timed now, and nothing is forecast.")
    texts = f"--reports {shlex.quote(str(options.out / 'cleaned_texts.jsonl'))}"  # the only ones it may show
    read = reports_to_type(table) if options.deidentify is None else texts
    again = f"{program} audit {shlex.quote(str(options.out))} {read}"
    part = "pilot" if options.pilot is not None else "shard" if options.shard is not None else None
    for line in _next_steps(options.out, counts, part=part, audit=again):
        typer.echo(line)


def _next_steps(out: Path, counts: ExportCounts, *, part: str | None, audit: str) -> Iterator[str]:
    if part == "pilot":
        yield "Next: the same command without --pilot extracts the rest; the sample is done already."
        return
    if part == "shard":
        yield "Next: when every shard is done, the same command without --shard merges them."
        return
    if counts.quarantined:
        yield f"Quarantined reports have status failed in {out / 'studies.csv'}; column issues says why."
    if counts.cleaned:
        texts = out / "cleaned_texts.jsonl"
        yield (
            f"{counts.cleaned:,} of {counts.input:,} texts are others than in the input; offsets of their records "
            f"refer to {texts}."
        )
    if (out / "evidence.html").exists():
        yield f"Look at: {out / 'evidence.html'}"
    yield f"Next: {audit}   # judge a sample of your own archive"
    yield f"Next: rsuper check DATASET --records {shlex.quote(str(out / 'records.jsonl'))}"


def register(app: typer.Typer, *, program: str = "llm-extract") -> None:
    """Add the verbs of extraction to an app.

    Args:
        app: the app of this program, or of one that includes it.
        program: what a user types before the verb.
    """
    commands: tuple[tuple[str, str, Callable[..., None]], ...] = (
        ("extract", EXTRACT_EXAMPLE, _extract),
        ("score", cli_score.HELP, cli_score.score),
        ("audit", cli_audit.HELP, cli_audit.audit),
        ("agree-records", cli_agree_records.HELP, cli_agree_records.agree_records),
        ("export-chat", cli_export_chat.HELP, cli_export_chat.export_chat),
        ("release", cli_release.HELP, cli_release.release),
    )
    for name, help_text, command in commands:
        app.command(name, help=help_text.format(program=program))(command)


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
