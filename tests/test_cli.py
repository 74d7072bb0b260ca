"""The command line: what it shows, what it leaves, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from distributed import LocalCluster
from worlds import group, rounds_closed, until

import daskagents as da
from daskagents.cli import main
from daskagents.testing import model_server

ROOT = Path(__file__).parents[1]
GAME = str(ROOT / "workflows" / "guess_average.py")

Ended = tuple[int, str, str]
Command = Callable[..., Ended]

SLOW = """
import time
import daskagents as da

class Player(da.Agent):
    def reply(self, message):
        if self.id == 0:
            time.sleep(0.05)
        return {"guess": self.rng.uniform(0, 100)}

def slow(players: Player, rounds: int = 10_000):
    for _ in range(rounds):
        replies = players.reply()
        yield replies.assign(winner=replies["guess"].mean())
"""

LOUD = """
import daskagents as da

class Player(da.Agent):
    def reply(self, message):
        if message.content == self.id or message.content == "all":
            raise RuntimeError("no idea")
        return {"guess": 1.0}

class Mute(da.Agent):
    x: float = 0.0

def loud(players: Player, whom: int = -1):
    yield players.reply(whom)
    yield players.reply("all")

def wrong(players: Player):
    yield players.reply()
    1 / 0

def mute(players: Mute):
    yield players.reply()

def still(players: Player):
    return players.reply()
