"""The default stack: what a run puts around the models that it is given."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Iterator
from typing import Any

import pytest

import daskagents as da
from daskagents import models, testing
from daskagents.errors import BudgetError, UsageError
from daskagents.models.base import Model

URL = "http://127.0.0.1:1/v1"
VENDOR = models.OpenAI("m", URL, "none")


def shape(model: Model) -> Any:
    """Return the classes of a model and of what it is put around."""
    inside: list[Any] = []

    def note(one: Model) -> Model:
        inside.append(shape(one))
        return one

    model.inside(note)
    name = type(model).__name__
    return f"{name}({', '.join(inside)})" if inside else name


@pytest.mark.parametrize(
    ("given", "made"),
    [
        (models.Dummy(), "Dummy"),
        (VENDOR, "Retry(Adaptive(OpenAI))"),
        (models.OpenAI("m", URL, retries=0), "Adaptive(OpenAI)"),
        (models.OpenAI("m", URL, coalesce=True), "Coalesce(Retry(Adaptive(OpenAI)))"),
        (models.Coalesce(VENDOR), "Coalesce(Retry(Adaptive(OpenAI)))"),
        (models.Retry(VENDOR), "Retry(Adaptive(OpenAI))"),
        (models.Adaptive(VENDOR), "Retry(Adaptive(OpenAI))"),
        (models.Adaptive(models.Retry(VENDOR)), "Adaptive(Retry(OpenAI))"),
        (
            models.RateLimit(VENDOR, requests_per_minute=60),
            "Retry(RateLimit(Adaptive(OpenAI)))",
        ),
        (
            models.Pool([VENDOR, models.Adaptive(VENDOR)]),
            "Retry(Pool(Adaptive(OpenAI), Adaptive(OpenAI)))",
        ),
        (
            models.Chosen("x", {1: VENDOR, 2: models.Dummy()}, otherwise=models.Retry(VENDOR)),
            "Chosen(Retry(Adaptive(OpenAI)), Dummy, Retry(Adaptive(OpenAI)))",
        ),
    ],
)
def test_what_is_missing_is_put_around(given: Model, made: str) -> None:
    assert shape(models.stack(given)) == made
    assert shape(models.stack(models.stack(given))) == made
    limited = models.stack(given, da.Budget(calls=1))
    ends = ("OpenAI", "Dummy")
    for end in ends:
        made = made.replace(end, f"Budgeted({end})")
    assert shape(limited) == made
    assert hash(pickle.loads(pickle.dumps(limited))) == hash(limited)


def test_a_model_is_tried_as_often_as_it_says() -> None:
    made: Any = models.stack(models.OpenAI("m", URL, retries=2))
    assert made.tries == 3
    pool: Any = models.stack(models.Pool([models.OpenAI("m", URL, retries=2), VENDOR]))
    assert pool.tries == 32


def test_all_models_at_an_endpoint_share_its_places() -> None:
    warm, cold = (models.OpenAI("m", URL, temperature=t) for t in (1.0, 0.0))
    accounts = {models.stack(one).inner.account for one in (warm, cold)}  # type: ignore[attr-defined]
    assert len(accounts) == 1
    other: Any = models.stack(models.OpenAI("other", URL))
    assert other.inner.account not in accounts


class Own(Model):
    """A model of a user's that asks over a network, and has no hash."""

    remote = True
    __hash__ = None  # type: ignore[assignment]

    async def chat(self, request: models.Request) -> models.Answer:
        return models.Answer("yes")


class Plain(Own):
    remote = False


def test_models_of_users_own() -> None:
    plain = Plain()
    assert models.stack(plain) is plain
    with pytest.raises(UsageError, match="cannot be hashed"):
        models.stack(Own())


class Citizen(da.Agent):
    education: str = "school"

    async def reply(self, message: da.Message) -> str:
        return (await self.chat("Well?")).text


def ask(people: Any, rounds: int = 2) -> Iterator[Any]:
    for _ in range(rounds):
        yield {"said": people.reply()}


def by_id(agent: Any) -> Model:
    return models.Dummy(answer="even") if agent.id % 2 == 0 else models.Dummy(answer="odd")


@pytest.mark.parametrize("where", ["sync", "cluster"])
def test_models_that_a_function_chooses_share_a_budget(where: str, request: Any) -> None:
    client = "sync" if where == "sync" else request.getfixturevalue("client3")
    people = da.Population(Citizen, 100, block_size=20)
    result = da.run(ask, people, model=by_id, budget=da.Budget(calls=200), client=client)
    assert set(result["said"].values.ravel().tolist()) == {"even", "odd"}
    with pytest.raises(BudgetError, match="150 of 150 calls"):
        da.run(ask, people, model=by_id, budget=da.Budget(calls=150), client=client)


