"""What a network that saw few tumours takes for one: fluid spots, calcifications, fat, vessels, nodes.

Decoys lie in normals and in tumour cases alike and differ from tumours by size (under 6 mm), edge, HU or
place: fluid spots are far darker, calcifications and vessel loops brighter, clefts and fatty change contain
fat, nodes and accessory spleens lie beside the organ.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion

from rsuper.synthesis.anatomy_phantom import Anatomy
from rsuper.synthesis.body_phantom import Tissue
from rsuper.synthesis.canvas import Bool, Shape, curve
from rsuper.synthesis.phantom_config import Organ
from rsuper.synthesis.tumours import ORGAN_LABELS


def add_decoys(anatomy: Anatomy, organ: Organ, rng: np.random.Generator, *, mean: float) -> int:
    """Draw a Poisson number of in-organ decoys (and of neighbours) and return how many were drawn."""
    inside = (_fluid_spot, _calcification, _fat_cleft, _vessel_loop, _fatty_change)
    weights = np.array([0.3, 0.15, 0.2, 0.2, 0.15])
    seats = _seats(anatomy, organ)
    if not len(seats):
        return 0
    drawn = int(rng.poisson(mean))
    for _ in range(drawn):
        kind = inside[int(rng.choice(len(inside), p=weights))]
        kind(anatomy, _point(anatomy, seats, rng), rng)
    beside = int(rng.poisson(mean * 0.5))
    for _ in range(beside):
        _neighbour(anatomy, _point(anatomy, seats, rng), rng)
    return drawn + beside


def _seats(anatomy: Anatomy, organ: Organ) -> NDArray[np.intp]:
    mask: Bool = np.isin(anatomy.canvas.label, ORGAN_LABELS[organ])
    core = binary_erosion(mask)
    return np.argwhere(core if core.any() else mask)


def _point(anatomy: Anatomy, seats: NDArray[np.intp], rng: np.random.Generator) -> NDArray[np.float64]:
    at = seats[rng.integers(len(seats))]
    return np.array([anatomy.canvas.axes[d][at[d]] for d in range(3)], float) + rng.uniform(-1, 1, 3)


def _organs() -> list[int]:
    return [label for labels in ORGAN_LABELS.values() for label in labels]


def _fluid_spot(anatomy: Anatomy, point: NDArray[np.float64], rng: np.random.Generator) -> None:
    """A sharp side-branch cyst of 4 to 6 mm with fluid HU."""
    radii = rng.uniform(2.0, 3.0) * np.exp(rng.normal(0, 0.1, 3))
    anatomy.canvas.paint(anatomy.canvas.ellipsoid(point, radii), float(rng.uniform(2, 16)), over=_organs())


def _calcification(anatomy: Anatomy, point: NDArray[np.float64], rng: np.random.Generator) -> None:
    radii = rng.uniform(1.6, 2.4) * np.exp(rng.normal(0, 0.15, 3))
    anatomy.canvas.paint(anatomy.canvas.ellipsoid(point, radii), float(rng.uniform(280, 600)), over=_organs())


def _fat_cleft(anatomy: Anatomy, point: NDArray[np.float64], rng: np.random.Generator) -> None:
    """A thin sheet of fat between lobules."""
    radii = (rng.uniform(1.6, 2.4), rng.uniform(6, 13), rng.uniform(4, 8))
    shape = anatomy.canvas.ellipsoid(point, radii, turn=tuple(rng.uniform(0, np.pi, 3)))
    anatomy.canvas.paint(shape, float(rng.uniform(-80, -45)), over=_organs())


def _vessel_loop(anatomy: Anatomy, point: NDArray[np.float64], rng: np.random.Generator) -> None:
    """An enhancing vessel that crosses the organ."""
    half = rng.normal(0, 1, (3, 3)) * 7
    line = curve(np.stack([point - np.abs(half[0]) - 4, point + half[1] * 0.5, point + np.abs(half[2]) + 4]))
    radii = np.full(len(line), rng.uniform(1.8, 2.8))
    value = anatomy.parenchyma_hu["aorta"] + rng.uniform(-10, 25)
    anatomy.canvas.paint(anatomy.canvas.tube(line, radii), value, over=[*_organs(), Tissue.FAT])


def _fatty_change(anatomy: Anatomy, point: NDArray[np.float64], rng: np.random.Generator) -> None:
    """Focal fatty infiltration: geographic, marbled with fat, without a mass."""
    canvas = anatomy.canvas
    radii = rng.uniform(6, 12, 3)
    shape = canvas.ellipsoid(point, radii, turn=tuple(rng.uniform(0, np.pi, 3)))
    marble = np.sin(0.9 * canvas.warped[0][shape.box] + rng.uniform(0, 6)) + np.sin(
        0.9 * canvas.warped[2][shape.box] + rng.uniform(0, 6)
    )
    fat = shape.mask & (marble + anatomy.texture[shape.box] > 0.5)
    canvas.paint(Shape(shape.box, fat), float(rng.uniform(-65, -25)), over=_organs())


def _neighbour(anatomy: Anatomy, point: NDArray[np.float64], rng: np.random.Generator) -> None:
    """A lymph node, an accessory spleen or a fluid-filled diverticulum in the fat beside the organ."""
    direction = rng.normal(0, 1, 3)
    centre = point + direction / np.linalg.norm(direction) * rng.uniform(14, 24)
    radii = rng.uniform(3.5, 7.5) * np.exp(rng.normal(0, 0.15, 3))
    kind = rng.random()
    value = 75 + rng.normal(0, 8) if kind < 0.5 else anatomy.parenchyma_hu["spleen"] if kind < 0.75 else 20.0
    anatomy.canvas.paint(
        anatomy.canvas.ellipsoid(centre, radii), float(value), label=Tissue.NODE, over=[Tissue.FAT]
    )
