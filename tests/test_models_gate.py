"""Models that wait for leave: rates, places and budgets, shared by several event loops' gates."""

from __future__ import annotations

import asyncio
import pickle
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daskagents import Message, loop, models
from daskagents.errors import BudgetError, EndpointError, ModelError, RunError, UsageError
from daskagents.keeper import Accounts
from daskagents.models.adaptive import Adaptive
from daskagents.models.base import Answer, Model, Request
from daskagents.models.budget import Budget, Budgeted
from daskagents.models.gate import Gate
from daskagents.models.rate import RateLimit
from daskagents.usage import Usage


@dataclass
class Remote:
    """A keeper that several processes might ask, each under its name, over a slow line."""

    accounts: Accounts
    name: str
    delay: Callable[[], float] = lambda: 0.0
    asked: int = 0
    broken: bool = False

    __hash__ = object.__hash__

    async def ask(self, account: str, said: dict[str, Any]) -> dict[str, Any]:
        self.asked += 1
        await asyncio.sleep(self.delay())
        if self.broken:
            raise OSError("nobody is there")
        told = self.accounts.tell(account, self.name, said, monotonic())
        await asyncio.sleep(self.delay())
        return told


@dataclass
class Seen:
    """What a model saw."""

    now: int = 0
    most: int = 0
    mine: Counter[int] = field(default_factory=Counter)
    peaks: Counter[int] = field(default_factory=Counter)
    began: list[float] = field(default_factory=list)
    spent: int = 0


