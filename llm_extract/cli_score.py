"""The verb ``score``: records against gold answers."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Annotated

import typer

from llm_extract.cli_errors import failures, program_of
from llm_extract.cli_options import AnatomyOption

HELP = """Compare records with gold answers: by field, by organ, and by the harm that an error would do.

GOLD holds one report a line with its lesions: "findings" and "organs_negative", or "expected". To write your own, see
docs/gold.md; this is the line of a report with one cyst and a normal spleen:

{{"id": "R0", "text": "Cyst of 12 mm in the left kidney. Normal spleen.",
"findings": [{{"organ": "kidney", "laterality": "left", "diameters_mm": [12], "count": 1, "attenuation": null,
"certainty": "definite"}}], "organs_negative": ["spleen"]}}

A harmful target is a lesion that would supervise a network on the wrong side, in the wrong part or organ, with a prior
size or one outside its interval, or an organ called free that holds a lesion.

Example: {program} score records gold.jsonl --errors errors.csv

Exit codes: 0 scored, 2 usage, 3 bad data, 5 disk full or similar, 130 or 143 interrupted.
"""


def score(
    context: typer.Context,
    records: Annotated[
        Path, typer.Argument(help="records.jsonl, or the folder of an extraction.", metavar="RECORDS")
    ],
    gold: Annotated[Path, typer.Argument(help="Gold answers, one report a line.", metavar="GOLD")],
    *,
    errors: Annotated[
        Path | None,
        typer.Option(
            "--errors",
            metavar="FILE",
            help="Write every error with its sentence to this .csv or .jsonl. It holds report text: keep it private.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Also write the scores to this JSON file.")
    ] = None,
    anatomy: AnatomyOption = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the bootstrap.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the scores as one JSON object.")] = False,
) -> None:
    """Compare records with gold answers."""
    with failures(as_json=as_json):
        from llm_extract.anatomy import load_anatomy
        from llm_extract.anatomy_file import check_anatomy_file
        from llm_extract.gold import unknown_words
        from llm_extract.private_files import private_text, refuse_an_input
        from llm_extract.record_files import records_file
        from llm_extract.score_errors import errors_of, refuse_other_types, write_errors
        from llm_extract.scoring import read_both
        from llm_extract.scoring import score as score_records
        from llm_extract.scoring_report import score_lines

        if errors is not None:
            refuse_other_types(errors)
        table = check_anatomy_file(anatomy) if anatomy is not None else None
        for output in (errors, out):
            refuse_an_input(output, records_file(records), gold, anatomy)
        answers, made = read_both(records, gold)
        unknown = unknown_words(answers, table if table is not None else load_anatomy())
        if unknown:
            typer.echo(f"note: no such organ, nothing can match it: {', '.join(unknown)[:400]}", err=True)
        scores = score_records(made, answers, seed=seed, anatomy=table)
        number = None
        if errors is not None:
            number = write_errors(
                errors,
                (
                    error
                    for answer in answers
                    for error in errors_of(answer, made.get(answer.report_id), anatomy=table)
                ),
            )
        if out is not None:
            with private_text(out) as file:
                file.write(json.dumps(scores, indent=2) + "\n")
        if as_json:
            typer.echo(json.dumps(scores))
            return
        for line in score_lines(scores):
            typer.echo(line)
        if number is not None:
            typer.echo(f"{number:,} errors with their sentences: {errors} (holds report text, mode 0600)")
        else:
            command = f"{program_of(context)} score {shlex.quote(str(records))} {shlex.quote(str(gold))}"
            typer.echo(f"Next: {command} --errors errors.csv   # every error with its sentence")
