"""Agents that ask servers in a run, through the default stack."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import ExitStack
from threading import Thread
from typing import Any

from distributed import Client

import daskagents as da
from benchmarks.endpoints import ours, speed_of
from benchmarks.measure import Row, peak_memory
from daskagents import models, testing

#: Seconds until the server answers.
_LATENCY = 0.05
#: Answers at a time of each of the servers that fail, and seconds of each.
_SLOTS, _SECONDS = 20, 0.1


class Asker(da.Agent):
    """Asks one question."""

    async def reply(self, message: da.Message) -> float:
        """Report a number."""
        answer = await self.chat("Report a number from 0 to 100.")
        return float(len(answer.text))


def ask(askers: Any, rounds: int) -> Iterator[Any]:
    """Have all ask."""
    for _ in range(rounds):
        yield {"said": askers.reply()}


def asking(client: Client, agents: int) -> Iterator[Row]:
    """Measure answers per second of one round, start included, and the memory it takes."""
    alone = max(_alone(client, agents, in_flight) for in_flight in (128, 512))
    with testing.model_server(latency=_LATENCY) as server, peak_memory() as peak:
        people = da.Population(Asker, agents, model=models.OpenAI("any", server.url, "none"))
        start = time.perf_counter()
        result = da.run(ask, people, 1, client=client)
        took, memory = time.perf_counter() - start, peak()
        if not int(result["calls"].sum()) == server.stats().answered == agents:
            raise RuntimeError("not all agents were answered, or some twice")
    what = f"{agents:,} agents ask a server of {_LATENCY} s latency"
    other = "the transport alone, on the same workers"
    yield Row(f"{what}, answers/s", [agents / took], "1/s", other, [alone], "ratio 0.8")
    yield Row(f"{what}, peak memory of all processes, GiB", [memory], "GiB")


def _alone(client: Client, chats: int, in_flight: int) -> float:
    """Return answers per second by the bare transport, in each worker's process at once."""
    workers = list(client.scheduler_info(n_workers=-1)["workers"])
    share = chats // len(workers)
    with testing.model_server(latency=_LATENCY) as server:
        asked = [
            client.submit(_ask_alone, server.url, share, in_flight, workers=[worker], pure=False)
            for worker in workers
        ]
        return float(sum(client.gather(asked)))


def _ask_alone(url: str, chats: int, in_flight: int) -> float:
    speed, _ = asyncio.run(speed_of(ours(url), chats, in_flight))
    return speed


def failing(client: Client, agents: int) -> Row:
    """Measure one round against three servers that fail and of which one is killed midway."""
    batching = testing.Batching(slots=_SLOTS, prompt_speed=1e9, answer_speed=10 / _SECONDS)
    with ExitStack() as entered:
        servers = [
            entered.enter_context(
                testing.model_server(
                    fail={429: 0.2, 500: 0.1, "hang": 0.01},
                    retry_after=0.05,
                    batching=batching,
                    answer="yes " * 10,
                    seed=seed,
                )
            )
            for seed in range(3)
        ]
        pool = models.Pool(
            [models.OpenAI("any", one.url, "none", first_byte_timeout=1.5) for one in servers]
        )

        def kill() -> None:
            while servers[2].stats().answered < agents / 6:
                time.sleep(0.02)
            servers[2].kill()

        killer = Thread(target=kill)
        killer.start()
        people = da.Population(Asker, agents, model=pool)
        start = time.perf_counter()
        result = da.run(ask, people, 1, client=client, max_failed=0)
        took = time.perf_counter() - start
        killer.join()
        if not int(result["calls"].sum()) == agents:
            raise RuntimeError("not all agents were answered")
    speed = _SLOTS / _SECONDS
    # all three answer until the third has answered a sixth of all, then two
    possible = agents / 6 / speed + agents / 2 / (2 * speed)
    return Row(
        f"{agents:,} agents ask 3 servers (20 % 429, 10 % 500, 1 % hang; one dies), seconds",
        [took],
        "s",
        "what they can answer at best",
        [possible],
        "ratio 1.5",
    )
