"""Targets on the organ masks of a real CT: regions of a sane size, and no real report that breaks the builder."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

import nibabel as nib
import numpy as np
import pytest

from llm_extract.anatomy import load_anatomy
from llm_extract.backends.rules import RulesBackend
from llm_extract.reports import Report
from rsuper.supervision import build_case_targets
from rsuper.supervision.regions import RegionBuilder, RegionRules, find_host

pytestmark = pytest.mark.real_data

# how much larger than the organ its region may be; the same margin of 15 mm for all gives 13 for the pancreas
LARGEST_RATIO = {
    "liver": 2.0,
    "pancreas": 6.0,
    "kidney": 4.0,
    "adrenal_gland": 6.0,
    "spleen": 3.0,
    "duodenum": 4.0,
}
REPORTS = 20


@pytest.fixture(scope="module")
def real_organs(shared_data) -> tuple[Mapping[str, np.ndarray], tuple[float, float, float]]:
    folder = shared_data / "ct"
    path = folder / "totalsegmentator" / "example_seg_fast_force_split.nii.gz"
    if not path.is_file():
        pytest.skip("no segmented CT in the folder of real material")
    names = json.loads((folder / "totalsegmentator_label_names.json").read_text())["total"]
    image = nib.as_closest_canonical(nib.load(path))
    labels = np.asarray(image.dataobj)
    spacing = tuple(float(size) for size in image.header.get_zooms()[:3])
    return {name: labels == int(value) for value, name in names.items()}, spacing


@pytest.mark.parametrize("organ", list(LARGEST_RATIO))
def test_regions_stay_close_to_real_organs(real_organs, organ):
    masks, spacing_mm = real_organs
    anatomy = load_anatomy()
    builder = RegionBuilder(masks, anatomy, spacing_mm=spacing_mm, rules=RegionRules())
    host = find_host(masks, anatomy, organ=organ)
    region = builder.region(host, margin_mm=anatomy.organs[organ].margin_mm)
    own_mm3 = sum(float(masks[stem].sum()) for stem in host.structures) * math.prod(spacing_mm)
    assert 1.0 < region.volume_mm3 / own_mm3 < LARGEST_RATIO[organ]
    assert not (region.centers & ~region.region).any()
    for stem in host.structures:
        assert region.region[masks[stem]].all()


def test_every_real_report_gives_a_consistent_target(real_organs, shared_data):
    masks, spacing_mm = real_organs
    lines = (shared_data / "reports" / "reports.jsonl").read_text(encoding="utf-8").splitlines()
    backend = RulesBackend()
    anatomy = load_anatomy()
    classes = [
        anatomy.organs[name].lesion_class
        for name in ("liver", "pancreas", "kidney", "adrenal_gland", "colon")
    ]
    states = set()
    for number, line in enumerate(lines[:: len(lines) // REPORTS]):
        record = backend.extract(Report(report_id=f"r{number}", text=json.loads(line)["text"]))
        targets = build_case_targets(
            [record],
            masks,
            case_id="C1",
            spacing_mm=spacing_mm,
            lesion_classes=classes,
            voxel_labelled=frozenset(),
        )
        for target in targets.classes.values():
            states.add(target.state)
            low, high = target.volume_mm3
            assert 0 <= low <= high
            assert 0 <= target.weight <= 1
            if target.state == "reported":
                assert target.region.any()
                assert target.lesions
                assert low >= 14.0 or target.weight == 0 or target.codes
    assert states == {"reported", "absent", "unknown"}
