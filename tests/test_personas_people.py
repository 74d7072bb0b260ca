"""People in files: they become the agents of a run, and get backgrounds, from a shell."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import daskagents as da
from daskagents.cli import main
from daskagents.errors import UsageError
from daskagents.personas.people import people_in, population_in
from daskagents.testing import model_server

Ended = tuple[int, str, str]
Command = Callable[..., Ended]

VOTE = """
import daskagents as da

class Voter(da.Agent):
    age: int = 0
    job: str = ""
    zip: str = ""

    def reply(self, message):
        return {"old": self.age > 40, "who": f"{self.job} of {self.zip}"}

class Mute(da.Agent):
    mood: float = 0.0

def voters(agents: int = 3) -> da.Population:
    return da.Population(Voter, agents)

def vote(voters: Voter):
    yield voters.reply()

def two(voters: Voter, others: Voter):
    yield {"a": voters.reply()["old"].sum(), "b": others.reply()["old"].sum()}

def mute(quiet: Mute):
    yield {"x": 1.0}
"""

SPEC = """
size: 8
seed: 1
fields:
  job: {proportions: {cook: 0.75, smith: 0.25}}
  cats: {constant: 2}
"""


class Voter(da.Agent):
    age: int
    job: str = ""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a workflow and with people in each kind of file."""
    folder = tmp_path_factory.mktemp("people")
    (folder / "voting.py").write_text(VOTE, encoding="utf-8")
    (folder / "spec.yaml").write_text(SPEC, encoding="utf-8")
    table = pd.DataFrame(
        {"age": np.arange(30, 50), "job": ["cook", "NA"] * 10, "zip": ["01234"] * 20, "cats": 1.5}
    )
    table.to_csv(folder / "people.csv", index=False)
    table.to_parquet(folder / "people.parquet", index=False)
    (folder / "people.txt").write_text("", encoding="utf-8")
    return folder


@pytest.fixture
def command(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Command]:
    """Run a command in this process and in the folder."""
    monkeypatch.chdir(folder)
    before = list(sys.path)

    def command(*words: object) -> Ended:
        code = main([str(word) for word in words])
        said = capsys.readouterr()
        return code, said.out, said.err

    yield command
    sys.path[:] = before
    sys.modules.pop("voting", None)


def test_all_files_have_people(folder: Path) -> None:
    for name in ("people.csv", "people.parquet"):
        found = people_in(folder / name, texts=["zip"])
        assert found.sizes == {"agent": 20}
        assert found["zip"].values.tolist() == ["01234"] * 20
        assert found["job"].values.tolist()[:2] == ["cook", "NA"]
        some = people_in(folder / name, 5, seed=3)
        ages = some["age"].values.tolist()
        assert ages == sorted(ages) and ages != list(range(30, 35)) and len(set(ages)) == 5
        assert ages == people_in(folder / name, 5, seed=3)["age"].values.tolist()
        assert some["agent"].values.tolist() == [0, 1, 2, 3, 4]
    assert people_in(folder / "spec.yaml")["job"].values.tolist().count("cook") == 6
    assert people_in(folder / "spec.yaml", 40).sizes == {"agent": 40}


@pytest.mark.parametrize(
    ("name", "n", "said"),
    [
        ("peopel.csv", None, "there is no such file; did you mean 'people.csv'?"),
        ("people.txt", None, "one of .yaml, .yml, .json, .parquet, .pq, .csv"),
        ("people.csv", 21, "has 20 people, and 21 are asked for"),
    ],
)
def test_files_that_are_no_people(folder: Path, name: str, n: int | None, said: str) -> None:
    with pytest.raises(UsageError, match=said.replace("?", r"\?")):
        people_in(folder / name, n)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    for name, text in {"a.csv": "", "a.parquet": "no", "a.yaml": "size: [", "a.json": "{"}.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(UsageError, match=name):
            people_in(tmp_path / name)


def test_columns_that_do_not_fit_a_class(folder: Path, tmp_path: Path) -> None:
    made, left = population_in(folder / "people.csv", Voter, 3)
    assert (len(made), left) == (3, ["zip", "cats"])
    with pytest.raises(UsageError, match=r"spec.yaml: Voter.age has no default and no column"):
        population_in(folder / "spec.yaml", Voter)
    (tmp_path / "odd.csv").write_text("age,job\n30,cook\nold,smith\n")
    with pytest.raises(UsageError, match=r"odd.csv: column 'age' of Voter: row \d holds '"):
        population_in(tmp_path / "odd.csv", Voter)


