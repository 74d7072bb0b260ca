"""Completion: what a shell is told, without anything being run."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from daskagents.completing import option_names

Program = Callable[..., subprocess.CompletedProcess[str]]

GAMES = """
raise SystemExit("no shell may run this")
import daskagents as da
from daskagents import Population

def game(players, /, rounds: int = 3, *, ratio=0.5):
    def inner(nothing):
        return nothing
    for _ in range(rounds):
        yield players.reply()

def teams(agents: int, share: float = 0.5) -> "da.Population":
    return da.Population(None, agents)

def crowd(rounds: int = 2, noise: float = 0.1) -> Population:
    return da.Population(None, rounds)

def helper(other: int) -> int:
    return other

def _hidden(secret) -> Population:
    yield secret
"""


@pytest.fixture
def games(tmp_path: Path) -> Path:
    path = tmp_path / "games.py"
    path.write_text(GAMES, encoding="utf-8")
    return path


def test_the_parameters_of_a_workflow_and_of_what_makes_populations(games: Path) -> None:
    known = ["players", "rounds", "ratio", "share", "noise"]
    assert option_names(str(games)) == known
    assert option_names(f"{games}:game") == known


def test_the_workflow_that_is_meant(games: Path) -> None:
    games.write_text(f"{GAMES}\ndef again(one, two=2):\n    yield from game(one)\n", "utf-8")
    assert option_names(str(games)) == []  # two, and neither is called like the file
    assert option_names(f"{games}:again")[:2] == ["one", "two"]
    assert option_names(f"{games}:agian") == []
    path = games.with_name("again.py")
    games.rename(path)
    assert option_names(str(path))[:2] == ["one", "two"]
    assert option_names(str(path.rename(path.with_name("helper.py")))) == []  # that one is none


def test_a_function_called_like_the_file_need_not_be_the_workflow(games: Path) -> None:
    assert option_names(str(games.rename(games.with_name("teams.py"))))[0] == "players"


@pytest.mark.parametrize("text", ["def game(:", "x = 1", "\0", ""])
def test_files_that_say_nothing(games: Path, text: str) -> None:
    games.write_text(text, encoding="utf-8")
    assert option_names(str(games)) == []
    assert option_names("") == []
    assert option_names(str(games.parent)) == []


@pytest.fixture
def said_by(program: Program, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Run the command, which says something and complains of nothing; return what it says."""
    monkeypatch.delenv("SHELL", raising=False)

    def said_by(*words: str, **environment: str) -> str:
        done = program(*words, **environment)
        assert done.returncode == 0 and done.stderr == "", done
        return done.stdout

    return said_by


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("run games.py -p ", ["players=", "rounds=", "ratio=", "share=", "noise="]),
        ("run games.py -p r", ["rounds=", "ratio="]),
        ("run -n 3 games.py:game --sync -p rounds=2 -p sh", ["share="]),
        ("run missing.py -p r", []),
        ("run -p r", []),
        ("sh", ["show"]),
    ],
)
@pytest.mark.usefixtures("games")
def test_a_shell_completes(said_by: Callable[..., str], line: str, said: list[str]) -> None:
    words = f"daskagents {line}"
    out = said_by(
        _DASKAGENTS_COMPLETE="complete_bash",
        COMP_WORDS=words,
        COMP_CWORD=str(len(words.split(" ")) - 1),
    )
    assert out.split() == said


def test_the_script_for_a_shell(said_by: Callable[..., str]) -> None:
    script = said_by(_DASKAGENTS_COMPLETE="source_bash")
    assert "complete" in script and "_DASKAGENTS_COMPLETE=complete_bash" in script
    assert "--install-completion" in said_by("--help")
