"""Of many report-positive cases, how many become a target that teaches, and nothing that contradicts it?

    python benchmarks/usable_share.py                 # 10,000 cases
    python benchmarks/usable_share.py --cases 300

Every case takes the real path: records -> ``build_case_targets`` -> crop -> batch -> ``ReportSupervisionLoss``. It is
usable if every organ with a stated lesion gives

* a valid target: state ``reported``, a weight, a region, at least one lesion, 0 < lo <= hi;
* a gradient that is finite and not zero at the output of an untrained network;
* none (a share of it below 1e-4) where the prediction has, in the right place, a lesion of a fitting size for
  each that the report counts;
* no contradiction: the sum of the los is at most the pair's hi and at most the region, every lesion's own region lies
  in the pair's and can hold its lo, the centres in the lesion's region, no voxel of the region is a known negative,
  no foreground is a known negative or ignored, and a crop that cuts the region forces nothing.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field, fields
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage

from llm_extract.anatomy import load_anatomy
from rsuper.data.roi import bounding_box
from rsuper.losses import ReportSupervisionConfig, ReportSupervisionLoss, ball_targets
from rsuper.networks import NetworkConfig, build_network
from rsuper.supervision import (
    CaseTargets,
    LesionTarget,
    PairTarget,
    SupervisionBatch,
    build_case_targets,
    crop_label,
    crop_pairs,
)

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "usable_share.json"
AGREES = 1e-4
LOGIT = 20.0
CHUNK = 500
INNER = (slice(1, -1), slice(1, -1), slice(1, -1))
FULL = ReportSupervisionConfig(report_weight=1.0, attenuation=0.0, absence=1.0)
REPORTS_ONLY = FULL.model_copy(update={"segmentation_bce": 0.0, "segmentation_dice": 0.0})


@dataclass
class Tally:
    """What was found; ``problems`` counts by kind, ``failed`` holds (case number, class, kinds)."""

    cases: int = 0
    pairs: int = 0
    usable_cases: int = 0
    usable_pairs: int = 0
    problems: Counter[str] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    failed: list[tuple[int, str, tuple[str, ...]]] = field(default_factory=list)

    def plus(self, other: Tally) -> Tally:
        """Both together."""
        return Tally(*(getattr(self, item.name) + getattr(other, item.name) for item in fields(self)))


def check_target(targets: CaseTargets, name: str) -> list[str]:
    """What is wrong with the whole-case target of one class."""
    target = targets.classes[name]
    if target.state != "reported":
        return [f"state {target.state}"]
    if target.region is None or not target.region.any():
        return ["no region"]
    found = []
    if not 0 < target.weight <= 1:
        found.append("no weight")
    low, high = target.volume_mm3
    voxel_mm3 = float(np.prod(targets.spacing_mm))
    if not 0 < low <= high:
        found.append("interval of the pair")
    if not target.lesions or all(lesion.remainder for lesion in target.lesions):
        found.append("nothing to search")
    lows = sum(lesion.volume_mm3[0] for lesion in target.lesions)
    if not lows <= high * (1 + 1e-9) or abs(lows - low) > 1e-6 * max(low, 1.0):
        found.append("los and the pair's interval")
    if low > target.region.sum() * voxel_mm3:
        found.append("lo above the region")
    for lesion in target.lesions:
        own = target.region if lesion.region is None else lesion.region.numpy()
        centers = own if lesion.centers is None else lesion.centers.numpy()
        if (own & ~target.region).any() or (centers & ~own).any():
            found.append("a lesion's region outside the pair's")
        if not lesion.remainder and (not centers.any() or lesion.volume_mm3[0] > own.sum() * voxel_mm3):
            found.append("a lesion without room")
    return found


def full_batch(
    targets: CaseTargets, classes: Sequence[str], start: Sequence[int], stop: Sequence[int]
) -> SupervisionBatch:
    """The batch of one crop, as the loader makes it."""
    labels = [crop_label(targets, name, start, stop) for name in classes]
    channels = {name: number for number, name in enumerate(classes)}
    return SupervisionBatch(
        labels=torch.from_numpy(np.stack([item.label for item in labels]))[None],
        known=torch.from_numpy(np.stack([item.known for item in labels]))[None],
        spacing_mm=torch.tensor([targets.spacing_mm], dtype=torch.float32),
        pairs=crop_pairs(targets, start, stop, sample=0, channels=channels),
    )


def holding_crop(targets: CaseTargets, classes: Sequence[str]) -> tuple[list[int], list[int]]:
    """Corners of the smallest crop that holds the regions of these classes; the whole volume if there is none."""
    regions = [target.region for name in classes if (target := targets.classes[name]).region is not None]
    box = bounding_box(np.logical_or.reduce(regions)) if regions else None
    if box is None:
        return [0, 0, 0], list(targets.shape)
    return [part.start for part in box], [part.stop for part in box]


def cut(logits: torch.Tensor, start: Sequence[int], stop: Sequence[int]) -> torch.Tensor:
    """The crop of a volume [B,C,D,H,W]."""
    box = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    return logits[(slice(None), slice(None), *box)].contiguous()


def gradient(logits: torch.Tensor, batch: SupervisionBatch, config: ReportSupervisionConfig) -> torch.Tensor:
    """Gradient of the loss with respect to the logits."""
    leaf = logits.clone().requires_grad_(True)
    ReportSupervisionLoss(config)(leaf, batch).total.backward()
    return torch.zeros_like(leaf) if leaf.grad is None else leaf.grad


def agreeing_logits(pair: PairTarget, spacing_mm: Sequence[float]) -> torch.Tensor | None:
    """A prediction that the report cannot object to: a lesion of a fitting volume for each that it counts.

    None where the organ has no room for them, or no whole number of voxels fits an interval.
    """
    box = bounding_box(pair.region.numpy())
    region = pair.region[box].numpy()
    taken = np.zeros_like(region)
    grid = np.indices(region.shape).astype(float)
    used_mm3, voxel_mm3 = 0.0, float(np.prod(spacing_mm))
    for lesion in pair.lesions:
        if lesion.remainder and lesion.volume_mm3[0] == 0:
            continue
        own = region if lesion.region is None else lesion.region[box].numpy()
        centers = own if lesion.centers is None else lesion.centers[box].numpy()
        count = fitting_count(lesion, voxel_mm3, pair.volume_mm3[1] - used_mm3)
        # as far as may be from what is lit already, as deep as may be in the lesion's own room
        free = own & ~taken
        score = np.minimum(ndimage.distance_transform_edt(np.pad(free, 1), sampling=spacing_mm), 6.0)[INNER]
        if taken.any():
            score = score + ndimage.distance_transform_edt(~taken, sampling=spacing_mm)
        score = np.where(centers & free, score, -1.0)
        center = np.unravel_index(int(score.argmax()), score.shape)
        squared = sum(((grid[axis] - center[axis]) * spacing_mm[axis]) ** 2 for axis in range(3))
        order = np.argsort(np.where(free, squared, np.inf), axis=None, kind="stable")[:count]
        if score.max() <= 0 or count > free.sum():
            return None
        taken.flat[order] = True
        used_mm3 += count * voxel_mm3
    if not pair.volume_mm3[0] <= used_mm3 <= pair.volume_mm3[1]:
        return None
    logits = torch.full(pair.region.shape, -LOGIT)
    logits[box][torch.from_numpy(taken)] = LOGIT
    return logits


def fitting_count(lesion: LesionTarget, voxel_mm3: float, room_mm3: float) -> int:
    """How many voxels a lesion of the middle of the interval has."""
    low, high = lesion.volume_mm3
    wanted = min((low * high) ** 0.5 if np.isfinite(high) else 1.3 * low, room_mm3)
    return max(1, int(np.ceil(low / voxel_mm3 - 1e-9)), round(wanted / voxel_mm3))


def check_pair(pair: PairTarget, batch: SupervisionBatch, logits: torch.Tensor) -> list[str]:
    """What is wrong with the gradients and the pseudo-mask of one pair on the whole volume."""
    found = []
    spacing_mm = [float(mm) for mm in batch.spacing_mm[0]]
    alone = SupervisionBatch(
        labels=batch.labels, known=batch.known, spacing_mm=batch.spacing_mm, pairs=(pair,)
    )
    pull = gradient(logits, alone, REPORTS_ONLY)[0, pair.channel]
    size = float(pull.abs().sum())
    if not torch.isfinite(pull).all():
        found.append("gradient not finite")
    if not size > 0:
        found.append("gradient zero")
    if (pull[~pair.region] != 0).any():
        found.append("gradient outside the region")
    known = batch.known[0, pair.channel]
    if (known & pair.region).any():
        found.append("region and known negative")
    marked = ball_targets(
        torch.sigmoid(logits[0, pair.channel]),
        pair.region,
        pair.lesions,
        spacing_mm=spacing_mm,
        logits=logits[0, pair.channel],
    )
    if (marked.foreground & (known | marked.ignore | ~pair.region)).any():
        found.append("foreground and something else")
    searched = [i for i, lesion in enumerate(pair.lesions) if not lesion.remainder]
    if not marked.located[searched[:1]].all():
        found.append("first lesion not located")
    agreeing = agreeing_logits(pair, spacing_mm)
    if agreeing is None:
        found.append("no agreeing prediction")
        return found
    fitting = torch.full_like(logits, -LOGIT)
    fitting[0, pair.channel] = agreeing
    rest = float(gradient(fitting, alone, FULL).abs().sum())
    if not rest <= AGREES * size:
        found.append("gradient where the prediction agrees")
    return found


def check_partial(
    targets: CaseTargets, classes: Sequence[str], logits: torch.Tensor, rng: np.random.Generator
) -> list[str]:
    """What is wrong with a random crop of half the size."""
    start = [int(rng.integers(0, n - n // 2 + 1)) for n in targets.shape]
    stop = [first + n // 2 for first, n in zip(start, targets.shape, strict=True)]
    batch = full_batch(targets, classes, start, stop)
    pull = gradient(cut(logits, start, stop), batch, FULL)
    found = [] if torch.isfinite(pull).all() else ["crop: gradient not finite"]
    for pair in batch.pairs:
        if not pair.complete and pair.volume_mm3[0] > 0:
            found.append("crop: a cut region forces a volume")
        if (batch.known[0, pair.channel] & pair.region).any():
            found.append("crop: region and known negative")
    return found


def untrained_outputs(shape: Sequence[int], channels: int, count: int = 2) -> torch.Tensor:
    """Outputs [count,C,D,H,W] of an untrained network on noise."""
    torch.manual_seed(0)
    network = build_network(NetworkConfig(width=4, levels=3), channels)
    whole = [4 * math.ceil(size / 4) for size in shape]
    with torch.no_grad():
        outputs = torch.cat([network(torch.randn(1, 1, *whole))[0] for _ in range(count)])
    return outputs[(slice(None), slice(None), *(slice(0, size) for size in shape))]


def run(first: int, last: int, *, seed: int = 0) -> tuple[Tally, Counter[str]]:
    """Check the cases ``first`` to ``last`` - 1."""
    sys.path.insert(0, str(HERE))
    from report_mix import SPACINGS, ReportMix, make_body

    torch.set_num_threads(1)
    anatomy = load_anatomy()
    bodies = [make_body(anatomy, spacing) for spacing in SPACINGS]
    outputs = [untrained_outputs(next(iter(body.masks.values())).shape, 6) for body in bodies]
    mix, tally = ReportMix(anatomy, seed), Tally()
    for number in range(first, last):
        record, organs = mix.record(number)
        body, output = bodies[number % len(bodies)], outputs[number % len(bodies)]
        free = [name for name, said in record.organs.items() if said.status == "explicitly_lesion_free"]
        classes = [anatomy.organs[name].lesion_class for name in (*organs, *free[:2])]
        targets = build_case_targets(
            [record],
            body.masks,
            case_id=f"C{number}",
            spacing_mm=body.spacing_mm,
            lesion_classes=classes,
            voxel_labelled=frozenset(),
        )
        logits = output[number % len(output)][None, : len(classes)]
        check_case(tally, number, targets, classes[: len(organs)], classes, logits)
    return tally, Counter(mix.seen)


def check_case(
    tally: Tally,
    number: int,
    targets: CaseTargets,
    reported: Sequence[str],
    classes: Sequence[str],
    logits: torch.Tensor,
) -> None:
    """Check one case, on the crop that holds all of its regions, and add what was found to the tally."""
    start, stop = holding_crop(targets, reported)
    batch = full_batch(targets, classes, start, stop)
    seen = cut(logits, start, stop)
    pairs = {classes[pair.channel]: pair for pair in batch.pairs}
    found: Mapping[str, list[str]] = {name: check_target(targets, name) for name in reported}
    for name in reported:
        tally.codes.update(targets.classes[name].codes)
        found[name].extend(["no pair"] if name not in pairs else check_pair(pairs[name], batch, seen))
    shared = check_partial(targets, classes, logits, np.random.default_rng(number))
    tally.cases += 1
    tally.pairs += len(reported)
    tally.usable_pairs += sum(not items for items in found.values())
    tally.usable_cases += not shared and not any(found.values())
    tally.problems.update(item for items in (*found.values(), shared) for item in set(items))
    tally.failed += [(number, name, tuple(items)) for name, items in found.items() if items]
    if shared:
        tally.failed.append((number, "crop", tuple(shared)))


def main() -> None:
    """Check, write, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--json", type=Path, default=RESULTS)
    args = parser.parse_args()
    began = time.monotonic()
    tally, mix = Tally(), Counter[str]()
    with ProcessPoolExecutor(args.workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        edges = [*range(0, args.cases, CHUNK), args.cases]
        jobs = [pool.submit(run, a, b, seed=args.seed) for a, b in pairwise(edges)]
        for job in as_completed(jobs):
            part, seen = job.result()
            tally, mix = tally.plus(part), mix + seen
            text = json.dumps(document(tally, mix, seed=args.seed), indent=1)
            args.json.parent.mkdir(parents=True, exist_ok=True)
            args.json.write_text(text + "\n", encoding="utf-8")
            seconds = time.monotonic() - began
            sys.stderr.write(f"{tally.cases}/{args.cases} usable {tally.usable_cases}, {seconds:.0f} s\n")
    print(text)


def document(tally: Tally, mix: Mapping[str, int], *, seed: int) -> dict[str, object]:
    """What results/usable_share.json holds."""
    entries = sum(mix.values())
    unsized = sum(count for name, count in mix.items() if name.endswith("no size"))
    return {
        "cases": tally.cases,
        "organ_ct_pairs": tally.pairs,
        "usable_cases": tally.usable_cases,
        "usable_pairs": tally.usable_pairs,
        "share_of_pairs_without_size": round(unsized / max(entries, 1), 4),
        "problems": dict(tally.problems.most_common()),
        "codes": dict(tally.codes.most_common()),
        "mix": dict(sorted(mix.items())),
        "first_failures": tally.failed[:20],
        "command": f"python benchmarks/usable_share.py --cases {tally.cases} --seed {seed}",
    }


if __name__ == "__main__":
    main()
