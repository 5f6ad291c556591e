"""A non-finite value anywhere leaves the weights alone, is named, and stops the run in the end."""

from __future__ import annotations

import json
import sys

import pytest
import torch
import toy_data
from torch import nn

from rsuper.errors import DataError
from rsuper.networks import own_tensors
from rsuper.training import session as module
from rsuper.training import train
from rsuper.training.guard import NonFiniteGuard, non_finite

CONFIG = toy_data.toy_config(max_bad_steps=3, validate_every=0)


def test_non_finite_names_what_is_not():
    bad = torch.tensor([1.0, float("inf")])
    assert non_finite({"a": bad, "b": torch.ones(2), "c": [torch.ones(1), bad]}) == ("a", "c")
    assert non_finite({"half": torch.full((2,), 7e4).half()}) == ("half",)


def test_only_steps_in_a_row_count():
    guard = NonFiniteGuard(2)
    for bad in (["x"], [], ["x"], []):
        guard.record(bad, case_ids=["c"])
    guard.record(["x"], case_ids=["c"])
    with pytest.raises(
        DataError, match="2 non-finite steps in a row, last in volume, cases c7, c8"
    ) as caught:
        guard.record(["volume"], case_ids=["c7", "c8"])
    assert caught.value.code == "training_diverged"


class Poison:
    """Breaks chosen steps of a session in one of four ways and keeps the tensors before and after each step."""

    def __init__(self, monkeypatch, kind, steps):
        self.kind, self.steps, self.before, self.after = kind, set(steps), {}, {}
        real = module.Session._gradients

        def poisoned(session, step, batch):
            self.before[step] = {k: v.clone() for k, v in own_tensors(session.network).items()}
            if step not in self.steps:
                return real(session, step, batch)
            with monkeypatch.context() as patch:
                if kind == "image":
                    batch.image[0, 0, 3, 4, 5] = float("nan")
                elif kind == "logits":
                    forward = session.network.forward
                    patch.setattr(
                        session.network, "forward", lambda image: [forward(image)[0] + float("inf")]
                    )
                elif kind == "total":
                    loss = session.loss.forward

                    def broken(*args, **kwargs):
                        result = loss(*args, **kwargs)
                        terms = result.terms | {"segmentation_dice": torch.tensor(float("nan"))}
                        return module.LossTerms(total=result.total * float("nan"), terms=terms)

                    patch.setattr(session.loss, "forward", broken)
                else:
                    clone = Explode.apply
                    forward = session.network.forward
                    patch.setattr(session.network, "forward", lambda image: [clone(forward(image)[0])])
                return real(session, step, batch)

        monkeypatch.setattr(module.Session, "_gradients", poisoned)
        append = module.run_folder.append_line

        def note(path, entry):
            append(path, entry)

        monkeypatch.setattr(module.run_folder, "append_line", note)


class Explode(torch.autograd.Function):
    """Identity whose gradient overflows."""

    @staticmethod
    def forward(ctx, value):
        return value.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient * float("inf")


@pytest.mark.parametrize(
    ("kind", "named"),
    [
        ("image", "image"),
        ("logits", "logits"),
        ("total", "segmentation_dice, total"),
        ("gradient", "gradient"),
    ],
)
def test_a_poisoned_step_is_skipped_and_named(toy_prepared, tmp_path, monkeypatch, kind, named):
    poison = Poison(monkeypatch, kind, steps=[2, 5])
    train(toy_prepared, tmp_path / "run", config=CONFIG, network_factory="toy_data:TinyNetwork")
    for step in (2, 5):  # parameters and running statistics, all as before
        before, after = poison.before[step], poison.before[step + 1]
        assert all(torch.equal(before[name], after[name]) for name in before)
    assert not all(torch.equal(poison.before[3][name], poison.before[4][name]) for name in poison.before[3])
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    skipped = {line["step"]: line for line in lines if "skipped" in line}
    assert set(skipped) == {3, 6}
    assert skipped[3]["skipped"] == named
    assert len(skipped[3]["cases"]) == 2
    assert "NaN" not in (tmp_path / "run" / "metrics.jsonl").read_text()


def test_the_run_stops_after_three_in_a_row(toy_prepared, tmp_path, monkeypatch):
    Poison(monkeypatch, "image", steps=[1, 3, 4, 5])
    with pytest.raises(DataError, match="3 non-finite steps in a row, last in image, cases case_") as caught:
        train(toy_prepared, tmp_path / "run", config=CONFIG, network_factory="toy_data:TinyNetwork")
    assert caught.value.code == "training_diverged"
    last = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    assert (last["step"], last["skipped"]) == (6, "image")


class HalfOverflow(nn.Module):
    """Logits that overflow in half precision."""

    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.layer = nn.Conv3d(in_channels, out_channels, 1)

    def forward(self, image):
        return (self.layer(image) * 1e6 + 1e6).half()


def test_an_overflow_of_half_precision_is_caught(toy_prepared, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "overflow_network", sys.modules[__name__])
    network = {"network": CONFIG.network.model_copy(update={"factory": "overflow_network:HalfOverflow"})}
    with pytest.raises(DataError, match="last in logits"):
        train(
            toy_prepared,
            tmp_path / "run",
            config=CONFIG.model_copy(update=network),
            network_factory="overflow_network:HalfOverflow",
        )
