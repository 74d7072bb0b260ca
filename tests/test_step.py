import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import daskagents as da
from daskagents import rows
from daskagents.block import Call, Charter, Outcome, Said, first_block, pick_rows
from daskagents.errors import ModelError, UsageError
from daskagents.forms import Form, as_numpy
from daskagents.loop import Loop
from daskagents.models import Answer, Dummy, Model
from daskagents.step import run_step
from daskagents.usage import Usage

NUMBER = Form((("", "number"),))


class Level(Enum):
    LOW = 1
    HIGH = 2


@dataclass(frozen=True)
class Place:
    x: float
    tag: str = ""


class Everything(da.Agent):
    """Has a field of every kind; the message says what to do."""

    lean: float = 0.5
    votes: int = 1
    happy: bool = False
    boss: int | None = None
    name: str = "a"
    note: str | None = None
    key: bytes = b"k"
    friends: tuple[int, ...] = ()
    place: Place = Place(0.0)
    level: Level = Level.LOW

    def reply(self, message):
        return self._do(message.content)

    async def wait(self, message):
        await asyncio.sleep(0)
        return self._do(message.content)

    def _do(self, what):
        if what == "change":
            self.lean, self.votes, self.happy, self.boss = -1.0, 7, True, 3
            self.name, self.note, self.key = "b" * self.id, "é", b"\0"
            self.friends, self.place, self.level = (self.id,), Place(1.0, "x"), Level.HIGH
            self.remember("changed")
        elif what == "raise":
            self.lean, self.name, self.friends = -9.0, "gone", (9,)
            self.remember("lost")
            raise RuntimeError("no luck")
        return {"lean": self.lean, "name": self.name}


def loop() -> Loop:
    raise AssertionError("no coroutine, and so no loop, was expected")


@pytest.fixture(scope="module")
def own_loop():
    made = Loop(thread=False)
    yield lambda: made
    made.close()


@pytest.fixture(params=["reply", "wait"])
def act(request: pytest.FixtureRequest, own_loop) -> Callable[..., Outcome]:
    """Run a step of `Everything`, by `def` and by `async def`."""

    def run(contents: Any, rows: Any = None, cls: Any = Everything, n: int = 4, **more: Any):
        heard = np.array(contents, object) if isinstance(contents, list) else contents
        heard = heard if isinstance(heard, np.ndarray | Said) else da.Message(heard)
        block = more.pop("block", None) or first_block(cls, 10, n, {})
        call = Call(0, request.param, more.pop("form", None))
        at = None if rows is None else np.array(rows)
        waits = request.param == "wait"
        charter = Charter(cls, "everything", 7, None)
        return run_step(charter, block, call, heard, at, loop=own_loop if waits else loop, **more)

    return run


def state(outcome: Outcome, name: str, cls: type[da.Agent] = Everything) -> list[Any]:
    return cls.__fields__[name].tolist(outcome.block.columns[name])


def run(cls: type[da.Agent], n: int = 3, content: Any = None, **more: Any) -> Outcome:
    """Run a step of a class with a plain `reply`."""
    charter = Charter(cls, more.pop("name", "agents"), more.pop("seed", 0), None)
    heard = content if isinstance(content, np.ndarray | np.generic | Said) else da.Message(content)
    call = Call(more.pop("step", 0), "reply", more.pop("form", None))
    return run_step(charter, first_block(cls, 0, n, {}), call, heard, loop=loop, **more)


def agents(body: Callable[..., Any], **fields: Any) -> type[da.Agent]:
    annotations = {name: type(value) for name, value in fields.items()}
    return type("Player", (da.Agent,), {"__annotations__": annotations, "reply": body, **fields})


# State


