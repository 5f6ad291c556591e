"""What a person should know of a run: reports that no patch holds, and reports that contradict each other."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rsuper.data.batches import Channels, SamplingConfig
from rsuper.data.store import PreparedCase
from rsuper.training.region_search import larger_regions
from rsuper.training.run_folder import METRICS_FILE

RECENT_STEPS = 200
CONTRADICTED = 2.0
"""Mean absence term above which places are likely wrong, −ln(1 − p) at p = 0.86.

Of 117 runs of the studies in benchmarks/README.md the 9 above it had locked on to wrong places, or learnt from reports
of which 40 % were wrong.
"""


def larger_than_patch(
    cases: Sequence[PreparedCase], channels: Channels, sampling: SamplingConfig
) -> dict[str, int]:
    """Lesion class → number of cases whose reported region no patch holds; classes without any are left out."""
    found: Counter[str] = Counter()
    for case in cases:
        found.update(larger_regions(case, channels, sampling))
    return dict(sorted(found.items()))


def recent_absence(run: Path) -> float | None:
    """Mean absence term over those of the last ``RECENT_STEPS`` steps that had one; None before there are as many.

    The term is −ln(1 − p) of the brightest 100 mm³ where a report calls an organ free. Where the network finds lesions
    it falls; where it is as bright in free organs as in those with lesions, it has not found them.

    Args:
        run: run folder.
    """
    values = []
    for line in (run / METRICS_FILE).read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        if "absence" in entry:
            values.append(entry["absence"])
    told = [value for value in values[-RECENT_STEPS:] if value]
    return sum(told) / len(told) if told and len(values) >= RECENT_STEPS else None
