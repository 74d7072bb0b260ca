"""The same workflow gives the same bits wherever it runs, and whatever dies meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import xarray as xr
from distributed import Client

import daskagents as da
from daskagents import models


class Player(da.Agent):
    education: str = ""
    last: float = 50.0
    heard: int = 0

    def reply(self, message: da.Message) -> Any:
        winner = message.content
        self.heard += 1
        self.last = self.rng.uniform(0, 100) if winner is None else winner + self.rng.gauss(0, 2)
        return {"guess": self.last, "note": f"{self.id} {self.education} {self.heard}"}


class Asker(da.Agent):
    last: float = 0.0

    async def reply(self, message: da.Message) -> Any:
        self.remember(f"the winner was {message.content}")
        answer = await self.chat(messages=self.memory)
        self.remember(answer)
        self.last = float(answer.text)
        return {"guess": self.last, "turns": len(self.memory)}


def game(players: Any, rounds: int = 4, read: bool = False) -> Iterator[Any]:
    winner: Any = None
    for _ in range(rounds):
        replies = players.reply(winner)
        winner = 2 / 3 * replies["guess"].mean()
        if read:
            winner = float(winner)
        yield replies.assign(winner=winner, doubled=replies["guess"] * 2)


def each_its_own(players: Any, rounds: int = 24) -> Iterator[Any]:
    message: Any = None
    for _ in range(rounds):
        replies = players.reply(message)
        yield replies
        message = replies["guess"]  # made after the yield, and one for each agent


def drawn(request: Any, rng: Any) -> str:
    return f"{rng.gauss(50, 10):.6f}"


def table(n: int = 3_000) -> dict[str, Any]:
    return {"education": np.array(["school", "bachelor", "phd"])[np.arange(n) % 3]}


def same(one: xr.Dataset, other: xr.Dataset) -> None:
    assert set(one.data_vars) == set(other.data_vars)
    for name in set(one.data_vars) - {"seconds"}:
        assert one[name].dims == other[name].dims
        if one[name].dtype.kind == "f":
            np.testing.assert_array_equal(one[name].values, other[name].values)
        else:
            assert (one[name].values == other[name].values).all(), name


@pytest.mark.parametrize("read", [False, True])
def test_rows_agree_on_sync_one_and_three_workers(
    client1: Client, client3: Client, read: bool
) -> None:
    def on(client: Any) -> xr.Dataset:
        players = da.Population(Player, table(), block_size=400)
        return da.run(game, players, read=read, seed=7, client=client, checkpoint_every=2)

    alone = on("sync")
    assert dict(alone.sizes) == {"round": 4, "agent": 3_000}
    assert np.isfinite(alone["guess"].values).all()
    assert alone["note"].values[3, 1] == "1 bachelor 4"
    same(alone, on(client1))
    same(alone, on(client3))


def test_agents_that_wait_agree(client1: Client, client3: Client) -> None:
    def on(client: Any) -> xr.Dataset:
        askers = da.Population(Asker, 500, block_size=60)
        model = models.Dummy(latency=0.001, answer=drawn)
        return da.run(game, askers, rounds=3, seed=1, client=client, model=model)

    alone = on("sync")
    assert alone["turns"].values[:, 0].tolist() == [2, 4, 6]
    assert alone["calls"].values.tolist() == [500] * 3
    same(alone, on(client1))
    same(alone, on(client3))
