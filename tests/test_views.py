"""Parts of populations, their state, and what a population is outside a run."""

import asyncio
import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import dask.array
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from distributed import Client, LocalCluster
from hypothesis import given, settings
from hypothesis import strategies as st
from test_population import Citizen, Level, Place, Speaker, asked, citizens

import daskagents as da
from daskagents.errors import FieldError, ReplyError, RunError, UsageError
from daskagents.models import Dummy
from daskagents.scan import assigns


@pytest.fixture(scope="module")
def cluster_client(dask_folder: Path) -> Iterator[Client]:
    """Two workers in this process."""
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0"
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


@pytest.fixture(params=["here", "cluster"])
def where(request: pytest.FixtureRequest) -> Iterator[str]:
    """Outside a run: in this process without a client, and on the current client."""
    if request.param == "here":
        yield "here"
    else:
        with request.getfixturevalue("cluster_client").as_current():
            yield "cluster"


TABLE = {
    "school": ["a", "b", "a", "", "b", "a", "c"],
    "level": ["LOW", "HIGH", "LOW", "LOW", "HIGH", "HIGH", "LOW"],
    "rich": [True, False, False, True, True, False, False],
    "age": [10, 20, 30, 20, 10, 50, 30],
    "boss": [None, 0, 0, 1, None, 1, 2],
    "place": [None, Place(1.0), Place(2.0), None, Place(1.0), None, None],
    "friends": [(), (1,), (1, 2), (), (1,), (), ()],
    "key": [b"", b"a", b"b", b"", b"a", b"", b""],
    "mood": [0.0, 1.5, 2.5, 1.5, 0.0, float("nan"), 3.0],
}


@pytest.mark.parametrize(
    ("field", "value", "ids"),
    [
        ("school", "a", [0, 2, 5]),
        ("school", ["b", "c"], [1, 4, 6]),
        ("school", "", [3]),
        ("level", Level.HIGH, [1, 4, 5]),
        ("level", "HIGH", [1, 4, 5]),
        ("level", [Level.HIGH, "LOW"], list(range(7))),
        ("rich", True, [0, 3, 4]),
        ("age", 20, [1, 3]),
        ("age", np.int64(20), [1, 3]),
        ("age", {10, 50}, [0, 4, 5]),
        ("age", np.array([10, 50]), [0, 4, 5]),
        ("boss", 0, [1, 2]),
        ("boss", None, [0, 4]),
        ("boss", [None, 2], [0, 4, 6]),
        ("place", Place(1.0), [1, 4]),
        ("place", None, [0, 3, 5, 6]),
        ("friends", (1,), [1, 4]),
        ("friends", [(1, 2), ()], [0, 2, 3, 5, 6]),
        ("key", b"a", [1, 4]),
        ("mood", 1.5, [1, 3]),
        ("mood", 0, [0, 4]),
    ],
)
def test_agents_are_selected_by_a_field(where: str, field: str, value: Any, ids: list[int]) -> None:
    people = citizens(block_size=3, **TABLE)
    part = people.sel(**{field: value})
    assert len(part) == len(ids)
    replies = part.do("hear")
    assert replies["agent"].values.tolist() == ids
    assert asked(people) == ids


def test_several_fields_must_all_match(where: str) -> None:
    people = citizens(block_size=3, **TABLE)
    assert people.sel(school="a", age=[10, 30]).do("draw")["agent"].values.tolist() == [0, 2]


def test_a_field_that_agents_assign_is_read_when_selected(where: str) -> None:
    people = citizens(block_size=3, **TABLE)
    people.isel([1, 2]).do("learn")
    ids = people.sel(level=Level.HIGH).do("draw")["agent"].values.tolist()
    assert ids == [1, 2, 4, 5]
    assert people.sel(note="é2").do("draw")["agent"].values.tolist() == [2]
    assert people.sel(place=Place(2.0)).do("draw")["agent"].values.tolist() == [2]
    assert people.sel(school="a").sel(level="HIGH").do("draw")["agent"].values.tolist() == [2, 5]


