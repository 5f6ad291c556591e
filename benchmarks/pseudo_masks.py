"""How much of a pseudo-mask is tumour, and how much of the tumour it finds: our ball targets beside the published rule.

    python benchmarks/pseudo_masks.py            # results/pseudo_masks.json and .png, and the table of README.md

Six analytic scenes at 1 mm: two elongated tumours, an exophytic one, two in one organ, one in each kidney, one larger
than the patch. Ours takes the real path (records that state 1, 2 or 3 diameters -> ``build_case_targets`` -> crop ->
``ball_targets``). The published rule (arXiv 2507.05582) knows the longest diameter alone, here from its formulas: D
rounded up to an odd number of voxels; N = voxels of the ball of that diameter; foreground = the 0.8·N most probable
voxels in a ball of 1.2·D, 1.2·N of them and 3.5 mm around are ignored, the rest of organ + 15 mm is background; at most
what the region holds. Logits: perfect (8 in the middle, 0 on the surface, −8 far outside), or those blurred (Gaussian
of 3 mm) with smooth noise of standard deviation 2 on top, three draws.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from llm_extract.anatomy import load_anatomy
from llm_extract.records import Evidence, Lesion, OrganStatement, Provenance, ReportRecord
from rsuper.losses import BallRules, LesionTarget, ball_targets
from rsuper.morphology import ball_mask, dilate_mm
from rsuper.supervision import build_case_targets, crop_pairs

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "pseudo_masks.json"
ONE = (1.0, 1.0, 1.0)
HEIGHT, BLUR_MM, NOISE_MM, NOISE, DRAWS = 8.0, 3.0, 1.5, 2.0, 3
QUOTE = Evidence(field="lesion", start=0, end=4, text="mass", section="findings")
ARMS = ("1 diameter", "2 diameters", "3 diameters", "published rule")
KINDS = ("perfect", "blurred and noisy")


@dataclass(frozen=True, kw_only=True)
class Tumour:
    """An ellipsoid: centre and diameters in mm along the axes of the array, and where the report puts it."""

    center_mm: tuple[float, float, float]
    diameters_mm: tuple[float, float, float]
    side: str = "n/a"
    relation: str = "within"


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Organs (label file -> centre and diameters), the tumours of one class, and the crop that the network sees."""

    name: str
    organ: str
    organs: Mapping[str, tuple[tuple[float, float, float], tuple[float, float, float]]]
    tumours: tuple[Tumour, ...]
    shape: tuple[int, int, int] = (96, 92, 100)
    crop: tuple[tuple[int, int, int], tuple[int, int, int]] | None = None


LIVER = {"liver": ((48.0, 46.0, 50.0), (60.0, 56.0, 64.0))}
KIDNEYS = {
    "kidney_left": ((36.0, 36.0, 36.0), (48.0, 40.0, 44.0)),
    "kidney_right": ((36.0, 36.0, 100.0), (48.0, 40.0, 44.0)),
}
SCENES = (
    Scene(
        name="12 × 12 × 30 mm",
        organ="liver",
        organs=LIVER,
        tumours=(Tumour(center_mm=(46, 48, 52), diameters_mm=(12, 12, 30)),),
    ),
    Scene(
        name="30 × 10 × 10 mm",
        organ="liver",
        organs=LIVER,
        tumours=(Tumour(center_mm=(50, 44, 46), diameters_mm=(30, 10, 10)),),
    ),
    Scene(
        name="exophytic, 20 × 18 × 16 mm, its centre 4 mm outside the organ mask",
        organ="liver",
        organs=LIVER,
        tumours=(Tumour(center_mm=(82, 46, 50), diameters_mm=(18, 20, 16), relation="adjacent"),),
    ),
    Scene(
        name="two in one organ, 24 × 16 × 14 and 12 × 10 × 8 mm",
        organ="liver",
        organs=LIVER,
        tumours=(
            Tumour(center_mm=(38, 46, 52), diameters_mm=(16, 24, 14)),
            Tumour(center_mm=(62, 50, 44), diameters_mm=(12, 8, 10)),
        ),
    ),
    Scene(
        name="one in each kidney, 22 × 18 × 16 and 14 × 12 × 12 mm",
        organ="kidney",
        organs=KIDNEYS,
        shape=(72, 72, 136),
        tumours=(
            Tumour(center_mm=(40, 34, 38), diameters_mm=(22, 18, 16), side="left"),
            Tumour(center_mm=(30, 38, 98), diameters_mm=(12, 14, 12), side="right"),
        ),
    ),
    Scene(
        name="80 × 70 × 75 mm, patch of 64 mm",
        organ="liver",
        organs={"liver": ((56.0, 56.0, 56.0), (100.0, 96.0, 104.0))},
        shape=(112, 112, 112),
        tumours=(Tumour(center_mm=(52, 56, 58), diameters_mm=(75, 80, 70)),),
        crop=((36, 24, 44), (100, 88, 108)),
    ),
)


