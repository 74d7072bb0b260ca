"""The default stack in a run, where everything goes wrong at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from threading import Thread
from typing import Any

from distributed import Client
from worlds import until

import daskagents as da
from daskagents import models, testing

#: Answers at a time of each server, and seconds of each.
SLOTS, SECONDS = 20, 0.1


class Asker(da.Agent):
    async def reply(self, message: da.Message) -> str:
        return (await self.chat(f"I am {self.id}.")).text


def ask(askers: Any) -> Iterator[Any]:
    yield {"said": askers.reply()}


def test_no_agent_notices_what_goes_wrong(client3: Client) -> None:
    n, faults = 600, {429: 0.2, 500: 0.1, "hang": 0.01}
    batching = testing.Batching(slots=SLOTS, prompt_speed=1e9, answer_speed=10 / SECONDS)
    with ExitStack() as entered:
        servers = [
            entered.enter_context(
                testing.model_server(
                    fail=faults, retry_after=0.05, batching=batching, answer="yes " * 10, seed=seed
                )
            )
            for seed in range(3)
        ]
        pool = models.Pool(
            [models.OpenAI("any", one.url, "none", first_byte_timeout=1.5) for one in servers]
        )
        seen: list[Any] = []

        def kill() -> None:
            until(lambda: servers[2].stats().answered > n / 6)
            seen.append(servers[2].stats())
            servers[2].kill()

        killer = Thread(target=kill)
        killer.start()
        people = da.Population(Asker, n, model=pool, block_size=100)
        result = da.run(ask, people, client=client3, max_failed=0)
        killer.join()
        seen += [server.stats() for server in servers[:2]]
    assert set(result["said"].values.ravel().tolist()) == {"yes " * 10}
    assert int(result["n_failed"].sum()) == 0 and int(result["calls"].sum()) == n
    assert sum(one.repeats for one in seen) == 0  # what was answered is not asked for again
    answered, chats = sum(one.answered for one in seen), sum(one.chats for one in seen)
    lost = 3 * SLOTS + 250  # with the third, and those that found it dead, at each of the workers
    assert n - lost <= answered <= n
    assert chats - answered <= int(result["retries"].sum()) + lost
    assert int(result["retries"].sum()) <= chats - answered + 2 * lost
