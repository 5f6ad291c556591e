"""Which voxels of a ball are the most probable: one order for CPU and GPU, no look at the values off the CPU."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from rsuper.morphology import reads_are_free


def cells_at(
    center: Int[Tensor, " 3"], cells: Int[Tensor, "3 n"], free: Bool[Tensor, "d h w"]
) -> Int[Tensor, " n"]:
    """Flat indices into the box of the free voxels of a ball, the nearest to its centre first.

    Off the CPU the number of free voxels is not known: a cell that is not free, or outside the box, has the index one
    past the last voxel.

    Args:
        center: index of the centre in the box.
        cells: see :func:`rsuper.morphology.ball_cells`.
        free: bool, which voxels count.
    """
    nowhere = free.numel()
    flat, inside = torch.zeros_like(cells[0]), torch.ones_like(cells[0], dtype=torch.bool)
    for offsets, index, size in zip(cells, center.to(cells.dtype), free.shape, strict=True):
        place = offsets + index
        inside &= (place >= 0) & (place < size)
        flat = flat * size + place
    flat = torch.where(inside, flat, nowhere).long()
    held = functional.pad(free.reshape(-1), (0, 1))[flat]
    return flat[held] if reads_are_free(free) else torch.where(held, flat, nowhere)


def values_at(values: Float[Tensor, "d h w"], flat: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
    """The values at flat indices, −inf at the index one past the last voxel."""
    if reads_are_free(values):
        return values.reshape(-1)[flat]
    return functional.pad(values.reshape(-1), (0, 1), value=-torch.inf)[flat]


def ranked(values: Float[Tensor, " n"], counts: tuple[int, int, int]) -> Int[Tensor, " m"]:
    """Positions of the highest values, ties by position: the first set in order, the others as nested sets.

    Args:
        values: no NaN.
        counts: sizes of three nested sets, the smallest first.

    Returns:
        At least max(counts) positions, or all: each set is a prefix.

    >>> ranked(torch.tensor([0.5, 2.0, 0.5, 1.0]), (2, 3, 3)).tolist()
    [1, 3, 0]
    """
    if values.dtype != torch.float32 or not reads_are_free(values):
        return torch.sort(values, descending=True, stable=True).indices
    bits = (values + 0.0).numpy().view(np.int32)  # −0 is 0
    ascending = (bits ^ ((bits >> 31) & 0x7FFFFFFF)).astype(np.int64)
    # Value and position in one number: no two are equal, and numbers are selected faster than pairs.
    keys = (-ascending << 32) | np.arange(len(bits))
    small, middle, large = counts
    if large < len(keys):
        keys = np.partition(keys, large)[:large]
    for inner, outer in ((middle, large), (small, middle)):
        if inner < len(keys[:outer]):
            keys[:outer] = np.partition(keys[:outer], inner)
    keys[:small] = np.sort(keys[:small])
    return torch.from_numpy(keys & 0xFFFFFFFF)
