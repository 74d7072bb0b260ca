from __future__ import annotations

import asyncio
import math
import pickle
import random
import time
from itertools import chain, repeat
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from odd_models import HELLO, Batch, Told, final, odd, passing, run

from daskagents.errors import AnswerError, EndpointError, ModelError, UsageError
from daskagents.models import Answer, Dummy, Model, OpenAI, Request
from daskagents.models.retry import Retry
from daskagents.rng import Draws
from daskagents.testing import model_server
from daskagents.usage import Usage


def quick(inner: Model, **given: Any) -> Retry:
    return Retry(inner, **{"pause": 0.001, **given})


def ask(model: Model, request: Request = HELLO) -> Answer:
    return run(model.chat(request))


def test_what_succeeds_is_asked_once() -> None:
    told = Told(iter(["yes"]))
    assert ask(quick(told)) == Answer("yes", cost=0.0)
    assert told.seen == [HELLO]


def test_what_passes_is_asked_again() -> None:
    faults = [passing(429, calls=1, prompt_tokens=5, cost=0.5), passing(0), passing(500)]
    answer = ask(quick(Told(iter([*faults, "yes"]))))
    assert (answer.text, answer.retries, answer.calls) == ("yes", 3, 2)
    assert (answer.prompt_tokens, answer.cost) == (5, 0.5)
    assert 0 < answer.waited < 0.007


@pytest.mark.parametrize("error", [*map(final, (400, 401, 403, 404)), odd()])
def test_what_cannot_pass_is_not_asked_again(error: ModelError) -> None:
    told = Told(iter([passing(), error]))
    with pytest.raises(type(error)) as caught:
        ask(quick(told))
    assert caught.value is error
    assert len(told.seen) == 2
    assert (error.usage.retries, error.usage.calls) == (1, int(isinstance(error, AnswerError)))


def test_tries_are_bounded() -> None:
    told = Told(repeat(passing(prompt_tokens=2)))
    with pytest.raises(EndpointError, match=r"^status 503; tried 3 times in \S+ s$") as caught:
        ask(quick(Told(passing(prompt_tokens=2) for _ in range(4)), tries=3))
    assert caught.value.usage.prompt_tokens == 6
    assert caught.value.usage.retries == 2
    assert caught.value.passing
    with pytest.raises(EndpointError, match="tried once"):
        ask(quick(told, tries=1))


def test_retry_after_is_honoured() -> None:
    start = time.monotonic()
    answer = ask(quick(Told(iter([passing(429, wait=0.2), "yes"]))))
    assert 0.2 <= time.monotonic() - start < 2
    assert 0.2 <= answer.waited <= 0.201


def test_nobody_waits_past_the_bound() -> None:
    start = time.monotonic()
    with pytest.raises(EndpointError, match="tried once"):
        ask(quick(Told(iter([passing(429, wait=30.0)])), longest=10.0))
    with pytest.raises(EndpointError, match="tried"):
        ask(quick(Told(passing() for _ in range(99)), tries=99, pause=0.1, longest=0.2))
    assert time.monotonic() - start < 2


@given(st.floats(1e-3, 1e3), st.floats(1e-3, 1e3), st.integers(1, 200))
def test_pauses_are_bounded(pause: float, longest: float, tries: int) -> None:
    retry = Retry(Dummy(), pause=pause, longest_pause=longest)
    bound = min(pause * 2 ** min(tries - 1, 60), longest)
    assert 0 <= retry.pause_after(tries) <= bound


def test_pauses_spread_over_all_of_their_range() -> None:
    retry = Retry(Dummy(), pause=1.0, longest_pause=4.0)
    for tries, bound in {1: 1.0, 2: 2.0, 3: 4.0, 9: 4.0}.items():
        pauses = [retry.pause_after(tries) / bound for _ in range(2_000)]
        counts = [sum(at / 10 <= pause < (at + 1) / 10 for pause in pauses) for at in range(10)]
        assert all(100 < count < 320 for count in counts)


def test_chance_is_nobodys_but_its_own() -> None:
    rng = Draws(7, np.arange(3)).rng(1)
    state = random.getstate()
    told = Told(chain((passing() for _ in range(5)), ["yes"]))
    ask(quick(told), Request(HELLO.messages, rng=rng))
    assert random.getstate() == state
    assert rng.random() == Draws(7, np.arange(3)).rng(1).random()


