"""The finished work of a large archive in 16 bytes each, so that a resumed run finds its place in seconds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

KEY_BYTES = 16
"""Of the 32 bytes of a key; two of a million different keys share these with a chance of about 1 in 10^26."""


class FinishedKeys:
    """A set of work keys as it was when asked for; a key it does not hold may have been finished since.

    Args:
        keys: the first 16 bytes of each key, in ascending order.

    >>> done = FinishedKeys([bytes.fromhex("0a" * 16), bytes.fromhex("0b" * 16)])
    >>> done.holds(["0b" * 32, "0c" * 32])
    [True, False]
    """

    def __init__(self, keys: Iterable[bytes]) -> None:
        import numpy as np

        halves = np.frombuffer(b"".join(keys), dtype=">u8").astype(np.uint64).reshape(-1, 2)
        self._high: NDArray[np.uint64] = np.ascontiguousarray(halves[:, 0])
        self._low: NDArray[np.uint64] = np.ascontiguousarray(halves[:, 1])

    def __len__(self) -> int:
        return len(self._high)

    def holds(self, keys: Sequence[str]) -> list[bool]:
        """For each of some keys, given in hexadecimal, whether it was finished."""
        import numpy as np

        if not len(self) or not keys:
            return [False] * len(keys)
        given = np.frombuffer(bytes.fromhex("".join(keys)), dtype=">u8").reshape(len(keys), -1)
        high, low = given[:, 0].astype(np.uint64), given[:, 1].astype(np.uint64)
        at = np.minimum(np.searchsorted(self._high, high), len(self) - 1)
        found: list[bool] = ((self._high[at] == high) & (self._low[at] == low)).tolist()
        return found
