import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

import dask
import dask.array
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from distributed import Client, LocalCluster

import daskagents as da
from daskagents.errors import AgentError, RunError, UsageError
from daskagents.models import Dummy


class Level(Enum):
    LOW = 1
    HIGH = 2


@dataclass(frozen=True)
class Place:
    x: float
    y: float = 0.0


class Pair(NamedTuple):
    price: float
    amount: int


class Answer(TypedDict):
    guess: float
    why: str


class Citizen(da.Agent):
    """Has a field of every kind; some are never assigned."""

    school: str = ""
    level: Level = Level.LOW
    rich: bool = False
    age: int = 30
    boss: int | None = None
    place: Place | None = None
    friends: tuple[int, ...] = ()
    key: bytes = b""
    mood: float = 0.0
    steps: int = 0
    note: str | None = None

    def reply(self, message) -> float:
        self.steps += 1
        self.mood = float(message.content or 0)
        return self.mood

    def draw(self, message) -> float:
        return self.rng.random()

    def hear(self, message) -> str:
        self.steps += 1
        return repr(message.content)

    async def wait(self, message) -> str:
        await asyncio.sleep(0)
        self.steps += 1
        return repr(message.content)

    def learn(self, message) -> None:
        self.level, self.note, self.boss = Level.HIGH, f"é{self.id}", self.id
        self.place, self.friends, self.key = Place(self.id), (self.id, 1), bytes([self.id])
        self.rich = True
        self.remember(message)


@pytest.fixture(scope="module")
def cluster_client(dask_folder: Path) -> Iterator[Client]:
    """Two workers in this process."""
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0"
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


@pytest.fixture(params=["here", "cluster"])
def where(request: pytest.FixtureRequest) -> Iterator[str]:
    """Outside a run: in this process without a client, and on the current client."""
    if request.param == "here":
        yield "here"
    else:
        with request.getfixturevalue("cluster_client").as_current():
            yield "cluster"


def citizens(n: int = 10, block_size: int | None = 4, **columns: Any) -> da.Population:
    return da.Population(Citizen, columns or n, block_size=block_size)


def asked(population: da.Population) -> list[int]:
    """Return the ids of those who took one step more than the others."""
    steps = population._whole.to_dataset()["steps"].values
    return np.flatnonzero(steps).tolist()


# Replies


def test_replies_are_lazy_with_a_chunk_per_block(where: str) -> None:
    replies = citizens(10).reply(2.0)
    assert isinstance(replies, xr.DataArray)
    assert (replies.name, replies.dims, replies.dtype) == ("reply", ("agent",), np.float64)
    assert replies.chunks == ((4, 4, 2),)
    assert replies["agent"].values.tolist() == list(range(10))
    assert replies.values.tolist() == [2.0] * 10


class Speaker(da.Agent):
    lean: float = 0.0

    def number(self, message):
        return self.id

    def text(self, message):
        return "é" * self.id

    def truth(self, message):
        return self.id > 1

    def mapping(self, message):
        return {"id": np.int64(self.id), "even": self.id % 2 == 0, "name": f"n{self.id}"}

    def typed(self, message) -> Answer:
        return {"guess": 1.5, "why": "so"}

    def record(self, message):
        return Place(self.id, np.float32(0.5))

    def nothing(self, message):
        self.lean = 1.0

    async def later(self, message):
        await asyncio.sleep(0)
        return {"id": self.id}

    def late(self, message):
        if self.id < 2:
            raise ValueError("too early")
        return "late"

    def odd(self, message):
        return "text" if self.id == message.content else 1.0

    def agents(self, message):
        return {"agent": 1}

    def listed(self, message):
        return [1]

    def leans(self, message):
        return {"lean": -1.0}


@pytest.fixture
def speakers(where: str) -> da.Population:
    return da.Population(Speaker, 4, block_size=2)


def test_scalars_are_data_arrays(speakers: da.Population) -> None:
    assert speakers.do("number").values.tolist() == [0.0, 1.0, 2.0, 3.0]
    text = speakers.do("text")
    assert (text.dtype, text.values.tolist()) == (np.dtypes.StringDType(), ["", "é", "éé", "ééé"])
    assert speakers.do("truth").values.tolist() == [0.0, 0.0, 1.0, 1.0]


