"""A run that goes on: whenever it was killed, the result is that of a run that was not."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from distributed import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from worlds import Player, Speaker, same

import daskagents as da
from daskagents import models
from daskagents.errors import (
    AgentError,
    BudgetError,
    EndpointError,
    FolderError,
    RunError,
    UsageError,
)


class Walker(da.Agent):
    """Asks its model, draws before and after, remembers, and sometimes fails."""

    kind: str = "slow"
    place: float = 0.0

    async def reply(self, message: da.Message) -> Any:
        step = self.rng.gauss()
        answer = await self.chat(f"{self.kind} walker, heard {message.content}: where to?")
        if self.kind == "odd" and self.rng.random() < 0.2:
            raise ValueError(f"walker {self.id} fell at {self.place:.2f}")
        more = await self.chat("And then?") if self.rng.random() < 0.5 else None
        self.place += step + float(answer.text) + (float(more.text) if more else 0.0)
        return {"place": self.place, "word": answer.text}


class Judge(da.Agent):
    """Says what it thinks of a number, and how often it was asked."""

    asked: int = 0

    def reply(self, message: da.Message) -> str:
        self.asked += 1
        return f"{message.content:.3f} is the {self.asked}."


def world(walkers: Any, players: Any, judge: Any, rounds: int = 7) -> Iterator[Any]:
    """Do all that a workflow may: hand on what still computes, read, choose, let others talk."""
    winner: Any = 0.0
    for number in range(rounds):
        walked = walkers.reply(winner)
        guesses = players.sel(level=[0, 1]).reply(walked["place"].max())
        if number % 3 == 1:
            winner = float(guesses["guess"].mean())
        else:
            winner = guesses["guess"].mean() + walked["place"].mean()
        said = judge(guesses["guess"].max())
        if number == 2:
            players.do("count")
        best = walked["place"].argmax("agent").values if number % 2 else 0
        own = {"winner": winner, "best": best, "said": said, "far": walked["place"] * 2}
        yield {"place": walked["place"], "word": walked["word"], **own}


SNAPS: dict[str, Any] = {}
CALLS = itertools.count()


def direction(request: Any, rng: Any) -> str:
    """Answer with a draw of the agent; at some call, copy the run as a kill would leave it."""
    wanted = SNAPS.get("at")
    if wanted is not None and next(CALLS) == wanted:
        shutil.copytree(SNAPS["from"], SNAPS["to"])
    return f"{rng.gauss():.6f}"


def walkers(n: int = 24) -> da.Population:
    kinds = ["slow", "quick", "odd"] * (n // 3)
    return da.Population(Walker, {"kind": kinds}, block_size=7, model=models.Dummy(0, direction))


def crowd() -> da.Population:
    return da.Population(Player, {"level": [0, 1, 2] * 10}, name="player")


OPTIONS: Any = {"seed": 3, "max_failed": 0.5, "checkpoint_every": 2, "progress": False}


def go(out: Path | None, client: Any = "sync", **more: Any) -> xr.Dataset:
    judge = da.spawn(Judge(), name="judge")
    return da.run(world, walkers(), crowd(), judge, out=out, client=client, **{**OPTIONS, **more})


@pytest.fixture(scope="module")
def undisturbed() -> xr.Dataset:
    return go(None)


def snapshot(tmp_path: Path, at: int) -> Path:
    """Return a run directory as it is when a call is answered."""
    global CALLS
    CALLS = itertools.count()
    SNAPS.update(at=at, **{"from": tmp_path / "whole", "to": tmp_path / "cut"})
    try:
        go(tmp_path / "whole")
    finally:
        SNAPS.clear()
    return tmp_path / "cut"


@settings(max_examples=3, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 230))
def test_a_run_goes_on_from_any_call(tmp_path_factory: Any, undisturbed: Any, at: int) -> None:
    cut = snapshot(tmp_path_factory.mktemp("run"), at)
    before = da.open_run(cut).usage["calls"]
    assert before <= at
    same(go(cut, resume=True), undisturbed)
    whole = int(undisturbed["calls"].sum())
    assert da.open_run(cut).usage["calls"] == whole
    same(da.replay(cut, client="sync").drop_vars(TAKEN), undisturbed.drop_vars(TAKEN))


#: What a replay says of itself alone.
TAKEN = ["calls", "prompt_tokens", "completion_tokens", "cost", "seconds_waiting", "retries"]


def test_on_other_workers_and_more_than_once(
    tmp_path: Path, undisturbed: Any, client1: Client, client3: Client
) -> None:
    cut = snapshot(tmp_path, 100)
    shutil.copytree(cut, tmp_path / "again")
    same(go(cut, client3, resume=True), undisturbed)
    same(go(tmp_path / "again", client1, resume=True), undisturbed)
    same(go(cut, client1, resume=True), undisturbed)  # it is done: nothing is left to do


def test_a_checkpoint_that_is_torn_is_passed_over(tmp_path: Path, undisturbed: Any) -> None:
    cut = snapshot(tmp_path, 190)
    generations = sorted((cut / "checkpoints").iterdir())
    state = generations[-1] / "state.json"
    state.write_text(state.read_text()[:-5])
    same(go(cut, resume=True), undisturbed)


def flip(generation: Path) -> None:
    """Flip a bit in a block of a checkpoint."""
    chunk = next(p for p in sorted(generation.rglob("0")) if "place" in str(p))
    data = bytearray(chunk.read_bytes())
    data[3] ^= 1
    chunk.write_bytes(data)


def test_a_damaged_checkpoint_gives_way_to_the_one_before(
    tmp_path: Path, undisturbed: Any, caplog: Any
) -> None:
    cut = snapshot(tmp_path, 190)
    older, newest = sorted((cut / "checkpoints").iterdir())
    flip(newest)
    same(go(cut, resume=True), undisturbed)
    assert re.search(rf"{newest}.*place is damaged.* checkpoint before, {older}", caplog.text)


def test_checkpoints_that_are_all_damaged_are_named(tmp_path: Path) -> None:
    cut = snapshot(tmp_path, 190)
    generations = sorted((cut / "checkpoints").iterdir())
    for generation in generations:
        flip(generation)
    for _ in range(2):  # and both stay where they are, for the newest may be restored
        with pytest.raises((FolderError, RunError), match=f"{generations[-1]}.*place is damaged"):
            go(cut, resume=True)
    assert sorted((cut / "checkpoints").iterdir()) == generations


def test_more_rounds(tmp_path: Path) -> None:
    longer = go(None, rounds=10)
    go(tmp_path / "run", rounds=4)
    same(go(tmp_path / "run", rounds=7, resume=True), go(None, rounds=7))
    same(go(tmp_path / "run", rounds=10, resume=True), longer)
    with pytest.raises(RunError, match="ends after 8 rounds, and has had 10"):
        go(tmp_path / "run", rounds=8, resume=True)
    assert da.open_run(tmp_path / "run").status == "done"


def test_what_is_asked_after_the_last_round_does_not_count_twice(tmp_path: Path) -> None:
    def trailing(players: Any, rounds: int = 2) -> Iterator[Any]:
        for _ in range(rounds):
            yield {"x": players.do("count")}
        players.do("count")

    def play(out: Path | None, rounds: int) -> xr.Dataset:
        people = da.Population(Player, 6)
        return da.run(
            trailing, people, rounds=rounds, client="sync", out=out, resume=out is not None
        )

    play(tmp_path / "run", 2)
    same(play(tmp_path / "run", 5), play(None, 5))


def drifting(players: Any, rounds: int = 6) -> Iterator[Any]:
    """Hand on replies that are yielded nowhere, from long ago."""
    first = players.reply(1.0)
    for _ in range(rounds):
        players.reply(first["guess"].mean())
        yield {"level": players.do("count")}


def test_what_is_stored_nowhere_is_computed_again(tmp_path: Path) -> None:
    def play(out: Path | None, rounds: int = 6) -> xr.Dataset:
        people = da.Population(Player, 30)
        options: Any = {"client": "sync", "checkpoint_every": 2, "resume": out is not None}
        return da.run(drifting, people, rounds=rounds, out=out, **options)

    play(tmp_path / "run", 3)
    same(play(tmp_path / "run"), play(None))


def failing_after(rounds_before: int) -> Callable[..., Iterator[Any]]:
    def large(players: Any) -> Iterator[Any]:
        for number in range(6):
            replies = players.reply(1.0)
            top = replies["guess"].values.max()  # of very many, so only its digest is noted
            yield replies.assign(top=top)
            if number == rounds_before:
                raise ValueError("here it ends")

    return large


def test_what_was_read_in_large_is_read_again(tmp_path: Path) -> None:
    def play(workflow: Any, out: Path | None, resume: bool = False) -> xr.Dataset:
        people = da.Population(Player, 3_000, block_size=500)
        options: Any = {"client": "sync", "checkpoint_every": 2, "accept_changes": True}
        return da.run(workflow, people, out=out, resume=resume, **options)

    with pytest.raises(ValueError, match="here it ends"):
        play(failing_after(4), tmp_path / "run")
    assert da.open_run(tmp_path / "run").status == "failed"
    same(play(failing_after(9), tmp_path / "run", resume=True), play(failing_after(9), None))


def clocked(players: Any) -> Iterator[Any]:
    for number in range(5):
        yield players.reply(time.time() if CLOCK else float(number))


CLOCK: list[int] = []


def test_a_workflow_that_goes_another_way_is_told_where(tmp_path: Path) -> None:
    def play(resume: bool) -> xr.Dataset:
        people = da.Population(Player, 10)
        options: Any = {"client": "sync", "checkpoint_every": 2, "out": tmp_path / "run"}
        return da.run(clocked, people, resume=resume, **options)

    play(False)
    CLOCK.append(1)
    try:
        with pytest.raises(
            RunError, match=r"step 0 differs .*input was .* and is .*a clock, random"
        ):
            play(True)
    finally:
        CLOCK.clear()


def hasty(players: Any) -> Iterator[Any]:
    for _ in range(3):
        replies = players.reply(1.0)
        mean = float(replies["guess"].mean())
        yield {"mean": mean + len(CLOCK)}


class Restless(Player):
    def reply(self, message: da.Message) -> Any:
        return {"guess": float(len(CLOCK)), "note": ""}


def test_a_value_that_differs_is_told(tmp_path: Path) -> None:
    def play(out: Path, resume: bool) -> xr.Dataset:
        people = da.Population(Restless, 10)
        return da.run(hasty, people, client="sync", out=out, resume=resume, checkpoint_every=50)

    play(tmp_path / "run", False)
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    CLOCK.append(1)
    try:
        with pytest.raises(RunError, match=r"value 0 that the workflow reads was .*0\.0.* 1\.0"):
            play(tmp_path / "run", True)
    finally:
        CLOCK.clear()


def test_a_run_is_written_by_one_process_only(tmp_path: Path) -> None:
    def nosy(players: Any) -> Iterator[Any]:
        with pytest.raises(FolderError, match=r"is being written by another run \(process \d+ on "):
            da.run(
                hasty, da.Population(Player, 2), client="sync", out=tmp_path / "run", resume=True
            )
        yield players.reply(1.0)

    da.run(nosy, da.Population(Player, 2), client="sync", out=tmp_path / "run")


def test_a_folder_with_a_run_is_not_overwritten(tmp_path: Path) -> None:
    go(tmp_path / "run", rounds=1)
    with pytest.raises(FolderError, match=r"holds another run; .*resume=True"):
        go(tmp_path / "run", rounds=1)
    with pytest.raises(UsageError, match="give it as `out`"):
        go(None, resume=True)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seed": 4}, "the seed was 3 and is 4"),
        ({"walkers": 27}, "number or blocks of the population 'walkers' differ"),
    ],
)
def test_another_program_is_refused(tmp_path: Path, change: Any, words: str) -> None:
    go(tmp_path / "run", rounds=2)
    judge = da.spawn(Judge(), name="judge")
    people = walkers(change.pop("walkers", 24))
    options = {**OPTIONS, "client": "sync", "out": tmp_path / "run", "resume": True, **change}
    with pytest.raises(UsageError, match=f"(?s){words}.*start anew"):
        da.run(world, people, crowd(), judge, rounds=3, **options)


def test_a_spent_budget_is_raised(tmp_path: Path) -> None:
    def talk(speakers: Any) -> Iterator[Any]:
        for _ in range(4):
            yield {"said": speakers.reply("Well?")}

    def play(out: Path | None, **more: Any) -> xr.Dataset:
        people = da.Population(Speaker, {"name": ["a", "b", "c", "d"] * 5})
        options: Any = {"model": models.Dummy(0, direction), "client": "sync", "seed": 1}
        return da.run(talk, people, out=out, **options, **more)

    with pytest.raises(BudgetError, match="50 of 50 calls"):
        play(tmp_path / "run", budget=da.Budget(calls=50))
    opened = da.open_run(tmp_path / "run")
    assert (opened.status, opened.usage["calls"]) == ("out of budget", 50)
    with pytest.raises(BudgetError, match="50 of 50 calls"):
        play(tmp_path / "run", budget=da.Budget(calls=50), resume=True)
    result = play(tmp_path / "run", budget=da.Budget(calls=80), resume=True)
    waited = "seconds_waiting"  # for leave to spend
    same(result.drop_vars(waited), play(None).drop_vars(waited))
    assert da.open_run(tmp_path / "run").usage["calls"] == 80


def test_the_journal_can_be_read(tmp_path: Path) -> None:
    result = go(tmp_path / "run", rounds=3)
    opened = da.open_run(tmp_path / "run")
    table = opened.journal()
    assert table.sizes["chat"] == opened.usage["calls"] == int(result["calls"].sum())
    by_round = [int((table["round"] == number).sum()) for number in range(3)]
    assert by_round == result["calls"].values.tolist()
    some = opened.journal(round=[1, 2], agent=5)
    assert set(some["agent"].values) == {5} and set(some["round"].values) == {1, 2}
    assert all(
        re.match(r"user: (odd walker, heard|And then)", text) for text in some["request"].values
    )
    turns = opened.conversation(agent=5)
    assert [turn.role for turn in turns] == ["user", "assistant"] * (len(turns) // 2)
    assert turns[1].content == table["answer"].values[(table["agent"] == 5).values][0]


def test_who_failed_and_why_can_be_asked(tmp_path: Path) -> None:
    result = go(tmp_path / "run", rounds=4)
    table = da.open_run(tmp_path / "run").failures()
    assert table.sizes["failure"] == int(result["n_failed"].sum()) > 2
    assert set(table["error"].values) == {"ValueError"}
    for row in range(table.sizes["failure"]):
        one = table.isel(failure=row)
        number, agent = int(one["round"]), int(one["agent"])
        assert bool(result["failed"][number, agent]) and np.isnan(result["place"][number, agent])
        assert str(one["message"].values).startswith(f"walker {agent} fell at ")
        assert "in reply" in str(one["where"].values)
        assert re.fullmatch(r"-?\d\.\d{6}", str(one["answer"].values))
    some = da.open_run(tmp_path / "run").failures(round=int(table["round"][0]))
    assert set(some["round"].values) == {int(table["round"][0])}


def test_what_an_agent_remembers_is_told_once(tmp_path: Path) -> None:
    def talk(speakers: Any) -> Iterator[Any]:
        for number in range(3):
            yield {"said": speakers.reply(f"question {number}")}

    people = da.Population(Speaker, {"name": ["a", "b"]})
    model = models.Dummy(0, direction)
    da.run(talk, people, model=model, client="sync", out=tmp_path / "run")
    turns = da.open_run(tmp_path / "run").conversation(agent=1)
    assert [turn.role for turn in turns] == ["user", "assistant"] * 3
    assert [turn.content for turn in turns[::2]] == [f"question {number}" for number in range(3)]


def test_a_replay_of_something_else_says_what_is_missing(tmp_path: Path) -> None:
    go(tmp_path / "run", rounds=2)

    def other(walkers: Any, players: Any, judge: Any, rounds: int = 7) -> Iterator[Any]:
        for _ in range(rounds):
            yield walkers.reply("another question")

    with pytest.raises(
        RunError, match=r"step 0, block 0, agent \d, chat 0: it asks something else"
    ):
        da.replay(tmp_path / "run", workflow=other, client="sync")
    found = da.replay(tmp_path / "run", workflow=other, client="sync", on_miss="call", rounds=1)
    assert int(found["calls"].sum()) >= 24
    assert np.isfinite(found["place"].values).any()
    with pytest.raises(UsageError, match="give 'error' or 'call'"):
        da.replay(tmp_path / "run", on_miss="ask")  # type: ignore[arg-type]


def test_from_the_folder_alone(tmp_path: Path, undisturbed: Any) -> None:
    cut = snapshot(tmp_path, 120)
    same(da.resume(cut, client="sync"), undisturbed)
    with pytest.raises(FolderError, match="holds no run"):
        da.resume(tmp_path / "nothing")


def test_what_cannot_be_found_again_is_asked_for(tmp_path: Path) -> None:
    people = da.Population(Speaker, 4)
    model = models.Dummy(0, lambda request, rng: "yes")

    da.run(says, people, model=model, client="sync", out=tmp_path / "run")
    with pytest.raises(UsageError, match=r"the model \(answer\) has a function .*<lambda>.*model="):
        da.resume(tmp_path / "run", rounds=2, client="sync")
    found = da.resume(tmp_path / "run", rounds=2, client="sync", model=model)
    assert found.sizes["round"] == 2
    replayed = da.replay(tmp_path / "run", rounds=2, client="sync")  # nobody is asked
    assert (replayed["said"].values == found["said"].values).all()


class Citizen(da.Agent):
    town: str
    steps: int = 0

    def reply(self, message: da.Message) -> Any:
        self.steps += 1
        return {"heard": f"{self.town} {self.steps}"}


def counting(citizens: Any, rounds: int = 2) -> Iterator[Any]:
    for _ in range(rounds):
        yield citizens.reply()


def test_agents_with_what_they_must_be_given(tmp_path: Path) -> None:
    people = da.Population(Citizen, {"town": ["Bonn", "Ulm", "Ulm"]})
    da.run(counting, people, client="sync", out=tmp_path / "run")
    found = da.resume(tmp_path / "run", rounds=3, client="sync")
    assert found["heard"].values[2].tolist() == ["Bonn 3", "Ulm 3", "Ulm 3"]


def test_a_run_killed_before_it_began(tmp_path: Path) -> None:
    da.run(
        counting, da.Population(Citizen, {"town": ["Bonn"]}), client="sync", out=tmp_path / "run"
    )
    about = json.loads((tmp_path / "run" / "run.json").read_text())
    del about["populations"], about["crc"]
    (tmp_path / "run" / "run.json").write_text(json.dumps(about))
    with pytest.raises(UsageError, match="killed before the run began; run the program itself"):
        da.resume(tmp_path / "run", client="sync")


def test_damaged_events_are_named_and_the_folder_stays_free(tmp_path: Path) -> None:
    go(tmp_path / "run", rounds=2)
    path = tmp_path / "run" / "events.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([lines[0], lines[1][:12] + "~" + lines[1][13:], *lines[2:]]))
    for _ in range(2):
        with pytest.raises(FolderError, match=r"events.jsonl, line 2 is damaged"):
            go(tmp_path / "run", resume=True)


def says(speakers: Any, rounds: int = 1) -> Iterator[Any]:
    for _ in range(rounds):
        yield {"said": speakers.reply("Well?")}


class Shaky(da.Agent):
    """Asks, and fails where its model does."""

    async def reply(self, message: da.Message) -> float:
        return float((await self.chat(f"{self.id} {message.content}")).text)


DOWN: list[int] = []


def shaky(request: Any, rng: Any) -> str:
    if request.messages[-1].text.startswith(("3 ", "4 ")) and DOWN:
        raise EndpointError("it is down")
    return f"{rng.random():.6f}"


def reads_means(people: Any, rounds: int = 3) -> Iterator[Any]:
    mean = 0.0
    for number in range(rounds):
        replies = people.reply(mean)
        mean = float(replies.mean())
        if number == 1 and "to" in SNAPS:
            shutil.copytree(SNAPS["from"], SNAPS["to"])
            SNAPS.clear()
        yield {"x": replies, "mean": mean}


def shake(out: Path | None, **more: Any) -> xr.Dataset:
    people = da.Population(Shaky, 10, block_size=5)
    model = models.Dummy(0, shaky)
    return da.run(reads_means, people, model=model, client="sync", seed=1, out=out, **more)


def test_a_mean_of_too_few_does_not_stand_in_the_way(tmp_path: Path) -> None:
    """A run that stopped as agents failed goes on, though a value of them was read."""
    DOWN.append(1)
    try:
        with pytest.raises(RunError, match="2 of 10 agents failed"):
            shake(tmp_path / "run")
    finally:
        DOWN.clear()
    same(da.resume(tmp_path / "run", client="sync"), shake(None))


def test_agents_that_failed_before_a_value_was_read_stay_failed(tmp_path: Path) -> None:
    """Killed in the middle of a round: what was read of it was without them."""
    SNAPS.update({"from": tmp_path / "whole", "to": tmp_path / "cut"})
    DOWN.append(1)
    try:
        whole = shake(tmp_path / "whole", max_failed=0.5, rounds=2)
    finally:
        DOWN.clear()
        SNAPS.clear()
    cut = da.resume(tmp_path / "cut", client="sync")
    assert whole["n_failed"].values.tolist() == cut["n_failed"].values.tolist() == [2, 2]
    same(whole, cut)


class Caller(da.Agent):
    async def reply(self, message: da.Message) -> str:
        return (await self.chat(f"3 {message.content}")).text


def calls(caller: Any) -> Iterator[Any]:
    yield {"said": caller("well?").content}


def test_a_named_agent_that_failed_is_asked_again(tmp_path: Path) -> None:
    def call(out: Path | None) -> xr.Dataset:
        caller = da.spawn(Caller(), name="caller", model=models.Dummy(0, shaky))
        return da.run(calls, caller, client="sync", out=out, resume=out is not None)

    DOWN.append(1)
    try:
        with pytest.raises(AgentError, match="it is down"):
            call(tmp_path / "run")
    finally:
        DOWN.clear()
    same(call(tmp_path / "run"), call(None))


def raises(request: Any, rng: Any) -> str:
    if request.messages[-1].text.startswith("3 "):
        raise ValueError("no answer to 3")
    return f"{rng.random():.6f}"


def test_a_model_that_raises_what_it_likes_is_replayed(tmp_path: Path) -> None:
    people = da.Population(Shaky, 10, model=models.Dummy(0, raises))
    first = da.run(
        reads_means, people, client="sync", out=tmp_path / "run", max_failed=0.5, rounds=2
    )
    assert first["n_failed"].values.tolist() == [1, 1]
    same(da.replay(tmp_path / "run", client="sync").drop_vars(TAKEN), first.drop_vars(TAKEN))
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    same(da.resume(tmp_path / "run", client="sync"), first)
