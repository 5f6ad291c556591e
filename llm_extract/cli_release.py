"""The verb ``release``: the hand-over of records to researchers."""

from __future__ import annotations

import json
import shlex
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from llm_extract.cli_errors import failures
from llm_extract.cli_options import AnatomyOption
from llm_extract.errors import UsageError

HELP = """Hand records over to researchers: without any words of a report, ids keyed, dates as days.

What is released is a list of fields; what is not on it stays. Ids become HMAC-SHA256 under your key (--create-key makes
one), dates days since the patient's first study, and in summary.json no count of patients below --smallest-count can be
read or worked out; records and tables have a row a report, and whoever gets them can count. The folder is new and
complete: records, tables, summary, data dictionary, manifest.

Example: {program} release records --out release --key hospital.key --create-key --linking-table linking.csv

Exit codes: 0 done, 2 usage, 3 bad data, 5 disk full or similar, 130 or 143 interrupted; then nothing is released.
"""


def release(
    records: Annotated[
        Path, typer.Argument(help="records.jsonl, or the folder of an extraction.", metavar="RECORDS")
    ],
    *,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="New folder of the release.")],
    key: Annotated[
        Path,
        typer.Option(
            "--key", metavar="FILE", help="Your secret key, mode 0600; keep it, never hand it over."
        ),
    ],
    create_key: Annotated[bool, typer.Option("--create-key", help="Make the key first.")] = False,
    smallest_count: Annotated[
        int,
        typer.Option("--smallest-count", min=1, help="Smallest count of patients that the summary shows."),
    ] = 5,
    linking_table: Annotated[
        Path | None,
        typer.Option(
            "--linking-table", metavar="FILE", help="Also write, for yourself, which id became which."
        ),
    ] = None,
    anatomy: AnatomyOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")] = False,
) -> None:
    """Hand records over to researchers."""
    with failures(as_json=as_json):
        from llm_extract.handover.pseudonyms import new_key, read_key
        from llm_extract.handover.release import ReleaseOptions, is_inside
        from llm_extract.handover.release import release as write_release

        if is_inside(key, out):
            raise UsageError(
                "the key would be part of the release",
                code="secret_in_release",
                hint="keep it outside of --out",
            )
        if linking_table is not None and linking_table.resolve() == key.resolve():
            raise UsageError(
                "the linking table would take the place of the key",
                code="output_is_input",
                hint="name another file with --linking-table",
            )
        with new_key(key) if create_key else nullcontext():
            options = ReleaseOptions(
                out=out,
                key=read_key(key),
                smallest_count=smallest_count,
                anatomy=anatomy,
                linking_table=linking_table,
            )
            result = write_release(records, options)
        if as_json:
            files = [str(path) for path in result.files]
            typer.echo(json.dumps(asdict(result) | {"files": files}))
            return
        typer.echo(
            f"{result.records:,} records of {result.patients:,} patients with {result.lesions:,} lesions: {out}"
        )
        if result.duplicates:
            typer.echo(f"  {result.duplicates:,} rows of repeated ids left out")
        for name, number in result.left_out.items():
            typer.echo(f"  {number:,} × {name} is in none of the package's lists and was left out")
        typer.echo(
            f"Next: look through {shlex.quote(str(out))} before it leaves; keep {key} for the next release"
        )
