"""Who kills a process is found, and no other is blamed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import daskagents as da
from daskagents.block import Call, Charter, Failure, first_block
from daskagents.errors import RunError
from daskagents.forms import Form, as_numpy
from daskagents.loop import Loop
from daskagents.sifting import Death, Sifter, nothing, with_failed
from daskagents.step import run_step


class Murderous:
    """Runs places, and dies of some; once in a while for another reason."""

    def __init__(self, killers: set[int], outside: set[int] | None = None) -> None:
        self.killers, self.outside, self.runs = killers, outside or set(), 0

    def __call__(self, places: Any) -> list[int] | Death:
        self.runs += 1
        if self.runs in self.outside or self.killers & set(places.tolist()):
            return Death("was killed")
        return list(places.tolist())


@given(n=st.integers(1, 200), data=st.data())
def test_all_who_kill_are_found_and_nobody_else(n: int, data: st.DataObject) -> None:
    killers = data.draw(st.sets(st.integers(0, n - 1), max_size=5))
    run = Murderous(killers)
    sifter = Sifter(run, np.arange(n), most=n)
    assert sifter.sift() == [place for place in range(n) if place not in killers]
    assert sifter.found == dict.fromkeys(sorted(killers), "was killed")
    assert run.runs <= 2 + len(killers) * (2 * n.bit_length() + 3)


@given(n=st.integers(2, 40), data=st.data())
def test_nobody_is_blamed_for_a_kill_from_outside(n: int, data: st.DataObject) -> None:
    killers = data.draw(st.sets(st.integers(0, n - 1), max_size=3))
    outside = data.draw(st.sets(st.integers(1, 30), max_size=1))
    sifter = Sifter(Murderous(killers, outside), np.arange(n), most=n)
    assert sifter.sift() == [place for place in range(n) if place not in killers]
    assert set(sifter.found) == killers


def test_some_kill_only_together() -> None:
    def run(places: Any) -> list[int] | Death:
        return Death("was full") if {1, 6} <= set(places.tolist()) else places.tolist()

    sifter = Sifter(run, np.arange(8), most=8)
    assert sifter.sift() == [] and set(sifter.found) == set(range(8))
    assert sifter.found[0] == "was full, together with 7 others"


def test_more_than_may_fail_are_not_looked_for() -> None:
    run = Murderous(set(range(100)))
    with pytest.raises(RunError, match=r"at least 3 agents .* allows 2 .* agent 500: it was kille"):
        Sifter(run, np.arange(500, 600), most=2).sift()
    assert run.runs < 30


def test_a_process_that_dies_now_and_then_is_no_agent_s_fault() -> None:
    whole = iter([True, True, True, *[False, True] * 10])

    def run(places: Any) -> list[int] | Death:
        return Death("fell") if len(places) == 8 and next(whole) else places.tolist()

    with pytest.raises(RunError, match=r"again and again, .*: it fell"):
        Sifter(run, np.arange(8), most=8).sift()


class Grumpy(da.Agent):
    """Some raise, as somebody who kills the process would stop."""

    heard: float = 0.0
    word: str = "none"

    def reply(self, message: da.Message) -> Any:
        self.fail(self.id in message.content, "no")
        self.heard += self.rng.random()
        self.word = f"{self.id}"
        return {"x": self.heard, "word": self.word}

    async def wait(self, message: da.Message) -> Any:
        return self.reply(message)


class Grumpies(Grumpy):
    def reply_block(self, message: da.Message) -> Any:
        self.fail(np.isin(self.id, list(message.content)), "no")
        self.heard = self.heard + self.rng.random()
        return {"x": self.heard, "word": self.id.astype(str)}


@given(n=st.integers(1, 12), known=st.booleans(), data=st.data())
@pytest.mark.parametrize("cls, method", [(Grumpy, "reply"), (Grumpy, "wait"), (Grumpies, "reply")])
def test_those_left_out_are_as_if_they_had_raised(
    cls: Any, method: str, n: int, known: bool, data: st.DataObject
) -> None:
    out = data.draw(st.sets(st.integers(0, n - 1)))
    others = data.draw(st.sets(st.integers(0, n - 1), max_size=2)) - out
    charter, block = Charter(cls, "grumpy", 5, None), first_block(cls, 10, n, {})
    form = Form((("x", "number"), ("word", "text"))) if known else None
    call, message = Call(3, method, form), da.Message(tuple(10 + place for place in out | others))
    loop = Loop(thread=False)
    whole = run_step(charter, block, call, message, loop=lambda: loop)
    fine = np.setdiff1d(np.arange(n), list(out))
    some = nothing(block, call)
    if len(fine):
        some = run_step(charter, block, call, message, fine, loop=lambda: loop)
    loop.close()
    failures = {place: Failure(10 + place, "AgentError: no", "") for place in out}
    found = with_failed(some, n, failures)
    assert (found.failed == whole.failed).all() and found.failures == whole.failures
    assert [(f.agent, f.reason) for f in found.lapses] == [
        (f.agent, f.reason) for f in whole.lapses
    ]
    assert found.contents == whole.contents and found.form == whole.form
    assert found.replies.keys() == whole.replies.keys()
    for name in found.replies:
        one, two = as_numpy(found.replies[name]), as_numpy(whole.replies[name])
        assert one.dtype == two.dtype and one.tobytes() == two.tobytes()
    for name, column in found.block.columns.items():
        assert cls.__fields__[name].tolist(column) == cls.__fields__[name].tolist(
            whole.block.columns[name]
        )
