"""Every possible report-positive case teaches, and nothing in it contradicts itself: 300 cases of the benchmark."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from rsuper.supervision import LesionTarget, PairTarget

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    path = ROOT / "benchmarks" / "usable_share.py"
    spec = importlib.util.spec_from_file_location("usable_share", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_300_cases_give_valid_targets_gradients_and_no_contradiction(script):
    tally, mix = script.run(0, 300, seed=1)
    assert not tally.problems
    assert tally.cases == tally.usable_cases == 300
    assert tally.usable_pairs == tally.pairs > 350
    document = script.document(tally, mix, seed=1)
    assert 0.40 < document["share_of_pairs_without_size"] < 0.54
    assert len(mix) >= 14


def one_pair(**fields) -> PairTarget:
    region = torch.zeros(12, 12, 12, dtype=torch.bool)
    region[2:10, 2:10, 2:10] = True
    lesion = LesionTarget(diameters_mm=(4.0,), volume_mm3=(20.0, 60.0))
    return PairTarget(**{"sample": 0, "channel": 0, "region": region, "lesions": (lesion,), **fields})


def test_the_check_notices_targets_that_teach_nothing_or_contradict_themselves(script):
    """The benchmark's own oracle: each kind of fault is found."""
    logits = torch.randn(1, 1, 12, 12, 12, generator=torch.Generator().manual_seed(0))
    known = torch.ones(1, 1, 12, 12, 12, dtype=torch.bool)

    def found(pair: PairTarget, *, known_inside: bool = False) -> list[str]:
        batch = script.SupervisionBatch(
            labels=torch.zeros_like(known),
            known=known if known_inside else known & ~pair.region,
            spacing_mm=torch.ones(1, 3),
            pairs=(pair,),
        )
        return script.check_pair(pair, batch, logits)

    good = one_pair(volume_mm3=(20.0, 60.0))
    assert found(good) == []
    assert "region and known negative" in found(good, known_inside=True)
    assert "no agreeing prediction" in found(one_pair(volume_mm3=(70.0, 80.0)))
    silent = one_pair(
        lesions=(LesionTarget(volume_mm3=(0.0, 900.0), remainder=True),), volume_mm3=(0.0, 900.0)
    )
    assert "gradient zero" in found(silent)
