"""The pseudo-masks that benchmarks/pseudo_masks.py compares are those of the code, and README shows its figures."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    path = ROOT / "benchmarks" / "pseudo_masks.py"
    spec = importlib.util.spec_from_file_location("pseudo_masks", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def results() -> dict:
    path = ROOT / "benchmarks" / "results" / "pseudo_masks.json"
    return json.loads(path.read_text(encoding="utf-8"))


def test_a_scene_gives_the_figures_on_file(script, results):
    """12 x 12 x 30 mm: 18 % of the published pseudo-mask of perfect logits is tumour, all of ours."""
    scene = script.SCENES[0]
    row, pictures, tumour = script.evaluate(scene)
    assert row["tumour_voxels"] == int(tumour.sum()) == pytest.approx(2262, rel=0.02)
    for kind in script.KINDS:
        for arm in script.ARMS:
            assert row[kind][arm] == pytest.approx(results[scene.name][kind][arm], abs=0.011), (kind, arm)
    perfect = row["perfect"]
    assert perfect["3 diameters"]["precision"] == perfect["2 diameters"]["precision"] == 1.0
    assert perfect["published rule"]["precision"] == pytest.approx(0.18, abs=0.01)
    one = pictures["1 diameter", "perfect"]
    assert not (one.down & tumour).any()
    assert (one.lit & one.down).sum() == 0


def test_a_crop_that_cuts_the_region_forces_nothing(script):
    scene = script.SCENES[-1]
    masks = {stem: script.radius(scene.shape, *where) <= 1 for stem, where in scene.organs.items()}
    pair = script.ours(scene, masks, 3)
    assert not pair.complete
    assert pair.volume_mm3[0] == 0.0
    assert all(lesion.remainder for lesion in pair.lesions)


def test_every_scene_is_on_file_and_no_tumour_is_pushed_down(script, results):
    assert list(results) == [scene.name for scene in script.SCENES]
    for row in results.values():
        for kind in script.KINDS:
            for arm in script.ARMS[:3]:
                figures = row[kind][arm]
                assert figures["pushed_down"] == 0
                if figures["precision"] is not None:
                    assert figures["precision"] > row[kind]["published rule"]["precision"]


def test_the_picture_is_drawn(script, tmp_path):
    scene = script.SCENES[4]
    box = torch.zeros(scene.shape, dtype=torch.bool)
    box[10:20, 10:20, 10:20] = True
    marked = script.Marked(lit=box, down=~box, region=box | ~box)
    pictures = {(arm, kind): marked for arm in script.ARMS for kind in script.KINDS}
    script.picture([(scene, pictures, box)], tmp_path / "out.png")
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")


def test_the_table_of_the_page_is_that_of_the_results(script, results):
    page = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    head, *lines = script.table(results)
    if head not in page:
        pytest.skip("benchmarks/README.md does not show this table")
    assert page.split(head + "\n", 1)[1].splitlines()[: len(lines)] == lines
