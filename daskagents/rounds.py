"""Results on disk: one Zarr group over (round, agent), folded from what the tasks wrote."""

from __future__ import annotations

import shutil
import warnings
import weakref
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.storage import LocalStore

from daskagents.blocks import readable
from daskagents.captions import caption_of
from daskagents.checked import PACKED, PLAIN, Checked
from daskagents.columns import from_arrays, load
from daskagents.errors import FolderError, WorkflowError
from daskagents.forms import as_numpy
from daskagents.growing import create_coord, extend_coord, forget_after, least_sizes
from daskagents.tasks import writing
from daskagents.values import Value, Values

if TYPE_CHECKING:
    import xarray as xr
    from dask.array.core import Array

Kind = Literal["number", "text", "flag"]

#: Bytes up to which a coordinate is held in memory.
_IN_MEMORY = 1 << 28

#: Rows of one chunk of the results, at most; and values of one over several rounds.
SPAN, WINDOW = 1 << 20, 1 << 17
_AHEAD = 64


@dataclass(frozen=True)
class Source:
    """A piece of one variable of one round: the file, the name in it, the rows it is about."""

    path: str
    name: str
    rows: slice | NDArray[np.int64]


@dataclass(frozen=True)
class Fold:
    """What one task writes: some variables of one dimension, of the rounds of one window."""

    folder: str
    first: int
    span: tuple[int, int]
    kinds: dict[str, Kind]
    sources: list[dict[str, list[Source]]]


