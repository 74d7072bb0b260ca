"""What a run will take, against what it then took."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from distributed import Client

import daskagents as da
from daskagents import models, testing
from daskagents.errors import EndpointError, UsageError
from daskagents.estimating import Estimate
from daskagents.sampling import stratified


class Talker(da.Agent):
    """Remembers what it heard and said, so that its prompts grow; some are wordy."""

    kind: str = "short"

    async def reply(self, message: da.Message) -> str:
        self.remember(message)
        answer = await self.chat(self.memory, system=f"You are {self.kind}." * self.words())
        self.remember(answer)
        return answer.text

    def words(self) -> int:
        return 20 if self.kind == "long" else 1


def talk(talkers: Any, rounds: int = 2) -> Iterator[Any]:
    for _ in range(rounds):
        yield {"said": talkers.reply("Well?")}


def endless(talkers: Any) -> Iterator[Any]:
    while True:
        yield {"said": talkers.reply("Well?")}


def crowd(n: int = 400, **given: Any) -> da.Population:
    kinds = ["long" if at % 4 == 0 else "short" for at in range(n)]
    return da.Population(Talker, {"kind": kinds}, **given)


PRICED = models.Price(prompt=1.0, completion=2.0)


@pytest.mark.parametrize("where", ["sync", "cluster"])
def test_a_run_takes_what_was_estimated(where: str, request: Any) -> None:
    client: Client | str = "sync" if where == "sync" else request.getfixturevalue("client3")
    batching = testing.Batching(slots=10, prompt_speed=1e6, answer_speed=1_000)
    with testing.model_server(answer="It depends on the weather.", batching=batching) as server:
        model = models.OpenAI("any", server.url, "none", price=PRICED)
        found = da.estimate(talk, crowd(), rounds=5, model=model, client=client, pilot=40)
        assert server.stats().chats == found.pilot.calls == 80
        result = da.run(talk, crowd(), rounds=5, model=model, client=client)
    assert (found.agents, found.rounds) == (400, 5)
    for name in ("calls", "prompt_tokens", "completion_tokens", "cost"):
        took, guessed = float(result[name].sum()), getattr(found, name)
        assert guessed.low <= took <= guessed.high, name
        assert guessed.likely == pytest.approx(took, rel=0.02), name
    assert 0 < found.seconds.low <= found.seconds.likely <= found.seconds.high
    assert found.seconds.low <= float(result["seconds"].sum()) <= found.seconds.high
    assert found.cost.likely == pytest.approx(
        (found.prompt_tokens.likely + 2 * found.completion_tokens.likely) / 1e6
    )


def test_an_estimate_can_be_read() -> None:
    found = da.estimate(talk, crowd(), rounds=5, model=models.Dummy(answer="yes"), client="sync")
    text = str(found)
    assert text.startswith("400 agents, 5 rounds: likely (low to high)\n")
    assert "calls  2,000 (2,000 to 2,000)" in text
    assert "the pilot took 100 calls" in text


def test_agents_that_fail_in_a_pilot_are_counted() -> None:
    class Moody(Talker):
        async def reply(self, message: da.Message) -> str:
            if self.kind == "long":
                raise ValueError("no")
            return (await self.chat("Well?")).text

    people = da.Population(Moody, {"kind": ["long", "short", "short", "short"] * 100})
    found = da.estimate(talk, people, model=models.Dummy(answer="yes"), client="sync", pilot=40)
    assert found.failed == 20 and "20 replies of it failed" in str(found)
    assert found.calls.likely == 600


def test_answers_that_differ_widen_the_interval() -> None:
    def some(request: Any, rng: Any) -> str:
        return "word " * int(rng.uniform(1, 100))

    inside, widths = 0, []
    for seed in range(10):
        args: Any = {"rounds": 2, "model": models.Dummy(answer=some), "client": "sync"}
        found = da.estimate(talk, crowd(), seed=seed, pilot=30, **args)
        result = da.run(talk, crowd(), seed=1_000 + seed, **args)
        took, guessed = float(result["completion_tokens"].sum()), found.completion_tokens
        inside += guessed.low <= took <= guessed.high
        widths.append((guessed.high - guessed.low) / guessed.likely)
    assert inside >= 7  # of 10, at 95 %: fewer once in 1,000 times
    assert 0.1 < np.mean(widths) < 0.8


def test_how_many_rounds_must_be_known() -> None:
    model = models.Dummy(answer="yes")
    with pytest.raises(UsageError, match="give total_rounds="):
        da.estimate(endless, crowd(), model=model, client="sync")
    found = da.estimate(endless, crowd(), model=model, client="sync", total_rounds=7)
    assert found.calls.likely == 2_800

    def once(talkers: Any) -> Iterator[Any]:
        yield {"said": talkers.reply("Well?")}

    assert da.estimate(once, crowd(), model=model, client="sync").calls.likely == 400


def test_what_has_no_round_cannot_be_estimated() -> None:
    def nothing(talkers: Any, rounds: int = 3) -> Iterator[Any]:
        yield from ()

    model = models.Dummy(answer="yes")
    with pytest.raises(UsageError, match="has no round"):
        da.estimate(nothing, crowd(), model=model, client="sync")
    with pytest.raises(UsageError, match="has no round"):
        da.estimate(talk, crowd(), model=model, client="sync", rounds=0)


@pytest.mark.parametrize("pilot", [1, 0, 2.5])
def test_a_pilot_needs_agents(pilot: Any) -> None:
    with pytest.raises(UsageError, match="give at least 2 agents"):
        da.estimate(talk, crowd(), client="sync", pilot=pilot)


def test_a_pilot_meets_what_a_run_would() -> None:
    gone = models.OpenAI("m", "http://127.0.0.1:9/v1", "none", retries=0)
    with pytest.raises(EndpointError, match="cannot reach"):
        da.estimate(talk, crowd(), model=gone, client="sync")


def test_a_price_that_is_not_known_makes_the_cost_unknown() -> None:
    class Own(models.Model):
        async def chat(self, request: models.Request) -> models.Answer:
            return models.Answer("yes", prompt_tokens=5)

    found: Estimate = da.estimate(talk, crowd(), model=Own(), client="sync")
    assert all(math.isnan(number) for number in found.cost)
    assert found.calls.likely == 800 and "cost  not known: a model has no price" in str(found)


def test_named_agents_and_parts_are_what_they_are() -> None:
    def both(talkers: Any, chair: Any, rounds: int = 3) -> Iterator[Any]:
        for _ in range(rounds):
            yield {"said": talkers.reply(chair("Well?"))}

    chair = da.spawn(Talker(kind="long"))
    people = crowd().sel(kind="short")
    found = da.estimate(both, people, chair, model=models.Dummy(answer="yes"), client="sync")
    assert found.calls.likely == 3 * 301 and found.agents == 301


def test_each_kind_has_its_share() -> None:
    class Citizen(da.Agent):
        town: str | None = None
        age: int = 0

    towns = [None if at % 10 == 0 else "Bonn" if at % 2 else "Ulm" for at in range(1_000)]
    ages = np.random.default_rng(0).integers(18, 90, 1_000)
    people = da.Population(Citizen, {"town": towns, "age": ages})
    rows = stratified(people, 100, seed=3)
    assert len(set(rows.tolist())) == 100
    shares = [sum(towns[row] == town for row in rows) for town in (None, "Bonn", "Ulm")]
    assert np.abs(np.array(shares) - [10, 50, 40]).max() <= 1
    assert abs(float(np.mean(ages[rows])) - float(np.mean(ages))) < 2
    assert stratified(people, 5_000).tolist() == list(range(1_000))
