"""Groups: rows brought together and back, scenes that are played whole or not at all."""

from __future__ import annotations

import functools
import os
import signal
import time
from collections.abc import Iterator
from enum import Enum
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from distributed import Client
from hypothesis import given
from hypothesis import strategies as st
from test_faults import own_cluster, when
from worlds import drawn, events, rounds_closed, same

import daskagents as da
from daskagents import grouping, models
from daskagents.block import Block, first_block
from daskagents.errors import (
    BudgetError,
    ReplyError,
    RunError,
    UsageError,
    WorkflowError,
)
from daskagents.grouping import pack
from daskagents.shuffle import assemble, bring_back, split


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


# Rows on their way


def table_of(n: int, draw: Any) -> dict[str, Any]:
    values = {
        "room": draw(st.lists(st.integers(0, 6), min_size=n, max_size=n)),
        "level": draw(st.lists(st.floats(allow_nan=False), min_size=n, max_size=n)),
        "said": draw(st.lists(st.none() | st.text("aé", max_size=3), min_size=n, max_size=n)),
        "heard": draw(
            st.lists(st.lists(st.integers(0, 3), max_size=2).map(tuple), min_size=n, max_size=n)
        ),
    }
    return {name: Talker.__fields__[name].from_array(v) for name, v in values.items()}


@given(data=st.data(), n=st.integers(1, 40), size=st.integers(1, 12), rows=st.integers(1, 12))
def test_there_and_back_nothing_changes(data: Any, n: int, size: int, rows: int) -> None:
    table = table_of(n, data.draw)
    bounds = [*range(0, n, size), n]
    homes = [
        first_block(Talker, a, b - a, {k: c.take(np.arange(a, b)) for k, c in table.items()})
        for a, b in pairwise(bounds)
    ]
    chosen = np.flatnonzero(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)) or [True])
    if not len(chosen):
        return
    labels = table["room"].values[chosen]
    ids = chosen[np.argsort(labels, kind="stable")]
    sizes = np.unique(labels, return_counts=True)[1]
    cuts = np.append(0, np.cumsum(sizes))[pack(sizes, rows)]
    lanes = np.full(n, 255, np.uint8)
    wanted = [ids[a:b] for a, b in pairwise(cuts.tolist())]
    for at, some in enumerate(wanted):
        lanes[some] = at % 2
    pieces = [split(block, lanes[block.first : block.first + block.n], 2) for block in homes]
    direct = [assemble(some, homes) for some in wanted]
    by_lane = [assemble(some, [p[at % 2] for p in pieces]) for at, some in enumerate(wanted)]
    for one, other, some in zip(direct, by_lane, wanted, strict=True):
        alike(one, other)
        assert one.ids is not None and one.ids.tolist() == some.tolist()
        assert len({0, *np.diff(one.columns["room"].values)}) >= 1
    for home in homes:
        inside = chosen[(chosen >= home.first) & (chosen < home.first + home.n)]
        if len(inside):
            old = None if len(inside) == home.n else home
            alike(bring_back(old, home.first, inside, by_lane), home)


def alike(one: Block, other: Block) -> None:
    assert (one.first, one.n) == (other.first, other.n)
    for name, field in Talker.__fields__.items():
        a, b = field.tolist(one.columns[name]), field.tolist(other.columns[name])
        assert list(map(repr, a)) == list(map(repr, b)), name


@given(st.lists(st.integers(1, 9), min_size=1, max_size=40), st.integers(1, 12))
def test_groups_are_packed_whole(sizes: list[int], rows: int) -> None:
    bounds = pack(np.array(sizes), rows)
    assert bounds[0] == 0 and bounds[-1] == len(sizes) and (np.diff(bounds) > 0).all()
    held = [sum(sizes[a:b]) for a, b in pairwise(bounds.tolist())]
    assert all(n < rows + max(sizes) for n in held)


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


# Members


def test_members_are_read_and_asked_but_not_assigned() -> None:
    seen: list[Any] = []

    async def look(members: Any) -> str:
        one = members[1]
        answer = await one("hello")
        seen.append((one.id, one.index, one.team, one.said, answer.content, answer.name))
        seen.append((len(members), [m.id for m in members[:2]], repr(members), repr(one)[:20]))
        with pytest.raises(UsageError, match=r"a scene does not assign Talker\.team"):
            one.team = "green"
        with pytest.raises(AttributeError):
            one.colour = "green"
        return "fine"

    people = da.Population(Talker, {"room": [1, 1, 1], "team": ["a", "b", "c"]}, name="looked_at")
    assert people.groups("room").play(look).values.tolist() == ["fine"]
    (identity, about) = seen
    assert identity[:4] == (1, 1, "b", "1 heard hello") and identity[5] == "looked_at 1"
    assert about == (3, [0, 1], "<group 1 of 3 members>", "<member 1 of group 1")


