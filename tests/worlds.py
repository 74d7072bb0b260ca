"""Agents and workflows that several tests of runs use; workers import them from here."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

import daskagents as da
from daskagents.reads import handed_back

#: What differs from run to run.
UNLIKE = {"seconds"}


class Player(da.Agent):
    """Replies numbers and texts, and keeps both."""

    level: int = 0
    last: float = 1.0
    note: str = ""

    def reply(self, message: da.Message) -> Any:
        heard = message.content
        self.last = self.rng.uniform(0, 100) + (heard if isinstance(heard, float) else 0.0) / 1e3
        self.note = f"{self.id}: {self.last:.3f}"
        return {"guess": self.last, "note": self.note}

    def count(self, message: da.Message) -> float:
        self.level += 1
        return float(self.level)


class Speaker(da.Agent):
    """Has a name and a memory, and asks its model."""

    name: str = ""

    async def reply(self, message: da.Message) -> str:
        self.remember(message)
        answer = await self.chat(messages=self.memory)
        self.remember(answer)
        return f"{self.name} #{len(self.memory) // 2}: {answer.text}"


class Waiter(da.Agent):
    """Asks its model for a number."""

    last: float = 0.0

    async def reply(self, message: da.Message) -> float:
        answer = await self.chat(f"{message.content}")
        self.last += float(answer.text)
        return self.last


class Odd(da.Agent):
    """Agents with an odd id fail from a step on."""

    steps: int = 0

    def reply(self, message: da.Message) -> Any:
        self.steps += 1
        if self.id % 2 and message.content:
            raise ValueError(f"agent {self.id} does not like {message.content}")
        return {"x": float(self.steps), "word": f"step {self.steps}"}


class Gated(da.Agent):
    """Waits until a file is there."""

    def reply(self, message: da.Message) -> float:
        until(Path(str(message.content)).exists)
        return 1.0


def drawn(request: Any, rng: Any) -> str:
    """Answer with a number of the agent's own."""
    return f"{rng.gauss(0, 1):.6f}"


def game(players: Any, rounds: int = 4, ratio: float = 2 / 3) -> Iterator[Any]:
    """Pass a mean on that is still computing."""
    winner: Any = 0.0
    for _ in range(rounds):
        replies = players.reply(winner)
        winner = ratio * replies["guess"].mean()
        yield replies.assign(winner=winner, doubled=replies["guess"] * 2)


def reading(players: Any, rounds: int = 4) -> Iterator[Any]:
    """Read a value in each round."""
    winner = 0.0
    for _ in range(rounds):
        replies = players.reply(winner)
        winner = float(replies["guess"].mean())
        yield {"guess": replies["guess"], "winner": winner}


def asking(players: Any, rounds: int = 4) -> Iterator[Any]:
    """Ask and yield what is replied."""
    for number in range(rounds):
        yield {"x": players.reply(number)}


def until(condition: Callable[[], Any], seconds: float = 60) -> None:
    """Wait for a condition."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"waited for {seconds} s")
        time.sleep(0.01)


def events(folder: Path) -> list[dict[str, Any]]:
    """Return the events of a run so far."""
    try:
        lines = (folder / "events.jsonl").read_text().splitlines()
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in lines if line.endswith("}")]


def noted_reads(folder: Path) -> list[Any]:
    """Return what a workflow read, as it was written down; AGAIN for what is too large."""
    return [handed_back(event["said"]) for event in events(folder) if event["event"] == "read"]


def rounds_closed(folder: Path) -> int:
    """Return how many rounds of a run are closed."""
    return sum(event["event"] == "round" for event in events(folder))


def same(one: xr.Dataset, other: xr.Dataset) -> None:
    """Check that two results are the same to the last bit."""
    assert list(one.variables) == list(other.variables)
    for name in one.variables:
        if name in UNLIKE:
            continue
        assert (one[name].dims, one[name].dtype) == (other[name].dims, other[name].dtype), name
        numbers = one[name].dtype.kind == "f"
        assert np.array_equal(one[name].values, other[name].values, equal_nan=numbers), name


def alive(pid: int) -> bool:
    """Whether a process is there and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def group(pgid: int) -> list[int]:
    """Return the processes of a process group that are alive."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if os.getpgid(int(entry.name)) == pgid and alive(int(entry.name)):
                    found.append(int(entry.name))
            except ProcessLookupError:
                continue
    return found
