"""Small pictures: lines of block characters, and SVG that stands within a line of a page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daskagents.html import Html

#: From low to high.
_BLOCKS = "▁▂▃▄▅▆▇█"
#: Bars of a histogram; and different values up to which each has a bar of its own.
_BINS, _FEW = 16, 8
#: Texts of which none has even this part of the values are only counted.
_RARE = 20
#: Pixels: of a bar, of a line, and how high both are.
_BAR, _WIDE, _HIGH = 7, 160, 28
#: Characters of a text that a label has room for.
_LABEL = 24
#: The color of the text around it, whatever theme a notebook has.
_INK = 'fill="currentColor" fill-opacity='


def line(values: Sequence[float] | NDArray[Any], width: int = 24) -> str:
    """Return numbers as a line of block characters; of many, means of as many stretches.

    Parameters
    ----------
    values
        Numbers; those that are not finite leave a gap.
    width
        Characters, at most.

    Examples
    --------
    >>> line([1, 2, 3, 4, 5, 6, 7, 8]), line([1.0, float("nan"), 2.0]), line([3, 3])
    ('▁▂▃▄▅▆▇█', '▁ █', '▄▄')

    """
    means = _shortened(np.asarray(values, np.float64), width)
    known = means[np.isfinite(means)]
    if not len(known):
        return ""
    with np.errstate(over="ignore"):
        low, spread = known.min(), np.ptp(known)
    if not spread or not np.isfinite(spread):
        return "".join("▄" if np.isfinite(mean) else " " for mean in means)
    steps = (means - low) / spread * (len(_BLOCKS) - 1)
    return "".join(_BLOCKS[round(step)] if np.isfinite(step) else " " for step in steps.tolist())


def _shortened(values: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Return the means of as many stretches of numbers as there is room for."""
    values = np.where(np.isfinite(values), values, np.nan)
    if len(values) <= width:
        return values
    known = np.isfinite(values)
    starts = (np.arange(width) * len(values)) // width
    counts = np.add.reduceat(known, starts, dtype=np.int64)
    with np.errstate(all="ignore"):
        return np.add.reduceat(np.where(known, values, 0.0), starts) / np.where(
            counts, counts, np.nan
        )


@dataclass(frozen=True)
class Bars:
    """How often each of some values comes, or numbers in each of some intervals.

    Attributes
    ----------
    labels, counts
        What each bar is, and how high.
    said
        The same in a few words.

    """

    labels: tuple[str, ...]
    counts: tuple[int, ...]
    said: str

    def svg(self) -> Html:
        """Return it as a picture, whose bars say what they are; nothing where there are none."""
        if not self.labels:
            return Html("")
        top = max(self.counts) or 1
        bars = ""
        for at, (label, count) in enumerate(zip(self.labels, self.counts, strict=True)):
            high = max(1.0, (_HIGH - 2) * count / top) if count else 0.0
            bars += (
                f'<rect x="{at * _BAR}" y="{_HIGH - high:.1f}" width="{_BAR - 1}"'
                f' height="{high:.1f}" {_INK}"0.6"><title>{escape(label)}: {count:,}</title></rect>'
            )
        return _svg(_BAR * len(self.labels), bars)


def bars_of(values: NDArray[Any]) -> Bars | None:
    """Return how values are distributed; None where there are none to be told of.

    Parameters
    ----------
    values
        Numbers, of which NaN is missing; bools; or anything else, by its text.

    Examples
    --------
    >>> bars_of(np.array(["no", "yes", "yes", "yes"])).said
    'yes 75 %, no 25 %'
    >>> bars_of(np.arange(101.0)).said, bars_of(np.array([1.0, 2.0, 2.0, np.nan])).said
    ('0 to 100, median 50', '1 33 %, 2 67 %')

    """
    if values.dtype.kind not in "fiu":
        return _counted(values)
    known = values[np.isfinite(values)]
    if not len(known):
        return None
    different = np.unique(known)
    if len(different) <= _FEW:
        counts = [int((known == value).sum()) for value in different]
        return _bars([number(value) for value in different], counts)
    with np.errstate(all="ignore"):
        said = f"{number(known.min())} to {number(known.max())}, median {number(np.median(known))}"
        try:
            found, edges = np.histogram(known.astype(np.float64), _BINS)
        except ValueError:  # they are too close to each other, or too far apart
            return Bars((said,), (len(known),), said)
    labels = tuple(f"{number(a)} to {number(b)}" for a, b in pairwise(edges))
    return Bars(labels, tuple(found.tolist()), said)


