from __future__ import annotations

import asyncio
import json
import pickle
from enum import Enum
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
from distributed import Client
from odd_models import HELLO, Told, final, run

import daskagents as da
from daskagents.errors import EndpointError, UsageError
from daskagents.models import Answer, Dummy, Model, Request
from daskagents.models.chosen import Chosen, as_model
from daskagents.models.coalesce import Coalesce
from daskagents.models.describe import describe_model
from daskagents.models.retry import Retry

BIG, SMALL = Dummy(answer="big", model="big"), Dummy(answer="small", model="small")


class Mood(Enum):
    HAPPY = 1
    SAD = 2


class Citizen(da.Agent):
    education: str = "school"
    age: int | None = None
    mood: Mood = Mood.HAPPY

    async def reply(self, message: da.Message) -> str:
        return (await self.chat("Well?")).text


class Learner(da.Agent):
    level: int = 0

    async def reply(self, message: da.Message) -> str:
        before = (await self.chat("Well?")).text
        self.level += 1
        return f"{before} {(await self.chat('Now?')).text}"


class Sly(Model):
    """A user's own, that would show its key."""

    async def chat(self, request: Request) -> Answer:
        return Answer("sly")

    def __repr__(self) -> str:
        return "Sly('sk-secret')"


def asked(agents: Any, model: Any, cls: type[da.Agent] = Citizen) -> list[str]:
    said: list[str] = da.Population(cls, agents, model=model).reply().values.tolist()
    return said


def test_by_a_field() -> None:
    model = {"education": {"phd": BIG, "school": SMALL}}
    assert asked({"education": ["phd", "school", "phd"]}, model) == ["big", "small", "big"]
    assert asked(2, model) == ["small"] * 2
    ages = {"age": [None, 3, 4]}
    assert asked(ages, {"age": {None: BIG, 3: SMALL, 4: BIG}}) == ["big", "small", "big"]


@pytest.mark.parametrize("keys", [("HAPPY", "SAD"), (Mood.HAPPY, Mood.SAD)])
def test_by_an_enum(keys: Any) -> None:
    moods = {"mood": ["SAD", "HAPPY"]}
    assert asked(moods, {"mood": dict(zip(keys, (BIG, SMALL), strict=True))}) == ["small", "big"]


def test_by_a_function() -> None:
    def choose(agent: da.Agent) -> Model:
        return BIG if agent.id % 2 else SMALL

    assert asked(3, choose) == ["small", "big", "small"]
    by_age = Chosen(lambda agent: (agent.age or 0) > 60, {True: BIG, False: SMALL})
    assert asked({"age": [None, 70]}, by_age) == ["small", "big"]


def test_as_it_is_when_it_asks() -> None:
    model = Chosen("level", {0: SMALL}, otherwise=BIG)
    people = da.Population(Learner, 2, model=model)
    assert people.reply().values.tolist() == ["small big"] * 2
    assert people.reply().values.tolist() == ["big big"] * 2


def test_within_wrappers_and_each_other() -> None:
    inner = Chosen("age", {1: SMALL}, otherwise=Dummy(answer="none"))
    model = Coalesce(Retry(Chosen("education", {"phd": BIG, "school": inner})))
    people = {"education": ["phd", "school", "school"], "age": [1, 1, 2]}
    assert asked(people, model) == ["big", "small", "none"]
    retry = Retry(BIG)
    assert retry.of(None) is retry