def test_every_kind_of_field_changes_and_stays(act: Callable[..., Outcome]) -> None:
    outcome = act(["change", "stay", "change", "stay"])
    assert state(outcome, "lean") == [-1.0, 0.5, -1.0, 0.5]
    assert state(outcome, "votes") == [7, 1, 7, 1]
    assert state(outcome, "happy") == [True, False, True, False]
    assert state(outcome, "boss") == [3, None, 3, None]
    assert state(outcome, "name") == ["b" * 10, "a", "b" * 12, "a"]
    assert state(outcome, "note") == ["é", None, "é", None]
    assert state(outcome, "key") == [b"\0", b"k", b"\0", b"k"]
    assert state(outcome, "friends") == [(10,), (), (12,), ()]
    assert state(outcome, "place") == [Place(1.0, "x"), Place(0.0), Place(1.0, "x"), Place(0.0)]
    assert state(outcome, "level") == [Level.HIGH, Level.LOW, Level.HIGH, Level.LOW]
    assert [len(turns) for turns in state(outcome, "_turns")] == [1, 0, 1, 0]
    assert as_numpy(outcome.replies["lean"]).tolist() == [-1.0, 0.5, -1.0, 0.5]
    assert not outcome.failed.any()
    assert (outcome.block.first, outcome.block.n) == (10, 4)


def test_the_step_is_pure(act: Callable[..., Outcome]) -> None:
    block = first_block(Everything, 10, 4, {})
    before = {name: Everything.__fields__[name].tolist(c) for name, c in block.columns.items()}
    first, second = act("change", block=block), act("change", block=block)
    assert {n: Everything.__fields__[n].tolist(c) for n, c in block.columns.items()} == before
    for name in before:
        assert state(first, name) == state(second, name)
    np.testing.assert_array_equal(first.failed, second.failed)


def test_what_does_not_change_is_shared(act: Callable[..., Outcome]) -> None:
    block = first_block(Everything, 10, 4, {})
    outcome = act("stay", block=block)
    for name, column in block.columns.items():
        assert outcome.block.columns[name] is column


def test_an_agent_that_raises_keeps_its_row_and_its_memory(act: Callable[..., Outcome]) -> None:
    outcome = act(["change", "raise", "stay", "raise"])
    assert outcome.failed.tolist() == [False, True, False, True]
    assert state(outcome, "lean") == [-1.0, 0.5, 0.5, 0.5]
    assert state(outcome, "name") == ["b" * 10, "a", "a", "a"]
    assert state(outcome, "friends") == [(10,), (), (), ()]
    assert [len(turns) for turns in state(outcome, "_turns")] == [1, 0, 0, 0]
    assert dict(outcome.failures) == {"RuntimeError": 2}
    np.testing.assert_array_equal(as_numpy(outcome.replies["lean"]), [-1.0, np.nan, 0.5, np.nan])
    first = outcome.first_failure
    assert (first.agent, first.reason) == (11, "RuntimeError: no luck")
    assert "test_step.py:" in first.where
    assert first.where.endswith("in _do")


def test_all_fail(act: Callable[..., Outcome]) -> None:
    outcome = act("raise")
    assert outcome.failed.all()
    assert outcome.form is None
    assert dict(outcome.replies) == {}
    assert state(outcome, "lean") == [0.5] * 4


@pytest.mark.parametrize("rows", [[1], [0, 3], [1, 2, 3]])
def test_only_addressed_rows_change(act: Callable[..., Outcome], rows: list[int]) -> None:
    outcome = act("change", rows=rows)
    chosen = [at in rows for at in range(4)]
    assert state(outcome, "votes") == [7 if here else 1 for here in chosen]
    assert state(outcome, "name") == [
        "b" * (10 + at) if here else "a" for at, here in enumerate(chosen)
    ]
    assert state(outcome, "boss") == [3 if here else None for here in chosen]
    assert len(outcome.failed) == len(as_numpy(outcome.replies["lean"])) == len(rows)


