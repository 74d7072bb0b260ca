from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any, Literal

import msgspec
import pytest
from scripted import HELLO, chat, refused, run, said, scripted, took

from daskagents.errors import AnswerError, BrokenError, EndpointError, UsageError
from daskagents.models import Request
from daskagents.models.structure import form
from daskagents.usage import Usage


class Side(Enum):
    LEFT = "left"
    RIGHT = "right"


@dataclass(frozen=True)
class Thought:
    reasoning: str
    number: Annotated[float, msgspec.Meta(ge=0, le=100)]


def wanting(schema: Any, **given: Any) -> Request:
    return Request(HELLO.messages, schema, **given)


@pytest.mark.parametrize(
    ("schema", "text", "value"),
    [
        (float, '{"answer": 33}', 33.0),
        (Annotated[int, msgspec.Meta(ge=1, le=5)], '{"answer": 5}', 5),
        (bool, '{"answer": true}', True),
        (str, '{"answer": "tea"}', "tea"),
        (Side, '{"answer": "left"}', Side.LEFT),
        (Literal["up", "down"], '{"answer": "down"}', "down"),
        (Thought, '{"reasoning": "hm", "number": 3}', Thought("hm", 3.0)),
        # An endpoint that does not keep to the schema is understood where that is clear.
        (float, "33", 33.0),
        (float, "33.5\n", 33.5),
        (bool, "True", True),
        (Side, "left", Side.LEFT),
        (str, "I would like tea.", "I would like tea."),
    ],
)
@pytest.mark.parametrize("grammar", [False, True])
def test_one_call_gives_a_value(schema: Any, text: str, value: Any, grammar: bool) -> None:
    answer, (sent,) = chat(said(text), request=wanting(schema), grammar=grammar)
    assert (answer.value, answer.text) == (value, text)
    assert answer.how == ("grammar" if grammar else "schema")
    assert took(answer) == Usage(1, 10, 3)
    if grammar:
        assert sent["grammar"].startswith("root ::= ")
        assert "response_format" not in sent
        return
    asked = sent["response_format"]["json_schema"]
    assert asked["strict"] is True
    assert asked["schema"]["type"] == "object"
    assert asked["name"] == ("Thought" if schema is Thought else "Answer")


def test_a_model_is_shown_its_own_error() -> None:
    answer, (first, second) = chat(
        said("A lamp."), said('{"number": 7, "reasoning": ""}'), request=wanting(Thought)
    )
    assert answer.value == Thought("", 7.0)
    assert answer.how == "repair"
    assert took(answer) == Usage(2, 20, 6)
    assert second["messages"][:2] == first["messages"]
    own, told = second["messages"][2:]
    assert own == {"role": "assistant", "content": "A lamp."}
    assert told["role"] == "user"
    assert "does not fit Thought" in told["content"]
    assert '"number"' in told["content"]
    assert second["response_format"] == first["response_format"]


def test_a_bound_that_is_passed_is_repaired() -> None:
    five = Annotated[int, msgspec.Meta(ge=1, le=5)]
    answer, sent = chat(said('{"answer": 6}'), said('{"answer": 5}'), request=wanting(five))
    assert (answer.value, answer.how) == (5, "repair")
    assert "Expected `int` <= 5" in sent[1]["messages"][-1]["content"]


def test_there_is_one_repair_only() -> None:
    error, sent = chat(said("A lamp."), request=wanting(Thought))
    assert type(error) is AnswerError
    assert not error.passing
    assert took(error) == Usage(2, 20, 6)
    assert len(sent) == 2
    assert "got 'A lamp.'; it was shown its error once before" in str(error)
    assert str(error).startswith("http://127.0.0.1:")


def test_what_fails_on_the_way_says_what_was_spent() -> None:
    error, _ = chat(said("A lamp."), refused("busy", 503), request=wanting(Thought))
    assert isinstance(error, EndpointError)
    assert error.passing
    assert took(error) == Usage(1, 10, 3)
    error, _ = chat(said("Hm. 50."), (200, "{"), request=wanting(float, extract=True))
    assert isinstance(error, BrokenError)
    assert took(error) == Usage(2, 10, 3)


