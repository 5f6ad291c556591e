"""Fit how the volume of a real tumour spreads around the ellipsoid of its stated diameters.

One diameter is fitted on the size that a clinic recorded, because that is what a report states; two and three
are measured on the largest component of each mask: the longest in-plane Feret diameter over all axial slices,
the Feret width perpendicular to it in that slice (each plus one mean pixel), and the number of slices times
their distance.

The model is in ``size_model.py``. Its coverage on tumours that were not used for the fit comes from repeated
two-fold and five-fold cross-validation and from leaving out one data set at a time, beside two simpler forms.

A tumour that grows along a duct or a wall fills less of the sphere of its one diameter. No clinically recorded size
of such tumours is at hand, so their interval takes the pancreas masks and measures them as the kidney tumours were
measured: every ratio of recorded size to longest axial diameter, nearer sizes weighing more.

    python benchmarks/calibrate_size.py --masks MASKS --json benchmarks/results/calibrate_size.json

``--write`` replaces the factors that the package ships.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage
from scipy.spatial import ConvexHull, QhullError
from size_model import (
    CONSTANT,
    COVERAGE,
    FORMS,
    SIZE_ONLY,
    Sample,
    cross_validate,
    fit,
    inside,
    leave_one_source_out,
    make_sample,
)

from rsuper.supervision.sizes import ellipsoid_volume_mm3

SOURCES = {"kits19": 2, "kits23": 2, "panorama": 1}
DUCT_OR_WALL = (
    "bile_duct",
    "bladder",
    "colon",
    "duodenum",
    "esophagus",
    "gallbladder",
    "pancreas",
    "peritoneum",
    "pleura",
    "small_bowel",
    "stomach",
)
"""Organs whose tumours grow along a duct or a wall: the pancreas is measured, the others follow by analogy."""
HABIT_WIDTH = 0.3
"""Kidney tumours within this log size lend their ratio of recorded to measured size."""
WANTED = 0.90
FACTORS = Path(__file__).resolve().parents[1] / "rsuper" / "supervision" / "size_factors.json"


@dataclass(frozen=True)
class Tumour:
    """One tumour: the size a clinic recorded (if any), its measured diameters and its mask volume."""

    source: str
    case: str
    stated_mm: float | None
    long_mm: float
    perpendicular_mm: float
    height_mm: float
    volume_mm3: float
    spacing_mm: tuple[float, float, float]


def axial_axis(affine: np.ndarray) -> int:
    """The array axis along the patient's long axis."""
    return int(np.argmax(np.abs(affine[2, :3])))


def largest_component(mask: np.ndarray) -> np.ndarray:
    """The largest 26-connected component of a mask, on its own box."""
    labels, count = ndimage.label(mask, structure=np.ones((3, 3, 3), dtype=bool))
    if count == 0:
        raise ValueError("empty mask")
    sizes = np.bincount(labels.ravel())[1:]
    best = int(np.argmax(sizes)) + 1
    return labels[ndimage.find_objects(labels)[best - 1]] == best


def hull_points(points: np.ndarray) -> np.ndarray:
    """Corners of the convex hull of 2D points; the points themselves where they lie on a line."""
    try:
        return points[ConvexHull(points).vertices]
    except (QhullError, ValueError):
        return points


def axial_diameters(component: np.ndarray, pixel_mm: np.ndarray) -> tuple[float, float]:
    """Longest Feret diameter over the slices of axis 0, and the Feret width perpendicular to it there."""
    pixel = float(np.mean(pixel_mm))
    best = (-1.0, 0.0)
    for plane in component:
        points = np.argwhere(plane) * pixel_mm
        if len(points) == 0:
            continue
        corners = hull_points(points)
        gaps = corners[:, None] - corners[None]
        lengths = np.linalg.norm(gaps, axis=-1)
        i, j = np.unravel_index(int(np.argmax(lengths)), lengths.shape)
        longest = float(lengths[i, j])
        if longest > best[0]:
            width = 0.0
            if longest > 0:
                normal = np.array([-gaps[i, j][1], gaps[i, j][0]]) / longest
                width = float(np.ptp(corners @ normal))
            best = (longest, width)
    return best[0] + pixel, best[1] + pixel


def measure(path: Path, source: str, stated_mm: float | None) -> Tumour:
    """Measure the largest tumour component of one mask file."""
    image = nib.load(path)
    axis = axial_axis(image.affine)
    spacing = np.asarray(image.header.get_zooms()[:3], dtype=float)
    mask = np.asanyarray(image.dataobj) == SOURCES[source]
    component = np.moveaxis(largest_component(mask), axis, 0)
    pixel_mm = np.delete(spacing, axis)
    long_mm, perpendicular_mm = axial_diameters(component, pixel_mm)
    return Tumour(
        source=source,
        case=path.name.removesuffix(".nii.gz"),
        stated_mm=stated_mm,
        long_mm=long_mm,
        perpendicular_mm=perpendicular_mm,
        height_mm=float(component.shape[0] * spacing[axis]),
        volume_mm3=float(component.sum() * spacing.prod()),
        spacing_mm=tuple(float(s) for s in spacing),
    )


