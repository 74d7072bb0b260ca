import asyncio
import sys
import types
from abc import ABC
from dataclasses import dataclass
from enum import Enum
from typing import Any, ClassVar

import numpy as np
import pytest

import daskagents as da
from daskagents.agent import RESERVED, as_message, behaviour
from daskagents.errors import FieldError, RunError, UsageError
from daskagents.models import Answer, Dummy


class Level(Enum):
    LOW = 1
    HIGH = 2


@dataclass(frozen=True)
class Place:
    x: float
    y: float = 0.0


@dataclass
class Open:
    x: float = 0.0


class Base(da.Agent):
    age: int = 30
    name: str = "?"

    def reply(self, message):
        return self.age


def names(cls: type[da.Agent]) -> list[str]:
    return [name for name in cls.__fields__ if not name.startswith("_")]


# Fields


def test_fields_are_the_annotations_in_their_order() -> None:
    class Player(da.Agent):
        lean: float = 0.5
        votes: int = 0
        happy: bool = True
        name: str = ""
        key: bytes = b""
        friends: tuple[int, ...] = ()
        boss: int | None = None
        place: Place = Place(1.0)
        level: Level = Level.LOW
        shared: ClassVar[dict[str, int]] = {}
        limit = 3

    assert names(Player) == [
        *("lean", "votes", "happy", "name", "key", "friends", "boss", "place", "level")
    ]
    player = Player()
    assert (player.lean, player.votes, player.happy, player.name) == (0.5, 0, True, "")
    assert (player.key, player.friends, player.boss) == (b"", (), None)
    assert (player.place, player.level) == (Place(1.0), Level.LOW)
    assert Player.lean == 0.5  # of the class: the default
    assert player.limit == 3


def test_fields_are_inherited_over_several_levels() -> None:
    class Child(Base):
        age: int = 8
        school: str = "north"

    class Grandchild(Child):
        toy: str = "bear"

    assert names(Grandchild) == ["age", "name", "school", "toy"]
    assert Grandchild().age == 8
    assert Base().age == 30
    assert Grandchild(age=3).reply(da.Message()) == 3


def test_a_default_is_overridden_without_an_annotation() -> None:
    class Old(Base):
        age = 90
        name = "Methuselah"

    assert (Old().age, Old().name) == (90, "Methuselah")
    assert Old.__fields__["age"].default == 90
    assert Old.__fields__["age"].type is int
    olds = da.Population(Old, 3)
    assert olds.reply().values.tolist() == [90.0] * 3
    assert olds.to_dataset()["name"].values.tolist() == ["Methuselah"] * 3


def test_an_overridden_default_is_checked() -> None:
    with pytest.raises(FieldError, match=r"Old\.age: the default 'ninety' is no int"):

        class Old(Base):
            age = "ninety"

    with pytest.raises(FieldError, match=r"Odd\.name: the default .* is no str"):

        class Odd(Base):
            def name(self) -> str:
                return ""


def test_a_type_is_overridden() -> None:
    class Exact(Base):
        age: float = 1.5

    assert Exact().age == 1.5
    assert names(Exact) == ["age", "name"]


def test_mixins_bring_fields_whether_agents_or_not() -> None:
    class Voting(da.Agent):
        votes: int = 0

        def vote(self, message):
            self.votes += 1
            return self.votes

    class Placed:  # no agent class
        x: float = 0.5
        notes: ClassVar[list[str]] = []

        def move(self, message):
            self.x += 1
            return self.x

    class Person(Placed, Voting, Base):
        pass

    assert set(names(Person)) == {"age", "name", "votes", "x"}
    people = da.Population(Person, {"x": [1.0, 2.0]})
    assert people.do("vote").values.tolist() == [1, 1]
    assert people.do("move").values.tolist() == [2, 3]
    state = people.to_dataset()
    assert state["votes"].values.tolist() == [1, 1]
    assert state["x"].values.tolist() == [2, 3]


def test_the_order_of_bases_decides_on_defaults() -> None:
    class Left(Base):
        age = 1

    class Right(Base):
        age = 2
        name = "right"

    class Both(Left, Right):
        pass

    assert (Both().age, Both().name) == (1, "right")


