import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from distributed import Client, LocalCluster

import daskagents as da
from daskagents.errors import AgentError, FieldError, RunError, TableError, UsageError
from daskagents.models import Dummy


class Level(Enum):
    LOW = 1
    HIGH = 2


@dataclass(frozen=True)
class Offer:
    price: float
    what: str


class Debater(da.Agent):
    name: str = ""
    said: int = 0
    boss: int | None = None
    level: Level = Level.LOW
    friends: tuple[str, ...] = ()
    place: Offer | None = None

    def reply(self, message):
        self.said += 1
        return f"{self.name} #{self.said}: {message.content}"

    async def ask(self, message):
        answer = await self.chat(system=f"You are {self.name}.", messages=[message])
        self.said += 1
        return f"{self.name} #{self.said}: {answer.text}"

    def hear(self, message):
        return f"{message.name!r} {message.role} {message.content!r}"

    def say(self, message):
        return {
            "number": 1.5,
            "int": 3,
            "bool": True,
            "text": "é",
            "empty": "",
            "none": None,
            "numpy": np.float32(0.5),
            "offer": Offer(2.0, "hat"),
            "dict": {"a": 1, "b": "x"},
        }[message.content]

    def odd(self, message):
        return {"tuple": (1, 2), "list": [1], "bytes": b"x"}[message.content]

    def change(self, message):
        message.content["a"] = 3

    def fail(self, message):
        self.said += 1
        raise ValueError(f"{self.name} lost the thread")

    def typo(self, message):
        self.sayd = 1
        return ""

    def own(self, message):
        return f"{self.level.name} {self.friends} {self.place} {self.boss}"

    def memories(self, message):
        self.remember(message)
        return "|".join(f"{turn.role}:{turn.text}" for turn in self.memory)

    def draw(self, message):
        return self.rng.random()

    async def nap(self, message):
        await asyncio.sleep(message.content)
        return self.name


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


@pytest.fixture(params=["here", "cluster"], autouse=True)
def where(request: pytest.FixtureRequest) -> Iterator[str]:
    """In this process without a client, and on the current client."""
    if request.param == "here":
        yield "here"
    else:
        with request.getfixturevalue("cluster_client").as_current():
            yield "cluster"


def spawn(name: str = "Alice", **values: Any) -> Any:
    return da.spawn(Debater(name=name, **values))


# Calls


def test_calls_are_answered_in_their_order() -> None:
    alice = spawn()
    messages = [alice(text) for text in ("a", "b", "c")]
    assert messages[2].content == "Alice #3: c"  # read in another order
    assert [message.content for message in messages] == [
        "Alice #1: a",
        "Alice #2: b",
        "Alice #3: c",
    ]
    assert messages[0].content == "Alice #1: a"


def test_messages_pass_from_agent_to_agent() -> None:
    alice, bob = spawn(), spawn("Bob")
    message = "hello"
    for _ in range(2):
        message = bob(alice(message))
    assert message.content == "Bob #2: Alice #2: Bob #1: Alice #1: hello"
    assert message.text == message.content


def test_the_hearer_knows_who_spoke() -> None:
    alice, bob = spawn(), spawn("Bob")
    assert bob.do("hear", alice("hi")).content == "'Alice' user 'Alice #1: hi'"
    assert bob.do("hear", "hi").content == "'' user 'hi'"
    assert bob.do("hear", da.Message("hi", "system", "clock")).content == "'clock' system 'hi'"
    assert bob.do("hear").content == "'' user None"


def test_models_answer_in_turns() -> None:
    model = Dummy(latency=0.01, answer=lambda request, rng: f"({request.messages[-1].text})")
    first, second = (da.spawn(Debater(name=name), model=model) for name in "AB")
    message: Any = "?"
    for _ in range(2):
        message = second.do("ask", first.do("ask", message))
    assert message.content == "B #2: (A #2: (B #1: (A #1: (?))))"


@pytest.mark.parametrize("where", ["cluster"], indirect=True)  # here a call is done on return
def test_calls_return_at_once_and_run_side_by_side(where: str) -> None:
    agents = [spawn(f"A{at}") for at in range(6)]
    agents[0].do("nap", 0.0).text  # noqa: B018 - the workers are warm then
    start = time.perf_counter()
    naps = [agent.do("nap", 0.5) for agent in agents]
    assert time.perf_counter() - start < 0.4
    assert "still computing" in repr(naps[-1])
    assert [nap.content for nap in naps] == [f"A{at}" for at in range(6)]
    assert time.perf_counter() - start < 2.0  # three naps after one another would be 1.5
    assert repr(naps[0]) == "<message of A0: 'A0'>"