def stated_sizes(path: Path) -> dict[str, float]:
    """Clinically recorded radiographic size in mm by case, where there is one."""
    with path.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    return {
        row["case"]: 10 * float(row["radiographic_size_cm"]) for row in rows if row["radiographic_size_cm"]
    }


def measure_all(masks: Path) -> list[Tumour]:
    """Measure every tumour below ``masks``."""
    stated = stated_sizes(masks / "kits19" / "sizes.csv")
    tumours = []
    for source in SOURCES:
        for path in sorted((masks / source).glob("*.nii.gz")):
            case = path.name.removesuffix("_segmentation.nii.gz")
            tumours.append(measure(path, source, stated.get(case) if source == "kits19" else None))
            print(f"{len(tumours):4d} {source} {case}", flush=True)
    return tumours


def diameters(tumour: Tumour, number: int) -> tuple[float, ...]:
    """What a report with that many diameters would state about a tumour."""
    if number == 1:
        if tumour.stated_mm is None:
            raise ValueError("no stated size")
        return (tumour.stated_mm,)
    return (tumour.long_mm, tumour.perpendicular_mm, tumour.height_mm)[:number]


def sample_of(tumours: Sequence[Tumour], number: int) -> Sample:
    """The tumours that a fit with that many diameters uses."""
    used = [t for t in tumours if number > 1 or t.stated_mm is not None]
    return make_sample(
        [t.volume_mm3 for t in used], [diameters(t, number) for t in used], [t.source for t in used]
    )


@dataclass(frozen=True)
class Habit:
    """How the kidney tumours' recorded sizes compare with their longest axial diameters."""

    log_size: np.ndarray
    log_ratio: np.ndarray

    def stated(self, long_mm: float) -> tuple[np.ndarray, np.ndarray]:
        """Sizes that a clinic may record for a tumour of that length, and their weights."""
        weight = np.exp(-0.5 * ((self.log_size - np.log(long_mm)) / HABIT_WIDTH) ** 2)
        return long_mm * np.exp(self.log_ratio), weight / weight.sum()


def habit_of(tumours: Sequence[Tumour]) -> Habit:
    """The measuring habit of the tumours that have a recorded size."""
    pairs = [(t.long_mm, t.stated_mm) for t in tumours if t.stated_mm is not None]
    long_mm, stated_mm = np.array(pairs).T
    return Habit(np.log(long_mm), np.log(stated_mm / long_mm))


def weighted_quantile(values: np.ndarray, weights: np.ndarray, shares: Sequence[float]) -> np.ndarray:
    """Quantiles of a weighted sample, linear between the middles of its steps."""
    order = np.argsort(values)
    steps = np.cumsum(weights[order])
    return np.interp(shares, (steps - weights[order] / 2) / steps[-1], values[order])


def irregular_row(tumours: Sequence[Tumour]) -> dict[str, object]:
    """One-diameter factors of tumours along a duct or wall, their coverage when left out one by one, and before."""
    habit = habit_of(tumours)
    used = [t for t in tumours if t.source == "panorama"]
    ratios, weights = [], []
    for tumour in used:
        stated, weight = habit.stated(tumour.long_mm)
        ratios.append(np.log([tumour.volume_mm3 / ellipsoid_volume_mm3([s]) for s in stated]))
        weights.append(weight)
    ends = ((1 - COVERAGE) / 2, 0.5, (1 + COVERAGE) / 2)
    low, median, high = weighted_quantile(np.concatenate(ratios), np.concatenate(weights), ends)
    spread = np.sqrt(np.average((np.concatenate(ratios) - median) ** 2, weights=np.concatenate(weights)))
    held, usual = [], []
    kidney = fit(sample_of(tumours, 1), FORMS[1])
    for index, (ratio, weight, tumour) in enumerate(zip(ratios, weights, used, strict=True)):
        rest = [i for i in range(len(used)) if i != index]
        first, last = weighted_quantile(
            np.concatenate([ratios[i] for i in rest]), np.concatenate([weights[i] for i in rest]), ends[::2]
        )
        held.append(weight[(ratio >= first) & (ratio <= last)].sum())
        size = np.log(habit.stated(tumour.long_mm)[0])
        none, source = np.zeros(len(size)), np.full(len(size), tumour.source)
        usual.append(weight[inside(kidney, Sample(size, ratio, none, source))].sum())
    return {
        "factors": {
            "size_mm": [10.0, 100.0],
            "low": [round(float(np.exp(low)), 3)] * 2,
            "median": [round(float(np.exp(median)), 3)] * 2,
            "high": [round(float(np.exp(high)), 3)] * 2,
            "sigma_log": [round(float(spread), 3)] * 2,
            "n": len(used),
        },
        "coverage_left_out_one_by_one": round(float(np.mean(held)), 4),
        "coverage_of_the_usual_interval": round(float(np.mean(usual)), 4),
        "ratio_high_to_low": round(float(np.exp(high - low)), 3),
    }


