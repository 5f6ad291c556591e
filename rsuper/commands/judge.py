"""Verbs about predictions: ``evaluate`` against the truth, ``agree`` with the reports."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rsuper.commands.options import Classes, ClassMapOption, Json, OwnAnatomy, OwnPolicy, Records
from rsuper.console import emit_json, failures, progress, say, say_next


def evaluate(  # noqa: PLR0913 - one parameter an option
    predictions: Annotated[Path, typer.Argument(help="Folder that `rsuper predict` wrote.")],
    dataset: Annotated[Path, typer.Argument(help="Data set folder with the truth.")],
    *,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder to write. [default: PREDICTIONS/evaluation]")
    ] = None,
    against: Annotated[
        Path | None, typer.Option("--against", help="Another prediction folder: adds paired differences.")
    ] = None,
    reference: Annotated[
        Path | None, typer.Option("--reference", help="Evaluation masks. [default: DATASET/reference]")
    ] = None,
    records: Records = None,
    class_map: ClassMapOption = None,
    lesion_class: Classes = None,
    split: Annotated[str | None, typer.Option(help="Only cases of this split, such as test.")] = None,
    threshold: Annotated[
        list[str] | None,
        typer.Option(help="CLASS=SCORE from which a case is called, chosen on other cases; repeat."),
    ] = None,
    policy: OwnPolicy = None,
    anatomy: OwnAnatomy = None,
    as_json: Json = False,
) -> None:
    """Sensitivity, specificity, AUC, overlap and distances with intervals, case by case and lesion by lesion.

    Example: rsuper evaluate predictions phantoms --split test --against predictions-masks-only

    Exit codes: 0 all cases, 2 usage, 3 bad data, 4 some cases could not be evaluated, 5 disk or memory.
    """
    with failures(as_json=as_json):
        from rsuper.data.layout import Dataset
        from rsuper.evaluation.command import parse_thresholds, run_evaluate
        from rsuper.evaluation.results import EvaluationSettings
        from rsuper.files import require_writable
        from rsuper.supervision.policy import load_policy
        from rsuper.supervision.user_anatomy import load_user_anatomy

        require_writable(out)
        counted = None if policy is None else load_policy(policy)
        settings = EvaluationSettings(
            thresholds=parse_thresholds(threshold or ()),
            counted=counted,
            anatomy=None if anatomy is None else load_user_anatomy(anatomy),
        )
        with progress("evaluate") as tick:
            outcome = run_evaluate(
                predictions,
                Dataset.open(dataset, records=records, class_map=class_map),
                out=out,
                against=against,
                reference=reference,
                classes=lesion_class or (),
                split=split,
                settings=settings,
                progress=tick,
            )
        if as_json:
            emit_json(outcome.as_json())
        else:
            for line in outcome.lines():
                say(line)
            say(f"Every case: {outcome.out / 'cases.csv'}")
            say_next("rsuper", "agree", predictions, records or dataset)
    raise typer.Exit(outcome.exit_code)


def agree(
    predictions: Annotated[Path, typer.Argument(help="Folder that `rsuper predict` wrote, or masks.")],
    records: Annotated[
        Path, typer.Argument(help="records.jsonl, the folder of an extraction, or a data set folder.")
    ],
    *,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder to write. [default: PREDICTIONS/agreement]")
    ] = None,
    lesion_class: Classes = None,
    policy: OwnPolicy = None,
    anatomy: OwnAnatomy = None,
    as_json: Json = False,
) -> None:
    """Hold findings against reports, lesion by lesion, and rank the cases by what to look at first.

    Example: rsuper agree predictions phantoms-records

    Exit codes: 0 all cases, 2 usage, 3 bad data, 4 some cases could not be compared, 5 disk or memory.
    """
    with failures(as_json=as_json):
        from rsuper.agreement.command import run_agree
        from rsuper.files import require_writable
        from rsuper.supervision.user_anatomy import load_user_anatomy

        require_writable(out)
        with progress("agree") as tick:
            outcome = run_agree(
                predictions,
                records,
                out=out,
                classes=lesion_class or (),
                policy=policy,
                anatomy=None if anatomy is None else load_user_anatomy(anatomy),
                progress=tick,
            )
        if as_json:
            emit_json(outcome.as_json())
        else:
            for line in outcome.lines():
                say(line)
            say(f"Next: look at {outcome.out / 'agreement.csv'}, highest priority first")
    raise typer.Exit(outcome.exit_code)
