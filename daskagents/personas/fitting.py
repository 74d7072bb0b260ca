"""Iterative proportional fitting: weights of rows that fit several marginals.

Each marginal in turn multiplies the weights of its cells by what is asked for over what there is,
until all fit. Rows that are in the same cells of all marginals move together, so they are fitted as
one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from daskagents.errors import SpecError
from daskagents.personas.controlled import round_weights
from daskagents.personas.marginals import (
    Groups,
    Marginal,
    Weights,
    contradictions,
    group_rows,
    sums,
)


@dataclass(frozen=True, eq=False)
class Raked:
    """Weights that fit marginals, and how well.

    Parameters
    ----------
    weights
        A weight for each row, of shape (rows,); they add up to the total of the first marginal.
    iterations
        How often all marginals were gone through.
    errors
        For each marginal the largest difference of a cell, as a share of the total.
    contradictions
        What the marginals ask for that cannot be had together, in words.
    converged
        Whether all errors are within the tolerance.
    """

    weights: Weights
    iterations: int
    errors: dict[str, float]
    contradictions: tuple[str, ...]
    converged: bool
    marginals: tuple[Marginal, ...] = field(repr=False, default=())

    def __str__(self) -> str:
        worst = max(self.errors.values(), default=0.0)
        state = "fits" if self.converged else "does not fit"
        lines = [f"raking {state} after {self.iterations} iterations; largest error {worst:.2g}"]
        lines += [f"  {name}: {error:.2g}" for name, error in self.errors.items()]
        return "\n".join([*lines, *(f"  contradiction: {said}" for said in self.contradictions)])

    def integers(self, n: int, seed: int = 0) -> NDArray[np.int64]:
        """Return how many people each row stands for, `n` in all.

        Each group of rows that are in the same cells gets its weight rounded up or down, so that
        the cells of all marginals come as near as can be found; within a group, rows are drawn by
        their weights.
        """
        return round_weights(self.weights, self.marginals, n, np.random.default_rng(seed))


def fit(
    marginals: Sequence[Marginal],
    weights: Weights,
    *,
    tolerance: float = 1e-6,
    max_iterations: int = 1_000,
) -> Raked:
    """Fit weights to marginals that were read; see `rake`."""
    if (weights < 0).any() or not weights.sum() > 0:
        raise SpecError("the weights to begin with must be 0 or more, and not all 0")
    wrong = contradictions(marginals, weights)
    total = float(marginals[0].wanted.sum())
    groups = group_rows(marginals)
    begin = sums(groups.of_row, weights, len(groups.cells[0]))
    inner, iterations, errors = _iterate(marginals, groups, begin, tolerance, max_iterations)
    factor = np.divide(inner, begin, out=np.zeros_like(inner), where=begin > 0)
    named = {m.name: error for m, error in zip(marginals, errors, strict=True)}
    done = max(errors, default=0.0) <= tolerance
    found = weights * factor[groups.of_row] * total
    return Raked(found, iterations, named, tuple(wrong), done, tuple(marginals))


def _iterate(
    marginals: Sequence[Marginal],
    groups: Groups,
    weights: Weights,
    tolerance: float,
    most: int,
) -> tuple[Weights, int, list[float]]:
    """Return weights of groups that add up to 1, the iterations, and the errors of marginals."""
    wanted = [marginal.wanted / marginal.wanted.sum() for marginal in marginals]
    weights = weights / weights.sum()
    errors, last = [np.inf], np.inf
    for iteration in range(1, most + 1):
        for cells, asked in zip(groups.cells, wanted, strict=True):
            there = np.bincount(cells, weights, len(asked))
            weights = (
                weights * np.divide(asked, there, out=np.zeros_like(asked), where=there > 0)[cells]
            )
        errors = [
            float(np.abs(np.bincount(cells, weights, len(asked)) - asked).max())
            for cells, asked in zip(groups.cells, wanted, strict=True)
        ]
        worst = max(errors)
        if worst <= tolerance / 10:  # a digit more than was asked for
            break
        if iteration % 100 == 0:  # what does not come nearer any more contradicts itself
            if worst > 0.999 * last:
                break
            last = worst
    return weights, iteration, errors
