"""`reply_block`: the very results of `reply`, from arrays over the agents."""

from __future__ import annotations

from enum import Enum
from typing import Any

import numpy as np
import pytest
import xarray as xr
from distributed import Client
from hypothesis import given
from hypothesis import strategies as st
from worlds import same

import daskagents as da
from daskagents.block import Call, Charter, Outcome, first_block
from daskagents.block_rng import BlockRng
from daskagents.errors import AgentError, FieldError, ReplyError, UsageError
from daskagents.forms import Form, as_numpy
from daskagents.message import Message
from daskagents.rng import Draws
from daskagents.step import run_step

HEARD = Message(1.5)


class Mood(Enum):
    SAD = "sad"
    GLAD = "glad"


class Rows(da.Agent):
    """One body, for one agent or for arrays of them: nothing in it asks which."""

    money: float = 10.0
    votes: int = 1
    happy: bool = False
    age: int | None = None
    name: str = "a"
    nick: str | None = None
    tags: tuple[int, ...] = ()
    mood: Mood = Mood.SAD

    def reply(self, message: da.Message) -> Any:
        before = self.money
        self.money += self.rng.uniform(-1, 1)
        self.money *= 1.0 + 0.1 * self.rng.random()
        self.votes += self.rng.randint(-3, self.id)
        self.happy = self.money > before
        self.mood = self.rng.choice([Mood.SAD, Mood.GLAD])
        self.name = "b" + self.name
        self.fail(self.votes % 5 == 4, "a four")
        return {
            "moved": self.money - before,
            "votes": self.votes,
            "gauss": self.rng.gauss(1, 2),
            "word": self.rng.choice(("yes", "no", "é")),
            "heard": message.content,
        }


class Blocks(Rows):
    def reply_block(self, message: da.Message) -> Any:
        return Rows.reply(self, message)


def act(
    cls: type[da.Agent],
    n: int = 12,
    heard: Any = HEARD,
    rows: Any = None,
    form: Form | None = None,
    first: int = 3,
    seed: int = 1,
) -> Outcome:
    block = first_block(cls, first, n, {})
    return run_step(
        Charter(cls, "people", seed, None),
        block,
        Call(2, "reply", form),
        heard,
        rows,
        loop=lambda: pytest.fail("no loop is needed"),
    )


def equal(one: Outcome, other: Outcome, cls: type[da.Agent]) -> None:
    assert one.form == other.form
    np.testing.assert_array_equal(one.failed, other.failed)
    for name, declared in cls.__fields__.items():
        assert declared.tolist(one.block.columns[name]) == declared.tolist(
            other.block.columns[name]
        ), name
    for name in one.replies:
        np.testing.assert_array_equal(
            as_numpy(one.replies[name]), as_numpy(other.replies[name]), name
        )
    assert one.failures == other.failures
    first = one.first_failure, other.first_failure
    assert (first[0] and first[0].agent) == (first[1] and first[1].agent)


@given(
    n=st.integers(1, 60),
    first=st.integers(0, 10**12),
    seed=st.integers(),
    some=st.lists(st.booleans(), min_size=60, max_size=60),
)
def test_blocks_do_what_rows_do(n: int, first: int, seed: int, some: list[bool]) -> None:
    everyone = {"n": n, "first": first, "seed": seed}
    equal(act(Rows, **everyone), act(Blocks, **everyone), Rows)
    rows = np.flatnonzero(some[:n])
    if len(rows):
        heard = np.arange(len(rows)) / 2
        equal(
            act(Rows, rows=rows, heard=heard, **everyone),
            act(Blocks, rows=rows, heard=heard, **everyone),
            Rows,
        )


@given(
    seed=st.integers(0, 2**64 - 1),
    a=st.integers(-(2**62), 2**62),
    span=st.integers(0, 2**53 - 1),
    index=st.integers(0, 70),
)
def test_each_draw_is_that_of_the_row(seed: int, a: int, span: int, index: int) -> None:
    draws = Draws(seed, np.arange(7) * 1_000_003)
    words = ["a", "bb", "é"]

    def ask(rng: Any) -> list[Any]:
        rng._index = index
        return [
            rng.randint(a, a + span),
            rng.uniform(a, 3),
            rng.gauss(2, a),
            rng.choice(words),
            rng.choice(range(5)),
            rng.shuffle(words),
            rng.random(),
            rng.generator().integers(1 << 40)
            if not isinstance(rng, BlockRng)
            else [one.integers(1 << 40) for one in rng.generator()],
        ]

    block = ask(BlockRng(draws))
    each = [ask(draws.rng(row)) for row in range(7)]
    for which, values in enumerate(block):
        assert list(values) == [one[which] for one in each]


