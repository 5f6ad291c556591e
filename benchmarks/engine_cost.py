"""What many reports cost by back-end: arithmetic with stated assumptions, nothing measured.

Run: ``python benchmarks/engine_cost.py``, or ``engines.py cost``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

REPORTS = 100_000
GPU_HOUR_USD, MILLION_TOKENS_USD = 3.0, 0.9
SUSTAINED_FLOPS, SUSTAINED_BYTES_S = 4e14, 2e12
"""Of one 80 GB GPU: arithmetic with 8-bit weights, and memory; both well below the data sheet."""
BATCH = 128


@dataclass(frozen=True)
class Load:
    """What one report asks of a model, in tokens."""

    fixed: int
    report: int
    output: int
    requests: float
    cached: bool

    def gpu_s(self, parameters: float) -> float:
        """GPU seconds: reading costs arithmetic, writing costs a pass over the weights for the whole batch."""
        read = self.report + (0 if self.cached else self.fixed)
        reading = read * 2 * parameters / SUSTAINED_FLOPS
        writing = self.output * parameters / SUSTAINED_BYTES_S / BATCH
        return self.requests * (reading + writing)


def cost() -> dict[str, dict[str, float]]:
    """Estimate what 100,000 reports of 600 tokens cost; arithmetic with the assumptions above, nothing measured."""
    loads = {
        "this package": Load(fixed=1_233, report=600, output=160, requests=1.05, cached=True),
        "three prose requests, prefix cached": Load(3_290, 600, 400, 3, cached=True),
        "three prose requests, nothing cached": Load(3_290, 600, 400, 3, cached=False),
    }
    found: dict[str, dict[str, float]] = {}
    for name, load in loads.items():
        tokens_all = REPORTS * load.requests * (load.fixed + load.report + load.output)
        row: dict[str, float] = {}
        for size in (8, 70):
            hours = REPORTS * load.gpu_s(size * 1e9) / 3600
            row[f"{size}B: GPU hours"] = round(hours, 1)
            row[f"{size}B: USD"] = round(hours * GPU_HOUR_USD)
        row["by the token: million tokens"] = round(tokens_all / 1e6)
        row["by the token: USD"] = round(tokens_all / 1e6 * MILLION_TOKENS_USD)
        found[name] = row
    return found


if __name__ == "__main__":
    print(json.dumps(cost(), indent=2))
