"""From nothing to one page: phantoms, records, two networks, findings, agreement. Every step can be repeated."""

from __future__ import annotations

import json
import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, wait
from pathlib import Path
from typing import Any

from llm_extract.archive import ArchiveOptions, extract_archive
from llm_extract.reports import ReportSource
from rsuper.agreement import AgreementTable, agree
from rsuper.data.check import check_dataset
from rsuper.data.layout import Dataset
from rsuper.data.prepare import PreparedDataset, prepare
from rsuper.demo import recipe
from rsuper.demo.page import write_page
from rsuper.demo.plan import DEMO_ARMS, PLANS, DemoArm, DemoPlan, DemoResults, Size
from rsuper.errors import DataError
from rsuper.evaluation import EvaluationResult, EvaluationSettings, compare, evaluate
from rsuper.files import write_atomic_text
from rsuper.prediction.predict import load_model, predict
from rsuper.synthesis import write_cohort

Say = Callable[[str], None]
POLL_S = 15.0
TABLE = ("dsc", "auc", "sensitivity", "specificity", "sensitivity_at_90")


def run_demo(out: Path, *, seed: int = 0, size: Size = "full", say: Say) -> dict[str, Any]:
    """Run the whole path and write ``OUT/index.html``; what an earlier call finished is kept.

    Args:
        out: folder for everything.
        seed: seed of cohort and training.
        size: ``quick`` is a few cases and steps, enough to see the path and too little to learn anything.
        say: called with one line a step.

    Returns:
        Metrics of both arms, their paired difference, and the path of the page.
    """
    plan = PLANS[size]
    began = time.monotonic()
    out.mkdir(parents=True, exist_ok=True)
    cohort = out / "cohort"
    say(f"1/7 phantom cohort: {plan.training} training, {plan.validation} validation, {plan.test} test cases")
    synth_cohort(cohort, plan, seed=seed)
    say("2/7 reports to records, with the rules")
    records = extract(cohort, out / "records")
    say("3/7 check")
    checked = check_dataset(cohort, records=records)
    usable, errors, warnings = checked.usable_case_ids, checked.errors, checked.warnings
    say(f"    {len(usable)} usable cases, {len(errors)} errors, {len(warnings)} warnings")
    say("4/7 prepare: one grid, targets from the records")
    dataset = Dataset.open(cohort, records=records)
    prepare(dataset, out / "prepared", config=recipe.prepare_config(), reference=cohort / "reference")
    say(f"5/7 train: {plan.warmup_steps} shared warm-up steps, then {plan.steps} steps for each of two arms")
    train_arms(out, plan, seed=seed, say=say)
    say("6/7 predict, evaluate, agree")
    results = judge(out, dataset)
    say("7/7 the page")
    page = write_page(out, dataset, results, plan=plan, seed=seed)
    summary = _summary(results, page, seconds=time.monotonic() - began)
    write_atomic_text(out / "summary.json", json.dumps(summary, indent=1))
    for line in _lines(summary):
        say(line)
    return summary


def synth_cohort(cohort: Path, plan: DemoPlan, *, seed: int) -> None:
    """The phantom cohort; an interrupted one goes on."""
    write_cohort(
        cohort,
        n_cases=plan.training + plan.validation + plan.test,
        seed=seed,
        config=recipe.phantom_config(),
        mask_cases=plan.masks,
        splits={"train": plan.training, "val": plan.validation, "test": plan.test},
        resume="resume",
    )


def extract(cohort: Path, out: Path) -> Path:
    """Records of all reports by the rules; returns records.jsonl."""
    extract_archive(ReportSource(path=cohort / "reports.jsonl"), ArchiveOptions(out=out))
    return out / "records.jsonl"


