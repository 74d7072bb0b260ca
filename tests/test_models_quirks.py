from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from scripted import HELLO, Reply, chat, refused, run, said, scripted, took

from daskagents.errors import EndpointError
from daskagents.message import Message
from daskagents.models import Request
from daskagents.usage import Usage

TEMPERATURE = (
    "Unsupported value: 'temperature' does not support 0.5 with this model. Only the default (1)"
    " value is supported."
)
MAX_TOKENS = (
    "Unsupported parameter: 'max_tokens' is not supported with this model. Use"
    " 'max_completion_tokens' instead."
)


def picky(*rules: tuple[str, str]) -> Reply:
    """Return what refuses each request that holds a parameter, with a message for it."""

    def reply(body: dict[str, Any]) -> Any:
        for name, told in rules:
            if name in body:
                return refused(told)
        return said("Hi.")

    return reply


def test_refused_sampling_is_left_out_from_then_on(caplog: pytest.LogCaptureFixture) -> None:
    async def ask() -> tuple[list[Any], list[Any]]:
        rules = ("max_tokens", MAX_TOKENS), ("temperature", TEMPERATURE)
        async with scripted(picky(*rules)) as server:
            model = server.model(temperature=0.5, max_tokens=7, top_p=0.9)
            first = await model.chat(HELLO)
            rest = await asyncio.gather(*[model.chat(HELLO) for _ in range(20)])
            return [first, *rest], server.seen

    answers, sent = run(ask())
    assert {answer.text for answer in answers} == {"Hi."}
    assert len(sent) == 23
    for body in sent[2:]:
        assert body.keys() == {"model", "messages", "max_completion_tokens", "top_p"}
        assert body["max_completion_tokens"] == 7
    assert took(*answers) == Usage(21, 210, 63, retries=2)
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 2
    assert "'m' at http://127.0.0.1" in told[0]
    assert told[0].endswith("does not take max_tokens: max_completion_tokens is sent in its place")
    assert told[1].endswith("does not take temperature: it is left out from now on")


def test_many_learn_it_at_once(caplog: pytest.LogCaptureFixture) -> None:
    async def ask() -> list[Any]:
        async with scripted(picky(("temperature", TEMPERATURE))) as server:
            model = server.model(temperature=0.5)
            return await asyncio.gather(*[model.chat(HELLO) for _ in range(30)])

    assert len(run(ask())) == 30
    assert len(caplog.records) == 1


def test_other_models_of_the_endpoint_are_not_concerned() -> None:
    async def ask() -> list[Any]:
        refuse = picky(("temperature", TEMPERATURE))
        async with scripted(lambda body: refuse(body) if body["model"] == "m" else said("")) as it:
            for name in ("m", "m", "other"):
                model = it.model(temperature=0.5)
                model.model = name
                await model.chat(HELLO)
            return it.seen

    assert ["temperature" in body for body in run(ask())] == [True, False, False, True]


@pytest.mark.parametrize(
    ("told", "status"),
    [
        ("Invalid 'temperature': decimal above maximum value. Expected a value <= 2", 400),
        ("temperature must be non-negative, got -1", 400),
        ("the model is not supported", 400),
        ("Unsupported parameter: temperature", 403),
    ],
)
def test_what_is_wrong_with_the_request_stays_an_error(told: str, status: int) -> None:
    error, sent = chat(refused(told, status), temperature=-1)
    assert isinstance(error, EndpointError)
    assert told in str(error)
    assert len(sent) == 1


def test_what_is_refused_in_every_form_has_an_end() -> None:
    error, sent = chat(
        refused("max_tokens, max_completion_tokens, temperature: not supported"),
        max_tokens=3,
        temperature=0.5,
        stop=["x"],
    )
    assert isinstance(error, EndpointError)
    assert took(error) == Usage(retries=3)
    assert len(sent) == 4
    assert sent[-1].keys() == {"model", "messages", "stop"}


TALK = Request(
    (
        Message("rules", "system"),
        Message("How much?"),
        Message("you are bold", "system"),
        Message("50", "assistant"),
        Message("So?"),
        Message("Well?"),
    )
)


def turns(body: dict[str, Any]) -> list[tuple[str, str]]:
    return [(turn["role"][0], turn["content"]) for turn in body["messages"]]


