"""How large the core of a ball should be: precision and recall of what is lit up, on real tumour masks.

    python benchmarks/core_fraction.py --masks MASKS          # results/core_fraction.json and the tables

Of every ball the highest f·lo mm³ are lit up (lo the lower end of the calibrated interval, ``foreground_fraction`` f;
what exceeds lo is held to the median, see ``BallRules``).
Each real tumour (kits19, kits23, panorama; its largest component) in its organ + margin is stated with 1, 2 or 3
diameters, as ``calibrate_size.py`` states them, and searched under two predictions: ``sure`` (8 in the middle, 0 on
the surface, −8 one radius outside, blurred by 3 mm, smooth noise of standard deviation 2) and ``vague`` (the same at
half the height and twice the noise). A voxel of the core that is no tumour teaches a wrong outline, one that is
missing is only left alone, so fractions are compared by F½ (precision counts twice recall). Cross-validation: the best
fraction of one random half of the tumours, its F½ on the other half, 200 times.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from calibrate_size import SOURCES, axial_axis, axial_diameters, stated_sizes
from scipy import ndimage

from llm_extract.anatomy import load_anatomy
from rsuper.losses import BallRules, LesionTarget, ball_targets
from rsuper.losses.ball_rules import filled_ball_mm, voxel_counts
from rsuper.morphology import ball_mask, dilate_mm
from rsuper.supervision import volume_interval_mm3, volume_prior

RESULTS = Path(__file__).resolve().parent / "results" / "core_fraction.json"
GRID_MM = 3.0
HOSTS = {"kits19": ("kidney", (1, 2)), "kits23": ("kidney", (1, 2)), "panorama": ("pancreas", (1, 4))}
FRACTIONS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2, 1.4, 1.7, 2.0)
PREDICTIONS = {"sure": (8.0, 2.0), "vague": (4.0, 4.0)}
BLUR_MM, NOISE_MM, REPEATS, BETA = 3.0, 1.5, 200, 0.5
DEFAULT = BallRules().foreground_fraction
SPACING = (GRID_MM, GRID_MM, GRID_MM)


@dataclass(frozen=True)
class Scene:
    """One tumour on an even grid: its mask, its region, and what a report states with 1 to 3 diameters."""

    source: str
    organ: str
    tumour: np.ndarray
    region: np.ndarray
    diameters_mm: Mapping[int, tuple[float, ...]]


def read_scene(path: Path, source: str, stated_mm: float | None) -> Scene:
    """The largest tumour of a mask file and 30 mm around it, with its organ."""
    image = nib.load(path)
    axis = axial_axis(image.affine)
    spacing = np.asarray(image.header.get_zooms()[:3], dtype=float)
    labels = np.asanyarray(image.dataobj)
    box = ndimage.find_objects((labels == SOURCES[source]).view(np.uint8))[0]
    reach = np.ceil(30.0 / spacing).astype(int)
    wide = tuple(
        slice(max(0, part.start - step), part.stop + step) for part, step in zip(box, reach, strict=True)
    )
    labels = np.moveaxis(labels[wide], axis, 0)
    spacing = np.concatenate(([spacing[axis]], np.delete(spacing, axis)))
    pieces, _ = ndimage.label(labels == SOURCES[source], structure=np.ones((3, 3, 3), dtype=bool))
    largest = pieces == int(np.argmax(np.bincount(pieces.ravel())[1:])) + 1
    component = largest[ndimage.find_objects(largest.view(np.uint8))[0]]
    three = (*axial_diameters(component, spacing[1:]), float(component.shape[0] * spacing[0]))
    stated: dict[int, tuple[float, ...]] = {2: three[:2], 3: three}
    if source == "kits19" and stated_mm is not None:
        stated[1] = (stated_mm,)
    elif source == "panorama":
        stated[1] = three[:1]

    def even(mask: np.ndarray) -> np.ndarray:
        moved = mask.astype(np.float32)
        return ndimage.zoom(moved, spacing / GRID_MM, order=1, grid_mode=True, mode="nearest") > 0.5

    organ, host_labels = HOSTS[source]
    margin_mm = load_anatomy().organs[organ].margin_mm
    host = even(np.isin(labels, host_labels))
    return Scene(source, organ, even(largest), dilate_mm(host, margin_mm, spacing_mm=SPACING), stated)


def logits_of(tumour: np.ndarray, kind: str, seed: int) -> torch.Tensor:
    """A blurred and noisy prediction of the tumour."""
    height, noise = PREDICTIONS[kind]
    inside = ndimage.distance_transform_edt(tumour, sampling=SPACING)
    outside = ndimage.distance_transform_edt(~tumour, sampling=SPACING)
    radius_mm = inside.max()
    perfect = height * np.clip(np.where(tumour, inside, -outside) / radius_mm, -1, 1)
    blurred = ndimage.gaussian_filter(perfect, BLUR_MM / GRID_MM)
    texture = ndimage.gaussian_filter(
        np.random.default_rng(seed).normal(size=tumour.shape), NOISE_MM / GRID_MM
    )
    return torch.from_numpy((blurred + noise * texture / texture.std()).astype(np.float32))


def shares(scene: Scene, number: int, logits: torch.Tensor) -> list[tuple[float, float]]:
    """Precision and recall of the core at every fraction."""
    stated = scene.diameters_mm[number]
    interval = volume_interval_mm3(stated, organ=scene.organ)
    median, _ = volume_prior(stated, organ=scene.organ)
    lesion = LesionTarget(diameters_mm=stated, volume_mm3=interval, median_mm3=median)
    region = torch.from_numpy(scene.region)
    rules = BallRules()
    found = ball_targets(
        torch.sigmoid(logits), region, [lesion], spacing_mm=SPACING, rules=rules, logits=logits
    )
    if not bool(found.located[0]):
        return [(0.0, 0.0)] * len(FRACTIONS)
    ball_mm = filled_ball_mm(lesion, rules)
    ball = np.asarray(ball_mask(ball_mm, SPACING))
    corner = np.asarray(found.centers[0]) - np.asarray(ball.shape) // 2
    cells = np.argwhere(ball) + corner
    cells = cells[((cells >= 0) & (cells < scene.region.shape)).all(axis=1)]
    held = np.zeros(scene.region.shape, dtype=bool)
    held[tuple(cells.T)] = True
    held &= scene.region
    order = np.argsort(-logits.numpy()[held], kind="stable")
    hits = np.cumsum(scene.tumour[held][order])
    whole = int(scene.tumour.sum())
    voxel_mm3 = GRID_MM**3
    rows = []
    for fraction in FRACTIONS:
        core, _, _ = voxel_counts(lesion, ball_mm, voxel_mm3, BallRules(foreground_fraction=fraction))
        count = min(len(hits), core)
        rows.append((hits[count - 1] / count, hits[count - 1] / whole))
    return rows


def f_score(pairs: np.ndarray) -> np.ndarray:
    """F½ of [..., (precision, recall)]."""
    precision, recall = pairs[..., 0], pairs[..., 1]
    return (1 + BETA**2) * precision * recall / np.maximum(BETA**2 * precision + recall, 1e-9)


def cross_validated(scores: np.ndarray) -> dict[str, float]:
    """Gain of the best fraction of one half over the default on the other half, and which fractions those were."""
    rng = np.random.default_rng(0)
    default = FRACTIONS.index(DEFAULT)
    gains, chosen = [], []
    for _ in range(REPEATS):
        order = rng.permutation(len(scores))
        first, second = order[: len(order) // 2], order[len(order) // 2 :]
        best = int(scores[first].mean(axis=0).argmax())
        gains.append(scores[second, best].mean() - scores[second, default].mean())
        chosen.append(FRACTIONS[best])
    low, high = np.percentile(gains, [5, 95])
    return {
        "gain": float(np.mean(gains)),
        "low": float(low),
        "high": float(high),
        "fraction": float(np.median(chosen)),
    }


def evaluate(scenes: Sequence[Scene]) -> dict[str, dict[str, object]]:
    """The figures of every number of diameters and prediction."""
    document: dict[str, dict[str, object]] = {}
    pairs: dict[tuple[int, str], list[list[tuple[float, float]]]] = {}
    sources: dict[tuple[int, str], list[str]] = {}
    for place, scene in enumerate(scenes):
        for kind in PREDICTIONS:
            logits = logits_of(scene.tumour, kind, place)
            for number in sorted(scene.diameters_mm):
                pairs.setdefault((number, kind), []).append(shares(scene, number, logits))
                sources.setdefault((number, kind), []).append(scene.source)
    for (number, kind), rows in sorted(pairs.items()):
        found, names = np.array(rows), np.array(sources[number, kind])
        groups = {"all": np.ones(len(names), dtype=bool)}
        groups |= {source: names == source for source in SOURCES if (names == source).any()}
        document[f"{number}, {kind}"] = {
            "n": {name: int(chosen.sum()) for name, chosen in groups.items()},
            "precision": {
                name: found[own, :, 0].mean(axis=0).round(3).tolist() for name, own in groups.items()
            },
            "recall": {name: found[own, :, 1].mean(axis=0).round(3).tolist() for name, own in groups.items()},
            "cross_validated": {
                name: cross_validated(f_score(found[own])) for name, own in groups.items() if own.sum() >= 10
            },
        }
    return document


def table(document: Mapping[str, Mapping[str, object]]) -> list[str]:
    """Precision / recall in per cent by fraction, and what cross-validation chooses."""
    shown = [(f, FRACTIONS.index(f)) for f in (0.2, 0.4, 0.6, 0.8, 1.0, 1.4, 2.0)]
    head = " | ".join(f"{fraction:g}·lo" for fraction, _ in shown)
    lines = [
        f"| diameters, prediction | tumours | {head} | best f: gain in F½ over {DEFAULT:g} |",
        f"|---|---|{'---|' * len(shown)}---|",
    ]
    for name, row in document.items():
        for group, count in row["n"].items():
            pairs = [(row["precision"][group][place], row["recall"][group][place]) for _, place in shown]
            cells = " | ".join(f"{100 * precision:.0f} / {100 * recall:.0f}" for precision, recall in pairs)
            best = row["cross_validated"].get(group)
            said = (
                "" if best is None else "{fraction:g}: {gain:+.3f} [{low:+.3f}, {high:+.3f}]".format(**best)
            )
            lines.append(f"| {name} | {group}, {count} | {cells} | {said} |")
    return lines


def main() -> None:
    """Read, evaluate, write, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--masks", type=Path, required=True, help="folder with kits19, kits23 and panorama")
    parser.add_argument("--every", type=int, default=1, help="of kits19 only every n-th tumour")
    parser.add_argument("--json", type=Path, default=RESULTS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    stated = stated_sizes(args.masks / "kits19" / "sizes.csv")
    scenes = []
    for source in SOURCES:
        paths = sorted((args.masks / source).glob("*.nii.gz"))
        for path in paths[:: args.every if source == "kits19" else 1]:
            scenes.append(
                read_scene(path, source, stated.get(path.name.removesuffix("_segmentation.nii.gz")))
            )
            print(f"{len(scenes):4d} {source}", flush=True)
    document = evaluate(scenes)
    document["fractions"] = {"all": list(FRACTIONS)}
    args.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    document.pop("fractions")
    print("\n".join(table(document)))


if __name__ == "__main__":
    main()
