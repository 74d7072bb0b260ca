"""What it costs that nothing is lost, and how fast a run goes on."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from distributed import Client

import daskagents as da
from benchmarks.cases import Voter, Waiter
from benchmarks.measure import Row, seconds
from daskagents import models

#: Agents for each worker, who are answered once a second.
_AGENTS, _LATENCY = 1_000, 1.0
#: When a workflow begins a round; looked at in this process.
_BEGAN: list[float] = []


def ask(agents: Any, rounds: int) -> Iterator[Any]:
    """Ask everybody, round after round, and note when."""
    for _ in range(rounds):
        _BEGAN.append(time.perf_counter())
        yield agents.reply()


def answer(request: Any, rng: Any) -> str:
    """Answer with a number of the agent's own."""
    return f"{rng.random():.6f}"


def durability(client: Client, rounds: int, agents: int, calls: int) -> Iterator[Row]:
    """Measure the cost of journal and checkpoints, and how long resuming and replaying take."""
    yield _cost(client, rounds)
    with tempfile.TemporaryDirectory() as folder:
        yield _resuming(client, agents, Path(folder) / "run")
        yield _replaying(client, calls, Path(folder) / "asked")


def _cost(client: Client, rounds: int) -> Row:
    """Return the time of rounds bound by a model, with a run directory and without."""
    n = _AGENTS * len(client.scheduler_info(n_workers=-1)["workers"])
    model = models.Dummy(_LATENCY, answer)

    def play(out: Path | None) -> float:
        people = da.Population(Waiter, n, model=model)
        options: Any = {"client": client, "out": out, "checkpoint_every": 5}
        return seconds(lambda: da.run(ask, people, rounds, **options)) / rounds

    with tempfile.TemporaryDirectory() as folder:
        kept = [play(Path(folder) / str(number)) for number in range(3)]
        free = [play(None) for _ in range(3)]
    what = f"a round of {n:,} agents answered once a second, journal and checkpoints kept, s"
    return Row(what, kept, "s", "the same, not kept", free, "ratio 1.1 (aim 1.03)")


def _resuming(client: Client, agents: int, out: Path) -> Row:
    """Return how long it takes until a finished run computes a further round."""
    people = da.Population(Voter, agents)
    da.run(ask, people, 10, client=client, out=out)
    start = time.perf_counter()
    da.run(ask, people, 11, client=client, out=out, resume=True)
    took = _BEGAN[-1] - start
    whole = time.perf_counter() - start
    return Row(
        f"a finished run of {agents:,} `def reply` agents and 10 rounds goes on after, s",
        [took],
        "s",
        "with the further round",
        [whole],
        "5 s",
    )


def _replaying(client: Client, calls: int, out: Path) -> Row:
    """Return how long it takes to replay the answers of a journal."""
    model = models.Dummy(0.0, answer)
    people = da.Population(Waiter, calls, model=model)
    first = seconds(lambda: da.run(ask, people, 1, client=client, out=out))
    took = seconds(lambda: da.replay(out, client=client))
    what = f"a replay of {calls:,} journaled calls, s"
    return Row(what, [took], "s", "the run itself, with a dummy of no latency", [first], "10 s")
