import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from distributed import Client, LocalCluster
from worlds import (
    Odd,
    Player,
    Speaker,
    Waiter,
    asking,
    drawn,
    game,
    reading,
    same,
)

import daskagents as da
from daskagents import models
from daskagents.errors import RunError, WorkflowError

RUN = Callable[..., xr.Dataset]
OWN = [
    *("n_failed", "calls", "prompt_tokens", "completion_tokens", "cached_tokens", "retries"),
    *("cost", "seconds_waiting", "seconds"),
]


def players(n: int = 600, **options: Any) -> da.Population:
    return da.Population(Player, {"level": np.arange(n) % 4}, **{"block_size": 100, **options})


def run(workflow: Any, *args: Any, **options: Any) -> xr.Dataset:
    return da.run(workflow, *args, **{"client": "sync", "seed": 5, **options})


# The same workflow wherever it runs


def parts(people: Any) -> Iterator[Any]:
    some, few = people.sel(level=[1, 3]), people.isel(slice(250, 310))
    for _ in range(3):
        replies, others = some.reply(), few.do("count")
        yield {
            "guess": replies["guess"],
            "note": replies["note"],
            "count": others,
            "above": replies["guess"].where(replies["guess"] > 50),
            "mixed": replies["guess"] + others,  # of those who are in both parts
        }


def two(buyers: Any, sellers: Any) -> Iterator[Any]:
    price: Any = 0.0
    for _ in range(3):
        bids, asks = buyers.reply(price), sellers.reply(price)
        price = (bids["guess"].mean() + asks["guess"].min()) / 2
        yield {"bid": bids["guess"], "ask": asks["guess"], "why": asks["note"], "price": price}


def talking(people: Any, speakers: list[Any], chair: Any) -> Iterator[Any]:
    said: Any = "Well?"
    for _ in range(3):
        replies = people.reply()
        said = chair(said)
        for speaker in speakers:
            said = speaker(said)
        yield {"guess": replies["guess"], "last": said, "asked": chair(replies["guess"].max())}


def everything(people: Any) -> Iterator[Any]:
    replies = people.reply()
    weights = xr.DataArray([1.0, 2.0, 4.0], dims="weight", coords={"weight": ["a", "b", "c"]})
    yield None
    yield replies
    yield {"word": "hello", "flag": True, "count": 3, "nothing": None}
    yield {"weighted": (replies["guess"] * weights).mean("agent"), "plain": np.arange(2)}
    yield
    yield {"by level": replies["guess"].groupby("level").mean().rename(level="group")}
    yield {"count": 4.5, "early": replies["guess"].sortby("level"), "t": replies["note"]}
    yield {"weighted": weights.sel(weight=["c"]), "table": replies["guess"] * weights}


def each_its_own(people: Any) -> Iterator[Any]:
    message: Any = None
    for number in range(6):
        replies = people.reply(message)
        yield replies
        message = replies["guess"] if number % 2 else replies["guess"].values[::-1].copy()


def waiting(people: Any) -> Iterator[Any]:
    for number in range(3):
        said = people.reply(number)
        yield {"said": said, "most": said.max()}


def speakers(names: str) -> list[Any]:
    return [da.spawn(Speaker(name=name)) for name in names]


WORLDS: dict[str, Callable[[RUN], xr.Dataset]] = {
    "a mean is passed on": lambda on: on(game, players()),
    "values are read": lambda on: on(reading, players()),
    "parts": lambda on: on(parts, players()),
    "two populations": lambda on: on(two, players(name="buyers"), players(70, name="sellers")),
    "named agents": lambda on: on(talking, players(), speakers("ABC"), da.spawn(Speaker(name="Z"))),
    "everything": lambda on: on(everything, players()),
    "a message each": lambda on: on(each_its_own, players(), checkpoint_every=2),
    "agents wait": lambda on: on(waiting, da.Population(Waiter, 300, block_size=64)),
}


@pytest.mark.parametrize("world", WORLDS)
def test_runs_agree_to_the_last_bit(
    world: str, client1: Client, client3: Client, tmp_path: Path
) -> None:
    def on(client: Any, out: Path | None) -> xr.Dataset:
        model = models.Dummy(latency=0.001, answer=drawn)
        return WORLDS[world](lambda *a, **o: run(*a, client=client, model=model, out=out, **o))

    alone = on("sync", tmp_path / "sync")
    for client, name in [(client1, "one"), (client3, "three")]:
        same(alone, on(client, tmp_path / name))
    same(alone, da.open_run(tmp_path / "three").results)
    same(alone, on(client3, None))
    same(alone, on("sync", None))


