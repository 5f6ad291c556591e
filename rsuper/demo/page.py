"""Fills the demo page: which cases to show, their slices, outcomes, reports and agreement."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

import rsuper
from rsuper.data.layout import Dataset
from rsuper.demo import recipe
from rsuper.demo.plan import DEMO_ARMS, DemoPlan, DemoResults
from rsuper.evaluation.results import CaseRow
from rsuper.files import write_atomic_text
from rsuper.views.case_card import CaseMaterial, build_case_card
from rsuper.views.demo_page import render_demo_page
from rsuper.views.page_data import ArmKind, ArmResult, CaseCard, DemoPageData
from rsuper.views.report_target import report_target
from rsuper.views.study import load_study
from rsuper.volumes import Volume, read_mask, read_volume, to_canonical

KINDS: Mapping[str, ArmKind] = {"masks": "masks_only", "ball_and_volume": "masks_and_reports"}
STUDY_FILE = Path(__file__).resolve().parents[2] / "benchmarks" / "results" / "demo_study.json"
MAX_CARDS = 8
Bools = NDArray[np.bool_]


def write_page(out: Path, dataset: Dataset, results: DemoResults, *, plan: DemoPlan, seed: int) -> Path:
    """Write ``OUT/index.html`` and return its path."""
    evaluations = results.evaluations
    baseline, ours = (evaluations[arm] for arm in DEMO_ARMS)
    rows = ours.classes[recipe.LESION_CLASS]
    trained_on = {
        "masks": f"{plan.masks} tumour masks",
        "ball_and_volume": f"{plan.masks} tumour masks, {plan.reports + plan.reports // 2} reports",
    }
    arms = {
        arm: ArmResult.of(
            evaluations[arm],
            recipe.LESION_CLASS,
            kind=KINDS[arm],
            label="masks only" if arm == "masks" else "masks + reports",
            trained_on=trained_on[arm],
        )
        for arm in DEMO_ARMS
    }
    cards = [case_card(out, dataset, case_id) for case_id in choose_cases(baseline.cases, ours.cases)]
    study = load_study(STUDY_FILE)
    sequel = (
        ": the committed study below repeats it over seeds" if study else "; other seeds give other figures"
    )
    data = DemoPageData(
        baseline=arms["masks"],
        ours=arms["ball_and_volume"],
        differences=results.differences,
        n_tumour=rows.n_positive,
        n_normal=rows.n_negative,
        facts=(
            (str(plan.masks), "tumour masks"),
            (str(plan.reports), "positive reports without a mask"),
            (str(plan.steps), "steps an arm from one warm-up"),
            (str(rows.n_positive + rows.n_negative), "test cases"),
        ),
        cases=tuple(cards),
        study=study,
        made_with=(
            ("rsuper", rsuper.__version__),
            ("torch", torch.__version__),
            ("python", platform.python_version()),
            ("seed", str(seed)),
            ("command", "rsuper demo"),
        ),
        protocol=(
            f"Both networks start from the same {plan.warmup_steps} steps on the masks.",
            f"Then both take the same number of optimiser steps: {plan.steps}.",
            "Checkpoint and thresholds are chosen on the same validation cases.",
            "Test cases were used for nothing else; one case score serves both networks.",
        ),
        notes=(f"All cases are simulated phantoms. One seed and a few minutes of training{sequel}.",),
    )
    path = out / "index.html"
    write_atomic_text(path, render_demo_page(data), mode=0o600)  # it holds report text
    return path


def choose_cases(baseline: Sequence[CaseRow], ours: Sequence[CaseRow]) -> list[str]:
    """Cases that tell most, good and bad: gains, the typical one, losses, misses, normals with and without alarm."""
    first = {row.case_id: row for row in baseline if row.status == "evaluated"}
    second = {row.case_id: row for row in ours if row.status == "evaluated"}
    shared = sorted(first.keys() & second.keys())
    tumours = [key for key in shared if second[key].present]
    normals = [key for key in shared if second[key].present is False]

    def gain(key: str) -> float:
        return (second[key].dsc or 0.0) - (first[key].dsc or 0.0)

    by_gain = sorted(tumours, key=gain, reverse=True)
    by_overlap = sorted(tumours, key=lambda key: second[key].dsc or 0.0)
    fixed = [key for key in normals if first[key].called and not second[key].called]
    alarms = [key for key in normals if second[key].called]
    quiet = [key for key in normals if not second[key].called and key not in fixed]
    wanted = [
        *by_gain[:2],
        *by_overlap[len(by_overlap) // 2 : len(by_overlap) // 2 + 1],
        *fixed[:1],
        *by_overlap[:1],
        *by_gain[-1:],
        *alarms[:1],
        *quiet[:1],
    ]
    return list(dict.fromkeys(wanted))[:MAX_CARDS]


def case_card(out: Path, dataset: Dataset, case_id: str) -> CaseCard:
    """Pictures, outcomes, report, record and agreement of one test case."""
    entry = dataset.case(case_id)
    ct = to_canonical(dataset.read_ct(entry))
    names = sorted(dataset.structures(entry) - dataset.lesion_classes(entry))
    organs = {name: _bools(dataset.read_structure(entry, name)) for name in names}
    predicted = {arm: _mask(_predicted(out, arm, case_id, "segmentations"), ct.shape) for arm in DEMO_ARMS}
    probability = to_canonical(
        read_volume(_predicted(out, "ball_and_volume", case_id, "probabilities"))
    ).array
    records = dataset.records(entry)
    asked = report_target(
        records,
        organs,
        probability,
        case_id=case_id,
        spacing_mm=ct.spacing_mm,
        class_name=recipe.LESION_CLASS,
    )
    return build_case_card(
        CaseMaterial(
            case_id=case_id,
            ct_hu=ct.array,
            affine=ct.affine,
            class_name=recipe.LESION_CLASS,
            reference=_mask(dataset.root / "reference" / case_id / f"{recipe.LESION_CLASS}.nii.gz", ct.shape),
            baseline=predicted["masks"],
            ours=predicted["ball_and_volume"],
            ours_probability=probability,
            organ_masks=organs,
            region=asked.region,
            balls=asked.balls,
            report_text=dataset.reports(entry)[0].text,
            record=records[0],
        )
    )


def _predicted(out: Path, arm: str, case_id: str, kind: str) -> Path:
    return out / "predictions" / arm / case_id / kind / f"{recipe.LESION_CLASS}.nii.gz"


def _bools(volume: Volume) -> Bools:
    return np.asarray(to_canonical(volume).array).astype(bool)


def _mask(path: Path, shape: tuple[int, int, int]) -> Bools:
    return _bools(read_mask(path)) if path.is_file() else np.zeros(shape, dtype=bool)
