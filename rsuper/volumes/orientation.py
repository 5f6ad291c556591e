"""Axis order and direction: to RAS+, and back to the grid of another volume, without interpolation."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rsuper.volumes.volume import Affine, Grid, Volume

_LETTERS = (("L", "R"), ("P", "A"), ("I", "S"))


def axis_directions(affine: Affine) -> tuple[tuple[int, int], ...]:
    """For each array axis the RAS+ world axis it is closest to, and its sign.

    The assignment maximises the total alignment over all six permutations, so that it stays one-to-one for
    oblique grids too.
    """
    cosines = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    orders = ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))
    best = max(orders, key=lambda order: sum(abs(cosines[world, axis]) for axis, world in enumerate(order)))
    return tuple((world, 1 if cosines[world, axis] >= 0 else -1) for axis, world in enumerate(best))


def axis_codes(volume: Volume | Grid) -> str:
    """Where each array axis points, such as ``RAS`` or ``LPS``."""
    return "".join(_LETTERS[world][sign > 0] for world, sign in axis_directions(volume.affine))


def to_canonical(volume: Volume) -> Volume:
    """The same voxels, axes reordered and flipped to point closest to right, anterior, superior.

    No interpolation: an oblique grid stays oblique. The array is C-contiguous.
    """
    identity = Grid((1, 1, 1), np.eye(4))
    return reorient(volume, identity)


def reorient(volume: Volume, reference: Volume | Grid) -> Volume:
    """The same voxels with axes in the order and direction of ``reference`` (exact, no interpolation)."""
    source = {world: (axis, sign) for axis, (world, sign) in enumerate(axis_directions(volume.affine))}
    wanted = axis_directions(reference.affine)
    axes = tuple(source[world][0] for world, _ in wanted)
    flips = tuple(source[world][1] != sign for world, sign in wanted)
    array: NDArray[Any] = np.transpose(volume.array, axes)
    array = array[tuple(slice(None, None, -1) if flip else slice(None) for flip in flips)]
    affine = np.array(volume.affine)
    affine[:3, :3] = volume.affine[:3, axes]
    for axis, flip in enumerate(flips):
        if flip:
            affine[:3, 3] += affine[:3, axis] * (array.shape[axis] - 1)
            affine[:3, axis] *= -1
    return Volume(np.ascontiguousarray(array), affine)
