"""Controlled rounding: whole numbers of people for weights that fit marginals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from daskagents.personas.marginals import Marginal, Weights, group_rows, sums
from daskagents.personas.rounding import draw_rows

#: Most people who are moved to bring rounded marginals nearer.
_MOVES = 3_000


def round_weights(
    weights: Weights, marginals: Sequence[Marginal], n: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Return whole numbers of people for rows, `n` in all; see `Raked.integers`."""
    if not marginals:
        return draw_rows(n, weights, rng)
    groups = group_rows(marginals)
    exact = sums(groups.of_row, weights, len(groups.cells[0]))
    exact *= n / exact.sum()
    wanted = [n * marginal.wanted / marginal.wanted.sum() for marginal in marginals]
    counts = _polished(exact, draw_rows(n, exact, rng), groups.cells, wanted)
    found = np.zeros(len(weights), np.int64)
    order = np.argsort(groups.of_row, kind="stable")
    ends = np.cumsum(np.bincount(groups.of_row, minlength=len(counts)))
    for count, start, end in zip(counts.tolist(), [0, *ends[:-1]], ends, strict=True):
        rows = order[start:end]
        if count and len(rows) == 1:
            found[rows] = count
        elif count:
            found[rows] = draw_rows(count, weights[rows], rng)
    return found


def _polished(
    exact: Weights,
    counts: NDArray[np.int64],
    cells: list[NDArray[np.int64]],
    wanted: list[Weights],
) -> NDArray[np.int64]:
    """Move single people between groups while that brings the marginals nearer.

    A group that was rounded down may get one more, and one that was rounded up one fewer, so all
    stay within 1 of their weights.
    """
    counts = counts.copy()
    floor = np.floor(exact + 1e-9).astype(np.int64)
    loose = exact > floor + 1e-9
    rests = [w - np.bincount(c, counts, len(w)) for c, w in zip(cells, wanted, strict=True)]
    for _ in range(_MOVES):
        # how much nearer one more, and one fewer, would bring the sum of squares
        pull = np.zeros(len(exact))
        for rest, c in zip(rests, cells, strict=True):
            pull += 2 * rest[c]
        more, less = pull - len(cells), -pull - len(cells)
        up = int(np.argmax(np.where(loose & (counts == floor), more, -np.inf)))
        down = int(np.argmax(np.where(loose & (counts == floor + 1), less, -np.inf)))
        movable = loose[up] and counts[up] == floor[up]
        if not movable or not loose[down] or counts[down] != floor[down] + 1:
            break
        gain = more[up] + less[down]
        # cells that both are in do not change
        gain += sum(2.0 for c in cells if c[up] == c[down])
        if gain <= 1e-9:
            break
        counts[up] += 1
        counts[down] -= 1
        for rest, c in zip(rests, cells, strict=True):
            rest[c[up]] -= 1
            rest[c[down]] += 1
    return counts
