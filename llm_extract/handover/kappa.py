"""Agreement of two readers on one field: share with interval, and Cohen's kappa with its large-sample interval."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass

from llm_extract.intervals import clopper_pearson

_Z = 1.959963984540054


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval; None where it is not defined."""

    value: float | None
    low: float | None
    high: float | None

    def as_json(self) -> dict[str, float | None]:
        """Rounded to four digits."""
        values = {"value": self.value, "low": self.low, "high": self.high}
        return {name: None if value is None else round(value, 4) for name, value in values.items()}


class Share:
    """How many of some units agree, where the units of one report belong together.

    The interval is the exact one of a proportion at the effective number of units, p (1 - p) / var(p), with the
    variance between reports (ratio estimate); where all or none agree, at the number of reports.

    >>> share = Share()
    >>> for agree in (1, 1, 0, 1):
    ...     share.add(agree, 1)
    >>> share.estimate().value
    0.75
    """

    def __init__(self) -> None:
        self.agree = 0
        self.of = 0
        self._reports = 0
        self._squares = [0, 0, 0]  # sums over reports of agree², agree * of, of²

    def add(self, agree: int, of: int) -> None:
        """Count one report."""
        if of:
            self.agree += agree
            self.of += of
            self._reports += 1
            for n, square in enumerate((agree * agree, agree * of, of * of)):
                self._squares[n] += square

    def estimate(self) -> Estimate:
        """The share and its interval."""
        if not self.of:
            return Estimate(None, None, None)
        p = self.agree / self.of
        aa, an, nn = self._squares
        variance = (aa - 2 * p * an + p * p * nn) / self.of**2
        effective = float(self._reports)
        if 0 < p < 1:
            effective = p * (1 - p) / variance if variance > 0 else float(self.of)
        low, high = clopper_pearson(p * effective, effective)
        return Estimate(p, low, high)


def cohen_kappa(counts: Mapping[tuple[Hashable, Hashable], int]) -> Estimate:
    """Cohen's kappa of two readers, and its interval by the delta method (Fleiss, Cohen and Everitt 1969).

    kappa = (po - pe) / (1 - pe) with po the observed and pe the chance agreement from the readers' own frequencies.

    Args:
        counts: how often the first reader said the first and the second the second value.

    Returns:
        The estimate; None where there are no units, or both readers always say the same one value.

    >>> cohen_kappa({("yes", "yes"): 20, ("yes", "no"): 5, ("no", "yes"): 10, ("no", "no"): 15}).value
    0.4
    """
    n = sum(counts.values())
    if not n:
        return Estimate(None, None, None)
    first: dict[Hashable, float] = defaultdict(float)
    second: dict[Hashable, float] = defaultdict(float)
    for (a, b), number in counts.items():
        first[a] += number / n
        second[b] += number / n
    po = sum(number for (a, b), number in counts.items() if a == b) / n
    pe = sum(share * second[value] for value, share in first.items())
    if 1 - pe < 1e-12:
        return Estimate(None, None, None)
    kappa = (po - pe) / (1 - pe)
    variance = 0.0
    for (a, b), number in counts.items():
        slope = ((a == b) - po) / (1 - pe) - (1 - po) / (1 - pe) ** 2 * (second[a] + first[b] - 2 * pe)
        variance += number / n * slope * slope
    half = _Z * math.sqrt(variance / n)
    return Estimate(round(kappa, 12), max(-1.0, kappa - half), min(1.0, kappa + half))
