"""What each kind of report is worth, and what wrong reports, masks, margins and sizes cost.

    python benchmarks/supervision_study.py --part tiers               # 5 arms a seed
    python benchmarks/supervision_study.py --part margins sizes wrong hosts
    python benchmarks/supervision_study.py --summary-only             # tables from the runs that are there

Built on the demo study: its cohorts, prepared cases, warm-ups and masks-only runs are read from ``--source`` (and made
there where they are missing). All arms take the same cases, steps and loss; only the targets of the positive reports
differ, rebuilt from changed records. Finished runs are kept, so the same command goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "supervision_study.json"
MASKS = 4
REPORTS = 76
"""Positive reports of an arm: as many as every cohort has with size and part; half as many negative ones."""
ARM = "ball_and_volume"


@dataclass(frozen=True, kw_only=True)
class Job:
    """One run: where, which condition, which seed, how long."""

    source: Path
    work: Path
    condition: str
    seed: int
    steps: int
    validation: int
    test: int

    @property
    def run(self) -> Path:
        """Folder of the run."""
        return self.work / "runs" / f"seed{self.seed}" / self.condition


def main() -> None:
    """Run what is missing, then write the tables."""
    sys.path.insert(0, str(HERE))
    from demo_study import STEPS, TEST, VALIDATION
    from supervision_conditions import CONDITIONS, PARTS

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--source", type=Path, default=HERE / "work" / "demo_study", help="demo study's folder"
    )
    parser.add_argument("--work", type=Path, default=HERE / "work" / "supervision_study")
    parser.add_argument("--part", nargs="+", choices=PARTS, default=["tiers"])
    parser.add_argument("--conditions", nargs="+", choices=sorted(CONDITIONS), help="these instead of parts")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--workers", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument(
        "--validation", type=int, default=VALIDATION, help="cases with a tumour; as many without"
    )
    parser.add_argument("--test", type=int, default=TEST, help="cases with a tumour; as many without")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--summary-only", action="store_true", help="tables from the runs that are there")
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    names = args.conditions or [name for name, item in CONDITIONS.items() if item.part in args.part]
    jobs = [
        Job(
            source=args.source,
            work=args.work,
            condition=name,
            seed=seed,
            steps=args.steps,
            validation=args.validation,
            test=args.test,
        )
        for name in names
        for seed in args.seeds
    ]
    if not args.summary_only:
        run_all(jobs, args.workers)
    summarise(args.source, args.work, args.seeds, args.results)


def run_all(jobs: list[Job], workers: int) -> None:
    """Everything that is not finished, a process each."""
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        seeds = sorted({job.seed for job in jobs})
        for ready in [pool.submit(make_source, jobs[0].source, seed) for seed in seeds]:
            ready.result()
        futures = {pool.submit(run_job, job): job for job in jobs if not (job.run / "result.json").is_file()}
        for number, future in enumerate(as_completed(futures), 1):
            job, seconds = futures[future], future.result()
            sys.stderr.write(f"{number}/{len(futures)} {job.condition}, seed {job.seed}: {seconds:.0f} s\n")


def make_source(source: Path, seed: int) -> None:
    """Cohorts, warm-up and masks-only run of the demo study, where they are missing."""
    sys.path.insert(0, str(HERE))
    import demo_study

    from rsuper.data.prepare import PreparedDataset
    from rsuper.demo import recipe

    for cohort in (demo_study.EVALUATION_SEED, seed):
        if not (source / f"prepared_{cohort}" / "prepared.json").is_file():
            demo_study.make_cohort(source, cohort)
    folder = source / "runs" / f"seed{seed}_masks{MASKS}"
    if not (folder / "warmup" / "model.safetensors").is_file():
        prepared = PreparedDataset.open(source / f"prepared_{seed}")
        recipe.warm_up(
            prepared,
            folder / "warmup",
            seed=seed,
            steps=demo_study.WARMUP_STEPS,
            training_cases=recipe.pools(prepared.cases).training(masks=MASKS, reports=0),
        )


def run_job(job: Job) -> float:
    """Targets, training and test scores of one arm."""
    import torch

    sys.path.insert(0, str(HERE))
    from demo_study import EVALUATION_SEED
    from supervision_conditions import CONDITIONS, ball_rules

    from rsuper.data.prepare import PreparedDataset
    from rsuper.demo import recipe
    from rsuper.training import train

    torch.set_num_threads(1)
    began = time.monotonic()
    if not (job.work / "prepared" / f"seed{job.seed}" / job.condition / "prepared.json").is_file():
        write_targets(job)
    prepared = PreparedDataset.open(job.work / "prepared" / f"seed{job.seed}" / job.condition)
    held_out = PreparedDataset.open(job.source / f"prepared_{EVALUATION_SEED}")
    condition = CONDITIONS[job.condition]
    config = recipe.run_config(ARM, seed=job.seed, warmup_steps=0, steps=job.steps)
    loss = config.loss.model_copy(update={"ball": ball_rules(condition, config.loss.ball)})
    ramp = {"report_ramp_steps": condition.ramp_steps}
    train(
        prepared,
        job.run,
        config=config.model_copy(
            update={"loss": loss, "optimisation": config.optimisation.model_copy(update=ramp)}
        ),
        initial_weights=job.source / "runs" / f"seed{job.seed}_masks{MASKS}" / "warmup" / "model.safetensors",
        training_cases=prepared.cases,
        validation_cases=recipe.balanced(held_out.split("val"), job.validation),
    )
    scored = recipe.score_run(job.run, recipe.balanced(held_out.split("test"), job.test))
    scored |= {"arm": job.condition, "masks": MASKS, "reports": REPORTS, "seed": job.seed, "steps": job.steps}
    scored["haze_share"] = haze_share(job.run)
    (job.run / "result.json").write_text(json.dumps(scored), encoding="utf-8")
    return time.monotonic() - began


def haze_share(run: Path) -> float | None:
    """Share of the predicted volume from p < 0.1 over the last tenth of the logged steps."""
    from report_figures import figures, read_steps

    steps = [step for step in read_steps(run) if "haze_share" in step]
    return figures(steps[-max(1, len(steps) // 10) :])["haze"] if steps else None


def write_targets(job: Job) -> None:
    """The training cases of one arm: images and masks as they are, targets of positive reports rebuilt."""
    from supervision_conditions import CONDITIONS, changed_records, spoilt_cases, states_size_and_part

    from llm_extract.records import ReportRecord
    from rsuper.data.prepare import PreparedDataset
    from rsuper.demo import recipe

    condition = CONDITIONS[job.condition]
    source = PreparedDataset.open(job.source / f"prepared_{job.seed}")
    lines = (job.source / f"cohort_{job.seed}" / "extracted" / "records.jsonl").read_text(encoding="utf-8")
    read = [ReportRecord.model_validate_json(line) for line in lines.splitlines()]
    records = {record.case_id or record.report_id: record for record in read}
    pools = recipe.pools(source.cases)
    complete = [case for case in pools.report_tumours if states_size_and_part(records[case.case_id])]
    chosen = replace(pools, report_tumours=tuple(complete)).training(masks=MASKS, reports=REPORTS)
    positive = {case.case_id for case in complete}
    changed = changed_records(
        condition, {c.case_id: records[c.case_id] for c in chosen if c.case_id in positive}, seed=job.seed
    )
    spoilt = set(spoilt_cases(condition, changed, seed=job.seed))
    final = job.work / "prepared" / f"seed{job.seed}" / job.condition
    partial = final.with_name(f".{final.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for case in chosen:
        if case.case_id in changed:
            own = condition if case.case_id in spoilt else replace(condition, host=None)
            write_changed(case, changed[case.case_id], partial / case.case_id, own)
        else:
            shutil.copytree(case.folder, partial / case.case_id)
    meta = json.loads((source.root / "prepared.json").read_text(encoding="utf-8"))
    meta |= {"cases": [case.case_id for case in chosen], "failures": []}
    (partial / "prepared.json").write_text(json.dumps(meta), encoding="utf-8")
    shutil.rmtree(final, ignore_errors=True)
    partial.rename(final)


def write_changed(case, record, folder: Path, condition) -> None:
    """One report case with targets built anew."""
    from supervision_conditions import host_masks, policy_of

    from rsuper.data.store import write_case
    from rsuper.demo.recipe import LESION_CLASS
    from rsuper.supervision import build_case_targets

    masks = {name: case.mask(name) for name in case.channels if name.startswith(("structure:", "reference:"))}
    organs = {
        name.removeprefix("structure:"): mask for name, mask in masks.items() if name.startswith("structure:")
    }
    tumour = masks[f"reference:{LESION_CLASS}"]
    targets = build_case_targets(
        [record],
        host_masks(condition, organs, tumour, spacing_mm=case.spacing_mm),
        case_id=case.case_id,
        spacing_mm=case.spacing_mm,
        lesion_classes=(LESION_CLASS,),
        voxel_labelled=frozenset(),
        margins_mm=None if condition.margin_mm is None else {LESION_CLASS: condition.margin_mm},
        policy=policy_of(condition),
    )
    weighed = {
        name: replace(target, weight=target.weight * condition.weight)
        for name, target in targets.classes.items()
    }
    write_case(
        folder,
        image_hu=case.image(),
        masks=masks,
        targets=replace(targets, classes=weighed),
        affine=case.affine,
        split=case.split,
        site=case.site,
    )


def summarise(source: Path, work: Path, seeds: list[int], results: Path) -> None:
    """Tables and picture from the finished runs."""
    from supervision_study_tables import picture, tables

    paths = [work / "runs" / f"seed{seed}" for seed in seeds]
    runs = [
        json.loads(p.read_text(encoding="utf-8"))
        for path in paths
        for p in sorted(path.glob("*/result.json"))
    ]
    for seed in seeds:
        path = source / "runs" / f"seed{seed}_masks{MASKS}" / "masks" / "result.json"
        if path.is_file():
            runs.append(json.loads(path.read_text(encoding="utf-8")))
    shared = (
        set.intersection(*({case["case_id"] for case in run["cases"]} for run in runs)) if runs else set()
    )
    runs = [run | {"cases": [case for case in run["cases"] if case["case_id"] in shared]} for run in runs]
    document, markdown = tables(runs, reports=REPORTS)
    document["test_cases"] = len(shared)
    document["command"] = "python benchmarks/supervision_study.py --part tiers margins sizes wrong hosts"
    results.parent.mkdir(parents=True, exist_ok=True)
    results.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    picture(document, results.with_suffix(".png"))
    sys.stdout.write(markdown)


if __name__ == "__main__":
    main()
