"""Rounds of very little work: what each costs, early and late in a run."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from distributed import Client

import daskagents as da
from benchmarks.measure import Row


class Walker(da.Agent):
    """The smallest agent, for what a round costs apart from the agents."""

    place: float = 0.0

    def reply(self, message: da.Message) -> Any:
        """Take a step."""
        self.place += self.rng.uniform(-1, 1)
        return {"place": self.place}


def fixed_cost(client: Client, rounds: int, *, read: bool) -> list[Row]:
    """Measure a round of 8 small blocks early and late in a run, and the scheduler's tasks."""
    first: list[float] = []
    last: list[float] = []
    tasks: list[int] = []
    early = rounds // 6

    def walk(walkers: Any, rounds: int) -> Iterator[Any]:
        message: Any = None
        start = time.perf_counter()
        for number in range(1, rounds + 1):
            replies = walkers.reply(message)
            message = replies["place"].mean()
            if read:
                message = float(message)
            yield replies.assign(mean=message)
            if number in (early, rounds - early, rounds):
                now = time.perf_counter()
                if number != rounds - early:
                    (first if number == early else last).append((now - start) / early * 1e3)
                    tasks.append(client.run_on_scheduler(tasks_on))
                start = now

    population = da.Population(Walker, 8 * 64, block_size=64)
    da.run(walk, population, client=client, rounds=rounds)
    how = "a value read each round" if read else "look-ahead"
    asked = "80 ms" if read else "50 ms"
    return [
        Row(
            f"a round of 8 blocks of 64 agents, {how}, last {early} of {rounds}, ms",
            last,
            "ms",
            f"the first {early}",
            first,
            f"{asked}; ratio 1",
        ),
        Row(
            f"tasks on the scheduler after {rounds} rounds, {how}",
            [float(tasks[1])],
            "tasks",
            f"after {early}",
            [float(tasks[0])],
            "ratio 1",
        ),
    ]


def tasks_on(dask_scheduler: Any) -> int:
    """Return how many tasks a scheduler holds; it runs this."""
    return len(dask_scheduler.tasks)
