"""Who of a population there is: agents that entered, agents that are gone, and draws among them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daskagents.errors import UsageError
from daskagents.words import draw_words, step_key

Ids = NDArray[np.int64]

#: Agents that are drawn together: so many that their arrays stay in the cache.
_SEGMENT = 1 << 16


@dataclass(eq=False)
class Lives:
    """Which agents of a population there are, in one session.

    An agent's id is its row; ids go up and are never given again.

    Parameters
    ----------
    begun
        How many agents there were at the start.
    n
        How many there have been until now.

    Attributes
    ----------
    version : int
        How often agents have entered or left.
    gone : ndarray or None
        Which are gone, of shape (n,); None where all are there.

    Examples
    --------
    >>> lives = Lives(3, 3)
    >>> lives.leave(np.array([1]))
    >>> lives.enter(2)
    >>> lives.there().tolist(), lives.count
    ([0, 2, 3, 4], 4)
    """

    begun: int
    n: int
    version: int = 0
    gone: NDArray[np.bool_] | None = None
    _there: Ids | None = None
    _drawn: tuple[int, int] = (-1, 0)

    @property
    def count(self) -> int:
        """How many agents there are."""
        return self.n if self.gone is None else self.n - int(np.count_nonzero(self.gone))

    @property
    def packed(self) -> NDArray[np.uint8] | None:
        """Which agents are gone, eight to a byte; None where all are there."""
        return None if self.gone is None else np.packbits(self.gone)

    def enter(self, n: int) -> None:
        """Let so many more be there; they have the next ids."""
        self.version += 1
        self.n += n
        if self.gone is not None:
            self.gone = np.concatenate([self.gone, np.zeros(n, bool)])
            self._there = None

    def leave(self, ids: Ids) -> None:
        """Let some be gone."""
        self.version += 1
        self.gone = np.zeros(self.n, bool) if self.gone is None else self.gone.copy()
        self.gone[ids] = True
        self._there = None

    def there(self) -> Ids | None:
        """Return who is there, in one array until this changes; None for all there ever were."""
        if self.gone is None:
            return None
        if self._there is None:
            self._there = np.flatnonzero(~self.gone)
        return self._there

    def draw(self, p: Any, ids: Ids | None, seed: int, name: str, step: int) -> Ids:
        """Return some agents, each of those in `ids` with a probability.

        Whether an agent is drawn depends on the seed, the population's name, its id, the number of
        the step that comes next, and how many samples were drawn since the last one.

        Raises
        ------
        UsageError
            If the probability is none.
        """
        if not isinstance(p, Real) or isinstance(p, bool) or not 0 <= float(p) <= 1:
            raise UsageError(f"sample({p!r}): give the probability of each agent, from 0 to 1")
        index = self._drawn[1] if self._drawn[0] == step else 0
        self._drawn = step, index + 1
        ids = np.arange(self.n) if ids is None else ids
        key, most = step_key(seed, f"{name}/sample", step), math.ceil(float(p) * 2.0**53)
        found = np.zeros(len(ids), bool)
        for start in range(0, len(ids), _SEGMENT):
            part = slice(start, start + _SEGMENT)
            # a uniform number below p, without making it: the upper 53 bits are what it is made of
            found[part] = draw_words(key, ids[part], index) >> np.uint64(11) < np.uint64(most)
        return ids[found]
