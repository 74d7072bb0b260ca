"""Random numbers that depend on who draws them, and on nothing else.

A draw is a 64-bit word, a function of three things: the key of (seed, population, step), the
agent's id and the draw's index within the step. It is computed, not taken from a stream, so blocks,
workers, order and retries cannot change it. The function is Philox4x32-10; draws 2j and 2j + 1 of
an agent are the two words of the counter (id, j). Uniform and normal numbers are made of words by
operations that IEEE 754 rounds correctly, one by one: rows and blocks get the same bits everywhere.
"""

from __future__ import annotations

import operator
import random
from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from typing import Any, Final, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from daskagents.errors import UsageError

T = TypeVar("T")
Words: TypeAlias = NDArray[np.uint64]
Floats: TypeAlias = NDArray[np.float64]

#: Rows whose draws are made together: so many that their arrays stay in the L2 cache.
SEGMENT: Final = 4096
#: Draws of an agent that are made for its whole segment; an even number.
SHARED: Final = 32
#: Draws made at once for an agent that goes past these.
BATCH: Final = 1024

# Constants as arrays without dimensions, which NumPy takes in twice as fast as Python's ints.
_HALF, _32 = np.array(0xFFFFFFFF, np.uint64), np.array(32, np.uint64)
_M0, _M1 = np.array(0xD2511F53, np.uint64), np.array(0xCD9E8D57, np.uint64)
# How far the two halves of the key have moved on in each of the ten rounds.
_BUMPS = np.arange(10, dtype=np.uint64)[:, None] * np.array([0x9E3779B9, 0xBB67AE85], np.uint64)


def step_key(seed: int, population: str, step: int) -> int:
    """Return the key of all draws of one population in one step.

    Parameters
    ----------
    seed
        The seed of the run: any whole number, also a negative or a very large one.
    population
        The population's name.
    step
        The step's number.

    Returns
    -------
    int
        64 bits, in [0, 2**64).

    Examples
    --------
    >>> step_key(7, "players", 0)
    9746013656606510609
    >>> step_key(7, "players", 0) == step_key(7, "players", 1)
    False
    """
    # Hexadecimal has no bound on the digits; the name comes last, since it may hold any character.
    said = f"{operator.index(seed):x}/{operator.index(step):x}/{population}"
    digest = blake2b(said.encode("utf-8", "surrogatepass"), digest_size=8)
    return int.from_bytes(digest.digest(), "little")


def philox(key: int, low: Words, high: Words | int) -> tuple[Words, Words]:
    """Compute Philox4x32-10 (Salmon et al. 2011) of many counters under one key.

    Parameters
    ----------
    key
        64 bits.
    low
        The lower 64 bits of the counters, shape (n,), uint64.
    high
        The upper 64 bits of the counters, shape (n,), or one number for all.

    Returns
    -------
    tuple of two arrays
        The lower and the upper 64 bits of the results, each of shape (n,), uint64.

    Examples
    --------
    >>> low, high = philox(0, np.zeros(1, np.uint64), 0)
    >>> f"{low[0]:x} {high[0]:x}"
    'e169c58d6627e8d5 9b00dbd8bc57ac4c'
    """
    halves = np.array([key & 0xFFFFFFFF, key >> 32 & 0xFFFFFFFF], np.uint64)
    keys = [(row[0, ...], row[1, ...]) for row in (_BUMPS + halves) & _HALF]
    high = np.broadcast_to(np.asarray(high, np.uint64), low.shape)
    out = np.empty((2, len(low)), np.uint64)
    for start in range(0, len(low), SEGMENT):
        part = slice(start, start + SEGMENT)
        _philox_part(keys, low[part], high[part], out[:, part])
    return out[0], out[1]


def _philox_part(keys: list[tuple[Words, Words]], low: Words, high: Words, out: Words) -> None:
    """Compute a few counters; each is four 32-bit words, of which x0 and x2 are multiplied."""
    x = np.stack((low, high))
    y1, y3 = x >> _32
    x &= _HALF
    x0, x2 = x
    # One row at a time: NumPy is twice as slow on two rows that it cannot take as one.
    product0, product2 = np.empty_like(x)
    for key0, key1 in keys:
        np.multiply(x0, _M0, out=product0)
        np.multiply(x2, _M1, out=product2)
        np.right_shift(product2, _32, out=x0)
        np.right_shift(product0, _32, out=x2)
        x0 ^= y1
        x2 ^= y3
        x0 ^= key0
        x2 ^= key1
        x &= _HALF
        # The lower halves are words 1 and 3; what is above them is masked out of x in time.
        y1, y3, product0, product2 = product2, product0, y3, y1
    for words, lower, upper in zip(out, x, (y1, y3), strict=True):
        np.left_shift(upper, _32, out=words)
        words |= lower


