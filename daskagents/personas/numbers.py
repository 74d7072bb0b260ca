"""Distributions of numbers, cut off exactly at their bounds: a quantile is drawn, not rejected."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daskagents.errors import SpecError
from daskagents.personas.values import Kind

Floats = NDArray[np.float64]

#: The largest mean of a Poisson distribution, whose probabilities are put in a table.
POISSON = 1e6
#: Points at which a distribution is looked at, for what is expected of it.
_POINTS = 4_000


@dataclass(frozen=True)
class Family:
    """A family of distributions.

    Parameters
    ----------
    forms
        The parameters it can be given by, and how each form becomes its own two numbers.
    low
        The least number it can give.
    """

    forms: Mapping[tuple[str, ...], Callable[..., tuple[float, float]]]
    low: float = -math.inf


def _scale(name: str, value: float) -> float:
    if not value > 0:
        raise SpecError(f"{name} is {value:g}; it must be more than 0")
    return value


def _by_moments(mean: float, sd: float) -> tuple[float, float]:
    """Return mu and sigma of a lognormal distribution, from the mean and sd of its values."""
    square = math.log1p((_scale("sd", sd) / _scale("mean", mean)) ** 2)
    return math.log(mean) - square / 2, math.sqrt(square)


FAMILIES: dict[str, Family] = {
    "normal": Family({("mean", "sd"): lambda mean, sd: (mean, _scale("sd", sd))}),
    "lognormal": Family(
        {
            ("median", "sigma"): lambda median, sigma: (
                math.log(_scale("median", median)),
                _scale("sigma", sigma),
            ),
            ("mu", "sigma"): lambda mu, sigma: (mu, _scale("sigma", sigma)),
            ("mean", "sd"): _by_moments,
        },
        0.0,
    ),
    "uniform": Family({("min", "max"): lambda low, high: (low, high)}),
    "exponential": Family(
        {
            ("mean",): lambda mean: (_scale("mean", mean), 0.0),
            ("rate",): lambda rate: (1 / _scale("rate", rate), 0.0),
        },
        0.0,
    ),
    "poisson": Family({("mean",): lambda mean: (_scale("mean", mean), 0.0)}, 0.0),
}


@dataclass(frozen=True)
class Shape:
    """One distribution: what stands in one branch.

    Parameters
    ----------
    family
        A name in `FAMILIES`.
    a, b
        Its two numbers.
    low, high
        Where it is cut off; both can be drawn.
    unit
        What values are multiples of; 0 for all numbers.

    Raises
    ------
    SpecError
        If nothing, or as good as nothing, lies between its bounds.

    Examples
    --------
    >>> Shape("normal", 0.0, 1.0, 3.0, 2.0)
    Traceback (most recent call last):
        ...
    daskagents.errors.SpecError: min is 3 and max is 2; nothing lies between them
    """

    family: str
    a: float
    b: float
    low: float = -math.inf
    high: float = math.inf
    unit: float = 0.0

    def __post_init__(self) -> None:
        low, high = self.ends
        if low > high:
            said = f"min is {self.low:g} and max is {self.high:g}; nothing lies between them"
            raise SpecError(said + (f" that is rounded to {self.unit:g}" if self.unit else ""))
        if self.family == "poisson" and self.a > POISSON:
            raise SpecError(f"mean is {self.a:g}, and may be {POISSON:g}; use a normal one")
        if self.family == "poisson":
            _, mass = self._table()
            if not mass[-1] > 0:
                raise SpecError("as good as nothing of the distribution lies in its bounds")
            return
        with np.errstate(all="ignore"):
            found = self.draw(np.array([0.25, 0.75]))
        if not np.isfinite(found).all():
            raise SpecError("as good as nothing of the distribution lies in its bounds")

    @property
    def ends(self) -> tuple[float, float]:
        """The least and the greatest value that can be drawn."""
        low, high = max(self.low, FAMILIES[self.family].low), self.high
        if self.family == "uniform":
            low, high = max(low, self.a), min(high, self.b)
        unit = max(self.unit, 1.0) if self.family == "poisson" else self.unit
        if not unit:
            return low, high
        low = math.ceil(low / unit - 1e-9) * unit if math.isfinite(low) else low
        return low, math.floor(high / unit + 1e-9) * unit if math.isfinite(high) else high

    def draw(self, uniform: Floats) -> Floats:
        """Return values for numbers that are uniform in (0, 1).

        Examples
        --------
        >>> Shape("normal", 44.0, 15.0, 18.0, 95.0, 1.0).draw(np.array([0.001, 0.5, 0.999]))
        array([18., 45., 89.])
        """
        low, high = self.ends
        if self.family == "poisson":
            start, mass = self._table()
            found = start + np.searchsorted(mass, uniform * mass[-1], side="right")
        else:
            # all numbers that are rounded to the least value count for it
            half = self.unit / 2
            bottom = max(low - half, FAMILIES[self.family].low)
            found = _quantile(self.family, self.a, self.b, bottom, high + half, uniform)
        if self.unit:
            found = np.floor(found / self.unit + 0.5) * self.unit
            if self.unit < 1:
                found = np.round(found, round(-math.log10(self.unit)))
        clipped: Floats = np.clip(found, low, high)
        return clipped

    def _table(self) -> tuple[int, Floats]:
        """Return the first count of a Poisson distribution, and its cumulated probabilities."""
        wide = 40 * math.sqrt(self.a) + 60
        low, high = self.ends
        first = int(max(low, self.a - wide, 0.0))
        counts = np.arange(first, int(min(high, max(first, self.a) + wide)) + 1)
        steps = np.cumsum(np.log(counts[1:]))  # of log(count!) from the first on
        factorials = math.lgamma(first + 1) + np.concatenate([[0.0], steps])
        return first, np.cumsum(np.exp(counts * math.log(self.a) - self.a - factorials))

    def expected(self) -> Floats:
        """Return values that are spread as the distribution is."""
        return self.draw((np.arange(_POINTS) + 0.5) / _POINTS)


def _quantile(family: str, a: float, b: float, low: float, high: float, uniform: Floats) -> Any:
    """Return quantiles of a distribution that is cut off at its bounds."""
    if family == "uniform":
        return low + uniform * (high - low)
    if family == "exponential":
        return low - a * np.log1p(uniform * math.expm1(-(high - low) / a))
    if family == "lognormal":
        with np.errstate(divide="ignore"):
            low, high = (float(np.log(max(end, 0.0))) for end in (low, high))
    lower, upper = (low - a) / b, (high - a) / b
    # the upper tail has few digits near 1, so it is drawn as the lower one
    sign = -1.0 if lower > 0 else 1.0
    if sign < 0:
        lower, upper = -upper, -lower
    bottom, top = (math.erfc(-end / math.sqrt(2)) / 2 for end in (lower, upper))
    if not top > 1e-300:  # as good as nothing: there are no such quantiles
        return np.full(uniform.shape, np.nan)
    shares = np.clip(bottom + uniform * (top - bottom), np.finfo(float).tiny, 1 - 2.0**-53)
    # not SciPy, though it is faster: where it is installed, every process imports it with Dask
    scores = map(NormalDist().inv_cdf, shares.ravel().tolist())
    found = a + b * sign * np.fromiter(scores, float, shares.size).reshape(shares.shape)
    return np.exp(found) if family == "lognormal" else found


@dataclass(frozen=True)
class Numbers:
    """A field of numbers: a distribution for each cell of its conditions.

    Parameters
    ----------
    shapes
        One for each cell.
    whole
        Whether they are ints.
    """

    shapes: tuple[Shape, ...]
    whole: bool

    @property
    def kind(self) -> Kind:
        """What its columns are."""
        ends = [shape.ends for shape in self.shapes]
        low, high = min(low for low, _ in ends), max(high for _, high in ends)
        return Kind("int" if self.whole else "float", None, low, high)

    def make(self, cells: NDArray[np.int64], rng: np.random.Generator) -> NDArray[Any]:
        """Return a number for each person."""
        uniform = np.maximum(rng.random(len(cells)), 2.0**-54)
        if len(self.shapes) == 1:
            found = self.shapes[0].draw(uniform)
        else:
            found = np.empty(len(cells))
            order = np.argsort(cells.astype(np.min_scalar_type(len(self.shapes))), kind="stable")
            ends = np.cumsum(np.bincount(cells, minlength=len(self.shapes)))
            for shape, start, end in zip(self.shapes, [0, *ends[:-1]], ends, strict=True):
                if end > start:
                    rows = order[start:end]
                    found[rows] = shape.draw(uniform[rows])
        return found.astype(np.int64) if self.whole else found
