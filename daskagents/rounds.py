"""Results on disk: one Zarr group over (round, agent), folded from what the tasks wrote."""

from __future__ import annotations

import shutil
import weakref
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr
import zarr
from numpy.typing import NDArray
from zarr.storage import LocalStore

from daskagents.columns import from_arrays, load
from daskagents.errors import FolderError, WorkflowError
from daskagents.forms import as_numpy

Kind = Literal["number", "text", "flag"]

#: Rows of one chunk of the results, at most; and values of one over several rounds.
SPAN, WINDOW = 1 << 20, 1 << 17
_AHEAD = 64


@dataclass(frozen=True, slots=True)
class Source:
    """A piece of one variable of one round: the file, the name in it, the rows it is about."""

    path: str
    name: str
    rows: slice | NDArray[np.int64]


@dataclass(frozen=True, slots=True)
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
    start, stop = task.span
    group = zarr.open_group(task.folder, mode="r+")
    pieces: dict[str, dict[str, NDArray[Any]]] = {}
    written = 0
    for name, kind in task.kinds.items():
        values = _blank(kind, (len(task.sources), stop - start))
        for row, sources in zip(values, task.sources, strict=True):
            for source in sources.get(name, ()):
                _place(row, source, pieces, kind, start)
        array: Any = group[name]
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
    if isinstance(source.rows, slice):
        first, last = max(start, source.rows.start), min(stop, source.rows.stop)
        values = values[first - source.rows.start : last - source.rows.start]
        where: Any = slice(first - start, last - start)
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

    n: int
    window: int
    kinds: dict[str, Kind] = field(default_factory=dict)
    first: int = 0
    open: list[dict[str, list[Source]]] = field(default_factory=list)
    whole: int = 0