def test_a_run_can_be_run_again() -> None:
    people, named = players(), speakers("AB")
    model = models.Dummy(answer=drawn)
    once, again = (run(talking, people, named, named[0], model=model, seed=1) for _ in range(2))
    same(once, again)
    assert (run(game, people, seed=2)["guess"] != run(game, people, seed=3)["guess"]).any()


def test_the_same_agents_given_twice_are_the_same() -> None:
    def both(people: Any, some: Any, listed: Any) -> Iterator[Any]:
        some.do("count")
        listed[0].do("count")
        yield people.do("count")

    people = players()
    replied = run(both, people, people.isel([3]), [people])["count"].values[0]
    assert replied[3] - replied[7] == 1.0  # level 3 both, and agent 3 counted once more
    assert replied[0] == 2.0


# What comes back


def test_dims_coordinates_and_order() -> None:
    result = run(game, players(), rounds=3)
    assert dict(result.sizes) == {"round": 3, "agent": 600}
    assert list(result.data_vars) == ["guess", "note", "doubled", "failed", "winner", *OWN]
    assert set(result.coords) == {"round", "agent", "level"}
    assert result["round"].values.tolist() == [0, 1, 2]
    assert result["level"].dims == ("agent",) and result["level"].dtype == np.int64
    assert result["guess"].dtype == np.float64 and result["failed"].dtype == bool
    assert result["note"].dtype == np.dtypes.StringDType()
    assert result["winner"].dims == ("round",) and result["calls"].dtype == np.int64
    said = {str(name) for name, v in result.variables.items() if v.attrs}
    assert result.attrs == {} and said == {"round", "failed", *OWN}
    assert result["seconds"].attrs["units"] == "s"
    np.testing.assert_array_equal(result["doubled"], result["guess"] * 2)
    means = result["guess"].mean("agent") * 2 / 3
    np.testing.assert_allclose(result["winner"], means)
    assert result["guess"].groupby("level").mean(...).sizes == {"level": 4}


def test_gaps_are_nan_or_empty() -> None:
    result = run(everything, players(8))
    assert dict(result.sizes) == {**{"round": 8, "agent": 8, "weight": 3, "group": 4, "dim_0": 2}}
    assert result["word"].values.tolist() == ["", "", "hello", *[""] * 5]
    np.testing.assert_array_equal(
        result["count"], [np.nan, np.nan, 3, np.nan, np.nan, np.nan, 4.5, np.nan]
    )
    assert "nothing" not in result
    assert np.isfinite(result["guess"].values).any(axis=1).tolist() == [False, True, *[False] * 6]
    assert (result["note"].values != "").any(axis=1).tolist() == [False, True, *[False] * 6]
    np.testing.assert_array_equal(result["early"].values[6], result["guess"].values[1])
    assert (result["t"].values[6] == result["note"].values[1]).all()
    assert result["weight"].values.tolist() == ["a", "b", "c"]
    assert result["weighted"].values[7].tolist()[2] == 4.0
    assert np.isnan(result["weighted"].values[7, :2]).all()
    mean = result["guess"].values[1].mean()
    np.testing.assert_allclose(result["weighted"].values[3], [mean, 2 * mean, 4 * mean])
    np.testing.assert_allclose(
        result["table"].values[7], np.outer(result["guess"].values[1], [1, 2, 4])
    )


def test_a_yielded_dimension_takes_the_place_of_a_column() -> None:
    def by_level(people: Any) -> Iterator[Any]:
        replies = people.reply()
        yield {"guess": replies["guess"], "mean": replies["guess"].groupby("level").mean()}

    with pytest.warns(UserWarning, match="'level' is yielded, and a column"):
        result = run(by_level, players(8))
    assert result["mean"].dims == ("round", "level")
    assert result["level"].values.tolist() == [0, 1, 2, 3]


def test_failures_are_counted_and_shown() -> None:
    odd = da.Population(Odd, 10, block_size=3)

    def some(people: Any) -> Iterator[Any]:
        yield people.reply(0)
        yield people.reply(1)
        yield people.isel([0, 1, 2]).reply(1)

    result = run(some, odd, max_failed=0.5)
    assert result["n_failed"].values.tolist() == [0, 5, 1]
    assert result["failed"].values[0].sum() == 0
    assert result["failed"].values[1].tolist() == [False, True] * 5
    assert np.flatnonzero(result["failed"].values[2]).tolist() == [1]
    assert np.isnan(result["x"].values[1]).tolist() == [False, True] * 5
    assert result["word"].values[1].tolist() == ["step 2", ""] * 5
    assert result["x"].values[2, 2] == 3.0


