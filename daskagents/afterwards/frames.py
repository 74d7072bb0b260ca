"""Results as tables: a row for each round and agent, some of the rows at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import dask
import numpy as np
import pyarrow as pa
import xarray as xr
from numpy.typing import NDArray

#: Values of one variable that are read at a time; bytes of all, beyond which fewer are.
_BATCH, _BYTES = 1 << 20, 1 << 27
#: Agents that are read at a time where there are very many variables.
_NARROW = 1 << 17


@dataclass(frozen=True)
class Frame:
    """One table: all variables over the same dimensions.

    Parameters
    ----------
    results
        The rounds that it is made of.
    name
        What it is called: the dimension, or ``rounds`` where there is a value for each alone.
    dims
        The dimensions besides the round.
    given
        The columns that were given with the agents.
    variables
        What was replied or yielded, in order; whether an agent failed comes last.
    """

    results: xr.Dataset
    name: str
    dims: tuple[str, ...]
    given: tuple[str, ...]
    variables: tuple[str, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of all columns, in order."""
        return ("round", *self.dims, *self.given, *self.variables)

    def schema(self) -> Any:
        """Return the names and types of the columns, as Arrow has them."""
        types = {"round": pa.int64()}
        types |= {dim: _type(self._labels(dim).dtype) for dim in self.dims}
        types |= {n: _type(self.results[n].dtype) for n in (*self.given, *self.variables)}
        return pa.schema([pa.field(name, types[name]) for name in self.columns])

    def tables(self) -> Iterator[Any]:
        """Yield the rows as tables of Arrow, in the order of rounds and then of agents."""
        sizes = [self.results.sizes[dim] for dim in self.dims]
        rows, rounds = math.prod(sizes), self.results.sizes["round"]
        span = sizes[0] if sizes else 1
        many = max(1, min(rounds, _BATCH // max(1, rows)))
        if len(sizes) == 1 and rows * 16 * len(self.variables) > _BYTES:
            span = _NARROW
        kept = {n: self._column(self.results[n]) for n in self.given if self._is_here(n)}
        for first in range(0, rounds, many):
            for start in range(0, max(1, sizes[0] if sizes else 1), max(1, span)):
                yield self._table(slice(first, min(rounds, first + many)), start, span, kept)

    def _is_here(self, name: str) -> bool:
        return isinstance(self.results[name].data, np.ndarray)

    def _column(self, values: xr.DataArray) -> Any:
        (found,) = dask.compute(values.data, scheduler="threads")
        return arrow(np.asarray(found))

    def _labels(self, dim: str) -> NDArray[Any]:
        if dim in self.results.coords:
            return np.asarray(self.results[dim].values)
        return np.arange(self.results.sizes[dim])

    def _table(self, rounds: slice, start: int, span: int, kept: dict[str, Any]) -> Any:
        """Return the rows of some rounds and, along the first dimension, of some agents."""
        part = self.results.isel(round=rounds)
        if self.dims:
            part = part.isel({self.dims[0]: slice(start, start + span)})
        shape = tuple(part.sizes[dim] for dim in ("round", *self.dims))
        columns: dict[str, Any] = {}
        for axis, dim in enumerate(("round", *self.dims)):
            labels = self._labels(dim)
            if dim == "round":
                labels = labels[rounds]
            elif axis == 1:
                labels = labels[start : start + span]
            places = np.arange(shape[axis]).reshape(
                [-1 if a == axis else 1 for a in range(len(shape))]
            )
            columns[dim] = arrow(labels).take(np.broadcast_to(places, shape).ravel())
        for name in self.given:
            whole = kept[name].slice(start, span) if name in kept else self._column(part[name])
            columns[name] = pa.concat_arrays([whole] * shape[0])
        for name in self.variables:
            columns[name] = self._column(part[name].transpose("round", *self.dims))
        return pa.table(columns, schema=self.schema())


def frames_of(results: xr.Dataset) -> list[Frame]:
    """Return the tables that results are made of: those of agents first, that of rounds last.

    Examples
    --------
    >>> results = xr.Dataset({"guess": (("round", "agent"), [[1.0]]), "mean": ("round", [1.0])})
    >>> [frame.name for frame in frames_of(results)]
    ['agent', 'rounds']
    """
    by_dims: dict[tuple[str, ...], list[str]] = {}
    for name, values in results.data_vars.items():
        dims = tuple(map(str, values.dims))
        if "round" in dims:
            by_dims.setdefault(tuple(dim for dim in dims if dim != "round"), []).append(str(name))
    found: list[Frame] = []
    for dims in sorted(by_dims, key=lambda dims: (not dims, len(dims), dims != ("agent",))):
        own = tuple(
            str(name)
            for name, values in results.coords.items()
            if len(dims) == 1 and values.dims == dims and name != dims[0]
        )
        flag = flag_of(dims[0]) if dims else ""
        names = sorted(by_dims[dims], key=lambda name: name == flag)
        name = "_".join(dims) or "rounds"
        while any(name == frame.name for frame in found):
            name += "_"
        found.append(Frame(results, name, dims, own, tuple(names)))
    return found


def flag_of(dim: str) -> str:
    """Return the name under which a run says of each agent of a dimension whether it failed."""
    return "failed" if dim == "agent" else f"{dim}_failed"


def arrow(values: NDArray[Any]) -> Any:
    """Return an array as Arrow has it: NaN and empty texts are missing.

    Examples
    --------
    >>> arrow(np.array([1.0, np.nan])).to_pylist(), arrow(np.array(["a", ""])).to_pylist()
    ([1.0, None], ['a', None])
    """
    flat = np.ravel(values)
    if flat.dtype.kind in "TUO":
        texts = ["" if value is None else str(value) for value in flat.tolist()]
        return pa.array([text or None for text in texts], pa.string())
    if flat.dtype.kind == "f":
        return pa.array(flat.astype(np.float64, copy=False), from_pandas=True)
    return pa.array(flat)


def _type(dtype: np.dtype[Any]) -> Any:
    if dtype.kind in "TUO":
        return pa.string()
    return pa.float64() if dtype.kind == "f" else pa.from_numpy_dtype(dtype)
