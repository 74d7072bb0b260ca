"""Sifting: which agents of a block kill the process that they run in, found by running fewer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from daskagents.block import Block, Call, Failure, Outcome
from daskagents.errors import RunError
from daskagents.forms import absent
from daskagents.usage import Tally

T = TypeVar("T")
#: Places of agents among those that a step addresses in a block.
Places = NDArray[np.int64]

#: How often a process may die for which nobody can be blamed, before all in it are.
_VAIN = 2


@dataclass(frozen=True)
class Death:
    """How a process ended in which agents ran."""

    how: str


class Sifter(Generic[T]):
    """Finds the agents that kill their process, and what comes of the others.

    Parameters
    ----------
    run
        Runs the agents at some places in one process; returns what came of it, or its death. It
        may be asked the same again.
    ids
        The agents.
    most
        How many may be found.

    Examples
    --------
    >>> def run(places):
    ...     return Death("bang") if 3 in places else places.tolist()
    >>> sifter = Sifter(run, np.arange(5), most=1)
    >>> sifter.sift(), sifter.found
    ([0, 1, 2, 4], {3: 'bang'})
    """

    def __init__(self, run: Callable[[Places], T | Death], ids: Places, most: int) -> None:
        self._run, self._ids, self._most = run, ids, most
        self._vain = 0
        #: How each that was found killed its process, by place.
        self.found: dict[int, str] = {}

    def sift(self) -> T:
        """Run all agents but those that kill; return what came of it.

        Raises
        ------
        RunError
            If more kill than may, or the process is killed for which nobody can be blamed.
        """
        while True:
            fine = np.setdiff1d(np.arange(len(self._ids)), list(self.found))
            made = self._run(fine)
            if not isinstance(made, Death):
                return made
            before = len(self.found)
            self._look(fine, together=self._vain >= _VAIN)
            self._vain += len(self.found) == before
            if self._vain > 2 * _VAIN:
                raise RunError(
                    "the process that agents ran in was killed again and again, and not each time"
                    f" with the same of them: it {made.how}"
                )

    def _look(self, places: Places, *, together: bool) -> None:
        """Find who kills among agents that died together.

        One is blamed that dies alone twice, for a process may be killed from outside; several are
        blamed who die together each time, and not apart.
        """
        before = len(self.found)
        if len(places) > 1:
            for half in np.array_split(places, 2):
                if isinstance(self._run(half), Death):
                    self._look(half, together=together)
        if len(places) == 1 or (together and len(self.found) == before):
            death = self._run(places)
            if isinstance(death, Death):
                self._blame(places, death)

    def _blame(self, places: Places, death: Death) -> None:
        """Take down that these kill."""
        others = f", together with {len(places) - 1} others" if len(places) > 1 else ""
        self.found |= dict.fromkeys(places.tolist(), f"{death.how}{others}")
        if len(self.found) > self._most:
            place, how = next(iter(self.found.items()))
            raise RunError(
                f"at least {len(self.found)} agents of one block failed, and max_failed allows"
                f" {self._most} in a step; the first was agent {self._ids[place]}: it {how}"
            )


def nothing(block: Block, call: Call) -> Outcome:
    """Return what comes of a step that nobody takes."""
    replies = {} if call.form is None else absent(call.form, 0)
    return Outcome(block, call.form, replies, np.zeros(0, bool), {}, None, Tally())


def with_failed(outcome: Outcome, n: int, failures: Mapping[int, Failure]) -> Outcome:
    """Return the outcome of a step with agents put in that did not run and failed.

    Parameters
    ----------
    outcome
        Of the others, in their order.
    n
        Agents in all.
    failures
        Why each of those failed, by its place among all.
    """
    if not failures:
        return outcome
    fine = np.setdiff1d(np.arange(n), list(failures))
    failed = np.ones(n, bool)
    failed[fine] = outcome.failed
    replies = {}
    if outcome.form is not None and outcome.replies:
        replies = absent(outcome.form, n)
        for name, column in outcome.replies.items():
            replies[name] = replies[name].put(fine, column)
    lapses = sorted((*outcome.lapses, *failures.values()), key=lambda failure: failure.agent)
    kinds = Counter(failure.reason.partition(":")[0] for failure in failures.values())
    return replace(
        outcome,
        replies=replies,
        failed=failed,
        failures=dict(Counter(outcome.failures) + kinds),
        first_failure=lapses[0],
        contents=None,
        lapses=tuple(lapses),
    )
