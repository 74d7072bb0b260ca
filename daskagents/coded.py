"""Coded columns: texts, bytes or packed values that repeat, each kept once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from daskagents.plain import Kind, Mask, Rows
from daskagents.ragged import Ragged, Texts, ragged_bytes, ragged_strings

T = TypeVar("T")
H = TypeVar("H", bound=Hashable)

#: Values that are looked at, beside each other and spread over all, to see whether any repeat.
_SAMPLE = 512


@dataclass(frozen=True, slots=True, eq=False)
class Coded(Texts):
    """Texts, bytes or packed values, each once, and for each row which of them it is.

    Parameters
    ----------
    codes
        uint8, uint16 or uint32, of shape (n,): row i is ``words.row(codes[i])``.
    words
        The values.
    mask
        bool, of shape (n,), True where the value is None; the word of such a row is empty.

    Examples
    --------
    >>> column = compact_strings(["no", "yes", "yes", "no"])
    >>> column.codes, column.words.rows()
    (array([0, 1, 1, 0], dtype=uint8), [b'no', b'yes'])
    >>> column.put(np.array([1, 2]), compact_strings(["perhaps", "no"])).words.rows()
    [b'no', b'perhaps']
    """

    codes: NDArray[np.unsignedinteger[Any]]
    words: Ragged
    mask: Mask = None

    def __len__(self) -> int:
        return len(self.codes)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays by name: ``codes``, those of the words, ``mask`` where there is one."""
        found: dict[str, NDArray[Any]] = {"codes": self.codes, **self.words.arrays()}
        return found | ({} if self.mask is None else {"mask": self.mask})

    def row(self, row: int) -> bytes:
        """Return the bytes of one row."""
        return self.words.row(self.codes.item(row))

    def rows(self) -> list[bytes]:
        """Return the bytes of every row."""
        return self.spread(self.words.rows())

    def each(self, read: Callable[[bytes], T]) -> list[T]:
        """Return what is read from the bytes of every row; each word is read once."""
        return self.spread(self.words.each(read))

    def texts(self) -> list[str]:
        """Return every row as a text, one object for each word; ``""`` for None."""
        return self.spread(self.words.texts())

    def spread(self, values: Sequence[T]) -> list[T]:
        """Return the value of every row, from one for each word."""
        return list(map(values.__getitem__, self.codes.tolist()))

    def lengths(self) -> NDArray[np.int64]:
        """Return how many bytes each row has."""
        found: NDArray[np.int64] = self.words.lengths()[self.codes]
        return found

    def ragged(self) -> Ragged:
        """Return the same rows with the bytes of each."""
        return ragged_bytes(self.rows(), self.mask)

    def take(self, rows: Rows) -> Texts:
        """Return some rows; they share the words, unless these are more bytes than the codes."""
        codes, mask = self.codes[rows], None if self.mask is None else self.mask[rows]
        if self.words.nbytes <= codes.nbytes:
            return Coded(codes, self.words, mask)
        return _fit(codes, self.words, mask)

    def put(self, rows: NDArray[np.int64], other: Kind) -> Texts:
        """Return a column with these rows (positions from 0) replaced by all of `other`.

        It has no word that no row needs; where more than half of its rows differ, it is `Ragged`.
        """
        if not isinstance(other, Texts):
            raise self.unlike(other)
        if not len(rows) or self.covered(rows, other):
            return other if len(rows) else self
        (codes, news), words = _number_together([self, other])
        codes[rows] = news
        return _fit(codes, words, self.put_mask(rows, other))


def compact_strings(values: Sequence[str], mask: Mask = None) -> Texts:
    """Return a column of texts, as UTF-8: coded if at most half of them differ, else ragged.

    A sample is looked at first: if no text repeats in it, the column is ragged.

    Raises
    ------
    UnicodeEncodeError
        If a text holds a lone surrogate.
    """
    return _compact(values, mask, ragged_strings)


def compact_bytes(values: Sequence[bytes], mask: Mask = None) -> Texts:
    """Return a column of bytes: coded if at most half of them differ, else ragged.

    A sample is looked at first: if nothing repeats in it, the column is ragged.
    """
    return _compact(values, mask, ragged_bytes)


def spread(words: Texts, codes: NDArray[np.unsignedinteger[Any]]) -> Texts:
    """Return a column with a word for each row, by the codes of some words.

    Examples
    --------
    >>> spread(ragged_strings(["no", "yes"]), np.array([1, 1, 1, 1], np.uint8)).rows()
    [b'yes', b'yes', b'yes', b'yes']
    """
    return _fit(codes.copy(), ragged_bytes(words.rows()), None)


def join(columns: Sequence[Texts], mask: Mask) -> Texts:
    """Return the rows of several columns, one after another."""
    codes, words = _number_together(columns)
    return _fit(np.concatenate(codes), words, mask)


def _compact(values: Sequence[H], mask: Mask, make: Callable[..., Ragged]) -> Texts:
    """Return values as a column; `make` makes a ragged one."""
    step = max(1, len(values) // _SAMPLE)
    sample = [*values[:_SAMPLE], *values[_SAMPLE::step]]
    if len(set(sample)) < len(sample):
        numbers: defaultdict[H, int] = defaultdict(count().__next__)
        codes = _number(values, numbers)
        if _pays(len(numbers), len(values)):
            return Coded(codes.astype(_dtype(len(numbers))), make(list(numbers)), mask)
    return make(values, mask)


def _pays(words: int, rows: int) -> bool:
    """Whether codes take fewer bytes than offsets: with 4 + 8 / 2 bytes a row, they never lose."""
    return 2 * words <= rows


def _dtype(words: int) -> np.dtype[Any]:
    """Return the smallest dtype for the numbers of so many words."""
    return np.min_scalar_type(max(0, words - 1))


def _number(values: Iterable[H], numbers: defaultdict[H, int]) -> NDArray[np.int64]:
    """Return the number of each value; a new one gets the next."""
    return np.fromiter(map(numbers.__getitem__, values), np.int64)


def _number_together(columns: Sequence[Texts]) -> tuple[list[NDArray[np.int64]], Ragged]:
    """Return the codes of several columns for the words of all of them, and these words."""
    numbers: defaultdict[bytes, int] = defaultdict(count().__next__)
    found = []
    for column in columns:
        if isinstance(column, Coded):
            found.append(_number(column.words.rows(), numbers)[column.codes])
        else:
            found.append(_number(column.rows(), numbers))
    return found, ragged_bytes(list(numbers))


def _fit(codes: NDArray[Any], words: Ragged, mask: Mask) -> Texts:
    """Return a column without words that no row needs, in the form that is smaller."""
    used = np.zeros(len(words), bool)
    used[codes] = True
    kept = int(np.count_nonzero(used))
    if kept < len(words):
        codes, words = (np.cumsum(used) - 1)[codes], words.take(used)
    column = Coded(codes.astype(_dtype(kept), copy=False), words, mask)
    return column if _pays(kept, len(codes)) else column.ragged()
