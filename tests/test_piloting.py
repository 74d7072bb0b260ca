"""``daskagents estimate``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from daskagents.cli import main

GAME = str(Path(__file__).parents[1] / "workflows" / "guess_average.py")
Said = pytest.CaptureFixture[str]


def test_what_a_run_will_take(capsys: Said) -> None:
    words = [GAME, "--model", "random", "-n", "5000", "-p", "rounds=6", "--sync", "--pilot", "20"]
    assert main(["estimate", *words]) == 0
    said = capsys.readouterr().out
    assert "5,000 agents, 6 rounds" in said and "30,000 (30,000 to 30,000)" in said
    assert main(["estimate", *words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["calls"] == {"low": 30_000, "likely": 30_000, "high": 30_000}
    assert found["pilot"]["calls"] == 40 and found["cost"]["likely"] == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([GAME, "-p", "ruonds=3"], "did you mean 'rounds'"),
        ([GAME, "--pilot", "1"], "pilot"),
        ([GAME, "--sync", "--workers", "2"], "give one of them"),
    ],
)
def test_wrong_use(words: list[str], said: str, capsys: Said) -> None:
    assert main(["estimate", "--model", "random", *words]) == 2
    assert said in capsys.readouterr().err