def test_dicts_are_datasets(speakers: da.Population) -> None:
    replies = speakers.do("mapping")
    assert list(replies.data_vars) == ["id", "even", "name"]
    assert replies["id"].values.tolist() == [0, 1, 2, 3]
    assert replies["even"].values.tolist() == [1, 0, 1, 0]
    assert replies["name"].values.tolist() == ["n0", "n1", "n2", "n3"]
    assert replies["id"].dtype == replies["even"].dtype == np.float64
    typed, record = speakers.do("typed"), speakers.do("record")
    assert (typed["guess"].values[0], typed["why"].values[0]) == (1.5, "so")
    assert record["x"].values.tolist() == [0, 1, 2, 3]
    assert speakers.do("later")["id"].values.tolist() == [0, 1, 2, 3]


def test_nothing_is_an_empty_dataset(speakers: da.Population) -> None:
    replies = speakers.do("nothing")
    assert isinstance(replies, xr.Dataset)
    assert (list(replies.data_vars), replies.sizes) == ([], {"agent": 4})
    assert speakers.to_dataset()["lean"].values.tolist() == [1.0] * 4


def test_the_form_comes_from_the_first_that_replies(speakers: da.Population) -> None:
    late = speakers.do("late")
    assert late.dtype == np.dtypes.StringDType()
    assert late.isel(agent=slice(2, 4)).values.tolist() == ["late", "late"]
    with pytest.raises(
        AgentError, match=r"2 of 2 agents failed; the first was agent 0: ValueError"
    ):
        late.values.tolist()


def test_nobody_replies(where: str) -> None:
    class Mute(da.Agent):
        def reply(self, message):
            raise ValueError("not in the mood")

        def listed(self, message):
            return [1]

    mutes = da.Population(Mute, 4, block_size=2)
    says = r"step \d+ \(mute.*\.reply\): 2 of 2 agents failed, .* agent 1: ValueError: not in the"
    with pytest.raises(RunError, match=says):
        mutes.isel([1, 2]).reply()
    with pytest.raises(RunError, match=r"ReplyError: Mute\.listed: a reply is a number, .* list"):
        mutes.do("listed")


def test_another_form_later_fails_that_agent(speakers: da.Population) -> None:
    assert speakers.do("odd", -1).values.tolist() == [1.0] * 4
    says = r"agent 3: ReplyError: reply is str 'text', and this method replies a number$"
    with pytest.raises(AgentError, match=says):
        speakers.do("odd", 3).values.tolist()


def test_a_class_that_is_defined_again_replies_anew(where: str) -> None:
    def define(answer: Any) -> type[da.Agent]:
        class Player(da.Agent):
            def reply(self, message):
                return answer

        return Player

    assert da.Population(define(1), 2).reply().values.tolist() == [1, 1]
    assert da.Population(define("a"), 2).reply().values.tolist() == ["a", "a"]


def test_missing_methods_are_said_at_once(speakers: da.Population) -> None:
    with pytest.raises(UsageError, match="Speaker has no method 'reply'"):
        speakers.reply()
    with pytest.raises(UsageError, match="Speaker has no method 'vote'"):
        speakers.do("vote")


# Failures


class Careless(da.Agent):
    votes: int = 0
    name: str = ""

    def reply(self, message):
        self.votes += 1
        self.name = "new"
        if self.id in message.content:
            raise ValueError(f"{self.id} is out of luck")
        return {"votes": self.votes, "name": self.name}


def test_few_failures_are_blank(where: str) -> None:
    careless = da.Population(Careless, 1_000, block_size=500)
    replies = careless.reply((3, 999))
    votes = replies["votes"].values
    assert np.flatnonzero(np.isnan(votes)).tolist() == [3, 999]
    assert replies["name"].values[3] == ""
    assert int(replies["votes"].sum()) == 998
    state = careless.to_dataset()
    assert np.flatnonzero(state["votes"].values == 0).tolist() == [3, 999]
    assert set(state["name"].values[[3, 999]]) == {""}
    assert careless.reply(())["votes"].values[[2, 3]].tolist() == [2.0, 1.0]


