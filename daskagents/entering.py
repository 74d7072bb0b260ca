"""Agents that enter a population within a session, and agents that leave it."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr
from dask.array.core import Array
from numpy.typing import NDArray

from daskagents.errors import UsageError
from daskagents.members import Members, address, digest_of_rows
from daskagents.past import LOST
from daskagents.plan import plan_blocks
from daskagents.replies import make_frame
from daskagents.session import Session
from daskagents.table import Table

Ids = NDArray[np.int64]


def enter(session: Session, members: Members, table: Table, bounds: NDArray[np.int64]) -> Ids:
    """Let the agents of a table enter a population, in blocks of their own.

    Parameters
    ----------
    session, members
        The population, and where it is.
    table
        The new agents.
    bounds
        Where the blocks begin within the table, and its end.

    Returns
    -------
    ndarray
        Their ids, which follow on the last.
    """
    _refuse_named(members)
    name, first, index = members.name, members.n, len(members.handles)
    bounds = bounds + first
    digest = _digest(table)
    said = {"population": name, "enter": table.n, "first": first, "blocks": len(bounds) - 1}
    _note(session, said | {"table": digest})
    handles: list[Any] = [LOST] * (len(bounds) - 1)
    if not session.retracing:
        given = session.given(name, bounds, table.columns, index, f"entered/{digest[:8]}")
        key = f"begin-{session.token}-{name}-{first}"
        plan = plan_blocks(key, members.charter, bounds.tolist(), given)
        handles = session.executor.submit(plan)
    members.frame = _grown(members, table, bounds)
    members.handles += handles
    members.bounds = np.concatenate([members.bounds, bounds[1:]])
    members.lives.enter(table.n)
    return np.arange(first, first + table.n)


def leave(session: Session, members: Members, ids: Ids) -> None:
    """Let agents leave a population; a block of which all are gone is let go."""
    _refuse_named(members)
    if not len(ids):
        return
    indexes, _, masks = address(members.bounds, ids)
    who = digest_of_rows(indexes, masks)
    _note(session, {"population": members.name, "leave": len(ids), "who": who})
    members.lives.leave(ids)
    gone, bounds = members.lives.gone, members.bounds
    assert gone is not None
    for index in indexes:
        if gone[bounds[index] : bounds[index + 1]].all():
            members.handles[index] = None
            members.coming.pop(index, None)


def _refuse_named(members: Members) -> None:
    if members.named:
        raise UsageError(f"{members.name} is one named agent; populations have agents that come")


def _note(session: Session, said: dict[str, Any]) -> None:
    """Note who enters or leaves, or compare it with what a run did before."""
    number = session.lives
    session.lives += 1
    if session.past is not None:
        session.past.check_life(number, said)
    if not session.retracing and session.store is not None:
        session.store.note("life", number=number, **said)


def _digest(table: Table) -> str:
    digest = blake2b(digest_size=16)
    for name, column in table.columns.items():
        digest.update(name.encode())
        for array in column.arrays().values():
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _grown(members: Members, table: Table, bounds: NDArray[np.int64]) -> xr.Dataset:
    """Return the coordinates of a population with those of new agents.

    A column that was given for some is a coordinate of all; others have the field's default, which
    is what they began with.
    """
    old, dim, fields = members.frame, members.dim, members.cls.__fields__
    known = [str(name) for name in old.coords if name != dim]
    names = [*known, *(n for n in table.columns if n not in known and n not in members.replied)]
    columns = {n: table.columns.get(n) or fields[n].full(table.n) for n in names}
    new = make_frame(Table(table.n, columns), fields, dim, bounds - bounds[0])
    coords: dict[str, Any] = {dim: np.arange(members.n + table.n)}
    for name in names:
        if name not in new.coords:  # its values are no coordinate
            continue
        if name in old.coords:
            before: Any = old.variables[name].data
        else:
            before = fields[name].numpy(fields[name].full(members.n))
        coords[name] = (dim, _concat(before, new.variables[name].data))
    return xr.Dataset(coords=coords)


def _concat(one: Any, two: Any) -> Any:
    if isinstance(one, Array) or isinstance(two, Array):
        return da.concatenate([one, two])
    return np.concatenate([one, two])
