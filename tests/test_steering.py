"""Runs that are steered from elsewhere, and agents that are asked from outside."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import xarray as xr
from distributed import Client
from worlds import events, rounds_closed, until

import daskagents as da
from daskagents import models
from daskagents.cli import main
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


class Shop(da.Environment):
    """Has a price."""

    price: float = 1.0


class Buyer(da.Agent):
    """Looks at the price."""

    def reply(self, message: da.Message) -> float:
        return float(self.env.price) + 10 * len(self.inbox)


def buy(buyers: da.Population, shop: Shop, rounds: int = 60) -> Iterator[Any]:
    for _ in range(rounds):
        yield {"paid": buyers.reply(env=shop)}


def test_environments_and_inboxes_are_changed(tmp_path: Path) -> None:
    folder = tmp_path / "run"

    def shopping(buyers: da.Population, rounds: int = 60) -> Iterator[Any]:
        yield from buy(buyers, Shop(), rounds)

    people = da.Population(Buyer, 4)
    with under_way(folder, "sync", people, workflow=shopping, rounds=60) as (run, ended):
        run.pause()
        with pytest.raises(UsageError, match="has no environment 'shops'; it has shop"):
            run.intervene(environment="shops", price=5.0)
        with pytest.raises(UsageError, match="Shop has no field 'prize'"):
            run.intervene(environment="shop", prize=5.0)
        at = run.intervene(environment="shop", price=5.0)
        assert run.intervene(agents=[2], message="hello", round=at) == at
        run.resume()
        until(lambda: "results" in ended or "error" in ended, 100)
    paid = ended["results"]["paid"].values
    assert (paid[:at] == 1).all() and (paid[at + 1 :] == 5).all()
    assert paid[at].tolist() == [5, 5, 15, 5]
    changes = [e["agents"] for e in events(folder) if e["event"] == "intervened"]
    assert changes == [0, 1]


class Waiting(da.Agent):
    """Asks a model, and then waits for a file, if it is told of one."""

    said: int = 0

    async def reply(self, message: da.Message) -> int:
        await self.chat("again")
        self.said += 1
        while message.content and not Path(message.content).exists():
            await asyncio.sleep(0.02)
        return self.said


def waiting(people: da.Population, file: str) -> Iterator[Any]:
    for heard in ("", file):
        yield {"said": people.reply(heard)}


def test_an_agent_answers_while_a_step_is_under_way(client3: Client, tmp_path: Path) -> None:
    folder, file, model = tmp_path / "run", tmp_path / "go", models.Dummy(answer="fine")
    people = da.Population(Waiting, 12, block_size=4, model=model)
    ended: dict[str, Any] = {}

    def drive() -> None:
        ended["results"] = da.run(waiting, people, str(file), client=client3, out=folder)

    thread = threading.Thread(target=drive)
    thread.start()
    under_way = lambda: len(list((folder / "journal").glob("000001/*/*/answers"))) == 3  # noqa: E731
    try:
        until(under_way)
        run = da.open_run(client3.scheduler.address)
        assert run.folder == folder and run.live
        assert run.interview(5, "How are you?") == "fine"
        found = run._ask(do="look", agents=[5])  # of the step before, as this one is under way
        assert found["rows"][0]["values"] == {"said": 1}
        most = run._ask(do="find", by="said", where={"said": 1})
        assert (most["found"], [row["id"] for row in most["rows"]]) == (12, list(range(12)))
        assert under_way() and not ended
    finally:
        file.touch()
        thread.join(60)
    assert ended["results"]["said"].values[:, 5].tolist() == [1, 2]
    assert run.journal(agent=5).sizes["chat"] == 3
    with pytest.raises(RunError, match="has ended"):
        run.state()
    with pytest.raises(RunError, match="no run is under way"):
        da.open_run(client3.scheduler.address)


def test_options_are_shuffled_for_each_agent(tmp_path: Path) -> None:
    def first(request: Any, rng: Any) -> Any:
        text = request.messages[-1].text
        return text.partition("one of these: ")[2].split("; ")[0] if "these" in text else "hm"

    people = da.Population(Talker, {"name": ["Ann", "Bob"] * 50}, model=models.Dummy(answer=first))
    da.run(talk, people, rounds=1, out=tmp_path / "run", client="sync")
    run = da.open_run(tmp_path / "run")
    model = models.Dummy(answer=first)
    plain = run.survey("Drink?", choices=["tea", "coffee"], model=model)
    assert set(plain["answer"].values) == {"tea"}
    mixed = run.survey("Drink?", choices=["tea", "coffee"], shuffle=True, model=model)
    assert 30 < (mixed["answer"].values == "tea").sum() < 70
    by = mixed["answer"].groupby("name").count()
    assert by.values.tolist() == [50, 50]
    for wrong in ({"choices": ["tea"]}, {"choices": ["a", "b"], "schema": int}, {"sample": 0}):
        with pytest.raises(UsageError):
            run.survey("Drink?", model=model, **wrong)  # type: ignore[arg-type]


WALK = """
import daskagents as da

