"""What a run will hold in memory, said before it starts."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from daskagents.agent import Agent
from daskagents.columns import Coded, Column
from daskagents.errors import UsageError
from daskagents.html import size
from daskagents.table import Table

if TYPE_CHECKING:
    from daskagents.population import Population

#: Versions of the state that a step needs at the least: the one it reads and the one it makes.
LEAST = 2
#: Share of the workers' memory that versions may take before Dask begins to spill.
_SHARE = 0.6


def state_bytes(cls: type[Agent], table: Table, bounds: NDArray[np.int64]) -> int:
    """Return the bytes of the first version of a population's state, all blocks together.

    Parameters
    ----------
    cls
        The agents' class.
    table
        The columns that were given.
    bounds
        Where blocks begin, and the end.

    """
    found = 0
    for name, declared in cls.__fields__.items():
        if name in table.columns:
            column = table.columns[name]
            found += sum(column.take(slice(*cut)).nbytes for cut in pairwise(bounds.tolist()))
        else:
            found += _bytes(declared.full(1), table.n, len(bounds) - 1)
    return found


def _bytes(column: Column, n: int, blocks: int) -> int:
    """Return the bytes of a column of one row, repeated, once it is cut into blocks."""
    words = column.words.nbytes if isinstance(column, Coded) else 0  # every block has its own
    return (column.nbytes - words) * n + words * blocks


def rounds_ahead(populations: Iterable[Population], memory: int | None, most: int) -> int:
    """Return how many rounds a workflow may be ahead, so that their versions fit into memory.

    Parameters
    ----------
    populations
        All that take part.
    memory
        Bytes that all workers have together; None where that is not known or not limited.
    most
        The answer where memory is no matter.

    Returns
    -------
    int
        From 1 to `most`.

    Raises
    ------
    UsageError
        If not even the version that a step reads and the one that it makes fit.

    """
    each = {id(p): p for p in populations}
    total = sum(p.nbytes for p in each.values())
    if memory is None or not total:
        return most
    if LEAST * total > memory:
        largest = max(each.values(), key=lambda p: p.nbytes)
        raise UsageError(
            f"the agents do not fit into memory: {len(largest):,} {largest.cls.__name__} take"
            f" {size(largest.nbytes)} ({largest.nbytes / len(largest):.0f} bytes each), a step"
            f" needs {LEAST} versions of all populations, {size(LEAST * total)}, and the workers"
            f" have {size(memory)}; use fewer agents or fields, or more workers or memory"
        )
    return max(1, min(most, int(_SHARE * memory / total) - LEAST))
