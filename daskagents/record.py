"""What a workflow yields in a round: which population it is about, and where it is written."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import pairwise
from types import NoneType
from typing import Any

import numpy as np
import xarray as xr
from dask.array.core import Array
from numpy.typing import NDArray

from daskagents import tasks
from daskagents.environments.tasks import piece_of
from daskagents.environments.versions import Made
from daskagents.errors import WorkflowError
from daskagents.forms import TAKEN
from daskagents.lazies import origins
from daskagents.members import Members, Step
from daskagents.named import LazyMessage
from daskagents.plan import plan_each
from daskagents.rounds import Kind, Rounds, Source
from daskagents.session import Session
from daskagents.store import Store, file_name
from daskagents.tasks import Place
from daskagents.values import Value

_YIELDED = (xr.DataArray, LazyMessage, str, float, int, np.ndarray, np.generic, Array, NoneType)


@dataclass(frozen=True)
class Written:
    """A variable over agents: a path, or the handle of a task that writes, and rows per part."""

    parts: list[Any]
    rows: list[slice | NDArray[np.int64]]


@dataclass(frozen=True)
class Variable:
    """A variable over the agents of one population: a step's replies, or made of such."""

    members: Members
    kind: Kind
    source: tuple[Step, str] | Written


@dataclass
class Record:
    """One round that the workflow ended: what it yielded, and the steps it took.

    Parameters
    ----------
    session, store
        Where it belongs to.
    number
        Of the round, from 0.
    steps
        Those asked for since the last round.
    made
        The versions of environments that were made since then.

    """

    session: Session
    store: Store
    number: int
    steps: list[Step]
    made: list[Made] = field(default_factory=list)
    agents: dict[str, Variable] = field(default_factory=dict)
    values: dict[str, Value] = field(default_factory=dict)
    frames: dict[str, xr.Dataset] = field(default_factory=dict)
    alive: int = 0
    turnover: bool = False

    def take(self, yielded: Any) -> None:
        """Start to write down what the workflow yielded, and who is there."""
        for each in self.session.members.values():
            if not each.named:
                self.frames[each.name] = each.frame
                self.alive += 0 if each.are_groups else each.lives.count
                self.turnover |= each.lives.version > 0
        for name, value in _variables(yielded).items():
            if isinstance(value, LazyMessage):
                self.values[name] = Value((), value)
                continue
            array = value if isinstance(value, xr.DataArray) else xr.DataArray(value)
            if "round" in array.dims:
                raise WorkflowError(f"{name!r} has a dimension 'round'; yield one round at a time")
            members = self._members_of(name, array)
            if members is not None and array.ndim == 1:
                self.agents[name] = self._take_agents(name, array, members)
            else:
                self.values[name] = self._take_value(array, members)

    def _take_value(self, array: xr.DataArray, members: Members | None) -> Value:
        """Take what is no variable over agents alone: it comes to the client."""
        if members is not None and members.dim in array.indexes:
            blank = "" if array.dtype.kind in "TUO" else np.nan
            array = array.reset_coords(drop=True)  # texts among them could not be filled up
            every = {members.dim: members.frame.indexes[members.dim]}
            array = array.reindex(every, fill_value=blank).drop_vars(members.dim)
        labels = {str(dim): index.tolist() for dim, index in array.indexes.items()}
        data = array.data
        if isinstance(data, Array):
            (handle,) = self.session.lazies.settle(data.rechunk(-1) if data.ndim else data)
            data = _Later(handle)
        return Value(tuple(map(str, array.dims)), data, labels)

    def _members_of(self, name: str, array: xr.DataArray) -> Members | None:
        """Return the population whose agents an array is about."""
        found = [m for m in self.session.members.values() if m.dim in array.dims and not m.named]
        if not found:
            return None
        if isinstance(array.data, Array):
            made_from = {name for _, name, _ in origins(array.data)}
            found = [m for m in found if m.name in made_from] or found
        dim = found[0].dim
        fitting = [m for m in found if array.sizes[dim] <= m.n]
        if len({m.n for m in fitting}) > 1:
            raise WorkflowError(
                f"several populations have the dimension {dim!r} and differ in size; give each a"
                " name of its own: da.Population(..., name='buyers')"
            )
        if not fitting:
            raise WorkflowError(
                f"{name!r} has {array.sizes[dim]} values over {dim!r}, and there are {found[0].n}"
                f" agents in {found[0].name!r}"
            )
        return fitting[0]

    def _take_agents(self, name: str, array: xr.DataArray, members: Members) -> Variable:
        """Take a variable over agents: its parts are written where they are."""
        text = array.dtype.kind in "TUO"
        if not text and array.dtype.kind not in "fiub":
            raise WorkflowError(f"{name!r} has the type {array.dtype}; yield numbers or texts")
        kind: Kind = "text" if text else "number"
        data = array.data
        if isinstance(data, Array) and data.name in self.session.direct:
            step, reply = self.session.direct[data.name]
            if any(step is own for own in self.steps):  # what it wrote is there until the fold
                return Variable(members, kind, (step, reply))
        ids = _ids(name, array, members)
        if not isinstance(data, Array):
            place = Place("", 0, 0, str(self.store.folder))
            path = tasks.write_values(np.asarray(data), place, self._piece(name, 0))
            return Variable(members, kind, Written([path], [tight(ids)]) if len(ids) else _NOTHING)
        place = Place("", 0, 0, *self.store.place)
        cuts = np.cumsum([0, *data.chunks[0]]).tolist()
        parts = [tight(ids[start:end]) for start, end in pairwise(cuts) if start < end]
        handles = self.session.lazies.settle(data)
        full = [h for h, (start, end) in zip(handles, pairwise(cuts), strict=True) if start < end]
        rows = [(handle, place, self._piece(name, at)) for at, handle in enumerate(full)]
        plan = plan_each(
            f"values-{self.session.token}-{self.number}-{name}", tasks.write_values, rows
        )
        written = self.session.executor.submit(plan) if rows else []
        return Variable(members, kind, Written(written, parts))

    def _piece(self, name: str, at: int) -> str:
        return f"rounds/{self.number:06d}/{file_name(name)}-{at:05d}"

    def wait(self) -> dict[str, Value]:
        """Wait for the values that are no variables over agents, and return them by name."""
        found = {}
        for name, value in self.values.items():
            data = value.data
            if isinstance(data, LazyMessage):
                (said,) = self.session.executor.gather([data._said])
                data = None if said.failure else said.content
            elif isinstance(data, _Later):
                (data,) = self.session.executor.gather([data.handle])
            if data is not None:
                found[name] = replace(value, data=data)
        return found

    def wait_for_worlds(self) -> None:
        """Wait for the versions of the round; write down those that no task could."""
        executor = self.session.executor
        executor.wait([made.result for made in self.made])
        if not self.store.shared and self.made:
            name = f"pieces-{self.session.token}-{self.number}"
            plan = plan_each(name, piece_of, [(made.result,) for made in self.made])
            found = executor.gather(executor.submit(plan))
            for made, piece in zip(self.made, found, strict=True):
                self.store.write_environment(made.owner.name, f"{made.number:06d}", piece)
        self.made.clear()

    def sources(self, rounds: Rounds) -> dict[str, dict[str, list[Source]]]:
        """Return where the pieces of the round are, and make room for new variables."""
        found: dict[str, dict[str, list[Source]]] = {}
        for owner, frame in self.frames.items() if self.turnover else ():
            rounds.grow(self.session.members[owner].dim, owner, frame)
        for name, variable in self.agents.items():
            dim, owner = variable.members.dim, variable.members.name
            rounds.add_axis(dim, owner, self.frames[owner])
            rounds.add_variable(dim, name, variable.kind)
            found.setdefault(dim, {})[name] = self._pieces(name, variable)
        for step in self.steps:
            dim = step.members.dim
            if dim in rounds.axes and rounds.axes[dim].owner == step.members.name:
                flag = "failed" if dim == "agent" else f"{dim}_failed"
                rounds.add_variable(dim, flag, "flag")
                found.setdefault(dim, {}).setdefault(flag, []).extend(pieces(step, "failed"))
        return found

    def direct(self) -> dict[str, tuple[int, str]]:
        """Return which variables are a step's replies as they are: of which, and of what name."""
        return {
            name: (variable.source[0].number, variable.source[1])
            for name, variable in self.agents.items()
            if not isinstance(variable.source, Written)
        }

    def _pieces(self, name: str, variable: Variable) -> list[Source]:
        if not isinstance(variable.source, Written):
            return pieces(*variable.source)
        found = []
        written = variable.source.parts
        if not all(isinstance(part, str) for part in written):
            written = self.session.executor.gather(written)
        for at, (path, rows) in enumerate(zip(written, variable.source.rows, strict=True)):
            if isinstance(path, bytes):
                path = self.store.write_piece(self._piece(name, at), path)
            found.append(Source(path, "", rows))
        return found