class Walker(da.Agent):
    city: str = "Rome"
    at: float = 0.0

    def reply(self, message) -> float:
        self.at += self.rng.random()
        return self.at

    def interview(self, message) -> str:
        return f"{message.text} [{self.id}]"

def walk(walkers, rounds=1000):
    for _ in range(rounds):
        yield {"at": walkers.reply()}
"""


def test_a_run_is_steered_from_a_shell_and_may_be_killed_while_it_is_paused(
    start: Callable[..., subprocess.Popen[str]],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    (tmp_path / "walk.py").write_text(WALK, encoding="utf-8")
    folder = str(tmp_path / "a")
    process = start("run", "walk.py", "-n", 20, "--sync", "--out", "a")

    def said(*words: str) -> tuple[int, str, str]:
        code = main(words)
        out, err = capsys.readouterr()
        return code, out.strip(), err.strip()

    until(lambda: process.poll() is not None or rounds_closed(tmp_path / "a") >= 2)
    code, out, _ = said("pause", folder)
    assert code == 0 and out.startswith("paused in round ") and "daskagents resume" in out
    assert said("status", folder)[1].startswith("walk: paused, round ")
    assert said("interview", folder, "3", "Who?")[:2] == (0, "Who? [3]")
    code, out, _ = said("survey", folder, "Who?", "--where", "city=Rome", "--sample", "5", "--json")
    assert json.loads(out)["asked"] == 5
    assert said("intervene", folder, "at=x") == (
        2, "", "error: column 'at' of Walker: row 0 holds 'x', which is no float"
    )  # fmt: skip
    assert said("intervene", folder, "at=500", "--agent", "3")[0] == 0
    assert said("resume", folder)[1].startswith("going on in round ")
    assert said("pause", folder)[0] == 0
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(30)
    until(lambda: not da.open_run(folder).live)
    code, out, _ = said("status", folder, "--json")
    assert json.loads(out)["state"] == "not under way"
    assert said("pause", folder)[0] == 1
    rounds = json.loads(out)["rounds"] + 5
    code, out, err = said("resume", folder, "--sync", "-p", f"rounds={rounds}", "--json")
    assert code == 0, err
    at = da.open_run(folder).results["at"].values
    assert (at[-1] > 500).tolist() == [agent == 3 for agent in range(20)]


def test_the_program_of_the_page_runs(tmp_path: Path) -> None:
    text = (Path(__file__).parents[1] / "docs" / "steering.md").read_text(encoding="utf-8")
    program = text.partition("```python\n")[2].partition("```")[0]
    (tmp_path / "walk.py").write_text(
        program.replace('"runs/walk")', '"runs/walk", client="sync")', 1)
    )
    done = subprocess.run(
        [sys.executable, "walk.py"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert re.fullmatch(
        r"I have walked \d+ km in Oslo.\nI have walked \d+ km in Rome.\n", done.stdout
    )


def test_agents_that_were_typed_in_are_asked(tmp_path: Path) -> None:
    text = (Path(__file__).parents[1] / "docs" / "steering.md").read_text(encoding="utf-8")
    program = text.partition("```python\n")[2].partition("```")[0]
    here = program.replace('"runs/walk")', '"runs/walk", client="sync")', 1)
    words = [sys.executable, "-c", here]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "in Oslo." in done.stdout, done.stderr
