"""Columns: many immutable values in a few arrays, with no Python object for each.

A column is pure data: arrays, and nothing of the user's classes. So it travels and is written
down without them.
"""

from __future__ import annotations

import json
import math
import tokenize
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from daskagents.errors import FolderError, UsageError

#: Positions in a column: a slice, positions, or a mask.
Rows = slice | NDArray[Any]
Mask = NDArray[np.bool_] | None


@dataclass(frozen=True, slots=True, eq=False)
class Plain:
    """Numbers or bools, and which of them are None.

    The arrays become read-only, so that the versions of a block can share them.

    Parameters
    ----------
    values
        float64, int64 or bool, of shape (n,); anything where `mask` is True.
    mask
        bool, of shape (n,), True where the value is None; by default there is no None.

    Examples
    --------
    >>> column = Plain(np.array([1.0, 2.0, 3.0]))
    >>> column.put(np.array([1]), Plain(np.array([9.0]))).values
    array([1., 9., 3.])
    """

    values: NDArray[Any]
    mask: Mask = None

    def __post_init__(self) -> None:
        _freeze(self.arrays())

    def __reduce__(self) -> tuple[Any, ...]:
        return Plain, (self.values, self.mask)

    def __len__(self) -> int:
        return len(self.values)

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays."""
        return sum(array.nbytes for array in self.arrays().values())

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays by name: ``values``, and ``mask`` where there is one."""
        return {"values": self.values} | ({} if self.mask is None else {"mask": self.mask})

    def take(self, rows: Rows) -> Plain:
        """Return some rows; a slice shares the arrays."""
        return Plain(self.values[rows], None if self.mask is None else self.mask[rows])

    def put(self, rows: NDArray[np.int64], other: Column) -> Plain:
        """Return a column with these rows (positions from 0) replaced by all of `other`."""
        if not isinstance(other, Plain) or other.values.dtype != self.values.dtype:
            raise _unlike(self, other)
        if not len(rows):
            return self
        values = self.values.copy()
        values[rows] = other.values
        return Plain(values, _put_mask(self, rows, other))


@dataclass(frozen=True, slots=True, eq=False)
class Ragged:
    r"""Texts, bytes or packed values, end to end, and which of them are None.

    Parameters
    ----------
    offsets
        int64, of shape (n + 1,): row i is ``data[offsets[i]:offsets[i + 1]]``; from 0 on.
    data
        uint8: the bytes of all rows.
    mask
        bool, of shape (n,), True where the value is None; such a row has no bytes.

    Examples
    --------
    >>> column = ragged_strings(["a", "", "bé"])
    >>> column.offsets, column.take(np.array([2, 0])).rows()
    (array([0, 1, 1, 4]), [b'b\xc3\xa9', b'a'])
    """

    offsets: NDArray[np.int64]
    data: NDArray[np.uint8]
    mask: Mask = None

    def __post_init__(self) -> None:
        _freeze(self.arrays())

    def __reduce__(self) -> tuple[Any, ...]:
        return Ragged, (self.offsets, self.data, self.mask)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays."""
        return sum(array.nbytes for array in self.arrays().values())

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays by name: ``offsets``, ``data``, and ``mask`` where there is one."""
        found: dict[str, NDArray[Any]] = {"offsets": self.offsets, "data": self.data}
        return found | ({} if self.mask is None else {"mask": self.mask})

    def row(self, row: int) -> bytes:
        """Return the bytes of one row."""
        return self.data[self.offsets.item(row) : self.offsets.item(row + 1)].tobytes()

    def rows(self) -> list[bytes]:
        """Return the bytes of every row."""
        data = self.data.tobytes()
        return [data[start:end] for start, end in pairwise(self.offsets.tolist())]

    def take(self, rows: Rows) -> Ragged:
        """Return some rows; a slice shares the bytes."""
        mask = None if self.mask is None else self.mask[rows]
        starts, ends = self.offsets[:-1][rows], self.offsets[1:][rows]
        if isinstance(rows, slice) and rows.step in (None, 1):
            first, last = (starts[0], ends[-1]) if len(starts) else (0, 0)
            return Ragged(np.append(starts, last) - first, self.data[first:last], mask)
        data = self.data.tobytes()
        cuts = zip(starts.tolist(), ends.tolist(), strict=True)
        return ragged_bytes([data[start:end] for start, end in cuts], mask)

    def put(self, rows: NDArray[np.int64], other: Column) -> Ragged:
        """Return a column with these rows (positions from 0) replaced by all of `other`."""
        if not isinstance(other, Ragged):
            raise _unlike(self, other)
        if not len(rows):
            return self
        source = np.full(len(self), -1)
        source[rows] = np.arange(len(other))  # of a row that comes twice, the last
        changed = np.flatnonzero(source >= 0)
        data, offsets, done, pieces = self.data.tobytes(), self.offsets.tolist(), 0, []
        news = other.take(source[changed]).rows()
        for row, new in zip(changed.tolist(), news, strict=True):
            pieces += [data[done : offsets[row]], new]  # what lies between is copied at once
            done = offsets[row + 1]
        pieces.append(data[done:])
        lengths = np.diff(self.offsets)
        lengths[rows] = np.diff(other.offsets)
        joined = np.frombuffer(b"".join(pieces), np.uint8)
        return Ragged(_offsets(lengths), joined, _put_mask(self, rows, other))


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
    return Ragged(_offsets(lengths), np.concatenate([column.data for column in ragged]), mask)


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


def ragged_bytes(values: Sequence[bytes], mask: Mask = None) -> Ragged:
    """Return a column of bytes."""
    return Ragged(_offsets(map(len, values)), np.frombuffer(b"".join(values), np.uint8), mask)


def ragged_strings(values: Sequence[str], mask: Mask = None) -> Ragged:
    """Return a column of texts, as UTF-8.

    Raises
    ------
    UnicodeEncodeError
        If a text holds a lone surrogate.
    """
    data = "".join(values).encode()
    offsets = _offsets(map(len, values))
    if offsets[-1] != len(data):  # not all is ASCII: count bytes, not characters
        return ragged_bytes([value.encode() for value in values], mask)
    return Ragged(offsets, np.frombuffer(data, np.uint8), mask)


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


def _freeze(arrays: Mapping[str, NDArray[Any]]) -> None:
    for array in arrays.values():
        array.flags.writeable = False


def _offsets(lengths: Iterable[int] | NDArray[np.int64]) -> NDArray[np.int64]:
    """Return where rows of these lengths begin, and the end of the last."""
    if not isinstance(lengths, np.ndarray):
        lengths = np.fromiter(lengths, np.int64)
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def _fits(mask: Mask, n: int) -> bool:
    return mask is None or len(mask) == n


def _put_mask(column: Column, rows: NDArray[np.int64], other: Column) -> Mask:
    """Return the mask of `column` after `rows` became those of `other`."""
    if column.mask is None and other.mask is None:
        return None
    mask = np.zeros(len(column), bool) if column.mask is None else column.mask.copy()
    mask[rows] = False if other.mask is None else other.mask
    return mask


def _check_alike(columns: Sequence[Column], alike: Sequence[Column]) -> None:
    if len(alike) < len(columns):
        raise _unlike(columns[0], next(column for column in columns if column not in alike))


def _unlike(one: Column, other: Column) -> UsageError:
    said = [str(c.values.dtype) if isinstance(c, Plain) else "texts" for c in (one, other)]
    return UsageError(f"a column of {said[0]} and one of {said[1]} are not of one field")
