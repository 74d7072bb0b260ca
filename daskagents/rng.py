"""Random numbers of agents, each drawn by who asks, one after another or a block at once.

What a draw is, `daskagents.words` says. Here its numbers are kept ready for the rows of a block.
"""

from __future__ import annotations

import operator
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from daskagents.errors import UsageError
from daskagents.words import Floats, Words, agent_words, draw_words, normals, uniforms

T = TypeVar("T")

#: Rows whose draws are made together: so many that their arrays stay in the L2 cache.
SEGMENT: Final = 4096
#: Draws of an agent that are made for its whole segment.
SHARED: Final = 32
#: Draws made at once for an agent that goes past these.
BATCH: Final = 64

_FORMS: Final[dict[str, Callable[[Words], NDArray[Any]]]] = {
    "ints": lambda words: words,
    "uniforms": uniforms,
    "normals": normals,
}


class _Column:
    """Some draws, as words and as those lists of Python numbers that were asked for."""

    __slots__ = ("ints", "normals", "uniforms", "words")

    def __init__(self, words: Words) -> None:
        self.words = words
        self.ints: Sequence[int] = ()
        self.uniforms: Sequence[float] = ()
        self.normals: Sequence[float] = ()

    def make(self, form: str) -> list[Any]:
        """Make the list of that form, and return it."""
        made: list[Any] = _FORMS[form](self.words).tolist()
        setattr(self, form, made)
        return made


_NOT_DRAWN: Final = _Column(np.empty(0, np.uint64))


class _Segment:
    """The first draws of up to 4,096 rows next to each other, one column per draw index."""

    __slots__ = ("columns", "ids", "key", "start")

    def __init__(self, key: int, ids: NDArray[np.int64], start: int) -> None:
        self.key, self.ids, self.start = key, ids, start
        self.columns = [_NOT_DRAWN] * SHARED

    def column(self, index: int) -> _Column:
        """Return the draws of one index, made when first asked for."""
        if self.columns[index] is _NOT_DRAWN:
            self.columns[index] = _Column(draw_words(self.key, self.ids, index))
        return self.columns[index]


class Draws:
    """The random numbers of a block of agents in one step.

    Numbers are made for 4,096 rows at once when the first of them asks. As long as rows are taken
    up in order, only the latest rows' numbers are kept here (a row still drawing keeps its own);
    from the first step back on, all are: about 50 bytes per row and draw.

    Parameters
    ----------
    key
        What `step_key` gave.
    ids
        The agents' ids, shape (n,), int64, none below 0.

    Examples
    --------
    >>> draws = Draws(7, np.arange(1000))
    >>> draws.rng(10).random() == float(draws.uniforms(0)[10])
    True
    """

    __slots__ = ("_ids", "_in_order", "_key", "_latest", "_segments")

    def __init__(self, key: int, ids: NDArray[np.int64]) -> None:
        self._key = key
        self._ids = ids
        self._segments: dict[int, _Segment] = {}
        self._latest = 0
        self._in_order = True

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self._ids)

    def rng(self, row: int) -> Rng:
        """Return the random numbers of the agent in one row, from its first draw on.

        Parameters
        ----------
        row
            The row in this block, from 0. Row 0 may be asked of a block without rows.

        Raises
        ------
        UsageError
            If the block has no such row.
        """
        return Rng(self, row)

    def words(self, index: int) -> Words:
        """Return one draw of every row as 64-bit words, shape (n,), uint64.

        Parameters
        ----------
        index
            The draw's index within the step, from 0.

        Raises
        ------
        UsageError
            If the index is negative.

        Examples
        --------
        >>> Draws(0, np.arange(3)).words(1).shape
        (3,)
        """
        if index < 0:
            raise UsageError(f"draw {index} was asked for; draws are numbered from 0")
        return draw_words(self._key, self._ids, index)

    def uniforms(self, index: int) -> Floats:
        """Return one draw of every row as `Rng.random` gives it, shape (n,), float64 in [0, 1).

        Raises
        ------
        UsageError
            If the index is negative.

        Examples
        --------
        >>> draws = Draws(0, np.arange(3))
        >>> draws.uniforms(0).tolist() == [draws.rng(row).random() for row in range(3)]
        True
        """
        return self._each(uniforms, index)

    def gausses(self, index: int) -> Floats:
        """Return one draw of every row as `Rng.gauss` gives it by default, shape (n,), float64.

        Raises
        ------
        UsageError
            If the index is negative.

        Examples
        --------
        >>> draws = Draws(0, np.arange(3))
        >>> draws.gausses(0).tolist() == [draws.rng(row).gauss() for row in range(3)]
        True
        """
        return self._each(normals, index)

    def _each(self, form: Callable[[Words], Floats], index: int) -> Floats:
        """Turn one draw of every row into floats, in parts that stay in the cache."""
        words, out = self.words(index), np.empty(len(self._ids))
        for start in range(0, len(out), SEGMENT):
            part = slice(start, start + SEGMENT)
            out[part] = form(words[part])
        return out

    def _segment(self, row: int) -> _Segment:
        """Return the segment of a row, and let go of those left behind."""
        if not 0 <= row < max(1, len(self._ids)):
            raise UsageError(f"row {row} was asked for, in a block of {len(self._ids)} rows")
        number = row // SEGMENT
        found = self._segments.get(number)
        if found is None:
            self._in_order = self._in_order and number >= self._latest
            if self._in_order:
                self._segments.clear()
            start = number * SEGMENT
            found = _Segment(self._key, self._ids[start : start + SEGMENT], start)
            self._segments[number], self._latest = found, number
        return found

    def _batch(self, row: int, start: int) -> _Column:
        """Return the draws of one row alone, from one index on."""
        return _Column(agent_words(self._key, self._ids.item(row), start, BATCH))