def test_many_are_asked_for_again_where_they_are_missing() -> None:
    turns: list[Any] = [
        lambda n: [Answer("a", prompt_tokens=1), passing(prompt_tokens=7, calls=1), odd()],
        lambda n: [passing(429)],
        lambda n: [Answer("b", prompt_tokens=2)],
    ]
    batch = Batch(lambda request, n: turns[len(batch.asked) - 1](n))
    found = run(quick(batch).chat_many(HELLO, 3))
    assert batch.asked == [3, 1, 1]
    first, second, third = found
    assert isinstance(first, Answer) and isinstance(second, Answer)
    assert (first.text, second.text) == ("a", "b")
    assert isinstance(third, AnswerError)
    usages = [item.usage for item in found]
    assert sum(usage.prompt_tokens for usage in usages) == 10
    assert sum(usage.calls for usage in usages) == 4
    assert sum(usage.retries for usage in usages) == 2


def test_each_of_many_keeps_its_own_draws() -> None:
    rngs: list[Any] = [random.Random(seed) for seed in range(4)]
    seen: list[Any] = []

    def answers(request: Request, n: int) -> list[Answer | ModelError]:
        seen.append([one.rng for one in request.each(n)])
        return [
            passing() if rng in rngs[1:3] and len(seen) == 1 else Answer("") for rng in seen[-1]
        ]

    request = Request(HELLO.messages, rng=rngs[0], others=tuple(rngs[1:]))
    assert len(run(quick(Batch(answers)).chat_many(request, 4))) == 4
    assert seen == [rngs, rngs[1:3]]


def test_many_that_never_come() -> None:
    def never(request: Request, n: int) -> list[Answer | ModelError]:
        raise passing(prompt_tokens=3)

    with pytest.raises(EndpointError, match="tried 4 times") as caught:
        run(quick(Batch(never), tries=4).chat_many(HELLO, 5))
    assert caught.value.usage.prompt_tokens == 12

    def first(request: Request, n: int) -> list[Answer | ModelError]:
        if n < 5:
            return never(request, n)
        return [Answer("a"), *(passing(prompt_tokens=3) for _ in range(4))]

    answer, *failed = run(quick(Batch(first), tries=3).chat_many(HELLO, 5))
    assert isinstance(answer, Answer)
    assert answer.prompt_tokens == 4 * 3 + 2 * 3
    assert len(failed) == 4 and len(set(map(id, failed))) == 4
    assert all(isinstance(item, EndpointError) and item.passing for item in failed)
    assert all(item.usage == Usage() for item in failed)


def test_a_value() -> None:
    retry = Retry(OpenAI("m", "http://127.0.0.1:1/v1", "sk-secret"), tries=3)
    assert pickle.loads(pickle.dumps(retry)) == retry
    assert hash(retry) != hash(Retry(retry.inner, tries=4))
    assert "sk-secret" not in repr(retry)
    for wrong in ({"tries": 0}, {"longest": 0.0}, {"pause": math.nan}, {"longest_pause": -1.0}):
        with pytest.raises(UsageError, match="at least one try"):
            Retry(Dummy(), **wrong)  # type: ignore[arg-type]


def test_against_a_server_that_fails_often() -> None:
    faults = {429: 5, 500: 10, "reset": 50}
    with model_server(fail=faults, retry_after=0.05, answer="yes") as server:
        model = quick(OpenAI("any", server.url, "none", retries=0), pause=0.01)

        async def many() -> list[Answer]:
            return await asyncio.gather(*[model.chat(HELLO) for _ in range(400)])

        answers = run(many())
        outcomes = server.stats().outcomes
    failed = sum(n for outcome, n in outcomes.items() if not outcome.endswith(" 200"))
    assert [answer.text for answer in answers] == ["yes"] * 400
    assert sum(outcomes.values()) - failed == 400
    assert sum(answer.retries for answer in answers) == failed > 80
    assert sum(answer.waited for answer in answers) >= 0.05 * outcomes["/v1/chat/completions 429"]


def test_mixed_chains() -> None:
    assert ask(quick(quick(Told(chain([passing()], repeat("yes")))))).retries == 1
