"""What ``--json`` prints: one object, whatever workflows, agents and workers print."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from daskagents.stdout import kept_stdout

Program = Callable[..., subprocess.CompletedProcess[str]]

CHATTY = """
import os
import daskagents as da

print("the file speaks")

class Player(da.Agent):
    def reply(self, message):
        if self.id == 0:
            print("an agent speaks")
            os.write(1, b"below Python too\\n")
        if message.content == "die":
            raise RuntimeError("no idea")
        return {"guess": self.rng.random()}

def chatty(players: Player, last: str = ""):
    print("the workflow speaks")
    yield players.reply()
    yield players.reply(last)
"""


@pytest.fixture(autouse=True)
def chatty(tmp_path: Path) -> None:
    (tmp_path / "chatty.py").write_text(CHATTY, encoding="utf-8")


@pytest.fixture
def run(program: Program) -> Program:
    """Run the chatty workflow, and ask for JSON."""
    return lambda *words: program("run", "chatty.py", "-n", "20", "--json", *words)


@pytest.mark.parametrize("where", [["--sync"], ["--workers", "1"]])
def test_one_object_and_nothing_else(tmp_path: Path, run: Program, where: list[str]) -> None:
    done = run("--out", "a", *where)
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    assert told["status"] == "done" and len(told["rounds"]) == 2
    assert "calls" in told["usage"] and not any(told["usage"].values())
    assert (tmp_path / told["picture"]).is_file()
    for who in ("the file", "the workflow", "an agent", "below Python"):
        assert who in done.stderr, who


def test_a_run_that_fails_is_told_too(run: Program) -> None:
    done = run("--out", "a", "--sync", "-p", "last=die")
    assert done.returncode == 1
    told = json.loads(done.stdout)
    assert told["status"] == "failed" and len(told["rounds"]) == 1 and told["picture"] is None
    assert "error: " in done.stderr and "Traceback" not in done.stderr


def test_nothing_is_told_of_what_was_asked_for_wrongly(run: Program) -> None:
    assert run("--out", "a", "--sync").returncode == 0
    for words in (["--out", "a"], ["-p", "lsat=x"], ["--help-workflow"]):
        done = run("--sync", *words)
        assert (done.returncode, done.stdout) == (2, ""), words
        assert done.stderr.splitlines()[-1].startswith("error: ")


def test_it_is_given_back(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ZeroDivisionError), kept_stdout():
        print("aside")
        os.write(1, b"below\n")
        raise ZeroDivisionError
    with kept_stdout(keep=False):
        print("kept")
    both = capfd.readouterr()
    assert both.out == "kept\n"
    assert sorted(both.err.split()) == ["aside", "below"]
