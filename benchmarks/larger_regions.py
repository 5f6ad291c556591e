"""Regions larger than the patch: crops anywhere in them, or where the search over the region puts the lesions.

    python benchmarks/larger_regions.py               # after many_lesions.py, from its cohort
    python benchmarks/larger_regions.py --summary-only

The liver with its margin is 171 × 150 × 130 mm and more, the patch 96 × 96 × 96 mm. Masks, reports, steps and loss of
the arms are the same; those with reports state every lesion with its longest diameter.
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
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "larger_regions.json"
PATCH = (32, 32, 32)
ARMS = {
    "weight_0": "reports at weight 0",
    "anywhere": "crops anywhere in the region",
    "search": "crops where the search over the region puts the lesions",
}


def main() -> None:
    """Run what is missing, then write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, default=HERE / "work" / "many_lesions")
    parser.add_argument("--number", type=int, default=10, help="lesions a case")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--workers", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--summary-only", action="store_true", help="the table from the runs that are there")
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    root = args.work / f"lesions{args.number}_seed0"
    if not args.summary_only:
        with ProcessPoolExecutor(args.workers, mp_context=multiprocessing.get_context("spawn")) as pool:
            jobs = {pool.submit(run_seed, root, args.number, seed): seed for seed in args.seeds}
            for job in as_completed(jobs):
                sys.stderr.write(f"seed {jobs[job]}: {job.result():.0f} s\n")
    summarise(root, args.number)


def run_seed(root: Path, number: int, seed: int) -> float:
    """Warm-up and every arm of one seed; what is finished is kept."""
    import torch

    sys.path.insert(0, str(HERE))
    import many_lesions as study

    from rsuper.data.prepare import PreparedDataset
    from rsuper.demo import recipe
    from rsuper.training import train

    torch.set_num_threads(1)
    began = time.monotonic()
    prepared = PreparedDataset.open(root / "prepared")
    pools = recipe.pools(prepared.split("train"), study.LESION_CLASS)
    validation = recipe.balanced(prepared.split("val"), 10, study.LESION_CLASS)
    test = recipe.balanced(prepared.split("test"), 50, study.LESION_CLASS)
    folder = root / "larger_regions" / f"seed{seed}"
    masks = study.masks_of(number)
    warm = folder / "warmup" / "model.safetensors"
    if not warm.is_file():
        train(
            prepared,
            folder / "warmup",
            config=settings("masks", seed=seed, warmup_steps=study.WARMUP_STEPS, steps=0),
            training_cases=pools.training(masks=masks, reports=0),
            validation_cases=(),
        )
    for arm in ARMS:
        run = folder / arm
        if (run / "result.json").is_file():
            continue
        shutil.rmtree(run, ignore_errors=True)
        cases = pools.training(masks=masks, reports=study.REPORTS)
        stated = "weight_0" if arm == "weight_0" else "listed"
        data = study.write_targets(folder / f"targets_{arm}", root, prepared, cases, stated)
        train(
            data,
            run,
            config=settings(arm, seed=seed, warmup_steps=0, steps=study.STEPS),
            initial_weights=warm,
            training_cases=data.cases,
            validation_cases=validation,
        )
        scored = recipe.score_run(run, test, study.LESION_CLASS)
        scored |= {
            "arm": arm,
            "seed": seed,
            "masks": masks,
            "reports": 0 if arm == "masks" else study.REPORTS,
        }
        (run / "result.json").write_text(json.dumps(scored), encoding="utf-8")
    return time.monotonic() - began


def settings(arm: str, *, seed: int, warmup_steps: int, steps: int) -> Any:
    """Settings of many_lesions.py with the small patch."""
    import many_lesions as study

    from rsuper.data.batches import SamplingConfig

    config = study.run_config("masks" if arm == "masks" else "ball_and_volume", seed, warmup_steps, steps)
    crops = "search" if arm == "search" else "anywhere"
    sampling = SamplingConfig(patch_size=PATCH, batch_size=2, larger_regions=crops)
    return config.model_copy(update={"sampling": sampling})


def summarise(root: Path, number: int) -> None:
    """DSC and AUC by arm, with paired differences to weight 0."""
    sys.path.insert(0, str(HERE))
    import many_lesions as study
    from paired_rows import paired_row

    paths = root.glob("larger_regions/*/*/result.json")
    runs = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    rows: list[dict[str, Any]] = []
    text = "| crops of report cases | DSC | AUC | DSC − weight 0 | AUC − weight 0 | seeds |\n"
    text += "|---|---|---|---|---|---|\n"
    for arm, label in ARMS.items():
        row = paired_row(runs, arm, baseline="weight_0", masks=study.masks_of(number))
        if row is None:
            continue
        rows.append({"arm": arm, "lesions": number, "runs": row.figures, **row.gaps})
        text += f"| {label} | {' | '.join(row.cells)} | {len(row.figures)} |\n"
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
