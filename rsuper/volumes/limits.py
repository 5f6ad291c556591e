"""What a file may claim before it is refused."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ReadLimits:
    """Caps that are checked before memory is touched.

    Args:
        max_voxels: voxels of one volume (default 2³⁰: 1024×1024×1024).
        max_expansion: decoded bytes per stored byte of a CT larger than ``expansion_from_bytes``; a real CT
            reaches about 5, an empty one 1000. Masks are exempt, they do compress that well.
        expansion_from_bytes: below this decoded size no expansion is refused.
        time_limit_s: wall-clock seconds for one file.
        clock: monotonic clock, replaceable in tests.
    """

    max_voxels: int = 1 << 30
    max_expansion: float = 400.0
    expansion_from_bytes: int = 256 << 20
    time_limit_s: float = 300.0
    clock: Callable[[], float] = time.monotonic
