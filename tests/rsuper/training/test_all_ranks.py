"""A step that is not finite on one rank is skipped on all of them, named, and counted alike."""

from __future__ import annotations

import torch
import two_ranks
from torch import multiprocessing


def test_a_poisoned_step_is_skipped_on_all_ranks(tmp_path):
    multiprocessing.spawn(two_ranks.run_rank, args=(str(tmp_path), 2), nprocs=2)
    first, second = (torch.load(tmp_path / f"rank{rank}.pt") for rank in range(2))
    assert first["named"] == second["named"]
    assert first["named"][1] == ("rank 1: volume",)
    assert first["named"][3] == ("rank 0: gradient", "rank 1: gradient"), (
        "gradients are exchanged before the check"
    )
    assert torch.equal(first["weights"], second["weights"])
    assert torch.isfinite(first["weights"]).all()
    changed = (first["weights"][1:] != first["weights"][:-1]).any(dim=1).tolist()
    assert changed == [False, True, False, True, False, False]
    assert first["stopped"] == second["stopped"] == (6, "training_diverged")


def test_without_ranks_the_answer_is_what_was_found():
    from rsuper.training.guard import agreed_on_all_ranks

    assert agreed_on_all_ranks(["image"]) == ("image",)
    assert agreed_on_all_ranks([]) == ()
