"""Replies of steps that are not run again, as arrays: read from the results, where they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import zarr
from dask._task_spec import Task
from dask.array.core import Array
from numpy.typing import NDArray

from daskagents.checked import Checked
from daskagents.errors import NotStoredError
from daskagents.members import Step
from daskagents.session import Session

#: What one task reads: rows that follow one another, or any.
Rows = slice | NDArray[np.int64]


def stored_array(session: Session, step: Step, name: str, dtype: Any) -> Array:
    """Return the replies of one name in a step that is not run again, a chunk per block."""
    past, store = session.past, session.store
    assert past is not None
    assert store is not None
    where = past.stored.get((step.number, name))
    if where is None or not store.shared:
        return lost_array(session.name_of(step), step.counts, dtype)
    key = f"stored-{step.members.name}-{step.number}-{session.token}-{name}"
    graph, start, bounds = {}, 0, step.members.bounds
    for at, (index, count) in enumerate(zip(step.indexes, step.counts, strict=True)):
        first = int(bounds[index])
        rows: Rows = slice(first, first + count)
        if step.rows is not None:
            rows = step.rows[start : start + count]
        start += count
        graph[key, at] = Task((key, at), read_stored, str(store.rounds), *where, rows)
    return Array(graph, key, (tuple(step.counts),), meta=np.empty(0, dtype))


def lost_array(name: str, counts: Sequence[int], dtype: Any = float) -> Array:
    """Return an array that cannot be computed: it is of a step that is not run again."""
    key = f"lost-{name}"
    graph = {(key, at): Task((key, at), _raise) for at in range(len(counts))}
    return Array(graph, key, (tuple(counts),), meta=np.empty(0, dtype))


def _raise() -> Any:
    raise NotStoredError


def read_stored(folder: str, variable: str, round_: int, rows: Rows) -> NDArray[Any]:
    """Read some rows of one round from the results."""
    array = Checked(zarr.open_group(folder, mode="r")[variable])
    if isinstance(rows, slice):
        return array[round_, rows]
    first, last = int(rows[0]), int(rows[-1])
    return array[round_, first : last + 1][rows - first]