def radius(shape: Sequence[int], center_mm: Sequence[float], diameters_mm: Sequence[float]) -> np.ndarray:
    """1 on the surface of the ellipsoid, below inside."""
    squares = [
        ((np.arange(size) - center) / (diameter / 2)) ** 2
        for size, center, diameter in zip(shape, center_mm, diameters_mm, strict=True)
    ]
    return np.sqrt(squares[0][:, None, None] + squares[1][None, :, None] + squares[2][None, None, :])


def record_of(scene: Scene, count: int) -> ReportRecord:
    """A report that states ``count`` diameters of every tumour, in whole mm, the longest first."""
    lesions = tuple(
        Lesion(
            lesion_id=f"L{number}",
            organ=scene.organ,
            laterality=tumour.side,
            part_relation=tumour.relation,
            kind="mass",
            diameters_mm=tuple(sorted(tumour.diameters_mm, reverse=True)[:count]),
            size_kind="exact",
            size_precision_mm=0.5,
            evidence=(QUOTE,),
        )
        for number, tumour in enumerate(scene.tumours, 1)
    )
    return ReportRecord(
        report_id="R1",
        source="radiology",
        text_sha256="0" * 64,
        text_chars=100,
        status="ok",
        lesions=lesions,
        organs={scene.organ: OrganStatement(status="lesion_present")},
        provenance=Provenance(backend="rules", version="0"),
    )


def crop_box(scene: Scene) -> tuple[slice, slice, slice]:
    """The part that the network sees."""
    start, stop = scene.crop or ((0, 0, 0), scene.shape)
    first, second, third = (slice(a, b) for a, b in zip(start, stop, strict=True))
    return first, second, third


def ours(scene: Scene, masks: Mapping[str, np.ndarray], count: int):
    """Region and lesions of the crop, from a record with ``count`` diameters."""
    name = load_anatomy().organs[scene.organ].lesion_class
    targets = build_case_targets(
        [record_of(scene, count)],
        dict(masks),
        case_id="C1",
        spacing_mm=ONE,
        lesion_classes=[name],
        voxel_labelled=frozenset(),
    )
    start, stop = scene.crop or ((0, 0, 0), scene.shape)
    [pair] = crop_pairs(targets, start, stop, sample=0, channels={name: 0})
    return pair