def test_selections_that_do_not_fit_are_refused(where: str) -> None:
    people = citizens(block_size=3, **TABLE)
    with pytest.raises(UsageError, match="Citizen has no field 'scool'; it has school, level,"):
        people.sel(scool="a")
    with pytest.raises(UsageError, match="no field '_turns'"):
        people.sel(_turns=())
    with pytest.raises(UsageError, match="row 0 holds 'ten', which is no int"):
        people.sel(age="ten")
    with pytest.raises(UsageError, match="sel takes either a mask or fields"):
        people.sel()
    with pytest.raises(UsageError, match="sel takes either a mask or fields"):
        people.sel([True] * 7, age=10)
    with pytest.raises(UsageError, match=r"no agent of <Population of 7 Citizen .* is selected"):
        people.sel(school="z")


def test_masks(where: str) -> None:
    people = citizens(7, 3)
    mask, ids = [False, True, False, False, True, True, False], [1, 4, 5]
    moods = people.reply(np.arange(7.0))
    for given_ in (
        mask,
        tuple(mask),
        np.array(mask),
        pd.Series(mask),
        xr.DataArray(mask, dims="agent"),
        xr.DataArray(mask[::-1], {"agent": np.arange(7)[::-1]}),
        xr.DataArray([True, True, True], {"agent": ids}),
        dask.array.from_array(np.array(mask), chunks=2),
        (moods == 1) | (moods == 4) | (moods == 5),
    ):
        assert people.sel(given_).do("draw")["agent"].values.tolist() == ids


@pytest.mark.parametrize(
    "mask", [[True] * 6, [1] * 7, [1.0] * 7, [[True] * 7], True, np.array(True), ["a"] * 7]
)
def test_masks_that_do_not_fit_are_refused(mask: Any) -> None:
    with pytest.raises(UsageError, match="a mask has one bool for each of the 7 agents, not"):
        citizens(7).sel(mask)


@pytest.mark.parametrize(
    ("rows", "ids"),
    [
        (0, [0]),
        (-1, [6]),
        (np.int64(2), [2]),
        (slice(2, 5), [2, 3, 4]),
        (slice(None, None, 3), [0, 3, 6]),
        (slice(None, None, -1), list(range(7))),
        (slice(-2, None), [5, 6]),
        ([5, 0, 5], [0, 5]),
        ([-1, 0], [0, 6]),
        ((1, 2), [1, 2]),
        (range(2, 4), [2, 3]),
        (np.array([6, 3]), [3, 6]),
    ],
)
def test_agents_are_selected_by_position(where: str, rows: Any, ids: list[int]) -> None:
    people = citizens(7, 3)
    assert people.isel(rows).do("hear")["agent"].values.tolist() == ids
    assert asked(people) == ids


def test_positions_that_are_not_there_are_refused() -> None:
    people = citizens(7)
    with pytest.raises(IndexError, match="index 7 is out of bounds"):
        people.isel(7)
    for empty in ([], slice(3, 3), slice(9, None)):
        assert not len(people.isel(empty))


def test_views_of_views(where: str) -> None:
    people = citizens(block_size=3, **TABLE)
    part = people.sel(school=["a", "b"]).isel(slice(1, None))  # 1, 2, 4, 5
    assert repr(part).startswith("<Population of 4 of 7 Citizen in 3 blocks; fields: school,")
    assert part.sel(age=30).do("draw")["agent"].values.tolist() == [2]
    assert part.sel([True, False, False, True]).do("draw")["agent"].values.tolist() == [1, 5]
    assert part.isel(-1).do("draw")["agent"].values.tolist() == [5]
    draws = people.do("draw")
    assert part.sel(draws > -1).do("draw")["agent"].values.tolist() == [1, 2, 4, 5]
    with pytest.raises(UsageError, match="one bool for each of the 4 agents"):
        part.sel([True] * 7)


def test_views_share_their_agents(where: str) -> None:
    people = citizens(7, 3)
    first, second = people.isel(slice(0, 4)), people.isel(slice(3, None))
    first.reply(1.0)
    second.reply(2.0)
    people.isel(0).reply(5.0)
    assert people.to_dataset()["mood"].values.tolist() == [5.0, 1.0, 1.0, 2.0, 2.0, 2.0, 2.0]
    assert people.to_dataset()["steps"].values.tolist() == [2, 1, 1, 2, 1, 1, 1]
    part = second.to_dataset()
    assert part["agent"].values.tolist() == [3, 4, 5, 6]
    assert part["mood"].values.tolist() == [2.0] * 4


