"""Insert a tumour of stated size, place and attenuation into a real CT, and write the report that says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, binary_erosion, gaussian_filter, label

from rsuper.errors import DataError
from rsuper.synthesis.lesion_truth import Attenuation, LesionTruth, Side, measured_truth
from rsuper.synthesis.report_truth import ReportFacts, WrittenReport
from rsuper.synthesis.reports import write_report
from rsuper.synthesis.tumour_shapes import TumourShape, fitted, grown_shape
from rsuper.volumes import Volume

Bool = NDArray[np.bool_]
Float = NDArray[np.float32]
Growth = Literal["inside", "exophytic"]
SIDES: dict[str, Side] = {"_left": "left", "_right": "right"}
OVERLAP: dict[Growth, tuple[float, float]] = {"inside": (0.55, 1.0), "exophytic": (0.3, 0.7)}
SOFT_HU = (-200.0, 320.0)  # tissue and fat that a tumour may replace; no lung, gas or bone


@dataclass(frozen=True)
class InsertedTumour:
    """A CT with one more tumour.

    Args:
        ct: the new CT, dtype of the old.
        mask: bool [i,j,k] of the tumour.
        truth: place, measured diameters, volume, contrast.
    """

    ct: Volume
    mask: Bool
    truth: LesionTruth


def insert_tumour(
    ct: Volume,
    structures: Mapping[str, Bool],
    *,
    structure: str,
    longest_mm: float,
    attenuation: Attenuation,
    rng: np.random.Generator,
    shape: TumourShape | None = None,
    contrast_hu: float | None = None,
    growth: Growth = "inside",
) -> InsertedTumour:
    """Insert one tumour.

    Args:
        ct: HU in RAS array order.
        structures: organ and part masks on the CT's grid; all those that are not the host are spared.
        structure: host, such as ``kidney_left``, ``pancreas_head`` or ``liver``.
        longest_mm: longest axial diameter.
        attenuation: against the parenchyma around it.
        rng: draws place and pose.
        shape: a real tumour's shape; None grows one.
        contrast_hu: difference from the local parenchyma, positive; None draws 30 to 60.
        growth: ``inside`` as far as the organ allows, or ``exophytic`` with 30 to 70 % inside.

    Returns:
        The new CT, the mask and the truth, whose diameters are measured on the mask.

    Raises:
        DataError: ``missing_organ_mask``, or ``tumour_does_not_fit`` if no place allows it.
    """
    if structure not in structures or not structures[structure].any():
        raise DataError(
            f"no voxels of {structure}", code="missing_organ_mask", hint="segment this organ first"
        )
    organ = host_organ(structure)
    whole = np.logical_or.reduce([m for name, m in structures.items() if host_organ(name) == organ])
    others = [m for name, m in structures.items() if host_organ(name) != organ]
    spared = np.logical_or.reduce([np.zeros(ct.shape, bool), *others])
    hu = np.asarray(ct.array, np.float32)
    spared |= (hu < SOFT_HU[0]) | (hu > SOFT_HU[1])
    shape = shape or grown_shape(rng)
    local = fitted(
        shape, spacing_mm=ct.spacing_mm, longest_mm=longest_mm,
        turn_rad=float(rng.uniform(0, 2 * np.pi)), mirror=rng.random() < 0.5,
    )  # fmt: skip
    distance = _placed(local, structures[structure], whole, spared, growth, rng)
    mask = _largest(distance > 0)
    sign = -1 if attenuation == "hypo" else 1
    contrast = sign * abs(contrast_hu if contrast_hu is not None else float(rng.uniform(30, 60)))
    painted = _painted(hu, distance, mask, whole, contrast, ct.spacing_mm, rng)
    array = np.rint(painted).astype(ct.array.dtype) if ct.array.dtype.kind in "iu" else painted
    side: Side = next((SIDES[suffix] for suffix in SIDES if structure.endswith(suffix)), "n/a")
    part = structure if structure != organ and side == "n/a" else None
    truth = measured_truth(
        mask, ct.affine, organ=organ, parts=(part,) if part else (), part=part, side=side,
        attenuation=attenuation, contrast_hu=contrast,
    )  # fmt: skip
    return InsertedTumour(Volume(np.asarray(array, ct.array.dtype), ct.affine), mask, truth)


def host_organ(structure: str) -> str:
    """``kidney_left`` and ``pancreas_head`` belong to kidney and pancreas.

    >>> host_organ("liver_segment_4"), host_organ("kidney_left"), host_organ("adrenal_gland_right")
    ('liver', 'kidney', 'adrenal_gland')
    """
    for organ in ("adrenal_gland", "pancreas", "kidney", "liver", "lung"):
        if structure == organ or structure.startswith(organ + "_"):
            return organ
    return structure


def report_inserted(
    tumours: Sequence[LesionTruth], rng: np.random.Generator, *, organs: Sequence[str]
) -> WrittenReport:
    """A report on a CT into which these tumours were inserted.

    Args:
        tumours: their truths.
        rng: draws the wording.
        organs: organs that the report goes through; those without tumour are mostly called normal.
    """
    facts = ReportFacts(lesions=tuple(tumour.as_fact() for tumour in tumours), organs=tuple(organs))
    return write_report(facts, rng)


def _placed(
    local: Float, host: Bool, whole: Bool, spared: Bool, growth: Growth, rng: np.random.Generator
) -> Float:
    """The signed distance on the CT's grid at the best of many seats; outside the box it is far outside."""
    core = binary_erosion(host)
    seats = np.argwhere(core if growth == "inside" and core.any() else host ^ core)
    body = local > 0
    half = np.asarray(local.shape) // 2
    low, high = OVERLAP[growth]
    best: tuple[float, NDArray[np.intp]] | None = None
    for seat in seats[rng.permutation(len(seats))[:300]]:
        corner = seat - half
        if (corner < 0).any() or (corner + local.shape > host.shape).any():
            continue
        box = tuple(slice(c, c + n) for c, n in zip(corner, local.shape, strict=True))
        blocked = float((body & spared[box]).sum() / body.sum())
        overlap = float((body & whole[box]).sum() / body.sum())
        in_host = float((body & host[box]).sum() / max(1, (body & whole[box]).sum()))
        if blocked > 0.2 or not low <= overlap <= high or in_host < 0.6:
            continue
        score = (overlap if growth == "inside" else 1 - abs(overlap - 0.5)) - 2 * blocked
        if best is None or score > best[0]:
            best = (score, corner)
        if score > 0.97:
            break
    if best is None:
        raise DataError(
            "no place in the organ holds this tumour",
            code="tumour_does_not_fit",
            hint="a smaller diameter",
        )
    distance = np.full(host.shape, np.float32(local.min()))
    box = tuple(slice(c, c + n) for c, n in zip(best[1], local.shape, strict=True))
    distance[box] = np.where(spared[box] & (local > -2), np.minimum(local, -0.1), local)
    return distance


