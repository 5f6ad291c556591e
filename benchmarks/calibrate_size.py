"""Fit how the volume of a real tumour spreads around the ellipsoid of its stated diameters.

One diameter is fitted on the size that a clinic recorded, because that is what a report states; two and three
are measured on the largest component of each mask: the longest in-plane Feret diameter over all axial slices,
the Feret width perpendicular to it in that slice (each plus one mean pixel), and the number of slices times
their distance.

The model: log(volume / ellipsoid) has a location and a scale that change linearly in log size between two
anchors (the median sizes of the smaller and the larger half of the tumours) and are constant outside, fitted by
a robust likelihood. The interval holds the middle of the standardised residuals, with (n + 1) plotting positions.
Its coverage on tumours that were not used for the fit comes from repeated two-fold and five-fold
cross-validation, next to that of one constant factor.

    python benchmarks/calibrate_size.py --masks MASKS --json benchmarks/results/calibrate_size.json

``--write`` replaces the factors that the package ships.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage, optimize
from scipy.spatial import ConvexHull, QhullError

from rsuper.supervision.sizes import ellipsoid_volume_mm3, equivalent_diameter_mm

SOURCES = {"kits19": 2, "kits23": 2, "panorama": 1}
COVERAGE = 0.90
FREEDOM = 4.0
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


@dataclass(frozen=True)
class Sample:
    """Log size, log(volume / ellipsoid) and source of the tumours with one number of diameters."""

    log_size: np.ndarray
    log_ratio: np.ndarray
    source: np.ndarray

    def __getitem__(self, rows: np.ndarray) -> Sample:
        return Sample(self.log_size[rows], self.log_ratio[rows], self.source[rows])

    def __len__(self) -> int:
        return len(self.log_size)


def make_sample(
    volumes: Sequence[float], sizes: Sequence[tuple[float, ...]], sources: Sequence[str]
) -> Sample:
    """Compare mask volumes with the ellipsoids of their diameters."""
    ratio = [np.log(v / ellipsoid_volume_mm3(d)) for v, d in zip(volumes, sizes, strict=True)]
    size = [np.log(equivalent_diameter_mm(d)) for d in sizes]
    return Sample(np.array(size), np.array(ratio), np.array(sources))


def sample_of(tumours: Sequence[Tumour], number: int) -> Sample:
    """The tumours that a fit with that many diameters uses."""
    used = [t for t in tumours if number > 1 or t.stated_mm is not None]
    return make_sample(
        [t.volume_mm3 for t in used], [diameters(t, number) for t in used], [t.source for t in used]
    )


@dataclass(frozen=True)
class Fit:
    """Log factors at two anchors (log size), linear between them and constant outside."""

    anchors: np.ndarray
    low: np.ndarray
    median: np.ndarray
    high: np.ndarray
    sigma: np.ndarray

    def interval(self, log_size: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper log factor at each log size."""
        return np.interp(log_size, self.anchors, self.low), np.interp(log_size, self.anchors, self.high)


def middle(values: np.ndarray, coverage: float) -> tuple[float, float]:
    """Ends that hold the middle ``coverage`` of the distribution, with (n + 1) plotting positions."""
    positions = np.arange(1, len(values) + 1) / (len(values) + 1)
    low, high = np.interp([(1 - coverage) / 2, (1 + coverage) / 2], positions, np.sort(values))
    return float(low), float(high)


