"""Phantom reports know what they state: the records read from them must say the same."""

from __future__ import annotations

import numpy as np

from llm_extract.reports import Report
from llm_extract.rules import extract_record
from rsuper.synthesis.report_truth import LesionFact, ReportFacts
from rsuper.synthesis.reports import write_report

REPORTS = 300


def draw_facts(rng: np.random.Generator) -> ReportFacts:
    lesions = []
    for _ in range(int(rng.choice([0, 1, 1, 1, 2, 3, 5]))):
        organ = str(rng.choice(["pancreas", "kidney", "liver", "spleen"], p=[0.4, 0.3, 0.2, 0.1]))
        pancreas = ("pancreas_head", "pancreas_body", "pancreas_tail")
        first = int(rng.integers(0, 3))
        parts = pancreas[first : first + int(rng.choice([1, 1, 1, 2]))] if organ == "pancreas" else ()
        longest = float(rng.uniform(6, 60))
        lesions.append(
            LesionFact(
                organ=organ,
                parts=parts,
                side=str(rng.choice(["left", "right"])) if organ == "kidney" else "n/a",
                diameters_mm=(longest, longest * rng.uniform(0.6, 1), longest * rng.uniform(0.6, 1.1)),
                attenuation=str(rng.choice(["hypo", "hyper", "iso"], p=[0.6, 0.2, 0.2])),
            )
        )
    return ReportFacts(
        lesions=tuple(lesions), duct_mm=float(rng.uniform(1, 9)), aorta_mm=float(rng.uniform(17, 30))
    )


def stated(lesion) -> tuple:
    return (
        lesion.organ,
        tuple(sorted(lesion.parts)),
        tuple(sorted(lesion.diameters_mm)),
        lesion.count if lesion.count_kind == "exact" else None,
        lesion.laterality,
    )


def test_phantom_reports_are_read_as_they_were_written():
    right, contaminated, harmful = 0, 0, 0
    for seed in range(REPORTS):
        rng = np.random.default_rng([2026, seed])
        written = write_report(draw_facts(rng), rng)
        record = extract_record(Report(report_id=f"phantom-{seed}", text=written.text))
        found = sorted(repr(stated(lesion)) for lesion in record.lesions)
        right += found == sorted(repr(stated(lesion)) for lesion in written.truth.lesions)
        current = {d for lesion in written.truth.lesions for d in lesion.diameters_mm}
        priors = {d for lesion in written.truth.lesions for d in lesion.prior_diameters_mm}
        others = (priors | set(written.truth.distractors_mm)) - current
        contaminated += any(d in others for lesion in record.lesions for d in lesion.diameters_mm)
        harmful += any(
            record.organs[lesion.organ].status == "explicitly_lesion_free" for lesion in written.truth.lesions
        )
    assert right >= 0.98 * REPORTS
    assert contaminated == 0
    assert harmful == 0