def test_bounds_may_differ_from_agent_to_agent() -> None:
    draws = Draws(5, np.arange(9))
    upper = np.arange(9) + 1
    found = BlockRng(draws).randint(0, upper)
    assert found.tolist() == [draws.rng(row).randint(0, row + 1) for row in range(9)]
    found = BlockRng(draws).uniform(0, upper)
    assert found.tolist() == [draws.rng(row).uniform(0, row + 1) for row in range(9)]
    with pytest.raises(UsageError, match=r"randint\(3, 2\) has no number"):
        BlockRng(draws).randint(3, upper + 1)
    with pytest.raises(UsageError, match="not an array of float64"):
        BlockRng(draws).randint(0, upper / 2)


class Assigns(da.Agent):
    """Assigns what the message says to one of its fields."""

    money: float = 1.0
    age: int | None = None
    name: str = ""
    nick: str | None = None
    tags: tuple[int, ...] = ()
    mood: Mood = Mood.SAD

    def reply_block(self, message: da.Message) -> Any:
        for name, value in WHAT.items():
            setattr(self, name, value)


WHAT: dict[str, Any] = {}


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("money", 3, [3.0, 3.0, 3.0]),
        ("money", np.array([1, 2, 3], np.int8), [1.0, 2.0, 3.0]),
        ("money", [1, 2.5, 3], [1.0, 2.5, 3.0]),
        ("money", xr.DataArray([1.0, 2.0, 3.0]), [1.0, 2.0, 3.0]),
        ("age", None, [None, None, None]),
        ("age", np.array([np.nan, 2.0, 3.0]), [None, 2, 3]),
        ("age", np.array([1, 2, 3]), [1, 2, 3]),
        ("age", [1, None, 3], [1, None, 3]),
        ("name", "x", ["x", "x", "x"]),
        ("name", ["a", "b", "é"], ["a", "b", "é"]),
        ("nick", ["a", None, ""], ["a", None, ""]),
        ("tags", (1, 2), [(1, 2)] * 3),
        ("tags", [(1,), (), (2, 3)], [(1,), (), (2, 3)]),
        ("mood", Mood.GLAD, [Mood.GLAD] * 3),
        ("mood", [Mood.GLAD, Mood.SAD, Mood.SAD], [Mood.GLAD, Mood.SAD, Mood.SAD]),
    ],
)
def test_what_is_assigned_comes_back(
    name: str, value: Any, expected: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(WHAT, name, value)
    done = act(Assigns, 3)
    assert done.first_failure is None
    field = Assigns.__fields__[name]
    assert field.tolist(done.block.columns[name]) == expected
    shown = field.array(done.block.columns[name])
    again = field.assigned(shown, 3)  # what a block sees may be assigned as it is
    assert field.tolist(again) == expected


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("money", np.zeros(2), "FieldError: column 'money' of Assigns has 2 rows, and there are 3"),
        ("money", "much", "FieldError: Assigns.money: 'much' is no float"),
        ("money", None, "FieldError: Assigns.money: None is no float"),
        ("age", np.array([0.5, 1, 2]), "FieldError: column 'age' of Assigns: row 0 holds 0.5"),
        ("name", ["a", 1, "b"], "FieldError: column 'name' of Assigns: row 1 holds 1, which is"),
        ("wealth", 1.0, "FieldError: Assigns has no field 'wealth'"),
    ],
)
def test_what_does_not_fit_fails_all_agents(
    name: str, value: Any, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(WHAT, name, value)
    done = act(Assigns, 3)
    assert done.failed.all() and done.failures == {"FieldError": 3}
    assert str(done.first_failure).startswith(said)
    assert done.block.columns == first_block(Assigns, 3, 3, {}).columns or all(
        Assigns.__fields__[f].tolist(done.block.columns[f])
        == Assigns.__fields__[f].tolist(first_block(Assigns, 3, 3, {}).columns[f])
        for f in Assigns.__fields__
    )


def replying(reply: Any) -> type[da.Agent]:
    class Made(da.Agent):
        def reply_block(self, message: da.Message) -> Any:
            return reply

    return Made


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (2, {"": [2.0, 2.0, 2.0]}),
        ("x", {"": ["x", "x", "x"]}),
        (np.array([True, False, True]), {"": [1.0, 0.0, 1.0]}),
        ({"a": np.arange(3), "b": "z"}, {"a": [0.0, 1.0, 2.0], "b": ["z"] * 3}),
        (np.array(["a", "b", "é"]), {"": ["a", "b", "é"]}),
        ([1, 2, 3], {"": [1.0, 2.0, 3.0]}),
        (None, {}),
    ],
)
def test_replies(reply: Any, expected: dict[str, Any]) -> None:
    done = act(replying(reply), 3)
    assert {name: as_numpy(c).tolist() for name, c in done.replies.items()} == expected


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (np.arange(2), r"has the shape \(2,\), and there are 3 agents"),
        ({"a": np.zeros((3, 2))}, r"\['a'\] has the shape \(3, 2\)"),
        ({"cost": 1.0}, "the name 'cost' is taken"),
        ([1, None, 2], "holds numbers, or texts, not NoneType, int"),
        ((1 + 2j), "a reply is a number"),
    ],
)
def test_replies_of_no_form(reply: Any, said: str) -> None:
    done = act(replying(reply), 3)
    assert done.failures == {"ReplyError": 3}
    assert done.first_failure is not None
    with pytest.raises(AssertionError, match=said):
        raise AssertionError(str(done.first_failure))