def test_many_failures_are_loud_when_read(where: str) -> None:
    careless = da.Population(Careless, 100, block_size=50)
    replies = careless.reply((0, 3))
    says = (
        r"2 of 50 agents failed; the first was agent 0: ValueError: 0 is out of luck \(.*test_pop"
    )
    with pytest.raises(AgentError, match=says):
        replies["votes"].values.tolist()
    with pytest.raises(AgentError, match=says):
        float(replies["votes"].mean())
    assert careless.to_dataset()["votes"].values.tolist() == [0, 1, 1, 0] + [1] * 96


def test_a_chat_without_a_model_is_loud(where: str) -> None:
    class Asker(da.Agent):
        async def reply(self, message) -> str:
            return (await self.chat("hello")).text

    says = (
        r"population 'asker.*' has no model to chat with; give one to the population \(model=...\)"
    )
    with pytest.raises(AgentError, match=says):
        da.Population(Asker, 3).reply().values.tolist()
    assert da.Population(Asker, 2, model=Dummy(answer="hi")).reply().values.tolist() == ["hi"] * 2


def test_the_models_of_a_population_and_of_a_run() -> None:
    class Asker(da.Agent):
        async def reply(self, message) -> str:
            return (await self.chat("hello")).text

    own = da.Population(Asker, 2, model=Dummy(answer="own"), name="mine")
    found: list[str] = []

    def workflow(mine, theirs):
        found.extend([*mine.reply().values.tolist(), *theirs.reply().values.tolist()])
        yield {"done": 1}

    da.run(workflow, own, da.Population(Asker, 2), model=Dummy(answer="run"), client="sync")
    assert found == ["own", "own", "run", "run"]


# Messages


@pytest.mark.parametrize(
    ("content", "heard"),
    [
        (None, "None"),
        (3, "3"),
        (2.5, "2.5"),
        (True, "True"),
        ("é", "'é'"),
        (b"\0", r"b'\x00'"),
        ((1, (2, "a")), "(1, (2, 'a'))"),
        ([1, [2, "a"]], "(1, (2, 'a'))"),
        (Place(1.0), "Place(x=1.0, y=0.0)"),
        (Pair(1.0, 2), "Pair(price=1.0, amount=2)"),
        (Level.HIGH, "<Level.HIGH: 2>"),
        (np.float32(0.5), "0.5"),
        (np.str_("a"), "'a'"),
        (np.array(3), "3"),
        (np.array([[1, 2], [3, 4]]), "((1, 2), (3, 4))"),
        ((np.int64(1), np.array([1.0, 2.0])), "(1, (1.0, 2.0))"),
        (xr.DataArray(2.5), "2.5"),
        (xr.DataArray([1, 2], dims="level"), "(1, 2)"),
        ((xr.DataArray(2.5), 1), "(2.5, 1)"),
        (da.Message("said", name="Alice"), "'said'"),
        (dask.array.from_array(np.array(2.5)), "2.5"),
        (xr.DataArray(dask.array.arange(4, chunks=2)).mean(), "1.5"),
        (xr.DataArray(dask.array.arange(3, chunks=2), dims="level"), "(0, 1, 2)"),
    ],
)
@pytest.mark.parametrize("method", ["hear", "wait"])
def test_one_message_for_all(where: str, method: str, content: Any, heard: str) -> None:
    assert citizens(5).do(method, content).values.tolist() == [heard] * 5


@pytest.mark.parametrize(
    "content", [{"a": 1}, {1}, bytearray(b"x"), [{"a": 1}], (1, [{}]), pd.Series([1]), Exception]
)
def test_mutable_messages_are_refused(content: Any) -> None:
    if content is Exception:
        content = da.Message({"a": 1})
    with pytest.raises(UsageError, match=r"a message is an immutable value .*; send a tuple or a"):
        citizens(3).reply(content)


def test_a_dataset_is_refused_by_its_variables(where: str) -> None:
    people = citizens(3)
    with pytest.raises(UsageError, match="the message is a Dataset with a, b; send one variable"):
        people.reply(xr.Dataset({"a": 1, "b": 2}))