def published(
    scene: Scene, masks: Mapping[str, np.ndarray]
) -> tuple[Tensor, tuple[LesionTarget, ...], BallRules]:
    """Region, lesions and rules that make :func:`rsuper.losses.ball_targets` the published rule.

    ``tests/rsuper/losses/test_golden.py`` compares it, so set up, with vectors of the published implementation.
    """
    box, lesions = crop_box(scene), []
    for tumour in scene.tumours:
        stems = [stem for stem in masks if tumour.side == "n/a" or stem.endswith(tumour.side)]
        host = np.logical_or.reduce([masks[stem] for stem in stems])
        near = torch.from_numpy(dilate_mm(host, 15.0, spacing_mm=ONE)[box].copy())
        diameter = odd(max(tumour.diameters_mm))
        voxels = float(ball_mask(diameter, ONE).sum())
        lesions.append(LesionTarget(diameters_mm=(diameter,), volume_mm3=(voxels, voxels), region=near))
    scale = min(odd(1.2 * max(item.diameters_mm)) / max(item.diameters_mm) for item in lesions)
    rules = BallRules(
        foreground_fraction=0.8, ignore_fraction=1.2, core_mm3=0.0, ball_scale=scale, ignore_cap=1.0
    )
    region = torch.stack([item.region for item in lesions if item.region is not None]).any(dim=0)
    return region, tuple(lesions), rules


def odd(voxels: float) -> float:
    """The next odd number."""
    return 2.0 * (math.ceil(voxels) // 2) + 1


def logits_of(scene: Scene) -> tuple[np.ndarray, list[np.ndarray]]:
    """Perfect logits, and draws of blurred and noisy ones, on the whole volume."""
    near = np.minimum.reduce([radius(scene.shape, t.center_mm, t.diameters_mm) for t in scene.tumours])
    perfect = np.clip(HEIGHT * (1 - near), -HEIGHT, HEIGHT)
    blurred = ndimage.gaussian_filter(perfect, BLUR_MM)
    draws = []
    for seed in range(DRAWS):
        noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=scene.shape), NOISE_MM)
        draws.append(blurred + NOISE * noise / noise.std())
    return perfect, draws


@dataclass(frozen=True, kw_only=True)
class Marked:
    """What one prediction makes of a crop: the voxels to light, to push down, and where the lesions may lie."""

    lit: Tensor
    down: Tensor
    region: Tensor


def shares(found: Sequence[Marked], tumour: Tensor) -> dict[str, float | None]:
    """Precision and recall of the lit voxels, and the share of the tumour that is pushed down, over all draws."""
    lit = sum(int(marked.lit.sum()) for marked in found)
    hits = sum(int((marked.lit & tumour).sum()) for marked in found)
    down = sum(int((marked.down & tumour).sum()) for marked in found)
    total = len(found) * int(tumour.sum())
    return {
        "precision": round(hits / lit, 3) if lit else None,
        "recall": round(hits / total, 3),
        "pushed_down": round(down / total, 3),
    }


def settings_of(scene: Scene) -> dict[str, tuple[Tensor, tuple[LesionTarget, ...], BallRules, bool]]:
    """Of each arm: region, lesions, rules, and whether the crop takes part in the ball loss."""
    masks = {stem: radius(scene.shape, *ellipsoid) <= 1 for stem, ellipsoid in scene.organs.items()}
    settings = {}
    for count in (1, 2, 3):
        pair = ours(scene, masks, count)
        # The loss skips a crop that holds only part of the region: nothing is lit there and nothing pushed down.
        lesions = pair.lesions if pair.complete else ()
        settings[ARMS[count - 1]] = (pair.region, lesions, BallRules(), pair.complete)
    settings[ARMS[3]] = (*published(scene, masks), True)
    return settings


