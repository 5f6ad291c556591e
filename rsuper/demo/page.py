"""Fills the demo page: which cases to show, their slices, outcomes, reports and agreement."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import rsuper
from rsuper.agreement import AgreementTable, CaseAgreement
from rsuper.data.layout import Dataset
from rsuper.data.prepare import PreparedDataset
from rsuper.data.store import PreparedCase
from rsuper.demo import recipe
from rsuper.demo.plan import DEMO_ARMS, DemoPlan, DemoResults
from rsuper.evaluation.results import CaseRow
from rsuper.files import write_atomic_text
from rsuper.losses import ball_targets
from rsuper.views.demo_page import render_demo_page
from rsuper.views.overlays import Frame, Layer, best_slice, frame_around, slice_picture
from rsuper.views.page_data import ArmKind, ArmResult, CaseCard, CaseOutcome, CasePicture, DemoPageData
from rsuper.views.study import load_study
from rsuper.volumes import read_mask, read_volume, to_canonical

KINDS: Mapping[str, ArmKind] = {"masks": "masks_only", "ball_and_volume": "masks_and_reports"}
STUDY_FILE = Path(__file__).resolve().parents[2] / "benchmarks" / "results" / "demo_study.json"
MAX_CARDS = 8
Bools = NDArray[np.bool_]


def write_page(
    out: Path, dataset: Dataset, prepared: PreparedDataset, results: DemoResults, *, plan: DemoPlan, seed: int
) -> Path:
    """Write ``OUT/index.html`` and return its path."""
    evaluations = results.evaluations
    baseline, ours = (evaluations[arm] for arm in DEMO_ARMS)
    rows = ours.classes[recipe.LESION_CLASS]
    trained_on = {
        "masks": f"{plan.masks} tumour masks",
        "ball_and_volume": f"{plan.masks} tumour masks, {plan.reports} positive and {plan.reports // 2} negative reports",
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
    chosen = choose_cases(baseline.cases, ours.cases)
    by_id = {case.case_id: case for case in prepared.cases}
    agreements = _by_case(results.agreements["ball_and_volume"])
    cards = [
        case_card(
            out, dataset, by_id[case_id], rows=_rows_of(case_id, results), agreement=agreements.get(case_id)
        )
        for case_id in chosen
    ]
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
        study=load_study(STUDY_FILE),
        made_with=(
            ("rsuper", rsuper.__version__),
            ("torch", torch.__version__),
            ("python", platform.python_version()),
            ("seed", str(seed)),
            ("command", "rsuper demo"),
        ),
        notes=(
            "All cases are simulated phantoms. One seed and a few minutes of training: the committed study below "
            "repeats it over seeds.",
        ),
    )
    path = out / "index.html"
    write_atomic_text(path, render_demo_page(data))
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


def case_card(
    out: Path,
    dataset: Dataset,
    case: PreparedCase,
    *,
    rows: Mapping[str, CaseRow],
    agreement: CaseAgreement | None,
) -> CaseCard:
    """Pictures, outcomes, report and record of one test case."""
    entry = dataset.case(case.case_id)
    ct = to_canonical(dataset.read_ct(entry))
    reference = _mask(dataset.root / "reference" / case.case_id / f"{recipe.LESION_CLASS}.nii.gz", ct.shape)
    predicted = {
        arm: _mask(
            out / "predictions" / arm / case.case_id / "segmentations" / f"{recipe.LESION_CLASS}.nii.gz",
            ct.shape,
        )
        for arm in DEMO_ARMS
    }
    organ = np.asarray(to_canonical(dataset.read_structure(entry, "pancreas")).array).astype(bool)
    frame = frame_around([organ, reference], spacing_mm=ct.spacing_mm, margin_mm=25.0)
    index = best_slice([reference, predicted["ball_and_volume"], predicted["masks"], organ])

    def picture(title: str, layers: Sequence[Layer], caption: str = "") -> CasePicture:
        return CasePicture(
            title=title, picture=_slice(ct.array, layers, ct.spacing_mm, index, frame), caption=caption
        )

    truth_layer = Layer(kind="reference", mask=reference)
    pictures = [
        picture("The CT", [Layer(kind="organ", mask=organ)], "The pancreas is outlined."),
        picture("Masks only", [truth_layer, Layer(kind="masks_only", mask=predicted["masks"])]),
        picture(
            "Masks + reports",
            [truth_layer, Layer(kind="masks_and_reports", mask=predicted["ball_and_volume"])],
        ),
    ]
    if case.state(recipe.LESION_CLASS) == "reported":
        region, ball = _report_targets(out, case, ct.shape, ct.affine)
        pictures.append(
            picture(
                "What the report asks for",
                [Layer(kind="region", mask=region), Layer(kind="ball", mask=ball), truth_layer],
                "Had this case been a training case: where the report says the tumour is, and the ball of its size.",
            )
        )
    report = dataset.reports(entry)[0]
    record = dataset.records(entry)[0]
    headline, truth = _words(rows, reference, ct.voxel_volume_mm3)
    return CaseCard(
        case_id=case.case_id,
        headline=headline,
        truth=truth,
        pictures=tuple(pictures),
        outcomes=tuple(_outcome(arm, rows[arm]) for arm in DEMO_ARMS),
        report_text=report.text,
        record=record,
        agreement=agreement,
    )


def _slice(
    ct: NDArray[Any], layers: Sequence[Layer], spacing_mm: Sequence[float], index: int, frame: Frame
) -> Any:
    return slice_picture(ct, layers, spacing_mm=spacing_mm, slice_index=index, frame=frame)


def _report_targets(
    out: Path, case: PreparedCase, shape: tuple[int, int, int], affine: NDArray[np.float64]
) -> tuple[Bools, Bools]:
    """Region and located ball foreground of a reported case, on the grid of the whole CT."""
    probability = read_volume(
        out
        / "predictions"
        / "ball_and_volume"
        / case.case_id
        / "probabilities"
        / f"{recipe.LESION_CLASS}.nii.gz"
    )
    p = np.asarray(to_canonical(probability).array, dtype=np.float32)
    offset = np.rint(np.linalg.solve(affine[:3, :3], case.affine[:3, 3] - affine[:3, 3])).astype(int)
    box = tuple(slice(int(o), int(o) + size) for o, size in zip(offset, case.shape, strict=True))
    target = case.case_targets().classes[recipe.LESION_CLASS]
    region = np.zeros(shape, dtype=bool)
    foreground = np.zeros(shape, dtype=bool)
    if target.region is not None:
        region[box] = target.region
        found = ball_targets(
            torch.from_numpy(np.ascontiguousarray(p[box])),
            torch.from_numpy(target.region),
            target.lesions,
            spacing_mm=case.spacing_mm,
        )
        foreground[box] = found.foreground.numpy()
    return region, foreground


def _outcome(arm: str, row: CaseRow) -> CaseOutcome:
    label = "masks only" if arm == "masks" else "masks + reports"
    if row.present:
        overlap = row.dsc or 0.0
        verdict = "good" if overlap >= 0.5 else "partial" if overlap >= 0.1 else "bad"
        text = f"overlap (DSC) {overlap:.2f}" if row.called else "tumour missed"
    else:
        verdict = "bad" if row.called else "good"
        text = "false alarm" if row.called else "no alarm"
    return CaseOutcome(kind=KINDS[arm], label=label, verdict=verdict, text=text)  # type: ignore[arg-type]


def _words(rows: Mapping[str, CaseRow], reference: Bools, voxel_mm3: float) -> tuple[str, str]:
    ours, baseline = rows["ball_and_volume"], rows["masks"]
    if not ours.present:
        kept = "stay quiet" if not ours.called and not baseline.called else "do not agree"
        if ours.called and baseline.called:
            kept = "raise a false alarm"
        return f"A normal pancreas: the two networks {kept}", "no tumour"
    truth = f"{ours.n_reference or 1} tumour(s), {float(reference.sum()) * voxel_mm3 / 1000:.1f} ml in all"
    difference = (ours.dsc or 0.0) - (baseline.dsc or 0.0)
    if abs(difference) < 0.1:
        return "Both networks do about the same", truth
    better = "Reports help here" if difference > 0 else "Reports do harm here"
    return f"{better}: DSC {baseline.dsc or 0.0:.2f} → {ours.dsc or 0.0:.2f}", truth


def _mask(path: Path, shape: tuple[int, int, int]) -> Bools:
    if not path.is_file():
        return np.zeros(shape, dtype=bool)
    return np.asarray(to_canonical(read_mask(path)).array).astype(bool)


def _rows_of(case_id: str, results: DemoResults) -> dict[str, CaseRow]:
    return {
        arm: next(
            row
            for row in results.evaluations[arm].cases
            if row.case_id == case_id and row.class_name == recipe.LESION_CLASS
        )
        for arm in DEMO_ARMS
    }


def _by_case(table: AgreementTable) -> dict[str, CaseAgreement]:
    return {case.case_id: case for case in table.cases}
