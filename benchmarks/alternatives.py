"""What else could be done with the same agents: threads, a Dask task or Actor for each, objects."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from distributed import Client, wait

import daskagents as da
from benchmarks.cases import Plain, Voter, ask, steady
from benchmarks.measure import Row, pss, seconds


class _Voter(Plain):
    """The plain voter as an Actor, which draws by itself."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def ask(self) -> dict[str, float]:
        return self.reply_alone()


def _one(number: int, step: int) -> dict[str, float]:
    """Be one agent as one task."""
    return _Voter(number).ask()


def others(client: Client, agents: int, rounds: int, few: int) -> list[Row]:
    """Measure replies per second of other ways, each at a size that it can bear, against ours."""
    ours = [steady(Voter, client, agents, rounds)]

    def threads() -> float:
        voters = [_Voter(at) for at in range(agents // 10)]
        with ThreadPoolExecutor(32) as pool:
            return len(voters) / seconds(lambda: list(pool.map(_Voter.ask, voters)))

    def one_task_each() -> float:
        return few / seconds(lambda: wait(client.map(_one, range(few), step=0, pure=False)))

    def one_actor_each() -> float:
        made = [client.submit(_Voter, at, actor=True) for at in range(few // 4)]
        actors = [future.result() for future in made]
        return len(actors) / seconds(lambda: [f.result() for f in [a.ask() for a in actors]])

    ways = {
        f"32 threads, {agents // 10:,} objects": threads,
        f"one Dask task per agent, {few:,}": one_task_each,
        f"one Dask Actor per agent, {few // 4:,}": one_actor_each,
    }
    return [
        Row(f"{agents:,} `def reply` agents, replies/s", ours, "1/s", name, [way()])
        for name, way in ways.items()
    ]


def workers(agents: int, rounds: int) -> Row:
    """Measure replies per second of two workers against one, the same work."""
    found = {count: _with_workers(count, agents, rounds) for count in (1, 2)}
    what = f"{agents:,} `def reply` agents on 2 workers, replies/s"
    return Row(what, [found[2]], "1/s", "on 1 worker", [found[1]], "ratio 1.7")


def _with_workers(count: int, agents: int, rounds: int) -> float:
    with Client(n_workers=count, threads_per_worker=1, dashboard_address="127.0.0.1:0") as client:
        return steady(Voter, client, agents, rounds)


def memory(client: Client, agents: int) -> Row:
    """Measure what the workers' memory grows by, per agent, with one version and its replies."""
    pids = list(client.run(_pid).values())
    da.Population(Voter, 1_000).reply().load()
    before = sum(map(pss, pids))
    voters = da.Population(Voter, agents)
    replies = voters.reply().persist()
    wait(replies)
    after = sum(map(pss, pids))
    columns = voters.nbytes / agents
    return Row(
        f"{agents:,} agents, PSS of the workers with replies held, bytes per agent",
        [(after - before) / agents],
        "B",
        "bytes of their columns",
        [columns],
        "200 B",
    )


def _pid() -> int:
    import os

    return os.getpid()


def ten_million(client: Client, agents: int) -> Row:
    """Measure three rounds of very many agents with two fields, records included."""

    def three_rounds() -> Any:
        return da.run(ask, da.Population(Voter, agents), client=client, rounds=3)

    return Row(f"{agents:,} agents, three rounds, s", [seconds(three_rounds)], "s", asked="it runs")


def importing(repeats: int) -> Row:
    """Measure the import of the package against that of what it stands on."""

    def measured(what: str) -> float:
        program = f"import time; t = time.perf_counter(); {what}; print(time.perf_counter() - t)"
        command = [sys.executable, "-c", program]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        return float(said)

    whole = "import daskagents as da; da.Population, da.run"
    return Row(
        "import daskagents, s",
        [measured("import daskagents") for _ in range(repeats)],
        "s",
        "with all that a run needs",
        [measured(whole) for _ in range(repeats)],
        "0.6 s",
    )
