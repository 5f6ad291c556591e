"""Why reports help a few masks and not many: the share of mask crops, and the weight of the report terms.

    python benchmarks/mask_balance.py    # after demo_study.py, from its cases and warm-ups

In the demo study a batch of a report arm holds one mask crop and one report crop, a batch of masks only two mask crops:
with 16 masks the reports take away as much as they bring. Each condition here changes one thing of the ball arm, or of
masks only, at the same number of masks, from the same warm-up and with as many steps.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "mask_balance.json"


@dataclass(frozen=True, kw_only=True)
class Condition:
    """One change of the recipe.

    Args:
        label: what a table prints.
        arm: arm of the demo study that it changes.
        batch_size: crops a step.
        report_fraction: share of them from report cases.
        report_weight: λ.
        absence: weight of the term for organs that a report calls free.
        longer: factor on the steps of the study.
        candidates: places that a lesion is looked for at.
        ramp_steps: steps over which the reports come in.
        learning_rate: of the second stage; the warm-up took 5e-3.
    """

    label: str
    arm: str
    batch_size: int = 2
    report_fraction: float = 0.5
    report_weight: float = 1.0
    absence: float | None = None
    longer: int = 1
    candidates: int = 1
    ramp_steps: int = 50
    learning_rate: float = 5e-3


CONDITIONS = {
    "half_the_mask_crops": Condition(label="masks only, 1 mask crop a step", arm="masks", batch_size=1),
    "weight_0.3": Condition(label="ball, 1 mask + 1 report crop, λ = 0.3", arm="ball", report_weight=0.3),
    "two_and_two": Condition(label="ball, 2 mask + 2 report crops a step", arm="ball", batch_size=4),
    "two_and_two_weight_0.3": Condition(
        label="ball, 2 mask + 2 report crops, λ = 0.3", arm="ball", batch_size=4, report_weight=0.3
    ),
    "absence_0.2": Condition(label="ball, absence 0.2 instead of 1", arm="ball", absence=0.2),
    "no_absence": Condition(label="ball, no absence term", arm="ball", absence=0.0),
    "three_times": Condition(label="ball, three times the steps", arm="ball", longer=3),
    "masks_three_times": Condition(label="masks only, three times the steps", arm="masks", longer=3),
    "candidates_3": Condition(label="ball, 3 candidate places", arm="ball", candidates=3),
    "ramp_800": Condition(label="ball, reports come in over 800 steps", arm="ball", ramp_steps=800),
    "rate_1e-3": Condition(
        label="ball, second stage at 1e-3, reports come in over 400 steps",
        arm="ball",
        ramp_steps=400,
        learning_rate=1e-3,
    ),
    "ramp_400": Condition(label="ball, reports come in over 400 steps", arm="ball", ramp_steps=400),
    "masks_rate_1e-3": Condition(label="masks only, second stage at 1e-3", arm="masks", learning_rate=1e-3),
    "double_masks": Condition(label="masks only, 4 mask crops a step", arm="masks", batch_size=4),
}


def main() -> None:
    """Run what is missing, then write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, default=HERE / "work" / "demo_study")
    parser.add_argument("--masks", type=int, default=16)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--conditions", nargs="+", choices=CONDITIONS, default=list(CONDITIONS))
    parser.add_argument("--workers", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--summary-only", action="store_true", help="the table from the runs that are there")
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    if not args.summary_only:
        with ProcessPoolExecutor(args.workers, mp_context=multiprocessing.get_context("spawn")) as pool:
            jobs = {
                pool.submit(run_condition, args.work, seed=seed, masks=args.masks, name=name): (name, seed)
                for name in args.conditions
                for seed in args.seeds
            }
            for number, job in enumerate(as_completed(jobs), 1):
                job.result()
                name, seed = jobs[job]
                sys.stderr.write(f"{number}/{len(jobs)}: {name}, seed {seed}\n")
    summarise(args.work, masks=args.masks)


def run_condition(work: Path, *, seed: int, masks: int, name: str) -> None:
    """Train and score one condition of one seed; a finished one is kept."""
    import torch
    from demo_study import EVALUATION_SEED, REPORTS, STEPS, TEST, VALIDATION

    from rsuper.data.prepare import PreparedDataset
    from rsuper.demo import recipe
    from rsuper.training import train

    folder = work / "balance" / f"seed{seed}_masks{masks}" / name
    result = folder / "result.json"
    if result.is_file():
        return
    torch.set_num_threads(1)
    condition = CONDITIONS[name]
    prepared = PreparedDataset.open(work / f"prepared_{seed}")
    held_out = PreparedDataset.open(work / f"prepared_{EVALUATION_SEED}")
    config = recipe.run_config(condition.arm, seed=seed, warmup_steps=0, steps=condition.longer * STEPS)  # type: ignore[arg-type]
    config = config.model_copy(
        update={
            "sampling": config.sampling.model_copy(
                update={
                    "batch_size": condition.batch_size,
                    "report_fraction": condition.report_fraction,
                }
            ),
            "optimisation": config.optimisation.model_copy(
                update={
                    "report_ramp_steps": condition.ramp_steps,
                    "learning_rate": condition.learning_rate,
                }
            ),
            "loss": config.loss.model_copy(
                update={
                    "report_weight": condition.report_weight,
                    "absence": config.loss.absence if condition.absence is None else condition.absence,
                    "ball": config.loss.ball.model_copy(update={"candidates": condition.candidates}),
                }
            ),
        }
    )
    reports = 0 if condition.arm == "masks" else REPORTS
    train(
        prepared,
        folder,
        config=config,
        initial_weights=work / "runs" / f"seed{seed}_masks{masks}" / "warmup" / "model.safetensors",
        training_cases=recipe.pools(prepared.cases).training(masks=masks, reports=reports),
        validation_cases=recipe.balanced(held_out.split("val"), VALIDATION),
    )
    scored = recipe.score_run(folder, recipe.balanced(held_out.split("test"), TEST))
    scored |= {"arm": name, "masks": masks, "reports": reports, "seed": seed}
    result.write_text(json.dumps(scored), encoding="utf-8")


def summarise(work: Path, *, masks: int) -> None:
    """Means over seeds beside the demo study's own arms, and paired differences to its masks-only arm."""
    from paired_rows import paired_row

    study = [json.loads(path.read_text()) for path in sorted(work.glob("runs/*/*/result.json"))]
    own = [json.loads(path.read_text()) for path in sorted(work.glob("balance/*/*/result.json"))]
    runs = [run for run in study if run["masks"] == masks and run["arm"] in ("masks", "ball")]
    runs += [run for run in own if run["masks"] == masks]
    labels = {"masks": "masks only, 2 mask crops a step", "ball": "ball, 1 mask + 1 report crop a step"}
    labels |= {name: condition.label for name, condition in CONDITIONS.items()}
    rows: list[dict[str, Any]] = []
    text = f"| {masks} masks | DSC | AUC | DSC − masks only | AUC − masks only | seeds |\n|---|---|---|---|---|---|\n"
    for name, label in labels.items():
        row = paired_row(runs, name, baseline="masks", masks=masks)
        if row is None:
            continue
        rows.append({"condition": name, "label": label, "masks": masks, "runs": row.figures, **row.gaps})
        text += f"| {label} | {' | '.join(row.cells)} | {len(row.figures)} |\n"
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
