from __future__ import annotations

import asyncio
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import msgspec
import numpy as np
import pytest
import xarray as xr
from bridge_town import SIZE, citizens, town
from bridge_town import model as town_model
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import drawn

import daskagents as da
from daskagents import models
from daskagents.errors import FolderError, UsageError
from daskagents.fields import make_field
from daskagents.monitor.asking import answer, ask
from daskagents.monitor.finding import PAGE, Query, find, read_query
from daskagents.monitor.history import conversation, history
from daskagents.monitor.stored import items_of, values_of

N, ROUNDS = 130, 3
SCRIPT = "<script>alert('no')</script>"


class Citizen(da.Agent):
    """Has something of each kind, and fails now and then."""

    city: str = ""
    age: int | None = None
    keen: bool = False
    mood: Literal["good", "bad"] = "good"
    pair: tuple[int, str] = (0, "")

    def reply(self, message: da.Message) -> Any:
        if (self.id + message.content) % 9 == 4:
            raise ValueError(f"agent {self.id} has had enough of {message.content}")
        self.pair = (message.content, "seen")
        self.mood = "bad" if self.id % 4 == 0 else "good"
        if self.id == 5:
            self.send(7, f"hello {SCRIPT}")
        return {"x": float(self.rng.randint(0, 5)), "word": SCRIPT if self.id == 3 else "w" * 300}


class Asker(da.Agent):
    """Asks its model, and remembers."""

    async def reply(self, message: da.Message) -> str:
        self.remember(message)
        answer = await self.chat(messages=self.memory)
        self.remember(answer)
        return answer.text


def both(citizens: Any, askers: Any) -> Any:
    for number in range(ROUNDS):
        replies = citizens.reply(number)
        said = askers.reply(f"What of {number}? " + "It matters. " * 8)
        yield replies.assign(said=said)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("found") / "run"
    cities = ["Oslo", "Rome", "Lima"]
    table = {
        "city": [cities[at % 3] for at in range(N)],
        "age": [None if at % 10 == 0 else at for at in range(N)],
        "keen": [at % 2 == 0 for at in range(N)],
    }
    people = da.Population(Citizen, table, block_size=40)
    askers = da.Population(Asker, 7, name="askers", block_size=3)
    model = models.Dummy(answer=drawn)
    da.run(both, people, askers, model=model, client="sync", out=folder, max_failed=1.0, seed=3)
    return folder


@pytest.fixture(scope="module")
def results(run: Path) -> xr.Dataset:
    return da.open_run(run).results.compute()


def travels(value: Any) -> None:
    """Check that it is plain."""
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(value)) == value
    assert json.loads(json.dumps(value, allow_nan=False)) == value


def ids(found: dict[str, Any]) -> list[int]:
    return [row["id"] for row in found["rows"]]


def test_fifty_at_a_time_by_id(run: Path, results: xr.Dataset) -> None:
    pages = [find(run, "", Query(), start) for start in (0, 50, 100, 150)]
    assert [each["found"] for each in pages] == [N] * 4
    assert [ids(each) for each in pages] == [
        list(range(0, 50)), list(range(50, 100)), list(range(100, 130)), []
    ]  # fmt: skip
    assert pages[0]["round"] == ROUNDS - 1
    names = [name for _, name in pages[0]["columns"]]
    assert names == ["x", "word", "city", "age", "keen"]
    for page in pages:
        travels(page)
        for row in page["rows"]:
            told = dict(zip(names, row["values"], strict=True))
            x = float(results["x"][-1, row["id"]])
            assert told["x"] == (None if np.isnan(x) else x)
            assert told["city"] == results["city"].values[row["id"]]
            assert row["failed"] == bool(results["failed"][-1, row["id"]])
            assert ("why" in row) == row["failed"]


def test_texts_are_cut_and_say_how_long_they_are(run: Path) -> None:
    (row,) = find(run, "", Query(ids=(8,)))["rows"]
    assert row["values"][1] == "w" * 200 + "… (300 characters)"


