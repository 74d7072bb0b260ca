"""Questions to the agents of a run that is under way: looks, interviews and surveys."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daskagents.errors import RunError, UsageError
from daskagents.journal.segments import journal_of
from daskagents.members import Members
from daskagents.past import LOST
from daskagents.plan import plan_each
from daskagents.question import Question
from daskagents.references import find as find_again
from daskagents.session import Session
from daskagents.steering import peeking
from daskagents.steering.copies import OUTSIDE, Ground, ask
from daskagents.steering.peeking import PAGE, Search
from daskagents.steering.surveys import Survey, keep, pick, summary
from daskagents.store import Store

#: Agents that may be looked at before those that are wanted.
_FAR = 10_000
#: Seconds between two tries to see a population between its steps.
_TRY = 0.2
#: Types that the answers of a survey may be asked to have, by their names.
_TYPES = {"str": str, "int": int, "float": float, "bool": bool}


class Outside:
    """Asks copies of the agents of a session, from other threads than that of the run.

    Parameters
    ----------
    session, store
        Of the run.
    """

    def __init__(self, session: Session, store: Store) -> None:
        self.session, self.store = session, store
        self._count = next_number(store.folder)
        self._lock = threading.Lock()

    def members(self, name: str | None) -> Members:
        """Return a population by its name, or the only one."""
        known = self.session.members
        if name is None and len(known) == 1:
            return next(iter(known.values()))
        if name is None or name not in known:
            said = ", ".join(known) or "none yet"
            what = "say which population" if name is None else f"there is no population {name!r}"
            raise UsageError(f"{what}; the run has {said}")
        return known[name]

    def look(self, command: Mapping[str, Any]) -> dict[str, Any]:
        """Return what some agents have."""
        members = self.members(command.get("population"))
        ids = sorted({_agent(members, agent) for agent in command.get("agents", ())})[:PAGE]
        return self._search(members, Search(ids=ids), 0)

    def find(self, command: Mapping[str, Any]) -> dict[str, Any]:
        """Return the first of the agents that are looked for, in an order, from a place on."""
        members = self.members(command.get("population"))
        start = int(command.get("start", 0))
        if not 0 <= start <= _FAR:
            raise UsageError(f"start is {start}; at most {_FAR:,} agents can be gone through")
        wanted = Search(
            where=peeking.fitting(members.cls, command.get("where") or {}),
            by=command.get("by") or "",
            largest=bool(command.get("largest", True)),
            most=start + PAGE,
        )
        return self._search(members, wanted, start)

    def _search(self, members: Members, wanted: Search, start: int) -> dict[str, Any]:
        wanted.check(members.cls)
        indexes = [index for index, held in enumerate(members.handles) if held is not None]
        if wanted.ids is not None:
            mine = np.searchsorted(members.bounds, np.asarray(wanted.ids), side="right") - 1
            indexes = sorted(set(indexes) & set(mine.tolist()))
        held = self._there(members, indexes)
        rows = [
            (members.charter, handle, wanted, *self._coming(members, index, handle))
            for index, handle in zip(indexes, held, strict=True)
        ]
        name = f"look-{members.name}-{time.monotonic_ns()}-{self.session.token}"
        executor = self.session.executor
        found = executor.gather(executor.submit(plan_each(name, peeking.search, rows)))
        every = [one for _, some in found for one in some]
        order = peeking.first([key for key, _ in every], wanted)
        return {
            "rows": [every[at][1] for at in order[start:]],
            "found": sum(count for count, _ in found),
            "step": self.session.count - 1,
        }

    def _coming(self, members: Members, index: int, held: Any) -> Sequence[Any]:
        """Return the handles of what is on its way to a block, where that is the newest."""
        lanes = list(members.coming.get(index, ()))
        newest = members.handles[index] is held and lanes
        return lanes if newest and self.session.executor.done(lanes) else ()

    def _there(self, members: Members, indexes: Sequence[int]) -> list[Any]:
        """Return handles of the newest versions of some blocks that are there already."""
        handles = self._handles(members)
        mine = [handles[index] for index in indexes]
        executor, name = self.session.executor, members.name
        late = [at for at, handle in enumerate(mine) if not executor.done([handle])]
        if late:
            families = ("step", "change", "inboxes")
            begun = [f"begin-{self.session.token}-{name}", "load_state"]
            families_of = [f"{family}-{name}-" for family in families] + begun
            for at, found in zip(
                late, executor.newest([mine[at] for at in late], families_of), strict=True
            ):
                mine[at] = mine[at] if found is None else found
        return mine

    def _handles(self, members: Members) -> list[Any]:
        """Return the handles of all blocks, as the last step that was asked for leaves them."""
        if not members.at_home:
            with self.session.lock:
                members.newest(self.session)
        handles = list(members.handles)
        if any(handle is LOST for handle in handles):
            raise RunError("the run is going through what it did before; ask again soon")
        return handles

    def interview(self, command: Mapping[str, Any]) -> dict[str, Any]:
        """Ask one agent a question, as it is after the last step that is over."""
        members = self.members(command.get("population"))
        agent = _agent(members, command.get("agent"))
        index = int(np.searchsorted(members.bounds, agent, side="right")) - 1
        if members.handles[index] is None or _gone(members, agent):
            raise UsageError(f"agent {agent} of {members.name!r} is gone")
        handles: list[Any] = [None] * len(members.handles)
        (handles[index],) = self._there(members, [index])
        question = question_of(command)
        number = self._next()
        found, tally, failure = ask(
            self._ground(members, handles), np.array([agent]), question, number
        )
        if failure is not None:
            raise RunError(f"agent {agent} could not answer: {failure}")
        said = {str(name): peeking.plain(v.values[0]) for name, v in found.data_vars.items()}
        del said["failed"]
        return {
            "content": said.get("answer", said),
            "model": next((model for model, _, _ in tally if model), ""),
            "step": self.session.count - 1,
        }

    def survey(self, command: Mapping[str, Any]) -> dict[str, Any]:
        """Ask many agents a question; their answers are written into the run directory."""
        members = self.members(command.get("population"))
        where = peeking.fitting(members.cls, command.get("where") or {})
        question, number = question_of(command), self._next()
        survey = Survey(
            number,
            str(command.get("name") or ""),
            members.name,
            question,
            where,
            command.get("agents"),
            command.get("sample"),
            self.session.epoch,
            self.session.count - 1,
        )
        ground = self._ground(members, self._settled(members))
        ids = pick(ground, survey, self._gone_ids(members), self.session.seed)
        found, _, failure = ask(ground, ids, question, number)
        found = keep(None if self.store.temporary else self.store.folder, survey, found)
        if not self.store.temporary:
            self.store.note("survey", name=found.attrs["name"], round=self.session.epoch)
        return summary(found, failure)

    def _settled(self, members: Members) -> list[Any]:
        """Return all blocks as they are after one step, the same for all."""
        while not self.session.lock.acquire(timeout=_TRY):
            if self.session.held:  # whoever has the lock waits, too; no step begins
                return self._there(members, range(len(members.handles)))
        try:
            handles = self._handles(members)
        finally:
            self.session.lock.release()
        if not self.session.held:
            return handles
        there = [index for index, handle in enumerate(handles) if handle is not None]
        for index, handle in zip(there, self._there(members, there), strict=True):
            handles[index] = handle
        return handles

    def _ground(self, members: Members, handles: Sequence[Any]) -> Ground:
        session = self.session
        return Ground(
            session.executor,
            session.topic,
            session.token,
            members.name,
            members.charter,
            members.bounds,
            handles,
            members.frame,
            members.dim,
            session.journal_outside(members),
        )

    def _gone_ids(self, members: Members) -> NDArray[np.int64]:
        gone = members.lives.gone
        return np.empty(0, np.int64) if gone is None else np.flatnonzero(gone)

    def _next(self) -> int:
        with self._lock:
            number, self._count = self._count, self._count + 1
            return number


def next_number(folder: Path) -> int:
    """Return which question from outside of a run comes next."""
    steps = [int(path.name) for path in journal_of(folder).glob("1" + "[0-9]" * 9)]
    return max([step - OUTSIDE for step in steps], default=-1) + 1


def question_of(command: Mapping[str, Any]) -> Question:
    """Return the question of a command."""
    text = command.get("question")
    if not isinstance(text, str) or not text.strip():
        raise UsageError(f"the question is {text!r}; give a text")
    schema = command.get("schema")
    if isinstance(schema, str):
        if schema not in _TYPES:
            raise UsageError(f"schema is {schema!r}; give one of {', '.join(_TYPES)}")
        schema = _TYPES[schema]
    elif isinstance(schema, dict):
        schema = find_again(schema, "the schema", "define it in a file that the run can import")
    choices = tuple(command.get("choices") or ())
    if choices and schema is not None:
        raise UsageError("give choices or a schema, not both: choices are a schema")
    if len(choices) == 1 or len(set(choices)) < len(choices):
        raise UsageError(f"choices are {list(choices)!r}; give two or more that differ")
    return Question(text, schema, choices, bool(command.get("shuffle")))


def _agent(members: Members, agent: Any) -> int:
    if type(agent) is not int or not 0 <= agent < members.n:
        raise UsageError(
            f"there is no agent {agent!r} in {members.name!r}; the ids are 0 to {members.n - 1}"
        )
    return agent


def _gone(members: Members, agent: int) -> bool:
    gone = members.lives.gone
    return gone is not None and bool(gone[agent])


__all__ = ["Outside", "next_number", "question_of"]
