"""Scenes: how members are asked, and what becomes of them if a scene fails."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from distributed import Client
from test_groups import Slow, Talker, talkers, total

import daskagents as da
from daskagents import models
from daskagents.errors import BudgetError, ReplyError, RunError, UsageError

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
    assert "test_scenes.py" in why["where"].values[0]
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
