"""Texts of many people: each text once, and for each person which of them it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

STRINGS = np.dtypes.StringDType()


@dataclass(frozen=True, eq=False)
class Labels:
    """Texts that repeat.

    Parameters
    ----------
    codes
        Unsigned ints, of shape (n,): person i has ``words[codes[i]]``.
    words
        The texts, each once.

    Examples
    --------
    >>> answers = make_labels([1, 0, 1], ("no", "yes"))
    >>> answers.texts()
    array(['yes', 'no', 'yes'], dtype=StringDType())
    >>> answers.codes.dtype
    dtype('uint8')
    """

    codes: NDArray[np.unsignedinteger[Any]]
    words: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, rows: Any) -> Labels:
        return Labels(self.codes[rows], self.words)

    def texts(self) -> NDArray[Any]:
        """Return the text of every person, of StringDType."""
        found: NDArray[Any] = np.array(self.words, STRINGS)[self.codes]
        return found


#: A column of people: numbers, bools, texts of StringDType, or texts that repeat.
Column: TypeAlias = "NDArray[Any] | Labels"


def make_labels(codes: Any, words: Sequence[str]) -> Labels:
    """Return labels with the smallest codes that hold so many words."""
    kind = np.min_scalar_type(max(0, len(words) - 1))
    return Labels(np.asarray(codes).astype(kind, copy=False), tuple(words))


def as_texts(column: Column) -> NDArray[Any]:
    """Return a column of texts with a text for every person."""
    return column.texts() if isinstance(column, Labels) else column.astype(STRINGS, copy=False)


def join(columns: Sequence[Column]) -> Column:
    """Return columns one after another.

    Labels stay labels, unless more than half of their words would differ.

    Examples
    --------
    >>> both = join([make_labels([0, 0], ["a"]), make_labels([0, 1], ["b", "a"])])
    >>> both.words, both.codes
    (('a', 'b'), array([0, 0, 1, 0], dtype=uint8))
    """
    if len(columns) == 1:
        return columns[0]
    labels = [column for column in columns if isinstance(column, Labels)]
    if not labels:
        return np.concatenate([*columns])
    if len(labels) < len(columns):
        return np.concatenate([as_texts(column) for column in columns])
    first = labels[0].words
    if all(column.words == first for column in labels):
        return make_labels(np.concatenate([column.codes for column in labels]), first)
    numbers: dict[str, int] = {}
    for column in labels:
        for word in column.words:
            numbers.setdefault(word, len(numbers))
    if 2 * len(numbers) > sum(map(len, labels)):
        return np.concatenate([column.texts() for column in labels])
    codes = [np.array([numbers[word] for word in c.words], np.int64)[c.codes] for c in labels]
    return make_labels(np.concatenate(codes), tuple(numbers))