def fit_two_anchors(sample: Sample, coverage: float = COVERAGE) -> Fit:
    """Location and scale at two anchors by maximum likelihood, one set of standardised quantiles for all sizes.

    The likelihood is Student's t with 4 degrees of freedom, so that a few wrongly recorded sizes decide nothing.
    """
    small = sample.log_size <= np.median(sample.log_size)
    halves = (sample[small], sample[~small])
    anchors = np.array([np.median(half.log_size) for half in halves])
    start = [np.median(half.log_ratio) for half in halves]
    start += [np.log(half.log_ratio.std(ddof=1)) for half in halves]

    def standardised(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        location = np.interp(sample.log_size, anchors, values[:2])
        scale = np.interp(sample.log_size, anchors, np.exp(values[2:]))
        return (sample.log_ratio - location) / scale, scale

    def cost(values: np.ndarray) -> float:
        residual, scale = standardised(values)
        return float(np.sum(np.log(scale) + (FREEDOM + 1) / 2 * np.log1p(residual**2 / FREEDOM)))

    best = optimize.minimize(cost, np.array(start), method="L-BFGS-B").x
    location, scale = best[:2], np.exp(best[2:])
    standard = standardised(best)[0]
    low, high = middle(standard, coverage)
    return Fit(
        anchors=anchors,
        low=location + low * scale,
        median=location + np.median(standard) * scale,
        high=location + high * scale,
        sigma=standard.std(ddof=1) * scale,
    )


def fit_constant(sample: Sample, coverage: float = COVERAGE) -> Fit:
    """One factor for all sizes, for comparison."""
    low, high = middle(sample.log_ratio, coverage)
    both = np.ones(2)
    return Fit(
        anchors=np.array([np.log(10.0), np.log(100.0)]),
        low=low * both,
        median=np.median(sample.log_ratio) * both,
        high=high * both,
        sigma=sample.log_ratio.std(ddof=1) * both,
    )


def inside(fit: Fit, sample: Sample) -> np.ndarray:
    """Which tumours lie in their interval."""
    low, high = fit.interval(sample.log_size)
    return (sample.log_ratio >= low) & (sample.log_ratio <= high)


def cross_validate(
    sample: Sample, fit: Callable[[Sample], Fit], *, repeats: int = 200, seed: int = 0
) -> dict[str, object]:
    """Coverage and width on tumours left out of the fit; half of the repeats two-fold, half five-fold."""
    rng = np.random.default_rng(seed)
    hits, counts, widths = np.zeros(len(sample)), np.zeros(len(sample)), []
    per_repeat = []
    for repeat in range(repeats):
        order = rng.permutation(len(sample))
        held = []
        for part in np.array_split(order, 2 if repeat % 2 else 5):
            fitted = fit(sample[np.setdiff1d(order, part)])
            covered = inside(fitted, sample[part])
            hits[part] += covered
            counts[part] += 1
            held.append(covered)
            low, high = fitted.interval(sample.log_size[part])
            widths.extend(high - low)
        per_repeat.append(float(np.concatenate(held).mean()))
    share = hits / counts
    third = np.digitize(sample.log_size, np.quantile(sample.log_size, [1 / 3, 2 / 3]))
    return {
        "coverage": round(float(share.mean()), 4),
        "coverage_sd_over_repeats": round(float(np.std(per_repeat)), 4),
        "mean_ratio_high_to_low": round(float(np.exp(np.mean(widths))), 3),
        "coverage_by_size_third": [round(float(share[third == k].mean()), 4) for k in range(3)],
        "coverage_by_source": {
            str(name): round(float(share[sample.source == name].mean()), 4)
            for name in np.unique(sample.source)
        },
    }


def transfer(tumours: Sequence[Tumour]) -> dict[str, float]:
    """Why the fits are made as they are: coverage of two plausible but wrong choices."""
    stated = sample_of(tumours, 1)
    with_stated = [t for t in tumours if t.stated_mm is not None]
    own_axis = make_sample(
        [t.volume_mm3 for t in with_stated],
        [(t.long_mm,) for t in with_stated],
        [t.source for t in with_stated],
    )
    result = {
        "one_diameter_fitted_on_own_longest_axis": float(inside(fit_two_anchors(own_axis), stated).mean())
    }
    for number in (2, 3):
        sample = sample_of(tumours, number)
        kits = sample.source == "kits19"
        elsewhere = inside(fit_two_anchors(sample[kits]), sample[~kits])
        result[f"{number}_diameters_fitted_on_kits19_alone_elsewhere"] = float(elsewhere.mean())
    return {name: round(value, 4) for name, value in result.items()}


def factor_table(tumours: Sequence[Tumour]) -> dict[str, dict[str, object]]:
    """The factors as the package ships them."""
    table: dict[str, dict[str, object]] = {}
    for number in (1, 2, 3):
        sample = sample_of(tumours, number)
        fit = fit_two_anchors(sample)
        table[str(number)] = {
            "size_mm": [round(float(v), 1) for v in np.exp(fit.anchors)],
            "low": [round(float(v), 3) for v in np.exp(fit.low)],
            "median": [round(float(v), 3) for v in np.exp(fit.median)],
            "high": [round(float(v), 3) for v in np.exp(fit.high)],
            "sigma_log": [round(float(v), 3) for v in fit.sigma],
            "n": len(sample),
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
            "two_anchors": cross_validate(sample, fit_two_anchors),
            "constant": cross_validate(sample, fit_constant),
        }
    return {
        "coverage_wanted": COVERAGE,
        "tumours": {name: sum(t.source == name for t in tumours) for name in SOURCES},
        "factors": factor_table(tumours),
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
            "meaning": "mask volume / ellipsoid volume at two sizes; log-linear between, constant outside",
            "coverage": COVERAGE,
            "factors": result["factors"],
        }
        FACTORS.write_text(json.dumps(shipped, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