@pytest.mark.parametrize(
    ("what", "content"),
    [
        ("number", 1.5),
        ("int", 3),
        ("bool", True),
        ("text", "é"),
        ("empty", ""),
        ("none", None),
        ("numpy", 0.5),
        ("offer", Offer(2.0, "hat")),
        ("dict", {"a": 1, "b": "x"}),
    ],
)
def test_contents_of_all_kinds(what: str, content: Any) -> None:
    alice, bob = spawn(), spawn("Bob")
    message = alice.do("say", what)
    assert message.content == content
    assert type(message.content) is type(content)
    assert message.text == ("" if content is None else str(content))
    heard = bob.do("hear", message).content
    shown = f"mappingproxy({content!r})" if isinstance(content, dict) else repr(content)
    assert heard == f"'Alice' user {shown}"


def test_nobody_changes_what_was_said() -> None:
    alice, bob = spawn(), spawn("Bob")
    message = alice.do("say", "dict")
    message.content["a"] = 9
    assert message.content == {"a": 1, "b": "x"}
    with pytest.raises(AgentError, match="Bob failed: TypeError: 'mappingproxy' object does not"):
        bob.do("change", message).content  # noqa: B018
    assert message.content == {"a": 1, "b": "x"}


@pytest.mark.parametrize("what", ["tuple", "list", "bytes"])
def test_what_is_no_reply_fails(what: str) -> None:
    says = rf"^Alice failed: ReplyError: Debater\.odd: a reply is a number, .* not {what} [^)]*\)?$"
    with pytest.raises(AgentError, match=says):
        spawn().do("odd", what).content  # noqa: B018


# Failures


def test_a_failure_is_told_when_it_is_read_and_keeps_the_row() -> None:
    alice = spawn()
    lost = alice.do("fail")
    with pytest.raises(
        AgentError, match=r"Alice failed: ValueError: Alice lost the thread \(.*fail\)"
    ):
        lost.content  # noqa: B018
    with pytest.raises(AgentError):
        lost.text  # noqa: B018
    assert alice("on").content == "Alice #1: on"


def test_a_failure_goes_on_to_those_who_wait_for_it() -> None:
    alice, bob, carol = spawn(), spawn("Bob"), spawn("Carol")
    last = carol(bob(alice.do("fail")))
    says = r"^Carol failed: .*never came: Bob failed: .*never came: Alice failed: ValueError: Alice"
    with pytest.raises(AgentError, match=says):
        last.content  # noqa: B018
    assert bob("again").content == "Bob #1: again"
    assert carol("again").content == "Carol #1: again"


def test_an_unknown_field_fails_the_agent() -> None:
    with pytest.raises(AgentError, match=r"Alice failed: FieldError: Debater has no field 'sayd'"):
        spawn().do("typo").content  # noqa: B018


def test_a_missing_method_is_said_at_once() -> None:
    with pytest.raises(UsageError, match="Debater has no method 'vote'"):
        spawn().do("vote")


def test_a_chat_without_a_model_fails() -> None:
    says = "Alice failed: UsageError: population 'Alice.*' has no model to chat with"
    with pytest.raises(AgentError, match=says):
        spawn().do("ask", "hello").content  # noqa: B018


# Spawning


def test_an_agent_starts_with_its_values() -> None:
    place = Offer(1.0, "x")
    alice = spawn(level=Level.HIGH, friends=("Bob", "Carol"), place=place, boss=None, said=5)
    assert alice.do("own").content == f"HIGH ('Bob', 'Carol') {place} None"
    assert alice("x").content == "Alice #6: x"


def test_an_agent_keeps_what_it_remembers() -> None:
    agent = Debater(name="Alice")
    agent.remember("you are rich")
    agent.remember(da.Message("I know", "assistant"))
    alice = da.spawn(agent)
    assert alice.do("memories", "ha").content == "user:you are rich|assistant:I know|user:ha"
    assert alice.do("memories", "ho").content.endswith("user:ha|user:ho")
    assert len(agent.memory) == 2


