"""Distributions to draw numbers from: answers, and seconds until an answer."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TypeAlias

import msgspec


class Uniform(msgspec.Struct, frozen=True, tag=True):
    """All numbers from `low` to `high` alike.

    Examples
    --------
    >>> Uniform(2, 4).draw(iter([0.5]))
    3.0
    """

    low: float = 0.0
    high: float = 100.0

    def draw(self, draws: Iterator[float]) -> float:
        """Return a number made of uniform ones in [0, 1)."""
        return self.low + (self.high - self.low) * next(draws)


class Normal(msgspec.Struct, frozen=True, tag=True):
    """The normal distribution of a mean and a standard deviation."""

    mean: float
    sd: float

    def draw(self, draws: Iterator[float]) -> float:
        """Return a number made of uniform ones in [0, 1)."""
        return self.mean + self.sd * _standard(draws)


class Exponential(msgspec.Struct, frozen=True, tag=True):
    """The exponential distribution of a mean: the waits between events that know no other."""

    mean: float

    def draw(self, draws: Iterator[float]) -> float:
        """Return a number made of uniform ones in [0, 1)."""
        return -self.mean * math.log1p(-next(draws))


class Lognormal(msgspec.Struct, frozen=True, tag=True):
    """Half of all numbers below `median`, few of them far above it: how latencies mostly are.

    Parameters
    ----------
    median
        The median.
    sigma
        The standard deviation of the logarithm; with 1, one in a hundred is 10 x the median.
    """

    median: float
    sigma: float = 0.5

    def draw(self, draws: Iterator[float]) -> float:
        """Return a number made of uniform ones in [0, 1)."""
        return self.median * math.exp(self.sigma * _standard(draws))


Distribution: TypeAlias = Uniform | Normal | Exponential | Lognormal


def _standard(draws: Iterator[float]) -> float:
    """Return a number of mean 0 and standard deviation 1, by Box and Muller."""
    radius = math.sqrt(-2.0 * math.log1p(-next(draws)))
    return radius * math.cos(math.tau * next(draws))
