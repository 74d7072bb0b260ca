import asyncio
import gc
import json
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dask
import dask.array
import numpy as np
import pytest
import xarray as xr
from distributed import Client, LocalCluster
from worlds import (
    Gated,
    Odd,
    Player,
    Speaker,
    Waiter,
    asking,
    drawn,
    events,
    game,
    reading,
    same,
    until,
)

import daskagents as da
from daskagents import driver, models
from daskagents import run as run_module
from daskagents.errors import EndpointError, RunError, UsageError, WorkflowError
from daskagents.session import Session

RUN = Callable[..., xr.Dataset]
OWN = ["n_failed", "calls", "prompt_tokens", "completion_tokens", "cost", "seconds"]


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
    assert result.attrs == {} and all(v.attrs == {} for v in result.variables.values())
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
    assert np.isnan(result["cost"].values).all()  # no price is known
    assert run(asking, players(), rounds=2)["cost"].values.tolist() == [0.0, 0.0]


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


def test_an_interrupted_run_can_be_read(tmp_path: Path) -> None:
    def interrupted(people: Any) -> Iterator[Any]:
        for _ in range(3):
            yield people.reply()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(interrupted, players(), out=tmp_path / "run")
    left = da.open_run(tmp_path / "run")
    assert left.status == "interrupted"
    assert left.results.sizes == {"round": 3, "agent": 600}


# Look-ahead


def test_a_workflow_runs_ahead_by_a_bound(
    client1: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, asked, collected = tmp_path / "gate", [0], []
    collect = Session.collect

    def watched(session: Session, step: Any) -> Any:  # the first time that anything is waited for
        collected.append(asked[0])
        gate.touch()
        return collect(session, step)

    def ahead(people: Any) -> Iterator[Any]:
        for _ in range(3 * driver.AHEAD):
            asked[0] += 1
            yield {"x": people.reply(str(gate))}

    monkeypatch.setattr(Session, "collect", watched)
    run(ahead, da.Population(Gated, 4, block_size=2), client=client1, checkpoint_every=100)
    assert collected[0] == driver.AHEAD + 1
    assert len(collected) == 3 * driver.AHEAD


# What is written down


def test_reads_are_recorded_in_order(tmp_path: Path, client1: Client) -> None:
    def reads(people: Any) -> Iterator[Any]:
        for _ in range(2):
            replies = people.reply()
            yield {
                "mean": float(replies["guess"].mean()),
                "low": float(replies["guess"].min()),
                "first": str(replies["note"].values[0]),
            }

    for client, name in [("sync", "a"), (client1, "b")]:
        result = run(reads, players(300), client=client, out=tmp_path / name)
        noted = [e["value"] for e in events(tmp_path / name) if e["event"] == "read"]
        assert noted[0:2] == [float(result["mean"][0]), float(result["low"][0])]
        assert noted[2][0] == result["first"].values[0] and len(noted[2]) == 300
        assert noted[3:5] == [float(result["mean"][1]), float(result["low"][1])]
        order = [e["event"] for e in events(tmp_path / name) if e["event"] in ("step", "read")]
        assert order == ["step", "read", "read", "read"] * 2


def test_events_name_inputs_and_attempts(tmp_path: Path) -> None:
    run(reading, players(300), rounds=3, out=tmp_path / "run")
    noted = events(tmp_path / "run")
    steps = [e for e in noted if e["event"] == "step"]
    assert [s["step"] for s in steps] == [0, 1, 2]
    assert {s["agents"] for s in steps} == {300} and {s["method"] for s in steps} == {"reply"}
    assert len({s["input"] for s in steps}) == 3 and all(s["input"] for s in steps)
    done = [e for e in noted if e["event"] == "done"]
    assert [len(e["pieces"]) for e in done] == [3, 3, 3]
    assert [e["round"] for e in noted if e["event"] == "round"] == [0, 1, 2]
    again = tmp_path / "again"
    run(reading, players(300), rounds=3, out=again)
    assert [e["input"] for e in events(again) if e["event"] == "step"] == [
        s["input"] for s in steps
    ]


def test_run_json_tells_what_was_run(tmp_path: Path) -> None:
    model = models.OpenAI("llama", base_url="http://127.0.0.1:1/v1", api_key="sk-secret")
    with pytest.raises(EndpointError):
        run(game, players(), model=model, out=tmp_path / "none")
    assert not (tmp_path / "none").exists()

    def with_options(people: Any, ratio: float = 0.5, names: Any = ()) -> Iterator[Any]:
        yield people.reply()

    run(with_options, players(), names=("a", "b"), seed=np.int64(9), out=tmp_path / "run")
    about = json.loads((tmp_path / "run" / "run.json").read_text())
    assert about["workflow"]["parameters"] == {"ratio": 0.5, "names": ["a", "b"]}
    assert about["workflow"]["file"] == __file__ and about["workflow"]["digest"]
    assert (about["status"], about["seed"], about["rounds"]) == ("done", 9, 1)
    assert about["populations"]["people"]["agents"] == 600
    assert about["populations"]["people"]["block_size"] == 100
    assert {"dask", "numpy", "python", "zarr"} <= set(about["versions"])
    assert {"checkpoint_every", "max_failed", "started", "ended", "format", "id"} <= set(about)


# Temporary runs


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[Path]]:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return lambda: list(tmp_path.glob("daskagents-*"))


def test_a_small_temporary_run_leaves_nothing(temporary: Callable[[], list[Path]]) -> None:
    result = run(game, players())
    assert temporary() == []
    assert all(isinstance(v.data, np.ndarray) for v in result.variables.values())