def test_steps_after_the_last_yield_count(tmp_path: Path) -> None:
    def ends(people: Any) -> Iterator[Any]:
        yield {"x": people.reply(0)["x"]}
        people.reply("the end")

    with pytest.raises(RunError, match="5 of 10 agents failed"):
        run(ends, da.Population(Odd, 10), out=tmp_path / "run")
    assert da.open_run(tmp_path / "run").results.sizes["round"] == 1


def test_usage_is_counted() -> None:
    model = models.Dummy(answer="1 2 3")

    class Asker(da.Agent):
        async def reply(self, message: da.Message) -> float:
            for _ in range(self.id):
                await self.chat("one two")
            return 0.0

    result = run(asking, da.Population(Asker, 4, model=model), rounds=2)
    assert result["calls"].values.tolist() == [6, 6]
    assert result["prompt_tokens"].values.tolist() == [12, 12]
    assert result["completion_tokens"].values.tolist() == [18, 18]
    assert result["cost"].values.tolist() == [0.0, 0.0]  # nobody is paid
    assert run(game, players(), rounds=2)["cost"].values.tolist() == [0.0, 0.0]


def test_no_rounds_at_all(tmp_path: Path) -> None:
    assert dict(run(game, players(), rounds=0, out=tmp_path / "run").sizes) == {"round": 0}
    assert da.open_run(tmp_path / "run").status == "done"


@pytest.mark.parametrize(
    ("yielded", "words"),
    [
        (lambda r: 3, "not int"),
        (lambda r: {"x": r}, "'x' is a Dataset"),
        (lambda r: {"x": [1, 2]}, "yield arrays"),
        (lambda r: {3: 4}, "not 3"),
        (lambda r: {"a/b": 4}, "'a/b' cannot be the name"),
        (lambda r: {"failed": 4}, "'failed' is what a run itself"),
        (lambda r: {"cost": r["guess"]}, "'cost' is what a run itself"),
        (lambda r: {"x": xr.DataArray([1, 2], dims="round")}, "dimension 'round'"),
        (lambda r: {"x": xr.DataArray([1.0] * 9, dims="agent")}, "9 values over 'agent'"),
        (lambda r: {"x": xr.DataArray([1.0] * 2, dims="agent")}, "2 values and no ids"),
        (
            lambda r: {"x": xr.DataArray([1.0], dims="agent", coords={"agent": [8]})},
            "are 0 to 7",
        ),
        (lambda r: {"x": np.array(["2020-01-01"], "M8[D]")}, "numbers and texts"),
        (lambda r: {"x": r["guess"].astype("M8[s]")}, "numbers or texts"),
    ],
)
def test_what_cannot_be_yielded(yielded: Any, words: str, tmp_path: Path) -> None:
    def once(people: Any) -> Iterator[Any]:
        yield yielded(people.reply())

    with pytest.raises(WorkflowError, match=words):
        run(once, players(8), out=tmp_path / "run")
    assert da.open_run(tmp_path / "run").status == "failed"


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        (lambda r: {"x": 3}, lambda r: {"x": "three"}, "was a number"),
        (lambda r: {"x": 3}, lambda r: {"x": r["guess"]}, "'x' is yielded"),
        (lambda r: {"x": r["guess"]}, lambda r: {"x": 3}, "'x' is yielded"),
        (lambda r: {"x": r["guess"]}, lambda r: {"x": r["note"]}, "as number before"),
        (lambda r: {"x": np.arange(3)}, lambda r: {"x": np.arange(4)}, "4 values along 'dim_0'"),
        (lambda r: {"x": r["guess"]}, lambda r: {"agent": 3}, "'agent' is what a run"),
    ],
)
def test_a_variable_stays_what_it_is(first: Any, second: Any, words: str, tmp_path: Path) -> None:
    def changes(people: Any) -> Iterator[Any]:
        yield first(people.reply())
        yield second(people.reply())

    with pytest.raises(WorkflowError, match=words):
        run(changes, players(8), out=tmp_path / "run")
    found = da.open_run(tmp_path / "run")
    assert found.status == "failed" and found.results.sizes["round"] == 1


def test_two_populations_of_one_dimension_need_names() -> None:
    with pytest.raises(WorkflowError, match=r"'buyers' and 'sellers' are both .* name='sellers'"):
        run(two, players(8), players(8))

    def one(buyers: Any, sellers: Any) -> Iterator[Any]:
        replied = sellers.reply("a")
        yield {"bid": buyers.reply(0)["x"], "mean": replied["x"].mean()}

    # those of the other population are counted, and no agent of this one is marked
    result = run(one, da.Population(Odd, 6), da.Population(Odd, 9), max_failed=1.0)
    assert result["n_failed"].values.tolist() == [4]
    assert not result["failed"].values.any()


