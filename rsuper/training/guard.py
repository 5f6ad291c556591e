"""A non-finite loss or gradient never reaches the weights (promise R10)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

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
