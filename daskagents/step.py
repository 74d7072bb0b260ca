"""What one step does to one block of agents: a pure function, without Dask.

A step is given a block of rows and a message, and returns the next version of the rows, the
replies, and what happened. It may be run twice, or again after a worker died, with one result.
"""

from __future__ import annotations

import asyncio
import inspect
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import repeat
from operator import is_, itemgetter
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daskagents.agent import Agent, behaviour, unknown_field
from daskagents.columns import Column
from daskagents.errors import DaskAgentsError, FieldError, ModelError, ReplyError, UsageError
from daskagents.fields import Field
from daskagents.forms import Form, collect, form_of
from daskagents.loop import Loop
from daskagents.message import Message
from daskagents.models.base import Answer, Model, Request
from daskagents.rng import Draws, step_key


@dataclass(frozen=True, slots=True)
class Block:
    """Rows of a population: consecutive agents, a column per field."""

    first: int
    n: int
    columns: Mapping[str, Column]

    @property
    def nbytes(self) -> int:
        """Bytes of all columns."""
        return sum(column.nbytes for column in self.columns.values())


@dataclass(frozen=True)
class Charter:
    """What all steps of one population share; sent to each worker once."""

    cls: type[Agent]
    name: str
    seed: int
    model: Model | None


@dataclass(frozen=True, slots=True)
class Call:
    """What one step asks of every agent it addresses."""

    step: int
    method: str = "reply"
    form: Form | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """What the models of some agents were asked, and what it cost."""

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.calls + other.calls,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
        )


@dataclass(frozen=True, slots=True)
class Failure:
    """Why the first agent of a block failed, and in which line of its code if it was there."""

    agent: int
    reason: str
    where: str

    def __str__(self) -> str:
        return f"{self.reason} ({self.where})" if self.where else self.reason


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one step made of one block."""

    block: Block
    form: Form | None
    replies: Mapping[str, Column]
    failed: NDArray[np.bool_]
    failures: Mapping[str, int]
    first_failure: Failure | None
    usage: Usage
    contents: Any = None

    @property
    def nbytes(self) -> int:
        """Bytes of the rows and the replies."""
        return self.block.nbytes + sum(c.nbytes for c in self.replies.values()) + len(self.failed)


@dataclass(frozen=True, slots=True)
class Said:
    """What one named agent said, or why it could not."""

    content: Any
    name: str = ""
    failure: str = ""


#: A message to all agents, the value of a lazy one, one for each agent, or a named agent's.
Heard = Message | NDArray[Any] | Said


@dataclass
class Host:
    """What the agents of one block share while a step runs."""

    charter: Charter
    call: Call
    block: Block
    rows: NDArray[np.int64]
    on_progress: Callable[[int, int, Usage], None] | None = None
    on_form: Callable[[Form], None] | None = None
    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    errors: dict[int, BaseException] = field(default_factory=dict)

    @property
    def usage(self) -> Usage:
        """What the model was asked so far."""
        return Usage(self.calls, self.prompt_tokens, self.completion_tokens)

    def item(self, name: str, row: int) -> Any:
        """Return one value of the block's state."""
        return self.charter.cls.__fields__[name].item(self.block.columns[name], row)

    async def chat(self, agent: Agent, request: Request) -> Answer:
        """Ask the population's model, and count it."""
        model = self.charter.model
        if model is None:
            raise UsageError(
                f"population {self.charter.name!r} has no model to chat with; give one to the"
                " population (model=...) or to the run (da.run(..., model=...))"
            )
        try:
            answer = await model.chat(request)
        except ModelError as error:
            self._count(error)
            raise
        self._count(answer)
        return answer

    def _count(self, asked: Answer | ModelError) -> None:
        self.calls += asked.calls
        self.prompt_tokens += asked.prompt_tokens
        self.completion_tokens += asked.completion_tokens


