from __future__ import annotations

import asyncio
import importlib
import json
import subprocess
import sys
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
import psutil
import pytest
from test_models_process import is_gone, wait_until, wait_until_gone

from daskagents.errors import UsageError
from daskagents.loop import Loop
from daskagents.message import Message
from daskagents.models import Answer, Request, local
from daskagents.models.prompt import prompt

pytest.importorskip("xllamacpp", reason="pip install 'daskagents[local]'")

# The package has a function of the same name.
module = importlib.import_module("daskagents.models.local")

PARENT = """
import sys
from daskagents.models import local
print(local().base_url, flush=True)
sys.stdin.read()
"""


@dataclass(frozen=True)
class Guess:
    number: Annotated[float, msgspec.Meta(ge=0, le=100)]


@dataclass(frozen=True)
class Vote:
    party: Literal["red", "green"]
    sure: bool
    age: int | None
    guesses: Annotated[tuple[Guess, ...], msgspec.Meta(max_length=2)]
    why: Annotated[str, msgspec.Meta(max_length=20)]


SAID = Message("You play a game.", "system"), Message("Report a number from 0 to 100.")


def ask(*schemas: Any) -> list[Answer]:
    """Return the model's answers to a question, one for each schema, asked at once."""
    return ask_for(*(Request(SAID, schema) for schema in schemas))


def ask_for(*requests: Request) -> list[Answer]:
    """Return the model's answers, asked at once."""
    model = local(temperature=1.0)

    async def chats() -> list[Answer]:
        await model.check()
        return await asyncio.gather(*map(model.chat, requests))

    loop = Loop(thread=False)
    try:
        return loop.run(chats())
    finally:
        loop.close()


@pytest.mark.timeout(300)
def test_its_answers_have_the_asked_form() -> None:
    schemas = Guess, Guess, Guess, Vote
    for answer, schema in zip(ask(*schemas), schemas, strict=True):
        assert isinstance(answer.value, schema)
        assert " " not in answer.text.split('"why"')[0]
        assert json.loads(answer.text)
        assert answer.prompt_tokens > 10
        assert answer.completion_tokens > 3


@pytest.mark.timeout(300)
def test_values_alone_and_from_free_text() -> None:
    five = Annotated[int, msgspec.Meta(ge=1, le=5)]
    for answer, kind in zip(ask(five, bool, Literal["a", "b"]), (int, bool, str), strict=True):
        assert type(answer.value) is kind
        assert (answer.how, answer.calls) == ("grammar", 1)
    (answer,) = ask_for(Request(SAID, five, {"max_tokens": 30}, extract=True))
    assert answer.value in range(1, 6)
    assert (answer.how, answer.calls) == ("extract", 2)
    assert answer.text


@pytest.mark.timeout(300)
def test_options_have_probabilities() -> None:
    said = prompt([Message("Tea or coffee?")], "You have breakfast.", "You are tired.")
    for answer in ask_for(*[Request(said, choices=("tea", "coffee"))] * 4):
        assert answer.value in {"tea", "coffee"}
        # Of a small model, an option may not be among the tokens that are told of.
        if answer.probabilities is not None:
            assert sum(answer.probabilities.values()) == pytest.approx(1)
            assert min(answer.probabilities.values()) > 0


@pytest.mark.timeout(300)
def test_many_answers_at_once() -> None:
    loop = Loop(thread=False)
    found = loop.run(local(temperature=1.0).chat_many(Request(SAID, Guess), 4))
    loop.close()
    assert all(0 <= one.value.number <= 100 for one in found)
    assert [one.calls for one in found] == [1, 0, 0, 0]
    assert sum(one.prompt_tokens for one in found) < 60


@pytest.mark.timeout(300)
def test_one_server_is_shared_and_started_again() -> None:
    first = local(temperature=1.0)
    assert local(temperature=0.1).base_url == first.base_url
    (server,) = [one for one in module._servers.values() if one.alive]
    assert f":{server.port}/" in first.base_url
    psutil.Process(server.pid).kill()
    wait_until(lambda: not server.alive)
    local()
    (again,) = [one for one in module._servers.values() if one.alive]
    assert again.pid != server.pid
    assert ask(Guess)[0].value.number <= 100


@pytest.mark.timeout(300)
def test_the_server_ends_with_a_killed_parent() -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with parent:
        port = int(parent.stdout.readline().split(b":")[2].split(b"/")[0])
        (server,) = psutil.Process(parent.pid).children()
        assert port in [held.laddr.port for held in server.net_connections("tcp")]
        parent.kill()
        wait_until_gone(server.pid)
    assert is_gone(server.pid)


def test_what_is_missing_is_told_with_its_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_servers", {})
    monkeypatch.setattr(module, "_PACKAGE", "there-is-no-such-package")
    with pytest.raises(UsageError, match="run: daskagents install-model"):
        local()
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    with pytest.raises(UsageError, match=r"run: pip install 'daskagents\[local\]'"):
        local()


def test_numbers_that_make_no_sense() -> None:
    with pytest.raises(UsageError, match="at least 1"):
        local(slots=0)
    with pytest.raises(UsageError, match="at least 1"):
        local(threads=-1)