def test_on_workers(client1: Client, tmp_path: Path) -> None:
    def workflow(people: da.Population) -> Any:
        yield {"said": people.reply()}

    people = {"education": ["phd", "school"] * 50}
    model: Any = {"education": {"phd": BIG, "school": SMALL}}
    mixed = da.Population(Citizen, people, model=model)
    found = [
        da.run(workflow, mixed, client=client, out=tmp_path / str(at))["said"].values.tolist()
        for at, client in enumerate(["sync", client1])
    ]
    assert found[0] == found[1] == [["big", "small"] * 50]
    by_function = da.Population(Citizen, 4, model=lambda agent: (SMALL, BIG)[agent.id % 2])
    result = da.run(workflow, by_function, client=client1)
    assert result["said"].values.tolist() == [["small", "big"] * 2]
    told = json.loads((tmp_path / "0" / "run.json").read_text())
    assert "Chosen(by='education'" in str(told) and "'phd'" in str(told)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ({"educaton": {"phd": BIG}}, "cannot be chosen by 'educaton': Citizen has no field"),
        ({"_turns": {(): BIG}}, "cannot be chosen by '_turns'"),
        (
            {"education": {"phd": BIG}},
            "no model is given for education = 'school', only for",
        ),
        ({"education": {"phd": "gpt-4o"}}, "Chosen is put around a model, not a str"),
        ({"education": {}}, "needs a model for each value"),
        ({"education": BIG}, r"model is a dict; give .* \{'field': \{value: model"),
        ({"education": {"phd": BIG}, "age": {1: BIG}}, "model is a dict"),
        ("gpt-4o", "model is 'gpt-4o'"),
        (Dummy, "model is a type|model is a ABCMeta"),
    ],
)
def test_wrong(model: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        da.Population(Citizen, {"education": ["phd", "school"]}, model=model)


def test_values_that_are_none_of_the_field() -> None:
    with pytest.raises(UsageError, match=r"Citizen\.age is never 'old': it is int \| None"):
        da.Population(Citizen, 1, model={"age": {"old": BIG}})
    with pytest.raises(UsageError, match=r"Citizen\.mood is never 'ANGRY'"):
        da.Population(Citizen, 1, model=Retry(Chosen("mood", {"ANGRY": BIG}, otherwise=BIG)))


def test_agents_that_find_no_model_fail() -> None:
    def workflow(people: da.Population) -> Any:
        yield {"said": people.reply()}

    for model, said in [
        ({"level": {0: SMALL}}, r"no model is given for level = 1, only for 0"),
        (lambda agent: "gpt-4o", "the function that chooses a model returned str 'gpt-4o'"),
    ]:
        people = da.Population(Learner, 3, model=model)
        with pytest.raises(da.errors.RunError, match=said):
            da.run(workflow, people, client="sync")


def test_check() -> None:
    class Gone(Dummy):
        async def check(self) -> None:
            raise final(401)

    run(Chosen("education", {"phd": BIG, "school": BIG}).check())
    run(Chosen(lambda agent: Gone()).check())
    for model in (Chosen("a", {"b": Gone()}), Retry(Chosen("a", {"b": BIG}, otherwise=Gone()))):
        with pytest.raises(EndpointError, match="401"):
            run(model.check())


def test_it_does_not_answer_by_itself() -> None:
    with pytest.raises(UsageError, match="follows from the agent"):
        asyncio.run(Chosen("a", {"b": BIG}).chat(HELLO))


def test_a_value() -> None:
    model = Chosen("education", {"phd": BIG}, otherwise=SMALL)
    assert pickle.loads(pickle.dumps(model)) == model
    assert hash(model) == hash(Chosen("education", (("phd", BIG),), SMALL))
    by_function = cloudpickle.loads(cloudpickle.dumps(Chosen(lambda agent: agent, {1: BIG})))
    assert by_function.of(1) == BIG
    assert as_model(None) is None and as_model(BIG) is BIG


def test_what_is_written_of_models_shows_no_keys() -> None:
    told = describe_model(Retry(Chosen("a", {"b": Sly()}, otherwise=BIG)))
    assert told.startswith("Retry(inner=Chosen(by='a', models=(('b', test_models_chosen.Sly)),")
    assert "sk-secret" not in told
    assert describe_model(Chosen(asked)).startswith("Chosen(by=asked, models=None")
    assert describe_model(Told(iter([]))) == "odd_models.Told"