def run_step(
    charter: Charter,
    block: Block,
    call: Call,
    heard: Heard,
    rows: NDArray[np.int64] | None = None,
    *,
    loop: Callable[[], Loop],
    on_progress: Callable[[int, int, Usage], None] | None = None,
    on_form: Callable[[Form], None] | None = None,
) -> Outcome:
    """Let the agents of one block hear a message and answer.

    Parameters
    ----------
    charter
        The population's class, name, seed and model.
    block
        The rows before the step.
    call
        Which method is called, in which step; and the form of the replies where it is known.
    heard
        The message, or one value per addressed row.
    rows
        Positions within the block of those addressed; None for all.
    loop
        Gives the event loop that coroutines run on; called only when there are any.
    on_progress
        Called now and then with the numbers of agents done and failed, and the usage so far.
    on_form
        Called once, with the form of the first row's reply, if `call.form` is None.

    Returns
    -------
    Outcome
        The rows after the step, the replies and failures of the addressed rows in their order.

    """
    cls = charter.cls
    everyone = np.arange(block.n) if rows is None else rows
    host = Host(charter, call, block, everyone, on_progress, on_form)
    method = behaviour(cls, call.method)
    messages = _messages(heard, len(everyone))
    work = _Work(host, method, messages)
    if isinstance(messages, BaseException):
        host.errors = dict.fromkeys(range(len(everyone)), messages)
    elif inspect.iscoroutinefunction(method):
        work.run_waiting(loop())
    else:
        work.run_rows()
    return work.finish()


def _messages(heard: Heard, n: int) -> Message | list[Message] | BaseException:
    """Return the message of all agents, or one for each; an error where none could be had."""
    if isinstance(heard, Message):
        return heard
    if isinstance(heard, Said):
        if heard.failure:
            return UsageError(f"the message that it waited for never came: {heard.failure}")
        content = heard.content  # of a dict, those who hear it get a view that none can change
        return Message(
            MappingProxyType(content) if isinstance(content, dict) else content, name=heard.name
        )
    if heard.ndim == 0:
        return Message(heard.item())
    if len(heard) != n:
        raise UsageError(f"{len(heard)} messages came for {n} agents")
    return [Message(content) for content in heard.tolist()]


