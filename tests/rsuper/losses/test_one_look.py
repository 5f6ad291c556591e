"""One device synchronisation a call: off the CPU, nothing but the one packed read looks at a value.

There need not be a device: meta tensors have shapes and no values, and raise where anything asks for one.
The path that reads nothing is also run on real numbers, and must say what the CPU's own path says.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from rsuper.losses import (
    BallRules,
    LesionTarget,
    LossTerms,
    ReportSupervisionConfig,
    ReportSupervisionLoss,
    attenuation_loss,
    ball_loss,
    ball_targets,
    malignancy_loss,
    presence_loss,
    segmentation_loss,
    volume_loss,
)
from rsuper.morphology import host
from rsuper.supervision.types import PairTarget, SupervisionBatch

SHAPE = (14, 16, 12)
EVERYTHING = ReportSupervisionConfig(
    presence=1.0,
    absence=1.0,
    report_weight=1.0,
    median_weight=0.05,
    volume_where="located",
    volume_gate="located",
    malignancy_channels=((0, 2),),
    ball=BallRules(candidates=3, lit_odds=0.2),
)


def smooth(seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(1, 1, 4, 4, 4, generator=generator)
    fine = torch.randn(SHAPE, generator=generator)
    return 3 * torch.nn.functional.interpolate(coarse, size=SHAPE, mode="trilinear")[0, 0] + 0.1 * fine


def half(axis: int) -> torch.Tensor:
    mask = torch.zeros(SHAPE, dtype=torch.bool)
    mask.narrow(axis, 1, SHAPE[axis] // 2).fill_(1)
    return mask


def lesions() -> tuple[LesionTarget, ...]:
    return (
        LesionTarget(diameters_mm=(5.0, 4.0), volume_mm3=(30.0, 60.0), attenuation="hypo", malignant=True),
        LesionTarget(diameters_mm=(5.0, 4.0), volume_mm3=(30.0, 60.0), region=half(0), attenuation="iso"),
        LesionTarget(diameters_mm=(5.0, 4.0), volume_mm3=(30.0, 60.0), region=half(1), centers=half(2)),
        LesionTarget(volume_mm3=(14.1, 500.0), slab=(1, 2, 9), weight=0.5, malignant=False),
        LesionTarget(volume_mm3=(14.1, math.inf)),
        LesionTarget(volume_mm3=(14.1, 900.0), remainder=True, region=half(2)),
    )


def build() -> tuple[torch.Tensor, SupervisionBatch]:
    """Two samples, three classes (the third says how malignant the first is); one positive and one negative report."""
    logits = torch.stack([torch.stack([smooth(3 * b + c) for c in range(3)]) for b in range(2)])
    region = torch.ones(SHAPE, dtype=torch.bool)
    region[:, :2] = False
    labels = torch.zeros(logits.shape, dtype=torch.bool)
    labels[1, 0, 2:6, 3:8, 4:9] = True
    known = torch.ones_like(labels)
    known[0, 0] = ~region
    known[:, 2] = False
    pairs = (
        PairTarget(
            sample=0,
            channel=0,
            region=region,
            lesions=lesions(),
            volume_mm3=(90.0, math.inf),
            median_mm3=200.0,
        ),
        PairTarget(
            sample=0, channel=1, region=half(0), lesions=lesions()[:1], volume_mm3=(30.0, 60.0), weight=0.4
        ),
        PairTarget(sample=1, channel=1, region=half(1), lesions=(), volume_mm3=(0.0, 0.0), present=False),
    )
    batch = SupervisionBatch(
        labels=labels,
        known=known,
        spacing_mm=torch.tensor([[1.0, 1.0, 1.0], [0.8, 1.0, 1.5]]),
        pairs=pairs,
        image_hu=50 * logits[:, :1] + 100,
        organ=region.expand(logits.shape),
        malignant={(1, 0): True},
        reference=labels.flip(0),
    )
    return logits, batch


def everything(logits, batch):
    return ReportSupervisionLoss(EVERYTHING)(logits, batch)


def pairs_of(call):
    """A pure loss of two pairs, from the same batch."""

    def run(logits, batch):
        return call(logits[:, 0], batch.organ[:, 0], batch)

    return run


CALLS = {
    "everything": everything,
    "deep supervision": lambda logits, batch: ReportSupervisionLoss(
        EVERYTHING.model_copy(update={"volume_head": "auxiliary"})
    )([logits, logits * 0.5], batch),
    "segmentation": lambda logits, batch: segmentation_loss(
        logits, batch.labels, batch.known, spacing_mm=batch.spacing_mm
    ),
    "ball": pairs_of(
        lambda x, r, b: ball_loss(
            x, r, [b.pairs[0].lesions] * 2, spacing_mm=b.spacing_mm, weight=b.spacing_mm[:, 0]
        )
    ),
    "ball targets": pairs_of(
        lambda x, r, b: ball_targets(
            torch.sigmoid(x[0]), r[0], b.pairs[0].lesions, spacing_mm=b.spacing_mm[0], logits=x[0]
        )
    ),
    "volume": pairs_of(
        lambda x, r, b: volume_loss(
            x,
            r,
            b.spacing_mm[:, :2] * 50,
            spacing_mm=b.spacing_mm,
            weight=b.spacing_mm[:, 0],
            median_mm3=b.spacing_mm[:, 1],
            sigma_log=b.spacing_mm[:, 1],
            located=b.labels[:, 0],
        )
    ),
    "presence": pairs_of(
        lambda x, r, b: presence_loss(x, r, spacing_mm=b.spacing_mm, present=b.spacing_mm[:, 0] > 0.9)
    ),
    "attenuation": pairs_of(
        lambda x, r, b: attenuation_loss(
            x, b.image_hu[:, 0], b.labels[:, 0], r, ["hypo", "iso"], weight=b.spacing_mm[:, 0]
        )
    ),
    "malignancy": pairs_of(
        lambda x, r, b: malignancy_loss(x, b.labels[:, 0], [True, False], weight=b.spacing_mm[:, 0])
    ),
}


def replace_config(**changes) -> ReportSupervisionConfig:
    return EVERYTHING.model_copy(update=changes)


class NoWaiting(TorchDispatchMode):
    """Fails on an upload that waits for the device."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function is torch.ops.aten._to_copy.default:
            moved = torch.device(kwargs.get("device") or args[0].device).type != args[0].device.type
            assert not moved or kwargs.get("non_blocking"), "an upload waits for the device"
        return function(*args, **kwargs)


