"""Time and extra memory of the report-supervised losses, beside one dense convolution a lesion as a yardstick.

Run: ``python benchmarks/losses.py [--size 96 128] [--repeats 5] [--json PATH]``. One thread, CPU seconds of the
process (so that other jobs on the machine do not count), median of the repeats, forward and backward, batch of two,
28 channels of which 3 are lesion classes; logits smooth with bright blobs where the lesions are.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

from rsuper.losses import (
    LesionTarget,
    ReportSupervisionConfig,
    ReportSupervisionLoss,
    ball_loss,
    segmentation_loss,
    volume_loss,
)
from rsuper.morphology import dilate_mm
from rsuper.supervision.types import PairTarget, SupervisionBatch

ONE = (1.0, 1.0, 1.0)
CHANNELS, LESION_CHANNEL = 28, 25


def scene(size: int, count: int, diameter_mm: float):
    """Logits [2,28,D,H,W] and the region of an organ of a third of the patch, with ``count`` blobs in it."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, CHANNELS, size, size, size, generator=generator).mul_(0.3).sub_(4)
    axes = torch.arange(size, dtype=torch.float32)
    grid = torch.stack(torch.meshgrid(axes, axes, axes, indexing="ij"))
    half = torch.tensor([0.30, 0.22, 0.25]).view(3, 1, 1, 1) * size
    region = (((grid - size / 2) / half) ** 2).sum(0) <= 1
    for index in range(count):
        angle = 2 * math.pi * index / max(count, 1)
        offset = torch.tensor([0.15 * math.cos(angle), 0.1 * math.sin(angle), 0.05]) * size * (count > 1)
        distance = ((grid - size / 2 - offset.view(3, 1, 1, 1)) ** 2).sum(0).sqrt()
        logits[:, LESION_CHANNEL] += 8 * torch.sigmoid(diameter_mm / 2 - distance)
    volume = math.pi / 6 * diameter_mm**3
    lesions = tuple(
        LesionTarget(diameters_mm=(diameter_mm,) * 2, volume_mm3=(0.6 * volume, 1.5 * volume))
        for _ in range(count)
    )
    return logits, region, lesions


def timed(work: Callable[[], object], repeats: int) -> float:
    """Median CPU seconds after one warm-up call."""
    work()
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        seconds.append(time.process_time() - start)
    return statistics.median(seconds)


def measure(size: int, repeats: int) -> dict[str, float]:
    rows: dict[str, float] = {}
    for count, diameter in ((1, 20), (3, 20), (10, 20), (1, 5), (1, 40), (1, 60)):
        if diameter > 0.65 * size:
            continue
        logits, region, lesions = scene(size, count, diameter)
        pair = logits[:, LESION_CHANNEL].clone().requires_grad_()
        where = region.expand(2, *region.shape)

        def ball(x=pair, where=where, lesions=lesions):
            loss = ball_loss(x, where, [lesions, lesions], spacing_mm=ONE)
            (loss.bce + loss.dice).backward()
            x.grad = None

        rows[f"ball {count} x {diameter} mm"] = timed(ball, repeats)
        if count == 3:
            rows.update(everything(logits, region, lesions, repeats))
            width = 2 * math.ceil(1.2 * diameter / 2) + 1
            if size <= 96:
                kernel = torch.ones(1, 1, width, width, width)
                patch = torch.sigmoid(logits[:1, LESION_CHANNEL : LESION_CHANNEL + 1])
                rows["yardstick: one dense conv3d, 20 mm"] = timed(
                    lambda k=kernel, p=patch: torch.nn.functional.conv3d(p, k, padding="same"), 1
                )
    return rows


def everything(logits, region, lesions, repeats) -> dict[str, float]:
    rows: dict[str, float] = {}
    rows["dilation 15 mm"] = timed(lambda: dilate_mm(region, 15.0, spacing_mm=ONE), repeats)
    pair = logits[:, LESION_CHANNEL].clone().requires_grad_()
    where = region.expand(2, *region.shape)
    interval = torch.tensor([[5000.0, 9000.0]] * 2)
    rows["volume loss, forward"] = timed(lambda: volume_loss(pair, where, interval, spacing_mm=ONE), repeats)
    labels = torch.zeros(logits.shape, dtype=torch.bool)
    labels[:, :20, 10:40, 10:40, 10:40] = True
    known = torch.ones_like(labels)
    known[:, LESION_CHANNEL] = ~region
    x = logits.requires_grad_()

    def segmentation():
        loss = segmentation_loss(x, labels, known, spacing_mm=ONE)
        (loss.bce + loss.dice).backward()
        x.grad = None

    rows["BCE + Dice"] = timed(segmentation, repeats)
    pairs = tuple(
        PairTarget(
            sample=b, channel=LESION_CHANNEL, region=region, lesions=lesions, volume_mm3=(5000.0, 9000.0)
        )
        for b in range(2)
    )
    batch = SupervisionBatch(labels=labels, known=known, spacing_mm=torch.ones(2, 3), pairs=pairs)
    loss = ReportSupervisionLoss(ReportSupervisionConfig())

    def total():
        loss(x, batch).total.backward()
        x.grad = None

    rows["everything, 3 x 20 mm"] = timed(total, repeats)
    extra = peak_bytes(total)
    if extra is not None:
        rows["everything: peak extra memory in logits-sized tensors"] = extra / (logits.numel() * 4)
    return rows


def peak_bytes(work: Callable[[], object]) -> int | None:
    """Peak resident memory above where the call starts; Linux only."""
    status, reset = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    if not reset.exists():
        return None

    def kilobytes(name: str) -> int:
        line = next(row for row in status.read_text().splitlines() if row.startswith(name))
        return int(line.split()[1])

    reset.write_text("5")
    start = kilobytes("VmRSS")
    work()
    return 1024 * (kilobytes("VmHWM") - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, nargs="+", default=[96, 128])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    result = {str(size): measure(size, arguments.repeats) for size in arguments.size}
    for size, rows in result.items():
        for name, seconds in rows.items():
            print(f"{size}³  {name:45s} {seconds:9.4f}")
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
