from __future__ import annotations

import asyncio
import pickle
import time
from dataclasses import dataclass
from enum import Enum
from random import Random
from typing import Any, Literal

import pytest

from daskagents.errors import AnswerError, UsageError
from daskagents.message import Message
from daskagents.models import Answer, Dummy, Request


@dataclass(frozen=True)
class Guess:
    number: float


class Side(Enum):
    LEFT = "left"
    RIGHT = "right"


def ask(dummy: Dummy, schema: Any = None, rng: Any = None) -> Answer:
    said = Message("be brief", "system"), Message("Report your number.")
    return asyncio.run(dummy.chat(Request(said, schema, rng=rng)))


def third(request: Request, rng: Any) -> int:
    return rng.randint(3, 3)


def test_text() -> None:
    answer = ask(Dummy(answer="I do not know.", model="sage"))
    assert (answer.text, answer.value, answer.model) == ("I do not know.", None, "sage")
    assert (answer.prompt_tokens, answer.completion_tokens, answer.tokens) == (5, 4, 9)


def test_nothing_is_the_default() -> None:
    assert ask(Dummy()).text == ""


def test_function_of_the_request_and_the_draws() -> None:
    assert ask(Dummy(answer=third), rng=Random(1)).text == "3"
    assert ask(Dummy(answer=lambda request, rng: request.messages[1].text)).text.startswith(
        "Report"
    )


@pytest.mark.parametrize("said", ['{"number": 3}', 'Say {"number": 3}', Guess(3.0)])
def test_schema(said: Any) -> None:
    answer = ask(Dummy(answer=said), Guess)
    assert answer.value == Guess(3.0)
    assert '"number"' in answer.text
    assert ask(Dummy(answer=lambda request, rng: said), Guess) == answer


@pytest.mark.parametrize(
    ("said", "schema", "value"),
    [
        (33, float, 33.0),
        (True, bool, True),
        ("true", bool, True),
        (Side.LEFT, Side, Side.LEFT),
        ("left", Side, Side.LEFT),
        ("a", Literal["a", "b"], "a"),
        ((1, 2), tuple[int, ...], (1, 2)),
    ],
)
def test_values_that_are_no_dataclass(said: Any, schema: Any, value: Any) -> None:
    found = ask(Dummy(answer=said), schema).value
    assert (found, type(found)) == (value, type(value))


def test_choices_are_drawn() -> None:
    request = Request((Message("Tea?"),), choices=("yes", "no"), rng=Random(1))
    drawn = [asyncio.run(Dummy(answer=None).chat(request)) for _ in range(40)]
    assert {one.value for one in drawn} == {"yes", "no"}
    assert {one.probabilities for one in drawn} == {None}


def test_drawn() -> None:
    numbers = {float(ask(Dummy(answer=None), rng=Random(seed)).text) for seed in range(20)}
    assert len(numbers) == 20
    assert all(0 <= number <= 100 for number in numbers)
    assert isinstance(ask(Dummy(answer=None), Guess, Random(1)).value, Guess)
    maybe = {ask(Dummy(answer=None), int | None, Random(seed)).value is None for seed in range(9)}
    assert maybe == {True, False}
    assert ask(Dummy(answer=None), Guess, Random(1)) == ask(Dummy(answer=None), Guess, Random(1))


def test_errors() -> None:
    with pytest.raises(AnswerError, match="does not fit Guess"):
        ask(Dummy(answer="a lamp"), Guess)
    with pytest.raises(AnswerError, match="does not fit Guess"):
        ask(Dummy(answer=3), Guess)
    with pytest.raises(UsageError, match="no rng"):
        ask(Dummy(answer=None))
    with pytest.raises(UsageError, match="a dict; return str or a number"):
        ask(Dummy(answer=lambda request, rng: {}))
    with pytest.raises(UsageError, match="a NoneType; return str or a number, or what fits Guess"):
        ask(Dummy(answer=lambda request, rng: None), Guess)


def test_many_wait_at_once() -> None:
    dummy = Dummy(0.2, "yes")
    request = Request((Message("?"),))

    async def many() -> list[Answer]:
        return await asyncio.gather(*[dummy.chat(request) for _ in range(2_000)])

    start = time.perf_counter()
    assert len(asyncio.run(many())) == 2_000
    assert 0.2 <= time.perf_counter() - start < 5


def test_a_value() -> None:
    assert pickle.loads(pickle.dumps(Dummy(1.0, third))) == Dummy(1.0, third)
    assert Dummy(1.0) != Dummy(2.0)
    asyncio.run(Dummy().check())
