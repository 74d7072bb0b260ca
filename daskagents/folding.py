"""Closed rounds on their way into the results, and their answers into packed journals."""

from __future__ import annotations

import time
from typing import Any

from daskagents.executors import Executor
from daskagents.journal.segments import journal_of, pack
from daskagents.plan import plan_each
from daskagents.rounds import Rounds, fold, remove
from daskagents.store import Store

#: Seconds between two looks at rounds whose window is not full.
FOLD_EVERY = 1.0


class Folding:
    """Writes closed rounds into the results, one batch at a time.

    Parameters
    ----------
    executor
        Where the tasks run that write.
    store
        The run directory.
    rounds
        The results.
    token
        What the keys of the tasks end with.

    Attributes
    ----------
    unpacked : list
        The steps whose answers are still in segments, with the attempts that count.
    """

    def __init__(self, executor: Executor, store: Store, rounds: Rounds, token: str) -> None:
        self.executor, self.store, self.rounds, self.token = executor, store, rounds, token
        self.unpacked: list[tuple[int, dict[int, str]]] = []
        self.under_way: list[Any] | None = None
        self._at = time.monotonic()

    def look(self) -> None:
        """Write what has been closed, if it is time to, and nothing is being written."""
        if self.under_way is not None:
            if not self.executor.done(self.under_way):
                return
            self.finish()
        now = time.monotonic()
        due = now - self._at > FOLD_EVERY
        if due:
            self.rounds.write_values()
            self._at = now
        if due or self.rounds.full():
            self._start()

    def all(self) -> None:
        """Write all that has been closed, and wait for it."""
        if self.under_way is not None:
            self.finish()
        self.rounds.write_values()
        self._start(last=True)
        self.finish()

    def _start(self, *, last: bool = False) -> None:
        folds = self.rounds.folds(last=last)
        at = f"{self.token}-{self.rounds.closed}-{time.monotonic_ns()}"
        if self.store.shared:
            rows = [(each,) for each in folds]
            self.under_way = self.executor.submit(plan_each(f"fold-{at}", fold, rows))
        else:
            self.under_way = []
            for task in folds:
                fold(task)
        journal = journal_of(self.store.folder)
        steps = [(journal, step, accepted) for step, accepted in self.unpacked]
        self.unpacked = []
        if steps:
            self.under_way += self.executor.submit(plan_each(f"pack-{at}", pack, steps))

    def finish(self) -> None:
        """Wait for what is being written."""
        self.executor.gather(self.under_way or [])
        self.under_way = None
        remove(self.rounds.folded())
