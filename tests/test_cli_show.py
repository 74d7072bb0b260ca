"""The commands that look: show, plot, doctor, run --help-workflow, run --json."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from rich.console import Console

from daskagents import open_run
from daskagents.cli import main
from daskagents.closing import show_rounds
from daskagents.doctor import Finding, examine
from daskagents.testing import model_server

GAME = '''
"""A game."""
import daskagents as da


class Player(da.Agent):
    team: str = "red"
    last: float = 1.0

    def reply(self, message):
        self.fail(self.id == 7 and self.rng.random() < 2, "seven")
        self.last = self.rng.uniform(0, 100)
        return {"guess": self.last, "word": "hm"}


def teams(agents: int = 6, share: float = 0.5) -> da.Population:
    """Make two teams.

    Parameters
    ----------
    share
        Of the red ones.
    """
    reds = int(agents * share)
    return da.Population(Player, {"team": ["red"] * reds + ["blue"] * (agents - reds)})


def game(players, rounds: int = 3, ratio=2 / 3, *, name: str | None = None):
    """Play it.

    Parameters
    ----------
    rounds
        How often,
        at most.
    ratio, name
        What wins.
    """
    for _ in range(rounds):
        guess = players.reply()["guess"]
        yield {"guess": guess, "winner": ratio * guess.mean()}
'''


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)
    sys.modules.pop("game", None)  # of the test before
    (tmp_path / "game.py").write_text(GAME, encoding="utf-8")


def play(*more: str) -> int:
    words = ["run", "game.py", "-n", "20", "--sync", "--out", "a", "--max-failed", "1", *more]
    return main(words)


def test_a_run_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert play("--json", "-p", "rounds=2") == 0
    out = json.loads(capsys.readouterr().out)
    assert out["status"] == "done" and Path(out["path"]).name == "a"
    assert Path(out["picture"]).is_file()
    assert [row["n_failed"] for row in out["rounds"]] == [1, 1]
    assert out["rounds"][0]["guess"]["sd"] > 1
    assert out["rounds"][0]["winner"] == pytest.approx(out["rounds"][0]["guess"]["mean"] * 2 / 3)
    assert main(["show", "a", "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["rounds"] == out["rounds"] and again["about"]["seed"] == 0


def test_json_has_no_nan(capsys: pytest.CaptureFixture[str]) -> None:
    assert play("--json", "-p", "ratio=nan") == 0
    told = json.loads(capsys.readouterr().out, parse_constant=lambda word: pytest.fail(word))
    assert told["rounds"][0]["winner"] is None
    assert told["about"]["workflow"]["parameters"]["ratio"] is None


def test_a_variable_over_groups_is_none_of_the_agents(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    by_team = 'guess.groupby("team").mean().rename(team="teams")'
    text = GAME.replace('{"guess": guess,', f'{{"guess": guess, "by_team": {by_team},')
    (tmp_path / "game.py").write_text(text, encoding="utf-8")
    assert play("-p", "players=teams", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert Path(told["picture"]).name == "guess.png"
    assert "by_team" in open_run("a").results and "by_team" not in told["rounds"][0]


def test_texts_are_drawn_where_there_are_no_numbers(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    text = GAME.replace('{"guess": guess, "winner": ratio * guess.mean()}', "players.reply()")
    text = text.replace('{"guess": self.last, "word": "hm"}', '{"word": "hm", "phrase": "oh"}')
    (tmp_path / "game.py").write_text(text.replace('["guess"]', ""), encoding="utf-8")
    assert play() == 0
    assert capsys.readouterr().out.endswith("picture  a/word.png\n")  # what came first
    assert main(["plot", "a", "--variable", "wrd"]) == 2
    assert "did you mean 'word'?" in capsys.readouterr().err


@pytest.mark.parametrize("width", [64, 80, 200])
def test_a_table_shows_whole_columns_and_says_which_it_leaves_out(
    width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    agents = {"agent": np.arange(3)}
    names = [f"variable_{at}" for at in range(6)]
    data = {name: (("round", "agent"), np.full((2, 3), 1e5 + 0.5)) for name in names}
    own = {name: ("round", [0, 1]) for name in ("n_failed", "calls", "prompt_tokens")}
    results = xr.Dataset({**data, **own, "completion_tokens": ("round", [0, 0])}, agents)
    results["seconds"] = ("round", [0.1, 12.0])
    show_rounds(results, Console())
    head, first, *_, last = capsys.readouterr().out.splitlines()
    shown = re.findall(r"(\w+) \(mean ± sd\)", head)
    assert head.split()[0] == "round" and head.split()[-1] == "seconds"
    assert first.count("100,000.50 ± 0.00") == len(shown) > 0
    assert len(head) <= width
    left = [] if width == 200 else re.findall(r"variable_\d", last)
    assert shown + left == names


def test_a_mean_is_as_exact_as_what_it_is_spread_by(capsys: pytest.CaptureFixture[str]) -> None:
    guess = [[-0.9, 0.9 - 1e-5], [-0.9, 0.88], [1e-4, 3e-4]]
    own = {name: ("round", [0] * 3) for name in ("n_failed", "calls", "seconds")}
    show_rounds(xr.Dataset({"guess": (("round", "agent"), guess), **own}), Console())
    cells = [line.split()[1:4] for line in capsys.readouterr().out.splitlines()[1:]]
    assert cells == [["0.00", "±", "0.90"], ["-0.01", "±", "0.89"], ["0.0002", "±", "0.0001"]]


def test_show(capsys: pytest.CaptureFixture[str]) -> None:
    assert play("--seed", "5") == 0
    capsys.readouterr()
    assert main(["show", "a"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"workflow +game *\n", out) and re.search(r"seed +5 *\n", out)
    assert re.search(r"status +done, 3 rounds, 3 failed replies *\n", out)
    assert re.search(r"players +20 Player, blocks of 20 *\n", out)
    assert "guess (mean ± sd)" in out


def test_show_of_runs_that_did_not_end(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert play("-p", "ratio=no") == 2
    assert main(["show", "a"]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2 and "holds no run" in said[-1]
    assert play() == 0
    about = json.loads((tmp_path / "a" / "run.json").read_text())
    del about["crc"]
    (tmp_path / "a" / "run.json").write_text(json.dumps(about | {"status": "running"}))
    capsys.readouterr()
    assert main(["show", "a"]) == 0
    assert "it is under way, or was killed" in capsys.readouterr().out


def test_plot(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert play("-p", "players=teams") in (0, 2)
    if not (tmp_path / "a").exists():
        pytest.fail(capsys.readouterr().err)
    capsys.readouterr()
    assert main(["plot", "a"]) == 0
    assert capsys.readouterr().out.strip() == str(Path("a", "guess.png"))
    assert main(["plot", "a", "--kind", "means"]) == 0
    assert capsys.readouterr().out.strip() == str(Path("a", "guess-means.png"))
    assert main(["plot", "a", "--kind", "distributions", "--by", "team"]) == 0
    assert capsys.readouterr().out.strip() == str(Path("a", "guess-by-team.png"))
    assert main(["plot", "a", "--by", "team", "--out", "means.svg"]) == 0
    assert "<svg" in (tmp_path / "means.svg").read_text()[:500]
    capsys.readouterr()
    for words, said in (
        (["--variable", "gues"], "these are guess; did you mean 'guess'?"),
        (["--by", "town"], "there are team"),
        (["--kind", "pie"], "distributions or means"),
        (["--out", "a.doc"], "a.doc"),
    ):
        assert main(["plot", "a", *words]) == 2
        err = capsys.readouterr().err
        assert said in err and err.count("\n") == 1


def test_help_of_a_workflow(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["run", "game.py", "--help-workflow"]) == 0
    out = capsys.readouterr().out
    assert not (tmp_path / "runs").exists()
    assert "Play it." in out and "players: a population of Player" in out
    assert "instead: -p players=teams" in out
    assert re.search(r"team +str +'red'", out)
    assert re.search(r"-p rounds=3  int *\n    How often, at most\.", out)
    assert re.search(r"-p ratio=0\.6\d+  float *\n    What wins\.", out)
    assert re.search(r"-p name=  str \| None *\n    What wins\.", out)
    assert re.search(r"-p share=0\.5  float  \(of teams\)\n    Of the red ones\.\n", out)


def test_the_doctor(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    key = "sk-never-to-be-seen"
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with model_server() as server:
        found = {finding.what: finding for finding in examine(server.url)}
    assert found["workers"] == Finding(
        "workers",
        "ok",
        "worker processes start, and a run on one agrees with a run in this process",
    )
    assert found["endpoint"].state == "ok"
    assert found["packages"].state == "ok"
    assert found["OPENAI_API_KEY"].said == "is set"
    assert key not in repr(found)
    monkeypatch.setattr("daskagents.doctor._workers", lambda: "")
    assert main(["doctor", "--model", "http://127.0.0.1:1/v1", "--json"]) == 1
    read = {one["what"]: one for one in json.loads(capsys.readouterr().out)}
    assert read["endpoint"]["state"] == "problem" and "127.0.0.1:1" in read["endpoint"]["said"]
    assert main(["doctor"]) == 0
    assert "ok      Python: 3." in capsys.readouterr().out