@dataclass(frozen=True)
class _Later:
    """A handle of a value that the round's closing waits for."""

    handle: Any


_NOTHING = Written([], [])


def _ids(name: str, array: xr.DataArray, members: Members) -> NDArray[np.int64]:
    """Return the ids of the agents that an array is about, in its order."""
    index = array.indexes.get(members.dim)
    if index is None:
        there = members.lives.there()
        if there is not None and len(array) == len(there):
            return there
        if len(array) != members.n:
            raise WorkflowError(
                f"{name!r} has {len(array)} values and no ids, and {members.name!r} has"
                f" {members.lives.count} agents; keep the coordinate {members.dim!r}, or yield a"
                " value for each agent"
            )
        return np.arange(members.n)
    ids: NDArray[Any] = index.to_numpy()
    if members.are_groups:
        ids = members.frame.indexes[members.dim].get_indexer(index)
        if len(ids) and ids.min() < 0:
            raise WorkflowError(
                f"{name!r} is about {members.dim!r} {index[ids.argmin()]!r}, and there is no such"
                f" group in {members.name!r}"
            )
    if len(ids) and (ids.dtype.kind not in "iu" or ids.min() < 0 or ids.max() >= members.n):
        raise WorkflowError(
            f"{name!r} is about {members.dim!r} {ids.min()} to {ids.max()}, and the agents of"
            f" {members.name!r} are 0 to {members.n - 1}"
        )
    return ids.astype(np.int64, copy=False)


