"""How large the demo is, and what it finds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from rsuper.agreement import AgreementTable
from rsuper.evaluation import Estimate, EvaluationResult

Size = Literal["full", "quick"]
DemoArm = Literal["masks", "ball_and_volume"]
DEMO_ARMS: tuple[DemoArm, ...] = ("masks", "ball_and_volume")


@dataclass(frozen=True, kw_only=True)
class DemoPlan:
    """How large the demo is.

    Args:
        masks: tumour masks (and as many voxel-labelled normals).
        reports: positive reports (and half as many negative ones).
        training, validation, test: cases to simulate for each.
        warmup_steps, steps: optimiser steps of the shared start and of each arm.
    """

    masks: int
    reports: int
    training: int
    validation: int
    test: int
    warmup_steps: int
    steps: int


PLANS: dict[Size, DemoPlan] = {
    "full": DemoPlan(masks=4, reports=80, training=200, validation=40, test=80, warmup_steps=400, steps=1600),
    "quick": DemoPlan(masks=2, reports=6, training=28, validation=6, test=8, warmup_steps=6, steps=8),
}


@dataclass(frozen=True, kw_only=True)
class DemoResults:
    """What both arms made of the test cases."""

    evaluations: Mapping[str, EvaluationResult]
    agreements: Mapping[str, AgreementTable]
    differences: Mapping[str, Estimate]
