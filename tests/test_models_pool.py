from __future__ import annotations

import asyncio
import pickle
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import chain, repeat
from typing import Any

import pytest
from odd_models import HELLO, Batch, Told, final, odd, passing, run

from daskagents.errors import AnswerError, EndpointError, ModelError, UsageError
from daskagents.message import Message
from daskagents.models import Answer, Dummy, Model, OpenAI, Request
from daskagents.models.pool import Pool
from daskagents.models.retry import Retry
from daskagents.testing import model_server
from daskagents.usage import Usage


@dataclass(eq=False, frozen=True)
class Switched(Model):
    """Answers while it is on."""

    on: list[bool] = field(default_factory=lambda: [True])
    seen: Counter[str] = field(default_factory=Counter)

    async def chat(self, request: Request) -> Answer:
        self.seen["chat"] += 1
        await asyncio.sleep(0)
        if not self.on[0]:
            raise passing()
        return Answer("yes")

    async def check(self) -> None:
        self.seen["check"] += 1
        if not self.on[0]:
            raise passing(0)


def says(*said: Any) -> Told:
    return Told(iter(said))


def always(said: Any) -> Told:
    return Told(repeat(said))


async def chats(model: Model, times: int) -> list[Any]:
    return [await model.chat(HELLO) for _ in range(times)]


def test_weights() -> None:
    names = [Dummy(answer="yes", model=name) for name in "abc"]

    async def shares(at_once: int) -> Counter[str]:
        pool = Pool([Dummy(0.001, "yes", model=dummy.model) for dummy in names], [1, 2, 5])
        found: Counter[str] = Counter()
        for _ in range(800 // at_once):
            answers = await asyncio.gather(*[pool.chat(HELLO) for _ in range(at_once)])
            found += Counter(answer.model for answer in answers)
        return found

    for at_once in (1, 8, 80):
        found = run(shares(at_once))
        assert found["a"] == pytest.approx(100, abs=2)
        assert found["b"] == pytest.approx(200, abs=2)


def test_another_is_asked_at_once() -> None:
    pool = Pool([says(passing(429, wait=60.0, prompt_tokens=3)), says("b", "b")])
    answer = run(pool.chat(HELLO))
    assert (answer.text, answer.retries, answer.prompt_tokens, answer.waited) == ("b", 1, 3, 0.0)


@pytest.mark.parametrize("error", [final(400), final(422), odd()])
def test_what_is_the_agents_own_is_raised_and_harms_nobody(error: ModelError) -> None:
    pool = Pool([Told(chain(repeat(error, 10), ["a"]))], failures=1)

    async def ask() -> Answer:
        for _ in range(10):
            with pytest.raises(type(error)) as caught:
                await pool.chat(HELLO)
            assert caught.value is error
        return await pool.chat(HELLO)

    assert run(ask()).text == "a"


@pytest.mark.parametrize("status", [401, 403, 404])
def test_who_refuses_us_is_left_out(status: int, caplog: pytest.LogCaptureFixture) -> None:
    refusing = always(final(status))
    pool = Pool([refusing, always("b")])
    answers = run(chats(pool, 20))
    assert [answer.text for answer in answers] == ["b"] * 20
    assert len(refusing.seen) == 1
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_all_are_gone() -> None:
    pool = Pool([always(passing(503, prompt_tokens=2)), always(final(401)), always(passing(0))])
    with pytest.raises(EndpointError) as caught:
        run(pool.chat(HELLO))
    assert str(caught.value) == (
        "no model of a pool of 3 can be asked: 1 (Told): status 503; 2 (Told): status 401;"
        " 3 (Told): status 0"
    )
    assert caught.value.passing
    assert caught.value.usage == Usage(prompt_tokens=2, retries=2)


def test_all_refuse_us() -> None:
    pool = Pool([always(final(401)), always(final(401))])

    async def twice() -> list[int]:
        for _ in range(2):
            with pytest.raises(EndpointError, match=r"1 \(Told\): status 401; 2") as caught:
                await pool.chat(HELLO)
            assert (caught.value.passing, caught.value.status) == (False, 401)
        return [len(model.seen) for model in pool.models]  # type: ignore[attr-defined]

    assert run(twice()) == [1, 1]


def test_the_soonest_of_all_that_are_gone() -> None:
    pool = Pool([always(passing(429, wait=9.0)), always(passing(429, wait=5.0))], failures=9)
    with pytest.raises(EndpointError) as caught:
        run(pool.chat(HELLO))
    assert (caught.value.wait, caught.value.status) == (5.0, 429)


def test_one_that_is_gone_is_left_alone_and_comes_back() -> None:
    switched, other = Switched(), Dummy(answer="b", model="other")
    pool = Pool([switched, other], failures=2, pause=0.02, longest_pause=0.05)

    async def until_it_is_asked(model: Model) -> None:
        while (await model.chat(HELLO)).model == "other":
            await asyncio.sleep(0.001)

    async def story() -> None:
        switched.on[0] = False
        assert {answer.model for answer in await chats(pool, 50)} == {"other"}
        assert switched.seen["chat"] == 2
        while switched.seen["check"] < 3:
            await pool.chat(HELLO)
            await asyncio.sleep(0.001)
        assert switched.seen["chat"] == 2  # it says itself that it is not back
        switched.on[0] = True
        await asyncio.wait_for(until_it_is_asked(pool), 10)

    run(story())


def test_a_pool_that_was_gone_comes_back_for_those_who_try_again() -> None:
    switched = Switched([False])
    model = Retry(Pool([switched], failures=1, pause=0.01), pause=0.01)

    async def story() -> Answer:
        asked = asyncio.create_task(model.chat(HELLO))
        while switched.seen["check"] < 2:
            await asyncio.sleep(0.001)
        switched.on[0] = True
        return await asyncio.wait_for(asked, 10)

    assert run(story()).text == "yes"


def test_many() -> None:
    def some(request: Request, n: int) -> list[Answer | ModelError]:
        return [Answer("a"), odd(), *(passing(prompt_tokens=1) for _ in range(n - 2))]

    first, second = Batch(some), Batch(lambda request, n: [Answer("b")] * n)
    pool = Pool([first, second], [9, 1], failures=1)
    found = run(pool.chat_many(HELLO, 6))
    assert (first.asked, second.asked) == ([6], [4])
    assert [getattr(item, "text", "") for item in found] == ["a", "", "b", "b", "b", "b"]
    assert isinstance(found[1], AnswerError)
    assert sum(item.usage.prompt_tokens for item in found) == 4
    assert sum(item.usage.retries for item in found) == 1


def test_check(caplog: pytest.LogCaptureFixture) -> None:
    off, on = Switched([False]), Switched()
    run(Pool([off, on]).check())
    assert [record.getMessage() for record in caplog.records] == [
        "1 (Switched) of a pool of 2 models: status 0"
    ]
    with pytest.raises(
        EndpointError, match=r"pool of 2 .*1 \(Switched\): status 0; 2 \(Switched\)"
    ):
        run(Pool([off, Switched([False])]).check())


def test_a_value() -> None:
    pool = Pool([OpenAI("m", "http://127.0.0.1:1/v1", "sk-secret"), Dummy()], [2, 1])
    assert pickle.loads(pickle.dumps(pool)) == pool
    assert hash(pool) == hash(Pool(list(pool.models), [2.0, 1.0]))
    assert "sk-secret" not in repr(pool)
    for wrong in ([], [Dummy()]):
        with pytest.raises(UsageError, match="one model at least"):
            Pool(wrong, [1, 2])
    for numbers in ({"weights": [0]}, {"failures": 0}, {"pause": float("nan")}):
        with pytest.raises(UsageError, match="above 0"):
            Pool([Dummy()], **numbers)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="Pool is put around a model, not a str"):
        Pool(["http://127.0.0.1"])  # type: ignore[list-item]