def _uniforms(words: Words) -> Floats:
    """Turn words into numbers in [0, 1), multiples of 2**-53."""
    numbers = (words >> 11).view(np.int64).astype(np.float64)
    numbers *= 2.0**-53
    return numbers


# Wichura's AS241, PPND16: numerators and denominators in the middle, the tails and far out.
# fmt: off
_MIDDLE: Final = (
    (
        2.5090809287301226727e3, 3.3430575583588128105e4, 6.7265770927008700853e4,
        4.5921953931549871457e4, 1.3731693765509461125e4, 1.9715909503065514427e3,
        1.3314166789178437745e2, 3.3871328727963666080e0,
    ),
    (
        5.2264952788528545610e3, 2.8729085735721942674e4, 3.9307895800092710610e4,
        2.1213794301586595867e4, 5.3941960214247511077e3, 6.8718700749205790830e2,
        4.2313330701600911252e1, 1.0,
    ),
)
_TAIL: Final = (
    (
        7.74545014278341407640e-4, 2.27238449892691845833e-2, 2.41780725177450611770e-1,
        1.27045825245236838258e0, 3.64784832476320460504e0, 5.76949722146069140550e0,
        4.63033784615654529590e0, 1.42343711074968357734e0,
    ),
    (
        1.05075007164441684324e-9, 5.47593808499534494600e-4, 1.51986665636164571966e-2,
        1.48103976427480074590e-1, 6.89767334985100004550e-1, 1.67638483018380384940e0,
        2.05319162663775882187e0, 1.0,
    ),
)
_FAR: Final = (
    (
        2.01033439929228813265e-7, 2.71155556874348757815e-5, 1.24266094738807843860e-3,
        2.65321895265761230930e-2, 2.96560571828504891230e-1, 1.78482653991729133580e0,
        5.46378491116411436990e0, 6.65790464350110377720e0,
    ),
    (
        2.04426310338993978564e-15, 1.42151175831644588870e-7, 1.84631831751005468180e-5,
        7.86869131145613259100e-4, 1.48753612908506148525e-2, 1.36929880922735805310e-1,
        5.99832206555887937690e-1, 1.0,
    ),
)
# fdlibm's logarithm: its series, and ln 2 in two parts of which the first times k is exact.
_LOG: Final = (
    1.479819860511658591e-1, 1.531383769920937332e-1, 1.818357216161805012e-1,
    2.222219843214978396e-1, 2.857142874366239149e-1, 3.999999999940941908e-1,
    6.666666666666735130e-1,
)
# fmt: on
_LN2_HIGH: Final = 6.93147180369123816490e-1
_LN2_LOW: Final = 1.90821492927058770002e-10


def _normals(words: Words) -> Floats:
    """Turn words into standard normal numbers, by the inverse of their distribution."""
    u = (words >> 12).view(np.int64) + 0.5
    u *= 2.0**-52
    q = u - 0.5
    r = q * q
    np.subtract(0.180625, r, out=r)
    normal = q * _polynomial(_MIDDLE[0], r)
    normal /= _polynomial(_MIDDLE[1], r)
    (outer,) = np.nonzero(np.abs(q) > 0.425)
    if outer.size:
        u, q = u[outer], q[outer]
        normal[outer] = np.copysign(_outer_normals(np.minimum(u, 1.0 - u)), q)
    return normal


def _outer_normals(p: Floats) -> Floats:
    """Return how far from 0 the normal numbers are that a share p < 0.075 lies beyond."""
    r = np.sqrt(-_log(p))
    tail = r - 1.6
    normal = _polynomial(_TAIL[0], tail) / _polynomial(_TAIL[1], tail)
    (far,) = np.nonzero(r > 5.0)
    if far.size:
        beyond = r[far] - 5.0
        normal[far] = _polynomial(_FAR[0], beyond) / _polynomial(_FAR[1], beyond)
    return normal


