"""Ragged columns: texts, bytes or packed values of any length, end to end."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from daskagents.plain import Kind, Mask, Rows

T = TypeVar("T")


class Texts(Kind):
    """Rows of bytes: texts, bytes or packed values, in whatever form they are kept."""

    __slots__ = ()

    @property
    def label(self) -> str:
        """The same for texts, bytes and packed values."""
        return "texts"

    @abstractmethod
    def row(self, row: int) -> bytes:
        """Return the bytes of one row."""

    @abstractmethod
    def rows(self) -> list[bytes]:
        """Return the bytes of every row."""

    @abstractmethod
    def each(self, read: Callable[[bytes], T]) -> list[T]:
        """Return what is read from the bytes of every row; equal rows may share it."""

    @abstractmethod
    def texts(self) -> list[str]:
        """Return every row as a text; ``""`` for None."""

    @abstractmethod
    def lengths(self) -> NDArray[np.int64]:
        """Return how many bytes each row has."""

    @abstractmethod
    def take(self, rows: Rows) -> Texts:
        """Return some rows."""

    @abstractmethod
    def put(self, rows: NDArray[np.int64], other: Kind) -> Texts:
        """Return a column with these rows (positions from 0) replaced by all of `other`."""

    def covered(self, rows: NDArray[np.int64], other: Texts) -> bool:
        """Whether nothing is left of this column once `other` is put into these rows."""
        n = len(self)
        return len(rows) == len(other) == n and bool((rows == np.arange(n)).all())


@dataclass(frozen=True, slots=True, eq=False)
class Ragged(Texts):
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

    def __len__(self) -> int:
        return len(self.offsets) - 1

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

    def each(self, read: Callable[[bytes], T]) -> list[T]:
        """Return what is read from the bytes of every row."""
        return list(map(read, self.rows()))

    def texts(self) -> list[str]:
        """Return every row as a text; ``""`` for None."""
        data = self.data.tobytes()
        cuts = pairwise(self.offsets.tolist())
        if data.isascii():
            text = data.decode()
            return [text[start:end] for start, end in cuts]
        return [data[start:end].decode() for start, end in cuts]

    def lengths(self) -> NDArray[np.int64]:
        """Return how many bytes each row has."""
        return np.diff(self.offsets)

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

    def put(self, rows: NDArray[np.int64], other: Kind) -> Texts:
        """Return a column with these rows (positions from 0) replaced by all of `other`."""
        if not isinstance(other, Texts):
            raise self.unlike(other)
        if not len(rows) or self.covered(rows, other):
            return other if len(rows) else self
        source = np.full(len(self), -1)
        source[rows] = np.arange(len(other))  # of a row that comes twice, the last
        changed = np.flatnonzero(source >= 0)
        data, offsets, done, pieces = self.data.tobytes(), self.offsets.tolist(), 0, []
        news = other.take(source[changed]).rows()
        for row, new in zip(changed.tolist(), news, strict=True):
            pieces += [data[done : offsets[row]], new]  # what lies between is copied at once
            done = offsets[row + 1]
        pieces.append(data[done:])
        lengths = self.lengths()
        lengths[rows] = other.lengths()
        joined = np.frombuffer(b"".join(pieces), np.uint8)
        return Ragged(offsets_of(lengths), joined, self.put_mask(rows, other))


def ragged_bytes(values: Sequence[bytes], mask: Mask = None) -> Ragged:
    """Return a column of bytes."""
    return Ragged(offsets_of(map(len, values)), np.frombuffer(b"".join(values), np.uint8), mask)


def ragged_strings(values: Sequence[str], mask: Mask = None) -> Ragged:
    """Return a column of texts, as UTF-8.

    Raises
    ------
    UnicodeEncodeError
        If a text holds a lone surrogate.
    """
    data = "".join(values).encode()
    offsets = offsets_of(map(len, values))
    if offsets[-1] != len(data):  # not all is ASCII: count bytes, not characters
        return ragged_bytes([value.encode() for value in values], mask)
    return Ragged(offsets, np.frombuffer(data, np.uint8), mask)


def offsets_of(lengths: Iterable[int] | NDArray[np.int64]) -> NDArray[np.int64]:
    """Return where rows of these lengths begin, and the end of the last."""
    if not isinstance(lengths, np.ndarray):
        lengths = np.fromiter(lengths, np.int64)
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets
