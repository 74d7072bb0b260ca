"""The agents of one block at work all at once: `reply_block`, where each field is an array."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daskagents.agent import NOWHERE, Agent, unknown_field
from daskagents.block import Block, Outcome
from daskagents.block_rng import BlockRng
from daskagents.columns import Column
from daskagents.errors import AgentError, FieldError, TableError, UsageError
from daskagents.forms import absent, collect_arrays, hide, only
from daskagents.host import Host
from daskagents.mail import no_inbox
from daskagents.message import Message
from daskagents.models.base import Answer, Request
from daskagents.rng import Draws
from daskagents.rows import put
from daskagents.words import step_key


class Values(np.ndarray[Any, Any]):
    """The values of a field, one for each agent: as immutable as each of them is in a row.

    ``+=`` and its kind make a new array, so that it means what it means for a number; what is
    computed from it is an ordinary array.
    """

    def __array_wrap__(
        self, array: NDArray[Any], context: Any = None, return_scalar: bool = False
    ) -> Any:
        return array[()] if return_scalar else np.asarray(array)

    def __setitem__(self, key: Any, value: Any) -> None:
        if not self.flags.writeable:
            raise UsageError(
                "the values of a field are not written to; assign new ones, as in"
                " self.place = np.where(mask, 0.0, self.place)"
            )
        super().__setitem__(key, value)


def _apart(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Return an operator such as ``+=`` that leaves its left side as it is."""
    return lambda values, other: function(np.asarray(values), other)


for _name in "add sub mul truediv floordiv mod pow lshift rshift and_ or_ xor".split():
    setattr(Values, f"__i{_name.rstrip('_')}__", _apart(getattr(operator, _name)))


class Blockwise(Host):
    """The host of all agents of a block, for whom one call of the method stands."""

    def run(self, method: Callable[[Agent, Any], Any], message: Message) -> Outcome:
        """Call the method once; make the next version of the block from what it assigned.

        Where it raises, all agents fail and keep their rows.
        """
        cls, call, n = self.charter.cls, self.call, len(self.rows)
        key = step_key(self.charter.seed, self.charter.name, call.step)
        ids = self.ids
        agent: Any = cls.__new__(cls)
        agent.id, agent._row, agent._host, agent.env = _shown(ids), 0, self, NOWHERE
        agent.rng = BlockRng(Draws(key, ids))
        form = call.form
        replies: dict[str, Column] = {}
        columns: dict[str, Column] = {}
        try:
            if self.ledger is not None:
                agent.env = self.ledger.view_of_block(n)
            agent.inbox = no_inbox(n) if self.inboxes is None else self.inboxes.block()
            reply = method(agent, message)
            columns = self._assigned(agent.__dict__)
            form, replies = collect_arrays(form, reply, n, f"{cls.__name__}.{method.__name__}")
        except Exception as error:
            self.errors = dict.fromkeys(range(n), error)
            columns = {}
        if len(self.errors) < n:
            self.errors = self.misfits() | self.errors
        failed = np.zeros(n, bool)
        failed[list(self.errors)] = True
        if failed.all():  # nobody has replied, as where each does by itself
            form, replies = call.form, {}
        if call.form is None and form is not None and self.on_form is not None:
            self.on_form(form)
        if failed.any() and form is not None:
            replies = hide(form, replies or absent(form, n), failed)
        content = None if n != 1 or failed[0] or form is None else only(form, replies)
        return self.outcome(self._next_block(columns, failed), form, replies, failed, content)

    def fail(self, where: Any, reason: str) -> None:
        """Let those agents fail for which `where` holds."""
        mask = np.asarray(where)
        if mask.dtype != bool or mask.shape not in ((), self.rows.shape):
            raise UsageError(
                f"fail(...) takes one bool, or one for each of {len(self.rows)} agents, not an"
                f" array of {mask.dtype} and shape {mask.shape}"
            )
        rows = np.flatnonzero(np.broadcast_to(mask, self.rows.shape)).tolist()
        self.errors = dict.fromkeys(rows, AgentError(reason)) | self.errors

    def send(self, agent: Agent, to: Any, content: Any, where: Any) -> None:
        """Send a message of each agent, or of some."""
        if not self.call.sends:
            self.refuse()
        self.outbox.post_block(self.ids, to, content, where)

    def item(self, name: str, row: int) -> Any:
        """Return the values of a field, one for each agent."""
        if name == "_turns":
            raise UsageError("memory is for one agent at a time; write def reply(self, message)")
        column = self.block.columns[name]
        if len(self.rows) < self.block.n:
            column = column.take(self.rows)
        return _shown(self.charter.cls.__fields__[name].array(column))

    async def chat(self, agent: Agent, request: Request) -> Answer:
        """Refuse: a block waits for nobody."""
        raise UsageError("a block does not chat; write async def reply(self, message)")

    def _assigned(self, state: dict[str, Any]) -> dict[str, Column]:
        """Return what was assigned as columns, of the addressed rows."""
        cls, found = self.charter.cls, {}
        for name, value in state.items():
            if name not in cls.__fields__:
                raise FieldError(unknown_field(cls, name))
            try:
                found[name] = cls.__fields__[name].assigned(value, len(self.rows))
            except TableError as error:
                raise FieldError(str(error)) from None
        return found

    def _next_block(self, columns: dict[str, Column], failed: NDArray[np.bool_]) -> Block:
        """Make the next version of the rows; agents that failed keep theirs."""
        block, rows, fine = self.block, self.rows, np.flatnonzero(~failed)
        if len(fine) < len(rows):
            rows, columns = rows[fine], {name: c.take(fine) for name, c in columns.items()}
        changed = {
            name: put(block.columns[name], rows, column, block.n)
            for name, column in columns.items()
        }
        return replace(block, columns={**block.columns, **changed})


def _shown(array: NDArray[Any]) -> Values:
    """Return an array as agents see it: not to be written to."""
    shown: Values = array.view(Values)
    shown.flags.writeable = False
    return shown
