"""The batches of a run in step order, made ahead of the step that takes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from torch import nn

from rsuper.data.batches import Batch, Batches, Stage
from rsuper.training.region_search import RegionSearch

PREFETCH = 2


@dataclass(frozen=True, kw_only=True)
class BatchStream:
    """Batches and where their crops lie.

    Args:
        batches: the source.
        search: where the lesions of regions larger than a patch are.
        network: what that search looks with.
        stage: step → what it learns from.
    """

    batches: Batches
    search: RegionSearch
    network: nn.Module
    stage: Callable[[int], Stage]

    def steps(self, start: int, total: int) -> Iterator[tuple[int, Batch]]:
        """Step and batch from ``start`` on, made one thread ahead."""
        with ThreadPoolExecutor(max_workers=1) as pool:
            ahead = [self._submit(pool, step) for step in range(start, min(total, start + PREFETCH))]
            for step in range(start, total):
                batch = ahead.pop(0).result()
                if step + PREFETCH < total:
                    ahead.append(self._submit(pool, step + PREFETCH))
                yield step, batch

    def _submit(self, pool: ThreadPoolExecutor, step: int) -> Future[Batch]:
        """Have a batch made; the search, where it needs one, is done here, with the weights of ``PREFETCH`` steps ago.

        A resumed run finds what was searched for its first batches in the checkpoint.
        """
        stage = self.stage(step)
        places = {}
        if stage == "masks_and_reports":
            cases = self.batches.cases(step, stage)
            places = self.search.places(cases, self.network, step=max(0, step - PREFETCH))
        return pool.submit(self.batches.batch, step, stage, places=places)