class _Work:
    """The agents of one block at work: their values before, after, and what they replied."""

    def __init__(self, host: Host, method: Any, messages: Any) -> None:
        self.host, self.method, self.messages = host, method, messages
        cls, block, rows = host.charter.cls, host.block, host.rows
        self.n = len(rows)
        self.ids = (block.first + rows).tolist()
        self.rows = rows.tolist()
        self.fields: dict[str, Field] = cls.__fields__
        self.cheap = [name for name, declared in self.fields.items() if declared.cheap]
        whole = self.n == block.n
        self.before = [
            self.fields[name].tolist(
                block.columns[name] if whole else block.columns[name].take(rows)
            )
            for name in self.cheap
        ]
        self.after: list[tuple[Any, ...] | None] = [None] * self.n
        self.assigned: dict[str, dict[int, Any]] = {}
        self.replies: list[Any] = [None] * self.n
        self.form = host.call.form
        key = step_key(host.charter.seed, host.charter.name, host.call.step)
        self.draws = Draws(key, block.first + rows)

    def run_rows(self) -> None:
        """Run a `def` method for one agent after another."""
        host, method, cls, cheap = self.host, self.method, self.host.charter.cls, self.cheap
        after, replies, errors = self.after, self.replies, host.errors
        each = self.messages if isinstance(self.messages, list) else None
        message, new, width = self.messages, cls.__new__, len(cheap)
        values_of, load = _getter(cheap), _setter(tuple(cheap))
        rng = self.draws.rng(0)
        move = rng.move
        columns = zip(*self.before, strict=True) if cheap else repeat((), self.n)
        for at, (number, row, values) in enumerate(zip(self.ids, self.rows, columns, strict=True)):
            agent = new(cls)
            agent.id, agent._row, agent._host = number, row, host
            move(at)
            agent.rng = rng
            load(agent, values)
            if each is not None:
                message = each[at]
            try:
                replies[at] = method(agent, message)
                state = agent.__dict__
                after[at] = values_of(state)
            except Exception as error:
                errors[at] = error
                continue
            if len(state) != width:
                self._note(at, state)

    def run_waiting(self, loop: Loop) -> None:
        """Run an `async def` method for as many agents at a time as the process may have."""
        host, method, cls, cheap = self.host, self.method, self.host.charter.cls, self.cheap
        each = self.messages if isinstance(self.messages, list) else None
        values_of, load, width = _getter(cheap), _setter(tuple(cheap)), len(cheap)
        done, told = 0, time.monotonic()

        def stopped() -> bool:
            task = asyncio.current_task()
            return task is not None and task.cancelling() > 0

        async def one(at: int) -> None:
            nonlocal done, told
            agent = cls.__new__(cls)
            agent.id, agent._row, agent._host = self.ids[at], self.rows[at], host
            agent.rng = self.draws.rng(at)
            load(agent, [column[at] for column in self.before])
            try:
                message = self.messages if each is None else each[at]
                self.replies[at] = await method(agent, message)
                state = agent.__dict__
                self.after[at] = values_of(state)
                if len(state) != width:
                    self._note(at, state)
                if at == 0:
                    self._announce()
            except Exception as error:
                host.errors[at] = error
            except asyncio.CancelledError as error:
                if stopped():
                    raise
                host.errors[at] = error  # something that this agent waited for was cancelled
            done += 1
            if host.on_progress is not None and not done % 16 and time.monotonic() - told > 0.5:
                told = time.monotonic()
                host.on_progress(done, len(host.errors), host.usage)

        loop.run_each(one, iter(range(self.n)))

    def _note(self, at: int, state: dict[str, Any]) -> None:
        """Keep the values an agent assigned to fields that are not read beforehand."""
        for name in state.keys() - set(self.cheap):
            if name not in self.fields:
                self.host.errors[at] = FieldError(unknown_field(self.host.charter.cls, name))
                return
        for name in state.keys() - set(self.cheap):
            self.assigned.setdefault(name, {})[at] = state[name]

    def _announce(self) -> None:
        """Tell the form of the first row's reply, for which the workflow may be waiting."""
        if self.form is None:
            self.form = form_of(self.replies[0], self._where)
            if self.host.on_form is not None:
                self.host.on_form(self.form)

    @property
    def _where(self) -> str:
        return f"{self.host.charter.cls.__name__}.{self.host.call.method}"

    def finish(self) -> Outcome:
        """Check what was assigned and replied, and make the next version of the block."""
        errors = self.host.errors
        cheap = self._after_by_column()
        for name in cheap:
            cheap[name], wrong = self.fields[name].bulk(cheap[name])
            errors |= wrong
        for name, by_row in self.assigned.items():
            at = sorted(by_row)
            values, wrong = self.fields[name].bulk([by_row[row] for row in at])
            self.assigned[name] = dict(zip(at, values, strict=True))
            errors |= {at[position]: error for position, error in wrong.items()}
        failed = np.zeros(self.n, bool)
        failed[list(errors)] = True
        form = self.form or self._first_form(failed)
        replies, odd = ({}, {}) if form is None else collect(form, self.replies, failed)
        errors |= odd
        failed[list(odd)] = True
        reasons = Counter(type(error).__name__ for error in errors.values())
        return Outcome(
            self._next_block(cheap, failed),
            form,
            replies,
            failed,
            dict(reasons),
            self._first_failure(),
            self.host.usage,
            _plain(self.replies[0]) if self.n == 1 and not failed[0] else None,
        )

    def _after_by_column(self) -> dict[str, list[Any]]:
        """Return the values of the cheap fields after the step, old ones where an agent failed."""
        if not self.cheap:
            return {}
        after = self.after
        if None in after:
            before = list(zip(*self.before, strict=True))
            after = [old if new is None else new for old, new in zip(before, after, strict=True)]
        return dict(zip(self.cheap, map(list, zip(*after, strict=True)), strict=True))

    def _first_form(self, failed: NDArray[np.bool_]) -> Form | None:
        """Return the form of the first reply that has one; agents before it fail."""
        for at in np.flatnonzero(~failed).tolist():
            try:
                return form_of(self.replies[at], self._where)
            except ReplyError as error:
                self.host.errors[at], failed[at] = error, True
        return None

    def _next_block(self, cheap: dict[str, list[Any]], failed: NDArray[np.bool_]) -> Block:
        """Make the next version of the rows; what did not change is shared with the last."""
        block, rows = self.host.block, self.host.rows
        columns = dict(block.columns)
        for name, old in zip(self.cheap, self.before, strict=True):
            values = cheap[name]
            if all(map(is_, values, old)):
                continue
            for at in np.flatnonzero(failed).tolist():
                values[at] = old[at]
            columns[name] = _put(columns[name], rows, self.fields[name].column(values), block.n)
        for name, by_row in self.assigned.items():
            kept = {at: value for at, value in by_row.items() if not failed[at]}
            if kept:
                part = self.fields[name].column(list(kept.values()))
                columns[name] = _put(columns[name], rows[list(kept)], part, block.n)
        return replace(block, columns=columns)

    def _first_failure(self) -> Failure | None:
        errors = self.host.errors
        if not errors:
            return None
        at = min(errors)
        error = errors[at]
        reason = f"{type(error).__name__}: {error}"
        return Failure(self.ids[at], reason, _line_of(error))


