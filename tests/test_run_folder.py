import asyncio
import gc
import json
import sys
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
    Player,
    Speaker,
    Waiter,
    asking,
    drawn,
    events,
    game,
    noted_reads,
    reading,
    same,
    until,
)

import daskagents as da
from daskagents import driver, models
from daskagents.errors import EndpointError, UsageError
from daskagents.session import Session

RUN = Callable[..., xr.Dataset]
OWN = [
    *("n_failed", "calls", "prompt_tokens", "completion_tokens", "cached_tokens", "retries"),
    *("cost", "seconds_waiting", "seconds"),
]


def players(n: int = 600, **options: Any) -> da.Population:
    return da.Population(Player, {"level": np.arange(n) % 4}, **{"block_size": 100, **options})


def run(workflow: Any, *args: Any, **options: Any) -> xr.Dataset:
    return da.run(workflow, *args, **{"client": "sync", "seed": 5, **options})


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
        noted = noted_reads(tmp_path / name)
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
    assert about["versions"]["daskagents"] == da.__version__  # installed or not
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
    monkeypatch.setattr(sys.modules["daskagents.running"], "_IN_MEMORY", 0)
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

    def meeting(players: Any, rounds: int = 6) -> Iterator[Any]:
        for number, yielded in enumerate(reading(players, rounds)):
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
        noted = noted_reads(tmp_path / str(seed))
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