def test_the_instance_itself_does_not_change() -> None:
    agent = Debater(name="Alice")
    first, second = da.spawn(agent), da.spawn(agent)
    assert [first("x").content, first("x").content] == ["Alice #1: x", "Alice #2: x"]
    assert second("x").content == "Alice #1: x"
    assert agent.said == 0


def test_an_agent_without_fields() -> None:
    class Bare(da.Agent):
        def reply(self, message):
            return message.content

    bare = da.spawn(Bare())
    assert (bare.name, repr(bare), bare("x").content) == ("Bare", "<Bare Bare>", "x")


def test_what_cannot_be_spawned_is_refused() -> None:
    for odd in (Debater, "Alice", None):
        with pytest.raises(UsageError, match="spawn takes an instance of an agent class, not"):
            da.spawn(odd)
    with pytest.raises(FieldError, match="Debater has no field 'nam'"):
        spawn(nam="x")
    agent = Debater()
    agent.naem = "x"
    with pytest.raises(FieldError, match="Debater has no field 'naem'"):
        da.spawn(agent)
    agent = Debater()
    agent.said = "many"
    with pytest.raises(TableError, match="row 0 holds 'many', which is no int"):
        da.spawn(agent)
    with pytest.raises(UsageError, match=r"model is 'gpt'; give one of daskagents\.models"):
        da.spawn(Debater(), model="gpt")


def test_names() -> None:
    assert spawn("Alice").name == "Alice"
    assert spawn("").name == "Debater"
    assert da.spawn(Debater(name="Alice"), name="Bob").name == "Bob"
    assert repr(spawn("Zoë van 't Hof")) == "<Debater Zoë van 't Hof>"
    assert spawn("Zoë / ../x")("hi").content == "Zoë / ../x #1: hi"


def test_two_agents_of_one_name_are_two() -> None:
    first, second = spawn(), spawn()
    assert first("x").content == second("x").content == "Alice #1: x"
    assert second("y").content == "Alice #2: y"
    assert first.do("draw").content != second.do("draw").content


# Beside populations, and in runs


class Member(da.Agent):
    def reply(self, message):
        return f"{self.id} heard {message.name}: {message.content}"


def test_a_population_hears_a_named_agent() -> None:
    alice, members = spawn(), da.Population(Member, 3, block_size=2)
    replies = members.reply(alice("hi")).values.tolist()
    assert replies == [f"{at} heard Alice: Alice #1: hi" for at in range(3)]
    part = members.isel([2]).reply(alice("ho"))
    assert part.values.tolist() == ["2 heard Alice: Alice #2: ho"]


def test_a_named_agent_hears_what_a_population_replied() -> None:
    alice, debaters = spawn(), da.Population(Debater, 4, block_size=3)
    mean = (debaters.do("draw") * 0 + 2).mean()
    assert alice(mean).content == "Alice #1: 2.0"


def test_messages_are_no_part_of_another() -> None:
    alice = spawn()
    with pytest.raises(UsageError, match="a LazyMessage that is still computing cannot be a part"):
        alice((alice("a"), alice("b")))


def debate(first, second, rounds=3):
    third = da.spawn(Debater(name="Third"))
    message = "Should cities ban cars?"
    for _ in range(rounds):
        message = third(second(first(message)))
        yield {"said": message, "luck": first.do("draw")}


def test_named_agents_in_a_run(where: str) -> None:
    first, second = spawn("A"), spawn("B")
    first("warm up")

    def run() -> Any:
        client = "sync" if where == "here" else None
        return da.run(debate, first, second, client=client, seed=3, checkpoint_every=2)

    result = run()
    text, expected = "Should cities ban cars?", []
    for turn in (1, 2, 3):
        text = f"Third #{turn}: B #{turn}: A #{turn}: {text}"
        expected.append(text)
    assert result["said"].values.tolist() == expected
    again = run()  # works on copies: the same once more
    assert again["luck"].values.tolist() == result["luck"].values.tolist()
    assert len(set(result["luck"].values.tolist())) == 3
    assert first("on").content.startswith("A #2: ")


def test_a_failure_ends_a_run(where: str) -> None:
    def workflow(alice):
        yield {"said": alice.do("fail")}

    with pytest.raises((RunError, AgentError), match="Alice lost the thread"):
        da.run(workflow, spawn(), client="sync" if where == "here" else None)
