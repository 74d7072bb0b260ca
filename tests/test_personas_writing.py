"""Backgrounds by a model: right, contradicting, shared, resumed, failed in the open."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from distributed import Client
from hypothesis import given
from hypothesis import strategies as st
from worlds import until

import daskagents as da
from daskagents import models
from daskagents.errors import AnswerError, BudgetError, RunError, TableError, UsageError
from daskagents.personas.sharing import share
from daskagents.personas.writer import Task, Writer, problems_of, write_backgrounds
from daskagents.personas.writing import write
from daskagents.testing import Uniform, model_server

#: An answer that goes with every row that says nothing of the person.
ANN = {
    **{"name": "Ann Bell", "age": 34, "gender": "female", "job": "farmer", "personality": "calm"},
    "background": "Ann Bell has kept bees ever since she came to live in the hills.",
}


def facts_of(request: Any) -> dict[str, str]:
    """Return the facts that a model was told."""
    asked = next(m.text for m in request.messages if "The facts:" in m.text)
    lines = asked.partition("The facts:\n")[2].partition("\n\n")[0].splitlines()
    return dict(line.split(": ", 1) for line in lines if ": " in line)


def author(request: Any, rng: Any) -> str:
    """Write well of farmers, of clerks once told what is wrong, and of others never."""
    facts = facts_of(request)
    age, job = facts.get("age", "34"), facts.get("job", "farmer")
    told = "does not go with the facts" in request.messages[-1].text
    if job == "pilot":
        raise AnswerError("the model would rather not")
    right = job == "farmer" or (job == "clerk" and told)
    said = int(age) if right else int(age) + 1
    name = f"P{int(rng.random() * 1e9)}"
    text = f"{name} is a {said}-year-old {job} who likes the number {int(rng.random() * 1e9)}."
    answer = {**ANN, "name": name, "age": int(age), "job": job, "gender": "male"}
    return json.dumps({**answer, "background": text})


AUTHOR = models.Dummy(answer=author)


def people(*jobs: str) -> pd.DataFrame:
    return pd.DataFrame({"age": [30 + at for at in range(len(jobs))], "job": list(jobs)})


def written(given: Any, **more: Any) -> Any:
    return write(given, **{"model": AUTHOR, "client": "sync", "progress": False, **more})


def test_each_gets_a_background_that_goes_with_the_row() -> None:
    found = written(people("farmer", "clerk", "smith", "pilot", "farmer"))
    table = found.people
    assert table["persona_from"].tolist() == ["model", "model", "row", "row", "model"]
    assert "is a 31-year-old clerk who" in table["persona"][1]
    assert table["persona"][1].endswith("(gender: male; personality: calm)")
    assert table["persona"][2] == "A person (age: 32; job: smith)."
    assert (found.asked, found.at_once, found.rewritten, found.calls) == (5, 2, 1, 10)
    assert found.covered == 0.6 and found.told == 1
    assert found.failures["age"].tolist() == [32, 33]
    assert found.failures["tries"].tolist() == [3, 3]
    smith, pilot = found.failures["problem"]
    assert smith == "the age is 32, and the background says 33"
    assert "would rather not" in pilot
    said = str(found)
    assert "5 to write: 2 right at once, 1 rewritten, 2 failed" in said
    assert f"failed: age: 32; job: smith: {smith}" in said


def test_the_model_is_told_what_is_wrong() -> None:
    heard: list[Any] = []

    def listen(request: Any, rng: Any) -> str:
        heard.append([(m.role, m.text) for m in request.messages])
        return author(request, rng)

    written(people("clerk"), model=models.Dummy(answer=listen), instructions="Write in Polish.")
    first, second = heard
    assert [role for role, _ in first] == ["system", "user"]
    assert first[0][1].endswith("Write in Polish.") and "age: 30\njob: clerk" in first[1][1]
    assert second[:2] == first and second[2][0] == "assistant"
    assert "the age is 30, and the background says 31" in second[3][1]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Ann keeps bees in the hills.", ""),
        ("Ann keeps bees.", "empty, or hardly more"),
        ("Ann keeps bees in [Name], a town of the hills.", r"a gap, [Name]"),
        ("{name} keeps bees in a town of the hills.", "a gap, {name}"),
        ("Ann likes a person who " + "likes a person who " * 9, "again and again"),
        ("安妮住在山里养蜜蜂。", ""),
    ],
)
def test_texts_that_are_none(text: str, said: str) -> None:
    found = problems_of({**ANN, "background": text}, {}, {})
    assert bool(found) == bool(said) and said in "".join(found)


def test_people_come_back_as_what_they_were() -> None:
    table = people("farmer", "smith")
    given = xr.Dataset({n: ("agent", table[n].to_numpy()) for n in table}, attrs={"from": "file"})
    found = written(given)
    assert found.people.attrs == {"from": "file"}
    assert list(found.people) == ["age", "job", "persona", "persona_from"]
    assert list(given) == ["age", "job"]
    assert written(table).people["persona"].tolist() == found.people["persona"].values.tolist()
    kept = written(table.assign(persona="As before."))
    assert kept.people["persona"].tolist()[1] == "As before."

    class Player(da.Agent):
        persona: str = ""
        age: int = 0

    players = da.Population(Player, found.people[["persona", "age"]])
    assert len(players) == 2


def test_only_some_columns_are_told_and_missing_values_are_not() -> None:
    table = people("farmer", "farmer").assign(weight=[0.7312, 1.1], town=["Rome", None])
    found = written(table, fields=["age", "job", "town"])
    assert "0.7312" not in found.people["persona"][0]
    assert "town: Rome" in found.people["persona"][0]
    assert "town" not in found.people["persona"][1]


def test_the_same_on_workers(client1: Client) -> None:
    table = people(*["farmer", "clerk", "smith"] * 3)
    here, there = written(table, seed=5), written(table, seed=5, client=client1)
    assert here.people.equals(there.people)


def test_backgrounds_are_shared_by_those_who_have_the_same_row() -> None:
    table = pd.DataFrame({"age": [30] * 7 + [40] * 2 + [50], "job": "farmer"})
    table = table.sample(frac=1, random_state=1).reset_index(drop=True)
    found = written(table, reuse=3)
    assert found.asked == 3 + 2 + 1 == found.calls
    for age, texts in found.people.groupby("age")["persona"]:
        used = Counter(texts)
        assert len(used) == {30: 3, 40: 2, 50: 1}[age]
        assert max(used.values()) - min(used.values()) <= 1
        assert all(f"a {age}-year-old" in text for text in used)
    assert written(table, reuse=3).people.equals(found.people)
    lost = written(table.assign(job="smith"), reuse=1)
    assert sorted(lost.failures["people"]) == [1, 2, 7]


@given(
    st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["a", None])), min_size=1, max_size=40),
    st.integers(1, 5),
    st.integers(0, 3),
)
def test_shares_are_even(rows: list[tuple[int, str | None]], reuse: int, seed: int) -> None:
    shares = share(pd.DataFrame(rows, columns=["x", "y"]), reuse, seed)
    assert all(rows[shares.row[at]] == rows[person] for person, at in enumerate(shares.of))
    for row, people in Counter(rows).items():
        used = Counter(at for person, at in enumerate(shares.of) if rows[person] == row)
        assert len(used) == min(reuse, people)
        assert max(used.values()) - min(used.values()) <= 1
        assert sorted(shares.copy[at] for at in used) == list(range(len(used)))


def test_a_budget_is_kept_and_what_is_written_is_kept(tmp_path: Path) -> None:
    table = people(*["farmer"] * 12)
    with model_server(answer=json.dumps(ANN)) as server:
        options = {"model": models.OpenAI("test", server.url, "none"), "fields": ["job"]}
        with pytest.raises(BudgetError):
            written(table, **options, out=tmp_path / "a", budget=da.Budget(calls=5))
        paid = server.stats().answered
        assert paid <= 5
        options |= {"budget": da.Budget(calls=100), "resume": True}
        found = written(table, **options, out=tmp_path / "a")
        assert found.covered == 1
        assert server.stats().answered == 12 == found.calls


def test_an_endpoint_that_fails(tmp_path: Path) -> None:
    table = people("farmer", "farmer")
    with model_server(fail={400: 1}) as server:
        model = models.OpenAI("test", server.url, "none")
        with pytest.raises(RunError, match="2 of 2 agents failed"):
            written(table, model=model)
        found = written(table, model=model, max_failed=1.0)
    assert found.covered == 0
    assert found.failures["problem"].tolist() == ["the model could not be asked"] * 2


@pytest.mark.skipif(sys.platform != "linux", reason="kills as Linux does")
def test_killed_and_resumed(tmp_path: Path, start: Callable[..., subprocess.Popen[str]]) -> None:
    towns = pd.DataFrame({"town": [f"T{at}" for at in range(30)]})
    towns.to_csv(tmp_path / "towns.csv", index=False)
    folder = tmp_path / "run"
    with model_server(answer=json.dumps(ANN), latency=Uniform(0.02, 0.7)) as server:
        words = ["personas", "write", "towns.csv", "--model", server.url, "-o", "out.csv"]
        process = start(*words, "--folder", "run", "--sync")
        until(lambda: process.poll() is not None or server.stats().answered >= 8)
        server.pause()
        until(lambda: da.open_run(folder).usage["calls"] == server.stats().answered)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        before = server.stats().answered
        assert 8 <= before < 30 and not (tmp_path / "out.csv").exists()
        server.change(latency=0.0)
        server.resume()
        model = models.OpenAI(base_url=server.url)
        shutil.copytree(folder, tmp_path / "copy")
        found = written(towns, model=model, out=folder, resume=True)
        stats = server.stats()
        assert (stats.answered, stats.repeats) == (30, 0)
        assert found.covered == 1 and found.calls == 30
        # where the run itself is resumed, nothing is left to ask
        server.change(answer=json.dumps({**ANN, "name": "Eve Ng"}))
        da.resume(tmp_path / "copy", client="sync", progress=False)
        asked = server.stats().answered
        again = written(towns, model=model, out=tmp_path / "copy", resume=True)
        assert server.stats().answered == asked
        assert again.covered == 1
        undisturbed = written(towns, model=models.Dummy(answer=json.dumps(ANN)))
    assert found.people.equals(undisturbed.people)


def test_other_people_are_no_reason_to_go_on(tmp_path: Path) -> None:
    written(people("farmer"), out=tmp_path / "a")
    with pytest.raises(UsageError, match="other agents"):
        written(people("clerk"), out=tmp_path / "a", resume=True)


@pytest.mark.parametrize(
    ("given", "options", "said"),
    [
        ({"age": []}, {}, "there are no people"),
        ({"persona": ["a"]}, {}, "no column that could be told"),
        ({"age": [3]}, {"model": None}, "give model="),
        ({"age": [3]}, {"fields": ["aeg"]}, "did you mean 'age'"),
        ({"age": [3]}, {"fields": "age"}, "give a list of columns"),
        ({"age": [3]}, {"fields": []}, "no column that could be told"),
        ({"age": [3]}, {"reuse": 0}, "reuse is 0"),
        ({"age": [3]}, {"tries": 0}, "tries is 0"),
        ({"age": [3]}, {"words": 10**6}, "words is 1000000"),
        ({"age": [3]}, {"instructions": None}, "give a text"),
        ({"age": [3]}, {"top": {1, object()}}, "cannot be written down"),
        (17, {}, "people are a Dataset"),
        (xr.Dataset({"a": (("x", "y"), [[1]])}), {}, "has one dimension"),
    ],
)
def test_wrong_use(given: Any, options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        written(given, **options)


def test_writers_can_be_estimated() -> None:
    writers = da.Population(Writer, {"row": ['{"job": "farmer"}'] * 100})
    task = Task(tries=2)
    told = msgspec.json.encode(task).decode()
    found = da.estimate(write_backgrounds, writers, told, model=AUTHOR, client="sync", pilot=2)
    assert found.calls.likely == 100


def test_a_table_of_no_facts_is_refused() -> None:
    with pytest.raises(TableError):
        written(pd.DataFrame(index=np.arange(3)))