def _counted(values: NDArray[Any]) -> Bars | None:
    """Return the values that come most often."""
    if not len(values):
        return None
    found = Counter(map(str, values.tolist())).most_common()
    if len(found) > _FEW and found[0][1] * _RARE < len(values):
        return Bars((), (), f"{len(found):,} different")
    labels, counts = [label_of(text) for text, _ in found[:_FEW]], [n for _, n in found[:_FEW]]
    if len(found) > _FEW:
        labels.append(f"{len(found) - _FEW:,} others")
        counts.append(sum(n for _, n in found[_FEW:]))
    return _bars(labels, counts)


def _bars(labels: list[str], counts: list[int]) -> Bars:
    whole = sum(counts)
    shares = [f"{label} {100 * n / whole:.0f} %" for label, n in zip(labels, counts, strict=True)]
    said = ", ".join(shares[:4]) + ", ..." * (len(shares) > 4)
    return Bars(tuple(labels), tuple(counts), said)


def bands(quantiles: NDArray[np.float64]) -> Html:
    """Return quantiles over rounds as a picture: the outer and the inner pairs, and the middle.

    Parameters
    ----------
    quantiles
        Of shape (quantiles, rounds): an odd number, from low to high; rounds of NaN are left out.

    Examples
    --------
    >>> bands(np.array([[0.0, 1.0], [1.0, 2.0], [3.0, 4.0]])).count("<polygon")
    1

    """
    rounds = np.flatnonzero(np.isfinite(quantiles).all(0))
    if not len(rounds):
        return Html("")
    known, last = quantiles[:, rounds], max(1, quantiles.shape[1] - 1)
    across = rounds * (_WIDE / last)
    if len(rounds) == 1:  # a line needs two ends
        known, across = np.repeat(known, 2, 1), np.array([0.0, _WIDE])
    known = known / max(1.0, np.abs(known).max() / 1e9)  # so that no difference is too large
    low, spread = known.min(), np.ptp(known)
    up = (_HIGH - 2) * (1 - ((known - low) / spread if spread else np.full(known.shape, 0.5))) + 1
    drawn = ""
    for at in range(len(up) // 2):
        edge = _points(across, up[at]) + " " + _points(across[::-1], up[-1 - at][::-1])
        drawn += f'<polygon points="{edge}" {_INK}"0.2"/>'
    middle = _points(across, up[len(up) // 2])
    drawn += f'<polyline points="{middle}" fill="none" stroke="currentColor" stroke-width="1.5"/>'
    return _svg(_WIDE, drawn)


def curve(values: Sequence[float] | NDArray[Any]) -> Html:
    """Return numbers over rounds as a picture.

    Examples
    --------
    >>> curve([1.0, 2.0])[:4], curve([float("nan")])
    ('<svg', '')

    """
    return bands(_shortened(np.asarray(values, np.float64), _WIDE)[None])


def _points(across: NDArray[np.float64], up: NDArray[np.float64]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(across, up, strict=True))


def _svg(width: float, drawn: str) -> Html:
    size = f'width="{width:.0f}" height="{_HIGH}" viewBox="0 0 {width:.0f} {_HIGH}"'
    return Html(f'<svg {size} style="vertical-align:middle">{drawn}</svg>')


def number(value: Any) -> str:
    """Return a number as there is room for it.

    Examples
    --------
    >>> number(1234567), number(0.123456), number(-0.0), number(3.0)
    ('1.235e+06', '0.1235', '0', '3')

    """
    return f"{float(value) + 0.0:.4g}"


def label_of(text: str) -> str:
    r"""Return a text as a label: in one line, and not long.

    Examples
    --------
    >>> label_of("a\nb\x1b[31m"), label_of(""), len(label_of("long" * 20))
    ('a\\nb\\x1b[31m', "''", 24)

    """
    shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text[: 2 * _LABEL])
    return (
        shown if len(shown) <= _LABEL and shown else f"{shown[: _LABEL - 3]}..." if shown else "''"
    )


def picked(n: int, most: int = 4096) -> NDArray[np.int64]:
    """Return which of `n` to look at: all, or as many as enough, the same each time.

    Examples
    --------
    >>> picked(3), 3900 < len(picked(1_000_000)) <= 4096
    (array([0, 1, 2]), True)

    """
    if n <= most:
        return np.arange(n)
    return np.unique(np.random.default_rng(0).integers(0, n, most))