def test_what_is_still_computing_is_no_part_of_a_message(where: str) -> None:
    people = citizens(3)
    mean = people.reply(1.0).mean()
    with pytest.raises(UsageError, match="a DataArray that is still computing cannot be a part"):
        people.reply((mean, 1))
    with pytest.raises(UsageError, match=r"a Delayed.* that is still computing"):
        people.reply(dask.delayed(1))


PER_AGENT = [0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0]


@pytest.mark.parametrize("kind", ["numpy", "dask", "unindexed", "indexed", "lazy", "shuffled"])
def test_a_message_for_each_agent(where: str, kind: str) -> None:
    people = citizens(7, 3)
    array, shuffled = np.array(PER_AGENT), [6, 5, 0, 1, 4, 3, 2]
    content = {
        "numpy": lambda: array,
        "dask": lambda: dask.array.from_array(array, chunks=2),
        "unindexed": lambda: xr.DataArray(array, dims="agent"),
        "indexed": lambda: xr.DataArray(array, {"agent": np.arange(7)}),
        "lazy": lambda: people.reply(1.0) * 0 + array,
        "shuffled": lambda: xr.DataArray(array[shuffled], {"agent": shuffled}),
    }[kind]()
    assert people.reply(content).values.tolist() == PER_AGENT


def test_texts_for_each_agent(where: str) -> None:
    people = citizens(5, 2)
    for texts in (
        np.array(["a", "é", "", "d", "e"]),
        np.array(["a", "é", "", "d", "e"], np.dtypes.StringDType()),
        np.array(["a", "é", "", "d", "e"], object),
    ):
        heard = people.do("hear", texts).values.tolist()
        assert heard == ["'a'", "'é'", "''", "'d'", "'e'"]


def test_replies_are_sent_on_to_a_part(where: str) -> None:
    people = citizens(7, 3)
    mine = people.do("draw")
    some = people.isel([6, 1, 3])
    assert some.reply(mine).values.tolist() == mine.values[[1, 3, 6]].tolist()
    assert some.reply(mine.compute()).values.tolist() == mine.values[[1, 3, 6]].tolist()
    part = some.do("draw")
    assert some.reply(part).values.tolist() == part.values.tolist()
    assert some.reply(np.array([1.0, 2.0, 3.0])).values.tolist() == [1.0, 2.0, 3.0]


@pytest.mark.parametrize("lazy", [False, True])
def test_messages_that_do_not_fit_are_refused(where: str, lazy: bool) -> None:
    def made(values: Any, **more: Any) -> Any:
        array = xr.DataArray(values, **more)
        return array.chunk() if lazy else array

    people = citizens(5, 2)
    with pytest.raises(UsageError, match="3 messages were given for 5 agents"):
        people.reply(made(np.zeros(3), dims="agent"))
    with pytest.raises(UsageError, match="3 messages were given for 5 agents"):
        people.reply(dask.array.zeros(3) if lazy else np.zeros(3))
    says = r"no message for 2 of the 5 agents that are asked \(the first is agent 1\)"
    with pytest.raises(UsageError, match=says):
        people.reply(made(np.zeros(3), coords={"agent": [0, 2, 4]}))
    with pytest.raises(UsageError, match="several messages for agent 2"):
        people.reply(made(np.zeros(6), coords={"agent": [0, 1, 2, 2, 3, 4]}))
    with pytest.raises(UsageError, match=r"an array over 'agent' alone, not over \('agent', 'x'\)"):
        people.reply(made(np.zeros((5, 2)), dims=["agent", "x"]))
    assert asked(people) == []


def test_other_populations_have_their_own_dimension(where: str) -> None:
    buyers = da.Population(Citizen, 3, name="buyers", block_size=2)
    sellers = da.Population(Citizen, 4, name="sellers")
    offers = sellers.do("draw")
    assert (offers.dims, buyers.do("draw").dims) == (("sellers",), ("buyers",))
    assert buyers.do("hear", offers).values.tolist() == [repr(tuple(offers.values.tolist()))] * 3


# Views