class Drawer(da.Agent):
    room: int = 0
    sums: float = 0.0

    def reply(self, message: da.Message) -> float:
        self.sums += self.rng.random()
        return self.sums

    def two(self, message: da.Message) -> float:
        return self.rng.random() + self.rng.random()


def test_draws_go_on_within_a_scene_and_are_those_of_the_step() -> None:
    async def twice(members: Any) -> Any:
        await members.reply()
        said = await members.reply()
        return {"first": said[0].content, "own": members.rng.random()}

    def scene(people: Any) -> Iterator[Any]:
        yield people.groups("room").play(twice)

    def alone(people: Any) -> Iterator[Any]:
        yield {"two": people.do("two")}

    people = da.Population(Drawer, {"room": np.arange(9)[::-1]})
    played = da.run(scene, people, client="sync", seed=5)
    two = da.run(alone, people, client="sync", seed=5)["two"]
    assert (played["first"].values[0] == two.values[0][::-1]).all()
    assert len(set(played["own"].values[0])) == 9


# Failures


async def loud(members: Any, env: Any) -> float:
    said = await members.reply("hush")
    if members.label % 2:
        await members[1]("shout")
    if members.label == 4:
        raise RuntimeError("the roof fell in")
    return len(said)


def test_a_scene_that_fails_leaves_its_members_as_they_were(tmp_path: Path) -> None:
    def day(people: Any) -> Iterator[Any]:
        people.groups("room").play(total)
        before = people.to_dataset()
        played = people.groups("room").play(loud)
        after = people.to_dataset()
        yield {"n": played, "change": after["level"] - before["level"], "said": after["said"]}

    people = da.Population(Talker, {"room": np.arange(18) % 6}, block_size=5, name="people")
    done = da.run(day, people, client="sync", max_failed=0.7, out=tmp_path / "run", seed=1)
    failed = np.array([False, True, False, True, True, True])
    assert done["group_failed"].values[0].tolist() == failed.tolist()
    assert np.isnan(done["n"].values[0]).tolist() == failed.tolist()
    assert int(done["n_failed"][0]) == 4
    assert ((done["change"].values[0] > 0) == ~failed[np.arange(18) % 6]).all()
    assert [s.endswith("hush") for s in done["said"].values[0]] == list(~failed[np.arange(18) % 6])
    why = da.open_run(tmp_path / "run").failures()
    assert why["agent"].values.tolist() == [4, 7, 9, 11]
    assert why["message"].values.tolist() == [
        "group 4: the roof fell in",
        "group 1, agent 7: 7 is hoarse",
        "group 3, agent 9: 9 is hoarse",
        "group 5, agent 11: 11 is hoarse",
    ]
    assert "test_groups.py" in why["where"].values[0]
    with pytest.raises(RunError, match=r"4 of 6 groups failed.*0\.5; the first was group 1, agent"):
        da.run(day, people, client="sync", max_failed=0.5)
    with pytest.raises(
        da.DaskAgentsError, match=r"1 of 1 groups failed; the first was group \d, agent"
    ):
        people.groups("room").play(loud).compute()


def test_an_agent_that_leaves_its_group(client1: Client) -> None:
    async def leave(members: Any) -> float:
        await members.reply("move")
        return 1.0

    def day(people: Any) -> Iterator[Any]:
        yield people.groups("room").play(leave)

    words = r"FieldError: agent 0 of group 2 changed Talker\.room to 3 within the scene"
    for client in ("sync", client1):
        with pytest.raises(RunError, match=rf"the first was group 2, agent 0: {words}"):
            da.run(day, da.Population(Talker, {"room": [2, 5, 5]}), client=client)