@given(st.lists(st.sampled_from(["change", "raise", "stay"]), min_size=1, max_size=8), st.data())
def test_rows_are_independent(whats: list[str], data: st.DataObject) -> None:
    rows = sorted(data.draw(st.sets(st.integers(0, len(whats) - 1), min_size=1)))
    contents = np.array([whats[row] for row in rows], object)
    block = first_block(Everything, 10, len(whats), {})
    call = Call(0, "reply", Form((("lean", "number"), ("name", "text"))))
    outcome = run_step(
        Charter(Everything, "e", 7, None), block, call, contents, np.array(rows), loop=loop
    )
    changed = {row for row in rows if whats[row] == "change"}
    assert state(outcome, "votes") == [7 if at in changed else 1 for at in range(len(whats))]
    assert outcome.failed.tolist() == [whats[row] == "raise" for row in rows]
    names = ["b" * (10 + at) if at in changed else "a" for at in range(len(whats))]
    assert state(outcome, "name") == names


# What may not be assigned


def test_an_unknown_attribute_fails_its_agent(act: Callable[..., Outcome]) -> None:
    class Typo(Everything):
        def _do(self, what):
            self.lean = -1.0
            if what == "typo":
                self.moeny = 3
            return 1.0

    outcome = act(["typo", "fine", "fine", "typo"], cls=Typo)
    assert outcome.failed.tolist() == [True, False, False, True]
    assert state(outcome, "lean", Typo) == [0.5, -1.0, -1.0, 0.5]
    assert dict(outcome.failures) == {"FieldError": 2}
    assert outcome.first_failure.reason.startswith(
        "FieldError: Typo has no field 'moeny'; its fields are lean, votes,"
    )
    assert "declare it in the class as `moeny: float = 0.0`" in outcome.first_failure.reason
    assert outcome.first_failure.where == ""


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("votes", "many", "Player.votes: 'many' is no int"),
        ("votes", 2**63, "Player.votes: 9223372036854775808 does not fit in 64 bits"),
        ("votes", 1.0, "Player.votes: 1.0 is no int"),
        ("lean", None, "Player.lean: None is no float; declare lean: float | None"),
        ("name", 3, "Player.name: 3 is no str"),
        ("name", "\ud800", "Player.name: '\\ud800' holds a lone surrogate"),
        ("friends", [1], "Player.friends: [1] is no tuple; use tuple(...)"),
    ],
)
def test_a_wrong_type_fails_its_agent(name: str, value: Any, says: str) -> None:
    def reply(self, message):
        self.votes += 1
        self.remember("here")
        setattr(self, name, value if self.id == 1 else getattr(self, name))
        return self.votes

    cls = agents(reply, lean=0.0, votes=0, name="", friends=())
    outcome = run(cls)
    assert outcome.failed.tolist() == [False, True, False]
    assert outcome.first_failure.reason.startswith(f"FieldError: {says}")
    assert state(outcome, "votes", cls) == [1, 0, 1]
    assert [len(turns) for turns in state(outcome, "_turns", cls)] == [1, 0, 1]
    np.testing.assert_array_equal(as_numpy(outcome.replies[""]), [1, np.nan, 1])


def test_a_field_takes_what_stands_for_its_type() -> None:
    def reply(self, message):
        self.lean, self.votes = np.float32(0.5), np.int8(3)
        self.lean = 2  # an int is a float
        return self.lean

    cls = agents(reply, lean=0.0, votes=0)
    outcome = run(cls)
    assert state(outcome, "lean", cls) == [2.0] * 3
    assert {type(v) for v in state(outcome, "lean", cls)} == {float}
    assert state(outcome, "votes", cls) == [3] * 3


def test_a_deleted_field_fails_its_agent() -> None:
    def reply(self, message):
        if self.id == 0:
            del self.votes
        return 1.0

    outcome = run(agents(reply, votes=3))
    assert outcome.failed.tolist() == [True, False, False]
    assert "votes" in outcome.first_failure.reason


