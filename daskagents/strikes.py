"""Tasks that were lost with worker after worker: what is tried again, and what is run apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable

#: A block: of which population, and which.
BlockName = tuple[str, int]

#: How often a task is tried again, if to run its block apart does not help or it is no step's.
MOST = 4


class Strikes:
    """Judges tasks that Dask gave up because each worker that had them died.

    They may be innocent: a task is lost with its worker whoever kills it.

    Parameters
    ----------
    block_of
        Returns the block that a task runs agents of; None where it runs none.
    apart
        The blocks that are run apart already.

    Examples
    --------
    >>> strikes = Strikes({"step 1": ("people", 7)}.get)
    >>> strikes.judge(["step 1"]), strikes.judge(["step 1", "a mean"]), strikes.apart
    ([('people', 7)], [], {('people', 7)})
    >>> [strikes.judge(["a mean"]) for _ in range(4)]
    [[], [], [], None]
    """

    def __init__(
        self, block_of: Callable[[Hashable], BlockName | None], apart: Iterable[BlockName] = ()
    ) -> None:
        self._block_of, self.apart = block_of, set(apart)
        self._counts: Counter[Hashable] = Counter()

    def judge(self, tasks: Iterable[Hashable]) -> list[BlockName] | None:
        """Return the blocks that are to be run apart from now on; None where nothing helps."""
        found: list[BlockName] = []
        for task in tasks:
            block = self._block_of(task)
            if block is not None and block not in self.apart:
                self.apart.add(block)
                found.append(block)
            elif block not in found:  # two of its steps may be lost at once
                self._counts[task] += 1
        return None if any(count > MOST for count in self._counts.values()) else found
