"""Runs that are steered from elsewhere, and agents that are asked from outside."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import xarray as xr
from worlds import rounds_closed, until

import daskagents as da
from daskagents import models
from daskagents.errors import RunError, StoppedError, UsageError

ROUNDS = 100


class Walker(da.Agent):
    """Walks by chance; asks nobody."""

    city: str = ""
    at: float = 0.0

    def reply(self, message: da.Message) -> float:
        self.at += self.rng.random()
        return self.at

    def interview(self, message: da.Message) -> str:
        self.at = -1.0  # of a copy
        return f"{message.text} I am {self.id} of {self.city}."


class Talker(da.Agent):
    """Asks a model; remembers what it said."""

    name: str = ""
    mood: float = 0.5

    async def reply(self, message: da.Message) -> str:
        answer = await self.chat(f"round {message.content}")
        self.remember(answer)
        return answer.text


def walk(walkers: da.Population, rounds: int = ROUNDS) -> Iterator[Any]:
    for _ in range(rounds):
        yield {"at": walkers.reply()}


def talk(talkers: da.Population, rounds: int = 3) -> Iterator[Any]:
    for number in range(rounds):
        yield {"said": talkers.reply(number)}


def walkers(n: int = 40) -> da.Population:
    return da.Population(Walker, {"city": ["Rome", "Oslo"] * (n // 2)}, block_size=10)


@contextmanager
def under_way(
    folder: Path, client: Any, people: da.Population, **options: Any
) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Have a run go on in another thread; yield it opened, and a dict of how it ends."""
    ended: dict[str, Any] = {}

    def drive() -> None:
        workflow = options.pop("workflow", walk)
        try:
            ended["results"] = da.run(
                workflow, people, client=client, out=folder, seed=3, **options
            )
        except BaseException as error:
            ended["error"] = error

    thread = threading.Thread(target=drive)
    thread.start()
    try:
        until(lambda: rounds_closed(folder) >= 2 or not thread.is_alive())
        yield da.open_run(folder), ended
    finally:
        opened = da.open_run(folder)
        if opened.live:
            with suppress(RunError):
                opened.stop()
        thread.join(60)
        assert not thread.is_alive()


def settled(folder: Path) -> int:
    """Return how many rounds are closed once none has been for a while."""
    before, since = -1, time.monotonic()

    def quiet() -> bool:
        nonlocal before, since
        now = rounds_closed(folder)
        if now != before:
            before, since = now, time.monotonic()
        return time.monotonic() - since > 0.5

    until(quiet)
    return before


@pytest.fixture(params=["sync", "cluster"])
def place(request: pytest.FixtureRequest) -> Any:
    return "sync" if request.param == "sync" else request.getfixturevalue("client3")


def test_a_run_is_paused_goes_on_and_ends_as_it_would_have(place: Any, tmp_path: Path) -> None:
    with under_way(tmp_path / "run", place, walkers()) as (run, ended):
        assert run.live and run.state()["state"] == "running"
        assert run.pause()["state"] == "paused"
        at = settled(tmp_path / "run")
        assert at < ROUNDS and run.state()["state"] == "paused"
        assert run.pause()["state"] == "paused"
        assert run.interview(7, "Who?") == "Who? I am 7 of Oslo."
        found = run.survey("Where?", where={"city": "Rome"})
        assert list(found["agent"].values) == list(range(0, 40, 2))
        assert found["answer"].values[1] == "Where? I am 2 of Rome."
        assert run.resume()["state"] == "running"
        until(lambda: "results" in ended or "error" in ended, 100)
    alone = da.run(walk, walkers(), seed=3, client="sync")
    assert (ended["results"]["at"].values == alone["at"].values).all()
    assert list(da.open_run(tmp_path / "run").surveys) == ["survey-1"]


def test_a_run_is_stopped_and_goes_on(place: Any, tmp_path: Path) -> None:
    with under_way(tmp_path / "run", place, walkers()) as (run, ended):
        run.stop()
        until(lambda: "error" in ended, 60)
    assert isinstance(ended["error"], StoppedError)
    opened = da.open_run(tmp_path / "run")
    assert opened.status == "stopped" and not opened.live
    assert opened.results.sizes["round"] < ROUNDS
    results = da.resume(tmp_path / "run", client="sync", rounds=opened.results.sizes["round"] + 3)
    alone = da.run(walk, walkers(), rounds=results.sizes["round"], seed=3, client="sync")
    assert (results["at"].values == alone["at"].values).all()
    with pytest.raises(RunError, match="no process runs"):
        opened.pause()


def test_what_is_changed_from_outside_is_changed_again(place: Any, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with under_way(folder, place, walkers(), rounds=40) as (run, ended):
        run.pause()
        at = run.intervene(where={"city": "Oslo"}, at=1000.0)
        assert run.intervene(agents=[0], message="rain", round=at + 2) == at + 2
        with pytest.raises(UsageError, match="round 0 has begun"):
            run.intervene(agents=[0], at=1.0, round=0)
        with pytest.raises(UsageError, match="no field 'att'"):
            run.intervene(agents=[0], att=1.0)
        with pytest.raises(UsageError, match="there is no agent 40"):
            run.intervene(agents=[40], at=1.0)
        run.resume()
        until(lambda: "results" in ended or "error" in ended, 100)
    results = ended["results"]
    values = results["at"].values
    assert (values[at:, 1::2] > 1000).all() and (values[:at] < 1000).all()
    assert (values[:, 0::2] < 1000).all()
    again = da.replay(folder, client="sync")
    assert (again["at"].values == values).all()
    longer = da.resume(folder, client="sync", rounds=43)
    assert (longer["at"].values[:40] == values).all()


def test_agents_are_asked_after_a_run(tmp_path: Path) -> None:
    def answer(request: Any, rng: Any) -> str:
        return request.messages[0].content[-30:] + "|" + request.messages[-1].text

    model = models.Dummy(answer=answer)
    people = da.Population(Talker, {"name": [f"T{i}" for i in range(20)]}, block_size=8)
    da.run(talk, people, model=model, out=tmp_path / "run", client="sync")
    run = da.open_run(tmp_path / "run")
    before = run.usage["calls"]
    said = run.interview(3, "How are you?", model=model)
    assert "name: T3" in said and said.endswith("|How are you?")
    found = run.survey("Tea?", sample=5, model=model, name="tea")
    assert found.sizes["agent"] == 5 and found.attrs["question"] == "Tea?"
    assert set(found.coords) == {"agent", "name"}
    assert run.usage["calls"] == before + 6
    again = da.open_run(tmp_path / "run").surveys["tea"]
    xr.testing.assert_identical(again.load(), found)
    with pytest.raises(UsageError, match="give the survey another name"):
        run.survey("Tea?", sample=5, model=model, name="tea")
    with pytest.raises(UsageError, match="there is no agent 20"):
        run.interview(20, "Who?", model=model)
    with pytest.raises(UsageError, match="nobody is asked"):
        run.survey("Who?", where={"name": "Bob"}, model=model)
    da.resume(tmp_path / "run", model=model, rounds=4, client="sync")
