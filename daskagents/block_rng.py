"""Random numbers for a whole block at once: the very draws that its rows would get."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from daskagents.errors import UsageError
from daskagents.rng import Draws, Rng
from daskagents.words import Words

#: A number for all rows, or one for each.
Each: TypeAlias = Any

_HALF, _32 = np.uint64(0xFFFFFFFF), np.uint64(32)


class BlockRng:
    """The random numbers of all agents of a block in one step, as ``self.rng`` in `reply_block`.

    Its methods are those of `daskagents.rng.Rng`, with an array over the agents as the answer.
    Every call takes one draw of every agent, as the same call in `reply` would, so that rows and
    blocks get the same numbers, bit for bit. A bound may be an array, of one number per agent.

    Examples
    --------
    >>> draws = Draws(0, np.arange(3))
    >>> BlockRng(draws).randint(1, 6).tolist() == [draws.rng(row).randint(1, 6) for row in range(3)]
    True
    """

    def __init__(self, draws: Draws) -> None:
        self._draws = draws
        self._index = 0

    def random(self) -> NDArray[np.float64]:
        """Return numbers in [0, 1), shape (n,), float64."""
        return self._draws.uniforms(self._next())

    def uniform(self, a: Each, b: Each) -> NDArray[np.float64]:
        """Return numbers between `a` and `b`, shape (n,), float64."""
        numbers = self._draws.uniforms(self._next())
        numbers *= b - a
        numbers += a
        return numbers

    def gauss(self, mu: Each = 0.0, sigma: Each = 1.0) -> NDArray[np.float64]:
        """Return normal numbers, mean `mu`, standard deviation `sigma`, shape (n,), float64."""
        numbers = self._draws.gausses(self._next())
        numbers *= sigma
        numbers += mu
        return numbers

    def randint(self, a: Each, b: Each) -> NDArray[np.int64]:
        """Return whole numbers from `a` to `b`, both included, shape (n,), int64.

        Raises
        ------
        UsageError
            If for some agent there is no such number, or there are more than 2**53.
        """
        first, last = np.asarray(_whole(a)), np.asarray(_whole(b))
        count = last - first + 1
        if (count < 1).any():
            at = int(np.argmax(count < 1))
            low, high = (x.item() if x.ndim == 0 else x[at].item() for x in (first, last))
            raise UsageError(f"randint({low}, {high}) has no number; give the smaller end first")
        if (count > 2**53).any():
            raise UsageError("one draw chooses among at most 2**53 numbers; narrow the bounds")
        return first + _scaled(self._words(), count.astype(np.uint64)).view(np.int64)

    def choice(self, seq: Sequence[Any]) -> NDArray[Any]:
        """Return one element of `seq` for each agent, shape (n,).

        Raises
        ------
        UsageError
            If it is empty.
        """
        if not len(seq):
            raise UsageError("choice from an empty sequence; check its length before")
        at = _scaled(self._words(), np.uint64(len(seq))).view(np.int64)
        return _as_array(seq)[at]

    def shuffle(self, values: Iterable[Any]) -> NDArray[np.object_]:
        """Return the values in random order for each agent: tuples, shape (n,), object."""
        each = tuple(values)
        return self._rows("shuffle", each)

    def generator(self) -> NDArray[np.object_]:
        """Return a NumPy generator for each agent, shape (n,), object: 12 us each."""
        return self._rows("generator")

    def _rows(self, method: str, *args: Any) -> NDArray[np.object_]:
        """Ask the random numbers of each row in turn."""
        index, found = self._next(), np.empty(len(self._draws), object)
        for row in range(len(found)):
            rng = self._draws.rng(row)
            rng._index = index
            found[row] = getattr(Rng, method)(rng, *args)
        return found

    def _words(self) -> Words:
        return self._draws.words(self._next())

    def _next(self) -> int:
        self._index += 1
        return self._index - 1


def _whole(bound: Each) -> Any:
    """Return a whole number, or an array of such."""
    if isinstance(bound, np.ndarray) and bound.ndim:
        if bound.dtype.kind not in "iu":
            raise UsageError(f"randint takes whole numbers, not an array of {bound.dtype}")
        return bound.astype(np.int64)
    return operator.index(bound)


def _scaled(words: Words, count: Any) -> Words:
    """Return ``words * count >> 64``; no factor `count` is above 2**53."""
    high, low = words >> _32, words & _HALF
    count_high, count_low = count >> _32, count & _HALF
    middle = high * count_low + (low * count_low >> _32)
    rest = low * count_high + (middle & _HALF)
    found: Words = high * count_high + (middle >> _32) + (rest >> _32)
    return found


def _as_array(seq: Sequence[Any]) -> NDArray[Any]:
    """Return elements as an array: of numbers or texts where all are alike, else of objects."""
    if isinstance(seq, np.ndarray):
        return seq
    kinds = set(map(type, seq))
    if kinds <= {float} or kinds <= {int} or kinds <= {bool}:
        return np.array(seq)
    if kinds == {str}:
        return np.array(list(seq), np.dtypes.StringDType())
    return np.fromiter(seq, object, len(seq))
