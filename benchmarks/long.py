"""A long run: whether what the scheduler and the client hold stays what it was."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

from distributed import Client
from distributed.deploy.subprocess import SubprocessCluster

import daskagents as da
from benchmarks.measure import Row, pss
from benchmarks.rounds import Walker, tasks_on

_MB = 2**20


def long_run(rounds: int) -> Iterator[Row]:
    """Measure memory and tasks after a tenth of the rounds and after all, by process.

    The client is a process that does nothing else: what others left free would hide its growth.
    """
    command = [sys.executable, "-m", "benchmarks.long", str(rounds)]
    said = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    early, late = json.loads(said.splitlines()[-1])
    for name in ("scheduler", "client", "tasks"):
        what = "tasks on the scheduler" if name == "tasks" else f"memory of the {name}, MiB"
        yield Row(
            f"{what}, after {rounds:,} rounds of 8 blocks",
            [late[name]],
            "" if name == "tasks" else "MiB",
            f"after {rounds // 10:,}",
            [early[name]],
            "ratio 1",
        )


def _hold(rounds: int) -> list[dict[str, float]]:
    """Run, and return what is held after a tenth of the rounds and after all."""
    with (
        tempfile.TemporaryDirectory() as folder,
        SubprocessCluster(
            n_workers=2,
            worker_kwargs={"nthreads": 1},
            # so that it ends by itself if this process is killed
            scheduler_kwargs={"dashboard": False, "idle_timeout": "2 minutes"},
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
                if number in (rounds // 10, rounds):
                    gc.collect()
                    found = {name: pss(pid) / _MB for name, pid in pids.items()}
                    seen.append(found | {"tasks": float(client.run_on_scheduler(tasks_on))})

        walkers = da.Population(Walker, 8 * 64, block_size=64)
        out = f"{folder}/run"  # of a run that can be resumed: with all that its checkpoints keep
        da.run(walk, walkers, client=client, rounds=rounds, out=out, progress=False)
    return seen


if __name__ == "__main__":
    print(json.dumps(_hold(int(sys.argv[1]))))
