"""A non-finite loss or gradient never reaches the weights (promise R10)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, distributed

from rsuper.errors import DataError


def non_finite(named: Mapping[str, Tensor | Iterable[Tensor]]) -> tuple[str, ...]:
    """The names whose tensors hold a NaN or an infinite value.

    Args:
        named: name → one tensor or several.

    Example:
        >>> non_finite({"volume": torch.tensor(float("nan")), "gradient": [torch.zeros(2)]})
        ('volume',)
    """
    bad = []
    for name, value in named.items():
        tensors = [value] if isinstance(value, Tensor) else value
        if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors):
            bad.append(name)
    return tuple(bad)


def agreed_on_all_ranks(
    bad: Sequence[str], *, device: torch.device | str = "cpu", group: distributed.ProcessGroup | None = None
) -> tuple[str, ...]:
    """What was not finite on any rank, the same answer on all of them, so that they skip a step together.

    Ask before ``backward`` about the loss (where one rank leaves out its backward pass, the others wait for its
    gradients for ever) and after it about the gradients. One number is exchanged where all is well. Without a process
    group the answer is ``bad``.

    Args:
        bad: what :func:`non_finite` says here.
        device: where the backend exchanges tensors: the rank's GPU for NCCL, the CPU for Gloo.
        group: the ranks that train together; all of them by default.

    Returns:
        Names with their ranks, such as ``rank 1: volume``; empty if the step is good everywhere.

    Example:
        >>> agreed_on_all_ranks(["volume"])
        ('volume',)
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        return tuple(bad)
    flag = torch.tensor([int(bool(bad))], device=device)
    distributed.all_reduce(flag, op=distributed.ReduceOp.MAX, group=group)
    if not flag.item():
        return ()
    everywhere: list[Sequence[str]] = [()] * distributed.get_world_size(group)
    distributed.all_gather_object(everywhere, tuple(bad), group=group)
    return tuple(f"rank {rank}: {name}" for rank, names in enumerate(everywhere) for name in names)


class NonFiniteGuard:
    """Counts skipped steps and stops the run after too many in a row.

    Args:
        limit: non-finite steps in a row that end the run.
        in_a_row: how many there were already, where a run is resumed.
    """

    def __init__(self, limit: int, *, in_a_row: int = 0) -> None:
        self.limit = limit
        self.in_a_row = in_a_row

    def record(self, bad: Sequence[str], *, case_ids: Sequence[str]) -> None:
        """Note one step: what was not finite, nothing for a good step.

        Raises:
            DataError: ``training_diverged`` at the ``limit``-th bad step in a row, with its terms and cases.
        """
        self.in_a_row = self.in_a_row + 1 if bad else 0
        if self.in_a_row >= self.limit:
            raise DataError(
                f"{self.in_a_row} non-finite steps in a row, last in {', '.join(bad)}, cases {', '.join(case_ids)}",
                code="training_diverged",
                hint="lower the learning rate, or look at these cases with `rsuper check`",
            )