@pytest.mark.parametrize(
    "told",
    [
        "After the optional system message, conversation roles must alternate user/assistant",
        "System message must be at the beginning.",
        "Only user and assistant roles are supported!",
    ],
)
def test_turns_are_joined_where_a_template_wants_that(told: str) -> None:
    def template(body: dict[str, Any]) -> Any:
        roles = "".join(role for role, _ in turns(body))
        return said("Hi.") if roles == "suau" else refused(told, 500)

    answer, sent = chat(template, request=TALK)
    assert answer.text == "Hi."
    assert turns(sent[-1]) == [
        ("s", "rules"),
        ("u", "How much?\n\nyou are bold"),
        ("a", "50"),
        ("u", "So?\n\nWell?"),
    ]
    assert len(sent) == 2


def test_a_template_without_a_system() -> None:
    def template(body: dict[str, Any]) -> Any:
        roles = "".join(role for role, _ in turns(body))
        return said("Hi.") if roles == "uau" else refused("System role not supported")

    answer, sent = chat(template, request=TALK)
    assert answer.text == "Hi."
    assert turns(sent[-1])[0] == ("u", "rules\n\nHow much?\n\nyou are bold")
    error, sent = chat(refused("System role not supported"), request=TALK)
    assert isinstance(error, EndpointError)
    assert len(sent) == 3


def many(n: int, *replies: Reply) -> tuple[list[Any], list[Any]]:
    async def ask() -> tuple[list[Any], list[Any]]:
        async with scripted(*replies) as server:
            model = server.model()
            await model.chat_many(HELLO, n)
            return await model.chat_many(HELLO, n), server.seen

    return run(ask())


def test_many_answers_at_once() -> None:
    answers, sent = many(3, said("a", "b", "c"))
    assert [answer.text for answer in answers] == ["a", "b", "c"]
    assert [body["n"] for body in sent] == [3, 3]
    assert [answer.calls for answer in answers] == [1, 0, 0]


@pytest.mark.parametrize(
    "reply",
    [picky(("n", "n > 1 is not supported")), picky(("n", "nonsense")), said("Hi.")],
    ids=["refused", "refused for no reason", "ignored"],
)
def test_many_are_asked_for_one_by_one_where_n_is_not_known(
    reply: Reply, caplog: pytest.LogCaptureFixture
) -> None:
    answers, sent = many(4, reply)
    assert [answer.text for answer in answers] == ["Hi."] * 4
    assert took(*answers) == Usage(4, 40, 12)
    assert sum("n" in body for body in sent) == 1
    assert len(caplog.records) == 1
    assert "asked for one by one" in caplog.text


def test_a_server_error_does_not_mean_that_n_is_not_known() -> None:
    async def ask(*replies: Reply) -> tuple[list[Any], bool]:
        async with scripted(*replies) as server:
            model = server.model()
            found = [
                await asyncio.gather(model.chat_many(HELLO, 3), return_exceptions=True)
                for _ in replies
            ]
            return [one for (one,) in found], (await model._quirks()).alone

    broken, fine = refused("broken", 500), said("a", "b", "c")
    found, alone = run(ask(broken, broken, fine, *[broken] * 5, fine))
    assert [isinstance(one, EndpointError) for one in found] == [1, 1, 0, 1, 1, 1, 1, 1, 0]
    assert not alone

    def never_many(body: dict[str, Any]) -> Any:
        return broken if "n" in body else said("a")

    found, alone = run(ask(*[never_many] * 6))
    assert [isinstance(one, EndpointError) for one in found] == [1, 1, 1, 1, 1, 0]
    assert alone


def test_many_of_a_wrong_request_say_what_is_wrong() -> None:
    async def ask(reply: Reply) -> tuple[Any, int, bool]:
        async with scripted(reply) as server:
            model = server.model()
            (error,) = await asyncio.gather(model.chat_many(HELLO, 3), return_exceptions=True)
            return error, len(server.seen), (await model._quirks()).alone

    error, asked, alone = run(ask(refused("context too long")))
    assert "context too long" in str(error)
    assert (asked, alone) == (2, False)
    error, asked, alone = run(ask(refused("busy", 429)))
    assert error.passing
    assert (asked, alone) == (1, False)


def test_warnings_hold_no_key(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    key = "sk-never-to-be-seen-0123456789"
    told = f"temperature is not supported for {key}"
    answer, _ = chat(picky(("temperature", told)), temperature=1, api_key=key)
    assert answer.text == "Hi."
    assert caplog.records
    assert "sk-never" not in caplog.text