@pytest.mark.parametrize("name", sorted(CALLS))
def test_a_device_is_looked_at_once_and_no_upload_waits(name, monkeypatch):
    logits, batch = build()
    reads, original = [], host._fetch
    with monkeypatch.context() as patch, torch.no_grad():  # what the host reads, of real numbers
        patch.setattr(host, "HOST_DEVICES", ())
        patch.setattr(host, "_fetch", lambda away: reads.append(original(away)) or reads[-1])
        CALLS[name](logits, batch)
    looks = []

    def replay(away):
        looks.append(len(away))
        values = iter(reads[0])  # some of them were the host's own
        return [next(value for value in values if value.shape == tensor.shape) for tensor in away]

    monkeypatch.setattr(host, "_fetch", replay)
    there, remote = logits.to("meta").requires_grad_(), batch.to("meta")
    with NoWaiting():
        result = CALLS[name](there, remote)
        total = (
            result if isinstance(result, torch.Tensor) else vars(result).get("total", vars(result).get("bce"))
        )
        if total is not None:
            total.backward()
    assert len(looks) <= len(reads) <= 1


def test_a_look_at_a_device_fails():
    """The test above can fail."""
    x = torch.ones(3, device="meta")
    for look in (lambda: float(x.sum()), lambda: x[x > 0], x.nonzero, x.tolist, x.cpu):
        with pytest.raises((RuntimeError, NotImplementedError)):
            look()
    with NoWaiting(), pytest.raises(AssertionError, match="waits"):
        torch.ones(3).to(x)


@pytest.mark.parametrize(
    ("name", "dtype"), [*((name, torch.float32) for name in sorted(CALLS)), ("everything", torch.float64)]
)
def test_the_path_that_reads_nothing_says_the_same(name, dtype, monkeypatch):
    logits, batch = build()
    x = logits.to(dtype)
    here = figures(CALLS[name], x, batch)
    monkeypatch.setattr(host, "HOST_DEVICES", ())
    there = figures(CALLS[name], x, batch)
    assert here.keys() == there.keys()
    for key, value in here.items():
        torch.testing.assert_close(there[key], value, rtol=2e-5, atol=1e-7, msg=key)


def figures(call, logits, batch):
    """Everything that a call says, and its gradient."""
    x = logits.clone().requires_grad_()
    result = call(x, batch)
    if isinstance(result, torch.Tensor):
        result = {"value": result}
    elif isinstance(result, LossTerms):
        result = {"total": result.total, **result.terms, **result.diagnostics}
    else:
        result = dict(vars(result))
    total = result.get("total", result.get("value", result.get("bce")))
    if total is not None:
        total = total + result["dice"] if "dice" in result else total
        (result["gradient"],) = torch.autograd.grad(total, x)
    return {key: value.detach() for key, value in result.items()}


@pytest.mark.parametrize("value", [-100.0, 0.0, 3.0])
def test_nothing_to_go_by_is_nothing_on_either_path(value, monkeypatch):
    _, batch = build()
    x = torch.full((2, 3, *SHAPE), value)
    here = figures(everything, x, batch)
    monkeypatch.setattr(host, "HOST_DEVICES", ())
    there = figures(everything, x, batch)
    for key, expected in here.items():
        torch.testing.assert_close(there[key], expected, rtol=1e-5, atol=1e-7, msg=key)
    assert torch.isfinite(there["gradient"]).all()