def test_a_run_takes_several_models() -> None:
    people = da.Population(Citizen, {"education": ["phd", "school"]})
    chosen = {"phd": models.Dummy(answer="Hm."), "school": models.Dummy(answer="Yes!")}
    result = da.run(ask, people, model={"education": chosen}, client="sync")
    assert result["said"].values[0].tolist() == ["Hm.", "Yes!"]
    del chosen["school"]
    with pytest.raises(UsageError, match="no model is given for education = 'school'"):
        da.run(ask, people, model={"education": chosen}, client="sync")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"budget": 100}, r"budget is 100; give a Budget, as da.Budget\(tokens=1_000_000\)"),
        ({"budget": {"tokens": 10}}, "give a Budget"),
        ({"model": "gpt-4o"}, "model is 'gpt-4o'; give one of daskagents.models, a dict"),
        ({"model": {"age": {1: VENDOR}}}, "a model cannot be chosen by 'age'"),
    ],
)
def test_what_cannot_be_a_model_or_a_budget(given: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        da.run(ask, da.Population(Citizen, 2), client="sync", **given)


def test_a_spent_budget_ends_a_run_with_what_there_is(tmp_path: Any) -> None:
    people = da.Population(Citizen, 10)
    budget = da.Budget(calls=25)
    model = models.Dummy(answer="yes")
    with pytest.raises(BudgetError, match="the budget is spent: 25 of 25 calls; give a larger"):
        da.run(ask, people, 5, model=model, budget=budget, client="sync", out=tmp_path / "run")
    left = da.open_run(tmp_path / "run")
    assert left.status == "out of budget"
    assert left.results["calls"].values.tolist() == [10, 10]
    assert left.about["budget"] == {"calls": 25}


def test_a_budget_of_nothing_is_found_before_the_start(tmp_path: Any) -> None:
    people = da.Population(Citizen, 10, model=models.Dummy(answer="yes"))
    with pytest.raises(BudgetError, match="spent before the start: 0 of 0 tokens"):
        da.run(ask, people, budget=da.Budget(tokens=0), client="sync", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_tries_again_and_pays(caplog: pytest.LogCaptureFixture) -> None:
    people = da.Population(Citizen, 30)
    with testing.model_server(fail={503: 3}, answer="Yes.") as server:
        vendor = models.OpenAI("m", server.url, "none", price=models.Price(prompt=1, completion=2))
        result = da.run(ask, people, model=vendor, client="sync")
        free = da.run(ask, people, model=models.OpenAI("m", server.url, "none"), client="sync")
    assert int(result["n_failed"].sum()) == 0 and int(result["retries"].sum()) > 0
    paid = (result["prompt_tokens"] + 2 * result["completion_tokens"]) / 1e6
    assert result["cost"].values == pytest.approx(paid.values) and float(paid.sum()) > 0
    assert float(free["cost"].sum()) == 0


@pytest.mark.timeout(60)
@pytest.mark.parametrize("more", [{}, {"calls": 10_000}])
def test_a_budget_of_money_lets_all_ask_a_model_that_costs_nothing(more: dict[str, int]) -> None:
    people = da.Population(Citizen, 3_000, model=models.Dummy(answer="yes", latency=0.01))
    results = da.run(ask, people, rounds=1, budget=da.Budget(cost=5, **more), client="sync")
    assert results["calls"].values.tolist() == [3_000]


def test_a_budget_of_money_without_a_price() -> None:
    people = da.Population(Citizen, 3, model=Plain())
    with pytest.raises(BudgetError, match="what a call costs is not known: give the prices"):
        da.run(ask, people, budget=da.Budget(cost=1.0), client="sync")


def test_outside_of_a_run_there_is_the_stack_too() -> None:
    with testing.model_server(fail={503: 3}, answer="Yes.") as server:
        people = da.Population(Citizen, 6, model=models.OpenAI("m", server.url, "none"))
        assert people.reply().values.tolist() == ["Yes."] * 6


def test_a_pool_says_who_is_out() -> None:
    pool: Any = models.stack(models.Pool([models.OpenAI("m", URL, "none", retries=0)]))
    with pytest.raises(da.DaskAgentsError, match=r"1 \(http://127.0.0.1:1/v1\): cannot reach"):
        asyncio.run(pool.check())