def transfer(tumours: Sequence[Tumour]) -> dict[str, float]:
    """Why one diameter is fitted on recorded sizes: coverage of a fit on the masks' own longest axes."""
    with_stated = [t for t in tumours if t.stated_mm is not None]
    own_axis = make_sample(
        [t.volume_mm3 for t in with_stated],
        [(t.long_mm,) for t in with_stated],
        [t.source for t in with_stated],
    )
    covered = inside(fit(own_axis, FORMS[1]), sample_of(tumours, 1))
    return {"one_diameter_fitted_on_own_longest_axis": round(float(covered.mean()), 4)}


def factor_table(tumours: Sequence[Tumour]) -> dict[str, dict[str, object]]:
    """The factors as the package ships them."""
    table: dict[str, dict[str, object]] = {}
    for number in (1, 2, 3):
        sample = sample_of(tumours, number)
        fitted = fit(sample, FORMS[number])
        table[str(number)] = {
            "size_mm": [round(float(v), 1) for v in np.exp(fitted.anchors)],
            "low": [round(float(v), 3) for v in np.exp(fitted.location + fitted.low * fitted.scale)],
            "median": [round(float(v), 3) for v in np.exp(fitted.location)],
            "high": [round(float(v), 3) for v in np.exp(fitted.location + fitted.high * fitted.scale)],
            "sigma_log": [round(float(v), 3) for v in fitted.sigma * fitted.scale],
            "n": len(sample),
            "irregularity": round(fitted.reference, 4),
            "irregularity_max": round(fitted.most, 4),
            "widening": round(fitted.widening, 3),
        }
    return table


def report(tumours: Sequence[Tumour]) -> dict[str, object]:
    """Everything that the benchmark measured."""
    validation = {}
    for number in (1, 2, 3):
        sample = sample_of(tumours, number)
        validation[str(number)] = {
            "n": len(sample),
            "size_range_mm": [round(float(v), 1) for v in np.exp(np.quantile(sample.log_size, [0, 1]))],
            "shipped": cross_validate(sample, FORMS[number]),
            "shipped_fitted_without_the_source": leave_one_source_out(sample, FORMS[number]),
            "size_only": cross_validate(sample, SIZE_ONLY, coverage=WANTED),
            "size_only_fitted_without_the_source": leave_one_source_out(sample, SIZE_ONLY, coverage=WANTED),
            "constant": cross_validate(sample, CONSTANT, coverage=WANTED),
        }
    return {
        "coverage_wanted": WANTED,
        "tumours": {name: sum(t.source == name for t in tumours) for name in SOURCES},
        "factors": factor_table(tumours),
        "one_diameter_along_duct_or_wall": irregular_row(tumours),
        "cross_validation": validation,
        "transfer": transfer(tumours),
    }


def main() -> None:
    """Measure, fit, cross-validate, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--masks", type=Path, required=True, help="folder with kits19, kits23 and panorama")
    parser.add_argument("--json", type=Path, required=True, help="where the results go")
    parser.add_argument("--cache", type=Path, help="file that keeps the measured tumours between runs")
    parser.add_argument("--write", action="store_true", help="replace the factors that the package ships")
    options = parser.parse_args()
    if options.cache and options.cache.is_file():
        tumours = [Tumour(**row) for row in json.loads(options.cache.read_text(encoding="utf-8"))]
    else:
        tumours = measure_all(options.masks)
        if options.cache:
            options.cache.write_text(json.dumps([asdict(t) for t in tumours]), encoding="utf-8")
    result = report(tumours)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    if options.write:
        shipped = {
            "provenance": "benchmarks/calibrate_size.py on masks of KiTS19, KiTS23 and PANORAMA",
            "meaning": "mask volume / ellipsoid volume at two sizes; log-linear between, constant outside; "
            "log distance from the median times exp(widening * (irregularity - its reference))",
            "coverage": WANTED,
            "factors": result["factors"],
            "along_duct_or_wall": {
                "organs": DUCT_OR_WALL,
                "factors": result["one_diameter_along_duct_or_wall"]["factors"],
            },
        }
        FACTORS.write_text(json.dumps(shipped, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
