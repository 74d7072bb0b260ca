"""A small sample of a population that has all its kinds of agents in their shares."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from daskagents.population import Population

#: Columns by which agents are sorted, at most: further ones would order single agents.
_COLUMNS = 4


def stratified(population: Population, n: int, seed: int = 0) -> NDArray[np.int64]:
    """Return the rows of a systematic sample of agents, sorted by what they were given.

    Agents are sorted by their columns, those with the fewest values first, and each ``N / n``-th
    of them is taken, from a random one on. So each kind of agent has its share.

    Parameters
    ----------
    population
        All agents.
    n
        How many to take; all, where there are no more.
    seed
        What the first one follows from.

    Returns
    -------
    ndarray of int64
        Rows of the population's table, ascending.

    References
    ----------
    Cochran, W. G. (1977). *Sampling Techniques*, 3rd ed., chapter 8.

    Examples
    --------
    >>> import daskagents as da
    >>> class Voter(da.Agent):
    ...     education: str = ""
    >>> voters = da.Population(Voter, {"education": ["school", "phd"] * 500})
    >>> rows = stratified(voters, 10)
    >>> int(sum(rows % 2)), len(rows)
    (5, 10)
    """
    table = population.table
    if n >= table.n:
        return np.arange(table.n)
    fields = population.cls.__fields__
    ranks = [_ranks(fields[name].tolist(column)) for name, column in table.columns.items()]
    ranks.sort(key=lambda rank: int(rank.max()))
    order = np.lexsort(ranks[:_COLUMNS][::-1]) if ranks else np.arange(table.n)
    first = np.random.default_rng(seed).random()
    places = np.floor((np.arange(n) + first) * table.n / n).astype(np.int64)
    return np.sort(order[places])


def _ranks(values: list[Any]) -> NDArray[np.int64]:
    """Return the place of each value among all different ones."""
    different = set(values)
    try:
        ranked = sorted(different)
    except TypeError:  # None among others, or what has no order
        ranked = sorted(different, key=repr)
    places = {value: place for place, value in enumerate(ranked)}
    return np.array([places[value] for value in values])