def test_no_agent_notices_the_loss_of_one_of_three() -> None:
    n, faults = 900, {429: 0.2, 500: 0.1, "hang": 0.01}
    with ExitStack() as stack:
        servers = [
            stack.enter_context(
                model_server(fail=faults, retry_after=0.05, latency=0.005, answer="yes", seed=seed)
            )
            for seed in range(3)
        ]
        members = [OpenAI("any", one.url, "none", retries=0, timeout=1.0) for one in servers]
        model = Retry(Pool(members, pause=0.2), pause=0.05, longest_pause=0.5)
        agents, seen = iter(range(n)), list[Any]()
        answers: list[Answer] = []

        async def lane() -> None:
            for agent in agents:
                answers.append(await model.chat(Request((Message(f"I am {agent}"),))))
                if len(answers) == n // 2:
                    seen.append(servers[2].stats())
                    servers[2].kill()

        async def all_agents() -> None:
            await asyncio.gather(*[lane() for _ in range(45)])

        run(all_agents())
        seen += [server.stats() for server in servers[:2]]
    assert [answer.text for answer in answers] == ["yes"] * n
    assert sum(one.repeats for one in seen) == 0
    assert n - 45 <= sum(one.answered for one in seen) <= n  # the rest died with the third
    failed = sum(one.chats - one.answered for one in seen)
    # besides, a request is sent again if it was with the third as that died, or found it dead
    assert failed - 45 <= sum(answer.retries for answer in answers) <= failed + 60
    assert sum(one.hasty for one in seen) < n / 50