def test_people_of_a_file_are_the_agents_of_a_run(command: Command, folder: Path) -> None:
    words = ["run", "voting.py:vote", "--sync", "--out"]
    code, _, err = command(*words, "a", "--population", "people.csv")
    assert code == 0
    assert err == "voters: age, job, zip of people.csv; Voter has no field for cats\n"
    results = da.open_run(folder / "a").results
    assert results["who"].values[0, 1] == "NA of 01234"
    assert results["age"].values.tolist() == list(range(30, 50))
    code, _, err = command(*words, "b", "--population", "voters=spec.yaml", "-n", 100)
    assert code == 0 and "Voter has no field for cats" in err
    jobs = da.open_run(folder / "b").results["job"].values.tolist()
    assert (jobs.count("cook"), jobs.count("smith")) == (75, 25)


def test_several_populations_have_files_of_their_own(command: Command, folder: Path) -> None:
    words = ["run", "voting.py:two", "--sync", "--population", "voters=people.csv"]
    code, _, err = command(*words, "--population", "others=people.parquet", "-n", 20, "--out", "c")
    assert code == 0, err
    results = da.open_run(folder / "c").results
    assert results["a"].values == results["b"].values == [9]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["vote", "--population", "people.json"], "people.json: there is no such file"),
        (["vote", "--population", "voter=people.csv"], "no population 'voter'; it takes voters"),
        (["two", "--population", "people.csv"], "say which: --population voters=people.csv"),
        (["mute", "--population", "people.csv"], "none fits; declare one in the class, as `age:"),
        (["vote", "--population", "people.csv", "-n", 21], "has 20 people, and 21 are asked for"),
        (["vote", "--population", "people.csv", "-p", "voters=voters"], "makes its agents itself"),
        (
            ["vote", "--population", "people.csv", "--population", "voters=spec.yaml"],
            "voters has a file already, people.csv",
        ),
    ],
)
def test_wrong_use_of_populations(command: Command, words: list[Any], said: str) -> None:
    name, *more = words
    code, out, err = command("run", f"voting.py:{name}", "--sync", *more)
    assert (code, out) == (2, "")
    assert said in err and err.startswith("error: ") and err.count("\n") == 1


def test_a_pilot_takes_people_of_a_file(command: Command) -> None:
    words = ["voting.py:vote", "--sync", "--population", "people.csv", "--pilot", 2]
    code, out, err = command("estimate", *words, "--json")
    assert code == 0, err
    assert json.loads(out)["agents"] == 20


def test_backgrounds_from_a_shell(command: Command, folder: Path) -> None:
    answer = {
        **{"name": "Al", "age": 33, "gender": "male", "job": "cook", "personality": "calm"},
        "background": "Al has cooked for the whole town since he left the army.",
    }
    with model_server(answer=json.dumps(answer)) as server:
        words = ["personas", "write", "spec.yaml", "--model", server.url, "--sync", "--reuse", 1]
        words += [
            "--instructions",
            "Be kind.",
            "--folder",
            "w",
            "--tries",
            2,
            "--budget",
            "calls=9",
        ]
        code, out, err = command(*words, "-o", "written.parquet")
        assert code == 0
        assert server.stats().answered == 3
        code, again, _ = command(*words, "-o", "written.csv", "--resume")
        assert code == 0
        assert server.stats().answered == 3
    assert "75.0% of 8 people have a background by the model" in out
    assert out.splitlines()[-2:] == ["people   written.parquet", "results  w"]
    assert again.splitlines()[:-2] == out.splitlines()[:-2]
    assert err.startswith("warning: 1 of 2 backgrounds did not go with their rows")
    table, other = pd.read_parquet(folder / "written.parquet"), pd.read_csv(folder / "written.csv")
    assert table["persona"].tolist() == other["persona"].tolist()
    cooks = table[table["job"] == "cook"]
    assert len(cooks) == 6 and set(cooks["persona_from"]) == {"model"}
    assert "Al has cooked" in cooks["persona"].iloc[0]
    smiths = table[table["job"] == "smith"]
    assert set(smiths["persona"]) == {"A person (job: smith; cats: 2)."}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-o", "a.txt"], "a .parquet or a .csv file"),
        (["-o", "a.csv", "--resume"], "give it as --folder"),
        (["-o", "a.csv", "--field", "jbo"], "did you mean 'job'?"),
        (["-o", "a.csv", "--budget", "money=3"], "--budget money=3"),
        (["-o", "a.csv", "-n", "0"], "-n"),
    ],
)
def test_wrong_use_of_writing(command: Command, words: list[str], said: str) -> None:
    start = ["personas", "write", "spec.yaml", "--model", "random", "--sync"]
    code, out, err = command(*start, *words)
    assert (code, out) == (2, "")
    assert said in err


def test_a_spent_budget_says_how_to_go_on(command: Command, folder: Path) -> None:
    words = ["personas", "write", "people.csv", "--model", "random", "-o", "x.csv", "--sync"]
    code, out, err = command(*words, "--budget", "calls=1", "--folder", "spent")
    assert (code, out) == (1, "")
    assert "What is written until then is in spent; go on with the same command and --resume" in err
    assert not (folder / "x.csv").exists()
