"""Agents that kill the process they run in: only they fail, and nobody is asked twice."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from deadly import Touchies, Touchy
from worlds import alive, drawn, until

import daskagents as da
from daskagents import apart, models, testing
from daskagents.apart import Apart
from daskagents.block import Block, Call, Charter, Outcome, first_block
from daskagents.errors import BudgetError, LethalError, ModelError, RunError
from daskagents.forms import as_numpy
from daskagents.journal.attempt import Attempt, Journaling
from daskagents.loop import Loop, close_shared_loop
from daskagents.models.base import Model
from daskagents.sealing import seal
from daskagents.step import run_step
from daskagents.testing import Stats


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    yield
    apart.end_idle()
    close_shared_loop()
    assert not [p for p in psutil.Process().children() if "daskagents.child" in str(p.cmdline())]


def both(
    cls: type[da.Agent],
    method: str,
    ends: dict[int, str],
    *,
    n: int = 6,
    model: Model | None = None,
    attempt: Any = nullcontext,
    rows: Any = None,
    **more: Any,
) -> tuple[Outcome, Outcome, Apart]:
    """Run a step here, where nobody dies, and apart."""
    charter, block = Charter(cls, "touchy", 5, model), first_block(cls, 10, n, {})
    call, message = Call(3, method), da.Message((os.getpid(), ends))
    loop = Loop(thread=False)
    whole = run_step(charter, block, call, message, rows, loop=lambda: loop)
    loop.close()
    given: dict[str, Any] = {
        "most": n,
        "world": None,
        "keeper": None,
        "attempt": attempt,
        "check": lambda: None,
        "waits": lambda: None,
        "on_progress": lambda *said: None,
        "on_form": lambda form: None,
    }
    work = Apart(seal(charter), block, call, message, rows, **{**given, **more})
    return whole, work.run(), work


def agree(whole: Outcome, found: Outcome, cls: type[da.Agent] = Touchy) -> None:
    """Check that two outcomes are the same, but for how those failed that did."""
    assert (found.failed == whole.failed).all() and found.form == whole.form
    assert [f.agent for f in found.lapses] == [f.agent for f in whole.lapses]
    assert found.contents == whole.contents
    for name in whole.replies:
        one, two = as_numpy(found.replies[name]), as_numpy(whole.replies[name])
        assert np.array_equal(one, two, equal_nan=one.dtype.kind == "f")
    assert values(found.block, cls) == values(whole.block, cls)


def values(block: Block, cls: type[da.Agent]) -> dict[str, list[Any]]:
    return {name: cls.__fields__[name].tolist(c) for name, c in block.columns.items()}


@pytest.mark.parametrize("cls, method", [(Touchy, "reply"), (Touchy, "ask"), (Touchies, "reply")])
def test_only_those_fail_that_kill(cls: Any, method: str) -> None:
    ends = {13: "SIGKILL", 15: "exit"} if method == "reply" and cls is Touchy else {13: "SIGSEGV"}
    told: list[Any] = []
    model = models.Dummy(0.0, drawn)
    whole, found, _ = both(cls, method, ends, model=model, on_form=told.append)
    agree(whole, found)
    assert found.usage.total.calls == whole.usage.total.calls
    assert found.failures == {LethalError.__name__: len(ends)}
    hows = {"SIGKILL": "signal 9", "SIGSEGV": "signal 11", "exit": "exit code 3"}
    for how, failure in zip(ends.values(), found.lapses, strict=True):
        assert f"its process ({hows[how]})" in failure.reason
    assert set(told) <= {whole.form}


def test_some_rows_of_a_block() -> None:
    rows = np.array([0, 3, 5])
    agree(*both(Touchies, "reply", {13: "exit", 14: "exit"}, rows=rows)[:2])


def test_an_agent_alone_and_all_agents() -> None:
    agree(*both(Touchy, "reply", {10: "exit"}, n=1)[:2])
    agree(*both(Touchies, "reply", {10: "exit"}, n=1)[:2])


def test_nobody_is_asked_again_that_has_answered(tmp_path: Path) -> None:
    with testing.model_server(latency=0.01) as server:
        model = models.OpenAI("m", server.url, "none")

        @contextmanager
        def attempt() -> Iterator[Attempt]:
            kept = Attempt(Journaling(str(tmp_path), "life"), 3, 0, "touchy", "ask")
            yield kept
            kept.close()

        whole, found, _ = both(Touchy, "ask", {14: "SIGKILL"}, model=model, attempt=attempt)
        stats: Stats = server.stats()
    agree(whole, found)
    assert stats.repeats == 11  # what was asked here first, without a journal, and nothing more
    assert stats.answered == 2 * 11
    assert found.usage.total.calls == 11


class Cross(Model):
    """Raises an error that needs more than its text to be made."""

    async def chat(self, request: Any) -> Any:
        raise CrossError(request.messages[-1].text, 7)


class CrossError(ModelError):
    def __init__(self, text: str, number: int) -> None:
        super().__init__(f"{text} {number}")


def test_what_a_model_raises_comes_to_the_agent() -> None:
    _, found, _ = both(Touchy, "ask", {}, n=2, model=Cross())
    assert [f.reason for f in found.lapses] == [
        f"ModelError: CrossError: I am {agent}. 7" for agent in (10, 11)
    ]


def test_a_budget_that_is_spent_ends_the_step() -> None:
    model = models.stack(models.Dummy(0.0, drawn), da.Budget(calls=5))
    with pytest.raises(BudgetError, match="5 of 5 calls"):
        both(Touchy, "ask", {}, model=model)


def test_one_that_takes_too_much_memory() -> None:
    whole, found, _ = both(Touchy, "reply", {11: "memory"}, n=2, memory=1 << 29)
    agree(whole, found)
    assert found.first_failure is not None and "took more than the" in found.first_failure.reason


def test_more_than_may_fail() -> None:
    with pytest.raises(RunError, match=r"max_failed allows 0 .* agent 11: it killed its process"):
        both(Touchy, "reply", dict.fromkeys([11, 14], "SIGKILL"), most=0)


def test_a_child_is_used_again() -> None:
    both(Touchy, "reply", {})
    (first,) = apart._idle
    both(Touchy, "ask", {}, model=models.Dummy(0.0, drawn))
    assert apart._idle == [first]
    first._process.kill()
    first._process.wait()
    agree(*both(Touchy, "reply", {})[:2])


def test_a_run_that_has_stopped() -> None:
    class Slow(da.Agent):
        async def reply(self, message: da.Message) -> Any:
            await asyncio.sleep(0 if os.getpid() == message.content[0] else 100)

    def check() -> None:
        raise RunError("stopped")

    with pytest.raises(RunError, match="stopped"):
        both(Slow, "reply", {}, check=check)


def test_a_child_that_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apart, "_PROGRAM", "raise SystemExit(4)")
    with pytest.raises(RunError, match=r"did not start \(exit code 4\)"):
        both(Touchy, "reply", {})


HANGS = """
import os, sys, time
from pathlib import Path
import daskagents as da
from test_apart import both

class Hangs(da.Agent):
    def reply(self, message):
        if os.getpid() != message.content[0]:
            Path(os.environ["THERE"]).write_text(str(os.getpid()))
            while True:
                time.sleep(1)

both(Hangs, "reply", {}, n=1)
"""


def test_a_child_does_not_outlive_its_worker(tmp_path: Path) -> None:
    there = tmp_path / "pid"
    env = {**os.environ, "THERE": str(there), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    parent = subprocess.Popen([sys.executable, "-c", HANGS], env=env)
    try:
        until(lambda: there.exists() and there.read_text())
        child = int(there.read_text())
        assert alive(child)
    finally:
        parent.kill()
        parent.wait()
    until(lambda: not alive(child))