class Rounds:
    """The results of a run while it writes them. Only the client touches their metadata.

    Parameters
    ----------
    folder
        Where the Zarr group is made.

    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.group = zarr.create_group(folder, attributes={"rounds": 0})
        self.axes: dict[str, _Axis] = {}
        self.small: dict[str, tuple[tuple[str, ...], dict[int, Any]]] = {}
        self.closed = 0
        self._capacity = self._folding = 0

    def add_axis(self, dim: str, frame: xr.Dataset) -> None:
        """Make room for a population: its ids, and its columns as coordinates."""
        if dim in self.axes:
            return
        n = frame.sizes[dim]
        self.axes[dim] = _Axis(n, window(n), first=self.closed)
        for name, values in frame.coords.items():
            self.group.create_array(
                str(name),
                data=values.values,
                chunks=(min(n, SPAN),),
                dimension_names=(dim,),
                attributes={"coordinate": True},
            )

    def add_variable(self, dim: str, name: str, kind: Kind) -> None:
        """Make room for a variable over (round, `dim`)."""
        axis = self.axes[dim]
        if name in axis.kinds:
            if axis.kinds[name] != kind:
                raise WorkflowError(
                    f"{name!r} was yielded as {axis.kinds[name]} before and as {kind} now"
                )
            return
        if name in self.group or name in self.small:
            raise WorkflowError(
                f"{name!r} is yielded over {dim!r}, and is already something else in this run;"
                " choose another name"
            )
        axis.kinds[name] = kind
        dtypes = {
            "number": np.dtype(np.float64),
            "flag": np.dtype(bool),
            "text": np.dtypes.StringDType(),
        }
        fills: dict[str, Any] = {"number": np.nan, "flag": False, "text": ""}
        self.group.create_array(
            name,
            shape=(self._capacity, axis.n),
            dtype=dtypes[kind],
            chunks=(axis.window, min(axis.n, SPAN)),
            dimension_names=("round", dim),
            fill_value=fills[kind],
            compressors="auto" if kind == "text" else None,
        )

    def add_small(self, name: str, dims: tuple[str, ...], value: Any) -> None:
        """Keep a value of the round that is being closed."""
        known, by_round = self.small.setdefault(name, (dims, {}))
        if known != dims or any(name in axis.kinds for axis in self.axes.values()):
            raise WorkflowError(
                f"{name!r} is yielded with the dimensions {dims}, and was something else before"
            )
        by_round[self.closed] = value

    def close(self, sources: dict[str, dict[str, list[Source]]]) -> None:
        """Close a round, given the sources of its variables by dimension and name."""
        for dim, axis in self.axes.items():
            axis.open.append(sources.get(dim, {}))
        self.closed += 1
        if self.closed > self._capacity:
            self._resize(self.closed + _AHEAD)

    def folds(self) -> list[Fold]:
        """Return what has to be written for the closed rounds to be in the results."""
        found = []
        self._folding = self.closed
        for axis in self.axes.values():
            axis.whole = len(axis.open) // axis.window * axis.window
            for at in range(0, len(axis.open), axis.window):
                rounds = axis.open[at : at + axis.window]
                for start in range(0, axis.n, SPAN):
                    span = (start, min(axis.n, start + SPAN))
                    part = [_inside(sources, span) for sources in rounds]
                    if axis.kinds and any(part):
                        first = axis.first + at
                        found.append(Fold(str(self.folder), first, span, dict(axis.kinds), part))
        return found

    def full(self) -> bool:
        """Whether some window of rounds is complete."""
        return any(len(axis.open) >= axis.window for axis in self.axes.values())

    def folded(self) -> set[str]:
        """Say that the last `folds` are written; return the files that are not needed any more."""
        self.group.attrs["rounds"] = self._folding
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

    def write_small(self) -> None:
        """Write the values per round."""
        for name, (dims, by_round) in self.small.items():
            values = _stack(by_round, self.closed)
            self.group.create_array(
                name, data=values, dimension_names=("round", *dims), overwrite=True
            )

    def finish(self) -> None:
        """Give every variable its final length."""
        self._resize(self.closed)
        self.group.attrs["rounds"] = self.closed

    def _resize(self, rounds: int) -> None:
        self._capacity = rounds
        for axis in self.axes.values():
            for name in axis.kinds:
                array: Any = self.group[name]
                array.resize((rounds, axis.n))


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
    return bool(rows[0] < stop and rows[-1] >= start)


def _stack(by_round: dict[int, Any], rounds: int) -> NDArray[Any]:
    """Return values per round as one array, NaN or "" where a round has none."""
    values = {number: np.asarray(value) for number, value in by_round.items()}
    first = next(iter(values.values()))
    if first.dtype.kind in "UTO":
        shape, dtype, gap = first.shape, np.dtypes.StringDType(), ""
        values = {number: np.asarray(value, dtype) for number, value in values.items()}
    else:
        whole = len(values) == rounds
        shape, gap = first.shape, np.nan  # type: ignore[assignment]
        dtype = np.result_type(*values.values()) if whole else np.dtype(np.float64)  # type: ignore[assignment]
    stacked = (
        np.full((rounds, *shape), gap, dtype)
        if gap == "" or dtype.kind == "f"
        else np.zeros((rounds, *shape), dtype)
    )
    for number, value in values.items():
        stacked[number] = value
    return stacked


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
    path = folder / "rounds.zarr"
    if not path.exists():
        raise FolderError(f"{folder} holds no results yet")
    store = _Temporary(path, folder) if temporary else path
    found = xr.open_zarr(store, consolidated=False, chunks={})
    coords = [name for name, v in found.variables.items() if v.attrs.pop("coordinate", False)]
    found = found.set_coords([name for name in coords if name not in found.dims])
    for name in found.coords:
        if found[name].size * found[name].dtype.itemsize < 1 << 28:
            found[name] = found[name].load()
    rounds = int(found.attrs.pop("rounds"))
    if "round" in found.dims:
        found = found.isel(round=slice(rounds)).assign_coords(round=np.arange(rounds))
    return found


def remove(paths: set[str]) -> None:
    """Remove pieces that have been folded, and their folders once they are empty."""
    for path in paths:
        Path(path).unlink(missing_ok=True)
    for folder in {Path(path).parent for path in paths}:
        with suppress(OSError):
            folder.rmdir()
