"""From the free text of a phantom's report to targets that hold its true tumours."""

from __future__ import annotations

import numpy as np
import pytest

from llm_extract.backends.rules import RulesBackend
from llm_extract.reports import Report
from rsuper.losses import volume_loss
from rsuper.supervision import build_case_targets, crop_pairs
from rsuper.synthesis.phantom_case import PhantomCase, make_case

CLASS = "pancreas_lesion"


@pytest.fixture(scope="module")
def cases() -> list[PhantomCase]:
    return [make_case(11, index) for index in range(10)]


def targets_of(case: PhantomCase):
    record = RulesBackend().extract(Report(report_id=case.case_id, text=case.report))
    return build_case_targets(
        [record],
        case.organs,
        case_id=case.case_id,
        spacing_mm=case.spacing_mm,
        lesion_classes=(CLASS,),
        voxel_labelled=frozenset(),
    )


def test_reports_become_targets_that_hold_the_truth(cases):
    with_tumour = [case for case in cases if case.lesion_masks[CLASS].any()]
    assert 3 <= len(with_tumour) < len(cases)
    for case in cases:
        target = targets_of(case).classes[CLASS]
        mask = case.lesion_masks[CLASS]
        if not mask.any():
            assert target.state in ("absent", "unknown")
            continue
        assert target.state == "reported"
        assert target.weight > 0
        low, high = target.volume_mm3
        assert low <= mask.sum() * np.prod(case.spacing_mm) <= high
        assert (mask & target.region).sum() >= 0.95 * mask.sum()


def test_the_true_mask_pays_no_volume_loss(cases):
    import torch

    stated = 0
    for case in cases:
        targets = targets_of(case)
        channels = {CLASS: 0}
        for pair in crop_pairs(targets, (0, 0, 0), targets.shape, sample=0, channels=channels):
            stated += 1
            logits = torch.where(torch.from_numpy(case.lesion_masks[CLASS]), 30.0, -30.0)[None]
            loss = volume_loss(
                logits,
                pair.region[None],
                torch.tensor([pair.volume_mm3]),
                spacing_mm=case.spacing_mm,
                tolerance=0.0,
            )
            assert float(loss) == pytest.approx(0.0, abs=1e-6)
    assert stated > 0.8 * sum(case.lesion_masks[CLASS].any() for case in cases) > 0
