"""What a person should know of a run: reports that no patch holds, and reports that contradict each other."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from scipy.stats import rankdata

from rsuper.data.batches import Channels, SamplingConfig
from rsuper.data.store import PreparedCase
from rsuper.training.region_search import larger_regions
from rsuper.training.run_folder import METRICS_FILE

RECENT_STEPS = 200
LEAST_SAMPLES = 20
CONTRADICTED = 0.65
"""Area under the curve below which places are likely wrong.

Of 13 runs of the studies in benchmarks/README.md, 5 of the 6 that had locked on to wrong places or learnt from reports
of which 40 % were wrong had 0.46 to 0.61 (the other 0.76), the 7 others 0.75 to 0.98.
"""


def larger_than_patch(
    cases: Sequence[PreparedCase], channels: Channels, sampling: SamplingConfig
) -> dict[str, int]:
    """Lesion class → number of cases whose reported region no patch holds; classes without any are left out."""
    found: Counter[str] = Counter()
    for case in cases:
        found.update(larger_regions(case, channels, sampling))
    return dict(sorted(found.items()))


def recent_separation(run: Path) -> float | None:
    """Are reported lesions brighter than the brightest of free organs? Area under the ROC curve over the last steps.

    ``top_reported`` against ``top_free`` of ``RECENT_STEPS`` steps, see
    :func:`rsuper.losses.diagnostics.brightness_figures`: 1 is always, 0.5 as often as not.

    Args:
        run: run folder.

    Returns:
        None before there are enough steps of both kinds.
    """
    steps = []
    for line in (run / METRICS_FILE).read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        if "stage" in entry:
            steps.append(entry)
    recent = steps[-RECENT_STEPS:]
    reported, free = (
        [entry[name] for entry in recent if entry.get(name) is not None]
        for name in ("top_reported", "top_free")
    )
    if len(steps) < RECENT_STEPS or min(len(reported), len(free)) < LEAST_SAMPLES:
        return None
    ranks = rankdata([*reported, *free])[: len(reported)]
    above = float(ranks.sum()) - len(reported) * (len(reported) + 1) / 2
    return above / (len(reported) * len(free))


def contradiction(run: Path) -> float | None:
    """:func:`recent_separation` where it is so low that places are likely wrong; else None."""
    separation = recent_separation(run)
    return separation if separation is not None and separation < CONTRADICTED else None
