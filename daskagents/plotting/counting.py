"""Many values counted chunk by chunk, so that a picture needs little memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import dask
import numpy as np
import xarray as xr
from dask.array.core import Array, from_array, slices_from_chunks
from dask.delayed import delayed
from numpy.typing import NDArray

Floats = NDArray[np.float64]

#: Values of one chunk of what is in memory anyway.
_CHUNK = 1 << 20
#: Texts that are remembered of one round of one chunk: the most frequent.
_MOST_TEXTS = 1_000


def chunkwise(
    values: xr.DataArray,
    function: Callable[..., Any],
    *shared: Any,
    per_agent: NDArray[Any] | None = None,
) -> list[tuple[slice, Any]]:
    """Call a function on each chunk of an array over (round, agents), all in one go.

    Parameters
    ----------
    values
        The array, lazy or not.
    function
        Gets a chunk, its part of `per_agent`, and what is `shared`; what it returns is small.
    *shared
        What each call gets.
    per_agent
        One value per agent, of which each call gets its agents'.

    Returns
    -------
    list
        For each chunk which rounds it holds, and what the function returned.

    Examples
    --------
    >>> chunkwise(xr.DataArray([[1, 2], [3, 4]], dims=("round", "agent")), lambda a, _: a.sum())
    [(slice(0, 2, None), np.int64(10))]

    """
    array = values.data
    if not isinstance(array, Array):
        rounds = max(1, _CHUNK // max(1, array.shape[1]))
        array = from_array(np.asarray(array), (rounds, _CHUNK), name=False)
    places = slices_from_chunks(array.chunks)
    # a part that many chunks are given is in the graph once
    parts = {
        (agents.start, agents.stop): None
        if per_agent is None
        else delayed(per_agent[agents], traverse=False, pure=False)
        for _, agents in places
    }
    call = delayed(function, pure=False, traverse=False)
    tasks = [
        call(chunk, parts[agents.start, agents.stop], *shared)
        for chunk, (_, agents) in zip(array.to_delayed().ravel(), places, strict=True)
    ]
    return [(rounds, done) for (rounds, _), done in zip(places, dask.compute(*tasks), strict=True)]


def moments_by(
    values: xr.DataArray, codes: NDArray[np.int64] | None = None, groups: int = 1
) -> tuple[Floats, Floats, Floats]:
    """Return mean, standard deviation and count over (group, round), of finite values.

    Parameters
    ----------
    values
        Numbers over (round, agents).
    codes
        The group of each agent, -1 for none; None for one group of all.
    groups
        How many there are.

    Examples
    --------
    >>> values = xr.DataArray([[1.0, 3.0, np.nan, 7.0]], dims=("round", "agent"))
    >>> moments_by(values, np.array([0, 0, 0, 1]), 2)[0].tolist()
    [[2.0], [7.0]]

    """
    count, mean, squares = np.zeros((3, groups, len(values)))
    with np.errstate(over="ignore", invalid="ignore"):
        for rounds, (n, m, s) in chunkwise(values, _moments, groups, per_agent=codes):
            both = np.maximum(count[:, rounds] + n, 1)
            apart = m - mean[:, rounds]
            squares[:, rounds] += s + apart**2 * count[:, rounds] * n / both
            mean[:, rounds] += apart * n / both
            count[:, rounds] += n
        nobody = count == 0
        spread = np.sqrt(squares / np.maximum(count, 1))
    mean[nobody] = spread[nobody] = np.nan
    return mean, spread, count


def _moments(chunk: NDArray[Any], codes: NDArray[np.int64] | None, groups: int) -> Floats:
    """Return count, mean, and sum of squares around it, over (group, round)."""
    found = np.zeros((3, groups, len(chunk)))
    with np.errstate(over="ignore", invalid="ignore"):
        for at, row in enumerate(chunk):
            good = np.isfinite(row)
            if codes is None:
                place: Any = np.zeros(np.count_nonzero(good), np.int64)
            else:
                good &= codes >= 0
                place = codes[good]
            numbers = row[good].astype(np.float64)
            count = np.bincount(place, minlength=groups)
            mean = np.bincount(place, numbers, groups) / np.maximum(count, 1)
            squares = np.bincount(place, (numbers - mean[place]) ** 2, groups)
            found[:, :, at] = count, mean, squares
    return found


def moments(values: xr.DataArray) -> tuple[list[float], list[float]]:
    """Return the mean and the standard deviation of those that replied, round by round.

    Examples
    --------
    >>> moments(xr.DataArray([[1.0, 3.0, np.nan]], dims=("round", "agent")))
    ([2.0], [1.0])

    """
    mean, spread, _ = moments_by(values)
    return mean[0].tolist(), spread[0].tolist()


def ends(values: xr.DataArray) -> tuple[float, float, bool]:
    """Return the smallest and the largest finite value, and whether all of them are whole.

    Where there is none, the ends are infinite.

    Examples
    --------
    >>> ends(xr.DataArray([[1.0, 3.0], [np.nan, np.inf]], dims=("round", "agent")))
    (1.0, 3.0, True)

    """
    found = [done for _, done in chunkwise(values, _ends)]
    low, high, whole = zip(*found, strict=True)
    return min(low), max(high), all(whole)


def _ends(chunk: NDArray[Any], _: None) -> tuple[float, float, bool]:
    finite = chunk[np.isfinite(chunk)]
    if not finite.size:
        return np.inf, -np.inf, True
    return float(finite.min()), float(finite.max()), bool((finite == np.floor(finite)).all())


def histograms(
    values: xr.DataArray, edges: Floats, codes: NDArray[np.int64] | None = None, groups: int = 1
) -> Floats:
    """Count the finite values of each group and round, over (group, round, bin).

    Parameters
    ----------
    values
        Numbers over (round, agents).
    edges
        The edges of the bins.
    codes, groups
        The group of each agent, -1 for none, and how many there are; None for one group of all.

    Examples
    --------
    >>> values = xr.DataArray([[1.0, 3.0], [np.nan, 2.0]], dims=("round", "agent"))
    >>> histograms(values, np.array([0.0, 2.0, 4.0])).tolist()
    [[[1.0, 1.0], [0.0, 1.0]]]

    """
    counts = np.zeros((groups, len(values), len(edges) - 1))
    for rounds, found in chunkwise(values, _histograms, edges, groups, per_agent=codes):
        counts[:, rounds] += found
    return counts


def _histograms(
    chunk: NDArray[Any], codes: NDArray[np.int64] | None, edges: Floats, groups: int
) -> Floats:
    own = [slice(None) if codes is None else codes == group for group in range(groups)]
    rows = [[_histogram(row[agents], edges) for row in chunk] for agents in own]
    return np.array(rows, np.float64)


def _histogram(values: NDArray[Any], edges: Floats) -> NDArray[np.int64]:
    counts: NDArray[np.int64] = np.histogram(values[np.isfinite(values)], edges)[0]
    return counts


def texts(values: xr.DataArray) -> list[Counter[str]]:
    """Count the texts of each round that are not empty.

    Where one round of one chunk has more than 1,000 different ones, the rarer count as "".

    Examples
    --------
    >>> texts(xr.DataArray([["yes", "no", "yes", ""]], dims=("round", "agent")))
    [Counter({'yes': 2, 'no': 1})]

    """
    counts: list[Counter[str]] = [Counter() for _ in range(len(values))]
    for rounds, found in chunkwise(values, _texts):
        for total, part in zip(counts[rounds], found, strict=True):
            total.update(part)
    return counts


def _texts(chunk: NDArray[Any], _: None) -> list[dict[str, int]]:
    rows = []
    for row in chunk:
        counts = Counter(row.tolist())
        del counts[""]
        most = dict(counts.most_common(_MOST_TEXTS))
        if rest := counts.total() - sum(most.values()):
            most[""] = rest
        rows.append(most)
    return rows
