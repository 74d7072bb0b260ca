"""Reducers: how what agents write to a shared field of an environment becomes one value.

Each block reduces what its own agents wrote, in order of the agents; the parts of the blocks are
merged in order of the blocks, in a tree; and the whole is joined to the value that was there.
"""

from __future__ import annotations

import functools
import itertools
import math
import typing
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from daskagents.errors import FieldError

#: How near two results of a function must be that is to be associative, relative to the larger.
_TOLERANCE = 1e-9
#: What functions are tried on, by the type of the field.
_SAMPLES: dict[Any, tuple[Any, ...]] = {
    float: (-1.5, 0.25, 3.0, 40.0),
    int: (-7, 2, 3, 11),
    bool: (True, False),
    str: ("b", "a", "cd"),
}


class Reducer(ABC):
    """One way to make one value of many: pure, and the same however the agents are cut into blocks.

    Attributes
    ----------
    name
        As in ``da.shared(..., reduce=name)``.
    """

    name: str

    def written(self, annotation: Any) -> Any:
        """Return the type of what agents write, for a field of this type."""
        return annotation

    def check(self, where: str, annotation: Any) -> None:
        """Raise a `FieldError` if fields of this type cannot be reduced so."""

    @abstractmethod
    def block(self, values: Sequence[Any]) -> Any:
        """Return the part of one block: of values in order of the agents, at least one."""

    @abstractmethod
    def merge(self, parts: Sequence[Any]) -> Any:
        """Return several parts as one, in their order."""

    def join(self, old: Any, part: Any) -> Any:
        """Return the next value of the field, from the one before and the part of all blocks."""
        return self.merge([old, part])


class Sum(Reducer):
    """The value before, and all that was written, added up."""

    name = "sum"

    def check(self, where: str, annotation: Any) -> None:
        _need(where, self.name, annotation, (float, int))

    def block(self, values: Sequence[Any]) -> Any:
        return _total(values)

    def merge(self, parts: Sequence[Any]) -> Any:
        return sum(parts[1:], parts[0])


class Mean(Reducer):
    """The mean of what was written in a step; where nothing was, the value stays."""

    name = "mean"

    def check(self, where: str, annotation: Any) -> None:
        _need(where, self.name, annotation, (float,))

    def block(self, values: Sequence[Any]) -> Any:
        return _total(values), len(values)

    def merge(self, parts: Sequence[Any]) -> Any:
        return sum(total for total, _ in parts), sum(n for _, n in parts)

    def join(self, old: Any, part: Any) -> Any:
        return part[0] / part[1]


class Count(Reducer):
    """How often it was written to, whatever was written, added to the value before."""

    name = "count"

    def written(self, annotation: Any) -> Any:
        return Any

    def check(self, where: str, annotation: Any) -> None:
        _need(where, self.name, annotation, (int,))

    def block(self, values: Sequence[Any]) -> Any:
        return len(values)

    def merge(self, parts: Sequence[Any]) -> Any:
        return sum(parts)


class Extreme(Reducer):
    """The least, or the greatest, of the value before and all that was written."""

    def __init__(self, name: str, pick: Callable[[Iterable[Any]], Any]) -> None:
        self.name, self._pick = name, pick

    def check(self, where: str, annotation: Any) -> None:
        _need(where, self.name, annotation, (float, int, str, bool))

    def block(self, values: Sequence[Any]) -> Any:
        if isinstance(values[0], float) and any(map(math.isnan, values)):
            return math.nan  # as NumPy has it, and not as the order of the values has it
        return self._pick(values)

    def merge(self, parts: Sequence[Any]) -> Any:
        return self.block(parts)


class Append(Reducer):
    """A tuple of all that was ever written, in order of the steps and the agents."""

    name = "append"

    def written(self, annotation: Any) -> Any:
        return _member(annotation)

    def check(self, where: str, annotation: Any) -> None:
        _need(where, self.name, annotation, (tuple,))

    def block(self, values: Sequence[Any]) -> Any:
        return tuple(values)

    def merge(self, parts: Sequence[Any]) -> Any:
        return tuple(itertools.chain.from_iterable(parts))


class Union(Append):
    """A tuple of what was written, each value once, in the order of their first times."""

    name = "union"

    def block(self, values: Sequence[Any]) -> Any:
        return tuple(dict.fromkeys(values))

    def merge(self, parts: Sequence[Any]) -> Any:
        return self.block(super().merge(parts))


class Last(Reducer):
    """What the last agent wrote that wrote anything, by the order of the agents."""

    name = "last"

    def block(self, values: Sequence[Any]) -> Any:
        return values[-1]

    def merge(self, parts: Sequence[Any]) -> Any:
        return parts[-1]