def test_long_answers_are_shown_in_part() -> None:
    _, sent = chat(said("x" * 50_000), said('{"answer": 1}'), request=wanting(int))
    assert len(sent[1]["messages"][2]["content"]) < 5_000


def test_extract_asks_freely_and_then_for_the_value() -> None:
    answer, (first, second) = chat(
        said("Others say 50, so 33."),
        said('{"answer": 33}'),
        request=wanting(float, extract=True),
        temperature=1.0,
    )
    assert "response_format" not in first
    assert first["temperature"] == 1.0
    assert second["messages"][:2] == first["messages"]
    assert second["messages"][2] == {"role": "assistant", "content": "Others say 50, so 33."}
    assert "response_format" in second
    assert second["temperature"] == 0.0
    assert (answer.text, answer.value, answer.how) == ("Others say 50, so 33.", 33.0, "extract")
    assert took(answer) == Usage(2, 20, 6)


def test_an_extract_may_be_repaired() -> None:
    answer, sent = chat(
        said("33, I think."),
        said("33, as I said"),
        said('{"answer": 33}'),
        request=wanting(float, extract=True),
    )
    assert (answer.text, answer.value, answer.how) == ("33, I think.", 33.0, "repair")
    assert took(answer) == Usage(3, 30, 9)
    assert len(sent[2]["messages"]) == 6


def test_many_answers_are_each_repaired_alone() -> None:
    async def ask() -> tuple[list[Any], list[Any]]:
        async with scripted(
            said('{"answer": 1}', "one", '{"answer": 3}', "two"),
            lambda body: said('{"answer": 2}' if "'one'" in str(body) else "two"),
        ) as server:
            return await server.model().chat_many(wanting(int), 4), server.seen

    found, sent = run(ask())
    assert [getattr(one, "value", None) for one in found] == [1, 2, 3, None]
    assert [getattr(one, "how", None) for one in found] == ["schema", "repair", "schema", None]
    assert isinstance(found[3], AnswerError)
    assert len(sent) == 3
    spent = took(*found)
    assert spent == Usage(3, 30, 18)


def test_many_with_extract() -> None:
    async def ask() -> tuple[list[Any], list[Any]]:
        async with scripted(
            said("first 1", "then 2"),
            lambda body: said(f'{{"answer": {body["messages"][2]["content"][-1]}}}'),
        ) as server:
            return await server.model().chat_many(wanting(int, extract=True), 2), server.seen

    found, sent = run(ask())
    assert [(one.text, one.value, one.how) for one in found] == [
        ("first 1", 1, "extract"),
        ("then 2", 2, "extract"),
    ]
    assert sent[0]["n"] == 2
    assert "n" not in sent[1]


@pytest.mark.parametrize(
    "told",
    [
        "'response_format' of type json_schema is not supported",
        "Invalid schema for response_format 'Answer'",
        "failed to parse grammar",
    ],
)
def test_a_schema_that_is_refused(told: str) -> None:
    error, sent = chat(refused(told), request=wanting(float))
    assert isinstance(error, EndpointError)
    assert told in str(error)
    assert "does not take schema=float" in str(error)
    assert len(sent) == 1
    error, _ = chat(refused(told))
    assert "does not take schema" not in str(error)


def test_wrong_requests() -> None:
    with pytest.raises(UsageError, match="extract=True needs a schema"):
        Request(HELLO.messages, extract=True)
    error, sent = chat(said(""), request=wanting(dict))
    assert isinstance(error, UsageError)
    assert not sent


def test_names_of_schemas_are_plain() -> None:
    name = "Été" * 40
    cls = type(name, (), {"__annotations__": {"x": "int"}})
    raw = form(dataclass(frozen=True)(cls), False)["response_format"]
    found = msgspec.json.decode(raw)["json_schema"]["name"]
    assert found.isascii()
    assert len(found) == 64
