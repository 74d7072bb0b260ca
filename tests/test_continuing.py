"""``daskagents resume``, ``replay`` and ``diff``, as they are typed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import daskagents as da
from daskagents.cli import main

PROGRAM = """\
import daskagents as da


class Guest(da.Agent):
    mood: float = 0.0

    async def reply(self, message):
        answer = await self.chat(f"I am {self.id} and feel {self.mood:.3f}. {message.content}")
        self.mood += float(answer.text)
        return {"mood": self.mood}


def dinner(guests: Guest, rounds: int = 3):
    for number in range(rounds):
        yield guests.reply(f"Course {number}?")
"""

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def dinner(tmp_path: Path, monkeypatch: Any) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "dinner_of_guests.py"
    path.write_text(PROGRAM)
    before = list(sys.path)
    yield path
    sys.path[:] = before
    sys.modules.pop("dinner_of_guests", None)


@pytest.fixture
def command(capsys: Any) -> Command:
    def run(*words: Any) -> tuple[int, str, str]:
        code = main(list(map(str, words)))
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def serve(path: Path, *more: Any, out: str = "a") -> tuple[Any, ...]:
    return ("run", path, "-n", 20, "--model", "random", "--sync", "--out", out, *more)


def test_a_run_is_gone_on_with_and_compared(dinner: Path, command: Command) -> None:
    assert command(*serve(dinner))[0] == 0
    assert command(*serve(dinner, "-p", "rounds=5", out="b"))[0] == 0
    code, said, _ = command("diff", "a", "b")
    assert code == 0 and said.splitlines()[-1] == "the runs agree, bit for bit, in 3 rounds"
    assert "rounds: 3 | 5" in said
    code, said, _ = command("resume", "a", "-p", "rounds=5", "--sync")
    assert code == 0 and "mood.png" in said
    assert "rounds agree" not in command("diff", "a", "b")[1]
    assert da.open_run("a").results.sizes["round"] == 5
    assert da.open_run("a").usage["calls"] == 100
    code, said, _ = command("replay", "a", "--sync")
    assert code == 0 and "the runs agree, bit for bit, in 5 rounds" in said
    assert da.open_run("a-replay").usage["calls"] == 0


def test_where_two_runs_part(dinner: Path, command: Command) -> None:
    command(*serve(dinner, "--seed", 1))
    command(*serve(dinner, "--seed", 2, out="b"))
    code, said, _ = command("diff", "a", "b")
    assert code == 1 and "seed: 1 | 2" in said
    assert "0 rounds agree; then in round 0 'mood' of agent 0: " in said


def test_a_changed_file_is_shown(dinner: Path, command: Command) -> None:
    command(*serve(dinner))
    dinner.write_text(PROGRAM.replace("self.mood += float", "self.mood -= float"))
    sys.modules.pop("dinner_of_guests")
    code, _, said = command("resume", "a", "-p", "rounds=4", "--sync")
    assert code == 2
    assert "-        self.mood += float(answer.text)" in said
    assert "+        self.mood -= float(answer.text)" in said and "--accept-changes" in said
    sys.modules.pop("dinner_of_guests", None)
    code, _, said = command("resume", "a", "-p", "rounds=4", "--sync", "--accept-changes")
    assert code == 0, said
    assert da.open_run("a").results.sizes["round"] == 4


def test_what_is_typed_wrong(dinner: Path, command: Command) -> None:
    code, _, said = command("resume", "nowhere", "--sync")
    assert code == 2 and "holds no run" in said
    command(*serve(dinner))
    code, _, said = command("resume", "a", "-p", "round=4", "--sync")
    assert code == 2 and "round" in said
    dinner.unlink()
    sys.modules.pop("dinner_of_guests")
    code, _, said = command("resume", "a", "--sync")
    assert code == 2 and "the workflow, dinner, cannot be found in" in said
    assert "run the program itself again" in said
