"""A voxel canvas in patient millimetres on which smooth, gently deformed shapes are drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]
Bool = NDArray[np.bool_]
Slices = tuple[slice, slice, slice]
Vector = Sequence[float] | NDArray[np.float64]
WARP_MM = 5.0


@dataclass(frozen=True)
class Shape:
    """Where a shape lies: a box of the canvas and the voxels in it."""

    box: Slices
    mask: Bool


def smooth_waves(
    axes: Sequence[Float], rng: np.random.Generator, *, wavelength_mm: float, terms: int = 3
) -> Float:
    """A smooth random field of about unit scale on the grid of the axes: a few separable sine waves."""
    shape = tuple(len(axis) for axis in axes)
    total = np.zeros(shape, np.float32)
    for _ in range(terms):
        waves = []
        for axis in axes:
            length = wavelength_mm * rng.uniform(0.7, 1.6)
            waves.append(np.sin(2 * np.pi * axis / length + rng.uniform(0, 2 * np.pi)).astype(np.float32))
        total += waves[0][:, None, None] * waves[1][None, :, None] * waves[2][None, None, :]
    return total / np.float32(np.sqrt(terms / 8))


class Canvas:
    """Coordinates (mm from the centre, +x right, +y anterior, +z superior), HU and label of every voxel.

    Args:
        shape: voxels in array order.
        spacing_mm: voxel size in array order.
        rng: draws the deformation that bends every shape drawn later.
    """

    def __init__(
        self, shape: tuple[int, int, int], spacing_mm: tuple[float, float, float], rng: np.random.Generator
    ) -> None:
        self.shape, self.spacing_mm = shape, spacing_mm
        self.axes = [
            ((np.arange(n) - (n - 1) / 2) * s).astype(np.float32)
            for n, s in zip(shape, spacing_mm, strict=True)
        ]
        self.warped = []
        for dim in range(3):
            bend = smooth_waves(self.axes, rng, wavelength_mm=150.0)
            bend = np.clip(bend * np.float32(1.6), -WARP_MM, WARP_MM)
            index = [None, None, None]
            index[dim] = slice(None)  # type: ignore[call-overload]
            self.warped.append(self.axes[dim][tuple(index)] + bend)
        self.hu = np.full(shape, -1000, np.float32)
        self.label = np.zeros(shape, np.uint8)

    def box(self, low_mm: Vector, high_mm: Vector) -> Slices:
        """The part of the canvas that can hold warped points between two corners."""
        slices = []
        for axis, low, high in zip(self.axes, low_mm, high_mm, strict=True):
            start = int(np.searchsorted(axis, low - WARP_MM))
            stop = int(np.searchsorted(axis, high + WARP_MM, side="right"))
            slices.append(slice(min(start, len(axis) - 1), max(stop, min(start, len(axis) - 1) + 1)))
        return (slices[0], slices[1], slices[2])

    def ellipsoid(
        self,
        centre_mm: Vector,
        radii_mm: Vector,
        *,
        turn: Vector = (0, 0, 0),
        power: float = 2,
    ) -> Shape:
        """An ellipsoid (power 2) or a boxier superellipsoid, turned about the three axes by radians."""
        reach = max(radii_mm) if any(turn) else None
        spans = [reach or r for r in radii_mm]
        box = self.box(
            [c - s for c, s in zip(centre_mm, spans, strict=True)],
            [c + s for c, s in zip(centre_mm, spans, strict=True)],
        )
        rotation = rotation_matrix(turn)
        offsets = [self.warped[d][box] - np.float32(centre_mm[d]) for d in range(3)]
        total = np.zeros(offsets[0].shape, np.float32)
        for row, radius in zip(rotation, radii_mm, strict=True):
            along = (row[0] * offsets[0] + row[1] * offsets[1] + row[2] * offsets[2]) / np.float32(radius)
            total += along * along if power == 2 else np.abs(along) ** np.float32(power)
        return Shape(box, total <= 1)

    def tube(self, points_mm: NDArray[np.float64], radii_mm: NDArray[np.float64]) -> Shape:
        """The union of balls along a densely sampled line; points [N,3], radii [N]."""
        low = (points_mm - radii_mm[:, None]).min(axis=0)
        high = (points_mm + radii_mm[:, None]).max(axis=0)
        box = self.box(low.tolist(), high.tolist())
        mask = np.zeros(tuple(s.stop - s.start for s in box), bool)
        for point, radius in zip(points_mm, radii_mm, strict=True):
            local = self.box((point - radius).tolist(), (point + radius).tolist())
            squared = sum((self.warped[d][local] - np.float32(point[d])) ** 2 for d in range(3))
            inner = tuple(slice(a.start - b.start, a.stop - b.start) for a, b in zip(local, box, strict=True))
            mask[inner] |= squared <= np.float32(radius * radius)
        return Shape(box, mask)

    def paint(
        self, shape: Shape, hu: float | Float, *, label: int | None = None, over: Sequence[int] | None = None
    ) -> Bool:
        """Set HU and label where the shape lies, only over the given labels; returns what was painted."""
        target = shape.mask
        if over is not None:
            target = target & np.isin(self.label[shape.box], list(over))
        self.hu[shape.box][target] = hu if np.isscalar(hu) else np.asarray(hu)[shape.box][target]
        if label is not None:
            self.label[shape.box][target] = label
        return target

    def full(self, shape: Shape) -> Bool:
        """The shape on the whole canvas."""
        result = np.zeros(self.shape, bool)
        result[shape.box] = shape.mask
        return result


def rotation_matrix(turn: Vector) -> Float:
    """Rotation about x, then y, then z by the given radians."""
    (a, b, c) = turn
    rx = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    ry = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    rz = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return np.asarray(rz @ ry @ rx, np.float32)


def curve(knots_mm: Sequence[Vector] | NDArray[np.float64], *, step_mm: float = 2.0) -> NDArray[np.float64]:
    """A smooth line through the knots, sampled every ``step_mm``; [N,3]."""
    from scipy.interpolate import PchipInterpolator

    knots = np.asarray(knots_mm, float)
    moves = np.r_[True, np.linalg.norm(np.diff(knots, axis=0), axis=1) > 1e-3]
    knots = knots[moves]  # knots clipped to one place
    if len(knots) == 1:
        return knots
    lengths = np.r_[0, np.cumsum(np.linalg.norm(np.diff(knots, axis=0), axis=1))]
    n = max(2, int(np.ceil(lengths[-1] / step_mm)) + 1)
    return np.asarray(PchipInterpolator(lengths, knots, axis=0)(np.linspace(0, lengths[-1], n)))