def test_a_large_temporary_run_lives_as_long_as_its_result(
    temporary: Callable[[], list[Path]], monkeypatch: pytest.MonkeyPatch, cluster2: LocalCluster
) -> None:
    monkeypatch.setattr(run_module, "_IN_MEMORY", 0)
    result = run(game, players(), client=cluster2.scheduler_address)  # its client is closed by now
    (folder,) = temporary()
    mean = result["guess"].mean()  # lazy, and keeps the folder too
    assert isinstance(mean.data, dask.array.Array)
    whole = result["guess"].values
    del result
    gc.collect()
    assert folder.exists()
    assert float(mean) == pytest.approx(whole.mean())
    del mean
    gc.collect()
    until(lambda: not folder.exists(), 10)


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_a_temporary_run_that_fails_leaves_nothing(
    error: type[BaseException], temporary: Callable[[], list[Path]]
) -> None:
    def fails(people: Any) -> Iterator[Any]:
        yield people.reply()
        raise error

    with pytest.raises(error):
        run(fails, players())
    assert temporary() == []


# Asked for wrongly


class Unreachable(models.Model):
    asked = 0

    async def chat(self, request: models.Request) -> models.Answer:
        raise AssertionError("an agent was started")

    async def check(self) -> None:
        type(self).asked += 1
        raise EndpointError("nobody answers at this address")


def test_an_unreachable_model_is_said_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("a cluster was started")

    monkeypatch.setattr("daskagents.cluster.LocalCluster", refuse)
    model, out = Unreachable(), tmp_path / "run"
    for options in (
        {"model": model},
        {"people": [da.Population(Waiter, 3, model=model)]},
        {"people": da.spawn(Speaker(name="A"), model=model)},
    ):
        people = options.pop("people", None) or da.Population(Waiter, 3)
        with pytest.raises(EndpointError, match="nobody answers"):
            da.run(asking, people, out=out, **options)  # type: ignore[arg-type]
    assert Unreachable.asked == 3 and not out.exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"model": "gpt"}, "model is 'gpt'"),
        ({"seed": 1.5}, "seed is 1.5"),
        ({"seed": True}, "seed is True"),
        ({"checkpoint_every": 0}, "checkpoint_every is 0"),
        ({"max_failed": 2}, "max_failed is 2"),
        ({"max_failed": "all"}, "max_failed is 'all'"),
        ({"client": 3}, "client is 3"),
        ({"rnds": 3}, "no parameter 'rnds' .* did you mean 'rounds'"),
    ],
)
def test_options_are_checked(options: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=words):
        da.run(game, players(), **{"client": "sync", "out": tmp_path / "run", **options})
    assert not (tmp_path / "run").exists()


# Side by side, and elsewhere


def test_two_runs_at_once_do_not_disturb_each_other(client3: Client, tmp_path: Path) -> None:
    both, results, before = threading.Barrier(2), {}, dict(dask.config.config)

    def meeting(people: Any, rounds: int = 6) -> Iterator[Any]:
        for number, yielded in enumerate(reading(people, rounds)):
            if number == 2:
                both.wait(60)  # both are in the middle
            yield yielded

    def go(seed: int) -> None:
        out = tmp_path / str(seed)
        rounds = 4 + 4 * seed  # they end one after the other
        results[seed] = run(meeting, players(), rounds=rounds, seed=seed, client=client3, out=out)

    threads = [threading.Thread(target=go, args=(seed,)) for seed in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(90)
    for seed in (1, 2):
        alone = run(reading, players(), rounds=4 + 4 * seed, seed=seed)
        same(alone, results[seed])
        noted = [e["value"] for e in events(tmp_path / str(seed)) if e["event"] == "read"]
        assert noted == alone["winner"].values.tolist()
    assert dask.config.config == before


def test_others_read_as_usual_while_a_run_lasts(tmp_path: Path) -> None:
    inside, read = threading.Event(), threading.Event()

    def held(people: Any) -> Iterator[Any]:
        yield people.reply()
        inside.set()
        assert read.wait(60)

    thread = threading.Thread(target=lambda: run(held, players(), out=tmp_path / "run"))
    thread.start()
    assert inside.wait(60)
    assert float(dask.array.ones(6, chunks=2).sum().compute()) == 6.0
    with dask.config.set(scheduler="synchronous"):
        assert float(dask.array.ones(6, chunks=3).sum().compute()) == 6.0
    read.set()
    thread.join(60)
    assert not [e for e in events(tmp_path / "run") if e["event"] == "read"]


def test_in_jupyter_where_a_loop_runs_already() -> None:
    people, model = da.Population(Waiter, 40, block_size=10), models.Dummy(answer=drawn)

    async def cell() -> xr.Dataset:
        return run(asking, people, model=model)

    same(asyncio.run(cell()), run(asking, people, model=model))


def test_the_current_client_is_used(cluster2: LocalCluster) -> None:
    with Client(cluster2) as client:
        seen = []

        def watched(people: Any) -> Iterator[Any]:
            yield people.reply()
            seen.append(client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks)))

        run(watched, players(), client=None)
        assert seen[0] > 6


def test_sync_runs_in_this_thread() -> None:
    seen = set()

    class Local(da.Agent):
        def reply(self, message: da.Message) -> float:
            seen.add(threading.get_ident())
            return 0.0

        async def wait(self, message: da.Message) -> float:
            await asyncio.sleep(0)
            seen.add(threading.get_ident())
            return 0.0

    def both(people: Any) -> Iterator[Any]:
        yield {"a": people.reply(), "b": people.do("wait")}

    begun = time.monotonic()
    run(both, da.Population(Local, 5))
    assert seen == {threading.get_ident()}
    assert time.monotonic() - begun < 10