class Histogram(Reducer):
    """How many of the numbers ever written fell between two edges, as a tuple of counts.

    The last interval has both its edges, the others their lower one.
    """

    name = "histogram"

    def __init__(self, edges: Sequence[float]) -> None:
        self.edges = tuple(map(float, edges))

    def written(self, annotation: Any) -> Any:
        return float

    def check(self, where: str, annotation: Any) -> None:
        _need(where, self.name, annotation, (tuple,))
        if len(self.edges) < 2 or any(b <= a for a, b in itertools.pairwise(self.edges)):
            raise FieldError(
                f"{where}: a histogram has two or more edges, each above the one before:"
                " da.shared(reduce='histogram', bins=(0, 10, 20))"
            )

    def misfit(self, values: Sequence[float]) -> dict[int, str]:
        """Return which numbers are outside of all intervals, by position, and why."""
        array = np.asarray(values, float)
        inside = (array >= self.edges[0]) & (array <= self.edges[-1])
        said = f"is outside of the bins, {self.edges[0]:g} to {self.edges[-1]:g}"
        return {at: f"{values[at]!r} {said}" for at in np.flatnonzero(~inside).tolist()}

    def block(self, values: Sequence[Any]) -> Any:
        return tuple(np.histogram(values, self.edges)[0].tolist())

    def merge(self, parts: Sequence[Any]) -> Any:
        return tuple(map(sum, zip(*parts, strict=True)))


class Folded(Reducer):
    """What a function of two values makes of the value before and all that was written."""

    def __init__(self, function: Callable[[Any, Any], Any]) -> None:
        self.function = function
        self.name = getattr(function, "__name__", repr(function))

    def check(self, where: str, annotation: Any) -> None:
        samples = _SAMPLES.get(annotation)
        if samples is not None:
            self.try_on(where, samples)

    def try_on(self, where: str, samples: Sequence[Any]) -> None:
        """Raise a `FieldError` if the function gives other results for another order."""
        f = self.function
        for a, b in itertools.combinations(samples, 2):
            if not _near(f(a, b), f(b, a)):
                raise self._refusal(where, "commutative", f"f({a!r}, {b!r})", f"f({b!r}, {a!r})")
        for a, b, c in itertools.product(samples, repeat=3):
            if not _near(f(f(a, b), c), f(a, f(b, c))):
                one, two = f"f(f({a!r}, {b!r}), {c!r})", f"f({a!r}, f({b!r}, {c!r}))"
                raise self._refusal(where, "associative", one, two)

    def _refusal(self, where: str, what: str, one: str, two: str) -> FieldError:
        return FieldError(
            f"{where} cannot be reduced by {self.name}: it is not {what}, {one} differs from {two},"
            " and the order of blocks is nobody's; reduce by 'append', and let `advance` make of it"
            " what you mean"
        )

    def block(self, values: Sequence[Any]) -> Any:
        return functools.reduce(self.function, values)

    def merge(self, parts: Sequence[Any]) -> Any:
        return functools.reduce(self.function, parts)


_BY_NAME: dict[str, Reducer] = {
    reducer.name: reducer
    for reducer in (
        Sum(),
        Mean(),
        Count(),
        Extreme("min", min),
        Extreme("max", max),
        Append(),
        Union(),
        Last(),
    )
}


def make_reducer(reduce: Any, bins: Sequence[float] | None = None) -> Reducer:
    """Return the reducer that ``da.shared(..., reduce=reduce)`` means.

    Raises
    ------
    FieldError
        If there is none of this name.

    Examples
    --------
    >>> make_reducer("sum").block([1.0, 2.0]), make_reducer(max).merge([3, 5])
    (3.0, 5)
    """
    if isinstance(reduce, Reducer):
        return reduce
    if reduce == "histogram":
        if bins is None:
            raise FieldError("a histogram needs edges: da.shared(reduce='histogram', bins=(0, 1))")
        return Histogram(bins)
    if bins is not None:
        raise FieldError(f"bins are for reduce='histogram', not for {reduce!r}")
    if isinstance(reduce, str) and reduce in _BY_NAME:
        return _BY_NAME[reduce]
    if callable(reduce):
        return Folded(reduce)
    known = ", ".join([*_BY_NAME, "histogram"])
    if isinstance(reduce, list | tuple | set):
        raise FieldError(f"a field has one reducer, not {reduce!r}; declare a field for each")
    raise FieldError(f"reduce is {reduce!r}; give one of {known}, or a function of two values")


def _total(values: Sequence[Any]) -> Any:
    """Return the sum of numbers: exact of whole ones, by NumPy of floats, as a block has it."""
    if type(values[0]) is int:
        return sum(values)
    return float(np.asarray(values, float).sum())


def _need(where: str, name: str, annotation: Any, types: tuple[type[Any], ...]) -> None:
    """Raise a `FieldError` if a field is of none of these types."""
    kind = typing.get_origin(annotation) or annotation
    if kind not in types:
        said = " or ".join("tuple[...]" if one is tuple else one.__name__ for one in types)
        shown = getattr(annotation, "__name__", str(annotation))
        raise FieldError(f"{where} is of {shown}, and reduce={name!r} needs {said}")


def _member(annotation: Any) -> Any:
    """Return the type of the members of a ``tuple[X, ...]``; any for a plain tuple."""
    inside = typing.get_args(annotation)
    return inside[0] if len(inside) == 2 and inside[1] is Ellipsis else Any


def _near(one: Any, two: Any) -> bool:
    """Whether two values are the same, or numbers next to each other."""
    if isinstance(one, int | float) and isinstance(two, int | float):
        return math.isclose(one, two, rel_tol=_TOLERANCE, abs_tol=1e-12)
    return bool(one == two)


__all__ = ["Reducer", "make_reducer"]