_PACKAGE = str(Path(__file__).parent)


def _put(column: Column, rows: NDArray[np.int64], part: Column, n: int) -> Column:
    """Replace some rows of a column, or all."""
    return part if len(rows) == n and type(part) is type(column) else column.put(rows, part)


def _getter(names: list[str]) -> Callable[[dict[str, Any]], tuple[Any, ...]]:
    """Return a function that takes the values of some names out of a dict, as a tuple."""
    if not names:
        return lambda state: ()
    if len(names) == 1:
        name = names[0]
        return lambda state: (state[name],)
    return itemgetter(*names)


@cache
def _setter(names: tuple[str, ...]) -> Callable[[Agent, Sequence[Any]], None]:
    """Return a function that gives an agent its values, made for these names: a loop is slower."""
    if not names:
        return lambda agent, values: None
    scope: dict[str, Any] = {}
    targets = ", ".join(f"agent.{name}" for name in names)
    exec(f"def load(agent, values): ({targets},) = values", scope)
    return scope["load"]  # type: ignore[no-any-return]


def _plain(reply: Any) -> Any:
    """Return what one agent replied with Python's numbers for NumPy's, and apart from its dict."""
    if isinstance(reply, Mapping):
        return {name: _plain(value) for name, value in reply.items()}
    return reply.item() if isinstance(reply, np.generic) else reply


def _line_of(error: BaseException) -> str:
    """Return the file and line of the agent's code where an error arose; else ``""``."""
    frames: Iterable[traceback.FrameSummary] = traceback.extract_tb(error.__traceback__)
    lines = [f"{frame.filename}:{frame.lineno} in {frame.name}" for frame in frames]
    outside = [line for line in lines if not line.startswith(_PACKAGE)]
    if outside or isinstance(error, DaskAgentsError):
        return (outside or [""])[-1]
    return (lines or [""])[-1]


def first_block(cls: type[Agent], first: int, n: int, given: Mapping[str, Column]) -> Block:
    """Make the first version of a block, from given columns and the defaults of the others."""
    columns = {
        name: given[name] if name in given else declared.full(n)
        for name, declared in cls.__fields__.items()
    }
    return Block(first, n, columns)


def pick_rows(mask: NDArray[np.uint8] | slice | None, n: int) -> NDArray[np.int64] | None:
    """Return the positions that a packed mask or a slice addresses; None for all."""
    if mask is None:
        return None
    if isinstance(mask, slice):
        return np.arange(n)[mask]
    return np.flatnonzero(np.unpackbits(mask, count=n))
