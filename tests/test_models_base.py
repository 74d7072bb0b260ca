from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest
import tblib.pickling_support

from daskagents.errors import AnswerError, EndpointError, ModelError, UsageError
from daskagents.message import Message
from daskagents.models import Answer, Dummy, Model, Request
from daskagents.models.base import Wrapper, alike
from daskagents.usage import Usage

HELLO = Request((Message("hello"),))


class Louder(Wrapper):
    async def chat(self, request: Request) -> Answer:
        answer = await self.inner.chat(request)
        return Answer(answer.text.upper())


class Quiet(Wrapper):
    pass


@dataclass
class Several(Model):
    """Has many answers at once."""

    asked: list[int] = field(default_factory=list)

    __hash__ = object.__hash__

    async def chat(self, request: Request) -> Answer:
        raise AssertionError("one was asked")

    async def chat_many(self, request: Request, n: int) -> list[Any]:
        self.asked.append(n)
        return [Answer("yes")] * n


@dataclass(frozen=True)
class Moody(Model):
    """Fails as the agent draws: never, in passing, or for good."""

    async def chat(self, request: Request) -> Answer:
        assert request.rng is not None
        draw = request.rng.randint(0, 2)
        if draw == 0:
            return Answer("yes")
        error = EndpointError("busy") if draw == 1 else AnswerError("odd")
        error.passing, error.wait, error.usage = draw == 1, float(draw), Usage(1, 10)
        raise error


def many(model: Model, n: int, request: Request = HELLO) -> list[Any]:
    return asyncio.run(model.chat_many(request, n))


def test_many_are_single_chats() -> None:
    assert [answer.text for answer in many(Dummy(answer="yes"), 3)] == ["yes"] * 3


def test_each_agent_draws_its_own() -> None:
    def draws(seeds: Any) -> list[str]:
        rngs: list[Any] = [Random(seed) for seed in seeds]
        request = Request(HELLO.messages, rng=rngs[0], others=tuple(rngs[1:]))
        return [answer.text for answer in many(Dummy(answer=None), len(rngs), request)]

    assert draws(range(5)) == [draws([seed])[0] for seed in range(5)]


def test_more_than_were_named_draw_with_the_first() -> None:
    rngs: Any = (Random(1), Random(2))
    request = Request(HELLO.messages, rng=rngs[0], others=rngs[1:])
    assert [one.rng for one in request.each(4)] == [rngs[0], rngs[1], rngs[0], rngs[0]]
    assert request.each(1)[0].others == ()


def test_an_error_stands_where_the_answer_would() -> None:
    rngs: list[Any] = [Random(seed) for seed in range(20)]
    found = many(Moody(), 20, Request(HELLO.messages, rng=rngs[0], others=tuple(rngs[1:])))
    kinds = [Random(seed).randint(0, 2) for seed in range(20)]
    assert {0, 1, 2} == set(kinds)
    assert [type(item) for item in found] == [
        (Answer, EndpointError, AnswerError)[kind] for kind in kinds
    ]


def test_all_fail() -> None:
    by_kind: dict[int, Any] = {Random(seed).randint(0, 2): seed for seed in range(20)}
    rngs: list[Any] = [Random(by_kind[kind]) for kind in (2, 1, 2)]
    with pytest.raises(EndpointError, match="busy") as caught:
        many(Moody(), 3, Request(HELLO.messages, rng=rngs[0], others=tuple(rngs[1:])))
    assert caught.value.usage == Usage(3, 30)


def test_what_is_no_models_error_is_raised() -> None:
    with pytest.raises(UsageError, match="no rng"):
        many(Dummy(answer=None), 2)


def test_wrappers_pass_many_through_unless_they_do_something() -> None:
    inner = Several()
    assert len(many(Quiet(inner), 7)) == 7
    assert inner.asked == [7]
    assert [answer.text for answer in many(Louder(Dummy(answer="yes")), 2)] == ["YES"] * 2


def test_what_is_wrapped_is_a_model_that_can_be_a_key() -> None:
    @dataclass
    class Loose(Model):
        async def chat(self, request: Request) -> Answer:
            return Answer("")

    with pytest.raises(UsageError, match="Quiet is put around a model, not a str"):
        Quiet("gpt")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"a Loose, which cannot be hashed.*frozen=True"):
        Quiet(Loose())


@pytest.mark.parametrize("sent", [False, True])
def test_the_same_error_for_somebody_else(sent: bool) -> None:
    class OwnError(ModelError):
        def __init__(self, code: int, where: str) -> None:
            super().__init__(f"code {code} {where}")
            self.code = code

    endpoint = EndpointError("gone")
    endpoint.status, endpoint.wait, endpoint.usage = 503, 2.0, Usage(1)
    errors = [endpoint, OwnError(3, "there"), AnswerError("odd")]
    if sent:  # as Dask does with what it sends
        tblib.pickling_support.install(*errors)
    for error in errors:
        other: Any = alike(error, Usage(2))
        assert other is not error
        assert str(other) == str(error)
        assert vars(other) == {**vars(error), "usage": Usage(2)}
        assert error.usage != Usage(2)


def test_the_same_error_of_a_class_that_is_made_from_something_else() -> None:
    class CodedError(ModelError):
        def __new__(cls, code: int, *, where: str) -> CodedError:
            return super().__new__(cls, code)

        def __init__(self, code: int, *, where: str) -> None:
            super().__init__(f"code {code} {where}")

    other = alike(CodedError(3, where="there"), Usage(2))
    assert str(other) == "code 3 there"
    assert other.usage == Usage(2)
