"""Runs as they are shown: while they go on, and however they ended."""

from __future__ import annotations

import io
import json
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console
from worlds import rounds_closed, until

import daskagents as da
from daskagents.cli import main
from daskagents.errors import UsageError
from daskagents.showing import as_json, show_run

Process = subprocess.Popen[str]

SLOW = """
import time
import daskagents as da

class Player(da.Agent):
    def reply(self, message) -> float:
        if self.id == 0:
            time.sleep(message.content)
        return self.rng.random()

def slow(players: Player, pause: float = 0.05):
    while True:
        yield {"guess": players.reply(pause)}
"""


class Asker(da.Agent):
    async def reply(self, message: da.Message) -> float:
        answer = await self.chat("A number?")
        return float(len(answer.text))


def asks(askers: da.Population, rounds: int = 2):  # type: ignore[no-untyped-def]
    for at in range(rounds):
        yield {"length": askers.reply(), "at": at}


def shown(folder: Path) -> str:
    text = io.StringIO()
    show_run(da.open_run(folder), Console(file=text, width=120))
    return text.getvalue()


def written(folder: Path) -> int:
    there = (folder / "rounds.zarr" / "zarr.json").exists()
    return da.open_run(folder).results.sizes["round"] if there else 0


@pytest.fixture
def play(tmp_path: Path, start: Callable[..., Process]) -> Callable[..., Process]:
    """Start the slow workflow."""
    (tmp_path / "slow.py").write_text(SLOW, encoding="utf-8")
    return lambda *words: start("run", "slow.py", "--sync", "--out", "a", *words)


def wait_until(process: Process, condition: Callable[[], bool]) -> None:
    """Wait for a condition, as long as a process lives."""
    until(lambda: process.poll() is not None or condition())
    assert process.poll() is None, process.communicate()[1]


def test_what_was_asked_of_models(tmp_path: Path) -> None:
    model = da.models.Dummy(answer="four")
    da.run(asks, da.Population(Asker, 10), model=model, client="sync", out=tmp_path / "a", seed=3)
    said = shown(tmp_path / "a")
    assert re.search(r"usage +20 calls, \d+ prompt tokens, \d+ completion tokens", said)
    assert re.search(r"status +done, 2 rounds *\n", said)
    assert "10 Asker" in said and re.search(r"\nat +▁█  0 to 1", said)
    told = as_json(da.open_run(tmp_path / "a"), "x.png")
    assert told["usage"]["calls"] == 20 and told["picture"] == "x.png"
    assert told["rounds"][1]["length"] == {"mean": 4.0, "sd": 0.0}
    json.dumps(told, allow_nan=False)


def test_a_run_that_is_under_way_then_killed(
    tmp_path: Path, play: Callable[..., Process], capsys: pytest.CaptureFixture[str]
) -> None:
    process = play("-n", "30")
    folder = tmp_path / "a"
    wait_until(process, lambda: rounds_closed(folder) >= 3)
    assert re.search(r"status +running, \d+ rounds? \((\d+ more closed .*; )?it is", shown(folder))
    wait_until(process, lambda: written(folder) >= 2)
    process.kill()
    process.communicate(timeout=30)
    assert re.search(r"status +running, \d+ rounds? .*or was killed", shown(folder))
    assert "30 Player" in shown(folder)
    with (folder / "events.jsonl").open("a", encoding="utf-8") as events:
        events.writelines('{"event": "round", "round": 0}\n' for _ in range(1000))
        events.write('{"event": "ro')  # as a kill may leave it
    assert re.search(r"running, \d+ rounds \(1,\d\d\d more closed and not in", shown(folder))
    assert main(["show", str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rounds"]
    assert main(["plot", str(folder), "--out", str(tmp_path / "b.png")]) == 0
    assert (tmp_path / "b.png").read_bytes().startswith(b"\x89PNG")


def test_a_run_before_its_first_round(
    tmp_path: Path, play: Callable[..., Process], capsys: pytest.CaptureFixture[str]
) -> None:
    process = play("-n", "3", "-p", "pause=60")
    folder = tmp_path / "a"
    wait_until(process, lambda: (folder / "run.json").exists())
    assert re.search(r"status +running, 0 rounds", shown(folder))
    assert as_json(da.open_run(folder))["rounds"] == []
    assert main(["plot", str(folder)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_run_that_has_no_results_yet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    about = {"status": "running", "workflow": {"name": "slow"}}
    (tmp_path / "run.json").write_text(json.dumps(about), encoding="utf-8")
    assert main(["show", str(tmp_path)]) == 0
    assert re.search(r"status +running, 0 rounds", capsys.readouterr().out)
    assert main(["show", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rounds"] == []
    (tmp_path / "rounds.zarr").mkdir()  # killed right then
    assert main(["show", str(tmp_path)]) == 0
    assert main(["plot", str(tmp_path)]) in (1, 2)
    assert capsys.readouterr().err.count("\n") == 1


def test_a_run_that_was_interrupted(tmp_path: Path, play: Callable[..., Process]) -> None:
    process = play("-n", "3")
    wait_until(process, lambda: rounds_closed(tmp_path / "a") >= 1)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=30)[1]
    assert process.returncode == 130, said
    assert re.search(r"status +interrupted, [1-9]", shown(tmp_path / "a"))


@pytest.mark.parametrize("text", [None, "{", "[]"])
def test_folders_that_hold_no_run(
    tmp_path: Path, text: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    if text is not None:
        (tmp_path / "run.json").write_text(text, encoding="utf-8")
    with pytest.raises(UsageError):
        da.open_run(tmp_path)
    for command in ("show", "plot"):
        assert main([command, str(tmp_path)]) == 2
        both = capsys.readouterr()
        assert both.out == "" and both.err.startswith("error: ") and both.err.count("\n") == 1