def test_another_form_than_before_fails_the_block() -> None:
    done = act(replying(1.0), 3, form=Form((("", "text"),)))
    assert "replied a number, and this method replies a text" in str(done.first_failure)
    assert as_numpy(done.replies[""]).tolist() == ["", "", ""]


def test_the_nearest_behaviour_counts() -> None:
    class Slow(Blocks):
        def reply(self, message: da.Message) -> Any:
            return "rows"

    class Both(da.Agent):
        def reply(self, message: da.Message) -> Any:
            return "rows"

        def reply_block(self, message: da.Message) -> Any:
            return "block"

        def ask_block(self, message: da.Message) -> Any:
            return "asked"

    assert as_numpy(act(Slow).replies[""])[0] == "rows"
    assert as_numpy(act(Both).replies[""])[0] == "block"
    assert da.Population(Both, 3).do("ask").values.tolist() == ["asked"] * 3


def test_what_a_block_cannot_do_is_said() -> None:
    class Writes(da.Agent):
        money: float = 0.0

        def reply_block(self, message: da.Message) -> Any:
            self.money[0] = 1.0  # type: ignore[index]

    class Remembers(da.Agent):
        def reply_block(self, message: da.Message) -> Any:
            self.remember(message)

    class Fails(da.Agent):
        def reply_block(self, message: da.Message) -> Any:
            self.fail(np.zeros(2, bool), "short")

    for cls, said in (
        (Writes, "values of a field are not written to"),
        (Remembers, "memory is for one agent at a time"),
        (Fails, "one for each of 3 agents"),
    ):
        assert said in str(act(cls, 3).first_failure)
    with pytest.raises(UsageError, match="a block waits for nobody"):

        class Waits(da.Agent):
            async def reply_block(self, message: da.Message) -> Any:
                return 1.0


def test_parts_of_the_values_are_ordinary_arrays() -> None:
    class Cuts(da.Agent):
        money: float = 0.0

        def reply_block(self, message: da.Message) -> Any:
            part = self.money[self.id > 4]  # type: ignore[index]
            part += 1
            part[0] = 7
            whole = self.money + 1
            whole[0] = 5
            assert type(whole) is np.ndarray and type(self.money.sum()) is np.float64  # type: ignore
            self.money = whole
            return float(part.sum())

    done = act(Cuts, 3)
    assert done.first_failure is None
    assert as_numpy(done.replies[""]).tolist() == [7.0] * 3
    assert Cuts.__fields__["money"].tolist(done.block.columns["money"]) == [5.0, 1.0, 1.0]


def walk(walkers: Any, rounds: int = 3) -> Any:
    heard: Any = 0.0
    for _ in range(rounds):
        replies = walkers.reply(heard)
        yield replies.drop_vars("word")
        heard = replies["moved"]


def test_the_same_everywhere(client3: Client) -> None:
    def on(cls: type[da.Agent], client: Any, size: int) -> xr.Dataset:
        people = da.Population(cls, 5_000, block_size=size, name="people")
        return da.run(walk, people, seed=4, client=client, max_failed=1.0)

    rows = on(Rows, "sync", 2_000)
    same(on(Blocks, client3, 999), rows)
    same(on(Blocks, "sync", 5_000), rows)


def test_a_row_that_fails_itself() -> None:
    class Trader(da.Agent):
        money: float = 0.0

        def reply(self, message: da.Message) -> float:
            self.fail(self.money < 10, "no money left")
            return self.money

    with pytest.raises(AgentError, match="no money left"):
        Trader(money=3).reply(da.Message())
    assert Trader(money=30).reply(da.Message()) == 30
    done = act(Trader, 3)
    assert done.failures == {"AgentError": 3}
    assert FieldError is not ReplyError