def pieces(step: Step, name: str) -> list[Source]:
    """Return the pieces that the tasks of a step wrote, with the rows they are about."""
    found, at = [], 0
    bounds = step.members.bounds
    for index, count, part in zip(step.indexes, step.counts, step.results or [], strict=True):
        first = int(bounds[index])
        rows: slice | NDArray[np.int64] = slice(first, first + count)
        if step.rows is not None:
            rows = tight(step.rows[at : at + count])
        at += count
        found.append(Source(str(part.piece), name, rows))
    return found


def tight(ids: NDArray[np.int64]) -> slice | NDArray[np.int64]:
    """Return ids as a slice where they follow one another.

    Examples
    --------
    >>> tight(np.array([3, 4, 5])), tight(np.array([3, 5]))
    (slice(3, 6, None), array([3, 5]))

    """
    first, last = int(ids[0]), int(ids[-1])
    consecutive = last - first + 1 == len(ids) and bool((np.diff(ids) == 1).all())
    return slice(first, last + 1) if consecutive else np.asarray(ids, np.int64)


def _variables(yielded: Any) -> dict[str, Any]:
    """Return what a workflow yielded as variables by name; those that are None are left out."""
    found = _by_name(yielded)
    for name in found:
        if not name or "/" in name or name.startswith(("__", ".")):
            raise WorkflowError(f"{name!r} cannot be the name of a variable; choose another")
        if name in TAKEN:
            raise WorkflowError(f"{name!r} is what a run itself says of a round; choose another")
    return {name: value for name, value in found.items() if value is not None}


def _by_name(yielded: Any) -> dict[str, Any]:
    if yielded is None:
        return {}
    if isinstance(yielded, xr.Dataset):
        return {str(name): yielded[name] for name in yielded.data_vars}
    if isinstance(yielded, xr.DataArray):
        return {str(yielded.name or "value"): yielded}
    if not isinstance(yielded, dict):
        raise WorkflowError(
            "a workflow yields a Dataset, a DataArray, a dict of arrays and numbers, or nothing,"
            f" not {type(yielded).__name__}"
        )
    for name, value in yielded.items():
        if not isinstance(name, str):
            raise WorkflowError(f"the keys of what a workflow yields are names, not {name!r}")
        if isinstance(value, xr.Dataset):
            inside = ", ".join(map(str, value.data_vars))
            raise WorkflowError(
                f"{name!r} is a Dataset ({inside}); yield the Dataset itself, or one variable each"
            )
        if not isinstance(value, _YIELDED):
            raise WorkflowError(f"{name!r} is {value!r}; yield arrays, numbers and texts")
    return yielded
