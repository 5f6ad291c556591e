"""Tumours and decoys of the phantom: where they go, what shape they have, how they change the HU."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, gaussian_filter, label

from rsuper.synthesis.anatomy_phantom import PANCREAS_PARTS, PART_BOUNDS, Anatomy
from rsuper.synthesis.body_phantom import Tissue
from rsuper.synthesis.canvas import Bool, Float, Slices, rotation_matrix, smooth_waves
from rsuper.synthesis.lesion_truth import Side
from rsuper.synthesis.phantom_config import Organ, TumourConfig

ORGAN_LABELS: dict[Organ, tuple[int, ...]] = {
    "pancreas": (Tissue.PANCREAS,),
    "kidney": (Tissue.KIDNEY_LEFT, Tissue.KIDNEY_RIGHT),
    "liver": (Tissue.LIVER,),
}
KIDNEY_PARTS = ("kidney_lower_pole", "kidney_interpolar", "kidney_upper_pole")
# A lesion may push into fat, its own organ and hollow neighbours, never into bone or other organs.
YIELDING = (Tissue.FAT, Tissue.BOWEL, Tissue.DUODENUM, Tissue.STOMACH, Tissue.COLON)


@dataclass(frozen=True)
class LesionShape:
    """A soft-edged shape on a box: ``weight`` is 1 inside, 0 outside, 0.5 on the outline."""

    box: Slices
    weight: Float

    @property
    def mask(self) -> Bool:
        """Voxels more than half inside."""
        return np.asarray(self.weight > 0.5)


@dataclass(frozen=True)
class PlacedLesion:
    """A lesion as drawn: its mask on the whole grid and the facts that describe it."""

    organ: Organ
    parts: tuple[str, ...]
    side: Side
    attenuation: Literal["hypo", "hyper"]
    contrast_hu: float
    mask: Bool


def grow_shape(
    anatomy: Anatomy,
    centre_voxel: NDArray[np.intp],
    rng: np.random.Generator,
    *,
    diameter_mm: float,
    edge_mm: float,
) -> LesionShape:
    """An irregular, randomly turned ellipsoid about ``diameter_mm`` across with an edge ``edge_mm`` wide."""
    canvas = anatomy.canvas
    centre = np.array([canvas.axes[d][centre_voxel[d]] for d in range(3)], float) + rng.uniform(-1.5, 1.5, 3)
    ratios = np.exp(rng.normal(0, 0.11, 3))
    radii = diameter_mm / 2 * ratios / ratios.max() ** 0.5
    reach = radii.max() * 1.25 + 2 * edge_mm
    box = canvas.box((centre - reach).tolist(), (centre + reach).tolist())
    axes = [canvas.axes[d][box[d]] - np.float32(centre[d]) for d in range(3)]
    rotation = rotation_matrix(tuple(rng.uniform(0, np.pi, 3)))
    x, y, z = axes[0][:, None, None], axes[1][None, :, None], axes[2][None, None, :]
    squared = sum(
        ((r[0] * x + r[1] * y + r[2] * z) / np.float32(a)) ** 2 for r, a in zip(rotation, radii, strict=True)
    )
    bumps = smooth_waves(axes, rng, wavelength_mm=max(diameter_mm * 0.8, 9.0), terms=4)
    distance = (np.sqrt(squared) * (1 + 0.08 * bumps) - 1) * np.float32(diameter_mm / 2)
    return LesionShape(
        box, np.asarray(1 / (1 + np.exp(np.clip(distance * (2.2 / edge_mm), -30, 30))), np.float32)
    )


def place_tumours(
    anatomy: Anatomy, organ: Organ, config: TumourConfig, rng: np.random.Generator
) -> tuple[PlacedLesion, ...]:
    """Draw the tumours of one organ: 1, 2, 3 or several, of one kind of attenuation, none touching."""
    choice = int(rng.choice(4, p=np.asarray(config.counts) / sum(config.counts)))
    count = choice + 1 if choice < 3 else int(rng.integers(config.multiple[0], config.multiple[1] + 1))
    attenuation: Literal["hypo", "hyper"] = "hypo" if rng.random() < config.hypo_fraction else "hyper"
    low, high = config.diameter_mm
    placed: list[PlacedLesion] = []
    taken = np.zeros(anatomy.canvas.shape, bool)
    for nth in range(count):
        top = high if nth == 0 and count < 4 else max(low * 1.2, high * 0.6)
        diameter = float(np.exp(rng.uniform(np.log(low), np.log(top))))
        for attempt in range(30):
            lesion = _try_tumour(anatomy, organ, config, rng, diameter * 0.97**attempt, attenuation, taken)
            if lesion is not None:
                placed.append(lesion)
                taken |= binary_dilation(lesion.mask, iterations=2)
                break
    return tuple(placed)


def _try_tumour(
    anatomy: Anatomy,
    organ: Organ,
    config: TumourConfig,
    rng: np.random.Generator,
    diameter_mm: float,
    attenuation: Literal["hypo", "hyper"],
    taken: Bool,
) -> PlacedLesion | None:
    canvas = anatomy.canvas
    seat = _choose_seat(anatomy, organ, config, rng)
    edge_mm = float(rng.uniform(1.5, 4.5)) * min(1.0, diameter_mm / 18)
    shape = grow_shape(anatomy, seat, rng, diameter_mm=diameter_mm, edge_mm=edge_mm)
    labels = canvas.label[shape.box]
    host = np.isin(labels, ORGAN_LABELS[organ])
    allowed = host | np.isin(labels, YIELDING) | (labels == Tissue.VEIN)
    local = _largest_piece(shape.mask & allowed)
    if local is None or (local & taken[shape.box]).any() or (local & host).sum() < 0.35 * local.sum():
        return None
    if (local & allowed).sum() < 0.72 * shape.mask.sum() or not _off_border(shape.box, local, canvas.shape):
        return None
    if (local & (labels == Tissue.VEIN)).sum() > 0.15 * local.sum():
        return None
    mask = np.zeros(canvas.shape, bool)
    mask[shape.box] = local
    parts, side = _parts_and_side(anatomy, organ, mask)
    strengths = config.hypo_hu if attenuation == "hypo" else config.hyper_hu
    contrast = float(rng.uniform(*strengths)) * (-1 if attenuation == "hypo" else 1)
    _paint_lesion(anatomy, organ, shape, local, allowed, contrast, rng)
    _claim(anatomy, organ, mask, side)
    return PlacedLesion(organ, parts, side, attenuation, contrast, mask)


def _choose_seat(
    anatomy: Anatomy, organ: Organ, config: TumourConfig, rng: np.random.Generator
) -> NDArray[np.intp]:
    canvas = anatomy.canvas
    if organ == "pancreas":
        weights = np.array([config.parts.get(p, 0.0) for p in PANCREAS_PARTS]) if config.parts else np.ones(3)
        part = int(rng.choice(3, p=weights / weights.sum()))
        bounds = (0.02, *PART_BOUNDS, 0.98)
        low, high = bounds[part], bounds[part + 1]
        inset = 0.12 * (high - low)
        share = rng.uniform(low + inset, high - inset)
        at = round(share * (len(anatomy.pancreas_line) - 1))
        point = anatomy.pancreas_line[at] + rng.normal(0, 0.45, 3) * anatomy.pancreas_radii[at]
        return np.array([int(np.abs(canvas.axes[d] - point[d]).argmin()) for d in range(3)])
    labels = ORGAN_LABELS[organ]
    chosen = int(rng.choice(labels))
    voxels = np.argwhere(canvas.label == chosen)
    return np.asarray(voxels[rng.integers(len(voxels))])


def _largest_piece(mask: Bool) -> Bool | None:
    pieces, n = label(mask)
    if n == 0:
        return None
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    return np.asarray(pieces == sizes.argmax())


def _off_border(box: Slices, local: Bool, shape: tuple[int, ...]) -> bool:
    where = np.argwhere(local)
    low = where.min(axis=0) + [s.start for s in box]
    high = where.max(axis=0) + [s.start for s in box]
    return bool((low > 0).all() and (high < np.asarray(shape) - 1).all())


def _parts_and_side(anatomy: Anatomy, organ: Organ, mask: Bool) -> tuple[tuple[str, ...], Side]:
    """The part with most of the lesion first, then a second that holds at least 0.4 of it; and the side."""
    if organ == "pancreas":
        share = anatomy.pancreas_share(np.argwhere(mask))
        counts = np.bincount(np.digitize(share, PART_BOUNDS), minlength=3)
        order = np.argsort(-counts)
        named = [n for n in order if n == order[0] or counts[n] >= 0.4 * counts.sum()]
        return tuple(f"pancreas_{PANCREAS_PARTS[n]}" for n in named), "n/a"
    if organ == "kidney":
        labels = anatomy.canvas.label
        right = (mask & (labels == Tissue.KIDNEY_RIGHT)).sum() >= (
            mask & (labels == Tissue.KIDNEY_LEFT)
        ).sum()
        kidney = np.flatnonzero(
            (labels == (Tissue.KIDNEY_RIGHT if right else Tissue.KIDNEY_LEFT)).any((0, 1))
        )
        height = (np.argwhere(mask)[:, 2].mean() - kidney[0]) / max(1, kidney[-1] - kidney[0])
        return (KIDNEY_PARTS[int(np.digitize(height, (1 / 3, 2 / 3)))],), "right" if right else "left"
    return (), "n/a"


def _paint_lesion(
    anatomy: Anatomy,
    organ: Organ,
    shape: LesionShape,
    local: Bool,
    allowed: Bool,
    contrast_hu: float,
    rng: np.random.Generator,
) -> None:
    """Blend in the lesion's tissue: mean parenchyma + contrast, own texture, a core in some large ones."""
    hu = anatomy.canvas.hu[shape.box]
    texture = np.roll(anatomy.texture, 7, axis=0)[shape.box]
    tissue = anatomy.parenchyma_hu[organ] + np.float32(contrast_hu) + np.float32(rng.uniform(4, 9)) * texture
    large = local.sum() * np.prod(anatomy.canvas.spacing_mm) > 4000
    if contrast_hu < 0 and large and rng.random() < 0.4:  # necrotic core
        core = np.clip(gaussian_filter(shape.weight, 2.0) * 1.6 - 0.8, 0, 1)
        tissue = tissue - core * np.float32(rng.uniform(8, 30))
    near = binary_dilation(local, iterations=1) & allowed
    weight = np.where(near, shape.weight, 0) * np.where(local, 1.0, 0.8)
    outside = ~np.isin(anatomy.canvas.label[shape.box], ORGAN_LABELS[organ])
    weight[local & outside] = 1.0  # what bulges into fat replaces it; only the blur softens that edge
    hu += (weight * (tissue - hu)).astype(np.float32)


def _claim(anatomy: Anatomy, organ: Organ, mask: Bool, side: Side) -> None:
    """Lesion tissue belongs to its organ."""
    own = {"right": Tissue.KIDNEY_RIGHT, "left": Tissue.KIDNEY_LEFT}.get(side, ORGAN_LABELS[organ][0])
    anatomy.canvas.label[mask] = own
