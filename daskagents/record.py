"""What a workflow yields in a round: which population it is about, and where it is written."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr
from dask.array.core import Array
from numpy.typing import NDArray

from daskagents import tasks
from daskagents.errors import WorkflowError
from daskagents.named import LazyMessage
from daskagents.plan import plan_each
from daskagents.rounds import Kind, Rounds, Source
from daskagents.session import Members, Session, Step
from daskagents.store import Store
from daskagents.tasks import Place

_YIELDED = (xr.DataArray, LazyMessage, str, float, int, np.ndarray, np.generic, Array)


@dataclass(frozen=True)
class Written:
    """A variable over agents that tasks are writing: a handle and the rows of each part."""

    handles: list[Any]
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

    """

    session: Session
    store: Store
    number: int
    steps: list[Step]
    agents: dict[str, Variable] = field(default_factory=dict)
    values: dict[str, tuple[tuple[str, ...], Any]] = field(default_factory=dict)

    def take(self, yielded: Any) -> None:
        """Start to write down what the workflow yielded."""
        for name, value in _variables(yielded).items():
            if isinstance(value, LazyMessage):
                self.values[name] = ((), value)
                continue
            array = value if isinstance(value, xr.DataArray) else xr.DataArray(value)
            members = self._members_of(array)
            if members is None:
                self._take_value(name, array)
            else:
                self.agents[name] = self._take_agents(name, array, members)

    def _take_value(self, name: str, array: xr.DataArray) -> None:
        """Take what is no variable over agents: it comes to the client."""
        data = array.data
        if isinstance(data, Array):
            (handle,) = self.session.settle(data.rechunk(-1) if data.ndim else data)
            data = _Later(handle)
        self.values[name] = (tuple(map(str, array.dims)), data)

    def _members_of(self, array: xr.DataArray) -> Members | None:
        """Return the population whose agents an array is about."""
        found = [m for m in self.session.members.values() if m.dim in array.dims]
        if not found or array.ndim != 1:
            return None
        if len({m.n for m in found}) > 1:
            raise WorkflowError(
                f"several populations have the dimension {found[0].dim!r} and differ in size; give"
                " each a name of its own: da.Population(..., name='buyers')"
            )
        return found[0] if array.sizes[found[0].dim] <= found[0].n else None

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
        if isinstance(data, Array):
            sizes, handles = data.chunks[0], self.session.settle(data)
        else:
            sizes, handles = (len(array),), [self.session.executor.scatter(np.asarray(data))]
        place = Place("", 0, 0, *self.store.place)
        rows = [(handle, place, self._piece(name, at)) for at, handle in enumerate(handles)]
        plan = plan_each(
            f"values-{self.session.token}-{self.number}-{name}", tasks.write_values, rows
        )
        written = self.session.executor.submit(plan)
        dim = members.dim
        ids = array.indexes[dim].to_numpy() if dim in array.indexes else np.arange(len(array))
        cuts = np.cumsum([0, *sizes]).tolist()
        parts = [tight(ids[a:b]) for a, b in zip(cuts[:-1], cuts[1:], strict=True)]
        return Variable(members, kind, Written(written, parts))

    def _piece(self, name: str, at: int) -> str:
        return f"rounds/{self.number:06d}/{name}-{at:05d}"

    def value(self, name: str) -> Any:
        """Wait for a value that is no variable over agents."""
        value = self.values[name][1]
        if isinstance(value, LazyMessage):
            return value.content
        if isinstance(value, _Later):
            return self.session.executor.gather([value.handle])[0]
        return value

    def sources(self, rounds: Rounds) -> dict[str, dict[str, list[Source]]]:
        """Return where the pieces of the round are, and make room for new variables."""
        found: dict[str, dict[str, list[Source]]] = {}
        for name, variable in self.agents.items():
            dim = variable.members.dim
            rounds.add_axis(dim, variable.members.frame)
            rounds.add_variable(dim, name, variable.kind)
            found.setdefault(dim, {})[name] = self._pieces(name, variable)
        for step in self.steps:
            dim = step.members.dim
            if dim in rounds.axes:
                flag = "failed" if dim == "agent" else f"{dim}_failed"
                rounds.add_variable(dim, flag, "flag")
                found.setdefault(dim, {}).setdefault(flag, []).extend(pieces(step, "failed"))
        return found

    def _pieces(self, name: str, variable: Variable) -> list[Source]:
        if not isinstance(variable.source, Written):
            return pieces(*variable.source)
        found = []
        written = self.session.executor.gather(variable.source.handles)
        for at, (path, rows) in enumerate(zip(written, variable.source.rows, strict=True)):
            if isinstance(path, bytes):
                path = self.store.write_piece(self._piece(name, at), path)
            found.append(Source(path, "", rows))
        return found


@dataclass(frozen=True)
class _Later:
    """A handle of a value that the round's closing waits for."""

    handle: Any


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
    """Return what a workflow yielded as variables by name."""
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