"""


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Command]:
    """Run a command in this process; return its exit code and what it wrote."""
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)

    def command(*words: object) -> Ended:
        code = main([str(word) for word in words])
        said = capsys.readouterr()
        return code, said.out, said.err

    yield command
    sys.path[:] = before


@pytest.fixture
def loud(tmp_path: Path) -> Iterator[str]:
    """A file whose workflows go wrong."""
    path = tmp_path / "loud.py"
    path.write_text(LOUD, encoding="utf-8")
    yield str(path)
    sys.modules.pop("loud", None)


def one_error(ended: Ended, code: int) -> str:
    """Return the one error that a command ended with, and nothing else."""
    assert ended[0] == code, ended
    assert ended[1] == ""
    assert "Traceback" not in ended[2]
    first, *rest = ended[2].splitlines()
    assert first.startswith("error: ")
    assert all(line.startswith("The rounds until then") for line in rest), rest
    return first


def test_version_and_help(command: Command) -> None:
    assert command("--version") == (0, f"daskagents {da.__version__}\n", "")
    code, out, _ = command("run", "--help")
    assert code == 0
    for option in ("--agents", "--model", "--workers", "--max-failed", "NAME=VALUE"):
        assert option in out


def test_a_game_at_random(command: Command, tmp_path: Path) -> None:
    code, out, err = command(
        "run", GAME, "--model", "random", "-n", 40, "-p", "rounds=3", "--sync", "--out", "runs/a"
    )
    assert (code, err) == (0, "")
    table, results, picture = out.rstrip().rsplit("\n", 2)
    head, *rows = table.splitlines()
    assert head.split() == [*"round winner guess (mean ± sd) failed calls tokens seconds".split()]
    run = da.open_run("runs/a")
    assert run.status == "done"
    assert run.results.sizes == {"round": 3, "agent": 40}
    for at, row in enumerate(rows):
        cells = row.split()
        guess = run.results["guess"][at].values
        assert cells[0] == str(at + 1)
        assert float(cells[1]) == pytest.approx(float(run.results["winner"][at]), abs=0.01)
        assert float(cells[2]) == pytest.approx(guess.mean(), abs=0.01)
        assert float(cells[4]) == pytest.approx(guess.std(), abs=0.01)
        assert cells[5:7] == ["0", "40"]
    assert results.split() == ["results", "runs/a"]
    assert picture.split() == ["picture", "runs/a/guess.png"]
    assert (tmp_path / "runs/a/guess.png").read_bytes().startswith(b"\x89PNG")


def test_the_run_directory_has_a_name_of_its_own(command: Command, tmp_path: Path) -> None:
    words = ["run", GAME, "--sync", "-n", 10, "-p", "players=RandomPlayer", "-p", "rounds=1"]
    for _ in range(3):  # within one second, perhaps
        assert command(*words)[0] == 0
    folders = [folder.name for folder in (tmp_path / "runs").iterdir()]
    assert len(folders) == 3
    assert all(name.startswith("guess_average-20") for name in folders)


def test_seed_agents_and_parameters_reach_the_run(command: Command) -> None:
    words = ["run", GAME, "--sync", "-p", "players=thinkers", "-p", "levels=0,1", "-p", "ratio=1/2"]
    more = [*words, "-p", "constant=5", "--agents", 30]
    for name, seed in [("a", 1), ("b", 1), ("c", 2)]:
        assert command(*more, "--seed", seed, "--out", name)[0] == 0
    first, same, other = (da.open_run(name).results for name in "abc")
    np.testing.assert_array_equal(first["guess"], same["guess"])
    assert (first["guess"].values != other["guess"].values).any()
    assert (first["level"] == 1).all()
    assert float(first["guess"][0].mean()) == pytest.approx(30, abs=1)
    about = da.open_run("c").about
    assert about["seed"] == 2
    assert about["workflow"]["parameters"]["constant"] == 5.0


def test_long_runs_and_text_are_shown_in_short(command: Command, tmp_path: Path) -> None:
    text = LOUD + textwrap.dedent(
        """
        def long(players: Player):
            for at in range(40):
                yield players.reply(-1).assign(half=at / 2, note="some text")
        """
    )
    (tmp_path / "lengthy.py").write_text(text, encoding="utf-8")
    code, out, _ = command("run", "lengthy.py:long", "--sync", "-n", 5)
    assert code == 0
    rows = out.splitlines()[1:-2]
    assert len(rows) == 25 and rows[12].split() == ["..."]
    assert [row.split()[0] for row in (rows[0], rows[11], rows[13], rows[24])] == [
        "1",
        "12",
        "29",
        "40",
    ]
    assert rows[24].split()[1] == "19.50"


def test_an_endpoint_is_asked(command: Command) -> None:
    with model_server() as server:
        words = ["run", GAME, "--model", server.url, "-n", 20, "-p", "rounds=2", "--sync"]
        code, _, err = command(*words, "--out", "a")
        assert (code, err) == (0, "")
        assert server.stats().outcomes["/v1/chat/completions 200"] == 40


def test_players_ask_the_local_model_if_nobody_says_otherwise(command: Command) -> None:
    pytest.importorskip("xllamacpp")
    code, _, err = command("run", GAME, "-n", 3, "-p", "rounds=1", "--sync", "--out", "a")
    assert code == 0
    assert "shows that the system works" in err and "nothing about how people behave" in err
    results = da.open_run("a").results
    assert int(results["calls"].sum()) == 3 and int(results["n_failed"].sum()) == 0
    code, _, err = command("run", GAME, "-n", 3, "-p", "players=thinkers", "--sync")
    assert (code, err) == (0, "")  # who asks nobody needs no model


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run"], "Missing argument"),
        (["rnu", GAME], "No such command 'rnu'"),
        (["run", GAME, "--agent", "3"], "No such option: --agent"),
        (["run", GAME, "--agents", "many"], "agents"),
        (["run", GAME, "--agents", "0"], "agents"),
        (["run", GAME, "--seed", "x"], "seed"),
        (["run", GAME, "--max-failed", "2"], "max-failed"),
        (["run", "no_such.py"], "no_such.py: there is no such file"),
        (["run", f"{GAME}:nothing"], "there is no workflow 'nothing'; there is guess_average"),
        (["run", GAME, "-p", "rounds"], "-p rounds: give a parameter and its value"),
        (["run", GAME, "-p", "round=3"], "did you mean 'rounds'?"),
        (["run", GAME, "-p", "rounds=x"], "rounds=x: give a whole number"),
        (["run", GAME, "-p", "prompt=P9"], "prompt=P9: give one of P1, P2, P3, P4"),
        (["run", GAME, "-p", "players=Playr"], "did you mean 'Player'?"),
        (["run", GAME, "-p", "players=thinkers", "-p", "levels=-1"], "levels=-1: give shares"),
        (["run", GAME, "-p", "players=Listener", "--model", "random"], "no method 'reply'"),
        (["run", GAME, "--sync", "--workers", "2"], "--sync and --workers: give one of them"),
        (["run", GAME, "--model", "http://user:secret@host/v1"], "password; pass api_key="),
    ],
)
def test_wrong_use_is_one_error(command: Command, words: list[str], said: str) -> None:
    with_sync = words if "--workers" in words or len(words) < 2 else [*words, "--sync"]
    error = one_error(command(*with_sync), 2)
    assert said in error
    assert "secret" not in error


def test_a_folder_that_is_taken(command: Command, tmp_path: Path) -> None:
    words = ["run", GAME, "--sync", "-n", 5, "-p", "players=RandomPlayer", "--out"]
    assert command(*words, "a")[0] == 0
    assert "holds another run; choose another `out`" in one_error(command(*words, "a"), 2)
    (tmp_path / "b").write_text("", encoding="utf-8")
    assert "is a file" in one_error(command(*words, "b"), 2)


def test_an_endpoint_that_is_not_there_is_said_before_anything_starts(
    command: Command, tmp_path: Path
) -> None:
    words = ["run", GAME, "--sync", "--model", "http://127.0.0.1:9/v1"]
    assert "http://127.0.0.1:9/v1" in one_error(command(*words), 2)
    assert not (tmp_path / "runs").exists()


def test_an_endpoint_that_answers_nonsense(command: Command) -> None:
    with model_server(fail={"nonsense": 1}) as server:
        ended = command("run", GAME, "--model", server.url, "-n", 5, "--sync", "--out", "a")
    error = one_error(ended, 1)
    assert "5 of 5 agents failed" in error
    assert "does not fit Guess" in error
    assert ended[2].endswith("The rounds until then are in a; go on: daskagents resume a\n")
    assert da.open_run("a").status == "failed"


def test_failing_agents(command: Command, loud: str) -> None:
    words = ["run", f"{loud}:loud", "--sync", "-n", 4, "--out", "a"]
    error = one_error(command(*words), 1)
    assert "4 of 4 agents failed" in error
    assert "RuntimeError: no idea (" in error and "loud.py:7 in reply" in error
    assert da.open_run("a").results.sizes["round"] == 1
    words[-1] = "b"
    assert "1 of 4 agents failed" in one_error(command(*words, "-p", "whom=2"), 1)
    words[-1] = "c"
    code, out, _ = command(*words, "-p", "whom=2", "--max-failed", 1)
    assert code == 0
    assert [row.split()[4] for row in out.splitlines()[1:3]] == ["1", "4"]


@pytest.mark.parametrize(
    ("name", "code", "said"),
    [
        ("wrong", 1, "loud.py:19: ZeroDivisionError: division by zero (--debug shows"),
        ("mute", 2, "Mute has no method 'reply'"),
        ("still", 2, "still is no generator function"),
    ],
)
def test_workflows_that_go_wrong(
    command: Command, loud: str, name: str, code: int, said: str
) -> None:
    words = ["run", f"{loud}:{name}", "--sync", "-n", 4]
    assert said in one_error(command(*words), code)
    ended = command(*words, "--debug")
    assert ended[0] == code
    assert ended[2].startswith("Traceback (most recent call last)")
    assert said.split("(")[0].strip() in ended[2]


def test_on_a_scheduler_that_runs(command: Command, cluster2: LocalCluster) -> None:
    words = ["run", GAME, "-n", 200, "-p", "players=thinkers", "-p", "rounds=2"]
    assert command(*words, "--out", "a", "--scheduler", cluster2.scheduler_address)[0] == 0
    assert command(*words, "--out", "b", "--sync")[0] == 0
    there, here = da.open_run("a").results, da.open_run("b").results
    np.testing.assert_array_equal(there["guess"].values, here["guess"].values)


def test_the_real_command_on_workers(program: Callable[..., Any], tmp_path: Path) -> None:
    done = program(
        *["run", GAME, "--model", "random", "--workers", 2, "-n", 300, "-p", "prompt=P2"],
        *["-p", "rounds=2", "--out", "a"],
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "picture  a/guess.png" in done.stdout
    results = da.open_run(tmp_path / "a").results
    assert results.sizes == {"round": 2, "agent": 300}
    assert int(results["calls"].sum()) == 600


def test_the_installed_command_may_start_workers(tmp_path: Path) -> None:
    script = tmp_path / "daskagents"  # as pip writes it
    script.write_text(
        "import sys\n"
        "from daskagents.cli import main\n"
        "if __name__ == '__main__':\n"
        "    sys.argv[0] = sys.argv[0].removesuffix('.exe')\n"
        "    sys.exit(main())\n",
        encoding="utf-8",
    )
    words = [GAME, "--workers", "1", "-n", "10", "-p", "players=RandomPlayer", "-p", "rounds=1"]
    done = subprocess.run(
        [sys.executable, str(script), "run", *words],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("where", [["--sync"], ["--workers", "2"]])
def test_ctrl_c_leaves_a_readable_run_and_no_process(
    where: list[str], start: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    (tmp_path / "slow.py").write_text(SLOW, encoding="utf-8")
    process = start("run", "slow.py", "-n", 500, "--out", "a", *where)
    until(lambda: process.poll() is not None or rounds_closed(tmp_path / "a") >= 3)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    kept = "The rounds until then are in a; go on: daskagents resume a"
    assert (out, err) == ("", f"error: interrupted\n{kept}\n")
    until(lambda: not group(process.pid), 20)
    run = da.open_run(tmp_path / "a")
    assert run.status == "interrupted"
    rounds = run.results.sizes["round"]
    assert rounds >= 3
    assert run.about["rounds"] == rounds
    assert bool(run.results["guess"].notnull().all())
    assert run.results["guess"].mean("agent").values == pytest.approx(run.results["winner"].values)
    assert json.loads((tmp_path / "a" / "run.json").read_text())["seed"] == 0