def test_a_reply_of_another_form_fails_its_agent(act: Callable[..., Outcome]) -> None:
    class Odd(Everything):
        def _do(self, what):
            self.lean, self.name = -1.0, "new"
            self.remember("said")
            return "text" if what == "odd" else {"a": 1}

    outcome = act(["fine", "odd", "fine", "odd"], cls=Odd)
    assert outcome.form == Form((("a", "number"),))
    assert outcome.failed.tolist() == [False, True, False, True]
    assert state(outcome, "lean", Odd) == [-1.0, 0.5, -1.0, 0.5]
    assert state(outcome, "name", Odd) == ["new", "a", "new", "a"]
    assert [len(turns) for turns in state(outcome, "_turns", Odd)] == [1, 0, 1, 0]
    reason = "ReplyError: replied str 'text', and this method replies {a: number}"
    assert (outcome.first_failure.reason, outcome.first_failure.where) == (reason, "")


# The form


def test_the_first_row_that_replies_gives_the_form(act: Callable[..., Outcome]) -> None:
    outcome = act(["raise", "raise", "stay", "stay"])
    assert str(outcome.form) == "{lean: number, name: text}"
    assert outcome.failed.tolist() == [True, True, False, False]


def test_a_first_row_that_replies_nonsense_fails_alone(act: Callable[..., Outcome]) -> None:
    class Odd(Everything):
        def _do(self, what):
            self.votes = 5
            return {"list": [1], "calls": {"calls": 1}, "fine": 3}[what]

    outcome = act(["list", "calls", "fine", "list"], cls=Odd)
    assert outcome.form == NUMBER
    assert outcome.failed.tolist() == [True, True, False, True]
    assert state(outcome, "votes", Odd) == [1, 1, 5, 1]
    assert outcome.first_failure.agent == 10
    assert outcome.first_failure.reason.startswith("ReplyError: Odd.")
    assert act("list", cls=Odd).form is None


def test_a_known_form_holds(act: Callable[..., Outcome]) -> None:
    outcome = act("stay", form=NUMBER)
    assert outcome.failed.all()
    assert outcome.form is NUMBER
    assert np.isnan(as_numpy(outcome.replies[""])).all()


def test_the_form_is_told_as_soon_as_the_first_row_is_done(own_loop) -> None:
    told: list[Any] = []

    class Slow(da.Agent):
        async def reply(self, message):
            if self.id:
                while not told:
                    await asyncio.sleep(0)
            return {"id": self.id}

    charter, block = Charter(Slow, "slow", 0, None), first_block(Slow, 0, 3, {})
    outcome = run_step(charter, block, Call(0), da.Message(), loop=own_loop, on_form=told.append)
    assert told == [Form((("id", "number"),))]
    known = Call(1, form=told[0])
    outcome = run_step(
        charter, outcome.block, known, da.Message(), loop=own_loop, on_form=told.append
    )
    assert len(told) == 1
    assert as_numpy(outcome.replies["id"]).tolist() == [0, 1, 2]


def test_the_form_that_was_told_is_the_form(own_loop) -> None:
    class Odd(da.Agent):
        votes: int = 0

        async def reply(self, message):
            if self.id == 0:
                self.votes = "wrong"  # found at the end of the step, after the form was told
                return {"a": 1}
            return {"b": 1} if self.id == 1 else {"a": 2}

    told: list[Any] = []
    charter, block = Charter(Odd, "odd", 0, None), first_block(Odd, 0, 3, {})
    outcome = run_step(charter, block, Call(0), da.Message(), loop=own_loop, on_form=told.append)
    assert [outcome.form] == told
    assert outcome.failed.tolist() == [True, True, False]


def test_a_method_that_replies_nothing(act: Callable[..., Outcome]) -> None:
    class Quiet(Everything):
        def _do(self, what):
            self.votes += 1
            if what == "talk":
                return 1

    outcome = act(["", "", "talk", ""], cls=Quiet)
    assert outcome.form == Form(())
    assert outcome.failed.tolist() == [False, False, True, False]
    assert state(outcome, "votes", Quiet) == [2, 2, 1, 2]


