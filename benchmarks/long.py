"""A long run: whether what the scheduler and the client hold stays what it was."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from typing import Any

from distributed import Client
from distributed.deploy.subprocess import SubprocessCluster

import daskagents as da
from benchmarks.cases import Walker
from benchmarks.measure import Row, pss

_MB = 2**20


def long_run(rounds: int) -> Iterator[Row]:
    """Measure memory and tasks after half of the rounds and after all, by process."""
    with (
        SubprocessCluster(
            n_workers=2,
            worker_kwargs={"nthreads": 1},
            scheduler_kwargs={"dashboard": False},
        ) as cluster,
        Client(cluster) as client,
    ):
        pids = {"scheduler": client.run_on_scheduler(os.getpid), "client": os.getpid()}
        seen: list[dict[str, float]] = []

        def walk(walkers: Any, rounds: int) -> Iterator[Any]:
            message: Any = None
            for number in range(1, rounds + 1):
                replies = walkers.reply(message)
                message = replies["place"].mean()
                yield replies.assign(mean=message)
                if number in (rounds // 2, rounds):
                    gc.collect()
                    found = {name: pss(pid) / _MB for name, pid in pids.items()}
                    seen.append(found | {"tasks": client.run_on_scheduler(_tasks)})

        walkers = da.Population(Walker, 8 * 64, block_size=64)
        da.run(walk, walkers, client=client, rounds=rounds, progress=False)
    early, late = seen
    for name in ("scheduler", "client", "tasks"):
        what = "tasks on the scheduler" if name == "tasks" else f"memory of the {name}, MiB"
        yield Row(
            f"{what}, after {rounds:,} rounds of 8 blocks",
            [late[name]],
            "" if name == "tasks" else "MiB",
            f"after {rounds // 2:,}",
            [early[name]],
            "ratio 1",
        )


def _tasks(dask_scheduler: Any) -> float:
    return float(len(dask_scheduler.tasks))