class Rng:
    """The random numbers of one agent in one step; its methods mean what `random.Random`'s do.

    Every call that gives random numbers takes exactly one draw, so that what an agent gets depends
    on how many calls it made before, and not on which. Each agent has it as ``self.rng``.

    Examples
    --------
    >>> rng = Draws(7, np.arange(1000)).rng(10)
    >>> rng.uniform(0, 100)
    29.63575925326176
    >>> rng.randint(1, 6), rng.choice(["left", "right"]), rng.shuffle((1, 2, 3))
    (2, 'right', (1, 2, 3))
    """

    __slots__ = (
        "_at",
        "_batch",
        "_batch_row",
        "_batch_start",
        "_columns",
        "_draws",
        "_index",
        "_segment",
        "_size",
        "_start",
    )

    def __init__(self, draws: Draws, row: int) -> None:
        self._draws = draws
        self._batch_row = self._batch_start = -1
        self._batch = _NOT_DRAWN
        self._index = 0
        self._enter(row)

    def move(self, row: int) -> None:
        """Point to another row of the same block, and start at its first draw.

        Parameters
        ----------
        row
            The row in the block, from 0.

        Raises
        ------
        UsageError
            If the block has no such row.
        """
        self._index = 0
        at = row - self._start
        if 0 <= at < self._size:
            self._at = at
        else:
            self._enter(row)

    def each(self) -> Iterator[int]:
        """Go through all rows of the block in order: be each one's for a turn, and yield its row.

        Examples
        --------
        >>> rng = Draws(0, np.arange(3)).rng(0)
        >>> [rng.random() for row in rng.each()] == Draws(0, np.arange(3)).uniforms(0).tolist()
        True
        """
        for start in range(0, len(self._draws), SEGMENT):
            self._enter(start)
            for at in range(self._size):
                self._index, self._at = 0, at
                yield start + at

    @property
    def drawn(self) -> int:
        """How many draws were taken."""
        return self._index

    def go_on_from(self, drawn: int) -> None:
        """Leave out draws that were taken before, up to so many in all.

        Examples
        --------
        >>> one, two = Draws(7, np.arange(3)).rng(1), Draws(7, np.arange(3)).rng(1)
        >>> _ = one.random(), one.random()
        >>> two.go_on_from(one.drawn)
        >>> one.random() == two.random()
        True
        """
        self._index = max(self._index, drawn)

    def random(self) -> float:
        """Return a number in [0, 1), a multiple of 2**-53."""
        index = self._index
        self._index = index + 1
        try:
            return self._columns[index].uniforms[self._at]
        except IndexError:
            return self._draw("uniforms", index)  # type: ignore[no-any-return]

    def uniform(self, a: float, b: float) -> float:
        """Return a number between `a` and `b`: ``a + (b - a) * random()``."""
        index = self._index
        self._index = index + 1
        try:
            return a + (b - a) * self._columns[index].uniforms[self._at]
        except IndexError:
            return a + (b - a) * self._draw("uniforms", index)  # type: ignore[no-any-return]

    def gauss(self, mu: float = 0.0, sigma: float = 1.0) -> float:
        """Return a normal number with mean `mu` and standard deviation `sigma`."""
        index = self._index
        self._index = index + 1
        try:
            return mu + sigma * self._columns[index].normals[self._at]
        except IndexError:
            return mu + sigma * self._draw("normals", index)  # type: ignore[no-any-return]

    def randint(self, a: int, b: int) -> int:
        """Return a whole number from `a` to `b`, both included.

        Raises
        ------
        UsageError
            If there is no such number, or there are more than 2**53.

        Examples
        --------
        >>> Draws(0, np.arange(1)).rng(0).randint(6, 1)
        Traceback (most recent call last):
        ...
        daskagents.errors.UsageError: randint(6, 1) has no number; give the smaller end first
        """
        first = operator.index(a)
        n = operator.index(b) - first + 1
        if n < 1:
            raise UsageError(f"randint({a}, {b}) has no number; give the smaller end first")
        if n > 2**53:
            raise UsageError(
                f"randint({a}, {b}): one draw chooses among at most 2**53 numbers;"
                " use generator() for more"
            )
        return first + (self._word() * n >> 64)

    def choice(self, seq: Sequence[T]) -> T:
        """Return one element of `seq`.

        Raises
        ------
        UsageError
            If it is empty.
        """
        n = len(seq)
        if not n:
            raise UsageError("choice from an empty sequence; check its length before")
        return seq[self._word() * n >> 64]

    def shuffle(self, values: Iterable[T]) -> tuple[T, ...]:
        """Return the values in random order, as a new tuple; `values` stays as it is."""
        shuffled = list(values)
        random.Random(self._word()).shuffle(shuffled)
        return tuple(shuffled)

    def generator(self) -> np.random.Generator:
        """Return a NumPy generator seeded by one draw, for many numbers or other distributions.

        Examples
        --------
        >>> Draws(0, np.arange(1)).rng(0).generator().poisson(3.0, size=4).shape
        (4,)
        """
        return np.random.Generator(np.random.PCG64(self._word()))

    def _word(self) -> int:
        """Take one draw as it is, 64 bits."""
        index = self._index
        self._index = index + 1
        try:
            return self._columns[index].ints[self._at]
        except IndexError:
            return self._draw("ints", index)  # type: ignore[no-any-return]

    def _enter(self, row: int) -> None:
        """Point to a row of another segment."""
        segment = self._draws._segment(row)
        self._start, self._size = segment.start, len(segment.ids)
        self._at = row - segment.start
        self._columns = segment.columns
        self._segment = segment

    def _draw(self, form: str, index: int) -> Any:
        """Return a draw that is not in the lists yet."""
        if index < SHARED:
            if not self._size:
                raise UsageError("a draw was asked for in a block without rows")
            return self._segment.column(index).make(form)[self._at]
        row, place = self._start + self._at, index % BATCH
        if self._batch_row != row or self._batch_start != index - place:
            self._batch = self._draws._batch(row, index - place)
            self._batch_row, self._batch_start = row, index - place
        return (getattr(self._batch, form) or self._batch.make(form))[place]