@settings(max_examples=40)
@given(
    round_=st.integers(-ROUNDS, ROUNDS - 1),
    where=st.sampled_from([None, ("city", "Oslo"), ("age", "31"), ("age", ""), ("keen", "yes")]),
    failed=st.sampled_from(["", "round", "ever"]),
    by=st.sampled_from([None, "x", "age"]),
    largest=st.booleans(),
    start=st.sampled_from([0, 3, 50, 200]),
)
def test_what_is_found_is_what_the_results_say(
    run: Path,
    results: xr.Dataset,
    round_: int,
    where: tuple[str, str] | None,
    failed: Any,
    by: str | None,
    largest: bool,
    start: int,
) -> None:
    meant = np.ones(N, bool)
    if where is not None:
        column = results[where[0]].values
        value: Any = {"31": 31, "yes": True}.get(where[1], where[1])
        meant &= np.isnan(column) if value == "" else column == value
    if failed:
        flags = results["failed"].values
        meant &= flags[round_] if failed == "round" else flags.any(axis=0)
    expected = np.flatnonzero(meant)
    if by is not None:
        keys = (results["x"].values[round_] if by == "x" else results["age"].values)[expected]
        expected, keys = expected[~np.isnan(keys)], keys[~np.isnan(keys)]
        expected = expected[np.argsort(-keys if largest else keys, kind="stable")]
    query = Query(
        where=None if where is None else ("given", *where),
        failed=failed,
        by=None if by is None else ("reply" if by == "x" else "given", by),
        largest=largest,
        round=round_,
    )
    found = find(run, "citizens", read_query(msgspec.to_builtins(query)), start)
    assert found["found"] == len(expected)
    assert ids(found) == expected[start : start + PAGE].tolist()