def window(n: int) -> int:
    """Return how many rounds of `n` agents stand in one chunk of the results.

    Examples
    --------
    >>> window(1_000_000), window(10_000), window(100)
    (1, 13, 64)

    """
    return max(1, min(64, WINDOW // n))


def fold(task: Fold) -> int:
    """Write the chunks of one window from pieces; return how many values were written."""
    with writing(task.folder):
        return _fold(task)


def _fold(task: Fold) -> int:
    start, stop = task.span
    group = zarr.open_group(task.folder, mode="r+")
    pieces: dict[str, dict[str, NDArray[Any]]] = {}
    written = 0
    for name, kind in task.kinds.items():
        values = _blank(kind, (len(task.sources), stop - start))
        for row, sources in zip(values, task.sources, strict=True):
            for source in sources.get(name, ()):
                _place(row, source, pieces, kind, start)
        array = Checked(group[name])
        array[task.first : task.first + len(values), start:stop] = values
        written += values.size
    return written


def _place(
    row: NDArray[Any],
    source: Source,
    pieces: dict[str, dict[str, NDArray[Any]]],
    kind: Kind,
    start: int,
) -> None:
    """Put one piece into its places of one round's row."""
    if source.path not in pieces:
        with Path(source.path).open("rb") as file:
            pieces[source.path] = load(file)
    values = _values(pieces[source.path], source, kind)
    if values is None:  # nobody in the block replied
        return
    stop = start + len(row)
    where: Any
    if isinstance(source.rows, slice):
        first, last = max(start, source.rows.start), min(stop, source.rows.stop)
        values = values[first - source.rows.start : last - source.rows.start]
        where = slice(first - start, last - start)
    else:
        inside = (source.rows >= start) & (source.rows < stop)
        values, where = values[inside], source.rows[inside] - start
    row[where] = row[where] | values if kind == "flag" else values


def _values(arrays: dict[str, NDArray[Any]], source: Source, kind: Kind) -> NDArray[Any] | None:
    """Return one variable of a piece; None where the piece has none."""
    if kind == "flag":
        return arrays[source.name]
    prefix = f"{source.name}/"
    parts = {key.removeprefix(prefix): a for key, a in arrays.items() if key.startswith(prefix)}
    return as_numpy(from_arrays(parts)) if parts else None


def _blank(kind: Kind, shape: tuple[int, int]) -> NDArray[Any]:
    if kind == "number":
        return np.full(shape, np.nan)
    return np.zeros(shape, bool if kind == "flag" else np.dtypes.StringDType())


@dataclass
class _Axis:
    """A dimension of agents, and the rounds of its open window."""

    owner: str
    n: int
    window: int
    width: int
    kinds: dict[str, Kind] = field(default_factory=dict)
    first: int = 0
    open: list[dict[str, list[Source]]] = field(default_factory=list)
    whole: int = 0

    def complete(self) -> int:
        """Return how many of the open rounds are of windows that are complete."""
        end = self.first + len(self.open)
        return max(0, end - end % self.window - self.first)

    @property
    def span(self) -> int:
        """Agents that one task writes: whole chunks, for no two tasks may write one."""
        return max(1, SPAN // self.width) * self.width

    def windows(self) -> Iterator[tuple[int, int]]:
        """Yield where each window begins and ends among the open rounds."""
        at = 0
        while at < len(self.open):
            end = min(len(self.open), at + self.window - (self.first + at) % self.window)
            yield at, end
            at = end


class Rounds:
    """The results of a run while it writes them. Only the client touches their metadata.

    Parameters
    ----------
    folder
        Where the Zarr group is made.
    state
        What `Rounds.state` returned, of a run that goes on from there.

    """

    def __init__(self, folder: Path, state: dict[str, Any] | None = None) -> None:
        self.folder = folder
        self.axes: dict[str, _Axis] = {}
        self.values = Values()
        self._coords: dict[str, str] = {}
        self.closed = self._folding = self._written = 0
        self._capacity = _AHEAD
        if state is None:
            self.group = zarr.create_group(folder, attributes={"rounds": 0}, overwrite=True)
        else:
            with readable(folder):
                self.group = zarr.open_group(folder, mode="r+")
                self._restore(state)

    def state(self) -> dict[str, Any]:
        """Return what is needed to go on from here, as JSON has it; all rounds must be folded."""
        axes = {
            dim: {
                "owner": axis.owner,
                "n": axis.n,
                "window": axis.window,
                "width": axis.width,
                "kinds": axis.kinds,
            }
            for dim, axis in self.axes.items()
        }
        return {
            "closed": self.closed,
            "axes": axes,
            "coords": self._coords,
            "values": self.values.state(),
        }

    def _restore(self, state: dict[str, Any]) -> None:
        """Go on from a state: what was written after it is removed."""
        self.closed = self._written = state["closed"]
        self._coords = state["coords"]
        for dim, axis in state["axes"].items():
            kinds, n = axis["kinds"], axis["n"]
            rounds, width = axis.get("window", window(n)), axis.get("width", min(n, SPAN))
            self.axes[dim] = _Axis(axis["owner"], n, rounds, width, kinds, self.closed)
        self.values.restore(self.group, state["values"], self.closed)
        known = {*self._coords, *self.values.names, *self.values.labels}
        known |= {name for axis in self.axes.values() for name in axis.kinds}
        for name in set(self.group) - known:
            del self.group[name]
        self._shrink()
        self._resize(self.closed)
        self._tell(self.closed)

    def add_axis(self, dim: str, owner: str, frame: xr.Dataset) -> None:
        """Make room for a population: its ids, and its columns as coordinates."""
        if dim in self.axes:
            if self.axes[dim].owner != owner:
                raise WorkflowError(
                    f"the populations {self.axes[dim].owner!r} and {owner!r} are both yielded over"
                    f" {dim!r}; give each a name of its own: da.Population(..., name={owner!r})"
                )
            return
        n = frame.sizes[dim]
        self.axes[dim] = _Axis(owner, n, window(n), min(n, SPAN), {}, self.closed)
        taken = {*self.values.names, *self.values.labels}
        for name, values in frame.coords.items():
            if name in taken:
                _say_dropped(str(name), owner)
                continue
            # two populations may have a column of one name
            label = f"{dim}_{name}" if name in self._coords else str(name)
            self._add_coord(dim, label, values)

    def _add_coord(self, dim: str, label: str, values: xr.DataArray) -> None:
        """Write a coordinate of agents, in place of the one that there is."""
        axis = self.axes[dim]
        create_coord(self.group, label, values.values, dim, axis.width)
        self._coords[label] = axis.owner

    def grow(self, dim: str, owner: str, frame: xr.Dataset) -> None:
        """Make room for agents that have entered a population, if it is in the results."""
        n, axis = frame.sizes[dim], self.axes.get(dim)
        if axis is None or (axis.owner == owner and n > axis.n):
            self.values.grow(dim, n)
        if axis is None or axis.owner != owner or n <= axis.n:
            return
        before, axis.n = axis.n, n
        own = {label for label, whose in self._coords.items() if whose == owner}
        for name, values in frame.coords.items():
            label = str(name) if name in own else f"{dim}_{name}"
            if label in own:
                own.discard(label)
                array: Any = self.group.get(label)
                if array is None or not extend_coord(array, values[before:].values):
                    self._add_coord(dim, label, values)
            elif str(name) not in self.group:  # it was given with those that entered, first
                self._add_coord(dim, str(name), values)
        for label in own:  # agents reply under its name
            del self._coords[label], self.group[label]
        self._resize(self._capacity)

    def _shrink(self) -> None:
        """Forget agents that entered after what a run goes on from."""
        for axis in self.axes.values():
            for name in axis.kinds:
                forget_after(self.group[name], self.closed, axis.n, axis.window, axis.width)
            for label, owner in self._coords.items():
                array: Any = self.group.get(label)
                if owner == axis.owner and array is not None and array.shape[0] > axis.n:
                    array.resize((axis.n,))

    def add_variable(self, dim: str, name: str, kind: Kind) -> None:
        """Make room for a variable over (round, `dim`)."""
        axis = self.axes[dim]
        if name in axis.kinds:
            if axis.kinds[name] != kind:
                raise WorkflowError(
                    f"{name!r} was yielded as {axis.kinds[name]} before and as {kind} now"
                )
            return
        self._make_way(name, name in self.values or self._is_over_agents(name))
        axis.kinds[name] = kind
        dtypes: dict[str, Any] = {
            "number": np.dtype(np.float64),
            "flag": np.dtype(bool),
            "text": np.dtypes.StringDType(),
        }
        fills: dict[str, Any] = {"number": np.nan, "flag": False, "text": ""}
        self.group.create_array(
            name,
            shape=(self._capacity, axis.n),
            dtype=dtypes[kind],
            chunks=(axis.window, axis.width),
            dimension_names=("round", dim),
            fill_value=fills[kind],
            compressors=PACKED if kind == "text" else PLAIN,
        )

    def _is_over_agents(self, name: str) -> bool:
        return any(name in axis.kinds for axis in self.axes.values())

    def _make_way(self, name: str, taken: bool) -> None:
        """Let a variable or a dimension have a name, if need be that of a given column."""
        if taken or name in self.axes or name in self.values.labels:
            raise WorkflowError(
                f"{name!r} is yielded, and is already something else in this run (a dimension, or"
                " a variable over other dimensions); choose another name"
            )
        if name in self._coords:
            _say_dropped(name, self._coords.pop(name))
            del self.group[name]

    def add_value(self, name: str, value: Value, number: int | None = None) -> None:
        """Keep a value of the round that is being closed, or of an earlier one."""
        if name not in self.values:
            self._make_way(name, self._is_over_agents(name))
        for dim in value.labels.keys() - self.values.labels.keys():
            self._make_way(dim, dim in self.values or self._is_over_agents(dim))
        self.values.add(self.closed if number is None else number, name, value)

    def close(self, sources: dict[str, dict[str, list[Source]]]) -> None:
        """Close a round, given the sources of its variables by dimension and name."""
        for dim, axis in self.axes.items():
            axis.open.append(sources.get(dim, {}))
        self.closed += 1
        if self.closed > self._capacity:
            self._resize(self.closed + _AHEAD)

    def folds(self, *, last: bool = False) -> list[Fold]:
        """Return what has to be written for the closed rounds to be in the results."""
        found = []
        self._folding = self.closed
        for axis in self.axes.values():
            axis.whole = len(axis.open) if last else axis.complete()
            for at, end in axis.windows():
                for start in range(0, axis.n, axis.span):
                    span = (start, min(axis.n, start + axis.span))
                    part = [_inside(sources, span) for sources in axis.open[at:end]]
                    if axis.kinds and any(part):
                        first = axis.first + at
                        found.append(Fold(str(self.folder), first, span, dict(axis.kinds), part))
        return found

    def full(self) -> bool:
        """Whether some window of rounds is complete."""
        return any(axis.complete() for axis in self.axes.values())

    def folded(self) -> set[str]:
        """Say that the last `folds` are written; return the files that are not needed any more."""
        rounds = min(self._folding, self._written)
        self._tell(rounds)
        gone: set[str] = set()
        for axis in self.axes.values():
            for sources in axis.open[: axis.whole]:
                gone |= {source.path for some in sources.values() for source in some}
            del axis.open[: axis.whole]
            axis.first += axis.whole
            axis.whole = 0
        still = {
            source.path
            for axis in self.axes.values()
            for sources in axis.open
            for some in sources.values()
            for source in some
        }
        return gone - still

    def write_values(self) -> None:
        """Write the values per round."""
        self.values.write(self.group, self.closed)
        self._written = self.closed

    def finish(self) -> None:
        """Give every variable its final length."""
        self._resize(self.closed)
        self._tell(self.closed)

    def _tell(self, rounds: int) -> None:
        """Say what is in the results, in one write: `attrs.update` would make one for each key."""
        owners = {dim: axis.owner for dim, axis in self.axes.items()}
        about = {"rounds": rounds, "order": self._order(), "owners": owners}
        self.group.update_attributes(about)

    def _order(self) -> list[str]:
        """Return names in the order of their coming: coordinates, over agents, then per round."""
        agents = [name for axis in self.axes.values() for name in axis.kinds]
        return [*self._coords, *self.values.labels, *agents, *self.values.names]

    def _resize(self, rounds: int) -> None:
        self._capacity = rounds
        for axis in self.axes.values():
            for name in axis.kinds:
                array: Any = self.group[name]
                if array.shape != (rounds, axis.n):
                    array.resize((rounds, axis.n))


def add_alive(rounds: Rounds, alive: list[int]) -> list[int]:
    """Say how many agents there were in the last rounds, that which is being closed included."""
    for number, count in enumerate(alive, rounds.closed + 1 - len(alive)):
        rounds.add_value("n_agents", Value((), count), number)
    return []


def _inside(sources: dict[str, list[Source]], span: tuple[int, int]) -> dict[str, list[Source]]:
    """Return the sources that have rows within a span."""
    start, stop = span
    found = {
        name: [s for s in some if _touches(s.rows, start, stop)] for name, some in sources.items()
    }
    return {name: some for name, some in found.items() if some}


def _touches(rows: slice | NDArray[np.int64], start: int, stop: int) -> bool:
    if isinstance(rows, slice):
        return bool(rows.start < stop and rows.stop > start)
    return bool(((rows >= start) & (rows < stop)).any())


def _say_dropped(name: str, owner: str) -> None:
    warnings.warn(
        f"{name!r} is yielded, and a column of that name was given with {owner!r}; what is yielded"
        " takes its place, and it is no coordinate of the results",
        stacklevel=2,
    )


class _Temporary(LocalStore):
    """A store whose folder goes when nothing can read from it any more."""

    def __init__(self, root: Path, folder: Path) -> None:
        super().__init__(root, read_only=True)
        self._end = weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)

    def __reduce__(self) -> Any:
        # a copy on a worker must not remove the folder
        return LocalStore, (self.root,)


def open_rounds(folder: Path, *, temporary: bool = False) -> xr.Dataset:
    """Open the results in a run directory, lazily; a temporary one goes with the result.

    Coordinates of numbers and short texts are in memory, so that one can group by them.
    """
    # not above: workers, which only fold, would take as long to import these as to start
    import xarray as xr

    path = folder / "rounds.zarr"
    if not path.exists():
        raise FolderError(f"{folder} holds no results yet")
    group = zarr.open_group(_Temporary(path, folder) if temporary else path, mode="r")
    rounds = int(group.attrs["rounds"])  # type: ignore[arg-type]
    order: Any = group.attrs.get("order", [])
    # in a run that was killed, or whose disk was full, while one was made, it is not there
    arrays: dict[str, Any] = {
        name: array for name in order if (array := group.get(name)) is not None
    }
    sizes = least_sizes(arrays, arrays)
    coords: dict[str, Any] = {"round": ("round", np.arange(rounds), caption_of("round"))}
    variables: dict[str, Any] = {}
    for name, array in arrays.items():
        dims = array.metadata.dimension_names
        # in a run that was killed, arrays differ in how far they reach
        inside = tuple(slice(rounds if dim == "round" else sizes[dim]) for dim in dims)
        if not array.attrs.get("coordinate", False):
            variables[name] = (dims, _lazy(array)[inside], caption_of(name, dims))
        elif array.size * array.dtype.itemsize < _IN_MEMORY:
            coords[name] = (dims, Checked(array)[inside])
        else:
            coords[name] = (dims, _lazy(array)[inside])
    return xr.Dataset(variables, coords)


def _lazy(array: Any) -> Array:
    """Return a Zarr array as one of Dask, a task for each of its chunks."""
    import dask.array as da
    from dask.base import tokenize

    name = f"rounds-{tokenize(str(array.store), array.path, array.shape)}"
    # given what it is of: else Zarr is asked for none of it, to see that
    meta = np.empty((0,) * array.ndim, array.dtype)
    return da.from_array(Checked(array), array.chunks, name=name, meta=meta)


def paths(sources: dict[str, dict[str, list[Source]]]) -> set[str]:
    """Return the files of the sources of a round."""
    return {s.path for some in sources.values() for each in some.values() for s in each}


def remove(files: set[str]) -> None:
    """Remove pieces that are not needed any more, and their folders once they are empty."""
    for path in files:
        Path(path).unlink(missing_ok=True)
    for folder in {Path(path).parent for path in files}:
        with suppress(OSError):
            folder.rmdir()
