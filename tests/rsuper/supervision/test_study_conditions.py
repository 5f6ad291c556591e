"""The conditions of the supervision study: what they take away or spoil, and for which reports."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from llm_extract.records import OrganStatement
from rsuper.losses import BallRules
from rsuper.losses.ball_rules import filled_ball_mm, voxel_counts
from rsuper.supervision import build_case_targets

SCRIPT = Path(__file__).resolve().parents[3] / "benchmarks" / "supervision_conditions.py"


@pytest.fixture(scope="module")
def study():
    spec = importlib.util.spec_from_file_location("supervision_conditions", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def full(make_lesion, make_record):
    return make_record(
        make_lesion(
            parts=("pancreas_head",),
            diameters_mm=(9.0, 7.0),
            prior_diameters_mm=(6.0,),
            attenuation="hypo",
            organ="pancreas",
        ),
        make_lesion("liver", lesion_id="L2", diameters_mm=(12.0,)),
    )


def target(report, organs, **options):
    return build_case_targets(
        [report],
        organs,
        case_id="C1",
        spacing_mm=(1.0, 1.0, 1.0),
        lesion_classes=("pancreas_lesion",),
        voxel_labelled=frozenset(),
        **options,
    ).classes["pancreas_lesion"]


def test_each_tier_knows_less_than_the_one_above(study, full, organs):
    tiers = [
        target(study.CONDITIONS[name].spoil(full) if study.CONDITIONS[name].spoil else full, organs)
        for name in ("size_part", "size", "count", "presence")
    ]
    regions = [int(tier.region.sum()) for tier in tiers]
    assert regions[0] < regions[1] == regions[2] == regions[3]
    assert tiers[0].volume_mm3 == tiers[1].volume_mm3
    assert tiers[2].volume_mm3[0] < tiers[1].volume_mm3[0]
    assert [len(tier.lesions) for tier in tiers] == [1, 1, 1, 2]
    assert tiers[3].lesions[1].remainder
    assert all(tier.state == "reported" and tier.weight > 0 for tier in tiers)


def test_a_tier_leaves_other_organs_alone(study, full):
    for name in ("size", "count", "presence", "sizes_x0.7", "prior", "absent_20"):
        changed = study.CONDITIONS[name].spoil(full)
        assert changed.lesions[-1] == full.lesions[1]


def test_sizes_are_scaled_priors_taken_and_lesions_denied(study, full):
    assert study.CONDITIONS["sizes_x0.7"].spoil(full).lesions[0].diameters_mm == pytest.approx((6.3, 4.9))
    assert study.prior_taken(full).lesions[0].diameters_mm == (6.0,)
    assert study.wrong_part(full).lesions[0].parts == ("pancreas_tail",)
    denied = study.falsely_free(full)
    assert [lesion.organ for lesion in denied.lesions] == ["liver"]
    assert denied.organs["pancreas"] == OrganStatement(status="explicitly_lesion_free")


@pytest.mark.parametrize(("name", "share"), [("tenfold_5", 0.05), ("shuffled_40", 0.4), ("size", 1.0)])
def test_as_many_reports_are_spoilt_as_the_name_says(study, full, name, share):
    records = {
        f"case_{i:03d}": study.scaled(1 + i / 1000)(full).model_copy(update={"report_id": f"R{i}"})
        for i in range(60)
    }
    changed = study.changed_records(study.CONDITIONS[name], records, seed=1)
    assert sum(changed[case] != records[case] for case in records) == round(60 * share)
    again = study.changed_records(study.CONDITIONS[name], records, seed=1)
    assert again == changed
    if study.CONDITIONS[name].exchange:
        assert sorted(r.report_id for r in changed.values()) == sorted(r.report_id for r in records.values())


def test_host_masks_move_shrink_or_lose_the_tumour(study, organs):
    tumour = organs["pancreas_head"]

    def pancreas(name: str) -> np.ndarray:
        changed = study.host_masks(study.CONDITIONS[name], organs, tumour, spacing_mm=(1.0, 1.0, 1.0))
        assert changed["liver"] is organs["liver"]
        return changed["pancreas"]

    whole = organs["pancreas"]
    assert np.array_equal(pancreas("host_shifted"), np.roll(whole, 6, axis=0))
    assert pancreas("host_eroded").sum() < 0.5 * whole.sum()
    assert np.array_equal(pancreas("host_punched"), whole & ~tumour)
    assert np.array_equal(pancreas("size_part"), whole)


def test_host_masks_are_used_as_they_are_or_with_the_gaps_that_tumours_left(study, organs):
    names = ("host_punched", "host_punched_filled", "host_punched_open")
    rules = [study.policy_of(study.CONDITIONS[name]).region_rules for name in names]
    assert [(rule.fill_diameters, rule.open_diameters) for rule in rules] == [
        (0.0, 0.0),
        (1.0, 0.0),
        (1.0, 0.5),
    ]
    whole, punched = study.CONDITIONS["size_part_open"], study.CONDITIONS["host_punched_open"]
    for condition, expected in (
        (whole, organs["pancreas"]),
        (punched, organs["pancreas"] & ~organs["pancreas_head"]),
    ):
        masks = study.host_masks(condition, organs, organs["pancreas_head"], spacing_mm=(1.0, 1.0, 1.0))
        assert np.array_equal(masks["pancreas"], expected)


def test_cores_change_nothing_but_how_much_lights_up(study, full, organs):
    """One diameter of the pancreas: 0.8·lo, and 1.4·lo; the targets of the training cases are the same."""
    one = study.change_lesions(full, lambda item: item.model_copy(update={"diameters_mm": (9.0,)}))
    [lesion] = target(one, organs).lesions
    lit = {}
    for name in ("size_part_ramp_400", "size_part_core_1.4", "size_part_core_by_diameters", "size_core_1.4"):
        rules = study.ball_rules(study.CONDITIONS[name], BallRules())
        lit[name] = voxel_counts(lesion, filled_ball_mm(lesion, rules), 0.25, rules)[0] * 0.25
        assert rules.model_copy(update={"foreground_fraction": 0.8}) == BallRules()
    core_mm3 = max(0.8 * lesion.volume_mm3[0], min(100.0, lesion.volume_mm3[0]))
    assert lit.pop("size_part_ramp_400") == pytest.approx(core_mm3, abs=0.25)
    assert list(lit.values()) == pytest.approx([1.4 * lesion.volume_mm3[0]] * 3, abs=0.25)
    assert study.CONDITIONS["size_core_1.4"].spoil is study.without_part
    unchanged = study.changed_records(study.CONDITIONS["size_part_core_1.4"], {"c": full}, seed=0)
    assert unchanged == {"c": full}
