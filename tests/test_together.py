"""A world of all parts: an environment of towns, scenes, messages, and agents that come and go."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from distributed import Client
from test_faults import own_cluster, when
from worlds import rounds_closed, same

import daskagents as da
from daskagents import models
from daskagents.errors import UsageError


class Town(da.Environment):
    bread: float = 100.0
    eaten: float = da.shared(0.0, reduce="sum")
    feasts: tuple[str, ...] = da.shared(reduce="append")

    def advance(self) -> None:
        self.bread += 20.0 - self.eaten
        self.parent.write("eaten", self.eaten)
        self.eaten = 0.0


class Country(da.Environment):
    towns: dict[int, Town]
    eaten: float = da.shared(0.0, reduce="sum")
    said: tuple[str, ...] = da.shared(reduce="append")


class Citizen(da.Agent):
    town: int = 0
    food: float = 1.0
    age: int = 0
    heard: int = 0

    def reply(self, message: da.Message) -> Any:
        """Eat of the town's bread, age, and tell somebody."""
        if message.content == "feast":
            share = min(self.rng.uniform(0, 2), self.env.bread / 10)
            self.env.write("eaten", share)
            self.food += share
            return {"plate": self.food, "heard": 0.0}
        self.age += 1
        self.heard += len(self.inbox)
        self.food += len(self.inbox) / 10 - 0.2
        self.env.write("eaten", 0.1)
        self.send(self.rng.randint(0, 59), self.food)
        if self.age == 3 and self.rng.random() < 0.5:
            self.town = (self.town + 1) % 4
        return {"plate": self.food, "heard": float(self.heard)}


async def feast(members: Any, env: Any) -> Any:
    """Eat together, if there is any bread."""
    if members.rng.random() < 0.3:
        raise ValueError("no bread")
    said = await members.reply("feast")
    env.write("feasts", f"{members.label} of {len(members)}")
    env.parent.write("said", str(members.label))
    members[0]._agent.send(members[-1].id, "well eaten")
    return {"food": sum(m.content["plate"] for m in said), "guests": len(members)}


def history(people: Any, country: Any, rounds: int = 9) -> Iterator[Any]:
    branch = country.branch("towns", by="town")
    for number in range(rounds):
        replies = people.sample(0.9).reply("work", env=branch)
        if number % 3 == 1:
            people.tell(replies["plate"].mean())
            yield replies
            feasts = people.groups("town", labels=range(4)).play(feast, env=branch)
            yield {"feast": feasts["food"], "guests": feasts["guests"], "eaten": country["eaten"]}
        else:
            yield replies
        if number % 2:
            hungry = people.to_dataset()["food"] < 0.5
            people.remove(hungry)
            people.add({"town": [number % 4, (number + 1) % 4], "food": [3.0, 4.0]})


def people(block_size: int = 16) -> Any:
    table = {"town": np.arange(48) % 4, "food": np.linspace(0.3, 3, 48)}
    return da.Population(Citizen, table, block_size=block_size)


def play(client: Any, out: Path | None = None, **options: Any) -> xr.Dataset:
    country = Country(towns={key: Town(bread=10.0 + 5 * key) for key in range(4)})
    settings: dict[str, Any] = {"seed": 4, "max_failed": 0.5, "checkpoint_every": 4}
    return da.run(history, people(), country, client=client, out=out, **(settings | options))


def test_all_parts_together_are_the_same_everywhere(
    client1: Client, client3: Client, tmp_path: Path
) -> None:
    alone = play("sync", tmp_path / "alone")
    assert alone.sizes["agent"] == 56
    assert alone["group_failed"].values.any()
    assert not alone["group_failed"].values.all()
    assert np.nanmax(alone["heard"].values) > 1
    assert int(alone["n_agents"].values[-1]) < 56
    same(alone, play(client1))
    same(alone, play(client3, tmp_path / "three", checkpoint_every=1))
    one, other = (da.open_run(tmp_path / n).environment("country") for n in ("alone", "three"))
    xr.testing.assert_identical(one, other)
    assert one["towns.3.feasts"].size > 0


class StopError(Exception):
    pass


class Halting(Country):
    file: str = ""

    def advance(self) -> None:
        if self.file and Path(self.file).exists() and len(self.said) >= 5:
            raise StopError


