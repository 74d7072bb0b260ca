"""The agents of one block at work, row by row: in a tight loop, or many waiting at a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cached_property, partial
from itertools import repeat
from operator import is_
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daskagents.agent import NOWHERE, Agent, unknown_field
from daskagents.block import Block, Outcome
from daskagents.columns import Column
from daskagents.environments.ledger import Ledger
from daskagents.errors import FieldError, UsageError
from daskagents.fields import Field
from daskagents.host import Host
from daskagents.loop import Loop
from daskagents.mail import NO_MAIL
from daskagents.replied import Replied
from daskagents.rng import Draws
from daskagents.rowloop import row_loop
from daskagents.words import step_key


class Rows:
    """The agents of one block at work: their values before, after, and what they replied."""

    def __init__(self, host: Host, method: Any, messages: Any) -> None:
        self.host, self.method, self.messages = host, method, messages
        cls, block, rows = host.charter.cls, host.block, host.rows
        self.n = len(rows)
        self.ids = host.ids.tolist()
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
        self.after = list(map(list, self.before))
        self.assigned: dict[str, dict[int, Any]] = {}
        self.replies = Replied(self.n, host.call.form, self._where)
        key = step_key(host.charter.seed, host.charter.name, host.call.step)
        self.draws = Draws(key, host.ids)

    def run_rows(self) -> None:
        """Run a `def` method for one agent after another."""
        host, cls, replies = self.host, self.host.charter.cls, self.replies

        ledger = host.ledger
        env = NOWHERE if ledger is None or self.keys is not None else ledger.view()

        def fresh() -> Agent:
            agent = cls.__new__(cls)
            agent._host, agent.env, agent.inbox = host, env, NO_MAIL
            return agent

        inboxes: Iterable[Any] = () if host.inboxes is None else host.inboxes.rows()
        envs: Iterable[Any] = ()
        if ledger is not None and self.keys is not None:
            envs = map(partial(_view, ledger), self.keys)
        kind = "" if ledger is None else "one" if self.keys is None else "many"
        mail = host.inboxes is not None
        loop = row_loop(tuple(self.cheap), replies.names, kind, mail=mail)
        loop(
            fresh,
            self.method,
            self.messages if isinstance(self.messages, list) else repeat(self.messages, self.n),
            self.ids,
            self.rows,
            self.draws.rng(0),
            self.before,
            self.after,
            replies.columns,
            replies.odd,
            host.errors,
            self._note,
            ledger,
            envs,
            inboxes,
        )

    def run_waiting(self, loop: Loop) -> None:
        """Run an `async def` method for as many agents at a time as the process may have."""
        host, method, cls, cheap = self.host, self.method, self.host.charter.cls, self.cheap
        each = self.messages if isinstance(self.messages, list) else None
        width, ledger, keys = len(cheap), host.ledger, self.keys
        inboxes = [NO_MAIL] * self.n if host.inboxes is None else host.inboxes.rows()
        key_of = (lambda at: None) if keys is None else keys.__getitem__
        done, told = 0, time.monotonic()

        def stopped() -> bool:
            task = asyncio.current_task()
            return task is not None and task.cancelling() > 0

        async def one(at: int) -> None:
            nonlocal done, told
            agent = cls.__new__(cls)
            agent.id, agent._row, agent._host = self.ids[at], self.rows[at], host
            agent.rng, agent.inbox = self.draws.rng(at), inboxes[at]
            state = agent.__dict__
            for name, column in zip(cheap, self.before, strict=True):
                state[name] = column[at]
            try:
                agent.env = NOWHERE if ledger is None else ledger.view_of(at, key_of(at))
                message = self.messages if each is None else each[at]
                reply = await method(agent, message)
                values = [state[name] for name in cheap]
            except Exception as error:
                host.errors[at] = error
            except asyncio.CancelledError as error:
                if stopped():
                    raise
                host.errors[at] = error  # something that this agent waited for was cancelled
            else:
                self._keep(at, reply, values)
                if len(state) != width:
                    self._note(at, state)
            done += 1
            if host.on_progress is not None and not done % 16 and time.monotonic() - told > 0.5:
                told = time.monotonic()
                host.on_progress(done, len(host.errors), host.usage.total)

        # those under way may finish, for their answers are paid
        loop.run_each(one, (at for at in range(self.n) if host.end is None))
        if host.end is not None:
            raise host.end

    def _keep(self, at: int, reply: Any, values: list[Any]) -> None:
        """Keep what an agent replied and became; tell the form if it was the first."""
        self.replies.put(at, reply)
        for column, value in zip(self.after, values, strict=True):
            column[at] = value
        if at == 0 and self.replies.form is None:
            self._tell_form()

    def _tell_form(self) -> None:
        """Tell the form of the first reply."""
        self.host.errors |= self.replies.find_form([0])
        if self.host.on_form is not None and self.replies.form is not None:
            self.host.on_form(self.replies.form)

    def _note(self, at: int, state: dict[str, Any]) -> None:
        """Keep the values an agent assigned to fields that are not read beforehand."""
        others = state.keys() - set(self.cheap)
        for name in others:
            if name not in self.fields:
                self.host.errors[at] = FieldError(unknown_field(self.host.charter.cls, name))
                return
        for name in others:
            self.assigned.setdefault(name, {})[at] = state[name]

    @cached_property
    def keys(self) -> list[Any] | None:
        """The key of each agent's own environment; None where all see the same."""
        ledger = self.host.ledger
        name = "" if ledger is None else ledger.world.by
        if not name:
            return None
        if name in self.cheap:
            return self.before[self.cheap.index(name)]
        column = self.host.block.columns[name].take(self.host.rows)
        return self.fields[name].tolist(column)

    @property
    def _where(self) -> str:
        return f"{self.host.charter.cls.__name__}.{self.host.call.method}"

    def finish(self) -> Outcome:
        """Check what was assigned and replied, and make the next version of the block."""
        columns = self._checked()
        self.host.errors |= self.host.misfits()
        self._check_assigned()
        failed, replied = self._replied(self.n)
        content = _plain(self.replies.item(0)) if self.n == 1 and not failed[0] else None
        block = self._next_block(columns, failed)
        return self.host.outcome(block, self.replies.form, replied, failed, content)

    def _check_assigned(self) -> None:
        """Make values of their fields of what was assigned."""
        for name, by_row in self.assigned.items():
            at = sorted(by_row)
            values, wrong = self.fields[name].bulk([by_row[row] for row in at])
            self.assigned[name] = dict(zip(at, values, strict=True))
            self.host.errors |= {at[position]: error for position, error in wrong.items()}

    def _replied(self, n: int) -> tuple[NDArray[np.bool_], dict[str, Column]]:
        """Return which of `n` have failed, and what the others replied."""
        errors, replies = self.host.errors, self.replies
        failed = np.zeros(n, bool)
        failed[list(errors)] = True
        if replies.form is None:
            errors |= replies.find_form(np.flatnonzero(~failed).tolist())
            failed[list(errors)] = True
        replied, odd = replies.collect(failed)
        errors |= odd
        failed[list(odd)] = True
        return failed, replied

    def _checked(self) -> dict[int, Column | None]:
        """Return the cheap fields that changed, by position; None where not all values fitted."""
        columns: dict[int, Column | None] = {}
        for at, name in enumerate(self.cheap):
            values = self.after[at]
            if all(map(is_, values, self.before[at])):
                continue
            columns[at] = self.fields[name].numbers(values)
            if columns[at] is None:
                self.after[at], wrong = self.fields[name].bulk(values)
                self.host.errors |= wrong
        return columns

    def _next_block(self, cheap: dict[int, Column | None], failed: NDArray[np.bool_]) -> Block:
        """Make the next version of the rows; what did not change is shared with the last."""
        block, rows = self.host.block, self.host.rows
        columns, lost = dict(block.columns), np.flatnonzero(failed).tolist()
        for at, column in cheap.items():
            name, values, old = self.cheap[at], self.after[at], self.before[at]
            if column is None or any(values[row] is not old[row] for row in lost):
                for row in lost:
                    values[row] = old[row]
                column = self.fields[name].column(values)
            columns[name] = put(columns[name], rows, column, block.n)
        for name, by_row in self.assigned.items():
            kept = {at: value for at, value in by_row.items() if not failed[at]}
            if kept:
                part = self.fields[name].column(list(kept.values()))
                columns[name] = put(columns[name], rows[list(kept)], part, block.n)
        return replace(block, columns=columns)


def _view(ledger: Ledger, key: Any) -> Any:
    """Return an agent's own environment; where there is none, what says so when it is used."""
    try:
        return ledger.view(key)
    except UsageError as error:
        return _Absent(str(error))


class _Absent:
    """Stands for an environment that there is not."""

    def __init__(self, why: str) -> None:
        self._why = why

    def __getattr__(self, name: str) -> Any:
        raise UsageError(self._why)


def put(column: Column, rows: NDArray[np.int64], part: Column, n: int) -> Column:
    """Return a column with some rows replaced by all of `part`, or all rows."""
    return part if len(rows) == n and type(part) is type(column) else column.put(rows, part)


def _plain(reply: Any) -> Any:
    """Return what one agent replied with Python's numbers for NumPy's, and apart from its dict."""
    if isinstance(reply, Mapping):
        return {name: _plain(value) for name, value in reply.items()}
    return reply.item() if isinstance(reply, np.generic) else reply
