from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from daskagents import serving
from daskagents.testing import Echo, LevelK, Lognormal, Normal

ROOT = Path(__file__).parents[1]
PROGRAM = "import typer; from daskagents import serving; a = typer.Typer(); serving.add(a); a()"


def start(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "--port=0", *words],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ask(url: str) -> dict[str, Any]:
    chat = {"messages": [{"role": "user", "content": "one two three"}]}
    with urllib.request.urlopen(f"{url}/chat/completions", json.dumps(chat).encode()) as answer:
        return json.load(answer)


def test_it_serves_until_ctrl_c_and_says_what_it_saw() -> None:
    with start("--answer=two words", "--fail=503=3", "--latency=lognormal(0.01)") as command:
        url = command.stdout.readline().split()[0]
        for _ in range(2):
            assert ask(url)["choices"][0]["message"]["content"] == "two words"
        with pytest.raises(urllib.error.HTTPError, match="503") as error:
            ask(url)
        error.value.close()
        command.send_signal(signal.SIGINT)
        said, wrong = command.communicate(timeout=60)
    assert (command.returncode, wrong) == (0, "")
    assert said.splitlines() == [
        "        2  /v1/chat/completions 200",
        "        1  /v1/chat/completions 503",
        "        1  answered although they had been answered before",
        "        1  at once, at most",
        "        6  prompt tokens, 0 of them cached; 4 completion tokens",
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--latency=soon"], "soon: give a number, or one of uniform, normal"),
        (["--latency=normal(1)"], "give a number"),
        (["--latency=-1"], "a model server cannot be so"),
        (["--fail=hang"], "--fail hang: give a fault and how often"),
        (["--fail=tantrum=1"], "a fault is a status"),
        (["--slots=0"], r"$.batching.slots"),
    ],
)
def test_what_is_asked_wrongly(words: list[str], said: str) -> None:
    app = typer.Typer()
    serving.add(app)
    ended = CliRunner().invoke(app, ["--port=0", *words])
    assert ended.exit_code == 2
    assert said in ended.stderr


def test_strategies_by_name() -> None:
    assert serving._strategy("normal(30, 5)") == Normal(30, 5)
    assert serving._strategy("echo") == Echo()
    assert serving._strategy("level-k") == LevelK()
    assert serving._strategy("normal people") == "normal people"
    assert serving._strategy(None) is None
    assert serving._number("lognormal(0.05, 1)") == Lognormal(0.05, 1)
    assert serving._fails(["429=0.2", "hang=100"]) == {"429": 0.2, "hang": 100}