def test_abstract_bases_work() -> None:
    class Shape(da.Agent, ABC):
        size: float = 1.0

    class Square(Shape):
        def reply(self, message):
            return self.size**2

    assert da.Population(Square, {"size": [2.0]}).reply().values.tolist() == [4.0]


@pytest.mark.parametrize(
    ("annotation", "default", "says"),
    [
        (list, [], r"Player\.x: list is mutable, .* use tuple"),
        (list[str], [], r"Player\.x: list is mutable, .* use tuple\[str, \.\.\.\]"),
        (dict[str, int], {}, r"Player\.x: dict is mutable, .* frozen dataclass"),
        (set[int], set(), r"Player\.x: set is mutable, .* use tuple\[int, \.\.\.\]"),
        (bytearray, bytearray(), r"Player\.x: bytearray is mutable, .* use bytes"),
        (np.ndarray, None, r"Player\.x: ndarray is mutable, .* use tuple"),
        (Open, Open(), r"Player\.x: Open is mutable, .* use @dataclass\(frozen=True\)"),
        (tuple[list[int], ...], (), r"Player\.x: list is mutable"),
        (list | None, None, r"Player\.x: list is mutable"),
        (object, None, r"Player\.x: a field cannot be of type object; use float"),
        (np.float32, 0.0, r"Player\.x: float32 is a type of NumPy; use float"),
    ],
)
def test_mutable_and_unknown_types_are_refused_with_a_cure(
    annotation: Any, default: Any, says: str
) -> None:
    with pytest.raises(FieldError, match=says):
        type("Player", (da.Agent,), {"__annotations__": {"x": annotation}, "x": default})


@pytest.mark.parametrize("value", [[], {}, set(), bytearray(), np.zeros(2)])
def test_a_mutable_value_in_the_class_body_is_refused(value: Any) -> None:
    kind = type(value).__name__
    says = rf"Player\.heard: .* share this {kind}; .*`heard: tuple = \(\)`.*ClassVar"
    with pytest.raises(FieldError, match=says):
        type("Player", (da.Agent,), {"heard": value})


def test_a_mutable_constant_is_allowed_when_it_says_so() -> None:
    class Player(da.Agent):
        levels: ClassVar = ["low", "high"]
        names: "ClassVar[list[str]]" = []  # noqa: RUF012 - the annotation is read as text

    assert names(Player) == []


@pytest.mark.parametrize("name", sorted(RESERVED - {"memory_limit", "inbox_limit"}))
def test_reserved_names_are_refused(name: str) -> None:
    with pytest.raises(FieldError, match=rf"Player\.{name}: this name is reserved; choose another"):
        type("Player", (da.Agent,), {"__annotations__": {name: float}})


@pytest.mark.parametrize("name", ["_turns", "_host", "_secret", "__hidden"])
def test_names_with_an_underscore_are_refused(name: str) -> None:
    with pytest.raises(FieldError, match=rf"Player\.{name}: this name is reserved"):
        type("Player", (da.Agent,), {"__annotations__": {name: float}, name: 0.0})


@pytest.mark.parametrize("method", ["chat", "remember"])
def test_what_every_agent_can_do_is_no_field(method: str) -> None:
    assert method in RESERVED
    assert callable(getattr(da.Agent, method))


def test_a_default_that_does_not_fit_is_refused() -> None:
    with pytest.raises(FieldError, match=r"Player\.age: the default 'ten' is no int"):

        class Player(da.Agent):
            age: int = "ten"


def test_an_annotation_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(FieldError, match=r"Player: an annotation cannot be read .*'Missing'"):

        class Player(da.Agent):
            x: "Missing" = None  # noqa: F821


def test_annotations_of_a_class_within_a_function() -> None:
    class Mood(Enum):
        GOOD = 1

    class Player(da.Agent):
        mood: "Mood" = Mood.GOOD

    assert Player.__fields__["mood"].type is Mood


FUTURE = """
from __future__ import annotations
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar
import daskagents as da

@dataclass(frozen=True)
class Place:
    x: float = 0.0

class Level(Enum):
    LOW = 1

class Player(da.Agent):
    share: ClassVar[list[int]] = []
    memory_limit = 2
    lean: float = 0.0
    place: Place = Place(2.0)
    level: Level | None = None
    friends: tuple[int, ...] = ()

    def reply(self, message: Unknown) -> dict[str, float]:
        self.place = Place(self.place.x + 1)
        self.level = Level.LOW
        return {"x": self.place.x}
"""


