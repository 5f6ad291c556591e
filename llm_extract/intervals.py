"""Exact intervals of a proportion, and how an interval is written."""

from __future__ import annotations


def clopper_pearson(successes: float, trials: float, *, confidence: float = 0.95) -> tuple[float, float]:
    """Exact (Clopper–Pearson) interval of a binomial proportion, by the quantiles of the beta distribution.

    Args:
        successes: how many of them; need not be whole, for effective sample sizes.
        trials: out of how many; 0 gives (0, 1).
        confidence: probability that the interval covers the true proportion, at least.

    Returns:
        Lower and upper end.

    >>> [round(end, 3) for end in clopper_pearson(0, 100)]
    [0.0, 0.036]
    """
    from scipy.special import betaincinv

    if trials <= 0:
        return 0.0, 1.0
    tail = (1.0 - confidence) / 2.0
    failures = trials - successes
    low = 0.0 if successes <= 0 else float(betaincinv(successes, failures + 1.0, tail))
    high = 1.0 if failures <= 0 else float(betaincinv(successes + 1.0, failures, 1.0 - tail))
    return low, high


def with_interval(value: float | None, low: float | None, high: float | None, *, digits: str) -> str:
    """A value with its interval as text; a dash where there is none.

    Args:
        value: the estimate.
        low: lower end.
        high: upper end.
        digits: how a number is written, as in ``format``.

    >>> with_interval(0.5, 0.25, 0.75, digits=".0%"), with_interval(None, None, None, digits=".3f")
    ('50% (25%–75%)', '–')
    """
    return "–" if value is None else f"{value:{digits}} ({low:{digits}}–{high:{digits}})"
