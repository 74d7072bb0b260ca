"""Columns: many immutable values in a few arrays, with no Python object for each.

A column is pure data: arrays, and nothing of the user's classes. So it travels and is written
down without them.
"""

from __future__ import annotations

import json
import math
import tokenize
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from daskagents.errors import FolderError, UsageError
from daskagents.plain import Mask, Plain
from daskagents.ragged import Ragged, offsets_of, ragged_bytes, ragged_strings

__all__ = [
    "Column",
    "Mask",
    "Plain",
    "Ragged",
    "concat",
    "dump",
    "from_arrays",
    "load",
    "ragged_bytes",
    "ragged_strings",
    "repeat",
    "strings",
    "texts",
]

Column = Plain | Ragged


def from_arrays(arrays: Mapping[str, NDArray[Any]]) -> Column:
    """Return the column that ``column.arrays()`` was taken from.

    Raises
    ------
    FolderError
        If the arrays do not belong together.
    """
    mask = arrays.get("mask")
    if "values" in arrays and _fits(mask, len(arrays["values"])):
        return Plain(arrays["values"], mask)
    if "offsets" in arrays and "data" in arrays:
        offsets, data = arrays["offsets"], arrays["data"]
        whole = len(offsets) > 0 and offsets[0] == 0 and offsets[-1] == len(data)
        if whole and (np.diff(offsets) >= 0).all() and _fits(mask, len(offsets) - 1):
            return Ragged(offsets, data, mask)
    said = ", ".join(f"{name}: {a.dtype} of {a.shape}" for name, a in arrays.items())
    raise FolderError(f"these arrays are no column, they do not belong together ({said})")


def concat(columns: Sequence[Column]) -> Column:
    """Return the rows of several columns of one field, one after another.

    Examples
    --------
    >>> strings(concat([ragged_strings(["a"]), ragged_strings(["b", "c"])])).tolist()
    ['a', 'b', 'c']
    """
    first = columns[0]
    mask: Mask = None
    if any(column.mask is not None for column in columns):
        mask = np.concatenate(
            [np.zeros(len(c), bool) if c.mask is None else c.mask for c in columns]
        )
    if isinstance(first, Plain):
        plain = [
            c for c in columns if isinstance(c, Plain) and c.values.dtype == first.values.dtype
        ]
        _check_alike(columns, plain)
        return Plain(np.concatenate([c.values for c in plain]), mask)
    ragged = [column for column in columns if isinstance(column, Ragged)]
    _check_alike(columns, ragged)
    lengths = np.concatenate([np.diff(column.offsets) for column in ragged])
    return Ragged(offsets_of(lengths), np.concatenate([column.data for column in ragged]), mask)


def repeat(column: Column, n: int) -> Column:
    """Return a column of one row repeated `n` times, with no Python object for each row.

    Examples
    --------
    >>> strings(repeat(ragged_strings(["ab"]), 3)).tolist()
    ['ab', 'ab', 'ab']
    """
    mask = None if column.mask is None else np.repeat(column.mask, n)
    if isinstance(column, Plain):
        return Plain(np.repeat(column.values, n), mask)
    return Ragged(np.arange(n + 1) * len(column.data), np.tile(column.data, n), mask)


def texts(column: Ragged) -> list[str]:
    """Return the texts of a column; ``""`` for None."""
    data = column.data.tobytes()
    cuts = pairwise(column.offsets.tolist())
    if data.isascii():
        text = data.decode()
        return [text[start:end] for start, end in cuts]
    return [data[start:end].decode() for start, end in cuts]


def strings(column: Ragged) -> NDArray[Any]:
    """Return the texts of a column as an array of StringDType; ``""`` for None.

    Examples
    --------
    >>> strings(ragged_strings(["a", "bé"]))
    array(['a', 'bé'], dtype=StringDType())
    """
    return np.array(texts(column), np.dtypes.StringDType())


def dump(arrays: Mapping[str, NDArray[Any]], file: BinaryIO) -> None:
    """Write named arrays into one file, as ``.npy`` one after another.

    The first holds the list of names, as JSON. No array is pickled: texts go as the arrays of a
    `Ragged`.

    Raises
    ------
    UsageError
        If an array is of Python objects or of StringDType; nothing has been written then.

    Examples
    --------
    >>> from io import BytesIO
    >>> file = BytesIO()
    >>> dump({"a": np.arange(3), "b": np.array([True])}, file)
    >>> file.seek(0), load(file)
    (0, {'a': array([0, 1, 2]), 'b': array([ True])})
    """
    for name, array in arrays.items():
        if array.dtype.hasobject:
            raise UsageError(f"array {name!r} is of {array.dtype}; write it as a Ragged column")
    names = np.frombuffer(json.dumps(list(arrays)).encode(), np.uint8)
    for array in (names, *arrays.values()):
        npy.write_array(file, np.asarray(array, order="C"), version=(1, 0), allow_pickle=False)


def load(file: BinaryIO) -> dict[str, NDArray[Any]]:
    """Read the named arrays that `dump` wrote; they are read-only.

    Raises
    ------
    FolderError
        If the file is torn or no such file; with its name, and where in it the first array
        begins that cannot be read.
    """
    found: dict[str, NDArray[Any]] = {}
    what, start = "the list of names", file.tell()
    try:
        names = json.loads(_read_array(file).tobytes())
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError(f"it is {str(names)[:60]}")
        for name in names:
            what, start = f"array {name!r}", file.tell()
            found[name] = _read_array(file)
    except _UNREADABLE as error:
        raise FolderError(
            f"{getattr(file, 'name', 'a piece in memory')}: {what}, from byte {start} on, cannot be"
            f" read ({error}); the file is torn, or it is no file of a run"
        ) from error
    return found


#: What NumPy, json and Python raise for bytes that make no sense.
_UNREADABLE = (
    ValueError,
    TypeError,
    SyntaxError,
    tokenize.TokenError,
    RecursionError,
    OverflowError,
    MemoryError,
)


def _read_array(file: BinaryIO) -> NDArray[Any]:
    """Read one array of `dump`, without a copy of its bytes."""
    if npy.read_magic(file) != (1, 0):
        raise ValueError("it is of another version of .npy")
    shape, by_columns, dtype = npy.read_array_header_1_0(file)
    if dtype.hasobject or any(length < 0 for length in shape):
        raise ValueError(f"an array of {dtype} and shape {shape}")
    size = math.prod(shape) * dtype.itemsize
    data = file.read(size)
    if len(data) < size:
        raise ValueError(f"{len(data)} of its {size} bytes are there")
    return np.frombuffer(data, dtype).reshape(shape, order="F" if by_columns else "C")


def _fits(mask: Mask, n: int) -> bool:
    return mask is None or len(mask) == n


def _check_alike(columns: Sequence[Column], alike: Sequence[Column]) -> None:
    if len(alike) < len(columns):
        raise columns[0].unlike(next(column for column in columns if column not in alike))
