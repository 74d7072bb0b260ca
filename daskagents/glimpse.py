"""A short look at the results of a run: little of them is read, however large they are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from daskagents.checked import Checked
from daskagents.errors import DaskAgentsError
from daskagents.spark import Bars, bars_of, picked

#: Rounds and agents that are looked at, at most; and stretches of agents, in each round.
_ROUNDS, _AGENTS, _STRETCHES = 24, 4096, 3
#: Numbers and texts that are read for that, at most: one chunk of each at least.
_NUMBERS, _TEXTS = 6_000_000, 300_000
#: Variables over agents that are looked at.
_VARIABLES = 6
#: Which quantiles.
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
#: What a damaged folder, or one that is just being written, may raise.
_UNREADABLE = (DaskAgentsError, OSError, ValueError, KeyError, TypeError)


@dataclass(frozen=True)
class Bands:
    """How a number of the agents was distributed, in some rounds.

    Attributes
    ----------
    name
        The variable.
    rounds, quantiles
        Which rounds, and in each the `QUANTILES`, or the share of yes where it is yes or no: of
        shape (quantiles, rounds).
    last
        The last of these rounds.

    """

    name: str
    rounds: NDArray[np.int64]
    quantiles: NDArray[np.float64]
    last: Bars | None


@dataclass(frozen=True)
class Glimpse:
    """What was seen.

    Attributes
    ----------
    sizes
        Of the dimensions.
    series
        The numbers that there is one of in each round, by name.
    bands, bars
        Of numbers and texts of the agents: over some rounds, and in the last one.
    left_out, unread
        Variables that were not looked at, and that could not be read.
    sampled
        Whether only some agents were looked at.

    """

    sizes: dict[str, int] = field(default_factory=dict)
    series: dict[str, NDArray[Any]] = field(default_factory=dict)
    bands: tuple[Bands, ...] = ()
    bars: dict[str, Bars] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()
    sampled: bool = False

    def total(self, name: str) -> float:
        """Return the sum of what there is one of in each round; 0 where there is no such thing."""
        return float(self.series[name].sum()) if name in self.series else 0.0


def glimpse(folder: Path, *, agents: bool = True) -> Glimpse | None:
    """Look at the results in a run directory; None where none are written.

    Parameters
    ----------
    folder
        The run directory.
    agents
        Whether to look at what there is one of for each agent.

    """
    try:
        group = zarr.open_group(folder / "rounds.zarr", mode="r")
        return _look(group, agents)
    except _UNREADABLE:
        return None


def _look(group: zarr.Group, agents: bool) -> Glimpse:
    about: Any = group.attrs
    rounds, order = int(about["rounds"]), list(about.get("order", []))
    arrays: dict[str, Any] = {
        name: array for name in order if (array := group.get(name)) is not None
    }
    dims = {name: array.metadata.dimension_names for name, array in arrays.items()}
    sizes = {"round": rounds}
    for name, array in arrays.items():
        for dim, size in zip(dims[name], array.shape, strict=True):
            sizes[dim] = min(sizes.get(dim, size), size)
    own = {"failed", *(f"{dim}_failed" for dim in sizes)}
    over = {dims[name] for name in own & dims.keys()}
    series: dict[str, NDArray[Any]] = {}
    wide: list[str] = []
    unread: list[str] = []
    for name, array in arrays.items():
        if dims[name] == ("round",) and array.dtype.kind in "fiub":
            try:
                series[name] = Checked(array)[:rounds]
            except _UNREADABLE:
                unread.append(name)
        elif dims[name] in over and name not in own and rounds and not _is_coordinate(array):
            wide.append(name)
    bands: list[Bands] = []
    bars: dict[str, Bars] = {}
    sampled = False
    for name in wide[:_VARIABLES] if agents else ():
        n = sizes[dims[name][1]]
        sampled = sampled or n > _AGENTS
        share = min(_VARIABLES, len(wide))
        try:
            if arrays[name].dtype.kind in "fiu":
                bands.append(_bands(name, arrays[name], rounds, n, _NUMBERS // share))
            elif seen := bars_of(_texts(arrays[name], rounds - 1, n, _TEXTS // share)):
                bars[name] = seen
        except _UNREADABLE:
            unread.append(name)
    left_out = tuple(wide[_VARIABLES:])
    return Glimpse(sizes, series, tuple(bands), bars, left_out, tuple(unread), sampled)


def _is_coordinate(array: Any) -> bool:
    return bool(array.attrs.get("coordinate", False))


def _bands(name: str, array: Any, rounds: int, n: int, most: int) -> Bands:
    """Look at a number of the agents, in as many rounds as there is time for."""
    chunks = _stretches(array, n)
    window, width = array.chunks
    # rounds of one chunk are read at once
    few = max(2, most // max(1, window * min(width, n) * len(chunks)))
    shown = np.unique(np.linspace(0, rounds - 1, min(_ROUNDS, few, rounds)).round().astype(int))
    found = np.full((len(QUANTILES), len(shown)), np.nan)
    values = np.empty(0)
    for at, number in enumerate(shown.tolist()):
        values = np.concatenate(list(_picked(array, number, chunks)))
        values = values[np.isfinite(values)]
        if len(values):
            yes_or_no = np.isin(values, (0.0, 1.0)).all()  # of which the share says more
            found[:, at] = values.mean() if yes_or_no else np.quantile(values, QUANTILES)
    return Bands(name, shown, found, bars_of(values))


def _texts(array: Any, number: int, n: int, most: int) -> NDArray[Any]:
    """Return texts of some agents in one round, those that failed left out."""
    chunks = _stretches(array, n)
    chunks = chunks[:: max(1, len(chunks) * min(array.chunks[1], n) // most)] or chunks[:1]
    values = np.concatenate(list(_picked(array, number, chunks)))
    return np.asarray(values[values != ""])


def _stretches(array: Any, n: int) -> list[slice]:
    """Return the chunks of agents that are looked at: from the first to the last."""
    width = array.chunks[1]
    count = -(-n // width)
    places = np.unique(np.linspace(0, count - 1, min(count, _STRETCHES)).round().astype(int))
    return [slice(at * width, min(n, (at + 1) * width)) for at in places.tolist()]


def _picked(array: Any, number: int, chunks: list[slice]) -> Iterator[NDArray[Any]]:
    """Yield what some agents of each chunk replied in one round."""
    for chunk in chunks:
        rows = picked(chunk.stop - chunk.start, _AGENTS // len(chunks))
        yield Checked(array)[number, chunk][rows]