def _largest(mask: Bool) -> Bool:
    pieces, n = label(mask, np.ones((3, 3, 3)))
    if n <= 1:
        return mask
    return np.asarray(pieces == np.bincount(pieces.ravel())[1:].argmax() + 1)


def _painted(
    hu: Float,
    distance: Float,
    mask: Bool,
    whole: Bool,
    contrast_hu: float,
    spacing_mm: Sequence[float],
    rng: np.random.Generator,
) -> Float:
    """Shift to local parenchyma + contrast with a soft edge; keep the grain inside, match it outside."""
    sigma = [6.0 / s for s in spacing_mm]
    healthy = (binary_erosion(whole) & ~mask).astype(np.float32)
    if healthy.sum() < 20:
        healthy = (whole & ~mask).astype(np.float32)
    weight = gaussian_filter(healthy, sigma)
    median = float(np.median(hu[healthy > 0]))
    bounded = np.clip(hu, median - 60, median + 60)  # vessels and clefts do not pull the local mean
    base = (gaussian_filter(bounded * healthy, sigma) + 1e-3 * median) / (weight + 1e-3)
    grain = np.where(healthy > 0, bounded - base, 0)
    spread = float(grain[healthy > 0].std())
    drawn = gaussian_filter(rng.standard_normal(hu.shape, dtype=np.float32), 0.7)
    own = whole & (np.abs(hu - base) < 3 * spread)
    texture = np.where(own, np.clip(hu - base, -3 * spread, 3 * spread), drawn / drawn.std() * spread)
    tissue = base + contrast_hu + 0.8 * texture
    edge_mm = 0.4 * float(np.mean(spacing_mm))
    soft = 1 / (1 + np.exp(-np.clip(distance / edge_mm, -20, 20)))
    reach = binary_dilation(mask, iterations=2)
    soft = np.where(reach & (mask | (hu > SOFT_HU[0])), soft, 0)
    return np.asarray(hu + soft * (tissue - hu), np.float32)
