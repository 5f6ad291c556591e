"""The border between a device and the host: one read a call, uploads that wait for nothing."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor

HOST_DEVICES = ("cpu",)
P = ParamSpec("P")
R = TypeVar("R")


def untraced(function: Callable[P, R]) -> Callable[P, R]:
    """A function that ``torch.compile`` runs as it is: shapes that depend on the data are not worth a graph.

    ``torch.compiler.disable`` itself imports the compiler, which takes seconds; here that happens only under one.
    """

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        if not torch.compiler.is_compiling():
            return function(*args, **kwargs)
        plain: Callable[P, R] = torch.compiler.disable(function)
        return plain(*args, **kwargs)

    return call


def reads_are_free(tensor: Tensor) -> bool:
    """True on a CPU, where a value may decide what is computed next; elsewhere each look waits for the device."""
    return tensor.device.type in HOST_DEVICES


def read_once(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Copies on the host, float64, of small tensors, with at most one device synchronisation for all of them.

    Args:
        tensors: any shapes and real dtypes; those on the host already cost nothing.

    Returns:
        The values in the order passed in.

    >>> [part.tolist() for part in read_once(torch.ones(2, dtype=torch.bool), torch.tensor(7))]
    [[1.0, 1.0], 7.0]
    """
    away = [tensor.detach() for tensor in tensors if not reads_are_free(tensor)]
    arrived = iter(_fetch(away) if away else [])
    return tuple(
        tensor.detach().to(torch.float64) if reads_are_free(tensor) else next(arrived) for tensor in tensors
    )


def upload(values: Sequence[float] | Sequence[Sequence[float]] | Tensor, like: Tensor) -> Tensor:
    """Numbers of the host as a tensor of the dtype and on the device of ``like``, without waiting for the device."""
    tensor = values if isinstance(values, Tensor) else torch.tensor(values, dtype=torch.float64)
    return tensor.to(device=like.device, dtype=like.dtype, non_blocking=True)


def _fetch(away: Sequence[Tensor]) -> list[Tensor]:
    """The synchronisation."""
    packed = torch.cat([tensor.reshape(-1).to(torch.float64) for tensor in away]).cpu()
    parts = torch.split(packed, [tensor.numel() for tensor in away])
    return [part.view(tensor.shape) for part, tensor in zip(parts, away, strict=True)]
