"""When a run writes its next checkpoint."""

from __future__ import annotations

from typing import Literal

#: Rounds between two checkpoints; or as seldom as keeps what they cost low.
Every = int | Literal["auto"]

#: The share of its time that a run may spend on checkpoints.
SHARE = 0.03
#: Rounds between two checkpoints at most: what came since the last stays on the scheduler.
FURTHEST = 100
#: Rounds, or seconds, after which the first one comes, which shows what one costs.
FIRST, SOON = 20, 30.0


class Pace:
    """Says after each round whether a checkpoint is due. It has no clock.

    Parameters
    ----------
    every
        As ``checkpoint_every`` of `daskagents.run`.

    Examples
    --------
    >>> pace = Pace("auto")
    >>> pace.due(rounds=19, seconds=2.0), pace.due(rounds=20, seconds=2.0)
    (False, True)
    >>> pace.took(0.3)
    >>> pace.due(rounds=30, seconds=9.0), pace.due(rounds=30, seconds=10.0)
    (False, True)
    >>> pace.due(rounds=100, seconds=1.0)
    True
    """

    def __init__(self, every: Every) -> None:
        self._every = every
        self._cost: float | None = None

    def took(self, seconds: float) -> None:
        """Take down what a checkpoint cost."""
        self._cost = seconds

    def due(self, rounds: int, seconds: float) -> bool:
        """Whether a checkpoint is due.

        Parameters
        ----------
        rounds, seconds
            Since the last one, or the beginning.
        """
        if self._every != "auto":
            return rounds >= self._every
        if self._cost is None:
            return rounds >= FIRST or (rounds > 0 and seconds >= SOON)
        return rounds >= FURTHEST or (rounds > 0 and seconds * SHARE >= self._cost)
