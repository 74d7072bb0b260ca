"""Whole numbers of people: shares rounded so that all adds up, and counts split over blocks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]
Weights = NDArray[np.float64]


def round_shares(sizes: Counts, shares: Weights) -> Counts:
    """Return how many people of each cell get each value, by largest remainder.

    What a cell could not give a value is carried on to the next cell. So each count differs from
    size times share by less than 1 within its cell, and many small cells together have the shares
    that were asked for: ten cells of one person each with shares 0.6 and 0.4 do not become ten
    times the first.

    Parameters
    ----------
    sizes
        People of each cell, of shape (cells,).
    shares
        Of shape (cells, values); each row adds up to 1.

    Returns
    -------
    ndarray
        Of shape (cells, values); each row adds up to the size of its cell.

    Examples
    --------
    >>> round_shares(np.array([10]), np.array([[0.55, 0.25, 0.2]]))
    array([[6, 2, 2]])
    >>> round_shares(np.array([1, 1, 1, 1, 1]), np.array([[0.6, 0.4]] * 5)).sum(axis=0)
    array([3, 2])
    """
    exact = sizes[:, None] * shares
    near = np.rint(exact)
    # 0.3 * 10 is not 3 in binary
    exact = np.where(np.abs(exact - near) <= 1e-9 * np.maximum(1.0, near), near, exact)
    counts = np.floor(exact).astype(np.int64)
    rests = exact - counts
    left = sizes - counts.sum(axis=1)
    carried = np.zeros(shares.shape[1])
    for cell in np.flatnonzero(left > 0):
        rest = rests[cell]
        wanted = np.where(rest > 0, rest + carried, -np.inf)
        chosen = np.argsort(-wanted, kind="stable")[: left[cell]]
        counts[cell, chosen] += 1
        carried += rest
        carried[chosen] -= 1
    return counts


def draw_rows(n: int, weights: Weights, rng: np.random.Generator) -> Counts:
    """Return how often each row is taken for `n` people, by weights, systematically.

    Each count differs from its expectation by less than 1, and is that on average: where there are
    fewer people than rows, largest remainders would take the heaviest rows always.

    Examples
    --------
    >>> draw_rows(4, np.array([1.0, 1.0, 2.0]), np.random.default_rng(0))
    array([1, 1, 2])
    """
    order = rng.permutation(len(weights))
    ends = np.cumsum(weights[order])
    ends *= n / ends[-1]
    ends[-1] = n
    counts = np.diff(np.floor(ends + rng.random()), prepend=0.0).astype(np.int64)
    found = np.empty(len(weights), np.int64)
    found[order] = counts
    return found


def split(counts: Counts, sizes: Counts, rng: np.random.Generator) -> list[Counts]:
    """Return how many people of each cell get each value in each block.

    The draws are those that one shuffle of all people would give.

    Parameters
    ----------
    counts
        Of shape (cells, values), for all people.
    sizes
        People of each cell in each block, of shape (blocks, cells).
    rng
        What is drawn from.

    Examples
    --------
    >>> parts = split(np.array([[3, 3]]), np.array([[4], [2]]), np.random.default_rng(0))
    >>> sum(parts), [part.sum() for part in parts]
    (array([[3, 3]]), [np.int64(4), np.int64(2)])
    """
    left = counts.copy()
    found = []
    for block in sizes[:-1]:
        part = np.zeros_like(counts)
        for cell in np.flatnonzero(block):
            size = int(block[cell])
            if size == left[cell].sum():
                part[cell] = left[cell]
            else:
                part[cell] = rng.multivariate_hypergeometric(left[cell], size, method="marginals")
        left -= part
        found.append(part)
    return [*found, left]


def shuffled(cells: NDArray[np.int64], counts: Counts, rng: np.random.Generator) -> Counts:
    """Return a value for each person, so many of each in each cell, in random order.

    Examples
    --------
    >>> cells, counts = np.array([0, 1, 0, 0]), np.array([[2, 1], [0, 1]])
    >>> values = shuffled(cells, counts, np.random.default_rng(0))
    >>> values[1], sorted(values.tolist())
    (np.int64(1), [0, 0, 1, 1])
    """
    n, values = len(cells), counts.shape[1]
    order = rng.permutation(n)
    if len(counts) > 1:
        small = cells.astype(np.min_scalar_type(len(counts)))  # few bytes are sorted by radix
        order = order[np.argsort(small[order], kind="stable")]
    named = np.tile(np.arange(values), len(counts))
    found = np.empty(n, np.int64)
    found[order] = np.repeat(named, counts.ravel())
    return found


def block_bounds(n: int, size: int) -> Sequence[tuple[int, int]]:
    """Return where blocks of people begin and end.

    Examples
    --------
    >>> block_bounds(10, 4)
    [(0, 4), (4, 8), (8, 10)]
    """
    return [(start, min(n, start + size)) for start in range(0, n, size)]
