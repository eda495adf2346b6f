"""A figure with its 95 % interval: Wilson's for shares, percentiles of a bootstrap for everything else."""

from collections.abc import Callable, Iterable, Sequence
from math import hypot
from statistics import fmean

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from safer_protocol.frozen import Frozen

LEVEL = 0.95
RESAMPLES = 1000
SEED = 0
"""Of every bootstrap, so that the same run gives the same report."""

Floats = NDArray[np.float64]
Statistic = Callable[[Floats], float | None]
"""From how often each row was drawn to a figure; None where it has no value."""


class Estimate(Frozen):
    """A figure, the ends of its interval, and the number of rows behind it."""

    value: float
    low: float
    high: float
    n: int


def share(flags: Iterable[bool]) -> Estimate | None:
    """Return the share of rows that are so; None where there are no rows."""
    every = list(flags)
    if not every:
        return None
    found = sum(every)
    interval = binomtest(found, len(every)).proportion_ci(LEVEL, "wilson")
    return Estimate(value=found / len(every), low=interval.low, high=interval.high, n=len(every))


def average(values: Sequence[float]) -> Estimate | None:
    """Return the mean of the rows' values."""
    if not values:
        return None
    return _estimate(fmean(values), resampled_means(values, np.random.default_rng(SEED)), len(values))


def mean_of_shares(shares: Sequence[Estimate]) -> Estimate | None:
    """Return the unweighted mean of shares of different rows; its interval follows from theirs (MOVER)."""
    if not shares:
        return None
    value = fmean(one.value for one in shares)
    below = hypot(*(one.value - one.low for one in shares)) / len(shares)
    above = hypot(*(one.high - one.value for one in shares)) / len(shares)
    return Estimate(value=value, low=value - below, high=value + above, n=sum(one.n for one in shares))


def resampled(n: int, statistic: Statistic) -> Estimate | None:
    """Return a statistic of n rows with the interval of its resamples; those in which it has no value are left out."""
    value = statistic(np.ones(n)) if n else None
    if value is None:
        return None
    rng = np.random.default_rng(SEED)
    every = (statistic(np.bincount(rng.integers(0, n, n), minlength=n).astype(float)) for _ in range(RESAMPLES))
    return _estimate(value, np.array([one for one in every if one is not None]), n)


def resampled_means(values: Sequence[float], rng: np.random.Generator) -> Floats:
    """Return the means of resamples; counting how often each value was drawn is the same as drawing rows, and faster."""
    unique, counts = np.unique(np.asarray(values, float), return_counts=True)
    drawn = rng.multinomial(len(values), counts / len(values), RESAMPLES)
    return np.asarray(drawn @ unique / len(values))


def _estimate(value: float, draws: Floats, n: int) -> Estimate:
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(draws, (tail, 1 - tail))
    return Estimate(value=float(value), low=float(low), high=float(high), n=n)
