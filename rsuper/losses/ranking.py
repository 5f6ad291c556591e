"""Which voxels of a ball are the most probable: one order for CPU and GPU, no look at the values off the CPU."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from rsuper.morphology import reads_are_free


def cells_at(
    center: Int[Tensor, " 3"], cells: Int[Tensor, "3 n"], free: Bool[Tensor, "d h w"]
) -> Int[Tensor, " n"]:
    """Flat indices into the box of the free voxels of a ball, the nearest to its centre first.

    Off the CPU the number of free voxels is not known: a cell that is not free, or outside the box, has the index one
    past the last voxel. int32 on the CPU, int64 elsewhere.

    Args:
        center: index of the centre in the box.
        cells: see :func:`rsuper.morphology.ball_cells`.
        free: bool, which voxels count.
    """
    if reads_are_free(free):
        return torch.from_numpy(_free_cells(center.tolist(), cells.numpy(), free.numpy()))
    nowhere = free.numel()
    flat = torch.zeros_like(cells[0], dtype=torch.long)
    inside = torch.ones_like(flat, dtype=torch.bool)
    for offsets, index, size in zip(cells, center, free.shape, strict=True):
        place = offsets + index
        inside &= (place >= 0) & (place < size)
        flat = flat * size + place
    flat = torch.where(inside, flat, nowhere)
    return torch.where(functional.pad(free.reshape(-1), (0, 1))[flat], flat, nowhere)


def _free_cells(center: list[int], cells: NDArray[np.int16], free: NDArray[np.bool_]) -> NDArray[np.int32]:
    """The same where looking is free, on small integers: this is what a large ball costs."""
    inside = np.ones(cells.shape[1], dtype=bool)
    flat = np.zeros(cells.shape[1], dtype=np.int32)
    for offsets, index, size in zip(cells, center, free.shape, strict=True):
        place = offsets + np.int16(index)
        inside &= place.view(np.uint16) < size  # negative numbers are large ones here
        flat *= size
        flat += place
    held = flat[inside]
    return held[free.ravel().take(held)]


def values_at(values: Float[Tensor, "d h w"], flat: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
    """The values at flat indices, −inf at the index one past the last voxel."""
    if reads_are_free(values):
        return values.reshape(-1).index_select(0, flat)
    return functional.pad(values.reshape(-1), (0, 1), value=-torch.inf)[flat]


def ranked(values: Float[Tensor, " n"]) -> Int[Tensor, " n"]:
    """Positions of the values from the highest to the lowest, ties by position.

    On a CPU, float32 is sorted by its bits: integers take a radix sort, ten times faster.

    Args:
        values: no NaN.

    >>> ranked(torch.tensor([0.5, 2.0, 0.5, -0.0, 0.0])).tolist()
    [1, 0, 2, 3, 4]
    """
    if values.dtype != torch.float32 or not reads_are_free(values):
        return torch.sort(values, descending=True, stable=True).indices
    bits = (values + 0.0).view(torch.int32)  # −0 becomes 0
    ascending = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    return torch.sort(~ascending, stable=True).indices
