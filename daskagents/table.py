"""The table a population is made from: given columns, checked against the fields of a class."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from daskagents.agent import Agent
from daskagents.coded import spread
from daskagents.columns import Column, Plain
from daskagents.errors import TableError
from daskagents.fields import Field
from daskagents.personas.lazy import labels_of

#: Rows of a block where behaviour is plain, and where it waits for models.
ROWS, WAITING_ROWS = 65_536, 4_096
#: Fewest rows worth a block of their own, for the same two.
FEW, WAITING_FEW = 4_096, 256
#: Blocks that a population should at least have, to keep the workers of a small cluster busy.
BLOCKS = 16


@dataclass(frozen=True)
class Table:
    """`n` agents, and the columns that were given for them."""

    n: int
    columns: Mapping[str, Column]


def read_table(cls: type[Agent], given: Any) -> Table:
    """Make a table from a number, a mapping of columns, a Dataset or a DataFrame.

    Raises
    ------
    TableError
        If there are no agents, columns differ in length, a column is no field of the class, a
        field without a default is missing, or a value does not fit; with the column and row.

    """
    columns = _columns(cls, given)
    n = int(given) if isinstance(given, int | np.integer) else _length(cls, columns)
    if n <= 0:
        raise TableError(f"a population of {cls.__name__} needs at least one agent, not {n}")
    fields = cls.__fields__
    for name in columns:
        if name not in fields or name.startswith("_"):
            raise TableError(_no_field(cls, name))
    missing = [name for name, field in fields.items() if field.required and name not in columns]
    if missing:
        raise TableError(
            f"{cls.__name__}.{missing[0]} has no default and no column was given for it; give"
            f" {{{missing[0]!r}: [...]}} or a default in the class"
        )
    return Table(n, {name: _read(fields[name], column, n) for name, column in columns.items()})


def _read(field: Field, given: Any, n: int) -> Column:
    """Return a given column as one of a field; words that `personas.sample` keeps once stay so."""
    labels = labels_of(given) if isinstance(given, xr.DataArray) else None
    if labels is None or len(labels) != n:
        return field.from_array(given, n)
    try:
        words = field.from_array(list(labels.words))
    except TableError:  # a word that nobody has may not fit; if one does, say which row it is
        return field.from_array(given, n)
    if isinstance(words, Plain):
        return words.take(labels.codes)
    return spread(words, labels.codes) if words.mask is None else field.from_array(given, n)


def _columns(cls: type[Agent], given: Any) -> dict[str, Any]:
    """Return the given columns by name, as they are."""
    if isinstance(given, bool) or given is None:
        raise TableError(f"a population is made of a number of agents or a table, not {given!r}")
    if isinstance(given, int | np.integer):
        return {}
    if isinstance(given, xr.Dataset):
        dims = list(map(str, given.dims))
        if len(dims) != 1:
            raise TableError(f"the Dataset of a population has one dimension, not {dims}")
        # the index is no column, nor is what `isel` or `sel` left of another dimension
        coords = [c for c in given.coords if c not in dims and given[c].ndim]
        return {str(name): given[name] for name in [*given.data_vars, *coords]}
    if hasattr(given, "columns") and hasattr(given, "iloc"):  # a pandas DataFrame
        return {str(name): given[name] for name in given.columns}
    if isinstance(given, Mapping):
        return dict(given)
    raise TableError(
        f"a population of {cls.__name__} is made from a number of agents, a mapping of columns, an"
        f" xarray Dataset or a pandas DataFrame, not from {type(given).__name__}"
    )


def _length(cls: type[Agent], columns: dict[str, Any]) -> int:
    """Return the one length of all columns."""
    for name, column in columns.items():
        single = not hasattr(column, "__len__") or getattr(column, "ndim", 1) == 0
        if single or isinstance(column, str | bytes | dict | set):
            raise TableError(
                f"column {name!r} of {cls.__name__} is one value, not a column; give one value"
                " per agent, or make it the default of the field"
            )
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        said = ", ".join(f"{name}: {length}" for name, length in lengths.items())
        raise TableError(f"the columns of {cls.__name__} differ in length ({said})")
    return next(iter(lengths.values()), 0)


def _no_field(cls: type[Agent], name: str) -> str:
    known = [field for field in cls.__fields__ if not field.startswith("_")]
    close = difflib.get_close_matches(str(name), known, 1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return (
        f"column {name!r} is no field of {cls.__name__} (fields: {', '.join(known) or 'none'});"
        f" {hint}declare it in the class, as `{name}: str = ''` say, or leave the column out"
    )


def block_bounds(n: int, waits: bool, block_size: int | None = None) -> NDArray[np.int64]:
    """Return where blocks begin, and the end: from the population alone, never the workers.

    Parameters
    ----------
    n
        Agents.
    waits
        Whether their behaviour waits for models.
    block_size
        Rows per block; by default 65,536 (4,096 where agents wait), or fewer so that there are 16
        blocks, as long as these hold at least 4,096 (256) rows. The last block may hold fewer.

    Examples
    --------
    >>> block_bounds(10, False, 4)
    array([ 0,  4,  8, 10])
    >>> len(block_bounds(1_000_000, False)) - 1, len(block_bounds(1_000_000, True)) - 1
    (16, 245)

    """
    if block_size is None:
        most, few = (WAITING_ROWS, WAITING_FEW) if waits else (ROWS, FEW)
        blocks = max(-(-n // most), min(BLOCKS, n // few), 1)
        block_size = -(-n // blocks)
    elif not isinstance(block_size, int | np.integer) or block_size < 1:
        raise TableError(f"block_size is {block_size!r}; give a number of rows, at least one")
    return np.array([*range(0, n, block_size), n], np.int64)
