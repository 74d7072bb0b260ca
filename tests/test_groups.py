"""Groups: their results, where their rows are, and what dies meanwhile."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from test_faults import own_cluster, when
from worlds import drawn, events, rounds_closed, same

import daskagents as da
from daskagents import grouping, models
from daskagents.errors import (
    RunError,
    UsageError,
    WorkflowError,
)


class Talker(da.Agent):
    """Has fields of all kinds, and changes them in scenes."""

    room: int = 0
    team: str = "red"
    level: float = 0.0
    said: str | None = None
    heard: tuple[int, ...] = ()

    def reply(self, message: da.Message) -> Any:
        self.level += self.rng.random()
        if message.content == "move":
            self.room += 1
        if message.content == "shout":
            raise ValueError(f"{self.id} is hoarse")
        self.said = f"{self.id} heard {message.content}"
        self.heard = (*self.heard, self.id % 3)
        return self.level

    def count(self, message: da.Message) -> float:
        self.level += 100.0
        return self.level


class Slow(Talker):
    """The same, asking a model."""

    async def reply(self, message: da.Message) -> Any:
        answer = await self.chat(f"{self.id} heard {message.content}")
        self.level += float(answer.text) + self.rng.random()
        self.said = answer.text
        return self.level


async def chain(members: Any, env: Any) -> Any:
    """Hand on what each says to the next, in an order drawn by the group; then ask all."""
    last = members.content
    for member in members.rng.shuffle(members):
        last = (await member(last)).content
    total = sum([said.content for said in await members.reply(last)])
    return {"last": last, "total": total, "who": f"{members.label}: {len(members)}"}


async def total(members: Any) -> float:
    return sum([said.content for said in await members.reply()])


def talkers(n: int = 90, cls: Any = Talker, **more: Any) -> da.Population:
    rng = np.random.default_rng(n)
    table = {"room": rng.integers(0, n // 4, n) * 3, "team": rng.choice(["red", "blue", "é"], n)}
    return da.Population(cls, table, **{"block_size": 17, "name": "people", **more})


def meetings(people: Any, rounds: int = 6) -> Iterator[Any]:
    """Play, ask, play a part of them, read, and play by another field."""
    heard: Any = 0.0
    for number in range(rounds):
        played = people.groups("room").play(chain, heard)
        if number % 3 == 1:
            people.sel(team=["red", "é"]).do("count")
        own = {"level": people.to_dataset()["level"]} if number % 2 else {}
        teams = people.sel(team=["red", "blue"]).groups("team", dim="teams", labels=TEAMS)
        heard = teams.play(total).max() + played["total"].mean()
        yield {**played, "sum": heard, **own}
        if number == 4:
            heard = float(heard)


TEAMS = ["blue", "green", "red", "é"]
OPTIONS: Any = {"seed": 3, "max_failed": 0.5, "checkpoint_every": 2, "progress": False}


def go(client: Any = "sync", out: Path | None = None, cls: Any = Talker, **more: Any) -> xr.Dataset:
    model = models.Dummy(0.0, drawn)
    options = {**OPTIONS, "model": model, **more}
    return da.run(meetings, talkers(cls=cls), client=client, out=out, **options)


# Results


@pytest.fixture(scope="module")
def undisturbed() -> xr.Dataset:
    return go()


def test_results_are_over_groups(undisturbed: xr.Dataset) -> None:
    table = talkers().table
    rooms = np.unique(table.columns["room"].values)
    assert dict(undisturbed.sizes) == {"round": 6, "group": len(rooms), "people": 90}
    assert undisturbed["group"].values.tolist() == rooms.tolist()
    who = undisturbed["who"].sel(group=rooms[1], round=5).item()
    assert who == f"{rooms[1]}: {(table.columns['room'].values == rooms[1]).sum()}"
    assert not undisturbed["group_failed"].any()


@pytest.mark.parametrize(
    ("workers", "direct"), [("client1", 10), ("client3", grouping.DIRECT), ("client3", 10)]
)
def test_the_same_bits_on_any_workers(
    workers: str, direct: int, undisturbed: xr.Dataset, request: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr(grouping, "DIRECT", direct)
    monkeypatch.setattr(grouping, "_LIGHT", direct)
    same(go(request.getfixturevalue(workers)), undisturbed)


def test_blocks_do_not_matter(undisturbed: xr.Dataset) -> None:
    def one(people: Any) -> Iterator[Any]:
        yield people.groups("room").play(chain, 1.0)

    blocks = [da.run(one, talkers(block_size=b), client="sync", seed=1) for b in (3, 17, 1000)]
    for other in blocks[1:]:
        same(blocks[0], other)


def moves(people: da.Population) -> int:
    return people._join()[1].moves


def test_rows_come_together_once() -> None:
    people = talkers()
    rooms = people.groups("room")
    first = rooms.play(total).sum().values
    assert moves(people) == 1
    second = rooms.play(total).sum().values
    people.groups("room").play(total)
    assert moves(people) == 1 and second > first
    before = people.to_dataset()["level"].values  # they come home, and are there still
    rooms.play(total)
    assert moves(people) == 2
    assert (people.to_dataset()["level"].values > before).all()
    people.do("count")
    after = rooms.play(total).sum().values
    assert moves(people) == 4 and after > 90 * 100


def test_members_change_and_others_do_not() -> None:
    people = talkers()
    some = people.sel(team="blue")
    played = some.groups("room").play(total)
    level, said = people.to_dataset()["level"].values, people.to_dataset()["said"].values
    blue = np.asarray(people._frame["team"].values) == "blue"
    assert ((level > 0) == blue).all()
    assert ((said != "") == blue).all() and said[blue][0].endswith("heard None")
    assert float(played.sum()) == pytest.approx(level.sum())
    assert (people.do("count").values[~blue] == 100.0).all()


class Kind(Enum):
    a = "x"
    b = "y"


@pytest.mark.parametrize("labels", [[2.5, 1.0], [True, False], ["b", "a"], [4, 3]], ids=str)
def test_labels_of_all_kinds(labels: list[Any]) -> None:
    def reply(self: Any, message: da.Message) -> float:
        return 1.0

    hints = {"key": type(labels[0]), "enum": Kind}
    body = {"__annotations__": hints, "__module__": __name__, "enum": Kind.a, "reply": reply}
    one: Any = type("One", (da.Agent,), body)

    async def label(members: Any) -> Any:
        return {"text": repr(members.label), "n": len(await members.reply())}

    people = da.Population(one, {"key": labels * 2, "enum": ["b", "a", "a", "a"]})
    said = people.groups("key").play(label)
    assert said["group"].values.tolist() == sorted(labels)
    assert said["text"].values.tolist() == [repr(one) for one in sorted(labels)]
    enums = people.groups("enum").play(label)
    assert float(enums["n"].sel(group="a")) == 3
    assert enums["text"].values.tolist() == [repr(Kind.a), repr(Kind.b)]


def test_a_message_for_each_group() -> None:
    people = talkers()
    rooms = people.groups("room")
    assert len(rooms) == len(np.unique(people._frame["room"].values))

    async def heard(members: Any) -> Any:
        return members.content

    first = rooms.play(total)
    again = rooms.play(heard, first * 2)
    assert (again.values == first.values * 2).all()
    assert (rooms.play(heard, first.values[::-1]).values == first.values[::-1]).all()
    assert (rooms.play(heard, first.isel(group=slice(None, None, -1)).compute()) == first).all()
    with pytest.raises(UsageError, match="no message for 1 of the"):
        rooms.play(heard, first.isel(group=slice(1, None)))


def test_dimensions_and_labels_of_a_run() -> None:
    def both(people: Any) -> Iterator[Any]:
        people.groups("room").play(total)
        yield people.groups("team").play(total)

    with pytest.raises(UsageError, match=r"the dimension of 'people\.room' already.*dim='teams'"):
        da.run(both, talkers(), client="sync")

    def column(people: Any) -> Iterator[Any]:
        yield people.groups("team", dim="room").play(total)

    with pytest.raises(UsageError, match=r"dim='room' is a column of 'people' already"):
        da.run(column, talkers(), client="sync")

    def moving(people: Any, labels: Any = None) -> Iterator[Any]:
        for _ in range(3):
            played = people.groups("room", labels=labels).play(total)
            yield {"total": played}
            people.reply("move")

    four = da.Population(Talker, {"room": [0, 0, 1]})
    with pytest.raises(UsageError, match=r"has a group 2 now .* groups\('room', labels=\["):
        da.run(moving, four, client="sync")
    done = da.run(moving, four, client="sync", labels=range(4))
    there = ~np.isnan(done["total"].values)
    assert there.tolist() == [[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1]]

    def strange(people: Any) -> Iterator[Any]:
        played = people.groups("room").play(total)
        yield {"x": played.assign_coords(group=played["group"] + 50).compute()}

    with pytest.raises(WorkflowError, match=r"'x' is about 'group' .* no such group in"):
        da.run(strange, talkers(), client="sync")


def test_a_pilot_needs_whole_groups() -> None:
    with pytest.raises(UsageError, match=r"whole groups; .* as in sel\(room="):
        da.estimate(waiting, talkers(), client="sync")


# The paper's group game


class Voter(da.Agent):
    group: int = 0
    last: float = 50.0

    def reply(self, message: da.Message) -> float:
        self.last = self.rng.uniform(0, 100) if message.content is None else message.content
        return self.last


async def vote(members: Any) -> float:
    return float(np.mean([said.content for said in await members.reply()]))


def group_game(players: Any, rounds: int = 4) -> Iterator[Any]:
    winner = None
    for _ in range(rounds):
        guess = players.groups("group", dim="party").play(vote, winner)
        winner = 2 / 3 * guess.mean()
        yield {"guess": guess, "winner": winner}


def test_groups_vote_one_number() -> None:
    players = da.Population(Voter, {"group": np.arange(100) % 10})
    done = da.run(group_game, players, client="sync", seed=7)
    assert dict(done.sizes) == {"round": 4, "party": 10}
    ratio = done["winner"].values[1:] / done["winner"].values[:-1]
    assert ratio == pytest.approx([2 / 3] * 3)


# Faults


@pytest.mark.parametrize("at", [1, 3, 4])
def test_a_run_goes_on_after_an_error(at: int, tmp_path: Path, undisturbed: xr.Dataset) -> None:
    def failing(people: Any) -> Iterator[Any]:
        for number, yielded in enumerate(meetings(people)):
            if number == at and STRIKES:
                raise ZeroDivisionError
            yield yielded

    def play(**more: Any) -> xr.Dataset:
        options = {**OPTIONS, "accept_changes": True, "out": tmp_path / "run", "client": "sync"}
        return da.run(failing, talkers(), model=models.Dummy(0.0, drawn), **options, **more)

    STRIKES.append(at)
    try:
        with pytest.raises(ZeroDivisionError):
            play()
    finally:
        STRIKES.clear()
    same(play(resume=True), undisturbed)


STRIKES: list[int] = []


def test_answers_are_paid_for_once(tmp_path: Path) -> None:
    asked: list[int] = []

    def answer(request: Any, rng: Any) -> str:
        asked.append(1)
        return drawn(request, rng)

    def play(out: Path | None, **more: Any) -> xr.Dataset:
        people = talkers(24, Slow)
        options = {**OPTIONS, "checkpoint_every": 50, "out": out, "client": "sync", **more}
        return da.run(stopping, people, model=models.Dummy(0.0, answer), **options)

    def stopping(people: Any) -> Iterator[Any]:
        for number, yielded in enumerate(meetings(people)):
            if number == 4 and STRIKES:
                raise ZeroDivisionError
            yield yielded

    whole = play(None)
    paid = len(asked)
    assert int(whole["calls"].sum()) == paid > 0
    asked.clear()
    STRIKES.append(1)
    try:
        with pytest.raises(ZeroDivisionError):
            play(tmp_path / "run")
    finally:
        STRIKES.clear()
    same(play(tmp_path / "run", resume=True), whole)
    assert len(asked) == paid
    steps = [event for event in events(tmp_path / "run") if event["event"] == "step"]
    assert {"people.room", "people.team.teams"} <= {step["population"] for step in steps}


def waiting(people: Any, rounds: int = 12) -> Iterator[Any]:
    for _ in range(rounds):
        yield people.groups("room").play(chain, 1.0)


def test_a_killed_worker_changes_nothing(tmp_path: Path) -> None:
    def on(client: Any, out: Path | None) -> xr.Dataset:
        model = models.Dummy(latency=0.005, answer=drawn)
        people = talkers(60, Slow)
        return da.run(waiting, people, model=model, client=client, out=out, checkpoint_every=3)

    with own_cluster(2) as client:
        victim = next(iter(client.run(os.getpid).values()))
        closed = lambda: rounds_closed(tmp_path / "cut") >= 4  # noqa: E731
        with when(closed, lambda: os.kill(victim, signal.SIGKILL)) as killed:
            cut = on(client, tmp_path / "cut")
        assert killed.is_set()
    same(on("sync", None), cut)


async def deadly(members: Any) -> float:
    os.kill(os.getpid(), signal.SIGKILL)
    return 0.0


def test_a_scene_that_kills_its_workers_ends_the_run() -> None:
    def day(people: Any) -> Iterator[Any]:
        yield {"x": people.groups("room").play(deadly)}

    with (
        own_cluster(2, **{"distributed.scheduler.allowed-failures": 0}) as client,
        pytest.raises(RunError, match="a block of agents was lost with"),
    ):
        da.run(day, da.Population(Talker, 4), client=client)


def test_a_scene_that_asks_at_once_asks_at_once() -> None:
    people = talkers(40, Slow, model=models.Dummy(latency=0.2, answer=drawn))
    began = time.monotonic()
    people.groups("room").play(total).compute()
    assert time.monotonic() - began < 40 * 0.2
