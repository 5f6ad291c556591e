"""Verbs about networks: ``train`` and ``predict``."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rsuper.commands.options import ClassMapOption, Device, Json, Network, OutDir
from rsuper.console import emit_json, failures, progress, say, say_next
from rsuper.errors import DataError, PartialError, UsageError

if TYPE_CHECKING:
    from rsuper.config import RunConfig
    from rsuper.data.prepare import PreparedDataset
    from rsuper.training import TrainProgress


def train(
    prepared: Annotated[Path | None, typer.Argument(help="Folder that `rsuper prepare` wrote.")] = None,
    *,
    out: OutDir = Path("runs/first"),
    config: Annotated[
        Path | None, typer.Option("--config", help="YAML settings; the rest takes defaults.")
    ] = None,
    initial_weights: Annotated[
        Path | None, typer.Option("--initial-weights", help="model.safetensors of another run to start from.")
    ] = None,
    network: Network = None,
    print_config: Annotated[
        bool, typer.Option("--print-config", help="Print every setting as YAML and stop.")
    ] = False,
    device: Device = "cpu",
    as_json: Json = False,
) -> None:
    """Train on masks, then on masks and reports; the same command resumes an interrupted run.

    Example: rsuper train prepared --out runs/first --config small.yaml

    Ctrl-C and SIGTERM write a checkpoint first. Exit codes: 0 done, 2 usage, 3 bad data, 5 disk or device, 130 and 143
    interrupted.
    """
    with failures(as_json=as_json):
        from rsuper.config import RunConfig, load_config, with_network

        settings = with_network(load_config(config) if config else RunConfig(), network)
        if print_config:
            say(settings.to_yaml().rstrip())
            return
        if prepared is None:
            raise UsageError(
                "no prepared data set given", code="missing_argument", hint="rsuper train PREPARED --out RUN"
            )
        from rsuper.data.prepare import PreparedDataset
        from rsuper.files import require_writable
        from rsuper.training import train as run

        require_writable(out)
        opened = PreparedDataset.open(prepared)
        # Said with the first step: a mistake stays one line.
        supervision = iter([_what_supervises(opened, settings)])
        with progress("train") as tick:

            def show(step: TrainProgress) -> None:
                for line in supervision:
                    say(line, stream=sys.stderr)
                terms = " ".join(f"{name} {value:.3f}" for name, value in step.terms.items())
                tick(step.step, step.total, f"{step.stage} {terms}")

            result = run(
                opened,
                out,
                config=settings,
                initial_weights=initial_weights,
                device=device,
                network_factory=network,
                progress=show,
            )
        summary = {
            name: {"auc": item.auc, "dice": item.dice, "threshold": item.threshold}
            for name, item in result.summaries.items()
        }
        if result.contradicted:
            say(CONTRADICTED, stream=sys.stderr)
        if as_json:
            facts = {"run": out, "best_step": result.best_step, "validation": summary}
            emit_json({**facts, "contradicted": result.contradicted})
            return
        say(f"{out / 'model.safetensors'}: weights of step {result.best_step}")
        for name, values in summary.items():
            figures = ", ".join(
                f"{key} {'not defined' if value is None else f'{value:.3f}'}" for key, value in values.items()
            )
            say(f"{name}: validation {figures}")
        say_next("rsuper", "predict", out, "DATASET", "--out", "predictions")


CONTRADICTED = (
    "warning reports_contradicted: the network is as sure of lesions where reports call the organ free as where they "
    "state one, so it looks for them in wrong places; more masks or a longer warm-up (optimisation.warmup_steps), or "
    "wrong reports: `rsuper check`"
)


def _what_supervises(prepared: PreparedDataset, settings: RunConfig) -> str:
    """How many training cases bring masks, positive and negative reports; where reports teach nothing, a warning."""
    from rsuper.data.batches import Channels
    from rsuper.training.notes import larger_than_patch

    cases, classes = prepared.split("train"), prepared.config.lesion_classes
    states = Counter(case.state(name) for case in cases for name in classes)
    line = (
        f"training cases by lesion class: {states['voxels']} with a mask, {states['reported']} with a positive report, "
        f"{states['absent']} called free, {states['unknown']} unknown"
    )
    if not states["reported"]:
        line += "\nwarning no_positive_report: the ball and volume terms have nothing to learn from"
    channels = Channels(structures=prepared.config.structures, lesion_classes=classes)
    larger = sum(larger_than_patch(cases, channels, settings.sampling).values())
    if larger and settings.optimisation.arm == "masks_and_reports":
        line += f"\n{larger} reported regions are larger than the patch: "
        if settings.sampling.larger_regions == "search":
            line += "their lesions are searched in the whole region, and crops taken there"
        else:
            line += "these reports force no foreground (warning region_larger_than_patch; sampling.larger_regions)"
    return line


def predict(
    run: Annotated[Path, typer.Argument(help="Run folder, or a model.safetensors.")],
    source: Annotated[Path, typer.Argument(help="Data set folder, or one CT file.")],
    *,
    out: OutDir,
    case: Annotated[list[str] | None, typer.Option(help="Only this case; repeat for more.")] = None,
    class_map: ClassMapOption = None,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Write probability maps too.")
    ] = False,
    network: Network = None,
    device: Device = "cpu",
    as_json: Json = False,
) -> None:
    """Masks and findings for every CT, on the CT's own grid; finished cases are kept.

    Example: rsuper predict runs/first phantoms --out predictions

    Exit codes: 0 all cases, 2 usage, 3 no case, 4 some cases failed, 5 disk or device.
    """
    with failures(as_json=as_json):
        from rsuper.files import require_writable
        from rsuper.prediction.predict import load_model
        from rsuper.prediction.predict import predict as predict_all

        require_writable(out)
        model = load_model(run, device=device, network_factory=network)
        with progress("predict") as tick:
            result = predict_all(
                model,
                source,
                out,
                cases=case,
                class_map=class_map,
                probabilities=probabilities,
                progress=tick,
            )
        if as_json:
            emit_json({"out": out, **result})
        else:
            for item in result["failures"]:
                hint = f" — {item['hint']}" if item["hint"] else ""
                say(f"{item['code']} [case {item['case_id']}]: {item['message']}{hint}")
            say(f"{result['done']} cases in {out}, {len(result['failures'])} failed")
            if result["done"]:
                say_next("rsuper", "evaluate", out, source if source.is_dir() else "DATASET")
    if result["failures"]:
        raise typer.Exit(PartialError.exit_code if result["done"] else DataError.exit_code)
