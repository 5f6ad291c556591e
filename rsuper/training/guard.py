"""A non-finite loss or gradient never reaches the weights (promise R10)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from rsuper.errors import DataError


class NonFiniteGuard:
    """Counts non-finite steps, names their cases and terms, and stops the run after too many in a row.

    Args:
        limit: non-finite steps in a row that end the run.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.in_a_row = 0
        self.total = 0

    def check(
        self, loss: Tensor, network: nn.Module, *, terms: Mapping[str, Tensor], case_ids: Sequence[str]
    ) -> str | None:
        """None if loss and gradients are finite, else what was not, for the log; the caller skips the step.

        Raises:
            DataError: ``training_diverged`` at the ``limit``-th bad step in a row.
        """
        bad = [name for name, value in terms.items() if not bool(torch.isfinite(value).all())]
        gradients = [p.grad for p in network.parameters() if p.grad is not None]
        finite = bool(torch.isfinite(loss)) and all(bool(torch.isfinite(g).all()) for g in gradients)
        if finite and not bad:
            self.in_a_row = 0
            return None
        self.in_a_row += 1
        self.total += 1
        what = ", ".join(bad) or "gradient"
        if self.in_a_row >= self.limit:
            raise DataError(
                f"{self.in_a_row} non-finite steps in a row, last in {what}, cases {', '.join(case_ids)}",
                code="training_diverged",
                hint="lower the learning rate, or look at these cases with `rsuper check`",
            )
        return what