def _log(x: Floats) -> Floats:
    """Return the logarithm of fdlibm; np.log gives other bits on other processors."""
    fraction, exponent = np.frexp(x)
    small = fraction < 0.5**0.5
    fraction[small] *= 2.0
    k: Floats = np.subtract(exponent, small, dtype=np.float64)
    fraction -= 1.0
    s = fraction / (fraction + 2.0)
    z = s * s
    half = 0.5 * fraction * fraction
    series = s * (half + z * _polynomial(_LOG, z))
    low = half - (series + k * _LN2_LOW) - fraction
    return k * _LN2_HIGH - low


def _polynomial(coefficients: Sequence[float], x: Floats) -> Floats:
    """Evaluate a polynomial, the highest power first."""
    value = x * coefficients[0]
    for coefficient in coefficients[1:-1]:
        value += coefficient
        value *= x
    value += coefficients[-1]
    return value


_FORMS: Final[dict[str, Callable[[Words], NDArray[Any]]]] = {
    "ints": lambda words: words,
    "uniforms": _uniforms,
    "normals": _normals,
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

    __slots__ = ("columns", "key", "low", "start")

    def __init__(self, key: int, low: Words, start: int) -> None:
        self.key, self.low, self.start = key, low, start
        self.columns = [_NOT_DRAWN] * SHARED

    def column(self, index: int) -> _Column:
        """Return the draws of one index, made when first asked for, with their twins."""
        if self.columns[index] is _NOT_DRAWN:
            even = index - index % 2
            pair = philox(self.key, self.low, index // 2)
            self.columns[even : even + 2] = map(_Column, pair)
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
        The agents' ids, shape (n,), int64.

    Examples
    --------
    >>> draws = Draws(step_key(7, "players", 0), np.arange(1000))
    >>> draws.rng(10).random() == float(draws.uniforms(0)[10])
    True
    """

    __slots__ = ("_in_order", "_key", "_latest", "_low", "_pair", "_segments")

    def __init__(self, key: int, ids: NDArray[np.int64]) -> None:
        self._key = key
        self._low: Words = np.ascontiguousarray(ids, np.int64).view(np.uint64)
        self._segments: dict[int, _Segment] = {}
        self._latest = 0
        self._in_order = True
        self._pair: tuple[int, tuple[Words, ...]] = (-1, ())

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self._low)

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
        """Return one draw of every row as 64-bit words, shape (n,), uint64, not to be written to.

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
        twins, which = divmod(index, 2)
        if self._pair[0] != twins:
            pair = philox(self._key, self._low, twins)
            for words in pair:
                words.flags.writeable = False
            self._pair = (twins, pair)
        return self._pair[1][which]

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
        return self._each(_uniforms, index)

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
        return self._each(_normals, index)

    def _each(self, form: Callable[[Words], Floats], index: int) -> Floats:
        """Turn one draw of every row into floats, in parts that stay in the cache."""
        words, out = self.words(index), np.empty(len(self._low))
        for start in range(0, len(out), SEGMENT):
            part = slice(start, start + SEGMENT)
            out[part] = form(words[part])
        return out

    def _segment(self, row: int) -> _Segment:
        """Return the segment of a row, and let go of those left behind."""
        if not 0 <= row < max(1, len(self._low)):
            raise UsageError(f"row {row} was asked for, in a block of {len(self._low)} rows")
        number = row // SEGMENT
        found = self._segments.get(number)
        if found is None:
            self._in_order = self._in_order and number >= self._latest
            if self._in_order:
                self._segments.clear()
            start = number * SEGMENT
            found = _Segment(self._key, self._low[start : start + SEGMENT], start)
            self._segments[number], self._latest = found, number
        return found

    def _batch(self, row: int, start: int) -> _Column:
        """Return the draws of one row alone, from one index on."""
        high = np.arange(start // 2, (start + BATCH) // 2, dtype=np.uint64)
        return _Column(
            np.stack(philox(self._key, self._low[row].repeat(len(high)), high), 1).ravel()
        )


class Rng:
    """The random numbers of one agent in one step; its methods mean what `random.Random`'s do.

    Every call that gives random numbers takes exactly one draw, so that what an agent gets depends
    on how many calls it made before, and not on which. Each agent has it as ``self.rng``.

    Examples
    --------
    >>> rng = Draws(step_key(7, "players", 0), np.arange(1000)).rng(10)
    >>> rng.uniform(0, 100)
    40.603823571429764
    >>> rng.randint(1, 6), rng.choice(["left", "right"]), rng.shuffle((1, 2, 3))
    (1, 'left', (3, 2, 1))
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
        self._start, self._size = segment.start, len(segment.low)
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