def test_the_whole_and_a_part_align(where: str) -> None:
    people = citizens(block_size=3, **TABLE)
    whole = people.reply(np.arange(7.0))
    part = people.sel(school="a").reply(10.0)
    difference = whole - part
    assert difference["agent"].values.tolist() == [0, 2, 5]
    assert difference.values.tolist() == [-10.0, -8.0, -5.0]
    assert difference["school"].values.tolist() == ["a"] * 3


@settings(max_examples=25)
@given(st.sets(st.integers(0, 20), min_size=1), st.integers(1, 22))
def test_any_view_of_any_blocks(ids: set[int], block_size: int) -> None:
    people = citizens(21, block_size)
    chosen = sorted(ids)
    replies = people.isel(chosen).reply(np.array(chosen, float))
    assert replies.values.tolist() == chosen
    moods = people.to_dataset()["mood"].values
    assert moods.tolist() == [at if at in ids else 0.0 for at in range(21)]
    assert asked(people) == chosen


# Which fields agents assign


class Assigner(da.Agent):
    plain: int = 0
    counted: int = 0
    nested: int = 0
    indirect: int = 0
    named: int = 0
    read: int = 0

    def reply(self, message):
        self.plain = self.read
        self.counted += 1
        if message.content == self.read:
            return [self.read for _ in range(self.read)]
        return self.bump(message)

    def bump(self, message):
        def inner():
            self.nested = 1

        inner()
        return super().__repr__() + str(self.read)


class Leaky(Assigner):
    def reply(self, message):
        helper(self)


class Hidden(Assigner):
    def reply(self, message):
        self.__dict__["named"] = 1


class Lister(Assigner):
    def reply(self, message):
        return [self, 1]


class Aliased(Assigner):
    def reply(self, message):
        me = self
        me.indirect = 1


class Mixin:
    def act(self, message):
        self.indirect = 3


class Mixed(da.Agent, Mixin):
    indirect: int = 0
    read: int = 0


def helper(agent: Any) -> None:
    agent.indirect = 1


def test_assignments_are_found() -> None:
    fields = ["plain", "counted", "nested", "indirect", "named", "read"]
    assert [name for name in fields if assigns(Assigner, name)] == ["plain", "counted", "nested"]
    for cls in (Leaky, Hidden, Lister, Aliased):
        assert assigns(cls, "indirect"), cls
    assert assigns(Mixed, "indirect")
    assert not assigns(Mixed, "read")
    fields = [name for name in Citizen.__fields__ if name != "_turns"]
    assert [name for name in fields if not assigns(Citizen, name)] == ["school", "age"]


def test_a_field_that_a_helper_assigns_is_read(where: str) -> None:
    people = da.Population(Leaky, {"indirect": [0, 0, 5]}, block_size=2)
    people.isel([0]).do("reply")
    assert people.sel(indirect=1).do("bump")["agent"].values.tolist() == [0]


# State


def test_the_state_of_every_kind_of_field(where: str) -> None:
    people = citizens(block_size=3, **TABLE)
    state = people.to_dataset()
    assert all(state[name].chunks == ((3, 3, 1),) for name in state.data_vars)
    assert (state["mood"].dtype, state["age"].dtype, state["rich"].dtype) == (float, int, bool)
    assert state["school"].dtype == np.dtypes.StringDType()
    assert state["school"].values.tolist() == TABLE["school"]
    assert state["level"].values.tolist() == TABLE["level"]
    assert state["rich"].values.tolist() == TABLE["rich"]
    assert state["place"].values.tolist() == TABLE["place"]
    assert state["friends"].values.tolist() == TABLE["friends"]
    assert state["key"].values.tolist() == TABLE["key"]
    np.testing.assert_array_equal(state["boss"].values, [np.nan, 0, 0, 1, np.nan, 1, 2])
    assert state["note"].values.tolist() == [""] * 7
    assert list(state.data_vars)[-1] == "memory"


