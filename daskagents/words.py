"""Words: the 64 random bits of one draw, and the numbers that they become.

A word is a function of three things: the key of (seed, population, step), the agent's id and the
draw's index within the step. It is computed, not taken from a stream, so blocks, workers, order and
retries cannot change it. The function is Philox4x64-10, as NumPy has it. A counter gives four
words, and those of the counter (i, k, 0, 0) are draw k of the agents 4i to 4i + 3. Uniform and
normal numbers are made of words by operations that IEEE 754 rounds correctly: all machines get the
same.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from hashlib import blake2b
from itertools import pairwise
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

Words: TypeAlias = NDArray[np.uint64]
Floats: TypeAlias = NDArray[np.float64]

#: Agents that share a counter.
_FOUR: Final = 4
#: Ids that may lie between two agents without a jump: computing those of the gap is as fast.
_GAP: Final = 512


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


def draw_words(key: int, ids: NDArray[np.int64], index: int) -> Words:
    """Return one draw of many agents.

    Parameters
    ----------
    key
        What `step_key` gave.
    ids
        The agents' ids, shape (n,), int64, none below 0; fast where most follow on each other.
    index
        Which draw of this step, from 0.

    Returns
    -------
    ndarray
        The words, shape (n,), uint64.

    Examples
    --------
    >>> [f"{word:x}" for word in draw_words(0, np.arange(4), 0)]
    ['16554d9eca36314c', 'db20fe9d672d0fdc', 'd7e772cee186176b', '7e68b68aec7ba23b']
    >>> bool((draw_words(0, np.array([3, 1]), 0) == draw_words(0, np.arange(4), 0)[[3, 1]]).all())
    True
    """
    if not len(ids):
        return np.empty(0, np.uint64)
    steps = np.diff(ids)
    jumps = np.flatnonzero((steps < 1) | (steps > _GAP)) + 1
    if len(jumps) > len(ids) >> 3 and (steps < 0).any():  # in order there are fewer jumps
        order = np.argsort(ids)
        words = np.empty(len(ids), np.uint64)
        words[order] = draw_words(key, ids[order], index)
        return words
    bounds = [0, *jumps.tolist(), len(ids)]
    counters = _Counters(key)
    parts = [_near(counters, ids[start:end], index) for start, end in pairwise(bounds)]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def agent_words(key: int, agent: int, first: int, count: int) -> Words:
    """Return `count` draws of one agent, from draw `first` on, shape (count,), uint64.

    Examples
    --------
    >>> bool((agent_words(0, 5, 1, 2)[1:] == draw_words(0, np.array([5]), 2)).all())
    True
    """
    counters, (high, place) = _Counters(key), divmod(agent, _FOUR)
    each = [counters.words(high, index, 1)[place] for index in range(first, first + count)]
    return np.array(each, np.uint64)


class _Counters:
    """NumPy's Philox, which goes up from one counter to the next, sent to any of them."""

    def __init__(self, key: int) -> None:
        self.at = 0
        # it moves on before it computes, and so stands just below the counter it computes next
        self.philox = np.random.Philox(key=key, counter=2**256 - 1)

    def words(self, low: int, high: int, count: int) -> Words:
        """Return the words of counters (low, high), (low + 1, high), ..., shape (4 * count,)."""
        counter = low + (high << 64)
        if counter != self.at:
            self.philox.advance((counter - self.at) % 2**256)
        self.at = counter + count
        found: Words = self.philox.random_raw(_FOUR * count)
        return found


def _near(counters: _Counters, ids: NDArray[np.int64], index: int) -> Words:
    """Return one draw of agents whose ids go up, without wide gaps."""
    first, last = ids.item(0), ids.item(-1)
    low, start = divmod(first, _FOUR)
    words = counters.words(low, index, last // _FOUR - low + 1)[start : start + last - first + 1]
    return words if len(words) == len(ids) else words[ids - first]


def uniforms(words: Words) -> Floats:
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


def normals(words: Words) -> Floats:
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
