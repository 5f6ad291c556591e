"""A rank of a training loop with poisoned steps: two of them exchange gradients over Gloo."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from rsuper.errors import DataError
from rsuper.training.guard import NonFiniteGuard, agreed_on_all_ranks, non_finite

STEPS = 8
POISON = {(1, 1): "loss", (3, 0): "gradient", (5, 0): "loss", (6, 1): "loss"}
"""(step, rank) -> what is broken there."""


class Explode(torch.autograd.Function):
    """Identity whose gradient overflows."""

    @staticmethod
    def forward(ctx, value):
        return value.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient * float("inf")


def run_rank(rank: int, folder: str, ranks: int) -> None:
    """Train a tiny network and save the weights after each step, what was named, and where the run stopped."""
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo",
        init_method=(Path(folder) / "meeting").as_uri(),
        rank=rank,
        world_size=ranks,
        timeout=timedelta(seconds=60),
    )
    torch.manual_seed(0)
    network = DistributedDataParallel(nn.Conv3d(1, 1, 3, padding=1))
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.1)
    guard = NonFiniteGuard(2)
    weights, named, stopped = [], [], None
    for step in range(STEPS):
        optimizer.zero_grad()
        image = torch.randn(1, 1, 4, 4, 4, generator=torch.Generator().manual_seed(10 * step + rank))
        output = network(image)
        kind = POISON.get((step, rank))
        if kind == "gradient":
            output = Explode.apply(output)
        loss = (output - image).square().mean() * (float("nan") if kind == "loss" else 1.0)
        bad = agreed_on_all_ranks(non_finite({"volume": loss}))
        if not bad:
            loss.backward()
            gradients = [value.grad for value in network.parameters()]
            bad = agreed_on_all_ranks(non_finite({"gradient": gradients}))
        if not bad:
            optimizer.step()
        weights.append(torch.cat([value.detach().flatten().clone() for value in network.parameters()]))
        named.append(bad)
        try:
            guard.record(bad, case_ids=[f"case_{rank}"])
        except DataError as error:
            stopped = (step, error.code)
            break
    torch.save(
        {"weights": torch.stack(weights), "named": named, "stopped": stopped}, Path(folder) / f"rank{rank}.pt"
    )
    del network  # its reducer ends before the connections that it uses
    distributed.barrier()
    distributed.destroy_process_group()