def test_the_state_follows_the_steps_and_not_what_was_given(where: str) -> None:
    people = citizens(block_size=3, **TABLE)
    before = people.to_dataset()
    people.isel(slice(1, 4)).do("learn", "now")
    after = people.to_dataset()
    assert before["level"].values.tolist() == TABLE["level"]
    assert after["level"].values.tolist()[1:4] == ["HIGH"] * 3
    assert after["note"].values.tolist() == ["", "é1", "é2", "é3", "", "", ""]
    assert after["boss"].values[1:4].tolist() == [1, 2, 3]
    assert after["place"].values.tolist()[1:4] == [Place(1.0), Place(2.0), Place(3.0)]
    assert after["friends"].values.tolist()[:3] == [(), (1, 1), (2, 1)]
    assert after["key"].values.tolist()[1:3] == [b"\1", b"\2"]
    assert after["rich"].values.tolist()[1:4] == [True] * 3
    assert [len(turns) for turns in after["memory"].values] == [0, 1, 1, 1, 0, 0, 0]
    assert set(after.coords) == {"agent"}


# Coordinates


def test_given_columns_are_coordinates_of_replies(where: str) -> None:
    replies = citizens(block_size=3, **TABLE).reply(np.arange(7.0))
    assert set(replies.coords) == {"agent", "school", "level", "rich", "age", "boss", "mood"}
    assert not any(replies[name].chunks for name in replies.coords)
    assert replies["school"].values.tolist() == TABLE["school"]
    means = replies.groupby("school").mean(...)
    assert dict(zip(means["school"].values.tolist(), means.values.tolist(), strict=True)) == {
        "": 3.0,
        "a": (0 + 2 + 5) / 3,
        "b": 2.5,
        "c": 6.0,
    }
    assert replies.groupby("level").max(...).values.tolist() == [5.0, 6.0]
    assert replies.groupby("age").count(...).values.tolist() == [2, 2, 2, 1]
    assert replies.where(replies["rich"], drop=True)["agent"].values.tolist() == [0, 3, 4]


def test_long_texts_are_chunked_coordinates(where: str) -> None:
    personas = [f"{at}: " + "é" * 500 for at in range(7)]
    moved = ["".join(personas[:2]), "", *personas[2:]]  # the same bytes, cut at other places
    cases = [(personas, 3), (personas, 4), (moved, 4)]
    people = [da.Population(Citizen, {"note": texts}, block_size=rows) for texts, rows in cases]
    notes = [part.do("draw")["note"] for part in people]
    assert [note.chunks for note in notes] == [((3, 3, 1),), ((4, 3),), ((4, 3),)]
    assert len({note.data.name for note in notes}) == 3
    for note, (texts, _) in zip(dask.compute(*notes), cases, strict=True):
        assert note.values.tolist() == texts
    part = people[0].isel([1, 5]).do("draw")["note"]
    assert part.values.tolist() == [personas[1], personas[5]]