# Messages


def test_one_message_for_all_or_one_for_each() -> None:
    cls = agents(lambda self, message: repr(message.content))
    said = as_numpy(run(cls, content=(1, "a")).replies[""]).tolist()
    assert said == ["(1, 'a')"] * 3
    each = np.array([1.5, 2.5, np.nan])
    assert as_numpy(run(cls, content=each).replies[""]).tolist() == ["1.5", "2.5", "nan"]
    texts = np.array(["a", "", "é"], np.dtypes.StringDType())
    assert as_numpy(run(cls, content=texts).replies[""]).tolist() == ["'a'", "''", "'é'"]
    assert as_numpy(run(cls, content=np.array(2.5)).replies[""]).tolist() == ["2.5"] * 3
    assert as_numpy(run(cls, content=np.float64(2.5)).replies[""]).tolist() == ["2.5"] * 3
    with pytest.raises(UsageError, match="2 messages came for 3 agents"):
        run(cls, content=np.zeros(2))


def test_what_a_named_agent_said() -> None:
    cls = agents(lambda self, message: f"{message.name}: {message.content}")
    assert as_numpy(run(cls, content=Said("hi", "Alice")).replies[""])[0] == "Alice: hi"
    outcome = run(cls, content=Said(None, "Alice", "Alice failed: no luck"))
    assert outcome.failed.all()
    assert outcome.first_failure.reason.endswith("never came: Alice failed: no luck")


def test_contents_are_kept_for_one_agent_only() -> None:
    cls = agents(lambda self, message: {"a": 1})
    assert run(cls, 1).contents == {"a": 1}
    assert run(cls, 2).contents is None
    assert run(agents(lambda self, message: iter("a")), 1).contents is None  # it failed


# Random numbers


def test_draws_depend_on_who_draws_and_on_nothing_else() -> None:
    cls = agents(lambda self, message: self.rng.random() + self.rng.gauss(0, 1))
    charter = Charter(cls, "people", 3, None)

    def draws(bounds: list[int], rows: Any = None, step: int = 0, **other: Any) -> list[float]:
        found: list[float] = []
        for first, end in pairwise(bounds):
            at = None if rows is None else np.array([r - first for r in rows if first <= r < end])
            if at is not None and not len(at):
                continue
            block = first_block(cls, first, end - first, {})
            outcome = run_step(
                replace(charter, **other), block, Call(step), da.Message(), at, loop=loop
            )
            found += as_numpy(outcome.replies[""]).tolist()
        return found

    whole = draws([0, 12])
    assert len(set(whole)) == 12
    assert draws([0, 5, 6, 12]) == whole
    assert draws([0, 5, 12], rows=[1, 4, 5, 11]) == [whole[at] for at in (1, 4, 5, 11)]
    for others in (draws([0, 12], step=1), draws([0, 12], seed=4), draws([0, 12], name="other")):
        assert not set(whole) & set(others)


def test_coroutines_draw_the_numbers_of_their_row(own_loop) -> None:
    class Mixed(da.Agent):
        def reply(self, message):
            return self.rng.random() + self.rng.random()

        async def wait(self, message):
            first = self.rng.random()
            for _ in range(3 - self.id % 3):
                await asyncio.sleep(0)
            return first + self.rng.random()

    charter, block = Charter(Mixed, "m", 1, None), first_block(Mixed, 0, 7, {})
    plain = run_step(charter, block, Call(0), da.Message(), loop=loop)
    waiting = run_step(charter, block, Call(0, "wait"), da.Message(), loop=own_loop)
    assert as_numpy(plain.replies[""]).tolist() == as_numpy(waiting.replies[""]).tolist()


# Models


class Chatter(da.Agent):
    async def reply(self, message):
        answer = await self.chat(message, system="Be brief.", temperature=0.5)
        self.remember(answer)
        return {"text": answer.text, "tokens": answer.tokens}


