from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import traceback
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

import cloudpickle
import pytest

import daskagents as da
from daskagents.errors import AnswerError, EndpointError, UsageError
from daskagents.loop import Loop
from daskagents.message import Message
from daskagents.models import OpenAI, Request
from daskagents.testing import ModelServer, model_server

T = TypeVar("T")

KEY = "sk-never-to-be-seen-0123456789"
CHAT = "/v1/chat/completions"


@dataclass(frozen=True)
class Guess:
    number: float


HELLO = Request((Message("be brief", "system"), Message("hello you")))
GUESS = Request(HELLO.messages, Guess)


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on a loop of its own, and close the connections that it made."""
    loop = Loop(thread=False)
    try:
        return loop.run(coroutine)
    finally:
        loop.close()


def chats(model: OpenAI, times: int, request: Request = GUESS) -> list[Any]:
    """Return the answers to the same request, one after the other."""

    async def each() -> list[Any]:
        return [await model.chat(request) for _ in range(times)]

    return run(each())


def model_of(server: ModelServer, **given: Any) -> OpenAI:
    return OpenAI("any", server.url, **{"api_key": "none", **given})


def test_text() -> None:
    with model_server(answer="Good day.") as server:
        (answer,) = chats(model_of(server, temperature=0.5), 1, HELLO)
        assert answer.text == "Good day."
        assert answer.value is None
        assert (answer.prompt_tokens, answer.completion_tokens) == (4, 2)
        assert answer.model == "any"
        assert server.stats().body == {
            "model": "any",
            "messages": [
                {"role": "system", "content": "be brief"},
                {"role": "user", "content": "hello you"},
            ],
            "temperature": 0.5,
        }


def test_schema() -> None:
    with model_server() as server:
        first, second = chats(model_of(server), 2)
        assert 0 <= first.value.number <= 100
        assert first == second
        form = server.stats().body["response_format"]
        assert form["type"] == "json_schema"
        assert form["json_schema"]["name"] == "Guess"
        assert form["json_schema"]["strict"] is True
        assert form["json_schema"]["schema"]["properties"] == {"number": {"type": "number"}}


def test_schema_as_a_grammar() -> None:
    with model_server(answer='{"number": 3}') as server:
        assert chats(model_of(server, grammar=True), 1)[0].value == Guess(3.0)
        assert server.stats().body["grammar"].startswith("root ::= ")
        assert "response_format" not in server.stats().body


def test_an_answer_that_does_not_fit_is_asked_for_once_more() -> None:
    with model_server(fail={"nonsense": 1}) as server:
        with pytest.raises(AnswerError, match=r"does not fit Guess: .* got 'A lamp"):
            chats(model_of(server), 1)
        assert server.stats().requests == 2


def test_sampling_is_merged_and_the_unknown_is_passed_on() -> None:
    with model_server() as server:
        model = model_of(server, temperature=0.5, max_tokens=7, extra_body={"min_p": 0.1})
        request = Request(HELLO.messages, sampling={"temperature": 2.0, "guided": "yes"})
        chats(model, 1, request)
        sent = server.stats().body
        del sent["messages"], sent["model"]
        assert sent == {"temperature": 2.0, "max_tokens": 7, "min_p": 0.1, "guided": "yes"}


def test_what_cannot_be_used_is_counted_for_it_is_paid() -> None:
    with model_server(fail={"nonsense": 2}) as server:
        once, twice = chats(model_of(server), 2)
    # The fake's nonsense has five words; the repair's prompt has these and more.
    assert twice.prompt_tokens > once.prompt_tokens + 5
    assert twice.completion_tokens == once.completion_tokens + 5
    assert (once.calls, twice.calls) == (1, 2)
    assert (once.how, twice.how) == ("schema", "repair")


class Guesser(da.Agent):
    """Guesses, and fails where its model does."""

    async def reply(self, message: da.Message) -> float:
        return float((await self.chat("Guess.", schema=Guess)).value.number)


def guessing(people: Any) -> Any:
    yield {"guess": people.reply()}


def test_a_run_counts_the_calls_of_agents_that_fail() -> None:
    with model_server(fail={"nonsense": 2}) as server:
        model = model_of(server)
        result = da.run(
            guessing, da.Population(Guesser, 40), model=model, client="sync", seed=1, max_failed=1.0
        )
        assert 0 < result["n_failed"].item() < 40
        asked_for_models = 1
        assert result["calls"].item() == server.stats().requests - asked_for_models > 40


@pytest.mark.parametrize("fault", [None, 500])
def test_check_is_content_with_any_server(fault: Any) -> None:
    fail = {fault: 1} if fault else None
    with model_server(models=None, fail=fail) as server:
        run(model_of(server).check())
        assert server.stats().outcomes == {"/v1/models 404": 1}


def test_check_tells_of_a_wrong_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with model_server(api_key="another") as server:
        with pytest.raises(EndpointError, match=r"status 401: .*; set OPENAI_API_KEY"):
            run(OpenAI("any", server.url).check())
        with pytest.raises(EndpointError, match=r"status 401: .*; check the api_key"):
            run(OpenAI("any", server.url, KEY).check())
        assert server.stats().requests == 2


def test_check_of_the_vendor_without_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with pytest.raises(EndpointError, match="set OPENAI_API_KEY"):
        run(OpenAI("any").check())


def test_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with model_server(api_key=KEY) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url + "/")
        model = OpenAI("any")
        assert model.base_url == server.url
        # As on a worker: the key is that of the process that asks.
        monkeypatch.delenv("OPENAI_API_KEY", raising=False)
        with pytest.raises(EndpointError, match="status 401"):
            run(model.check())
        monkeypatch.setenv("OPENAI_API_KEY", KEY + "\n")
        run(model.check())
        assert chats(model, 1)


def test_the_first_model_is_taken_where_none_is_named() -> None:
    with model_server(models=("first", "second")) as server:
        model = OpenAI(base_url=server.url, api_key="none")

        async def many() -> list[Any]:
            return await asyncio.gather(*[model.chat(HELLO) for _ in range(20)])

        assert {answer.model for answer in run(many())} == {"first"}
        assert server.stats().outcomes == {"/v1/models 200": 1, f"{CHAT} 200": 20}


@pytest.mark.parametrize(("models", "said"), [(None, "status 404"), ((), "it lists no models")])
def test_no_model_to_take(models: Any, said: Any) -> None:
    with model_server(models=models) as server:
        model = OpenAI(base_url=server.url, api_key="none")
        for ask in (model.check, lambda: model.chat(HELLO)):
            with pytest.raises(EndpointError, match=f"{said}.*; give model="):
                run(ask())


def test_connections_are_kept_and_shared() -> None:
    with model_server() as server:

        async def some() -> None:
            for temperature in (0.1, 0.2, 0.3):
                await model_of(server, temperature=temperature).chat(HELLO)

        run(some())
        assert server.stats().connections == 1


def shown(error: BaseException) -> str:
    """Return all that a traceback could show of an error."""
    causes = [error.__cause__, error.__context__]
    return "".join(traceback.format_exception(error)) + repr(error) + repr(causes)


def test_the_key_is_never_shown(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    seen = []
    with model_server(api_key="another") as server:
        model = OpenAI("any", server.url, KEY)
        seen += [repr(model), str(model), f"{vars(model)}"]
        for ask in (model.check, lambda: model.chat(GUESS)):
            with pytest.raises(EndpointError, match=r"Incorrect API key provided: \*\*\*") as error:
                run(ask())
            seen.append(shown(error.value))
    with model_server(api_key="another") as server:
        with pytest.raises(EndpointError) as error:
            run(OpenAI("any", server.url, KEY * 20).check())
        seen.append(shown(error.value))
    # Where it is shortened, no part of the key may be left; and answers are written down.
    with model_server(answer=f"{'x' * 180}{KEY}") as server:
        with pytest.raises(AnswerError, match=r"x+") as refused:
            chats(OpenAI("any", server.url, KEY), 1)
        seen.append(shown(refused.value))
        seen.append(chats(OpenAI("any", server.url, KEY), 1, HELLO)[0].text)
    with model_server(answer=f"You said {KEY}.") as server:
        with pytest.raises(AnswerError, match=r"You said \*\*\*") as refused:
            chats(OpenAI("any", server.url, KEY), 1)
        seen.append(shown(refused.value))
    with model_server(answer=f"I think of {KEY}: 50") as server:
        model = OpenAI("any", server.url, KEY)
        with pytest.raises(AnswerError) as refused:
            run(model.chat(Request(HELLO.messages, Guess, extract=True)))
        seen += [shown(refused.value), f"{server.stats().body}"]
        seen += [repr(run(model.chat_many(HELLO, 3)))]
        with pytest.raises(AnswerError) as refused:
            run(model.chat_many(GUESS, 3))
        seen.append(shown(refused.value))
    with pytest.raises(UsageError) as usage:
        OpenAI("any", f"http://me:{KEY}@127.0.0.1/v1")
    seen += [shown(usage.value), caplog.text]
    for text in seen:
        assert "sk-never" not in text


def test_a_short_key_is_no_part_of_an_answer() -> None:
    with model_server(answer="there are none") as server:
        assert chats(model_of(server), 1, HELLO)[0].text == "there are none"
        with pytest.raises(AnswerError, match=r"there are \*\*\*"):
            chats(model_of(server), 1, GUESS)


def test_it_is_a_value_that_travels() -> None:
    with model_server(api_key=KEY) as server:
        model = OpenAI("any", server.url, KEY, temperature=0.5, retries=1)
        twin = cloudpickle.loads(cloudpickle.dumps(model))
        assert twin == model
        assert hash(twin) == hash(model)
        assert chats(twin, 1) == chats(model, 1)
        assert cloudpickle.loads(cloudpickle.dumps(model)) == model
        for other in (
            OpenAI("any", server.url, KEY, temperature=0.6, retries=1),
            OpenAI("any", server.url, "other", temperature=0.5, retries=1),
            OpenAI("other", server.url, KEY, temperature=0.5, retries=1),
        ):
            assert other != model
        assert model != "any"


@pytest.mark.parametrize(
    "given",
    [
        {"base_url": "127.0.0.1:8000"},
        {"base_url": "ftp://127.0.0.1/v1"},
        {"base_url": "http:///v1"},
        {"timeout": 0},
        {"connect_timeout": -1},
        {"first_byte_timeout": 0},
        {"timeout": float("nan")},
        {"retries": -1},
        {"stream": True},
        {"messages": []},
        {"extra_body": {"n": 3}},
        {"temperature": object()},
    ],
)
def test_wrong_arguments(given: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        OpenAI("any", **{"base_url": "http://127.0.0.1:1/v1", **given})


def test_wrong_requests_are_not_sent() -> None:
    with model_server() as server:
        with pytest.raises(UsageError, match="frozen dataclass"):
            chats(model_of(server), 1, Request(HELLO.messages, dict))
        with pytest.raises(UsageError, match="stream= is not for the caller"):
            chats(model_of(server), 1, Request(HELLO.messages, sampling={"stream": True}))
        assert server.stats().requests == 0


def test_the_openai_package_is_imported_only_when_it_is_needed() -> None:
    code = "import sys, daskagents.models as m; m.OpenAI('any'); assert 'openai' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