def test_a_reply_of_the_name_of_a_given_column_wins_and_it_is_said_once(where: str) -> None:
    people = da.Population(Speaker, {"lean": [1.0, 2.0, 3.0]}, block_size=2)
    with pytest.warns(UserWarning, match="Speaker replies lean, and a column of that name") as said:
        replies = people.do("leans")
    assert len(said) == 1
    assert replies["lean"].values.tolist() == [-1.0] * 3
    assert list(replies.coords) == ["agent"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert people.do("leans")["lean"].values.tolist() == [-1.0] * 3


def test_a_reply_of_the_name_of_the_dimension_is_refused(where: str) -> None:
    with pytest.raises(RunError, match="the name 'agent' is taken by the run itself"):
        da.Population(Speaker, 2).do("agents")
    with pytest.raises(ReplyError, match="replies 'lean', which is the dimension of"):
        da.Population(Speaker, 2, name="lean").do("leans")


# Making populations


def test_what_is_no_population_is_refused() -> None:
    for cls in (da.Agent, dict, Citizen(), "Citizen"):
        with pytest.raises(UsageError, match=r"made of a subclass of daskagents\.Agent, not"):
            da.Population(cls, 3)
    for name in ("", "a b", "1a", "a/b", "../x"):
        with pytest.raises(UsageError, match=r"name is .*; a population's name is a Python name"):
            da.Population(Citizen, 3, name=name)
    with pytest.raises(UsageError, match=r"model is 'gpt'; give one of daskagents\.models"):
        da.Population(Citizen, 3, model="gpt")
    with pytest.raises(FieldError, match="no int"):
        Citizen(age="x")


def test_what_a_population_says_of_itself() -> None:
    assert repr(da.Population(Assigner, 1_000, block_size=300)) == (
        "<Population of 1,000 Assigner in 4 blocks;"
        " fields: plain, counted, nested, indirect, named, read>"
    )
    bare = type("Bare", (da.Agent,), {})
    assert repr(da.Population(bare, 1)) == "<Population of 1 Bare in 1 block; fields: none>"
    assert len(citizens(7)) == 7


def test_the_draws_do_not_depend_on_the_blocks(where: str) -> None:
    def draws(block_size: int | None) -> list[float]:
        def workflow(people):
            yield {"draw": people.do("draw")}

        people = da.Population(Citizen, 40, block_size=block_size)
        client = "sync" if where == "here" else None
        return da.run(workflow, people, seed=5, client=client)["draw"].values[0].tolist()

    whole = draws(None)
    assert len(set(whole)) == 40
    assert draws(7) == draws(13) == whole


def test_nothing_is_kept_on_disk_outside_a_run(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    people = citizens(block_size=3, **TABLE)
    for _ in range(3):
        people.reply(1.0).mean().compute()
    people.sel(age=10).do("learn")
    people.to_dataset().compute()
    assert list(tmp_path.iterdir()) == []


def test_a_population_stays_usable_after_a_failed_step(where: str) -> None:
    people = da.Population(Speaker, 4, block_size=2)
    with contextlib.suppress(RunError):
        people.do("listed")
    assert people.do("number").values.tolist() == [0, 1, 2, 3]


# The same everywhere


class Player(da.Agent):
    school: str = ""
    persona: str = ""
    level: Level = Level.LOW
    lean: float = 0.0
    votes: int = 0
    boss: int | None = None
    place: Place | None = None
    friends: tuple[int, ...] = ()
    note: str | None = None

    def reply(self, message):
        mean = message.content or 0.0
        self.lean = mean + self.rng.gauss(0, 1)
        self.votes += self.rng.randint(0, 3)
        self.boss = self.rng.choice((None, 1, 2))
        self.place = Place(self.lean, self.votes)
        self.friends = (*self.friends, self.id)[-2:]
        self.note = None if self.boss is None else "é" * self.boss
        self.level = Level.HIGH if self.lean > mean else Level.LOW
        if self.rng.random() < 0.02:
            raise RuntimeError("bad luck")
        return {"lean": self.lean, "note": self.note or "-", "votes": self.votes}

    async def talk(self, message):
        for _ in range(self.id % 3):
            await asyncio.sleep(0)
        answer = await self.chat(str(message.content))
        self.remember(answer)
        return f"{answer.text} {len(self.memory)} {self.rng.random()}"


def world(players, rounds=3):
    mean = None
    for _ in range(rounds):
        replies = players.reply(mean)
        mean = replies["lean"].mean()
        some = players.sel(school="a")
        said = some.do("talk", mean)
        players.sel(level="HIGH").do("talk", replies["note"])
        yield {"lean": replies["lean"], "note": replies["note"], "said": said, "mean": mean}
    state = players.to_dataset()
    yield {f"last_{name}": state[name] for name in ("votes", "boss", "level", "note")}


def test_a_world_is_the_same_here_and_on_a_cluster(cluster_client: Client) -> None:
    n = 120
    table = {
        "school": [("a", "b", "")[at % 3] for at in range(n)],
        "persona": [f"{at}" + "é" * 200 for at in range(n)],
    }
    model = Dummy(answer=lambda request, rng: f"{request.messages[-1].text} {rng.random()}")
    here, spread = (
        da.run(
            world,
            da.Population(Player, table, block_size=50),
            model=model,
            seed=3,
            client=client,
            max_failed=0.2,
        )
        for client in ("sync", cluster_client)
    )
    assert int(here["n_failed"].sum()) > 0
    assert set(here.variables) == set(spread.variables)
    for name in set(here.variables) - {"seconds"}:
        np.testing.assert_array_equal(here[name].values, spread[name].values, err_msg=name)
    assert here["persona"].values.tolist() == table["persona"]
