"""Agents enter and leave, and chance says who acts: as in a plain Python model, on any workers."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import pytest
import xarray as xr
from distributed import Client
from hypothesis import given, settings
from hypothesis import strategies as st
from test_faults import own_cluster, when
from worlds import events, rounds_closed, same

import daskagents as da
from daskagents.errors import RunError, TableError, UsageError, WorkflowError
from daskagents.lives import Lives
from daskagents.rng import Draws
from daskagents.words import step_key

STOP: dict[str, int] = {}


class Said(TypedDict):
    """What a citizen replies."""

    money: float
    note: str


class Citizen(da.Agent):
    """Has money, and a column that it is given with."""

    town: str = "here"
    start: float = 1.0
    money: float = 0.0
    draw: float = 0.0

    def reply(self, message: da.Message) -> Said:
        self.draw = self.rng.random()
        self.money += message.content + self.id % 3
        return {"money": self.money, "note": f"{self.id}: {self.money:g}"}

    def unknown(self, message: da.Message) -> Any:
        return {"x": 1.0}


def citizens(n: int = 11, block_size: int | None = 3, **more: Any) -> da.Population:
    columns = {"town": ["here", "there"] * (n // 2) + ["here"] * (n % 2), "start": np.arange(n) / 2}
    return da.Population(Citizen, columns, block_size=block_size, **more)


def story(players: Any, actions: Any) -> Iterator[Any]:
    """Do what the actions say, a round each."""
    part = players
    for at, (what, value) in enumerate(actions):
        if STOP.get("at") == at:
            raise KeyboardInterrupt
        if what == "reply":
            replies = players.reply(value)
        elif what == "sample":
            replies = players.sample(value).reply(1)
        elif what == "samples":
            players.sample(value)
            replies = part.sample(value).reply(1)
        elif what == "part":
            part = players.sel(players.to_dataset()["money"] % value == 0)
            replies = part.reply(2)
        elif what == "again":
            replies = part.reply(3)
        elif what == "add":
            value -= STOP.get("fewer", 0)
            replies = players.add({"town": ["new"] * value}).reply(4)
        elif what == "leave":
            part.sel(part.to_dataset()["money"] % value == 0).remove()
            replies = part.reply(5)
        elif what == "remove":
            players.remove(players.to_dataset()["money"] % value == 1)
            replies = players.reply(6)
        yield replies.assign(mean=replies["money"].mean(), size=len(players), part=len(part))


class Model:
    """The same in plain Python."""

    def __init__(self, n: int, seed: int) -> None:
        self.money = dict.fromkeys(range(n), 0.0)
        self.part = list(range(n))
        self.ever, self.seed, self.step = n, seed, 0
        self.whole = True  # whether the part is the whole, which others enter

    def drawn(self, p: float, index: int) -> list[int]:
        key = step_key(self.seed, "players/sample", self.step)
        draws = Draws(key, np.arange(self.ever)).uniforms(index)
        return [i for i in self.money if draws[i] < p]

    def ask(self, ids: list[int], value: float) -> dict[int, float]:
        self.step += 1
        for i in ids:
            self.money[i] += value + i % 3
        return {i: self.money[i] for i in ids}

    def act(self, what: str, value: Any) -> dict[int, float]:
        every = list(self.money)
        part = every if self.whole else [i for i in self.part if i in self.money]
        if what == "reply":
            return self.ask(every, value)
        if what == "sample":
            return self.ask(self.drawn(value, 0), 1)
        if what == "samples":
            return self.ask([i for i in self.drawn(value, 1) if i in part], 1)
        if what == "part":
            self.part = [i for i in every if self.money[i] % value == 0]
            self.whole = False
            return self.ask(self.part, 2)
        if what == "again":
            return self.ask(part, 3)
        if what == "add":
            born = list(range(self.ever, self.ever + value))
            self.ever += value
            self.money |= dict.fromkeys(born, 0.0)
            return self.ask(born, 4)
        gone = part if what == "leave" else every
        for i in gone:
            if self.money[i] % value == (what == "remove"):
                del self.money[i]
        return self.ask(
            [i for i in (part if what == "leave" else every) if i in self.money],
            5 if what == "leave" else 6,
        )

    def size(self) -> tuple[int, int]:
        part = self.money if self.whole else [i for i in self.part if i in self.money]
        return len(self.money), len(part)


probability = st.sampled_from([0.0, 0.1, 0.5, 1.0])
whole = st.integers(1, 5)
ACTION = st.one_of(
    st.tuples(st.just("reply"), whole),
    st.tuples(st.sampled_from(["sample", "samples"]), probability),
    st.tuples(st.sampled_from(["part", "leave", "remove"]), st.integers(2, 4)),
    st.tuples(st.just("again"), whole),
    st.tuples(st.just("add"), st.integers(1, 7)),
)
OPTIONS: Any = {"seed": 5, "progress": False, "checkpoint_every": 2}
#: All kinds of actions.
ACTIONS = [
    ("reply", 1),
    ("sample", 0.5),
    ("add", 4),
    ("part", 2),
    ("remove", 4),
    ("samples", 0.7),
    ("add", 1),
    ("leave", 3),
    ("reply", 2),
    ("sample", 0.0),
    ("add", 5),
    ("again", 1),
    ("reply", 1),
]


def go(actions: Any = ACTIONS, client: Any = "sync", **more: Any) -> xr.Dataset:
    return da.run(story, citizens(), actions, client=client, **{**OPTIONS, **more})


@settings(max_examples=8)
@given(actions=st.lists(ACTION, min_size=1, max_size=9), size=st.sampled_from([1, 3, None]))
def test_as_in_a_plain_model(actions: Any, size: int | None) -> None:
    found = da.run(story, citizens(block_size=size), actions, client="sync", **OPTIONS)
    model = Model(11, 5)
    replied, sizes = [], []
    for what, value in actions:
        replied.append(model.act(what, value))
        sizes.append(model.size())
    assert found["agent"].values.tolist() == list(range(model.ever))
    for number, replies in enumerate(replied):
        for i in range(model.ever):
            money, note = found["money"].values[number, i], found["note"].values[number, i]
            if i in replies:
                assert (money, note) == (replies[i], f"{i}: {replies[i]:g}")
            else:
                assert np.isnan(money) and note == ""
    assert [*zip(found["size"].values, found["part"].values, strict=True)] == sizes
    assert not found["failed"].any() and found["failed"].dtype == bool
    assert found["town"].values.tolist()[11:] == ["new"] * (model.ever - 11)
    assert found["start"].values.tolist()[10:] == [5.0] + [1.0] * (model.ever - 11)
    if "n_agents" in found:
        assert found["n_agents"].values.tolist() == [size for size, _ in sizes]
    else:
        assert {size for size, _ in sizes} == {11}


@pytest.fixture(scope="module")
def undisturbed() -> xr.Dataset:
    return go()


def test_on_any_workers(undisturbed: xr.Dataset, client1: Client, client3: Client) -> None:
    same(go(client=client1), undisturbed)
    same(go(client=client3), undisturbed)


@pytest.mark.parametrize("at", range(1, len(ACTIONS), 3))
def test_a_run_that_stopped_goes_on(tmp_path: Path, undisturbed: xr.Dataset, at: int) -> None:
    STOP["at"] = at
    try:
        with pytest.raises(KeyboardInterrupt):
            go(out=tmp_path / "run")
    finally:
        STOP.clear()
    same(go(out=tmp_path / "run", resume=True), undisturbed)
    stored = xr.open_zarr(tmp_path / "run" / "rounds.zarr", consolidated=False)
    assert np.array_equal(stored["money"].values, undisturbed["money"].values, equal_nan=True)


def test_a_run_goes_on_from_its_directory_alone(tmp_path: Path, undisturbed: xr.Dataset) -> None:
    go(ACTIONS[:7], out=tmp_path / "run")
    with pytest.raises(UsageError, match="the argument 'actions' was"):
        go(out=tmp_path / "run", resume=True)
    same(
        da.resume(tmp_path / "run", client="sync", actions=ACTIONS, accept_changes=True),
        undisturbed,
    )


def test_a_killed_worker_changes_nothing(tmp_path: Path, undisturbed: xr.Dataset) -> None:
    out = tmp_path / "run"
    with own_cluster(2) as client:
        pids = list(client.run(os.getpid).values())
        kill = lambda: os.kill(pids[0], signal.SIGKILL)  # noqa: E731
        with when(lambda: rounds_closed(out) > 3, kill) as killed:
            found = go(client=client, out=out)
        assert killed.is_set()
    same(found, undisturbed)


def test_agents_of_before_are_forgotten_where_a_run_goes_another_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daskagents.rounds.WINDOW", 22)  # two rounds in a chunk
    short = [("reply", 1), ("add", 4), ("reply", 2), ("add", 5), ("reply", 1)]
    other = [*short[:2], ("reply", 2), ("reply", 2), ("add", 5), ("reply", 1)]
    STOP["at"] = 4
    with pytest.raises(KeyboardInterrupt):
        go(short, out=tmp_path / "run", checkpoint_every=3)
    STOP.clear()
    found = go(other, out=tmp_path / "run", checkpoint_every=3, resume=True, accept_changes=True)
    same(found, go(other))


def test_a_run_that_lets_others_enter_is_found_out(tmp_path: Path) -> None:
    short = [("reply", 1), ("add", 4), ("reply", 2)]
    STOP["at"] = 2
    with pytest.raises(KeyboardInterrupt):
        go(short, out=tmp_path / "run", checkpoint_every=1)
    STOP.clear()
    STOP["fewer"] = 1  # something that does not repeat
    try:
        with pytest.raises(RunError, match=r"entrance or exit 0 of agents differs .* enter was 4"):
            go(short, out=tmp_path / "run", checkpoint_every=1, resume=True)
    finally:
        STOP.clear()


def test_samples_are_binomial_and_depend_on_nothing_else() -> None:
    lives, n, p = Lives(200_000, 200_000), 200_000, 0.01
    sizes = []
    for step in range(40):
        first = lives.draw(p, None, 7, "players", step)
        second = lives.draw(p, None, 7, "players", step)
        sizes += [len(first), len(second)]
        assert len(np.intersect1d(first, second)) < 60  # 20 are expected
    spread = np.sqrt(n * p * (1 - p))
    assert abs(np.mean(sizes) - n * p) < 4 * spread / np.sqrt(len(sizes))
    assert 0.7 < np.std(sizes) / spread < 1.3
    again = Lives(50, n)
    some = np.arange(5, n, 3)
    part = again.draw(p, some, 7, "players", 3)
    whole = Lives(n, n).draw(p, None, 7, "players", 3)
    assert np.array_equal(part, np.intersect1d(whole, some))
    assert not len(lives.draw(0, None, 7, "x", 1)) and len(lives.draw(1, None, 7, "x", 1)) == n


def test_a_sample_does_not_depend_on_blocks() -> None:
    def drawing(people: Any) -> Iterator[Any]:
        for _ in range(4):
            people.sample(0.5)
            yield people.sample(0.3).reply(1)

    one, two, three = (
        da.run(drawing, citizens(40, size), client="sync", seed=seed)["money"]
        for size, seed in ((7, 1), (40, 1), (40, 2))
    )
    assert one.equals(two) and not one.equals(three)
    assert len({tuple(asked) for asked in one.notnull().values.tolist()}) == 4


@pytest.mark.parametrize("p", [-0.1, 1.1, np.nan, "0.5", None, True, [0.5]])
def test_a_probability_is_one(p: Any) -> None:
    with pytest.raises(UsageError, match="give the probability"):
        citizens().sample(p)


def test_nobody_can_be_asked() -> None:
    people = citizens()
    nobody = people.sample(0)
    assert not len(nobody) and "of 0 of 11" in repr(nobody)
    replies = nobody.reply(1)
    assert replies["money"].shape == (0,) and replies["note"].values.tolist() == []
    assert np.isnan(replies["money"].mean().values)
    assert nobody.to_dataset()["town"].values.tolist() == []
    assert nobody.reply(np.array([])).sizes == {"agent": 0}
    assert not len(nobody.sel(town="there")) and not len(people.isel([]))
    assert not len(people.sel(np.zeros(11, bool)))
    nobody.remove()
    people.remove(np.zeros(11, bool))
    assert len(people) == 11
    with pytest.raises(
        UsageError, match="what it replies is not known yet; declare it: def unknown"
    ):
        nobody.do("unknown")
    people.do("unknown")
    assert nobody.do("unknown").sizes == {"agent": 0}


def test_everybody_may_be_gone() -> None:
    people = citizens()
    people.sample(1).remove()
    assert not len(people) and people.reply(1).sizes == {"agent": 0}
    assert people.to_dataset().sizes == {"agent": 0}
    born = people.add(2)
    assert (
        born.reply(1)["agent"].values.tolist()
        == people.reply(1)["agent"].values.tolist()
        == [11, 12]
    )


def test_outside_a_run_the_given_population_is_what_a_run_gets() -> None:
    people = citizens()
    born = people.add({"town": ["new"]})
    people.sel(town="here").remove()
    assert len(people) == 6 and born._rows is not None
    assert people.sel(town="new").reply(1)["note"].values.tolist() == ["11: 3"]
    assert len(people.sel(town="here")) == 0  # they are gone: no error, for they were there
    with pytest.raises(UsageError, match=r"no agent of .* none has town='nowhere'"):
        people.sel(town="nowhere")
    assert da.run(story, people, [("reply", 1)], client="sync").sizes["agent"] == 11
    with pytest.raises(UsageError, match="agent 11 of 'players' is not there"):
        da.run(story, born, [("reply", 1)], client="sync")


def test_what_does_not_fit_is_refused() -> None:
    people = citizens()
    with pytest.raises(TableError, match="column 'twn' is no field of Citizen"):
        people.add({"twn": ["x"]})
    with pytest.raises(TableError, match="needs at least one agent"):
        people.add(0)
    with pytest.raises(UsageError, match="a mask has one bool for each of the 11 agents"):
        people.remove([True])
    with pytest.raises(UsageError, match="remove takes a mask, or a part"):
        people.remove()
    with pytest.raises(UsageError, match="added to a whole population"):
        people.sel(town="here").add(1)
    ann: Any = da.spawn(Citizen(), name="Ann")
    for name in ("add", "remove", "sample"):
        with pytest.raises(AttributeError, match=f"no attribute '{name}': it is one agent"):
            getattr(ann, name)
    assert len(people) == 11


def test_large_tables_are_written_and_blocks_without_agents_let_go(tmp_path: Path) -> None:
    def growing(people: Any, rounds: int = 5) -> Iterator[Any]:
        for number in range(rounds):
            people.add({"town": [f"the town {number} of {i}" for i in range(6000)]})
            if number:
                people.isel(slice(0, 6000)).remove()
            yield {"money": people.reply(1)["money"], "grid": xr.DataArray(np.ones(2), dims="x")}

    run = tmp_path / "run"
    found = da.run(growing, citizens(block_size=3000), client="sync", out=run, **OPTIONS)
    assert len(list((run / "entered").glob("*/people/*"))) == 10
    assert found.sizes["agent"] == 30_011
    assert found["town"].values[-1] == "the town 4 of 5999"
    newest = max((run / "checkpoints").iterdir())
    assert len(list((newest / "people").iterdir())) == 3  # of eleven
    assert found["n_agents"].values.tolist() == [6011] + [6011] * 4


def test_values_over_agents_and_more_grow_too() -> None:
    def wide(people: Any) -> Iterator[Any]:
        for _ in range(3):
            money = people.reply(1)["money"]
            yield {"money": money, "both": money * xr.DataArray([1.0, 2.0], dims="of")}
            people.add(2)
            people.isel([0]).remove()

    found = da.run(wide, citizens(4), client="sync")
    assert found["both"].shape == (3, 8, 2)
    twice = found["money"] * xr.DataArray([1.0, 2.0], dims="of")
    assert np.array_equal(found["both"].values, twice.values, equal_nan=True)


def test_a_population_of_another_name_and_an_array_without_ids() -> None:
    def named(buyers: Any) -> Iterator[Any]:
        buyers.remove(np.arange(11) < 2)
        yield {"x": xr.DataArray(np.arange(9.0), dims="buyers")}
        buyers.add({"start": [7.0]})
        yield {"x": buyers.reply(1)["money"]}
        yield {"x": xr.DataArray(np.arange(3.0), dims="buyers")}

    with pytest.raises(WorkflowError, match="has 3 values and no ids, and 'buyers' has 10 agents"):
        da.run(named, citizens(name="buyers"), client="sync")


def test_masks_of_before_are_matched_by_id() -> None:
    people = citizens()
    odd = people.reply(1)["note"] > "9"
    people.add({"town": ["new"] * 2})
    people.isel([9]).remove()
    assert people.sel(odd)._ids().tolist() == []
    poor = people.reply(1)["money"] < 3
    born = people.add(1)
    people.remove(poor)
    assert born._ids().tolist() == [13]
    assert people._ids().tolist() == [1, 2, 4, 5, 7, 8, 10, 11, 13]


def test_an_estimate_counts_those_that_enter() -> None:
    def growing(people: Any, rounds: int = 6) -> Iterator[Any]:
        for _ in range(rounds):
            people.add(3)
            yield people.reply(1)

    asking = da.Population(Caller, 400, model=da.models.Dummy(0, "1"))
    found = da.estimate(growing, asking, pilot=10, client="sync")
    assert found.calls.likely > 400 * 6 and found.calls.likely < 420 * 6


class Caller(Citizen):
    """Asks its model."""

    async def reply(self, message: da.Message) -> float:  # type: ignore[override]
        return float((await self.chat("How much?")).text)


def test_large_masks_are_known_again(tmp_path: Path) -> None:
    computed = []

    def dying(people: Any, rounds: int) -> Iterator[Any]:
        for number in range(rounds):
            money = people.reply(number)["money"]
            people.remove(people.to_dataset()["draw"] < 0.1)
            computed.append(len(people))
            yield {"money": money}

    def go_dying(rounds: int, out: Path | None, resume: bool = False) -> xr.Dataset:
        people = citizens(5000, 1500)
        more = {"client": "sync", "resume": resume, "out": out}
        return da.run(dying, people, rounds, **more, **OPTIONS, accept_changes=True)

    whole = go_dying(6, None)
    go_dying(4, tmp_path / "run")
    computed.clear()
    same(go_dying(6, tmp_path / "run", resume=True), whole)
    assert computed == whole["n_agents"].values.tolist()  # and not once more from the beginning
    steps = [e["step"] for e in events(tmp_path / "run") if e["event"] == "step"]
    assert steps == [*range(6)]


def test_what_is_noted(tmp_path: Path) -> None:
    go(out=tmp_path / "run")
    noted = [event for event in events(tmp_path / "run") if event["event"] == "life"]
    assert [e.get("enter", -e.get("leave", 0)) > 0 for e in noted] == [
        True,
        False,
        True,
        False,
        True,
    ]
