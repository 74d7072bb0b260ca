"""The cases: what daskagents does, and the alternative, in the same run on the same machine."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
from distributed import Client

import daskagents as da
from benchmarks.measure import Row, peak_memory, seconds
from daskagents import models


class Voter(da.Agent):
    """The rule-based agent of the budget: two fields, one draw, two values replied."""

    lean: float = 0.0
    votes: int = 0

    def reply(self, message: da.Message) -> Any:
        """Lean somewhere, and vote."""
        self.lean = self.rng.uniform(-1, 1)
        self.votes += 1
        return {"lean": self.lean, "votes": self.votes}


class Waiter(da.Agent):
    """An agent that waits for a model."""

    last: float = 0.0

    async def reply(self, message: da.Message) -> Any:
        """Ask, and take the answer."""
        answer = await self.chat("How much?")
        self.last = float(answer.text)
        return {"guess": self.last}


def ask(agents: Any, rounds: int = 1) -> Iterator[Any]:
    """Ask everybody, round after round."""
    for _ in range(rounds):
        yield agents.reply()


class Plain:
    """The same voter as a plain Python object."""

    def __init__(self) -> None:
        self.lean, self.votes = 0.0, 0

    def reply(self, draw: random.Random) -> dict[str, float]:
        """Lean somewhere, and vote."""
        self.lean = draw.uniform(-1, 1)
        self.votes += 1
        return {"lean": self.lean, "votes": self.votes}

    def reply_alone(self) -> dict[str, float]:
        """Reply with a draw of the module's own generator."""
        return self.reply(random)  # type: ignore[arg-type]


def rule_based(client: Client, agents: int, rounds: int) -> Row:
    """Measure replies per second of rule-based agents, written down, against a plain loop."""
    objects, draw = [Plain() for _ in range(agents)], random.Random(0)

    def plain_loop() -> None:
        for voter in objects:
            voter.reply(draw)

    loop = [agents / seconds(plain_loop) for _ in range(3)]
    objects.clear()
    ours = [steady(Voter, client, agents, rounds) for _ in range(3)]
    return Row(
        f"{agents:,} `def reply` agents, replies written, replies/s",
        ours,
        "1/s",
        "plain loop over objects, one process",
        loop,
        "1 million/s",
    )


async def _sleeps(agents: int) -> None:
    await asyncio.gather(*(asyncio.sleep(1.0) for _ in range(agents)))


class BlockVoter(Voter):
    """The same voters, a block at a time."""

    def reply_block(self, message: da.Message) -> Any:
        """Lean somewhere, and vote."""
        return Voter.reply(self, message)


def block_based(client: Client, agents: int, rounds: int) -> Row:
    """Measure replies per second of `reply_block`, written down, against NumPy in one process."""
    draw, lean, votes = np.random.default_rng(0), np.zeros(agents), np.zeros(agents, np.int64)

    def plain_numpy() -> None:
        for _ in range(10):
            lean[:] = draw.uniform(-1, 1, agents)
            np.add(votes, 1, out=votes)
            _ = {"lean": lean.copy(), "votes": votes.astype(np.float64)}

    numpy = [10 * agents / seconds(plain_numpy) for _ in range(3)]
    return Row(
        f"{agents:,} `reply_block` agents, replies written, replies/s",
        [steady(BlockVoter, client, agents, rounds) for _ in range(3)],
        "1/s",
        "NumPy, one process, nothing written",
        numpy,
        "10 million/s",
    )


def steady(cls: type[da.Agent], client: Client, agents: int, rounds: int) -> float:
    """Return the replies per second of a run after its first quarter."""
    result = da.run(ask, da.Population(cls, agents), client=client, rounds=rounds)
    steady = result["seconds"].values[rounds // 4 :]
    return agents * len(steady) / float(steady.sum())


def waiting(client: Client, agents: int, repeats: int) -> list[Row]:
    """Measure one round of agents that each wait a second, against one-process asyncio."""
    gather = [seconds(lambda: asyncio.run(_sleeps(agents))) for _ in range(repeats)]
    model = models.Dummy(latency=1.0, answer="50")

    def one_round() -> None:
        da.run(ask, da.Population(Waiter, agents), client=client, model=model)

    with peak_memory() as peak:
        ours = [seconds(one_round) for _ in range(repeats)]
        memory = peak()
    what = f"{agents:,} agents awaiting a 1 s dummy, one round"
    return [
        Row(f"{what}, s", ours, "s", "asyncio.gather of 1 s sleeps, s", gather, "20 s at 10^6"),
        Row(f"{what}, peak memory of all processes, GiB", [memory], "GiB", asked="3 GiB at 10^6"),
    ]