@dataclass(frozen=True)
class Watched(Model):
    """Answers after a while, counts who is under way, and fails on request."""

    seen: Seen = field(default_factory=Seen, compare=False)
    latency: Callable[[], float] = lambda: 0.01
    tokens: Callable[[], int] = lambda: 10
    fails: Callable[[], BaseException | None] = lambda: None

    async def chat(self, request: Request) -> Answer:
        seen = self.seen
        seen.now += 1
        seen.most = max(seen.most, seen.now)
        who = id(request.keeper)
        seen.mine[who] += 1
        seen.peaks[who] = max(seen.peaks[who], seen.mine[who])
        seen.began.append(monotonic())
        try:
            await asyncio.sleep(self.latency())
        finally:
            seen.now -= 1
            seen.mine[who] -= 1
        error = self.fails()
        if error is not None:
            raise error
        took = self.tokens()
        seen.spent += took
        return Answer("Hi.", None, took // 2, took - took // 2, cost=took / 100)


def run(work: Any) -> Any:
    """Run a coroutine, and close what its loop keeps."""

    async def whole() -> Any:
        try:
            return await work
        finally:
            await loop.close_resources()

    return asyncio.run(whole())


def request(keeper: Any = None) -> Request:
    return Request((Message("Hello there, how are you today?"),), keeper=keeper)


async def gather(model: Model, asked: list[Request]) -> list[Any]:
    return await asyncio.gather(*(model.chat(each) for each in asked), return_exceptions=True)


def gates() -> list[Gate]:
    kept = loop._resources.get(asyncio.get_running_loop(), {})
    return [value for value in kept.values() if isinstance(value, Gate)]


ALL = [
    lambda inner: RateLimit(inner, requests_per_minute=60_000),
    lambda inner: RateLimit(inner, tokens_per_minute=10_000_000),
    Adaptive,
    lambda inner: Budgeted(inner, Budget(tokens=1_000_000)),
]
wrappers = pytest.mark.parametrize("wrap", ALL, ids=["requests", "tokens", "places", "budget"])


@wrappers
def test_answers_pass_and_say_how_long_they_waited(wrap: Any) -> None:
    async def work() -> None:
        answer = await wrap(Watched()).chat(request())
        assert (answer.text, answer.tokens, answer.calls) == ("Hi.", 10, 1)
        assert 0 < answer.waited < 5

    run(work())


@wrappers
def test_errors_pass_with_what_was_spent(wrap: Any) -> None:
    def fails() -> BaseException:
        error = EndpointError("no")
        error.usage, error.status = Usage(calls=1, prompt_tokens=3), 500
        return error

    async def work() -> None:
        with pytest.raises(EndpointError) as caught:
            await wrap(Watched(fails=fails)).chat(request())
        assert caught.value.usage.prompt_tokens == 3 and caught.value.usage.waited > 0
        with pytest.raises(KeyError):
            await wrap(Watched(fails=lambda: KeyError("x"))).chat(request())

    run(work())


@wrappers
def test_several_answers_are_asked_for_at_once(wrap: Any) -> None:
    class Many(Watched):
        async def chat_many(self, request: Request, n: int) -> list[Any]:
            return [Answer("Hi.", None, 10, 5, calls=int(i == 0), cost=0.1) for i in range(n)]

    async def work() -> None:
        answers = await wrap(Many()).chat_many(request(), 5)
        assert [answer.text for answer in answers] == ["Hi."] * 5
        assert sum(answer.calls for answer in answers) == 1
        assert answers[0].waited > 0 and not answers[1].waited

    run(work())


@wrappers
def test_a_thousand_chats_are_a_few_words_with_the_keeper(wrap: Any) -> None:
    keeper = Remote(Accounts(), "w")

    async def work() -> None:
        began = monotonic()
        answers = await gather(wrap(Watched()), [request(keeper)] * 1_000)
        assert all(isinstance(answer, Answer) for answer in answers)
        assert keeper.asked < 10 + 60 * (monotonic() - began)

    run(work())


@wrappers
def test_a_gate_that_is_quiet_gives_all_back_and_is_gone(wrap: Any) -> None:
    keeper = Remote(Accounts(), "w")

    async def work() -> None:
        await gather(wrap(Watched()), [request(keeper)] * 20)
        assert len(gates()) == 1
        async with asyncio.timeout(10):
            while gates():
                await asyncio.sleep(0.01)
        (account,) = keeper.accounts._accounts.values()
        assert not account.holders
        await gather(wrap(Watched()), [request(keeper)] * 20)

    run(work())


@wrappers
def test_agents_that_give_up_lose_no_leave(wrap: Any) -> None:
    async def work() -> None:
        model, rng, seen = wrap(Watched()), random.Random(3), set[Any]()
        chats = [asyncio.create_task(model.chat(request())) for _ in range(300)]
        for chat in rng.sample(chats, 200):
            await asyncio.sleep(0.0005)
            seen.update(gates())  # one that is quiet is gone soon, and another comes
            chat.cancel()
        answers = await asyncio.gather(*chats, return_exceptions=True)
        assert sum(isinstance(answer, Answer) for answer in answers) >= 100
        assert seen and all(gate.flying == 0 and gate.head() is None for gate in seen)
        assert isinstance(await model.chat(request()), Answer)

    run(work())


@wrappers
def test_agents_go_in_as_they_came(wrap: Any) -> None:
    order: list[int] = []

    class Ordered(Watched):
        async def chat(self, request: Request) -> Answer:
            order.append(int(request.sampling["seed"]))
            return await super().chat(request)

    async def work() -> None:
        model = wrap(Ordered())
        asked = [Request((Message("Hi"),), sampling={"seed": i}) for i in range(200)]
        await gather(model, asked)
        assert order == sorted(order)

    run(work())


@wrappers
def test_a_keeper_that_is_lost_ends_the_run(wrap: Any) -> None:
    async def work() -> None:
        with pytest.raises(RunError, match="not kept any more: nobody is there"):
            await wrap(Watched()).chat(request(Remote(Accounts(), "w", broken=True)))
        assert not gates()

    run(work())


@wrappers
def test_equal_models_share_and_others_do_not(wrap: Any) -> None:
    hi = models.Dummy(answer="Hi.")
    assert wrap(hi).account == wrap(models.Dummy(answer="Hi.")).account
    assert wrap(hi).account != wrap(models.Dummy(answer="Ho.")).account
    again = pickle.loads(pickle.dumps(wrap(hi)))
    assert (again, again.account) == (wrap(hi), wrap(hi).account)
    one = models.OpenAI("m", base_url="http://x/v1", api_key="sk-one-1234567890")
    other = models.OpenAI("m", base_url="http://x/v1", api_key="sk-two-1234567890")
    assert wrap(one).account != wrap(other).account
    assert "sk-one" not in wrap(one).account + repr(wrap(one))


def test_wrappers_of_one_name_share() -> None:
    one = RateLimit(models.Dummy(), requests_per_minute=6, name="vendor")
    other = RateLimit(models.Dummy(answer="x"), requests_per_minute=6, name="vendor")
    assert one.account == other.account
    assert one.account != RateLimit(models.Dummy(), requests_per_minute=7, name="vendor").account


def test_models_that_cannot_be_pickled_have_accounts() -> None:
    dummy = models.Dummy(answer=lambda request, rng: "x")
    assert Adaptive(dummy).account == Adaptive(dummy).account


# Rates


def test_requests_flow_evenly_over_several_workers() -> None:
    accounts, inner = Accounts(), Watched()
    model = RateLimit(inner, requests_per_minute=6_000)  # a hundred each second

    async def work() -> None:
        asked = [request(Remote(accounts, f"w{i}")) for i in range(3) for _ in range(1)]
        await gather(model, [asked[i % 3] for i in range(350)])
        began = inner.seen.began
        assert len(began) == 350 and 2.2 < began[-1] - began[0] < 3.5
        for start in began:
            assert sum(start <= t < start + 1 for t in began) <= 201

    run(work())


def test_tokens_are_counted_as_they_turn_out() -> None:
    inner = Watched(tokens=lambda: 50)
    model = RateLimit(inner, tokens_per_minute=60_000)  # twenty of them each second

    async def work() -> None:
        began = monotonic()
        await gather(model, [request()] * 60)
        assert 1.5 < monotonic() - began < 4

    run(work())


@pytest.mark.parametrize("limits", [{}, {"requests_per_minute": 0}, {"tokens_per_minute": -5}])
def test_limits_that_make_no_sense_are_refused(limits: Any) -> None:
    with pytest.raises(UsageError, match="give one of them"):
        RateLimit(models.Dummy(), **limits)


# Places


def test_no_more_are_under_way_than_there_are_places() -> None:
    accounts, inner = Accounts(), Watched()

    async def work() -> None:
        model = Adaptive(inner, start=6, most=6)
        asked = [request(Remote(accounts, f"w{i % 3}")) for i in range(3)]
        answers = await gather(model, [asked[i % 3] for i in range(200)])
        assert all(isinstance(answer, Answer) for answer in answers)
        assert inner.seen.most <= 6

    run(work())


def test_an_endpoint_that_takes_more_is_given_more() -> None:
    inner = Watched(latency=lambda: 0.02)

    async def work() -> None:
        await gather(Adaptive(inner, start=4), [request()] * 2_000)
        assert inner.seen.most > 12

    run(work())


def test_an_endpoint_that_refuses_is_asked_less() -> None:
    inner = Watched()

    def too_many() -> BaseException | None:
        error = EndpointError("too many requests")
        error.status = 429
        return error if inner.seen.now >= 5 else None

    object.__setattr__(inner, "fails", too_many)

    async def work() -> None:
        model = Adaptive(inner, start=64)

        async def insist() -> None:
            while True:
                try:
                    await model.chat(request())
                except EndpointError:
                    await asyncio.sleep(0.02)
                else:
                    return

        await asyncio.gather(*(insist() for _ in range(600)))
        (gate,) = gates()
        assert gate._may <= 32  # of 64; how far it goes up between two refusals is a matter of time

    run(work())


def test_more_answers_than_places_are_asked_for_alone() -> None:
    async def work() -> None:
        model = Adaptive(Watched(), start=2, most=2)
        answers = await asyncio.gather(*(model.chat_many(request(), 5) for _ in range(3)))
        assert [len(each) for each in answers] == [5, 5, 5]

    run(work())


@pytest.mark.parametrize("numbers", [{"start": 0}, {"start": 9, "most": 8}, {"slow": 1.0}])
def test_numbers_of_places_that_make_no_sense_are_refused(numbers: Any) -> None:
    with pytest.raises(UsageError, match="least <= start <= most"):
        Adaptive(models.Dummy(), **numbers)


# Budgets


@settings(max_examples=15)
@given(
    seed=st.integers(0, 999),
    limit=st.integers(0, 3_000),
    slow=st.sampled_from([0.0, 0.003, 0.02]),
)
def test_a_budget_holds_for_any_interleaving(seed: int, limit: int, slow: float) -> None:
    rng, accounts = random.Random(seed), Accounts()
    inner = Watched(
        latency=lambda: rng.choice([0.0, 0.001, 0.01]), tokens=lambda: rng.choice([2, 10, 40])
    )

    async def work() -> None:
        model = Budgeted(inner, Budget(tokens=limit))
        keepers = [Remote(accounts, f"w{i}", lambda: rng.random() * slow) for i in range(3)]
        answers = await gather(model, [request(keepers[i % 3]) for i in range(400)])
        assert all(isinstance(answer, Answer | BudgetError) for answer in answers)
        # before it is known what a call takes, 16 may be under way on each worker
        flying = sum(min(16, peak) for peak in inner.seen.peaks.values())
        assert inner.seen.spent <= limit + flying * 40
        if any(isinstance(answer, BudgetError) for answer in answers):
            assert inner.seen.spent > limit - 60

    run(work())


def test_a_budget_of_calls_is_kept_to_the_call() -> None:
    accounts, inner = Accounts(), Watched()

    async def work() -> None:
        model = Budgeted(inner, Budget(calls=70))
        keepers = [Remote(accounts, f"w{i}", lambda: 0.002) for i in range(3)]
        answers = await gather(model, [request(keepers[i % 3]) for i in range(600)])
        assert len(inner.seen.began) == 70
        (why,) = {str(answer) for answer in answers if isinstance(answer, BudgetError)}
        assert why == "the budget is spent: 70 of 70 calls; give a larger one to go on"

    run(work())


def test_a_budget_too_small_for_one_more_call_says_so() -> None:
    async def work() -> None:
        model = Budgeted(Watched(), Budget(tokens=25))
        for _ in range(2):
            await model.chat(request())
        with pytest.raises(BudgetError, match=r"one more call, which takes 10 tokens: 20 of 25"):
            await model.chat(request())

    run(work())


def test_a_budget_error_ends_a_run_and_is_a_model_s() -> None:
    assert issubclass(BudgetError, ModelError) and issubclass(BudgetError, RunError)
    assert str(pickle.loads(pickle.dumps(BudgetError("spent")))) == "spent"


def test_a_budget_spent_already_is_found_before_the_start() -> None:
    asyncio.run(Budgeted(models.Dummy(), Budget(tokens=1)).check())
    spent = Usage(prompt_tokens=90, completion_tokens=20)
    for model in (
        Budgeted(models.Dummy(), Budget(tokens=0)),
        Budgeted(models.Dummy(), Budget(tokens=100), spent=spent),
    ):
        with pytest.raises(BudgetError, match=r"spent before the start: .* of .* tokens; give"):
            asyncio.run(model.check())


def test_what_was_spent_before_counts() -> None:
    inner = Watched()

    async def work() -> None:
        model = Budgeted(inner, Budget(calls=10), spent=Usage(calls=7))
        await gather(model, [request()] * 30)
        assert len(inner.seen.began) == 3

    run(work())


def test_a_cost_that_is_not_known_cannot_be_limited() -> None:
    async def work() -> None:
        model = Budgeted(Watched(tokens=lambda: 0), Budget(cost=5.0))
        free = await model.chat(request())
        assert free.cost == 0
        unknown = Budgeted(Unpriced(), Budget(cost=5.0))
        await unknown.chat(request())
        with pytest.raises(BudgetError, match="what a call costs is not known: give the prices"):
            await unknown.chat(request())
        assert await Budgeted(Unpriced(), Budget(calls=5)).chat(request())

    run(work())


class Unpriced(Model):
    async def chat(self, request: Request) -> Answer:
        return Answer("Hi.")


@pytest.mark.parametrize("limits", [{}, {"tokens": -1}, {"cost": float("nan")}, {"calls": True}])
def test_budgets_that_make_no_sense_are_refused(limits: Any) -> None:
    with pytest.raises(UsageError, match="give one or more of tokens, cost and calls"):
        Budget(**limits)
    with pytest.raises(UsageError, match="give a Budget"):
        Budgeted(models.Dummy(), 1_000)  # type: ignore[arg-type]


def test_wrappers_stack() -> None:
    inner = Watched()

    async def work() -> None:
        model = Budgeted(
            RateLimit(Adaptive(inner), requests_per_minute=60_000), Budget(calls=100, tokens=5_000)
        )
        await model.check()
        answers = await gather(model, [request()] * 300)
        assert sum(isinstance(answer, Answer) for answer in answers) == 100

    run(work())