def train_arms(out: Path, plan: DemoPlan, *, seed: int, say: Say) -> None:
    """Shared warm-up, then both arms at the same time, one process and one thread each."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(len(DEMO_ARMS), mp_context=context) as pool:
        pool.submit(train_one, out, plan, seed, None).result()
        jobs = {arm: pool.submit(train_one, out, plan, seed, arm) for arm in DEMO_ARMS}
        began = time.monotonic()
        while not all(job.done() for job in jobs.values()):
            wait(jobs.values(), timeout=POLL_S)
            steps = {arm: _steps_done(out / "runs" / arm) for arm in DEMO_ARMS}
            slowest = min(steps.values())
            if 0 < slowest < plan.steps:
                left = (time.monotonic() - began) / slowest * (plan.steps - slowest)
                say(
                    "    "
                    + ", ".join(f"{arm} step {step}/{plan.steps}" for arm, step in steps.items())
                    + f", ETA {left:.0f} s"
                )
        for job in jobs.values():
            job.result()


def train_one(out: Path, plan: DemoPlan, seed: int, arm: DemoArm | None) -> None:
    """The warm-up (``arm`` None) or one arm; runs in a process of its own."""
    import torch

    torch.set_num_threads(1 if arm else 2)
    prepared = PreparedDataset.open(out / "prepared")
    pools = recipe.pools(prepared.split("train"))
    warm = recipe.warm_up(
        prepared,
        out / "runs" / "warmup",
        seed=seed,
        steps=plan.warmup_steps,
        training_cases=pools.training(masks=plan.masks, reports=0),
    )
    if arm is None or (out / "runs" / arm / "done").is_file():
        return
    reports = (
        0 if arm == "masks" else min(plan.reports, len(pools.report_tumours), 2 * len(pools.report_normals))
    )
    recipe.run_arm(
        prepared,
        out / "runs" / arm,
        arm=arm,
        seed=seed,
        steps=plan.steps,
        initial_weights=warm,
        training_cases=pools.training(masks=plan.masks, reports=reports),
        validation_cases=prepared.split("val"),
    )
    write_atomic_text(out / "runs" / arm / "done", "")


def judge(out: Path, dataset: Dataset) -> DemoResults:
    """Predict the test cases with both arms, evaluate them, compare them, and hold them against the reports."""
    test = [case.case_id for case in dataset.cases if case.split == "test"]
    evaluations: dict[str, EvaluationResult] = {}
    agreements: dict[str, AgreementTable] = {}
    for arm in DEMO_ARMS:
        folder = out / "predictions" / arm
        model = load_model(out / "runs" / arm)
        result = predict(model, dataset.root, folder, cases=test, probabilities=True)
        for case_id, code in result["failed"].items():
            raise DataError("a test case could not be predicted", code=code, case_id=case_id)
        settings = EvaluationSettings(thresholds=model.case_thresholds)
        evaluations[arm] = evaluate(
            folder, dataset, out=out / "evaluation" / arm, split="test", settings=settings
        )
        agreements[arm] = agree(folder, out / "records" / "records.jsonl", out=out / "agreement" / arm)
    compared = compare(evaluations["masks"], evaluations["ball_and_volume"])
    return DemoResults(
        evaluations=evaluations,
        agreements=agreements,
        differences=dict(compared.differences[recipe.LESION_CLASS]),
    )


def _steps_done(run: Path) -> int:
    """Optimiser steps that a training process has logged so far."""
    try:
        lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return 0
    return sum('"stage"' in line for line in lines)


def _summary(results: DemoResults, page: Path, *, seconds: float) -> dict[str, Any]:
    metrics = {
        arm: {
            name: estimate.model_dump(mode="json")
            for name, estimate in results.evaluations[arm].classes[recipe.LESION_CLASS].metrics.items()
        }
        for arm in DEMO_ARMS
    }
    differences = {name: estimate.model_dump(mode="json") for name, estimate in results.differences.items()}
    return {"page": str(page), "seconds": round(seconds, 1), "metrics": metrics, "differences": differences}


def _lines(summary: dict[str, Any]) -> list[str]:
    """The table of the demo, for a terminal."""
    lines = [f"{'':24}{'masks only':>22}{'masks + reports':>22}{'difference':>26}"]
    for name in TABLE:
        cells = [_cell(summary["metrics"][arm].get(name)) for arm in DEMO_ARMS] + [
            _cell(summary["differences"].get(name))
        ]
        lines.append(f"{name:24}{cells[0]:>22}{cells[1]:>22}{cells[2]:>26}")
    return lines


def _cell(estimate: dict[str, Any] | None) -> str:
    if estimate is None or estimate["value"] is None:
        return "–"
    if estimate["low"] is None:
        return f"{estimate['value']:.2f}"
    return f"{estimate['value']:.2f} [{estimate['low']:.2f}, {estimate['high']:.2f}]"
