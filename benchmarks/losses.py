"""Time and extra memory of the report-supervised losses, beside plain torch yardsticks and a training step.

Run: ``python benchmarks/losses.py [--size 96 128] [--repeats 5] [--device cuda] [--step 96] [--json PATH]``. Forward
and backward, batch of two, 28 channels of which 3 are lesion classes; logits smooth with bright blobs where the lesions
are. On a CPU: one thread, CPU seconds of the process (so that other jobs on the machine do not count), median of the
repeats. On a GPU: wall seconds from an idle device to an idle device, which is what a step waits for (a call launches
many small operations; a figure without the host's share would flatter), and the memory of the allocator. ``--step``
adds one training step of MONAI's DynUNet (32 to 320 channels) on that patch size; it takes minutes on a CPU.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch.nn import functional

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
SCENES = ((1, 20), (3, 20), (10, 20), (1, 5), (1, 40), (1, 60))
EVERYTHING = "everything, 3 x 20 mm"


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


def seconds_of(work: Callable[[], object], device: torch.device) -> float:
    """Of one call: CPU seconds of the process, or wall seconds until the device has finished."""
    if device.type == "cpu":
        start = time.process_time()
        work()
        return time.process_time() - start
    torch.cuda.synchronize(device)
    begin = time.perf_counter()
    work()
    torch.cuda.synchronize(device)
    return time.perf_counter() - begin


def timed(work: Callable[[], object], repeats: int, device: torch.device | None = None) -> float:
    """Median seconds after one warm-up call."""
    device = device or torch.device("cpu")
    work()
    return statistics.median(seconds_of(work, device) for _ in range(repeats))


def alternating(
    works: dict[str, Callable[[], object]], repeats: int, device: torch.device
) -> dict[str, float]:
    """Median seconds of each after one warm-up call, in turns: what disturbs the machine disturbs all of them."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for work in works.values():
        work()
    for _ in range(repeats):
        for name, work in works.items():
            seconds[name].append(seconds_of(work, device))
    return {name: statistics.median(values) for name, values in seconds.items()}


def ball_work(logits, region, lesions) -> Callable[[], object]:
    """Forward and backward of the ball loss of two pairs."""
    pair = logits[:, LESION_CHANNEL].clone().requires_grad_()
    where = region.expand(2, *region.shape)

    def ball():
        loss = ball_loss(pair, where, [lesions, lesions], spacing_mm=ONE)
        (loss.bce + loss.dice).backward()
        pair.grad = None

    return ball


def measure(size: int, repeats: int, device: torch.device) -> dict[str, float]:
    """All rows of one patch size."""
    rows: dict[str, float] = {}
    works: dict[str, Callable[[], object]] = {}
    for count, diameter in SCENES:
        if diameter > 0.65 * size:
            continue
        logits, region, lesions = scene(size, count, diameter)
        logits, region = logits.to(device), region.to(device)
        works[f"ball {count} x {diameter} mm"] = ball_work(logits, region, lesions)
        if count == 3:
            rows.update(parts(logits, region, repeats))
            rows.update(everything(logits, region, lesions, repeats))
            rows.update(yardsticks(logits, region, diameter, repeats))
    rows |= alternating(works, repeats, device)
    if "ball 1 x 60 mm" in rows:
        rows["ratio: 60 mm to 5 mm"] = rows["ball 1 x 60 mm"] / rows["ball 1 x 5 mm"]
    return rows


def parts(logits, region, repeats) -> dict[str, float]:
    """Dilation, volume loss, segmentation loss."""
    device = logits.device
    pair = logits[:, LESION_CHANNEL].clone().requires_grad_()
    where = region.expand(2, *region.shape)
    interval = torch.tensor([[5000.0, 9000.0]] * 2)
    labels, known = annotated(logits, region)
    x = logits.clone().requires_grad_()

    def segmentation():
        loss = segmentation_loss(x, labels, known, spacing_mm=ONE)
        (loss.bce + loss.dice).backward()
        x.grad = None

    return {
        "dilation 15 mm": timed(lambda: dilate_mm(region, 15.0, spacing_mm=ONE), repeats, device),
        "volume loss, forward": timed(
            lambda: volume_loss(pair, where, interval, spacing_mm=ONE), repeats, device
        ),
        "BCE + Dice": timed(segmentation, repeats, device),
    }


def annotated(logits, region):
    """Labels of 20 organs, all known but the region of the lesions."""
    labels = torch.zeros(logits.shape, dtype=torch.bool, device=logits.device)
    labels[:, :20, 10:40, 10:40, 10:40] = True
    known = torch.ones_like(labels)
    known[:, LESION_CHANNEL] = ~region
    return labels, known


