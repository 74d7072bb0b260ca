"""Columns: many immutable values in a few arrays, with no Python object for each.

A column is pure data: arrays, and nothing of the user's classes. So it travels and is written
down without them.
"""

from __future__ import annotations

import json
import math
import tokenize
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from daskagents.coded import Coded, compact_bytes, compact_strings, join
from daskagents.errors import FolderError, UsageError
from daskagents.plain import Mask, Plain
from daskagents.ragged import Ragged, Texts, offsets_of, ragged_bytes, ragged_strings

__all__ = [
    "Coded",
    "Column",
    "Mask",
    "Plain",
    "Ragged",
    "Texts",
    "compact_bytes",
    "compact_strings",
    "concat",
    "dump",
    "from_arrays",
    "load",
    "ragged_bytes",
    "ragged_strings",
    "repeat",
    "strings",
]

Column = Plain | Texts


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
        rows = Ragged(arrays["offsets"], arrays["data"])
        if _is_whole(rows):
            if "codes" not in arrays and _fits(mask, len(rows)):
                return Ragged(rows.offsets, rows.data, mask)
            codes = arrays.get("codes")
            if codes is not None and _are_codes(codes, len(rows)) and _fits(mask, len(codes)):
                return Coded(codes, rows, mask)
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
        plain = [c for c in columns if isinstance(c, Plain) and first.is_like(c)]
        _check_alike(columns, plain)
        return Plain(np.concatenate([c.values for c in plain]), mask)
    rows = [column for column in columns if isinstance(column, Texts)]
    _check_alike(columns, rows)
    ragged = [column for column in rows if isinstance(column, Ragged)]
    if len(ragged) < len(rows):
        return join(rows, mask)
    lengths = np.concatenate([column.lengths() for column in ragged])
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
    return Coded(np.zeros(n, np.uint8), ragged_bytes(column.rows()), mask)


def strings(column: Texts) -> NDArray[Any]:
    """Return the texts of a column as an array of StringDType; ``""`` for None.

    Examples
    --------
    >>> strings(ragged_strings(["a", "bé"]))
    array(['a', 'bé'], dtype=StringDType())
    """
    if isinstance(column, Coded):
        found: NDArray[Any] = strings(column.words)[column.codes]
        return found
    return np.array(column.texts(), np.dtypes.StringDType())


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


def _is_whole(rows: Ragged) -> bool:
    """Whether offsets go from the first byte to the last."""
    offsets = rows.offsets
    ends = len(offsets) > 0 and offsets[0] == 0 and offsets[-1] == len(rows.data)
    return bool(ends and (np.diff(offsets) >= 0).all())


def _are_codes(codes: NDArray[Any], words: int) -> bool:
    """Whether each is the number of a word."""
    return codes.dtype.kind == "u" and codes.ndim == 1 and bool((codes < words).all())


def _fits(mask: Mask, n: int) -> bool:
    return mask is None or len(mask) == n


def _check_alike(columns: Sequence[Column], alike: Sequence[Column]) -> None:
    if len(alike) < len(columns):
        raise columns[0].unlike(next(column for column in columns if column not in alike))
