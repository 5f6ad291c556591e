"""What a check says of reported lesions rests on the very regions that ``prepare`` makes."""

from __future__ import annotations

import numpy as np
import pytest

from llm_extract.anatomy import load_anatomy
from llm_extract.records import Evidence
from rsuper.data.check import check_dataset
from rsuper.data.layout import Dataset
from rsuper.data.prepare import PrepareConfig, prepare
from rsuper.data.reported_organs import ReportedOrgans
from rsuper.supervision import load_policy
from rsuper.supervision.regions import RegionBuilder, find_host
from rsuper.synthesis import PhantomConfig, make_case

QUOTE = Evidence(field="lesion", start=0, end=2, text="CT", section="findings")


def target_codes(root, out, lesion_class, **config):
    """The codes of the target that ``prepare`` makes, and the room it gives the lesions."""
    prepared = prepare(
        Dataset.open(root), out, config=PrepareConfig(lesion_classes=(lesion_class,), **config)
    )
    (case,) = prepared.cases
    target = case.case_targets().classes[lesion_class]
    return set(target.codes), float(target.region.sum()) * float(np.prod(case.spacing_mm))


@pytest.mark.parametrize("neighbours", ["around", "none"])
def test_what_check_says_rests_on_the_regions_that_prepare_makes(
    cohort, lesion, mask_box, tmp_path, neighbours
):
    """A lesion of 10 ml fits into the pancreas and its margin, but not where neighbours take the margin."""
    large = lesion("pancreas", reported_volume_mm3=10_000.0, evidence=(QUOTE,))
    root = cohort.add("a", lesions=[large]).finish()
    if neighbours == "around":
        around = mask_box(((2, 34), (2, 28), (2, 22)))
        cohort.write_mask("a", "stomach", around & ~mask_box(((12, 22), (14, 18), (10, 14))))
    codes, room_mm3 = target_codes(root, tmp_path / "prepared", "pancreas_lesion")
    issues = [issue for issue in check_dataset(root).issues if issue.code == "volume_above_region"]
    assert ("volume_above_region" in codes) == (neighbours == "around")
    assert [f"limit {room_mm3:.0f} mm³" in issue.message for issue in issues] == [True] * len(issues)
    assert len(issues) == (neighbours == "around")


def test_many_lesions_that_fit_one_by_one_and_not_together(cohort, lesion, mask_box, tmp_path):
    several = lesion("spleen", 32.0, count=40, evidence=(QUOTE,))
    root = cohort.add("a", lesions=[several]).finish()
    codes, room_mm3 = target_codes(root, tmp_path / "prepared", "spleen_lesion")
    assert "volume_above_region" in codes
    (issue,) = [issue for issue in check_dataset(root).issues if issue.code == "volume_above_region"]
    assert issue.message.startswith("spleen lesion L1: stated ")
    assert issue.message.endswith(f"limit {room_mm3:.0f} mm³")
    single = lesion("spleen", 32.0, evidence=(QUOTE,))
    (tmp_path / "single").mkdir()
    alone = type(cohort)(tmp_path / "single").add("a", lesions=[single]).finish()
    assert check_dataset(alone).issues == ()


def test_a_lesion_that_does_not_count_is_said_to_do_so(cohort, lesion):
    root = cohort.add("a", lesions=[lesion("pancreas", 150.0, kind="cyst")]).finish()
    hints = {issue.code: issue.hint for issue in check_dataset(root).issues}
    assert set(hints) == {"size_above_organ_extent", "size_slip_tenfold"}, "it has no region to fit into"
    assert all("does not count under this policy" in hint for hint in hints.values())


@pytest.mark.parametrize(
    "reported", [("pancreas",), ("kidney", "liver"), ("adrenal_gland", "duodenum", "spleen")]
)
def test_regions_are_the_same_without_the_other_organs_apart(reported):
    """A phantom's organs, a container and a lesion: all masks against those that a check keeps."""
    case = make_case(3, 1, PhantomConfig(shape=(64, 54, 40), spacing_mm=(4.5, 4.5, 4.5)))
    body = np.ones(case.organs["liver"].shape, dtype=bool)
    masks = {**case.organs, "body": body, "liver_vessels": body, "liver_lesion": body}
    anatomy = load_anatomy()
    kept = ReportedOrgans(reported, masks, anatomy)
    for name, mask in masks.items():
        kept.add(name, mask)
    assert len(kept.masks) < len(masks)
    rules = load_policy().region_rules
    few, all_of_them = (
        RegionBuilder(some, anatomy, spacing_mm=case.spacing_mm, rules=rules) for some in (kept.masks, masks)
    )
    for organ in reported:
        for side in ("left", "right", "unknown"):
            hosts = [find_host(b.masks, anatomy, organ=organ, laterality=side) for b in (few, all_of_them)]
            assert hosts[0] == hosts[1]
            if hosts[0].structures:
                margin_mm = anatomy.organs[organ].margin_mm
                regions = [
                    b.region(hosts[0], margin_mm=margin_mm, longest_mm=30.0) for b in (few, all_of_them)
                ]
                assert np.array_equal(regions[0].region, regions[1].region)
                assert np.array_equal(regions[0].centers, regions[1].centers)