def everything(logits, region, lesions, repeats) -> dict[str, float]:
    """The whole loss of a batch: time, and peak memory above where the call starts."""
    labels, known = annotated(logits, region)
    pairs = tuple(
        PairTarget(
            sample=b, channel=LESION_CHANNEL, region=region, lesions=lesions, volume_mm3=(5000.0, 9000.0)
        )
        for b in range(2)
    )
    batch = SupervisionBatch(
        labels=labels, known=known, spacing_mm=torch.ones(2, 3, device=logits.device), pairs=pairs
    )
    loss, x = ReportSupervisionLoss(ReportSupervisionConfig()), logits.clone().requires_grad_()

    def total():
        loss(x, batch).total.backward()
        x.grad = None

    rows = {EVERYTHING: timed(total, repeats, logits.device)}
    extra = peak_bytes(total, logits.device)
    if extra is not None:
        rows["everything: peak extra memory in logits-sized tensors"] = extra / (logits.numel() * 4)
    return rows


def yardsticks(logits, region, diameter_mm, repeats) -> dict[str, float]:
    """The same search and dilation as one reads them in a paper: dense torch operations on the whole patch.

    Once on a CPU, where they take seconds; on a GPU as often as the rest, after a call that lets it choose its kernels.
    """
    device = logits.device

    def seconds(work: Callable[[], object]) -> float:
        return seconds_of(work, device) if device.type == "cpu" else timed(work, repeats, device)

    width = 2 * math.ceil(1.2 * diameter_mm / 2) + 1
    kernel = torch.ones(1, 1, width, width, width, device=logits.device)
    patch = torch.sigmoid(logits[:1, LESION_CHANNEL : LESION_CHANNEL + 1])
    mask = region[None, None].float()

    def pool():
        grown = mask
        for _ in range(5):
            grown = functional.max_pool3d(grown, 7, stride=1, padding=3)

    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):  # float32 as on a CPU
        dense = seconds(lambda: functional.conv3d(patch, kernel, padding="same"))
    return {
        f"yardstick: one dense conv3d, {width}³": dense,
        "yardstick: 15 mm by five max_pool3d, 7³": seconds(pool),
    }


def training_step(size: int, device: torch.device) -> float:
    """Seconds of forward and backward of DynUNet 32–320, batch of two, with a loss that costs next to nothing."""
    from monai.networks.nets import DynUNet

    network = DynUNet(
        spatial_dims=3,
        in_channels=1,
        out_channels=CHANNELS,
        kernel_size=[3] * 6,
        strides=[1, 2, 2, 2, 2, 2],
        upsample_kernel_size=[2] * 5,
        filters=[32, 64, 128, 256, 320, 320],
    ).to(device)
    image = torch.randn(2, 1, size, size, size, device=device)
    if device.type != "cpu":
        return timed(lambda: network(image).mean().backward(), 5, device)
    return seconds_of(lambda: network(image).mean().backward(), device)


def peak_bytes(work: Callable[[], object], device: torch.device) -> int | None:
    """Peak memory above where the call starts: of the device's allocator, or resident (Linux only)."""
    if device.type != "cpu":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        return torch.cuda.max_memory_allocated(device) - before
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


def processor(device: torch.device) -> str:
    """What the figures were measured on."""
    return platform.machine() if device.type == "cpu" else torch.cuda.get_device_name(device)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, nargs="+", default=[96, 128])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    parser.add_argument("--step", type=int, help="patch size of a DynUNet training step to compare with")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    result = {str(size): measure(size, arguments.repeats, arguments.device) for size in arguments.size}
    if arguments.step is not None:
        step = training_step(arguments.step, arguments.device)
        rows = result.setdefault(str(arguments.step), {})
        rows["DynUNet 32-320, forward and backward"] = step
        if EVERYTHING in rows:
            rows["everything: share of the step"] = rows[EVERYTHING] / (rows[EVERYTHING] + step)
            rows["report terms: share of the step"] = (rows[EVERYTHING] - rows["BCE + Dice"]) / (
                rows[EVERYTHING] + step
            )
    for size, rows in result.items():
        for name, value in rows.items():
            print(f"{size}³  {name:58s} {value:9.4f}")
    if arguments.json:
        about = {
            "torch": torch.__version__,
            "device": str(arguments.device),
            "processor": processor(arguments.device),
            "repeats": arguments.repeats,
        }
        arguments.json.write_text(json.dumps({"about": about, **result}, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
