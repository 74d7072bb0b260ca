"""Agents that ask a server in a run, through the default stack, against the transport alone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

from distributed import Client

import daskagents as da
from benchmarks.endpoints import ours, speed_of
from benchmarks.measure import Row, peak_memory
from daskagents import models, testing

#: Seconds until the server answers.
_LATENCY = 0.05


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
