"""What the replies of one block look like: sums, counts and samples, which can be merged.

The exact parts are exact. What is drawn from a sample says so: at most `SAMPLE` rows of a block,
always the same ones. A quantile is off by at most `ERROR` of the rows for each time that sketches
are merged, besides what a sample leaves to chance (one percent for one block, less for many).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daskagents.block import Outcome
from daskagents.coded import Coded
from daskagents.columns import Column, Plain
from daskagents.ragged import Texts

#: Rows of a block that are looked at for histograms and quantiles, and for texts that are long.
SAMPLE, TEXTS = 2048, 1024
#: Intervals between quantiles that are kept, and the share of the rows that one may be off.
PARTS, ERROR = 64, 1 / 64
#: Bins of a histogram at most, and texts that are counted one by one.
BINS, MOST = 64, 64
#: Bytes of a text that are looked at, and variables of a step.
_LONG, _VARIABLES = 120, 32
#: The finest bins that there are: numbers that lie closer than all are one.
_FINEST = -1074

_GRID = np.linspace(0.0, 1.0, PARTS + 1)


@dataclass(frozen=True, eq=False)
class Numbers:
    """How numbers are distributed.

    Parameters
    ----------
    count, missing
        Finite numbers, and others: NaN where an agent failed, or infinite.
    total, squares
        Sums of the numbers and of their squares.
    low, high
        The smallest and the largest; NaN where there is none.
    taken
        Numbers that were looked at for what follows.
    points
        Quantiles from 0 to 1, at equal distances.
    level, first, bins
        A histogram: bins from ``first * 2**level`` on, ``2**level`` wide each; how many there are
        in each, those that were not looked at included. Bins of all sketches fit together.
    """

    count: int
    missing: int
    total: float
    squares: float
    low: float
    high: float
    taken: int
    points: NDArray[np.float64]
    level: int
    first: int
    bins: NDArray[np.float64]

    @property
    def sampled(self) -> bool:
        """Whether histogram and quantiles are from a sample."""
        return self.taken < self.count

    @property
    def mean(self) -> float:
        """The mean; NaN where there are no numbers."""
        return self.total / self.count if self.count else math.nan

    def quantile(self, share: float) -> float:
        """Return a quantile, about; NaN where there are no numbers."""
        return float(np.interp(share, _GRID, self.points)) if self.count else math.nan

    @property
    def edges(self) -> NDArray[np.float64]:
        """Where the bins begin, and where the last ends."""
        whole = (self.first + np.arange(len(self.bins) + 1)).astype(np.float64)
        with np.errstate(over="ignore"):
            return np.nan_to_num(np.ldexp(whole, self.level))

    def plain(self) -> dict[str, Any]:
        """Return it as msgpack knows it."""
        return {
            "kind": "number",
            "n": [self.count, self.missing, self.taken],
            "sums": [self.total, self.squares, self.low, self.high],
            "points": self.points.tobytes() if self.count else b"",
            "bins": [self.level, self.first, self.bins.astype(np.float32).tobytes()],
        }


@dataclass(frozen=True, eq=False)
class Counts:
    """How frequent texts are.

    Parameters
    ----------
    count, missing
        Texts, and agents that failed.
    top
        The most frequent, told apart by their first hundred characters or so, with their number.
    others
        How many are none of these.
    sampled
        Whether the numbers are from a sample, scaled up.
    """

    count: int
    missing: int
    top: Mapping[str, float]
    others: float
    sampled: bool

    def plain(self) -> dict[str, Any]:
        """Return it as msgpack knows it."""
        return {
            "kind": "text",
            "n": [self.count, self.missing],
            "top": [[text, number] for text, number in self.top.items()],
            "others": self.others,
            "sampled": self.sampled,
        }


Sketch = Numbers | Counts


def sketch_numbers(values: NDArray[np.float64]) -> Numbers:
    """Return how numbers are distributed.

    Examples
    --------
    >>> found = sketch_numbers(np.array([1.0, 2.0, 3.0, np.nan]))
    >>> found.count, found.missing, found.mean, found.low, found.quantile(0.5)
    (3, 1, 2.0, 1.0, 2.0)
    """
    n = len(values)
    with np.errstate(all="ignore"):
        total = float(values.sum())
        if not math.isfinite(total):
            values = values[np.isfinite(values)]
            total = float(values.sum())
        if not len(values):
            nothing = np.zeros(0)
            return Numbers(0, n, 0.0, 0.0, math.nan, math.nan, 0, nothing, _FINEST, 0, nothing)
        squares = float(np.dot(values, values))
        low, high = float(values.min()), float(values.max())
        count = len(values)
        taken = np.sort(values if count <= SAMPLE else values[_places(count, SAMPLE)])
        at = np.rint(_GRID * (len(taken) - 1)).astype(np.intp)
        level = level_of(low, high)
        first, last = (math.floor(math.ldexp(taken.item(end), -level)) for end in (0, -1))
        edges = np.ldexp(np.arange(first, last + 2, dtype=np.float64), level)
        bins = np.diff(np.searchsorted(taken, edges)) * (count / len(taken))
    made = (total, squares, low, high, len(taken), taken[at], level, first, bins)
    return Numbers(count, n - count, *made)


def level_of(low: float, high: float) -> int:
    """Return of which power of 2 bins are wide that cut a range into at most `BINS`, about.

    Examples
    --------
    >>> level_of(0.0, 64.0), level_of(0.0, 65.0), 2.0 ** level_of(0.0, 1.0)
    (0, 1, 0.015625)
    """
    share, power = math.frexp(high / BINS - low / BINS)
    width = power - (share == 0.5) if share else _FINEST
    largest = max(abs(low), abs(high))
    exact = math.frexp(largest)[1] - 53 if largest else _FINEST  # no floats lie closer there
    return max(_FINEST, width, exact)


@lru_cache(maxsize=64)
def _places(n: int, size: int) -> NDArray[np.int64]:
    """Return which of `n` rows are looked at: by chance one in each of `size` equal parts."""
    chance = np.random.Generator(np.random.Philox(size)).random(size)
    return np.unique(((np.arange(size) + chance) * (n / size)).astype(np.int64))


def sketch_texts(column: Texts, failed: NDArray[np.bool_] | None = None) -> Counts:
    """Return how frequent the texts of a column are; those of agents that failed do not count.

    Examples
    --------
    >>> from daskagents.columns import compact_strings
    >>> sketch_texts(compact_strings(["no", "yes", "yes", "yes"])).top
    {'yes': 3, 'no': 1}
    """
    n = len(column)
    missing = 0 if failed is None else int(np.count_nonzero(failed))
    there = None if not missing or failed is None else np.flatnonzero(~failed)
    count = n - missing
    if isinstance(column, Coded) and len(column.words) <= SAMPLE:
        codes = column.codes if there is None else column.codes[there]
        numbers = np.bincount(codes, minlength=len(column.words))
        at = np.argsort(-numbers, kind="stable")[: MOST + 1]
        found = [(_short(column.words.row(i)), int(numbers[i])) for i in at.tolist() if numbers[i]]
        return _counts(count, missing, found, count, sampled=False)
    taken = np.arange(count) if count <= TEXTS else _places(count, TEXTS)
    rows = taken if there is None else there[taken]
    seen: dict[str, int] = {}
    for row in rows.tolist():
        text = _short(column.row(row))
        seen[text] = seen.get(text, 0) + 1
    if len(seen) > MOST and max(seen.values()) == 1:  # free texts: no list of some of them
        seen = {}
    ranked = sorted(seen.items(), key=lambda item: -item[1])
    return _counts(count, missing, ranked, len(taken), sampled=len(taken) < count)


def _counts(
    count: int, missing: int, ranked: Sequence[tuple[str, int]], taken: int, *, sampled: bool
) -> Counts:
    top: dict[str, float] = {}
    scale = count / taken if sampled else 1
    for text, number in ranked[:MOST]:
        top[text] = top.get(text, 0) + number * scale
    return Counts(count, missing, top, max(0, count - sum(top.values())), sampled)


def _short(row: bytes) -> str:
    """Return the beginning of a text."""
    if len(row) <= _LONG:
        return row.decode("utf-8", "replace")
    return row[: _LONG - 3].decode("utf-8", "ignore") + "…"


def sketch_column(column: Column, failed: NDArray[np.bool_] | None = None) -> Sketch:
    """Return how the values of a column are distributed."""
    if isinstance(column, Plain):
        return sketch_numbers(np.asarray(column.values, np.float64))
    return sketch_texts(column, failed)


def read_sketch(plain: Mapping[str, Any]) -> Sketch:
    """Return the sketch that `plain` was taken from."""
    if plain["kind"] == "text":
        count, missing = plain["n"]
        return Counts(count, missing, dict(plain["top"]), plain["others"], plain["sampled"])
    count, missing, taken = plain["n"]
    level, first, bins = plain["bins"]
    points = np.frombuffer(plain["points"])
    made = np.frombuffer(bins, np.float32).astype(np.float64)
    total, squares, low, high = plain["sums"]
    sums = total, squares, low, high, taken
    return Numbers(count, missing, *sums, points, level, first, made)


def merge(sketches: Sequence[Sketch]) -> Sketch:
    """Return the sketch of all that some sketches are of, which are all of one kind.

    Examples
    --------
    >>> parts = [sketch_numbers(np.arange(5.0)), sketch_numbers(np.arange(5.0, 11.0))]
    >>> found = merge(parts)
    >>> found.count, found.mean, found.quantile(0.5)
    (11, 5.0, 5.0)
    """
    if len(sketches) == 1:
        return sketches[0]
    numbers = [one for one in sketches if isinstance(one, Numbers)]
    if len(numbers) == len(sketches):
        return _merge_numbers(numbers)
    return _merge_counts([one for one in sketches if isinstance(one, Counts)])


def _merge_numbers(sketches: Sequence[Numbers]) -> Numbers:
    full = [one for one in sketches if one.count]
    missing = sum(one.missing for one in sketches)
    if not full:
        return sketch_numbers(np.full(missing, math.nan))
    low, high = min(one.low for one in full), max(one.high for one in full)
    level = max(level_of(low, high), *(one.level for one in full))
    firsts = [one.first >> min(level - one.level, 80) for one in full]
    ends = [(one.first + len(one.bins) - 1) >> min(level - one.level, 80) for one in full]
    first = min(firsts)
    bins = np.zeros(max(ends) - first + 1)
    for one in full:
        shift = min(level - one.level, 80)
        at = [((one.first + i) >> shift) - first for i in range(len(one.bins))]
        np.add.at(bins, at, one.bins)
    return Numbers(
        sum(one.count for one in full),
        missing,
        sum(one.total for one in full),
        sum(one.squares for one in full),
        low,
        high,
        sum(one.taken for one in full),
        _merge_points(full),
        level,
        first,
        bins,
    )


def _merge_points(sketches: Sequence[Numbers]) -> NDArray[np.float64]:
    """Return quantiles of numbers of which quantiles are known: each stands for those around it."""
    share = np.full(PARTS + 1, 1 / PARTS)
    share[[0, -1]] /= 2
    points = np.concatenate([one.points for one in sketches])
    weights = np.concatenate([share * one.count for one in sketches])
    order = np.argsort(points, kind="stable")
    points, weights = points[order], weights[order]
    ends = np.cumsum(weights)
    at = np.searchsorted(ends, _GRID * ends[-1] * (1 - 1e-12))
    found = points[np.minimum(at, len(points) - 1)]
    found[0], found[-1] = points[0], points[-1]
    return np.asarray(found)


def _merge_counts(sketches: Sequence[Counts]) -> Counts:
    top: dict[str, float] = {}
    for one in sketches:
        for text, number in one.top.items():
            top[text] = top.get(text, 0) + number
    ranked = sorted(top.items(), key=lambda item: -item[1])
    return Counts(
        sum(one.count for one in sketches),
        sum(one.missing for one in sketches),
        dict(ranked[:MOST]),
        sum(one.others for one in sketches) + sum(number for _, number in ranked[MOST:]),
        any(one.sampled for one in sketches),
    )


def sketch_outcome(outcome: Outcome) -> dict[str, Any]:
    """Return what one block's step has come to, as msgpack knows it.

    Examples
    --------
    >>> from daskagents.block import Block
    >>> from daskagents.forms import Form
    >>> from daskagents.usage import Tally
    >>> replies, failed = {"": Plain(np.arange(3.0))}, np.zeros(3, bool)
    >>> block = Block(0, 3, {})
    >>> made = Outcome(block, Form((("", "number"),)), replies, failed, {}, None, Tally())
    >>> found = sketch_outcome(made)
    >>> found["rows"], found["failed"], sorted(found["replies"])
    (3, 0, [''])
    """
    failed = int(np.count_nonzero(outcome.failed))
    replies = {}
    for name, column in list(outcome.replies.items())[:_VARIABLES]:
        replies[name] = sketch_column(column, outcome.failed if failed else None).plain()
    return {
        "rows": len(outcome.failed),
        "failed": failed,
        "failures": dict(outcome.failures),
        "usage": outcome.usage.plain(),
        "replies": replies,
    }