def test_annotations_as_text_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("future_players")
    monkeypatch.setitem(sys.modules, "future_players", module)
    exec(compile(FUTURE, "future_players.py", "exec"), vars(module))
    assert names(module.Player) == ["lean", "place", "level", "friends"]
    players = da.Population(module.Player, 2)
    assert players.reply()["x"].values.tolist() == [3.0, 3.0]
    assert players.reply()["x"].values.tolist() == [4.0, 4.0]
    assert players.to_dataset()["level"].values.tolist() == ["LOW", "LOW"]


# Behaviour


def test_a_reply_that_cannot_be_called_is_refused() -> None:
    with pytest.raises(UsageError, match=r"Player\.reply must be a method of two arguments"):

        class Player(da.Agent):
            def reply(self):
                return 1

    with pytest.raises(UsageError, match=r"Second\.reply must be a method of two arguments"):

        class Second(da.Agent):
            reply = 3

    with pytest.raises(UsageError, match=r"Third\.reply must be .*: def reply\(self, message\)"):
        type("Third", (type("Mixin", (), {"reply": lambda self: 1}), da.Agent), {})


def test_an_init_is_refused() -> None:
    with pytest.raises(UsageError, match=r"Player has an __init__ .* declare fields"):

        class Player(da.Agent):
            def __init__(self):
                self.money = 100

    with pytest.raises(UsageError, match=r"Slotted has an __init__ or __slots__"):

        class Slotted(da.Agent):
            __slots__ = ("money",)


def test_a_missing_method_is_named() -> None:
    class Silent(da.Agent):
        pass

    with pytest.raises(UsageError, match=r"Silent has no method 'reply'; write one: def reply"):
        behaviour(Silent, "reply")
    with pytest.raises(UsageError, match=r"Base has no method 'vote' \(it has reply\)"):
        behaviour(Base, "vote")
    with pytest.raises(UsageError, match="no method '_values'"):
        behaviour(Base, "_values")
    with pytest.raises(UsageError, match="no method 'age'"):
        behaviour(Base, "age")


# Agents that stand alone


def test_an_agent_alone_has_its_values() -> None:
    agent = Base(age=np.int8(4))
    assert (agent.age, agent.name, agent.id) == (4, "?", 0)
    assert type(agent.age) is int
    agent.age += 1
    assert agent.reply(da.Message()) == 5
    assert Base().age == 30
    assert repr(agent) == "Base(age=5, name='?')"


def test_the_constructor_refuses_what_does_not_fit() -> None:
    with pytest.raises(FieldError, match=r"Base has no field 'aeg'; its fields are age, name"):
        Base(aeg=3)
    with pytest.raises(FieldError, match=r"Base\.age: 'ten' is no int"):
        Base(age="ten")
    with pytest.raises(FieldError, match=r"Base has no field '_turns'"):
        Base(_turns=())


def test_a_field_without_a_default_must_be_given() -> None:
    class Voter(da.Agent):
        lean: float
        votes: int = 0

    with pytest.raises(FieldError, match=r"Voter\.lean has no default; give it: Voter\(lean=...\)"):
        Voter(votes=1)
    assert Voter(lean=1).lean == 1.0
    assert Voter.lean is None


def test_an_agent_alone_draws_the_same_numbers_each_time() -> None:
    draws = [Base().rng.uniform(0, 1) for _ in range(2)]
    assert draws[0] == draws[1]
    agent = Base()
    assert agent.rng.random() != agent.rng.random()


def test_an_agent_alone_has_no_model() -> None:
    with pytest.raises(UsageError, match=r"this Base stands alone and has no model; .*spawn"):
        asyncio.run(Base().chat("hello"))


# Memory


def test_memory_keeps_what_was_said_by_whom() -> None:
    agent = Base()
    assert agent.memory == ()
    agent.remember("hello")
    agent.remember(Answer("hi"))
    agent.remember(da.Message(3.5, "system", "clock"))
    assert agent.memory == (
        da.Message("hello"),
        da.Message("hi", "assistant"),
        da.Message(3.5, "system", "clock"),
    )


