"""The command line: few verbs, each with an example, ``--json``, progress, and the next command at the end."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

import llm_extract.cli
from rsuper.console import emit_json, progress, say
from rsuper.errors import PartialError, RsuperError, UsageError

app = typer.Typer(
    name="rsuper",
    help="Report-supervised 3D segmentation: reports → records → supervision → network → findings → agreement. "
    "For research; not a medical device.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
llm_extract.cli.register(app)

OutDir = Annotated[Path, typer.Option("--out", help="Folder to write.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")]
Device = Annotated[str, typer.Option(help="Torch device: cpu, cuda, cuda:1 …")]


@app.command()
def demo(
    out: OutDir = Path("demo"),
    seed: Annotated[int, typer.Option(help="Seed of the cohort and the training.")] = 0,
    quick: Annotated[
        bool, typer.Option("--quick", help="A few cases and steps: shows the path, proves nothing.")
    ] = False,
    json: Json = False,
) -> None:
    """Reports → records → two trained networks → one page, on a phantom cohort; about 10 minutes on 2 cores.

    Example: rsuper demo --out demo
    """
    from rsuper.demo.run import run_demo

    result = run_demo(
        out, seed=seed, size="quick" if quick else "full", say=lambda text: say(text, stream=sys.stderr)
    )
    if json:
        emit_json(result)
    else:
        say(f"The page: {(out / 'index.html').resolve()}")
        say(f"Next: open it in a browser, or `rsuper train {out}/prepared --out runs/mine`")


@app.command()
def synth(
    out: Annotated[Path, typer.Argument(help="Folder to write the data set into.")],
    cases: Annotated[int, typer.Option(min=1, help="Number of cases.")] = 20,
    seed: Annotated[int, typer.Option(min=0, help="Seed; case i is the same for any number of cases.")] = 0,
    masks: Annotated[int, typer.Option(min=0, help="Cases that get lesion masks (voxel-labelled).")] = 4,
    json: Json = False,
) -> None:
    """Write a phantom cohort in the data set layout: CTs, organ masks, reports, hidden references.

    Example: rsuper synth phantoms --cases 20 --seed 1
    """
    from rsuper import synthesis

    with progress("phantoms") as tick:
        result = synthesis.synth(out, cases=cases, seed=seed, masks=masks, progress=tick)
    if json:
        emit_json(result)
    else:
        say(f"{cases} cases in {out}")
        say(f"Next: rsuper extract {out}/reports.jsonl --out {out}/extracted")


@app.command()
def check(
    dataset: Annotated[Path, typer.Argument(help="Data set folder.")],
    records: Annotated[
        Path | None, typer.Option(help="records.jsonl, where it is not in the folder.")
    ] = None,
    class_map: Annotated[
        str | None, typer.Option(help="YAML class map, or a preset such as totalsegmentator.")
    ] = None,
    require: Annotated[
        list[str] | None, typer.Option(help="Structure that every case must have; repeat for more.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes that read volumes.")] = 1,
    out: Annotated[Path | None, typer.Option(help="Folder for check.json and check.csv.")] = None,
    json: Json = False,
) -> None:
    """Find broken volumes, missing masks and reports that contradict the images, before any training.

    Example: rsuper check phantoms
    """
    from rsuper.data.check import check_dataset

    with progress("check") as tick:
        report = check_dataset(
            dataset,
            class_map=class_map,
            records=records,
            required=require or (),
            workers=workers,
            progress=tick,
        )
    if out is not None:
        report.write(out)
    if json:
        emit_json(report.as_dict())
    else:
        for issue in report.issues:
            say(str(issue))
        say(report.summary())
        say(f"Next: rsuper prepare {dataset} --out prepared")
    raise typer.Exit(report.exit_code)


@app.command()
def prepare(
    dataset: Annotated[Path, typer.Argument(help="Data set folder.")],
    out: OutDir,
    lesion_class: Annotated[
        list[str] | None, typer.Option(help="Lesion class to learn; repeat for more.")
    ] = None,
    structure: Annotated[
        list[str] | None, typer.Option(help="Organ mask to learn beside; repeat for more.")
    ] = None,
    roi: Annotated[
        list[str] | None, typer.Option(help="Crop to the box of these structures; repeat.")
    ] = None,
    spacing: Annotated[
        tuple[float, float, float] | None, typer.Option(help="Voxel size in mm; the CT's own by default.")
    ] = None,
    records: Annotated[
        Path | None, typer.Option(help="records.jsonl, where it is not in the folder.")
    ] = None,
    json: Json = False,
) -> None:
    """Turn a data set into a prepared one: one grid, chunked volumes, targets from the records.

    Example: rsuper prepare phantoms --out prepared --lesion-class pancreas_lesion --structure pancreas --roi pancreas
    """
    from rsuper.data.layout import Dataset
    from rsuper.data.prepare import PrepareConfig
    from rsuper.data.prepare import prepare as run

    opened = Dataset.open(dataset, records=records)
    config = PrepareConfig(
        lesion_classes=tuple(lesion_class or ("pancreas_lesion",)),
        structures=tuple(structure or ()),
        roi_structures=tuple(roi or ()),
        spacing_mm=spacing,
    )
    reference = dataset / "reference"
    with progress("prepare") as tick:
        result = run(
            opened, out, config=config, reference=reference if reference.is_dir() else None, progress=tick
        )
    if json:
        emit_json({"cases": len(result.cases), "failed": dict(result.failed)})
    else:
        for case_id, code in result.failed:
            say(f"{code} [case {case_id}]")
        say(f"{len(result.cases)} cases prepared in {out}, {len(result.failed)} failed")
        say(f"Next: rsuper train {out} --out runs/first")
    if result.failed:
        raise typer.Exit(PartialError.exit_code)


@app.command()
def train(
    prepared: Annotated[Path | None, typer.Argument(help="Folder that `rsuper prepare` wrote.")] = None,
    out: OutDir = Path("runs/first"),
    config: Annotated[Path | None, typer.Option(help="YAML settings; the rest takes defaults.")] = None,
    initial_weights: Annotated[
        Path | None, typer.Option(help="model.safetensors of another run to start from.")
    ] = None,
    print_config: Annotated[
        bool, typer.Option("--print-config", help="Print every setting as YAML and stop.")
    ] = False,
    device: Device = "cpu",
    json: Json = False,
) -> None:
    """Train on masks, then on masks and reports; the same command resumes an interrupted run.

    Example: rsuper train prepared --out runs/first --config small.yaml
    """
    from rsuper.config import RunConfig, load_config

    settings = load_config(config) if config else RunConfig()
    if print_config:
        say(settings.to_yaml().rstrip())
        return
    if prepared is None:
        raise UsageError(
            "no prepared data set given", code="missing_argument", hint="rsuper train PREPARED --out RUN"
        )
    from rsuper.data.prepare import PreparedDataset
    from rsuper.training import TrainProgress
    from rsuper.training import train as run

    with progress("train") as tick:

        def show(step: TrainProgress) -> None:
            terms = " ".join(f"{name} {value:.3f}" for name, value in step.terms.items())
            tick(step.step, step.total, f"{step.stage} {terms}")

        result = run(
            PreparedDataset.open(prepared),
            out,
            config=settings,
            initial_weights=initial_weights,
            device=device,
            progress=show,
        )
    summary = {
        name: {"auc": item.auc, "dice": item.dice, "threshold": item.threshold}
        for name, item in result.summaries.items()
    }
    if json:
        emit_json({"run": str(out), "best_step": result.best_step, "validation": summary})
    else:
        for name, values in summary.items():
            say(f"{name}: validation {values}")
        say(f"Next: rsuper predict {out} DATASET --out predictions")


@app.command()
def predict(
    run: Annotated[Path, typer.Argument(help="Run folder, or a model.safetensors.")],
    source: Annotated[Path, typer.Argument(help="Data set folder, or one CT file.")],
    out: OutDir,
    case: Annotated[list[str] | None, typer.Option(help="Only these cases; repeat for more.")] = None,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Write probability maps too.")
    ] = False,
    device: Device = "cpu",
    json: Json = False,
) -> None:
    """Masks and findings for every CT, on the CT's own grid.

    Example: rsuper predict runs/first phantoms --out predictions
    """
    from rsuper.prediction.predict import load_model
    from rsuper.prediction.predict import predict as run_prediction

    model = load_model(run, device=device)
    with progress("predict") as tick:
        result = run_prediction(model, source, out, cases=case, probabilities=probabilities, progress=tick)
    if json:
        emit_json(result)
    else:
        for case_id, code in result["failed"].items():
            say(f"{code} [case {case_id}]")
        say(f"{result['done']} cases in {out}, {len(result['failed'])} failed")
        say(f"Next: rsuper evaluate {out} {source}")
    if result["failed"]:
        raise typer.Exit(PartialError.exit_code)


@app.command()
def doctor(json: Json = False) -> None:
    """Say what this machine has: versions, threads, devices, and which extras are installed.

    Example: rsuper doctor
    """
    import importlib.util

    extras = {
        "train": ("torch", "monai", "nibabel", "blosc2", "safetensors", "matplotlib"),
        "dicom": ("pydicom", "highdicom", "SimpleITK"),
        "openai": ("openai",),
        "vllm": ("vllm",),
        "transformers": ("transformers", "xgrammar"),
    }
    missing = {
        extra: [name for name in names if importlib.util.find_spec(name) is None]
        for extra, names in extras.items()
    }
    facts: dict[str, Any] = {
        "rsuper": __import__("rsuper").__version__,
        "python": platform.python_version(),
        "processors": os.cpu_count(),
        "extras": {
            extra: "installed" if not names else f"missing {', '.join(names)}"
            for extra, names in missing.items()
        },
    }
    if not missing["train"]:
        import torch

        facts["torch"] = torch.__version__
        facts["cuda"] = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    if json:
        emit_json(facts)
        return
    for name, value in facts.items():
        say(f"{name}: {value}")
    if missing["train"]:
        say('Next: pip install "rsuper[train]"')
    else:
        say("Next: rsuper demo")


def main() -> None:
    """Entry point of ``rsuper``: errors become one line and an exit code, never a report's text."""
    try:
        app()
    except RsuperError as error:
        say(f"error {error}", stream=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        say("interrupted; the same command goes on where it stopped", stream=sys.stderr)
        sys.exit(130)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] in {"rsuper", "llm_extract"}:
            raise
        say(
            f'error missing_extra: {error.name} is not installed — pip install "rsuper[train]"',
            stream=sys.stderr,
        )
        sys.exit(2)