def test_state_is_that_of_the_newest_checkpoint(run: Path) -> None:
    found = find(run, "", Query(where=("state", "mood", "bad"), by=("state", "age")))
    # those whose last reply failed keep what they had
    assert found["found"] == sum(at % 4 == 0 and at % 10 != 0 for at in range(N))
    assert ids(found)[:3] == [128, 124, 116]
    assert found["columns"][:2] == [["state", "age"], ["state", "mood"]]


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"by": ["reply", "word"]}, "only numbers have a largest"),
        ({"by": ["reply", "y"]}, "no reply 'y' in the results; it has x, word"),
        ({"where": ["given", "town", "x"]}, "no given column 'town'"),
        ({"where": ["state", "town", "x"]}, "no field 'town'; it has city, age"),
        ({"where": ["given", "age", "old"]}, "'old' is no number"),
        ({"where": ["given", "keen", "very"]}, "'very' is neither true nor false"),
        ({"round": 9}, "there is no round 9"),
    ],
)
def test_what_cannot_be_found_is_said(run: Path, query: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        find(run, "", read_query(query))


def test_what_is_no_run_or_no_population(run: Path, tmp_path: Path) -> None:
    with pytest.raises(FolderError, match="holds no run"):
        find(tmp_path, "", Query())
    with pytest.raises(UsageError, match="it has citizens, askers"):
        find(run, "people", Query())


def test_one_agent_over_the_rounds(run: Path, results: xr.Dataset) -> None:
    for agent in (0, 3, 4, 77, 129):
        found = history(run, "", agent)
        travels(found)
        assert found["of"] == [0, 1, 2] and found["agents"] == N and found["notes"] == []
        expected = [None if np.isnan(x) else x for x in results["x"].values[:, agent].tolist()]
        assert found["replies"]["x"] == expected
        assert found["failed"] == results["failed"].values[:, agent].tolist()
        failures = da.open_run(run).failures(agent=agent)
        assert [each["message"] for each in found["failures"][::-1]] == list(
            failures["message"].values
        )
        assert found["given"]["city"] == results["city"].values[agent]
        state = found["state"]
        last = max(r for r in range(ROUNDS) if not found["failed"][r])
        assert state["values"]["pair"] == f'[{last}, "seen"]' and state["round"] == ROUNDS
    assert history(run, "", 3)["replies"]["word"][2] == SCRIPT


def test_while_a_run_is_under_way(tmp_path: Path) -> None:
    seen: list[Any] = []

    def looking(citizens: Any) -> Any:
        with pytest.raises(UsageError, match="no round is in the results yet"):
            find(tmp_path / "run", "", Query(by=("reply", "x")))
        assert history(tmp_path / "run", "", 3)["state"] is None
        for number in range(3):
            yield citizens.reply(number)
            seen.append(find(tmp_path / "run", "", Query(ids=(2, 3))))
            seen.append(history(tmp_path / "run", "", 3))

    people = da.Population(Citizen, {"city": ["Oslo"] * 9})
    every = {"client": "sync", "max_failed": 1.0, "checkpoint_every": 1}
    da.run(looking, people, out=tmp_path / "run", **every)
    assert len(seen) == 6 and all(each["found"] == 2 for each in seen[::2])
    assert seen[-1]["state"]["values"]["city"] == "Oslo" and seen[-1]["of"] == [0, 1, 2]


def test_fewer_rounds(run: Path) -> None:
    assert history(run, "", 3, stop=2)["of"] == [0, 1]
    assert history(run, "", 3, stop=0)["of"] == []
    with pytest.raises(UsageError, match="its agents are 0 to 129"):
        history(run, "", N)


def test_what_waits_for_an_agent_and_what_it_remembers(run: Path) -> None:
    state = history(run, "", 7)["state"]
    assert state["inbox"] == [{"sender": "agent 5", "content": f"hello {SCRIPT}"}]
    state = history(run, "askers", 4)["state"]
    assert state["remembers"] == 2 * ROUNDS and state["memory"][-1]["role"] == "assistant"


def test_a_conversation_is_that_of_the_journal(run: Path) -> None:
    for agent in range(7):
        found = conversation(run, "askers", agent)
        travels(found)
        expected = da.open_run(run).conversation(agent, "askers")
        assert [(t["role"], t["content"]) for t in found["turns"]] == [
            (turn.role, turn.content) for turn in expected
        ]
        assert [t["round"] for t in found["turns"]] == [0, 0, 1, 1, 2, 2]
        assert found["before"] is None
    assert conversation(run, "", 3)["turns"] == []
    assert len(conversation(run, "askers", 0, before=3)["turns"]) == 2


def test_values_are_read_without_their_classes() -> None:
    choice = make_field("A", "x", Literal["a", "b"] | None)  # type: ignore[arg-type]
    column = choice.column(["a", None])
    assert items_of(column, choice.label) == ["a", None]
    assert values_of(column, choice.label).tolist() == ["a", ""]
    number = make_field("A", "x", int | None)  # type: ignore[arg-type]
    assert items_of(number.column([3, None]), number.label) == [3, None]


def test_who_does_not_see_the_folder_says_so(tmp_path: Path) -> None:
    nobody = SimpleNamespace(workers={})
    found = asyncio.run(ask(nobody, "find", str(tmp_path / "no"), "", {}, 0))
    assert "neither the workers nor the scheduler see" in found["error"]


def test_the_scheduler_looks_where_there_is_no_worker(tmp_path: Path) -> None:
    options = {"client": "sync", "model": town_model(), "max_failed": 0.5}
    da.run(town, citizens(), rounds=1, out=tmp_path / "run", **options)
    nobody = SimpleNamespace(workers={})
    found = asyncio.run(ask(nobody, "find", str(tmp_path / "run"), "", {}, 0))
    assert found["found"] == SIZE
    wrong = asyncio.run(answer("history", [str(tmp_path / "run"), "", SIZE]))
    assert "has no agent 120" in wrong["error"]
