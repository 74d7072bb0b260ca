"""Worlds: what it costs agents to share an environment, and to send each other messages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from distributed import Client

import daskagents as da
from benchmarks.measure import Row


class Alone(da.Agent):
    """The rule-based agent of the budget, with values of its own in place of a world's."""

    lean: float = 0.0
    votes: int = 0

    def reply(self, message: da.Message) -> Any:
        """Lean somewhere, and vote."""
        self.lean = self.rng.uniform(-1, 1)
        self.votes += 1
        return {"lean": self.lean, "votes": self.votes}


class World(da.Environment):
    """Three fields that are read, and two that are written to."""

    low: float = -1.0
    high: float = 1.0
    step: int = 1
    lean: float = da.shared(0.0, reduce="sum")
    votes: int = da.shared(0, reduce="sum")

    def advance(self) -> None:
        """Begin anew."""
        self.lean, self.votes = 0.0, 0


class Sharing(Alone):
    """The same agent, which reads three fields of a world and writes to two."""

    def reply(self, message: da.Message) -> Any:
        """Lean somewhere, and vote, where all can see it."""
        self.lean = self.rng.uniform(self.env.low, self.env.high)
        self.votes += self.env.step
        self.env.write("lean", self.lean)
        self.env.write("votes", self.votes)
        return {"lean": self.lean, "votes": self.votes}


class Writer(Alone):
    """The same agent, which sends a message to any other one."""

    others: int = 0

    def reply(self, message: da.Message) -> Any:
        """Lean somewhere, and vote, and tell somebody."""
        self.lean = self.rng.uniform(-1, 1)
        self.votes += len(self.inbox)
        self.send(int((self.lean + 1) / 2 * self.others), self.lean)
        return {"lean": self.lean, "votes": self.votes}


class Silent(Writer):
    """The same agent, which says nothing."""

    def reply(self, message: da.Message) -> Any:
        """Lean somewhere, and vote."""
        self.lean = self.rng.uniform(-1, 1)
        self.votes += int((self.lean + 1) / 2 * self.others) % 2
        return {"lean": self.lean, "votes": self.votes}


def ask(agents: Any, rounds: int, env: Any = None) -> Iterator[Any]:
    """Ask everybody, round after round."""
    for _ in range(rounds):
        yield agents.reply(env=env)


def _round(client: Client, agents: da.Population, rounds: int, env: Any = None) -> float:
    """Return the seconds of a round, after the first quarter of a run."""
    result = da.run(ask, agents, rounds=rounds, env=env, client=client)
    return float(result["seconds"].values[rounds // 4 :].mean())


def sharing(client: Client, agents: int, rounds: int) -> Row:
    """Measure a round of agents that share a world, against one of agents that do not."""
    alone, sharing = [], []
    for _ in range(3):
        alone.append(_round(client, da.Population(Alone, agents), rounds))
        sharing.append(_round(client, da.Population(Sharing, agents), rounds, World()))
    return Row(
        f"{agents:,} agents that read 3 fields of an environment and write 2, a round, s",
        sharing,
        "s",
        "the same without an environment, s",
        alone,
        "1.5 x",
    )


def messages(client: Client, agents: int, blocks: int, rounds: int, asked: str) -> Row:
    """Measure what a message of each agent to another one adds to a round."""
    size = -(-agents // blocks)
    added, silent = [], []
    for _ in range(3):
        each = {"others": [agents] * agents}
        quiet = _round(client, da.Population(Silent, each, block_size=size), rounds)
        loud = _round(client, da.Population(Writer, each, block_size=size), rounds)
        added.append(loud - quiet)
        silent.append(quiet)
    return Row(
        f"{agents:,} messages between random agents, {blocks} blocks: added to a round, s",
        added,
        "s",
        "the round without them, s",
        silent,
        asked,
    )


def worlds(client: Client, agents: int, rounds: int) -> Iterator[Row]:
    """Measure environments and messages."""
    yield sharing(client, agents, rounds)
    yield messages(client, agents, 8, rounds, "1.0 s")
    yield messages(client, agents, 64, rounds, "2.5 s")
