"""What it takes to begin: a run, a local cluster, a command in a shell."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from distributed import Client

import daskagents as da
from benchmarks.cases import Voter, ask
from benchmarks.measure import Row, seconds
from daskagents.cluster import start_cluster

_PROGRAM = """\
import daskagents as da
class Voter(da.Agent):
    lean: float = 0.0
    def reply(self, message):
        self.lean = self.rng.uniform(-1, 1)
        return {"lean": self.lean}
def vote(voters=da.Population(Voter, 10), rounds=1):
    for _ in range(rounds):
        yield voters.reply()
"""


def starting(client: Client) -> Iterator[Row]:
    """Measure the smallest run on a cluster that is there, on a new one, and from a shell."""

    def small(**options: Any) -> Any:
        return da.run(ask, da.Population(Voter, 10), progress=False, **options)

    small(client=client)
    yield Row(
        "a run of 10 agents and one round, s",
        [seconds(lambda: small(client=client)) for _ in range(5)],
        "s",
        'client="sync"',
        [seconds(lambda: small(client="sync")) for _ in range(5)],
    )
    begun = [_begin(small) for _ in range(3)]
    yield Row(
        "a local cluster of 2 workers, s",
        [cluster for cluster, _, _ in begun],
        "s",
        "distributed.Client(n_workers=2, threads_per_worker=1)",
        [_plain() for _ in range(3)],
    )
    yield Row(
        "the first run of 10 agents on a cluster just started, s",
        [first for _, first, _ in begun],
        "s",
        "the second there",
        [second for _, _, second in begun],
    )
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "vote.py")
        file.write_text(_PROGRAM)
        command = [sys.executable, "-m", "daskagents", "run", str(file), "--sync"]
        bare = [sys.executable, "-c", "import dask.distributed, xarray, zarr"]
        yield Row(
            "`daskagents run` of a small file, --sync, s",
            [seconds(lambda: _run(command, folder)) for _ in range(3)],
            "s",
            "python -c 'import dask.distributed, xarray, zarr'",
            [seconds(lambda: _run(bare, folder)) for _ in range(3)],
        )


def _begin(small: Any) -> tuple[float, float, float]:
    """Return the seconds of a start as `daskagents.run` makes it, and of two runs after it."""
    start = time.perf_counter()
    with start_cluster(2) as cluster, Client(cluster, set_as_default=False) as client:
        started = time.perf_counter() - start
        first, second = (seconds(lambda: small(client=client)) for _ in range(2))
        return started, first, second


def _plain() -> float:
    """Return the seconds of the start that Dask itself would make."""
    start = time.perf_counter()
    with Client(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0"):
        return time.perf_counter() - start


def _run(command: list[str], folder: str) -> None:
    subprocess.run(command, cwd=folder, capture_output=True, check=True)
