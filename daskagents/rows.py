"""The agents of one block at work, row by row: in a tight loop, or many waiting at a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from itertools import repeat
from operator import is_, itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daskagents.agent import Agent, unknown_field
from daskagents.block import Block, Outcome
from daskagents.columns import Column
from daskagents.errors import FieldError, ReplyError
from daskagents.fields import Field
from daskagents.forms import Form, collect, form_of
from daskagents.host import Host
from daskagents.loop import Loop
from daskagents.rng import Draws, step_key


class Rows:
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
        content = _plain(self.replies[0]) if self.n == 1 and not failed[0] else None
        return self.host.outcome(self._next_block(cheap, failed), form, replies, failed, content)

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
            columns[name] = put(columns[name], rows, self.fields[name].column(values), block.n)
        for name, by_row in self.assigned.items():
            kept = {at: value for at, value in by_row.items() if not failed[at]}
            if kept:
                part = self.fields[name].column(list(kept.values()))
                columns[name] = put(columns[name], rows[list(kept)], part, block.n)
        return replace(block, columns=columns)


def put(column: Column, rows: NDArray[np.int64], part: Column, n: int) -> Column:
    """Return a column with some rows replaced by all of `part`, or all rows."""
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