@pytest.mark.parametrize("every", [1, 3])
def test_all_parts_together_go_on(every: int, client3: Client, tmp_path: Path) -> None:
    flag = tmp_path / "halt"
    towns = {key: Town(bread=10.0 + 5 * key) for key in range(4)}

    def go(name: str, client: Any, **options: Any) -> xr.Dataset:
        country = Halting(towns=towns, file=str(flag))
        settings: dict[str, Any] = {"seed": 4, "max_failed": 0.5, "checkpoint_every": every}
        return da.run(
            history, people(), country, client=client, out=tmp_path / name, **(settings | options)
        )

    whole = go("whole", "sync")
    flag.touch()
    with pytest.raises(da.DaskAgentsError, match="StopError"):
        go("part", "sync")
    flag.unlink()
    same(whole, go("part", client3 if every == 3 else "sync", resume=True))
    same(whole, da.resume(tmp_path / "part", client="sync"))


def test_a_group_has_the_environment_of_what_it_shares() -> None:
    country = Country(towns={0: Town()})
    with pytest.raises(UsageError, match="a group finds its own environment by what its members"):
        people().groups("town").play(feast, env=country.branch("towns", by="age"))


class Slow(Citizen):
    async def reply(self, message: da.Message) -> Any:
        answer = await self.chat(f"{message.content}: {self.food:.3f}?")
        self.food += float(answer.text) / 1e3
        return super().reply(message)


def drawn(request: Any, rng: Any) -> str:
    return f"{rng.gauss(0, 10):.6f}"


@pytest.mark.parametrize("kills", [3])
def test_killed_workers_change_nothing(kills: int, tmp_path: Path) -> None:
    def on(client: Any, out: Path | None) -> xr.Dataset:
        table = {"town": np.arange(48) % 4, "food": np.linspace(0.3, 3, 48)}
        return da.run(
            history,
            da.Population(Slow, table, block_size=16),
            Country(towns={key: Town(bread=10.0 + 5 * key) for key in range(4)}),
            model=models.Dummy(latency=0.02, answer=drawn),
            client=client,
            out=out,
            seed=4,
            max_failed=0.5,
            checkpoint_every=4,
        )

    with own_cluster(3, **{"distributed.scheduler.allowed-failures": 10}) as client:

        def kill() -> None:
            pids = list(client.run(os.getpid).values())
            for pid in pids[:kills]:
                os.kill(pid, signal.SIGKILL)

        with when(lambda: rounds_closed(tmp_path / "cut") >= 5, kill) as killed:
            cut = on(client, tmp_path / "cut")
        assert killed.is_set()
    same(on("sync", tmp_path / "whole"), cut)
    one, other = (da.open_run(tmp_path / n).environment("country") for n in ("whole", "cut"))
    xr.testing.assert_identical(one, other)


class Vote(da.Environment):
    """A group: its members write what they would say, and it says their mean upwards."""

    said: float = da.shared(0.0, reduce="mean")

    def advance(self) -> None:
        self.parent.write("said", self.said)


class Moderator(da.Environment):
    """Makes the winner of what the groups say, and tells it to all."""

    groups: dict[int, Vote]
    said: float = da.shared(0.0, reduce="mean")
    winner: float = -1.0

    def advance(self) -> None:
        self.winner = 2 / 3 * self.said


class Member(da.Agent):
    group: int = 0
    guess: float = 50.0

    def reply(self, message: da.Message) -> float:
        before = self.env.parent.winner
        self.guess = self.rng.uniform(0, 100) if before < 0 else before + self.rng.gauss()
        self.env.write("said", self.guess)
        return self.guess


def moderated(members: Any, moderator: Any, rounds: int = 4) -> Iterator[Any]:
    for _ in range(rounds):
        guesses = members.reply(env=moderator.branch("groups", by="group"))
        yield {"guess": guesses, "winner": moderator["winner"]}


def test_moderator_group_and_agent(client3: Client, tmp_path: Path) -> None:
    """The game of the paper: agents in groups of unlike sizes, and a moderator over the groups."""
    group = np.repeat([0, 1, 2], [5, 20, 35])

    def go(client: Any, out: Path) -> xr.Dataset:
        moderator = Moderator(groups={key: Vote() for key in range(3)})
        players = da.Population(Member, {"group": group}, block_size=16)
        return da.run(moderated, players, moderator, client=client, seed=1, out=out)

    result = go("sync", tmp_path / "a")
    means = result["guess"].groupby("group").mean("agent")
    np.testing.assert_allclose(result["winner"], 2 / 3 * means.mean("group"), rtol=1e-12)
    found = da.open_run(tmp_path / "a").environment("moderator")
    for key in range(3):
        said = found[f"groups.{key}.said"].values[1:]
        np.testing.assert_allclose(said, means.sel(group=key), rtol=1e-12)
    same(result, go(client3, tmp_path / "b"))
