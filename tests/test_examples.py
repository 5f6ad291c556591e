"""Every script and page of examples/ runs a few steps, and reports do in it what they are there for."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from rsuper.synthesis import PhantomConfig, make_case

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def loaded(name: str):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def plain():
    return loaded("plain_pytorch")


def test_the_plain_loop_learns_from_its_reports(plain):
    with_reports = plain.train(14)
    without = plain.train(14, report_weight=0.0)
    assert with_reports[0]["loss"] - with_reports[-1]["loss"] > 0.3
    assert with_reports[0]["denied"] > 0.4
    assert with_reports[-1]["denied"] < 0.1, "a denied organ is pushed down"
    assert with_reports[-1]["ball"] < 0.9 * without[-1]["ball"], "the report terms have a gradient that helps"
    assert with_reports[-1]["volume"] < 0.5 * without[-1]["volume"]


def test_the_plain_loop_fits_on_a_page():
    assert len((EXAMPLES / "plain_pytorch.py").read_text(encoding="utf-8").splitlines()) <= 60


def test_the_monai_loop_learns():
    history = loaded("monai_training").train(16)
    losses = [step["loss"] for step in history]
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 0.05
    assert sum(step.get("ball_bce", 0.0) > 0 for step in history) > 4, "most crops hold a whole report region"
    assert all(step["pairs"] <= 2 for step in history)
    assert any(step.get("volume", 0.0) > 0 for step in history)


def test_without_reports_the_monai_loop_has_no_report_terms():
    assert all(
        set(step) == {"segmentation_bce", "segmentation_dice", "pairs", "loss"}
        for step in loaded("monai_training").train(2, report_weight=0.0)
    )


@pytest.mark.filterwarnings("ignore::UserWarning:monai.*")  # readers of formats that are not installed
def test_the_page_runs_from_top_to_bottom(tmp_path, monkeypatch):
    """All its code in one namespace; the files that the MONAI part names are a phantom's."""
    case = make_case(5, 0, PhantomConfig(shape=(44, 36, 26), spacing_mm=(6, 6, 6)))
    folder = tmp_path / "case_1" / "segmentations"
    folder.mkdir(parents=True)
    nibabel.save(nibabel.Nifti1Image(case.ct, case.affine), folder.parent / "ct.nii.gz")
    for name in ("pancreas", "liver"):
        nibabel.save(
            nibabel.Nifti1Image(case.organs[name].astype(np.uint8), case.affine), folder / f"{name}.nii.gz"
        )
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(
        r"```python\n(.*?)```", (EXAMPLES / "README.md").read_text(encoding="utf-8"), re.DOTALL
    )
    assert len(blocks) == 4
    torch.manual_seed(0)
    names: dict[str, object] = {}
    gradients = []
    for block in blocks:
        exec(block, names)
        network = names["softmax_head" if block is blocks[-1] else "network"]
        gradients.append(float(network.weight.grad.abs().sum()))
        network.weight.grad = None
    assert all(gradient > 0 for gradient in gradients)
    assert {pair.present for pair in names["supervision"].pairs} == {True, False}
    assert names["batch"]["targets"].labels.shape[2:] == (32, 32, 32)
    assert len(blocks[0].splitlines()) <= 15