class Awkward(da.Agent):
    room: int = 0
    level: float = 0.0
    word: str = ""

    def reply(self, message: da.Message) -> float:
        value = message.content
        if value == "unknown" and self.id == 2:
            self.colour = "red"
        elif value == "text" and self.id == 2:
            self.word = 3
        else:
            self.level = value if self.id == 2 else 1.0
        return 1.0


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("unknown", "has no field 'colour'"),
        ("text", r"Awkward\.word: 3 is no str"),
        ("high", r"group 1, agent 2: FieldError: Awkward\.level: 'high' is no float"),
    ],
)
def test_values_that_do_not_fit_fail_the_scene(value: str, words: str) -> None:
    people = da.Population(Awkward, {"room": [0, 0, 1, 1]})
    with pytest.raises(da.DaskAgentsError, match=f"1 of 2 groups failed.*{words}"):
        people.groups("room").play(total, value).compute()
    assert people.to_dataset()["level"].values.tolist() == [1.0, 1.0, 0.0, 0.0]


def test_a_scene_may_catch_what_a_member_raises() -> None:
    async def patient(members: Any) -> float:
        try:
            await members[0]("shout")
        except ValueError:
            return 1.0
        return 0.0

    people = da.Population(Talker, {"room": [0, 0]})
    assert people.groups("room").play(patient).values.tolist() == [1.0]
    assert people.to_dataset()["level"].values.tolist() == [0.0, 0.0]  # what it had is taken back


def test_replies_of_another_form(tmp_path: Path) -> None:
    async def odd(members: Any) -> Any:
        return "text" if members.label == 1 else 1.0

    people = da.Population(Talker, {"room": [0, 1, 2]})
    with pytest.raises(da.DaskAgentsError, match=r"1 of 3 groups.*group 1: ReplyError"):
        people.groups("room").play(odd).compute()

    async def named(members: Any) -> Any:
        return {"group": 1.0}

    with pytest.raises(ReplyError, match="'group', which is the dimension"):
        people.groups("room").play(named)


async def generator(members: Any, env: Any) -> Any:
    yield 1.0


def test_what_is_no_scene() -> None:
    people = talkers()
    rooms = people.groups("room")
    for scene in (lambda members, env: 1.0, generator, "auction", Talker):
        with pytest.raises(UsageError, match="a scene is a coroutine function, `async def scene"):
            rooms.play(scene)

    async def three(members: Any, env: Any, more: Any) -> None: ...

    with pytest.raises(UsageError, match=r"three takes \(members, env, more\)"):
        rooms.play(three)
    assert people._members is None  # nothing has begun
    assert rooms.play(functools.partial(three, more=1)).sizes == {"group": len(rooms)}


class Whole(da.Agent):
    room: int = 0
    friends: tuple[int, ...] = ()

    def reply_block(self, message: da.Message) -> Any:
        return 1.0


def test_what_cannot_be_grouped() -> None:
    people = talkers()
    with pytest.raises(UsageError, match="cannot be grouped by 'rom': Talker has no field 'rom'"):
        people.groups("rom")
    with pytest.raises(UsageError, match=r"by a number, bool, text or Enum, and Talker\.heard"):
        people.groups("heard")
    with pytest.raises(UsageError, match="dim is 'agent'"):
        people.groups("room", dim="agent")
    with pytest.raises(UsageError, match=r"90 agents have no said and so no group .* is agent 0"):
        people.groups("said").play(total)
    with pytest.raises(UsageError, match="replies for whole blocks"):
        da.Population(Whole, 3).groups("room").play(total)


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


def test_a_model_that_fails_and_a_budget_that_ends(tmp_path: Path) -> None:
    def day(people: Any) -> Iterator[Any]:
        yield {"total": people.groups("room").play(total)}

    def answer(request: Any, rng: Any) -> str:
        return "no number" if rng.random() < 0.1 else "1.0"

    options: Any = {"client": "sync", "model": models.Dummy(0.0, answer), "max_failed": 0.9}
    done = da.run(day, talkers(60, Slow), out=tmp_path / "run", **options)
    failed = done["group_failed"].values[0]
    assert 0 < failed.sum() < failed.size and (np.isnan(done["total"].values[0]) == failed).all()
    why = da.open_run(tmp_path / "run").failures()
    assert (
        set(why["error"].values.tolist()) == {"ValueError"} and len(why["answer"]) == failed.sum()
    )
    with pytest.raises(BudgetError):
        da.run(day, talkers(60, Slow), budget=da.Budget(calls=20), **options)


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
        model = models.Dummy(latency=0.02, answer=drawn)
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