def test_what_is_no_plain_value_is_remembered_as_text() -> None:
    agent = Base()
    agent.remember(da.Message((1, 2)))
    agent.remember(da.Message(Place(1.0)))
    assert [turn.content for turn in agent.memory] == ["(1, 2)", "Place(x=1.0, y=0.0)"]
    with pytest.raises(UsageError, match="a message is a str, a Message or an Answer, not 3"):
        agent.remember(3)


@pytest.mark.parametrize(("limit", "kept"), [(None, "abcde"), (3, "cde"), (1, "e"), (0, "")])
def test_memory_is_bounded(limit: int | None, kept: str) -> None:
    cls = type("Player", (Base,), {"memory_limit": limit})
    agent = cls()
    for text in "abcde":
        agent.remember(text)
    assert "".join(turn.text for turn in agent.memory) == kept


def test_a_memory_limit_is_a_number_in_the_class_body() -> None:
    with pytest.raises(FieldError, match=r"Player: write `memory_limit = 20`, without"):

        class Player(da.Agent):
            memory_limit: int = 5

    for limit in (-1, "5", 2.0, True):
        with pytest.raises(FieldError, match=r"Player\.memory_limit is .*; give a number or None"):
            type("Player", (da.Agent,), {"memory_limit": limit})


def test_memory_lives_from_step_to_step() -> None:
    class Rememberer(da.Agent):
        memory_limit = 3

        def reply(self, message):
            self.remember(message)
            return "|".join(turn.text for turn in self.memory)

    agents = da.Population(Rememberer, 3)
    for word in ("a", "é", "", "🐢"):
        last = agents.isel([0, 2]).reply(word)
    assert last.values.tolist() == ["é||🐢"] * 2
    kept = agents.to_dataset()["memory"].values
    assert [len(turns) for turns in kept] == [3, 0, 3]


def test_messages_of_all_kinds() -> None:
    assert as_message("a") == da.Message("a", "user")
    assert as_message(Answer("a")) == da.Message("a", "assistant")
    assert as_message(da.Message("a", "system")).role == "system"
    assert da.Message(None).text == ""
    assert da.Message(3.5).text == "3.5"


class Asker(da.Agent):
    """Asks as it is told to, and replies with what it was asked for."""

    own: str = ""

    async def reply(self, message):
        answer = await self.chat(message, **HOW)
        return {"text": answer.text, "value": str(answer.value)}


HOW = {}


def asked(monkeypatch, **how):
    """Return the request of an agent that chats in some way, and its answer's value."""
    requests = []

    def answer(request, rng):
        requests.append(request)
        return "tea"

    monkeypatch.setattr(sys.modules[__name__], "HOW", how)

    def workflow(people):
        yield people.reply("Well?")

    people = da.Population(Asker, 1)
    result = da.run(workflow, people, model=Dummy(answer=answer), client="sync")
    return requests[0], result["value"].item()


def test_a_chat_in_the_order_that_servers_keep(monkeypatch):
    request, _ = asked(monkeypatch, system=("You play.", "You are bold."), top_k=3)
    assert [(turn.role, turn.text) for turn in request.messages] == [
        ("system", "You play."),
        ("user", "Well?"),
        ("system", "You are bold."),
    ]
    assert request.sampling == {"top_k": 3}
    request, _ = asked(monkeypatch, system="You play.")
    assert [turn.role for turn in request.messages] == ["system", "user"]


def test_a_chat_with_choices_and_extract(monkeypatch):
    request, value = asked(monkeypatch, choices=["tea", "coffee"])
    assert (request.choices, value) == (("tea", "coffee"), "tea")
    request, value = asked(monkeypatch, schema=str, extract=True)
    assert (request.extract, request.schema, value) == (True, str, "tea")


@pytest.mark.parametrize(
    ("how", "problem"),
    [
        ({"choices": ["tea"]}, "two or more"),
        ({"choices": "tea"}, "choices='tea'"),
        ({"choices": ["tea", "no"], "schema": float}, "not both"),
        ({"extract": True}, "needs a schema"),
        ({"system": ("a", "b", "c")}, "system="),
        ({"system": ("a", 3)}, "system="),
    ],
)
def test_chats_that_make_no_sense(monkeypatch, how, problem):
    with pytest.raises(RunError, match=problem):
        asked(monkeypatch, **how)