# Stopping


def test_too_many_failures_stop_the_run(tmp_path: Path) -> None:
    def sour(people: Any) -> Iterator[Any]:
        for number in range(6):
            yield people.reply("round 3" if number == 3 else 0)

    with pytest.raises(RunError, match=r"step 3 .*: 5 of 10 .* max_failed is 0.4") as caught:
        run(sour, da.Population(Odd, 10, block_size=3), max_failed=0.4, out=tmp_path / "run")
    assert "agent 1: ValueError: agent 1 does not like round 3" in str(caught.value)
    assert "worlds.py" in str(caught.value)
    left = da.open_run(tmp_path / "run")
    assert left.status == "failed"
    assert left.results["x"].values[:, 0].tolist() == [1.0, 2.0, 3.0]
    assert left.about["rounds"] == 3


@pytest.mark.parametrize("form", ["declared", "found"])
def test_all_agents_fail(form: str, client1: Client) -> None:
    class Declared(da.Agent):
        def reply(self, message: da.Message) -> float:
            raise RuntimeError("no model is here")

    class Found(da.Agent):
        def reply(self, message):  # type: ignore[no-untyped-def]
            raise RuntimeError("no model is here")

    people = da.Population(Declared if form == "declared" else Found, 6, block_size=2)
    for client in ("sync", client1):
        with pytest.raises(RunError, match="agent 0: RuntimeError: no model is here"):
            run(asking, people, client=client)


@pytest.mark.parametrize("error", [ZeroDivisionError("mine"), FileNotFoundError(2, "mine")])
def test_an_error_of_the_workflow_passes(error: Exception, tmp_path: Path) -> None:
    closed = []

    def fails(people: Any) -> Iterator[Any]:
        try:
            for number in range(3):
                replies = people.reply()
                yield {"x": float(replies["guess"].mean())}
                if number == 1:
                    raise error
        finally:
            closed.append(number)

    with pytest.raises(type(error), match="mine") as caught:
        run(fails, players(), out=tmp_path / "run")
    assert caught.value is error and closed == [1]
    left = da.open_run(tmp_path / "run")
    assert left.status == "failed" and left.results.sizes["round"] == 2


def test_the_workflow_is_closed_when_a_round_fails() -> None:
    closed = []

    def guarded(people: Any) -> Iterator[Any]:
        try:
            yield {"x": [1]}
        finally:
            closed.append(True)

    with pytest.raises(WorkflowError):
        run(guarded, players())
    assert closed == [True]


def test_usage_by_model_where_several_are_asked(tmp_path: Path) -> None:
    class Asker(da.Agent):
        async def reply(self, message: da.Message) -> float:
            await self.chat("one two")
            return 0.0

    def ask(few: Any, many: Any) -> Iterator[Any]:
        yield {"guess": few.reply()}
        yield few.reply().rename("guess")
        many.reply()
        yield {"guess": few.reply()}
        yield None

    few = da.Population(Asker, 2, model=models.Dummy(answer="a", model="small"), name="few")
    many = da.Population(Asker, 5, model=models.Dummy(answer="b c", model="large"), name="many")
    result = run(ask, few, many, out=tmp_path / "run")
    assert result["model"].values.tolist() == ["small", "large"]
    calls = result["calls_by_model"].transpose("round", "model").values
    np.testing.assert_array_equal(calls, [[2, np.nan], [2, np.nan], [2, 5], [np.nan, np.nan]])
    assert result["tokens_by_model"].sel(model="large").values[2] == 20
    assert result["calls"].values.tolist() == [2, 2, 7, 0]
    usage = json.loads((tmp_path / "run" / "run.json").read_text())["usage"]
    assert {told["model"]: told["calls"] for told in usage} == {"small": 6, "large": 5}
    alone = run(ask_alone, few)
    assert "model" not in alone.sizes


def ask_alone(few: Any) -> Iterator[Any]:
    """Ask a population of one model."""
    yield few.reply()


def test_a_result_in_memory_is_not_read_by_workers(cluster2: LocalCluster) -> None:
    def reads(dask_scheduler: Any) -> int:
        prefixes = dask_scheduler.task_prefixes.values()
        return sum(sum(p.state_counts.values()) for p in prefixes if "zarr" in p.name)

    with Client(cluster2) as client:  # the current one, which xarray would ask
        before = client.run_on_scheduler(reads)
        result = da.run(ask_alone, players(30))
        assert client.run_on_scheduler(reads) == before
    assert result.chunks == {}