def evaluate(scene: Scene) -> tuple[dict[str, object], dict[tuple[str, str], Marked], Tensor]:
    """All figures of a scene; and for the picture what the first draws mark, and the tumour."""
    box = crop_box(scene)
    near = [radius(scene.shape, t.center_mm, t.diameters_mm) for t in scene.tumours]
    tumour = torch.from_numpy((np.minimum.reduce(near) <= 1)[box].copy())
    perfect, noisy = logits_of(scene)
    settings = settings_of(scene)
    row: dict[str, object] = {"tumour_voxels": int(tumour.sum())}
    pictures = {}
    for kind, draws in zip(KINDS, ([perfect], noisy), strict=True):
        figures = {}
        for arm, (region, lesions, rules, active) in settings.items():
            found = []
            for draw in draws:
                logits = torch.from_numpy(draw[box].astype(np.float32))
                marked = ball_targets(
                    torch.sigmoid(logits), region, lesions, spacing_mm=ONE, rules=rules, logits=logits
                )
                down = region & ~marked.foreground & ~marked.ignore & active
                found.append(Marked(lit=marked.foreground, down=down, region=region))
            figures[arm] = shares(found, tumour)
            pictures[arm, kind] = found[0]
        row[kind] = figures
    return row, pictures, tumour


def table(document: Mapping[str, Mapping[str, Mapping[str, Mapping[str, float | None]]]]) -> list[str]:
    """The lines of README.md: precision / recall in per cent."""
    lines = [f"| tumour | logits | {' | '.join(ARMS)} |", f"|---|---|{'---|' * len(ARMS)}"]
    for name, row in document.items():
        for kind in KINDS:
            pairs = [(row[kind][arm]["precision"], row[kind][arm]["recall"]) for arm in ARMS]
            cells = (" / ".join("–" if x is None else f"{100 * x:.0f}" for x in pair) for pair in pairs)
            lines.append(f"| {name} | {kind} | {' | '.join(cells)} |")
    return lines


def picture(scenes: Sequence[tuple[Scene, Mapping[tuple[str, str], Marked], Tensor]], path: Path) -> None:
    """One row a scene: a slice through the tumour with what is lit, left alone and pushed down."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.colors import ListedColormap
    from matplotlib.figure import Figure

    columns = [(arm, kind) for kind in KINDS for arm in (ARMS[0], ARMS[2], ARMS[3])]
    figure = Figure(figsize=(2.05 * len(columns), 2.2 * len(scenes)), layout="constrained")
    FigureCanvasAgg(figure)
    colours = ListedColormap(["white", "#d5d9de", "#f6c9b8", "#3f9c5a"])
    for number, (scene, pictures, tumour) in enumerate(scenes):
        cut = int(tumour.sum(dim=(0, 2)).argmax())
        organ = np.logical_or.reduce([radius(scene.shape, *where) <= 1 for where in scene.organs.values()])
        organ = organ[crop_box(scene)][:, cut]
        for place, column in enumerate(columns):
            axis = figure.add_subplot(len(scenes), len(columns), number * len(columns) + place + 1)
            marked = pictures[column]
            codes = (marked.region.int() + marked.down.int()).masked_fill(marked.lit, 3)
            axis.imshow(codes[:, cut].numpy(), cmap=colours, vmin=0, vmax=3, interpolation="nearest")
            axis.contour(tumour[:, cut].numpy().astype(float), [0.5], colors="black", linewidths=1.0)
            axis.contour(organ.astype(float), [0.5], colors="#55606b", linewidths=0.6, linestyles="dotted")
            axis.set_xticks([])
            axis.set_yticks([])
            if number == 0:
                axis.set_title("\n".join(column), fontsize=8)
            if place == 0:
                axis.set_ylabel("\n".join(scene.name.split(", ")), fontsize=7)
    figure.suptitle(
        "green: lit · red: pushed down · grey: left alone · white: outside the region · line: tumour · dots: organ",
        fontsize=9,
    )
    figure.savefig(path, dpi=80, metadata={"Software": None})


def main() -> None:
    """Evaluate, write, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, default=RESULTS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    document, drawn = {}, []
    for scene in SCENES:
        row, pictures, tumour = evaluate(scene)
        document[scene.name] = row
        drawn.append((scene, pictures, tumour))
    args.json.parent.mkdir(parents=True, exist_ok=True)
    args.json.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    picture(drawn, args.json.with_suffix(".png"))
    print("\n".join(table(document)))


if __name__ == "__main__":
    main()
