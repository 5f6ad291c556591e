"""How much reports add to a few masks: every arm, several numbers of masks, several seeds, one table.

    python benchmarks/demo_study.py                 # everything; hours on 2 cores; goes on where it stopped
    python benchmarks/demo_study.py --summary-only  # tables from the runs that are there

Each seed has its own training cohort; validation and test cases are the same for all. All arms of a (seed, masks) pair
start from one warm-up and take the same number of optimiser steps; checkpoint and threshold are chosen on the same
validation cases; the case score is ``rsuper.prediction.case_score`` for all.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "demo_study.json"
MASKS = (4, 0, 16, 8, 32)  # in the order they are run
MASKS_WITH_REPORTS = (0, 4, 16)
REPORTS = 80
WARMUP_STEPS = 400
STEPS = 1600
VALIDATION, TEST = 25, 120  # cases with a tumour, and as many without
COHORTS = {"train": 264, "evaluation": 300}
EVALUATION_SEED = 1000
MASK_POOL = 32  # tumour masks, and as many voxel-labelled normals, of a training cohort


def main() -> None:
    """Run what is missing, then write the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, default=HERE / "work" / "demo_study")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--workers", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument(
        "--cohorts-only", action="store_true", help="simulate and prepare the cases, then stop"
    )
    parser.add_argument("--summary-only", action="store_true", help="tables from the runs that are there")
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    if not args.summary_only:
        with ProcessPoolExecutor(args.workers, mp_context=multiprocessing.get_context("spawn")) as pool:
            cohorts = [EVALUATION_SEED, *args.seeds]
            for job in [pool.submit(make_cohort, args.work, seed) for seed in cohorts]:
                job.result()
            if args.cohorts_only:
                return
            jobs = {
                pool.submit(run_group, args.work, seed, masks): (seed, masks)
                for masks in MASKS
                for seed in args.seeds
            }
            for number, job in enumerate(as_completed(jobs), 1):
                seed, masks = jobs[job]
                seconds = job.result()
                sys.stderr.write(
                    f"{number}/{len(jobs)} groups: seed {seed}, {masks} masks, {seconds:.0f} s\n"
                )
    summarise(args.work, args.seeds)


def make_cohort(work: Path, seed: int) -> None:
    """Phantoms, reports → records with the rules, prepared volumes of one seed."""
    from llm_extract.archive import ArchiveOptions, extract_archive
    from llm_extract.reports import ReportSource
    from rsuper.data.layout import Dataset
    from rsuper.data.prepare import prepare
    from rsuper.demo import recipe
    from rsuper.synthesis import write_cohort

    root = work / f"cohort_{seed}"
    evaluation = seed == EVALUATION_SEED
    n_cases = COHORTS["evaluation" if evaluation else "train"]
    splits = {"val": 56, "test": n_cases - 56} if evaluation else {"train": n_cases}
    write_cohort(
        root,
        n_cases=n_cases,
        seed=seed,
        config=recipe.phantom_config(),
        mask_cases="none" if evaluation else MASK_POOL,
        splits=splits,
        resume="resume",
    )
    extract_archive(ReportSource(path=root / "reports.jsonl"), ArchiveOptions(out=root / "extracted"))
    prepare(
        Dataset.open(root, records=root / "extracted" / "records.jsonl"),
        work / f"prepared_{seed}",
        config=recipe.prepare_config(),
        reference=root / "reference",
    )


def run_group(work: Path, seed: int, masks: int) -> float:
    """Warm-up and every arm of one (seed, masks) pair; what is finished is skipped."""
    import torch

    from rsuper.data.prepare import PreparedDataset
    from rsuper.demo import recipe

    torch.set_num_threads(1)
    began = time.monotonic()
    prepared = PreparedDataset.open(work / f"prepared_{seed}")
    held_out = PreparedDataset.open(work / f"prepared_{EVALUATION_SEED}")
    pools = recipe.pools(prepared.cases)
    validation = recipe.balanced(held_out.split("val"), VALIDATION)
    test = recipe.balanced(held_out.split("test"), TEST)
    folder = work / "runs" / f"seed{seed}_masks{masks}"
    warm = recipe.warm_up(
        prepared,
        folder / "warmup",
        seed=seed,
        steps=WARMUP_STEPS,
        training_cases=pools.training(masks=masks, reports=0 if masks else REPORTS),
    )
    arms = [arm for arm in recipe.ARMS if (masks if arm == "masks" else masks in MASKS_WITH_REPORTS)]
    for arm in arms:
        result = folder / arm / "result.json"
        if result.is_file():
            continue
        recipe.run_arm(
            prepared,
            folder / arm,
            arm=arm,
            seed=seed,
            steps=STEPS,
            initial_weights=warm,
            training_cases=pools.training(masks=masks, reports=0 if arm == "masks" else REPORTS),
            validation_cases=validation,
        )
        scored = recipe.score_run(folder / arm, test)
        scored |= {"arm": arm, "masks": masks, "reports": 0 if arm == "masks" else REPORTS, "seed": seed}
        result.write_text(json.dumps(scored), encoding="utf-8")
    return time.monotonic() - began


def summarise(work: Path, seeds: list[int]) -> None:
    """Tables from the finished runs: results/demo_study.json, printed as Markdown too."""
    sys.path.insert(0, str(HERE))
    from demo_study_tables import tables

    found = [
        json.loads(path.read_text(encoding="utf-8")) for path in sorted(work.glob("runs/*/*/result.json"))
    ]
    document, markdown = tables([item for item in found if item["seed"] in seeds])
    document["settings"] = {
        "seeds": seeds,
        "warmup_steps": WARMUP_STEPS,
        "steps": STEPS,
        "reports": f"{REPORTS} positive, {REPORTS // 2} negative",
        "validation_cases": 2 * VALIDATION,
        "test_cases": 2 * TEST,
        "command": "python benchmarks/demo_study.py",
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(markdown)


if __name__ == "__main__":
    main()
