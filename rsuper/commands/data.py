"""Verbs about data: ``synth``, ``check``, ``prepare``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rsuper.commands.options import AnatomyFile, ClassMapOption, Json, OutDir, Policy, Records
from rsuper.console import emit_json, failures, progress, say, say_next
from rsuper.errors import PartialError

if TYPE_CHECKING:
    from rsuper.data.prepared import PreparedDataset


def synth(
    out: Annotated[Path, typer.Argument(help="Folder to write the data set into.")],
    *,
    cases: Annotated[int, typer.Option(min=1, help="Number of cases.")] = 24,
    seed: Annotated[int, typer.Option(min=0, help="Seed; case i is the same for any number of cases.")] = 0,
    masks: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Training tumour cases (and as many normals) that get lesion masks. "
            "[default: a third of them, at most 4]",
        ),
    ] = None,
    organ: Annotated[
        list[str] | None,
        typer.Option(help="Organ with tumours: pancreas, kidney or liver; repeat. [default: pancreas]"),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the cohort that was begun in this folder.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Write a phantom cohort in the data set layout: CTs, organ masks, reports, hidden references.

    Example: rsuper synth phantoms --cases 24 --seed 1
    """
    with failures(as_json=as_json):
        from rsuper.files import require_writable
        from rsuper.synthesis import synth as run

        require_writable(out)
        with progress("phantoms") as tick:
            result = run(
                out,
                cases=cases,
                seed=seed,
                masks=masks,
                organs=tuple(organ or ("pancreas",)),
                resume="resume" if resume else "refuse",
                progress=lambda done, total: tick(done, total, ""),
            )
        if as_json:
            emit_json(result)
            return
        say(
            f"{result['cases']} cases in {out}: {result['tumour_cases']} with a tumour, "
            f"{result['voxel_labelled']} with lesion masks; {result['train_reported']} training tumours are known "
            "from their report alone"
        )
        say_next("rsuper", "extract", out / "reports.jsonl", "--out", f"{out}-records")


def check(
    dataset: Annotated[Path, typer.Argument(help="Data set folder.")],
    *,
    records: Records = None,
    class_map: ClassMapOption = None,
    require: Annotated[
        list[str] | None, typer.Option(help="Structure that every case must have; repeat for more.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes that read volumes.")] = 1,
    policy: Policy = "tumours",
    anatomy: AnatomyFile = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder for check.json and check.csv.")] = None,
    as_json: Json = False,
) -> None:
    """Find broken volumes, missing masks and reports that contradict the images, before any training.

    Example: rsuper check phantoms --records phantoms-records

    Exit codes: 0 no errors, 2 usage, 3 no case can be used, 4 some cases have errors, 5 disk or memory.
    """
    with failures(as_json=as_json):
        from rsuper.data.check import check_dataset
        from rsuper.files import require_writable
        from rsuper.supervision.policy import DEFAULT_PRESET

        require_writable(out)
        with progress("check") as tick:
            report = check_dataset(
                dataset,
                class_map=class_map,
                records=records,
                required=require or (),
                workers=workers,
                anatomy=anatomy,
                policy=policy,
                progress=tick,
            )
        if out is not None:
            report.write(out)
        if as_json:
            emit_json(report.as_dict())
        else:
            for issue in report.issues:
                say(str(issue))
            say(report.summary())
            asked = (
                ("--records", records),
                ("--class-map", class_map),
                ("--policy", None if policy == DEFAULT_PRESET else policy),
                ("--anatomy", anatomy),
            )
            given = [word for name, value in asked if value is not None for word in (name, value)]
            say_next("rsuper", "prepare", dataset, *given, "--out", "prepared")
    raise typer.Exit(report.exit_code)


LesionClasses = Annotated[
    list[str] | None,
    typer.Option(help="Lesion class to learn; repeat for more. [default: those with a mask in some case]"),
]
LearntStructures = Annotated[
    list[str] | None,
    typer.Option(help="Organ mask to learn beside; repeat for more. [default: the organs of the classes]"),
]
RoiStructures = Annotated[
    list[str] | None,
    typer.Option(help="Cut out the box around these structures; repeat for more. [default: whole volumes]"),
]
RoiMargin = Annotated[float, typer.Option(min=0, help="Margin of that box.")]
VoxelSize = Annotated[
    tuple[float, float, float] | None,
    typer.Option(
        metavar="X Y Z", help="Voxel size, left-right, front-back, cranio-caudal. [default: the CT's own]"
    ),
]


def prepare(  # noqa: PLR0913 - one parameter an option
    dataset: Annotated[Path, typer.Argument(help="Data set folder.")],
    *,
    out: OutDir,
    lesion_class: LesionClasses = None,
    structure: LearntStructures = None,
    roi: RoiStructures = None,
    roi_margin_mm: RoiMargin = 24.0,
    spacing_mm: VoxelSize = None,
    records: Records = None,
    class_map: ClassMapOption = None,
    policy: Policy = "tumours",
    anatomy: AnatomyFile = None,
    as_json: Json = False,
) -> None:
    """Turn a data set into a prepared one: one grid, chunked volumes, targets from masks and records.

    Example: rsuper prepare phantoms --records phantoms-records --out prepared --roi pancreas

    Cases that are there already, from the same files and settings, are kept; a case that cannot be prepared is named
    with its reason. Exit codes: 0 all cases, 2 usage, 3 none, 4 some, 5 disk or memory.
    """
    with failures(as_json=as_json):
        from rsuper.data.classes import suggest_classes
        from rsuper.data.layout import Dataset
        from rsuper.data.prepare import PrepareConfig
        from rsuper.data.prepare import prepare as run
        from rsuper.files import require_writable
        from rsuper.supervision.policy import DEFAULT_PRESET, load_policy
        from rsuper.supervision.user_anatomy import load_user_anatomy

        require_writable(out)
        opened = Dataset.open(dataset, records=records, class_map=class_map)
        rules = None if policy == DEFAULT_PRESET else load_policy(policy)
        table = None if anatomy is None else load_user_anatomy(anatomy)
        classes, structures = suggest_classes(
            opened, lesion_class or (), structure, policy=rules, anatomy=table
        )
        config = PrepareConfig(
            lesion_classes=classes,
            structures=structures,
            roi_structures=tuple(roi or ()),
            roi_margin_mm=roi_margin_mm,
            spacing_mm=spacing_mm,
            policy=rules,
            anatomy=table,
        )
        reference = dataset / "reference"
        with progress("prepare") as tick:
            result = run(
                opened,
                out,
                config=config,
                reference=reference if reference.is_dir() else None,
                progress=tick,
            )
        if as_json:
            emit_json(_prepared_facts(result, out))
        else:
            _tell_prepared(result, out)
    if result.failures:
        raise typer.Exit(PartialError.exit_code)


def _prepared_facts(result: PreparedDataset, out: Path) -> dict[str, object]:
    return {
        "out": str(out),
        "cases": len(result.cases),
        "lesion_classes": result.config.lesion_classes,
        "structures": result.config.structures,
        "region_voxels": result.region_voxels(),
        "failed": [vars(item) for item in result.failures],
    }


def _tell_prepared(result: PreparedDataset, out: Path) -> None:
    for item in result.failures:
        say(str(item))
    say(
        f"{len(result.cases)} cases prepared in {out}, {len(result.failures)} failed; classes "
        f"{', '.join((*result.config.structures, *result.config.lesion_classes))}"
    )
    for name, sides in result.region_voxels().items():
        say(f"{name}: a patch of {' × '.join(map(str, sides))} voxels holds 95 % of the reported regions")
    say_next("rsuper", "train", out, "--out", "runs/first")
