"""The groups of one block at play: a coroutine for each, whose members answer within it."""

from __future__ import annotations

import asyncio
import inspect
import time
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from daskagents.agent import NOWHERE, unknown_field
from daskagents.block import Failure, Outcome, Scene
from daskagents.errors import FieldError, UsageError
from daskagents.group import Group, member_class
from daskagents.host import Host
from daskagents.loop import Loop
from daskagents.mail import NO_MAIL
from daskagents.message import Message
from daskagents.replied import Replied
from daskagents.rng import Draws
from daskagents.rows import Rows
from daskagents.words import step_key


@dataclass
class Stage(Host):
    """What the groups of one block share; its errors are those of groups, by position.

    Parameters
    ----------
    labels
        Of the groups.
    starts
        The row where each begins, and the end.
    culprits
        The rows of members that made their scene fail, by group.
    """

    labels: list[Any] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    culprits: dict[int, int] = field(default_factory=dict)

    def _lost(self, failed: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return the rows of all members of scenes that failed."""
        return np.repeat(failed, np.diff(self.starts))

    def _writers(self, lost: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return the same of who writes to an environment: a scene before its first member."""
        return np.repeat(lost, 2)

    def view(self, at: int, member: int | None = None) -> Any:
        """Return the environment as a group's scene, or a member of it, sees it.

        What they write is in order of the groups, of a scene before its members, whatever comes
        first in time.
        """
        ledger = self.ledger
        if ledger is None:
            return None if member is None else NOWHERE
        key = self.labels[at] if ledger.world.by else None
        writer = 2 * (self.starts[at] + (member or 0)) + (member is not None)
        return ledger.view_of(writer, key)

    def misfits(self) -> dict[int, BaseException]:
        """Return why what was written or sent cannot be, by the row of who did."""
        written = {} if self.ledger is None else self.ledger.misfits()
        ledger, self.ledger = self.ledger, None
        found = super().misfits()
        self.ledger = ledger
        return found | {writer // 2: error for writer, error in written.items()}

    def _row_of(self, at: int) -> int:
        """Return the row of the member that made a scene fail, or of the first one."""
        return self.culprits.get(at, self.starts[at])

    def _failures(self) -> Iterator[Failure]:
        """Yield why each scene failed that did, by group."""
        for at, lapse in zip(sorted(self.errors), super()._failures(), strict=True):
            said = f"group {self.labels[at]!r}"
            yield replace(lapse, group=said + f", agent {lapse.agent}" * (at in self.culprits))


class Scenes(Rows):
    """The groups of one block at play.

    Parameters
    ----------
    stage
        What they share; its call has the scene.
    messages
        What the workflow said to all groups, or to each; or why it could not be had.
    """

    host: Stage

    def __init__(self, stage: Stage, messages: Message | list[Message] | BaseException) -> None:
        self.scene = cast(Scene, stage.call.scene)
        super().__init__(stage, self.scene.play, messages)
        declared = self.fields[self.scene.field]
        column = stage.block.columns[self.scene.field]
        values = declared.numpy(column)
        cuts = np.flatnonzero(values[1:] != values[:-1]) + 1
        stage.starts = [0, *cuts.tolist(), self.n]
        stage.labels = declared.tolist(column.take(np.array([0, *cuts.tolist()])))
        self.count = len(stage.labels)
        self.replies = Replied(self.count, stage.call.form, self._where)
        charter = stage.charter
        key = step_key(charter.seed, f"{charter.name}/{self.scene.field}", stage.call.step)
        self.own_draws = Draws(key, int(self.scene.bounds[0]) + np.arange(self.count))
        self.pairs = list(zip(self.cheap, self.before, strict=True))
        self.made = member_class(charter.cls, charter.name)  # type: ignore[arg-type]

    def run(self, loop: Loop) -> Outcome:
        """Play all scenes, as many at a time as the process may have; make the next rows."""
        host, play = self.host, self.method
        if isinstance(self.messages, BaseException):
            host.errors = dict.fromkeys(range(self.count), self.messages)
            return self.finish()
        alone = takes(play) == 1
        inboxes = None if host.inboxes is None else host.inboxes.rows()
        each = self.messages if isinstance(self.messages, list) else None
        done, told = 0, time.monotonic()

        async def one(at: int) -> None:
            nonlocal done, told
            group = None
            try:
                group = self._gather(at, self.messages if each is None else each[at], inboxes)
                reply = await (play(group) if alone else play(group, host.view(at)))
                states = self._states(at, group)
            except Exception as error:
                self._fail(at, group, error)
            except asyncio.CancelledError as error:
                task = asyncio.current_task()
                if task is not None and task.cancelling():
                    raise
                self._fail(at, group, error)  # something that it waited for was cancelled
            else:
                self._take(at, reply, states)
            done += 1
            if host.on_progress is not None and not done % 16 and time.monotonic() - told > 0.5:
                told = time.monotonic()
                host.on_progress(done, len(host.errors), host.usage.total)

        # those under way may finish, for their answers are paid
        loop.run_each(one, (at for at in range(self.count) if host.end is None))
        if host.end is not None:
            raise host.end
        return self.finish()

    def _gather(self, at: int, message: Message, inboxes: list[Any] | None) -> Group:
        """Bring the members of one group together."""
        host, cls, made, ids = self.host, self.host.charter.cls, self.made, self.ids
        new, draws, pairs = cls.__new__, self.draws, self.pairs
        group = Group(host.labels[at], message, self.own_draws, at)
        first, end = host.starts[at : at + 2]
        for row in range(first, end):
            agent = new(cls)
            agent.id, agent._row, agent._host, agent.rng = ids[row], row, host, draws.rng(row)
            agent.env = NOWHERE if host.ledger is None else host.view(at, row - first)
            agent.inbox = NO_MAIL if inboxes is None else inboxes[row]
            state = agent.__dict__
            for name, column in pairs:
                state[name] = column[row]
            group.add(made(agent, group, row - first))
        return group

    def _states(self, at: int, group: Group) -> list[dict[str, Any]]:
        """Return what the members of a group have become; refuse what they may not be."""
        shared, label, width = self.scene.field, group.label, len(self.cheap)
        states: list[dict[str, Any]] = []
        for member in group:
            state = member._agent.__dict__
            if state.get(shared, label) != label:
                group.blamed = error = FieldError(_moved(member._agent, shared, label))
                group.culprit = len(states)
                raise error
            if len(state) != width:
                for name in state:
                    if name not in self.fields:
                        raise FieldError(unknown_field(self.host.charter.cls, name))
            for name in self.cheap:
                state[name]  # one that was deleted is an error of the scene
            states.append(state)
        return states

    def _take(self, at: int, reply: Any, states: list[dict[str, Any]]) -> None:
        """Keep what a scene replied and what its members became."""
        self.replies.put(at, reply)
        width = len(self.cheap)
        for row, state in enumerate(states, self.host.starts[at]):
            for name, column in zip(self.cheap, self.after, strict=True):
                column[row] = state[name]
            if len(state) != width:
                for name in state.keys() - set(self.cheap):
                    self.assigned.setdefault(name, {})[row] = state[name]
        if at == 0 and self.replies.form is None:
            self._tell_form()

    def _fail(self, at: int, group: Group | None, error: BaseException) -> None:
        """Note why a scene failed, and in whom."""
        self.host.errors[at] = error
        if group is not None and group.blamed is error:
            self.host.culprits[at] = self.host.starts[at] + group.culprit

    def finish(self) -> Outcome:
        """Check what was assigned and replied; a value that does not fit fails the whole scene."""
        host = self.host
        errors, host.errors = host.errors, {}
        columns = self._checked()
        self._check_assigned()
        host.errors |= host.misfits()
        for row, error in sorted(host.errors.items()):
            at = bisect_right(host.starts, row) - 1
            if at not in errors:
                errors[at] = error
                host.culprits[at] = row
        host.errors = errors
        failed, replied = self._replied(self.count)
        lost = np.repeat(failed, np.diff(host.starts))
        block = self._next_block(columns, lost)
        return host.outcome(block, self.replies.form, replied, failed, None)


def takes(scene: Any) -> int:
    """Return how many arguments a scene takes: its members, and the environment or not.

    Raises
    ------
    UsageError
        If it is no coroutine function, or takes others.
    """
    if not inspect.iscoroutinefunction(scene):
        raise UsageError(
            f"a scene is a coroutine function, `async def scene(members, env)`, not {scene!r}"
        )
    signature = inspect.signature(scene)
    for count in (2, 1):
        try:
            signature.bind(*[None] * count)
        except TypeError:
            continue
        return count
    raise UsageError(
        f"the scene {name_of(scene)} takes ({', '.join(signature.parameters)}); write"
        " `async def scene(members, env)`, or leave out the environment"
    )


def name_of(scene: Any) -> str:
    """Return the qualified name of a scene."""
    while isinstance(scene, partial):
        scene = scene.func
    return str(scene.__qualname__)


def _moved(agent: Any, name: str, label: Any) -> str:
    """Say that an agent left its group while it played."""
    return (
        f"agent {agent.id} of group {label!r} changed {type(agent).__name__}.{name} to"
        f" {getattr(agent, name)!r} within the scene; the field that groups are made by stays while"
        " they play: let an agent change it in a step of its own, between two plays"
    )