class Picky(Model):
    async def chat(self, request):
        if request.rng.random() < 0.5:
            raise ModelError("busy")
        system, user = request.messages
        assert (system.role, user.role, request.sampling) == (
            "system",
            "user",
            {"temperature": 0.5},
        )
        return Answer(user.text.upper(), None, 2, 3, cost=0.0)


def test_chats_are_counted_and_failures_are_failed_agents(own_loop) -> None:
    charter, block = Charter(Chatter, "c", 1, Picky()), first_block(Chatter, 0, 40, {})
    outcome = run_step(charter, block, Call(0), da.Message("hello"), loop=own_loop)
    fine = int((~outcome.failed).sum())
    assert 0 < fine < 40
    assert outcome.usage.total == Usage(fine, 2 * fine, 3 * fine)
    assert dict(outcome.failures) == {"ModelError": 40 - fine}
    assert set(as_numpy(outcome.replies["text"])) == {"HELLO", ""}
    turns = state(outcome, "_turns", Chatter)
    assert [len(t) for t in turns] == [0 if gone else 1 for gone in outcome.failed]


def test_chat_without_a_model_says_what_to_do(own_loop) -> None:
    charter, block = Charter(Chatter, "thinkers", 1, None), first_block(Chatter, 0, 2, {})
    outcome = run_step(charter, block, Call(0), da.Message("hello"), loop=own_loop)
    assert outcome.failed.all()
    assert "population 'thinkers' has no model to chat with" in outcome.first_failure.reason
    assert "model=" in outcome.first_failure.reason


def test_something_cancelled_fails_its_agent_alone(own_loop) -> None:
    class Cancelled(da.Agent):
        async def reply(self, message):
            if self.id == 1:
                raise asyncio.CancelledError("the connection was closed")
            return None

    charter, block = Charter(Cancelled, "c", 1, None), first_block(Cancelled, 0, 3, {})
    outcome = run_step(charter, block, Call(0), da.Message(), loop=own_loop)
    assert outcome.failed.tolist() == [False, True, False]
    assert dict(outcome.failures) == {"CancelledError": 1}


def test_progress_is_told_now_and_then(own_loop, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter(range(10_000))
    monkeypatch.setattr(rows.time, "monotonic", lambda: float(next(ticks)))
    told: list[Any] = []
    charter, block = Charter(Chatter, "c", 1, Dummy(answer="a b")), first_block(Chatter, 0, 40, {})
    run_step(
        charter,
        block,
        Call(0),
        da.Message("hi"),
        loop=own_loop,
        on_progress=lambda *now: told.append(now),
    )
    assert [(done, failed) for done, failed, _ in told] == [(16, 0), (32, 0)]
    assert told[-1][2].calls >= 32


# Small parts


def test_rows_are_picked_by_mask_and_slice() -> None:
    assert pick_rows(None, 5) is None
    assert pick_rows(slice(1, 3), 5).tolist() == [1, 2]
    bits = np.array([True, False, False, True, False, False, False, False, False, True])
    assert pick_rows(np.packbits(bits), 10).tolist() == [0, 3, 9]


def test_sizes_are_those_of_the_columns() -> None:
    outcome = run(agents(lambda self, message: f"{self.id}" + "x" * 1000, name="y" * 500), 10)
    assert 500 < outcome.block.nbytes < 1_000  # the same name for all
    assert outcome.nbytes > outcome.block.nbytes + 10_000


def test_usages_add_up() -> None:
    assert Usage(1, 2, 3) + Usage(4, 5, 6) == Usage(5, 7, 9)


def test_a_method_that_is_not_there_is_an_error_of_the_step() -> None:
    cls = agents(lambda self, message: 1)
    charter, block = Charter(cls, "p", 0, None), first_block(cls, 0, 1, {})
    with pytest.raises(UsageError, match="Player has no method 'vote'"):
        run_step(charter, block, Call(0, "vote"), da.Message(), loop=loop)
